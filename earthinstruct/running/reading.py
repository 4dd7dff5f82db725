"""What a worker reads: the images of a run, whole or tile by tile. Each worker opens the files itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.images import Raster, Window, scene_of
from earthinstruct.regions import ImageId
from earthinstruct.running.area import Area, AreaOfScene


class Tile(NamedTuple):
    """What a method is asked about in one call.

    Attributes:
        image: the position of its image in the dataset.
        window: its pixels; None: the whole image.
    """

    image: int
    window: Window | None = None


@dataclass(frozen=True, eq=False)
class Images:
    """The images of a run.

    Attributes:
        dataset: the images, with the ground truth that controls see.
        area: the part of each image that is looked at.
        source_crs: the reference system of images that have coordinates and do not name their system.
        seen: height and width of images that the method sees at another resolution, by position.
        in_memory: the pixels of images that have no file, uint8 RGB, by position. They stay in this process.
    """

    dataset: Dataset
    area: Area = field(default_factory=Area)
    source_crs: str | None = None
    seen: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    in_memory: Mapping[int, NDArray[np.uint8]] = field(default_factory=dict)

    def without_truth(self) -> Images:
        """Remove the ground truth."""
        return replace(self, dataset=self.dataset.without_truth())

    def id_of(self, tile: Tile) -> ImageId:
        """The id in the record of a tile: that of the image, with the window if it is a part."""
        image_id = self.dataset.images[tile.image].id
        return image_id if tile.window is None else f"{image_id}#{','.join(map(str, tile.window))}"

    def size_of(self, tile: Tile) -> tuple[int, int]:
        """Height and width of a tile, in pixels."""
        if tile.window is None:
            image = self.dataset.images[tile.image]
            return self.seen.get(tile.image, (image.height, image.width))
        x0, y0, x1, y1 = tile.window
        return y1 - y0, x1 - x0

    @contextmanager
    def open(self, image: int) -> Iterator[AreaOfScene]:
        """Open an image.

        Raises:
            DataError: it cannot be read, or has another size than the dataset says.
        """
        if image in self.in_memory:
            yield self.area.of_scene(self.dataset.path_of(image), scene_of(self.in_memory[image]))
            return
        with self.dataset.open_scene(image, self.source_crs) as scene:
            yield self.area.of_scene(self.dataset.path_of(image), scene)


class Reader:
    """Reads tiles. The last image stays open, because its other tiles come next."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self._image: int | None = None
        self._opened = ExitStack()

    def read(self, tile: Tile) -> Raster:
        """Read a tile; its place is left out.

        Raises:
            DataError: the image cannot be read.
        """
        if tile.window is None:
            with self._images.open(tile.image) as part:
                return Raster(*part.read((0, 0, part.scene.width, part.scene.height)), notes=part.scene.notes)
        if tile.image != self._image:
            self._image = None
            self._opened.close()
            self._part = self._opened.enter_context(self._images.open(tile.image))
            self._image = tile.image
        return Raster(*self._part.read(tile.window), notes=self._part.scene.notes)
