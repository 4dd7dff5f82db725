"""The images that `predict` is given: how each is opened, and how an engine reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import ImageRecord, images_alone
from earthinstruct.images import ImageOptions, Scene, Window, open_scene, scene_of
from earthinstruct.predictions import Record, check_place
from earthinstruct.running.area import Area, resized
from earthinstruct.running.engines.worker import in_our_words
from earthinstruct.running.reading import Images, Tile
from earthinstruct.running.tiles import Tiling


@dataclass(frozen=True, eq=False)
class OwnImages:
    """The images of the user.

    Attributes:
        paths: their files; for pixels in memory, "image 0", "image 1", ...
        in_memory: path -> the pixels that have no file, uint8 RGB.
        reading: how files are read.
        source_crs: the coordinate reference system of images that have coordinates and do not name their system.
        root: the folder that paths start from.
    """

    paths: Sequence[Path]
    in_memory: Mapping[Path, NDArray[np.uint8]] = field(default_factory=dict)
    reading: ImageOptions = field(default_factory=ImageOptions)
    source_crs: str | None = None
    root: Path = Path()

    def opening(self, path: Path) -> Callable[[], AbstractContextManager[Scene]]:
        """A function that opens one of the images."""
        if path in self.in_memory:
            return partial(_scene_in_memory, self.in_memory[path])
        return partial(open_scene, self.root / path, self.reading, self.source_crs)


def _scene_in_memory(pixels: NDArray[np.uint8]) -> AbstractContextManager[Scene]:
    return nullcontext(scene_of(pixels))


class OpenedImages:
    """The images as an engine reads them.

    Attributes:
        images: the images that can be opened, and empty entries for the others.
        problems: why the others cannot.
        windows: the tiles of the images that are cut, or of which a part is predicted.
    """

    def __init__(self, own: OwnImages, area: Area, *, on_ground: bool) -> None:
        """Open each image.

        Args:
            own: the images.
            area: the part of each that is looked at.
            on_ground: whether images must know their place on the ground.

        Raises:
            EarthInstructError: the only image cannot be opened, or has no place where one is needed.
        """
        self.problems: dict[Path, str] = {}
        self.windows: dict[int, list[Window]] = {}
        self._paths = own.paths
        records = []
        for path in own.paths:
            height = width = 0
            with self._named(path), own.opening(path)() as scene:
                if on_ground:
                    check_place(path, scene.place, scene.no_place_reason)
                height, width = scene.height, scene.width
            records.append(ImageRecord(str(path), str(path), width, height))
        pixels = {i: own.in_memory[path] for i, path in enumerate(own.paths) if path in own.in_memory}
        dataset = images_alone(records, Path.cwd(), own.reading)  # workers may have another working directory
        self.images = Images(dataset, area, own.source_crs, in_memory=pixels)

    def cut(self, area: Area, tiling: Tiling, largest_side: int | None) -> None:
        """Find the part of each image that is looked at, and cut it into tiles.

        Raises:
            EarthInstructError: the only image does not reach into the area, or the overlap is out of range.
        """
        self.images, seen = replace(self.images, area=area), {}
        for i, path in enumerate(self._paths):
            if path in self.problems:
                continue
            part = None
            with self._named(path), self.images.open(i) as opened:
                part, size = opened.window, (opened.scene.height, opened.scene.width)
            if part is None:
                continue
            stored = self.images.size_of(Tile(i))
            tiles = tiling.windows(part, largest_side)
            if size != stored:
                seen[i] = size
            if size != stored or tiles != [(0, 0, stored[1], stored[0])]:
                self.windows[i] = tiles
        self.images = replace(self.images, seen=seen)

    def as_stored(self, image: int, record: Record) -> Record:
        """The record of an image in the pixels of its file."""
        if image not in self.images.seen or record.error is not None:
            return record
        stored = self.images.dataset.images[image]
        found = resized(record.prediction(), self.images.seen[image], (stored.height, stored.width))
        return Record.of(record.image_id, found)

    @contextmanager
    def _named(self, path: Path) -> Iterator[None]:
        """Note why an image cannot be opened; the other images go on."""
        try:
            yield
        except Exception as error:
            if len(self._paths) == 1:
                raise
            self.problems[path] = in_our_words(error, ())
