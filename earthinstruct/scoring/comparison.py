"""Compare runs of one task on the same images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.metrics import (
    ANY_CATEGORY,
    CATALOGUE,
    COUNTING_ERRORS,
    GEOMETRIES,
    HEADLINES,
    ONE_IMAGE,
    OVER_ALL,
    PERCENT,
    Difference,
    ExtraMetric,
    GivenMetrics,
    Paired,
    Score,
    Tally,
    Value,
    absent_share,
    absent_tally,
    corrected,
    extra_metrics,
    listed,
    paired,
    pooled_tally,
    protocol_named,
    sweep_of,
    threshold_in_words,
    title_of,
    value_at,
)
from earthinstruct.regions import ImageId
from earthinstruct.results import (
    AS_GIVEN,
    Block,
    Evaluation,
    Result,
    StoredTallies,
    new_table,
    refuse_different,
    results_in,
)
from earthinstruct.scoring.side_by_side import (
    PREDICTED,
    ComparedRuns,
    contestants,
    make_side_by_side,
    marked_p,
    of_pair,
    of_untested,
    out_of_reach,
    run_names,
    what_was_run,
)
from earthinstruct.scoring.standings import LETTERS, VERDICTS, Standings, by_points, legend, verdict_of
from earthinstruct.scoring.stored import read_run, run_folder, tallies_of
from earthinstruct.texts import plural

if TYPE_CHECKING:
    from rich.table import Table

# (name, whether it is a group) -> categories
_Over = dict[tuple[str, bool], Sequence[str]]


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


@dataclass(frozen=True, repr=False)
class Comparison(ComparedRuns):
    """Two runs of one task, score by score. It iterates over its rows.

    Attributes:
        first: the first run, as it was given.
        second: the second run.
        rows: every score over every group of categories and every single category, and the headline scores over every
            slice of the images that one of the runs was scored with.
        thresholds: how the score threshold of each run was chosen, in words.
        oracles: whether the threshold of each run was chosen on these images.
        controls: whether the method of each run sees the ground truth.
        notes: sentences on which run is of a variant, on what is not compared, and on how far both vary between
            wordings and repeats.
    """

    first: str
    second: str
    rows: tuple[Compared, ...]
    thresholds: tuple[str, str]
    oracles: tuple[bool, bool] = (False, False)
    controls: tuple[bool, bool] = (False, False)
    notes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Compared]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def blocks(self, *, every_row: bool = False) -> Iterator[Block]:
        """A verdict in words; then tables of the differences in percent that are shown, and of error types.

        Args:
            every_row: also the rows without a shown difference.
        """
        from rich.text import Text

        yield self.verdict
        yield from legend((self.first, self.second), self.thresholds, self.side_by_side.training)
        yield from self.notes
        headlines = [row for row in self.rows if row.score in HEADLINES and row.slice_by is None]
        errors = [row for row in self.rows if row.score.startswith("errors.") and row.is_group and row.over == "all"]
        slices = [row for row in self.rows if row.slice_by is not None and row.score.endswith(".f1")]
        extra = [row for row in self.rows if row.score.startswith("extra.") and row.is_group]
        absent = [row for row in self.rows if row.score.startswith("absent.")]
        shown_absent = [row for row in absent if every_row or row.over == "all" or row.difference.is_shown]
        shown = [row for row in headlines if every_row or row.over == "all" or row.difference.is_shown]
        pooled = [row for row in self.rows if _is_pooled(row)]
        tells = any(row.difference.is_shown for row in pooled) or any(
            row.difference.first or row.difference.second for row in pooled if row.score.endswith(".hallucinated")
        )
        shown_pooled = pooled if every_row or tells else []
        shown_errors = [row for row in errors if every_row or row.difference.is_shown]
        tables = (
            (shown, "percent"),
            (
                shown_pooled,
                "over all categories together; hallucinated: share in categories without ground truth",
            ),
            (slices, "over the images of each slice"),
            (extra, "metric plug-ins: fractions, or in the unit of each"),
            (shown_absent, "what is not there: share of the images without a category, in percent"),
            (shown_errors, "objects over all images; fewer are better, more are better of `correct`"),
        )
        for rows, note in tables:
            if rows:
                yield _table(rows)
                yield Text(note, style="dim")
        yield Text(
            "*: a difference is shown, with p below 0.05 and an interval without 0; p: paired sign-flip test over "
            "images, corrected (Holm) for all rows of the table, printed or not: for groups, for single categories and "
            "for each attribute of slices apart",
            style="dim",
        )
        every, those_shown = (
            [*headlines, *pooled, *absent, *errors],
            [*shown, *shown_pooled, *shown_absent, *shown_errors],
        )
        left_out = len(every) - len(those_shown)
        if left_out:
            yield Text(
                f"left out: {plural(left_out, 'row')} of groups, categories, micro F1 and error types without a "
                "difference; --all shows them, --json has every score",
                style="dim",
            )
        reasons = {row.difference.reason for rows, _ in tables for row in rows if row.difference.reason is not None}
        if reasons:
            first, *more = sorted(reasons)
            yield Text(f"-: {'; or '.join([first, *(of.removeprefix('no interval: ') for of in more)])}", style="dim")
        for score, values in self._untested.items():
            unit = listed(score).unit
            each = ", ".join(
                f"{letter} {'not known' if value.value is None else unit.sure(value.value, value.ci95)}"
                f"{'' if value.reason is None else f' ({value.reason})'}"
                for letter, value in zip(LETTERS, values, strict=False)
            )
            yield f"{title_of(score)}, {unit.name}, not tested: {each}"

    @property
    def verdict(self) -> str:
        """Which run counts better and finds better boxes and masks, in one sentence."""
        return self.verdict_named("AB")

    def verdict_named(self, names: Sequence[str]) -> str:
        """The verdict, with names for the first and the second run."""
        return _verdict_of_two(self.rows, self.oracles, self.controls, names)

    def records(self) -> list[dict[str, Any]]:
        """Every row: `score`, `over`, `is_group`, `slice_by`, then names, scores and difference of the two runs.

        `p` is that of the row alone, `p_corrected` that of the row in its table (see `compare`). `slice_by` is the
        attribute of a slice.
        """
        names = self.side_by_side.names
        tested = [
            {"score": row.score, "over": row.over, "is_group": row.is_group, "slice_by": row.slice_by}
            | of_pair(names, row.difference)
            for row in self.rows
        ]
        return tested + [
            {"score": score, "over": "all", "is_group": True, "slice_by": None} | of_untested(names, *values)
            for score, values in self._untested.items()
        ]

    @property
    def _untested(self) -> dict[str, tuple[Value, ...]]:
        """The scores beside the headlines whose difference is not tested."""
        tested = {row.score for row in self.rows}
        return {score: values for score, values in self.side_by_side.beside.items() if score not in tested}


def _verdict_of_two(
    rows: Iterable[Compared], oracles: tuple[bool, bool], controls: tuple[bool, bool], names: Sequence[str]
) -> str:
    if controls[0] != controls[1]:
        one, other = names if controls[0] else names[::-1]
        return f"No verdict: {one} sees the ground truth (a control), {other} does not."
    if oracles[0] != oracles[1]:
        one, other = names if oracles[0] else names[::-1]
        return (
            f"No verdict: the score threshold of {one} was chosen on these images (an oracle), not that of {other}; "
            f"the differences below favour {one}. Score both in the same way, best with --sweep cross."
        )
    found = {row.score: row.difference for row in rows if row.is_group and row.over == "all"}
    of_headlines = {score: found[score] for score in VERDICTS if score in found}
    if any(off.p is None for off in of_headlines.values()):
        return f"No verdict: {ONE_IMAGE}."
    parts = [_verdict(score, off, names) for score, off in of_headlines.items()]
    for geometry, what in PREDICTED.items():
        if (share := found.get(f"{geometry}.hallucinated")) is not None and share.is_shown:
            fewer, more = names if share.value > 0 else names[::-1]
            of_whom = f"more of the {what} of {more} than of {fewer}"
            parts.append(f"{of_whom} are in categories without ground truth, by {by_points(share)}")
    if not parts:
        return "No verdict: no category has ground truth."
    reached = [(VERDICTS[score][2], names[0], names[1], off) for score, off in of_headlines.items()]
    return f"{'; '.join(parts)}.{out_of_reach(reached)}"


def _verdict(score: str, off: Difference, names: Sequence[str]) -> str:
    better, _, what = VERDICTS[score]
    worse, best = names if off.value > 0 else names[::-1]
    if not off.is_shown:
        if off.p is not None and replace(off, p_corrected=off.p).is_shown:  # alone, without the other rows
            alone = f"p = {off.p:.2g} alone, {off.p_corrected:.2g} corrected"
            return f"{what}: no difference shown when corrected for the other scores ({alone})"
        if off.ci95 is not None and not off.ci95[0] <= 0 <= off.ci95[1]:
            return f"{what}: no difference shown, although {best} scores higher by {by_points(off)}"
        return f"{what}: no difference shown"
    return f"{best} {better} than {worse} by {by_points(off)}"


def _is_pooled(row: Compared) -> bool:
    """Whether it is a score over all categories together."""
    return row.score.rpartition(".")[2] in OVER_ALL


def _table(rows: Sequence[Compared]) -> Table:
    table = new_table("score", "over", "A", "B", "B - A", "95 % interval", "p", left=("score", "over"))
    for name in table.columns[:2]:
        name.no_wrap, name.overflow = False, "fold"  # a long name goes on in the next line
    for row in rows:
        off, unit = row.difference, listed(row.score).unit
        table.add_row(
            row.score.removeprefix("errors.").removeprefix("extra.").removesuffix(".mean"),
            row.over if row.slice_by is None else f"{row.slice_by} {row.over}",
            unit.text(off.first),
            unit.text(off.second),
            unit.text(off.value, signed=True),
            "-" if off.ci95 is None else " to ".join(unit.text(bound, signed=True) for bound in off.ci95),
            marked_p(off),
            style="bold" if off.is_shown else "",
        )
    return table


@checked_arguments
def compare(
    first: Path | str | Evaluation,
    second: Path | str | Evaluation | None = None,
    *others: Path | str | Evaluation,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    metric: GivenMetrics = (),
) -> Comparison | Standings:
    """Compare the scores and the error types of runs, with intervals and p-values of the differences.

    The p-values are those of a paired sign-flip test over images, with Holm's correction over the rows of each table.

    Compared are the scores that are functions of sums over images: F1 (by object size too), precision, recall, AP_nc50
    (protocol `standard`), mIoU, what errors cost, micro F1 and the share of predictions in categories without ground
    truth. Where a run was scored with slices, the headline scores are
    compared over each. Of more than two runs, the headline scores of every pair are compared.

    A score that is undefined for one of the runs is left out, and a note says so. The score thresholds of the runs are
    taken as they are: where only one of them was chosen on these images, or only one run is of a control, there is no
    verdict.

    The comparison reads `tallies.npz` beside each result. Without this file, and for metric plug-ins, predictions are
    scored again, with the label map of the result and its score threshold; slices are then those by the attributes of
    the dataset, and a note names others.

    Args:
        first: a run folder, or the result file in it, with `tallies.npz` or `predictions.jsonl` beside it; or an
            evaluation of one task; or a folder of runs of one task, which stands for all of them.
        second: another run of the same task; None: `first` is a folder of runs.
        others: more runs of the task.
        dataset: the dataset, or its name or path; None: the one that the run used. Read only if predictions are scored
            again.
        data: the folder of the user's data; None: the one that the run used.
        metric: metric plug-ins to compare as well, by name or as objects; of two runs.

    Returns:
        The comparison of two runs, or the standings of more.

    Raises:
        EarthInstructError: an argument has a wrong type or value, or names no metric.
        DataError: a folder is incomplete, the runs differ in task, protocol, images or ground truth, or a metric is
            undefined for one of them.
    """
    runs = [each for given in (first, second, *others) if given is not None for each in _runs(given)]
    if len(runs) == 2:
        return compare_two(runs[0], runs[1], dataset, data, metric)
    if len(runs) < 2:
        raise EarthInstructError(f"{runs[0]} is one run; give another run of the same task, or a folder of runs")
    if metric:
        raise EarthInstructError("metric plug-ins are compared between two runs; leave out --metric, or give two runs")
    folders = [run_folder(run).resolve() for run in runs]
    if twice := [folder for folder in folders if folders.count(folder) > 1]:
        raise EarthInstructError(f"{twice[0]} is given twice; give each run once")
    if len(runs) > len(LETTERS):
        raise EarthInstructError(f"at most {len(LETTERS)} runs can be compared, got {len(runs)}")
    read = [_Read.of(run, dataset, data) for run in runs]
    folders, results = [one.folder for one in read], [one.result for one in read]
    off = {}
    for (i, one), (j, other) in combinations(enumerate(read), 2):
        _refuse_different(one, other)
        for row in _headline_rows(one, other):
            if row.over == "all":
                off[row.score, i, j] = row.difference
    off = dict(zip(off, corrected(list(off.values())), strict=True))
    ranked = tuple(contestants(results))
    verdict = verdict_of(ranked, off, run_names(folders, results))
    return Standings(
        tuple(one.name for one in read),
        ranked,
        off,
        tuple(threshold_in_words(result.metrics) for result in results),
        side_by_side=make_side_by_side(verdict, folders, results, off),
    )


def _runs(given: Path | str | Evaluation) -> Sequence[Path | str | Evaluation]:
    """A run, or the runs in a folder of runs, without those of variants."""
    folder = None if isinstance(given, Evaluation) else run_folder(given)
    if folder is None or not folder.is_dir() or (folder / "result.json").is_file():
        return [given]
    return [file.parent for file, _ in results_in(folder)] if any(folder.rglob("result.json")) else [given]


def compare_two(
    first: Path | str | Evaluation,
    second: Path | str | Evaluation,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    metric: GivenMetrics = (),
) -> Comparison:
    """Compare two runs, as `compare` does."""
    extra = extra_metrics(metric)
    a, b = (_Read.of(run, dataset, data, extra) for run in (first, second))
    _refuse_different(a, b)
    every_category = a.tallies.tallies["box"].categories
    scores = _scores_of(a)
    scores += [(f"extra.{of.name}.mean", f"extra.{of.name}", partial(of.score, every_category)) for of in extra]
    pairs = _paired(a, b, {tally for _, tally, _ in scores})
    over: _Over = {(name, True): members for name, members in a.tallies.groups.items()}
    over |= {(name, False): (name,) for name in every_category}
    rows = [*_rows(scores, pairs, over), *_pooled_rows(a, b), *_absent_rows(a, b)]
    ambiguous = _defined_twice(a, b)
    for slice_by, slices in {**b.tallies.slices, **a.tallies.slices}.items():
        if slice_by in ambiguous:
            continue
        for name, images in slices.items():
            rows += [
                Compared(row.score, name, False, row.difference, slice_by)
                for row in _headline_rows(a, b, images)
                if row.over == "all"
            ]
    thresholds = (threshold_in_words(a.result.metrics), threshold_in_words(b.result.metrics))
    oracles = (sweep_of(a.result.metrics) is True, sweep_of(b.result.metrics) is True)
    controls = (a.result.method.control, b.result.method.control)
    found = _corrected(rows)
    off = {(row.score, 0, 1): row.difference for row in found if row.is_group and row.over == "all"}
    folders, results = (a.folder, b.folder), (a.result, b.result)
    verdict = _verdict_of_two(found, oracles, controls, run_names(folders, results))
    return Comparison(
        a.name,
        b.name,
        found,
        thresholds,
        oracles,
        controls,
        (*what_was_run(results, "AB"), *_not_compared(a, b), *_spreads(a.result, b.result)),
        side_by_side=make_side_by_side(verdict, folders, results, off),
    )


def _spreads(first: Result, second: Result) -> Iterator[str]:
    """How far the headline F1 of two runs vary between wordings, and between repeats, where both were run."""
    for kind in AS_GIVEN:
        varied = [of.variants[kind].variation for of in (first, second) if kind in of.variants]
        if len(varied) < 2:
            continue
        named = [
            f"{HEADLINES[path]} {PERCENT.text(varied[0][path].spread.value)} and "
            f"{PERCENT.text(varied[1][path].spread.value)}"
            for path in varied[0]
            if path in HEADLINES and path in varied[1]
        ]
        if named:
            yield f"spread between {kind}, in points, of A and B: {', '.join(named)}"


@dataclass(frozen=True)
class _Read:
    """A run to compare."""

    name: str
    folder: Path
    result: Result
    dataset: str | Path | Dataset | None
    data: Path | str | None
    extra: Sequence[ExtraMetric]

    @cached_property
    def tallies(self) -> StoredTallies:
        """Its tallies, read or made when they are first asked for: runs that cannot be compared are refused before."""
        return tallies_of(self.folder, self.result, self.dataset, self.data, self.extra)

    @staticmethod
    def of(
        run: Path | str | Evaluation,
        dataset: str | Path | Dataset | None,
        data: Path | str | None,
        extra: Sequence[ExtraMetric] = (),
    ) -> _Read:
        folder, result = read_run(run)
        name = str(folder if isinstance(run, Evaluation) else run)
        return _Read(name, folder, result, dataset, data, extra)


def _refuse_different(one: _Read, other: _Read) -> None:
    """Refuse to compare two runs, and explain runs over different images in words.

    Raises:
        DataError: they differ in task, protocol, their versions, images, or ground truth.
    """
    of_one, of_other = one.result.task, other.result.task
    if of_one.name == of_other.name and of_one.dataset.annotations_sha256 == of_other.dataset.annotations_sha256:
        few, many = sorted((one, other), key=lambda run: run.result.task.dataset.n_images)
        n_few, n_many = (run.result.task.dataset.n_images for run in (few, many))
        if n_few < n_many:
            raise DataError(
                f"{few.name} was run on the first {plural(n_few, 'image')} of {of_one.dataset.name} and {many.name} on "
                f"{n_many}: their scores differ because of the images too. Compare runs over the same images: run "
                f"{few.result.method.name} without --limit, or {many.result.method.name} with --limit {n_few}"
            )
    elif of_one.name == of_other.name:
        raise DataError(
            f"{one.name} and {other.name} were scored against two annotation files of {of_one.dataset.name}, with "
            f"other images or other objects ({of_one.dataset.n_images} and {of_other.dataset.n_images} images): their "
            "scores differ because of the ground truth too. Score both against one file: earthinstruct score RUN "
            "--dataset FILE"
        )
    refuse_different(one.result, other.result)


def _scores_of(run: _Read) -> list[tuple[str, str, Score]]:
    """The scores that can be compared: path, name of the tally, function of the tally."""
    closed_ap = protocol_named(run.result.protocol).constant_score_ap is None
    return [
        (path, score.tally, score.function)
        for path, score in CATALOGUE.items()
        if score.function and (closed_ap or not path.endswith(".ap_nc50"))
    ]


def _headline_rows(a: _Read, b: _Read, images: Collection[ImageId] | None = None) -> list[Compared]:
    """The headline scores over all categories, and over some images (None: all)."""
    scores = [score for score in _scores_of(a) if score[0] in HEADLINES]
    pairs = _paired(a, b, {tally for _, tally, _ in scores}, images)
    return [row for row in _rows(scores, pairs, {("all", True): a.tallies.groups["all"]}) if row.score in HEADLINES]


def _pooled_rows(a: _Read, b: _Read) -> Iterator[Compared]:
    """The scores over all categories together, where both runs have them."""
    groups = a.tallies.groups["all"]
    for geometry, pair in _paired(a, b, GEOMETRIES, pooled_over=groups).items():
        for score, function in OVER_ALL.items():
            path = f"{geometry}.{score}"
            if not _undefined(path, a, b):
                for difference in pair.of_mean(function, {"all": ("all",)}).values():
                    yield Compared(path, "all", True, difference)


def _undefined(path: str, *runs: _Read) -> list[tuple[str, str]]:
    """The runs, as letters, for which a score is undefined, each with its reason."""
    values = [(name, value_at(run.result.metrics, path)) for name, run in zip("AB", runs, strict=True)]
    return [(name, value.reason) for name, value in values if value is not None and value.value is None]


def _paired(
    a: _Read,
    b: _Read,
    names: Collection[str],
    images: Collection[ImageId] | None = None,
    *,
    pooled_over: tuple[str, ...] = (),
) -> dict[str, Paired]:
    """Pair the tallies of these names; one that only one run has, such as masks, is left out; the notes say so.

    Over some images (None: all), and over single categories, or with the categories `pooled_over` as one.
    """
    compared = {*names}
    if not all(run.result.metrics.box.tally for run in (a, b)):
        compared.discard("box")  # it holds the ground truth alone
    of_a, of_b = (
        {name: _part(tally, images, pooled_over) for name, tally in run.tallies.tallies.items() if name in compared}
        for run in (a, b)
    )
    try:
        return paired(of_a, of_b)
    except ValueError as error:
        raise DataError(f"the results cannot be compared: {error}") from error


def _part(tally: Tally, images: Collection[ImageId] | None, pooled_over: tuple[str, ...]) -> Tally:
    part = tally if images is None else tally.of_images(images)
    return pooled_tally(part, pooled_over) if pooled_over else part


def _absent_rows(a: _Read, b: _Read) -> Iterator[Compared]:
    """Compare what both runs name though it is not there: over all categories, and by category."""
    for how in ("counted", "drawn"):
        members, tallies = list(a.tallies.groups["all"]), []
        for run in (a, b):
            shares = None if run.result.metrics.absent is None else getattr(run.result.metrics.absent, how)
            name = "counting" if how == "counted" else run.result.metrics.geometry
            if shares is not None and name in run.tallies.tallies:
                tallies.append({how: absent_tally(run.tallies.tallies[name], members)})
        if len(tallies) < 2:
            continue
        over: _Over = {("all", True): (ANY_CATEGORY,), **{(name, False): (name,) for name in members}}
        try:
            pair = paired(*tallies)[how]
        except ValueError as error:
            raise DataError(f"the results cannot be compared: {error}") from error
        for which, difference in pair.of_mean(absent_share, over).items():
            yield Compared(f"absent.{how}.share", *which, difference)


def _defined_twice(a: _Read, b: _Read) -> set[str]:
    """The attributes by which both runs have slices, of different images."""

    def images(run: _Read, attribute: str) -> dict[str, set[ImageId]]:
        return {name: set(of) for name, of in run.tallies.slices[attribute].items()}

    both = a.tallies.slices.keys() & b.tallies.slices.keys()
    return {attribute for attribute in both if images(a, attribute) != images(b, attribute)}


def _not_compared(a: _Read, b: _Read) -> Iterator[str]:
    """Sentences on the scores that only one of two runs has, and on slices that are lost."""
    runs = (a, b)
    results = [run.result for run in runs]
    for geometry in GEOMETRIES:
        f1 = {name: value_at(result.metrics, f"{geometry}.f1") for name, result in zip("AB", results, strict=True)}
        lacking = [
            (name, "the method gives no points" if value is None else value.reason)
            for name, value in f1.items()
            if value is None or value.value is None
        ]
        if len(lacking) == 1:
            yield f"no {geometry} scores: they are undefined for {lacking[0][0]} ({lacking[0][1]})"
        elif not lacking and len(undefined := _undefined(f"{geometry}.hallucinated", a, b)) == 1:
            yield f"no {geometry}.hallucinated: it is undefined for {undefined[0][0]} ({undefined[0][1]})"
    for name in sorted(_defined_twice(a, b)):
        yield f"no slices by {name}: A and B were sliced into other images; score both again with the same attributes"
    for run in runs:
        for name in run.result.metrics.slices.keys() - run.tallies.slices:
            yield (
                f"no slices by {name}: {run.folder} has no tallies.npz, and the dataset does not give the slices of "
                f"the result; score it again with --slice-by {name}"
            )
    if a.folder.resolve() == b.folder.resolve():
        yield f"A and B are one run, {a.folder}: nothing can differ"


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
    """Correct the p-values for the number of rows in each table.

    Tables: headlines, pooled, other scores, plug-ins, error types, and what is not there.
    """
    found = list(rows)
    tables: defaultdict[tuple[str, bool | str], list[int]] = defaultdict(list)
    for i, row in enumerate(found):
        kind = row.score.partition(".")[0] if row.score.startswith(("extra.", "errors.", "absent.")) else ""
        kind = kind or ("headlines" if row.score in HEADLINES else "pooled" if _is_pooled(row) else "others")
        table = row.slice_by or (row.is_group and row.over == "all" if kind == "errors" else row.is_group)
        tables[kind, table].append(i)
    for places in tables.values():
        for i, difference in zip(places, corrected([found[i].difference for i in places]), strict=True):
            found[i] = replace(found[i], difference=difference)
    return tuple(found)
