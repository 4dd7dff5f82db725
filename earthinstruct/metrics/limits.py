"""Where counting breaks: the scores of counts by the number of objects and by their size.

An entry is an image and a category. Its number of objects and the size of its median object say which bands it is in.
Every score of a band is a function of the sums over its entries, of all categories of the group `all`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import scores
from earthinstruct.metrics.inputs import Truth
from earthinstruct.metrics.scores import Columns
from earthinstruct.metrics.sizes import SIZES, sizes_of
from earthinstruct.metrics.summary import NO_TRUTH, Summary
from earthinstruct.metrics.tally import Tally, count_per_image
from earthinstruct.metrics.values import CountingBand, CountingLimits, JoinedBands, Value

# band of numbers of objects -> the smallest one; each goes up to below the next
DENSITIES = {"0": 0, "1": 1, "2-5": 2, "6-20": 6, "21-100": 21, "101+": 101}
LARGEST_ERROR = 0.2  # relative; up to it, a method is said to count
NO_OBJECTS = "no objects in this band"
LEAST_IMAGES = 10  # with objects, for a number up to which a method counts; benchmarks/limits.py says why
FEW_IMAGES = f"fewer than {LEAST_IMAGES} images have objects"
NOT_KNOWN = "too few images: the relative error may be below or above 20 %"
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
    by_size = dict(zip(SIZES, found[len(DENSITIES) :], strict=True))
    if 0 < (objects.sum(axis=1) > 0).sum() < LEAST_IMAGES:
        return CountingLimits(Value(None, reason=FEW_IMAGES), False, density, by_size)
    joined = join_bands(density, _of_runs(summary, counted, list(density.values())))
    up_to, never = counts_up_to(density, joined, float(objects.max(initial=0)))
    return CountingLimits(up_to, never, density, by_size, joined)


def _of_runs(summary: Summary, counted: Tally, bands: Sequence[CountingBand]) -> dict[tuple[int, int], Value]:
    """The relative error over each run of neighbouring bands that starts and ends with objects: (first, last) ->."""
    some = [b for b, band in enumerate(bands) if band.n_objects]
    runs = list(combinations_with_replacement(some, 2))
    columns = {
        name: np.stack([column[:, first : last + 1].sum(axis=1) for first, last in runs], axis=1)
        for name, column in counted.columns.items()
        if runs
    }
    parts = Tally(counted.images, tuple(map(str, range(len(runs)))), columns)
    if not runs:
        return {}
    errors = summary.by_part(parts, scores.relative_error, "counting", NO_OBJECTS, bounded=False)
    return dict(zip(runs, errors, strict=True))


def join_bands(bands: Mapping[str, CountingBand], errors: Mapping[tuple[int, int], Value]) -> list[JoinedBands]:
    """Join neighbouring bands until the interval of their common error lies on one side of 20 %.

    It starts with the smallest numbers of objects. A band that alone is above 20 % is not joined to those before it.

    Args:
        bands: by increasing number of objects.
        errors: the first and the last of neighbouring bands with objects -> their common relative error.
    """
    names = list(bands)
    some = sorted({first for first, _ in errors})
    joined: list[JoinedBands] = []
    while some:
        n = 1
        while n < len(some) and _side(errors[some[0], some[n - 1]]) is None:
            if _side(errors[some[n], some[n]]) == "above":
                break
            n += 1
        joined.append(JoinedBands([names[b] for b in some[:n]], errors[some[0], some[n - 1]]))
        some = some[n:]
    return joined


def _side(error: Value) -> str | None:
    """Where the interval of an error lies: `within` 20 % or `above`; None: it has none, or 20 % is in it."""
    if error.ci95 is None or error.ci95[0] <= LARGEST_ERROR < error.ci95[1]:
        return None
    return "above" if error.ci95[0] > LARGEST_ERROR else "within"


def _split(objects: NDArray[np.int64], least: Sequence[int]) -> list[NDArray[np.bool_]]:
    band = np.searchsorted(least, objects, side="right") - 1
    return [band == b for b in range(len(least))]


def _share_right(columns: Columns) -> NDArray[np.float64]:
    return np.asarray(columns["right"] / np.maximum(columns["targets"], 1))


def counts_up_to(bands: Mapping[str, CountingBand], joined: Sequence[JoinedBands], most: float) -> tuple[Value, bool]:
    """The number of objects at which the relative error passes 20 %, and whether it never does.

    Joined bands that are within 20 % have their common error; the others have their own. A band stands at the mean
    number of objects of its entries; between two, the error is interpolated by the logarithm of that number. 0 if the
    first band is above 20 %; `most` if none is. The interval goes from where the upper ends of the intervals pass 20 %
    to where the lower ends do, at the latest at the last of joined bands that are above it. A band without an interval
    may have any error. Undefined if all bands are joined and may be on either side of 20 %.

    Args:
        bands: name -> its numbers.
        joined: as `join_bands` gives them.
        most: the largest number of objects of an entry.
    """
    if not joined:
        return Value(None, reason=NO_TRUTH), False
    first = joined[0].relative_error
    if len(joined) == 1 and _side(first) is None:
        return Value(None, reason=NOT_KNOWN if first.ci95 is not None else first.reason), False
    objects, errors, latest = [], [], most
    for of in joined:
        side = _side(of.relative_error)
        for name in of.bands:
            objects.append(bands[name].objects_each)
            errors.append(of.relative_error if side == "within" else bands[name].relative_error)
        if side == "above":
            latest = min(latest, objects[-1])
    lows, highs = zip(*(error.ci95 or (0.0, math.inf) for error in errors), strict=True)
    value = _passes(objects, [float(error) for error in errors])
    interval = min(_passes(objects, highs), most), min(_passes(objects, lows), latest)
    return Value(min(value, most), interval), math.isinf(value)


def _passes(objects: Sequence[float], errors: Sequence[float]) -> float:
    """Where the errors first pass the largest one: 0 before the first, infinity if never."""
    at = next((i for i, error in enumerate(errors) if error > LARGEST_ERROR), None)
    if at is None:
        return math.inf
    if at == 0:
        return 0.0
    part = (LARGEST_ERROR - errors[at - 1]) / (errors[at] - errors[at - 1])
    return float(objects[at - 1] * (objects[at] / objects[at - 1]) ** part)
