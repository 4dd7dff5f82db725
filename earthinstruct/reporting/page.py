"""The report of a run: one self-contained HTML page."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.files import replace_file
from earthinstruct.metrics import (
    GEOMETRIES,
    PERCENT,
    POOLED,
    PREDICTION_VERDICTS,
    TARGET_VERDICTS,
    WHOLE_OBJECTS,
    GeometryScores,
    Metrics,
    ProposalScores,
    Unit,
    Value,
    listed,
)
from earthinstruct.reporting.charts import (
    category_figure,
    iou_figure,
    sweep_figure,
    time_figure,
    verdict_figures,
)
from earthinstruct.reporting.gallery import MAX_IMAGES, make_gallery
from earthinstruct.reporting.loaded import LoadedRun, load_run
from earthinstruct.results import rare_remark
from earthinstruct.scoring import Compared, compare, run_folder

_NOTHING = "nothing"
_MOST_FAILURES = 200  # listed on the page; the others are only counted
# characters that could end the script element, or start a comment in it
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class Row:
    """One score, formatted as text."""

    name: str
    value: str
    interval: str
    reason: str


@checked_arguments
def report(
    run: Path | str,
    output: Path | str | None = None,
    *,
    against: Path | str | None = None,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    max_images: int = MAX_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write the report of a run folder.

    Args:
        run: the run folder, or the result file in it.
        output: the file; None: `report.html` in the run folder.
        against: another run folder of the same task, to show what improved and what became worse.
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
    data = None if data is None else Path(data)
    loaded = load_run(run_folder(run), dataset, data)
    other = None if against is None else load_run(run_folder(against), loaded.stored.dataset, data)
    compared = () if against is None else compare(against, run, dataset=loaded.stored.dataset, data=data).rows
    page = render(loaded, other, compared, max_images, progress)
    output = run_folder(run) / "report.html" if output is None else Path(output)
    try:
        replace_file(output, page.encode())
    except OSError as error:
        raise DataError(f"report {output} cannot be written: {error.strerror}") from error
    return output


def render(
    run: LoadedRun,
    against: LoadedRun | None,
    compared: Sequence[Compared],
    max_images: int,
    progress: Callable[[int, int], None] | None,
) -> str:
    """Render the page of a run; `compared` are the differences from `against` to `run`."""
    gallery = make_gallery(run, against, max_images, progress)
    metrics = run.result.metrics
    figures = [
        category_figure(metrics),
        *verdict_figures(metrics),
        iou_figure(metrics),
        sweep_figure(metrics),
        time_figure(run),
    ]
    return str(
        _template().render(
            result=run.result,
            n_objects=int(run.objects.sum()),
            n_predicted=run.n_predicted,
            headline=[
                (geometry, scores.f1, beside(scores))
                for geometry in GEOMETRIES
                if (scores := getattr(metrics, geometry))
            ],
            scores=score_rows(metrics),
            groups=[
                (group, *(PERCENT.text(getattr(metrics, name).groups.get(group, {}).get("f1")) for name in GEOMETRIES))
                for group in metrics.counting.groups
            ],
            figures=[figure for figure in figures if figure is not None],
            labels=label_rows(run),
            confusion=confusion_of(run),
            failures=list(run.result.run.failed.items())[:_MOST_FAILURES],
            rare=None if metrics.rare is None else rare_remark(metrics.rare),
            change=None if against is None else change_of(run, against, compared),
            gallery=gallery,
            verdicts=[PREDICTION_VERDICTS[code] for code in run.kinds],
            gallery_data=script_json(
                {
                    "images": gallery.entries,
                    "categories": run.stored.task.categories,
                    "verdicts": {"predicted": PREDICTION_VERDICTS, "truth": TARGET_VERDICTS},
                }
            ),
            parameters={name: msgspec.json.encode(v).decode() for name, v in run.result.method.parameters.items()},
        )
    )


def beside(scores: GeometryScores) -> list[str]:
    """The scores over all categories together, which stand beside a headline score, where defined."""
    named = [(title, getattr(scores, name)) for name, title in POOLED.items()]
    return [f"{title} {PERCENT.text(of.value)}" for title, of in named if of is not None and of.value is not None]


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
    if metrics.extra:
        found["metric plug-ins"] = [
            _named_row(name, extra.mean, Unit.of_extra(extra.unit)) for name, extra in metrics.extra.items()
        ]
    return found


def _section_rows(name: str, section: GeometryScores | ProposalScores) -> Iterator[Row]:
    for field in msgspec.structs.fields(section):
        value = getattr(section, field.name)
        if isinstance(value, Value):
            yield _row(f"{name}.{field.name}", value)
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
    return Row(name, unit.text(value.value), interval, reason or "")


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
            ", ".join(f"{name or _NOTHING} {n}" for name, n in run.under[label].most_common()),
        )
        for label, mapped in run.result.label_map.items()
    ]
    return sorted(rows, key=lambda row: (-row.instances, row.label))


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix without empty rows and columns: rows are actual categories, columns predicted ones."""

    predicted: tuple[str, ...]  # the names of the columns; the last is for objects that no prediction lies on
    # the name of each row (the last is background), and for each column the number and its share of the row
    rows: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]


def confusion_of(run: LoadedRun) -> Confusion | None:
    """The confusion matrix by boxes at IoU 0.5; None without any object or prediction."""
    categories, table = run.stored.task.categories, run.confusion
    rows, columns = np.flatnonzero(table.any(axis=1)), np.flatnonzero(table.any(axis=0))
    if not len(rows):
        return None
    headings = (*categories, "no category", "not found")
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    return Confusion(
        tuple(headings[c] for c in columns),
        tuple(
            ((*categories, _NOTHING)[r], tuple((int(table[r, c]), float(share[r, c])) for c in columns)) for r in rows
        ),
    )


def change_of(run: LoadedRun, against: LoadedRun, compared: Sequence[Compared]) -> dict[str, Any]:
    """What improved and what became worse from `against` to `run`: F1, other scores, errors, and images."""
    off = run.errors - against.errors
    categories = set(run.stored.task.categories)
    rows = [
        {"score": one.score, "over": one.over, "p_texts": one.difference.p_texts(), **asdict(one.difference)}
        for one in compared
    ]
    over_groups = [row for row in rows if row["over"] not in categories]
    errors = [row for row in over_groups if row["score"].startswith("errors.")]
    f1 = [row for row in over_groups if row["score"].endswith(".f1")]
    return {
        "folder": str(against.stored.folder),
        "method": against.result.method.name,
        "over_groups": f1,
        "over_categories": [row for row in rows if row["score"].endswith(".f1") and row["over"] in categories],
        "rest": [row for row in over_groups if row not in f1 and row not in errors],
        "errors": [row for row in errors if row["over"] == "all"],
        "n_fixed": int((off < 0).sum()),
        "n_broken": int((off > 0).sum()),
        "n_same": int((off == 0).sum()),
    }


def script_json(value: Any) -> str:
    r"""Encode JSON so that no text in it can end the script element around it.

    >>> script_json("</script>")
    '"\\u003c/script\\u003e"'
    """
    text = msgspec.json.encode(value).decode()
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text


def _template() -> Any:
    """Load the page's template, which escapes every value."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise EarthInstructError("a report needs Jinja2: pip install 'earthinstruct[report]'") from error
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (folder / "page.js").read_text(encoding="utf-8")
    environment.filters["percent"] = PERCENT.text
    environment.globals.update(
        PERCENT=PERCENT,
        OBJECTS=WHOLE_OBJECTS,
        style=Markup((folder / "page.css").read_text(encoding="utf-8")),  # noqa: S704  (our own file)
        script=Markup(script),  # noqa: S704  (our own file)
        # the page's policy lets only this script run, so that no label or file name can inject another
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return environment.get_template("page.html")
