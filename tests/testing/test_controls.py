"""Controls bound every score: oracle 1, empty 0."""

import numpy as np
import pytest

from earthinstruct import Instruction, Prediction, evaluate
from earthinstruct.contract import ControlMethod
from earthinstruct.datasets import draw_scenes
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_rles, encode_mask
from earthinstruct.registry import make_method
from earthinstruct.testing import check_method
from earthinstruct.testing.controls import JitteredOracle, points_in

CONTROLS = ("oracle", "oracle-jittered", "empty", "random", "first-category", "constant")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "few"
    draw_scenes(folder, "val", 6)
    return str(folder / "annotations.json")


def scores(method, scenes, tmp_path, protocol="standard"):
    evaluation = evaluate(method, scenes, output=tmp_path, protocol=protocol)
    assert all(result.run.n_failed == 0 for result in evaluation.results)
    assert all(result.method.control for result in evaluation.results)
    return [result.metrics for result in evaluation.results]


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_the_oracle_scores_1_everywhere(scenes, tmp_path, protocol):
    for metrics in scores("oracle", scenes, tmp_path, protocol):
        for value in (metrics.counting.f1, metrics.box.f1, metrics.mask.f1, metrics.mask.miou):
            assert value.value == 1
            low, high = value.ci95
            assert 0 < low < high == 1  # five images do not show that no other image has an error
        if protocol == "standard":  # `paper` looks at 100 detections an image, and some scenes have more objects
            assert metrics.box.ap_nc50.value == metrics.mask.ap_nc50.value == 1


def test_the_cap_of_protocol_paper_shows_on_a_dense_scene(scenes, tmp_path):
    assert scores("oracle", scenes, tmp_path, "paper")[0].box.ap_nc50.value < 1


def test_the_empty_control_scores_0_everywhere(scenes, tmp_path):
    for metrics in scores("empty", scenes, tmp_path):
        for value in (metrics.counting.f1, metrics.box.f1, metrics.mask.f1, metrics.mask.miou, metrics.box.ap_nc50):
            assert value.value == 0


def test_the_jittered_oracle_counts_right_and_loses_overlap(scenes, tmp_path):
    metrics = scores("oracle-jittered", scenes, tmp_path)[0]
    assert metrics.counting.f1.value == 1
    assert 0.5 < metrics.box.f1.value < 1
    assert 0 < metrics.mask.miou.value < 1


def test_without_a_shift_the_jittered_oracle_is_the_oracle(scenes, tmp_path):
    metrics = scores(JitteredOracle(shift=0), scenes, tmp_path)[0]
    assert metrics.mask.f1.value == metrics.mask.miou.value == 1


def test_the_random_control_counts_right_and_finds_little(scenes, tmp_path):
    metrics = scores("random", scenes, tmp_path)[0]
    assert metrics.counting.f1.value == 1
    assert metrics.box.f1.value < 0.2


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_keep_the_contract(name):
    method = make_method(name)
    assert isinstance(method, ControlMethod)
    assert [check for check in check_method(method) if check.problem] == []


def test_what_a_control_draws_depends_on_the_image_alone():
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    instruction, targets = Instruction("open_ended", "Count."), Prediction(["a"], [[2, 2, 10, 10]])
    first, second = (make_method("random").predict_with_targets(image, instruction, targets) for _ in range(2))
    assert np.array_equal(first.boxes, second.boxes)


def test_what_leaves_the_image_is_cut_off():
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    drawn = np.ones((20, 20), dtype=bool)
    targets = Prediction(["a"] * 8, [[0, 0, 20, 20]] * 8, [encode_mask(drawn)] * 8)
    moved = JitteredOracle(shift=1.5).predict_with_targets(image, Instruction("open_ended", "Count."), targets)
    areas = decode_rles(moved.masks).areas.tolist()
    kept = [max(0, 20 - abs(x)) * max(0, 20 - abs(y)) for x, y, _, _ in moved.boxes.tolist()]
    assert areas == kept
    assert 0 in kept
    assert any(kept)


def test_an_absurd_shift_is_refused():
    with pytest.raises(EarthInstructError, match="shift must be"):
        make_method("oracle-jittered", {"shift": -1})


@pytest.mark.parametrize(("name", "least", "most"), [("oracle", 1, 1), ("empty", 0, 0), ("random", 0, 0.4)])
def test_controls_bound_the_scores_of_points(name, least, most, scenes, tmp_path):
    method = make_method(name, {"points": True})
    assert method.name == f"{name}-points"  # a row of its own beside the control with boxes
    assert method.describe()["parameters"]["points"] is True
    assert "name" not in method.describe()["parameters"]
    metrics = evaluate(method, scenes, setting="open_vocabulary", output=tmp_path).results[0].metrics
    assert least <= metrics.point.f1.value <= most
    assert metrics.box.f1.value is None
    assert metrics.counting.source == "instances"
    assert not [check for check in check_method(method) if check.problem]


def test_the_points_of_the_oracle_lie_in_masks_with_a_hole_and_beside_their_box():
    drawn = np.zeros((3, 20, 20), dtype=bool)
    drawn[0, 2:12, 2:12] = True
    drawn[0, 4:10, 4:10] = False  # a ring
    drawn[1, 2:18, 15] = drawn[1, 17, 5:16] = True  # an L
    boxes = [[2, 2, 10, 10], [5, 2, 11, 16], [1, 1, 4, 4]]  # the last mask is empty
    points = points_in(Prediction(["a"] * 3, boxes, [encode_mask(one) for one in drawn]))
    assert all(drawn[i][int(y), int(x)] for i, (x, y) in enumerate(points[:2].tolist()))
    assert points[2].tolist() == [3, 3]
    assert points_in(Prediction(["a"], [[2, 3, 4, 5]])).tolist() == [[4, 5.5]]
