"""Compare two runs over the same images: intervals of their differences, and a paired sign-flip test.

If two runs are equally good, it does not matter which of the two answers of an image belongs to which run. The test
swaps the answers of some images and compares the scores again: p is the share of swaps whose difference is at least as
large as the one that was found. Scores are functions of sums over images, so that a swap (a flip) is a vector of signs,
and the sums of all flips are one matrix product, signs (flips, images) x differences (images, categories).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.intervals import (
    LEAST_IMAGES,
    NO_DIFFERENCE_VARIES,
    NO_INTERVAL,
    Interval,
    Spread,
    around,
    n_targets,
    spread,
)
from earthinstruct.metrics.scores import Columns, Score, unrounded
from earthinstruct.metrics.tally import Tally, by_name, compact
from earthinstruct.regions import ImageId, by_id

FLIPS = 9_999
SHOWN_BELOW = 0.05  # a p-value
EXACT_IMAGES = 14  # up to so many images that differ, all flips are tried
ONE_IMAGE = "one image: no p-value and no interval can be given"
_ONE_DIFFERS = "no interval: the runs differ in one image"
_SIGNS_AT_ONCE = 4_000_000
_FACTORS_AT_ONCE = 2_000_000  # signs in one matrix product, as float64
_SUMS_AT_ONCE = 32_000_000  # sums of flips that are kept, as float64
_SCORED_AT_ONCE = 4_000_000  # sums of flips that are scored together
_TIE = 1e-9  # two differences that differ by less, absolutely or relatively, are equal

_Over = TypeVar("_Over", bound=Hashable)


@dataclass(frozen=True)
class Difference:
    """The difference of a score between two runs.

    Attributes:
        first: the score of the first run, a fraction (for error types, a number of objects).
        second: the score of the second run.
        value: second minus first.
        ci95: 95 % interval of `value` over images, or None.
        p: two-sided p-value of the sign-flip test, in (0, 1]; None if there is only one image.
        n_differing: number of images on which the runs differ.
        p_is_bound: whether p is only an upper bound, because no random flip gave so large a difference.
        p_corrected: p with Holm's correction over all rows of a table; None until it is corrected, see `holm`.
        least_corrected: the smallest `p_corrected` that the test could give with so many images that differ.
        reason: why there is no interval, or no p-value.
    """

    first: float
    second: float
    value: float
    ci95: Interval | None
    p: float | None
    n_differing: int
    p_is_bound: bool = False
    p_corrected: float | None = None
    least_corrected: float | None = None
    reason: str | None = None

    @property
    def is_shown(self) -> bool:
        """Whether a difference is shown: the corrected p is below 0.05, and the interval does not hold 0.

        The test alone finds the bias of a mean with rare categories too often (see docs/protocol.md).
        """
        holds_0 = self.ci95 is not None and self.ci95[0] <= 0 <= self.ci95[1]
        return self.p_corrected is not None and self.p_corrected < SHOWN_BELOW and not holds_0

    @property
    def least_p(self) -> float | None:
        """The smallest p that the test could give: that of all images that differ, to one side.

        >>> Difference(0.5, 0.7, 0.2, None, 0.25, n_differing=4).least_p  # 2 of 2^4 flips
        0.125
        """
        return None if self.p is None else max(min(1.0, 2.0 ** (1 - self.n_differing)), 1 / (FLIPS + 1))

    @property
    def can_be_shown(self) -> bool:
        """Whether enough images differ for a difference to be shown."""
        return self.is_shown or (self.least_corrected is not None and self.least_corrected < SHOWN_BELOW)

    def p_texts(self) -> tuple[str, str]:
        """Format `p` and `p_corrected` for a table.

        >>> Difference(0.5, 0.7, 0.2, None, 0.0001, 20, p_is_bound=True, p_corrected=0.002).p_texts()
        ('<= 0.0001', '<= 0.002')
        """
        sign = "<= " if self.p_is_bound else ""
        p, corrected = (
            "-" if p is None else f"{sign}{p:.{3 if p >= 0.001 else 4}f}" for p in (self.p, self.p_corrected)
        )
        return p, corrected


@dataclass(frozen=True, eq=False)
class Flipped:
    """The differences of a tally, second run minus first, summed over images with the signs of each flip.

    Attributes:
        sums: column name -> float64 (flips, c).
        exact: whether these are all flips; otherwise they are drawn at random.
    """

    sums: Mapping[str, NDArray[np.float64]]
    exact: bool

    def p(
        self, found: NDArray[np.float64], flipped: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Compute two-sided p-values of k differences, and whether each is only an upper bound.

        Args:
            found: float64 (k,), the differences of the runs.
            flipped: float64 (flips, k), those of the flips.
        """
        least = np.abs(found) * (1 - _TIE) - _TIE
        as_large = (np.abs(flipped) >= least).sum(axis=0)
        if self.exact:
            return as_large / len(flipped), np.zeros(len(found), dtype=bool)
        return (as_large + 1) / (len(flipped) + 1), as_large == 0


class Paired:
    """A tally of two runs over the same images, with flips. Created by `paired`."""

    def __init__(self, first: Tally, second: Tally, flips: Callable[[], Flipped]) -> None:
        """Store two tallies over the same images in the same order, and a function that sums their flips."""
        self.categories = first.categories
        self.columns = tuple(first.columns)
        self._runs, self._flips = (first, second), flips

    @property
    def _flipped(self) -> Flipped:
        return self._flips()

    def of_mean(
        self, score: Score, over: Mapping[_Over, Sequence[str]], *, bounded: bool = True
    ) -> dict[_Over, Difference]:
        """Compare means of a score over categories with ground truth.

        Args:
            score: a function of the sums of the tally.
            over: name -> categories; names without ground truth in any category are left out of the answer.
            bounded: whether the score lies in [0, 1], so that its difference lies in [-1, 1].
        """
        totals = [tally.totals for tally in self._runs]
        there = n_targets(totals[0]) > 0
        over = {name: categories for name, categories in over.items() if there[self._members(categories)].any()}
        if not over:
            return {}
        members, order = self._matrix(over) & there, by_name(self.categories)
        share = (members / members.sum(axis=1, keepdims=True)).T[order]

        def mean(sums: Columns) -> NDArray[np.float64]:
            return np.asarray(np.where(there, score(sums), 0.0)[..., order] @ share)

        first, second = (mean(sums) for sums in totals)
        middle = {name: (totals[0][name] + totals[1][name]) / 2 for name in self.columns}
        step, pieces = max(1, _SCORED_AT_ONCE // len(self.categories)), []
        for low in range(0, len(next(iter(self._flipped.sums.values()))), step):
            half = {name: sums[low : low + step] / 2 for name, sums in self._flipped.sums.items()}
            piece = mean({name: middle[name] + half[name] for name in self.columns})
            piece -= mean({name: middle[name] - half[name] for name in self.columns})
            pieces.append(piece)
        flipped = np.concatenate(pieces)
        smooth = unrounded(score)
        spreads = spread(self._both, lambda sums: smooth(_second(sums)) - smooth(_first(sums)), members)
        differing = np.count_nonzero(self._differing @ members.T.astype(np.float32), axis=0)
        return self._differences(over, first, second, flipped, spreads, differing, limit=1.0 if bounded else np.inf)

    def of_sum(self, column: str, over: Mapping[_Over, Sequence[str]]) -> dict[_Over, Difference]:
        """Compare a column of the tallies, in objects, summed over images and categories."""
        members = self._matrix(over).T.astype(np.float64)
        first, second = (tally.columns[column].astype(np.int64) @ members for tally in self._runs)
        off, n = second - first, len(first)
        # the standard error of a sum is n times that of the mean; only images that differ are evidence
        errors = np.sqrt(n / max(n - 1, 1) * ((off - off.mean(axis=0)) ** 2).sum(axis=0))
        differing = (off != 0).sum(axis=0)
        spreads = Spread(errors, np.where(differing, differing, n))
        flipped = self._flipped.sums[column] @ members
        totals = first.sum(axis=0), second.sum(axis=0)
        return self._differences(over, *totals, flipped, spreads, differing, limit=np.inf)

    def _differences(
        self,
        over: Mapping[_Over, Sequence[str]],
        first: NDArray[np.float64],
        second: NDArray[np.float64],
        flipped: NDArray[np.float64],
        spreads: Spread,
        differing: NDArray[np.int64],
        limit: float,
    ) -> dict[_Over, Difference]:
        off = second - first
        p, is_bound = self._flipped.p(off, flipped)
        intervals = spreads.intervals(off, around)
        found = {}
        for k, name in enumerate(over):
            values = float(first[k]), float(second[k]), float(off[k])
            if len(self._runs[0].images) < LEAST_IMAGES:
                found[name] = Difference(*values, None, None, int(differing[k]), reason=ONE_IMAGE)
                continue
            interval, reason = intervals[k], None
            if interval is not None:
                interval = max(interval[0], -limit), min(interval[1], limit)
            elif spreads.images[k] < LEAST_IMAGES:
                reason = NO_INTERVAL if limit == 1 else _ONE_DIFFERS
            else:
                reason = NO_DIFFERENCE_VARIES
            tested = float(p[k]), int(differing[k]), bool(is_bound[k])
            found[name] = Difference(*values, interval, *tested, reason=reason)
        return found

    @cached_property
    def _differing(self) -> NDArray[np.float32]:
        """1 where the runs differ, else 0: (images that differ, categories)."""
        first, second = self._runs
        differ = np.logical_or.reduce([first.columns[name] != second.columns[name] for name in self.columns])
        return np.asarray(differ[differ.any(axis=1)], dtype=np.float32)

    def _members(self, categories: Sequence[str]) -> NDArray[np.int64]:
        return np.array([self.categories.index(name) for name in categories], dtype=np.int64)

    def _matrix(self, over: Mapping[_Over, Sequence[str]]) -> NDArray[np.bool_]:
        chosen = np.zeros((len(over), len(self.categories)), dtype=bool)
        for row, categories in zip(chosen, over.values(), strict=True):
            row[self._members(categories)] = True
        return chosen

    @property
    def _both(self) -> Tally:
        """One tally with the columns of both runs, whose scores are the differences."""
        first, second = self._runs
        second_columns = {f"second.{name}": column for name, column in second.columns.items()}
        return Tally(first.images, first.categories, {**first.columns, **second_columns})


def _first(sums: Columns) -> dict[str, NDArray[Any]]:
    return {name: column for name, column in sums.items() if not name.startswith("second.")}


def _second(sums: Columns) -> dict[str, NDArray[Any]]:
    return {name.removeprefix("second."): column for name, column in sums.items() if name.startswith("second.")}


def paired(first: Mapping[str, Tally], second: Mapping[str, Tally]) -> dict[str, Paired]:
    """Pair the tallies that both runs have, by name, in the order of the first run.

    Args:
        first: name -> tally of the first run.
        second: name -> tally of the second run, over the same images (in any order) and categories.

    Raises:
        ValueError: the runs differ in images, categories or ground truth.
    """
    pairs = {name: (first[name], _in_order(first[name], second[name])) for name in first if name in second}
    flips = _Flips(list(pairs.values()))
    return {name: Paired(*pair, partial(flips.of, i)) for i, (name, pair) in enumerate(pairs.items())}


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Correct the p-values of one table for their number (Holm 1979). The answer is in the order of the p-values.

    The smallest of n p-values is multiplied by n, the next by n - 1, and so on, up to 1; none is smaller than the one
    before. The chance that any row without a difference gets less than 0.05 is then at most 5 %.

    >>> holm([0.01, 0.04, None, 0.03])  # 3 x 0.01, then 2 x 0.03, then 1 x 0.04, not below the one before
    [0.03, 0.06, None, 0.06]
    """
    order = sorted((value, place) for place, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    largest = 0.0
    for rank, (value, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * value))
        corrected[place] = largest
    return corrected


def corrected(differences: Sequence[Difference]) -> list[Difference]:
    """Correct the p-values of the differences in one table for their number, by `holm`."""
    of_table = holm([difference.p for difference in differences])
    least = holm([difference.least_p for difference in differences])  # no p-value is smaller, so no corrected one
    return [
        replace(difference, p_corrected=p, least_corrected=smallest)
        for difference, p, smallest in zip(differences, of_table, least, strict=True)
    ]


class _Flips:
    """Sums the differences of pairs of tallies, with the same flips for all of them.

    The sums of tallies that follow each other are made together and kept, as long as memory allows; others are made
    again when they are asked for.
    """

    def __init__(self, pairs: Sequence[tuple[Tally, Tally]]) -> None:
        offs = [_off(*pair) for pair in pairs]
        differing: set[ImageId] = set()
        for (first, _), off in zip(pairs, offs, strict=True):
            differing.update(first.images[i] for i in np.flatnonzero(off.any(axis=1)))
        ids = list(differing)
        place = {ids[i]: rank for rank, i in enumerate(by_id(ids))}
        self._n, self._exact = len(ids), len(ids) <= EXACT_IMAGES
        self._n_flips = 1 << max(len(ids) - 1, 0) if self._exact else FLIPS
        self._columns = [tuple(first.columns) for first, _ in pairs]
        self._offs = []
        for (first, _), off in zip(pairs, offs, strict=True):  # images by id; those that do not differ change no sum
            at = np.array([place.get(image, -1) for image in first.images], dtype=np.int64)
            by_place = np.zeros((len(ids), off.shape[1]), dtype=off.dtype)
            by_place[at[at >= 0]] = off[at >= 0]
            self._offs.append(by_place)
        widths = np.cumsum([off.shape[1] for off in offs])
        self._piece = (self._n_flips * widths // _SUMS_AT_ONCE).tolist()
        self._kept: dict[int, Flipped] = {}

    def of(self, i: int) -> Flipped:
        """The sums of pair i of tallies."""
        if i not in self._kept:
            self._kept = {}  # before the next are made
            some = [k for k, piece in enumerate(self._piece) if piece == self._piece[i]]
            self._kept = dict(zip(some, self._summed(some), strict=True))
        return self._kept[i]

    def _summed(self, some: Sequence[int]) -> Iterator[Flipped]:
        offs = [self._offs[i] for i in some]
        sums = [np.zeros((self._n_flips, off.shape[1])) for off in offs]
        done = 0
        for signs in _signs(self._n, self._exact):
            rows = slice(done, done := done + len(signs))
            step = max(1, _FACTORS_AT_ONCE // len(signs))
            for start in range(0, self._n, step):
                images = slice(start, start + step)
                factors = signs[:, images].astype(np.float64)
                for total, off in zip(sums, offs, strict=True):
                    total[rows] += factors @ off[images].astype(np.float64)
        for i, total in zip(some, sums, strict=True):
            names = self._columns[i]
            columns = np.split(total, len(names), axis=1)
            yield Flipped(dict(zip(names, columns, strict=True)), self._exact)


def _off(first: Tally, second: Tally) -> NDArray[Any]:
    """The columns of the second tally minus those of the first, side by side: (images, columns x categories)."""
    columns = [
        second.columns[name] - column.astype(np.result_type(column, np.int64)) for name, column in first.columns.items()
    ]
    return compact(np.concatenate(columns, axis=1))


def _signs(n: int, exact: bool) -> Iterator[NDArray[np.int8]]:
    """The signs of the flips of n images, by id: int8 (some, n), some flips at a time.

    All flips, or `FLIPS` random ones, seeded. A flip and its opposite give the same difference with another sign, so
    the sign of the first image stays as it is where all flips are tried.
    """
    if exact:
        flips = np.arange(1 << max(n - 1, 0))
        yield (1 - 2 * (flips[:, None] >> np.maximum(np.arange(n) - 1, 0) & 1) * (np.arange(n) > 0)).astype(np.int8)
        return
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(b"earthinstruct")))
    step = max(1, _SIGNS_AT_ONCE // n)
    for first in range(0, FLIPS, step):
        count = min(step, FLIPS - first)
        bits = np.frombuffer(generator.bytes(count * -(-n // 8)), dtype=np.uint8).reshape(count, -1)
        yield 1 - 2 * np.unpackbits(bits, axis=1, count=n).astype(np.int8)


def _in_order(first: Tally, second: Tally) -> Tally:
    """Put the images of the second tally into the order of the first."""
    if set(first.images) != set(second.images) or first.categories != second.categories:
        raise ValueError("only runs over the same images and categories can be compared")
    second = second.in_order(first.images)
    if not np.array_equal(n_targets(first.columns), n_targets(second.columns)):
        raise ValueError("the runs were scored against different ground truth")
    return second
