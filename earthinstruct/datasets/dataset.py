"""A dataset in memory: images, categories and ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Prediction
from earthinstruct.errors import DataError
from earthinstruct.images import ImageOptions, Raster, Scene, image_size, open_scene
from earthinstruct.regions import ImageId, Instances, MaskRuns, StoredMasks
from earthinstruct.tasks import ExactMapper, ExactThenMapper, LabelMapper, Task, Vocabulary

Attribute: TypeAlias = Mapping[ImageId, float | str]  # image -> value; images without a value are left out


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a dataset. `file_name` is a path relative to the image folder, and lies inside it."""

    id: ImageId
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The arguments of `load_dataset`, with absolute paths, so that the dataset can be loaded again from any folder.

    Attributes:
        name: a registered name, or the absolute path of a file or folder.
        data: the folder of the user's data; None for a dataset given by path.
        images: the folder of the images, if one was given.
        skip_invalid: whether objects that nobody can find were left out.
    """

    name: str
    data: str | None = None
    images: str | None = None
    skip_invalid: bool = False


@dataclass(frozen=True, eq=False)
class AnnotationMasks:
    """The masks of n annotations, decoded on `take`.

    Attributes:
        whole: n masks.
        several: int64 (k,), increasing: indices of the annotations with several polygons.
        first: k masks: the first polygon of each of these annotations.
    """

    whole: StoredMasks
    several: NDArray[np.int64]
    first: StoredMasks

    def __len__(self) -> int:
        return len(self.whole)

    def take(self, indices: NDArray[np.int64] | None = None, *, first_polygon_only: bool = False) -> MaskRuns:
        """Decode the masks of some annotations.

        Args:
            indices: indices of the annotations, in any order; None selects all.
            first_polygon_only: use only the first polygon of each annotation (protocol `paper`).
        """
        indices = np.arange(len(self)) if indices is None else indices
        masks = self.whole.take(indices)
        if first_polygon_only:
            place = np.searchsorted(self.several, indices)
            there = np.flatnonzero(np.append(self.several, -1)[place] == indices)
            masks = masks.replaced(there, self.first.take(place[there]))
        return masks


@dataclass(frozen=True, eq=False)
class IgnoredObjects:
    """Annotations that are neither found nor missed: COCO `iscrowd` and `ignore`, VOC and DOTA `difficult`.

    Attributes:
        annotations: the objects, as in `Dataset`.
        crowd: bool (m,), regions that hold many objects.
        masks: their masks; None if the dataset has none.
    """

    annotations: Instances
    crowd: NDArray[np.bool_]
    masks: AnnotationMasks | None


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with ground truth.

    Attributes:
        name: for example "dior-mini".
        vocabulary: the categories, in the order of their ids.
        images: the images, in the order of the file.
        annotations: the ground truth. `image` is an index into `images`, `category` an index into the categories of the
            vocabulary. Its own `masks` is None.
        masks: the masks of the annotations, or None.
        no_masks_reason: why `masks` is None; None if it is not.
        image_root: the folder of the images; None if the dataset has only annotations.
        sha256: hash of the annotation file.
        category_ids: the id of each category in the annotation file.
        label_map: the default label map for free labels; None: only `exact`.
        origin: where the dataset was loaded from; None if it was made in memory.
        image_options: how its image files become 8-bit RGB.
        ignored: annotations that are neither found nor missed, or None.
        notes: sentences on ignored objects and on what was left out.
        valid: which annotations of the file were not left out, in its order; None if unknown.
        annotation_file: the COCO file that it was read from; None if it was converted, or made in memory.
        images_from: the training sets that its images are from, such as `dota`; (): none; None: it does not say.
        attributes: attributes of the images that the file does not have, by name.
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
    image_options: ImageOptions = field(default_factory=ImageOptions)
    ignored: IgnoredObjects | None = None
    notes: tuple[str, ...] = ()
    valid: NDArray[np.bool_] | None = None
    annotation_file: Path | None = None
    images_from: tuple[str, ...] | None = None
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def mapper(self) -> LabelMapper:
        """The default label mapper."""
        return ExactMapper() if self.label_map is None else ExactThenMapper(self.label_map)

    def without_truth(self) -> Dataset:
        """Remove the ground truth, and keep images and categories, which a method may see."""
        none = self.annotations.take(np.zeros(0, dtype=np.int64))
        return replace(self, annotations=none, masks=None, ignored=None, notes=(), valid=None)

    def noting(self, *notes: str) -> Dataset:
        """Add notes."""
        return replace(self, notes=(*self.notes, *notes))

    def annotations_of(self, index: int) -> NDArray[np.int64]:
        """The indices of the annotations of one image: int64 (k,), increasing."""
        order, bounds = self._by_image
        return order[bounds[index] : bounds[index + 1]]

    @cached_property
    def _by_image(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The indices of the annotations sorted by image, and where each image begins among them."""
        image = self.annotations.image
        return np.argsort(image, kind="stable"), np.searchsorted(np.sort(image), np.arange(len(self.images) + 1))

    def read_image(self, index: int) -> NDArray[np.uint8]:
        """Read the pixels of one image: uint8 RGB (height, width, 3). Errors are those of `open_scene`."""
        return self.read_raster(index).pixels

    def read_raster(self, index: int) -> Raster:
        """Read one image. Errors are those of `open_scene`."""
        with self.open_scene(index) as scene:
            return Raster(*scene.read(), scene.place, scene.no_place_reason, scene.notes)

    @contextmanager
    def open_scene(self, index: int, source_crs: str | None = None) -> Iterator[Scene]:
        """Open one image, to be read window by window.

        Args:
            index: the image.
            source_crs: the reference system of an image that has coordinates and does not name its system.

        Raises:
            DataError: the file is missing, cannot be decoded, or differs in size from the annotation file.
        """
        record, path = self.images[index], self.path_of(index)
        size = image_size(path)  # of the header: pixels of a false size are not decoded
        refuse_other_size(path, size, (record.width, record.height), "the annotation file")
        with open_scene(path, self.image_options, source_crs) as scene:
            yield scene

    def path_of(self, index: int) -> Path:
        """The file of one image.

        Raises:
            DataError: the dataset has no image folder.
        """
        if self.image_root is None:
            raise DataError(f"dataset {self.name!r} has annotations but no image folder; give one with --images DIR")
        return self.image_root / self.images[index].file_name

    def refuse_missing_images(self) -> None:
        """Refuse an image folder that holds none of the images.

        Raises:
            DataError: it holds none; the message says where they are, if they are near.
        """
        root, names = self.image_root, [image.file_name for image in self.images]
        if root is None or not names or any((root / name).exists() for name in names):
            return
        first = names[0]
        near = (*root.parents[:2], *sorted(path for path in root.glob("*") if path.is_dir()))
        folder = next((folder for folder in near if (folder / first).is_file()), None)
        if folder is not None:
            there = f"{first} is in {folder}: give --images {folder}"
        elif (root / Path(first).name).is_file():
            there = f"{first} lies in it as {Path(first).name}: write file_name without folders"
        else:
            there = "give their folder with --images DIR"
        raise DataError(f"0 of the {len(names)} images of dataset {self.name!r} are in {root}; {there}")


def images_alone(images: Sequence[ImageRecord], root: Path, options: ImageOptions) -> Dataset:
    """Images without categories and ground truth, as a dataset that only lives in memory.

    Args:
        images: the images.
        root: their folder.
        options: how their files are read.
    """
    none = Instances(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros((0, 4)))
    reason = "there is no ground truth"
    return Dataset("images", Vocabulary(()), tuple(images), none, None, reason, root, "", (), image_options=options)


def refuse_other_size(path: Path, size: tuple[int, int], said: tuple[int, int], where: str) -> None:
    """Refuse an image whose size is not the one in its annotations.

    Args:
        path: the image.
        size: its width and height.
        said: the width and height in its annotations.
        where: what says so.

    Raises:
        DataError: the sizes differ.
    """
    if size != said:
        turned = size == said[::-1]
        raise DataError(
            f"image {path} is {size[0]}x{size[1]} pixels, but {where} says {said[0]}x{said[1]}"
            + ("; swap them there, or save the image rotated: EXIF orientation is not applied" if turned else "")
        )


def targets_of(dataset: Dataset, task: Task, index: int) -> Prediction:
    """Convert the ground truth of one image to a prediction, limited to the scored categories.

    A variant of a task may have other names for them.
    """
    names = dataset.vocabulary.categories
    annotations = dataset.annotations
    scored = np.array([name in task.categories for name in names])
    here = dataset.annotations_of(index)
    here = here[scored[annotations.category[here]]]
    said = {} if task.variant is None else {name: new for new, name in task.variant.names.items()}
    return Prediction(
        labels=tuple(said.get(names[c], names[c]) for c in annotations.category[here]),
        boxes=annotations.boxes[here],
        masks=None if dataset.masks is None else tuple(dataset.masks.take(here).encode()),
    )
