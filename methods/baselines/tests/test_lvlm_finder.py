"""The language model names, and the finder finds exactly those names."""

import numpy as np
import pytest
from earthinstruct_baselines.grounding_dino import GroundingDino
from earthinstruct_baselines.lvlm_finder import FINDERS, LvlmFinder, LvlmSam3, prompt, read_names
from earthinstruct_baselines.omdet_turbo import OmDetTurbo
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_baselines.sam3 import SAM3
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct import Estimate, Instruction
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.testing import check_method

OPEN = Instruction("open_ended", "Find everything.")


class Names(ScriptedLvlm):
    def __init__(self, text, without=()):
        super().__init__()
        self.text = text
        self.without = without

    def answer(self, image):
        return Reply(self.text, 30, 10, without=self.without)

    def describe(self):
        return {"lvlm": "names", "weights": [{"name": "names.bin", "sha256": "0" * 64}]}


def test_owlv2_looks_for_the_names_that_were_given(owlv2_weights, image):
    method = LvlmFinder(lvlm=Names('{"names": ["ship", "harbor"]}'), weights=owlv2_weights, device="cpu")
    prediction = method.predict(image, OPEN)
    expected = OWLv2(owlv2_weights, device="cpu").predict(
        image, Instruction("open_vocabulary", "F", ("ship", "harbor"))
    )
    assert prediction.labels == expected.labels
    np.testing.assert_array_equal(prediction.boxes, expected.boxes)
    np.testing.assert_array_equal(prediction.scores, expected.scores)
    assert prediction.usage.output_tokens == 10
    assert set(prediction.usage.seconds) == {"lvlm", "detector"}


def test_no_name_is_an_answer_and_a_long_one_is_counted(owlv2_weights, image):
    assert len(LvlmFinder(lvlm=Names('{"names": []}'), weights=owlv2_weights, device="cpu").predict(image, OPEN)) == 0
    method = LvlmFinder(lvlm=Names('["ship", "' + "very " * 20 + 'long ship"]'), weights=owlv2_weights, device="cpu")
    prediction = method.predict(image, OPEN)
    assert set(prediction.labels) == {"ship"}
    assert prediction.usage.events == {"names too long": 1}


def test_the_limit_of_owlv2_is_an_event_and_the_request_can_be_estimated(owlv2_weights, image):
    lvlm = Names('["ship"]', without=("top_p",))
    method = LvlmFinder(lvlm=lvlm, weights=owlv2_weights, limit=1, device="cpu")
    assert method.estimate(image, OPEN) == Estimate(0, None, None)
    assert lvlm.requests == []
    events = {"limit of 1 detections reached": 1, "requests without top_p": 1}
    assert method.predict(image, OPEN).usage.events == events
    assert method.estimate(image, OPEN) == Estimate()  # the reply is kept


def test_a_kind_that_is_spelled_in_several_ways_is_looked_for_once():
    text = '{"names": ["tennis court", "ship", " Tennis_Courts", "ships", "", "shipyard"]}'
    assert read_names(Reply(text)) == ["tennis court", "ship", "shipyard"]


@pytest.mark.parametrize(
    "text", ['{"names": ["ship"]}\n{"names": ["dam"]}', '["ship"]\n["dam"] {}', '{"names": ["ship" "dam"]}']
)
def test_all_lists_of_names_are_read(text):
    assert read_names(Reply(text)) == ["ship", "dam"]


@pytest.mark.parametrize(
    "text",
    ["I see ships.", '{"ship": 3}', '{"names": [1, 2]}', '["ship"] {"dam": 1}', '["ship", "dam"', '["ship", ...]'],
)
def test_a_reply_without_names_is_a_failure(text):
    with pytest.raises(LvlmError, match="holds no list of names"):
        read_names(Reply(text))


def test_sam_3_finds_the_masks_of_the_names_that_were_given(sam3_weights, image):
    lvlm = Names('{"names": ["ship", "harbor"]}')
    method = LvlmSam3(lvlm=lvlm, weights=sam3_weights, threshold=0.0, device="cpu")
    first, second = method.predict_batch([image, 255 - image], OPEN)
    assert lvlm.requests == [2]
    finder = SAM3(sam3_weights, threshold=0.0, device="cpu")
    for found, shown in ((first, image), (second, 255 - image)):
        expected = finder.predict(shown, Instruction("open_vocabulary", "F", ("ship", "harbor")))
        assert len(found) > 0
        assert found.labels == expected.labels
        assert found.masks == expected.masks
        np.testing.assert_array_equal(found.scores, expected.scores)
    described = method.describe()["parameters"]
    assert (described["finder"], described["finder.threshold"], described["finder.prompt"]) == ("sam3", 0, "{category}")


@pytest.mark.parametrize(
    ("detector", "weights", "too_long"),
    [
        (GroundingDino, "short_grounding_dino_weights", "very " * 12 + "long ship"),
        (OmDetTurbo, "omdet_turbo_weights", "very " * 80 + "long ship"),
        (SAM3, "sam3_weights", "very " * 40 + "long ship"),
    ],
)
def test_names_that_any_finder_cannot_read_are_left_out(detector, weights, too_long, request, image):
    finder = detector(request.getfixturevalue(weights), threshold=0.0, device="cpu")
    method = LvlmFinder(finder, Names(f'["ship", "{too_long}"]'))
    prediction = method.predict(image, OPEN)
    assert method.name == f"lvlm-{detector.name}"
    assert set(prediction.labels) == {"ship"}
    assert dict(prediction.usage.events) == {"names too long": 1}


def test_the_method_is_named_after_its_finder(sam3_litetext_weights, owlv2_weights):
    lite = LvlmSam3("sam3-litetext", Names("[]"), weights=sam3_litetext_weights, device="cpu")
    owl = LvlmSam3(OWLv2(owlv2_weights, device="cpu"), Names("[]"))
    assert (lite.name, owl.name) == ("lvlm-sam3-litetext", "lvlm-owl")
    assert lite.describe()["device"] == "cpu"
    with pytest.raises(UnknownNameError, match="unknown finder 'owl'"):
        LvlmSam3("owl", Names("[]"))


def test_a_finder_lacks_its_own_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    for name in FINDERS:
        (line,) = LvlmFinder.missing(finder=name, model="m")
        assert line.startswith("weights ")
        assert line == FINDERS[name].missing("finder", {})[0]


def test_named_categories_are_for_owlv2_alone(owlv2_weights, image):
    method = LvlmFinder(lvlm=Names("[]"), weights=owlv2_weights, device="cpu")
    with pytest.raises(EarthInstructError, match="lvlm-owl: the categories are already named"):
        method.predict(image, Instruction("open_vocabulary", "Find.", ("ship",)))


def test_the_prompts_differ_by_setting():
    assert "Which kinds of means of transport" in prompt(Instruction("open_subclass", "C", parent="means of transport"))
    assert "Which kinds of objects" in prompt(OPEN)


def test_it_keeps_the_contract(owlv2_weights):
    method = LvlmFinder(lvlm=Names('{"names": ["ship"]}'), weights=owlv2_weights, device="cpu")
    checks = check_method(method)
    assert [check for check in checks if check.problem] == []
    assert next(check for check in checks if check.skipped).skipped.endswith("use owlv2, which needs no language model")
    assert [entry["name"] for entry in method.describe()["weights"]] == ["names.bin", "model.safetensors"]
    assert method.describe()["training_data"] == {"lvlm": ["unknown"], "finder": ["unknown"]}
    told = {"weights": owlv2_weights, "device": "cpu", "finder.training_data": "dior, webli"}
    method = LvlmFinder(lvlm=Names("[]"), **told)
    assert method.describe()["training_data"] == {"lvlm": ["unknown"], "finder": ["dior", "webli"]}


@pytest.mark.parametrize(
    ("method", "weights", "options"),
    [("lvlm-owl", "owlv2_weights", []), ("lvlm-sam3", "sam3_weights", ["threshold=0", "limit=20"])],
)
def test_it_runs_from_the_command_line(method, weights, options, request, run_on_scenes, lvlm_server):
    lvlm_server.answer = lambda image, text: '{"names": ["ship", "vehicle"]}'
    options = [f"weights={request.getfixturevalue(weights)}", "device=cpu", "lvlm.model=tiny", *options]
    records, result = run_on_scenes(method, *options, setting="open_ended", sweep=True)
    assert result["method"]["name"] == method
    assert [set(record["labels"]) <= {"ship", "vehicle"} and len(record["labels"]) > 3 for record in records] == [
        True
    ] * 2
    assert [record["output_tokens"] for record in records] == [5, 5]
    assert result["metrics"]["sweep"] is not None
