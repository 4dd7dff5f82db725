"""Divide the images of a dataset into slices by an attribute, such as the sensor or the ground resolution."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from earthinstruct.datasets import Attribute, Dataset, image_attributes
from earthinstruct.errors import DataError, EarthInstructError, UnknownNameError
from earthinstruct.files import read_text
from earthinstruct.metrics import STANDARD, Protocol, SliceImages
from earthinstruct.predictions import ImageNames
from earthinstruct.regions import ImageId
from earthinstruct.texts import plural

MOST_SLICES = 20  # of a text attribute
_MOST_NUMBERS = 8  # an attribute of so many different numbers has a slice for each
_QUARTERS = (0.25, 0.5, 0.75)  # others are divided here
_NO_VALUE = "no value"


def chosen_attributes(
    slice_by: str | Sequence[str], file: Path | str | None, dataset: Dataset, protocol: Protocol
) -> dict[str, Attribute]:
    """Look up the attributes to slice by: name -> image -> value.

    Args:
        slice_by: the names.
        file: a CSV file with the attributes of images; None: those of the dataset alone.
        dataset: the dataset; an attribute that the file has too is that of the file.
        protocol: the rules, which must be `standard`.

    Raises:
        UnknownNameError: neither the file nor the dataset has such an attribute.
        DataError: the file is malformed.
        EarthInstructError: there is a file and nothing to slice by, or the protocol is another one.
    """
    names = [slice_by] if isinstance(slice_by, str) else list(dict.fromkeys(slice_by))
    if not names:
        if file is not None:
            raise EarthInstructError(f"attributes {file} are given, but none to slice by; add --slice-by NAME")
        return {}
    if protocol != STANDARD:
        raise EarthInstructError(
            f"slices are scored under protocol 'standard', not {protocol.name!r}; leave out --slice-by or --protocol"
        )
    known = image_attributes(dataset) | ({} if file is None else read_attributes(Path(file), dataset))
    for name in names:
        if name not in known:
            raise UnknownNameError("attribute", name, known, "Give others in a CSV file with --attributes FILE.")
    return {name: known[name] for name in names}


def read_attributes(path: Path, dataset: Dataset) -> dict[str, Attribute]:
    """Read a CSV file with a column `image`, the id or file name of each image, and a column for each attribute.

    A column of numbers is a numeric attribute. An empty cell is no value.

    Raises:
        DataError: the file is malformed, or names an image twice or one that the dataset does not have.
    """
    rows = list(csv.reader(read_text(path, "attributes file").splitlines()))
    header = [cell.strip() for cell in rows[0]] if rows else []
    if not header or header[0] != "image" or len(set(header)) < len(header) or "" in header:
        raise DataError(
            f"{path} starts with {','.join(header)[:100]!r}; expected the line 'image,NAME,...': the column of images, "
            "then one for each attribute, all named differently"
        )
    lines: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not any(row):
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {number}: {plural(len(row), 'cell')}; expected {len(header)}, as in the first line"
            )
        if row[0].strip() in lines:
            raise DataError(
                f"{path}, line {number}: image {row[0]!r} is also in line {lines[row[0].strip()]}; keep one"
            )
        lines[row[0].strip()] = number
    images = ImageNames(dataset).find(lines, lambda name: f"{path}, line {lines[str(name)]}")
    return {
        name: _column({images[image].id: rows[number - 1][column].strip() for image, number in lines.items()})
        for column, name in enumerate(header[1:], start=1)
    }


def _column(cells: Mapping[ImageId, str]) -> Attribute:
    there = {image: cell for image, cell in cells.items() if cell}
    try:
        numbers = {image: float(cell) for image, cell in there.items()}
    except ValueError:
        return there
    return numbers if np.isfinite(list(numbers.values())).all() else there


def slices_by(name: str, attribute: Attribute, images: Sequence[ImageId]) -> SliceImages:
    """Divide images by an attribute: name of a slice -> its images.

    A text has a slice of its own, and so has a number if there are few different ones. Otherwise numbers are divided at
    their quartiles. Images without a value are the last slice.

    Raises:
        DataError: there are more different texts than `MOST_SLICES`.
    """
    values = {image: attribute[image] for image in images if image in attribute}
    distinct = set(values.values())
    of_image: dict[ImageId, str]
    if all(isinstance(value, int | float) for value in distinct) and len(distinct) > _MOST_NUMBERS:
        numbers = np.array(list(values.values()), dtype=np.float64)
        part = np.searchsorted(np.unique(np.quantile(numbers, _QUARTERS, method="inverted_cdf")), numbers)
        ranges = {
            k: f"{_text(numbers[part == k].min())} to {_text(numbers[part == k].max())}"
            for k in np.unique(part).tolist()
        }
        of_image = {image: ranges[k] for image, k in zip(values, part.tolist(), strict=True)}
        order = list(ranges.values())
    else:
        of_image = {image: _text(value) for image, value in values.items()}
        order = [_text(value) for value in sorted(distinct, key=lambda value: (isinstance(value, str), value))]
        if len(order) > MOST_SLICES:
            raise DataError(
                f"attribute {name!r} has {len(order)} different texts, such as {order[0]!r} and {order[1]!r}; expected "
                f"at most {MOST_SLICES}: group them in a CSV file, and give it with --attributes FILE"
            )
    if len(values) < len(images):
        order.append(_NO_VALUE)
    return {slice_: [image for image in images if of_image.get(image, _NO_VALUE) == slice_] for slice_ in order}


def _text(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value + 0.0:.12g}"  # -0 is 0
