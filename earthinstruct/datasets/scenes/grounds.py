"""Everything but the objects: the ground and its texture, roads, houses, trees, and the camera (light, blur, noise)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from earthinstruct.datasets.scenes.canvas import (
    Canvas,
    Dice,
    Frame,
    Material,
    Polygon,
    centred,
    disc,
    positions,
    rectangle,
    spans,
)
from earthinstruct.datasets.scenes.colours import FLAT_ROOF, Colour, darker, palette

COLOURS: dict[Material, tuple[Colour, ...]] = {
    Material.GRASS: palette("687a4a 586c42 7a8458 4e623e 868860"),
    Material.SOIL: palette("a48e70 968064 b29e80 8e7458"),
    Material.ASPHALT: palette("686a6e 5c5e62 747474 54565c"),
    Material.CONCRETE: palette("9e9c96 949492 a8a49a"),
    Material.WATER: palette("2a4c60 24424e 345c68 223c58 425c54"),
    Material.ROOF: palette("964e3e 80463a 6e7074 a66c52 5c5452 8c867e"),
    Material.TREE: palette("2e4a28 36542c 28422a 425a32"),
}

# relative contrast of the texture per material: patches of about 60 px, 12 px and single pixels, and ripples
_TEXTURE: dict[Material, tuple[float, float, float, float]] = {
    Material.GRASS: (0.07, 0.05, 0.04, 0.0),
    Material.SOIL: (0.07, 0.045, 0.035, 0.0),
    Material.ASPHALT: (0.04, 0.025, 0.025, 0.0),
    Material.CONCRETE: (0.04, 0.02, 0.02, 0.0),
    Material.WATER: (0.05, 0.02, 0.015, 0.05),
    Material.ROOF: (0.01, 0.015, 0.02, 0.01),
    Material.TREE: (0.03, 0.12, 0.09, 0.0),
    Material.OBJECT: (0.015, 0.01, 0.012, 0.0),
}


def colour_of(material: Material, dice: Dice) -> Colour:
    """Choose a colour of the material."""
    return dice.tint(dice.choice(COLOURS[material]), 8)


def cover(frame: Frame, material: Material, dice: Dice, polygon: Polygon | None = None) -> Colour:
    """Cover a polygon or the whole canvas with a material; returns its colour."""
    colour = colour_of(material, dice)
    if polygon is None:
        frame, polygon = Frame(frame.canvas), rectangle(-1, -1, frame.canvas.width + 1, frame.canvas.height + 1)
    frame.paint(polygon, colour, material)
    return colour


def road(frame: Frame, dice: Dice, length: float, width: float, colour: Colour | None = None) -> Colour:
    """Draw a road along x, centred on the frame, with kerbs and a centre line; returns its colour."""
    frame.paint(centred(length, width + 4), (150, 146, 138), Material.CONCRETE)
    colour = colour or colour_of(Material.ASPHALT, dice)
    frame.paint(centred(length, width), colour, Material.ASPHALT)
    for x in positions(-length / 2, length / 2, 18):
        frame.line([(x, 0), (x + 8, 0)], 0.9, (222, 220, 206))
    return colour


def railway(frame: Frame, dice: Dice, length: float, width: float) -> None:
    """Draw a railway line along x, centred on the frame: ballast, ties and rails."""
    ballast = dice.tint((122, 110, 98), 8)
    frame.paint(centred(length, width), ballast, Material.ASPHALT)
    for i in range(int(length / 5)):
        x = -length / 2 + 2.5 + i * 5
        frame.line([(x, -width * 0.3), (x, width * 0.3)], 1.6, (92, 74, 62))
    for y in (-width * 0.18, width * 0.18):
        frame.line([(-length / 2, y), (length / 2, y)], 1.0, (64, 58, 58))


def tree(frame: Frame, dice: Dice, radius: float, keep: float | None = None) -> None:
    """Draw a tree crown. With `keep` it may partly hide objects; without, it stands only on free grass or soil."""
    phase, lobes = dice.uniform(0, 6.28), dice.integer(4, 6)
    crown = []
    for i in range(18):
        angle = 2 * math.pi * i / 18
        r = radius * (1 + 0.12 * math.sin(lobes * angle + phase) + dice.uniform(-0.07, 0.07))
        crown.append((r * math.cos(angle), r * math.sin(angle)))
    if keep is None:
        stands = frame.is_free(crown, Material.GRASS, Material.SOIL, Material.TREE)
    else:
        stands = frame.hide(crown, keep)
    if not stands:
        return
    colour = colour_of(Material.TREE, dice)
    frame.shadow([crown], radius * 0.7)
    frame.paint(crown, darker(colour, 0.85), Material.TREE)
    sx, sy = frame.canvas.sun
    for share, light in ((0.72, 1.0), (0.42, 1.16)):
        lit = frame.at(-sx * radius * (1 - share) * 0.7, -sy * radius * (1 - share) * 0.7)
        lit.paint(disc(0, 0, radius * share, steps=12), darker(colour, light))


def house(frame: Frame, dice: Dice, length: float, width: float) -> None:
    """Draw a house with a ridged roof along x, on free ground."""
    if not frame.is_free(centred(length + 4, width + 4), Material.GRASS, Material.SOIL, Material.CONCRETE):
        return
    outline = centred(length, width)
    colour = colour_of(Material.ROOF, dice)
    frame.shadow([outline], min(length, width) * 0.25, alpha=130)
    frame.paint(outline, darker(colour, 0.8), Material.ROOF)
    sx, sy = frame.canvas.sun
    lit = -width / 2 if -math.sin(frame.angle) * sx + math.cos(frame.angle) * sy > 0 else 0.0
    frame.paint(rectangle(-length / 2, lit, length / 2, lit + width / 2), colour)
    frame.line([(-length / 2, 0), (length / 2, 0)], 0.8, darker(colour, 1.2))
    if dice.chance(0.5):
        frame.paint(rectangle(length * 0.2, -width * 0.3, length * 0.28, -width * 0.12), (90, 80, 78))


def warehouse(frame: Frame, dice: Dice, length: float, width: float) -> None:
    """Draw a large flat roof with skylights, on free ground."""
    outline = centred(length, width)
    if not frame.is_free(outline, Material.GRASS, Material.SOIL, Material.CONCRETE, Material.ASPHALT):
        return
    colour = dice.tint(dice.choice(FLAT_ROOF), 8)
    frame.shadow([outline], min(12.0, width * 0.15), alpha=130)
    frame.paint(outline, darker(colour, 0.86), Material.ROOF)
    frame.paint(centred(length - 4, width - 4), colour)
    ribs = int(length / 14)
    for i in range(1, ribs):
        x = -length / 2 + length * i / ribs
        frame.line([(x, -width / 2 + 2), (x, width / 2 - 2)], 0.8, darker(colour, 0.93))


def fields(frame: Frame, dice: Dice) -> None:
    """Cover the canvas with farmland: rectangles of soil and crops with furrows."""
    reach = frame.canvas.reach
    for y, height in spans(-reach, reach, lambda: dice.uniform(60, 150)):
        for x, width in spans(-reach, reach, lambda: dice.uniform(80, 220)):
            field = rectangle(x, y, x + width, y + height)
            colour = cover(frame, dice.choice((Material.GRASS, Material.GRASS, Material.SOIL)), dice, field)
            step, along = dice.uniform(5, 9), dice.chance(0.5)
            for i in range(1, int((height if along else width) / step)):
                left, top = (x, y + i * step) if along else (x + i * step, y)
                right, bottom = (x + width, top) if along else (left, y + height)
                frame.line([(left, top), (right, bottom)], 1.4, darker(colour, 0.93))
            frame.line([*field, (x, y)], 2.0, (112, 116, 78))


def photograph(canvas: Canvas, dice: Dice, noise: np.random.Generator) -> NDArray[np.uint8]:
    """Photograph the canvas: textured ground, tinted and uneven light, blur and noise."""
    height, width = canvas.height, canvas.width
    material = np.where(canvas.instances > 0, np.uint8(Material.OBJECT), canvas.material)
    table = np.array([_TEXTURE[m] for m in Material], dtype=np.float32)
    coarse, middle = _patches(noise, height, width, 60, 60), _patches(noise, height, width, 12, 12)
    ripples = _patches(noise, height, width, 3, 9)
    fine = noise.standard_normal((height, width), dtype=np.float32)
    light = np.ones((height, width), dtype=np.float32)
    for i, field in enumerate((coarse, middle, fine, ripples)):
        light += table[:, i][material] * field
    image = np.asarray(canvas.picture.reduce(canvas.zoom)) * light[..., None]

    warmth = dice.uniform(-0.05, 0.05)
    gain = dice.uniform(0.84, 1.12)
    image *= np.array([gain * (1 + warmth), gain, gain * (1 - warmth)], dtype=np.float32)
    slope_x, slope_y = dice.uniform(-0.08, 0.08), dice.uniform(-0.08, 0.08)
    image *= (
        1
        + slope_x * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        + slope_y * np.linspace(-1, 1, height, dtype=np.float32)[:, None, None]
    )
    haze = dice.uniform(0.0, 0.12)
    image += haze * (np.float32(196) - image)
    picture = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(dice.uniform(0.2, 0.75))
    )
    sigma = dice.uniform(1.2, 3.4)
    grain = noise.standard_normal((height, width, 3), dtype=np.float32) * np.float32(sigma)
    return np.clip(np.asarray(picture, dtype=np.float32) + grain, 0, 255).astype(np.uint8)


def _patches(noise: np.random.Generator, height: int, width: int, down: int, across: int) -> NDArray[np.float32]:
    """Smooth noise of unit contrast, with patches of the given size in pixels."""
    coarse = noise.standard_normal((height // down + 3, width // across + 3), dtype=np.float32)
    smooth = Image.fromarray(coarse).resize(
        (coarse.shape[1] * across, coarse.shape[0] * down), Image.Resampling.BICUBIC
    )
    return np.asarray(smooth)[down : down + height, across : across + width]
