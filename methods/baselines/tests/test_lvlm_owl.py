"""The language model names, OWLv2 finds exactly those names."""

import numpy as np
import pytest
from earthinstruct_baselines.lvlm_owl import LvlmOwl, prompt, read_names
from earthinstruct_baselines.owlv2 import OWLv2
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct import Estimate, Instruction
from earthinstruct.errors import EarthInstructError
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
    method = LvlmOwl(owlv2_weights, Names('{"names": ["ship", "harbor"]}'), device="cpu")
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
    assert len(LvlmOwl(owlv2_weights, Names('{"names": []}'), device="cpu").predict(image, OPEN)) == 0
    method = LvlmOwl(owlv2_weights, Names('["ship", "' + "very " * 20 + 'long ship"]'), device="cpu")
    prediction = method.predict(image, OPEN)
    assert set(prediction.labels) == {"ship"}
    assert prediction.usage.events == {"names too long": 1}


def test_the_limit_of_owlv2_is_an_event_and_the_request_can_be_estimated(owlv2_weights, image):
    lvlm = Names('["ship"]', without=("top_p",))
    method = LvlmOwl(owlv2_weights, lvlm, limit=1, device="cpu")
    assert method.estimate(image, OPEN) == Estimate(0, None, None)
    assert lvlm.requests == []
    events = {"limit of 1 detections reached": 1, "requests without top_p": 1}
    assert method.predict(image, OPEN).usage.events == events
    assert method.estimate(image, OPEN) == Estimate()  # the reply is kept


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


def test_named_categories_are_for_owlv2_alone(owlv2_weights, image):
    method = LvlmOwl(owlv2_weights, Names("[]"), device="cpu")
    with pytest.raises(EarthInstructError, match="lvlm-owl: the categories are already named"):
        method.predict(image, Instruction("open_vocabulary", "Find.", ("ship",)))


def test_the_prompts_differ_by_setting():
    assert "Which kinds of means of transport" in prompt(Instruction("open_subclass", "C", parent="means of transport"))
    assert "Which kinds of objects" in prompt(OPEN)


def test_it_keeps_the_contract(owlv2_weights):
    method = LvlmOwl(owlv2_weights, Names('{"names": ["ship"]}'), device="cpu")
    checks = check_method(method)
    assert [check for check in checks if check.problem] == []
    assert next(check for check in checks if check.skipped).skipped.endswith("use owlv2, which needs no language model")
    assert [entry["name"] for entry in method.describe()["weights"]] == ["names.bin", "model.safetensors"]
    assert method.describe()["training_data"] == {"lvlm": ["unknown"], "detector": ("unknown",)}


def test_it_runs_from_the_command_line(owlv2_weights, run_on_scenes, lvlm_server):
    lvlm_server.answer = lambda image, text: '{"names": ["ship", "vehicle"]}'
    records, result = run_on_scenes(
        "lvlm-owl", f"weights={owlv2_weights}", "device=cpu", "lvlm.model=tiny", setting="open_ended", sweep=True
    )
    assert [set(record["labels"]) <= {"ship", "vehicle"} and len(record["labels"]) > 3 for record in records] == [
        True
    ] * 2
    assert [record["output_tokens"] for record in records] == [5, 5]
    assert result["metrics"]["sweep"] is not None
