"""Figures of runs for papers and notebooks, drawn with matplotlib. The charts of the HTML page are in `charts`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from msgspec.structs import asdict

from earthinstruct.errors import EarthInstructError, UnknownNameError, checked_arguments
from earthinstruct.files import writing
from earthinstruct.metrics import GEOMETRIES, HEADLINES, LARGEST_ERROR, PERCENT, Tally, Value
from earthinstruct.reporting.loaded import bands
from earthinstruct.results import Evaluation, Result, read_result
from earthinstruct.scoring import Comparison, run_folder, run_names, tallies_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# colours that also people with a colour deficiency tell apart (Okabe and Ito 2008)
_COLOURS = {
    **{"counting": "#0072B2", "box": "#D55E00", "mask": "#009E73", "point": "#CC79A7"},
    **{"f1": "black", "precision": "#0072B2", "recall": "#D55E00"},
}
_CURVES = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "black")  # of runs
_AT = {"box": "boxes at IoU 0.5", "point": "points in objects", "counting": "counts"}  # the first that is defined
_VERDICTS = {
    "correct": "#009E73",
    "duplicate": "#56B4E9",
    "classification": "#E69F00",
    "localisation": "#F0E442",
    "both": "#CC79A7",
    "background": "#7F7F7F",
}
_STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # fonts stay fonts, as publishers ask
    "svg.hashsalt": "earthinstruct",
    "text.parse_math": False,  # a name may hold dollar signs
}
_WIDTH, _HEIGHT = 4.2, 3.2  # inches of a panel: two fit beside each other on a page
_WIDE = 5.6  # of a panel with rows of names and a legend beside them
_ROW = 0.24  # inches of a row of names
_MOST_COLUMNS = 3
_PAIRS = 2  # columns of panels that belong together
_APART = 0.07  # runs at one band
_Given: TypeAlias = Path | str | Evaluation | Result
SUFFIXES = (".pdf", ".svg")


@dataclass(frozen=True, eq=False)
class _Run:
    """A run to draw."""

    result: Result
    folder: Path | None

    @property
    def title(self) -> str:
        """The title of a panel."""
        return f"{self.result.method.name}, {self.result.task.name}"

    @cached_property
    def counts(self) -> Tally:
        """The counting tally, by image."""
        if self.folder is None:
            raise EarthInstructError(
                "this figure shows single images, which a result does not hold; give the run folder: "
                "earthinstruct.plot(FOLDER, NAME)"
            )
        return tallies_of(self.folder, self.result).tallies["counting"]

    @property
    def actual(self) -> np.ndarray[Any, Any]:
        """The number of objects: int64 (images, categories)."""
        return (self.counts.columns["tp"] + self.counts.columns["fn"].astype(np.int64)).astype(np.int64)

    @property
    def counted(self) -> np.ndarray[Any, Any]:
        """The counted number of objects: int64 (images, categories)."""
        return (self.counts.columns["tp"] + self.counts.columns["fp"].astype(np.int64)).astype(np.int64)


@dataclass(frozen=True)
class _Bands:
    """A panel of scores over bands, a curve for each run."""

    title: str
    heading: str
    across: str
    names: list[str]
    curves: dict[str, list[Value]]
    is_error: bool
    has_legend: bool


class _NothingToDrawError(EarthInstructError):
    """A run has nothing that this figure shows."""


@checked_arguments
def plot(of: _Given | Comparison | Sequence[_Given], name: str) -> Figure:
    """Draw a figure, with one panel for each run.

    Args:
        of: a run folder, an evaluation, a result (for figures that need no single images), several of these, or a
            comparison of two runs.
        name: of a run: `counts` (counted against actual objects, a point for each image and category), `residuals` (the
            errors of these counts by the number of objects), `categories` (F1 with intervals), `precision_recall`
            (by category, with intervals; of boxes, or of counts where there are none), `errors` (predictions by type
            of error), `costs` (F1 gained without each type of error), `iou` (F1 against IoU), `sizes` (F1 by size of
            object), `slices`, `sweep` (scores against the score threshold) and `calibration`. Of one or more runs
            together: `limits` (relative error and F1 of counts by the number of objects and by their size, with
            intervals). Of a comparison: `differences`.

    Returns:
        A figure of matplotlib: `figure.savefig("counts.pdf")`.

    Raises:
        EarthInstructError: no figure has this name, the run has nothing that it shows, or matplotlib is missing.
    """
    _require_matplotlib()
    known = (*FIGURES, *_OF_RUNS)
    if isinstance(of, Comparison):
        if name not in _OF_COMPARISONS:
            next_step = f"{name!r} is a figure of a run: earthinstruct.plot(RUN, {name!r})." if name in known else ""
            raise UnknownNameError("figure of a comparison", name, _OF_COMPARISONS, next_step)
        return _drawn([of], _OF_COMPARISONS[name])
    if name in _OF_RUNS:
        return _drawn(list(_OF_RUNS[name](list(_runs(of)))), _panel, _PAIRS)
    if name not in FIGURES:
        of_two = f"{name!r} is a figure of a comparison: earthinstruct.compare(RUN_A, RUN_B).plot({name!r})."
        raise UnknownNameError("figure of a run", name, known, of_two if name in _OF_COMPARISONS else "")
    return _drawn(list(_runs(of)), FIGURES[name])


def _require_matplotlib() -> None:
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise EarthInstructError("a figure needs matplotlib: pip install 'earthinstruct[plot]'") from error


def _runs(of: _Given | Sequence[_Given]) -> Iterator[_Run]:
    if not isinstance(of, _Given):
        yield from (run for each in of for run in _runs(each))
    elif isinstance(of, Result):
        yield _Run(of, None)
    elif isinstance(of, Evaluation):
        yield from (_Run(result, folder) for result, folder in zip(of.results, of.folders, strict=True))
    else:
        folder = run_folder(of)
        yield _Run(read_result(folder / "result.json"), folder)


def _drawn(
    subjects: Sequence[Any], draw: Callable[[Axes, Any], float | None], most_columns: int = _MOST_COLUMNS
) -> Figure:
    """Draw a panel for each subject; the panels of rows of names are as high as their rows."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    class _NotebookFigure(Figure):
        def _repr_png_(self) -> bytes:  # IPython shows a figure that pyplot does not know
            content = io.BytesIO()
            self.savefig(content, format="png", dpi=120)
            return content.getvalue()

    if not subjects:
        raise _NothingToDrawError("the evaluation has no result, so there is nothing to draw")
    n_columns = min(len(subjects), most_columns)
    n_rows = -(-len(subjects) // n_columns)
    with mpl.rc_context(_STYLE):
        figure = _NotebookFigure(figsize=(_WIDTH * n_columns, _HEIGHT * n_rows), layout="constrained")
        heights = []
        for number, subject in enumerate(subjects, start=1):
            axes = figure.add_subplot(n_rows, n_columns, number)
            heights.append(draw(axes, subject) or 0.0)
            title = "colour: a difference is shown" if isinstance(subject, Comparison) else subject.title
            axes.set_title(title, loc="left")
        if max(heights) > 0:  # rows of names take more room
            figure.set_size_inches(_WIDE * n_columns, max(heights) * n_rows)
    return figure


def save_figures(folder: Path, output: Path, others: Sequence[Path] = ()) -> list[Path]:
    """Save every figure that a run has something for, as PDF and SVG, and return the files.

    Args:
        folder: the run folder.
        output: where the files are put.
        others: folders of runs that stand beside it in the figures of several runs.

    Raises:
        EarthInstructError: the run cannot be read, or matplotlib is missing.
        DataError: a file cannot be written.
    """
    import matplotlib as mpl

    files = []
    for name in (*FIGURES, *_OF_RUNS):
        try:
            figure = plot([folder, *others] if name in _OF_RUNS else folder, name)
        except _NothingToDrawError:
            continue
        for suffix in SUFFIXES:
            file = output / f"{name}{suffix}"
            dates = {"CreationDate": None} if suffix == ".pdf" else {"Date": None}  # equal figures are equal files
            with writing(file), mpl.rc_context(_STYLE):
                figure.savefig(file, metadata=dates)
            figure.set_layout_engine("none")  # it is laid out
            files.append(file)
    return files


def _counts(axes: Axes, run: _Run) -> None:
    actual, counted = run.actual.ravel(), run.counted.ravel()
    there = (actual > 0) | (counted > 0)
    if not there.any():
        raise _NothingToDrawError(f"{run.result.task.name} has no objects, and none was counted")
    points, numbers = np.unique(np.stack([actual[there], counted[there]], axis=1), axis=0, return_counts=True)
    most = int(points.max())
    axes.plot([0, most], [0, most], color="black", linewidth=0.8, zorder=1)
    sizes = np.clip(8 * np.sqrt(numbers), 8, 200)
    axes.scatter(points[:, 0], points[:, 1], s=sizes, color=_COLOURS["counting"], alpha=0.6, linewidths=0, zorder=2)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("symlog", linthresh=10)
    _whole_ticks(axes, most)
    axes.set(xlabel="objects in the ground truth", ylabel="objects counted", aspect="equal")
    axes.text(
        0.02, 0.98, "a point: an image and category\n(larger: several)", transform=axes.transAxes, va="top", fontsize=7
    )


def _whole_ticks(axes: Axes, most: int) -> None:
    from matplotlib.ticker import NullLocator

    ticks = [tick for tick in (0, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 10_000, 100_000) if tick <= max(most, 2)]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [f"{tick:,}" for tick in ticks])
        axis.set_minor_locator(NullLocator())


def _residuals(axes: Axes, run: _Run) -> None:
    there = (run.actual > 0) | (run.counted > 0)
    if not there.any():
        raise _NothingToDrawError(f"{run.result.task.name} has no objects, and none was counted")
    actual, off = run.actual[there], (run.counted - run.actual)[there]
    groups = list(bands(actual))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.boxplot(
        [off[of] for _, of in groups],
        showfliers=True,
        flierprops={"markersize": 3, "markeredgecolor": _COLOURS["counting"]},
        medianprops={"color": _COLOURS["counting"], "linewidth": 2},
    )
    labels = [f"{name.replace(' to ', '-').replace(' or more', '+')}\n({of.sum():,})" for name, of in groups]
    axes.set_xticks(range(1, len(groups) + 1), labels)
    axes.set(xlabel="objects (number of images x categories)", ylabel="counted minus actual")


def _categories(axes: Axes, run: _Run) -> float:
    shown = {name: found for name, found in run.result.metrics.by_geometry.items() if found.f1.value is not None}
    names = sorted({name for found in shown.values() for name, own in found.per_category.items() if own.f1 is not None})
    if not names:
        raise _NothingToDrawError(f"{run.result.task.name} has no category with ground truth")
    for k, (geometry, found) in enumerate(shown.items()):
        own = [found.per_category[name] for name in names]
        at = np.arange(len(names)) + 0.22 * (k - (len(shown) - 1) / 2)
        _with_intervals(axes, [one.f1 for one in own], [one.ci95.get("f1") for one in own], at, geometry)
    _name_rows(axes, names)
    axes.set(xlabel="F1, percent, with 95 % intervals over images", xlim=(-2, 102))
    _legend(axes)
    return _height(len(names) * 1.4)


def _with_intervals(
    axes: Axes,
    values: Sequence[float | None],
    intervals: Sequence[tuple[float, float] | None],
    at: np.ndarray[Any, Any],
    label: str,
) -> None:
    """Draw values in percent across, with their intervals, in rows."""
    for value, interval, row in zip(values, intervals, at.tolist(), strict=True):
        if value is not None and interval is not None:
            axes.plot([100 * bound for bound in interval], [row, row], color=_COLOURS[label], linewidth=1.2)
    across = [np.nan if value is None else 100 * value for value in values]
    axes.plot(across, at, "o", color=_COLOURS[label], markersize=4, label=label)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)


def _height(rows: float) -> float:
    return max(_HEIGHT, 1.2 + _ROW * rows)


def _legend(axes: Axes) -> None:
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8)


def _precision_recall(axes: Axes, run: _Run) -> float:
    scored = {name: of for name, of in run.result.metrics.by_geometry.items() if of.f1.value is not None}
    geometry = next((name for name in _AT if name in scored), None)
    if geometry is None:
        raise _NothingToDrawError(f"{run.result.task.name} has no category with ground truth")
    scores = scored[geometry]
    rows = {name: own for name, own in scores.per_category.items() if (own.precision, own.recall) != (None, None)}
    for score, off in (("precision", -0.12), ("recall", 0.12)):
        mean = getattr(scores, score)
        values = [mean.value, *(getattr(own, score) for own in rows.values())]
        intervals = [mean.ci95, *(own.ci95.get(score) for own in rows.values())]
        _with_intervals(axes, values, intervals, np.arange(len(values)) + off, score)
    _name_rows(axes, ["all", *rows])
    axes.set(xlabel=f"{_AT[geometry]}, percent, with 95 % intervals over images", xlim=(-2, 102))
    _legend(axes)
    return _height((len(rows) + 1) * 1.4)


def _errors(axes: Axes, run: _Run) -> float:
    errors = run.result.metrics.errors
    by_verdict = None if errors is None else errors.of_instances
    if by_verdict is None:
        raise _NothingToDrawError(f"{run.result.method.name} gives no boxes or points: there are no types of errors")
    rows = {name: asdict(found) for name, found in by_verdict.per_category.items()}
    rows = {name: row for name, row in rows.items() if any(row[verdict] for verdict in _VERDICTS)}
    if not rows:
        raise _NothingToDrawError(f"{run.result.method.name} predicted nothing")
    left = np.zeros(len(rows))
    total = np.array([sum(row[verdict] for verdict in _VERDICTS) for row in rows.values()])
    for verdict, colour in _VERDICTS.items():
        share = 100 * np.array([row[verdict] for row in rows.values()]) / total
        axes.barh(range(len(rows)), share, left=left, color=colour, label=verdict, height=0.7)
        left += share
    _name_rows(axes, [f"{name} ({n:,})" for name, n in zip(rows, total.tolist(), strict=True)])
    axes.set(xlabel="predictions by verdict, percent", xlim=(0, 100))
    _legend(axes)
    return _height(len(rows))


def _costs(axes: Axes, run: _Run) -> float:
    costs = run.result.metrics.costs
    geometry = next((name for name in _AT if costs is not None and getattr(costs, name) is not None), None)
    if geometry is None:
        raise _NothingToDrawError(f"the result of {run.result.method.name} has no costs of errors; score it again")
    found = getattr(costs, geometry)
    names, values = list(found.__struct_fields__), [getattr(found, name).value for name in found.__struct_fields__]
    axes.barh(range(len(names)), [100 * (value or 0) for value in values], color=_COLOURS[geometry], height=0.7)
    for row, value in enumerate(values):
        axes.text(100 * (value or 0), row, f" {PERCENT.text(value)}", va="center", fontsize=8)
    _name_rows(axes, names)
    axes.set(xlabel=f"{geometry} F1 gained without these errors, points")
    axes.margins(x=0.15)
    return _height(len(names))


def _iou(axes: Axes, run: _Run) -> None:
    curves = {name: at for name in ("box", "mask") if (at := getattr(run.result.metrics, name).f1_at_iou)}
    if not curves:
        raise _NothingToDrawError(f"{run.result.method.name} gives no boxes and no masks")
    for name, at in curves.items():
        across, up = list(map(float, at)), [np.nan if f1 is None else 100 * f1 for f1 in at.values()]
        axes.plot(across, up, "o-", color=_COLOURS[name], markersize=3, label=name)
    axes.set(xlabel="IoU that a prediction must reach", ylabel="F1, percent", ylim=(0, 102))
    axes.legend(fontsize=8)


def _sizes(axes: Axes, run: _Run) -> None:
    shown = {name: of for name in ("box", "mask") if (of := getattr(run.result.metrics, name).by_size)}
    if not shown:
        raise _NothingToDrawError(f"{run.result.method.name} gives no boxes and no masks")
    sizes = list(next(iter(shown.values())))
    for k, (geometry, of_size) in enumerate(shown.items()):
        at = np.arange(len(sizes)) + 0.15 * (2 * k - len(shown) + 1)
        for place, size in zip(at.tolist(), sizes, strict=True):
            if (interval := of_size[size].f1.ci95) is not None:
                axes.plot([place, place], [100 * bound for bound in interval], color=_COLOURS[geometry], linewidth=1.2)
        values = [of_size[size].f1.value for size in sizes]
        up = [np.nan if value is None else 100 * value for value in values]
        axes.plot(at, up, "o", color=_COLOURS[geometry], markersize=5, label=geometry)
    numbers = next(iter(shown.values()))
    axes.set_xticks(range(len(sizes)), [f"{size}\n({numbers[size].n_objects:,})" for size in sizes])
    axes.set(xlabel="size of the object (number)", ylabel="F1, percent", ylim=(0, 102))
    axes.legend(fontsize=8)


def _slices(axes: Axes, run: _Run) -> float:
    slices = run.result.metrics.slices
    if not slices:
        raise _NothingToDrawError(f"{run.result.method.name} was scored without slices; give --slice-by NAME")
    rows = [(f"{attribute} {part.name} ({part.n_images})", part) for attribute, of in slices.items() for part in of]
    shown = [geometry for geometry in GEOMETRIES if any(f"{geometry}.f1" in part.scores for _, part in rows)]
    for k, geometry in enumerate(shown):
        found = [part.scores.get(f"{geometry}.f1") for _, part in rows]
        at = np.arange(len(rows)) + 0.22 * (k - (len(shown) - 1) / 2)
        values = [None if of is None else of.value for of in found]
        intervals = [None if of is None else of.ci95 for of in found]
        _with_intervals(axes, values, intervals, at, geometry)
    _name_rows(axes, [name for name, _ in rows])
    axes.set(xlabel="F1, percent, with 95 % intervals over images", xlim=(-2, 102), ylabel="slice (images)")
    _legend(axes)
    return _height(len(rows) * 1.4)


def _sweep(axes: Axes, run: _Run) -> None:
    sweep = run.result.metrics.sweep
    if sweep is None or not sweep.curve:
        raise _NothingToDrawError(f"{run.result.method.name} was scored without a sweep; give --sweep")
    for name in ("f1", "precision", "recall"):
        up = [np.nan if (value := getattr(point, name)) is None else 100 * value for point in sweep.curve]
        axes.plot(
            [point.threshold for point in sweep.curve], up, color=_COLOURS[name], label="F1" if name == "f1" else name
        )
    if sweep.threshold is not None:
        axes.axvline(sweep.threshold, color="0.5", linestyle="--", linewidth=0.8)
    axes.set(xlabel="score threshold", ylabel="boxes, percent", ylim=(0, 102))
    axes.legend(fontsize=8)


def _calibration(axes: Axes, run: _Run) -> None:
    by_geometry = run.result.metrics.by_geometry
    found = {name: of for name, scores in by_geometry.items() if (of := scores.calibration) and of.bins}
    if not found:
        undefined = by_geometry[run.result.metrics.geometry].calibration
        reason = "it gives no scores" if undefined is None else undefined.ece.reason
        raise _NothingToDrawError(f"the calibration of {run.result.method.name} is undefined: {reason}")
    axes.plot([0, 1], [0, 100], color="black", linewidth=0.8)
    for name, of in found.items():
        points = [
            (one.score, 100 * one.precision) for one in of.bins if one.score is not None and one.precision is not None
        ]
        label = f"{name}, ECE {PERCENT.text(of.ece.value)}"
        axes.plot(*np.array(points).T, "o-", color=_COLOURS[name], markersize=4, label=label)
    axes.set(xlabel="mean score of the predictions", ylabel="right, percent", ylim=(0, 102))
    axes.legend(fontsize=8)


def _limits(runs: Sequence[_Run]) -> Iterator[_Bands]:
    """The panels of where counting breaks: relative error and F1, by the number of objects and by their size."""
    names = run_names([run.folder or Path(run.result.task.name) for run in runs], [run.result for run in runs])
    found = {
        name: limits
        for name, run in zip(names, runs, strict=True)
        if (limits := run.result.metrics.counting_limits) and any(of.n_objects for of in limits.by_density.values())
    }
    if not found:
        raise _NothingToDrawError(
            "no run has counts by the number of objects: there are no objects, or the result is old"
        )
    for kind, across in (("by_density", "objects of a category in an image"), ("by_size", "size of the objects")):
        bands = {run: getattr(limits, kind) for run, limits in found.items()}
        some = [band for band in next(iter(bands.values())) if any(of[band].n_objects for of in bands.values())]
        for score, heading in (("relative_error", "relative error of counts"), ("f1", "F1 of counts")):
            curves = {run: [getattr(of[band], score) for band in some] for run, of in bands.items()}
            is_first, is_error = kind == "by_density", score == "relative_error"
            title = ", ".join(dict.fromkeys(run.result.task.name for run in runs)) if is_first and is_error else ""
            yield _Bands(title, heading, across, some, curves, is_error, has_legend=is_first and not is_error)


def _panel(axes: Axes, panel: _Bands) -> None:
    tops = [100 * of.value for curve in panel.curves.values() for of in curve if of.value is not None]
    ends = [100 * of.ci95[1] for curve in panel.curves.values() for of in curve if of.ci95 is not None]
    for k, (run, curve) in enumerate(panel.curves.items()):
        colour, style = _CURVES[k % len(_CURVES)], "-" if k < len(_CURVES) else "--"
        at = [place + _APART * (k - (len(panel.curves) - 1) / 2) for place in range(len(panel.names))]
        up = [np.nan if of.value is None else 100 * of.value for of in curve]
        for place, of in zip(at, curve, strict=True):
            if of.ci95 is not None:
                axes.plot([place, place], [100 * bound for bound in of.ci95], color=colour, linewidth=1.2)
        axes.plot(at, up, f"o{style}", color=colour, markersize=4, linewidth=1.2, label=run)
    axes.set_xticks(range(len(panel.names)), panel.names)
    sure = "\nwith 95 % intervals over images" if ends else ""
    axes.set(xlabel=panel.across, ylabel=f"{panel.heading}, percent{sure}", ylim=(0, 102))
    axes.set_xlim(-0.5, len(panel.names) - 0.5)
    if panel.is_error:
        axes.axhline(100 * LARGEST_ERROR, color="0.5", linestyle=":", linewidth=1)
        most = max(100 * LARGEST_ERROR, *tops, min(2 * max(tops), max(ends, default=0.0)))  # longer ones are cut
        axes.set_ylim(0, 1.05 * most)
    if panel.has_legend:
        _legend(axes)


def _differences(axes: Axes, comparison: Comparison) -> float:
    rows = [row for row in comparison if row.is_group and row.score in HEADLINES]
    if not rows:
        raise _NothingToDrawError("no headline score is defined for both runs")
    axes.axvline(0, color="black", linewidth=0.8)
    for place, row in enumerate(rows):
        off = row.difference
        colour = "#D55E00" if off.is_shown else "0.5"
        if off.ci95 is not None:
            axes.plot([100 * bound for bound in off.ci95], [place, place], color=colour, linewidth=1.4)
        axes.plot(100 * off.value, place, "o", color=colour, markersize=4)
    _name_rows(axes, [f"{HEADLINES[row.score]}, {row.over}" for row in rows])
    first, second = comparison.side_by_side.names
    axes.set(xlabel=f"points, with 95 % intervals\n{second} minus {first}")
    return _height(len(rows))


FIGURES: Mapping[str, Callable[[Axes, _Run], float | None]] = {
    "counts": _counts,
    "residuals": _residuals,
    "categories": _categories,
    "precision_recall": _precision_recall,
    "errors": _errors,
    "costs": _costs,
    "iou": _iou,
    "sizes": _sizes,
    "slices": _slices,
    "sweep": _sweep,
    "calibration": _calibration,
}
# of runs together -> their panels
_OF_RUNS: Mapping[str, Callable[[Sequence[_Run]], Iterator[_Bands]]] = {"limits": _limits}
_OF_COMPARISONS: Mapping[str, Callable[[Axes, Comparison], float | None]] = {"differences": _differences}
