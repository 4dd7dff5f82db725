"""Outlines of instances as geometries on the ground."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.images import INSTALL_GEO, Place
from earthinstruct.predictions.exporters import Found
from earthinstruct.regions import RLE, decode_rles, polygons

LONGITUDE_LATITUDE = "EPSG:4326"

Point = tuple[float, float]  # (column, row) in pixels
Ring = list[Point]  # first point repeated last
Outline = (
    list[list[Ring]] | Point
)  # the polygons of one instance, each as its outer ring and then its holes, or a point


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

    def __post_init__(self) -> None:
        if not 0 <= self.simplify < math.inf:
            raise EarthInstructError(f"--simplify is {self.simplify:g}; expected pixels, 0 or more")


def check_place(path: Path, place: Place | None, reason: str | None = None) -> Place:
    """The place of an image, for a file for GIS.

    Args:
        path: the image.
        place: its place, if it is known.
        reason: why not.

    Raises:
        DataError: it has no georeference, or does not name its coordinate reference system.
    """
    if place is None:
        raise DataError(
            f"image {path} has no georeference, which GIS files need{f': {reason}' if reason else ''}. Give a "
            "georeferenced image, or save pixel coordinates as NAME.coco.json"
        )
    if place.crs is None:
        raise DataError(
            f"image {path} does not name its coordinate reference system, which GIS files need; give it, for example: "
            "--source-crs EPSG:32631"
        )
    return place


def outlines_of(image: Found, simplify: float = 0.0) -> dict[int, Outline]:
    """The outline of each instance: of its mask, or else its box, or its point.

    An instance with an empty mask has none.

    Args:
        image: what was found in an image.
        simplify: as in `OnGround`.

    Raises:
        DataError: shapely, of the extra `geo`, is missing, and outlines are to be simpler.
    """
    prediction = image.prediction
    if prediction.boxes is None:
        points = () if prediction.points is None else prediction.points.tolist()
        return {i: (x, y) for i, (x, y) in enumerate(points)}
    outlines = [
        [[_box_ring(prediction.boxes[i].tolist())]]
        if prediction.masks is None
        else list(_outlines(prediction.masks[i]))
        for i in range(len(prediction))
    ]
    if simplify:
        outlines = [_simplified(polygons_of, simplify) for polygons_of in outlines]
    return {i: polygons_of for i, polygons_of in enumerate(outlines) if polygons_of}


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


def on_ground(image: Found, outlines: Iterable[Outline], crs: str) -> list[dict[str, Any]]:
    """Outlines in pixels of an image as geometries of GeoJSON, in coordinates of a reference system.

    Raises:
        DataError: the image has no georeference, or cannot be converted to this reference system.
    """
    place = check_place(image.path, image.place)
    geometries: list[dict[str, Any]] = [
        {"type": "Point", "coordinates": place.at(*one)}
        if isinstance(one, tuple)
        else {
            "type": "MultiPolygon",
            "coordinates": [[[place.at(*point) for point in ring] for ring in polygon] for polygon in one],
        }
        for one in outlines
    ]
    if place.crs != crs and geometries:
        from rasterio.errors import RasterioError
        from rasterio.warp import transform_geom

        try:
            geometries = transform_geom(place.crs, crs, geometries, antimeridian_cutting=True)
        except (RasterioError, ValueError) as error:
            raise DataError(f"image {image.path} cannot be converted from {place.crs} to {crs}: {error}") from error
    return [
        {"type": "Point", "coordinates": list(one["coordinates"])}
        if one["type"] == "Point"
        else _oriented(_as_multi(one)["coordinates"])
        for one in geometries
    ]


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


def _box_ring(box: Sequence[float]) -> Ring:
    """The corners of a box, counter-clockwise on a map with north at the top."""
    x, y, width, height = box
    return [(x, y), (x, y + height), (x + width, y + height), (x + width, y), (x, y)]


def _outlines(rle: RLE) -> Iterator[list[Ring]]:
    """The polygons of a mask along pixel edges, each as its outer ring and then its holes."""
    mask, x, y = decode_rles([rle]).drawn(0)
    for outline in polygons(mask):
        yield [[(x + column, y + row) for column, row in ring[::-1].tolist()] for ring in outline]
