"""Reads the points that Molmo and Molmo 2 write, as tags in the text of a reply.

Molmo writes percent of width and height, `<point x="51.2" y="26.4" alt="cat">cat</point>` or
`<points x1="5.5" y1="81.0" x2="9.5" y2="73.5" alt="cats">cats</points>` (huggingface.co/allenai/Molmo-7B-O-0924,
discussion 1). Molmo 2 writes thousandths, `<points coords="1 1 193 076 2 226 144">cats</points>`: the number of the
image, then the number, x and y of each point (huggingface.co/allenai/Molmo2-8B). Neither writes confidences.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from earthinstruct.texts import without_thoughts
from earthinstruct_models.lvlm.interface import Reply, checked

_TAG = re.compile(r"<(points?|tracks?)\s([^>]*)(/?>|\Z)(?:([^<]*)</\1>)?")
_ATTRIBUTE = re.compile(r'(\w+)\s*=\s*"([^"]*)("|\Z)')
_PERCENT, _THOUSANDTHS = re.compile(r"\s*(\d+(?:\.\d+)?)\s*"), re.compile(r"\d{3,4}")
_LOOSE = re.compile(r"\d\W{1,6}(?:y\W{1,6})?\d")  # two numbers that may be a point
_ONE_NUMBER = re.compile(  # 0.5, 2024-05-01, 0/5, 3 - 5; 1,200 outside brackets
    r"(?<!\d)\d+(?:(?:\.|\s?[-\u2013/:]\s?)\d+)+|(?<![(\[\d])\d{1,2}(?:,\d{3})+(?![)\]\d])"
)
_IMAGES = re.compile(r"[\t:;,]")  # between the images of Molmo 2's coordinates
_Place = tuple[float, float]


@dataclass(frozen=True)
class Points:
    """The points in a reply.

    Attributes:
        labels: the label of each; empty where the tag has none.
        places: float64 (n, 2), x and y as shares of width and height; above 1: outside the image.
        unreadable: number of points, or tags, that could not be read.
        truncated: whether the reply was cut off.
    """

    labels: list[str]
    places: NDArray[np.float64]
    unreadable: int
    truncated: bool


def read_points(reply: Reply) -> Points:
    """The points in a reply, also in one that was cut off: a number that may have been cut is not read.

    A reply without tags has no points: the models say in words that they found nothing.

    Raises:
        LvlmError: the reply is a refusal.

    >>> read_points(Reply('Two: <points coords="1 1 193 076 2 226 144">ships</points>'))
    Points(labels=['ships', 'ships'], places=array([[0.193, 0.076],
           [0.226, 0.144]]), unreadable=0, truncated=False)
    """
    if reply.finish != "truncated":
        checked(reply)
    labels: list[str] = []
    places: list[_Place] = []
    unreadable = 0
    for tag in _TAG.finditer(reply.text):
        attributes = {name: (value, not end) for name, value, end in _ATTRIBUTE.findall(tag[2])}
        label = html.unescape((tag[4] or "").strip() or attributes.get("alt", ("", False))[0].strip())
        found = list(_places(attributes)) if tag[1].startswith("point") else [None]
        own = [place for place in found if place is not None]
        labels += [label] * len(own)
        places += own
        unreadable += len(found) - len(own)
    if not labels and not unreadable and _LOOSE.search(_ONE_NUMBER.sub("0", without_thoughts(reply.text))):
        unreadable = 1  # a point that is written in another way
    return Points(labels, np.array(places, dtype=np.float64).reshape(-1, 2), unreadable, reply.finish == "truncated")


def _places(attributes: Mapping[str, tuple[str, bool]]) -> Iterator[_Place | None]:
    """The points of a tag; None for each that is unreadable. Of an attribute: its value, and whether it is cut off."""
    if "coords" in attributes:
        yield from _of_thousandths(*attributes["coords"])
        return
    suffixes = list(dict.fromkeys(name[1:] for name in attributes if re.fullmatch(r"[xy]\d*", name)))
    for suffix in suffixes:
        pair = [attributes.get(f"{axis}{suffix}", ("", True)) for axis in "xy"]
        matched = [None if torn else _PERCENT.fullmatch(value) for value, torn in pair]
        yield None if None in matched else tuple(float(of[1]) / 100 for of in matched if of)  # type: ignore[misc]
    if not suffixes:
        yield None


def _of_thousandths(coords: str, torn: bool) -> Iterator[_Place | None]:
    groups = [group.split() for group in _IMAGES.split(coords)]
    if torn:
        yield None  # what the cut has taken
        groups[-1] = groups[-1][:-1]
    for i, numbers in enumerate(groups):
        cut = torn and i == len(groups) - 1
        # an image has its number first; where there is one image alone, it may be left out
        named = len(numbers) > 1 and not _THOUSANDTHS.fullmatch(numbers[1]) if cut else len(numbers) % 3 == 1
        points, image = (numbers[1:], numbers[0]) if named and numbers else (numbers, "1")
        if cut:
            points = points[: len(points) // 3 * 3]
        elif len(points) % 3 or image != "1":
            yield None
            continue
        for number, *place in zip(points[::3], points[1::3], points[2::3], strict=True):
            known = number.isdigit() and all(map(_THOUSANDTHS.fullmatch, place))
            yield (int(place[0]) / 1000, int(place[1]) / 1000) if known else None
