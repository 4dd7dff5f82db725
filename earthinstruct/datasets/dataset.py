"""A dataset in memory: images, categories and ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.instances import ImageId, Instances
from earthinstruct.masks import RLE, MaskRuns, decode_rles
from earthinstruct.tasks import ExactMapper, ExactThenMapper, LabelMapper, Vocabulary


@dataclass(frozen=True)
class ImageRecord:
    """One image of a dataset. `file_name` is relative to the image folder and never leaves it."""

    id: ImageId
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with ground truth.

    Attributes:
        name: for example "dior-mini".
        vocabulary: the categories, in the order of their ids.
        images: the images, in the order of the file.
        annotations: the ground truth; `image` indexes `images`, `category` indexes the vocabulary's categories.
        first_parts: index of an annotation with several polygons -> the mask of the first one alone.
        no_masks_reason: why there are no masks, or None.
        image_root: the folder of the images, or None when only annotations are at hand.
        sha256: hash of the annotation file.
        category_ids: the id of each category in the annotation file.
        label_map: the label map that free labels are scored with unless another is given; None: `exact` alone.
    """

    name: str
    vocabulary: Vocabulary
    images: tuple[ImageRecord, ...]
    annotations: Instances
    first_parts: Mapping[int, RLE]
    no_masks_reason: str | None
    image_root: Path | None
    sha256: str
    category_ids: tuple[int, ...]
    label_map: str | None = None

    @cached_property
    def first_part_masks(self) -> MaskRuns | None:
        """The masks when only the first polygon of each object counts (protocol `paper`)."""
        masks = self.annotations.masks
        if masks is None or not self.first_parts:
            return masks
        return masks.replaced(np.array(list(self.first_parts)), decode_rles(list(self.first_parts.values())))

    @property
    def mapper(self) -> LabelMapper:
        """The label mapper that is used unless another is given."""
        return ExactMapper() if self.label_map is None else ExactThenMapper(self.label_map)

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


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 RGB (height, width, 3).

    Palettes are resolved, transparency is dropped, an orientation in EXIF data is not applied.

    Raises:
        DataError: the file is missing, is not an image or has more than 8 bits a channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):  # Pillow would cut the values off at 255
                raise DataError(
                    f"image {path} has more than 8 bits a channel (mode {image.mode}); stretch it to 8-bit RGB first, "
                    "for example with earthinstruct.rasters.read_raster"
                )
            return np.array(image.convert("RGB"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise DataError(f"image {path} does not exist") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"image {path} cannot be read: {error}") from error
