"""The report of a run: one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from earthinstruct.datasets import Dataset
from earthinstruct.errors import EarthInstructError, checked_arguments
from earthinstruct.files import replace_file, writing
from earthinstruct.metrics import (
    GEOMETRIES,
    NEEDS_SCORES,
    NO_IOU,
    NOT_COMPUTED,
    PERCENT,
    POOLED,
    PREDICTION_VERDICTS,
    TARGET_VERDICTS,
    GeometryScores,
    Metrics,
    ProposalScores,
    Suspect,
    Unit,
    Value,
    listed,
    threshold_in_words,
    value_at,
    value_in_group,
)
from earthinstruct.reporting.charts import (
    NOTHING,
    Chart,
    absent_figure,
    calibration_figure,
    category_figure,
    change_figure,
    confusion_figure,
    cost_figure,
    count_figure,
    curve_figure,
    density_figure,
    iou_figure,
    limit_figures,
    precision_recall_figures,
    residual_figure,
    size_figure,
    slice_figures,
    sweep_figure,
    time_figure,
    verdict_figures,
)
from earthinstruct.reporting.figures import save_figures
from earthinstruct.reporting.gallery import MAX_IMAGES, make_gallery
from earthinstruct.reporting.index import index_page
from earthinstruct.reporting.loaded import LoadedRun, load_run
from earthinstruct.reporting.template import filled, script_json
from earthinstruct.results import (
    REPORT_FILE,
    Evaluation,
    absent_remark,
    limits_remark,
    rare_remark,
    read_suspects,
    variant_tables,
)
from earthinstruct.scoring import Comparison, compare_two, run_folder, run_names

_IN_WORDS = {POOLED["hallucinated"]: "of the predictions are in categories that no image of the dataset has"}
_MOST_LISTED = 200  # failures, and images with a difference; the others are only counted


@dataclass(frozen=True)
class Row:
    """One score, formatted as text."""

    name: str
    value: str
    interval: str
    reason: str


@checked_arguments
def report(
    run: Path | str | Evaluation,
    output: Path | str | None = None,
    *,
    against: Path | str | Evaluation | Sequence[Path | str | Evaluation] | None = None,
    figures: Path | str | None = None,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    max_images: int = MAX_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a run, or the index of a folder of runs.

    Args:
        run: a run folder, the result file in it, or an evaluation of one task. A folder that holds run folders: an
            index of them, with a link to each report that is there; it has no figures and is compared with nothing.
        output: the file; None: `report.html` in the run folder, `index.html` in a folder of runs.
        against: other runs of the same task, one or several, to compare with.
        figures: a folder for the figures of `plot`, as PDF and SVG; None: none are saved.
        dataset: the dataset, or its name or path; None: the one that the run used.
        data: the folder of the user's data; None: the one that the run used.
        max_images: number of images in the gallery, worst first.
        progress: a callback `(done, total)` over the images.

    Returns:
        The file.

    Raises:
        EarthInstructError: a folder is incomplete, the runs cannot be compared, a package is missing, or the file
            cannot be written.
    """
    if max_images < 0:
        raise EarthInstructError(f"the number of images must be 0 or more, got {max_images}")
    folder, others = run_folder(run), [against] if isinstance(against, Path | str | Evaluation) else list(against or ())
    if not (folder / "result.json").is_file() and any(folder.rglob("result.json")):
        if others:
            raise EarthInstructError(f"{folder} is a folder of runs; to compare, give a run folder first")
        if figures is not None:
            raise EarthInstructError(f"{folder} is a folder of runs; figures are of one: give a run folder")
        file = folder / "index.html" if output is None else Path(output)
        return _written(file, index_page(folder, file))
    data = None if data is None else Path(data)
    loaded = load_run(folder, dataset, data)
    changes = []
    for other in others:
        compared = compare_two(other, run, loaded.stored.dataset, data)
        changes.append((load_run(run_folder(other), loaded.stored.dataset, data), compared))
    page = render(loaded, changes, max_images, progress)
    if figures is not None:
        save_figures(folder, Path(figures), [run_folder(other) for other in others])
    return _written(folder / REPORT_FILE if output is None else Path(output), page)


def _written(file: Path, page: str) -> Path:
    with writing(file):
        replace_file(file, page.encode())
    return file


def render(
    run: LoadedRun,
    changes: Sequence[tuple[LoadedRun, Comparison]],
    max_images: int,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Render the page of a run; `changes`: other runs, and the differences from each to `run`."""
    others = [other for other, _ in changes]
    runs = [run, *others]
    names = run_names([of.stored.folder for of in runs], [of.result for of in runs])
    gallery = make_gallery(run, others, max_images, progress)
    metrics, limits = run.result.metrics, run.result.metrics.counting_limits
    parts = [part for part in GEOMETRIES if any(part in of.result.metrics.by_geometry for of in runs)]
    return filled(
        "page.html",
        ["figures.js", "tables.js", "page.js"],
        result=run.result,
        names=names,
        counters=[name for name, of in zip(names, runs, strict=True) if of.only_counts],
        runs=[
            (
                name,
                of.result.training,
                {part: value_at(of.result.metrics, f"{part}.f1") or Value(None) for part in parts},
            )
            for name, of in zip(names, runs, strict=True)
        ],
        n_objects=int(run.objects.sum()),
        n_predicted=run.n_predicted,
        headline=[(geometry, scores.f1, beside(scores)) for geometry, scores in metrics.by_geometry.items()],
        scores=score_rows(metrics),
        groups=[
            (group, *(_in_group(metrics, f"{geometry}.f1", group) for geometry in metrics.by_geometry))
            for group in metrics.counting.groups
        ],
        suspects=[suspect_row(one) for one in read_suspects(run.stored.folder)],
        charts=list(chart_sections(run, dict(zip(names, (of.result.metrics for of in (run, *others)), strict=True)))),
        labels=label_rows(run),
        failures=list(run.result.run.failed.items())[:_MOST_LISTED],
        limits=limits and limits_remark(limits),
        up_to=limits and listed("counting_limits.counts_up_to").unit.text(limits.counts_up_to.value),
        absent=absent_remark(metrics),
        rare=None if metrics.rare is None else rare_remark(metrics.rare),
        changes=[
            change_of(run, other, compared, (name, names[0]))
            | {"name": name, "figure": change_figure(run, other, (names[0], name), f"change-{i}")}
            for i, ((other, compared), name) in enumerate(zip(changes, names[1:], strict=True))
        ],
        differing=differing_images(run, others),
        gallery=gallery,
        verdicts=[PREDICTION_VERDICTS[code] for code in run.kinds],
        gallery_data=script_json(
            {
                "images": gallery.entries,
                "categories": run.stored.task.categories,
                "verdicts": {"predicted": PREDICTION_VERDICTS, "truth": TARGET_VERDICTS},
                "runs": names,
                "onlyCounts": [of.only_counts for of in runs],
            }
        ),
        variants=list(variant_tables(run.result)),
        threshold=threshold_in_words(metrics),
        parameters={name: msgspec.json.encode(v).decode() for name, v in run.result.method.parameters.items()},
    )


def _in_group(metrics: Metrics, path: str, group: str) -> str:
    """The mean of a score over a group of categories, with its interval."""
    found = value_in_group(metrics, path, group) or Value(None)
    return PERCENT.sure(found.value, found.ci95)


def chart_sections(run: LoadedRun, runs: Mapping[str, Metrics]) -> Iterator[tuple[str, str, list[Chart]]]:
    """The charts by section: its name in the page, its title, its figures.

    Args:
        run: the run of the report.
        runs: name -> scores of this run, then of those that it is compared with; some charts show all.
    """
    metrics = run.result.metrics
    sections: dict[tuple[str, str], list[Chart | None]] = {
        ("counts", "Counts"): [count_figure(run), residual_figure(run), density_figure(run), *limit_figures(runs)],
        ("by-category", "Categories"): [
            category_figure(metrics),
            *precision_recall_figures(metrics),
            absent_figure(metrics),
        ],
        ("errors", "Errors"): [*verdict_figures(metrics), cost_figure(metrics), confusion_figure(run)],
        ("curves", "Thresholds"): [
            curve_figure(run),
            iou_figure(metrics),
            sweep_figure(metrics),
            calibration_figure(metrics),
        ],
        ("slices", "Sizes, slices, time"): [size_figure(metrics), *slice_figures(runs), time_figure(run)],
    }
    for (name, title), figures in sections.items():
        drawn = [figure for figure in figures if figure is not None]
        if drawn:
            yield name, title, drawn


def beside(scores: GeometryScores) -> list[str]:
    """The scores over all categories together, which stand beside a headline score, where defined."""
    named = [(title, getattr(scores, name)) for name, title in POOLED.items()]
    known = [(title, PERCENT.text(of.value)) for title, of in named if of is not None and of.value is not None]
    return [f"{number} % {_IN_WORDS[title]}" if title in _IN_WORDS else f"{title} {number}" for title, number in known]


def score_rows(metrics: Metrics) -> dict[str, list[Row]]:
    """Every score of a result by section, with its interval, or the reason why it has none."""
    found: dict[str, list[Row]] = {}
    for field in msgspec.structs.fields(Metrics):
        section = getattr(metrics, field.name)
        title = field.name.replace("_", " ")
        if isinstance(section, Value):
            found[title] = [_row(field.name, section)]
        elif isinstance(section, GeometryScores | ProposalScores):
            found[title] = list(_section_rows(field.name, section))
    if metrics.counting_limits is not None:
        found["counting limits"] = [_row("counting_limits.counts_up_to", metrics.counting_limits.counts_up_to)]
    if metrics.absent is not None:
        known = {"counted": metrics.absent.counted, "drawn": metrics.absent.drawn}
        shares = {how: shares for how, shares in known.items() if shares is not None}
        found["not there"] = [_row(f"absent.{how}.share", shares.share) for how, shares in shares.items()]
    if metrics.costs is not None:
        for geometry in GEOMETRIES:
            if (costs := getattr(metrics.costs, geometry)) is not None:
                names = (field.name for field in msgspec.structs.fields(costs))
                title = f"F1 gained without {geometry} errors"
                found[title] = [_row(f"costs.{geometry}.{name}", getattr(costs, name)) for name in names]
    if metrics.extra:
        found["metric plug-ins"] = [
            _named_row(name, extra.mean, Unit.of_extra(extra.unit)) for name, extra in metrics.extra.items()
        ]
    return found


def _section_rows(name: str, section: GeometryScores | ProposalScores) -> Iterator[Row]:
    if isinstance(section, GeometryScores) and section.f1.value is None:  # as are all others, for the same reason
        yield _row(f"{name}.f1", section.f1)
        return
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Value) and value not in (NEEDS_SCORES, NO_IOU):
            yield _row(f"{name}.{field.name}", value)
    if isinstance(section, GeometryScores):
        for size, scores in (section.by_size or {}).items():
            yield _row(f"{name}.by_size.{size}.f1", scores.f1)
            if scores.ap != NEEDS_SCORES:
                yield _row(f"{name}.by_size.{size}.ap", scores.ap)
        if section.calibration is not None:
            yield _row(f"{name}.calibration.ece", section.calibration.ece)
    if isinstance(section, ProposalScores):
        for kind in ("at", "by_size"):
            for key, recall in getattr(section, kind).items():
                reason = None if recall is not None else "no such object"
                yield _named_row(f"{listed(f'{name}.{kind}').name} {key}", Value(recall, reason=reason), PERCENT)


def _row(path: str, value: Value) -> Row:
    score = listed(path)
    return _named_row(score.name, value, score.unit)


def _named_row(name: str, value: Value, unit: Unit) -> Row:
    name = name if unit is PERCENT else f"{name}, {unit.name}"
    interval = "" if value.ci95 is None else " to ".join(map(unit.text, value.ci95))
    reason = f"undefined: {value.reason}" if value.value is None else value.reason
    return Row(name, unit.text(value.value), interval, "" if reason in (None, NOT_COMPUTED) else reason)


def suspect_row(suspect: Suspect) -> tuple[str, ...]:
    """One suspected error of the ground truth: what is suspected, image, box, score and IoU."""
    what = {
        "missing": f"{suspect.predicted}, not annotated",
        "category": f"{suspect.annotated}, found as {suspect.predicted}",
        "spurious": f"{suspect.annotated}, not found",
    }[suspect.reason]
    numbers = ("-" if value is None else f"{value:.3g}" for value in (suspect.score, suspect.iou))
    return what, str(suspect.image), ", ".join(f"{side:.0f}" for side in suspect.box), *numbers


@dataclass(frozen=True)
class LabelRow:
    """One label of the method: the category it was mapped to, and the objects that its predictions lie on."""

    label: str
    category: str
    similarity: str
    instances: int
    lies_on: str


def label_rows(run: LoadedRun) -> list[LabelRow]:
    """Every label of the method with its category and the objects under its predictions, most frequent label first."""
    if run.stored.task.setting == "open_vocabulary":
        return []
    rows = [
        LabelRow(
            label,
            mapped.category or "",
            "-" if mapped.similarity is None else f"{mapped.similarity:.3f}",
            run.under[label].total(),
            ", ".join(f"{name or NOTHING} {n}" for name, n in run.under[label].most_common()),
        )
        for label, mapped in run.result.label_map.items()
    ]
    return sorted(rows, key=lambda row: (-row.instances, row.label))


def differing_images(run: LoadedRun, others: Sequence[LoadedRun]) -> tuple[int, list[tuple[str, list[int]]]]:
    """The images on which the runs differ, the largest difference first, and how many there are.

    Each has its file name, and the number of its objects, then the errors of each run that does more than count, and
    the counting errors of each run.
    """
    runs = (run, *others)
    errors = [of.errors for of in runs if not of.only_counts]
    miscounted = [of.miscounted for of in runs]
    largest = np.max([np.ptp(of, axis=0) for of in (errors, miscounted) if of], axis=0)
    columns = np.stack([run.objects, *errors, *miscounted])
    order = np.argsort(-largest, kind="stable")[: int((largest > 0).sum())]
    images = run.stored.dataset.images
    return len(order), [(images[i].file_name, columns[:, i].tolist()) for i in order[:_MOST_LISTED].tolist()]


def change_of(run: LoadedRun, against: LoadedRun, compared: Comparison, names: tuple[str, str]) -> dict[str, Any]:
    """What improved and became worse from `against` to `run`, of these names: F1, other scores, errors, and images."""
    what, own, of_other = run.errors_beside(against)
    off = own - of_other
    rows = [
        {
            "score": one.score,
            "over": one.over,
            "is_group": one.is_group,
            "slice_by": one.slice_by,
            "p_texts": one.difference.p_texts(),
            "is_shown": one.difference.is_shown,
            **asdict(one.difference),
        }
        for one in compared
    ]
    over_groups = [row for row in rows if row["is_group"]]
    of_categories = [row for row in rows if not row["is_group"] and row["slice_by"] is None]
    errors = [row for row in over_groups if row["score"].startswith("errors.")]
    headline_f1 = {f"{geometry}.f1" for geometry in GEOMETRIES}
    f1 = [row for row in over_groups if row["score"] in headline_f1]
    return {
        "folder": str(against.stored.folder),
        "verdict": compared.verdict_named(names),
        "over_groups": f1,
        "over_categories": [row for row in of_categories if row["score"] in headline_f1],
        "over_slices": [
            row | {"over": f"{row['slice_by']} {row['over']}"} for row in rows if row["slice_by"] is not None
        ],
        "rest": [row for row in over_groups if row not in f1 and row not in errors],
        "errors": [row for row in errors if row["over"] == "all"],
        "what": what,
        "n_fixed": int((off < 0).sum()),
        "n_broken": int((off > 0).sum()),
        "n_same": int((off == 0).sum()),
    }
