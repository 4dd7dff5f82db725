import numpy as np
import pytest
from earthinstruct_models.proposers.segments import SegmentsProposer
from earthinstruct_models.store import KeptProposer

from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import decode_rles

RECTANGLES = {(20, 30, 40, 24): (200, 40, 40), (90, 20, 18, 50): (240, 240, 240), (60, 100, 60, 30): (30, 60, 200)}


def three_rectangles():
    image = np.full((160, 150, 3), (90, 120, 70), dtype=np.uint8)
    for (x, y, w, h), colour in RECTANGLES.items():
        image[y : y + h, x : x + w] = colour
    return image


def test_every_rectangle_is_proposed():
    proposals = SegmentsProposer().propose(three_rectangles())
    for x, y, w, h in RECTANGLES:
        distance = np.abs(proposals.boxes - np.array([x, y, w, h])).max(axis=1)
        assert distance.min() <= 3
    assert (np.diff(proposals.scores) <= 0).all()


def test_a_limit_of_numpy_can_be_kept(tmp_path):
    kept = KeptProposer(SegmentsProposer(limit=np.int64(2)), cache=tmp_path)
    assert len(kept.propose(three_rectangles())) == 2


def test_masks_match_boxes_and_are_limited():
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8)
    image = np.kron(noise, np.ones((10, 10, 1), np.uint8))
    proposals = SegmentsProposer().propose(image)
    assert 0 < len(proposals) <= 200
    np.testing.assert_array_equal(decode_rles(proposals.masks).boxes, proposals.boxes)
    assert len(SegmentsProposer(limit=5).propose(image)) == 5


@pytest.mark.parametrize("shape", [(64, 64), (1, 1), (3, 90), (128, 200)])
def test_a_flat_image_has_next_to_nothing(shape):
    assert len(SegmentsProposer().propose(np.full((*shape, 3), 100, dtype=np.uint8))) <= 5


@pytest.mark.parametrize("limit", [0, -1, 2.5, True, "5"])
def test_a_limit_that_is_no_number_of_proposals_is_refused(limit):
    with pytest.raises(EarthInstructError, match="limit must be an integer >= 1, got"):
        SegmentsProposer(limit=limit)


def test_description():
    described = SegmentsProposer(limit=7).describe()
    assert described["proposer"] == "segments"
    assert described["limit"] == 7
    assert described["weights"] == []
