"""Values of any type to 8 bits: one rule for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.images.options import ImageOptions
from earthinstruct.images.raster import Note

_LOW, _HIGH = 2, 98  # percentiles
_SAMPLE = 2048  # percentiles are computed on the image subsampled to this longest side
_ROWS = 512  # rows that are converted at once, to bound memory
_MANY = 2  # percent; an extreme value of more pixels is likely to mean no data: it sets a percentile
_BRIGHT = 0.5  # floats from 0 to 1 that stay below are reflectances rather than a picture


@dataclass(frozen=True, eq=False)
class Band:
    """One stored band.

    Attributes:
        values: (height, width), of any type.
        valid: bool (height, width); None: every value is data.
        bits: the bits that are used, if fewer than the type has.
    """

    values: NDArray[np.generic]
    valid: NDArray[np.bool_] | None = None
    bits: int | None = None

    @property
    def is_eight_bits(self) -> bool:
        """Whether the values are shown as they are."""
        return self.values.dtype == np.uint8

    def sample(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Some of the values, and which of these are data: (k,) each."""
        step = max(1, -(-max(self.values.shape) // _SAMPLE))
        values = self.values[::step, ::step].astype(np.float64).ravel()
        valid = np.ones(len(values), dtype=bool) if self.valid is None else self.valid[::step, ::step].ravel()
        return values, valid


def eight_bits(bands: Sequence[Band], options: ImageOptions) -> tuple[list[NDArray[np.uint8]], list[Note]]:
    """Convert the bands of one image to uint8 (height, width), with notes on how.

    Args:
        bands: the bands that are shown, each once.
        options: the stretch.
    """
    if all(band.is_eight_bits for band in bands):
        return [_of_few_bits(band) for band in bands], []
    samples = [band.sample() for band in bands]
    ranges, note = _ranges(bands, [values[valid] for values, valid in samples], options.stretch)
    converted = [_scaled(band.values, *limits) for band, limits in zip(bands, ranges, strict=True)]
    return converted, [note, *_undeclared(samples)]


def _of_few_bits(band: Band) -> NDArray[np.uint8]:
    values = np.asarray(band.values, dtype=np.uint8)
    return values if band.bits is None or band.bits >= 8 else _scaled(values, 0, (1 << band.bits) - 1)


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
