"""Draws how labels were assigned: every proposal's crop beside its similarity to every label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from earthinstruct_models.encoders.crops import crop_corners
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from earthinstruct.contract import Proposals
from earthinstruct.images import label_colours

_CROP = 48  # pixels a side
_CELL = 84
_SHOWN = 30  # proposals: those with a label first, then the most similar ones


def draw_similarities(
    image: NDArray[np.uint8],
    proposals: Proposals,
    labels: Sequence[str],
    similarities: NDArray[np.float64],
    assigned: NDArray[np.int64],
) -> NDArray[np.uint8]:
    """Draw a table with a row for each proposal and a column for each label; the assigned label is framed.

    Args:
        image: uint8 RGB (height, width, 3).
        proposals: n proposals.
        labels: m labels.
        similarities: (n, m), cosines.
        assigned: int64 (n,), index of the assigned label, or -1.

    Returns:
        uint8 RGB; at most `_SHOWN` proposals, and a line with their total number.
    """
    font, colours = ImageFont.load_default(size=12), label_colours(labels)
    best = similarities.max(axis=1) if similarities.size else np.zeros(len(proposals))
    order = np.lexsort((-best, assigned < 0))[:_SHOWN]
    width = max(_CROP + 16 + _CELL * len(labels), 420)
    picture = Image.new("RGB", (width, 56 + (_CROP + 4) * len(order)), (24, 24, 24))
    draw = ImageDraw.Draw(picture)
    given = int((assigned >= 0).sum())
    shown = "" if len(order) == len(proposals) else f"; {len(order)} shown"
    draw.text(
        (8, 6), f"{len(proposals)} proposals, {given} given a label (framed){shown}", fill=(235, 235, 235), font=font
    )
    for j, label in enumerate(labels):
        draw.text((_CROP + 16 + _CELL * j, 30), label[:13], fill=colours[label], font=font)
    low, high = (float(similarities.min()), float(similarities.max())) if similarities.size else (0.0, 1.0)
    corners = crop_corners(proposals.boxes, image.shape[1], image.shape[0])
    source = Image.fromarray(image)
    for row, i in enumerate(order):
        top = 52 + (_CROP + 4) * row
        picture.paste(source.crop(corners[i]).resize((_CROP, _CROP), Image.Resampling.BILINEAR), (8, top))
        for j, label in enumerate(labels):
            share = (similarities[i, j] - low) / (high - low) if high > low else 0.0
            left = _CROP + 16 + _CELL * j
            cell = (left, top, left + _CELL - 4, top + _CROP)
            draw.rectangle(cell, fill=(30 + round(30 * share), 30 + round(110 * share), 30 + round(90 * share)))
            if assigned[i] == j:
                draw.rectangle(cell, outline=colours[label], width=3)
            draw.text((left + 20, top + 16), f"{similarities[i, j]:.2f}", fill=(255, 255, 255), font=font)
    return np.array(picture)
