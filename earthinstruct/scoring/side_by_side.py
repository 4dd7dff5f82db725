"""Runs side by side, as a paper shows them: a row for each run, a column for each headline score."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.metrics import HEADLINES, PERCENT, SHOWN_BELOW, Difference, Value, sweep_of, title_of, value_at
from earthinstruct.results import Result, ScoreTable, Training, in_markdown
from earthinstruct.texts import printable, spreadsheet_cell

if TYPE_CHECKING:
    import pandas as pd

NOTE = (
    "Percent, with the 95 % interval over images. Bold: the best run, and every run without a shown difference "
    f"from it (paired sign-flip test over images, Holm's correction, p >= {SHOWN_BELOW} or an interval around 0) "
    "where enough images differ to show one."
)
PREDICTED = {
    "counting": "counts",
    "box": "boxes",
    "point": "points",
}  # geometry -> what a method predicts; masks: boxes
# scores that stand beside the headlines: path in the metrics
BESIDE = ("counting_limits.counts_up_to", "absent.counted.share", "absent.drawn.share")
NOT_TESTED = "not tested: shown for each run alone"
_DECIMALS = 12
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[*"},  # at the start of a row they would belong to the \\ before
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


@dataclass(frozen=True)
class SideBySide:
    """The headline scores of some runs of one task.

    Attributes:
        verdict: in one sentence.
        task: the task of the runs.
        names: the name of each run, all different.
        scores: paths of the headline scores that any of the runs has.
        values: the scores of each run, in the order of `scores`.
        best: which of these are the best, or tie with the best.
        training: whether each run was trained on these images; None for a control.
        remarks: what a reader of the table must know about single runs.
        beside: path of another score that any run has -> that of each run.
    """

    verdict: str
    task: str
    names: tuple[str, ...]
    scores: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]
    best: tuple[tuple[bool, ...], ...]
    training: tuple[Training | None, ...]
    remarks: tuple[str, ...] = ()
    beside: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def markdown(self) -> str:
        """The verdict, a table in Markdown, and what it means."""
        lines = [["method", "training data", *map(title_of, self.scores)], ["-", "-", *(["-:"] * len(self.scores))]]
        for name, trained, values, best in self._rows():
            texts = (PERCENT.sure(value.value, value.ci95) for value in values)
            cells = (f"**{text}**" if bold else text for text, bold in zip(texts, best, strict=True))
            lines.append([in_markdown(name), _mark(trained), *cells])
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        notes = " ".join([NOTE, *self._notes()])
        return f"{in_markdown(self.verdict)}\n\n{table}\n\n{in_markdown(self.task)}. {in_markdown(notes)}\n"

    def latex(self) -> str:
        """A `tabular` for the LaTeX package booktabs, with the verdict and what it means as comments."""

        def comment(text: str) -> str:
            return f"% {' '.join(text.split())}"

        lines = [comment(self.verdict), comment(f"{self.task}. {NOTE}"), *map(comment, self._notes())]
        lines += [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{ll{'r' * len(self.scores)}}}", r"\toprule"]
        headings = ["method", "training data", *(in_latex(title_of(score)) for score in self.scores)]
        lines += [" & ".join(headings) + r" \\", r"\midrule"]
        for name, trained, values, best in self._rows():
            texts = (in_latex(PERCENT.sure(value.value, value.ci95)) for value in values)
            cells = (rf"\textbf{{{text}}}" if bold else text for text, bold in zip(texts, best, strict=True))
            lines.append(" & ".join([in_latex(name), _mark(trained), *cells]) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def csv(self) -> str:
        """A line for each run and score, as fractions: task, method, training data, score, value, low, high, best.

        A name that a spreadsheet would take for a formula gets an apostrophe before it.
        """
        content = io.StringIO()
        writer = csv.writer(content, lineterminator="\n")
        writer.writerow(["task", "method", "training data", "score", "value", "low", "high", "best"])
        for name, trained, values, best in self._rows():
            for score, value, is_best in zip(self.scores, values, best, strict=True):
                bounds = value.ci95 or (None, None)
                writer.writerow(
                    [
                        spreadsheet_cell(self.task),
                        spreadsheet_cell(name),
                        _mark(trained),
                        score,
                        *map(_rounded, (value.value, *bounds)),
                        "yes" if is_best else "no",
                    ]
                )
        return content.getvalue()

    def _notes(self) -> Iterator[str]:
        """The notes below a table for a paper, besides `NOTE`."""
        yield from self.remarks
        for name, trained in zip(self.names, self.training, strict=True):
            if trained is not None and trained.mark != "zero-shot":
                yield f"Training data of {name}, {trained.mark}: {trained.words}."

    def _rows(self) -> Iterator[tuple[str, Training | None, tuple[Value, ...], tuple[bool, ...]]]:
        return zip(self.names, self.training, self.values, self.best, strict=True)


@dataclass(frozen=True, repr=False)
class ComparedRuns(ScoreTable):
    """A base class of comparisons, which become frames and tables for papers. A subclass defines `records`.

    Attributes:
        side_by_side: the headline scores of the runs.
    """

    side_by_side: SideBySide = field(kw_only=True)

    def records(self) -> list[dict[str, Any]]:
        """The rows of `to_pandas`."""
        raise NotImplementedError

    def to_pandas(self) -> pd.DataFrame:
        """Every difference, with the columns of `records`."""
        import pandas as pd

        return pd.DataFrame(self.records())

    def to_markdown(self) -> str:
        """The verdict and the headline scores as Markdown."""
        return self.side_by_side.markdown()

    def to_latex(self) -> str:
        """The headline scores as a LaTeX table that needs the package booktabs."""
        return self.side_by_side.latex()

    def to_csv(self) -> str:
        """The headline scores as CSV, a line for each run and score."""
        return self.side_by_side.csv()


def make_side_by_side(
    verdict: str, folders: Sequence[Path], results: Sequence[Result], off: Mapping[tuple[str, int, int], Difference]
) -> SideBySide:
    """Put runs side by side.

    Args:
        verdict: in one sentence.
        folders: the run folders.
        results: their results.
        off: (headline score, index of a run, index of a later run) -> their difference, corrected.
    """
    values = [[value_at(result.metrics, score) or Value(None) for score in HEADLINES] for result in results]
    there = [k for k in range(len(HEADLINES)) if any(of_run[k].value is not None for of_run in values)]
    scores = tuple(tuple(HEADLINES)[k] for k in there)
    contest = contestants(results)
    tied = {score: best_of(score, contest, off) for score in scores}
    best = {score: [run for run in runs if _is_bold(score, runs[0], run, off)] for score, runs in tied.items()}
    remarks: list[str] = []
    names = run_names(folders, results)
    remarks += [f"{sentence}." for sentence in what_was_run(results, names)]
    for i, (name, result) in enumerate(zip(names, results, strict=True)):
        if i not in contest:
            why = "sees the ground truth" if result.method.control else "has a threshold chosen on these images"
            remarks.append(f"{name} {why}, and is not ranked.")
        remarks += _hallucinated(name, result)
    unsure: dict[str, list[str]] = {}
    for i, name in enumerate(names):
        if of := [title_of(score) for score in scores if i in tied[score] and i not in best[score]]:
            unsure.setdefault(", ".join(of), []).append(name)
    remarks += [
        f"Too few images differ to show a difference from the best run in {of}: {', '.join(several)}."
        for of, several in unsure.items()
    ]
    beside = {path: tuple(value_at(of.metrics, path) or Value(None) for of in results) for path in BESIDE}
    return SideBySide(
        verdict,
        results[0].task.name,
        names,
        scores,
        tuple(tuple(of_run[k] for k in there) for of_run in values),
        tuple(tuple(i in best[score] for score in scores) for i in range(len(results))),
        tuple(result.training for result in results),
        tuple(remarks),
        {path: values for path, values in beside.items() if any(of.value is not None for of in values)},
    )


def what_was_run(results: Sequence[Result], names: Sequence[str]) -> Iterator[str]:
    """A sentence on which runs are of the task itself and which of its variants, if they differ in it."""
    variants = [result.task.variant for result in results]
    if len(set(variants)) > 1:
        of = ["the task itself" if variant is None else f"its variant {variant}" for variant in variants]
        yield ", ".join(f"{name} is a run of {what}" for name, what in zip(names, of, strict=True))


def _hallucinated(name: str, result: Result) -> Iterator[str]:
    """The share of predictions that lower no mean over categories, if there are any."""
    shares = []
    for geometry, what in PREDICTED.items():
        share, micro = (value_at(result.metrics, f"{geometry}.{score}") for score in ("hallucinated", "micro_f1"))
        if share is not None and share.value:
            shares.append(f"{PERCENT.text(share.value)} % of the {what} (micro F1 {PERCENT.text(micro.value)})")
    if shares:
        yield f"In categories without ground truth, {name} has {' and '.join(shares)}."


def of_pair(names: Sequence[str], off: Difference) -> dict[str, Any]:
    """The columns of the difference between two runs of these names."""
    low, high = off.ci95 or (None, None)
    return {
        "first": names[0],
        "second": names[1],
        "first_score": _rounded(off.first),
        "second_score": _rounded(off.second),
        "difference": _rounded(off.value),
        "low": _rounded(low),
        "high": _rounded(high),
        "p": _rounded(off.p),
        "p_is_bound": off.p_is_bound,
        "p_corrected": _rounded(off.p_corrected),
        "reason": off.reason,
    }


def of_untested(names: Sequence[str], first: Value, second: Value) -> dict[str, Any]:
    """The columns of `of_pair` for a score that is not tested."""
    off = of_pair(names, Difference(0.0, 0.0, 0.0, None, None, 0, reason=NOT_TESTED))
    scores = {"first_score": _rounded(first.value), "second_score": _rounded(second.value)}
    return off | scores | {"difference": None}


def contestants(results: Sequence[Result]) -> list[int]:
    """The indices of the runs that are ranked: those that saw nothing of the answers, or all if there are none."""
    fair = [i for i, result in enumerate(results) if not result.method.control and sweep_of(result.metrics) is not True]
    return fair or list(range(len(results)))


def best_of(score: str, runs: Sequence[int], off: Mapping[tuple[str, int, int], Difference]) -> list[int]:
    """The best of some runs, then those without a shown difference from it; empty if the score is not compared."""
    pairs = [(i, j) for i in runs for j in runs if (score, i, j) in off]
    if not pairs:
        return []
    value = {run: of for i, j in pairs for run, of in ((i, off[score, i, j].first), (j, off[score, i, j].second))}
    first = max(value, key=lambda run: (value[run], -run))
    tied = [run for run in value if run != first and not off[score, min(run, first), max(run, first)].is_shown]
    return [first, *tied]


def _is_bold(score: str, best: int, run: int, off: Mapping[tuple[str, int, int], Difference]) -> bool:
    """Whether a run without a shown difference from the best one ties with it, so that it is as bold."""
    if run == best:
        return True
    difference = off[score, min(run, best), max(run, best)]
    return difference.can_be_shown or difference.value == 0


def out_of_reach(found: Sequence[tuple[str, str, str, Difference]]) -> str:
    """Sentences on differences that cannot be shown, because too few images differ; empty without any.

    Args:
        found: what is compared, the name of a run, that of another, and their difference.
    """
    differing = [one for one in found if one[-1].n_differing]
    lost = [one for one in differing if not one[-1].can_be_shown]
    if not lost or len(lost) == len(differing):
        return f" No difference can be shown: {_too_few([one[-1] for one in lost])}." if lost else ""
    alike: dict[tuple[str, str], list[tuple[str, Difference]]] = {}
    for what, one, other, off in lost:
        alike.setdefault((what, one), []).append((other, off))
    return "".join(
        f" {what}: no difference can be shown between {one} and {', '.join(other for other, _ in others)}: "
        f"{_too_few([off for _, off in others])}."
        for (what, one), others in alike.items()
    )


def _too_few(lost: Sequence[Difference]) -> str:
    numbers = {off.n_differing for off in lost}
    images = "1 image that differs" if numbers == {1} else f"{max(numbers)} images that differ"
    least = min(1.0 if off.least_corrected is None else off.least_corrected for off in lost)
    return f"with {'at most ' if len(numbers) > 1 else ''}{images}, no corrected p-value is below {least:.3g}"


def marked_p(off: Difference) -> str:
    """The corrected p-value, with `*` where a difference is shown."""
    return f"{'*' if off.is_shown else ''}{off.p_texts()[1]}"


def run_names(folders: Sequence[Path], results: Sequence[Result]) -> tuple[str, ...]:
    """Names of runs that tell them apart: their methods, else with versions, else their folders."""
    methods = [result.method for result in results]
    for names in (
        [method.name for method in methods],
        [f"{method.name} {method.version or ''}".rstrip() for method in methods],
        [folder.name for folder in folders],
    ):
        if len(set(names)) == len(names):
            return tuple(names)
    return tuple(map(str, folders))


def in_latex(text: str) -> str:
    r"""Escape a text for LaTeX.

    >>> in_latex("50 % of mean_shift")
    '50 \\% of mean\\_shift'
    """
    return "".join(_LATEX.get(character, character) for character in printable(" ".join(text.split())))


def _rounded(value: float | None) -> float | None:
    """A number without the noise of floating-point arithmetic, such as 0.30000000000000004."""
    return None if value is None else round(value, _DECIMALS)


def _mark(training: Training | None) -> str:
    return "-" if training is None else training.mark
