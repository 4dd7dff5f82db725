"""Read a CSV file with one box a line: image, xmin, ymin, xmax, ymax, label, in any order if the first line names them.

A line with an image alone is an image without objects.
"""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from earthinstruct.datasets.coco import check_file_name
from earthinstruct.datasets.ground_truth import TrueObject, box_of_corners
from earthinstruct.datasets.pairs import Size
from earthinstruct.datasets.rules import SCORE_WORDS
from earthinstruct.errors import DataError
from earthinstruct.files import read_text

COLUMNS = ("image", "xmin", "ymin", "xmax", "ymax", "label")
_OTHER_NAMES = {
    "filename": "image",
    "file_name": "image",
    "image_path": "image",
    "image_name": "image",
    "path": "image",
    "x1": "xmin",
    "y1": "ymin",
    "x2": "xmax",
    "y2": "ymax",
    "class": "label",
    "category": "label",
    "class_name": "label",
}
_SIZE = ("width", "height")
_IGNORED = ("difficult", "ignore", "iscrowd")
_FLAGS = {"": False, "0": False, "0.0": False, "false": False, "1": True, "1.0": True, "true": True}


def read_table(path: Path) -> tuple[dict[str, list[TrueObject]], dict[str, tuple[Size, str]]]:
    """Read a CSV file.

    Returns:
        Image -> its objects, and for images whose size the table gives: image -> (width, height) and the line.

    Raises:
        DataError: a column is missing, or a line is malformed.
    """
    text = read_text(path, "CSV file")
    first = text.partition("\n")[0]
    if not first.strip():
        raise DataError(f"CSV file {path} is empty; expected the columns {', '.join(COLUMNS)}")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader]
    names = rows[0][1]
    columns = _columns(names, path)
    objects: dict[str, list[TrueObject]] = {}
    sizes: dict[str, tuple[Size, str]] = {}
    for number, row in rows[1:] if columns else rows:
        if not any(cell.strip() for cell in row):
            continue
        where = f"{path}, line {number}"
        of = columns or {name: i for i, name in enumerate(COLUMNS)}
        if any(cell.strip() for cell in row[len(names) :]):
            raise DataError(
                f"{where} has {len(row)} columns, and line 1 has {len(names)}: are there numbers with commas, or "
                "text without quotes?"
            )
        if len(row) <= max(of.values()):
            raise DataError(f"{where} has {len(row)} columns; expected {max(of.values()) + 1}: {', '.join(of)}")
        cells = {name: unicodedata.normalize("NFC", row[i].strip()) for name, i in of.items()}
        check_file_name(cells["image"], where)
        found = objects.setdefault(cells["image"], [])
        if any(cells[name] for name in COLUMNS[1:]):
            found.append(_object(cells, where))
        if all(cells.get(name) for name in _SIZE):
            width, height = (_number(cells, name, where) for name in _SIZE)
            sizes.setdefault(cells["image"], ((int(width), int(height)), where))
    return objects, sizes


def _columns(first: Sequence[str], path: Path) -> dict[str, int] | None:
    """Column -> its index, by the names in the first line; None if the line holds values in the order of `COLUMNS`."""
    if len(first) == len(COLUMNS) and all(_is_number(cell) or not cell.strip() for cell in first[1:5]):
        return None
    found: dict[str, int] = {}
    for i, cell in enumerate(first):
        name = cell.strip().lower()
        name = _OTHER_NAMES.get(name, name)
        if name in found and name in COLUMNS:
            raise DataError(f"{path}, line 1: two columns are {name!r}, {first[found[name]]!r} and {cell!r}; keep one")
        if name in SCORE_WORDS:
            raise DataError(
                f"{path}, line 1: the column {cell!r} belongs to predictions; give annotations, or remove the column "
                "if these are annotations"
            )
        if name in (*COLUMNS, *_IGNORED, *_SIZE):
            found[name] = i
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise DataError(
            f"{path}, line 1, has the columns {', '.join(first)}; expected {', '.join(COLUMNS)} (missing: "
            f"{', '.join(missing)}). Boxes are corners in pixels"
        )
    return found


def _object(cells: dict[str, str], where: str) -> TrueObject:
    corners = [_number(cells, name, where) for name in COLUMNS[1:5]]
    if not cells["label"]:
        raise DataError(
            f"{where} has no label; give one, or leave all but the image empty for an image without objects"
        )
    ignored = False
    for name in _IGNORED:
        if cells.get(name, "").lower() not in _FLAGS:
            raise DataError(f"{where}: {name} is {cells[name]!r}; expected 0 or 1")
        ignored |= _FLAGS[cells.get(name, "").lower()]
    return TrueObject(cells["label"], box_of_corners(corners), ignored=ignored, place=f"{where} ({cells['label']})")


def _number(cells: dict[str, str], name: str, where: str) -> float:
    if not _is_number(cells[name]):
        raise DataError(f"{where}: {name} is {cells[name]!r}; expected a number, such as 12.5")
    return float(cells[name])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
