"""All leaderboards on one page, which sorts and filters its rows, and their index in Markdown."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree

from earthinstruct.metrics import GEOMETRIES, HEADLINES, PERCENT, title_of
from earthinstruct.results.leaderboard_tables import (
    COMPARABLE,
    FORMATS,
    HEADINGS,
    KINDS,
    LIMITS,
    LIMITS_NOTE,
    RANKED_BY,
    SCORES,
    TRAINING,
    TRAINING_IN_WORDS,
    TRAINING_NOTE,
    VARIANTS_IN_WORDS,
    in_order,
    rank_note,
    rank_text,
    score_text,
    unit_of,
)
from earthinstruct.results.markdown import in_markdown
from earthinstruct.results.variants import LEADERBOARD_NOTE, LEADERBOARD_SCORES, SPREADS
from earthinstruct.texts import plural

if TYPE_CHECKING:  # pandas takes 90 MB
    import pandas as pd

_FIRST = [title_of(path) for path in HEADLINES]  # the columns that are always shown
# what a row can be filtered by, if the rows differ in it; a further column of the rows needs no more than its name here
_FACETS = ("dataset", "setting", "kind", TRAINING, "score threshold")
_DETAILS = (
    "version",
    TRAINING_IN_WORDS,
    VARIANTS_IN_WORDS,
    "images",
    "failed",
    "threshold",
    "seconds",
    "tokens",
    "protocol",
    "protocol version",
    "task version",
)
_KIND_NAMES = {
    "recomputed": "recomputed",
    "oracle": "threshold is an oracle",
    "published": "published",
    "control": "control",
}
# choices of columns
_MAIN, _VARIANTS, _ALL = "main scores", "wordings, blind, repeats, distractors", "all scores"
_LIMITS = "counts up to, not there"
_VARIED = [title_of(path) for path in ("counting.f1", "box.f1")]  # what the columns of variants are about
_NAMED = ("rank", "method", TRAINING)  # columns before the scores, after that of the button
_Shown = Mapping[str, Mapping[str, str]]  # scores with a column -> attributes of its cells: extra ones are folded
# beside F1 where it is not 0: the share of the predictions that lower no mean over categories
_HALLUCINATED = {
    title_of(f"{geometry}.f1"): title
    for geometry in GEOMETRIES
    if (title := title_of(f"{geometry}.hallucinated")) in SCORES  # without masks
}
_LEAD = (
    "Scores in percent, with the 95 % interval over images, which a bar shows too. Hallucinated: the share of the "
    f"predictions in categories without ground truth, beside {', '.join(_HALLUCINATED)} where there are any; they "
    "lower no mean over categories."
)
_HEAD = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Leaderboards</title>
<style>
html {{ color-scheme: light dark; background: light-dark(#fff, #12161c); color: light-dark(#1c2430, #e6eaf0) }}
body {{ margin: 0 auto; max-width: 80rem; padding: 1rem; font: 16px/1.5 system-ui, sans-serif }}
</style>
"""


def index(boards: Mapping[str, pd.DataFrame]) -> bytes:
    """The tasks with links to their tables and the best row of each, in Markdown."""
    lines = [
        "# Leaderboards",
        f"The best rows of each task by {RANKED_BY}, in percent. The tables show all rows, with intervals; "
        "[index.html](index.html) shows all tasks on one page, to sort and filter. All of it is generated: do not edit "
        "it.",
        "| task | recomputed from predictions | published, not recomputed | rows |\n|-|-|-|-|\n"
        + "\n".join(
            f"| [{task}]({quote(task)}.md) "
            f"| {_best_in_markdown(board, 'recomputed')} | {_best_in_markdown(board, 'published')} "
            f"| {len(board)} |"
            for task, board in boards.items()
        ),
    ]
    return ("\n\n".join(lines) + "\n").encode()


def page(boards: Mapping[str, pd.DataFrame]) -> bytes:
    """A page that needs no other file and no network. Without scripts it shows all rows and columns."""
    style, script = (
        importlib.resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
        for name in ("leaderboard.css", "leaderboard.js")
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    body = ElementTree.tostring(_main(boards), encoding="unicode", method="html")
    return f"{_HEAD.format(hash=digest)}<style>\n{style}</style>\n{body}\n<script>{script}</script>\n".encode()


def _element(
    tag: str, *children: ElementTree.Element | str, attributes: Mapping[str, str] | None = None
) -> ElementTree.Element:
    """An element with text and elements inside; all text is escaped when it is written."""
    made = ElementTree.Element(tag, dict(attributes or {}))
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def _link(text: str, address: str) -> ElementTree.Element:
    return _element("a", text, attributes={"href": address})


def _best(board: pd.DataFrame, kind: str) -> list[list[str]]:
    """The name of the best row of a kind, its score and its ties: for each group of rows that compare."""
    rows = in_order(board[board["kind"] == kind])
    if RANKED_BY not in rows or rows[RANKED_BY].isna().all():
        return []
    first = rows[rows["rank best"] == 1]
    # published rows have no ranks, and may lack what ranked rows agree on
    first = rows[:1] if first.empty else first.drop_duplicates(list(COMPARABLE))
    return [
        [str(row["method"]), *score_text(RANKED_BY, *_score(row, RANKED_BY)), *_ties(row)]
        for _, row in first.iterrows()
    ]


def _ties(row: pd.Series[Any]) -> list[str]:
    """With how many rows the best one ties, in words."""
    n = 0 if row["rank best"] != 1 else int(row["rank worst"]) - 1
    return [f"and {plural(n, 'tie')}"] if n else []


def _best_in_markdown(board: pd.DataFrame, kind: str) -> str:
    return in_markdown("; ".join(map(" ".join, _best(board, kind)))) or "-"


def _score(row: pd.Series[Any], name: str) -> tuple[float, float, float]:
    """A score with the ends of its interval; NaN where absent."""
    value, low, high = (float(row.get(f"{name}{end}", float("nan"))) for end in ("", " low", " high"))
    return value, low, high


def _facets(task: str, row: pd.Series[Any]) -> dict[str, str]:
    """What the row can be filtered by."""
    dataset, _, setting = task.partition("/")
    threshold = row.get("threshold")
    found = {
        "dataset": dataset,
        "setting": setting,
        "kind": _KIND_NAMES[row["kind"]],
        TRAINING: _mark(row) or "control",
        "score threshold": "not stated" if row["kind"] == "published" else "none",
    }
    if row["kind"] == "oracle":
        found["score threshold"] = "best on the scored images"
    elif isinstance(threshold, str):
        found["score threshold"] = threshold if threshold.startswith("chosen") else "given"
    return found


def _mark(row: pd.Series[Any]) -> str | None:
    """Whether the method was trained on the images; None for a control."""
    mark = row.get(TRAINING)
    return mark if isinstance(mark, str) else None


def _main(boards: Mapping[str, pd.DataFrame]) -> ElementTree.Element:
    facets = [_facets(task, row) for task, board in boards.items() for _, row in board.iterrows()]
    every = (*SCORES, *LEADERBOARD_SCORES)
    scores = [name for name in every if any(board.get(name, _none(board)).notna().any() for board in boards.values())]
    note = rank_note(boards)
    ranks = [] if note is None else [_fold("How rows are ranked", note)]
    sections = [_board(number, *board, scores) for number, board in enumerate(boards.items())]
    return _element(
        "main",
        _element("h1", "Leaderboards"),
        _element("p", f"{_LEAD} {TRAINING_NOTE}"),
        *ranks,
        *([_fold(_VARIANTS.capitalize(), LEADERBOARD_NOTE)] if _has_variants(scores) else []),
        *([] if LIMITS.keys().isdisjoint(scores) else [_fold(_LIMITS.capitalize(), LIMITS_NOTE)]),
        _index(boards),
        _controls(facets, scores),
        *sections,
        attributes={"class": "boards"},
    )


def _fold(heading: str, text: str) -> ElementTree.Element:
    return _element("details", _element("summary", heading), _element("p", text))


def _has_variants(scores: Sequence[str]) -> bool:
    return not set(LEADERBOARD_SCORES).isdisjoint(scores)


def _none(board: pd.DataFrame) -> pd.Series[Any]:
    """An empty column."""
    import pandas as pd

    return pd.Series(index=board.index, dtype=float)


def _index(boards: Mapping[str, pd.DataFrame]) -> ElementTree.Element:
    """The tasks with their best rows."""
    head = ("task", "recomputed from predictions", "published, not recomputed", "rows")
    rows = [
        _element(
            "tr",
            _element("th", _link(task, f"#{task}"), attributes={"scope": "row"}),
            _best_cell(board, "recomputed", head[1]),
            _best_cell(board, "published", head[2]),
            _element("td", str(len(board)), attributes={"data-label": head[3]}),
        )
        for task, board in boards.items()
    ]
    return _element(
        "table",
        _element("caption", f"All tasks: the best rows by {RANKED_BY}"),
        _element("thead", _element("tr", *(_element("th", text, attributes={"scope": "col"}) for text in head))),
        _element("tbody", *rows),
        attributes={"class": "tasks"},
    )


def _best_cell(board: pd.DataFrame, kind: str, label: str) -> ElementTree.Element:
    texts: list[ElementTree.Element | str] = []
    for name, score, *more in _best(board, kind):
        texts += ["; "] * bool(texts) + [f"{name} ", _element("strong", score), *(f" {text}" for text in more)]
    return _element("td", *(texts or ["-"]), attributes={"data-label": label})


def _controls(facets: list[dict[str, str]], scores: list[str]) -> ElementTree.Element:
    """Filters, order and columns, shown where scripts run."""
    chosen = [
        _select(facet, ["", *dict.fromkeys(row[facet] for row in facets)], f"data-{facet.replace(' ', '-')}")
        for facet in _FACETS
        if len({row[facet] for row in facets}) > 1
    ]
    order = _select("sort by", [RANKED_BY, *(name for name in scores if name != RANKED_BY), "method"], "order")
    beside = {_VARIANTS: _has_variants(scores), _LIMITS: not LIMITS.keys().isdisjoint(scores)}
    columns = [_MAIN, *(choice for choice, there in beside.items() if there), _ALL]
    return _element(
        "form",
        *chosen,
        order,
        _select("columns", columns, "columns"),
        _element("button", "Reset", attributes={"type": "reset"}),
        _element("output"),
        attributes={"hidden": "hidden"},
    )


def _select(label: str, values: list[str], name: str) -> ElementTree.Element:
    options = [_element("option", value or "all", attributes={"value": value}) for value in values]
    return _element("label", label, _element("select", *options, attributes={"name": name}))


def _board(number: int, task: str, board: pd.DataFrame, scores: list[str]) -> ElementTree.Element:
    """The rows of a task: a body of the table for each kind, two rows of the table for each row."""
    present = [name for name in scores if board.get(name, _none(board)).notna().any()]
    first = [name for name in present if name in _FIRST] or present
    shown = {name: {"data-score": name, **({} if name in first else {"class": _class(name)})} for name in present}
    head = [_element("th"), *map(_column, _NAMED), *(_score_column(name, name in first) for name in present)]
    bodies = [_body(f"{number}-{kind}", kind, task, board, shown) for kind in KINDS if (board["kind"] == kind).any()]
    csv = _element("small", " ", _link("CSV", quote(f"{task}.csv")))
    table = _element("table", _element("thead", _element("tr", *head)), *bodies, attributes={"class": "board"})
    return _element(
        "section",
        _element("h2", task, csv, attributes={"id": task}),
        _element("div", table, attributes={"class": "scroll", "tabindex": "0", "role": "region", "aria-label": task}),
    )


def _class(name: str) -> str:
    """The class of the cells of a score that is not among the main ones."""
    return "extra narrow" if name in (*LEADERBOARD_SCORES, *LIMITS) else "extra"


def _column(name: str) -> ElementTree.Element:
    return _element("th", name, attributes={"scope": "col", "class": name.replace(" ", "-")})


def _width(shown: _Shown) -> str:
    """The number of columns of a board."""
    return str(1 + len(_NAMED) + len(shown))


def _score_column(name: str, is_main: bool) -> ElementTree.Element:
    """The head of a score, with the choices of columns that show it besides all of them."""
    button = _element("button", name, attributes={"type": "button"})
    chosen = {_MAIN: is_main, _VARIANTS: name in (*_VARIED, *LEADERBOARD_SCORES), _LIMITS: name in (*_VARIED, *LIMITS)}
    choices = [choice for choice, shows in chosen.items() if shows]
    attributes = {"data-score": name, "data-columns": ";".join(choices)} | ({} if is_main else {"class": _class(name)})
    return _element("th", button, attributes={"scope": "col", **attributes})


def _body(place: str, kind: str, task: str, board: pd.DataFrame, shown: _Shown) -> ElementTree.Element:
    heading = _element("th", HEADINGS[kind], attributes={"colspan": _width(shown), "scope": "rowgroup"})
    rows = in_order(board[board["kind"] == kind])
    pairs = [_lines(f"{place}-{number}", task, row, shown) for number, (_, row) in enumerate(rows.iterrows())]
    return _element("tbody", _element("tr", heading, attributes={"class": "kind"}), *itertools.chain(*pairs))


def _lines(
    place: str, task: str, row: pd.Series[Any], shown: _Shown
) -> tuple[ElementTree.Element, ElementTree.Element]:
    """A row with its scores, and below it, folded where scripts run, all that is known of it."""
    facets = {f"data-{name.replace(' ', '-')}": value for name, value in _facets(task, row).items()}
    name = str(row["method"])
    fold = {"type": "button", "aria-expanded": "false", "aria-controls": place, "aria-label": f"more on {name}"}
    best = row.get("rank best", float("nan"))
    rank = [] if best != best else [rank_text(best, row["rank worst"])]
    line = _element(
        "tr",
        _element("td", _element("button", "+", attributes=fold), attributes={"class": "fold"}),
        _element("td", *rank, attributes={"class": "rank"}),
        _element("th", name, attributes={"scope": "row", "class": "method"}),
        _element("td", _mark(row) or "-", attributes={"class": "training-data"}),
        *(_score_cell(row, score, attributes) for score, attributes in shown.items()),
        attributes={"class": "row", **facets},
    )
    known = _element("td", _element("dl", *_known(row, shown)), attributes={"colspan": _width(shown)})
    return line, _element("tr", known, attributes={"class": "more", "id": place})


def _score_cell(row: pd.Series[Any], name: str, attributes: Mapping[str, str]) -> ElementTree.Element:
    """A score as text and, if it is a share, as a mark on a bar with its interval. Rows are sorted by `--at`.

    The spread of a score is no share: it has no bar.
    """
    value, low, high = _score(row, name)
    if value != value:
        return _element("td", "-", attributes=attributes)
    places, interval, words = {"at": value}, [], []
    text, *in_words = score_text(name, value, low, high)
    if in_words:
        places |= {"low": low, "high": high}
        interval, words = [_element("span")], [_element("small", f" {in_words[0]}")]
    share = row.get(_HALLUCINATED.get(name, ""))
    if share is not None and share > 0:
        words.append(_element("small", f" {PERCENT.text(share)} % hallucinated"))
    has_bar = unit_of(name) is PERCENT and name not in SPREADS
    bar = [_element("i", *interval, attributes={"aria-hidden": "true"})] if has_bar else []
    style = ";".join(f"--{end}:{100 * place:.2f}" for end, place in places.items())
    return _element("td", text, *words, *bar, attributes={**attributes, "style": style})


def _known(row: pd.Series[Any], shown: _Shown) -> Iterator[ElementTree.Element]:
    """What is known of a row: scores without a column of their own, how it was computed, and links."""
    import pandas as pd

    found: list[tuple[str, str | ElementTree.Element]] = [
        (name, " ".join(score_text(name, *_score(row, name))))
        for name, attributes in shown.items()
        if "class" in attributes and not pd.isna(row[name])
    ]
    details = [name for name in _DETAILS if name in row and not pd.isna(row[name])]
    found += [(name, FORMATS.get(name, "{}").format(row[name])) for name in details]
    found.append(("source", _link(str(row["source"]), str(row["address"]))))
    if isinstance(row.get("report"), str):
        found.append(("report", _link("every image of the run", str(row["report"]))))
    for name, value in found:
        is_wide = name in (TRAINING_IN_WORDS, VARIANTS_IN_WORDS) or not isinstance(value, str)
        yield _element(
            "div", _element("dt", name), _element("dd", value), attributes={"class": "wide"} if is_wide else None
        )
