"""Compare two runs of one task on the same images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from earthinstruct.datasets import Dataset, image_attributes
from earthinstruct.errors import DataError, checked_arguments
from earthinstruct.metrics import (
    CATALOGUE,
    COUNTING_ERRORS,
    GEOMETRIES,
    HEADLINES,
    ONE_IMAGE,
    ONLY_COUNTS,
    PERCENT,
    SHOWN_BELOW,
    Difference,
    ExtraMetric,
    GivenMetrics,
    Paired,
    Score,
    SliceImages,
    corrected,
    extra_metrics,
    listed,
    paired,
    protocol_named,
    sweep_of,
    threshold_in_words,
)
from earthinstruct.results import (
    Block,
    Result,
    Shown,
    StoredTallies,
    new_table,
    read_result,
    read_tallies,
    refuse_different,
)
from earthinstruct.scoring.slicing import slices_by
from earthinstruct.scoring.stored import StoredRun, dataset_of, read_stored, run_folder

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

# (name, whether it is a group) -> categories
_Over = dict[tuple[str, bool], Sequence[str]]
# headline score -> what the better run does, and what is compared
_VERDICTS = {
    "counting.f1": ("counts better", "counting"),
    "box.f1": ("finds better boxes", "boxes"),
    "mask.f1": ("finds better masks", "masks"),
}


@dataclass(frozen=True)
class Compared:
    """One score compared between two runs.

    Attributes:
        score: its path in the metrics of a result, for example `box.f1` or `errors.box.missed`.
        over: a group of categories, one category, or a slice of the images.
        is_group: whether `over` is a group.
        difference: second minus first. For error types, in objects, summed over images and categories.
        slice_by: the attribute of the images, if `over` is a slice.
    """

    score: str
    over: str
    is_group: bool
    difference: Difference
    slice_by: str | None = None


@dataclass(frozen=True)
class Comparison(Shown):
    """Two runs of one task, score by score. It iterates over its rows.

    Attributes:
        first: the first run, as it was given.
        second: the second run.
        rows: every score over every group of categories and every single category, and the headline scores over every
            slice of the images that one of the runs was scored with.
        thresholds: how the score threshold of each run was chosen, in words.
        oracles: whether the threshold of each run was chosen on these images.
        notes: sentences on what is not compared.
    """

    first: str
    second: str
    rows: tuple[Compared, ...]
    thresholds: tuple[str, str]
    oracles: tuple[bool, bool] = (False, False)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Compared]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, *, every_category: bool = False) -> Iterator[Block]:
        """A verdict in words; then tables of the differences in percent, over groups and over single categories.

        Args:
            every_category: also the categories with p >= 0.05 before correction.
        """
        from rich.text import Text

        yield self.verdict
        for name, run, threshold in zip("AB", (self.first, self.second), self.thresholds, strict=True):
            yield f"{name}: {run}, {threshold}"
        yield from self.notes
        groups = [row for row in self.rows if row.is_group]
        yield _table([row for row in groups if row.score in HEADLINES])
        yield Text("percent; precision, recall, F1 by object size and what errors cost are in --json", style="dim")
        categories = [row for row in self.rows if row.score in HEADLINES and not row.is_group and row.slice_by is None]
        shown = [row for row in categories if every_category or _may_differ(row.difference)]
        if shown:
            yield _table(shown)
        if len(shown) < len(categories):
            yield Text(
                f"{len(categories) - len(shown)} of {len(categories)} rows of single categories are left out: "
                "p >= 0.05 even before correction; --all shows them",
                style="dim",
            )
        slices = [row for row in self.rows if row.slice_by is not None and row.score.endswith(".f1")]
        if slices:
            yield _table(slices)
            yield Text(
                "over the images of each slice; AP_nc50 and mIoU in --json, AP of scores has no slices", style="dim"
            )
        extra = [row for row in groups if row.score.startswith("extra.")]
        if extra:
            yield _table(extra)
            yield Text("metric plug-ins: fractions, or in the unit of each; by category in --json", style="dim")
        yield _table([row for row in groups if row.score.startswith("errors.") and row.over == "all"])
        yield Text(
            "objects over all images, by category in --json; fewer are better, more are better of `correct`",
            style="dim",
        )
        yield Text(
            "p: paired sign-flip test over images; corrected: for all rows of the table, shown or not (Holm); in bold "
            "where the corrected p is below 0.05 and the interval does not hold 0",
            style="dim",
        )
        reasons = {row.difference.reason for row in groups if row.difference.reason is not None}
        yield from (Text(f"-: {reason}", style="dim") for reason in sorted(reasons))

    @property
    def verdict(self) -> str:
        """Which run counts better and finds better boxes and masks, in one sentence."""
        if self.oracles[0] != self.oracles[1]:
            one, other = ("A", "B") if self.oracles[0] else ("B", "A")
            return (
                f"No verdict: the score threshold of {one} was chosen on these images (an oracle), not that of "
                f"{other}; the differences below favour {one}. Score both in the same way, best with --sweep cross."
            )
        found = {row.score: row.difference for row in self.rows if row.is_group and row.over == "all"}
        of_headlines = {score: found[score] for score in _VERDICTS if score in found}
        if any(off.p is None for off in of_headlines.values()):
            return f"No verdict: {ONE_IMAGE}."
        parts = [_verdict(score, off) for score, off in of_headlines.items()]
        return "; ".join(parts) + "." if parts else "No verdict: no category has ground truth."

    def to_pandas(self) -> pd.DataFrame:
        """Every row: `score`, `over`, `is_group`, `first`, `second`, `difference`, `low`, `high` and two p-values.

        `p` is that of the row alone, `p_corrected` that of the row in its table (see `compare`). `slice_by` is the
        attribute of a slice.
        """
        import pandas as pd

        columns = ["score", "over", "is_group", "first", "second", "difference", "low", "high", "p", "p_corrected"]
        compared = [(row.slice_by, row.score, row.over, row.is_group, row.difference) for row in self.rows]
        rows = [
            (*which, off.first, off.second, off.value, *(off.ci95 or (None, None)), off.p, off.p_corrected, by)
            for by, *which, off in compared
        ]
        columns.append("slice_by")
        return pd.DataFrame(rows, columns=columns)


def _verdict(score: str, off: Difference) -> str:
    better, what = _VERDICTS[score]
    if not off.is_shown:
        return f"{what}: no difference shown"
    names = ("B", "A") if off.value > 0 else ("A", "B")
    points = f"{names[0]} {better} than {names[1]} by {PERCENT.text(abs(off.value))} points"
    if off.ci95 is not None:
        low, high = off.ci95 if off.value > 0 else (-off.ci95[1], -off.ci95[0])
        points += f" ({PERCENT.text(low)} to {PERCENT.text(high)})"
    _, p = off.p_texts()
    return f"{points}, p {p if off.p_is_bound else f'= {p}'}"


def _may_differ(off: Difference) -> bool:
    return off.p is not None and off.p < SHOWN_BELOW


def _table(rows: Sequence[Compared]) -> Table:
    headings = ("score", "over", "A", "B", "B - A", "95 % interval", "p", "corrected")
    table = new_table(*headings, left=("score", "over"), no_wrap=False)
    for row in rows:
        off, unit = row.difference, listed(row.score).unit
        table.add_row(
            row.score.removeprefix("errors.").removeprefix("extra.").removesuffix(".mean"),
            row.over if row.slice_by is None else f"{row.slice_by} {row.over}",
            unit.text(off.first),
            unit.text(off.second),
            unit.text(off.value, signed=True),
            "-" if off.ci95 is None else " to ".join(unit.text(bound, signed=True) for bound in off.ci95),
            *off.p_texts(),
            style="bold" if off.is_shown else "",
        )
    return table


@checked_arguments
def compare(
    first: Path | str,
    second: Path | str,
    *,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    metric: GivenMetrics = (),
) -> Comparison:
    """Compare the scores and the error types of two runs, with intervals and p-values of the differences.

    The p-values are those of a paired sign-flip test over images, with Holm's correction over the rows of each table.

    Compared are the scores that are functions of sums over images: F1 (by object size too), precision, recall, AP_nc50
    (protocol `standard`), mIoU and what errors cost. Where a run was scored with slices, the headline scores are
    compared over each.

    A score that is undefined for one of the runs is left out, and a note says so. The score thresholds of the runs are
    taken as they are: where only one of them was chosen on these images, there is no verdict.

    The comparison reads `tallies.npz` beside each result. Without this file, and for metric plug-ins, predictions are
    scored again, with the label map of the result and its score threshold; slices are then those by the attributes of
    the dataset, and a note names others.

    Args:
        first: a run folder, or the result file in it, with `tallies.npz` or `predictions.jsonl` beside it.
        second: another run folder of the same task.
        dataset: the dataset, or its name or path; None: the one that the run used. Read only if predictions are scored
            again.
        data: the folder of the user's data; None: the one that the run used.
        metric: metric plug-ins to compare as well, by name or as objects.

    Raises:
        EarthInstructError: an argument has a wrong type or value, or names no metric.
        DataError: a folder is incomplete, the runs differ in task, protocol or ground truth, or a metric is undefined
            for one of them.
    """
    folders = [run_folder(run) for run in (first, second)]
    results = [read_result(folder / "result.json") for folder in folders]
    refuse_different(*results)
    extra = extra_metrics(metric)
    found: list[StoredTallies] = []
    notes = list(_undefined(results))
    for folder, result in zip(folders, results, strict=True):
        stored = read_tallies(folder, result)
        if stored is None or extra:
            dataset = dataset_of(folder, result, dataset, data)
            run = read_stored(folder, result, dataset)
            kept = _sliced_again(run) if stored is None else stored.slices
            stored = replace(_scored_again(run, extra), slices=kept)
            notes += [
                f"no slices by {name}: {folder} has no tallies.npz, and the dataset does not give the slices of the "
                f"result; score it again with --slice-by {name}"
                for name in result.metrics.slices.keys() - kept
            ]
        found.append(stored)
    groups, every_category = found[0].groups, found[0].tallies["box"].categories
    closed_ap = protocol_named(results[0].protocol).constant_score_ap is None
    scores = [
        (path, score.tally, score.function)
        for path, score in CATALOGUE.items()
        if score.function and (closed_ap or not path.endswith(".ap_nc50"))
    ]
    scores += [(f"extra.{of.name}.mean", f"extra.{of.name}", partial(of.score, every_category)) for of in extra]
    compared = {tally for _, tally, _ in scores}
    if any(result.metrics.box.f1.reason == ONLY_COUNTS for result in results):
        compared.remove("box")  # it holds the ground truth alone
    of_a, of_b = ({name: tally for name, tally in of.tallies.items() if name in compared} for of in found)
    try:  # a tally that only one run has, such as masks, is left out; the notes say so
        pairs = paired(of_a, of_b)
    except ValueError as error:
        raise DataError(f"the results cannot be compared: {error}") from error
    over: _Over = {(name, True): members for name, members in groups.items()}
    over |= {(name, False): (name,) for name in every_category}
    rows = list(_rows(scores, pairs, over))
    headlines = [score for score in scores if score[0] in HEADLINES]
    for slice_by, slices in {**found[1].slices, **found[0].slices}.items():
        for name, images in slices.items():
            a, b = (
                {tally: of[tally].of_images(images) for _, tally, _ in headlines if tally in of} for of in (of_a, of_b)
            )
            there = _rows(headlines, paired(a, b), {("all", True): groups["all"]})
            rows += [
                Compared(row.score, name, False, row.difference, slice_by) for row in there if row.score in HEADLINES
            ]
    thresholds = (threshold_in_words(results[0].metrics), threshold_in_words(results[1].metrics))
    oracles = (sweep_of(results[0].metrics) is True, sweep_of(results[1].metrics) is True)
    return Comparison(str(first), str(second), _corrected(rows), thresholds, oracles, tuple(notes))


def _undefined(results: Sequence[Result]) -> Iterator[str]:
    """Sentences on the scores that only one of two runs has."""
    for geometry in GEOMETRIES:
        f1 = {name: getattr(result.metrics, geometry).f1 for name, result in zip("AB", results, strict=True)}
        lacking = [(name, value.reason) for name, value in f1.items() if value.value is None]
        if len(lacking) == 1:
            yield f"no {geometry} scores: they are undefined for {lacking[0][0]} ({lacking[0][1]})"


def _sliced_again(run: StoredRun) -> dict[str, SliceImages]:
    """The slices of a result, by the attributes of its dataset; only those that agree with the result."""
    images, known = run.images, image_attributes(run.dataset)
    found = {}
    for name, slices in run.result.metrics.slices.items():
        again = slices_by(name, known[name], images) if name in known else {}
        if [(one.name, one.n_images) for one in slices] == [(part, len(of)) for part, of in again.items()]:
            found[name] = again
    return found


def _scored_again(run: StoredRun, extra: Sequence[ExtraMetric]) -> StoredTallies:
    if run.result.protocol_version != run.protocol.version:
        raise DataError(
            f"{run.folder} was scored under version {run.result.protocol_version} of protocol {run.protocol.name}, and "
            f"this release has version {run.protocol.version}; score it again with `earthinstruct score`"
        )
    whole = run.scoring_set().tallied(run.threshold, extra)
    for name, tally in whole.extra.items():
        if isinstance(tally, str):
            raise DataError(f"metric {name!r} is undefined for {run.folder}: {tally}")
    return StoredTallies(whole.named_tallies, dict(run.task.groups))


def _rows(scores: Sequence[tuple[str, str, Score]], pairs: Mapping[str, Paired], over: _Over) -> Iterator[Compared]:
    """Compare the scores (path, name of the tally, function of the tally), then the error types."""
    for path, tally, function in scores:
        if tally in pairs:
            found = pairs[tally].of_mean(function, over, bounded=not path.startswith("extra."))
            yield from (Compared(path, *which, difference) for which, difference in found.items())
    for name, pair in pairs.items():
        columns = {f"{name}.{column}": column for column in pair.columns} if name.startswith("errors.") else {}
        if name == "counting":
            columns = {f"errors.counting.{error}": column for error, column in COUNTING_ERRORS.items()}
        for path, column in columns.items():
            for which, difference in pair.of_sum(column, over).items():
                yield Compared(path, *which, difference)


def _corrected(rows: Iterable[Compared]) -> tuple[Compared, ...]:
    """Correct the p-values for the number of rows in each table: headlines, other scores, plug-ins, errors."""
    found = list(rows)
    tables: defaultdict[tuple[str, bool | str], list[int]] = defaultdict(list)
    for i, row in enumerate(found):
        kind = row.score.partition(".")[0] if row.score.startswith(("extra.", "errors.")) else ""
        kind = kind or ("headlines" if row.score in HEADLINES else "others")
        table = row.slice_by or (row.over == "all" if kind == "errors" else row.is_group)
        tables[kind, table].append(i)
    for places in tables.values():
        for i, difference in zip(places, corrected([found[i].difference for i in places]), strict=True):
            found[i] = replace(found[i], difference=difference)
    return tuple(found)
