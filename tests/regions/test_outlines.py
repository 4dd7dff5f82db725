"""Outlines enclose exactly the pixels of their mask, unless they may be simpler."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earthinstruct.regions import decode_rles, encode_mask, mask_path, polygons
from earthinstruct.regions.outlines import rings, signed_area, simplified

masks = arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8)))


@given(masks)
def test_rings_enclose_as_many_pixels_as_the_mask_has(mask):
    assert sum(signed_area(ring) for ring in rings(mask)) == mask.sum()


@given(masks)
def test_polygons_are_valid_and_cover_the_mask(mask):
    """No ring touches itself; each part has one outer ring that encloses its holes; drawn again, they are the mask."""
    covered = np.zeros(mask.shape, dtype=int)
    for outer, *holes in polygons(mask):
        assert signed_area(outer) > 0
        assert all(signed_area(hole) < 0 for hole in holes)
        for ring in (outer, *holes):
            points = [tuple(point) for point in ring[:-1].tolist()]
            assert len(set(points)) == len(points)
        part = inside(outer, mask.shape)
        for hole in holes:
            assert (inside(hole, mask.shape) & ~part).sum() == 0
            part &= ~inside(hole, mask.shape)
        covered += part
    assert covered.tolist() == mask.astype(int).tolist()


def inside(ring, shape):
    """The pixels whose centre has an odd number of vertical sides of the ring at its left."""
    drawn = np.zeros(shape, dtype=bool)
    for (x, y0), (_, y1) in pairwise(ring.tolist()):
        if y0 != y1:
            drawn[min(y0, y1) : max(y0, y1), x:] ^= True
    return drawn


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    assert [[ring.tolist() for ring in polygon] for polygon in polygons(np.eye(2, dtype=bool))] == [
        [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]],
        [[[1, 1], [2, 1], [2, 2], [1, 2], [1, 1]]],
    ]


def test_a_hole_is_a_ring_of_its_own():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False
    assert sorted(signed_area(ring) for ring in rings(mask)) == [-1, 9]


def path_of(mask, tolerance=0.0):
    return mask_path(decode_rles([encode_mask(mask)]), 0, tolerance)


def test_a_path_is_in_the_pixels_of_the_image():
    mask = np.zeros((20, 30), dtype=bool)
    mask[5:8, 10:14] = True
    assert path_of(mask) == "M10 5l4 0 0 3 -4 0z"
    assert path_of(np.zeros((20, 30), dtype=bool)) == ""
    assert path_of(np.ones((2, 3), dtype=bool)) == "M0 0l3 0 0 2 -3 0z"


def test_stairs_become_a_line_and_stay_within_the_tolerance():
    stairs = np.tril(np.ones((40, 40), dtype=bool))
    exact, simple = path_of(stairs), path_of(stairs, 1.0)
    assert len(re.findall(r"-?\d+ -?\d+", exact)) > 70
    assert len(re.findall(r"-?\d+ -?\d+", simple)) <= 5
    (ring,) = rings(stairs)
    kept = simplified(ring, 1.0)
    assert signed_area(kept) == pytest.approx(stairs.sum(), rel=0.05)
    assert {tuple(point) for point in kept} <= {tuple(point) for point in ring}
