"""Regions of several labels that show the same object become one."""

import numpy as np
import pytest
from earthinstruct_models.proposers.duplicates import merged

from earthinstruct import Proposals
from earthinstruct.regions import encode_mask


def proposals(*found):
    """Of (x, score): squares of 4 x 4 pixels in one row."""
    masks = [np.zeros((4, 20), dtype=bool) for _ in found]
    for mask, (x, _) in zip(masks, found, strict=True):
        mask[:, x : x + 4] = True
    boxes = np.array([[x, 0, 4, 4] for x, _ in found], dtype=float).reshape(-1, 4)
    return Proposals(boxes, tuple(map(encode_mask, masks)), np.array([score for _, score in found]))


SHIPS, HARBORS = proposals((0, 0.9), (10, 0.4)), proposals((1, 0.7), (16, 0.6))  # at 0 and 1: 12 of 20 pixels, IoU 0.6


def test_regions_of_one_object_have_the_scores_of_all_its_labels():
    regions, table = merged([SHIPS, HARBORS], 0.5)
    assert regions.boxes[:, 0].tolist() == [0, 16, 10]  # best first
    assert regions.scores.tolist() == [0.9, 0.6, 0.4]
    assert table.tolist() == [[0.9, 0.7], [0, 0.6], [0.4, 0]]
    assert regions.masks == (SHIPS.masks[0], HARBORS.masks[1], SHIPS.masks[1])


def test_regions_that_overlap_less_stay_apart():
    regions, table = merged([SHIPS, HARBORS], 0.6)
    assert regions.boxes[:, 0].tolist() == [0, 1, 16, 10]
    assert table.tolist() == [[0.9, 0], [0, 0.7], [0, 0.6], [0.4, 0]]


def test_of_one_label_the_best_score_stays():
    _, table = merged([proposals((0, 0.9), (0, 0.8))], 0.5)
    assert table.tolist() == [[0.9]]
    regions, table = merged([proposals((0, 0.9)), proposals((0, 0.8))], 1.0)  # not even the same pixels become one
    assert (len(regions), table.tolist()) == (2, [[0.9, 0], [0, 0.8]])


@pytest.mark.parametrize("found", [[], [proposals()], [proposals(), proposals()]])
def test_nothing_found_is_nothing(found):
    regions, table = merged(found, 0.5)
    assert len(regions) == 0
    assert table.shape == (0, len(found))
