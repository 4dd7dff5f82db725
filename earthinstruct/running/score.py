"""Scores stored predictions: maps labels, brings records into columns, and hands them to the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Usage
from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.instances import ImageId, Instances
from earthinstruct.masks import RLE, MaskRuns, decode_rles
from earthinstruct.metrics import Metrics, Predicted, Protocol, Truth, Value, measure
from earthinstruct.metrics.bootstrap import RESAMPLES
from earthinstruct.metrics.protocols import STANDARD
from earthinstruct.running.predictions import ProposalRecord, Record
from earthinstruct.tasks import ExactMapper, LabelMapper, MappedLabel, Task

_MOST_OBJECTS = 1 << 31  # of a category in an image: sums and squares over images stay within int64
_IMAGES_AT_ONCE = 1_000


@dataclass(frozen=True)
class Scored:
    """Scores, and what they rest on.

    Attributes:
        metrics: every score.
        label_map: where each label went.
        n_done: images with a prediction.
        failed: image -> reason, for the images that count as predicted empty.
        usage: what the predictions of the scored images cost.
    """

    metrics: Metrics
    label_map: dict[str, MappedLabel]
    n_done: int
    failed: dict[ImageId, str]
    usage: Usage


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
    return Scored(metrics, ready.label_map, len(ready.truth.images) - len(ready.failed), ready.failed, ready.usage)


@dataclass(frozen=True)
class Prepared:
    """Predictions and ground truth of one task in the form the metrics take.

    Attributes:
        truth: what is there.
        predicted: what was predicted.
        label_map: where each label went.
        failed: image -> reason, for the images that count as predicted empty.
        usage: what the predictions cost.
    """

    truth: Truth
    predicted: Predicted
    label_map: dict[str, MappedLabel]
    failed: dict[ImageId, str]
    usage: Usage


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
    columns = _Columns()
    for start in range(0, len(chosen), _IMAGES_AT_ONCE):
        columns.add(chosen[start : start + _IMAGES_AT_ONCE], records)
    label_map = (mapper or ExactMapper()).map(sorted(columns.labels), task.vocabulary.categories)
    if task.setting == "open_vocabulary":
        for label, mapped in label_map.items():
            if mapped.category is None:
                raise DataError(
                    f"image {columns.labels[label].first_image!r}: label {label!r} is not one of the categories "
                    f"({', '.join(task.categories)}); give a label map with --label-map"
                )
    category = {name: i for i, name in enumerate(task.categories)}
    of_label = {label: category.get(mapped.category or "", -1) for label, mapped in label_map.items()}
    truth = _truth(task, dataset, [image.id for image in chosen], protocol)
    return Prepared(truth, columns.predicted(of_label, len(category)), label_map, columns.failed, columns.usage)


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


@dataclass
class _Label:
    """A label: its number, and the first image that has it."""

    index: int
    first_image: ImageId


@dataclass(frozen=True)
class _Regions:
    """The regions of some images in columns.

    Attributes:
        instances: category 0; masks and scores where all of them have some.
        first: an image that has regions, or None.
        unscored: the first image that has regions without scores, or None.
        unmasked: the first image that has regions without masks, or None.
    """

    instances: Instances
    first: ImageId | None
    unscored: ImageId | None
    unmasked: ImageId | None


class _Columns:
    """The records of all images as columns, added some images at a time, so that the records need not stay.

    Every check that a `Prediction` makes is made here on whole columns.
    """

    def __init__(self) -> None:
        self.n_images = 0
        self.labels: dict[str, _Label] = {}
        self.failed: dict[ImageId, str] = {}
        self.seconds: dict[str, float] = {}
        self.tokens = [0, 0]
        self.events: Counter[str] = Counter()
        self.label_of_instance: list[NDArray[np.int64]] = []
        self.instances: list[_Regions] = []
        self.proposals: list[_Regions] = []
        self.any_proposals = False
        self.has_counts: list[bool] = []
        self.counts: list[tuple[int, int, int]] = []  # image, label, count

    @property
    def usage(self) -> Usage:
        return Usage(self.seconds, *self.tokens, self.events)

    def add(self, images: Sequence[ImageRecord], records: Mapping[ImageId, Record]) -> None:
        """Add the next images."""
        part = _Part(images, [self.record(image.id, records.get(image.id)) for image in images], self.n_images)
        for record in part.records:
            if len(record.labels) != len(record.boxes):
                raise DataError(f"image {record.image_id!r}: {len(record.labels)} labels for {len(record.boxes)} boxes")
        self.instances.append(part.regions(part.records, ""))
        self.label_of_instance.append(
            np.array([self.label(label, record) for record in part.records for label in record.labels], dtype=np.int64)
        )
        self.any_proposals |= any(record.proposals is not None for record in part.records)
        nothing = ProposalRecord([])
        self.proposals.append(part.regions([record.proposals or nothing for record in part.records], "proposals."))
        for i, record in enumerate(part.records, start=self.n_images):
            self.has_counts.append(record.counts is not None)
            for label, count in (record.counts or {}).items():
                if not 0 <= count <= _MOST_OBJECTS:
                    raise DataError(
                        f"image {record.image_id!r}: the count of {label!r} is {count}; expected 0 to {_MOST_OBJECTS}"
                    )
                self.counts.append((i, self.label(label, record), count))
        self.n_images += len(images)

    def record(self, image: ImageId, record: Record | None) -> Record:
        """The record of an image; an empty one where it failed."""
        if record is not None:
            for stage, value in record.seconds.items():
                self.seconds[stage] = self.seconds.get(stage, 0.0) + value
            self.tokens[0] += record.input_tokens
            self.tokens[1] += record.output_tokens
            self.events.update(record.events)
        if record is None or record.error is not None:
            self.failed[image] = "no prediction" if record is None or record.error is None else record.error
            return Record(image)
        return record

    def label(self, label: str, record: Record) -> int:
        known = self.labels.get(label)
        if known is None:
            known = self.labels[label] = _Label(len(self.labels), record.image_id)
        return known.index

    def predicted(self, category_of_label: Mapping[str, int], n_categories: int) -> Predicted:
        """All that was added, with labels replaced by categories."""
        category = np.array([category_of_label[label] for label in self.labels], dtype=np.int64)
        instances, no_masks_reason = _joined(self.instances, "")
        instances = replace(instances, category=category[_concatenated(self.label_of_instance)])
        counts = np.zeros((self.n_images, n_categories), dtype=np.int64)
        mentioned = np.zeros(n_categories, dtype=bool)
        table = np.array(self.counts, dtype=np.int64).reshape(-1, 3)
        table[:, 1] = category[table[:, 1]]
        table = table[table[:, 1] >= 0]
        np.add.at(counts, (table[:, 0], table[:, 1]), table[:, 2])
        mentioned[table[:, 1]] = True
        return Predicted(
            instances=instances,
            counts=counts,
            has_counts=np.array(self.has_counts, dtype=bool),
            mentioned=mentioned,
            proposals=_joined(self.proposals, "proposals.")[0] if self.any_proposals else None,
            no_masks_reason=no_masks_reason,
        )


def _concatenated(parts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(0, dtype=np.int64), *parts])


def _joined(parts: Sequence[_Regions], prefix: str) -> tuple[Instances, str | None]:
    """The regions of all parts, and why they have no masks."""
    there = [part for part in parts if part.first is not None]
    unscored = next((part.unscored for part in there if part.unscored is not None), None)
    if unscored is not None and any(part.instances.scores is not None for part in there):
        raise DataError(f"image {unscored!r} has no {prefix}scores, and other images have; give all or none")
    unmasked = next((part.unmasked for part in there if part.unmasked is not None), None)
    columns = [part.instances for part in there]
    image = _concatenated([part.image for part in columns])
    scores = [part.scores for part in columns if part.scores is not None]
    instances = Instances(
        image,
        np.zeros(len(image), dtype=np.int64),
        np.concatenate([np.zeros((0, 4)), *(part.boxes for part in columns)]),
        MaskRuns.concatenate([part.masks for part in columns if part.masks is not None]) if unmasked is None else None,
        np.concatenate(scores) if scores else None,
    )
    return instances, None if unmasked is None else f"the prediction of image {unmasked!r} has no masks"


class _Part:
    """The records of consecutive images; `before` is how many images precede them."""

    def __init__(self, images: Sequence[ImageRecord], records: Sequence[Record], before: int) -> None:
        self.images = images
        self.records = records
        self.before = before

    def regions(self, regions: Sequence[Record | ProposalRecord], prefix: str) -> _Regions:
        """The regions of these images in columns."""
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
        filled = [(r.image_id, part) for r, part in zip(self.records, regions, strict=True) if part.boxes]
        unscored = next((image_id for image_id, part in filled if part.scores is None), None)
        unmasked = next((image_id for image_id, part in filled if part.masks is None), None)
        scores, masks = None, None
        if any(part.scores is not None for _, part in filled):
            if unscored is not None:
                raise DataError(f"image {unscored!r} has no {prefix}scores, and other images have; give all or none")
            scores = np.array([value for part in regions for value in part.scores or ()], dtype=np.float64)
            self.refuse(~np.isfinite(scores), image, n, f"{prefix}scores", scores)
        if unmasked is None:
            masks = self.masks([rle for part in regions for rle in part.masks or ()], image, n, f"{prefix}masks")
        instances = Instances(image + self.before, np.zeros(len(image), dtype=np.int64), boxes, masks, scores)
        return _Regions(instances, filled[0][0] if filled else None, unscored, unmasked)

    def masks(self, rles: Sequence[RLE], image: NDArray[np.int64], n: NDArray[np.int64], what: str) -> MaskRuns:
        """The masks of these images, each of the size of its image."""
        expected = [(record.height, record.width) for record in self.images]
        wrong = np.array(
            [tuple(rle["size"]) != expected[i] for rle, i in zip(rles, image.tolist(), strict=True)], dtype=bool
        )
        sizes = [list(rle["size"]) for rle in rles]
        self.refuse(wrong, image, n, f"{what}.size", sizes, "the size of its image (height, width)")
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
        values: NDArray[np.float64] | list[list[int]],
        expected: str = "finite numbers, width and height >= 0",
    ) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            within = i - int(n[: image[i]].sum())
            value = values[i] if isinstance(values, list) else values[i].tolist()
            raise DataError(
                f"image {self.records[image[i]].image_id!r}: {what}[{within}] is {value}; expected {expected}"
            )
