"""How a score varies between runs over the same images, such as those with other wordings of one instruction.

The runs share their images, so two causes are kept apart. Which images there are moves all runs alike: the interval of
the mean leaves out one image at a time, from all runs together. Which runs there are moves one against the others: the
interval of the spread is that of a standard deviation of as many runs (the chi-squared distribution). Of that spread, a
part is left when there are ever more images: an image may be answered rightly in one wording and wrongly in another by
chance. This part is estimated from the images too: the jackknife variance of what sets each run apart. `lasting` is the
spread without it. The intervals are simulated in tests/metrics/test_between_runs.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.intervals import (
    LEAST_IMAGES,
    NO_DIFFERENCE_VARIES,
    NO_INTERVAL,
    Interval,
    around,
    n_targets,
    sums_without_each_image,
    within_0_and_1,
)
from earthinstruct.metrics.scores import Columns, Score, pooled, unrounded
from earthinstruct.metrics.tally import Tally, by_name
from earthinstruct.metrics.values import Value

ALIKE = "no interval: all runs score the same"
_ALIKE_BELOW = 1e-24  # a variance that is rounding
_LARGEST = 0.5  # standard deviation of numbers from 0 to 1


class Variation(msgspec.Struct, frozen=True):
    """A score over several runs on the same images.

    Attributes:
        mean: mean over the runs, with its interval over images: the runs are taken as they are.
        spread: standard deviation between the runs on these images, with its interval over runs like these.
        lasting: the part of the spread that more images would not remove, with its interval over runs like these.
        worst: the name of the run with the lowest score.
        lowest: that score.
        per_category: category -> standard deviation of its score between the runs.
    """

    mean: Value
    spread: Value
    lasting: Value
    worst: str
    lowest: float
    per_category: dict[str, float]


def variation(
    tallies: Mapping[str, Tally], score: Score, categories: tuple[str, ...]
) -> tuple[Variation, dict[str, Value]] | None:
    """How a mean of a score varies between runs; None without ground truth.

    Args:
        tallies: name -> tally of a run, of two or more runs over the same images. The first is the one that the others
            are compared with.
        score: a function of the sums of a tally, in [0, 1].
        categories: those of the mean; categories without ground truth are left out.

    Returns:
        The variation, and of each run but the first the difference from it, with its interval over images.
    """
    first = next(iter(tallies.values()))
    members = np.array([name in categories for name in first.categories])
    there = members & (n_targets(first.totals) > 0)
    if not there.any():
        return None
    images = int((n_targets(first.columns)[:, members] > 0).any(axis=1).sum())
    smooth = unrounded(score)
    values = np.array([_mean(smooth, tally.totals, members, first.categories) for tally in tallies.values()])
    without = np.stack([_without_each_image(smooth, tally, members) for tally in tallies.values()])
    by_category = np.stack([score(tally.totals) for tally in tallies.values()])[:, there]
    named = [name for name, has in zip(first.categories, there.tolist(), strict=True) if has]
    spreads = by_category.std(axis=0, ddof=1).tolist()
    lowest = int(values.argmin())
    freedom, variance = len(values) - 1, float(values.var(ddof=1))
    apart = without - without.mean(axis=0) - (values - values.mean())[:, None]
    by_images = float(_jackknife(apart, images).sum() / freedom)
    mean = float(values.mean())
    off = float(np.sqrt(_jackknife(without.mean(axis=0) - mean, images)))
    return Variation(
        mean=_value(mean, within_0_and_1(mean, off, images), NO_INTERVAL),
        spread=_deviation(variance, 0.0, freedom),
        lasting=_deviation(variance, by_images, freedom),
        worst=list(tallies)[lowest],
        lowest=float(values[lowest]),
        per_category=dict(zip(named, spreads, strict=True)),
    ), _differences(list(tallies), values, without, images)


def _differences(
    names: list[str], values: NDArray[np.float64], without: NDArray[np.float64], images: int
) -> dict[str, Value]:
    """The difference of each run from the first, with its interval over images."""
    found = {}
    for name, value, left in zip(names[1:], values[1:], without[1:], strict=True):
        off = float(value - values[0])
        error = float(np.sqrt(_jackknife(left - without[0] - off, images)))
        interval = around(off, error, images)
        if interval is not None:
            interval = max(interval[0], -1.0), min(interval[1], 1.0)
        reason = NO_INTERVAL if images < LEAST_IMAGES else NO_DIFFERENCE_VARIES
        found[name] = _value(off, interval, reason)
    return found


def _mean(score: Score, sums: Columns, members: NDArray[np.bool_], categories: tuple[str, ...]) -> NDArray[np.float64]:
    """The mean of a score over the members that have ground truth; the order of a file moves no digit of it."""
    order = by_name(categories)
    there = ((n_targets(sums) > 0) & members)[..., order]
    total = np.where(there, score(sums)[..., order], 0.0).sum(axis=-1)
    return np.asarray(total / np.maximum(there.sum(axis=-1), 1))


def _without_each_image(score: Score, tally: Tally, members: NDArray[np.bool_]) -> NDArray[np.float64]:
    pieces = [_mean(score, sums, members, tally.categories) for sums in sums_without_each_image(tally)]
    return np.concatenate(pieces)


def _jackknife(off: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """The variance of a score, from how far it moves without each image (last axis)."""
    return np.asarray((off**2).sum(axis=-1) * (images - 1) / max(images, 1))


def _deviation(variance: float, by_images: float, freedom: int) -> Value:
    """A standard deviation with its interval; `by_images` is the part of its variance that is left out.

    The interval ends at the largest possible standard deviation, or at the value: that of two or three runs, with n - 1
    in the denominator, may be larger.
    """
    from scipy.special import chdtri  # needed for several runs alone, and slow to import

    if variance < _ALIKE_BELOW:
        return Value(0.0, reason=ALIKE)
    value = math.sqrt(max(variance - by_images, 0.0))
    bounds = (variance * freedom / float(chdtri(freedom, tail)) - by_images for tail in (0.025, 0.975))
    low, high = (math.sqrt(max(bound, 0.0)) for bound in bounds)
    return Value(value, (min(low, value), max(min(high, _LARGEST), value)))


def _value(value: float, interval: Interval | None, reason: str) -> Value:
    return Value(value, interval, None if interval else reason)


def pooled_tally(tally: Tally, categories: tuple[str, ...]) -> Tally:
    """The sums of a tally over some categories, as one category `all`, from which `micro_f1` follows."""
    members = np.array([c for c, name in enumerate(tally.categories) if name in categories], dtype=np.int64)
    has_truth = n_targets(tally.totals) > 0
    return Tally(tally.images, ("all",), pooled(tally.columns, members, has_truth))


def agreement(first: Tally, second: Tally) -> float | None:
    """The share of the counts that are equal, of those above 0 in either run; None if there is none.

    Args:
        first: tally of the counts of a run.
        second: tally of another run over the same images and categories.
    """
    same_order = (first, second.in_order(first.images))
    one, other = (tally.columns["tp"].astype(np.int64) + tally.columns["fp"] for tally in same_order)
    said = (one > 0) | (other > 0)
    return float((one == other)[said].mean()) if said.any() else None


def best_constant(tally: Tally, categories: tuple[str, ...]) -> Value:
    """The largest counting F1 of a method that gives every image the same counts, the best ones for this ground truth.

    A method that does not see its images can hardly do better. Of a constant c in n images with t objects, F1 is
    2 x sum(min(objects, c)) / (t + n c); it is largest at a number of objects that some image has.

    Args:
        tally: of counts.
        categories: those of the mean; categories without ground truth are left out.
    """
    objects, found = n_targets(tally.columns), []
    for name, column in zip(tally.categories, objects.T, strict=True):
        if name in categories and column.any():
            constants = np.unique(column[column > 0])
            right = np.minimum(column[:, None], constants).sum(axis=0)
            found.append(float((2 * right / (column.sum() + len(column) * constants)).max()))
    if not found:
        return Value(None, reason="no ground truth in any category")
    return Value(math.fsum(found) / len(found), reason="a bound: no interval is computed")
