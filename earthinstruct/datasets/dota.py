"""Read the label files of DOTA: four corners, a category and a mark for difficult objects on each line."""

from __future__ import annotations

import math
from pathlib import Path

from earthinstruct.datasets.ground_truth import TrueObject, box_of_polygon
from earthinstruct.errors import DataError
from earthinstruct.files import read_text

_HEADERS = ("imagesource:", "gsd:", "acquisition dates:")
_LINE = "x1 y1 x2 y2 x3 y3 x4 y4 category difficult"
_MARKS = {"0": False, "1": True, "2": True}  # 2: very difficult, in DOTA-v1.5


def dota_objects(path: Path) -> tuple[TrueObject, ...]:
    """Read a label file. The corners become a polygon, and the box is that of the polygon.

    Raises:
        DataError: a line has another form.
    """
    objects = []
    for number, line in enumerate(read_text(path, "label file").splitlines(), start=1):
        if not line.strip() or line.strip().lower().startswith(_HEADERS):
            continue
        where = f"{path}, line {number}"
        parts = line.replace(",", " ").split()
        try:
            polygon = [float(part) for part in parts[:8]]
        except ValueError:
            polygon = []
        if len(polygon) < 8 or len(parts) < 9 or not all(map(math.isfinite, polygon)):
            raise DataError(f"{where} is {line!r}; expected {_LINE}, with coordinates in pixels")
        *words, last = parts[8:]
        if words and last not in _MARKS:
            raise DataError(f"{where} ends with {last!r}; expected 0, or 1 for a difficult object ({_LINE})")
        category = " ".join(words) or last
        objects.append(
            TrueObject(
                category,
                box_of_polygon(polygon),
                [polygon],
                ignored=bool(words) and _MARKS[last],
                place=f"{where} ({category})",
            )
        )
    return tuple(objects)
