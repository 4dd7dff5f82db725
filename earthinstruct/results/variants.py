"""Variants of a task in a result: other wordings, other pixels, repeats, and names of things that are not there.

Each was run and scored in a folder of its own. Here are their scores beside those of the run itself, and their tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from earthinstruct.metrics import GEOMETRIES, HEADLINES, PERCENT, Metrics, Value, Variation, value_at
from earthinstruct.tasks import BLIND, DISTRACTORS, REPEATS, VARIANTS, WORDINGS
from earthinstruct.texts import plural

if TYPE_CHECKING:
    from earthinstruct.results.result import Result

F1 = tuple(f"{geometry}.f1" for geometry in GEOMETRIES)
POOLED_F1 = "counting.micro_f1"
VARIED = {F1[0]: HEADLINES[F1[0]], POOLED_F1: "Cnt micro", **{path: HEADLINES[path] for path in F1[1:]}}
AS_GIVEN = {WORDINGS: "as given", REPEATS: "1"}  # what the run itself is called among them
_IN_LEADERBOARDS = F1[:2]  # a leaderboard has no room for the columns of masks
# what a leaderboard shows of each of these F1 -> what it is called there
_FIGURES = ("worst wording", "wording spread", "blind", "repeat spread", "distractors")
LEADERBOARD_SCORES = tuple(f"{HEADLINES[path]} {figure}" for path in _IN_LEADERBOARDS for figure in _FIGURES)
SPREADS = tuple(name for name in LEADERBOARD_SCORES if name.endswith(" spread"))
LEADERBOARD_NOTE = (
    "Worst wording: the lowest F1 over the wordings of the instruction that were run and the text as given. Wording "
    "spread, repeat spread: the standard deviation of the F1 between wordings, and between repeats, with its 95 % "
    "interval. Blind: the highest F1 without the pixels of the image. Distractors: the lowest F1 with names of other "
    "things asked for as well. Rows may have been run with different numbers of these, which their details tell."
)
_MOST_NAMED = 3
_SPREAD = "spread: standard deviation between"
_LASTING = "lasting: what more images would not remove"


class VariantRun(msgspec.Struct, frozen=True, omit_defaults=True):
    """One variant.

    Attributes:
        instruction_sha256: the hash of its instruction text.
        predictions_sha256: the hash of its predictions.
        scores: path of a score that the run itself has -> its value, with its interval over images.
        differences: path of a score -> that value minus the one of the run itself, with the interval over images.
        agreement: share of the counts that are equal, of those above 0 here or in the run itself; None without any.
        n_failed: number of images without an answer.
        seconds: the time inside `predict`.
        input_tokens: tokens sent to a language model.
        output_tokens: tokens that it wrote.
        events: as of a run, such as requests without a seed that a server refuses.
        distractors_named: the share of images in which a distractor is counted or drawn; with distractors only.
    """

    instruction_sha256: str
    predictions_sha256: str | None
    scores: dict[str, Value]
    differences: dict[str, Value]
    agreement: float | None
    n_failed: int
    seconds: float
    input_tokens: int
    output_tokens: int
    events: dict[str, int] = {}
    distractors_named: Value | None = None


class Variants(msgspec.Struct, frozen=True, omit_defaults=True):
    """The variants of one kind.

    Attributes:
        runs: name, such as `german` -> the run.
        version: of the suite of wordings, or of the list of distractors.
        variation: path of a score -> how it varies over the run itself and these; wordings and repeats only.
        best_constant: blind only: the largest counting F1 of a method that gives every image the same counts.
        left_out: name of a variant whose result does not go with that of the run itself -> why.
    """

    runs: dict[str, VariantRun]
    version: str | None = None
    variation: dict[str, Variation] = {}
    best_constant: Value | None = None
    left_out: dict[str, str] = {}


@dataclass(frozen=True)
class VariantTable:
    """A table of variants as texts; the first column names the rows.

    Attributes:
        headings: of its columns.
        rows: its rows.
        notes: sentences below it.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]


def variant_tables(result: Result) -> Iterator[VariantTable]:
    """A table for each kind of variants of a result, in percent."""
    for kind in VARIANTS:
        if (variants := result.variants.get(kind)) is not None:
            table = _TABLES[kind](result, variants) if variants.runs else VariantTable((kind,), (), ())
            left_out = (f"left out: {kind} {name}: {reason}" for name, reason in variants.left_out.items())
            yield VariantTable(table.headings, table.rows, (*table.notes, *_costs(kind, variants), *left_out))


def _wordings(result: Result, variants: Variants) -> VariantTable:
    n = len(variants.runs)
    return _varied(
        result,
        variants,
        WORDINGS,
        (
            f"over the text as given and {plural(n, 'wording')} (suite {variants.version}); the first 95 %: interval "
            "over images",
            f"{_SPREAD} wordings, with its 95 % interval over wordings; {_LASTING}",
            *_moved_most(variants),
            *_agreement(variants, "the text as given"),
        ),
    )


def _repeats(result: Result, variants: Variants) -> VariantTable:
    notes = [
        f"over {len(variants.runs) + 1} runs; the first 95 %: interval over images",
        f"{_SPREAD} repeats, with its 95 % interval over repeats; {_LASTING}",
        *_agreement(variants, "the first run"),
    ]
    if result.method.deterministic:
        runs = variants.runs.values()
        same = all(of.agreement in (None, 1) and not any(map(float, of.differences.values())) for of in runs)
        found = "and a second run gave the same counts and scores" if same else "but a second run gave others"
        notes.append(f"deterministic: {result.method.name} says that it is, {found}")
    return _varied(result, variants, REPEATS, tuple(notes))


def leaderboard_scores(result: Result) -> dict[str, Value]:
    """What a leaderboard shows of the variants of a result: names of `LEADERBOARD_SCORES` -> the values that it has."""
    found: dict[str, Value] = {}
    for path in _IN_LEADERBOARDS:
        for kind, of in result.variants.items():
            values = {name: run.scores[path] for name, run in of.runs.items() if path in run.scores}
            name = HEADLINES[path]
            if (varied := of.variation.get(path)) is not None:
                found[f"{name} {kind.removesuffix('s')} spread"] = varied.spread
                if kind == WORDINGS:
                    worst = values.get(varied.worst) or value_at(result.metrics, path)
                    found[f"{name} worst wording"] = Value(varied.lowest, worst and worst.ci95)
            elif values and kind in (BLIND, DISTRACTORS):
                extreme = max if kind == BLIND else min
                found[f"{name} {kind}"] = extreme(values.values(), key=float)
    return found


def variants_in_words(result: Result) -> str | None:
    """How the score that leaderboards rank by, or else another F1, varies: one sentence; None without variants."""
    path = next((path for path in (F1[1], *F1) if value_at(result.metrics, path) is not None), None)
    own = None if path is None else value_at(result.metrics, path)
    if path is None or own is None or not result.variants:
        return None
    parts = [f"{VARIED[path]} {PERCENT.text(own.value)} in the run itself"]
    for kind, variants in result.variants.items():
        if not variants.runs:
            continue
        if (varied := variants.variation.get(path)) is not None:
            mean, spread, lowest = (
                PERCENT.text(value) for value in (varied.mean.value, varied.spread.value, varied.lowest)
            )
            lowest += "" if varied.spread.value == 0 else f" ({varied.worst})"
            parts.append(
                f"{kind}: {mean} on average over {len(variants.runs) + 1} runs, spread {spread}, lowest {lowest}"
            )
        elif kind not in AS_GIVEN:
            scores = (
                f"{name} {PERCENT.text(run.scores[path].value)}"
                for name, run in variants.runs.items()
                if path in run.scores
            )
            parts.append(f"{kind}: {', '.join(scores)}")
    return "; ".join(parts)


def _varied(result: Result, variants: Variants, kind: str, notes: tuple[str, ...]) -> VariantTable:
    rows = []
    for path, of in variants.variation.items():
        own = value_at(result.metrics, path)
        spread = "-" if of.spread.ci95 is None else " to ".join(map(PERCENT.text, of.spread.ci95))
        worst = "-" if of.spread.value == 0 else of.worst
        numbers = (PERCENT.text(own.value), PERCENT.text(of.mean.value), PERCENT.interval(of.mean.value, of.mean.ci95))
        deviations = (PERCENT.text(of.spread.value), spread, PERCENT.text(of.lasting.value))
        rows.append((VARIED[path], *numbers, *deviations, PERCENT.text(of.lowest), worst))
    headings = (kind, AS_GIVEN[kind].split()[-1], "mean", "95 %", "spread", "95 %", "lasting", "worst", "with")
    return VariantTable(headings, tuple(rows), notes)


def _moved_most(variants: Variants) -> Iterator[str]:
    """The categories whose counts depend most on the wording."""
    if (counting := variants.variation.get(F1[0])) is not None:
        moved = sorted(counting.per_category.items(), key=lambda item: -item[1])[:_MOST_NAMED]
        if named := ", ".join(f"{name} {PERCENT.text(spread)}" for name, spread in moved if spread > _ROUNDING):
            yield f"largest spread of Cnt in one category: {named}"


def _agreement(variants: Variants, with_what: str) -> Iterator[str]:
    known = {name: of.agreement for name, of in variants.runs.items() if of.agreement is not None}
    if known:
        least = min(known, key=lambda name: known[name])
        mean = PERCENT.text(sum(known.values()) / len(known))
        fewest = f"; fewest with {least}, {PERCENT.text(known[least])} %" if known[least] < 1 else ""
        yield f"counts equal to those of {with_what}: {mean} % of those above 0 in either{fewest}"


def _blind(result: Result, variants: Variants) -> VariantTable:
    rows = []
    for name, run in variants.runs.items():
        for path, value in run.scores.items():
            seen, off = value_at(result.metrics, path), run.differences.get(path, Value(None))
            interval = "-" if off.ci95 is None else " to ".join(PERCENT.text(0 - bound) for bound in reversed(off.ci95))
            gained = PERCENT.text(None if off.value is None else 0 - off.value, signed=True)
            constant = variants.best_constant if path == F1[0] else None
            bound = "" if constant is None else PERCENT.text(constant.value)
            seen_and_blind = (PERCENT.text(None if seen is None else seen.value), PERCENT.text(value.value))
            rows.append((f"{name} {VARIED[path]}", *seen_and_blind, gained, interval, bound))
    headings = (BLIND, "seen", "blinded", "seen - blind", "95 %", "best constant")
    note = "95 %: interval over images; best constant: the same counts for every image, the best ones for these"
    return VariantTable(headings, tuple(rows), (note,))


def _distractors(result: Result, variants: Variants) -> VariantTable:
    paths = [path for path in F1 if path in scores_of_variant(result.metrics)]
    rows = [("0", *(PERCENT.text(value_at(result.metrics, path).value) for path in paths), "", "", "")]
    for name, run in sorted(variants.runs.items(), key=lambda item: int(item[0])):
        off = run.differences.get(F1[0], Value(None))
        interval = "-" if off.ci95 is None else " to ".join(PERCENT.text(bound, signed=True) for bound in off.ci95)
        scores = (PERCENT.text(run.scores[path].value) if path in run.scores else "-" for path in paths)
        named = "-" if run.distractors_named is None else PERCENT.text(run.distractors_named.value)
        rows.append((name, *scores, PERCENT.text(off.value, signed=True), interval, named))
    headings = (DISTRACTORS, *(HEADLINES[path] for path in paths), "Cnt off", "95 %", "named")
    note = (
        f"list {variants.version}; 95 %: interval over images; named: share of images in which one is counted or drawn"
    )
    return VariantTable(headings, tuple(rows), (note,))


_TABLES = {WORDINGS: _wordings, BLIND: _blind, REPEATS: _repeats, DISTRACTORS: _distractors}


def _costs(kind: str, variants: Variants) -> Iterator[str]:
    """What the runs cost, how many images failed, and what happened during prediction."""
    runs = list(variants.runs.values())
    if runs:
        tokens = sum(of.input_tokens + of.output_tokens for of in runs)
        failed = sum(of.n_failed for of in runs)
        spent = f"{sum(of.seconds for of in runs):.0f} s" + (f" and {plural(tokens, 'token')}" if tokens else "")
        yield f"{kind}: {plural(len(runs), 'more run')} took {spent}" + (
            f"; {plural(failed, 'answer')} failed" if failed else ""
        )
        events = Counter[str]()
        for of in runs:
            events.update(of.events)
        if events:
            yield f"{kind}: {', '.join(f'{name}: {n}' for name, n in sorted(events.items()))}"


def scores_of_variant(metrics: Metrics) -> dict[str, Value]:
    """The scores of a variant that are kept, where defined."""
    values: Mapping[str, Value | None] = {path: value_at(metrics, path) for path in VARIED}
    return {path: value for path, value in values.items() if value is not None and value.value is not None}


def n_failed(variants: Mapping[str, Variants]) -> int:
    """Number of images without an answer, in all variants."""
    return sum(run.n_failed for of in variants.values() for run in of.runs.values())


def disagreements_of_variants(variants: Mapping[str, Variants], metrics: Metrics) -> Iterator[str]:
    """What the summary of the variants and the scores of the run say against each other."""
    for kind, of in variants.items():
        if kind not in VARIANTS:
            yield f"variants has {kind!r}; expected {', '.join(VARIANTS)}"
            continue
        for name, run in of.runs.items():
            place = f"variants.{kind}.runs.{name}"
            if kind == DISTRACTORS and not (name.isascii() and name.isdecimal()):
                yield f"{place} is no number of distractors"
            for path, value in run.scores.items():
                if path not in VARIED or value.value is None or not 0 <= value.value <= 1:
                    yield f"{place}.scores.{path} is {value}; expected a fraction, of one of {', '.join(VARIED)}"
            if run.agreement is not None and not 0 <= run.agreement <= 1:
                yield f"{place}.agreement is {run.agreement:g}; expected a number from 0 to 1"
            for path, off in run.differences.items():
                yield from _of_difference(f"{place}.differences.{path}", run.scores, path, off, metrics)
        for path, varied in of.variation.items():
            place, own = f"variants.{kind}.variation.{path}", value_at(metrics, path) if path in VARIED else None
            values = [run.scores[path].value for run in of.runs.values() if path in run.scores]
            known = [value for value in (own and own.value, *values) if value is not None]
            if own is None or len(known) != len(of.runs) + 1 or len(known) < 2:
                yield f"{place} is of no score that all these runs have"
            else:
                yield from _of_variation(place, known, varied)


def _of_difference(place: str, scores: Mapping[str, Value], path: str, off: Value, metrics: Metrics) -> Iterator[str]:
    own, value = value_at(metrics, path) if path in VARIED else None, scores.get(path)
    if value is None or own is None or None in (value.value, own.value, off.value):
        yield f"{place} is the difference of no score of this result"
    elif abs(float(value) - float(own) - float(off)) > _ROUNDING:
        yield f"{place} is {float(off):g}; the scores give {float(value) - float(own):g}"


def _of_variation(place: str, values: Sequence[float], varied: Variation) -> Iterator[str]:
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    numbers = {
        "mean.value": (varied.mean.value, mean),
        "spread.value": (varied.spread.value, deviation),
        "lowest": (varied.lowest, min(values)),
    }
    for name, (said, expected) in numbers.items():
        if said is None or abs(said - expected) > _ROUNDING:
            yield f"{place}.{name} is {said}; the scores give {expected:g}"
    lasting = varied.lasting.value
    if lasting is None or not 0 <= lasting <= deviation + _ROUNDING:
        yield f"{place}.lasting.value is {lasting}; expected a number from 0 to the spread"


_ROUNDING = 1e-9
