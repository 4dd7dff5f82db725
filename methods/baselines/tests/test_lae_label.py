"""Every proposal is named by its own crop; what the model cannot tell is left out and counted."""

import numpy as np
import pytest
from earthinstruct_baselines.lae_label import LaeLabel, prompt, read_label
from earthinstruct_models.lvlm import LvlmError, Reply
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct import Instruction
from earthinstruct.contract import Proposals
from earthinstruct.regions import encode_mask
from earthinstruct.testing import check_method

BOXES = np.array([[10.0, 10, 10, 10], [40, 10, 10, 10], [10, 40, 10, 10], [40, 40, 10, 10]])
COLOURS = {"Ship": 50, "harbors": 100, "unrecognised": 150, "": 200}


@pytest.fixture
def image():
    """Four squares, each of a grey level of its own, on black."""
    image = np.zeros((60, 60, 3), dtype=np.uint8)
    for (x, y, w, h), level in zip(BOXES.astype(int), COLOURS.values(), strict=True):
        image[y : y + h, x : x + w] = level
    return image


class Squares:
    def propose(self, image):
        masks = []
        for x, y, w, h in BOXES.astype(int):
            mask = np.zeros(image.shape[:2], dtype=bool)
            mask[y : y + h, x : x + w] = True
            masks.append(encode_mask(mask))
        return Proposals(BOXES, tuple(masks), [0.9, 0.8, 0.7, 0.6])

    def describe(self):
        return {"proposer": "squares"}


class NamesGreys(ScriptedLvlm):
    """Names a crop by its grey level; level 200 gets an answer without JSON. It fails where told to."""

    failing = None

    def __init__(self):
        super().__init__()
        self.shapes = []

    def answer(self, image):
        self.shapes.append(image.shape[:2])
        if image.max() == self.failing:
            return LvlmError("no reply within the deadline")
        name = next((name for name, level in COLOURS.items() if level == image.max()), "")
        return Reply(f'{{"label": "{name}"}}' if name else "No idea.", 7, 2)

    def describe(self):
        return {"lvlm": "greys"}


def test_each_crop_gets_its_own_name(image):
    lvlm = NamesGreys()
    method = LaeLabel(Squares(), lvlm)
    prediction = method.predict(image, Instruction("open_ended", "Find everything."))
    assert prediction.labels == ("Ship", "harbors")
    assert prediction.boxes.tolist() == BOXES[:2].tolist()
    assert prediction.masks == Squares().propose(image).masks[:2]
    assert len(prediction.proposals) == 4
    assert prediction.scores is None
    assert (prediction.usage.input_tokens, prediction.usage.output_tokens) == (28, 8)
    assert lvlm.shapes == [(12, 12)] * 4  # enlarged by a fifth
    assert prediction.usage.events == {"unrecognised crops": 1, "unreadable answers": 1}


def test_open_vocabulary_keeps_the_categories_alone(image):
    method = LaeLabel(Squares(), NamesGreys())
    prediction = method.predict(image, Instruction("open_vocabulary", "Find.", ("harbor", "vehicle")))
    assert prediction.labels == ("harbor",)
    assert prediction.boxes.tolist() == [BOXES[1].tolist()]
    assert prediction.usage.events["labels not asked for"] == 1


def test_a_crop_without_a_reply_fails_the_image(image):
    lvlm = NamesGreys()
    lvlm.failing = 150
    with pytest.raises(LvlmError, match="deadline") as caught:
        LaeLabel(Squares(), lvlm).predict(image, Instruction("open_ended", "Find everything."))
    assert (caught.value.usage.input_tokens, caught.value.usage.output_tokens) == (21, 6)  # of the other three


def test_crops_of_several_images_are_asked_about_together(image):
    lvlm = NamesGreys()
    method = LaeLabel(Squares(), lvlm)
    mirrored = np.ascontiguousarray(image[:, ::-1] // 2)
    instruction = Instruction("open_ended", "Find everything.")
    together = method.predict_batch([image, mirrored], instruction)
    assert lvlm.requests == [6]  # eight crops; two of them show the same twice
    alone = [LaeLabel(Squares(), NamesGreys()).predict(one, instruction) for one in (image, mirrored)]
    assert [prediction.labels for prediction in together] == [prediction.labels for prediction in alone]
    assert [prediction.boxes.tolist() for prediction in together] == [p.boxes.tolist() for p in alone]
    assert [prediction.usage.input_tokens for prediction in together] == [28, 28]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('[{"label": "Ship"}]', "Ship"),
        ('{"label": "Ship"} so {"label": "Ship"} {}', "Ship"),
        ('{"label": "Ship"} or {"label": "harbor"}', None),
        ('{"label": "Ship"}\n{"lab', None),
        ('{"label": ["Ship"]}', None),
        ('["Ship"]', None),
    ],
)
def test_one_clear_name_is_read(text, label):
    assert read_label(Reply(text)) == label


def test_the_prompts_differ_by_setting():
    assert "Which of these is it: harbor, vehicle?" in prompt(
        Instruction("open_vocabulary", "F", ("harbor", "vehicle"))
    )
    assert "kind of sports field" in prompt(Instruction("open_subclass", "F", parent="sports field"))


def test_it_keeps_the_contract():
    checks = check_method(LaeLabel("segments", NamesGreys()))
    assert [check for check in checks if check.problem or check.skipped] == []


def test_it_runs_from_the_command_line(run_on_scenes, lvlm_server):
    lvlm_server.answer = lambda image, text: '{"label": "ship"}' if image.shape[0] > 20 else '{"label": "unrecognised"}'
    parameters = ("proposer=segments", "proposer.limit=12", "lvlm.model=tiny")
    records, result = run_on_scenes("lae-label", *parameters, setting="open_ended")
    for record in records:
        assert record.get("error") is None
        assert set(record["labels"]) == {"ship"}
        assert len(record["labels"]) == len(record["masks"]) <= len(record["proposals"]["boxes"]) == 12
    assert result["method"]["parameters"]["lvlm.server"].startswith("127.0.0.1:")
