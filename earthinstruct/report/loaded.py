"""A run folder as the report shows it: its result, its predictions, and the verdict on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.instances import ImageId
from earthinstruct.metrics import Predicted, Truth, Verdicts, verdicts
from earthinstruct.metrics.matching import find_pairs
from earthinstruct.results import Result, read_result
from earthinstruct.running.predictions import Record
from earthinstruct.running.stored import StoredRun, dataset_of, read_stored


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One scored run with the predictions that were scored.

    Attributes:
        stored: the run.
        predicted: its predictions; after a sweep those that reach the threshold.
        labels: the method's own word for each of them.
    """

    stored: StoredRun
    predicted: Predicted
    labels: tuple[str, ...]

    @property
    def result(self) -> Result:
        """Its scores."""
        return self.stored.result

    @property
    def truth(self) -> Truth:
        """The ground truth of the scored images."""
        return self.stored.prepared.truth

    @property
    def records(self) -> Mapping[ImageId, Record]:
        """What was written for each image."""
        return self.stored.records

    @property
    def failed(self) -> Mapping[ImageId, str]:
        """Image -> reason."""
        return self.stored.prepared.failed

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdict on each prediction and each object, by boxes."""
        return verdicts(self.truth, self.predicted, self.stored.protocol)

    @cached_property
    def lies_on(self) -> NDArray[np.int64]:
        """The object that each prediction lies on, of whatever category: IoU >= 0.5, the largest; -1: none."""
        pairs = find_pairs(self.predicted.instances, self.truth.instances, "box", agnostic=True)
        on = np.full(len(self.predicted.instances), -1)
        order = np.argsort(pairs.iou, kind="stable")  # the largest is written last
        on[pairs.prediction[order]] = pairs.target[order]
        correct = self.verdicts.predictions == 0
        on[correct] = self.verdicts.because_of[correct]
        return on

    @cached_property
    def errors(self) -> NDArray[np.int64]:
        """Wrong and missing objects of each image: int64 (images,). By boxes, or by counts where there are no boxes."""
        by_counts = not len(self.predicted.instances) and bool(self.predicted.has_counts.any())
        tally = self.stored.tallies()["counting" if by_counts else "box"]
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
        dataset: the dataset, or its name or path; None: from where the run had it.
        data: the folder of the user's data; None: the one that the run had.

    Raises:
        DataError: the folder is incomplete, its predictions are not those that were scored, or the dataset has other
            annotations.
    """
    if not (folder / "result.json").is_file():
        raise DataError(
            f"{folder} has no result.json; give a run folder, as `earthinstruct evaluate` prints it at its end"
        )
    result = read_result(folder / "result.json")
    stored = read_stored(folder, result, dataset_of(folder, result, dataset, data))
    predicted, failed = stored.prepared.predicted, stored.prepared.failed
    images = stored.prepared.truth.images
    labels = [label for image in images if image not in failed for label in stored.records[image].labels]
    kept = predicted.reaching(stored.threshold)
    return LoadedRun(
        stored,
        replace(predicted, instances=predicted.instances.take(kept), proposals=None),
        tuple(label for label, there in zip(labels, kept, strict=True) if there),
    )
