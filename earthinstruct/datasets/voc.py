"""Read a Pascal VOC annotation file. XML entities and external references are refused (defusedxml)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from earthinstruct.errors import DataError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


@dataclass(frozen=True)
class VocObject:
    """One `<object>`: its name, and the corners x1, y1, x2, y2 in pixels as in the file."""

    name: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class VocFile:
    """One annotation file. `file_name` and `size` (width, height) are None if the file does not give them."""

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

    try:
        root = fromstring(content)
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise DataError(f"{path} is not a VOC annotation file: {error!r}") from error
    if root.tag != "annotation":
        raise DataError(f"{path} is not a VOC annotation file: its root is <{root.tag}>, expected <annotation>")
    size = root.find("size")
    return VocFile(
        file_name=(root.findtext("filename") or "").strip() or None,
        size=None
        if size is None
        else (int(_number(size, "width", f"{path}, size")), int(_number(size, "height", f"{path}, size"))),
        objects=tuple(
            _object(element, f"{path}, object {number}") for number, element in enumerate(root.findall("object"), 1)
        ),
    )


def _object(element: Element, where: str) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise DataError(f"{where} has no <name>")
    box = element.find("bndbox")
    if box is None:
        raise DataError(f"{where} ({name}) has no <bndbox>")
    x1, y1, x2, y2 = (_number(box, tag, f"{where} ({name})") for tag in ("xmin", "ymin", "xmax", "ymax"))
    return VocObject(name, (x1, y1, x2, y2))


def _number(element: Element, tag: str, where: str) -> float:
    text = (element.findtext(tag) or "").strip()
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: <{tag}> is {text!r}; expected a number")
    return value
