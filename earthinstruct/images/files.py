"""Image files that Pillow reads: which there are, how large they are, and their pixels as 8-bit RGB."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
# what Pillow may decode, whatever a file is called: of its other readers, that of EPS starts Ghostscript, a program
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


@contextmanager
def open_image(path: Path, what: str = "image") -> Iterator[Image]:
    """An image file, of which the head is read; its pixels are read when they are asked for.

    Args:
        path: the file.
        what: what an error calls it.

    Raises:
        DataError: it is missing or is not an image, here or where its pixels are read.
    """
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{what} {path} does not exist") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{what} {path} cannot be read: {error}") from error


def read_image(path: Path) -> NDArray[np.uint8]:
    """Read an image file as uint8 RGB (height, width, 3).

    Palettes are resolved, transparency is dropped, an orientation in EXIF data is not applied.

    Raises:
        DataError: the file is missing, is not an image or has more than 8 bits a channel.
    """
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):  # Pillow would cut the values off at 255
            raise DataError(
                f"image {path} has more than 8 bits a channel (mode {image.mode}); stretch it to 8-bit RGB first, "
                "for example with earthinstruct.images.read_raster"
            )
        return np.array(image.convert("RGB"), dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the head of the file.

    Raises:
        DataError: it is missing or is not an image.
    """
    with open_image(path) as image:
        return image.width, image.height


def images_below(folder: Path) -> list[Path]:
    """The image files in a folder and in its subfolders, sorted; hidden ones are left out.

    Raises:
        DataError: a name is not UTF-8, so that no file could hold it.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    for path in found:
        if any("\ud800" <= character <= "\udfff" for character in str(path)):  # how bytes that are no text are kept
            raise DataError(f"the name of image {str(path)!r} is not UTF-8; rename it")
    return found
