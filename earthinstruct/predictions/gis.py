"""Save predictions for GIS programs: vector files, a style for QGIS, and rasters of labels. Needs the extra `geo`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.files import replace_file
from earthinstruct.images import INSTALL_GEO, label_colours
from earthinstruct.predictions.exporters import LONGITUDE_LATITUDE, Found, OnGround, geometries_of
from earthinstruct.regions import decode_rles
from earthinstruct.texts import printable

if TYPE_CHECKING:
    import geopandas as gpd
    from shapely.geometry.base import BaseGeometry

DRIVERS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}
_LAYER = "objects"
_ROWS = 512  # of a label raster that are drawn at once
_OPACITY = 100  # of 255, in the style


def check_geopandas() -> None:
    """Check that vector files can be written.

    Raises:
        DataError: a package of the extra `geo` is missing.
    """
    try:
        import geopandas  # noqa: F401
        import pyarrow  # noqa: F401
        import pyogrio  # noqa: F401
    except ImportError as error:
        raise DataError(f"this format needs the package {error.name}: {INSTALL_GEO}") from error


def check_crs(crs: str) -> None:
    """Check the name of a coordinate reference system.

    Raises:
        DataError: there is no such system, or a package of the extra `geo` is missing.
    """
    check_geopandas()
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        CRS.from_user_input(crs)
    except CRSError as error:
        raise DataError(
            f"--crs {crs!r} is no coordinate reference system; expected, for example, EPSG:32631"
        ) from error


def geodataframe_of(
    found: Sequence[Found], about: Mapping[str, Any], ground: OnGround | None = None
) -> gpd.GeoDataFrame:
    """Convert predictions to a GeoDataFrame, one row an instance.

    Columns: `id` from 1, `label`, `score` (empty without scores), `area_m2` (on the WGS 84 ellipsoid), `image` (path as
    given), `method`, and `run` (its folder).

    Args:
        found: one entry per image; each needs a georeference.
        about: what made the predictions.
        ground: how outlines become geometries.

    Raises:
        DataError: a package of the extra `geo` is missing, an image has no georeference, or it cannot be converted.
    """
    check_geopandas()
    import geopandas as gpd
    from shapely.geometry import shape

    ground = ground or OnGround()
    crs = ground.crs
    if crs is None:
        systems = {image.place.crs for image in found if image.place is not None}
        crs = next(iter(systems)) if len(systems) == 1 else LONGITUDE_LATITUDE
    rows = [
        {
            "label": image.prediction.labels[i],
            "score": None if image.prediction.scores is None else float(image.prediction.scores[i]),
            "image": str(image.path),
            "geometry": shape(geometry),
        }
        for image in found
        for i, geometry in geometries_of(image, crs or LONGITUDE_LATITUDE, ground.simplify)
    ]
    columns = ["label", "score", "image", "geometry"]
    frame = gpd.GeoDataFrame(rows, columns=columns, geometry="geometry", crs=crs).astype({"score": float})
    frame.insert(0, "id", np.arange(1, len(frame) + 1))
    frame.insert(3, "area_m2", np.round(_areas(frame.to_crs(LONGITUDE_LATITUDE).geometry), 3))
    frame.insert(5, "method", str(about.get("method", "")))
    frame.insert(6, "run", str(about.get("run") or ""))
    return frame


def areas_of(image: Found) -> NDArray[np.float64]:
    """The area of each instance on the ground, in m2 on the WGS 84 ellipsoid: float64 (n,).

    Raises:
        DataError: a package of the extra `geo` is missing, or the image has no georeference.
    """
    check_geopandas()
    from shapely.geometry import shape

    areas = np.zeros(len(image.prediction))
    geometries = dict(geometries_of(image, LONGITUDE_LATITUDE))
    areas[list(geometries)] = _areas([shape(geometry) for geometry in geometries.values()])
    return areas


def _areas(in_degrees: Iterable[BaseGeometry]) -> NDArray[np.float64]:
    from pyproj import Geod

    geod = Geod(ellps="WGS84")
    return np.array([abs(geod.geometry_area_perimeter(one)[0]) for one in in_degrees], dtype=np.float64)


def write_vectors(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    """Write a GeoPackage, Shapefile, FlatGeobuf or GeoParquet, by the suffix. A style for QGIS lies beside the first.

    Raises:
        DataError: as for `geodataframe_of`.
        OSError: the file cannot be written.
    """
    frame = geodataframe_of(found, about, ground)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        beside = Path(folder) / target.name
        if target.suffix.lower() == ".parquet":
            frame.to_parquet(beside, index=False)
        else:
            driver = DRIVERS[target.suffix.lower()]
            layer = {"layer": _LAYER} if driver == "GPKG" else {}
            frame.to_file(beside, driver=driver, engine="pyogrio", geometry_type="MultiPolygon", **layer)
        for file in sorted(Path(folder).iterdir()):  # a Shapefile is several
            _replace(file, target.with_name(file.name))
    if target.suffix.lower() == ".gpkg":
        labels = [label for image in found for label in (*image.prediction.labels, *image.numbers()["counts"])]
        replace_file(target.with_suffix(".qml"), style_of(labels).encode())


def _replace(file: Path, target: Path) -> None:
    """Move a written file to its place, after it reached the disk."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    file.replace(target)


def style_of(labels: Sequence[str]) -> str:
    """A style file of QGIS (QML): a colour for each label, as in the pictures."""
    categories, symbols = [], []
    for i, (label, (red, green, blue)) in enumerate(label_colours(labels).items()):
        name = quoteattr(printable(label))
        categories.append(f'<category symbol="{i}" value={name} label={name} type="string" render="true"/>')
        options = {"color": f"{red},{green},{blue},{_OPACITY}", "outline_color": f"{red},{green},{blue},255"}
        lines = "".join(f'<Option name="{key}" value="{value}" type="QString"/>' for key, value in options.items())
        symbols.append(
            f'<symbol name="{i}" type="fill"><layer class="SimpleFill" enabled="1"><Option type="Map">{lines}</Option>'
            "</layer></symbol>"
        )
    return (
        '<!DOCTYPE qgis PUBLIC "http://mrcc.com/qgis.dtd" "SYSTEM">\n<qgis version="3.34">'
        f'<renderer-v2 type="categorizedSymbol" attr="label"><categories>{"".join(categories)}</categories>'
        f"<symbols>{''.join(symbols)}</symbols></renderer-v2></qgis>\n"
    )


def write_label_raster(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    """Write a GeoTIFF of the image's size and place: 0, or the number of the label of the last instance there.

    The tags `label_1`, `label_2`, ... have the names, in alphabetical order, and a colour table the colours of the
    pictures. Instances without masks are drawn as boxes.

    Raises:
        DataError: the image failed, has no place, or has more than 255 labels.
        OSError: the file cannot be written.
    """
    import rasterio

    (image,) = found or (None,)
    if image is None or image.place is None:
        raise DataError(f"{target} is not written: its image failed, or has no place on the ground")
    labels = sorted(set(image.prediction.labels))
    if len(labels) > 255:
        raise DataError(f"{target} holds at most 255 labels, and {len(labels)} were found; save a vector file instead")
    place = {"crs": image.place.crs, "transform": rasterio.Affine(*image.place.transform)}
    size = {"width": image.width, "height": image.height, "count": 1, "dtype": "uint8"}
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        beside = Path(folder) / target.name
        with rasterio.open(beside, "w", driver="GTiff", compress="deflate", **size, **place) as raster:
            raster.update_tags(**{f"label_{i}": printable(label) for i, label in enumerate(labels, start=1)})
            colours = {i: (*colour, 255) for i, colour in enumerate(label_colours(labels).values(), start=1)}
            raster.write_colormap(1, {0: (0, 0, 0, 0), **colours})
            for top in range(0, image.height, _ROWS):
                rows = _drawn(image, labels, top, min(top + _ROWS, image.height))
                raster.write(rows[None], window=((top, top + len(rows)), (0, image.width)))
        _replace(beside, target)


def _drawn(image: Found, labels: Sequence[str], top: int, bottom: int) -> NDArray[np.uint8]:
    """Some rows of a label raster."""
    rows = np.zeros((bottom - top, image.width), dtype=np.uint8)
    prediction = image.prediction
    boxes = np.zeros((0, 4)) if prediction.boxes is None else prediction.boxes
    for i, (label, (x, y, width, height)) in enumerate(zip(prediction.labels, boxes, strict=True)):
        if y >= bottom or y + height <= top:
            continue
        value = labels.index(label) + 1
        if prediction.masks is None:
            first, last = max(0, round(y) - top), max(0, round(y + height) - top)
            rows[first:last, max(0, round(x)) : max(0, round(x + width))] = value
            continue
        mask, left, first = decode_rles([prediction.masks[i]]).drawn(0)
        inside = mask[max(0, top - first) : max(0, bottom - first)]
        part = rows[max(0, first - top) :, left : left + mask.shape[1]][: len(inside)]
        part[inside] = value
    return rows
