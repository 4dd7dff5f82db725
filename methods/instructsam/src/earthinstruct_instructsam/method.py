"""The method: count, propose, compare, assign."""

from __future__ import annotations

import importlib.util
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from earthinstruct_models.parts import Encoder, Proposer
from earthinstruct_models.recorded import ImageNames, fingerprint
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Proposals, Usage
from earthinstruct.errors import EarthInstructError, UnknownNameError
from earthinstruct.tasks import Task
from earthinstruct_instructsam.assignment import assign_nearest, assign_under_counts
from earthinstruct_instructsam.parts import Counter
from earthinstruct_instructsam.presets import PRESETS, SMALL_NOTE

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
_IMAGES_REMEMBERED = 256

COUNTERS = ("small", "recorded")
PROPOSERS = ("segments", "recorded")
ENCODERS = ("small", "open_clip")
ASSIGNMENTS = ("counts", "nearest")


class InstructSAM:
    """InstructSAM: a counter, a proposer, a CLIP and an exact assignment under the counts (arXiv 2505.15818).

    Args:
        preset: a named choice of all parts; what is given beside it replaces the preset's choice.
        counter: `small` or `recorded`, or a counter object.
        proposer: `segments` or `recorded`, or a proposer object.
        encoder: `small` or `open_clip`, or an encoder object.
        assignment: `counts` (the method), or `nearest`: every proposal gets its most similar label and that
            similarity as score, whatever the counts; for comparison, scored with a sweep.
        counts: recorded: the folder of count files.
        proposals: recorded: the proposals file.
        images: recorded: the folder of the images that the recorded answers belong to.
        checkpoint: open_clip: the weights file.
        architecture: open_clip: a model name, such as ViT-L-14.
        config: open_clip: a model config file, for an architecture that open_clip does not know.
        activation: open_clip: `gelu` or `quickgelu`.
        template: open_clip: the sentence a label is put into, with `{category}`.
        device: a torch device; None: the best there is.
        name: what run folders, results and tables call it, where several variants stand beside each other; None:
            `instructsam`, or `instructsam-nearest`.

    Raises:
        EarthInstructError: a part is unknown, or lacks a parameter or a file.
    """

    def __init__(
        self,
        preset: str = "small",
        counter: str | Counter | None = None,
        proposer: str | Proposer | None = None,
        encoder: str | Encoder | None = None,
        assignment: str = "counts",
        counts: str | Path | None = None,
        proposals: str | Path | None = None,
        images: str | Path | None = None,
        checkpoint: str | Path | None = None,
        architecture: str | None = None,
        config: str | Path | None = None,
        activation: str = "gelu",
        template: str = "a satellite image of a {category}",
        device: str | None = None,
        name: str | None = None,
    ) -> None:
        if preset not in PRESETS:
            raise UnknownNameError("preset", preset, PRESETS)
        if assignment not in ASSIGNMENTS:
            raise UnknownNameError("assignment", assignment, ASSIGNMENTS)
        self.preset = preset
        self.assignment = assignment
        self.name = name or ("instructsam" if assignment == "counts" else f"instructsam-{assignment}")
        self._proposed: _Remembered[Proposals] = _Remembered()
        self._crops: _Remembered[NDArray[np.float32]] = _Remembered()
        chosen = PRESETS[preset]
        recorded = _Recorded(images)
        counter, proposer, encoder = (
            counter or chosen["counter"],
            proposer or chosen["proposer"],
            encoder or chosen["encoder"],
        )
        self.counter: Counter = _counter(counter, counts, recorded) if isinstance(counter, str) else counter
        self.proposer: Proposer = _proposer(proposer, proposals, recorded) if isinstance(proposer, str) else proposer
        self.encoder: Encoder = (
            _encoder(encoder, checkpoint, architecture, config, activation, template, device)
            if isinstance(encoder, str)
            else encoder
        )

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Count, propose, compare and assign in one RGB image, uint8 (height, width, 3)."""
        seconds: dict[str, float] = {}
        with _timed(seconds, "counter"):
            answer = self.counter.count(image, instruction)
        counts = _asked_for(answer.counts, instruction)
        with _timed(seconds, "proposer"):
            proposals = self._proposals(image)
        labels = self._labels(counts, instruction)
        with _timed(seconds, "encoder"):
            similarities = self._similarities(image, proposals, labels)
        with _timed(seconds, "assignment"):
            assigned = self._assign(similarities, [counts.get(label, 0) for label in labels])
        chosen = np.flatnonzero(assigned >= 0)
        return Prediction(
            labels=tuple(labels[i] for i in assigned[chosen]),
            boxes=proposals.boxes[chosen],
            masks=None if proposals.masks is None else tuple(proposals.masks[i] for i in chosen),
            scores=similarities[chosen, assigned[chosen]],
            counts=counts if self.assignment == "counts" else None,
            proposals=proposals,
            usage=Usage(seconds, answer.input_tokens, answer.output_tokens),
        )

    def explain(self, image: NDArray[np.uint8], instruction: Instruction, /) -> NDArray[np.uint8]:
        """A picture of the proposals, each with its similarity to every label and the label it got."""
        from earthinstruct_instructsam.pictures import draw_similarities

        counts = _asked_for(self.counter.count(image, instruction).counts, instruction)
        proposals = self._proposals(image)
        labels = self._labels(counts, instruction)
        similarities = self._similarities(image, proposals, labels)
        assigned = self._assign(similarities, [counts.get(label, 0) for label in labels])
        return draw_similarities(image, proposals, labels, similarities, assigned)

    def skip(self, task: Task) -> str | None:
        """What the counter declines."""
        return self.counter.skip(task)

    def describe(self) -> dict[str, Any]:
        """Parameters and weights of every part."""
        from importlib.metadata import version

        parts = [part.describe() for part in (self.counter, self.proposer, self.encoder)]
        parameters: dict[str, Any] = {"preset": self.preset, "assignment": self.assignment}
        weights = [entry for part in parts for entry in part.get("weights", ())]
        for part in parts:
            parameters.update({key: value for key, value in part.items() if key != "weights"})
        small = "small" in (parameters.get("counter"), parameters.get("encoder"))
        return {
            "version": version("earthinstruct-instructsam"),
            "parameters": parameters,
            "weights": weights,
            "device": str(getattr(self.encoder, "device", "cpu")),
            "packages": {name: version(name) for name in ("earthinstruct-instructsam", "torch", "open_clip_torch")},
            "notes": [SMALL_NOTE] if small else [],
            "made_for": ["scenes"] if small else None,
        }

    @staticmethod
    def missing() -> list[str]:
        """What the default preset lacks on this machine, and how to get it."""
        needed = {"torch": "torch", "open_clip": "open_clip_torch", "skimage": "scikit-image"}
        absent = [package for module, package in needed.items() if importlib.util.find_spec(module) is None]
        return [f"{package}: pip install {package}" for package in absent]

    def _labels(self, counts: dict[str, int], instruction: Instruction) -> list[str]:
        """The labels that proposals can get, sorted: the result does not depend on the order of an answer."""
        if self.assignment == "nearest" and instruction.setting == "open_vocabulary":
            return sorted(instruction.categories)
        return sorted(label for label, count in counts.items() if count > 0)

    def _similarities(self, image: NDArray[np.uint8], proposals: Proposals, labels: list[str]) -> NDArray[np.float64]:
        """Cosine of every proposal's crop with every label: (proposals, labels)."""
        if not len(proposals) or not labels:
            return np.zeros((len(proposals), len(labels)))
        crops = self._crops.get(image, lambda: self.encoder.embed_crops(image, proposals.boxes))
        return (crops @ self.encoder.embed_labels(labels).T).astype(np.float64)

    def _proposals(self, image: NDArray[np.uint8]) -> Proposals:
        return self._proposed.get(image, lambda: self.proposer.propose(image))

    def _assign(self, similarities: NDArray[np.float64], counts: list[int]) -> NDArray[np.int64]:
        return (
            assign_under_counts(similarities, counts) if self.assignment == "counts" else assign_nearest(similarities)
        )


def _asked_for(counts: Any, instruction: Instruction) -> dict[str, int]:
    """The counts; under open_vocabulary only of the categories asked for, which a language model may overstep."""
    if instruction.setting != "open_vocabulary":
        return dict(counts)
    beyond = [label for label in counts if label not in instruction.categories]
    if beyond:
        _LOG.warning("the counter also answered %s, which was not asked for and is left out", beyond)
    return {label: count for label, count in counts.items() if label in instruction.categories}


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - started


class _Remembered(Generic[_T]):
    """What a stage gave for the images seen last.

    The tasks of a dataset share images, and proposals and crops do not depend on the instruction.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[str, _T] = OrderedDict()

    def get(self, image: NDArray[np.uint8], make: Callable[[], _T]) -> _T:
        """The value for an image, made when it is not remembered."""
        key = fingerprint(image)
        if key not in self._values:
            self._values[key] = make()
            if len(self._values) > _IMAGES_REMEMBERED:
                self._values.popitem(last=False)
        self._values.move_to_end(key)
        return self._values[key]


class _Recorded:
    """The images that recorded answers belong to, read once for the counter and the proposer."""

    def __init__(self, images: str | Path | None) -> None:
        self._images = images
        self._names: ImageNames | None = None

    def names(self) -> ImageNames:
        if self._images is None:
            raise EarthInstructError(
                "recorded answers are kept by image name: give the folder of the images with -M images=DIR"
            )
        self._names = self._names or ImageNames(self._images)
        return self._names


def _counter(name: str, counts: str | Path | None, recorded: _Recorded) -> Counter:
    if name == "small":
        from earthinstruct_instructsam.counters.small import SmallCounter

        return SmallCounter()
    if name == "recorded":
        from earthinstruct_instructsam.counters.recorded import RecordedCounter

        if counts is None:
            raise EarthInstructError("counter 'recorded' needs the folder of the count files: give -M counts=DIR")
        return RecordedCounter(counts, recorded.names())
    raise UnknownNameError("counter", name, COUNTERS)


def _proposer(name: str, proposals: str | Path | None, recorded: _Recorded) -> Proposer:
    if name == "segments":
        from earthinstruct_models.proposers.segments import SegmentsProposer

        return SegmentsProposer()
    if name == "recorded":
        from earthinstruct_models.proposers.recorded import RecordedProposer

        if proposals is None:
            raise EarthInstructError("proposer 'recorded' needs the proposals file: give -M proposals=FILE")
        return RecordedProposer(proposals, recorded.names())
    raise UnknownNameError("proposer", name, PROPOSERS)


def _encoder(
    name: str,
    checkpoint: str | Path | None,
    architecture: str | None,
    config: str | Path | None,
    activation: str,
    template: str,
    device: str | None,
) -> Encoder:
    from earthinstruct_models.encoders.open_clip import OpenClipEncoder

    if name == "small":
        from earthinstruct_instructsam.small import CLIP_CONFIG, CLIP_WEIGHTS

        return OpenClipEncoder(CLIP_WEIGHTS, config=CLIP_CONFIG, device=device)
    if name == "open_clip":
        if checkpoint is None:
            raise EarthInstructError("encoder 'open_clip' needs its weights: give -M checkpoint=FILE")
        return OpenClipEncoder(checkpoint, architecture, config, activation, template, device=device)
    raise UnknownNameError("encoder", name, ENCODERS)
