"""Read semantic maps (a class for every pixel) as instances: each connected region of a class becomes one instance.

For semantic segmentation systems, such as SegEarth-OV and GSNet. Objects of a class that touch become one instance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.datasets import Dataset
from earthinstruct.errors import ContractError, DataError
from earthinstruct.files import is_hidden, read_json
from earthinstruct.images import open_image
from earthinstruct.predictions.file import Box, Record
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import ImageId, check_rle, decode_mask, encode_mask
from earthinstruct.tasks import ExactMapper

_NEIGHBOURS = np.ones((3, 3), dtype=bool)  # pixels that touch at a corner are connected
Classes = Mapping[int, str | None]


class _Rle(msgspec.Struct):
    size: tuple[int, int]
    counts: str


class _Region(msgspec.Struct):
    """All pixels of one class in one image, in the format of detectron2's SemSegEvaluator."""

    file_name: str
    category_id: int
    segmentation: _Rle


def read_semantic_maps(path: Path, dataset: Dataset, classes: Path, min_area: int = 1) -> dict[ImageId, Record]:
    """Read semantic maps as instances: image -> record, without scores.

    Args:
        path: a folder of files `<image name>.png`, each of the size of its image, with the class number of each pixel
            in a single channel; or a `sem_seg_predictions.json` of detectron2,
            `[{"file_name", "category_id", "segmentation"}]`.
        dataset: the dataset of the predictions.
        classes: a JSON file, class number -> category, or null for classes that are no objects:
            `{"0": null, "1": "ship"}`.
        min_area: ignore regions with fewer pixels.

    Raises:
        DataError: a file is missing or malformed, a map differs in size from its image or has a class without a name,
            or a file belongs to no image of the dataset.
    """
    names = read_semantic_classes(classes, dataset)
    records: dict[ImageId, Record] = {}
    maps = _maps(path)
    images = ImageNames(dataset).find(maps, lambda name: maps[str(name)][0], ids=False)
    for name, (where, read) in maps.items():
        image = images[name]
        drawn = read((image.height, image.width))
        unknown = sorted(set(np.unique(drawn).tolist()) - set(names) - {_NOTHING})
        if unknown:
            raise DataError(f"{where} has the class {unknown[0]}, which {classes} lacks; add it (null for no object)")
        records[image.id] = instances_of_map(image.id, drawn, names, min_area)
    return records


def read_semantic_classes(path: Path, dataset: Dataset) -> Classes:
    """Read the map from class number to a category of the dataset, or None.

    Raises:
        DataError: the file is missing or malformed, or a name is not a category of the dataset.
    """
    form = 'an object of class number to category or null, {"0": null, "1": "ship"}'
    classes = read_json(path, dict[int, str | None], "class map", form)
    names = {name for name in classes.values() if name is not None}
    known = ExactMapper().map(names, dataset.vocabulary.categories)
    for number, name in classes.items():
        if name is not None and known[name].category is None:
            raise DataError(
                f"{path}: class {number} is {name!r}, which is not a category of dataset {dataset.name!r}; known: "
                f"{', '.join(dataset.vocabulary.categories)}"
            )
    return {number: None if name is None else known[name].category for number, name in classes.items()}


def instances_of_map(image: ImageId, drawn: NDArray[np.integer], classes: Classes, min_area: int = 1) -> Record:
    """Turn the connected regions of each named class into instances.

    Args:
        image: the id of the image.
        drawn: (height, width), the class number of each pixel.
        classes: class number -> label or None.
        min_area: ignore regions with fewer pixels.

    >>> record = instances_of_map(7, np.array([[1, 1, 0], [0, 0, 2], [0, 1, 1]]), {0: None, 1: "ship", 2: "dam"})
    >>> list(zip(record.labels, record.boxes, strict=True))
    [('ship', (0, 0, 2, 1)), ('ship', (1, 2, 2, 1)), ('dam', (2, 1, 1, 1))]
    """
    from scipy import ndimage

    boxes: list[Box] = []
    record = Record(image, boxes=boxes, masks=[])
    for number, name in sorted(classes.items()):
        if name is None:
            continue
        regions, _ = ndimage.label(drawn == number, structure=_NEIGHBOURS)
        for i, (rows, columns) in enumerate(ndimage.find_objects(regions), start=1):
            inside = regions[rows, columns] == i
            if inside.sum() < min_area:
                continue
            mask = np.zeros(drawn.shape, dtype=bool)
            mask[rows, columns] = inside
            record.labels.append(name)
            boxes.append((columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start))
            if record.masks is not None:
                record.masks.append(encode_mask(mask))
    return record


_NOTHING = -1  # the class number of pixels outside all regions, in a map drawn from regions


def _maps(path: Path) -> dict[str, tuple[str, Callable[[tuple[int, int]], NDArray[np.integer]]]]:
    """List the maps: name of the image -> the place of the map for errors, and a function that reads one of a size."""
    if path.is_dir():
        files = sorted(
            file for file in path.rglob("*") if file.suffix.lower() == ".png" and not is_hidden(file.relative_to(path))
        )
        if not files:
            raise DataError(f"{path} has no semantic maps; expected `<image name>.png`, class numbers in one channel")
        return {file.relative_to(path).as_posix(): (str(file), partial(_read_map, file)) for file in files}
    form = '[{"file_name", "category_id", "segmentation": {"size", "counts"}}]'
    by_image: dict[str, list[_Region]] = {}
    for region in read_json(path, list[_Region], "list of regions", form):
        by_image.setdefault(region.file_name, []).append(region)
    return {name: (f"{path}, {name}", partial(_draw, regions, f"{path}, {name}")) for name, regions in by_image.items()}


def _check_size(where: str, size: tuple[int, ...], expected: tuple[int, int]) -> None:
    if size != expected:
        raise DataError(
            f"{where} is {size[1]}x{size[0]} pixels; expected {expected[1]}x{expected[0]}, the size of its image"
        )


def _read_map(file: Path, size: tuple[int, int]) -> NDArray[np.integer]:
    with open_image(file, "semantic map") as picture:
        _check_size(str(file), (picture.height, picture.width), size)  # before pixels of a false size are decoded
        drawn = np.array(picture)
    if drawn.dtype == bool:  # a 1-bit image
        drawn = drawn.astype(np.uint8)
    if drawn.ndim != 2 or not np.issubdtype(drawn.dtype, np.integer):
        raise DataError(f"semantic map {file} has shape {drawn.shape}; expected one channel of class numbers")
    return drawn


def _draw(regions: list[_Region], where: str, size: tuple[int, int]) -> NDArray[np.integer]:
    drawn = np.full(size, _NOTHING, dtype=np.int64)
    for region in regions:
        _check_size(where, region.segmentation.size, size)
        try:
            rle = check_rle({"size": region.segmentation.size, "counts": region.segmentation.counts}, "segmentation")
            drawn[decode_mask(rle)] = region.category_id
        except ContractError as error:
            raise DataError(f"{where}: {error}") from error
        except OverflowError as error:
            raise DataError(f"{where}: category_id {str(region.category_id)[:30]} is too large") from error
    return drawn
