"""Images at another resolution: the size of a pixel on the ground, and scenes resampled while they are read."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images.files import refuse_too_large_at_once
from earthinstruct.images.raster import Note, Place, Scene, Window, blackened
from earthinstruct.images.reading import INSTALL_GEO
from earthinstruct.regions import MOST_PIXELS

NAMELESS = "it does not name its coordinate reference system; give --source-crs EPSG:N"
_SAME = 0.01  # sizes of pixels that differ by less are one resolution
_BLOCK = 2048  # side of the parts that are read at once, pixels of the stored image


def pixel_metres(place: Place, height: int, width: int) -> tuple[float, float]:
    """The width and the height of the pixel in the middle of an image, in metres on the WGS 84 ellipsoid.

    Any reference system will do: in degrees, in feet, or one that stretches distances.

    Raises:
        DataError: the image does not name its reference system, or a package of the extra `geo` is missing.
    """
    try:
        from pyproj import Geod
        from rasterio.errors import RasterioError
        from rasterio.warp import transform
    except ImportError as error:
        raise DataError(f"sizes on the ground need the package {error.name}: {INSTALL_GEO}") from error

    x, y = width / 2, height / 2
    around = [place.at(*point) for point in ((x - 0.5, y), (x + 0.5, y), (x, y - 0.5), (x, y + 0.5))]
    try:
        longitudes, latitudes = transform(place.crs, "EPSG:4326", *zip(*around, strict=True))
        metres = Geod(ellps="WGS84").inv(longitudes[::2], latitudes[::2], longitudes[1::2], latitudes[1::2])[2]
    except (RasterioError, ValueError) as error:
        raise DataError(f"the size of a pixel on the ground cannot be computed from {place.crs}: {error}") from error
    if not all(0 < size < math.inf for size in metres):
        raise DataError(f"the size of a pixel on the ground cannot be computed from {place.crs}")
    return float(metres[0]), float(metres[1])


def scene_at(scene: Scene, resolution: float) -> Scene:
    """A scene whose pixels are squares of a size on the ground; the scene itself if its pixels are, within 1 %.

    Pixels are averaged over the ground that a new one covers, or interpolated; those without data do not count. Some
    are read at a time, so that memory does not grow with the scene.

    Args:
        scene: an image with a place that names its reference system.
        resolution: metres a pixel, in the middle of the scene.

    Raises:
        DataError: the resolution of the scene is unknown, or the new one gives more pixels than masks can have.
    """
    if scene.place is None or scene.place.crs is None:
        raise DataError(f"its resolution is unknown: {scene.no_place_reason or NAMELESS}")
    across, down = pixel_metres(scene.place, scene.height, scene.width)
    if max(abs(across / resolution - 1), abs(down / resolution - 1)) < _SAME:
        return scene
    width, height = (
        max(1, round(pixels * size / resolution)) for pixels, size in ((scene.width, across), (scene.height, down))
    )
    if width * height > MOST_PIXELS:
        raise DataError(
            f"at {resolution:g} m a pixel it would have {width}x{height} pixels, more than {MOST_PIXELS:,}; give a "
            "larger --resolution, or cut the image first"
        )
    stored = f"{across:.3g}" if f"{across:.3g}" == f"{down:.3g}" else f"{across:.3g} x {down:.3g}"
    note = f"resampled from {stored} m to {resolution:g} m a pixel"
    return _Resampled(scene, height, width, Note(note, f"resampled to {resolution:g} m a pixel"))


class _Resampled:
    """A scene at another resolution; see `Scene`."""

    def __init__(self, scene: Scene, height: int, width: int, note: Note) -> None:
        self._scene, self.height, self.width = scene, height, width
        self._across, self._down = scene.width / width, scene.height / height  # stored pixels in one of these
        self.place, self.no_place_reason = scene.place, scene.no_place_reason
        if scene.place is not None:
            a, b, c, d, e, f = scene.place.transform
            x, y = self._across, self._down
            self.place = replace(scene.place, transform=(a * x, b * y, c, d * x, e * y, f))
        self.notes = (*scene.notes, note)

    def read(self, window: Window | None = None, step: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read some pixels; see `Scene`."""
        x0, y0, x1, y1 = window or (0, 0, self.width, self.height)
        refuse_too_large_at_once("the part that is read", x1 - x0, y1 - y0, "give --tile, or a larger --resolution")
        pixels = np.zeros((y1 - y0, x1 - x0, 3), dtype=np.uint8)
        valid = np.ones((y1 - y0, x1 - x0), dtype=bool)
        columns, rows = (max(1, int(_BLOCK / max(1, each))) for each in (self._across, self._down))
        for top in range(y0, y1, rows):
            for left in range(x0, x1, columns):
                block = (left, top, min(left + columns, x1), min(top + rows, y1))
                part = (slice(top - y0, block[3] - y0), slice(left - x0, block[2] - x0))
                pixels[part], valid[part] = self._block(block)
        every = (slice(None, None, step), slice(None, None, step))
        pixels, valid = np.ascontiguousarray(pixels[every]), valid[every]
        return pixels, blackened(pixels, valid)

    def _block(self, block: Window) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Read some pixels at once, with as many stored ones around as the filter takes."""
        from PIL.Image import Resampling, fromarray

        x0, x1 = block[0] * self._across, block[2] * self._across
        y0, y1 = block[1] * self._down, block[3] * self._down
        beside, above = (math.ceil(max(1, each)) + 1 for each in (self._across, self._down))
        left, top = max(0, math.floor(x0) - beside), max(0, math.floor(y0) - above)
        right = min(self._scene.width, math.ceil(x1) + beside)
        bottom = min(self._scene.height, math.ceil(y1) + above)
        size = block[2] - block[0], block[3] - block[1]
        box = (x0 - left, y0 - top, min(x1, self._scene.width) - left, min(y1, self._scene.height) - top)

        def resampled(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
            return np.asarray(fromarray(values).resize(size, Resampling.BILINEAR, box=box), dtype=np.uint8)

        stored, has_data = self._scene.read((left, top, right, bottom))
        pixels = resampled(stored)
        if has_data is None:
            return pixels, np.ones(size[::-1], dtype=bool)
        share = resampled(has_data * np.uint8(255))  # pixels without data are black: what they took is given back
        whole = pixels * (255 / np.maximum(share, 1))[..., None]
        return whole.clip(0, 255).round().astype(np.uint8), share >= 128
