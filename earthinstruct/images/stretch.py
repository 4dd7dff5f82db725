"""Values of any type to 8 bits: one rule for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.images.options import ImageOptions
from earthinstruct.images.raster import Note

_LOW, _HIGH = 2, 98  # percentiles
SAMPLE = 2048  # percentiles are computed on the image subsampled to this longest side
_ROWS = 512  # rows that are converted at once, to bound memory
_MANY = 2  # percent; an extreme value of more pixels is likely to mean no data: it sets a percentile
_BRIGHT = 0.5  # floats from 0 to 1 that stay below are reflectances rather than a picture


Limits = tuple[float, float]  # the values that become 0 and 255


@dataclass(frozen=True, eq=False)
class Band:
    """One stored band, all of it or a part.

    Attributes:
        values: (height, width), of any type.
        valid: bool (height, width); None: every value is data.
        bits: the bits that are used, if fewer than the type has.
    """

    values: NDArray[np.generic]
    valid: NDArray[np.bool_] | None = None
    bits: int | None = None

    def every(self, step: int, first: int) -> Band:
        """Every n-th row and column, from a first row on."""
        part = (slice(first, None, step), slice(None, None, step))
        return replace(self, values=self.values[part].copy(), valid=None if self.valid is None else self.valid[part])

    @staticmethod
    def stacked(bands: Sequence[Band]) -> Band:
        """Join parts of one band, from top to bottom."""
        valid = [np.ones(band.values.shape, dtype=bool) if band.valid is None else band.valid for band in bands]
        return replace(bands[0], values=np.concatenate([band.values for band in bands]), valid=np.concatenate(valid))

    def data(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The values, and which of these are data: (k,) each."""
        values = self.values.astype(np.float64).ravel()
        return values, np.ones(len(values), dtype=bool) if self.valid is None else self.valid.ravel()


def limits_of(sample: Sequence[Band], options: ImageOptions) -> tuple[list[Limits | None], list[Note]]:
    """Find the values of each band that become 0 and 255 (None: shown as they are), with notes on how.

    Args:
        sample: the bands that are shown, each once, subsampled to at most `SAMPLE` pixels a side.
        options: the stretch.
    """
    if all(band.values.dtype == np.uint8 for band in sample):
        few = [band.bits is not None and band.bits < 8 for band in sample]
        return [_range_of(band) if short else None for band, short in zip(sample, few, strict=True)], []
    data = [band.data() for band in sample]
    ranges, note = _ranges(sample, [values[valid] for values, valid in data], options.stretch)
    return [*ranges], [note, *_undeclared(data)]


def eight_bits(values: NDArray[np.generic], limits: Limits | None) -> NDArray[np.uint8]:
    """Convert values to uint8."""
    return np.asarray(values, dtype=np.uint8) if limits is None else _scaled(values, *limits)


def _ranges(
    bands: Sequence[Band], samples: Sequence[NDArray[np.float64]], stretch: str | tuple[float, float] | None
) -> tuple[list[tuple[float, float]], Note]:
    """The values of each band that become 0 and 255, and a note that says it."""
    kind = bands[0].values.dtype
    together = np.concatenate(samples)
    if stretch is None:
        picture = kind.kind == "f" and len(together) and together.min() >= 0 and _BRIGHT < together.max() <= 1
        stretch = "none" if picture else "joint"
    if isinstance(stretch, tuple):
        return [stretch] * len(bands), Note.same(f"{kind}: {stretch[0]:g} is shown as 0, {stretch[1]:g} as 255")
    if stretch == "none":
        low, high = _range_of(bands[0])
        return [(low, high)] * len(bands), Note.same(
            f"{kind} from {low:g} to {high:g} shown as 0 to 255, without a stretch; --stretch joint stretches it"
        )
    if stretch == "band":
        return [_percentiles(values) for values in samples], Note.same(
            f"{kind} stretched to 8 bits, percentiles {_LOW} to {_HIGH} of each band"
        )
    return [_percentiles(together)] * len(bands), Note.same(
        f"{kind} stretched to 8 bits, percentiles {_LOW} to {_HIGH} over all bands"
    )


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (_LOW, _HIGH))
    return float(low), float(high)


def _range_of(band: Band) -> tuple[float, float]:
    """The range of the type, from 0."""
    kind = band.values.dtype
    if kind.kind == "f":
        return 0.0, 1.0
    bits = band.bits or 8 * kind.itemsize - (kind.kind == "i")
    return 0.0, float((1 << bits) - 1)


def _scaled(values: NDArray[np.generic], low: float, high: float) -> NDArray[np.uint8]:
    factor = 255 / (high - low) if high > low else 0.0
    out = np.empty(values.shape, dtype=np.uint8)
    for row in range(0, len(values), _ROWS):
        part = (values[row : row + _ROWS].astype(np.float64) - low) * factor
        out[row : row + _ROWS] = np.nan_to_num(part, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round()
    return out


def _undeclared(samples: Sequence[tuple[NDArray[np.float64], NDArray[np.bool_]]]) -> list[Note]:
    """A note where many pixels have one extreme value in all bands."""
    valid = np.logical_and.reduce([valid for _, valid in samples])
    values = np.stack([values for values, _ in samples])[:, valid]
    if not values.size:
        return []
    notes = []
    for value, name in {values.max(): "highest", values.min(): "lowest"}.items():
        share = 100 * (values == value).all(axis=0).mean()
        if share > _MANY:
            notes.append(
                Note(
                    f"{share:.0f} % of the pixels have the {name} value, {value:.10g}: if they hold no data, give "
                    f"--nodata {value:.10g}",
                    f"more than {_MANY} % of the pixels have the {name} value: if they hold no data, give --nodata",
                )
            )
    return notes
