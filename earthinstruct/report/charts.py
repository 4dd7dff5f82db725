"""The charts of a report: SVG in the colours of the page, each with the table that says the same."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import numpy as np
from defusedxml.ElementTree import fromstring

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics import PREDICTION_VERDICTS, TARGET_VERDICTS
from earthinstruct.metrics.catalogue import PARTS, PERCENT
from earthinstruct.metrics.values import Metrics, PartScores
from earthinstruct.report.loaded import LoadedRun

INSTALL = "pip install 'earthinstruct[report]'"
MOST_POINTS = 400  # of a scatter; the table under it sums up all
_WIDTH = 480  # drawn for a phone, and a little larger on a wide screen


@dataclass(frozen=True)
class Figure:
    """A chart with its text alternative.

    Attributes:
        name: what it is called in the page, for links and tests.
        title: its heading.
        note: what it shows, in one or two sentences.
        legend: the names of its series, in the order of the page's colours.
        svg: the chart.
        header: of the table.
        rows: of the table.
    """

    name: str
    title: str
    note: str
    legend: tuple[str, ...]
    svg: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def category_figure(metrics: Metrics) -> Figure:
    """F1 of each category; the mean over them first, with its interval."""
    parts = {name: part for name in PARTS if (part := getattr(metrics, name)).per_category}
    names = [name for name in metrics.counting.per_category if any(_f1(p, name) is not None for p in parts.values())]
    series = {
        name: [_with_interval(part), *(_hundred(_f1(part, category)) for category in names)]
        for name, part in parts.items()
    }
    columns = [(f"{name} {what}", part, what) for name, part in parts.items() for what in ("f1", "tp", "fp", "fn")]
    rows = tuple(
        (name, *(_cell(part.per_category[name], what) for _, part, what in columns if name in part.per_category))
        for name in names
    )
    return Figure(
        "categories",
        "F1 by category",
        "Percent. The first row is the mean over the categories with ground truth, with its 95 % interval over images. "
        "Categories without ground truth are left out.",
        tuple(parts),
        _bars(["all", *names], series, 100),
        ("category", *(heading for heading, _, _ in columns)),
        rows,
    )


def prediction_figure(metrics: Metrics) -> Figure | None:
    """What is wrong with the predictions of each category."""
    return _verdict_figure(
        metrics,
        "predictions",
        "Predictions by error type",
        "Percent of the boxes, by the category predicted. Correct: matched to an object at IoU 0.5. Duplicate: on an "
        "object that another prediction has. Classification: on an object of another category. Localisation: near an "
        "object of its category (IoU 0.1 to 0.5); both: near one of another category. Background: near nothing.",
        PREDICTION_VERDICTS[:-1],
    )


def object_figure(metrics: Metrics) -> Figure | None:
    """What became of the objects of each category."""
    return _verdict_figure(
        metrics,
        "objects",
        "Objects by what became of them",
        "Percent of the objects, by boxes. Correct: found at IoU 0.5. Misclassified: a prediction of another category "
        "lies on it. Mislocated: a prediction of its category is near it. Missed: neither.",
        TARGET_VERDICTS,
    )


def _verdict_figure(metrics: Metrics, name: str, title: str, note: str, verdicts: tuple[str, ...]) -> Figure | None:
    if metrics.errors is None:  # a result of an earlier release
        return None
    errors = {"all": metrics.errors.box.total, **metrics.errors.box.per_category}
    counts = {category: [getattr(row, verdict) for verdict in verdicts] for category, row in errors.items()}
    counts = {category: row for category, row in counts.items() if any(row)}
    shares = [[100 * n / sum(row) for n in row] for row in counts.values()]
    return Figure(
        name,
        title,
        note,
        verdicts,
        _bars(
            [f"{category} ({sum(row):,})" for category, row in counts.items()],
            {verdict: [row[i] for row in shares] for i, verdict in enumerate(verdicts)},
            100,
            stacked=True,
        ),
        ("category", *verdicts),
        tuple((category, *map(str, row)) for category, row in counts.items()),
    )


def iou_figure(metrics: Metrics) -> Figure | None:
    """F1 against the IoU that counts as found."""
    curves = {name: at for name in ("box", "mask") if (at := getattr(metrics, name).f1_at_iou)}
    if not curves:
        return None
    thresholds = list(next(iter(curves.values())))
    points = {name: [(float(at), _hundred(at_iou.get(at))) for at in thresholds] for name, at_iou in curves.items()}
    return Figure(
        "iou",
        "F1 against IoU",
        "Mean over categories, in percent, where a prediction has to overlap an object by at least this IoU.",
        tuple(curves),
        _lines(points, "IoU"),
        ("IoU", *curves),
        tuple((at, *(PERCENT.text(curve.get(at)) for curve in curves.values())) for at in thresholds),
    )


def sweep_figure(metrics: Metrics) -> Figure | None:
    """Precision, recall and F1 against the score threshold."""
    sweep = metrics.sweep
    if sweep is None:
        return None
    scores = ("f1", "precision", "recall")
    points = {name: [(p.threshold, _hundred(getattr(p, name))) for p in sweep.curve] for name in scores}
    return Figure(
        "sweep",
        "Score threshold",
        f"Box scores, mean over categories, in percent. The threshold {sweep.threshold:.2f} has the largest F1 on "
        "these very images (an oracle); everything in this report is at that threshold.",
        scores,
        _lines(points, "threshold"),
        ("threshold", *scores),
        tuple((f"{p.threshold:.2f}", *(PERCENT.text(getattr(p, name)) for name in scores)) for p in sweep.curve),
    )


def time_figure(run: LoadedRun) -> Figure | None:
    """Seconds of each image against its objects."""
    records = [run.records.get(image) for image in run.truth.images]
    points = sorted(
        (objects, record.seconds["total"])
        for objects, record in zip(run.objects.tolist(), records, strict=True)
        if record is not None and "total" in record.seconds
    )
    if not points:
        return None
    every = -(-len(points) // MOST_POINTS)
    shown = points[::every]
    left_out = f" {len(shown)} of {len(points)} images are drawn; the table is of all." if every > 1 else ""
    return Figure(
        "time",
        "Time against objects",
        f"One point an image: seconds of prediction, and objects in the ground truth.{_line_through(points)}{left_out}",
        (),
        _scatter(shown, "objects", "seconds"),
        ("objects", "images", "seconds, mean", "least", "most"),
        tuple(_time_rows(points)),
    )


def _line_through(points: Sequence[tuple[int, float]]) -> str:
    """How time grows with the objects: least squares, in words; empty where no line is determined."""
    objects, seconds = np.array(points).T
    if len(points) < 3 or not objects.std() or not seconds.std():
        return ""
    slope = np.polyfit(objects, seconds, 1)[0]
    explained = np.corrcoef(objects, seconds)[0, 1] ** 2
    return f" The best line: {1000 * slope:+.3g} ms an object, R2 {explained:.2f}."


def _time_rows(points: Sequence[tuple[int, float]]) -> Iterable[tuple[str, ...]]:
    bounds = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1 << 31)
    for low, high in pairwise(bounds):
        seconds = [value for objects, value in points if low <= objects < high]
        if seconds:
            span = str(low) if high == low + 1 else f"{low} or more" if high == bounds[-1] else f"{low} to {high - 1}"
            numbers = (sum(seconds) / len(seconds), min(seconds), max(seconds))
            yield span, str(len(seconds)), *(f"{value:.3g}" for value in numbers)


def _f1(part: PartScores, category: str) -> float | None:
    scores = part.per_category.get(category)
    return None if scores is None else scores.f1


def _cell(scores: object, what: str) -> str:
    value = getattr(scores, what)
    return PERCENT.text(value) if what == "f1" else str(value)


def _hundred(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _with_interval(part: PartScores) -> Any:
    value = _hundred(part.f1.value)
    if value is None or part.f1.ci95 is None:
        return value
    low, high = part.f1.ci95
    return {"value": value, "ci": {"low": 100 * low, "high": 100 * high}}


def _library() -> Any:
    try:
        return importlib.import_module("pygal")
    except ImportError as error:
        raise EarthInstructError(f"a report needs pygal and Jinja2: {INSTALL}") from error


def _chart(kind: str, height: int, **options: Any) -> Any:
    """A chart without scripts, styles and fonts of its own: the page's style sheet is the only one."""
    pygal = _library()
    return getattr(pygal, kind)(
        width=_WIDTH,
        height=height,
        css=[],
        js=[],
        no_prefix=True,
        disable_xml_declaration=True,
        show_legend=False,
        truncate_label=-1,
        margin=8,
        max_scale=6,
        style=pygal.style.Style(
            label_font_size=12, major_label_font_size=12, title_font_size=12, font_family="sans-serif"
        ),
        **options,
    )


def _bars(
    names: Sequence[str], series: Mapping[str, Sequence[Any]], most: float | None, *, stacked: bool = False
) -> str:
    """Horizontal bars, the first name at the top."""
    thickness = 22 if stacked else 10 * len(series) + 12
    chart = _chart(
        "HorizontalStackedBar" if stacked else "HorizontalBar",
        50 + thickness * len(names),
        range=None if most is None else (0, most),
        include_x_axis=True,
        order_min=0,
    )
    chart.x_labels = list(reversed(names))
    for name, values in series.items():
        chart.add(name, list(reversed(values)))
    return _svg(chart)


def _lines(points: Mapping[str, Sequence[tuple[float, float | None]]], across: str) -> str:
    chart = _chart("XY", 240, range=(0, 100), x_title=across, show_dots=False)
    for name, values in points.items():
        chart.add(name, [value for value in values if value[1] is not None])
    return _svg(chart)


def _scatter(points: Sequence[tuple[int, float]], across: str, up: str) -> str:
    chart = _chart("XY", 240, stroke=False, x_title=across, y_title=up, dots_size=3, include_x_axis=True)
    chart.add("images", list(points))
    return _svg(chart)


def _svg(chart: Any) -> str:
    """The chart as light SVG: what only the library's own script and style sheet read is left out."""
    root: ElementTree.Element = fromstring(chart.render(is_unicode=True))
    _prune(root, _is_for_the_library)
    _prune(root, lambda element: _kind(element) == "g" and not len(element))
    for element in root.iter():
        element.tag = _kind(element)
        for name, value in list(element.attrib.items()):
            if name in ("id", "rx", "ry") or not value:
                del element.attrib[name]
            elif name != "class":
                element.set(name, _rounded(value))
        if element.get("class", "").startswith("series "):
            element.set("class", element.get("class", "").replace("color-", "colour-"))
    root.set("aria-hidden", "true")  # the figure around it has the name, the table the values
    return ElementTree.tostring(root, encoding="unicode")


def _is_for_the_library(element: ElementTree.Element) -> bool:
    return _kind(element) in {"defs", "title", "desc"} or bool(
        {"tooltip", "tooltip-overlay"} & set(element.get("class", "").split())
    )


def _kind(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _prune(element: ElementTree.Element, unwanted: Callable[[ElementTree.Element], bool]) -> None:
    for child in list(element):
        _prune(child, unwanted)
        if unwanted(child):
            element.remove(child)


def _rounded(value: str) -> str:
    """Numbers in an attribute to a tenth of a pixel."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), value)
