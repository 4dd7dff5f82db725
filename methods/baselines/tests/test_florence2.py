"""Boxes and labels are those of the model's own processor; what an answer lacks is counted."""

import numpy as np
import pytest
from earthinstruct_baselines.florence2 import Florence2
from earthinstruct_models import devices

from earthinstruct import Instruction
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.testing import check_method

NAMES = ("airplane", "storage_tank", "ship")
NAMED = Instruction("open_vocabulary", "Find.", NAMES)
FREE = Instruction("open_ended", "Find everything.")


@pytest.fixture(scope="module")
def method(florence_2_weights):
    return Florence2(florence_2_weights, max_new_tokens=120, device="cpu")


@pytest.fixture
def images():
    generator = np.random.Generator(np.random.PCG64(1))
    return [generator.integers(0, 256, shape, dtype=np.uint8) for shape in ((48, 80, 3), (80, 48, 3))]


@pytest.fixture
def writes(method, monkeypatch):
    """Makes the model write these texts, one for each prompt."""

    def write(*texts):
        import torch

        tokenizer = method.loaded.processor.tokenizer
        rows = [[2, *tokenizer(f"<s>{text}</s>", add_special_tokens=False).input_ids] for text in texts]
        longest = max(map(len, rows))
        tokens = torch.tensor([row + [tokenizer.pad_token_id] * (longest - len(row)) for row in rows])
        monkeypatch.setattr(method.loaded.model, "generate", lambda **_: tokens)

    return write


def own_answer(method, image, task, name=""):
    """The answer as the page of the model reads it."""
    import torch

    processor = method.loaded.processor
    inputs = processor(text=task + name, images=image, return_tensors="pt")
    with torch.inference_mode():
        written = method.loaded.model.generate(**inputs, max_new_tokens=120, num_beams=3, do_sample=False)
    text = processor.batch_decode(written, skip_special_tokens=False)[0]
    return processor.post_process_generation(text, task=task, image_size=(image.shape[1], image.shape[0]))[task]


def inside(boxes, labels, image):
    """Labels, and corners in pixels, of the boxes with an area."""
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    kept = [i for i, (x0, y0, x1, y1) in enumerate(boxes) if x1 > x0 and y1 > y0 and labels[i]]
    return [labels[i] for i in kept], boxes[kept].tolist()


def corners(prediction):
    return np.hstack([prediction.boxes[:, :2], prediction.boxes[:, :2] + prediction.boxes[:, 2:]]).tolist()


def test_boxes_of_each_category_are_those_of_transformers(method, images):
    for image, found in zip(images, method.predict_batch(images, NAMED), strict=True):
        expected_labels, expected = [], []
        for name in NAMES:
            answer = own_answer(method, image, "<OPEN_VOCABULARY_DETECTION>", name.replace("_", " "))
            assert answer["polygons"] == []
            labels, boxes = inside(answer["bboxes"], [name] * len(answer["bboxes"]), image)
            expected_labels += labels
            expected += boxes
        assert len(found) > 0
        assert list(found.labels) == expected_labels
        assert corners(found) == expected
        assert found.scores is None


@pytest.mark.parametrize(("free", "task"), [("regions", "<DENSE_REGION_CAPTION>"), ("objects", "<OD>")])
def test_everything_in_an_image_is_what_transformers_reads(method, changed, images, free, task):
    predictions = changed(method, free=free).predict_batch(images, FREE)
    assert sum(map(len, predictions)) > 0
    for image, found in zip(images, predictions, strict=True):
        answer = own_answer(method, image, task)
        labels, boxes = inside(answer["bboxes"], answer["labels"], image)
        assert list(found.labels) == labels
        assert corners(found) == boxes


def test_an_image_alone_gets_the_same_answer(method, changed, images):
    short = changed(method, max_new_tokens=40)
    predictions = short.predict_batch(images, NAMED)
    assert sum(map(len, predictions)) > 0
    for image, together in zip(images, predictions, strict=True):
        alone = short.predict(image, NAMED)
        assert alone.labels == together.labels
        assert alone.boxes.tolist() == together.boxes.tolist()


def test_where_memory_runs_out_fewer_prompts_are_answered_at_once(method, changed, images, monkeypatch):
    import torch

    small = changed(method, max_new_tokens=40, _batches=devices.Batches(4, "prompts"))
    expected = small.predict_batch(images, NAMED)
    generate, sizes = small.loaded.model.generate, []

    def with_little_memory(**inputs):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(**inputs)

    monkeypatch.setattr(small.loaded.model, "generate", with_little_memory)
    found = small.predict_batch(images, NAMED)
    assert sizes == [4, 2, 2, 2]
    assert sum(map(len, found)) > 0
    for part, whole in zip(found, expected, strict=True):
        assert part.boxes.tolist() == whole.boxes.tolist()


def test_what_an_answer_lacks_is_an_event(method, writes, images):
    ship = "ship<loc_100><loc_100><loc_500><loc_500>"
    writes(ship + "tiny<loc_7><loc_7><loc_7><loc_7>\u00fc<loc_0><loc_0><loc_9><loc_99>", "nothing to see", ship * 20)
    found = method.predict_batch([images[0]] * 3, FREE)
    assert found[0].labels == ("ship",)
    assert found[0].boxes.tolist() == [[8.0, 4.0, 32.0, 20.0]]  # 100.5 and 500.5 thousandths of 80 x 48 pixels
    assert [dict(one.usage.events) for one in found] == [
        {"boxes without an area": 2},  # 0 to 9 thousandths of 80 pixels are within one
        {"answers without a box": 1},
        {"answers cut off": 1},
    ]


def test_a_box_without_a_label_is_an_event(method, writes, images):
    writes("\u00fc<loc_100><loc_100><loc_500><loc_500>")  # the processor keeps ASCII letters alone
    found = method.predict(images[0], FREE)
    assert (len(found), dict(found.usage.events)) == (0, {"boxes without a label": 1})


def test_an_object_drawn_by_polygons_has_the_box_around_them(method, writes, images):
    writes(
        "a ship<poly><loc_100><loc_500><loc_300><loc_100><loc_500><loc_300></poly>",
        *["<loc_1><loc_2>"] * 2,
    )
    found = method.predict(images[0], NAMED)
    assert found.labels == ("airplane",)  # what was asked about
    assert found.boxes.tolist() == [[8.0, 4.0, 32.0, 20.0]]
    assert dict(found.usage.events) == {"answers without a box": 2}


def test_open_subclass_is_declined(method, images):
    with pytest.raises(EarthInstructError, match="florence-2: its prompts take no parent category"):
        method.predict(images[0], Instruction("open_subclass", "Find.", parent="means of transport"))


def test_a_category_too_long_for_the_model_is_refused(method, images):
    with pytest.raises(EarthInstructError, match=r"category 'ship ship .*is too long for florence-2"):
        method.predict(images[0], Instruction("open_vocabulary", "Find.", ("airplane", "ship " * 40)))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"free": "region"}, UnknownNameError, "did you mean 'regions'"),
        ({"beams": 0}, EarthInstructError, "beams must be an integer >= 1, got 0"),
        ({"max_new_tokens": 129}, EarthInstructError, "max_new_tokens must be at most 128, got 129"),
    ],
)
def test_wrong_parameters_are_answered(florence_2_weights, options, error, message):
    with pytest.raises(error, match=message):
        Florence2(florence_2_weights, **options)


def test_another_model_is_refused(owlv2_weights):
    with pytest.raises(DataError, match=r"type 'owlv2', expected 'florence2'; see .*Florence-2-large"):
        Florence2(owlv2_weights)


def test_it_keeps_the_contract(method, changed):
    checks = check_method(changed(method, max_new_tokens=10))
    assert [check for check in checks if check.problem] == []
    assert next(check for check in checks if check.skipped).skipped.endswith("use lvlm-owl or lvlm-sam3")


def test_it_runs_from_the_command_line(run_on_scenes, florence_2_weights):
    parameters = f"weights={florence_2_weights}", "device=cpu", "max_new_tokens=40", "free=objects"
    records, result = run_on_scenes("florence-2", *parameters, setting="open_ended")
    assert [record.get("error") for record in records] == [None, None]
    assert result["method"]["parameters"]["prompts"] == ["<OPEN_VOCABULARY_DETECTION>", "<OD>"]
    assert result["metrics"]["box"]["f1"]["value"] is not None
