"""Read image files as 8-bit RGB, with their georeference if present.

Pillow reads JPEG, PNG and BMP. Rasterio, if installed, reads TIFF and GeoTIFF, images of more than 8 bits, and chosen
bands. Images that are not 8-bit RGB are converted:

- Bands: the chosen ones, otherwise the first three. An image of one or two bands gives its first band as grey, and a
  palette gives its colours.
- Values: 8-bit values are kept. Other types are stretched band by band: the 2nd percentile of the valid pixels becomes
  black, the 98th white.
- Pixels without data become black.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images.files import open_image, read_image
from earthinstruct.regions import MOST_PIXELS

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

INSTALL_GEO = "pip install 'earthinstruct[geo]'"
_TIFF = (".tif", ".tiff")
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # modes of Pillow
_GEO_TAGS = (33550, 33922, 34264, 34735)  # pixel scale, tie points, transformation, geo keys
# first bytes of a file -> GDAL driver. If GDAL chose the driver, a file could make it open other files or URLs.
_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"BM": "BMP",
}
_LOW, _HIGH = 2, 98  # percentiles
_CUT = "cut it first, for example with gdal_translate -srcwin"
_SAMPLE = 2048  # percentiles are computed on the image subsampled to this longest side


@dataclass(frozen=True)
class Place:
    """Where an image lies on the ground.

    Attributes:
        transform: a, b, c, d, e, f with x = a * column + b * row + c and y = d * column + e * row + f, in units of the
            coordinate reference system; column and row count pixels from the upper left corner of the image.
        crs: the coordinate reference system as "EPSG:32631" or WKT, or None if the file names none.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None

    def at(self, column: float, row: float) -> list[float]:
        """Convert a point of the image to coordinates x, y on the ground."""
        a, b, c, d, e, f = self.transform
        return [a * column + b * row + c, d * column + e * row + f]


@dataclass(frozen=True, eq=False)
class Raster:
    """One image.

    Attributes:
        pixels: uint8 RGB (height, width, 3).
        place: its georeference, or None if the file has none.
        notes: sentences on how the pixels differ from the stored ones; empty if they do not.
    """

    pixels: NDArray[np.uint8]
    place: Place | None = None
    notes: tuple[str, ...] = ()


def read_raster(path: Path, bands: Sequence[int] | None = None) -> Raster:
    """Read an image file.

    Args:
        path: JPEG, PNG, BMP, TIFF or GeoTIFF.
        bands: one or three band numbers (red, green, blue), counted from 1. By default, the first three.

    Raises:
        DataError: the file is missing, is not an image, lacks a chosen band, or needs rasterio.
    """
    if not path.is_file():
        raise DataError(f"image {path} does not exist")
    if bands is not None and len(bands) not in (1, 3):
        raise DataError(f"bands {list(bands)}: expected one band or three (red, green, blue), such as 4,3,2")
    plain = bands is None and _is_eight_bits(path)
    if plain and path.suffix.lower() not in _TIFF:
        return Raster(read_image(path), notes=_turned(path))
    if importlib.util.find_spec("rasterio") is not None:
        return _read_with_rasterio(path, bands)
    if plain and not _has_place(path):
        return Raster(read_image(path), notes=(f"read without rasterio, as a plain image ({INSTALL_GEO})",))
    raise DataError(
        f"image {path} has coordinates or more than 8 bits, or bands were chosen; this needs rasterio: {INSTALL_GEO}"
    )


def _is_eight_bits(path: Path) -> bool:
    """Whether Pillow can read the file without loss: 8 bits and at most four channels."""
    import warnings

    from PIL.Image import DecompressionBombWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DecompressionBombWarning)  # only the header is read here
            with open_image(path) as image:
                return image.mode in _EIGHT_BITS
    except DataError:
        return path.suffix.lower() not in _TIFF  # reading it will raise the error


def _turned(path: Path) -> tuple[str, ...]:
    """A note if the EXIF data of a camera ask viewers to rotate the picture."""
    from PIL.ExifTags import Base

    try:
        with open_image(path) as image:
            orientation = image.getexif().get(Base.Orientation, 1)
    except DataError:  # damaged EXIF data; the pixels may be fine
        return ()
    if orientation in range(2, 9):
        return (f"pixels as stored; the orientation in its EXIF data ({orientation}) is not applied",)
    return ()


def _has_place(path: Path) -> bool:
    from PIL.TiffImagePlugin import TiffImageFile

    with open_image(path) as image:
        return isinstance(image, TiffImageFile) and any(tag in image.tag_v2 for tag in _GEO_TAGS)


def _read_with_rasterio(path: Path, bands: Sequence[int] | None) -> Raster:
    import warnings

    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # `place` is None then
            with rasterio.open(path, driver=_driver(path)) as source:
                if source.width * source.height > MOST_PIXELS:
                    raise DataError(f"image {path} has {source.width}x{source.height} pixels; {_CUT}")
                chosen = _chosen(path, source.count, bands)
                notes = []
                if source.count > 3 and bands is None and source.colorinterp[3].name != "alpha":
                    notes.append(f"the first 3 of {source.count} bands are shown; choose others with --bands")
                if any(source.dtypes[band - 1] != "uint8" for band in chosen):
                    kind = source.dtypes[chosen[0] - 1]
                    notes.append(f"{kind} stretched to 8 bits, percentiles {_LOW} to {_HIGH} of each band")
                if bands is None and source.colorinterp[0].name == "palette":
                    pixels = _of_palette(source)
                else:
                    layers = {band: _eight_bits(source, band) for band in set(chosen)}
                    pixels = np.stack([layers[band] for band in chosen], axis=-1)
                place = None
                if not source.transform.is_identity:
                    a, b, c, d, e, f = tuple(source.transform)[:6]
                    place = Place((a, b, c, d, e, f), None if source.crs is None else _crs_name(source.crs))
                return Raster(pixels, place, tuple(notes))
    except RasterioError as error:
        raise DataError(f"image {path} cannot be read: {error}") from error
    except MemoryError as error:
        raise DataError(f"image {path} does not fit into memory; {_CUT}") from error


def _driver(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    driver = next((driver for magic, driver in _DRIVERS.items() if head.startswith(magic)), None)
    if driver is None:
        raise DataError(f"image {path} cannot be read: it is not a TIFF, PNG, JPEG or BMP file")
    return driver


def _chosen(path: Path, count: int, bands: Sequence[int] | None) -> tuple[int, int, int]:
    if bands is None:
        return (1, 2, 3) if count >= 3 else (1, 1, 1)
    missing = [band for band in bands if not 1 <= band <= count]
    if missing:
        raise DataError(f"image {path} has {count} bands, no band {missing[0]}; bands are numbered from 1")
    red, green, blue = bands if len(bands) == 3 else [bands[0]] * 3
    return red, green, blue


def _eight_bits(source: DatasetReader, band: int) -> NDArray[np.uint8]:
    """Read one band as uint8 (height, width), stretched if it has another type."""
    valid = source.read_masks(band) > 0
    values = source.read(band)
    if values.dtype != np.uint8:
        step = max(1, -(-max(values.shape) // _SAMPLE))
        sample = values[::step, ::step][valid[::step, ::step]].astype(np.float64)
        sample = sample[np.isfinite(sample)]
        low, high = np.percentile(sample, (_LOW, _HIGH)) if len(sample) else (0.0, 1.0)
        scaled = (values.astype(np.float32) - low) * (255 / (high - low) if high > low else 0.0)
        values = np.nan_to_num(scaled, nan=0.0, posinf=255.0, neginf=0.0).clip(0, 255).round().astype(np.uint8)
    values[~valid] = 0
    return np.asarray(values, dtype=np.uint8)


def _of_palette(source: DatasetReader) -> NDArray[np.uint8]:
    """Read the first band as palette indices and return their colours."""
    colours = np.zeros((1 << 16, 3), dtype=np.uint8)
    for number, colour in source.colormap(1).items():
        colours[number] = colour[:3]
    pixels: NDArray[np.uint8] = colours[source.read(1)]
    pixels[source.read_masks(1) == 0] = 0
    return pixels


def _crs_name(crs: Any) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg is not None else str(crs.to_wkt())
