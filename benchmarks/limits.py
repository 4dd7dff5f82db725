"""On how many images does "counts up to" mean something? A simulation.

`python -m benchmarks.limits [--repeats R]` draws sets of images whose counts have a known relative error, and prints
the table of docs/protocol.md. Half of 5 categories are in an image, with a number of objects that is log-normal: a
median of 3, and up to 300. The objects of an image that are found are binomial.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.limits import counting_limits
from earthinstruct.metrics.summary import Summary
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import CountingLimits

Counts = NDArray[np.int64]
SIZES = (5, 10, 20, 50, 100, 300)
_CATEGORIES = ("a", "b", "c", "d", "e")
_IMAGES_OF_THE_TRUTH = 40_000
_MOST = 300


def _grows(objects: Counts, chance: np.random.Generator) -> NDArray[np.float64]:
    skill = np.exp(chance.normal(0, 0.3, (len(objects), 1)))  # some images are harder
    return np.asarray(np.clip(1 - 0.04 * np.log(objects + 1) ** 1.7 * skill, 0, 1))


# name -> the chance that an object is counted
METHODS: dict[str, Callable[[Counts, np.random.Generator], NDArray[np.float64]]] = {
    "error of 12 % with any number": lambda objects, _: np.full(objects.shape, 0.88),
    "error that grows": _grows,
}


def drawn(method: str, images: int, chance: np.random.Generator) -> tuple[CountingLimits, int]:
    """The counting limits of a method on a set of images, and the largest number of objects."""
    shape = (images, len(_CATEGORIES))
    objects = np.floor(np.exp(chance.normal(1.2, 1.5, shape)) - 0.5).clip(0, _MOST).astype(np.int64)
    objects *= chance.random(shape) < 0.5
    counted = chance.binomial(objects, METHODS[method](objects, chance))
    columns = {"tp": counted, "fp": np.zeros_like(counted), "fn": objects - counted}
    tally = Tally(tuple(range(images)), _CATEGORIES, columns)
    summary = Summary(_CATEGORIES, {"all": _CATEGORIES}, objects.sum(axis=0), {"counting": tally})
    return counting_limits(summary, np.where(objects > 0, 0, -1).astype(np.int8)), int(objects.max())


def row(method: str, images: int, repeats: int) -> list[float]:
    """In percent: sets with a number, those where the error never passes, intervals that hold the true number.

    Then the median of the numbers. An end at the largest number of objects of a set means at least so many.
    """
    chance = np.random.default_rng(images)
    whole, _ = drawn(method, _IMAGES_OF_THE_TRUTH, chance)
    true = math.inf if whole.never_passes else float(whole.counts_up_to)
    values, never, held = [], 0, 0
    for _ in range(repeats):
        limits, most = drawn(method, images, chance)
        if limits.counts_up_to.ci95 is None:
            continue
        low, high = limits.counts_up_to.ci95
        values.append(float(limits.counts_up_to))
        never += limits.never_passes
        held += min(low, most) <= true and (true <= high or high >= most)
    n = len(values)
    return [100 * n / repeats, *((100 * never / n, 100 * held / n, float(np.median(values))) if n else [math.nan] * 3)]


def rows(repeats: int) -> Iterator[str]:
    """The table, in Markdown."""
    yield "| method | images | a number is said, % of sets | never passes | interval holds the true number | median |"
    yield "|-|-|-|-|-|-|"
    for method in METHODS:
        for images in SIZES:
            said, never, held, median = row(method, images, repeats)
            yield f"| {method} | {images} | {said:.0f} | {never:.0f} | {held:.1f} | {median:.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=500, help="sets of images a row (default: 500)")
    for line in rows(parser.parse_args(arguments).repeats):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
