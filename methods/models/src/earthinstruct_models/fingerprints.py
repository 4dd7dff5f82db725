"""Finds the name of an image by its pixels: recorded answers are stored by name, but a method gets only pixels."""

from __future__ import annotations

import hashlib
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images import images_below, read_raster


class RecordedImages:
    """The names of the images in a folder, by their pixels.

    Args:
        folder: images, at any depth.

    Raises:
        DataError: the folder is missing.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise DataError(
                f"{self.folder} is not a folder; recorded answers need the folder of the images they belong to"
            )

    def name_of(self, image: NDArray[np.uint8]) -> str:
        """The file name, without extension, of the image with these pixels.

        Raises:
            DataError: no image has these pixels.
        """
        name = self._names.get(fingerprint(image))
        if name is None:
            raise DataError(
                f"none of the {len(self._names)} images in {self.folder} has these pixels, "
                "so no recorded answer belongs to them"
            )
        return name

    @cached_property
    def _names(self) -> dict[str, str]:
        names: dict[str, str] = {}
        for path in images_below(self.folder):
            key = fingerprint(read_raster(path).pixels)
            if names.setdefault(key, path.stem) != path.stem:
                raise DataError(
                    f"{path} shows the same pixels as image {names[key]!r}; recorded answers cannot tell them apart"
                )
        return names


recorded_images = cache(RecordedImages)  # a folder is read once for all parts


def fingerprint(image: NDArray[np.uint8]) -> str:
    """Hash of the pixels and the shape of an image."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()
