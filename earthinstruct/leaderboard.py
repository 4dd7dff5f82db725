"""Leaderboards: tables generated from stored results, and from published numbers with their source."""

from __future__ import annotations

import filecmp
import tempfile
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from earthinstruct.errors import DataError
from earthinstruct.files import as_json, decode_json, read_bytes
from earthinstruct.metrics.values import Value
from earthinstruct.results import Result, read_result, result_schema

SCORES = {
    "Cnt F1": ("counting", "f1"),
    "Box F1": ("box", "f1"),
    "Mask F1": ("mask", "f1"),
    "mIoU": ("mask", "miou"),
    "AP_nc box": ("box", "ap_nc50"),
    "AP_nc mask": ("mask", "ap_nc50"),
}
RANKED_BY = "Box F1"
# only rows that agree on these are ranked against each other
_COMPARABLE = ("task version", "protocol", "annotations", "images")
KINDS = ("recomputed", "published", "control")
_RANK_NOTE = (
    f"Rank by {RANKED_BY}: rows of one range cannot be told apart. Two rows differ where their difference exceeds the "
    "root of the summed squares of their half intervals, as if they were scored on images of their own; they share "
    "them, so this ties rather too many. Only rows of one task version, protocol, annotation file and number of images "
    "are ranked against each other."
)
_STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2rem;color:#1a202c}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .7rem;border-bottom:1px solid #d8dee6;text-align:left;white-space:nowrap}"
    "td:last-child{white-space:normal;min-width:16rem}p{max-width:60rem;color:#4a5568}"
)
_HEADINGS = {
    "recomputed": "Recomputed from predictions",
    "published": "Published (not recomputed)",
    "control": "Controls (they see the ground truth)",
}


class PublishedRow(msgspec.Struct, frozen=True):
    """Numbers of one method on one task as somebody printed them: fractions, by their path in a result's metrics."""

    task: str
    method: str
    table: str
    metrics: dict[str, float]


class Published(msgspec.Struct, frozen=True):
    """Rows of one source."""

    source: str
    url: str
    protocol: str
    rows: list[PublishedRow]


def build(root: Path) -> list[Path]:
    """Write the tables of every task, `tables/<task>.{md,csv,html}`, and the JSON Schema of results.

    Args:
        root: the folder with `results/` and `published.json`.

    Returns:
        The files written.

    Raises:
        DataError: there is no such folder, or a stored file is malformed or does not lie where its content says.
    """
    return _write(root, root)


def check(root: Path) -> list[str]:
    """What `build` would change: a line for each file that is missing, left over or different."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        expected = {path.relative_to(fresh) for path in _write(root, fresh)}
        there = {path.relative_to(root) for path in (root / "tables").rglob("*") if path.is_file()}
        findings = [f"{path} is left over" for path in sorted(there - expected)]
        for path in sorted(expected):
            if not (root / path).is_file():
                findings.append(f"{path} is missing")
            elif not filecmp.cmp(root / path, fresh / path, shallow=False):
                findings.append(f"{path} is not what the results give")
    return findings


def add(root: Path, result: Result) -> Path:
    """File a result under `results/<task>/<method>/<version>.json`.

    Raises:
        DataError: there is no such folder, there is such a result already, or the method has no version.
    """
    _require(root)
    target = root / _place(result)
    if target.exists():
        raise DataError(
            f"{target} exists; results are never replaced: raise the method's version, or give a variant a name of its "
            "own (InstructSAM: -M name=NAME)"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(as_json(result))
    return target


def _require(root: Path) -> None:
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}; name that of the leaderboards with --root DIR, or make an empty one"
        )


def _place(result: Result) -> Path:
    if not result.method.version:
        raise DataError(f"method {result.method.name!r} has no version; let describe() return one")
    protocol = "" if result.protocol == "standard" else f"-{result.protocol}"
    place = Path("results", *result.task.name.split("/"), result.method.name, f"{result.method.version}{protocol}.json")
    if ".." in place.parts or place.is_absolute():
        raise DataError(f"task, method or version of the result leave the folder: {place}")
    return place


def _write(root: Path, target: Path) -> list[Path]:
    _require(root)
    rows = pd.DataFrame([*_result_rows(root), *_published_rows(root)])
    written = [target / "result.schema.json"]
    written[0].parent.mkdir(parents=True, exist_ok=True)
    written[0].write_bytes(as_json(result_schema()))
    if rows.empty:
        return written
    for task, group in rows.groupby("task", sort=True):
        base = target / "tables" / str(task)
        base.parent.mkdir(parents=True, exist_ok=True)
        group = group.join(ranks(group[group["kind"] == "recomputed"]))
        sections = {kind: _section(group, kind) for kind in KINDS if (group["kind"] == kind).any()}
        base.with_suffix(".md").write_text(_markdown(str(task), sections), encoding="utf-8")
        base.with_suffix(".html").write_text(_html(str(task), sections), encoding="utf-8")
        table = pd.concat(part.assign(kind=kind) for kind, part in sections.items())
        table.to_csv(base.with_suffix(".csv"), index=False, lineterminator="\n")
        written += [base.with_suffix(suffix) for suffix in (".md", ".html", ".csv")]
    return written


def _result_rows(root: Path) -> Iterable[dict[str, object]]:
    for path in sorted((root / "results").rglob("*.json")):
        result = read_result(path)
        if path.relative_to(root) != _place(result):
            raise DataError(f"{path} holds a result that belongs to {_place(result)}")
        row: dict[str, object] = {
            "task": result.task.name,
            "kind": "control" if result.method.control else "recomputed",
            "method": result.method.name,
            "version": result.method.version,
        }
        for heading, (part, score) in SCORES.items():
            value: Value | None = getattr(getattr(result.metrics, part), score)
            if value is not None and value.value is not None:
                row[heading] = value.value
                if value.ci95 is not None:
                    row[f"{heading} low"], row[f"{heading} high"] = value.ci95
        tokens = result.run.input_tokens + result.run.output_tokens
        row |= {
            "annotations": result.task.dataset.annotations_sha256,
            "images": result.task.dataset.n_images,
            "failed": result.run.n_failed,
            "seconds": result.run.seconds.get("total"),
            "tokens": tokens or None,
            "protocol": result.protocol,
            "task version": result.task.version,
            "source": f"{path.relative_to(root).as_posix()}",
        }
        yield row


def _published_rows(root: Path) -> Iterable[dict[str, object]]:
    path = root / "published.json"
    if not path.is_file():
        return
    content = read_bytes(path, "published rows")
    published = decode_json(content, msgspec.json.Decoder(Published), f"{path} is malformed: {{error}}")
    for entry in published.rows:
        scores = {heading: entry.metrics.get(f"{part}.{score}") for heading, (part, score) in SCORES.items()}
        yield {
            "task": entry.task,
            "kind": "published",
            "method": entry.method,
            **scores,
            "protocol": published.protocol,
            "source": f"{published.source}, {entry.table}",
        }


def ranks(rows: pd.DataFrame) -> pd.DataFrame:
    """The best and the worst rank that each row can claim by box F1, where rows may tie.

    A result holds no scores of single images, so two rows are told apart by their stored 95 % intervals alone. Each is
    read as that of a normal distribution of standard error width / (2 x 1.96), the errors are taken as independent, and
    one row is better where the 95 % interval of the difference lies above 0. Rows over the same images mostly err
    alike, which makes their difference surer than this says: there are rather too many ties. `compare` pairs two runs.

    The best rank is 1 + the number of rows that are better, the worst is n - the number of rows that are worse. Ties
    are not transitive: A may tie with B, and B with C, where A is better than C.

    Args:
        rows: of one task; ranked within equal task version, protocol, annotations and number of images.

    Returns:
        `rank best` and `rank worst`, by the index of `rows`; rows without a score or an interval have none.
    """
    bounds = [f"{RANKED_BY} low", f"{RANKED_BY} high"]
    empty = pd.DataFrame(columns=["rank best", "rank worst"], dtype=float)
    if not {RANKED_BY, *bounds} <= set(rows.columns):
        return empty
    found = [empty]
    for _, group in rows.dropna(subset=[RANKED_BY, *bounds]).groupby(list(_COMPARABLE), sort=True):
        value = group[RANKED_BY].to_numpy(dtype=float)
        half = (group[bounds[1]] - group[bounds[0]]).to_numpy(dtype=float) / 2
        surely_better = value[:, None] - value[None, :] > np.hypot(half[:, None], half[None, :])
        best = 1 + surely_better.sum(axis=0)
        worst = len(group) - surely_better.sum(axis=1)
        found.append(pd.DataFrame({"rank best": best, "rank worst": worst}, index=group.index, dtype=float))
    return pd.concat(found) if len(found) > 1 else empty


def _section(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind, best box F1 (then counting F1) first, without the columns that none of them has."""
    chosen = rows[rows["kind"] == kind].drop(columns=["task", "kind", "annotations"], errors="ignore")
    order = [name for name in ("Box F1", "Cnt F1") if name in chosen]
    chosen = chosen.sort_values([*order, "method"], ascending=[False] * len(order) + [True], na_position="last")
    chosen = chosen.dropna(axis=1, how="all")
    first = [name for name in ("rank best", "rank worst") if name in chosen]
    return chosen[[*first, *(name for name in chosen if name not in first)]].astype(dict.fromkeys(first, "Int64"))


def _shown(section: pd.DataFrame) -> pd.DataFrame:
    """Percent with half intervals, as people read it."""
    shown = pd.DataFrame(index=section.index)
    for name in section.columns:
        if name.endswith((" low", " high", " worst")):
            continue
        column = section[name]
        if name == "rank best":
            shown["rank"] = [
                "-" if pd.isna(best) else str(best) if best == worst else f"{best}-{worst}"
                for best, worst in zip(column, section["rank worst"], strict=True)
            ]
            continue
        if name in SCORES:
            half = [float("nan")] * len(section)
            if f"{name} low" in section:
                half = list(50 * (section[f"{name} high"] - section[f"{name} low"]))
            column = pd.Series(
                [
                    "-" if pd.isna(value) else f"{100 * value:.1f}" + ("" if pd.isna(h) else f" ±{h:.1f}")
                    for value, h in zip(column, half, strict=True)
                ],
                index=section.index,
            )
        elif name in ("images", "failed", "tokens"):
            column = column.map(lambda value: "-" if pd.isna(value) else str(int(value)))
        elif name == "seconds":
            column = column.map(lambda value: "-" if pd.isna(value) else f"{value:.1f}")
        shown[name] = column.fillna("-")
    return shown


def _markdown(task: str, sections: dict[str, pd.DataFrame]) -> str:
    parts = [
        f"# {task}",
        "Percent; ± is half of the 95 % bootstrap interval over images. Generated: edit nothing here.",
    ]
    if any("rank best" in section for section in sections.values()):
        parts.append(_RANK_NOTE)
    for kind, section in sections.items():
        parts += [f"## {_HEADINGS[kind]}", _shown(section).to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def _html(task: str, sections: dict[str, pd.DataFrame]) -> str:
    from html import escape

    parts = [
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(task)}</title>",
        f"<style>{_STYLE}</style><h1>{escape(task)}</h1>",
        "<p>Percent; ± is half of the 95 % bootstrap interval over images.</p>",
    ]
    for kind, section in sections.items():
        parts.append(f"<h2>{_HEADINGS[kind]}</h2>")
        parts.append(_shown(section).to_html(index=False, escape=True, border=0))
        if "rank best" in section:
            parts.append(f"<p>{escape(_RANK_NOTE)}</p>")
    return "\n".join(parts) + "\n"
