"""The charts of a report, a function each. Every chart comes with a table of the same data, as its text alternative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics import (
    GEOMETRIES,
    LARGEST_ERROR,
    PERCENT,
    PREDICTION_VERDICTS,
    RELATIVE,
    TARGET_VERDICTS,
    CountingLimits,
    GeometryScores,
    Metrics,
    Unit,
    Value,
    headlines_of,
    threshold_in_words,
    threshold_text,
)
from earthinstruct.reporting.drawing import MOST_ROWS, Axis, Bar, Series, bars, cells, count_axis, plane, ticks
from earthinstruct.reporting.loaded import LoadedRun, bands
from earthinstruct.results import absent_rows
from earthinstruct.texts import plural

NOTHING = "nothing"  # what a prediction without an object lies on
_MOST_POINTS = 400  # drawn for images; the tables cover all
_COLOURS = ("c0", "c1", "c2", "c3")
_WHAT = {
    "counting": "counts",
    "box": "boxes at IoU 0.5",
    "mask": "masks at IoU 0.5",
    "point": "points that lie in the objects",
}
_CATEGORIES_DRAWN = 30  # single curves, besides the mean
_COUNTED = ("tp", "fp", "fn")
_PERCENT_AXIS = Axis("percent", ticks(0, 100))
_SMALLEST, _LARGEST = 7, 14  # diameters of dots
_FITS = 12  # columns of a table of cells
_APART = 0.07  # runs at one place of an axis of bands, in bands
_EXPLAINS = 0.1  # R2 from which a line through points says something


@dataclass(frozen=True)
class Chart:
    """A chart with its text alternative, a table."""

    name: str  # in the page, for links, files and tests
    title: str
    note: str  # what it shows, in one or two sentences
    picture: str  # SVG
    header: tuple[str, ...]  # of the table
    rows: tuple[tuple[str, ...], ...]
    wide: bool = False  # over the whole page


def count_figure(run: LoadedRun) -> Chart | None:
    """Chart predicted counts against the numbers of objects: one point for each image and category."""
    counts = run.counts
    if not len(counts.actual):
        return None
    most = int(max(counts.actual.max(), counts.said.max()))
    axes = count_axis("objects", 0, most), count_axis("predicted", 0, most)
    right = int((counts.actual == counts.said).sum())
    n = len(counts.actual)
    return Chart(
        "counts",
        "Predicted counts against objects",
        f"One point for each image and category with an object or a predicted one; larger where several share it. "
        f"On the line, the count is right: {right:,} of {n:,} ({PERCENT.text(right / n)} %). Below it, objects are "
        "missing; above it, there are too many."
        + (f" The table has the {_MOST_POINTS} largest errors." if n > _MOST_POINTS else ""),
        plane(*axes, [_diagonal(axes[0]), *_sized_dots(counts.actual, counts.said)]),
        ("image", "category", "objects", "predicted", "difference"),
        tuple(_largest_differences(run)),
    )


def _largest_differences(run: LoadedRun) -> Iterator[tuple[str, ...]]:
    """The entries with the largest counting errors; charts show the others."""
    counts, images = run.counts, run.stored.dataset.images
    off = counts.said - counts.actual
    for i in np.argsort(-np.abs(off), kind="stable")[:_MOST_POINTS].tolist():
        category = run.stored.task.categories[counts.category[i]]
        numbers = (str(counts.actual[i]), str(counts.said[i]), f"{off[i]:+d}" if off[i] else "0")
        yield images[counts.image[i]].file_name, category, *numbers


def residual_figure(run: LoadedRun) -> Chart | None:
    """Chart predicted minus actual counts against the number of objects, with the mean by density."""
    counts = run.counts
    if not len(counts.actual):
        return None
    off = counts.said - counts.actual
    groups = list(bands(counts.actual))
    means = [(float(counts.actual[of].mean()), float(off[of].mean())) for _, of in groups]
    axes = (
        count_axis("objects", 0, int(counts.actual.max())),
        count_axis("predicted minus objects", int(off.min()), int(off.max())),
    )
    zero = Series("ideal", [(0, 0), (axes[0].ticks[-1], 0)])
    return Chart(
        "residuals",
        "Counting errors by number of objects",
        "Predicted minus objects, one point for each image and category; larger where several share it. The line is "
        f"the mean over similar numbers of objects. Over all, the mean is {off.mean():+.2f}.",
        plane(*axes, [zero, *_sized_dots(counts.actual, off), Series("c1", means, name="mean")]),
        ("objects", "images x categories", "mean difference", "mean absolute", "largest"),
        tuple(
            (
                name,
                f"{of.sum():,}",
                f"{off[of].mean():+.2f}",
                f"{np.abs(off[of]).mean():.2f}",
                f"{_largest(off[of]):+d}",
            )
            for name, of in groups
        ),
    )


def _largest(off: NDArray[np.int64]) -> int:
    return int(off[np.abs(off).argmax()])


def density_figure(run: LoadedRun) -> Chart | None:
    """Chart the shares of right, too large and too small counts by the number of objects."""
    counts = run.counts
    if not len(counts.actual):
        return None
    off = counts.said - counts.actual
    rows = {
        f"{name} ({of.sum():,})": [int((of & kind).sum()) for kind in (off == 0, off > 0, off < 0)]
        for name, of in bands(counts.actual)
    }
    return Chart(
        "density",
        "Right counts by number of objects",
        "Percent of the images and categories with so many objects (their number in brackets). "
        "0: only where some were predicted.",
        bars(
            [(name, [_bar(n / sum(row)) for n in row]) for name, row in rows.items()],
            (("right", "found"), ("too many", "localisation"), ("too few", "missed")),
            stacked=True,
        ),
        ("objects", "right", "too many", "too few"),
        tuple((name, *map(str, row)) for name, row in rows.items()),
    )


def _sized_dots(across: NDArray[np.int64], up: NDArray[np.int64]) -> Iterator[Series]:
    """Dots that are the larger the more points share a place."""
    places, n = np.unique(np.stack([across, up], axis=1), axis=0, return_counts=True)
    sizes = np.rint(_SMALLEST + (_LARGEST - _SMALLEST) * np.log(n) / max(math.log(n.max(initial=1)), 1.0))
    for size in np.unique(sizes).tolist():
        yield Series("c0", [(a, b) for a, b in places[sizes == size].tolist()], size)


def _diagonal(axis: Axis) -> Series:
    """The line of equal numbers on two equal axes, up to their corner."""
    return Series("ideal", [(0, 0), (axis.ticks[-1], axis.ticks[-1])])


def category_figure(metrics: Metrics) -> Chart:
    """Chart F1 of each category, after the mean over them with its interval."""
    shown = _shown(metrics)
    names = [name for name in metrics.counting.per_category if any(_of(s, name, "f1") for s in shown.values())]
    rows = [("all", [_value_bar(scores.f1) for scores in shown.values()])]
    rows += [(name, [_of(scores, name, "f1") for scores in shown.values()]) for name in names]
    columns = [(name, scores, ("f1", *_COUNTED)) for name, scores in shown.items()]
    return Chart(
        "categories",
        "F1 by category",
        f"Percent{_intervals(rows)}. The first row is the mean over the categories with ground truth; the others are "
        f"left out.{_left_out(len(rows))}",
        bars(rows, list(zip(shown, _COLOURS, strict=False))),
        ("category", *(heading for name, _, whats in columns for heading in _headings(whats, f"{name} "))),
        tuple(
            (name, *(cell for _, scores, whats in columns for what in whats for cell in _cells(scores, name, what)))
            for name in names
        ),
    )


def precision_recall_figures(metrics: Metrics) -> Iterator[Chart]:
    """Chart precision and recall of each category, for counts, boxes, masks and points."""
    both = ("precision", "recall")
    for name, scores in _shown(metrics).items():
        of_all = [("all", [_value_bar(scores.precision), _value_bar(scores.recall)])]
        rows = of_all + [
            (category, found)
            for category in scores.per_category
            if any(found := [_of(scores, category, score) for score in both])
        ]
        yield Chart(
            f"precision-recall-{name}",
            f"Precision and recall of {_WHAT[name].partition(' ')[0]}",
            f"By category, in percent, of {_WHAT[name]}{_intervals(rows)}. Low precision: too many; low recall: too "
            f"few.{_left_out(len(rows))}",
            bars(rows, list(zip(both, _COLOURS, strict=False))),
            ("category", *_headings((*both, "f1"))),
            tuple(
                (category, *(cell for score in (*both, "f1") for cell in _cells(scores, category, score)))
                for category, _ in rows[1:]
            ),
        )


def verdict_figures(metrics: Metrics) -> Iterator[Chart]:
    """Chart the error types of the predictions of each category, and the verdicts of its objects."""
    found = None if metrics.errors is None else metrics.errors.of_instances
    if found is None:  # of an early release, or of a method that only counts
        return
    rows = {"all": found.total, **found.per_category}
    by, at, near = "boxes", "at IoU 0.5", "IoU 0.1 to 0.5"
    if metrics.geometry == "point":
        by, at, near = "points", "that it lies in", "in its box made twice as wide and high"
    yield _verdict_figure(
        rows,
        "predictions",
        "Predictions by error type",
        f"Percent of the {by}, by predicted category. Correct: matched to an object {at}. Duplicate: on an "
        "object that is matched to another prediction. Classification: on an object of another category. "
        f"Localisation: near an object of its category ({near}). Both: near an object of another category. "
        "Background: near no object.",
        [(verdict, verdict) for verdict in PREDICTION_VERDICTS[:-1]],
    )
    colours = ("found", "classification", "localisation", "missed")
    yield _verdict_figure(
        rows,
        "objects",
        "Objects by verdict",
        f"Percent of the objects, by {by}. Correct: matched to a prediction. Misclassified: a prediction of another "
        "category lies on it. Mislocated: a prediction of its category lies near it. Missed: none of these.",
        list(zip(TARGET_VERDICTS, colours, strict=True)),
    )


def _verdict_figure(
    found: Mapping[str, object], name: str, title: str, note: str, series: Sequence[tuple[str, str]]
) -> Chart:
    counts = {
        category: row for category, of in found.items() if any(row := [getattr(of, verdict) for verdict, _ in series])
    }
    return Chart(
        name,
        title,
        note + _left_out(len(counts)),
        bars(
            [(f"{name} ({sum(row):,})", [_bar(n / sum(row)) for n in row]) for name, row in counts.items()],
            series,
            stacked=True,
        ),
        ("category", *(verdict for verdict, _ in series)),
        tuple((category, *map(str, row)) for category, row in counts.items()),
    )


def cost_figure(metrics: Metrics) -> Chart | None:
    """Chart what each type of error costs in F1."""
    if metrics.costs is None:
        return None
    shown = [name for name in GEOMETRIES if getattr(metrics.costs, name) is not None]
    rows, table = [], []
    for some in (shown[:1], shown[1:]):  # counting, then the geometries of instances
        costs = {name: getattr(metrics.costs, name) for name in some}
        for error in costs[some[0]].__struct_fields__ if some else ():
            values = {name: getattr(of, error) for name, of in costs.items()}
            if any(value.value is not None for value in values.values()):
                title = {"over": "counted too many", "under": "counted too few"}.get(error, error)
                rows.append((title, [_value_bar(values.get(one, Value(None))) for one in shown]))
                table.append((title, *(PERCENT.text(values.get(one, Value(None)).value) for one in shown)))
    if not rows:
        return None
    most = max(max(bar.value, *(bar.interval or (0,))) for _, of in rows for bar in of if bar)
    return Chart(
        "costs",
        "What errors cost",
        f"Gain in mean F1, in points, if the errors of one type alone were mended{_intervals(rows)}.",
        bars(
            rows, [(one, _COLOURS[GEOMETRIES.index(one)]) for one in shown], unit="points of F1", ticks=ticks(0, most)
        ),
        ("error", *shown),
        tuple(table),
    )


def confusion_figure(run: LoadedRun) -> Chart | None:
    """Chart the confusion matrix by boxes at IoU 0.5 or by points, one prediction for each object."""
    categories, table = run.stored.task.categories, run.confusion
    rows, columns = np.flatnonzero(table.any(axis=1)), np.flatnonzero(table.any(axis=0))
    if not len(rows):
        return None
    row_names, column_names = (*categories, NOTHING), (*categories, "no category", "not found")
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    shown = tuple(column_names[c] for c in columns)
    by = "Points" if run.result.metrics.geometry == "point" else "Boxes at IoU 0.5"
    return Chart(
        "confusion",
        "Confusion matrix",
        f"{by}, one prediction for each object: rows are the categories of the objects and add up to them, "
        "columns are the predicted ones and add up to the predictions. The darker a cell, the larger its share of the "
        f"row. Row {NOTHING}: predictions without an object of their own, such as duplicates. Not found: no prediction "
        "is left for the object.",
        cells(
            [(row_names[r], [(int(table[r, c]), float(share[r, c])) for c in columns]) for r in rows],
            shown,
            ("objects", "predictions"),
        ),
        ("object", *shown, "sum"),
        tuple((row_names[r], *(str(table[r, c]) for c in columns), str(table[r].sum())) for r in rows),
        wide=len(shown) > _FITS,
    )


def curve_figure(run: LoadedRun) -> Chart | None:
    """Chart precision against recall over all score thresholds, the mean over categories and each category."""
    if run.outcomes is None:
        return None
    curves = run.outcomes.precision_at_recalls()
    categories = run.stored.task.categories
    over = [
        c for c in np.flatnonzero(run.outcomes.n_targets).tolist() if categories[c] in run.stored.task.groups["all"]
    ]
    if not over:
        return None
    recalls = np.linspace(0, 1, len(curves))
    mean = curves[:, over].mean(axis=1)

    def points(curve: NDArray[np.float64]) -> list[tuple[float, float]]:
        return [(100 * r, 100 * p) for r, p in zip(recalls.tolist(), curve.tolist(), strict=True)]

    several = len(over) > 1
    single = [Series("faint", points(curves[:, c])) for c in over[:_CATEGORIES_DRAWN]] if several else []
    which = "each category" if len(over) == len(single) else f"{len(single)} of {len(over)} categories"
    title = "mean over categories" if several else categories[over[0]]
    return Chart(
        "curve",
        "Precision against recall",
        "Boxes at IoU 0.5 over all score thresholds, in percent, interpolated as in COCO"
        + (f": the mean and, faint, {which}." if several else ".")
        + f" The area is AP50: {PERCENT.text(float(mean.mean()))}.",
        plane(
            Axis("recall, percent", ticks(0, 100)),
            Axis("precision, percent", ticks(0, 100)),
            [*single, Series("c0", points(mean), name=title)],
        ),
        ("recall", "mean", *(categories[c] for c in over)),
        tuple(
            (f"{100 * recalls[i]:.0f}", PERCENT.text(mean[i]), *(PERCENT.text(curves[i, c]) for c in over))
            for i in range(0, len(curves), 5)
        ),
    )


def iou_figure(metrics: Metrics) -> Chart | None:
    """Chart F1 against the IoU threshold."""
    curves = {name: at for name in ("box", "mask") if (at := getattr(metrics, name).f1_at_iou)}
    if not curves:
        return None
    thresholds = list(next(iter(curves.values())))
    lines = {name: [(float(at), curve.get(at)) for at in thresholds] for name, curve in curves.items()}
    return Chart(
        "iou",
        "F1 against IoU",
        "Mean F1 over categories, in percent, when a prediction must overlap an object by at least this IoU.",
        plane(Axis("IoU", ticks(0.5, 0.95)), _PERCENT_AXIS, _lines(lines)),
        ("IoU", *curves),
        tuple((at, *(PERCENT.text(curve.get(at)) for curve in curves.values())) for at in thresholds),
    )


def sweep_figure(metrics: Metrics) -> Chart | None:
    """Chart precision, recall and F1 against the score threshold."""
    sweep = metrics.sweep
    if sweep is None or not sweep.curve:
        return None
    scores = ("f1", "precision", "recall")
    lines = {name: [(p.threshold, getattr(p, name)) for p in sweep.curve] for name in scores}
    ends = [p.threshold for p in sweep.curve]
    return Chart(
        "sweep",
        "Score threshold",
        f"Box scores, mean over categories, in percent. The report is {threshold_in_words(metrics)}.",
        plane(Axis("threshold", ticks(min(ends), max(ends))), _PERCENT_AXIS, _lines(lines)),
        ("threshold", *scores),
        tuple((threshold_text(p.threshold), *(PERCENT.text(getattr(p, name)) for name in scores)) for p in sweep.curve),
    )


def calibration_figure(metrics: Metrics) -> Chart | None:
    """Chart the share of right predictions against their score: the reliability curve."""
    found = {name: of for name, scores in metrics.by_geometry.items() if (of := scores.calibration) and of.bins}
    if not found:
        return None
    errors = ", ".join(f"{name} {PERCENT.text(of.ece.value)}" for name, of in found.items())
    lines = {name: [(b.score, b.precision) for b in of.bins if b.score is not None] for name, of in found.items()}
    rows = zip(*(of.bins for of in found.values()), strict=True)
    return Chart(
        "calibration",
        "Reliability of scores",
        "The share of predictions that are right, in percent, against their mean score, in ten bins. "
        f"Perfect scores lie on the diagonal. Expected calibration error, in percent: {errors}.",
        plane(Axis("score", ticks(0, 1)), _PERCENT_AXIS, [Series("ideal", [(0, 0), (1, 100)]), *_lines(lines)]),
        ("score", *(f"{name} {what}" for name in found for what in ("predictions", "mean score", "right"))),
        tuple(
            (
                f"{row[0].low:.1f} to {row[0].high:.1f}",
                *(cell for b in row for cell in (f"{b.n:,}", _share(b.score), PERCENT.text(b.precision))),
            )
            for row in rows
        ),
    )


def absent_figure(metrics: Metrics) -> Chart | None:
    """Chart, for each category, in how many of the images without it a method counts or draws it."""
    if metrics.absent is None:
        return None
    known = {"counting": metrics.absent.counted, metrics.geometry: metrics.absent.drawn}
    shares = {geometry: of for geometry, of in known.items() if of is not None}
    rows = [
        (name, [_value_bar(of.per_category[name].share) for of in shares.values()])
        for name in metrics.counting.per_category
    ]
    if not any(bar for _, found in rows for bar in found):
        return None
    header, table = absent_rows(metrics)
    verbs = {"counting": "counts", "box": "draws", "point": "points at"}
    return Chart(
        "absent",
        "What is not there",
        f"The share of the images without a category in which the method {' or '.join(verbs[name] for name in shares)} "
        f"it, in percent{_intervals(rows)}.{_left_out(len(rows))}",
        bars(rows, [(verbs[name], _COLOURS[GEOMETRIES.index(name)]) for name in shares]),
        tuple(header),
        tuple(map(tuple, table)),
    )


def size_figure(metrics: Metrics) -> Chart | None:
    """Chart F1 of small, medium and large objects."""
    found = {name: of for name in ("box", "mask") if (of := getattr(metrics, name).by_size)}
    if not found:
        return None
    sizes, columns = next(iter(found.values())), ("f1", "precision", "recall", "ap")
    rows = [
        (f"{size} ({of_any.n_objects:,})", [_value_bar(of[size].f1) for of in found.values()])
        for size, of_any in sizes.items()
    ]
    return Chart(
        "sizes",
        "F1 by size of the objects",
        f"Percent, mean over categories{_intervals(rows)}. Small: below 32 x 32 pixels; large: from 96 x 96. "
        "The number of objects is in brackets.",
        bars(rows, [(name, _COLOURS[GEOMETRIES.index(name)]) for name in found]),
        ("size", *(f"{name} {what}" for name in found for what in ("objects", *columns))),
        tuple(
            (
                size,
                *(
                    cell
                    for of in found.values()
                    for cell in (f"{of[size].n_objects:,}", *(_text(getattr(of[size], what)) for what in columns))
                ),
            )
            for size in sizes
        ),
    )


def limit_figures(runs: Mapping[str, Metrics]) -> Iterator[Chart]:
    """Chart counting by the number of objects and by their size: the relative error and F1 of each run."""
    limits = {name: of for name, metrics in runs.items() if (of := metrics.counting_limits) is not None}
    ranges = ", ".join(f"{name} {_passing(of)}" for name, of in limits.items())
    over = "Over all images and categories with"
    kinds = (
        ("by_density", "number of objects", f"{over} so many objects."),
        ("by_size", "size of the objects", f"{over} objects: the size of the median one."),
    )
    for kind, title, note in kinds:
        bands = {run: getattr(of, kind) for run, of in limits.items()}
        some = [band for band in next(iter(bands.values()), {}) if any(of[band].n_objects for of in bands.values())]
        for score in ("relative_error", "f1") if some else ():
            values = {run: [getattr(of[band], score) for band in some] for run, of in bands.items()}
            name = f"limits-{kind.removeprefix('by_')}-{score}".replace("_", "-")
            passing = f" Where the error passes 20 %: {ranges}."
            with_passing = passing if (kind, score) == ("by_density", "relative_error") else ""
            yield _band_figure(name, score, title, f"{note}{with_passing}", some, values)


def _passing(limits: CountingLimits) -> str:
    value = limits.counts_up_to.value
    if value is None:
        return "not known"
    if limits.never_passes:
        return "nowhere"
    return f"at {plural(round(value), 'object')}" if value else "from the start"


def _band_figure(
    name: str, score: str, title: str, note: str, bands: Sequence[str], values: Mapping[str, Sequence[Value]]
) -> Chart:
    """A line for each run through the relative errors, or the F1, of counts over bands."""
    is_error = score == "relative_error"
    what, unit = ("relative error", RELATIVE) if is_error else ("F1", PERCENT)
    drawn = dict(list(values.items())[: len(_COLOURS)])
    numbers = [100 * of.value for row in drawn.values() for of in row if of.value is not None]
    ends = [100 * of.ci95[1] for row in drawn.values() for of in row if of.ci95 is not None]
    without = [run for run, row in drawn.items() if not any(of.ci95 for of in row)]
    top = max(numbers, default=0.0)
    most = max(100 * LARGEST_ERROR, top, min(2 * top, max(ends, default=0.0))) if is_error else 100.0
    up, series = Axis(f"{what}, percent", ticks(0, most)), []
    for i, ((run, row), colour) in enumerate(zip(drawn.items(), _COLOURS, strict=False)):
        shift = _APART * (i - (len(drawn) - 1) / 2)
        known = [(place + shift, of) for place, of in enumerate(row, start=1) if of.value is not None]
        points = [(at, 100 * of.value) for at, of in known if of.value is not None]
        known_ends = [of.ci95 and (100 * of.ci95[0], min(100 * of.ci95[1], up.ticks[-1])) for _, of in known]
        series += [Series(colour, points, name=run if len(drawn) > 1 else "", intervals=known_ends)]
        series += [Series(colour, points, dot=6)]
    if is_error:
        series.append(Series("ideal", [(0, 100 * LARGEST_ERROR), (len(bands) + 1, 100 * LARGEST_ERROR)]))
    meaning = (
        "Objects counted too many or too few, in percent of the objects" if is_error else "F1 of counts, in percent"
    )
    sure = ", with 95 % intervals over images" if ends else ""
    sure += f" ({' and '.join(without)}: without)" if ends and without else ""
    cut = " Longer intervals are cut at the edge." if ends and max(ends) > up.ticks[-1] else ""
    left_out = f" {len(drawn)} of {len(values)} runs are drawn; the table has all." if len(drawn) < len(values) else ""
    return Chart(
        name,
        f"{what.capitalize() if is_error else 'Counting F1'} by {title}",
        f"{meaning}{sure}. {note}{cut}{left_out}",
        plane(Axis(title, tuple(range(len(bands) + 2)), names=("", *bands, "")), up, series),
        (title, *(heading for run in values for heading in (run if len(values) > 1 else what, "95 %"))),
        tuple(
            (
                band,
                *(cell for row in values.values() for cell in _sure(row[b], unit)),
            )
            for b, band in enumerate(bands)
        ),
    )


def slice_figures(runs: Mapping[str, Metrics]) -> Iterator[Chart]:
    """Chart F1 over the slices of each attribute of the images, and the relative error of the counts of each run."""
    metrics = next(iter(runs.values()))
    shown, headlines = list(_shown(metrics)), headlines_of([metrics])
    for i, (attribute, slices) in enumerate(metrics.slices.items()):
        rows = [
            (
                f"{one.name} ({one.n_images:,})",
                [_value_bar(one.scores.get(f"{name}.f1", Value(None))) for name in shown],
            )
            for one in slices
        ]
        yield Chart(
            f"slices-{i}",
            f"F1 by {attribute}",
            f"Percent, over the images of each slice{_intervals(rows)}. The number of images is in brackets."
            f"{_left_out(len(slices))}",
            bars(rows, [(name, _COLOURS[GEOMETRIES.index(name)]) for name in shown]),
            (attribute, "images", "objects", *_headings(headlines.values())),
            tuple(
                (
                    one.name,
                    str(one.n_images),
                    str(one.n_objects),
                    *(cell for path in headlines for cell in _sure(one.scores.get(path))),
                )
                for one in slices
            ),
        )
        names = [one.name for one in slices]
        of_runs = {run: of.slices.get(attribute, []) for run, of in runs.items()}
        same = {run: found for run, found in of_runs.items() if [one.name for one in found] == names}
        for score in ("relative_error", "f1") if len(same) > 1 else ("relative_error",):
            path, note = f"counting.{score}", "Over the images of each slice."
            if all(path in one.scores for found in same.values() for one in found):  # not in results of early releases
                values = {run: [one.scores[path] for one in found] for run, found in same.items()}
                name = f"slices-{i}-{score}".replace("_", "-")
                yield _band_figure(name, score, attribute, note, names, values)


def time_figure(run: LoadedRun) -> Chart | None:
    """Chart the seconds of each image against its number of objects."""
    records = [run.stored.records.get(image) for image in run.images]
    points = sorted(
        (objects, record.seconds["total"])
        for objects, record in zip(run.objects.tolist(), records, strict=True)
        if record is not None and "total" in record.seconds
    )
    if not points:
        return None
    every = -(-len(points) // _MOST_POINTS)
    shown = points[::every]
    left_out = f" {len(shown):,} of {len(points):,} images are drawn; the table covers all." if every > 1 else ""
    objects, seconds = (np.array(values) for values in zip(*points, strict=True))
    return Chart(
        "time",
        "Time against objects",
        f"One point for each image: seconds of prediction, and objects.{_trend(objects, seconds)}{left_out}",
        plane(
            count_axis("objects", 0, int(objects.max())),
            Axis("seconds", ticks(0, float(seconds.max()))),
            [Series("c0", shown, 6.0)],
        ),
        ("objects", "images", "seconds, mean", "least", "most"),
        tuple(
            (name, f"{of.sum():,}", *(f"{number:.3g}" for number in _mean_and_ends(seconds[of])))
            for name, of in bands(objects)
        ),
    )


def _mean_and_ends(values: NDArray[np.float64]) -> Iterable[float]:
    return values.mean(), values.min(), values.max()


def _trend(objects: NDArray[np.int64], seconds: NDArray[np.float64]) -> str:
    """A sentence on the line through the points, where it explains something."""
    if len(objects) < 3 or not objects.std() or not seconds.std():
        return ""
    explained = np.corrcoef(objects, seconds)[0, 1] ** 2
    if explained < _EXPLAINS:
        return " Time hardly depends on the number of objects."
    slope = float(np.polyfit(objects, seconds, 1)[0])
    milliseconds = float(f"{1000 * abs(slope):.2g}")
    size = f"{milliseconds:g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:g} s"
    change = f"{size} {'longer' if slope > 0 else 'shorter'}"
    share = f"{100 * explained:.0f} % of the variance"
    return f" With each further object, an image takes about {change}; this explains {share}."


def change_figure(run: LoadedRun, other: LoadedRun, names: tuple[str, str], name: str) -> Chart:
    """Chart the errors of a run against those of another one: one point for each image."""
    what, own, of_other = run.errors_beside(other)
    most = int(max(own.max(initial=0), of_other.max(initial=0)))
    axes = (count_axis(f"{what} of {names[1]}", 0, most), count_axis(f"{what} of {names[0]}", 0, most))
    off = own - of_other
    fewer, more, same = int((off < 0).sum()), int((off > 0).sum()), int((off == 0).sum())
    return Chart(
        name,
        f"{what.capitalize()} of {names[0]} and {names[1]}",
        f"One point for each image; larger where several share it. Below the line, {names[0]} has fewer {what} than "
        f"{names[1]}: {plural(fewer, 'image')}. Above it, more: {more:,}. On it: {same:,}.",
        plane(*axes, [_diagonal(axes[0]), *_sized_dots(of_other, own)]),
        ("images", names[1], names[0]),
        tuple(
            (f"{label} {what}: {of.sum():,}", str(of_other[of].sum()), str(own[of].sum()))
            for label, of in (("fewer", off < 0), ("more", off > 0), ("as many", off == 0))
        ),
    )


def _shown(metrics: Metrics) -> dict[str, GeometryScores]:
    """The geometries with scores."""
    return {name: scores for name, scores in metrics.by_geometry.items() if scores.per_category}


def _left_out(rows: int) -> str:
    return "" if rows <= MOST_ROWS else f" {MOST_ROWS} of {rows:,} rows are drawn; the table has all."


def _intervals(rows: Iterable[tuple[str, Sequence[Bar | None]]]) -> str:
    some = any(bar is not None and bar.interval for _, values in rows for bar in values)
    return ", with 95 % intervals over images" if some else ""


def _of(scores: GeometryScores, category: str, score: str) -> Bar | None:
    """The bar of one category."""
    own = scores.per_category.get(category)
    return None if own is None else _bar(getattr(own, score), own.ci95.get(score))


def _headings(columns: Iterable[str], of: str = "") -> Iterator[str]:
    """The headings of scores, each with one for its interval, and of counts."""
    for column in columns:
        yield f"{of}{column}"
        if column not in _COUNTED:
            yield "95 %"


def _cells(scores: GeometryScores, category: str, what: str) -> tuple[str, ...]:
    """The cells of a score of one category, with its interval, or of a count."""
    own = scores.per_category.get(category)
    if what in _COUNTED:
        return ("-" if own is None else str(getattr(own, what)),)
    return _sure(None if own is None else Value(getattr(own, what), own.ci95.get(what)))


def _sure(value: Value | None, unit: Unit = PERCENT) -> tuple[str, str]:
    """A score as text, and the bounds of its interval."""
    if value is None:
        return "-", ""
    return unit.text(value.value), "" if value.ci95 is None else " to ".join(map(unit.text, value.ci95))


def _text(value: Value | None) -> str:
    return PERCENT.text(None if value is None else value.value)


def _value_bar(value: Value) -> Bar | None:
    return _bar(value.value, value.ci95)


def _bar(value: float | None, interval: tuple[float, float] | None = None) -> Bar | None:
    if value is None:
        return None
    return Bar(100 * value, None if interval is None else (100 * interval[0], 100 * interval[1]))


def _lines(series: Mapping[str, Sequence[tuple[float, float | None]]]) -> list[Series]:
    """Lines through fractions, in percent; points without a value are left out."""
    return [
        Series(colour, [(x, 100 * y) for x, y in points if y is not None], name=name)
        for (name, points), colour in zip(series.items(), _COLOURS, strict=False)
    ]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
