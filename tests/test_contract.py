import pickle

import numpy as np
import pytest

from earthinstruct import Instruction, Prediction, Proposals, Usage
from earthinstruct.contract import check_prediction
from earthinstruct.errors import ContractError, UnknownNameError
from earthinstruct.predictions import Record
from earthinstruct.regions import encode_mask

MASK = encode_mask(np.ones((4, 6), dtype=bool))


def test_an_open_vocabulary_instruction_holds_its_categories():
    instruction = Instruction("open_vocabulary", "Count ships.", ["ship"])
    assert instruction.categories == ("ship",)
    assert instruction.parent is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("open_vocabulary", "Count."), "needs categories"),
        (("open_vocabulary", "Count.", ("ship", "ship")), "'ship' twice"),
        (("open_vocabulary", "Count.", ("ship", "")), r"categories\[1\].*''"),
        (("open_vocabulary", "Count.", "ship"), "sequence of strings"),
        (("open_ended", "Count.", ("ship",)), "has no categories"),
        (("open_ended", "Count.", (), "sports field"), "has no parent"),
        (("open_subclass", "Count."), "needs a parent"),
        (("open_ended", " "), "non-empty"),
    ],
)
def test_an_instruction_that_contradicts_itself_is_refused(arguments, message):
    with pytest.raises(ContractError, match=message):
        Instruction(*arguments)


def test_an_unknown_setting_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match="did you mean 'open_ended'"):
        Instruction("open_end", "Count.")


def test_a_prediction_is_copied_and_read_only():
    boxes = np.array([[1.0, 2, 3, 4]])
    prediction = Prediction(["ship"], boxes, [MASK], [0.5], {"ship": 1})
    boxes[:] = 0
    assert prediction.boxes.tolist() == [[1, 2, 3, 4]]
    assert prediction.boxes.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        prediction.boxes[0, 0] = 5
    with pytest.raises(TypeError):
        prediction.counts["ship"] = 2


def test_counts_without_regions_name_no_instances():
    only = Prediction(counts={"ship": 2})
    assert (only.boxes, len(only)) == (None, 0)
    assert pickle.loads(pickle.dumps(only)).boxes is None
    for nothing in (
        Prediction(),
        Prediction(boxes=[], counts={"ship": 2}),
        Prediction(masks=[], counts={}),
        Prediction(scores=[], counts={}),
    ):
        assert nothing.boxes.shape == (0, 4)
    with pytest.raises(ContractError, match="1 label for 0 boxes"):
        Prediction(["ship"], counts={"ship": 1})


def test_an_empty_prediction_has_shape_0_4():
    prediction = Prediction(labels=[], boxes=[], masks=[], scores=[], counts={})
    assert prediction.boxes.shape == (0, 4)
    assert prediction.scores.shape == (0,)
    assert len(prediction) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"boxes": [[1, 2, 3, 4], [1, 2, -3, 4]], "labels": ["a", "b"]}, r"boxes\[1\].*-3\.0"),
        ({"boxes": [[1, 2, float("nan"), 4]], "labels": ["a"]}, r"boxes\[0\] must be finite.*nan"),
        ({"boxes": [[1, 2, 3]], "labels": ["a"]}, r"boxes must have shape \(n, 4\), got \(1, 3\)"),
        ({"boxes": [[1, 2, 3, 4], [1, 2, 3]], "labels": ["a", "b"]}, r"boxes\[1\] must be 4 numbers"),
        ({"boxes": [[1, 2, 3, "x"]], "labels": ["a"]}, r"boxes\[0\] must be 4 numbers.*'x'"),
        ({"boxes": [[1, 2, 3, 4]], "labels": []}, "0 labels for 1 box"),
        ({"boxes": [[1, 2, 3, 4]], "labels": [3]}, r"labels\[0\].*3"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "scores": [0.1, 0.2]}, "scores has 2 entries for 1 box"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "scores": [float("inf")]}, r"scores\[0\].*inf"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "scores": ["high"]}, r"scores\[0\] must be a number.*high"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": []}, "masks has 0 entries for 1 box"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": [{"size": [4, 6]}]}, r"masks\[0\].*'counts'"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": [{"size": [0, 6], "counts": "0"}]}, r"masks\[0\]: size"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": [{"size": [4, 6], "counts": "~~"}]}, r"masks\[0\]"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": [{"size": [4, 6], "counts": [24]}]}, "encode_runs"),
        ({"counts": {"ship": -1}}, r"counts\['ship'\].*-1"),
        ({"counts": {"ship": 1.5}}, r"counts\['ship'\].*1\.5"),
        ({"counts": {"": 1}}, "non-empty"),
        ({"counts": {"ship": 10**30}}, r"counts\['ship'\] must be an integer >= 0 and at most 2147483648, got 10+$"),
        ({"counts": {"ship\ud83d": 1}}, "half characters"),
        ({"boxes": [[1, 2, 3, 4]], "labels": ["ship\ud83d"]}, r"labels\[0\] must be .*half characters.*'ship\\ud83d'"),
        ({"boxes": [[1, 2, 3, 4]], "labels": np.array("a")}, "labels must be a sequence of strings, got 'a'"),
        (
            {"boxes": [[1, 2, 1e308, 4]], "labels": ["a"]},
            r"boxes\[0\] must be .* within 1e\+09 pixels, .* got \[1\.0, 2\.0",
        ),
        ({"boxes": [["1", "2", "3", "4"]], "labels": ["a"]}, r"boxes\[0\] must be 4 numbers, got \['1'"),
        ({"boxes": np.array([[1j, 2, 3, 4]]), "labels": ["a"]}, "boxes must be numbers"),
        (
            {"boxes": [[1, 2, 3, 4]], "labels": ["a"], "masks": 5},
            "masks must be a sequence of COCO RLEs or None, got 5",
        ),
        ({"counts": [("ship", 1)]}, "mapping"),
        ({"proposals": [[1, 2, 3, 4]]}, "must be a Proposals"),
        ({"usage": {"seconds": 3}}, "must be a Usage"),
    ],
)
def test_a_malformed_prediction_names_index_and_value(fields, message):
    with pytest.raises(ContractError, match=message):
        Prediction(**fields)


def test_malformed_proposals_are_named_as_such():
    with pytest.raises(ContractError, match=r"proposals\.boxes\[0\]"):
        Proposals([[0, 0, -1, 1]])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"seconds": {"counter": -1}}, r"seconds\['counter'\]"),
        ({"input_tokens": 1.5}, "input_tokens"),
        ({"events": {"lost": -1}}, r"usage\.events\['lost'\] must be an integer >= 0 .*, got -1"),
        (
            {"seconds": {"counter": 1e308}},
            r"seconds\['counter'\] must be a number from 0 to 1e\+09, got 1e\+308",
        ),
        ({"seconds": None}, r"usage\.seconds must be a mapping"),
        ({"output_tokens": 1 << 63}, "output_tokens"),
        ({"events": {"lost": True}}, r"usage\.events\['lost'\]"),
        ({"events": {" ": 1}}, "names are non-empty strings"),
        ({"events": ["lost"]}, r"usage\.events must be a mapping"),
    ],
)
def test_malformed_usage_is_refused(fields, message):
    with pytest.raises(ContractError, match=message):
        Usage(**fields)


def test_usages_add_up():
    one = Usage({"a": 1.0, "b": 2.0}, 3, 4, {"lost": 1})
    assert Usage.join([one, Usage({"b": 0.5}, 1), one]) == Usage({"a": 2.0, "b": 4.5}, 7, 8, {"lost": 2})
    assert Usage.join([]) == Usage()


def test_a_mask_of_another_size_than_the_image_is_refused():
    proposals = Proposals([[0, 0, 6, 4]], [MASK])
    asked = Instruction("open_ended", "Find everything.")
    check_prediction(Prediction(["a"], [[0, 0, 6, 4]], [MASK], proposals=proposals), asked, 4, 6)
    with pytest.raises(ContractError, match=r"^masks\[0\] has size \[4, 6\], the image is \[6, 4\]"):
        check_prediction(Prediction(["a"], [[0, 0, 6, 4]], [MASK]), asked, 6, 4)
    with pytest.raises(ContractError, match=r"^proposals\.masks\[0\]"):
        check_prediction(Prediction(proposals=proposals), asked, 6, 4)


def test_a_prediction_travels_between_processes():
    prediction = Prediction(
        labels=["ship"],
        boxes=[[1, 2, 3, 4]],
        masks=[MASK],
        counts={"ship": 2},
        proposals=Proposals([[0, 0, 5, 5]]),
        usage=Usage({"total": 1.5}, 3, 4, {"retries": 1}),
    )
    again = pickle.loads(pickle.dumps(prediction))
    assert Record.of("image", again) == Record.of("image", prediction)
    with pytest.raises(TypeError):
        again.counts["ship"] = 3


def test_points_alone_are_an_answer() -> None:
    found = Prediction(labels=["ship", "ship"], points=[[1, 2.5], [3, 4]], scores=[0.5, 0.25])
    assert found.boxes is None
    assert (found.points.tolist(), len(found)) == ([[1, 2.5], [3, 4]], 2)
    assert not found.points.flags.writeable
    assert pickle.loads(pickle.dumps(found)).points.tolist() == found.points.tolist()
    nothing = Prediction(points=[])
    assert (nothing.points.shape, nothing.boxes) == ((0, 2), None)
    both = Prediction(labels=["ship"], boxes=[[0, 0, 4, 4]], points=[[1, 1]])
    assert (both.boxes.tolist(), both.points.tolist()) == ([[0, 0, 4, 4]], [[1, 1]])


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"labels": ["ship"], "points": [[1, 2, 3]]}, r"points must have shape \(n, 2\), got \(1, 3\)"),
        ({"labels": ["ship"], "points": [[1, "2"]]}, r"points\[0\] must be 2 numbers, got"),
        ({"labels": ["ship"], "points": [[1, float("nan")]]}, r"points\[0\] must be finite"),
        ({"labels": ["ship"], "points": [[1, -2e9]]}, r"points\[0\] must be \[x, y\] within 1e\+09 pixels"),
        ({"labels": [], "points": [[1, 2]]}, "0 labels for 1 point"),
        ({"labels": ["ship"], "points": [[1, 2]], "scores": [1, 2]}, "scores has 2 entries for 1 point"),
        ({"labels": ["ship"], "boxes": [[0, 0, 1, 1]], "points": []}, "points has 0 entries for 1 box"),
        (
            {"labels": ["ship"], "points": [[1, 2]], "masks": []},
            "masks need boxes, and this prediction has points alone",
        ),
    ],
)
def test_malformed_points_are_refused(fields, error) -> None:
    with pytest.raises(ContractError, match=error):
        Prediction(**fields)
