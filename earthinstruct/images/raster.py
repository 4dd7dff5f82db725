"""An image: its pixels, which of them hold data, and its place on the ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

NO_PLACE = "it has no coordinates on the ground"
Window = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels; x1 and y1 are one past the end


@dataclass(frozen=True)
class Place:
    """Where an image lies on the ground.

    Attributes:
        transform: a, b, c, d, e, f with x = a * column + b * row + c and y = d * column + e * row + f, in units of the
            coordinate reference system; column and row count pixels from the upper left corner of the image.
        crs: the coordinate reference system as "EPSG:32631" or WKT, or None if the file names none.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None

    def at(self, column: float, row: float) -> list[float]:
        """Convert a point of the image to coordinates x, y on the ground."""
        a, b, c, d, e, f = self.transform
        return [a * column + b * row + c, d * column + e * row + f]


@dataclass(frozen=True)
class Note:
    """A sentence on how the pixels differ from the stored ones.

    Attributes:
        text: about this image.
        of_many: the same without what differs from image to image, so that notes of many images can be counted.
    """

    text: str
    of_many: str

    @staticmethod
    def same(text: str) -> Note:
        """A note that reads the same for every image."""
        return Note(text, text)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, eq=False)
class Raster:
    """One image.

    Attributes:
        pixels: uint8 RGB (height, width, 3); pixels without data are black.
        valid: bool (height, width), which pixels have data; None if all have.
        place: its georeference, or None.
        no_place_reason: why `place` is None; None if it is not.
        notes: how the pixels differ from the stored ones; empty if they do not.
    """

    pixels: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None = None
    place: Place | None = None
    no_place_reason: str | None = None
    notes: tuple[Note, ...] = ()


class Scene(Protocol):
    """An open image file, whose pixels are read some at a time where its format allows it.

    Attributes:
        height: of the image, pixels.
        width: of the image, pixels.
        place: as in `Raster`, like the next two.
        no_place_reason: why `place` is None.
        notes: how the pixels differ from the stored ones.
    """

    height: int
    width: int
    place: Place | None
    no_place_reason: str | None

    @property
    def notes(self) -> tuple[Note, ...]:
        """See above."""
        ...

    def read(self, window: Window | None = None, step: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read some pixels.

        Args:
            window: the pixels to read; None: all.
            step: read about every n-th row and column of all pixels; only without a window.

        Returns:
            `pixels` and `valid` as in `Raster`.

        Raises:
            DataError: the file is damaged.
        """
        ...


def step_for(height: int, width: int, longest: int) -> int:
    """The least step with which no side has more pixels than `longest`."""
    return max(1, -(-max(height, width) // longest))


def blackened(pixels: NDArray[np.uint8], valid: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
    """Make pixels without data black, in place; returns `valid`, or None if every pixel has data."""
    if valid is None or valid.all():
        return None
    np.multiply(pixels, valid[..., None], out=pixels)  # without the indices that pixels[~valid] would make
    return valid
