"""Read a Pascal VOC annotation file. XML entities and external references are refused (defusedxml)."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earthinstruct.datasets.rules import is_turn
from earthinstruct.errors import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


_DIFFICULT = {"": False, "0": False, "false": False, "unspecified": False, "1": True, "true": True}


@dataclass(frozen=True)
class VocObject:
    """One `<object>`.

    Attributes:
        name: its category.
        corners: x1, y1, x2, y2 in pixels, as in the file.
        difficult: whether it is marked as difficult.
        turned: whether it has a rotation, as CVAT writes it beside the corners before the turn.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool = False
    turned: bool = False


@dataclass(frozen=True)
class VocFile:
    """One annotation file. `file_name` and `size` (width, height) are None if the file does not give them.

    LabelImg writes the size 0 x 0 for some images; it counts as not given.
    """

    file_name: str | None
    size: tuple[int, int] | None
    objects: tuple[VocObject, ...]


def parse_voc(content: bytes, path: Path) -> VocFile:
    """Parse a VOC annotation file.

    Args:
        content: the XML.
        path: the file, for errors.

    Raises:
        DataError: the content is not XML, is not a VOC annotation, or defines entities.
    """
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    if not content.strip():
        raise DataError(f"{path} is empty; expected a VOC annotation file")
    try:
        root = fromstring(content)
    except ParseError as error:
        line, column = error.position
        reason = str(error).partition(":")[0]
        raise DataError(f"{path}, line {line}, column {column + 1}, is not XML: {reason}; export it again") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} defines entities or refers to other files, which is refused; remove them") from error
    except ValueError as error:
        raise DataError(f"{path} is not XML: {error}; save it as UTF-8") from error
    if root.tag != "annotation":
        raise DataError(f"{path} is not a VOC annotation file: its root is <{root.tag}>, expected <annotation>")
    size = _only(root, "size", str(path))
    sides = None
    if size is not None:
        sides = tuple(int(_number(size, name, f"{path}, size")) for name in ("width", "height"))
    return VocFile(
        file_name=_text(root, "filename", str(path)) or None,
        size=None if sides is None or 0 in sides else (sides[0], sides[1]),
        objects=tuple(
            _object(element, f"{path}, object {number}") for number, element in enumerate(root.findall("object"), 1)
        ),
    )


def _object(element: Element, where: str) -> VocObject:
    name = unicodedata.normalize("NFC", _text(element, "name", where))
    if not name:
        raise DataError(f"{where} has no <name>; give the name of its category")
    where = f"{where} ({name})"
    box = _only(element, "bndbox", where)
    if box is None:
        raise DataError(f"{where} has no <bndbox>; give <xmin>, <ymin>, <xmax>, <ymax> in it")
    x1, y1, x2, y2 = (_number(box, tag, where) for tag in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _text(element, "difficult", where).lower()
    if difficult not in _DIFFICULT:
        raise DataError(f"{where}: <difficult> is {difficult!r}; expected 0 or 1")
    given = {_text(one, "name", where): _text(one, "value", where) for one in element.iterfind("attributes/attribute")}
    return VocObject(name, (x1, y1, x2, y2), _DIFFICULT[difficult], is_turn(given.get("rotation")))


def _only(element: Element, tag: str, where: str) -> Element | None:
    found = element.findall(tag)
    if len(found) > 1:
        raise DataError(f"{where} has <{tag}> {len(found)} times; keep one")
    return found[0] if found else None


def _text(element: Element, tag: str, where: str) -> str:
    found = _only(element, tag, where)
    return "" if found is None else (found.text or "").strip()


def _number(element: Element, tag: str, where: str) -> float:
    text = _text(element, tag, where)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: <{tag}> is {text!r}; expected a number")
    return value
