"""Convert the records of some images into columns, and make the checks of a `Prediction` on whole columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import BOX, MOST_OBJECTS, Usage, bad_boxes
from earthinstruct.datasets import ImageRecord
from earthinstruct.errors import ContractError, DataError
from earthinstruct.metrics import Predicted
from earthinstruct.predictions import ProposalRecord, Record
from earthinstruct.regions import RLE, ImageId, Instances, MaskRuns, decode_rles

_NO_PROPOSALS = ProposalRecord([])


@dataclass
class _Regions:
    """The first image whose regions have scores, the first without scores, and the first without masks."""

    prefix: str
    scored: ImageId | None = None
    unscored: ImageId | None = None
    unmasked: ImageId | None = None

    def add(self, image: ImageId, regions: Record | ProposalRecord) -> None:
        for name in ("masks", "scores"):
            values = getattr(regions, name)
            if values is not None and len(values) != len(regions.boxes):
                raise DataError(f"image {image!r}: {len(values)} {self.prefix}{name} for {len(regions.boxes)} boxes")
        if not regions.boxes:
            return
        if regions.scores is None:
            self.unscored = image if self.unscored is None else self.unscored
        else:
            self.scored = image if self.scored is None else self.scored
        if regions.masks is None:
            self.unmasked = image if self.unmasked is None else self.unmasked
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
        any_proposals: whether any record gives proposals.
        instances: whether the instances have scores and masks.
        proposals: whether the proposals have scores and masks.
        usage: seconds and tokens spent on all images.
    """

    labels: Counter[str] = field(default_factory=Counter)
    first_image: dict[str, ImageId] = field(default_factory=dict)
    failed: dict[ImageId, str] = field(default_factory=dict)
    any_counts: bool = False
    any_proposals: bool = False
    instances: _Regions = field(default_factory=lambda: _Regions(""))
    proposals: _Regions = field(default_factory=lambda: _Regions("proposals."))
    usage: Usage = field(default_factory=Usage)

    @property
    def no_masks_reason(self) -> str | None:
        """Why the instances have no masks."""
        unmasked = self.instances.unmasked
        return None if unmasked is None else f"the prediction of image {unmasked!r} has no masks"

    def add(self, image: ImageId, record: Record | None) -> None:
        """Add the record of an image; None if it has none.

        Raises:
            DataError: lengths differ, a count is out of range, or only some images have scores.
        """
        if record is not None:
            self.usage = Usage.join([self.usage, record.usage])
        if record is None or record.error is not None:
            self.failed[image] = "no prediction" if record is None or record.error is None else record.error
            return
        if len(record.labels) != len(record.boxes):
            raise DataError(f"image {image!r}: {len(record.labels)} labels for {len(record.boxes)} boxes")
        for label, count in (record.counts or {}).items():
            if not 0 <= count <= MOST_OBJECTS:
                raise DataError(f"image {image!r}: the count of {label!r} is {count}; expected 0 to {MOST_OBJECTS}")
        self.labels.update(record.labels)
        for label in (*record.labels, *(record.counts or {})):
            if label not in self.first_image:
                self.first_image[label] = image
        self.any_counts |= record.counts is not None
        self.instances.add(image, record)
        if record.proposals is not None:
            self.any_proposals = True
            self.proposals.add(image, record.proposals)


@dataclass(frozen=True)
class Columns:
    """Converts records into columns, in the same way for all images of a set.

    Attributes:
        category_of_label: label -> index of its category, or -1.
        n_categories: number of categories.
        scored: whether instances have scores.
        no_masks_reason: why instances have no masks; None if they have.
        proposals: whether any record gives proposals.
        proposals_scored: whether proposals have scores.
        proposals_masked: whether proposals have masks.
    """

    category_of_label: Mapping[str, int]
    n_categories: int
    scored: bool
    no_masks_reason: str | None
    proposals: bool
    proposals_scored: bool
    proposals_masked: bool

    @classmethod
    def of(cls, survey: Survey, category_of_label: Mapping[str, int], n_categories: int) -> Columns:
        """Make the converter for the surveyed records."""
        return cls(
            category_of_label,
            n_categories,
            survey.instances.scored is not None,
            survey.no_masks_reason,
            survey.any_proposals,
            survey.proposals.scored is not None,
            survey.proposals.unmasked is None,
        )

    def predicted(
        self, images: Sequence[ImageRecord], records: Mapping[ImageId, Record], *, boxes_only: bool = False
    ) -> Predicted:
        """Convert the predictions of some images.

        Args:
            images: n images; `image` of the returned instances is an index into them.
            records: image -> record. A missing or failed record counts as predicted empty.
            boxes_only: leave out masks and proposals.

        Raises:
            DataError: a value is malformed; the message names the image.
        """
        chunk = _Chunk(images, [_answer(image.id, records.get(image.id)) for image in images])
        shape = (len(images), self.n_categories)
        counts, mentioned = np.zeros(shape, dtype=np.int64), np.zeros(self.n_categories, dtype=bool)
        for i, record in enumerate(chunk.records):
            for label, count in (record.counts or {}).items():
                if (category := self.category_of_label[label]) >= 0:
                    counts[i, category] += count
                    mentioned[category] = True
        with_masks = self.no_masks_reason is None and not boxes_only
        labels = [self.category_of_label[label] for record in chunk.records for label in record.labels]
        instances = chunk.regions(chunk.records, "", scored=self.scored, masked=with_masks)
        proposals = None
        if self.proposals and not boxes_only:
            regions = [record.proposals or _NO_PROPOSALS for record in chunk.records]
            proposals = chunk.regions(regions, "proposals.", scored=self.proposals_scored, masked=self.proposals_masked)
        return Predicted(
            instances=replace(instances, category=np.array(labels, dtype=np.int64)),
            counts=counts,
            has_counts=np.array([record.counts is not None for record in chunk.records], dtype=bool),
            mentioned=mentioned,
            proposals=proposals,
            no_masks_reason=self.no_masks_reason,
        )


def _answer(image: ImageId, record: Record | None) -> Record:
    return Record(image) if record is None or record.error is not None else record


class _Chunk:
    """The records of some images."""

    def __init__(self, images: Sequence[ImageRecord], records: Sequence[Record]) -> None:
        self.images = images
        self.records = records

    def regions(
        self, regions: Sequence[Record | ProposalRecord], prefix: str, *, scored: bool, masked: bool
    ) -> Instances:
        """Convert the regions of these images, with category 0.

        Args:
            regions: instances or proposals of each image.
            prefix: how errors name them.
            scored: whether they have scores.
            masked: whether they have masks.
        """
        n = np.array([len(of_image.boxes) for of_image in regions], dtype=np.int64)
        image = np.repeat(np.arange(len(regions)), n)
        boxes = np.array([box for of_image in regions for box in of_image.boxes], dtype=np.float64).reshape(-1, 4)
        self.refuse(bad_boxes(boxes), image, n, f"{prefix}boxes", boxes, BOX)
        scores, masks = None, None
        if scored:
            scores = np.array([value for of_image in regions for value in of_image.scores or ()], dtype=np.float64)
            self.refuse(~np.isfinite(scores), image, n, f"{prefix}scores", scores)
        if masked:
            masks = self.masks(
                [rle for of_image in regions for rle in of_image.masks or ()], image, n, f"{prefix}masks"
            )
        return Instances(image, np.zeros(len(image), dtype=np.int64), boxes, masks, scores)

    def masks(self, rles: Sequence[RLE], image: NDArray[np.int64], n: NDArray[np.int64], what: str) -> MaskRuns:
        """Decode the masks of these images, and check that each has the size of its image."""
        expected = [(record.height, record.width) for record in self.images]
        wrong = np.array(
            [tuple(rle["size"]) != expected[i] for rle, i in zip(rles, image.tolist(), strict=True)], dtype=bool
        )
        sizes = [list(rle["size"]) for rle in rles]
        self.refuse(wrong, image, n, f"{what}.size", sizes, "the size of its image (height, width)")
        try:
            return decode_rles(rles, what)
        except ContractError:
            for i, rle in enumerate(rles):  # decode one by one, to name the image in the error
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
        expected: str = "finite numbers",
    ) -> None:
        if bad.any():
            i = int(np.argmax(bad))
            within = i - int(n[: image[i]].sum())
            value = values[i] if isinstance(values, list) else values[i].tolist()
            raise DataError(
                f"image {self.records[image[i]].image_id!r}: {what}[{within}] is {value}; expected {expected}"
            )
