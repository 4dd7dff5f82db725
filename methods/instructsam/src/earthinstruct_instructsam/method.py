"""The method: count, propose, compare, assign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any

import numpy as np
from earthinstruct_models.choices import missing_packages
from earthinstruct_models.devices import too_small
from earthinstruct_models.interfaces import Encoder, LabelProposer, Proposer, ask_each, timed
from earthinstruct_models.parameters import check_choice, check_number
from earthinstruct_models.parts import Parts, choices_of, lacking
from earthinstruct_models.proposers.duplicates import merged, without_duplicates
from earthinstruct_models.store import answer_or_raise
from numpy.typing import NDArray

from earthinstruct.contract import Estimate, Instruction, Prediction, Proposals, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.tasks import Task
from earthinstruct_instructsam.assignment import assign_above, assign_nearest, assign_under_counts, only_scored
from earthinstruct_instructsam.choices import CHOICES, KEEPERS, PARTS, needs_labels
from earthinstruct_instructsam.parts import Answer, Counter
from earthinstruct_instructsam.presets import LABELS_NOTE, PRESETS, SMALL_NOTE

ASSIGNMENTS = ("counts", "nearest", "threshold")
SCORES = ("assigned", "largest")
_OWN = ("preset", *PARTS, "assignment", "score", "threshold", "deduplicate", "cache", "name")
_NOT_ASKED = "labels not asked for"
_SAME_OBJECT = 0.5  # IoU above which regions that were proposed for labels show the same object, unless one is given
_IN_TURN = "the counter and the proposer work one after the other, not at the same time"


class InstructSAM:
    """InstructSAM: a counter, a proposer, a CLIP and an exact assignment under the counts (arXiv 2505.15818).

    Args:
        preset: a named choice of all parts and their parameters; other arguments replace those of the preset.
        counter: the name of a choice, see `earthinstruct_instructsam.choices`, or a counter object.
        proposer: the same for the proposer. One that scores the labels (`sam3`) works after the counter.
        encoder: the same for the encoder; a proposer that scores the labels takes its place.
        assignment: `counts` (the method of the paper). For comparison: `nearest`: every proposal gets its most similar
            label, without counts; `threshold`: only if the similarity reaches `threshold`. Except with `counts`, the
            counter is not called under open_vocabulary.
        score: `assigned`: the similarity of the assigned label; `largest`: that of the most similar label.
        threshold: of assignment `threshold`.
        deduplicate: of two proposals with a larger IoU than this, the lower ranked one is dropped; None: all are kept.
            With a proposer that scores the labels, the one that stays has the scores of both, and None means 0.5.
        cache: a folder that keeps the answers of the parts for the next run; None: memory only.
        name: the name of this variant in run folders, results and tables; None: `instructsam`, or for example
            `instructsam-nearest` or `instructsam-sam3`.
        **parameters: of the parts: `key`, or `part.key` if two parts take it.

    Raises:
        UnknownNameError: a preset, a choice or a parameter is unknown.
        EarthInstructError: a part lacks a parameter or a file.
    """

    name = "instructsam"

    def __init__(
        self,
        preset: str = "small",
        counter: str | Counter | None = None,
        proposer: str | Proposer | LabelProposer | None = None,
        encoder: str | Encoder | None = None,
        assignment: str = "counts",
        score: str = "assigned",
        threshold: float | None = None,
        deduplicate: float | None = None,
        cache: str | Path | None = None,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        check_choice("assignment", assignment, ASSIGNMENTS)
        check_choice("score", score, SCORES)
        if (assignment == "threshold") != (threshold is not None):
            raise EarthInstructError("assignment 'threshold' and its threshold go together: give -M threshold=NUMBER")
        if deduplicate is not None:
            deduplicate = check_number("deduplicate", deduplicate, 0, 1)
        self.preset = preset
        self.assignment = assignment
        self.score = score
        self.threshold = None if threshold is None else check_number("threshold", threshold)
        chosen, of_preset = _of_preset(preset, {"counter": counter, "proposer": proposer, "encoder": encoder})
        parameters = {**of_preset, **parameters, "cache": cache}
        self._parts = Parts("instructsam", chosen, parameters, CHOICES, KEEPERS, _OWN)
        self.counter: Counter = self._parts["counter"]
        self.proposer: Any = self._parts["proposer"]
        self.encoder: Encoder | None = self._parts["encoder"] if "encoder" in chosen else None
        self.deduplicate = _SAME_OBJECT if self.encoder is None and deduplicate is None else deduplicate
        self.name = name or self._variant()
        self._too_small = None if self.encoder is None else too_small((self.counter, self.proposer))

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Count, propose, compare and assign in one RGB image, uint8 (height, width, 3)."""
        (prediction,) = self.predict_batch([image], instruction)
        return prediction

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images: a counter and a proposer with a batch call get them together.

        The seconds of a batch are divided evenly among its images, unless the part reports them.
        """
        return [self._prediction(found) for found in self._find(images, instruction)]

    def _find(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[_Found]:
        with ThreadPoolExecutor(1, "counter") as beside:  # it runs beside the proposer, as in the paper
            counting = beside.submit(self._count, images, instruction)
            if self._too_small is not None:
                wait([counting])
            proposed = self._propose(images)
            counted = counting.result()
        found = []
        for image, (answer, count_s), (proposals, propose_s) in zip(images, counted, proposed, strict=True):
            counts = _asked_for(answer.counts, instruction)
            labels = self._labels(counts, instruction)
            (proposals, similarities), compare_s = timed(self._compare, image, proposals, labels)
            assigned, assign_s = timed(self._assign, similarities, [counts.get(label, 0) for label in labels])
            seconds = {"proposer": propose_s, "assignment": assign_s}
            seconds["proposer" if self.encoder is None else "encoder"] = compare_s
            if self._asks(instruction):
                seconds["counter"] = count_s if answer.seconds is None else answer.seconds
            first = max(count_s, propose_s) if self._too_small is None else count_s + propose_s
            seconds["total"] = first + compare_s + assign_s
            found.append(_Found(answer, counts, proposals, labels, similarities, assigned, seconds))
        return found

    def _variant(self) -> str:
        """The name of the method; that of the paper has no ending."""
        proposer = [] if self.encoder is not None else [self._parts.describe()["parameters"]["proposer"]]
        return "-".join([type(self).name, *proposer, *([] if self.assignment == "counts" else [self.assignment])])

    def _count(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction) -> list[tuple[Answer, float]]:
        if not self._asks(instruction):
            return [(Answer({}), 0.0)] * len(images)
        return [(answer_or_raise(answer), s) for answer, s in ask_each(self.counter, "count", images, instruction)]

    def _propose(self, images: Sequence[NDArray[np.uint8]]) -> list[tuple[Proposals, float]]:
        if self.encoder is None:  # the proposer waits for the labels
            return [(Proposals(np.zeros((0, 4))), 0.0)] * len(images)
        proposed = ask_each(self.proposer, "propose", images)
        if self.deduplicate is None:
            return proposed
        return [(without_duplicates(proposals, self.deduplicate), seconds) for proposals, seconds in proposed]

    def _compare(
        self, image: NDArray[np.uint8], proposals: Proposals, labels: Sequence[str]
    ) -> tuple[Proposals, NDArray[np.float64]]:
        """The proposals, and the similarity of each with every label: (proposals, labels).

        A similarity is the cosine of the proposal's crop and the label, or the score that the proposer gives the label.

        Raises:
            EarthInstructError: a similarity is not a finite number.
        """
        if self.encoder is None:
            return merged(self.proposer.propose_for(image, labels) if labels else [], self.deduplicate or 0.0)
        if not len(proposals) or not labels:
            return proposals, np.zeros((len(proposals), len(labels)))
        crops = self.encoder.embed_crops(image, proposals.boxes)
        similarities = (crops @ self.encoder.embed_labels(labels).T).astype(np.float64)
        if not np.isfinite(similarities).all():
            n = int((~np.isfinite(similarities)).any(axis=1).sum())
            raise EarthInstructError(
                f"encoder: {n} of {len(proposals)} proposals have similarities that are not finite numbers; check the "
                "encoder's weights and dtype"
            )
        return proposals, similarities

    def _assign(self, similarities: NDArray[np.float64], counts: Sequence[int]) -> NDArray[np.int64]:
        if self.assignment == "counts":
            assigned = assign_under_counts(similarities, counts)
        elif self.threshold is None:
            assigned = assign_nearest(similarities)
        else:
            assigned = assign_above(similarities, self.threshold)
        return assigned if self.encoder is not None else only_scored(assigned, similarities)

    def _asks(self, instruction: Instruction) -> bool:
        """Whether the counter is needed: it also names the labels of open_ended and open_subclass instructions."""
        return self.assignment == "counts" or instruction.setting != "open_vocabulary"

    def _labels(self, counts: Mapping[str, int], instruction: Instruction) -> list[str]:
        """The labels that proposals can get, sorted, so that the result does not depend on the order of an answer."""
        if not self._asks(instruction):
            return sorted(instruction.categories)
        return sorted(label for label, count in counts.items() if count > 0)

    def _prediction(self, found: _Found) -> Prediction:
        chosen = np.flatnonzero(found.assigned >= 0)
        similar = found.similarities[chosen]
        proposals = found.proposals
        return Prediction(
            labels=tuple(found.labels[i] for i in found.assigned[chosen]),
            boxes=proposals.boxes[chosen],
            masks=None if proposals.masks is None else tuple(proposals.masks[i] for i in chosen),
            scores=similar.max(axis=1, initial=-1.0)
            if self.score == "largest"
            else similar[np.arange(len(chosen)), found.assigned[chosen]],
            counts=found.counts if self.assignment == "counts" else None,
            proposals=proposals,
            usage=Usage(
                found.seconds,
                found.answer.input_tokens,
                found.answer.output_tokens,
                {_NOT_ASKED: len(found.answer.counts) - len(found.counts), **found.answer.events},
            ),
        )

    def explain(self, image: NDArray[np.uint8], instruction: Instruction, /) -> NDArray[np.uint8]:
        """A picture of the proposals, each with its similarity to every label and its assigned label.

        After `predict` nothing is computed again: the answers for the most recent images are kept.
        """
        from earthinstruct_instructsam.pictures import draw_similarities

        (found,) = self._find([image], instruction)
        return draw_similarities(image, found.proposals, found.labels, found.similarities, found.assigned)

    def estimate(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Estimate:
        """What the counter will cost, the only part that may ask a server; nothing if it does not say."""
        ask = getattr(self.counter, "estimate", None)
        return ask(image, instruction) if ask is not None and self._asks(instruction) else Estimate()

    def unknown_words(self, instruction: Instruction, /) -> Sequence[str]:
        """The words that the counter says it does not know; none if it is not asked."""
        ask = getattr(self.counter, "unknown_words", None)
        return ask(instruction) if ask is not None and self._asks(instruction) else ()

    def skip(self, task: Task) -> str | None:
        """The counter's reason to decline a task, or None."""
        return self.counter.skip(task)

    def repeat(self, number: int, /) -> None:
        """Share no answer of a part with another repeat."""
        self._parts.repeat(number)

    def close(self) -> None:
        """Close the parts."""
        self._parts.close()

    def describe(self) -> dict[str, Any]:
        """Parameters, weights and devices of every part; `part.key` is a parameter of a part."""
        from importlib.metadata import version

        own = ("preset", "assignment", "score", "threshold", "deduplicate")
        of_parts = self._parts.describe()
        parameters = {**{name: getattr(self, name) for name in own}, **of_parts["parameters"]}
        small = "small" in (parameters["counter"], parameters.get("encoder"))
        own_variant = [LABELS_NOTE.format(proposer=parameters["proposer"])] * (self.encoder is None)
        in_turn = [] if self._too_small is None else [f"{_IN_TURN}: {self._too_small}"]
        return {
            "version": version("earthinstruct-instructsam"),
            "parameters": parameters,
            "weights": of_parts["weights"],
            "training_data": of_parts["training_data"],
            "device": of_parts["device"] or "cpu",
            "packages": {name: version(name) for name in ("earthinstruct-instructsam", "torch", "open_clip_torch")},
            "notes": [SMALL_NOTE] * small + own_variant + self._parts.notes + in_turn,
            "made_for": ["scenes"] if small else None,
            "deterministic": of_parts["deterministic"],
        }

    @classmethod
    def missing(cls, preset: str = "small", **parameters: Any) -> list[str]:
        """What the chosen parts lack on this machine, and how to get it; parameters as for the class.

        Raises:
            UnknownNameError: a preset, a choice or a parameter is unknown.
        """
        absent = missing_packages({"torch": "torch", "open_clip": "open_clip_torch"})
        if absent:  # the parameters of a part are unknown if it cannot be imported
            return absent
        chosen, of_preset = _of_preset(preset, {part: parameters.get(part) for part in PARTS})
        return lacking(cls, tuple(chosen), {**of_preset, **parameters, **chosen}, CHOICES)

    @classmethod
    def choices(cls) -> dict[str, dict[str, list[Parameter]]]:
        """What may be chosen for each part, and the parameters of it."""
        return choices_of(PARTS, CHOICES)

    @classmethod
    def presets(cls) -> Mapping[str, Mapping[str, Any]]:
        """The presets by name, and their parameters."""
        return PRESETS


@dataclass(frozen=True, eq=False)
class _Found:
    """The results of the stages for one image."""

    answer: Answer
    counts: dict[str, int]
    proposals: Proposals
    labels: list[str]
    similarities: NDArray[np.float64]
    assigned: NDArray[np.int64]
    seconds: dict[str, float]


def _of_preset(preset: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The choice of every part, and the preset's parameters of the parts that it chose."""
    check_choice("preset", preset, PRESETS)
    of_preset = PRESETS[preset]
    chosen = {part: of_preset.get(part) if given[part] is None else given[part] for part in PARTS}
    if needs_labels(chosen["proposer"]):
        if given["encoder"] is not None:
            raise EarthInstructError("the proposer scores the labels itself, without an encoder: leave out encoder")
        del chosen["encoder"]
    elif chosen["encoder"] is None:
        raise EarthInstructError(f"preset {preset!r} has no encoder for this proposer: give -M encoder=NAME")
    kept = [part for part, choice in chosen.items() if isinstance(choice, str) and choice == of_preset.get(part)]
    return chosen, {key: value for key, value in of_preset.items() if key.partition(".")[0] in kept and "." in key}


def _asked_for(counts: Mapping[str, int], instruction: Instruction) -> dict[str, int]:
    """The counts; under open_vocabulary only those of its categories, because a language model may add others."""
    if instruction.setting != "open_vocabulary":
        return dict(counts)
    return {label: count for label, count in counts.items() if label in instruction.categories}
