"""A dataset in memory: images, categories and ground truth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction
from earthinstruct.errors import DataError
from earthinstruct.images import read_image
from earthinstruct.regions import ImageId, Instances, MaskRuns, StoredMasks
from earthinstruct.tasks import ExactMapper, ExactThenMapper, LabelMapper, Task, Vocabulary


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset. `file_name` is relative to the image folder and never leaves it."""

    id: ImageId
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Origin:
    """What `load_dataset` was given, with absolute paths: enough to load a dataset again from any folder.

    Attributes:
        name: a registered name, or the absolute path of a file or folder.
        data: the folder of the user's data; None: for a path, which needs none.
        images: the folder of the images, where one was given.
    """

    name: str
    data: str | None = None
    images: str | None = None


@dataclass(frozen=True, eq=False)
class AnnotationMasks:
    """The masks of n annotations, decoded when they are taken.

    Attributes:
        whole: n masks.
        several: int64 (k,), increasing: the annotations with several polygons.
        first: k masks, of the first polygon of each of them alone.
    """

    whole: StoredMasks
    several: NDArray[np.int64]
    first: StoredMasks

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, indices: NDArray[np.int64] | None = None, *, first_polygon_only: bool = False) -> MaskRuns:
        """The masks of some annotations.

        Args:
            indices: which, in any order; None: all.
            first_polygon_only: only the first polygon of each counts (protocol `paper`).
        """
        indices = np.arange(len(self)) if indices is None else indices
        masks = self.whole.take(indices)
        if first_polygon_only:
            place = np.searchsorted(self.several, indices)
            there = np.flatnonzero(np.append(self.several, -1)[place] == indices)
            masks = masks.replaced(there, self.first.take(place[there]))
        return masks


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with ground truth.

    Attributes:
        name: for example "dior-mini".
        vocabulary: the categories, in the order of their ids.
        images: the images, in the order of the file.
        annotations: the ground truth; `image` indexes `images`, `category` indexes the vocabulary's categories. It has
            no `masks` of its own.
        masks: the masks of the annotations, or None.
        no_masks_reason: why there are no masks, or None.
        image_root: the folder of the images, or None when only annotations are at hand.
        sha256: hash of the annotation file.
        category_ids: the id of each category in the annotation file.
        label_map: the label map that free labels are scored with unless another is given; None: `exact` alone.
        origin: where it was loaded from; None: it was made in memory.
    """

    name: str
    vocabulary: Vocabulary
    images: tuple[ImageRecord, ...]
    annotations: Instances
    masks: AnnotationMasks | None
    no_masks_reason: str | None
    image_root: Path | None
    sha256: str
    category_ids: tuple[int, ...]
    label_map: str | None = None
    origin: Origin | None = None

    @property
    def mapper(self) -> LabelMapper:
        """The label mapper that is used unless another is given."""
        return ExactMapper() if self.label_map is None else ExactThenMapper(self.label_map)

    def without_truth(self) -> Dataset:
        """Its images and categories alone: what a method may know of it."""
        return replace(self, annotations=self.annotations.take(np.zeros(0, dtype=np.int64)), masks=None)

    def annotations_of(self, index: int) -> NDArray[np.int64]:
        """The annotations of one image: increasing int64 (k,)."""
        order, bounds = self._by_image
        return order[bounds[index] : bounds[index + 1]]

    @cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The annotations in the order of their images, and where those of each image begin."""
        image = self.annotations.image
        return np.argsort(image, kind="stable"), np.searchsorted(np.sort(image), np.arange(len(self.images) + 1))

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """The pixels of one image: uint8 RGB (height, width, 3).

        Raises:
            DataError: the file is missing, cannot be decoded or has another size than the annotation file says.
        """
        record = self.images[index]
        if self.image_root is None:
            raise DataError(f"dataset {self.name!r} has annotations but no image folder; give one with --images DIR")
        image = read_image(self.image_root / record.file_name)
        if image.shape[:2] != (record.height, record.width):
            turned = image.shape[:2] == (record.width, record.height)
            raise DataError(
                f"{self.image_root / record.file_name} is {image.shape[1]}x{image.shape[0]} pixels, the annotation "
                f"file says {record.width}x{record.height}"
                + ("; an orientation in its EXIF data is not applied: save the picture turned" if turned else "")
            )
        return image


def targets_of(dataset: Dataset, task: Task, index: int) -> Prediction:
    """The ground truth of one image as a prediction, limited to the scored categories."""
    names = dataset.vocabulary.categories
    annotations = dataset.annotations
    scored = np.array([name in task.categories for name in names])
    here = dataset.annotations_of(index)
    here = here[scored[annotations.category[here]]]
    return Prediction(
        labels=tuple(names[c] for c in annotations.category[here]),
        boxes=annotations.boxes[here],
        masks=None if dataset.masks is None else tuple(dataset.masks.take(here).encode()),
    )
