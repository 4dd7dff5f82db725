"""Convert the records of some images into columns, and make the checks of a `Prediction` on whole columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import BOX, MOST_OBJECTS, Usage, bad_boxes
from earthinstruct.datasets import ImageRecord
from earthinstruct.errors import ContractError, DataError, EarthInstructError
from earthinstruct.metrics import Predicted
from earthinstruct.predictions import ProposalRecord, Record
from earthinstruct.regions import ImageId, Instances, MaskRuns, decode_rles

_NO_PROPOSALS = ProposalRecord([])


@dataclass
class _Regions:
    """The first image whose regions have scores, the first without scores, and the first without masks.

    `prefix` names the regions in errors. `with_scores`: whether any image has scores, for no regions at all even: a
    method with scores may find nothing.
    """

    prefix: str
    scored: ImageId | None = None
    unscored: ImageId | None = None
    unmasked: ImageId | None = None
    with_scores: bool = False

    def add(self, image: ImageId, regions: Record | ProposalRecord) -> None:
        for name in ("masks", "scores"):
            values = getattr(regions, name)
            if values is not None and len(values) != len(regions.boxes or ()):
                n = len(regions.boxes or ())
                raise DataError(f"image {image!r}: {len(values)} {self.prefix}{name} for {n} boxes")
        self.with_scores |= regions.scores is not None
        if not regions.boxes:
            return
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
    """Facts about all records that must be known before the first chunk can be scored.

    Attributes:
        labels: label -> number of instances.
        first_image: label -> the first image with this label, in instances or counts.
        failed: image -> reason, for images without a prediction. They count as predicted empty.
        any_counts: whether any record gives counts.
        n_only_counts: number of answers that only count.
        n_of_instances: number of the other answers.
        any_proposals: whether any record gives proposals.
        instances: whether the instances have scores and masks.
        proposals: whether the proposals have scores and masks.
        usage: seconds and tokens spent on all images.
    """

    labels: Counter[str] = field(default_factory=Counter)
    first_image: dict[str, ImageId] = field(default_factory=dict)
    failed: dict[ImageId, str] = field(default_factory=dict)
    any_counts: bool = False
    n_only_counts: int = 0
    n_of_instances: int = 0
    any_proposals: bool = False
    instances: _Regions = field(default_factory=lambda: _Regions(""))
    proposals: _Regions = field(default_factory=lambda: _Regions("proposals."))
    usage: Usage = field(default_factory=Usage)

    @property
    def no_masks_reason(self) -> str | None:
        """Why the instances have no masks."""
        unmasked = self.instances.unmasked
        return None if unmasked is None else f"the prediction of image {unmasked!r} has no masks"

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
        """Yield a sentence on a mixture of answers with instances and answers that only count."""
        if self.n_only_counts and self.n_of_instances:
            answers = self.n_only_counts + self.n_of_instances
            yield (
                f"{self.n_only_counts} of {answers} answers give counts alone; for boxes and masks, they count as "
                "answers without instances"
            )

    def add(self, image: ImageId, record: Record | None) -> None:
        """Add the record of an image; None if it has none.

        Raises:
            DataError: lengths differ, a count is out of range, or only some images have scores.
        """
        if record is None:
            self.failed[image] = "no prediction"
            return
        self.usage = Usage.join([self.usage, record.usage])
        if record.error is not None:
            self.failed[image] = record.error
            return
        if len(record.labels) != len(record.boxes or ()):
            raise DataError(f"image {image!r}: {len(record.labels)} labels for {len(record.boxes or ())} boxes")
        self.n_only_counts += record.only_counts
        self.n_of_instances += not record.only_counts
        for label, count in (record.counts or {}).items():
            if not 0 <= count <= MOST_OBJECTS:
                raise DataError(f"image {image!r}: the count of {label!r} is {count}; expected 0 to {MOST_OBJECTS}")
        self.labels.update(record.labels)
        for label in (*record.labels, *(record.counts or {})):
            self.first_image.setdefault(label, image)
        self.any_counts |= record.counts is not None
        self.instances.add(image, record)
        if record.proposals is not None:
            self.any_proposals = True
            self.proposals.add(image, record.proposals)


@dataclass(frozen=True)
class Columns:
    """Converts records into columns, in the same way for all images of a set.

    Attributes:
        survey: the facts about all records.
        category_of_label: label -> index of its category, or -1.
        n_categories: number of categories.
    """

    survey: Survey
    category_of_label: Mapping[str, int]
    n_categories: int

    def predicted(
        self, images: Sequence[ImageRecord], records: Mapping[ImageId, Record], *, boxes_only: bool = False
    ) -> Predicted:
        """Convert the predictions of some images.

        Args:
            images: n surveyed images; `image` of the returned instances is an index into them.
            records: image -> record. A missing or failed record counts as predicted empty.
            boxes_only: leave out masks and proposals.

        Raises:
            DataError: a value is malformed; the message names the image.
        """
        failed = self.survey.failed
        answers = [Record(image.id) if image.id in failed else records[image.id] for image in images]
        shape = (len(images), self.n_categories)
        counts, mentioned = np.zeros(shape, dtype=np.int64), np.zeros(self.n_categories, dtype=bool)
        for i, record in enumerate(answers):
            for label, count in (record.counts or {}).items():
                if (category := self.category_of_label[label]) >= 0:
                    counts[i, category] += count
                    mentioned[category] = True
        labels = [self.category_of_label[label] for record in answers for label in record.labels]
        instances = _Chunk(images, answers, self.survey.instances).converted(with_masks=not boxes_only)
        proposals = None
        if self.survey.any_proposals and not boxes_only:
            regions = [record.proposals or _NO_PROPOSALS for record in answers]
            proposals = _Chunk(images, regions, self.survey.proposals).converted(with_masks=True)
        return Predicted(
            instances=replace(instances, category=np.array(labels, dtype=np.int64)),
            counts=counts,
            has_counts=np.array([record.counts is not None for record in answers], dtype=bool),
            mentioned=mentioned,
            proposals=proposals,
            no_masks_reason=self.survey.no_masks_reason,
            only_counts=self.survey.only_counts,
        )


class _Chunk:
    """The instances or the proposals of some images."""

    def __init__(
        self, images: Sequence[ImageRecord], regions: Sequence[Record | ProposalRecord], survey: _Regions
    ) -> None:
        self.images, self.regions, self.survey = images, regions, survey
        self.n = np.array([len(of_image.boxes or ()) for of_image in regions], dtype=np.int64)
        self.image = np.repeat(np.arange(len(regions)), self.n)

    def converted(self, *, with_masks: bool) -> Instances:
        """The regions in columns, with category 0; scores and masks if all regions of the set have them."""
        boxes = np.array([box for of_image in self.regions for box in of_image.boxes or ()], dtype=np.float64).reshape(
            -1, 4
        )
        self.refuse(bad_boxes(boxes), "boxes", boxes, BOX)
        scores = None
        if self.survey.with_scores and self.survey.unscored is None:
            scores = np.array([value for of_image in self.regions for value in of_image.scores or ()], dtype=np.float64)
            self.refuse(~np.isfinite(scores), "scores", scores, "finite numbers")
        masks = self.masks() if with_masks and self.survey.unmasked is None else None
        return Instances(self.image, np.zeros(len(self.image), dtype=np.int64), boxes, masks, scores)

    def masks(self) -> MaskRuns:
        """Decode the masks, and check that each has the size of its image."""
        rles = [rle for of_image in self.regions for rle in of_image.masks or ()]
        expected = [[record.height, record.width] for record in self.images]
        sizes = [list(rle["size"]) for rle in rles]
        wrong = [size != expected[i] for size, i in zip(sizes, self.image.tolist(), strict=True)]
        self.refuse(np.array(wrong, dtype=bool), "masks.size", sizes, "the size of its image (height, width)")
        what = f"{self.survey.prefix}masks"
        try:
            return decode_rles(rles, what)
        except ContractError:
            for image, of_image in zip(self.images, self.regions, strict=True):  # again, to name the image
                try:
                    decode_rles(of_image.masks or (), what)
                except ContractError as error:
                    raise DataError(f"image {image.id!r}: {error}") from error
            raise

    def refuse(
        self, bad: NDArray[np.bool_], what: str, values: NDArray[np.float64] | list[list[int]], expected: str
    ) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            of = self.image[i]
            value = values[i] if isinstance(values, list) else values[i].tolist()
            where = f"{self.survey.prefix}{what}[{i - int(self.n[:of].sum())}]"
            raise DataError(f"image {self.images[of].id!r}: {where} is {value}; expected {expected}")
