"""Read rasters with GDAL (rasterio): TIFF, JPEG 2000, ERDAS IMAGINE, PNG of 16 bits, and what lies beside an image.

The bands that are shown are the chosen ones, otherwise those that the file names as red, green and blue, otherwise the
first three, otherwise the first. A pixel has data if one of them has, and if no alpha band makes it transparent.
"""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.images.files import CUT, TIFF, Format, refuse_too_large, refuse_too_large_at_once
from earthinstruct.images.options import ImageOptions
from earthinstruct.images.pictures import UNDISTURBED, chosen_bands, first_of, open_image, turned
from earthinstruct.images.raster import NO_PLACE, Note, Place, Window, blackened, step_for
from earthinstruct.images.stretch import SAMPLE, Band, Limits, eight_bits, limits_of

if TYPE_CHECKING:
    from rasterio.io import DatasetReader

_CACHE = 256  # MB of blocks that GDAL keeps; its own default grows with the machine
_STRIP = 512  # rows that are read at once, at least
_RGB = ("red", "green", "blue")
_CUT_INTO_TILES = "cut it into smaller tiles, for example with --tile 1024"
_NUMBERED = re.compile(r"(band|layer)[ _]?\d+", re.IGNORECASE)  # names of bands that say nothing
_OTHER_COLOURS = ("hue", "saturation", "lightness", "cyan", "magenta", "yellow", "black", "Y", "Cb", "Cr")


def has_rasterio() -> bool:
    """Whether rasterio is installed."""
    return importlib.util.find_spec("rasterio") is not None


@contextmanager
def open_raster(path: Path, kind: Format, options: ImageOptions) -> Iterator[RasterScene]:
    """Open a raster, to be read window by window.

    Raises:
        DataError: the file is damaged, too large, lacks a chosen band, or has values that are no picture.
    """
    import rasterio

    with ExitStack() as stack:
        with _in_words(path):
            source = stack.enter_context(rasterio.open(path, driver=kind.driver))
            scene = RasterScene(path, kind, source, options)
        yield scene  # errors of the caller are not about the file


class RasterScene:
    """An open raster; see `Scene`."""

    def __init__(self, path: Path, kind: Format, source: DatasetReader, options: ImageOptions) -> None:
        refuse_too_large(path, source.width, source.height)
        self._path = path
        self.height, self.width = source.height, source.width
        self.place, self.no_place_reason = _place(path, source)
        self._source = source
        self._nodata = options.nodata
        colours = [colour.name for colour in source.colorinterp]
        alphas = [number for number, colour in enumerate(colours, 1) if colour == "alpha"]
        chosen = chosen_bands(path, source.count, options.bands)
        self._shown = chosen or _shown(path, colours)
        self._alphas = [] if chosen is not None and set(alphas) & set(chosen) else alphas
        self._inverted = source.tags(ns="IMAGE_STRUCTURE").get("MINISWHITE") == "YES"
        self._palette = chosen is None and colours[0] == "palette" and not self._inverted
        bands = () if chosen is not None else _about_bands(source, self._shown, len(colours) - len(self._alphas))
        self._own_notes = tuple(bands), (*first_of(len(source.subdatasets)), *_turned(path, kind))
        self._options = options

    @property
    def notes(self) -> tuple[Note, ...]:
        """How the pixels differ from the stored ones; see `Scene`."""
        with _in_words(self._path):
            about_bands, others = self._own_notes
            return (*about_bands, *self._shown_as[1], *others)

    @cached_property
    def _shown_as(self) -> tuple[dict[int, Limits | None], Sequence[Note]]:
        """The values of each band that become 0 and 255, with notes. It reads the whole file, so not before it must."""
        if self._palette:
            return {}, ()
        numbers = dict.fromkeys(self._shown)
        if all(self._source.dtypes[number - 1] == "uint8" for number in numbers):  # the values do not matter
            sample = {number: self._band(number, np.empty((0, 0), dtype=np.uint8), None, ()) for number in numbers}
        else:
            sample = self._subsampled(step_for(self.height, self.width, SAMPLE))
        limits, notes = limits_of(list(sample.values()), self._options)
        return dict(zip(sample, limits, strict=True)), notes

    def read(self, window: Window | None = None, step: int = 1) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        """Read some pixels; see `Scene`."""
        with _in_words(self._path):
            return self._read(window, step)

    def _read(self, window: Window | None, step: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_] | None]:
        x0, y0, x1, y1 = window or (0, 0, self.width, self.height)
        limits = self._shown_as[0]
        bands = self._subsampled(step) if step > 1 else self._bands(window=((y0, y1), (x0, x1)))
        valid = _any([band.valid for band in bands.values()])
        if self._palette:
            pixels, valid = _of_palette(self._source, bands[1].values, valid)
        else:
            layers = {number: eight_bits(band.values, limits[number]) for number, band in bands.items()}
            pixels = np.stack([layers[number] for number in self._shown], axis=-1)
            if self._inverted:
                pixels = 255 - pixels
        return pixels, blackened(pixels, valid)

    def _subsampled(self, step: int) -> dict[int, Band]:
        """Every n-th row and column of the bands: from an overview if the file has one, otherwise strip by strip."""
        if step == 1 or self._source.overviews(1):
            return self._bands(out_shape=(-(-self.height // step), -(-self.width // step)))
        rows = -(-_STRIP // self._source.block_shapes[0][0]) * self._source.block_shapes[0][0]
        strips = []
        for y in range(0, self.height, rows):
            read = self._bands(window=((y, min(y + rows, self.height)), (0, self.width)))
            strips.append({number: band.every(step, first=-y % step) for number, band in read.items()})
        return {number: Band.stacked([strip[number] for strip in strips]) for number in strips[0]}

    def _bands(self, **where: Any) -> dict[int, Band]:
        """Read the bands that are shown, with the pixels that have data: by mask, nodata value, and the user's."""
        source, numbers = self._source, list(dict.fromkeys(self._shown))
        self._refuse_too_large(**where)
        kinds = {source.dtypes[number - 1] for number in numbers}
        values = self._together(source.read, numbers, kinds, where)
        flags = {number: [flag.name for flag in source.mask_flag_enums[number - 1]] for number in numbers}
        masked = [
            number
            for number in numbers
            if "all_valid" not in flags[number] and not ("alpha" in flags[number] and not self._alphas)
        ]
        masks = self._together(source.read_masks, masked, kinds, where)
        opaque = [source.read(number, **where) > 0 for number in self._alphas]
        return {number: self._band(number, values[number], masks.get(number), opaque) for number in numbers}

    def _refuse_too_large(
        self, window: tuple[tuple[int, int], tuple[int, int]] | None = None, out_shape: tuple[int, int] | None = None
    ) -> None:
        """Refuse a part, and a block of the file, that would not fit into memory."""
        rows, columns = window or ((0, self.height), (0, self.width))
        height, width = out_shape or (rows[1] - rows[0], columns[1] - columns[0])
        refuse_too_large_at_once(f"the part of image {self._path} that is read", width, height, _CUT_INTO_TILES)
        height, width = self._source.block_shapes[0]
        next_step = f"store it in tiles: gdal_translate -co TILED=YES {self._path.name} A.tif"
        refuse_too_large_at_once(f"a block of image {self._path}", width, height, next_step)

    def _together(
        self, read: Callable[..., Any], numbers: list[int], kinds: set[str], where: dict[str, Any]
    ) -> dict[int, NDArray[Any]]:
        """Read bands in one call, because their values may lie side by side in the file; types may differ."""
        if not numbers or len(kinds) > 1:
            return {number: read(number, **where) for number in numbers}
        if "out_shape" in where:
            where = where | {"out_shape": (len(numbers), *where["out_shape"])}
        return dict(zip(numbers, read(numbers, **where), strict=True))

    def _band(
        self, number: int, values: NDArray[Any], mask: NDArray[np.uint8] | None, opaque: Sequence[NDArray[np.bool_]]
    ) -> Band:
        if values.dtype.kind not in "uif":
            raise DataError(
                f"image {self._source.name} holds values of type {values.dtype}; expected whole or real numbers"
            )
        masks = [*opaque, *([] if mask is None else [mask > 0])]
        if values.dtype.kind == "f":
            masks.append(np.isfinite(values))
        if self._nodata is not None:
            nodata = self._nodata if values.dtype.kind != "f" else values.dtype.type(self._nodata)
            masks.append(values != nodata)
        bits = self._source.tags(number, ns="IMAGE_STRUCTURE").get("NBITS")
        return Band(values, np.logical_and.reduce(masks) if masks else None, None if bits is None else int(bits))


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
    """Open a file with the driver of its format."""
    import rasterio

    with _in_words(path), rasterio.open(path, driver=kind.driver) as source:
        yield source


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Raise errors of GDAL in words, and print no warnings. Some threads of GDAL print past rasterio's log."""
    import rasterio
    from rasterio.errors import RasterioError

    try:
        with UNDISTURBED, rasterio.Env(CPL_LOG=os.devnull, GDAL_CACHEMAX=_CACHE):
            yield
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
    return None, NO_PLACE


def _crs_name(crs: Any) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg is not None else str(crs.to_wkt())
