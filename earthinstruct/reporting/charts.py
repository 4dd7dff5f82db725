"""The charts of a report. Each comes with a table of the same data, as its text alternative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from earthinstruct.metrics import (
    GEOMETRIES,
    PERCENT,
    PREDICTION_VERDICTS,
    TARGET_VERDICTS,
    GeometryScores,
    Metrics,
    threshold_in_words,
)
from earthinstruct.reporting.loaded import LoadedRun

MOST_POINTS = 400  # drawn in a scatter plot; its table covers all points
_TICKS = 5  # at most, besides the first
_NARROWEST = 1e-12  # of an axis


@dataclass(frozen=True)
class Bar:
    """A bar from 0 to `value`, in percent, with an optional interval."""

    value: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Bars:
    """Horizontal bars."""

    rows: tuple[tuple[str, tuple[Bar | None, ...]], ...]  # a name, and for each series a bar or None
    stacked: bool = False  # the bars of a name follow each other in one line; otherwise each has its own line


@dataclass(frozen=True)
class Axis:
    """A title, and ticks as pairs of a place from 0 to 100 and its text."""

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Plot:
    """Lines or dots."""

    across: Axis
    up: Axis
    paths: tuple[str, ...]  # each series as the `d` attribute of an SVG path, with places from 0 to 100 across and down
    dots: bool = False  # points instead of lines


@dataclass(frozen=True)
class Figure:
    """A chart with its text alternative, a table."""

    name: str  # in the page, for links and tests
    title: str
    note: str  # what it shows, in one or two sentences
    legend: tuple[str, ...]  # the names of its series, in the order of the page's colours
    chart: Bars | Plot
    header: tuple[str, ...]  # of the table
    rows: tuple[tuple[str, ...], ...]


def category_figure(metrics: Metrics) -> Figure:
    """Chart F1 of each category, after the mean over them with its interval."""
    shown = {name: scores for name in GEOMETRIES if (scores := getattr(metrics, name)).per_category}
    names = [name for name in metrics.counting.per_category if any(_f1(s, name) is not None for s in shown.values())]
    bars = [("all", tuple(_bar(scores.f1.value, scores.f1.ci95) for scores in shown.values()))]
    bars += [(name, tuple(_bar(_f1(scores, name)) for scores in shown.values())) for name in names]
    columns = [(f"{name} {what}", scores, what) for name, scores in shown.items() for what in ("f1", "tp", "fp", "fn")]
    rows = tuple(
        (name, *(_cell(scores.per_category[name], what) for _, scores, what in columns if name in scores.per_category))
        for name in names
    )
    return Figure(
        "categories",
        "F1 by category",
        "Percent. The first row is the mean over the categories with ground truth, with its 95 % interval over images. "
        "Categories without ground truth are left out.",
        tuple(shown),
        Bars(tuple(bars)),
        ("category", *(heading for heading, _, _ in columns)),
        rows,
    )


def verdict_figures(metrics: Metrics) -> Iterator[Figure]:
    """Chart the error types of the predictions of each category, and the verdicts of its objects."""
    if metrics.errors is None or metrics.errors.box is None:  # of an early release, or of a method that only counts
        return
    rows = {"all": metrics.errors.box.total, **metrics.errors.box.per_category}
    yield _verdict_figure(
        rows,
        "predictions",
        "Predictions by error type",
        "Percent of the boxes, by predicted category. Correct: matched to an object at IoU 0.5. Duplicate: on an "
        "object that is matched to another prediction. Classification: on an object of another category. "
        "Localisation: near an object of its category (IoU 0.1 to 0.5). Both: near an object of another category. "
        "Background: near no object.",
        PREDICTION_VERDICTS[:-1],
    )
    yield _verdict_figure(
        rows,
        "objects",
        "Objects by verdict",
        "Percent of the objects, by boxes. Correct: found at IoU 0.5. Misclassified: a prediction of another category "
        "lies on it. Mislocated: a prediction of its category lies near it. Missed: none of these.",
        TARGET_VERDICTS,
    )


def _verdict_figure(rows: Mapping[str, object], name: str, title: str, note: str, verdicts: tuple[str, ...]) -> Figure:
    counts = {
        category: row
        for category, found in rows.items()
        if any(row := [getattr(found, verdict) for verdict in verdicts])
    }
    bars = [(f"{name} ({sum(row):,})", tuple(_bar(n / sum(row)) for n in row)) for name, row in counts.items()]
    return Figure(
        name,
        title,
        note,
        verdicts,
        Bars(tuple(bars), stacked=True),
        ("category", *verdicts),
        tuple((category, *map(str, row)) for category, row in counts.items()),
    )


def iou_figure(metrics: Metrics) -> Figure | None:
    """Chart F1 against the IoU threshold."""
    curves = {name: at for name in ("box", "mask") if (at := getattr(metrics, name).f1_at_iou)}
    if not curves:
        return None
    thresholds = list(next(iter(curves.values())))
    points = [[(float(at), curve.get(at)) for at in thresholds] for curve in curves.values()]
    return Figure(
        "iou",
        "F1 against IoU",
        "Mean F1 over categories, in percent, when a prediction must overlap an object by at least this IoU.",
        tuple(curves),
        _lines(points, "IoU"),
        ("IoU", *curves),
        tuple((at, *(PERCENT.text(curve.get(at)) for curve in curves.values())) for at in thresholds),
    )


def sweep_figure(metrics: Metrics) -> Figure | None:
    """Chart precision, recall and F1 against the score threshold."""
    sweep = metrics.sweep
    if sweep is None or not sweep.curve:
        return None
    scores = ("f1", "precision", "recall")
    points = [[(p.threshold, getattr(p, name)) for p in sweep.curve] for name in scores]
    return Figure(
        "sweep",
        "Score threshold",
        f"Box scores, mean over categories, in percent. The report is {threshold_in_words(metrics)}.",
        scores,
        _lines(points, "threshold"),
        ("threshold", *scores),
        tuple((f"{p.threshold:.4g}", *(PERCENT.text(getattr(p, name)) for name in scores)) for p in sweep.curve),
    )


def time_figure(run: LoadedRun) -> Figure | None:
    """Chart the seconds of each image against its number of objects."""
    records = [run.stored.records.get(image) for image in run.images]
    points = sorted(
        (objects, record.seconds["total"])
        for objects, record in zip(run.objects.tolist(), records, strict=True)
        if record is not None and "total" in record.seconds
    )
    if not points:
        return None
    every = -(-len(points) // MOST_POINTS)
    shown = points[::every]
    left_out = f" {len(shown)} of {len(points)} images are drawn; the table covers all." if every > 1 else ""
    return Figure(
        "time",
        "Time against objects",
        "One point per image: seconds of prediction, and objects in the ground truth."
        f"{_line_through(points)}{left_out}",
        (),
        _dots(shown, "objects", "seconds"),
        ("objects", "images", "seconds, mean", "least", "most"),
        tuple(_time_rows(points)),
    )


def _line_through(points: Sequence[tuple[int, float]]) -> str:
    """Describe the least-squares line of seconds over objects; empty if the points determine no line."""
    objects, seconds = np.array(points).T
    if len(points) < 3 or not objects.std() or not seconds.std():
        return ""
    slope = np.polyfit(objects, seconds, 1)[0]
    explained = np.corrcoef(objects, seconds)[0, 1] ** 2
    return f" The best line: {1000 * slope:+.3g} ms per object, R2 {explained:.2f}."


def _time_rows(points: Sequence[tuple[int, float]]) -> Iterable[tuple[str, ...]]:
    bounds = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1 << 31)
    for low, high in pairwise(bounds):
        seconds = [value for objects, value in points if low <= objects < high]
        if seconds:
            span = str(low) if high == low + 1 else f"{low} or more" if high == bounds[-1] else f"{low} to {high - 1}"
            numbers = (sum(seconds) / len(seconds), min(seconds), max(seconds))
            yield span, str(len(seconds)), *(f"{value:.3g}" for value in numbers)


def _f1(scores: GeometryScores, category: str) -> float | None:
    own = scores.per_category.get(category)
    return None if own is None else own.f1


def _cell(scores: object, what: str) -> str:
    value = getattr(scores, what)
    return PERCENT.text(value) if what == "f1" else str(value)


def _bar(value: float | None, interval: tuple[float, float] | None = None) -> Bar | None:
    if value is None:
        return None
    return Bar(100 * value, None if interval is None else (100 * interval[0], 100 * interval[1]))


def _lines(series: Sequence[Sequence[tuple[float, float | None]]], across: str) -> Plot:
    """Plot lines through fractions, in percent; points without a value are left out."""
    x_ticks = _ticks(min(x for points in series for x, _ in points), max(x for points in series for x, _ in points))
    paths = (
        " ".join(f"{_place(x, x_ticks):.4g},{100 - 100 * y:.4g}" for x, y in points if y is not None)
        for points in series
    )
    return Plot(
        _axis(across, x_ticks), _axis("percent", _ticks(0, 100)), tuple(f"M{path}" if path else "" for path in paths)
    )


def _dots(points: Sequence[tuple[int, float]], across: str, up: str) -> Plot:
    x_ticks, y_ticks = _ticks(0, max(x for x, _ in points)), _ticks(0, max(y for _, y in points))
    path = "".join(f"M{_place(x, x_ticks):.4g},{100 - _place(y, y_ticks):.4g}h0" for x, y in points)
    return Plot(_axis(across, x_ticks), _axis(up, y_ticks), (path,), dots=True)


def _ticks(least: float, most: float) -> list[float]:
    """Choose round numbers in equal steps that cover `least` to `most`.

    >>> _ticks(0, 37), _ticks(0.5, 0.95)
    ([0.0, 10.0, 20.0, 30.0, 40.0], [0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    """
    span = next(span for span in (most - least, abs(most), 1.0) if span > _NARROWEST)
    power = 10.0 ** math.floor(math.log10(span / _TICKS))
    step = next(power * factor for factor in (1, 2, 5, 10, 20) if span <= _TICKS * power * factor * (1 + 1e-9))
    first, last = math.floor(least / step + 1e-9), math.ceil(most / step - 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1)]


def _place(value: float, ticks: Sequence[float]) -> float:
    return 100 * (value - ticks[0]) / (ticks[-1] - ticks[0])


def _axis(title: str, ticks: Sequence[float]) -> Axis:
    return Axis(title, tuple((_place(tick, ticks), f"{tick:g}") for tick in ticks))
