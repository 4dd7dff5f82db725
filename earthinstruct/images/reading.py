"""The one decoder: any image file as 8-bit RGB, with the pixels that hold data and the place on the ground.

Pillow reads JPEG, PNG, BMP, GIF and WebP. GDAL (rasterio, if installed) reads TIFF, JPEG 2000, ERDAS IMAGINE and PNG of
16 bits, and what the files beside a picture say. Without rasterio, Pillow also reads a TIFF that both read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images import rasters
from earthinstruct.images.files import TIFF, Format, format_of, marks_nodata, refuse_too_large, sidecars
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.pictures import open_image, read_picture
from earthinstruct.images.raster import NO_PLACE, Note, Raster, Scene, Window, blackened

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL_GEO = "pip install 'earthinstruct[geo]'"
_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, geo keys
_PLAIN_MODES = ("1", "L", "P", "RGB", "RGBA", "CMYK")
_PLAIN_COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate")  # colours of JPEG differ
_ORIENTATION, _BITS, _EXTRA, _METADATA, _NODATA = 274, 258, 338, 42112, 42113  # tags of TIFF


def read_raster(path: Path, options: ImageOptions | None = None) -> Raster:
    """Read an image file.

    Args:
        path: a file of a format above, whatever its suffix is.
        options: how it is read; None: the default.

    Raises:
        DataError: the file is missing, damaged, no image, or too large; it lacks a chosen band, or needs rasterio.
    """
    with open_scene(path, options) as scene:
        return Raster(*scene.read(), scene.place, scene.no_place_reason, scene.notes)


@contextmanager
def open_scene(path: Path, options: ImageOptions | None = None, crs: str | None = None) -> Iterator[Scene]:
    """Open an image file, to be read window by window. Files that Pillow reads are read at once.

    Args:
        path: as for `read_raster`.
        options: as for `read_raster`.
        crs: the coordinate reference system of an image that has coordinates, and does not name their system.

    Raises:
        DataError: as for `read_raster`.
    """
    with _opened(path, options) as scene:
        if scene.place is not None and scene.place.crs is None:
            scene.place = replace(scene.place, crs=crs)
        yield scene


@contextmanager
def _opened(path: Path, options: ImageOptions | None) -> Iterator[Scene]:
    options, kind = options or ImageOptions(), format_of(path)
    if kind.pillow:
        yield _InMemory(_with_sidecars(path, kind, read_picture(path, options)))
    elif rasters.has_rasterio():
        with rasters.open_raster(path, kind, options) as scene:
            yield scene
    else:
        place = _check_plain(path, kind)
        found = read_picture(path, options)
        note = Note.same(f"read without rasterio, as a plain image ({INSTALL_GEO})")
        yield _InMemory(replace(found, no_place_reason=place, notes=(*found.notes, note)))


def scene_of(pixels: NDArray[np.uint8]) -> Scene:
    """Pixels in memory, uint8 RGB (height, width, 3), as a `Scene`."""
    return _InMemory(Raster(pixels, no_place_reason=NO_PLACE))


class _InMemory:
    """An image in memory as a `Scene`."""

    def __init__(self, raster: Raster) -> None:
        self._raster = raster
        self.height, self.width = raster.pixels.shape[:2]
        self.place, self.no_place_reason, self.notes = raster.place, raster.no_place_reason, raster.notes

    def read(self, window: Window | None = None, step: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read some pixels; see `Scene`."""
        x0, y0, x1, y1 = window or (0, 0, self.width, self.height)
        part = (slice(y0, y1, step), slice(x0, x1, step))
        valid = None if self._raster.valid is None else self._raster.valid[part]
        pixels = self._raster.pixels[part]  # a copy of a window: methods may change what they are shown
        return pixels if window is None else pixels.copy(), None if valid is None or valid.all() else valid


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as stored, from the header of the file.

    Raises:
        DataError: the file is missing, damaged, too large or no image, or needs rasterio.
    """
    kind = format_of(path)
    if not kind.pillow and rasters.has_rasterio():
        width, height = rasters.raster_size(path, kind)
    else:
        if not kind.pillow:
            _check_plain(path, kind)
        with open_image(path) as image:
            width, height = image.size
    refuse_too_large(path, width, height)
    return width, height


def _with_sidecars(path: Path, kind: Format, found: Raster) -> Raster:
    """Add the place and the mask that files beside a picture give."""
    beside = sidecars(path)
    if not beside:
        return replace(found, no_place_reason=NO_PLACE)
    if rasters.has_rasterio():
        valid, place, reason = rasters.read_beside(path, kind)
        if valid is not None and found.valid is not None:
            valid &= found.valid
        valid = found.valid if valid is None else blackened(found.pixels, valid)
        return replace(found, valid=valid, place=place, no_place_reason=reason)
    if marking := [file for file in beside if marks_nodata(file)]:
        raise DataError(f"{marking[0]} says which pixels of {path.name} have data; this needs rasterio: {INSTALL_GEO}")
    return replace(found, no_place_reason=f"{beside[0].name} may give it, and this needs rasterio: {INSTALL_GEO}")


def _check_plain(path: Path, kind: Format) -> str:
    """Check that Pillow reads a file as GDAL would; returns why the image has no place.

    Raises:
        DataError: it does not; the message says what is missing.
    """
    reason = f"it is {kind.name}"
    if kind is TIFF:
        try:
            with open_image(path) as image:
                reason = _not_plain(image)
                placed = any(tag in getattr(image, "tag_v2", {}) for tag in _GEO_TAGS)
        except DataError as error:
            reason = f"Pillow alone cannot read it ({error.__cause__})"
        beside = sidecars(path)
        if marking := [file.name for file in beside if marks_nodata(file)]:
            reason = reason or f"{marking[0]} says which of its pixels have data"
        if not reason:
            return f"to read it needs rasterio: {INSTALL_GEO}" if placed or beside else NO_PLACE
    raise DataError(f"image {path} needs rasterio ({reason}): {INSTALL_GEO}")


def _not_plain(image: Image) -> str:
    """Why Pillow and GDAL may read a TIFF differently; empty if they do not."""
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode not in _PLAIN_MODES or max(tags.get(_BITS, (1,))) > 8:
        return "it has more than 8 bits a channel, or channels of its own"
    if image.info.get("compression") not in _PLAIN_COMPRESSIONS:
        return f"it is compressed as {image.info.get('compression')}"
    if image.mode == "RGBA" and tags.get(_EXTRA) != (2,):
        return "its transparency is multiplied into its colours"
    if getattr(image, "n_frames", 1) > 1:
        return "it holds a mask or several pictures"
    if tags.get(_ORIENTATION, 1) != 1:
        return "it is stored turned"
    if _NODATA in tags:
        return "it declares a value for no data"
    if "COLORINTERP" in str(tags.get(_METADATA, "")).upper():
        return "it names the colours of its bands"
    return ""
