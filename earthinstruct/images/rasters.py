"""Read rasters with GDAL (rasterio): TIFF, JPEG 2000, ERDAS IMAGINE, PNG of 16 bits, and what lies beside an image.

The bands that are shown are the chosen ones, otherwise those that the file names as red, green and blue, otherwise the
first three, otherwise the first. A pixel has data if one of them has, and if no alpha band makes it transparent.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images.files import CUT, TIFF, Format, refuse_too_large
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.pictures import UNDISTURBED, chosen_bands, first_of, open_image, turned
from earthinstruct.images.raster import Note, Place, Raster, blackened
from earthinstruct.images.stretch import Band, eight_bits

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_RGB = ("red", "green", "blue")
_NUMBERED = re.compile(r"(band|layer)[ _]?\d+", re.IGNORECASE)  # names of bands that say nothing
_OTHER_COLOURS = ("hue", "saturation", "lightness", "cyan", "magenta", "yellow", "black", "Y", "Cb", "Cr")


def has_rasterio() -> bool:
    """Whether rasterio is installed."""
    return importlib.util.find_spec("rasterio") is not None


def read_raster_file(path: Path, kind: Format, options: ImageOptions) -> Raster:
    """Read a raster with its place.

    Raises:
        DataError: the file is damaged, too large, lacks a chosen band, or has values that are no picture.
    """
    with _opened(path, kind) as source:
        refuse_too_large(path, source.width, source.height)
        colours = [colour.name for colour in source.colorinterp]
        alphas = [number for number, colour in enumerate(colours, 1) if colour == "alpha"]
        chosen = chosen_bands(path, source.count, options.bands)
        shown = chosen or _shown(path, colours)
        alphas = [] if chosen is not None and set(alphas) & set(chosen) else alphas
        inverted = source.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        bands = {number: _band(source, number, options.nodata, bool(alphas)) for number in dict.fromkeys(shown)}
        notes: Sequence[Note] = ()
        valid = _any([band.valid for band in bands.values()])
        if chosen is None and colours[0] == "palette" and not inverted:
            pixels, valid = _of_palette(source, bands[1].values, valid)
        else:
            converted, notes = eight_bits(list(bands.values()), options)
            layers = dict(zip(bands, converted, strict=True))
            pixels = np.stack([layers[number] for number in shown], axis=-1)
            if inverted:
                pixels = 255 - pixels
        for number in alphas:
            opaque = source.read(number) > 0
            valid = opaque if valid is None else valid & opaque
        if chosen is None:
            notes = (*_about_bands(source, shown, len(colours) - len(alphas)), *notes)
        notes = (*notes, *first_of(len(source.subdatasets)), *_turned(path, kind))
        return Raster(pixels, blackened(pixels, valid), *_place(path, source), notes)


def read_beside(path: Path, kind: Format) -> tuple[NDArray[np.bool_] | None, Place | None, str | None]:
    """Read the files beside a picture: which pixels have data (None if all have), its place, or why it has no place.

    Raises:
        DataError: the files are damaged.
    """
    with _opened(path, kind) as source:
        unmasked = all("all_valid" in [flag.name for flag in flags] for flags in source.mask_flag_enums)
        return (None if unmasked else source.dataset_mask() > 0, *_place(path, source))


def raster_size(path: Path, kind: Format) -> tuple[int, int]:
    """(width, height) in pixels.

    Raises:
        DataError: the file is damaged.
    """
    with _opened(path, kind) as source:
        return source.width, source.height


@contextmanager
def _opened(path: Path, kind: Format) -> Iterator[DatasetReader]:
    """Open a file with the driver of its format, without warnings. Some threads of GDAL print past rasterio's log."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with UNDISTURBED, rasterio.Env(CPL_LOG=os.devnull), rasterio.open(path, driver=kind.driver) as source:
            yield source
    except (RasterioError, ValueError, OverflowError) as error:
        reason = error.__cause__ or error  # "Read failed. See previous exception for details."
        raise DataError(f"image {path} cannot be read: {reason}") from error
    except MemoryError as error:
        raise DataError(f"image {path} does not fit into memory; {CUT}") from error


def _shown(path: Path, colours: Sequence[str]) -> tuple[int, int, int]:
    """The bands that are red, green and blue where none are chosen."""
    if all(colours.count(name) == 1 for name in _RGB):
        red, green, blue = (colours.index(name) + 1 for name in _RGB)
        return red, green, blue
    if other := [name for name in colours if name in _OTHER_COLOURS]:
        raise DataError(
            f"image {path} stores its colours as {', '.join(other)}; convert it to red, green and blue, or choose "
            "bands with --bands"
        )
    bands = [number for number, name in enumerate(colours, 1) if name != "alpha"] or [1]
    return (bands[0], bands[1], bands[2]) if len(bands) >= 3 else (bands[0],) * 3


def _band(source: DatasetReader, number: int, nodata: float | None, has_alpha: bool) -> Band:
    """Read a band, with the pixels that have data in it by its mask, its nodata value and the user's."""
    values = source.read(number)
    if values.dtype.kind not in "uif":
        raise DataError(f"image {source.name} holds values of type {values.dtype}; expected whole or real numbers")
    masks = []
    flags = [flag.name for flag in source.mask_flag_enums[number - 1]]
    if "all_valid" not in flags and not ("alpha" in flags and not has_alpha):
        masks.append(source.read_masks(number) > 0)
    if values.dtype.kind == "f":
        masks.append(np.isfinite(values))
    if nodata is not None:
        masks.append(values != nodata if values.dtype.kind != "f" else values != values.dtype.type(nodata))
    bits = source.tags(number, ns="IMAGE_STRUCTURE").get("NBITS")
    return Band(values, np.logical_and.reduce(masks) if masks else None, None if bits is None else int(bits))


def _any(masks: Sequence[NDArray[np.bool_] | None]) -> NDArray[np.bool_] | None:
    return None if any(mask is None for mask in masks) else np.logical_or.reduce([m for m in masks if m is not None])


def _of_palette(
    source: DatasetReader, indices: NDArray[np.generic], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
    """The colours of palette indices, and which pixels have data; transparent entries have none."""
    colours = np.zeros((1 << 16, 4), dtype=np.uint8)
    for number, colour in source.colormap(1).items():
        colours[number] = colour
    found = colours[indices]
    opaque = found[..., 3] > 0
    return np.ascontiguousarray(found[..., :3]), opaque if valid is None else valid & opaque


def _about_bands(source: DatasetReader, shown: tuple[int, int, int], n_colours: int) -> Iterator[Note]:
    """A note where bands are left out, or have names of their own."""
    numbers = list(dict.fromkeys(shown))
    names = [source.descriptions[number - 1] for number in numbers]
    named = [name for name in names if name and not _NUMBERED.fullmatch(name)]
    if n_colours == len(numbers) and tuple(name.lower() for name in named) in ((), _RGB):
        return
    listed = [
        f"{number} ({name})" if name in named else str(number) for number, name in zip(numbers, names, strict=True)
    ]
    what = f"bands {', '.join(listed)}" if len(listed) > 1 else f"band {listed[0]}"
    colour = "red, green, blue" if len(listed) == 3 else "grey"
    yield Note.same(f"{what} of {source.count} shown as {colour}; choose others with --bands")


def _turned(path: Path, kind: Format) -> tuple[Note, ...]:
    """A note on the orientation of a TIFF, which GDAL does not tell."""
    from PIL.ExifTags import Base

    if kind is not TIFF:
        return ()
    try:
        with open_image(path) as image:
            return turned(int(getattr(image, "tag_v2", {}).get(Base.Orientation, 1)))
    except DataError:  # a TIFF that only GDAL reads
        return ()


def _place(path: Path, source: DatasetReader) -> tuple[Place | None, str | None]:
    """The place of a raster, or None and the reason why it has none."""
    if not source.transform.is_identity:
        a, b, c, d, e, f = tuple(source.transform)[:6]
        return Place((a, b, c, d, e, f), None if source.crs is None else _crs_name(source.crs)), None
    for control, there in (("ground control points", source.gcps[0]), ("rational polynomials (RPC)", source.rpcs)):
        if there:
            return None, f"it has {control} alone; warp it first: gdalwarp {path.name} warped.tif"
    return None, "it has no coordinates on the ground"


def _crs_name(crs: Any) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg is not None else str(crs.to_wkt())
