"""How the pixels of an image file become 8-bit RGB: the choices of the user, the same for every verb."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from earthinstruct.errors import ContractError

STRETCHES = ("joint", "band", "none")
_LOW_HIGH = "a lower and a higher number, such as 0,3000"


@dataclass(frozen=True)
class ImageOptions:
    """How image files are read. The default fits most files.

    Attributes:
        bands: one or three band numbers (red, green, blue), counted from 1. None: the bands that the file names as red,
            green and blue, otherwise the first three, otherwise the first.
        stretch: how values of more than 8 bits become 0 to 255. "joint": the 2nd percentile of the valid pixels becomes
            0 and the 98th 255, over all bands together, which keeps colours; "band": likewise, each band alone;
            "none": the range of the type, or 0 to 1 for floats; two numbers: the values that become 0 and 255. None:
            "none" for floats from 0 to 1 that exceed 0.5, "joint" for all other values.
        nodata: pixels with this value in every band have no data, beside those that the file marks.

    Raises:
        ContractError: a value is out of range.
    """

    bands: tuple[int, ...] | None = None
    stretch: str | tuple[float, float] | None = None
    nodata: float | None = None

    def __post_init__(self) -> None:
        if self.bands is not None and len(self.bands) not in (1, 3):
            raise ContractError(
                f"--bands is {list(self.bands)}; expected one band or three (red, green, blue), such as 4,3,2"
            )
        if isinstance(self.stretch, str) and self.stretch not in STRETCHES:
            raise ContractError(f"--stretch is {self.stretch!r}; expected {', '.join(STRETCHES)}, or {_LOW_HIGH}")
        if isinstance(self.stretch, tuple) and not (
            len(self.stretch) == 2 and all(map(math.isfinite, self.stretch)) and self.stretch[0] < self.stretch[1]
        ):
            raise ContractError(f"--stretch is {list(self.stretch)}; expected {_LOW_HIGH}")
        if self.nodata is not None and not math.isfinite(self.nodata):
            raise ContractError(f"--nodata is {self.nodata}; expected a number (NaN and infinity are never data)")

    @staticmethod
    def of(
        bands: str | Sequence[int] | None = None,
        stretch: str | Sequence[float] | None = None,
        nodata: float | None = None,
    ) -> ImageOptions:
        """Make options from values as on the command line, where numbers may be text with commas.

        Raises:
            ContractError: a value is malformed or out of range.

        >>> ImageOptions.of("4,3,2", "0,3000", 0)
        ImageOptions(bands=(4, 3, 2), stretch=(0.0, 3000.0), nodata=0.0)
        """
        if isinstance(bands, str):
            try:
                bands = [int(part) for part in bands.split(",")]
            except ValueError:
                raise ContractError(f"--bands is {bands!r}; expected numbers from 1, such as 4,3,2") from None
        if isinstance(stretch, str) and "," in stretch:
            try:
                stretch = [float(part) for part in stretch.split(",")]
            except ValueError:
                raise ContractError(f"--stretch is {stretch!r}; expected {_LOW_HIGH}") from None
        if stretch is not None and not isinstance(stretch, str):
            low, high = [float(value) for value in stretch] if len(stretch) == 2 else (math.nan, math.nan)
            stretch = (low, high)
        return ImageOptions(
            None if bands is None else tuple(int(band) for band in bands),
            stretch,
            None if nodata is None else float(nodata),
        )
