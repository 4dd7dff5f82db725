"""More than two runs of one task: which is the best, and which differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from earthinstruct.metrics import ONE_IMAGE, PERCENT, Difference, listed, title_of
from earthinstruct.results import Block, Training, add_intervals, new_table
from earthinstruct.scoring.side_by_side import (
    ComparedRuns,
    best_of,
    marked_p,
    of_pair,
    of_untested,
    out_of_reach,
)
from earthinstruct.texts import plural

if TYPE_CHECKING:
    from rich.table import Table

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_NARROW = 80  # columns of a narrow terminal
_NUMBER = 9  # columns for a score or half of its interval
# headline score -> what the better and the best run does, and what is compared
VERDICTS = {
    "counting.f1": ("counts better", "counts best", "counting"),
    "box.f1": ("finds better boxes", "finds the best boxes", "boxes"),
    "mask.f1": ("finds better masks", "finds the best masks", "masks"),
    "point.f1": ("points better", "points best", "points"),
}


@dataclass(frozen=True, repr=False)
class Standings(ComparedRuns):
    """Three or more runs of one task, side by side.

    Attributes:
        runs: the runs, as they were given; they are shown by letters from A.
        ranked: the indices of the runs that saw nothing of the answers, or of all if there are none.
        differences: (headline score, index of a run, index of a later one) -> their difference, the later minus the
            earlier one. The p-values are corrected for all of them.
        thresholds: how the score threshold of each run was chosen, in words.
    """

    runs: tuple[str, ...]
    ranked: tuple[int, ...]
    differences: Mapping[tuple[str, int, int], Difference]
    thresholds: tuple[str, ...]

    def blocks(self, *, every_row: bool = False) -> Iterator[Block]:
        """A verdict in words; then the headline scores of each run, and the differences of pairs.

        Args:
            every_row: also the pairs without a shown difference, and every headline score.
        """
        from rich.text import Text

        yield verdict_of(self.ranked, self.differences, LETTERS)
        yield from legend(self.runs, self.thresholds, self.side_by_side.training)
        letters = LETTERS[: len(self.runs)]
        yield self._headline_table()
        yield Text(
            "percent; 95 %: interval over images; *: the best, and those without a shown difference from it, where "
            "enough images differ to show one",
            style="dim",
        )
        if self.side_by_side.beside:
            yield self._table_beside()
            yield Text("95 %: interval over images; not tested", style="dim")
        yield from (Text(remark, style="dim") for remark in self.side_by_side.remarks)
        table, left_out = new_table("score", "pair", "difference", "95 % interval", "p", left=["score", "pair"]), 0
        for (score, i, j), off in self.differences.items():
            if not every_row and not (off.is_shown and score in VERDICTS):
                left_out += 1
                continue
            interval = "-" if off.ci95 is None else " to ".join(PERCENT.text(b, signed=True) for b in off.ci95)
            pair, difference = f"{letters[j]} - {letters[i]}", PERCENT.text(off.value, signed=True)
            table.add_row(title_of(score), pair, difference, interval, marked_p(off))
        if table.row_count:
            yield table
            yield Text(
                "p: paired sign-flip test over images, corrected for all pairs and scores (Holm); *: a difference is "
                "shown",
                style="dim",
            )
        if left_out:
            yield Text(
                f"{plural(left_out, 'pair is', 'pairs are')} left out; --all shows all {len(self.differences)}",
                style="dim",
            )

    @property
    def _labels(self) -> list[str]:
        return [f"{letter}: {name}" for letter, name in zip(LETTERS, self.side_by_side.names, strict=False)]

    def _headline_table(self) -> Table:
        """A row for each run, with its headline scores."""
        from rich.text import Text

        runs, labels = self.side_by_side, self._labels
        table = _table_of_runs(labels, [title_of(score) for score in runs.scores])
        for label, values, best in zip(labels, runs.values, runs.best, strict=True):
            texts = (PERCENT.text(value.value) for value in values)
            cells = (Text(f"*{text}", style="bold") if bold else text for text, bold in zip(texts, best, strict=True))
            table.add_row(label, *cells)
            add_intervals(table, [(value, PERCENT) for value in values])
        return table

    def _table_beside(self) -> Table:
        """A row for each run, with the scores that stand beside its headline scores."""
        runs, labels = self.side_by_side, self._labels
        units = [listed(score).unit for score in runs.beside]
        titles = [f"{title_of(score)}, {unit.name}" for score, unit in zip(runs.beside, units, strict=True)]
        table = _table_of_runs(labels, titles)
        for column in table.columns[1:]:
            column.no_wrap = False  # these headings are long
        for label, *values in zip(labels, *runs.beside.values(), strict=True):
            table.add_row(label, *(unit.text(value.value) for value, unit in zip(values, units, strict=True)))
            add_intervals(table, list(zip(values, units, strict=True)))
        return table

    def records(self) -> list[dict[str, Any]]:
        """Every pair: `score`, then names, scores and difference of the two runs."""
        names = self.side_by_side.names
        tested = [
            {"score": score} | of_pair((names[i], names[j]), off) for (score, i, j), off in self.differences.items()
        ]
        return tested + [
            {"score": score} | of_untested((names[i], names[j]), values[i], values[j])
            for score, values in self.side_by_side.beside.items()
            for i, j in combinations(range(len(names)), 2)
        ]


def _table_of_runs(labels: Sequence[str], titles: Sequence[str]) -> Table:
    """An empty table for these rows. A label that leaves too little room for numbers goes on in the next line."""
    table = new_table("run", *titles, left=["run"])
    room = _NARROW - _NUMBER * len(titles)
    table.columns[0].no_wrap, table.columns[0].overflow = max(map(len, labels)) <= room, "fold"
    return table


def legend(runs: tuple[str, ...], thresholds: tuple[str, ...], training: tuple[Training | None, ...]) -> Iterator[str]:
    """A line for each run, by its letter, with its score threshold; then whether they were trained on these images."""
    alike: dict[Training, list[str]] = {}
    for letter, run, threshold, trained in zip(LETTERS, runs, thresholds, training, strict=False):
        yield f"{letter}: {run}, {threshold}"
        if trained is not None:
            alike.setdefault(trained, []).append(letter)
    yield from (f"training data of {', '.join(letters)}: {trained}" for trained, letters in alike.items())


def verdict_of(
    runs: Sequence[int], differences: Mapping[tuple[str, int, int], Difference], names: Sequence[str]
) -> str:
    """Which of some runs counts best, finds the best boxes and masks, and points best, in one sentence.

    Args:
        runs: the indices of the runs that are ranked.
        differences: as of `Standings`.
        names: the name of every run.
    """
    if any(off.p is None for off in differences.values()):
        return f"No verdict: {ONE_IMAGE}."
    if len(runs) < 2:
        return "No verdict: all runs but one saw the ground truth, or have a threshold chosen on these images."
    parts, reached = [], []
    for score, (_, does_best, what) in VERDICTS.items():
        if not (tied := best_of(score, runs, differences)):
            continue
        best = tied[0]
        reached += [
            (what, names[best], names[run], differences[pair])
            for run in runs
            if run != best and (pair := (score, min(run, best), max(run, best))) in differences
        ]
        to_best = {
            run: differences[pair]
            for run in runs
            if run not in tied and (pair := (score, min(run, best), max(run, best))) in differences
        }
        if not to_best:
            parts.append(f"{what}: no difference shown")
            continue
        nearest = min(to_best, key=lambda run: abs(to_best[run].value))
        others = f" (no difference shown from {' and '.join(names[run] for run in tied[1:])})" if tied[1:] else ""
        better = f"better than {names[nearest]} by {by_points(to_best[nearest])}"
        parts.append(f"{names[best]} {does_best}{others}, {better}")
    return f"{'; '.join(parts)}.{out_of_reach(reached)}" if parts else "No verdict: no category has ground truth."


def by_points(off: Difference) -> str:
    """How much better the better run is: "3.1 points (1.2 to 5.0), p = 0.004"."""
    points = f"{PERCENT.text(abs(off.value))} points"
    if off.ci95 is not None:
        low, high = off.ci95 if off.value > 0 else (-off.ci95[1], -off.ci95[0])
        points += f" ({PERCENT.text(low)} to {PERCENT.text(high)})"
    _, p = off.p_texts()
    return f"{points}, p {p if off.p_is_bound else f'= {p}'}"
