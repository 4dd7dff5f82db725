"""Export predictions for other tools: records, COCO with images and annotations, GeoJSON with ground coordinates."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.contract import Prediction
from earthinstruct.datasets import TrueImage, TrueObject, as_coco
from earthinstruct.errors import DataError
from earthinstruct.images import INSTALL_GEO, Place
from earthinstruct.predictions.file import Record
from earthinstruct.regions import RLE, decode_rles, polygons

LONGITUDE_LATITUDE = "EPSG:4326"


@dataclass(frozen=True, eq=False)
class Found:
    """The prediction for one image, with its size in pixels and its georeference, if it has one."""

    path: Path
    height: int
    width: int
    place: Place | None
    prediction: Prediction

    def numbers(self) -> dict[str, Any]:
        """The counts, and how many objects were counted but not drawn, or drawn but not counted."""
        undrawn, uncounted = undrawn_and_uncounted(self.prediction)
        return {
            "counts": counts_of(self.prediction),
            "counted_not_drawn": undrawn,
            "drawn_not_counted": uncounted,
        }


@dataclass(frozen=True)
class OnGround:
    """How the outlines of instances become geometries.

    Attributes:
        crs: the reference system of the coordinates; None: longitude and latitude in GeoJSON, and that of the images in
            other formats, if they share one.
        simplify: by how many pixels an outline may move to have fewer points; 0: outlines follow the edges of pixels.
    """

    crs: str | None = None
    simplify: float = 0.0


def counts_of(prediction: Prediction) -> dict[str, int]:
    """The count of each label: the method's, or else the number of instances."""
    return dict(prediction.counts if prediction.counts is not None else sorted(Counter(prediction.labels).items()))


def undrawn_and_uncounted(prediction: Prediction) -> tuple[int, int]:
    """How many objects were counted but not drawn, and drawn but not counted."""
    counted, drawn = Counter(counts_of(prediction)), Counter(prediction.labels)
    return (counted - drawn).total(), (drawn - counted).total()


def records_of(found: Sequence[Found], about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert predictions to one object, with a record for each image as in `predictions.jsonl`.

    Args:
        found: one entry per image.
        about: what made the predictions.
    """
    images = [msgspec.to_builtins(Record.of(str(image.path), image.prediction)) | image.numbers() for image in found]
    return {"about": about, "images": images}


def coco_of(found: Sequence[Found], about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert predictions to one COCO object, with ids from 1 and the labels as categories in alphabetical order.

    File names are relative to the deepest folder that holds all images. An annotation has a `score` if the method gave
    one. Labels that were only counted are categories too.

    Args:
        found: one entry per image.
        about: what made the predictions, for `info`.
    """
    folder = os.path.commonpath([image.path.absolute().parent for image in found]) if found else ""
    names = sorted({label for image in found for label in (*image.prediction.labels, *counts_of(image.prediction))})
    images = [
        TrueImage(
            number,
            image.path.absolute().relative_to(folder).as_posix(),
            image.width,
            image.height,
            tuple(_objects(image.prediction)),
        )
        for number, image in enumerate(found, start=1)
    ]
    content = as_coco(images, names, info=about)
    for entry, image in zip(content["images"], found, strict=True):
        entry |= image.numbers()
    return content


def _objects(prediction: Prediction) -> Iterator[TrueObject]:
    if prediction.boxes is None:
        return
    areas = None if prediction.masks is None else decode_rles(prediction.masks).areas.tolist()
    for i, label in enumerate(prediction.labels):
        yield TrueObject(
            label,
            tuple(prediction.boxes[i].tolist()),
            None if prediction.masks is None else prediction.masks[i],
            area=None if areas is None else areas[i],
            score=None if prediction.scores is None else float(prediction.scores[i]),
        )


def geojson_of(found: Sequence[Found], about: Mapping[str, Any], ground: OnGround | None = None) -> dict[str, Any]:
    """Convert predictions to one GeoJSON FeatureCollection.

    A feature is the outline of an instance's mask or, without masks, its box. By default, as RFC 7946 asks, coordinates
    are WGS 84 longitude and latitude, cut at the antimeridian, and outer rings are counter-clockwise. Any other system
    is named in the member `crs` of GeoJSON 2008, which GIS programs read.

    Args:
        found: one entry per image; images may have different reference systems.
        about: what made the predictions, for the member `about`.
        ground: how outlines become geometries.

    Raises:
        DataError: an image has no georeference, or cannot be converted to this reference system.
    """
    ground = ground or OnGround()
    crs = ground.crs or LONGITUDE_LATITUDE
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    if crs != LONGITUDE_LATITUDE:
        name = crs.replace("EPSG:", "urn:ogc:def:crs:EPSG::", 1) if crs.startswith("EPSG:") else crs
        collection["crs"] = {"type": "name", "properties": {"name": name}}
    collection["about"] = dict(about)
    collection["images"] = [{"image": str(image.path), **image.numbers()} for image in found]
    collection["features"] = [feature for image in found for feature in _features(image, crs, ground.simplify)]
    return collection


def _features(image: Found, crs: str, simplify: float) -> Iterator[dict[str, Any]]:
    prediction = image.prediction
    for i, geometry in geometries_of(image, crs, simplify):
        properties: dict[str, Any] = {"label": prediction.labels[i], "image": str(image.path)}
        if prediction.scores is not None:
            properties["score"] = float(prediction.scores[i])
        yield {"type": "Feature", "properties": properties, "geometry": geometry}


def geometries_of(image: Found, crs: str, simplify: float = 0.0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The index and the outline of each instance, as a geometry of GeoJSON in coordinates of a reference system.

    An instance with an empty mask has no outline and is left out.

    Raises:
        DataError: the image has no georeference, or cannot be converted to this reference system.
    """
    prediction = image.prediction
    if prediction.boxes is None:
        return
    outlines = [
        [[_box_ring(prediction.boxes[i].tolist())]]
        if prediction.masks is None
        else list(_outlines(prediction.masks[i]))
        for i in range(len(prediction))
    ]
    if simplify:
        outlines = [_simplified(polygons_of, simplify) for polygons_of in outlines]
    drawn = [i for i, polygons_of in enumerate(outlines) if polygons_of]
    yield from zip(drawn, _on_ground(image, [outlines[i] for i in drawn], crs), strict=True)


def _simplified(polygons_of: list[list[Ring]], tolerance: float) -> list[list[Ring]]:
    """The outlines of one instance with fewer points; they stay valid.

    Raises:
        DataError: shapely, of the extra `geo`, is missing.
    """
    try:
        from shapely.geometry import MultiPolygon, Polygon, mapping
    except ImportError as error:
        raise DataError(f"simpler outlines need the package shapely: {INSTALL_GEO}") from error

    whole = MultiPolygon([Polygon(rings[0], rings[1:]) for rings in polygons_of])
    simple = _as_multi(mapping(whole.simplify(tolerance, preserve_topology=True)))["coordinates"]
    return [[[(x, y) for x, y in ring] for ring in rings] for rings in simple if rings]


def _on_ground(image: Found, outlines: Sequence[list[list[Ring]]], crs: str) -> list[dict[str, Any]]:
    """The outlines of instances, in pixels, as geometries in coordinates of a reference system."""
    place = image.place
    if place is None:
        raise DataError(
            f"image {image.path} has no georeference, which GIS files need; give a GeoTIFF, or save pixel coordinates "
            "as NAME.coco.json"
        )
    if place.crs is None:
        raise DataError(
            f"image {image.path} does not name its coordinate reference system; assign it, for example: gdal_edit.py "
            f"-a_srs EPSG:32631 {image.path.name}"
        )
    geometries: list[dict[str, Any]] = [
        {
            "type": "MultiPolygon",
            "coordinates": [[[place.at(*point) for point in ring] for ring in polygon] for polygon in polygons_of],
        }
        for polygons_of in outlines
    ]
    if place.crs != crs and geometries:
        from rasterio.errors import RasterioError
        from rasterio.warp import transform_geom

        try:
            geometries = transform_geom(place.crs, crs, geometries, antimeridian_cutting=True)
        except (RasterioError, ValueError) as error:
            raise DataError(f"image {image.path} cannot be converted from {place.crs} to {crs}: {error}") from error
    return [_oriented(geometry["coordinates"]) for geometry in map(_as_multi, geometries)]


def _as_multi(geometry: Mapping[str, Any]) -> dict[str, Any]:
    coordinates = geometry["coordinates"]
    return {"coordinates": coordinates if geometry["type"] == "MultiPolygon" else [coordinates]}


def _oriented(of_polygons: Sequence[Sequence[Sequence[Sequence[float]]]]) -> dict[str, Any]:
    """A geometry with outer rings counter-clockwise and holes clockwise, whatever the direction of the raster."""
    turned = [
        [
            [list(point) for point in (ring if (_area(ring) > 0) == (i == 0) else ring[::-1])]
            for i, ring in enumerate(one)
        ]
        for one in of_polygons
    ]
    if len(turned) == 1:
        return {"type": "Polygon", "coordinates": turned[0]}
    return {"type": "MultiPolygon", "coordinates": turned}


def _area(ring: Sequence[Sequence[float]]) -> float:
    """The area of a ring, above 0 if it is counter-clockwise."""
    (x0, y0), *_ = ring  # differences are exact where coordinates are large
    return sum((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0) for (x1, y1), (x2, y2) in pairwise(ring))


Ring = list[tuple[float, float]]  # points (column, row) in pixels, first point repeated last


def _box_ring(box: Sequence[float]) -> Ring:
    """The corners of a box, counter-clockwise on a map with north at the top."""
    x, y, width, height = box
    return [(x, y), (x, y + height), (x + width, y + height), (x + width, y), (x, y)]


def _outlines(rle: RLE) -> Iterator[list[Ring]]:
    """The polygons of a mask along pixel edges, each as its outer ring and then its holes."""
    mask, x, y = decode_rles([rle]).drawn(0)
    for outline in polygons(mask):
        yield [[(x + column, y + row) for column, row in ring[::-1].tolist()] for ring in outline]
