"""Where counting breaks: the scores of counts by the number of objects and by their size.

An entry is an image and a category. Its number of objects and the size of its median object say which bands it is in.
Every score of a band is a function of the sums over its entries, of all categories of the group `all`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.intervals import NO_INTERVAL
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.sizes import SIZES, sizes_of
from earthinstruct.metrics.summary import NO_TRUTH, Summary, value_of
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import CountingBand, CountingLimits, Value

# band of numbers of objects -> the smallest one; each goes up to below the next
DENSITIES = {"0": 0, "1": 1, "2-5": 2, "6-20": 6, "21-100": 21, "101+": 101}
LARGEST_ERROR = 0.2  # relative; up to it, a method is said to count
NO_OBJECTS = "no objects in this band"
NO_ENTRIES = "no image and category in this band"


def median_sizes(truth: Truth) -> NDArray[np.int8]:
    """The size of the median object by box (of two, the smaller) of each image and category: int8 (n, c).

    An index into `SIZES`; -1 without objects.
    """
    size = sizes_of(truth.instances, "box")
    up_to = np.stack([count_per_image(truth.instances, *truth.shape, size <= s) for s in range(len(SIZES))])
    median = (up_to < (up_to[-1] + 1) // 2).sum(axis=0)
    return np.where(up_to[-1] > 0, median, -1).astype(np.int8)


def counting_limits(summary: Summary, sizes: NDArray[np.int8]) -> CountingLimits:
    """The counts by band, and the number of objects up to which they are right within 20 %.

    Args:
        summary: with the tally `counting`.
        sizes: int8 (n, c), as `median_sizes` gives them, of the images of that tally.
    """
    tally, members = summary.tallies["counting"], summary.groups["all"]
    columns = {name: column[:, members].astype(np.int64) for name, column in tally.columns.items()}
    objects = columns["tp"] + columns["fn"]
    bands = [*_split(objects, list(DENSITIES.values())), *(sizes[:, members] == s for s in range(len(SIZES)))]
    names = tuple(f"{b}" for b in range(len(bands)))

    def by_band(column: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.stack([np.where(inside, column, 0).sum(axis=1) for inside in bands], axis=1)

    counted = Tally(tally.images, names, {name: by_band(column) for name, column in columns.items()})
    right = (columns["fp"] == 0) & (columns["fn"] == 0)
    entries = Tally(
        tally.images, names, {"right": by_band(right.astype(np.int64)), "targets": by_band(np.ones_like(objects))}
    )
    f1 = summary.by_part(counted, scores.f1, "counting", NO_OBJECTS)
    error = summary.by_part(counted, scores.relative_error, "counting", NO_OBJECTS, bounded=False)
    share = summary.by_part(entries, _share_right, "counting", NO_ENTRIES)
    sums = entries.totals | counted.totals
    integers = (sums[name].tolist() for name in ("targets", "right", "tp", "fp", "fn"))
    found = [CountingBand(*of) for of in zip(*integers, f1, error, share, strict=True)]
    density = dict(zip(DENSITIES, found, strict=False))
    up_to, never = counts_up_to(list(density.values()), float(objects.max(initial=0)))
    return CountingLimits(up_to, never, density, dict(zip(SIZES, found[len(DENSITIES) :], strict=True)))


def _split(objects: NDArray[np.int64], least: Sequence[int]) -> list[NDArray[np.bool_]]:
    band = np.searchsorted(least, objects, side="right") - 1
    return [band == b for b in range(len(least))]


def _share_right(columns: Columns) -> NDArray[np.float64]:
    return np.asarray(columns["right"] / np.maximum(columns["targets"], 1))


def counts_up_to(bands: Sequence[CountingBand], most: float) -> tuple[Value, bool]:
    """The number of objects at which the relative error passes 20 %, and whether it never does.

    The error is interpolated between the bands: a band stands at the mean number of objects of its entries, and numbers
    of objects are interpolated by their logarithm. 0 if the first band is above 20 %; `most` if no band is. The
    interval goes from where the upper ends of the bands' intervals pass 20 % to where their lower ends do; a band
    without an interval may have any error.

    Args:
        bands: by increasing number of objects; those without objects are left out.
        most: the largest number of objects of an entry.
    """
    bands = [band for band in bands if band.n_objects]
    if not bands:
        return Value(None, reason=NO_TRUTH), False
    objects = [band.n_objects / band.n_entries for band in bands]
    value = _passes(objects, [float(band.relative_error) for band in bands])
    known = [band.relative_error.ci95 for band in bands]
    interval = None
    if any(known):
        lows, highs = zip(*(of or (0.0, math.inf) for of in known), strict=True)
        interval = min(_passes(objects, highs), most), min(_passes(objects, lows), most)
    found = value_of(min(value, most), interval, no_interval=bands[0].relative_error.reason or NO_INTERVAL)
    return found, math.isinf(value)


def _passes(objects: Sequence[float], errors: Sequence[float]) -> float:
    """Where the errors first pass the largest one: 0 before the first, infinity if never."""
    at = next((i for i, error in enumerate(errors) if error > LARGEST_ERROR), None)
    if at is None:
        return math.inf
    if at == 0:
        return 0.0
    part = (LARGEST_ERROR - errors[at - 1]) / (errors[at] - errors[at - 1])
    return float(objects[at - 1] * (objects[at] / objects[at - 1]) ** part)
