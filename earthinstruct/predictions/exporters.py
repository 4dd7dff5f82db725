"""Export predictions for other tools: COCO with images and annotations, and GeoJSON with ground coordinates."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earthinstruct.contract import Prediction
from earthinstruct.datasets import TrueImage, TrueObject, as_coco
from earthinstruct.errors import DataError
from earthinstruct.images import Place
from earthinstruct.regions import RLE, decode_rles, polygons


@dataclass(frozen=True, eq=False)
class Found:
    """The prediction for one image, with its size in pixels and its georeference, if it has one."""

    path: Path
    height: int
    width: int
    place: Place | None
    prediction: Prediction


def coco_of(found: Sequence[Found]) -> dict[str, Any]:
    """Convert predictions to one COCO object, with ids from 1 and the labels as categories in alphabetical order.

    File names are relative to the deepest folder that holds all images. An annotation has a `score` if the method gave
    one.

    Args:
        found: one entry per image.
    """
    folder = os.path.commonpath([image.path.absolute().parent for image in found]) if found else ""
    names = sorted({label for image in found for label in image.prediction.labels})
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
    return as_coco(images, names)


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


def check_places(places: Sequence[tuple[Path, Place | None]]) -> None:
    """Check that one GeoJSON file can hold the images.

    Args:
        places: each image with its georeference.

    Raises:
        DataError: an image has no georeference, or two have different reference systems.
    """
    for path, place in places:
        if place is None:
            raise DataError(
                f"image {path} has no georeference, which GeoJSON needs; give a GeoTIFF, or save pixel coordinates as "
                "NAME.coco.json"
            )
    systems = sorted({str(place.crs) for _, place in places if place is not None})
    if len(systems) > 1:
        raise DataError(
            f"{places[-1][0]} has another coordinate reference system than the images before it "
            f"({' and '.join(systems)}); save it to a separate GeoJSON file"
        )


def geojson_of(found: Sequence[Found]) -> dict[str, Any]:
    """Convert predictions to one GeoJSON FeatureCollection, in the coordinates of the rasters.

    A feature is the outline of an instance's mask or, without masks, its box. If the reference system is not WGS 84
    longitude and latitude, the collection names it in the member `crs` of GeoJSON 2008. RFC 7946 dropped this member,
    but GIS programs read it.

    Args:
        found: one entry per image.

    Raises:
        DataError: an image has no georeference, or two have different reference systems.
    """
    check_places([(image.path, image.place) for image in found])
    collection: dict[str, Any] = {"type": "FeatureCollection"}
    crs = next((image.place.crs for image in found if image.place is not None), None)
    if crs not in (None, "EPSG:4326"):
        name = crs.replace("EPSG:", "urn:ogc:def:crs:EPSG::", 1) if crs.startswith("EPSG:") else crs
        collection["crs"] = {"type": "name", "properties": {"name": name}}
    collection["features"] = [feature for image in found for feature in _features(image)]
    return collection


def _features(image: Found) -> Iterator[dict[str, Any]]:
    prediction = image.prediction
    if image.place is None or prediction.boxes is None:
        return
    for i, label in enumerate(prediction.labels):
        if prediction.masks is None:
            rings = [[_box_ring(prediction.boxes[i].tolist())]]
        else:
            rings = list(_outlines(prediction.masks[i]))
        on_ground = [[[image.place.at(*point) for point in ring] for ring in polygon] for polygon in rings]
        if not on_ground:  # an empty mask has no outline
            continue
        properties: dict[str, Any] = {"label": label, "image": image.path.name}
        if prediction.scores is not None:
            properties["score"] = float(prediction.scores[i])
        geometry = (
            {"type": "Polygon", "coordinates": on_ground[0]}
            if len(on_ground) == 1
            else {"type": "MultiPolygon", "coordinates": on_ground}
        )
        yield {"type": "Feature", "properties": properties, "geometry": geometry}


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
