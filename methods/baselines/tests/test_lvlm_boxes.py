"""Boxes come back from the coordinates of each model to the pixels of the image; what is lost is counted."""

import json
import re

import numpy as np
import pytest
from earthinstruct_baselines.lvlm_boxes import FAMILIES, LvlmBoxes, prompt, prompts
from earthinstruct_models.lvlm import Reply
from earthinstruct_models.testing import ScriptedLvlm

from earthinstruct import Instruction
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.testing import check_method


def qwen25(lvlm="transformers", **options):
    return LvlmBoxes("qwen2.5-vl", lvlm, **options)


def qwen3(lvlm="transformers", **options):
    return LvlmBoxes("qwen3-vl", lvlm, **options)


ASKED = Instruction("open_vocabulary", "Count.", ("ship", "storage_tank"))
SERVER = ("lvlm=openai", "lvlm.model=tiny", "lvlm.concurrency=1")
WRITTEN = FAMILIES["qwen3-vl"]
SIZES = [(800, 800), (600, 1000), (40, 60), (1234, 321), (28, 56), (1500, 1100)]  # height, width


class Answers(ScriptedLvlm):
    """A language model with one answer; it keeps what it was shown."""

    def __init__(self, text="[]", finish="complete"):
        super().__init__()
        self.reply = Reply(text, 30, 10, finish=finish)

    def answer(self, image):
        self.shown = image
        return self.reply

    def describe(self):
        return {"lvlm": "answers", "weights": []}


class Finds(Answers):
    """Finds the red rectangle of what it is shown, and answers as a family writes boxes."""

    def __init__(self, written, label="ship"):
        super().__init__()
        self.written = written
        self.label = label

    def answer(self, image):
        red = (image[..., 0] > 128) & (image[..., 1] < 128)
        (y0, x0), (y1, x1) = np.argwhere(red).min(axis=0), np.argwhere(red).max(axis=0) + 1
        box = np.array([x0, y0, x1, y1], dtype=float)
        if self.written.frame == "thousandths":
            box *= 1000 / np.tile(image.shape[1::-1], 2)
        if self.written.order == "yxyx":
            box = box[[1, 0, 3, 2]]
        return Reply(json.dumps([{self.written.key: box.round().tolist(), "label": self.label}]))


def reply(*elements, **options):
    return Answers(json.dumps([{"bbox_2d": box, "label": label} for label, box in elements]), **options)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_models_own_processor_leaves_the_resized_image_as_it_is(height, width):
    """So the pixels that Qwen2.5-VL answers in are those of `shown`, on this machine and on a server."""
    from transformers import Qwen2VLImageProcessor

    method = qwen25(Answers())
    shown = method.shown(np.zeros((height, width, 3), dtype=np.uint8))
    for limits in (
        (method.min_pixels, method.max_pixels),
        (56 * 56, 12_845_056),
    ):  # ours, and those it is published with
        processor = Qwen2VLImageProcessor(size=dict(zip(("shortest_edge", "longest_edge"), limits, strict=True)))
        (grid,) = processor(images=shown, return_tensors="np")["image_grid_thw"].tolist()
        assert (grid[1] * 14, grid[2] * 14) == shown.shape[:2]
    assert method.min_pixels <= shown.shape[0] * shown.shape[1] <= method.max_pixels


BOXES = [name for name, family in FAMILIES.items() if not family.points]
POINTS = [name for name, family in FAMILIES.items() if family.points]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("family", BOXES)
def test_a_rectangle_comes_back_where_it_is(family, height, width):
    image = np.full((height, width, 3), 255, dtype=np.uint8)
    x, y, w, h = round(width * 0.25), round(height * 0.5), round(width * 0.4), round(height * 0.3)
    image[y : y + h, x : x + w] = (255, 0, 0)
    prediction = LvlmBoxes(family, Finds(FAMILIES[family])).predict(image, ASKED)
    pixel = 1 + max(height, width) / 500  # of the shown image, and of a thousandth
    np.testing.assert_allclose(prediction.boxes, [[x, y, w, h]], atol=pixel)


def test_pixels_of_the_resized_image_exactly():
    image = np.zeros((600, 1000, 3), dtype=np.uint8)
    lvlm = reply(("ship", [0, 0, 1008, 588]), ("Storage tanks", [504, 147, 756, 294]))
    method = qwen25(lvlm)
    prediction = method.predict(image, ASKED)
    assert lvlm.shown.shape == (588, 1008, 3)  # 600 and 1000 to the nearest multiples of 28
    assert prediction.labels == ("ship", "storage_tank")
    np.testing.assert_allclose(prediction.boxes, [[0, 0, 1000, 600], [500, 150, 250, 150]])
    assert prediction.scores is None
    assert prediction.counts is None
    assert (prediction.usage.input_tokens, prediction.usage.output_tokens) == (30, 10)
    assert prediction.usage.events == {}


def test_thousandths_exactly():
    lvlm = reply(("ship", [0, 0, 1000, 1000]), ("ship", [500, 250, 750, 500]))
    prediction = qwen3(lvlm).predict(np.zeros((600, 1000, 3), dtype=np.uint8), ASKED)
    assert lvlm.shown.shape == (600, 1000, 3)
    np.testing.assert_allclose(prediction.boxes, [[0, 0, 1000, 600], [500, 150, 250, 150]])


def test_an_image_is_enlarged_and_reduced_to_the_limits():
    method = qwen25(Answers(), min_pixels=56 * 56, max_pixels=112 * 112)
    assert method.shown(np.zeros((20, 30, 3), np.uint8)).shape == (56, 84, 3)
    assert method.shown(np.zeros((800, 800, 3), np.uint8)).shape == (112, 112, 3)
    assert method.describe()["parameters"]["max_pixels"] == 112 * 112


def test_an_image_too_long_for_the_model_is_refused():
    with pytest.raises(EarthInstructError, match=r"qwen2\.5-vl takes no image of 900x1 pixels: .*aspect ratio"):
        qwen25(Answers()).predict(np.zeros((1, 900, 3), np.uint8), ASKED)


def test_what_is_lost_is_counted():
    lvlm = reply(
        ("ship", [1, 1, 5, 5]),
        ("ship", [1100, 0, 1200, 50]),  # outside
        ("ship", [9, 9, 9, 20]),  # without area
        ("tree", [1, 1, 5, 5]),  # not asked for
        ("ship", [1, 2, 3]),  # not a box
        ("", [1, 2, 3, 4]),  # no label
    )
    lvlm.reply = Reply(lvlm.reply.text[:-1] + ', {"bbox_2d": [1, 2', finish="truncated", without=("top_p",))
    method = qwen3(lvlm)
    prediction = method.predict(np.zeros((100, 100, 3), np.uint8), ASKED)
    assert prediction.labels == ("ship",)
    assert prediction.usage.events == {
        "truncated replies": 1,
        "unreadable elements": 3,
        "boxes outside the image": 2,
        "boxes beyond the frame": 1,
        "labels not asked for": 1,
        "requests without top_p": 1,
    }


def test_the_prompt_of_each_setting():
    assert "ship, storage_tank. Use these names" in prompt(ASKED, WRITTEN)
    assert "a kind of sports field" in prompt(Instruction("open_subclass", "Count.", parent="sports field"), WRITTEN)
    assert "Find every object that can be told apart" in prompt(Instruction("open_ended", "Count."), WRITTEN)


@pytest.mark.parametrize("kind", [qwen25, qwen3])
def test_it_keeps_the_contract_in_every_setting(kind):
    checks = check_method(kind(reply(("ship", [1, 1, 30, 30]), ("car", [1, 1, 900, 900]))))
    assert [check.name for check in checks if check.problem or check.skipped] == ["coordinates of a known square"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"min_pixels": 5, "max_pixels": 1000}, EarthInstructError, "min_pixels must be at least 784"),
        ({"lvlm.max_pixels": 1000}, EarthInstructError, "give max_pixels without 'lvlm.'"),
        ({"lvlm": "vllm"}, UnknownNameError, "unknown lvlm 'vllm'"),
        ({"lvlm": "openai"}, EarthInstructError, r"needs model: give -M lvlm\.model=VALUE"),
        ({"lvlm": "transformers"}, DataError, "the weights qwen2.5-vl-7b are not at .*huggingface.co/Qwen"),
    ],
)
def test_wrong_parameters_are_answered(options, error, message, monkeypatch, tmp_path):
    monkeypatch.setenv("EARTHINSTRUCT_WEIGHTS", str(tmp_path))
    with pytest.raises(error, match=message):
        qwen25(**options)


@pytest.mark.parametrize("name", ["qwen2.5-vl", "qwen3-vl"])
def test_it_runs_from_the_command_line_over_a_server(name, run_on_scenes, lvlm_server, scenes):
    sizes = []

    def answer(image, text):
        sizes.append(image.shape[:2])
        return '[{"bbox_2d": [0, 0, 100, 50], "label": "ships"}, {"bbox_2d": [0, 0', "length"

    lvlm_server.answer = answer
    records, result = run_on_scenes(
        "lvlm-boxes", f"family={name}", "lvlm=openai", "lvlm.model=tiny", "lvlm.concurrency=1"
    )
    assert [record["labels"] for record in records] == [["ship"], ["ship"]]
    height, width = sizes[0]
    extent = (width, height) if name == "qwen2.5-vl" else (1000, 1000)
    image = load_dataset(scenes).images[0]
    expected = [0, 0, 100 * image.width / extent[0], 50 * image.height / extent[1]]
    np.testing.assert_allclose(records[0]["boxes"], [expected])
    assert result["method"]["parameters"]["lvlm.model"] == "tiny"


def test_one_bad_reply_among_several_images_costs_no_second_request(run_on_scenes, lvlm_server):
    """The images are asked about together; after the failure each is answered, or named, from what is remembered."""
    asked = []

    def answer(image, text):
        asked.append(image.tobytes())
        return "I see ships." if asked.index(image.tobytes()) == 1 else '[{"bbox_2d": [0, 0, 9, 9], "label": "ship"}]'

    lvlm_server.answer = answer
    records, result = run_on_scenes(
        "lvlm-boxes", "family=qwen3-vl", "lvlm=openai", "lvlm.model=tiny", "lvlm.concurrency=1", expected=1
    )
    assert len(asked) == len(set(asked)) == len(records) == 2
    (failed,) = [record for record in records if "error" in record]
    assert failed["error"].startswith("LvlmError: the reply holds no JSON")
    assert (failed["input_tokens"], failed["output_tokens"]) == (20, 5)
    assert (result["run"]["input_tokens"], result["run"]["n_failed"]) == (40, 1)


@pytest.mark.parametrize("kind", ["qwen2.5-vl", "qwen3-vl"])
def test_a_model_on_this_machine_is_shown_the_image_and_its_reply_is_read(kind, tiny_qwen, run_on_scenes):
    """Random weights write no JSON: the failure is recorded, with what was written."""
    records, _ = run_on_scenes(
        *("lvlm-boxes", f"family={kind}", f"lvlm.folder={tiny_qwen(kind)}", "lvlm.max_new_tokens=4", "lvlm.device=cpu"),
        expected=1,
    )
    assert all(re.search("the reply holds (no|broken or cut off) JSON", record["error"]) for record in records)
    assert all("; it wrote" in record["error"] for record in records)


def test_gemini_answers_from_the_top():
    lvlm = Answers('[{"box_2d": [250, 500, 500, 750], "label": "ship"}]')
    prediction = LvlmBoxes("gemini", lvlm).predict(np.zeros((600, 1000, 3), np.uint8), ASKED)
    np.testing.assert_allclose(prediction.boxes, [[500, 150, 250, 150]])
    assert '"box_2d": [y1, x1, y2, x2]' in prompt(ASKED, FAMILIES["gemini"])


def test_the_tags_of_internvl_are_read():
    lvlm = Answers("Here: <ref>ship</ref><box>[[0, 0, 100, 100], [500, 500, 600, 700]]</box> and <ref>tree</ref>")
    prediction = LvlmBoxes("internvl", lvlm).predict(np.zeros((100, 200, 3), np.uint8), ASKED)
    assert prediction.labels == ("ship", "ship")
    np.testing.assert_allclose(prediction.boxes, [[0, 0, 20, 10], [100, 50, 20, 20]])


def test_boxes_beyond_the_frame_are_told():
    """A model that answers in pixels of a large image, read in thousandths."""
    lvlm = reply(("ship", [1800, 1500, 1900, 1600]), ("ship", [100, 100, 200, 200]))
    prediction = qwen3(lvlm).predict(np.zeros((2000, 2000, 3), np.uint8), ASKED)
    assert prediction.usage.events["boxes beyond the frame"] == 1


def test_another_model_says_how_it_writes_boxes():
    lvlm = Answers('[{"area": [10, 20, 30, 60], "label": "ship"}]')
    method = LvlmBoxes(None, lvlm, frame="pixels", order="yxyx", key="box", name="mine")
    lvlm.reply = Reply('[{"box": [10, 20, 30, 60], "label": "ship"}]')
    np.testing.assert_allclose(method.predict(np.zeros((100, 100, 3), np.uint8), ASKED).boxes, [[20, 10, 40, 20]])
    assert method.name == "mine"
    assert method.describe()["parameters"].items() >= {"frame": "pixels", "order": "yxyx", "factor": 0}.items()
    one = LvlmBoxes("qwen2.5-vl", lvlm, factor=0)  # on a server that resizes nothing
    assert one.shown(np.zeros((33, 44, 3), np.uint8)).shape == (33, 44, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give -M family=NAME, or -M frame"),
        ({"frame": "pixels"}, "give -M family=NAME, or -M frame"),
        ({"family": "qwen3vl"}, "unknown family 'qwen3vl'; did you mean 'qwen3-vl'?"),
        ({"frame": "percent", "order": "xyxy"}, "unknown frame of a box 'percent'"),
        ({"family": "gemini", "order": "yx"}, "unknown order 'yx'"),
        ({"family": 3}, "unknown family '3'.* Another model takes -M frame"),
        ({"frame": 1, "order": "xyxy"}, "unknown frame of a box '1'"),
        ({"frame": [1], "order": "xyxy"}, r"unknown frame of a box '\[1\]'"),
        ({"frame": "pixels", "order": [1]}, r"unknown order '\[1\]'"),
        ({"family": "gemini", "factor": 1.5}, "factor must be an integer >= 0"),
        ({"family": "gemini", "min_pixels": "few"}, "min_pixels must be an integer >= 1"),
        ({"family": "molmo", "frame": "pixels"}, "family molmo writes points, in tags: leave out -M frame"),
    ],
)
def test_coordinates_that_are_not_known_are_refused(options, message):
    with pytest.raises(EarthInstructError, match=message):
        LvlmBoxes(lvlm=Answers(), **options)


@pytest.mark.parametrize("family", BOXES)
@pytest.mark.parametrize("answers_as", BOXES)
def test_check_method_says_in_which_coordinates_a_model_answers(family, answers_as):
    method = LvlmBoxes(family, Finds(FAMILIES[answers_as], "red square"))
    ((name, problem),) = method.checks()
    ours, theirs = method.written, FAMILIES[answers_as]
    if (ours.frame, ours.order) == (theirs.frame, theirs.order):
        assert problem is None
    else:
        assert f"the model answers in {theirs.frame}, {theirs.order}, not in {ours.frame}, {ours.order}" in problem
        assert f"give -M frame={theirs.frame} -M order={theirs.order}" in problem
    assert name == "coordinates of a known square"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[{"bbox_2d": [0.1, 0.1, 0.2, 0.2], "label": "red square"}]',
            "no frame (pixels, fractions, hundredths, thousandths) and order fits",
        ),
        ("[]", "the model gave 0 boxes for one square"),
        ("I cannot see it.", "the model gave no box: the reply holds no JSON"),
    ],
)
def test_check_method_says_what_came_where_no_coordinates_fit(text, problem):
    check = check_method(qwen3(Answers(text)))[-1]
    assert check.name == "coordinates of a known square"
    assert problem in check.problem


class Pointing(Answers):
    """Answers each prompt with its text."""

    def __init__(self, texts):
        super().__init__()
        self.texts, self.asked = texts, []

    def ask_many(self, images, text, schema=None, *, arrived=None):
        self.asked.append(text)
        return [Reply(self.texts.get(text, "There are none."), 30, 10, seconds=1.0) for _ in images]


SHIP, TANK = "Point to every ship in this image.", "Point to every storage tank in this image."


@pytest.mark.parametrize(
    ("family", "text"),
    [
        ("molmo", '<points x1="50.0" y1="25.0" x2="100.0" y2="100.0" alt="ships">ships</points>'),
        ("molmo2", '<points coords="1 1 500 250 2 1000 1000">ships</points>'),
    ],
)
def test_points_exactly_one_category_at_a_time(family, text):
    lvlm = Pointing({SHIP: text, TANK: "<point>"})
    image = np.zeros((600, 1000, 3), np.uint8)
    first, second = LvlmBoxes(family, lvlm).predict_batch([image, image], ASKED)
    assert lvlm.asked == [SHIP, TANK]
    assert first.boxes is None
    assert first.labels == ("ship", "ship")
    np.testing.assert_allclose(first.points, [[500, 150], [1000, 600]])
    assert (first.points < [1000, 600]).all()  # the far border is in the last pixel
    assert first.points.tolist() == second.points.tolist()
    assert (first.usage.input_tokens, first.usage.seconds["lvlm"]) == (60, 2)
    assert first.usage.events == {"replies without points": 1}


def test_kinds_are_named_by_the_tags_and_what_is_lost_is_counted():
    wanted = Instruction("open_subclass", "Count.", parent="sports field")
    (text,) = prompts(wanted, FAMILIES["molmo2"])
    assert "every object that is a kind of sports field" in text
    answer = (
        '<points coords="1 1 500 250" alt="court"></points> <points coords="1 1 500 250"/>'
        '<points coords="1 1 1200 250">far</points> <points coords="1 1 5 2">near</points>'
    )
    method = LvlmBoxes("molmo2", Pointing({text: answer}))
    found = method.predict(np.zeros((10, 10, 3), np.uint8), wanted)
    assert (found.labels, found.points.tolist()) == (("court",), [[5, 2.5]])
    assert found.usage.events == {
        "points without a label": 1,
        "points outside the image": 1,
        "unreadable elements": 1,
    }


@pytest.mark.parametrize("family", POINTS)
def test_pointing_families_keep_the_contract(family):
    lvlm = Pointing({"Point to every red square in this image.": '<points coords="1 1 700 200">red square</points>'})
    assert not [check for check in check_method(LvlmBoxes(family, lvlm)) if check.problem]
    estimate = LvlmBoxes(family, Answers()).estimate(np.zeros((10, 10, 3), np.uint8), ASKED)
    assert estimate.requests in (None, 0, 2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('<points coords="1 1 200 700">red square</points>', "the model points at 20.0%, 70.0% of width and height"),
        ("I see it.", "the model gave 0 points for one square: 'I see it.'"),
    ],
)
def test_check_method_says_where_a_model_points(text, problem):
    ((_, found),) = LvlmBoxes("molmo2", Pointing({"Point to every red square in this image.": text})).checks()
    assert problem in found


def test_molmo_runs_over_a_server(run_on_scenes, lvlm_server):
    lvlm_server.answer = lambda image, text: '<points x1="50.0" y1="50.0">ship</points>' if "ship" in text else "None."
    records, result = run_on_scenes(
        "lvlm-boxes", "family=molmo", "lvlm=openai", "lvlm.model=tiny", "lvlm.concurrency=1"
    )
    assert [record["labels"] for record in records] == [["ship"], ["ship"]]
    assert "boxes" not in records[0]
    assert len(records[0]["points"]) == 1
    assert result["metrics"]["box"]["f1"]["reason"] == "the method only points: it gives no boxes"


def test_a_tiny_molmo2_is_asked_and_its_reply_is_read(tiny_qwen, run_on_scenes):
    """Random weights point at nothing."""
    records, _ = run_on_scenes(
        "lvlm-boxes", "family=molmo2", f"lvlm.folder={tiny_qwen('molmo2')}", "lvlm.max_new_tokens=4", "lvlm.device=cpu"
    )
    assert [record["points"] for record in records] == [[], []]
    assert all(record["events"]["truncated replies"] for record in records)
