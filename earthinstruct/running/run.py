"""One method on one task in one folder: predicts what has no answer yet, checks it, and keeps it on disk."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import ControlMethod, Instruction, Method, Prediction, check_image_size
from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import ContractError, EarthInstructError
from earthinstruct.files import as_json, decode_json, read_bytes
from earthinstruct.instances import ImageId
from earthinstruct.results import SCHEMA_VERSION, DatasetInfo, MethodInfo, TaskInfo, method_info
from earthinstruct.running.predictions import Record, RecordWriter, read_records, records_by_image
from earthinstruct.tasks import Task

BATCH = 8
Progress = Callable[[Task, int, int, int], None]  # task, images done, images in all, images failed


class Manifest(msgspec.Struct):
    """`run.json`: what a run folder holds. Predictions are continued only under an equal manifest."""

    schema_version: int
    task: TaskInfo
    method: MethodInfo


class Run:
    """One method on one task, in one folder."""

    def __init__(
        self, method: Method | ControlMethod, task: Task, dataset: Dataset, folder: Path, limit: int | None
    ) -> None:
        self.method = method
        self.task = task
        self.dataset = dataset
        self.folder = folder
        self.file = folder / "predictions.jsonl"
        self.n_images = min(limit or len(dataset.images), len(dataset.images))
        self.image_ids = [image.id for image in dataset.images[: self.n_images]]
        self.manifest = Manifest(
            SCHEMA_VERSION,
            task_info(task, dataset, self.n_images),
            method_info(method, control=isinstance(method, ControlMethod)),
        )

    def predictions(self, overwrite: bool, progress: Progress | None) -> dict[ImageId, Record]:
        """Predict the images that have no answer yet, and return all records."""
        self._prepare_folder(overwrite)
        done = self._answered()
        failed = 0
        todo = [i for i, image in enumerate(self.image_ids) if image not in done]
        if progress:
            progress(self.task, len(done), self.n_images, 0)
        with RecordWriter(self.file) as writer:
            for indices in _batches(todo, BATCH if callable(getattr(self.method, "predict_batch", None)) else 1):
                for record in self._predict(indices):
                    writer.write(record)
                    done.add(record.image_id)
                    failed += record.error is not None
                    if progress:
                        progress(self.task, len(done), self.n_images, failed)
        wanted = set(self.image_ids)
        return records_by_image((r for r in read_records(self.file) if r.image_id in wanted), str(self.file))

    def _prepare_folder(self, overwrite: bool) -> None:
        manifest_file = self.folder / "run.json"
        if overwrite and self.folder.exists():
            shutil.rmtree(self.folder)
        if manifest_file.is_file():
            differences = _differences(read_manifest(manifest_file), self.manifest)
            if differences:
                raise EarthInstructError(
                    f"{self.folder} holds the predictions of another run ({'; '.join(differences)}); "
                    "give --overwrite to replace them, or another --output"
                )
        elif self.file.exists():
            raise EarthInstructError(
                f"{self.folder} has predictions but no run.json; give --overwrite to replace them, or another --output"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        manifest_file.write_bytes(as_json(self.manifest))

    def _answered(self) -> set[ImageId]:
        """The images with an answer; failures are taken out of the file, to be tried again."""
        if not self.file.exists():
            return set()
        records = list(read_records(self.file, drop_torn_line=True))
        good = [record for record in records if record.error is None]
        if len(good) < len(records):
            kept = self.file.with_suffix(".tmp")
            with kept.open("wb") as file:
                file.writelines(msgspec.json.encode(record) + b"\n" for record in good)
            kept.replace(self.file)
        return {record.image_id for record in good}

    def _predict(self, indices: Sequence[int]) -> list[Record]:
        if len(indices) > 1:
            try:
                return self._predict_batch(indices)
            except Exception:  # one image of the batch is at fault: alone, each is answered or named
                return [self._predict_one(i) for i in indices]
        return [self._predict_one(i) for i in indices]

    def _predict_batch(self, indices: Sequence[int]) -> list[Record]:
        images = [self.dataset.read_image(i) for i in indices]
        started = time.perf_counter()
        predictions = self.method.predict_batch(images, self.task.instruction)  # type: ignore[union-attr]
        elapsed = (time.perf_counter() - started) / len(indices)
        if len(predictions) != len(indices):
            raise ContractError(f"predict_batch returned {len(predictions)} predictions for {len(indices)} images")
        return [
            self._record(self.dataset.images[i], prediction, elapsed)
            for i, prediction in zip(indices, predictions, strict=True)
        ]

    def _predict_one(self, index: int) -> Record:
        image = self.dataset.images[index]
        try:
            pixels = self.dataset.read_image(index)
            started = time.perf_counter()
            prediction = self._answer(pixels, self.task.instruction, index)
            return self._record(image, prediction, time.perf_counter() - started)
        except Exception as error:  # a failing image is recorded with its reason, and the run goes on
            return Record(image.id, error=f"{type(error).__name__}: {error}")

    def _answer(self, pixels: NDArray[np.uint8], instruction: Instruction, index: int) -> Prediction:
        if isinstance(self.method, ControlMethod):
            return self.method.predict_with_targets(pixels, instruction, targets_of(self.dataset, self.task, index))
        return self.method.predict(pixels, instruction)

    def _record(self, image: ImageRecord, prediction: Prediction, elapsed: float) -> Record:
        check_prediction(prediction, self.task.instruction, image.height, image.width)
        record = Record.of(image.id, prediction)
        record.seconds = {**record.seconds, "total": elapsed}
        return record


def check_prediction(prediction: Prediction, instruction: Instruction, height: int, width: int) -> None:
    """Check what a method returned against what it was given.

    Raises:
        ContractError: not a `Prediction`, a mask of another size than the image, or, for open_vocabulary, a label that
            is not one of the categories.
    """
    if not isinstance(prediction, Prediction):
        raise ContractError(f"predict must return a Prediction, got {type(prediction).__name__}")
    check_image_size(prediction, height, width)
    if instruction.setting == "open_vocabulary":
        for label in (*prediction.labels, *(prediction.counts or ())):
            if label not in instruction.categories:
                raise ContractError(
                    f"label {label!r} is not one of the instruction's categories {list(instruction.categories)}"
                )


def targets_of(dataset: Dataset, task: Task, index: int) -> Prediction:
    """The ground truth of one image as a prediction, limited to the scored categories."""
    names = dataset.vocabulary.categories
    annotations = dataset.annotations
    scored = np.array([name in task.categories for name in names])
    here = annotations.take((annotations.image == index) & scored[annotations.category])
    return Prediction(
        labels=tuple(names[c] for c in here.category),
        boxes=here.boxes,
        masks=None if here.masks is None else tuple(here.masks.encode()),
    )


def _batches(items: Sequence[int], size: int) -> Iterator[list[int]]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def read_manifest(path: Path) -> Manifest:
    """Read a `run.json`.

    Raises:
        DataError: it is missing or malformed.
    """
    problem = f"{path} is not a run manifest: {{error}}; give --overwrite to start again"
    return decode_json(read_bytes(path, "run manifest"), msgspec.json.Decoder(Manifest), problem)


def _differences(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two manifests, in words; packages, device and notes may."""
    pairs = {
        "dataset annotations": (old.task.dataset.annotations_sha256, new.task.dataset.annotations_sha256),
        "task version": (old.task.version, new.task.version),
        "instruction": (old.task.instruction_sha256, new.task.instruction_sha256),
        "method version": (old.method.version, new.method.version),
        "parameters": (old.method.parameters, msgspec.json.decode(msgspec.json.encode(new.method.parameters))),
        "weights": (old.method.weights, new.method.weights),
    }
    return [f"{what} was {str(a)[:80]}, is {str(b)[:80]}" for what, (a, b) in pairs.items() if a != b]


def task_info(task: Task, dataset: Dataset, n_images: int) -> TaskInfo:
    """What a result file says of a task."""
    return TaskInfo(
        task.name, task.version, DatasetInfo(dataset.name, dataset.sha256, n_images), task.instruction_sha256
    )
