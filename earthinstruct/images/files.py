"""Find image files, and read their sizes and pixels with Pillow."""

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
# the only formats that Pillow may decode, whatever the file name: its EPS reader, for example, runs Ghostscript
_FORMATS = ("BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")


@contextmanager
def open_image(path: Path, what: str = "image") -> Iterator[Image]:
    """Open an image file. Only the header is read; the pixels are read on first use.

    Args:
        path: the file.
        what: the name of the file in errors.

    Raises:
        DataError: the file is missing or is not an image. The error may come when the pixels are read.
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

    Palettes are converted to colours, transparency is dropped, and the EXIF orientation is not applied.

    Raises:
        DataError: the file is missing, is not an image or has more than 8 bits a channel.
    """
    with open_image(path) as image:
        if image.mode.startswith(("I", "F")):  # Pillow would clip the values at 255
            raise DataError(
                f"image {path} has more than 8 bits a channel (mode {image.mode}); stretch it to 8-bit RGB first, "
                "for example with earthinstruct.images.read_raster"
            )
        return np.array(image.convert("RGB"), dtype=np.uint8)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels, from the header of the file.

    Raises:
        DataError: the file is missing or is not an image.
    """
    with open_image(path) as image:
        return image.width, image.height


def images_below(folder: Path) -> list[Path]:
    """List the image files in a folder and its subfolders, sorted, without hidden ones.

    Raises:
        DataError: a file name is not UTF-8, so that it cannot be written to JSON.
    """
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    for path in found:
        if any("\ud800" <= character <= "\udfff" for character in str(path)):  # Python's escapes of undecodable bytes
            raise DataError(f"the name of image {str(path)!r} is not UTF-8; rename it")
    return found
