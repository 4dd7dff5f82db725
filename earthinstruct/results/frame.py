"""The scores of a result as the rows of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from earthinstruct.metrics import CATALOGUE, OVER_ALL_ALONE, CountingLimits, Metrics, Value, value_at, value_in_group


def score_rows(metrics: Metrics) -> Iterator[tuple[Any, ...]]:
    """Every score over groups and single categories: score, over, is_group, value, low, high."""
    extra = [f"extra.{name}.mean" for name in metrics.extra]
    for path in (*CATALOGUE, *extra):
        whole = value_at(metrics, path)
        if not isinstance(whole, Value):
            continue  # the path of a part, or a score that this result does not have
        name = path.removesuffix(".mean")
        yield name, "all", True, whole.value, *(whole.ci95 or (None, None))
        part, _, score = path.rpartition(".")
        if score in OVER_ALL_ALONE:
            continue
        scores = value_at(metrics, part) if part else None
        for group in getattr(scores, "groups", {}):
            if path in extra:
                mean = Value(value_at(metrics, f"{part}.groups.{group}"))
            else:
                mean = value_in_group(metrics, path, group) or Value(None)
            if group != "all":
                yield name, group, True, mean.value, *(mean.ci95 or (None, None))
        for category, found in getattr(scores, "per_category", {}).items():
            yield name, category, False, *_of_category(found, score)
    yield from _of_bands(metrics.counting_limits)


def _of_bands(limits: CountingLimits | None) -> Iterator[tuple[Any, ...]]:
    """Counting by the number of objects and by their size."""
    for kind in ("by_density", "by_size"):
        for name, band in getattr(limits, kind, {}).items():
            for score in ("f1", "relative_error", "right"):
                value = getattr(band, score)
                path = f"counting_limits.{kind}.{name}.{score}"
                yield path, "all", True, value.value, *(value.ci95 or (None, None))


def _of_category(found: Any, score: str) -> tuple[Any, ...]:
    """The value and the bounds of its interval."""
    own = found if isinstance(found, Value) else getattr(found, score, None)
    if isinstance(own, Value):  # of a metric plug-in, or a share of images
        return own.value, *(own.ci95 or (None, None))
    if isinstance(found, float | None):  # of proposals
        return found, None, None
    return own, *(found.ci95.get(score) or (None, None))
