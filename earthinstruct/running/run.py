"""One method on one task in one folder: what is to do, what was answered, and what an answer must be like."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from earthinstruct.contract import Instruction, Prediction, Usage, check_image_size
from earthinstruct.datasets import Dataset
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.files import as_json, decode_json, read_bytes, replace_file
from earthinstruct.instances import ImageId
from earthinstruct.results import SCHEMA_VERSION, DatasetInfo, MethodInfo, Result, TaskInfo
from earthinstruct.running.lock import folder_lock
from earthinstruct.running.predictions import Record, RecordWriter, StoredRecords, sort_records, take_out_failures
from earthinstruct.tasks import Task

Progress = Callable[[Task, int, int, int], None]  # task, images done, images in all, images failed


class Manifest(msgspec.Struct):
    """`run.json`: what a run folder holds. Predictions are continued only under an equal manifest."""

    schema_version: int
    task: TaskInfo
    method: MethodInfo


class Run:
    """One method on one task, in one folder: which images are to do, and the file of their answers.

    It takes answers while it is open.
    """

    def __init__(self, method: MethodInfo, task: Task, dataset: Dataset, folder: Path, limit: int | None) -> None:
        self.task = task
        self.dataset = dataset
        self.folder = folder
        self.file = folder / "predictions.jsonl"
        self.n_images = min(limit or len(dataset.images), len(dataset.images))
        self.image_ids = [image.id for image in dataset.images[: self.n_images]]
        self.manifest = Manifest(SCHEMA_VERSION, task_info(task, dataset, self.n_images), method)
        self.n_failed = 0
        self._done: set[ImageId] = set()
        self._spent: dict[ImageId, Usage] = {}  # on images that failed before

    @contextmanager
    def open(self, overwrite: bool) -> Iterator[Run]:
        """Hold the folder, find the answers in it, and take others.

        Raises:
            EarthInstructError: the folder is in use, or holds another run, or cannot be written.
        """
        with ExitStack() as held:
            held.enter_context(folder_lock(self.folder))
            with self._written():
                self._prepare_folder(overwrite)
                self._find_answers()
                self._writer = RecordWriter(self.file)
            held.callback(self._close)
            yield self

    @property
    def todo(self) -> list[int]:
        """The positions of the images without an answer."""
        return [i for i, image in enumerate(self.image_ids) if image not in self._done]

    @property
    def n_done(self) -> int:
        """How many of its images have an answer."""
        return len(self._done)

    def write(self, record: Record) -> None:
        """Keep an answer.

        Raises:
            DataError: the folder cannot be written.
        """
        spent = self._spent.pop(record.image_id, None)
        with self._written():
            self._writer.write(record if spent is None else record.after(spent))
        self._done.add(record.image_id)
        self.n_failed += record.error is not None

    def records(self) -> StoredRecords:
        """All answers, in the order of the images.

        Raises:
            DataError: the folder cannot be written.
        """
        self._close()
        with self._written():
            # they come as workers finish, failures last
            sort_records(self.file, {image.id: place for place, image in enumerate(self.dataset.images)})
        return StoredRecords([self.file])

    def keep(self, result: Result) -> None:
        """Write `result.json`.

        Raises:
            DataError: the folder cannot be written.
        """
        with self._written():
            replace_file(self.folder / "result.json", as_json(result))

    def _find_answers(self) -> None:
        """What is done, and what was spent on images that failed; these are tried again."""
        if self.file.exists():
            try:
                answered, self._spent = take_out_failures(self.file)
            except DataError as error:
                raise DataError(f"{error}; {_START_AGAIN}") from error
            self._done = answered & set(self.image_ids)

    def _close(self) -> None:
        with self._written():
            self._writer.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """A folder that cannot be written is the user's to mend: a full disk, a quota, no permission."""
        try:
            yield
        except OSError as error:
            raise DataError(
                f"run folder {self.folder} cannot be written: {error.strerror or error}; what was predicted so far is "
                "kept, and the same command without --overwrite goes on from there when it can be written again"
            ) from error

    def _prepare_folder(self, overwrite: bool) -> None:
        manifest_file = self.folder / "run.json"
        if overwrite:
            for path in (manifest_file, self.folder / "result.json", *self.folder.glob("predictions*.jsonl*")):
                path.unlink(missing_ok=True)
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
        replace_file(manifest_file, as_json(self.manifest))


_START_AGAIN = "give --overwrite to start again"


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
    here = dataset.annotations_of(index)
    here = here[scored[annotations.category[here]]]
    return Prediction(
        labels=tuple(names[c] for c in annotations.category[here]),
        boxes=annotations.boxes[here],
        masks=None if dataset.masks is None else tuple(dataset.masks.take(here).encode()),
    )


def read_manifest(path: Path) -> Manifest:
    """Read a `run.json`.

    Raises:
        DataError: it is missing or malformed.
    """
    problem = f"{path} is not a run manifest: {{error}}; {_START_AGAIN}"
    return decode_json(read_bytes(path, "run manifest"), msgspec.json.Decoder(Manifest), problem)


def _differences(old: Manifest, new: Manifest) -> list[str]:
    """What differs between two manifests, in words; packages, device and notes may."""
    pairs: dict[str, tuple[Any, Any]] = {
        "dataset annotations": (old.task.dataset.annotations_sha256, new.task.dataset.annotations_sha256),
        "task version": (old.task.version, new.task.version),
        "instruction": (old.task.instruction_sha256, new.task.instruction_sha256),
        "method": (old.method.name, new.method.name),  # two names may have one folder
        "method version": (old.method.version, new.method.version),
        "weights": (old.method.weights, new.method.weights),
    }
    before = old.method.parameters
    after = msgspec.json.decode(msgspec.json.encode(new.method.parameters))
    for name in sorted({*before, *after}):
        pairs[f"parameter {name}"] = (before.get(name), after.get(name))
    return [f"{what} was {str(a)[:80]}, is {str(b)[:80]}" for what, (a, b) in pairs.items() if a != b]


def task_info(task: Task, dataset: Dataset, n_images: int) -> TaskInfo:
    """What a result file says of a task."""
    return TaskInfo(
        task.name, task.version, DatasetInfo(dataset.name, dataset.sha256, n_images), task.instruction_sha256
    )
