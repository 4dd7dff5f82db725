"""Suspected errors of the ground truth: places where a method that is mostly right disagrees with the annotations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.metrics.average_precision import rank_within
from earthinstruct.metrics.detection import Detection
from earthinstruct.metrics.error_types import PREDICTION_VERDICTS, TARGET_VERDICTS, Judgement
from earthinstruct.metrics.matching import find_pairs
from earthinstruct.metrics.scores import Columns, recall
from earthinstruct.regions import ImageId, by_id

Reason = Literal["missing", "category", "spurious"]
MOST_SUSPECTS = 50  # of each reason
_LEAST_RECALL = 0.5  # of a category that the method mostly finds


class Suspect(msgspec.Struct, frozen=True, omit_defaults=True):
    """A place where an annotation may be wrong.

    Attributes:
        reason: `missing`: a confident prediction is near no object, so an object may lack its annotation. `category`: a
            prediction of a category that the method mostly finds (a confident one, if there are scores) lies on an
            object of another category, which no other prediction finds. `spurious`: no prediction is near an object of
            a category that the method mostly finds.
        image: id of the image.
        box: COCO xywh, pixels: that of the prediction, or of the missed object.
        annotated: the category of the annotation; None if none is there.
        predicted: the category of the prediction; None if none is there.
        score: of the prediction, if it has one.
        iou: of the prediction with the object; `category` only.
    """

    reason: Reason
    image: ImageId
    box: tuple[float, float, float, float]
    annotated: str | None = None
    predicted: str | None = None
    score: float | None = None
    iou: float | None = None


@dataclass(frozen=True, eq=False)
class Candidates:
    """Places that may be suspected for one reason, in columns, the most suspicious first.

    Attributes:
        image: int64 (n,), index into the images.
        boxes: float64 (n, 4).
        annotated: int64 (n,), index of the category, or -1.
        predicted: int64 (n,), index of the category, or -1.
        score: float64 (n,), what ranks first: the score of a prediction or, without scores, 0; the area of an object.
        iou: float64 (n,).
    """

    image: NDArray[np.int64]
    boxes: NDArray[np.float64]
    annotated: NDArray[np.int64]
    predicted: NDArray[np.int64]
    score: NDArray[np.float64]
    iou: NDArray[np.float64]

    def most_suspicious(self, images: Sequence[ImageId], *, by_category: bool) -> Candidates:
        """Keep the first `MOST_SUSPECTS`, of each pair of categories if `by_category`; no file order matters."""
        place = np.empty(len(images), dtype=np.int64)
        place[by_id(images)] = np.arange(len(images))
        keys = (self.predicted, self.annotated, *self.boxes.T[::-1], place[self.image], -self.iou, -self.score)
        order = np.lexsort(keys)
        cell = (self.annotated * (1 + self.predicted.max(initial=0)) + self.predicted)[order]
        rank = rank_within(cell) if by_category else np.arange(len(order))
        return self.take(order[rank < MOST_SUSPECTS])

    def take(self, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Candidates:
        """Select candidates, by index or by truth."""
        return Candidates(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))

    @staticmethod
    def join(chunks: Sequence[Candidates], n_images: Sequence[int]) -> Candidates:
        """Join chunks; `n_images` holds the number of images of each."""
        before = np.cumsum([0, *n_images]).tolist()
        moved = [replace(chunk, image=chunk.image + start) for chunk, start in zip(chunks, before, strict=False)]
        return Candidates(
            *(np.concatenate([getattr(chunk, name) for chunk in moved]) for name in Candidates.__dataclass_fields__)
        )


SuspectChunk = dict[Reason, Candidates]


def candidates(detection: Detection, judged: Judgement) -> SuspectChunk:
    """The places of one chunk that may be suspected, by reason; `judged` are the verdicts by boxes."""
    predictions, targets, images = detection.predictions, detection.truth.instances, detection.truth.images
    scores = np.zeros(len(predictions)) if predictions.scores is None else predictions.scores
    codes, objects = PREDICTION_VERDICTS.index, TARGET_VERDICTS.index
    lone = np.flatnonzero(judged.predictions == codes("background"))
    if predictions.scores is None:
        lone = lone[:0]  # nothing says how sure the method is
    other, on, iou = _on_others(detection, judged)
    missed = np.flatnonzero(judged.targets == objects("missed"))
    nothing = np.full(max(len(lone), len(missed)), -1)
    boxes, of_missed = predictions.boxes, targets.boxes[missed]
    found: SuspectChunk = {
        "missing": Candidates(
            predictions.image[lone],
            boxes[lone],
            nothing[: len(lone)],
            predictions.category[lone],
            scores[lone],
            np.zeros(len(lone)),
        ),
        "category": Candidates(
            predictions.image[other],
            boxes[other],
            targets.category[on],
            predictions.category[other],
            scores[other],
            iou,
        ),
        "spurious": Candidates(
            targets.image[missed],
            of_missed,
            targets.category[missed],
            nothing[: len(missed)],
            of_missed[:, 2] * of_missed[:, 3],
            np.zeros(len(missed)),
        ),
    }
    return {reason: of.most_suspicious(images, by_category=True) for reason, of in found.items()}


def _on_others(
    detection: Detection, judged: Judgement
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The predictions on a misclassified object, the object (of several, that of the largest IoU), and the IoU."""
    predictions, targets = detection.predictions, detection.truth.instances
    rows = np.flatnonzero(judged.predictions == PREDICTION_VERDICTS.index("classification"))
    columns = np.flatnonzero(judged.targets == TARGET_VERDICTS.index("misclassified"))
    pairs = find_pairs(predictions.take(rows), targets.take(columns), detection.geometry, agnostic=True)
    order = np.lexsort((*targets.boxes[columns[pairs.target]].T, pairs.iou, pairs.prediction))
    largest = order[np.append(np.diff(pairs.prediction[order]) != 0, True)[: len(order)]]
    return rows[pairs.prediction[largest]], columns[pairs.target[largest]], pairs.iou[largest]


def suspects_of(
    found: SuspectChunk,
    images: Sequence[ImageId],
    categories: Sequence[str],
    totals: Columns,
    right_scores: NDArray[np.float64] | None,
) -> list[Suspect]:
    """List the suspects of all images by reason, the most suspicious first: at most `MOST_SUSPECTS` of each reason.

    A prediction is confident if at least half of the right predictions have no higher score. A category is mostly found
    if its recall is at least 0.5.

    Args:
        found: the candidates in all images.
        images: ids of the images.
        categories: names of the categories.
        totals: tp and fn of the boxes, over all images.
        right_scores: scores of the right predictions, in increasing order; None without scores.
    """
    least = -np.inf
    if right_scores is not None:
        least = right_scores[len(right_scores) // 2] if len(right_scores) else np.inf
    suspects = []
    for reason, of in found.items():
        enough = np.ones(len(of.score), dtype=bool) if reason == "spurious" else of.score >= least
        if reason != "missing":
            category = of.annotated if reason == "spurious" else of.predicted
            enough &= recall(totals)[category] >= _LEAST_RECALL
        kept = of.take(enough).most_suspicious(images, by_category=False)
        for image, box, annotated, predicted, score, iou in zip(
            *(getattr(kept, name).tolist() for name in Candidates.__dataclass_fields__), strict=True
        ):
            suspects.append(
                Suspect(
                    reason,
                    images[image],
                    tuple(box),
                    None if annotated < 0 else categories[annotated],
                    None if predicted < 0 else categories[predicted],
                    None if predicted < 0 or right_scores is None else score,
                    iou if reason == "category" else None,
                )
            )
    return suspects
