"""Hole filling on runs against scipy's on drawn masks."""

import numpy as np
from earthinstruct_models.proposers.holes import fill_holes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from earthinstruct.regions import decode_rles, encode_masks

stacks = st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(bool, shape))


@given(stacks)
def test_filled_masks_are_those_of_scipy(masks):
    filled = fill_holes(decode_rles(encode_masks(masks)))
    assert filled.encode() == encode_masks(np.stack([ndimage.binary_fill_holes(mask) for mask in masks]))


def test_a_hole_is_filled_where_the_first_pixel_is_foreground_and_where_the_mask_parts_the_image():
    mask = np.zeros((5, 9), dtype=bool)
    mask[:, 2] = True  # parts the image: what lies left of it is no hole
    mask[0, 0] = True
    mask[1:4, 5:8] = True
    mask[2, 6] = False
    expected = mask.copy()
    expected[2, 6] = True
    assert fill_holes(decode_rles(encode_masks(mask[None]))).encode() == encode_masks(expected[None])


def test_no_masks_have_no_holes():
    assert len(fill_holes(decode_rles([]))) == 0
