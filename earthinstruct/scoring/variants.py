"""Sums up the runs of variants beside a run: their scores, how far they differ, and by how much they vary."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.metrics import (
    CATALOGUE,
    Tally,
    Value,
    Variation,
    agreement,
    best_constant,
    pooled_tally,
    sweep_of,
    variation,
)
from earthinstruct.predictions import differences, identity_of_method, variants_beside
from earthinstruct.results import (
    AS_GIVEN,
    POOLED_F1,
    VARIED,
    Result,
    StoredTallies,
    VariantRun,
    Variants,
    read_result,
    read_tallies,
    refuse_different,
    scores_of_variant,
)
from earthinstruct.tasks import BLIND, SUITE_VERSIONS, VARIANTS, Task, changes_words, with_variant_of

_Scored = tuple[Result, StoredTallies]


def summarised_variants(task: Task, folder: Path, result: Result) -> Result:
    """The result of a run with a summary of all its variants that were run and scored; see `variants_beside`.

    A variant whose result does not go with it, because its method, words, protocol or images are others, is left out,
    and the summary says so.

    Args:
        task: the task of the run.
        folder: the run folder, with its tallies.
        result: the result in it.

    Raises:
        DataError: the tallies of the run are malformed.
    """
    found: dict[str, dict[str, _Scored]] = defaultdict(dict)
    left_out: dict[str, dict[str, str]] = defaultdict(dict)
    for variant, place in variants_beside(folder).items():
        kind, _, name = variant.partition("-")
        try:
            other = read_result(place / "result.json")
            tallies = _going_with(task, result, other, variant, place)
        except EarthInstructError as error:
            left_out[kind][name] = str(error).replace(f"{place}{os.sep}", "")  # no path of this machine is kept
            continue
        found[kind][name] = other, tallies
    own = read_tallies(folder, result)
    if own is None or not (found or left_out):
        return result
    return msgspec.structs.replace(
        result,
        variants={
            kind: _summary(kind, (result, own), found[kind], left_out[kind])
            for kind in VARIANTS
            if found[kind] or left_out[kind]
        },
    )


def _going_with(task: Task, result: Result, other: Result, variant: str, folder: Path) -> StoredTallies:
    """The tallies of a variant.

    Raises:
        EarthInstructError: its result does not go with that of the run, or it has no tallies.
    """
    refuse_different(other, result)
    if other.task.variant != variant:
        raise DataError(f"its folder holds a result of variant {other.task.variant!r}; delete the folder")
    asked = with_variant_of(task, variant, other.task.instruction_sha256)
    # a run that was asked in a text of the user's own has no wordings
    own = replace(task.whole, text=None) if changes_words(asked) else other.task
    if result.task.instruction_sha256 != own.instruction_sha256:
        raise DataError("the run itself was asked in a text that it does not go with; run one of them again")
    if found := differences(identity_of_method(result.method), identity_of_method(other.method)):
        raise DataError(f"it is another run than this ({'; '.join(found)}); run it again with --overwrite")
    if found := differences(_rules(result), _rules(other)):
        raise DataError(f"it was scored by other rules ({'; '.join(found)}); score it again by those of the run")
    tallies = read_tallies(folder, other)
    if tallies is None:
        raise DataError("it has no tallies; score it again")
    return tallies


def _rules(result: Result) -> dict[str, object]:
    return {
        "threshold": result.metrics.threshold,
        "sweep": sweep_of(result.metrics),
        "label map": result.label_mapper,
    }


def _summary(kind: str, own: _Scored, found: Mapping[str, _Scored], left_out: dict[str, str]) -> Variants:
    tallies = own[1]
    every = {AS_GIVEN.get(kind, ""): own, **found}
    varied: dict[str, Variation] = {}
    off: dict[str, dict[str, Value]] = defaultdict(dict)
    for path in VARIED if found else ():
        name, categories = path.partition(".")[0], tallies.groups["all"]
        of_path = {run: scored.tallies[name] for run, (_, scored) in every.items() if name in scored.tallies}
        if not all(path in scores_of_variant(one.metrics) for one, _ in every.values()):
            continue
        if path == POOLED_F1:
            of_path = {run: pooled_tally(tally, categories) for run, tally in of_path.items()}
            categories = ("all",)
        if (computed := variation(of_path, CATALOGUE[f"{name}.f1"].of, categories)) is None:
            continue
        if kind in AS_GIVEN:
            varied[path] = computed[0]
        for run, difference in computed[1].items():
            off[run][path] = difference
    counts: Tally = tallies.tallies["counting"]
    own_scores = scores_of_variant(own[0].metrics)
    return Variants(
        runs={
            name: VariantRun(
                instruction_sha256=one.task.instruction_sha256,
                predictions_sha256=one.predictions.sha256,
                # an empty answer has a mask score of 0 also of a method without masks, which has none in the run itself
                scores={path: of for path, of in scores_of_variant(one.metrics).items() if path in own_scores},
                differences=off[name],
                agreement=agreement(counts, scored.tallies["counting"]),
                n_failed=one.run.n_failed,
                seconds=one.run.seconds.get("total", 0.0),
                input_tokens=one.run.input_tokens,
                output_tokens=one.run.output_tokens,
                events=one.run.events,
                distractors_named=None if one.metrics.absent is None else one.metrics.absent.distractors,
            )
            for name, (one, scored) in found.items()
        },
        version=SUITE_VERSIONS.get(kind),
        variation=varied,
        best_constant=best_constant(counts, tallies.groups["all"]) if kind == BLIND else None,
        left_out=left_out,
    )
