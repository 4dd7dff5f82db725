"""Load a run folder for the report: sums over all images, and the verdicts on chosen images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import (
    PREDICTION_VERDICTS,
    TARGET_VERDICTS,
    Outcomes,
    Pairs,
    Predicted,
    Protocol,
    Truth,
    Value,
    Verdicts,
    boxes_of_chunk,
    count_per_image,
    find_pairs,
    reaching,
    verdicts,
)
from earthinstruct.regions import ImageId
from earthinstruct.results import Result, read_result
from earthinstruct.scoring import ScoringSet, StoredRun, dataset_of, read_stored
from earthinstruct.texts import shortened

_CORRECT, _UNSCORED = PREDICTION_VERDICTS.index("correct"), PREDICTION_VERDICTS.index("unscored")
_BANDS = (0, 1, 2, 3, 6, 11, 21, 51, 101, 201, 1 << 62)  # numbers of objects: each up to below the next


@dataclass(frozen=True, eq=False)
class Counts:
    """The counts of some images: one entry for each image and category with an object or a predicted one.

    Attributes:
        image: int64 (m,), index of the image.
        category: int64 (m,), index of the category.
        actual: int64 (m,), number of objects.
        said: int64 (m,), predicted number.
    """

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    actual: NDArray[np.int64]
    said: NDArray[np.int64]

    @staticmethod
    def join(chunks: Sequence[Counts], n_images: Sequence[int]) -> Counts:
        """Join the counts of one or more chunks of images."""
        before = np.cumsum([0, *n_images]).tolist()
        return Counts(
            np.concatenate([of.image + first for of, first in zip(chunks, before, strict=False)]),
            *(np.concatenate([getattr(of, name) for of in chunks]) for name in ("category", "actual", "said")),
        )


def bands(objects: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The bands of numbers of objects that occur: name, and which entries are in it."""
    for low, high in pairwise(_BANDS):
        of = (objects >= low) & (objects < high)
        if of.any():
            name = str(low) if high == low + 1 else f"{low} or more" if high == _BANDS[-1] else f"{low} to {high - 1}"
            yield name, of


@dataclass(frozen=True, eq=False)
class Judged:
    """Some images with their predictions, and the verdicts by boxes, or by points for a method that only points."""

    truth: Truth
    predicted: Predicted  # after a sweep, those that reach the threshold
    every: Predicted  # at any score
    labels: tuple[str, ...]  # the method's label of each prediction
    protocol: Protocol

    @cached_property
    def verdicts(self) -> Verdicts:
        """The verdict of each prediction and each object."""
        return verdicts(self.truth, self.predicted, self.protocol, self.predicted.geometry)

    @cached_property
    def _overlaps(self) -> Pairs:
        """The pairs of a prediction and an object of any category with IoU >= 0.5, the largest IoU last.

        For points: the pairs of a point and the object that it lies in. Among equals, the order of the categories
        decides.
        """
        pairs = find_pairs(self.predicted.instances, self.truth.instances, self.predicted.geometry, agnostic=True)
        said, actual = self.predicted.instances.category, self.truth.instances.category
        return pairs.where(np.lexsort((said[pairs.prediction], actual[pairs.target], pairs.iou)))

    @cached_property
    def lies_on(self) -> NDArray[np.int64]:
        """int64 (predictions,): the object of any category with the largest IoU >= 0.5, or -1; the match if correct."""
        on = np.full(len(self.predicted.instances), -1)
        on[self._overlaps.prediction] = self._overlaps.target  # the largest is written last
        correct = self.verdicts.predictions == _CORRECT
        on[correct] = self.verdicts.because_of[correct]
        return on

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """The confusion matrix: int64 (c + 1, c + 2), one prediction for each object.

        A correct prediction goes with its object. Of the others, a prediction and an object of any category go together
        if their IoU is at least 0.5, the largest IoU first. Rows are the categories of the objects, then no object: a
        duplicate, or a prediction near no object. Columns are the predicted categories, then no category, then objects
        without a prediction. So a row adds up to the objects of its category, and a column to its predictions.
        """
        n, actual = self.truth.shape[1], self.truth.instances.category
        said = np.where(self.predicted.instances.category >= 0, self.predicted.instances.category, n)
        verdict = self.verdicts.predictions
        counted = (verdict != _UNSCORED) | (said == n)  # not those on an ignored object
        target = np.where(verdict == _CORRECT, self.verdicts.because_of, -1)
        found = self.verdicts.targets == TARGET_VERDICTS.index("correct")
        rest = (counted & (target < 0))[self._overlaps.prediction] & ~found[self._overlaps.target]
        pairs = zip(self._overlaps.prediction[rest].tolist(), self._overlaps.target[rest].tolist(), strict=True)
        for prediction, other in reversed(list(pairs)):
            if target[prediction] < 0 and not found[other]:
                target[prediction], found[other] = other, True
        table = np.zeros((n + 1, n + 2), dtype=np.int64)
        row = np.append(actual, n)[target]  # -1, no object, is the last
        np.add.at(table, (row[counted], said[counted]), 1)
        np.add.at(table[:, n + 1], actual[~found], 1)
        return table

    @property
    def entries(self) -> Counts:
        """The counts that enter the scores."""
        actual, said = self.counts
        image, category = np.nonzero(((actual > 0) | (said > 0)) & self._entering[:, None])
        return Counts(image, category, actual[image, category], said[image, category])

    @property
    def _entering(self) -> NDArray[np.bool_]:
        """Whether the counts of an image enter the scores: bool (images,)."""
        return self.predicted.has_counts | (not self.protocol.skips_images_without_counts)

    @cached_property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The actual and the predicted counts: two int64 (images, categories)."""
        own = count_per_image(self.predicted.instances, *self.truth.shape)
        given = self.predicted.has_counts[:, None]
        return count_per_image(self.truth.instances, *self.truth.shape), np.where(given, self.predicted.counts, own)

    @property
    def wrong(self) -> NDArray[np.int64]:
        """Number of wrong predictions and missed objects: int64 (images,)."""
        n = len(self.truth.images)
        predictions, targets = self.verdicts.predictions, self.verdicts.targets
        counted = (predictions != _CORRECT) & (predictions != _UNSCORED)
        missed = targets != TARGET_VERDICTS.index("correct")
        return np.bincount(self.predicted.instances.image[counted], minlength=n) + np.bincount(
            self.truth.instances.image[missed], minlength=n
        )

    @property
    def miscounted(self) -> NDArray[np.int64]:
        """Number of objects counted too many or too few: int64 (images,)."""
        actual, said = self.counts
        return np.where(self._entering, np.abs(said - actual).sum(axis=1), 0)


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """One scored run, read in chunks of images."""

    stored: StoredRun
    images: tuple[ImageId, ...]  # those that are scored
    failed: Mapping[ImageId, str]  # image -> reason
    objects: NDArray[np.int64]  # (images,), number of objects in the ground truth
    # (images,), number of wrong predictions and missed objects, as in `Judged`; of objects counted too many or too few
    # for a method that only counts
    errors: NDArray[np.int64]
    miscounted: NDArray[np.int64]  # (images,), number of objects counted too many or too few
    only_counts: bool  # whether the method names no instances
    counts: Counts
    outcomes: Outcomes | None  # of the boxes at any score; None for a method without scores
    n_predicted: int  # number of scored predictions
    kinds: tuple[int, ...]  # the verdicts that occur among the predictions, indices into `PREDICTION_VERDICTS`
    confusion: NDArray[np.int64]  # of all images, as in `Judged`; zeros for a method that only counts
    # label of the method -> category (None for background) -> number of its predictions on such an object
    under: Mapping[str, Counter[str | None]]

    @property
    def result(self) -> Result:
        """Its result."""
        return self.stored.result

    def errors_beside(self, other: LoadedRun) -> tuple[str, NDArray[np.int64], NDArray[np.int64]]:
        """The errors by image of this run and of another one, of one kind: counting errors if one of them only counts.

        Returns:
            What they are, then those of this run and of the other: int64 (images,).
        """
        if self.only_counts or other.only_counts:
            return "counting errors", self.miscounted, other.miscounted
        return "errors", self.errors, other.errors

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
        raise DataError(
            f"{folder} has no result.json; give a run folder, as printed by `earthinstruct evaluate`, or a folder with "
            "run folders in it"
        )
    result = read_result(folder / "result.json")
    stored = read_stored(folder, result, dataset_of(folder, result, dataset, data))
    known = stored.scoring_set()
    unmapped = next((label for label in known.survey.first_image if label not in result.label_map), None)
    if unmapped is not None:
        raise DataError(
            f"{folder / 'result.json'} contradicts its predictions: its label map lacks the label "
            f"{shortened(unmapped)!r}; score them again with `earthinstruct score`"
        )
    objects, wrong, miscounted, counts, outcomes = [], [], [], [], []
    scored = stored.protocol.constant_score_ap is None and _is_defined(result.metrics.box.ap50)
    n_predicted, n = 0, len(stored.task.categories)
    kinds: set[int] = set()
    confusion = np.zeros((n + 1, n + 2), dtype=np.int64)
    under: dict[str, Counter[str | None]] = {label: Counter() for label in result.label_map}
    for judged in _judged(stored, known):
        n_predicted += len(judged.predicted.instances)
        objects.append(judged.counts[0].sum(axis=1))
        wrong.append(judged.wrong)
        miscounted.append(judged.miscounted)
        counts.append(judged.entries)
        if scored:
            outcomes.append(boxes_of_chunk(judged.truth, judged.every, stored.protocol)[0])
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
        np.concatenate(miscounted),
        known.survey.only_counts,
        Counts.join(counts, [len(of) for of in objects]),
        Outcomes.join(outcomes) if outcomes else None,
        n_predicted,
        tuple(sorted(kinds)),
        np.zeros_like(confusion) if known.survey.only_counts else confusion,
        under,
    )


def _is_defined(score: Value | None) -> bool:
    return score is not None and score.value is not None


def _judged(stored: StoredRun, known: ScoringSet) -> Iterator[Judged]:
    threshold = stored.threshold
    for truth, predicted in known.chunks():
        answered = (stored.records[image] for image in truth.images if image not in known.survey.failed)
        labels = [label for record in answered for label in record.labels]
        kept = reaching(truth, predicted, threshold)
        yield Judged(
            truth,
            replace(predicted, instances=predicted.instances.take(kept), proposals=None),
            predicted,
            tuple(label for label, there in zip(labels, kept.tolist(), strict=True) if there),
            stored.protocol,
        )
