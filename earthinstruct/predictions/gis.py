"""Save predictions for GIS programs: GeoJSON, other vector files, a style for QGIS, and rasters of labels.

Each file has the same attributes of an instance, and says beside them what `summary_of` says. Needs the extra `geo`.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import DataError
from earthinstruct.files import as_json, replace_file
from earthinstruct.images import INSTALL_GEO, label_colours
from earthinstruct.predictions.exporters import Found, counts_csv, counts_of, summary_of
from earthinstruct.predictions.ground import LONGITUDE_LATITUDE, OnGround, on_ground, outlines_of
from earthinstruct.regions import decode_rles, pixels_of
from earthinstruct.texts import printable

if TYPE_CHECKING:
    import geopandas as gpd

DRIVERS = {".gpkg": "GPKG", ".shp": "ESRI Shapefile", ".fgb": "FlatGeobuf"}
_LAYER = "objects"
_METADATA = "earthinstruct"
_COLUMNS = ("id", "label", "score", "area_m2", "image", "tile", "method", "run")
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


def check_crs(crs: str, option: str = "--crs") -> None:
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
            f"{option} {crs!r} is no coordinate reference system; expected, for example, EPSG:32631"
        ) from error


def geojson_of(found: Sequence[Found], about: Mapping[str, Any], ground: OnGround | None = None) -> dict[str, Any]:
    """Convert predictions to one GeoJSON FeatureCollection, with the members `about` and `images` of `summary_of`.

    By default, as RFC 7946 asks, coordinates are WGS 84 longitude and latitude, cut at the antimeridian, and outer
    rings are counter-clockwise. Any other system is named in the member `crs` of GeoJSON 2008, which GIS programs read.

    Args:
        found: one entry per image; images may have different reference systems.
        about: what made the predictions.
        ground: how outlines become geometries.

    Raises:
        DataError: as for `geodataframe_of`.
    """
    check_geopandas()
    ground = ground or OnGround()
    crs = ground.crs or LONGITUDE_LATITUDE
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    if crs != LONGITUDE_LATITUDE:
        name = crs.replace("EPSG:", "urn:ogc:def:crs:EPSG::", 1) if crs.startswith("EPSG:") else crs
        collection["crs"] = {"type": "name", "properties": {"name": name}}
    collection |= summary_of(found, about)
    collection["features"] = [
        {"type": "Feature", "properties": attributes, "geometry": geometry}
        for attributes, geometry in _objects(found, about, crs, ground.simplify)
    ]
    return collection


def geodataframe_of(
    found: Sequence[Found], about: Mapping[str, Any], ground: OnGround | None = None
) -> gpd.GeoDataFrame:
    """Convert predictions to a GeoDataFrame, one row an instance.

    Columns: `id` from 1, `label`, `score` (empty without scores), `area_m2` (on the WGS 84 ellipsoid), `image` (path as
    given), `tile` (column, row, width and height, as `--window` takes them), `method`, and `run` (its folder).

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
        attributes | {"geometry": shape(geometry)}
        for attributes, geometry in _objects(found, about, crs or LONGITUDE_LATITUDE, ground.simplify)
    ]
    frame = gpd.GeoDataFrame(rows, columns=[*_COLUMNS, "geometry"], geometry="geometry", crs=crs)
    return frame.astype({"id": int, "score": float, "area_m2": float})


def _objects(
    found: Sequence[Found], about: Mapping[str, Any], crs: str, simplify: float
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The attributes and the geometry of each instance that has an outline."""
    number = 0
    for image in found:
        prediction, outlines = image.prediction, outlines_of(image, simplify)
        geometries = on_ground(image, outlines.values(), crs)
        in_degrees = (
            geometries if crs == LONGITUDE_LATITUDE else on_ground(image, outlines.values(), LONGITUDE_LATITUDE)
        )
        for i, area, geometry in zip(outlines, _areas(in_degrees), geometries, strict=True):
            number += 1
            values = (
                number,
                prediction.labels[i],
                None if prediction.scores is None else float(prediction.scores[i]),
                round(float(area), 3),
                str(image.path),
                image.tile(i),
                str(about.get("method", "")),
                str(about.get("run") or ""),
            )
            yield dict(zip(_COLUMNS, values, strict=True)), geometry


def areas_of(image: Found) -> NDArray[np.float64]:
    """The area of each instance on the ground, in m2 on the WGS 84 ellipsoid: float64 (n,).

    Raises:
        DataError: a package of the extra `geo` is missing, or the image has no georeference.
    """
    check_geopandas()
    areas = np.zeros(len(image.prediction))
    outlines = outlines_of(image)
    areas[list(outlines)] = _areas(on_ground(image, outlines.values(), LONGITUDE_LATITUDE))
    return areas


def _areas(in_degrees: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
    from pyproj import Geod
    from shapely.geometry import shape

    geod = Geod(ellps="WGS84")
    return np.array([abs(geod.geometry_area_perimeter(shape(one))[0]) for one in in_degrees], dtype=np.float64)


def write_vectors(target: Path, found: Sequence[Found], about: Mapping[str, Any], ground: OnGround) -> None:
    """Write a GeoPackage, Shapefile, FlatGeobuf or GeoParquet, by the suffix.

    Its metadata `earthinstruct` is the `summary_of` the predictions, as JSON. Beside a Shapefile, which has none, lies
    a table of counts, `NAME.counts.csv`. Beside a GeoPackage lies a style for QGIS.

    Raises:
        DataError: as for `geodataframe_of`.
        OSError: the file cannot be written.
    """
    frame = geodataframe_of(found, about, ground)
    summary = as_json(summary_of(found, about)).decode()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
        beside = Path(folder) / target.name
        if target.suffix.lower() == ".parquet":
            _write_parquet(beside, frame, summary)
        else:
            driver = DRIVERS[target.suffix.lower()]
            more: dict[str, Any] = {"layer": _LAYER} if driver == "GPKG" else {}
            if driver != "ESRI Shapefile":
                more["layer_metadata"] = {_METADATA: summary}
            kind = "Point" if _are_points(found) else "MultiPolygon"
            frame.to_file(beside, driver=driver, engine="pyogrio", geometry_type=kind, **more)
        for file in sorted(Path(folder).iterdir()):  # a Shapefile is several
            _replace(file, target.with_name(file.name))
    if target.suffix.lower() == ".gpkg":
        style = style_of(_all_labels(found), points=_are_points(found))
        replace_file(target.with_suffix(".qml"), style.encode())
    if target.suffix.lower() == ".shp":
        replace_file(target.with_suffix(".counts.csv"), counts_csv(found, about).encode())


def _are_points(found: Sequence[Found]) -> bool:
    """Whether the instances are points alone."""
    predictions = [image.prediction for image in found]
    return any(of.points is not None and of.boxes is None for of in predictions)


def _all_labels(found: Sequence[Found]) -> list[str]:
    """The labels that a picture has colours for: drawn or counted."""
    return [label for image in found for label in (*image.prediction.labels, *counts_of(image.prediction))]


def _write_parquet(target: Path, frame: gpd.GeoDataFrame, summary: str) -> None:
    from pyarrow import parquet

    frame.to_parquet(target, index=False)
    table = parquet.read_table(target)
    parquet.write_table(table.replace_schema_metadata({**table.schema.metadata, _METADATA: summary}), target)


def _replace(file: Path, target: Path) -> None:
    """Move a written file to its place, after it reached the disk."""
    with file.open("rb+") as written:
        os.fsync(written.fileno())
    file.replace(target)


def style_of(labels: Sequence[str], *, points: bool = False) -> str:
    """A style file of QGIS (QML): a colour for each label, as in the pictures; `points`: for a layer of points."""
    from xml.sax.saxutils import quoteattr

    kind, layer = ("marker", "SimpleMarker") if points else ("fill", "SimpleFill")
    categories, symbols = [], []
    for i, (label, (red, green, blue)) in enumerate(label_colours(labels).items()):
        name = quoteattr(printable(label))
        categories.append(f'<category symbol="{i}" value={name} label={name} type="string" render="true"/>')
        options = {"color": f"{red},{green},{blue},{_OPACITY}", "outline_color": f"{red},{green},{blue},255"}
        lines = "".join(f'<Option name="{key}" value="{value}" type="QString"/>' for key, value in options.items())
        symbols.append(
            f'<symbol name="{i}" type="{kind}"><layer class="{layer}" enabled="1"><Option type="Map">{lines}</Option>'
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
    pictures. The tag `earthinstruct` is the `summary_of` the prediction, as JSON. Instances without masks are drawn as
    boxes, and points as pixels.

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
            names = {f"label_{i}": printable(label) for i, label in enumerate(labels, start=1)}
            raster.update_tags(**names, **{_METADATA: as_json(summary_of(found, about)).decode()})
            colours = label_colours(_all_labels(found))
            table = {i: (*colours[label], 255) for i, label in enumerate(labels, start=1)}
            raster.write_colormap(1, {0: (0, 0, 0, 0), **table})
            for top in range(0, image.height, _ROWS):
                rows = _drawn(image, labels, top, min(top + _ROWS, image.height))
                raster.write(rows[None], window=((top, top + len(rows)), (0, image.width)))
        _replace(beside, target)


def _drawn(image: Found, labels: Sequence[str], top: int, bottom: int) -> NDArray[np.uint8]:
    """Some rows of a label raster."""
    rows = np.zeros((bottom - top, image.width), dtype=np.uint8)
    prediction = image.prediction
    boxes = prediction.boxes
    if boxes is None:
        boxes = np.zeros((0, 4)) if prediction.points is None else pixels_of(prediction.points)
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
