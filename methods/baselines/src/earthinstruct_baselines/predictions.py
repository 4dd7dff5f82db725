"""Replays what another system predicted, from a file, so that systems that need their own repository can be run."""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from earthinstruct_models.choices import missing_place
from earthinstruct_models.recorded import fingerprint
from earthinstruct_models.weights import file_sha256
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Usage
from earthinstruct.datasets import load_dataset, missing_dataset
from earthinstruct.errors import DataError
from earthinstruct.instances import ImageId
from earthinstruct.running.importers import read_predictions
from earthinstruct.running.predictions import Record
from earthinstruct.running.semantic import read_semantic_maps
from earthinstruct.tasks import Task


class Predictions:
    """Replays a predictions file as a method. A method is given pixels alone: images are known by their content.

    Args:
        file: `predictions.jsonl` or a run folder that holds it, a COCO results file, or a folder of count files; with
            `classes`, semantic maps (see `earthinstruct.running.semantic`).
        dataset: the dataset predicted on, by name or path.
        task: the task that the file answers: `open_vocabulary`, `open_ended`, or `open_subclass/sports_field`.
        data: the folder of the user's data; None: as for every command.
        images: the folder of the images, where the dataset does not know it.
        counts: a folder of count files to add.
        proposals: a proposals file to add.
        classes: of semantic maps: a JSON file, class number -> category or null.
        min_area: of semantic maps: regions with fewer pixels are left out.
        name: what the system is called in run folders, results and tables.

    Raises:
        UnknownNameError: no such dataset.
        DataError: something is missing or malformed, or belongs to no image of the dataset.
    """

    def __init__(
        self,
        file: str | Path,
        dataset: str,
        task: str = "open_vocabulary",
        data: str | Path | None = None,
        images: str | Path | None = None,
        counts: str | Path | None = None,
        proposals: str | Path | None = None,
        classes: str | Path | None = None,
        min_area: int = 1,
        name: str = "predictions",
    ) -> None:
        self.name = name
        self.file = Path(file)
        self.task = task
        self.dataset = load_dataset(dataset, _path(data), _path(images))
        self.classes, self.min_area = _path(classes), min_area
        if self.classes is None:
            self._records = read_predictions(self.file, self.dataset, counts=_path(counts), proposals=_path(proposals))
        elif counts is not None or proposals is not None:
            raise DataError("semantic maps take neither counts nor proposals")
        else:
            self._records = read_semantic_maps(self.file, self.dataset, self.classes, min_area)

    @staticmethod
    def missing(
        file: str | Path | None = None,
        dataset: str | None = None,
        data: str | Path | None = None,
        images: str | Path | None = None,
        counts: str | Path | None = None,
        proposals: str | Path | None = None,
        classes: str | Path | None = None,
        **_: Any,
    ) -> list[str]:
        """The files and folders that are not there; parameters as for the class.

        Raises:
            UnknownNameError: no such dataset.
        """
        lines = missing_place(file, "file", "PATH")
        for option, path, kind in (
            ("data", data, "DIR"),
            ("images", images, "DIR"),
            ("counts", counts, "DIR"),
            ("proposals", proposals, "FILE"),
            ("classes", classes, "FILE"),
        ):
            lines += missing_place(path, option, kind)
        return lines + ([] if dataset is None else missing_dataset(dataset, _path(data)))

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """What the file says of the image with these pixels.

        Raises:
            DataError: nothing, a failure, or different answers for two images with the same pixels.
        """
        ids = self._ids.get(fingerprint(image))
        if ids is None:
            raise DataError(f"no image of dataset {self.dataset.name!r} has these pixels, so {self.file} has no answer")
        for image_id in ids:
            if image_id not in self._records:
                raise DataError(f"{self.file} has no prediction for image {image_id!r}")
        record = self._records[ids[0]]
        for other in ids[1:]:
            if not _same(record, self._records[other]):
                raise DataError(
                    f"images {ids[0]!r} and {other!r} show the same pixels, and {self.file} answers them differently"
                )
        if record.error is not None:
            raise DataError(f"{self.file}: image {ids[0]!r} failed: {record.error}")
        return _prediction(record)

    def skip(self, task: Task) -> str | None:
        """Every task but the one that the file answers."""
        own = task.name.partition("/")[2]
        return None if own == self.task else f"{self.file.name} answers {self.task}, not {own}"

    def describe(self) -> dict[str, Any]:
        """The file and its hash."""
        return {
            "version": version("earthinstruct-baselines"),
            "parameters": {
                "file": self.file.name,
                "sha256": file_sha256(self.file) if self.file.is_file() else None,
                "dataset": self.dataset.name,
                "task": self.task,
                "semantic": self.classes is not None,
                "min_area": self.min_area,
            },
            "notes": ["replayed from a file: times are those of reading it"],
        }

    @cached_property
    def _ids(self) -> dict[str, list[ImageId]]:
        """The images of the dataset by their pixels."""
        ids: defaultdict[str, list[ImageId]] = defaultdict(list)
        for i, image in enumerate(self.dataset.images):
            ids[fingerprint(self.dataset.read_image(i))].append(image.id)
        return dict(ids)


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)


def _same(a: Record, b: Record) -> bool:
    return msgspec.structs.replace(a, image_id=b.image_id) == b


def _prediction(record: Record) -> Prediction:
    return Prediction(
        labels=tuple(record.labels),
        boxes=np.array(record.boxes, dtype=np.float64).reshape(-1, 4),
        masks=None if record.masks is None else tuple(record.masks),
        scores=None if record.scores is None else np.array(record.scores),
        counts=record.counts,
        proposals=None if record.proposals is None else record.proposals.proposals(),
        usage=Usage(
            {stage: seconds for stage, seconds in record.seconds.items() if stage != "total"},
            record.input_tokens,
            record.output_tokens,
            record.events,
        ),
    )
