"""Attributes of images, such as the sensor or the ground resolution: fields of the images in a COCO file, and more."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from earthinstruct.datasets.dataset import Attribute, Dataset
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.regions import ImageId

N_OBJECTS = "n_objects"
_NO_ATTRIBUTES = ("id", "file_name")


class _File(msgspec.Struct):
    images: list[dict[str, Any]]


def image_attributes(dataset: Dataset) -> dict[str, Attribute]:
    """Read the attributes of the images of a dataset: name -> image -> value.

    These are the numbers and texts among the fields of `images` in its COCO file (true and false become texts), those
    that the dataset itself knows, such as the ground resolution of drawn scenes, and `n_objects`, the number of
    annotated objects of each image.

    Raises:
        DataError: the file of the dataset is no longer there, or is malformed.
    """
    n_objects = np.bincount(dataset.annotations.image, minlength=len(dataset.images)).tolist()
    found: dict[str, dict[ImageId, float | str]] = {}
    path = dataset.annotation_file
    if path is not None:
        problem = f"{path} is not a COCO annotation file: {{error}}"
        for image in decode_json(read_bytes(path, "annotation file"), msgspec.json.Decoder(_File), problem).images:
            for name, value in image.items():
                if isinstance(value, int | float | str) and name not in _NO_ATTRIBUTES:
                    of_image = str(value).lower() if isinstance(value, bool) else value
                    found.setdefault(name, {})[image["id"]] = of_image
    return {
        **found,
        **dataset.attributes,
        N_OBJECTS: {image.id: n for image, n in zip(dataset.images, n_objects, strict=True)},
    }
