"""Outlines enclose exactly the pixels of their mask, unless they may be simpler."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from earthinstruct.masks import decode_rles, encode_mask
from earthinstruct.report.outlines import mask_path, rings, simplified


def enclosed(ring):
    """Signed area (shoelace): positive for an outer ring, negative for a hole."""
    x, y = ring[:-1].T.astype(int)
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_rings_enclose_as_many_pixels_as_the_mask_has(mask):
    assert sum(enclosed(ring) for ring in rings(mask)) == mask.sum()


def test_a_hole_is_a_ring_of_its_own():
    mask = np.ones((3, 3), dtype=bool)
    mask[1, 1] = False
    assert sorted(enclosed(ring) for ring in rings(mask)) == [-1, 9]


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
    assert enclosed(kept) == pytest.approx(stairs.sum(), rel=0.05)
    assert {tuple(point) for point in kept} <= {tuple(point) for point in ring}
