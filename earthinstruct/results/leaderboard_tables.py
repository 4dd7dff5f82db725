"""The tables of a leaderboard: rank rows by score, and show them as Markdown and CSV."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.metrics import (
    CATALOGUE,
    HEADLINES,
    PERCENT,
    POOLED,
    SHOWN_BELOW,
    Unit,
    corrected,
    listed,
    paired,
    title_of,
)
from earthinstruct.results.markdown import in_markdown
from earthinstruct.results.variants import LEADERBOARD_NOTE, LEADERBOARD_SCORES

if TYPE_CHECKING:  # scoring imports this module, and pandas takes 90 MB
    import pandas as pd

    from earthinstruct.results.tallies import StoredTallies

LIMITS = {  # heading -> path in a result's metrics: where a method breaks
    title_of(path): path for path in ("counting_limits.counts_up_to", "absent.counted.share", "absent.drawn.share")
}
LIMITS_NOTE = (
    "Counts up to: the number of objects of a category in an image at which the relative error of the counts passes "
    "20 %; at least so many, where it is the largest number in the images; not said where the images do not show it. "
    "Counted, drawn but not there: the share of images in which a category is named, by counts or by boxes or points, "
    "that the image does not have; smaller is better."
)
SCORES = {  # heading -> path in a result's metrics
    title_of(path): path
    for path in (
        *HEADLINES,
        *(f"{geometry}.{score}" for score in POOLED for geometry in ("counting", "box", "point")),
        "box.groups.novel.ap_nc50",
        "mask.groups.novel.ap_nc50",
        "proposals.recall",
        "counting.precision",
        "counting.recall",
        *LIMITS.values(),
    )
}
RANKED_BY = title_of("box.f1")
TRAINING_NOTE = (
    "Training data: seen, where a set that the method was trained on shares images with the dataset; zero-shot, where "
    "all of these sets are known and none is known to share one; unknown otherwise."
)
TRAINING, TRAINING_IN_WORDS, VARIANTS_IN_WORDS = "training data", "training data in words", "variants"  # columns
# rows are ranked against each other only if they agree on these
COMPARABLE = ("task version", "protocol", "protocol version", "annotations", "images")
KINDS = ("recomputed", "oracle", "published", "control")
_RANKED = ("recomputed", "oracle")  # each by itself
_RANK_NOTE = (
    f"Rank by {RANKED_BY}, as a range where rows tie. A tie means that no difference is shown: the paired sign-flip "
    f"test over images, corrected for all pairs of rows (Holm), gives p >= {SHOWN_BELOW}, or the 95 % interval of the "
    "difference holds 0. "
)
_NO_TALLIES_NOTE = (
    "Rows without stored tallies cannot be tested: such a row ties with another unless their difference exceeds the "
    "root of the summed squares of their half intervals. This treats the rows as scored on different images; they "
    "share their images, so too many rows tie. "
)
_COMPARABLE_NOTE = (
    "Rows are ranked against each other only with equal task version, protocol and its version, annotation file and "
    "number of images."
)
FORMATS = {
    "images": "{:.0f}",
    "failed": "{:.0f}",
    "tokens": "{:.0f}",
    "protocol version": "{:.0f}",
    "seconds": "{:.1f}",
}
HEADINGS = {
    "recomputed": "Recomputed from predictions",
    "oracle": "Recomputed, with the score threshold that is best on these images (an oracle)",
    "published": "Published (not recomputed)",
    "control": "Controls (they see the ground truth)",
}


def ranked(rows: pd.DataFrame, tallies: Mapping[str, StoredTallies]) -> pd.DataFrame:
    """The rows of one task with their ranks, where they have one.

    `tallies`: the `source` of a row -> its tallies, where stored.
    """
    import pandas as pd

    return rows.join(pd.concat([ranks(rows[rows["kind"] == kind], tallies) for kind in _RANKED]))


def tables(rows: pd.DataFrame, base: Path) -> dict[Path, bytes]:
    """The ranked rows of one task as `<base>.md` and `<base>.csv`: file -> content."""
    import pandas as pd

    task = str(rows["task"].iloc[0])
    sections = {kind: _section(rows, kind) for kind in KINDS if (rows["kind"] == kind).any()}
    table = pd.concat(section.assign(kind=kind) for kind, section in sections.items())
    texts = {
        ".md": _markdown(task, sections),
        ".csv": table.to_csv(index=False, lineterminator="\n"),
    }
    # a task may have a dot in its name
    return {base.with_name(base.name + suffix): text.encode() for suffix, text in texts.items()}


def ranks(rows: pd.DataFrame, tallies: Mapping[str, StoredTallies]) -> pd.DataFrame:
    """Compute the best and the worst possible rank of each row by box F1. Rows may tie.

    Two rows with stored tallies are compared by the paired test of `compare`, other rows by their 95 % intervals, as
    the note below a table says. Each interval is taken as that of a normal distribution with standard error
    width / (2 x 1.96), and errors as independent.

    The best rank is 1 + the number of better rows, the worst is n - the number of worse rows. Ties are not transitive:
    A may tie with B, and B with C, although A is better than C.

    Returns:
        `rank best` and `rank worst`, with the index of `rows`; empty for rows without a score or an interval.
    """
    import pandas as pd

    bounds = [f"{RANKED_BY} low", f"{RANKED_BY} high"]
    empty = pd.DataFrame(columns=["rank best", "rank worst"], dtype=float)
    if not {RANKED_BY, *bounds} <= set(rows.columns):
        return empty
    found = [empty]
    for _, group in rows.dropna(subset=[RANKED_BY, *bounds]).groupby(list(COMPARABLE), sort=True):
        value = group[RANKED_BY].to_numpy(dtype=float)
        half = (group[bounds[1]] - group[bounds[0]]).to_numpy(dtype=float) / 2
        surely_better = value[:, None] - value[None, :] > np.hypot(half[:, None], half[None, :])
        _test(group, tallies, surely_better)
        best = 1 + surely_better.sum(axis=0)
        worst = len(group) - surely_better.sum(axis=1)
        found.append(pd.DataFrame({"rank best": best, "rank worst": worst}, index=group.index, dtype=float))
    return pd.concat(found) if len(found) > 1 else empty


def _test(rows: pd.DataFrame, tallies: Mapping[str, StoredTallies], better: NDArray[np.bool_]) -> None:
    """Write into `better` (n, n), for all pairs of the n rows with tallies, whether the first is shown to be better."""
    stored = [(i, source) for i, source in enumerate(rows["source"]) if source in tallies]
    pairs, differences = list(combinations(stored, 2)), []
    for (_, first), (_, second) in pairs:
        a, b = tallies[first], tallies[second]
        try:
            pair = paired({"box": b.tallies["box"]}, {"box": a.tallies["box"]})["box"]
        except ValueError as error:
            raise DataError(f"{first} and {second} cannot be compared: {error}; add one of them again") from error
        differences.append(pair.of_mean(CATALOGUE["box.f1"].of, {"all": a.groups["all"]})["all"])
    for ((i, _), (j, _)), difference in zip(pairs, corrected(differences), strict=True):
        better[i, j], better[j, i] = (difference.is_shown and sign * difference.value > 0 for sign in (1, -1))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Sort rows by box F1, then counting F1, then name."""
    order = [name for name in (RANKED_BY, title_of("counting.f1")) if name in rows]
    return rows.sort_values([*order, "method"], ascending=[False] * len(order) + [True], na_position="last")


def _section(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Select the rows of one kind, sorted, without empty columns."""
    unseen = ["task", "kind", "annotations", "address", "report"]
    chosen = in_order(rows[rows["kind"] == kind]).drop(columns=unseen, errors="ignore").dropna(axis=1, how="all")
    first = [name for name in ("rank best", "rank worst") if name in chosen]
    return chosen[[*first, *(name for name in chosen if name not in first)]].astype(dict.fromkeys(first, "Int64"))


def _shown(section: pd.DataFrame) -> pd.DataFrame:
    """Format a section for reading: percent, with intervals."""
    import pandas as pd

    shown = pd.DataFrame(index=section.index)
    absent = pd.Series(index=section.index, dtype=float)
    for name in section.columns:
        column = section[name]
        if name == "rank best":
            shown["rank"] = list(map(rank_text, column, section["rank worst"]))
        elif name in (*SCORES, *LEADERBOARD_SCORES):
            bounds = (section.get(f"{name} {end}", absent) for end in ("low", "high"))
            shown[name] = [" ".join(score_text(name, *score)) for score in zip(column, *bounds, strict=True)]
        elif name in FORMATS:
            shown[name] = ["-" if pd.isna(value) else FORMATS[name].format(value) for value in column]
        elif not name.endswith((" low", " high", " worst", TRAINING_IN_WORDS, VARIANTS_IN_WORDS)):
            shown[name] = column.fillna("-")
    return shown


def rank_note(sections: Mapping[str, pd.DataFrame]) -> str | None:
    """How rows are ranked; None if none is."""
    ranked = [of[of["rank best"].notna()] for of in sections.values() if "rank best" in of]
    if not any(map(len, ranked)):
        return None
    untested = any((rows["tallies"] == "none").any() for rows in ranked if len(rows))
    return _RANK_NOTE + _NO_TALLIES_NOTE * untested + _COMPARABLE_NOTE


def rank_text(best: float, worst: float) -> str:
    """A rank, as a range where rows tie; `-` without one, such as for a method without boxes."""
    import pandas as pd

    return "-" if pd.isna(best) else f"{best:.0f}" if best == worst else f"{best:.0f}-{worst:.0f}"


def unit_of(name: str) -> Unit:
    """The unit of a column of scores."""
    return listed(SCORES[name]).unit if name in LIMITS else PERCENT


def score_text(name: str, value: float, low: float, high: float) -> list[str]:
    """A score in the unit of its column, and its interval where it has one; NaN is absent."""
    return unit_of(name).sure(None if np.isnan(value) else value, None if np.isnan(low) else (low, high)).split(" ", 1)


def _markdown(task: str, sections: dict[str, pd.DataFrame]) -> str:
    parts = [
        f"# {task}",
        "Percent, with the 95 % interval over images. This page is generated: do not edit it.",
    ]
    if (note := rank_note(sections)) is not None:
        parts.append(note)
    if any(TRAINING in section for section in sections.values()):
        parts.append(TRAINING_NOTE)
    if any(name in section for section in sections.values() for name in LEADERBOARD_SCORES):
        parts.append(LEADERBOARD_NOTE)
    if any(name in section for section in sections.values() for name in LIMITS):
        parts.append(LIMITS_NOTE)
    for kind, section in sections.items():
        shown = _shown(section).map(in_markdown)
        parts += [f"## {HEADINGS[kind]}", shown.to_markdown(index=False, disable_numparse=True), *_training(section)]
    return "\n\n".join(parts) + "\n"


def _training(section: pd.DataFrame) -> list[str]:
    """The marks of a section in words, as a list in Markdown: each once, with the methods that have it."""
    if TRAINING not in section:
        return []
    lines = []
    for (mark, words), rows in section.groupby([TRAINING, TRAINING_IN_WORDS], sort=True):
        methods = ", ".join(dict.fromkeys(rows["method"]))
        lines.append(f"- {mark}: {in_markdown(str(words))}. Rows: {in_markdown(methods)}")
    return ["\n".join(lines)]
