"""Read pictures of 8 bits a channel with Pillow."""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images.files import CUT, refuse_too_large, refuse_too_large_at_once
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.raster import Note, Raster, blackened

if TYPE_CHECKING:
    from PIL.Image import Image

# the only formats that Pillow may decode, whatever the file name: its EPS reader, for example, runs Ghostscript
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
_ANIMATED = ("GIF", "PNG", "TIFF", "WEBP")  # in other formats, the further pictures are previews
_STRIP = 512  # rows that are converted at once
_CHANNELS = ("L", "LA", "P", "RGB", "RGBA")  # modes whose stored channels can be chosen
_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_AS_TILES = "convert it to a file that is read tile by tile: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE {} A.tif"
_BROKEN = (  # what Pillow raises for damaged files
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, OverflowError),
    *(RuntimeError, struct.error, zlib.error),
)


@contextmanager
def open_image(path: Path, what: str = "image") -> Iterator[Image]:
    """Open an image file with Pillow. Only the header is read; the pixels are read on first use.

    Args:
        path: the file.
        what: the name of the file in errors.

    Raises:
        DataError: the file is missing or is not an image. The error may come when the pixels are read.
    """
    from PIL import Image

    try:
        with UNDISTURBED, Image.open(path, formats=_FORMATS) as image:
            yield image
    except FileNotFoundError as error:
        raise DataError(f"{what} {path} does not exist") from error
    except MemoryError as error:
        raise DataError(f"{what} {path} does not fit into memory; {CUT}") from error
    except _BROKEN as error:
        raise DataError(f"{what} {path} cannot be read: {error}") from error


def read_picture(path: Path, options: ImageOptions) -> Raster:
    """Read a picture, without its place.

    Palettes are resolved, pixels that are transparent or have the value for no data are black, and the EXIF orientation
    is not applied.

    Raises:
        DataError: the file is damaged, too large, or lacks a chosen band.
    """
    with open_image(path) as image:
        refuse_too_large(path, image.width, image.height)
        refuse_too_large_at_once(f"image {path}", image.width, image.height, _AS_TILES.format(path.name))
        see_through = image.mode in _ALPHA or "transparency" in image.info
        notes = _notes(image)
        shown = _channels(image, "RGBA" if see_through else "RGB")
        if options.bands is None and options.nodata is None:
            valid = shown[..., 3] > 0 if see_through else None
            pixels = np.ascontiguousarray(shown[..., :3])
            return Raster(pixels, blackened(pixels, valid), notes=notes)
        as_stored = {"1": "L"}.get(image.mode, image.mode)
        stored = _channels(image, as_stored if as_stored in _CHANNELS else "RGB")
    chosen = chosen_bands(path, stored.shape[2], options.bands)
    alpha = {"LA": 2, "RGBA": 4}.get(image.mode)  # the number of its band
    valid = shown[..., 3] > 0 if see_through and alpha not in (chosen or ()) else None
    pixels = np.ascontiguousarray(shown[..., :3] if chosen is None else stored[..., [band - 1 for band in chosen]])
    if options.nodata is not None:
        looked_at = stored[..., : 3 if stored.shape[2] > 2 else 1] if chosen is None else pixels
        data = (looked_at != options.nodata).any(axis=-1)
        valid = data if valid is None else valid & data
    return Raster(pixels, blackened(pixels, valid), notes=notes)


def _channels(image: Image, mode: str) -> NDArray[np.uint8]:
    """The pixels in a mode of Pillow: (height, width, channels). Converted strip by strip, to bound memory."""
    strips = ((y, min(y + _STRIP, image.height)) for y in range(0, image.height, _STRIP))
    values = np.empty((image.height, image.width, len(mode)), dtype=np.uint8)
    for top, bottom in strips:
        strip = np.asarray(image.crop((0, top, image.width, bottom)).convert(mode), dtype=np.uint8)
        values[top:bottom] = strip.reshape(bottom - top, image.width, -1)
    return values


def chosen_bands(path: Path, count: int, bands: tuple[int, ...] | None) -> tuple[int, int, int] | None:
    """The chosen bands for red, green and blue; None if none are chosen.

    Raises:
        DataError: the image lacks one.
    """
    if bands is None:
        return None
    missing = [band for band in bands if not 1 <= band <= count]
    if missing:
        raise DataError(
            f"image {path} has {count} bands, no band {missing[0]}; bands are numbered from 1, as in --bands 4,3,2"
        )
    red, green, blue = bands if len(bands) == 3 else [bands[0]] * 3
    return red, green, blue


def turned(orientation: int) -> tuple[Note, ...]:
    """A note if the EXIF data of a camera ask viewers to rotate the picture."""
    if orientation not in range(2, 9):
        return ()
    return (Note.same(f"pixels as stored; the orientation in its EXIF data ({orientation}) is not applied"),)


def first_of(n_pictures: int) -> tuple[Note, ...]:
    """A note if a file has several pictures."""
    if n_pictures < 2:
        return ()
    return (
        Note(f"the first of the {n_pictures} pictures in this file is read", "the first of several pictures is read"),
    )


def _notes(image: Image) -> tuple[Note, ...]:
    from PIL.ExifTags import Base

    notes: tuple[Note, ...] = ()
    if image.format in _ANIMATED:
        notes = first_of(getattr(image, "n_frames", 1))
    if "exif" in image.info:
        try:
            orientation = image.getexif().get(Base.Orientation, 1)
        except _BROKEN:  # damaged EXIF data; the pixels may be fine
            return notes
        notes += turned(orientation)
    return notes


class _Undisturbed:
    """Pillow without its own limit of pixels, and no warnings of decoders; several threads may be inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = ExitStack()

    def __enter__(self) -> None:
        from PIL import Image

        with self._lock:
            if self._inside == 0:
                self._before.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                warnings.filterwarnings("ignore", "Dataset has no geotransform")  # of rasterio: `place` is None then
                self._before.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._before.close()


UNDISTURBED = _Undisturbed()
