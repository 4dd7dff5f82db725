"""Leaderboards: file results, and build tables from filed results and published numbers."""

from __future__ import annotations

import filecmp
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from earthinstruct.errors import DataError, checked_arguments
from earthinstruct.files import as_json, decode_json, new_file, read_bytes, replace_file, writing
from earthinstruct.metrics import CATALOGUE, GEOMETRIES, Metrics, Value, sweep_of, threshold_text, value_at
from earthinstruct.results.leaderboard_page import index, page
from earthinstruct.results.leaderboard_tables import (
    SCORES,
    TRAINING,
    TRAINING_IN_WORDS,
    VARIANTS_IN_WORDS,
    ranked,
    tables,
)
from earthinstruct.results.result import Result, read_result, result_schema
from earthinstruct.results.rules import bad_score
from earthinstruct.results.tallies import StoredTallies, read_tallies, write_tallies
from earthinstruct.results.training import Training, by_part, judge_training, strange_sets
from earthinstruct.results.variants import LEADERBOARD_SCORES, leaderboard_scores, variants_in_words
from earthinstruct.texts import shortened

LEADERBOARDS = Path("leaderboards")
_PLAIN = re.compile(r"\w[\w .+()-]*")
_LISTED = re.compile(r"\w[\w .,:;+()/'&-]*")  # of published rows, which are never paths
_LONGEST_NAME, _LONGEST_TEXT = 100, 300  # characters
_NOT_WRITTEN = (
    "nothing of it is left. Fix this, then run `earthinstruct leaderboard build`, or `add` again where the result is "
    "not filed yet"
)


class PublishedTraining(msgspec.Struct, frozen=True):
    """What the published methods of these names were trained on, and which paper or page says so."""

    methods: list[str]
    training_data: list[str] | dict[str, list[str]]
    source: str


class PublishedRow(msgspec.Struct, frozen=True):
    """Published scores of one method on one task: path in a result's metrics -> fraction."""

    task: str
    method: str
    table: str
    metrics: dict[str, float]


class Published(msgspec.Struct, frozen=True):
    """The published rows of one source. A method that `training` does not name was trained on unknown data."""

    source: str
    url: str
    protocol: str
    rows: list[PublishedRow]
    training: list[PublishedTraining] = []


@checked_arguments
def build_leaderboards(root: Path | str = LEADERBOARDS) -> list[Path]:
    """Write the tables of every task, `tables/<task>.{md,csv}`, their index and page, and the JSON Schema of results.

    Args:
        root: the folder with `results/` and `published.json`.

    Returns:
        The files written.

    Raises:
        DataError: the folder is missing or cannot be written, or a stored file is malformed or its path does not match
            its content.
    """
    return _write(Path(root), Path(root))


@checked_arguments
def check_leaderboards(root: Path | str = LEADERBOARDS) -> list[str]:
    """Check that the tables are up to date: one line for each file that is missing, left over or different."""
    root = Path(root)
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        expected = {path.relative_to(fresh) for path in _write(root, fresh)}
        there = {path.relative_to(root) for path in (root / "tables").rglob("*") if path.is_file()}
        findings = [f"{path} is left over" for path in sorted(there - expected)]
        for path in sorted(expected):
            if not (root / path).is_file():
                findings.append(f"{path} is missing")
            elif not filecmp.cmp(root / path, fresh / path, shallow=False):
                findings.append(f"{path} differs from the results")
    return findings


def file_result(root: Path, result: Result, tallies: StoredTallies | None = None) -> Path:
    """File a result as `results/<task>/<method>/<version>.json`, and its tallies beside it, `<version>.tallies.npz`.

    A result is replaced only by one under a later version of its protocol, or by the same one with more variants. If
    the same result is filed without tallies, they are added. Of the tallies, only those of counting, boxes, masks and
    points are kept.

    Raises:
        DataError: the folder is missing or cannot be written, the result exists already, the method has no version, or
            a name cannot be a file name.
    """
    if result.task.variant is not None:
        raise DataError(
            f"the result is of a variant of {result.task.name}, {result.task.variant}; leaderboards hold results of "
            "tasks: give the run folder of the task itself"
        )
    _require(root)
    target = root / _place(result)
    content, beside = as_json(result), target.with_name(tallies_of(target))
    kept = None
    if tallies is not None:
        kept = StoredTallies(
            {name: tallies.tallies[name] for name in GEOMETRIES if name in tallies.tallies}, tallies.groups
        )
    lacks_tallies = kept is not None and not beside.is_file()
    with writing(target, _NOT_WRITTEN):
        filed = read_result(target) if target.is_file() else None
        if filed is not None and filed.protocol_version < result.protocol_version:
            beside.unlink(missing_ok=True)
            replace_file(target, content)
        elif filed is not None and _has_more_variants(filed, result):
            replace_file(target, content)
        elif not (lacks_tallies and target.is_file() and target.read_bytes() == content):
            _file_once(target, content)
        if kept is not None:
            write_tallies(target.parent, result, kept, beside.name)
    return target


def _file_once(target: Path, content: bytes) -> None:
    try:
        new_file(target, content)
    except FileExistsError as error:
        raise DataError(
            f"{target} exists under the same version of the protocol and is never replaced: increase the method's "
            "version, or give a variant its own name (InstructSAM: -M name=NAME)"
        ) from error


def _has_more_variants(filed: Result, result: Result) -> bool:
    """Whether a result is the filed one with the variants of it that were filed, and others."""
    old, new = (
        {(kind, name): run for kind, of in each.variants.items() for name, run in of.runs.items()}
        for each in (filed, result)
    )
    same = msgspec.structs.replace(filed, variants={}) == msgspec.structs.replace(result, variants={})
    return same and old.items() < new.items()


def tallies_of(result: Path) -> str:
    """The name of the tallies of a filed result: a version may have dots."""
    return f"{result.name.removesuffix('.json')}.tallies.npz"


def _require(root: Path) -> None:
    if not root.is_dir():
        raise DataError(
            f"leaderboard folder {root} does not exist; give its path with --root DIR, or create an empty folder"
        )


def _place(result: Result) -> Path:
    if not result.method.version:
        raise DataError(
            f"method {result.method.name!r} has no version; return one from describe(), or give --method-version to "
            "`earthinstruct score`"
        )
    protocol = "" if result.protocol == "standard" else f"-{result.protocol}"
    _require_plain("method name", result.method.name)
    _require_plain("version", result.method.version)
    _require_plain("protocol", result.protocol)
    _require_plain("task version", result.task.version)
    for part, names in by_part(result.method.training_data).items():
        for name in (part, *names):
            _require_plain("training data", name)
    return (
        Path("results") / _task_place(result.task.name) / result.method.name / f"{result.method.version}{protocol}.json"
    )


def _task_place(task: str) -> Path:
    names = task.split("/")
    for name in names:
        _require_plain("task name", name)
    return Path(*names)


def _require_plain(what: str, name: str) -> None:
    """Check a name that becomes a path and a table cell, so that it is no path, markup or formula itself."""
    if not _PLAIN.fullmatch(name) or len(name) > _LONGEST_NAME:
        raise DataError(
            f"{what} {shortened(name)!r} cannot be filed: expected letters, digits, spaces and ._+-(), a letter or "
            f"digit first, at most {_LONGEST_NAME} characters"
        )


def _write(root: Path, target: Path) -> list[Path]:
    import pandas as pd

    _require(root)
    tallies: dict[str, StoredTallies] = {}
    rows = pd.DataFrame([*_result_rows(root, tallies), *_published_rows(root)])
    pages = {target / "result.schema.json": as_json(result_schema())}
    boards = (
        {} if rows.empty else {str(task): ranked(group, tallies) for task, group in rows.groupby("task", sort=True)}
    )
    for task, board in boards.items():
        pages |= tables(board, target / "tables" / _task_place(task))
    if boards:
        pages[target / "tables" / "README.md"] = index(boards)
        pages[target / "tables" / "index.html"] = page(boards)
    for path, content in pages.items():
        with writing(path, _NOT_WRITTEN):
            replace_file(path, content)
    return list(pages)


def _result_rows(root: Path, tallies: dict[str, StoredTallies]) -> Iterable[dict[str, object]]:
    """The rows of filed results, whose tallies are added to `tallies`, by the `source` of the row."""
    for path in sorted((root / "results").rglob("*.npz")):
        if not any(tallies_of(other) == path.name for other in path.parent.glob("*.json")):
            raise DataError(f"{path} has no result beside it; remove it, or add its result again")
    for path in sorted((root / "results").rglob("*.json")):
        result = read_result(path)
        if path.relative_to(root) != _place(result):
            raise DataError(f"{path} holds a result whose path should be {_place(result)}; move it there")
        source = path.relative_to(root).as_posix()
        stored = read_tallies(path.parent, result, tallies_of(path))
        if stored is not None:
            tallies[source] = stored
        row: dict[str, object] = {
            "task": result.task.name,
            "kind": _kind(result),
            "method": result.method.name,
            "version": result.method.version,
            **_training_columns(result.training),
        }
        of_variants = leaderboard_scores(result)
        scores = {heading: _score(result.metrics, place) for heading, place in SCORES.items()}
        scores |= {heading: of_variants.get(heading) for heading in LEADERBOARD_SCORES}
        for heading, score in scores.items():
            row[heading] = score.value if isinstance(score, Value) else score
            if isinstance(score, Value) and score.ci95 is not None:
                row[f"{heading} low"], row[f"{heading} high"] = score.ci95
        tokens = result.run.input_tokens + result.run.output_tokens
        row |= {
            "annotations": result.task.dataset.annotations_sha256,
            "images": result.task.dataset.n_images,
            "failed": result.run.n_failed,
            "threshold": _threshold(result),
            "seconds": result.run.seconds.get("total"),
            "tokens": tokens or None,
            VARIANTS_IN_WORDS: variants_in_words(result),
            "protocol": result.protocol,
            "protocol version": result.protocol_version,
            "task version": result.task.version,
            "tallies": "none" if stored is None else "stored",
            "source": source,
            "address": quote(f"../{source}"),
        }
        # beside the result: 1.0.html of 1.0.json
        if (report := path.with_name(f"{path.stem}.html")).is_file():
            row["report"] = quote(f"../{report.relative_to(root).as_posix()}")
        yield row


def _score(metrics: Metrics, place: str) -> Any:
    """A score of a result; the mean over a group with its interval, if it has one."""
    found = value_at(metrics, place)
    if isinstance(found, float):
        return Value(found, value_at(metrics, place.replace(".groups.", ".groups_ci95.")))
    return found


def _bad_published(published: Published) -> str | None:
    """Why published rows cannot stand in a table; None if they can."""
    if not published.url.startswith("https://"):
        return f"url is {shortened(published.url)!r}; expected an address that starts with https://"
    texts = {"source": (published.source, _LONGEST_TEXT), "protocol": (published.protocol, _LONGEST_NAME)}
    for i, training in enumerate(published.training):
        texts[f"training[{i}].source"] = (training.source, _LONGEST_TEXT)
        if strange := strange_sets(training.training_data):
            return f"training[{i}]: {strange[0]}"
    for i, row in enumerate(published.rows):
        texts[f"rows[{i}].method"] = (row.method, _LONGEST_NAME)
        texts[f"rows[{i}].table"] = (row.table, _LONGEST_TEXT)
    for where, (text, longest) in texts.items():
        if not _LISTED.fullmatch(text) or len(text) > longest:
            return (
                f"{where} is {shortened(text)!r}; expected letters, digits, spaces and ._,:;+-()/'&, a letter or digit "
                f"first, at most {longest} characters"
            )
    for i, row in enumerate(published.rows):
        for score, value in row.metrics.items():
            parts = score.split(".")
            path = f"{parts[0]}.{parts[-1]}"  # of the mean of a score over a group, and of that of a category
            if path not in CATALOGUE:
                return f"rows[{i}].metrics names {shortened(score)!r}; see the scores with `earthinstruct list metrics`"
            if (problem := bad_score(path, value)) is not None:
                return f"rows[{i}].metrics: {problem}"
    return None


def _kind(result: Result) -> str:
    """The section of a row: rows with a threshold chosen on the scored images have their own."""
    if result.method.control:
        return "control"
    return "oracle" if sweep_of(result.metrics) is True else "recomputed"


def _threshold(result: Result) -> str | None:
    sweep = result.metrics.sweep
    if sweep is not None and sweep.is_cross:
        return "chosen on other images"
    threshold = result.metrics.threshold if sweep is None else sweep.threshold
    return None if threshold is None else threshold_text(threshold)


def _training_columns(training: Training | None, source: str = "") -> dict[str, str]:
    """Whether a row's method was trained on the images; nothing for a control."""
    if training is None:
        return {}
    return {TRAINING: training.mark, TRAINING_IN_WORDS: f"{training.words}{source}"}


def _published_rows(root: Path) -> Iterable[dict[str, object]]:
    path = root / "published.json"
    if not path.is_file():
        return
    content = read_bytes(path, "published rows")
    published = decode_json(content, msgspec.json.Decoder(Published), f"{path} is malformed: {{error}}")
    if (problem := _bad_published(published)) is not None:
        raise DataError(f"{path}: {problem}")
    trained_on = {method: training for training in published.training for method in training.methods}
    for entry in published.rows:
        trained = trained_on.get(entry.method)
        training = judge_training(None if trained is None else trained.training_data, entry.task.partition("/")[0])
        scores = {heading: entry.metrics.get(score) for heading, score in SCORES.items()}
        yield {
            "task": entry.task,
            "kind": "published",
            "method": entry.method,
            **_training_columns(training, "" if trained is None else f" ({trained.source})"),
            **scores,
            "protocol": published.protocol,
            "source": f"{published.source}, {entry.table}",
            "address": published.url,
        }
