"""Read the label files and class names of YOLO."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from earthinstruct.datasets.ground_truth import Box, TrueObject, box_of_polygon
from earthinstruct.datasets.pairs import Size
from earthinstruct.datasets.training_sets import IMAGES_FROM
from earthinstruct.errors import DataError
from earthinstruct.files import decode_yaml, read_text

_LISTS = ("classes.txt", "obj.names", "classes.names", "_darknet.labels")
_YAML = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
_NO_LABELS = (*_LISTS, "train.txt", "val.txt", "valid.txt", "test.txt", "notes.txt", IMAGES_FROM)
_NUMBERED = re.compile(r"\W?0*(?P<number>\d+)(?:[:.,;)\]]\s*|\s+)(?P<name>\D.*)")  # "0: ship", "[1] ship"
_ODD_NAMES = {"quotes around": r"([\"']).*\1,?", "a comma after": ".*,"}
_LARGEST = 1e9  # of a number in a label file; more is no coordinate, in pixels either
_SHOWN = 60  # characters of a line
_ROUNDING = 0.01  # by how much a share may leave 0..1
_AS_PIXELS = "with a number outside 0 to 1: coordinates are shares of the image's width and height"


def is_names_file(path: Path) -> bool:
    """Whether a text file holds no labels, but lists classes or images."""
    return path.name.lower() in _NO_LABELS or path.name.lower().startswith("readme")


def yolo_objects(
    path: Path, categories: Sequence[str], size: Size, *, keypoints: bool = False
) -> tuple[TrueObject, ...]:
    """Read a label file with lines `class x y width height` (centre and size) or `class x y x y x y ...` (a polygon).

    Coordinates are shares of the image's width and height.

    Args:
        path: the file.
        categories: the class names.
        size: width and height of the image, pixels.
        keypoints: whether keypoints follow each box.

    Raises:
        DataError: a line is neither.
    """
    objects = []
    for number, line in enumerate(read_text(path, "label file").splitlines(), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        category, values = _numbers(line, len(categories), where)
        name = categories[category]
        far = [value for value in values if not -_ROUNDING <= value <= 1 + _ROUNDING]
        shown = line.strip() if len(line) < _SHOWN else f"{line[:_SHOWN].strip()} ..."
        place = f"{where} ({name}), {shown!r}"
        problem = _AS_PIXELS if far else None
        if len(values) == 4 or (keypoints and len(values) > 4):
            objects.append(TrueObject(name, _box_of_centre(values[:4], size), place=place, problem=problem))
        elif len(values) >= 6 and len(values) % 2 == 0:
            polygon = [value * size[i % 2] for i, value in enumerate(values)]
            mask = None if far else [polygon]
            objects.append(TrueObject(name, box_of_polygon(polygon), mask, place=place, problem=problem))
        else:
            hint = "; the last one looks like a confidence: give labels, not predictions" if len(values) == 5 else ""
            raise DataError(
                f"{where} has {len(values)} numbers after the class; expected 4 (centre x, centre y, width, height) "
                f"or the x, y of at least 3 points{hint}"
            )
    return tuple(objects)


def _numbers(line: str, n_classes: int, where: str) -> tuple[int, list[float]]:
    category, *values = line.split()
    numbers = []
    for text in (category, *values):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not abs(number) <= _LARGEST:
            raise DataError(f"{where} has {text!r} where a number belongs; expected class x y width height")
        numbers.append(number)
    if numbers[0] not in range(n_classes):
        raise DataError(f"{where} is of class {category}; expected a class from 0 to {n_classes - 1}")
    return int(numbers[0]), numbers[1:]


def _box_of_centre(values: Sequence[float], size: Size) -> Box:
    x, y, width, height = (value * size[i % 2] for i, value in enumerate(values))
    return x - width / 2, y - height / 2, width, height


def class_names(folder: Path, labels: Path) -> tuple[list[str], Path]:
    """Read the class names of a YOLO folder, which may be one or two folders up, as for the splits of Roboflow.

    Args:
        folder: the folder.
        labels: its folder of labels.

    Returns:
        The names in the order of their numbers, and the file that holds them.

    Raises:
        DataError: no file has class names, two in one folder differ, or a name is empty or repeated.
    """
    next_step = f"write {folder / 'classes.txt'}, one name per line"
    near = (folder, labels, labels.parent, folder.absolute().parent, folder.absolute().parent.parent)
    for place in dict.fromkeys(near):
        paths = [path for name in (*_LISTS, *_YAML) if (path := place / name).is_file()]
        if paths:
            names = _names_in(paths[0], next_step)
            for path in paths[1:]:
                _refuse_other_names(names, paths[0], path)
            return names, paths[0]
    raise DataError(f"YOLO folder {folder} has no class names (classes.txt or data.yaml); {next_step}")


def _refuse_other_names(names: Sequence[str], first: Path, second: Path) -> None:
    """Refuse a second file of class names that differ; it may hold none, such as a `data.yaml` of paths alone."""
    try:
        others = _names_in(second, "")
    except DataError:
        return
    if [name.casefold() for name in others] != [name.casefold() for name in names]:
        raise DataError(f"{first} and {second} name different classes, {names} and {others}; keep one")


def _names_in(path: Path, next_step: str) -> list[str]:
    """The class names in a file.

    Raises:
        DataError: it has none, or a name is empty, repeated or not written as the format has it.
    """
    text, is_yaml = read_text(path, "names file"), path.name in _YAML
    names = _yaml_names(text, path, next_step) if is_yaml else [line.strip() for line in text.rstrip().splitlines()]
    names = [unicodedata.normalize("NFC", name) for name in names]
    if not any(names):
        raise DataError(f"{path} has no class names; {next_step}")
    if not is_yaml:
        _refuse_odd_names(names, path)
    for number, name in enumerate(names):
        if not name or name in names[:number]:
            what = f"the repeated name {name!r}" if name else "no name"
            raise DataError(f"{path} has {what} for class {number}; give every class a different name")
    return names


def _refuse_odd_names(names: Sequence[str], path: Path) -> None:
    """Refuse a list that is not written as one name a line: with numbers, in quotes, or with commas."""
    odd = [what for what, pattern in _ODD_NAMES.items() if all(re.fullmatch(pattern, name) for name in names)]
    if _are_numbered(names):
        odd.append("a number before")
    if odd:
        raise DataError(f"{path} has {odd[0]} each name, such as {names[0]!r}; write one name a line and nothing else")


def _are_numbered(names: Sequence[str]) -> bool:
    """Whether names are counted from 0 or 1, unlike `1-storey house` and `2-storey house`, or `1 way street` alone.

    >>> _are_numbered(["0: ship", "1: harbor"]), _are_numbered(["1 way street", "2 way street"])
    (True, False)
    """
    found = [match for name in names if (match := _NUMBERED.fullmatch(name))]
    start = int(found[0]["number"]) if found else 0
    return (
        len(found) == len(names)
        and [int(match["number"]) for match in found] == list(range(start, start + len(names)))
        and (start == 0 or (start == 1 and len({match["name"] for match in found}) == len(names) > 1))
    )


def has_keypoints(names_file: Path) -> bool:
    """Whether a `data.yaml` describes keypoints."""
    return names_file.name in _YAML and "kpt_shape" in _content(read_text(names_file, "names file"), names_file, "")


def _content(text: str, path: Path, next_step: str) -> dict[str, object]:
    import yaml

    try:
        content = decode_yaml(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        reason = getattr(error, "problem", None) or "malformed"
        raise DataError(f"{path} is not YAML: {where}{reason}; {next_step}") from error
    return content if isinstance(content, dict) else {}


def _yaml_names(text: str, path: Path, next_step: str) -> list[str]:
    """Read the entry `names` of a `data.yaml`: a list, or a mapping from the class numbers 0, 1, ... to names.

    Raises:
        DataError: the entry is neither, or `nc` is not the number of names.
    """
    content = _content(text, path, next_step)
    names = content.get("names")
    if isinstance(names, dict):
        numbers = {int(key) if str(key).isdecimal() else key: name for key, name in names.items()}
        if set(numbers) != set(range(len(numbers))):
            raise DataError(f"{path} names the classes {list(names)}; expected 0 to {len(names) - 1}, each once")
        names = [numbers[number] for number in range(len(numbers))]
    if not isinstance(names, list) or any(isinstance(name, list | dict) or name is None for name in names):
        raise DataError(f"{path} has no class names; {next_step}")
    for number, name in enumerate(names):
        if isinstance(name, bool) or not isinstance(name, str | int):  # `no` is False in YAML, and 1.10 is 1.1
            raise DataError(f"{path}: YAML reads the name of class {number} as {name!r}; put the name in quotes")
    if str(content.get("nc", len(names))) != str(len(names)):
        raise DataError(f"{path} says nc: {content['nc']}, but names {len(names)} classes; correct one of them")
    return [str(name).strip() for name in names]
