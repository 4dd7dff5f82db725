"""The common base of detectors that look for named categories. It contains no model."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.boxes import Floats, Integers, inside_image
from earthinstruct_models.choices import missing_packages
from earthinstruct_models.devices import missing_device
from earthinstruct_models.parameters import check_integer, check_number
from numpy.typing import NDArray

from earthinstruct.contract import UNKNOWN_DATA, Estimate, Instruction, Prediction, Proposals, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import RLE
from earthinstruct.tasks import Task

SWEEP_NOTE = (
    "scores go down to {threshold}: --sweep cross or --threshold T leaves out the predictions that are least sure"
)


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image."""

    category: Integers  # (n,), index into the given names
    corners: Floats  # (n, 4), x0, y0, x1, y1 in pixels of the image
    scores: Floats  # (n,), in [0, 1]
    masks: Sequence[RLE] | None = None  # n, of the image's size
    proposals: Proposals | None = None  # the class-agnostic regions that it chose from

    def prediction(self, names: Sequence[str], shape: tuple[int, ...], usage: Usage) -> Prediction:
        """The detections as a prediction; a box without area inside the image of this shape is dropped."""
        boxes, kept = inside_image(self.corners, shape[0], shape[1])
        return Prediction(
            labels=tuple(names[i] for i in self.category[kept]),
            boxes=boxes,
            masks=None if self.masks is None else tuple(self.masks[i] for i in kept),
            scores=self.scores[kept],
            proposals=self.proposals,
            usage=usage,
        )


class Detector(ABC):
    """A detector of named categories: it answers open_vocabulary instructions and declines the others.

    Args:
        threshold: the lowest score of a detection.
        limit: most detections in one image; the best are kept.

    Attributes:
        weights: the loaded files, [{name, sha256}].
        training_data: what they were trained on, as in `earthinstruct_models.weights.Weights`.
        device: the torch device that it runs on.
    """

    name: str
    weights: list[dict[str, str]]
    training_data: Sequence[str] | Mapping[str, Sequence[str]] = (UNKNOWN_DATA,)
    device: str
    needs: ClassVar[dict[str, str]] = {"torch": "torch", "transformers": "transformers"}

    def __init__(self, threshold: float, limit: int) -> None:
        self.threshold = check_number("threshold", threshold, 0, 1)
        self.limit = check_integer("limit", limit)

    @abstractmethod
    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3)."""

    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """The parameters besides threshold and limit."""

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Find the instruction's categories.

        Raises:
            EarthInstructError: the instruction names no categories.
        """
        if instruction.setting != "open_vocabulary":
            raise EarthInstructError(f"{self.name}: {_declined(instruction.setting)}")
        started = time.perf_counter()
        found = self.detect(image, instruction.categories)
        usage = Usage({"detector": time.perf_counter() - started}, events=self.limit_reached(found))
        return found.prediction(instruction.categories, image.shape, usage)

    def limit_reached(self, found: Detections) -> dict[str, int]:
        """The event that an image may have more detections than the limit."""
        return {f"limit of {self.limit} detections reached": int(len(found.scores) >= self.limit)}

    def estimate(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Estimate:
        """Nothing: no server is asked."""
        return Estimate()

    def skip(self, task: Task) -> str | None:
        """The reason to decline every setting but open_vocabulary: the others name no categories."""
        return None if task.setting == "open_vocabulary" else _declined(task.setting)

    def describe(self) -> dict[str, Any]:
        """Parameters, weights and versions."""
        return {
            "version": version("earthinstruct-baselines"),
            "parameters": {"threshold": self.threshold, "limit": self.limit, **self.parameters()},
            "weights": self.weights,
            "training_data": self.training_data,
            "device": self.device,
            "packages": {package: version(package) for package in self.needs.values()},
            "notes": [SWEEP_NOTE.format(threshold=self.threshold)] if self.threshold < 0.1 else [],
        }

    @classmethod
    def missing(cls, **parameters: Any) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        return missing_packages(cls.needs) or missing_device(parameters.get("device"))


def _declined(setting: str) -> str:
    return f"a detector of named categories gets no names under {setting}; use lvlm-owl, which names them first"
