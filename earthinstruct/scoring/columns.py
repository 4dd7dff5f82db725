"""Convert the records of some images into columns, and make the checks of a `Prediction` on whole columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import BOX, MOST_OBJECTS, POINT, Usage, bad_boxes, bad_points
from earthinstruct.datasets import ImageRecord
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.metrics import ONLY_POINTS, Predicted
from earthinstruct.predictions import ColumnRecords, ProposalRecord, Record
from earthinstruct.regions import RLE, ImageId, Instances, MaskRuns, decode_rles
from earthinstruct.texts import plural

_NO_PROPOSALS = ProposalRecord([])


@dataclass
class _Kinds:
    """The first image whose regions have scores, and the first without scores, masks, boxes, and points.

    `prefix` names the regions in errors. `with_scores`: whether any image has scores, for no regions at all even: a
    method with scores may find nothing. `with_points`: likewise.
    """

    prefix: str
    scored: ImageId | None = None
    unscored: ImageId | None = None
    unmasked: ImageId | None = None
    unboxed: ImageId | None = None
    unpointed: ImageId | None = None
    with_scores: bool = False
    with_points: bool = False

    @property
    def all_scored(self) -> bool:
        """Whether there are scores, and no region is without one."""
        return self.with_scores and self.unscored is None

    def add(self, image: ImageId, regions: Record | ProposalRecord) -> None:
        points = getattr(regions, "points", None)  # of instances; proposals have none
        points_alone = regions.boxes is None and points is not None
        n = len((points if points_alone else regions.boxes) or ())
        for name, values in (("masks", regions.masks), ("scores", regions.scores), ("points", points)):
            if values is not None and len(values) != n:
                of = plural(n, "point") if points_alone else plural(n, "box", "boxes")
                given = plural(len(values), f"{self.prefix}{name.removesuffix('s')}")
                raise DataError(f"image {image!r}: {given} for {of}")
        self.with_scores |= regions.scores is not None
        self.with_points |= points is not None
        if not n:
            return
        if regions.boxes is None and self.unboxed is None:
            self.unboxed = image
        if points is None and self.unpointed is None:
            self.unpointed = image
        if regions.scores is None and self.unscored is None:
            self.unscored = image
        if regions.scores is not None and self.scored is None:
            self.scored = image
        if regions.masks is None and self.unmasked is None:
            self.unmasked = image
        if self.scored is not None and self.unscored is not None:
            raise DataError(
                f"image {self.unscored!r} has no {self.prefix}scores, but other images have; give scores for all "
                "images or for none"
            )


@dataclass
class Survey:
    """Facts about all records that must be known before the first chunk can be scored, and their instances.

    Attributes:
        first_image: label -> the first image with this label, in instances or counts; labels are numbered in this
            order.
        n: number of instances of each image.
        labels: the number of the label of each instance.
        boxes: four numbers for each instance, COCO xywh; of a point alone, those of its pixel.
        points: two numbers for each instance of an image with points.
        scores: the score of each instance, if there are scores.
        failed: image -> reason, for images without a prediction. They count as predicted empty.
        any_counts: whether any record gives counts.
        n_only_counts: number of answers that only count.
        n_of_instances: number of the other answers.
        n_points_alone: number of those that hold points and no boxes.
        n_proposed: number of records that give proposals.
        columns: the records, if they are columns already.
        instances: whether the instances have scores and masks.
        proposals: whether the proposals have scores and masks.
    """

    first_image: dict[str, ImageId] = field(default_factory=dict)
    n: array[int] = field(default_factory=lambda: array("q"))
    labels: array[int] = field(default_factory=lambda: array("q"))
    boxes: array[float] = field(default_factory=lambda: array("d"))
    scores: array[float] = field(default_factory=lambda: array("d"))
    points: array[float] = field(default_factory=lambda: array("d"))
    _numbers: dict[str, int] = field(default_factory=dict)
    failed: dict[ImageId, str] = field(default_factory=dict)
    any_counts: bool = False
    n_only_counts: int = 0
    n_of_instances: int = 0
    n_points_alone: int = 0
    n_proposed: int = 0
    columns: ColumnRecords | None = None
    instances: _Kinds = field(default_factory=lambda: _Kinds(""))
    proposals: _Kinds = field(default_factory=lambda: _Kinds("proposals."))
    _usages: list[Usage] = field(default_factory=list)

    @classmethod
    def of(cls, images: Sequence[ImageId], records: Mapping[ImageId, Record]) -> Survey:
        """Survey the records of some images.

        Raises:
            DataError: as in `add`.
        """
        survey = cls()
        if isinstance(records, ColumnRecords) and records.points is None and images == records.images:
            survey._add_columns(records)
        else:
            for image in images:
                survey.add(image, records.get(image))
        return survey

    @property
    def usage(self) -> Usage:
        """Seconds and tokens spent on all images."""
        return Usage.join(self._usages)

    @property
    def no_masks_reason(self) -> str | None:
        """Why the instances have no masks."""
        unmasked = self.instances.unmasked
        return None if unmasked is None else f"the prediction of image {unmasked!r} has no masks"

    @property
    def no_boxes_reason(self) -> str | None:
        """Why the instances have no boxes; None if the method only counts."""
        if self.n_points_alone and self.n_points_alone == self.n_of_instances:
            return ONLY_POINTS
        unboxed = self.instances.unboxed
        return None if unboxed is None else f"the prediction of image {unboxed!r} has points and no boxes"

    @property
    def no_points_reason(self) -> str | None:
        """Why the instances have no points, although the method points in some images."""
        unpointed = self.instances.unpointed
        if unpointed is None or not self.instances.with_points:
            return None
        return f"the prediction of image {unpointed!r} has no points"

    @property
    def only_counts(self) -> bool:
        """Whether the method names no instances: it only counts, in every answer."""
        return self.n_only_counts > 0 and self.n_of_instances == 0

    def refuse_threshold(self, option: str) -> None:
        """Refuse a score threshold where there are no scores. A set without instances has nothing to leave out.

        Raises:
            EarthInstructError: the method only counts, or its instances have no scores.
        """
        if self.only_counts:
            raise EarthInstructError(f"{option} needs instances with scores, and these predictions are counts alone")
        if self.instances.unscored is not None:
            raise EarthInstructError(
                f"{option} needs predictions with scores, and these have none (they are confidence-free)"
            )

    def notes(self) -> Iterator[str]:
        """Yield sentences on mixtures: answers that only count, or have no proposals, beside others."""
        if self.n_only_counts and self.n_of_instances:
            answers = self.n_only_counts + self.n_of_instances
            yield (
                f"{self.n_only_counts} of {answers} answers give counts alone; for boxes and masks, they count as "
                "answers without instances"
            )
        answered = len(self.n) - len(self.failed)
        if 0 < self.n_proposed < answered:
            without = answered - self.n_proposed
            yield f"{without} of {answered} answers give no proposals, and count as answers with none"

    def add(self, image: ImageId, record: Record | None) -> None:
        """Add the record of an image; None if it has none.

        Raises:
            DataError: lengths differ, a count is out of range, or only some images have scores.
        """
        self.n.append(0)
        if record is None:
            self.failed[image] = "no prediction"
            return
        if record.seconds or record.input_tokens or record.output_tokens or record.events:
            self._usages.append(record.usage)
        if record.error is not None:
            self.failed[image] = record.error
            return
        points_alone = record.boxes is None and record.points is not None
        if len(record.labels) != (n := len((record.points if points_alone else record.boxes) or ())):
            of = plural(n, "point") if points_alone else plural(n, "box", "boxes")
            raise DataError(f"image {image!r}: {plural(len(record.labels), 'label')} for {of}")
        if points_alone and record.masks is not None:
            raise DataError(f"image {image!r}: masks need boxes, and it has points alone; give boxes too")
        self.n_points_alone += points_alone
        self.n_only_counts += record.only_counts
        self.n_of_instances += not record.only_counts
        for label, count in (record.counts or {}).items():
            if not 0 <= count <= MOST_OBJECTS:
                raise DataError(f"image {image!r}: the count of {label!r} is {count}; expected 0 to {MOST_OBJECTS}")
        for label in (*record.labels, *(record.counts or {})):
            if label not in self._numbers:
                self._numbers[label] = len(self._numbers)
                self.first_image[label] = image
        self.any_counts |= record.counts is not None
        self.instances.add(image, record)
        if record.proposals is not None:
            self.n_proposed += 1
            self.proposals.add(image, record.proposals)
        self.n[-1] = len(record.labels)
        self.labels.extend(map(self._numbers.__getitem__, record.labels))
        self.boxes.extend(chain.from_iterable(record.boxes or ((x // 1, y // 1, 1, 1) for x, y in record.points or ())))
        self.points.extend(chain.from_iterable(record.points or ()))
        self.scores.extend(record.scores or ())

    def _add_columns(self, records: ColumnRecords) -> None:
        """Add the records of all images, which are of one kind, at once."""
        self.columns, self.n_of_instances = records, len(records)
        self.n.frombytes(records.n.tobytes())
        self._numbers = {label: i for i, label in enumerate(dict.fromkeys(records.labels))}
        image = np.repeat(np.arange(len(records)), records.n)
        self.first_image = {label: records.images[image[records.labels.index(label)]] for label in self._numbers}
        first = records.images[image[0] if len(image) else 0]
        self.instances.add(first, records[first])
        self.labels.extend(map(self._numbers.__getitem__, records.labels))
        self.boxes.frombytes(records.boxes.tobytes())
        if records.scores is not None:
            self.scores.frombytes(records.scores.tobytes())
        self._usages += [records[image].usage for image in records.left_out]


@dataclass(frozen=True)
class Columns:
    """Converts records into columns, in the same way for all images of a set.

    Attributes:
        survey: the facts about all records, surveyed in the order of `images`.
        images: the images of the set.
        records: image -> record. A missing or failed record counts as predicted empty.
        category_of_label: label -> index of its category, or -1.
        n_categories: number of categories.
    """

    survey: Survey
    images: Sequence[ImageRecord]
    records: Mapping[ImageId, Record]
    category_of_label: Mapping[str, int]
    n_categories: int

    @cached_property
    def first(self) -> NDArray[np.int64]:
        """int64 (images + 1,): the instances of image i are those from first[i] up to first[i + 1]."""
        return np.append(0, np.cumsum(np.array(self.survey.n, dtype=np.int64)))

    @cached_property
    def category(self) -> NDArray[np.int64]:
        """int64 (n,): the category of each instance of the set, or -1."""
        of_number = np.array([self.category_of_label[label] for label in self.survey.first_image], dtype=np.int64)
        numbers = np.array(self.survey.labels, dtype=np.int64)
        return of_number[numbers] if len(numbers) else numbers

    def predicted(self, chosen: range, *, boxes_only: bool = False) -> Predicted:
        """Convert the predictions of some consecutive images.

        Args:
            chosen: their places in `images`; `image` of the returned instances is relative to the first.
            boxes_only: leave out masks, counts and proposals.

        Raises:
            DataError: a value is malformed; the message names the image.
        """
        survey, images = self.survey, self.images[chosen.start : chosen.stop]
        low, high = self.first[[chosen.start, chosen.stop]].tolist()
        answers: list[Record] = []
        masks: Sequence[RLE] | None = None
        with_masks = not boxes_only and survey.instances.unmasked is None
        if with_masks and survey.columns is not None:
            masks = (survey.columns.masks or [])[low:high]
        elif not boxes_only and ((with_masks and high > low) or survey.any_counts or survey.n_proposed):
            answers = [Record(image.id) if image.id in survey.failed else self.records[image.id] for image in images]
        counts, mentioned = np.zeros((len(images), self.n_categories), np.int64), np.zeros(self.n_categories, bool)
        has_counts = np.zeros(len(images), dtype=bool)
        for i, record in enumerate(answers):
            has_counts[i] = record.counts is not None
            for label, count in (record.counts or {}).items():
                if (category := self.category_of_label[label]) >= 0:
                    counts[i, category] += count
                    mentioned[category] = True
        own = _Regions(images, np.diff(self.first[chosen.start : chosen.stop + 1]), "")
        points = None
        if survey.instances.with_points and survey.instances.unpointed is None:
            points = np.array(survey.points[2 * low : 2 * high]).reshape(-1, 2)
            own.refuse(bad_points(points), "points", points, POINT)
        instances = own.converted(
            np.array(survey.boxes[4 * low : 4 * high]),
            np.array(survey.scores[low:high]) if survey.instances.all_scored else None,
            _joined(record.masks for record in answers) if with_masks and masks is None else masks,
        )
        proposals = None
        if survey.n_proposed and not boxes_only:
            regions = [record.proposals or _NO_PROPOSALS for record in answers]
            n = np.array([len(of_image.boxes) for of_image in regions], dtype=np.int64)
            proposals = _Regions(images, n, survey.proposals.prefix).converted(
                _floats(chain.from_iterable(of_image.boxes) for of_image in regions),
                _floats(of_image.scores or () for of_image in regions) if survey.proposals.all_scored else None,
                None if survey.proposals.unmasked is not None else _joined(of_image.masks for of_image in regions),
            )
        return Predicted(
            instances=replace(instances, category=self.category[low:high], points=points),
            counts=counts,
            has_counts=has_counts,
            mentioned=mentioned,
            proposals=proposals,
            no_masks_reason=survey.no_masks_reason,
            only_counts=survey.only_counts,
            no_boxes_reason=survey.no_boxes_reason,
            no_points_reason=survey.no_points_reason,
        )


def _floats(lists: Iterable[Iterable[Any]]) -> NDArray[np.float64]:
    """Join lists of numbers, or lists of boxes, into one column."""
    return np.fromiter(chain.from_iterable(lists), dtype=np.float64)


def _joined(masks: Iterable[Sequence[RLE] | None]) -> list[RLE]:
    """Join the masks of images, some of which have none."""
    return list(chain.from_iterable(of_image or () for of_image in masks))


class _Regions:
    """The instances or the proposals of some images, `n[i]` in image i; `prefix` names them in errors."""

    def __init__(self, images: Sequence[ImageRecord], n: NDArray[np.int64], prefix: str) -> None:
        self.images, self.n, self.prefix = images, n, prefix
        self.image = np.repeat(np.arange(len(images)), n)

    def converted(
        self, boxes: NDArray[np.float64], scores: NDArray[np.float64] | None, masks: Sequence[RLE] | None
    ) -> Instances:
        """Check the regions, and convert them, with category 0."""
        boxes = boxes.reshape(-1, 4)
        self.refuse(bad_boxes(boxes), "boxes", boxes, BOX)
        if scores is not None:
            self.refuse(~np.isfinite(scores), "scores", scores, "finite numbers")
        runs = None if masks is None else self.decoded(masks)
        return Instances(self.image, np.zeros(len(self.image), dtype=np.int64), boxes, runs, scores)

    def decoded(self, masks: Sequence[RLE]) -> MaskRuns:
        """Decode the masks, and check that each has the size of its image."""
        expected = np.array([(image.height, image.width) for image in self.images]).reshape(-1, 2)[self.image]
        what = f"{self.prefix}masks"
        try:
            runs = decode_rles(masks, what)
        except ContractError:
            self.refuse_sizes(np.array([rle["size"] for rle in masks], dtype=object), expected)
            ends = np.cumsum(self.n).tolist()
            for image, low, high in zip(self.images, [0, *ends], ends, strict=False):  # again, to name the image
                try:
                    decode_rles(masks[low:high], what)
                except ContractError as error:
                    raise DataError(f"image {image.id!r}: {error}") from error
            raise
        self.refuse_sizes(np.stack([runs.heights, runs.widths], axis=1), expected)
        return runs

    def refuse_sizes(self, sizes: NDArray[Any], expected: NDArray[np.int64]) -> None:
        self.refuse((sizes != expected).any(axis=1), "masks.size", sizes, "the size of its image (height, width)")

    def refuse(self, bad: NDArray[np.bool_], what: str, values: NDArray[Any], expected: str) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            of = self.image[i]
            where = f"{self.prefix}{what}[{i - int(self.n[:of].sum())}]"
            raise DataError(f"image {self.images[of].id!r}: {where} is {values[i].tolist()}; expected {expected}")
