"""What a method sees in a blind run: other pixels in place of the image, of the same size."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.typing import NDArray

from earthinstruct.running.reading import Images, Reader, Tile

_GREY = 128


def blinded(pixels: NDArray[np.uint8], how: str, images: Images, reader: Reader, tile: Tile) -> NDArray[np.uint8]:
    """Other pixels in place of those of a tile, the same whenever it is asked for.

    Args:
        pixels: uint8 (height, width, 3), those of the tile.
        how: `grey`, `noise` (every value is equally likely), or `other`: the next image of the set, in its own scale;
            where it is smaller, it is repeated.
        images: the images of the run.
        reader: reads the other image.
        tile: the tile.

    Raises:
        DataError: the other image cannot be read.
    """
    if how == "grey":
        return np.full_like(pixels, _GREY)
    if how == "noise":
        generator = np.random.Generator(np.random.PCG64(zlib.crc32(np.ascontiguousarray(pixels).tobytes())))
        return generator.integers(0, 256, pixels.shape, dtype=np.uint8)
    other = (tile.image + 1) % len(images.dataset.images)
    record = images.dataset.images[other]
    sides = pixels.shape[:2]
    height, width = min(sides[0], record.height), min(sides[1], record.width)
    shown = reader.read(Tile(other, (0, 0, width, height))).pixels
    return np.pad(shown, ((0, sides[0] - height), (0, sides[1] - width), (0, 0)), mode="wrap")
