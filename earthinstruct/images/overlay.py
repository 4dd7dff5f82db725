"""Draw a prediction over its image: masks, boxes, labels, and a legend with counts."""

from __future__ import annotations

import colorsys
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from earthinstruct.contract import Prediction
from earthinstruct.regions import decode_rles

_At: TypeAlias = tuple[float, float]  # the upper left corner of a label
_MASK_OPACITY = 0.4
_MOST_NAMED = 60  # with more instances, their names would hide the image
_SHORTEST_SIDE = 640  # smaller images are enlarged, so that labels can be read,
_LONGEST_SIDE = 4096  # unless their longer side would exceed this


def label_colours(labels: Sequence[str]) -> dict[str, tuple[int, int, int]]:
    """Give each label a colour. The same set of labels gets the same colours, with hues far apart."""
    names = sorted(set(labels))
    hues = [(0.61803 * i) % 1 for i in range(len(names))]
    rgb = [colorsys.hsv_to_rgb(hue, 0.85, 1.0) for hue in hues]
    return {name: (round(255 * r), round(255 * g), round(255 * b)) for name, (r, g, b) in zip(names, rgb, strict=True)}


def draw_overlay(
    image: NDArray[np.uint8], prediction: Prediction, remarks: Sequence[str] = (), *, step: int = 1
) -> Image.Image:
    """Draw a prediction.

    Args:
        image: uint8 RGB (height, width, 3).
        prediction: the instances to draw. The legend gives the number drawn and, if it differs, the method's count.
        remarks: lines below the legend.
        step: the image has every n-th row and column of the one that the prediction is about.

    Returns:
        The picture, with a legend below it.
    """
    counts = dict(prediction.counts) if prediction.counts is not None else {}
    drawn = Counter(prediction.labels)
    colours = label_colours([*prediction.labels, *counts])
    picture = Image.fromarray(_with_masks(image, prediction, colours, step))
    factor = max(1, min(-(-_SHORTEST_SIDE // min(picture.size)), _LONGEST_SIDE // max(picture.size)))
    if factor > 1:
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.LANCZOS)
    draw = ImageDraw.Draw(picture)
    names: list[tuple[str, list[_At]]] = []  # label and where it may stand
    boxes = np.zeros((0, 4)) if prediction.boxes is None else prediction.boxes * (factor / step)
    for label, (x, y, width, height) in zip(prediction.labels, boxes, strict=False):  # an answer may only point
        last = (x + max(0, width - 1), y + max(0, height - 1))  # a box thinner than a pixel is drawn as a line
        draw.rectangle((x, y, *last), outline=colours[label], width=2)
        below = y + height + 2
        names.append((label, [(x, y - 14), (x, below), (x + width + 3, y), (x + 3, y + 3), (x + width + 3, below)]))
    radius = max(2, round(max(picture.size) / 250))
    points = np.zeros((0, 2)) if prediction.points is None else prediction.points * (factor / step)
    for label, (x, y) in zip(prediction.labels, points, strict=False):  # or have boxes alone
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colours[label], outline=(0, 0, 0))
        if prediction.boxes is None:
            right, middle = x + radius + 3, x - radius
            names.append((label, [(right, y - 6), (middle, y - radius - 16), (middle, y + radius + 3)]))
    if len(names) <= _MOST_NAMED:
        _write_names(draw, picture.size, names, colours)
    lines = [
        (
            label,
            f"{label}: {drawn[label]}"
            + (f" drawn, {counts[label]} counted" if counts.get(label, drawn[label]) != drawn[label] else ""),
        )
        for label in sorted(colours)
    ] or [("", "nothing found")]
    return _with_legend(picture, [(colours.get(label, (255, 255, 255)), text) for label, text in lines], remarks)


def _write_names(
    draw: ImageDraw.ImageDraw,
    size: tuple[int, int],
    names: Sequence[tuple[str, Sequence[_At]]],
    colours: Mapping[str, tuple[int, int, int]],
) -> None:
    """Write labels in their colours on black, each at the first place where it hides no other one.

    A label without such a place is left out: the colour of its box tells it.
    """
    font, written = ImageFont.load_default(size=12), list[tuple[float, float, float, float]]()
    for label, places in names:
        for x, y in places:
            left, top, right, bottom = draw.textbbox((0, 0), label, font=font)
            x = round(max(1 - left, min(x, size[0] - right - 2)))
            y = round(max(1 - top, min(y, size[1] - bottom - 2)))
            place = (x + left - 1, y + top - 1, x + right + 1, y + bottom + 1)
            if not any(_overlap(place, other) for other in written):
                draw.rectangle(place, fill=(0, 0, 0))
                draw.text((x, y), label, fill=colours[label], font=font)
                written.append(place)
                break


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] <= other[2] and other[0] <= one[2] and one[1] <= other[3] and other[1] <= one[3]


def _with_masks(
    image: NDArray[np.uint8], prediction: Prediction, colours: Mapping[str, tuple[int, int, int]], step: int
) -> NDArray[np.uint8]:
    pixels = image.copy()
    masks = decode_rles(prediction.masks or ())
    for i, label in enumerate(prediction.labels if prediction.masks is not None else ()):
        inside, x, y = masks.drawn(i)
        inside = inside[-y % step :: step, -x % step :: step]  # the rows and columns that the image has
        top, left = -(-y // step), -(-x // step)
        part = pixels[top : top + inside.shape[0], left : left + inside.shape[1]]
        blend = (1 - _MASK_OPACITY) * part[inside] + _MASK_OPACITY * np.array(colours[label])
        part[inside] = blend.round().astype(np.uint8)
    return pixels


def _with_legend(
    picture: Image.Image, lines: Sequence[tuple[tuple[int, int, int], str]], remarks: Sequence[str]
) -> Image.Image:
    font = ImageFont.load_default(size=16)
    letters = max(1, (picture.width - 16) // 9)  # of about 9 pixels
    below = [line for remark in remarks for line in textwrap.wrap(remark, letters)]
    column = 260
    columns = max(1, picture.width // column)
    rows = -(-len(lines) // columns)
    whole = Image.new("RGB", (picture.width, picture.height + 24 * (rows + len(below)) + 8), (24, 24, 24))
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    for i, (colour, text) in enumerate(lines):
        x, y = 8 + column * (i % columns), picture.height + 6 + 24 * (i // columns)
        draw.rectangle((x, y + 4, x + 12, y + 16), fill=colour)
        draw.text((x + 20, y), text, fill=(235, 235, 235), font=font)
    for i, line in enumerate(below, start=rows):
        draw.text((8, picture.height + 6 + 24 * i), line, fill=(255, 200, 80), font=font)
    return whole
