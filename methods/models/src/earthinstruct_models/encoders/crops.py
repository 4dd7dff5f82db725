"""Crops for an encoder: where the image is cut around a box, and how crops are resized on a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

CROP_SCALE = 1.2  # a crop shows its box enlarged about the centre, clipped to the image
RESIZE_MODES = ("shortest", "squash")
ROUNDINGS = ("outward", "nearest")

Corners = tuple[int, int, int, int]  # left, top, right, bottom


def crop_corners(boxes: NDArray[np.float64], width: int, height: int, rounding: str = "outward") -> list[Corners]:
    """The corners (left, top, right, bottom) of boxes enlarged by `CROP_SCALE`, in whole pixels inside the image.

    Args:
        boxes: (n, 4), xywh in pixels.
        width: of the image, pixels.
        height: of the image, pixels.
        rounding: `outward`: the smallest crop that holds the enlarged box; `nearest`: each corner to the nearest pixel,
            halves to the even one, as Pillow's `Image.crop` does. A crop has one pixel at least.

    >>> crop_corners(np.array([[10.0, 10, 20, 20], [0, 0, 0, 0]]), 100, 30)
    [(8, 8, 32, 30), (0, 0, 1, 1)]
    >>> [crop_corners(np.array([[10.0, 10, 12, 14]]), 100, 30, rounding) for rounding in ROUNDINGS]
    [[(8, 8, 24, 26)], [(9, 9, 23, 25)]]
    """
    centre = boxes[:, :2] + boxes[:, 2:] / 2
    half = boxes[:, 2:] * CROP_SCALE / 2
    limit = np.array([width, height])
    down, up = (np.rint, np.rint) if rounding == "nearest" else (np.floor, np.ceil)
    low = np.clip(down(centre - half), 0, limit - 1)
    high = np.clip(up(centre + half), low + 1, limit)
    return [(int(x0), int(y0), int(x1), int(y1)) for (x0, y0), (x1, y1) in zip(low, high, strict=True)]


def resized_crops(
    picture: Tensor, corners: Sequence[Corners], side: int, *, mode: str = "shortest", kernel: str = "bicubic"
) -> Tensor:
    """Crop and resize with antialiasing on the picture's device; equal to Pillow within one or two grey levels.

    Args:
        picture: (3, height, width), grey levels 0 to 255: uint8 or float on a CPU, float elsewhere.
        corners: n crops inside the picture.
        side: of the results, pixels.
        mode: `shortest`: the shorter side becomes `side`, and the centre is kept; `squash`: both sides become `side`.
        kernel: `bicubic` or `bilinear`.

    Returns:
        (n, 3, side, side), integer grey levels, with the dtype and device of the picture.
    """
    from torch.nn.functional import interpolate

    results = picture.new_empty((len(corners), 3, side, side))
    for result, (left, top, right, bottom) in zip(results, corners, strict=True):
        width, height = right - left, bottom - top
        across, down = side, side
        if mode == "shortest":
            across, down = (side * length // min(width, height) for length in (width, height))
        cut = picture[None, :, top:bottom, left:right]
        resized = interpolate(cut, size=(down, across), mode=kernel, antialias=True)[0]
        row, column = (round((length - side) / 2) for length in (down, across))
        result.copy_(resized[:, row : row + side, column : column + side])
    return results.round_().clamp_(0, 255) if picture.is_floating_point() else results
