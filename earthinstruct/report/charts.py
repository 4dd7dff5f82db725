"""The charts of a report: SVG in the colours of the page, each with the table that says the same."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

from defusedxml.ElementTree import fromstring

from earthinstruct.errors import EarthInstructError
from earthinstruct.metrics.values import Metrics, PartScores
from earthinstruct.report.loaded import LoadedRun

INSTALL = "pip install 'earthinstruct[report]'"
PARTS = ("counting", "box", "mask")
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


def percent(value: float | None) -> str:
    """A fraction as text.

    >>> percent(0.6383), percent(None)
    ('63.8', '-')
    """
    return "-" if value is None else f"{100 * value:.1f}"


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


def outcome_figure(metrics: Metrics) -> Figure:
    """Objects found and missed and predictions that found nothing, of each category."""
    outcomes = {"found": "tp", "missed": "fn", "wrong": "fp"}
    tally = {name: count for name, count in metrics.box.tally.items() if count.tp + count.fp + count.fn}
    return Figure(
        "outcomes",
        "Found, missed, wrong",
        "Boxes at IoU 0.5: objects that a prediction found, objects that none found, predictions that found none.",
        tuple(outcomes),
        _bars(
            list(tally),
            {name: [getattr(count, column) for count in tally.values()] for name, column in outcomes.items()},
            None,
            stacked=True,
        ),
        ("category", *outcomes),
        tuple((name, *(str(getattr(count, c)) for c in outcomes.values())) for name, count in tally.items()),
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
        tuple((at, *(percent(curve.get(at)) for curve in curves.values())) for at in thresholds),
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
        tuple((f"{p.threshold:.2f}", *(percent(getattr(p, name)) for name in scores)) for p in sweep.curve),
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
        f"One point an image: seconds of prediction, and objects in the ground truth.{left_out}",
        (),
        _scatter(shown, "objects", "seconds"),
        ("objects", "images", "seconds, mean", "least", "most"),
        tuple(_time_rows(points)),
    )


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
    return percent(value) if what == "f1" else str(value)


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
