"""A run folder as the report shows it: its result, its predictions, and which of them found what."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset, load_dataset
from earthinstruct.errors import DataError
from earthinstruct.instances import ImageId, Instances
from earthinstruct.metrics import Predicted, Tally, Truth, protocol_named, tallies
from earthinstruct.metrics.matching import find_pairs, match
from earthinstruct.results import Result, read_result
from earthinstruct.running.importers import read_predictions
from earthinstruct.running.predictions import Record
from earthinstruct.running.score import prepare
from earthinstruct.tasks import FileMapper, task_named


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One scored run with its predictions.

    Attributes:
        folder: where it lies.
        result: its scores.
        dataset: what it was scored against.
        truth: the ground truth of the scored images.
        predicted: the predictions; after a sweep those that reach the threshold.
        labels: the method's own word for each prediction.
        records: what was written for each image.
        failed: image -> reason.
    """

    folder: Path
    result: Result
    dataset: Dataset
    truth: Truth
    predicted: Predicted
    labels: tuple[str, ...]
    records: Mapping[ImageId, Record]
    failed: Mapping[ImageId, str]

    @cached_property
    def tallies(self) -> dict[str, Tally]:
        """The tallies behind the F1 scores."""
        return tallies(self.truth, self.predicted, protocol_named(self.result.protocol))

    @cached_property
    def matched(self) -> NDArray[np.int64]:
        """The ground truth whose box each prediction found at IoU 0.5, or -1: int64 (predictions,)."""
        rule = protocol_named(self.result.protocol).rule
        instances = self.predicted.instances
        order = None
        if rule == "maximum" and instances.scores is not None:
            order = np.argsort(-instances.scores, kind="stable")
        return match(find_pairs(instances, self.truth.instances, "box"), rule, order)

    @cached_property
    def found(self) -> NDArray[np.bool_]:
        """Which objects a prediction found: bool (objects,)."""
        found = np.zeros(len(self.truth.instances), dtype=bool)
        found[self.matched[self.matched >= 0]] = True
        return found

    @cached_property
    def errors(self) -> NDArray[np.int64]:
        """Wrong and missing objects of each image: int64 (images,). By boxes, or by counts where there are no boxes."""
        by_counts = not len(self.predicted.instances) and bool(self.predicted.has_counts.any())
        tally = self.tallies["counting" if by_counts else "box"]
        off = (tally.columns["fp"] + tally.columns["fn"]).sum(axis=1)
        of_image = dict(zip(tally.images, off.tolist(), strict=True))
        return np.array([of_image.get(image, 0) for image in self.truth.images], dtype=np.int64)

    @cached_property
    def objects(self) -> NDArray[np.int64]:
        """Ground-truth objects of each image: int64 (images,)."""
        return np.bincount(self.truth.instances.image, minlength=len(self.truth.images))


def load_run(folder: Path, dataset: str | Dataset | None = None, data: Path | None = None) -> LoadedRun:
    """Read a run folder and its dataset.

    Args:
        folder: with `result.json` and `predictions.jsonl`.
        dataset: where the dataset has no name here; None: the one that the result names.
        data: the folder of the user's data.

    Raises:
        DataError: the folder is incomplete, its predictions are not those that were scored, or the dataset has other
            annotations.
    """
    if not (folder / "result.json").is_file():
        raise DataError(
            f"{folder} has no result.json; give a run folder, as `earthinstruct evaluate` prints it at its end"
        )
    result = read_result(folder / "result.json")
    _check_predictions(folder / "predictions.jsonl", result)
    if dataset is None or isinstance(dataset, str):
        dataset = load_dataset(dataset or result.task.dataset.name, data)
    if dataset.sha256 != result.task.dataset.annotations_sha256:
        raise DataError(f"dataset {dataset.name!r} here has other annotations than {folder} was scored against")
    images = [image.id for image in dataset.images[: result.task.dataset.n_images]]
    records = read_predictions(folder, dataset)
    ready = prepare(
        task_named(result.task.name, dataset.name, dataset.vocabulary),
        dataset,
        records,
        protocol=protocol_named(result.protocol),
        mapper=FileMapper(result.label_mapper, result.label_map),
        images=images,
    )
    labels = [label for image in images if image not in ready.failed for label in records[image].labels]
    kept = _kept(ready.predicted.instances, result)
    return LoadedRun(
        folder,
        result,
        dataset,
        ready.truth,
        replace(ready.predicted, instances=ready.predicted.instances.take(kept), proposals=None),
        tuple(label for label, there in zip(labels, kept, strict=True) if there),
        records,
        ready.failed,
    )


def _kept(instances: Instances, result: Result) -> NDArray[np.bool_]:
    """Which predictions were scored: after a sweep, those whose score reaches its threshold."""
    if result.metrics.sweep is None or instances.scores is None:
        return np.ones(len(instances), dtype=bool)
    return np.asarray(instances.scores >= result.metrics.sweep.threshold)


def _check_predictions(file: Path, result: Result) -> None:
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"predictions {file} cannot be read: {error.strerror}") from error
    if result.predictions.sha256 not in (None, found):
        raise DataError(f"{file} has changed since it was scored; score it again with `earthinstruct evaluate`")
