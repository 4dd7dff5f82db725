"""Load a run folder for the report: sums over all images, and the verdicts on chosen images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import (
    PREDICTION_VERDICTS,
    TARGET_VERDICTS,
    Predicted,
    Protocol,
    Truth,
    Verdicts,
    count_per_image,
    find_pairs,
    reaching,
    verdicts,
)
from earthinstruct.regions import ImageId
from earthinstruct.results import Result, read_result
from earthinstruct.scoring import ScoringSet, StoredRun, dataset_of, read_stored
from earthinstruct.texts import shortened


@dataclass(frozen=True, eq=False)
class Judged:
    """Some images with their predictions, and the verdicts by boxes."""

    truth: Truth
    predicted: Predicted  # after a sweep, those that reach the threshold
    labels: tuple[str, ...]  # the method's label of each prediction
    protocol: Protocol

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdict of each prediction and each object."""
        return verdicts(self.truth, self.predicted, self.protocol)

    @cached_property
    def lies_on(self) -> NDArray[np.int64]:
        """int64 (predictions,): the object of any category with the largest IoU >= 0.5, or -1; the match if correct."""
        pairs = find_pairs(self.predicted.instances, self.truth.instances, "box", agnostic=True)
        on = np.full(len(self.predicted.instances), -1)
        order = np.argsort(pairs.iou, kind="stable")  # the largest is written last
        on[pairs.prediction[order]] = pairs.target[order]
        correct = self.verdicts.predictions == 0
        on[correct] = self.verdicts.because_of[correct]
        return on

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix: int64 (c + 1, c + 2).

        Rows are the categories of the objects, then background. Columns are the predicted categories, then no category,
        then objects that no prediction lies on.
        """
        n, categories = self.truth.shape[1], self.truth.instances.category
        table = np.zeros((n + 1, n + 2), dtype=np.int64)
        on, said = self.lies_on, self.predicted.instances.category
        actual = np.where(on >= 0, categories[on] if len(categories) else n, n)
        np.add.at(table, (actual, np.where(said >= 0, said, n)), 1)
        alone = np.ones(len(categories), dtype=bool)
        alone[on[on >= 0]] = False
        np.add.at(table[:, n + 1], categories[alone], 1)
        return table

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The actual and the predicted counts: two int64 (images, categories)."""
        own = count_per_image(self.predicted.instances, *self.truth.shape)
        given = self.predicted.has_counts[:, None]
        return count_per_image(self.truth.instances, *self.truth.shape), np.where(given, self.predicted.counts, own)

    @property
    def wrong(self) -> NDArray[np.int64]:
        """Number of wrong predictions and missed objects: int64 (images,)."""
        n, names = len(self.truth.images), PREDICTION_VERDICTS
        predictions, targets = self.verdicts.predictions, self.verdicts.targets
        counted = (predictions != names.index("correct")) & (predictions != names.index("unscored"))
        missed = targets != TARGET_VERDICTS.index("correct")
        return np.bincount(self.predicted.instances.image[counted], minlength=n) + np.bincount(
            self.truth.instances.image[missed], minlength=n
        )

    @property
    def miscounted(self) -> NDArray[np.int64]:
        """Number of objects counted too many or too few: int64 (images,)."""
        actual, said = self.counts
        entering = self.predicted.has_counts | (not self.protocol.skips_images_without_counts)
        return np.where(entering, np.abs(said - actual).sum(axis=1), 0)


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One scored run, read in chunks of images."""

    stored: StoredRun
    images: tuple[ImageId, ...]  # those that are scored
    failed: Mapping[ImageId, str]  # image -> reason
    objects: NDArray[np.int64]  # (images,), number of objects in the ground truth
    # (images,), number of wrong predictions and missed objects by boxes; of objects counted too many or too few for a
    # method that only counts
    errors: NDArray[np.int64]
    n_predicted: int  # number of scored predictions
    kinds: tuple[int, ...]  # the verdicts that occur among the predictions, indices into `PREDICTION_VERDICTS`
    confusion: NDArray[np.int64]  # of all images, as in `Judged`; zeros for a method that only counts
    # label of the method -> category (None for background) -> number of its predictions on such an object
    under: Mapping[str, Counter[str | None]]

    @property
    def result(self) -> Result:
        """Its result."""
        return self.stored.result

    def judged(self, images: Sequence[ImageId]) -> Iterator[Judged]:
        """Judge these images, in the order of the dataset and in chunks."""
        return _judged(self.stored, self.stored.scoring_set(images))


def load_run(folder: Path, dataset: str | Path | Dataset | None = None, data: Path | None = None) -> LoadedRun:
    """Read a run folder and its dataset.

    Args:
        folder: the run folder, with `result.json` and `predictions.jsonl`.
        dataset: the dataset, or its name or path; None: the one that the run used.
        data: the folder of the user's data; None: the one that the run used.

    Raises:
        DataError: the folder is incomplete, its predictions have changed since they were scored, or the dataset has
            other annotations.
    """
    if not (folder / "result.json").is_file():
        raise DataError(f"{folder} has no result.json; give a run folder, as printed by `earthinstruct evaluate`")
    result = read_result(folder / "result.json")
    stored = read_stored(folder, result, dataset_of(folder, result, dataset, data))
    known = stored.scoring_set()
    unmapped = next((label for label in known.survey.labels if label not in result.label_map), None)
    if unmapped is not None:
        raise DataError(
            f"{folder / 'result.json'} contradicts its predictions: its label map lacks the label "
            f"{shortened(unmapped)!r}; score them again with `earthinstruct score`"
        )
    objects, wrong, miscounted = [], [], []
    n_predicted, n = 0, len(stored.task.categories)
    kinds: set[int] = set()
    confusion = np.zeros((n + 1, n + 2), dtype=np.int64)
    under: dict[str, Counter[str | None]] = {label: Counter() for label in result.label_map}
    for judged in _judged(stored, known):
        n_predicted += len(judged.predicted.instances)
        objects.append(judged.counts[0].sum(axis=1))
        wrong.append(judged.wrong)
        miscounted.append(judged.miscounted)
        kinds.update(np.unique(judged.verdicts.predictions).tolist())
        confusion += judged.confusion
        for label, target in zip(judged.labels, judged.lies_on.tolist(), strict=True):
            category = None if target < 0 else stored.task.categories[judged.truth.instances.category[target]]
            under[label][category] += 1
    return LoadedRun(
        stored,
        tuple(image.id for image in known.images),
        known.survey.failed,
        np.concatenate(objects),
        np.concatenate(miscounted if known.survey.only_counts else wrong),
        n_predicted,
        tuple(sorted(kinds)),
        np.zeros_like(confusion) if known.survey.only_counts else confusion,
        under,
    )


def _judged(stored: StoredRun, known: ScoringSet) -> Iterator[Judged]:
    threshold = stored.threshold
    for truth, predicted in known.chunks():
        answered = (stored.records[image] for image in truth.images if image not in known.survey.failed)
        labels = [label for record in answered for label in record.labels]
        kept = reaching(truth, predicted, threshold)
        yield Judged(
            truth,
            replace(predicted, instances=predicted.instances.take(kept), proposals=None),
            tuple(label for label, there in zip(labels, kept.tolist(), strict=True) if there),
            stored.protocol,
        )
