"""The method: count, propose, compare, assign."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from earthinstruct_models.cache import CachedEncoder, CachedProposer, StageCache
from earthinstruct_models.choices import (
    Choice,
    choice_of,
    close_parts,
    described,
    distributed,
    missing_packages,
    missing_parts,
    missing_place,
    still_needed,
)
from earthinstruct_models.parts import Encoder, Proposer, propose_together
from earthinstruct_models.recorded import fingerprint
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Proposals, Usage
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks import Task
from earthinstruct_instructsam.assignment import assign_above, assign_nearest, assign_under_counts
from earthinstruct_instructsam.choices import CHOICES, PARTS
from earthinstruct_instructsam.counters.cached import CachedCounter
from earthinstruct_instructsam.duplicates import without_duplicates
from earthinstruct_instructsam.parts import Answer, Counter, count_together
from earthinstruct_instructsam.presets import PRESETS, SMALL_NOTE

_T = TypeVar("_T")
_IMAGES_REMEMBERED = 256

ASSIGNMENTS = ("counts", "nearest", "threshold")
SCORES = ("assigned", "largest")
_OWN = ("preset", *PARTS, "assignment", "score", "threshold", "deduplicate", "cache", "name")
_NOT_ASKED = "labels not asked for"
_CACHE_NOTE = "a stage read from the cache shows the seconds of reading it"


class InstructSAM:
    """InstructSAM: a counter, a proposer, a CLIP and an exact assignment under the counts (arXiv 2505.15818).

    Args:
        preset: a named choice of all parts and their parameters; what is given beside it replaces the preset's.
        counter: the name of a choice, see `earthinstruct_instructsam.choices`, or a counter object.
        proposer: likewise.
        encoder: likewise.
        assignment: `counts` (the method); or, to compare it with, `nearest`: every proposal gets its most similar
            label, whatever the counts; or `threshold`: only where that similarity reaches `threshold`. Without
            `counts` an open_vocabulary instruction does not ask the counter.
        score: `assigned`: the similarity of the label that a proposal got; `largest`: that of its most similar label.
        threshold: of assignment `threshold`.
        deduplicate: of two proposals with a larger IoU than this the lower one is dropped; None: all are kept.
        cache: a folder where the answers of the parts are kept, for the next run; None: none.
        name: what run folders, results and tables call it, where several variants stand beside each other; None:
            `instructsam`, or for example `instructsam-nearest`.
        **parameters: of the parts: `key`, or `part.key` where two parts take it.

    Raises:
        UnknownNameError: a preset, a choice or a parameter is unknown.
        EarthInstructError: a part lacks a parameter or a file.
    """

    def __init__(
        self,
        preset: str = "small",
        counter: str | Counter | None = None,
        proposer: str | Proposer | None = None,
        encoder: str | Encoder | None = None,
        assignment: str = "counts",
        score: str = "assigned",
        threshold: float | None = None,
        deduplicate: float | None = None,
        cache: str | Path | None = None,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        if assignment not in ASSIGNMENTS:
            raise UnknownNameError("assignment", assignment, ASSIGNMENTS)
        if score not in SCORES:
            raise UnknownNameError("score", score, SCORES)
        if (assignment == "threshold") != (threshold is not None):
            raise EarthInstructError("assignment 'threshold' and its threshold go together: give -M threshold=NUMBER")
        if deduplicate is not None and not 0 <= deduplicate <= 1:
            raise EarthInstructError(f"deduplicate must be an IoU from 0 to 1, got {deduplicate}")
        self.preset = preset
        self.assignment = assignment
        self.score = score
        self.threshold = threshold
        self.deduplicate = deduplicate
        self.name = name or ("instructsam" if assignment == "counts" else f"instructsam-{assignment}")
        given = {"counter": counter, "proposer": proposer, "encoder": encoder}
        self._names, chosen, for_part = _plan(preset, given, parameters)
        for part, choice in chosen.items():
            needed = still_needed(part, self._names[part], choice, for_part[part])
            if needed:
                raise EarthInstructError(needed[0])
        made = given | {part: choice.make(for_part[part]) for part, choice in chosen.items()}
        self.counter: Counter = made["counter"]
        self.proposer: Proposer = made["proposer"]
        self.encoder: Encoder = made["encoder"]
        self._cached = cache is not None
        if cache is not None:
            self._keep_in(StageCache(cache))
        self._answered: _Remembered[Answer] = _Remembered()
        self._proposed: _Remembered[Proposals] = _Remembered()
        self._crops: _Remembered[NDArray[np.float32]] = _Remembered()

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Count, propose, compare and assign in one RGB image, uint8 (height, width, 3)."""
        return self._predicted(image, instruction, {})

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """The same for several images: a counter and a proposer that take several get them together.

        The seconds of a stage that took the images together are shared out evenly, unless it knows them.
        """
        keys = [fingerprint(image) for image in images]
        together: dict[str, float] = {}
        with _timed(together, "total"), ThreadPoolExecutor(1, "counter") as beside:
            counting = beside.submit(self._count_ahead, keys, images, instruction, together)
            with _timed(together, "proposer"):
                self._propose_ahead(keys, images)
            counting.result()
        shares = {stage: seconds / len(images) for stage, seconds in together.items()}
        return [self._predicted(image, instruction, shares) for image in images]

    def _predicted(self, image: NDArray[np.uint8], instruction: Instruction, ahead: Mapping[str, float]) -> Prediction:
        """The prediction for one image; `ahead` are seconds that stages took for it before."""
        seconds: dict[str, float] = {}
        with _timed(seconds, "total"):
            found = self._find(image, instruction, seconds)
        seconds |= {stage: seconds.get(stage, 0.0) + before for stage, before in ahead.items()}
        if found.answer.seconds is not None:
            seconds["counter"] = found.answer.seconds
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
                seconds,
                found.answer.input_tokens,
                found.answer.output_tokens,
                {_NOT_ASKED: found.not_asked, **found.answer.events},
            ),
        )

    def explain(self, image: NDArray[np.uint8], instruction: Instruction, /) -> NDArray[np.uint8]:
        """A picture of the proposals, each with its similarity to every label and the label it got.

        After `predict` nothing is asked again: the answers for the images seen last are remembered.
        """
        from earthinstruct_instructsam.pictures import draw_similarities

        found = self._find(image, instruction, {})
        return draw_similarities(image, found.proposals, found.labels, found.similarities, found.assigned)

    def skip(self, task: Task) -> str | None:
        """What the counter declines."""
        return self.counter.skip(task)

    def close(self) -> None:
        """Release what the counter holds."""
        close_parts([self.counter])

    def describe(self) -> dict[str, Any]:
        """Parameters, weights and devices of every part; `part.key` is a parameter of a part."""
        from importlib.metadata import version

        parameters: dict[str, Any] = {
            "preset": self.preset,
            "assignment": self.assignment,
            "score": self.score,
            "threshold": self.threshold,
            "deduplicate": self.deduplicate,
        }
        of_parts = described({part: getattr(self, part) for part in PARTS}, self._names)
        parameters |= of_parts["parameters"]
        small = "small" in (parameters["counter"], parameters["encoder"])
        notes = [SMALL_NOTE] * small + [_CACHE_NOTE] * self._cached
        return {
            "version": version("earthinstruct-instructsam"),
            "parameters": parameters,
            "weights": of_parts["weights"],
            "device": of_parts["device"] or "cpu",
            "packages": {name: version(name) for name in ("earthinstruct-instructsam", "torch", "open_clip_torch")},
            "notes": notes,
            "made_for": ["scenes"] if small else None,
        }

    @staticmethod
    def missing(preset: str = "small", cache: str | Path | None = None, **parameters: Any) -> list[str]:
        """What a choice of parts lacks on this machine, and how to get it; parameters as for the class.

        Raises:
            UnknownNameError: a preset, a choice or a parameter is unknown.
        """
        absent = missing_packages({"torch": "torch", "open_clip": "open_clip_torch"})
        if absent:  # a part that cannot be imported cannot tell its parameters
            return absent
        given = {part: parameters.get(part) for part in PARTS}
        of_parts = {key: value for key, value in parameters.items() if key not in _OWN}
        return missing_parts(*_plan(preset, given, of_parts)) + missing_place(cache, "cache", "NEW DIR")

    def _find(self, image: NDArray[np.uint8], instruction: Instruction, seconds: dict[str, float]) -> _Found:
        """Everything about one image. The counter works beside the proposer, as in the paper."""
        key = fingerprint(image)
        answer = Answer({})
        with ThreadPoolExecutor(1, "counter") as beside:
            asked: Future[Answer] | None = None
            if self._asks(instruction):
                asked = beside.submit(self._count, key, image, instruction, seconds)
            with _timed(seconds, "proposer"):
                proposals = self._proposed.get(key, lambda: self._kept(self.proposer.propose(image)))
            if asked is not None:
                answer = asked.result()
        counts = _asked_for(answer.counts, instruction)
        labels = self._labels(counts, instruction)
        with _timed(seconds, "encoder"):
            similarities = self._similarities(key, image, proposals, labels)
        with _timed(seconds, "assignment"):
            assigned = self._assign(similarities, [counts.get(label, 0) for label in labels])
        not_asked = len(answer.counts) - len(counts)
        return _Found(answer, counts, not_asked, proposals, labels, similarities, assigned)

    def _asks(self, instruction: Instruction) -> bool:
        """Whether the counter has a say: under free labels it names them, whatever the assignment."""
        return self.assignment == "counts" or instruction.setting != "open_vocabulary"

    def _count(self, key: str, image: NDArray[np.uint8], instruction: Instruction, seconds: dict[str, float]) -> Answer:
        with _timed(seconds, "counter"):
            return self._answered.get((key, instruction), lambda: self.counter.count(image, instruction))

    def _count_ahead(
        self,
        keys: Sequence[str],
        images: Sequence[NDArray[np.uint8]],
        instruction: Instruction,
        seconds: dict[str, float],
    ) -> None:
        """Remember the answers about several images; one that failed is left for its own turn, to be raised there."""
        if not callable(getattr(self.counter, "count_batch", None)) or not self._asks(instruction):
            return
        unknown = self._answered.unknown([(key, instruction) for key in keys])
        with _timed(seconds, "counter"):
            answers = count_together(self.counter, [images[i] for i in unknown], instruction)
        for i, answer in zip(unknown, answers, strict=True):
            if isinstance(answer, Answer):
                self._answered.put((keys[i], instruction), answer)

    def _propose_ahead(self, keys: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> None:
        """Remember the proposals of several images."""
        if not callable(getattr(self.proposer, "propose_batch", None)):
            return
        unknown = self._proposed.unknown(keys)
        for i, proposals in zip(unknown, propose_together(self.proposer, [images[i] for i in unknown]), strict=True):
            self._proposed.put(keys[i], self._kept(proposals))

    def _kept(self, proposals: Proposals) -> Proposals:
        return proposals if self.deduplicate is None else without_duplicates(proposals, self.deduplicate)

    def _labels(self, counts: dict[str, int], instruction: Instruction) -> list[str]:
        """The labels that proposals can get, sorted: the result does not depend on the order of an answer."""
        if not self._asks(instruction):
            return sorted(instruction.categories)
        return sorted(label for label, count in counts.items() if count > 0)

    def _similarities(
        self, key: str, image: NDArray[np.uint8], proposals: Proposals, labels: list[str]
    ) -> NDArray[np.float64]:
        """Cosine of every proposal's crop with every label: (proposals, labels)."""
        if not len(proposals) or not labels:
            return np.zeros((len(proposals), len(labels)))
        crops = self._crops.get(key, lambda: self.encoder.embed_crops(image, proposals.boxes))
        return (crops @ self.encoder.embed_labels(labels).T).astype(np.float64)

    def _assign(self, similarities: NDArray[np.float64], counts: list[int]) -> NDArray[np.int64]:
        if self.assignment == "counts":
            return assign_under_counts(similarities, counts)
        return assign_nearest(similarities) if self.threshold is None else assign_above(similarities, self.threshold)

    def _keep_in(self, cache: StageCache) -> None:
        """Put the cache before every part but recorded ones, which are files already."""
        if self._names.get("counter") != "recorded":
            self.counter = CachedCounter(self.counter, cache)
        if self._names.get("proposer") != "recorded":
            self.proposer = CachedProposer(self.proposer, cache)
        self.encoder = CachedEncoder(self.encoder, cache)


@dataclass(frozen=True, eq=False)
class _Found:
    """What the stages gave for one image."""

    answer: Answer
    counts: dict[str, int]
    not_asked: int
    proposals: Proposals
    labels: list[str]
    similarities: NDArray[np.float64]
    assigned: NDArray[np.int64]


def _plan(
    preset: str, given: Mapping[str, Any], parameters: Mapping[str, Any]
) -> tuple[dict[str, str], dict[str, Choice], dict[str, dict[str, Any]]]:
    """For every part that is chosen by name: the name, the choice, its parameters."""
    if preset not in PRESETS:
        raise UnknownNameError("preset", preset, PRESETS)
    of_preset = PRESETS[preset]
    wanted = {part: of_preset[part] if given[part] is None else given[part] for part in PARTS}
    names = {part: name for part, name in wanted.items() if isinstance(name, str)}
    chosen = {part: choice_of(part, name, CHOICES[part]) for part, name in names.items()}
    kept = {  # a preset's parameters go with its choices
        key: value
        for key, value in of_preset.items()
        if (part := key.partition(".")[0]) != key and names.get(part) == of_preset[part]
    }
    for_part = distributed("instructsam", chosen, kept)
    for part, own in distributed("instructsam", chosen, parameters, _OWN).items():
        for_part[part].update(own)
    return names, chosen, for_part


def _asked_for(counts: Any, instruction: Instruction) -> dict[str, int]:
    """The counts; under open_vocabulary only of the categories asked for, which a language model may overstep."""
    if instruction.setting != "open_vocabulary":
        return dict(counts)
    return {label: count for label, count in counts.items() if label in instruction.categories}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


class _Remembered(Generic[_T]):
    """What a stage gave for the images seen last; made once, also when several threads ask at once.

    The tasks of a dataset share images, and proposals and crops do not depend on the instruction.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, Future[_T]] = OrderedDict()
        self._lock = threading.Lock()

    def unknown(self, keys: Sequence[Hashable]) -> list[int]:
        """The positions of the keys that are not remembered, each key once."""
        with self._lock:
            return [i for i, key in enumerate(keys) if key not in self._values and key not in keys[:i]]

    def put(self, key: Hashable, value: _T) -> None:
        """Remember a value."""
        self.get(key, lambda: value)

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The value of a key, made when it is not remembered. An error is raised and forgotten."""
        with self._lock:
            value = self._values.get(key)
            ours = value is None
            if value is None:
                value = self._values[key] = Future()
                if len(self._values) > _IMAGES_REMEMBERED:
                    self._values.popitem(last=False)
            self._values.move_to_end(key)
        if ours:
            try:
                value.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._values.pop(key, None)
                value.set_exception(error)
        return value.result()
