"""Scores stored predictions: maps labels, brings records into columns, and hands them to the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.instances import ImageId, Instances
from earthinstruct.masks import RLE, MaskRuns, decode_rles
from earthinstruct.metrics import Metrics, Predicted, Protocol, Truth, Value, measure
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.protocols import STANDARD
from earthinstruct.running.predictions import ProposalRecord, Record
from earthinstruct.tasks import ExactMapper, LabelMapper, MappedLabel, Task

_MOST_OBJECTS = 1 << 31  # of a category in an image: sums and squares over images stay within int64


@dataclass(frozen=True)
class Scored:
    """Scores, and what they rest on.

    Attributes:
        metrics: every score.
        label_map: where each label went.
        n_done: images with a prediction.
        failed: image -> reason, for the images that count as predicted empty.
    """

    metrics: Metrics
    label_map: dict[str, MappedLabel]
    n_done: int
    failed: dict[ImageId, str]


def score_records(
    task: Task,
    dataset: Dataset,
    records: Mapping[ImageId, Record],
    *,
    protocol: Protocol = STANDARD,
    mapper: LabelMapper | None = None,
    sweep: bool = False,
    resamples: int = RESAMPLES,
    images: Sequence[ImageId] | None = None,
) -> Scored:
    """Score predictions of one task.

    Args:
        task: the task.
        dataset: its images and ground truth.
        records: predictions by image.
        protocol: the rules.
        mapper: from labels to categories; None: `exact`.
        sweep: choose the score threshold first.
        resamples: bootstrap resamples; 0: no intervals.
        images: score these images only; None: all of the dataset.

    Raises:
        DataError: a record is malformed, or a label maps to nothing where the categories were given.
        EarthInstructError: a sweep of predictions without scores.
    """
    ready = prepare(task, dataset, records, protocol=protocol, mapper=mapper, images=images)
    predicted = ready.predicted
    if sweep and predicted.instances.scores is None:
        raise EarthInstructError(
            "--sweep needs predictions with scores, and these have none (they are confidence-free)"
        )
    metrics = measure(ready.truth, predicted, protocol, sweep=sweep, resamples=resamples)
    if task.setting == "open_subclass":
        n = len(predicted.instances)
        adherence = (
            Value(float((predicted.instances.category >= 0).mean())) if n else Value(None, reason="no instances")
        )
        metrics = msgspec.structs.replace(metrics, adherence=adherence)
    return Scored(metrics, ready.label_map, len(ready.truth.images) - len(ready.failed), ready.failed)


@dataclass(frozen=True)
class Prepared:
    """Predictions and ground truth of one task in the form the metrics take.

    Attributes:
        truth: what is there.
        predicted: what was predicted.
        label_map: where each label went.
        failed: image -> reason, for the images that count as predicted empty.
    """

    truth: Truth
    predicted: Predicted
    label_map: dict[str, MappedLabel]
    failed: dict[ImageId, str]


def prepare(
    task: Task,
    dataset: Dataset,
    records: Mapping[ImageId, Record],
    *,
    protocol: Protocol = STANDARD,
    mapper: LabelMapper | None = None,
    images: Sequence[ImageId] | None = None,
) -> Prepared:
    """Check and map predictions; the arguments and errors are those of `score_records`."""
    wanted = None if images is None else set(images)
    chosen = [image for image in dataset.images if wanted is None or image.id in wanted]
    failed: dict[ImageId, str] = {}
    ordered: list[Record] = []
    for image in chosen:
        record = records.get(image.id)
        if record is None or record.error is not None:
            failed[image.id] = "no prediction" if record is None or record.error is None else record.error
            record = Record(image.id)
        ordered.append(record)

    columns = _Columns(ordered, {image.id: (image.height, image.width) for image in chosen})
    label_map = (mapper or ExactMapper()).map(columns.labels, task.vocabulary.categories)
    if task.setting == "open_vocabulary":
        for label, mapped in label_map.items():
            if mapped.category is None:
                raise DataError(
                    f"image {columns.image_with(label)!r}: label {label!r} is not one of the categories "
                    f"({', '.join(task.categories)}); give a label map with --label-map"
                )
    category = {name: i for i, name in enumerate(task.categories)}
    of_label = np.array([category.get(label_map[label].category or "", -1) for label in columns.labels], dtype=np.int64)
    truth = _truth(task, dataset, [image.id for image in chosen], protocol)
    return Prepared(truth, columns.predicted(of_label, len(category)), label_map, failed)


def _truth(task: Task, dataset: Dataset, images: Sequence[ImageId], protocol: Protocol) -> Truth:
    """The ground truth of the scored categories and images."""
    annotations = dataset.annotations
    if protocol.first_polygon_only:
        annotations = replace(annotations, masks=dataset.first_part_masks)
    mapping = [task.categories.index(name) if name in task.categories else -1 for name in dataset.vocabulary.categories]
    instances = annotations.relabelled(np.array(mapping, dtype=np.int64))
    position = {image: i for i, image in enumerate(images)}
    of_image = np.array([position.get(image.id, -1) for image in dataset.images], dtype=np.int64)
    instances = replace(instances, image=of_image[instances.image])
    return Truth(
        images=tuple(images),
        categories=task.categories,
        groups=task.groups,
        instances=instances.take(instances.image >= 0),
        no_masks_reason=dataset.no_masks_reason,
    )


class _Columns:
    """The records of all images as columns; every check that a `Prediction` makes is made here on whole columns."""

    def __init__(self, records: Sequence[Record], sizes: Mapping[ImageId, tuple[int, int]]) -> None:
        self.records = records
        self.sizes = sizes
        names = Counter(label for record in records for label in record.labels)
        names.update(label for record in records for label in record.counts or ())
        self.labels = sorted(names)
        self.index = {label: i for i, label in enumerate(self.labels)}

    def image_with(self, label: str) -> ImageId | None:
        return next((r.image_id for r in self.records if label in r.labels or label in (r.counts or ())), None)

    def predicted(self, category_of_label: NDArray[np.int64], n_categories: int) -> Predicted:
        for record in self.records:
            if len(record.labels) != len(record.boxes):
                raise DataError(f"image {record.image_id!r}: {len(record.labels)} labels for {len(record.boxes)} boxes")
        instances, no_masks_reason = self.instances(self.records, "")
        labels = np.array([self.index[label] for record in self.records for label in record.labels], dtype=np.int64)
        instances = replace(instances, category=category_of_label[labels])
        counts = np.zeros((len(self.records), n_categories), dtype=np.int64)
        mentioned = np.zeros(n_categories, dtype=bool)
        for i, record in enumerate(self.records):
            for label, count in (record.counts or {}).items():
                if not 0 <= count <= _MOST_OBJECTS:
                    raise DataError(
                        f"image {record.image_id!r}: the count of {label!r} is {count}; expected 0 to {_MOST_OBJECTS}"
                    )
                category = category_of_label[self.index[label]]
                if category >= 0:
                    counts[i, category] += count
                    mentioned[category] = True
        proposals = None
        if any(record.proposals is not None for record in self.records):
            nothing = ProposalRecord([])
            proposals, _ = self.instances([record.proposals or nothing for record in self.records], "proposals.")
        return Predicted(
            instances=instances,
            counts=counts,
            has_counts=np.array([record.counts is not None for record in self.records], dtype=bool),
            mentioned=mentioned,
            proposals=proposals,
            no_masks_reason=no_masks_reason,
        )

    def instances(self, regions: Sequence[Record | ProposalRecord], prefix: str) -> tuple[Instances, str | None]:
        """The regions of all images in columns (category 0), and why they have no masks."""
        n = np.array([len(part.boxes) for part in regions], dtype=np.int64)
        image = np.repeat(np.arange(len(regions)), n)
        boxes = np.array([box for part in regions for box in part.boxes], dtype=np.float64).reshape(-1, 4)
        self.refuse(
            np.asarray(~np.isfinite(boxes).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1)),
            image,
            n,
            f"{prefix}boxes",
            boxes,
        )
        for name in ("masks", "scores"):
            for record, part in zip(self.records, regions, strict=True):
                values = getattr(part, name)
                if values is not None and len(values) != len(part.boxes):
                    raise DataError(
                        f"image {record.image_id!r}: {len(values)} {prefix}{name} for {len(part.boxes)} boxes"
                    )
        scores, masks, no_masks_reason = None, None, None
        scored = [part.scores is not None for part in regions if part.boxes]
        if any(scored) and not all(scored):
            bare = next(r for r, part in zip(self.records, regions, strict=True) if part.boxes and part.scores is None)
            raise DataError(f"image {bare.image_id!r} has no {prefix}scores, and other images have; give all or none")
        if any(scored):
            scores = np.array([value for part in regions for value in part.scores or ()], dtype=np.float64)
            self.refuse(~np.isfinite(scores), image, n, f"{prefix}scores", scores)
        without = next(
            (r for r, part in zip(self.records, regions, strict=True) if part.boxes and part.masks is None), None
        )
        if without is None:
            masks = self.masks([rle for part in regions for rle in part.masks or ()], image, n, f"{prefix}masks")
        else:
            no_masks_reason = f"the prediction of image {without.image_id!r} has no masks"
        return Instances(image, np.zeros(len(image), dtype=np.int64), boxes, masks, scores), no_masks_reason

    def masks(self, rles: Sequence[RLE], image: NDArray[np.int64], n: NDArray[np.int64], what: str) -> MaskRuns:
        """The masks of all images, each of the size of its image."""
        sizes = np.array([self.sizes[record.image_id] for record in self.records], dtype=np.int64).reshape(-1, 2)
        actual = np.array([rle["size"] for rle in rles], dtype=np.int64).reshape(-1, 2)
        wrong = (actual != sizes[image]).any(axis=1)
        self.refuse(wrong, image, n, f"{what}.size", actual, "the size of its image (height, width)")
        try:
            return decode_rles(rles, what)
        except ContractError:
            for i, rle in enumerate(rles):  # which image it is, only now that it matters
                try:
                    decode_rles([rle], what)
                except ContractError as error:
                    within = i - int(n[: image[i]].sum())
                    problem = str(error).replace(f"{what}[0]", f"{what}[{within}]", 1)
                    raise DataError(f"image {self.records[image[i]].image_id!r}: {problem}") from error
            raise

    def refuse(
        self,
        bad: NDArray[np.bool_],
        image: NDArray[np.int64],
        n: NDArray[np.int64],
        what: str,
        values: NDArray[np.float64] | NDArray[np.int64],
        expected: str = "finite numbers, width and height >= 0",
    ) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            within = i - int(n[: image[i]].sum())
            raise DataError(
                f"image {self.records[image[i]].image_id!r}: {what}[{within}] is {values[i].tolist()}; "
                f"expected {expected}"
            )
