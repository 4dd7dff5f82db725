"""How often do the 95 % intervals hold the true score, and how often does the paired test err? A simulation.

`python -m benchmarks.intervals [--repeats R] [--only means|test] [--categories N ...]` draws sets of images from
populations whose scores are known, and prints the tables of docs/protocol.md. In a population, a category is in half of
the images (balanced), or the k-th one in 1 / (2 k) of them (long-tailed). An image with a category has
1 + Poisson(2 g) objects of it, where g is exponential and shared by the image. Images are easier or harder for all of
their objects, and false predictions occur in all images. The true score is the mean of the population's scores over the
categories that have objects in the set.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import Tally, paired
from earthinstruct.metrics.intervals import n_targets, spread, t_quantile, within_0_and_1
from earthinstruct.metrics.scores import Score, ap_nc, f1, iou, precision
from earthinstruct.metrics.summary import IMAGES_OF_A_RARE_CATEGORY

SIZES = (2, 3, 5, 10, 20, 50, 200, 1000)
TEST_SIZES = (1, 2, 4, 8, 16, 50, 200)
CATEGORIES = (10, 20, 60)
# title -> name of the tally, score
SCORES: Mapping[str, tuple[str, Score]] = {
    "mF1": ("box", f1),
    "precision": ("box", precision),
    "AP_nc": ("box", ap_nc),
    "counting F1": ("counting", f1),
    "mIoU": ("regions", iou),
}
IMAGES_WITH_OBJECTS = {"3-4": (3, 4), "5-9": (5, 9), "10-29": (10, 29), "30 or more": (30, 10**9)}
_IMAGES_OF_THE_TRUTH = 100_000
_CELLS_AT_ONCE = 1_000_000
_RESAMPLES = 200

Columns = dict[str, NDArray[Any]]
Drawn = dict[str, Columns]  # name of a tally -> columns (sets, images, categories)


@dataclass(frozen=True)
class Method:
    """A method in the simulation: its recall in log-odds, and how many predictions without an object it makes."""

    recall: float = 0.0
    false: float = 1.0


class Population:
    """Images and categories with known scores. The same arguments give the same population."""

    def __init__(self, n_categories: int, *, tail: bool) -> None:
        generator = np.random.default_rng(0)
        self.names = tuple(f"{c:02d}" for c in range(n_categories))
        self.share = 0.5 / np.arange(1, n_categories + 1) if tail else np.full(n_categories, 0.5)
        recall = np.clip(generator.beta(6, 4, n_categories), 0.05, 0.97)
        self.log_odds = np.log(recall / (1 - recall))
        self.false = generator.gamma(2, 0.25, n_categories)

    def draw(self, generator: np.random.Generator, sets: int, images: int, methods: Sequence[Method]) -> list[Drawn]:
        """Draw sets of images, and the tallies of each method on them."""
        shape = (sets, images, len(self.names))
        objects = 1 + generator.poisson(2 * np.broadcast_to(generator.exponential(size=(sets, images, 1)), shape))
        objects *= generator.random(shape) < self.share
        ease = generator.normal(0, 0.7, (sets, images, 1))
        return [self._answers(generator, objects, ease, method) for method in methods]

    def _answers(
        self, generator: np.random.Generator, objects: NDArray[Any], ease: NDArray[Any], method: Method
    ) -> Drawn:
        found = generator.binomial(objects, 1 / (1 + np.exp(-self.log_odds - ease - method.recall)))
        rate = method.false * self.false * np.exp(-ease / 2) * (0.4 * objects + 0.05 * self.share)
        false = generator.poisson(rate)
        counted = np.round(objects * np.exp(generator.normal(-0.1 * ease, 0.3, objects.shape))).astype(np.int64)
        counted += generator.random(objects.shape) < 0.03 * self.share
        area = 1000 * objects * np.exp(generator.normal(0, 1, objects.shape))
        overlap = area / (1 + np.exp(-generator.normal(0.8 + ease, 0.6)))
        return {
            "box": {"tp": found, "fp": false, "fn": objects - found},
            "counting": {
                "tp": np.minimum(counted, objects),
                "fp": np.maximum(counted - objects, 0),
                "fn": np.maximum(objects - counted, 0),
            },
            "regions": {
                "intersection": overlap.astype(np.int64),
                "union": (area + 300 * false).astype(np.int64),
                "targets": objects,
            },
        }

    @cache  # noqa: B019 - a few populations, kept until the end
    def truth(self, method: Method) -> dict[str, NDArray[np.float64]]:
        """The score of each category in the population, from 100,000 images."""
        generator = np.random.default_rng(1)
        sums: defaultdict[tuple[str, str], Any] = defaultdict(int)
        step = _CELLS_AT_ONCE // len(self.names)
        for first in range(0, _IMAGES_OF_THE_TRUTH, step):
            (drawn,) = self.draw(generator, 1, min(step, _IMAGES_OF_THE_TRUTH - first), [method])
            for name, columns in drawn.items():
                for column, values in columns.items():
                    sums[name, column] = sums[name, column] + values.sum(axis=(0, 1))
        totals = {name: {c: sums[name, c] for n, c in sums if n == name} for name, _ in SCORES.values()}
        return {title: score(totals[name]) for title, (name, score) in SCORES.items()}

    def sets(
        self, n_images: int, repeats: int, seed: int, methods: Sequence[Method]
    ) -> Iterator[list[dict[str, Tally]]]:
        """Draw sets of images one by one: the tallies of each method, by name."""
        generator = np.random.default_rng(seed)
        step = max(1, _CELLS_AT_ONCE // (n_images * len(self.names)))
        images = tuple(range(n_images))
        for first in range(0, repeats, step):
            drawn = self.draw(generator, min(step, repeats - first), n_images, methods)
            for i in range(len(drawn[0]["box"]["tp"])):
                yield [
                    {
                        name: Tally(images, self.names, {column: values[i] for column, values in columns.items()})
                        for name, columns in of_method.items()
                    }
                    for of_method in drawn
                ]


@dataclass
class Held:
    """How many intervals there were, how many held the true score, and their widths together."""

    intervals: int = 0
    held: int = 0
    width: float = 0.0

    def add(self, interval: tuple[float, float] | None, truth: float) -> None:
        """Count an interval; None is not counted."""
        if interval is not None:
            self.intervals += 1
            self.held += interval[0] <= truth <= interval[1]
            self.width += interval[1] - interval[0]

    @property
    def share(self) -> float:
        """The share of the intervals that hold the true score."""
        return self.held / max(self.intervals, 1)

    def __str__(self) -> str:
        if not self.intervals:
            return "-"
        return f"{100 * self.share:.0f} ({100 * self.width / self.intervals:.0f})"


def coverage(population: Population, n_images: int, repeats: int, seed: int = 5) -> dict[str, Held]:
    """How often the interval of each mean, and of single categories by number of images, holds the true score."""
    found: defaultdict[str, Held] = defaultdict(Held)
    truth, method = population.truth(Method()), Method()
    for (tallies,) in population.sets(n_images, repeats, seed, [method]):
        for title, (name, score) in SCORES.items():
            tally = tallies[name]
            there = n_targets(tally.totals) > 0
            if not there.any():
                continue
            members = np.vstack([there, np.eye(len(there), dtype=bool)])
            values = score(tally.totals)
            spreads = spread(tally, score, members)
            means = np.array([values[there].mean(), *values])
            intervals = spreads.intervals(means, within_0_and_1)
            found[title].add(intervals[0], truth[title][there].mean())
            for label, (least, most) in IMAGES_WITH_OBJECTS.items():
                for c in np.flatnonzero((spreads.images[1:] >= least) & (spreads.images[1:] <= most)).tolist():
                    found[f"{title}, {label}"].add(intervals[c + 1], truth[title][c])
    return dict(found)


def bootstrap_coverage(population: Population, n_images: int, repeats: int, seed: int = 5) -> dict[str, Held]:
    """The same for the mF1 by two other methods: percentiles of resamples, and t x their standard deviation."""
    found: defaultdict[str, Held] = defaultdict(Held)
    truth, generator = population.truth(Method())["mF1"], np.random.default_rng(seed + 1)
    for (tallies,) in population.sets(n_images, repeats, seed, [Method()]):
        tally = tallies["box"]
        there = n_targets(tally.totals) > 0
        if not there.any():
            continue
        weights = generator.multinomial(n_images, [1 / n_images] * n_images, size=_RESAMPLES)
        totals = {name: weights @ column for name, column in tally.columns.items()}
        drawn = n_targets(totals) > 0
        chosen = drawn.any(axis=1)
        means = np.where(drawn, f1(totals), 0).sum(axis=1)[chosen] / drawn.sum(axis=1)[chosen]
        value, true = f1(tally.totals)[there].mean(), truth[there].mean()
        low, high = np.percentile(means, (2.5, 97.5))
        found["percentile"].add((low, high), true)
        half = t_quantile(n_images - 1) * means.std(ddof=1) * np.sqrt(n_images / (n_images - 1))
        found["t x deviation"].add((max(0.0, value - half), min(1.0, value + half)), true)
    return dict(found)


@dataclass(frozen=True)
class Tested:
    """How often runs of equal methods differ, and how often the interval of the difference held the true one.

    Attributes:
        rejected: the share of pairs of runs with p <= 0.05.
        shown: the share of those whose interval does not hold 0 either.
        intervals: the intervals of the difference.
    """

    rejected: Mapping[str, float]
    shown: Mapping[str, float]
    intervals: Mapping[str, Held]


def paired_tests(population: Population, n_images: int, repeats: int, other: Method, seed: int = 11) -> Tested:
    """Test the difference of two methods on each of many sets of images."""
    rejected: defaultdict[str, list[bool]] = defaultdict(list)
    shown: defaultdict[str, list[bool]] = defaultdict(list)
    intervals: defaultdict[str, Held] = defaultdict(Held)
    truth = [population.truth(method) for method in (Method(), other)]
    titles = ("mF1", "precision", "AP_nc")
    for first, second in population.sets(n_images, repeats, seed, [Method(), other]):
        pair = paired({"box": first["box"]}, {"box": second["box"]})["box"]
        there, images = n_targets(first["box"].totals) > 0, (n_targets(first["box"].columns) > 0).sum(axis=0)
        common = [name for name, n in zip(population.names, images, strict=True) if n >= IMAGES_OF_A_RARE_CATEGORY]
        without = pair.of_mean(f1, {"common": common})  # is it the rare categories that mislead the test?
        rejected["mF1 without rare"].append(any(of.p is not None and of.p <= 0.05 for of in without.values()))
        for title in titles:
            difference = pair.of_mean(SCORES[title][1], {"all": population.names}).get("all")
            if difference is not None:
                rejected[title].append(difference.p is not None and difference.p <= 0.05)
                alone = replace(difference, p_corrected=difference.p)  # one score in the table
                shown[title].append(alone.is_shown)
                intervals[title].add(difference.ci95, (truth[1][title] - truth[0][title])[there].mean())
    shares = ({title: float(np.mean(found)) for title, found in of.items()} for of in (rejected, shown))
    return Tested(*shares, dict(intervals))


def equal_f1(population: Population, recall: float = 1.0) -> Method:
    """A method that finds more objects than `Method()` and makes more false predictions, with the same mF1."""
    low, high = 1.0, 20.0
    target = population.truth(Method())["mF1"].mean()
    while high - low > 0.01:
        middle = (low + high) / 2
        better = population.truth(Method(recall, middle))["mF1"].mean() > target
        low, high = (middle, high) if better else (low, middle)
    return Method(recall, low)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=2000, help="sets of images, at most (default: 2000)")
    parser.add_argument("--only", choices=("means", "test"), help="one half of the simulation")
    parser.add_argument("--categories", type=int, nargs="+", default=CATEGORIES, metavar="N")
    given = parser.parse_args(arguments)

    def say(*cells: object) -> None:
        sys.stdout.write("| " + " | ".join(map(str, cells)) + " |\n")
        sys.stdout.flush()

    def repeats(n_images: int, cells: int) -> int:
        return int(np.clip(cells / n_images, 200, given.repeats))

    populations = {(tail, c): Population(c, tail=tail) for tail in (False, True) for c in given.categories}
    kinds = {False: "balanced", True: "long-tailed"}
    if given.only != "test":
        single: dict[tuple[bool, str], Held] = {}
        say("categories", "images", *SCORES, "percentile: mF1", "t x deviation: mF1")
        say(*["-"] * (4 + len(SCORES)))
        for (tail, c), population in populations.items():
            for n in SIZES:
                found = coverage(population, n, repeats(n, 400_000))
                old = bootstrap_coverage(population, n, repeats(n, 200_000))
                say(f"{c}, {kinds[tail]}", n, *(found[title] for title in SCORES), *old.values())
                for label, held in found.items():
                    if label not in SCORES:
                        of = single.setdefault((tail, label), Held())
                        of.intervals, of.held, of.width = (
                            of.intervals + held.intervals,
                            of.held + held.held,
                            of.width + held.width,
                        )
        sys.stdout.write("\n")
        say("single categories, images with objects", *SCORES)
        say(*["-"] * (1 + len(SCORES)))
        for tail, kind in kinds.items():
            for label in IMAGES_WITH_OBJECTS:
                say(f"{kind}, {label}", *(single[tail, f"{title}, {label}"] for title in SCORES))
        sys.stdout.write("\n")
    if given.only != "means":
        titles = ("mF1", "precision", "AP_nc")
        columns = [f"{what}: {t}" for what in ("p <= 0.05", "shown", "interval") for t in titles]
        columns.insert(len(titles), "p <= 0.05: mF1 without rare")
        say("methods", "categories", "images", *columns)
        say(*["-"] * (3 + len(columns)))
        for (tail, c), population in populations.items():
            for what, other in (("alike", Method()), ("equal mF1", equal_f1(population)), ("better", Method(0.3))):
                for n in TEST_SIZES:
                    tested = paired_tests(population, n, repeats(n, 100_000), other)
                    # of methods with an equal mF1, the other scores differ
                    shares = (
                        f"{100 * of[t]:.1f}" if what == "alike" or t.startswith("mF1") else "-"
                        for of, columns in ((tested.rejected, [*titles, "mF1 without rare"]), (tested.shown, titles))
                        for t in columns
                    )
                    held = (tested.intervals.get(t, Held()) for t in titles)
                    say(what, f"{c}, {kinds[tail]}", n, *shares, *held)


if __name__ == "__main__":
    main()
