"""The drawing surface: paints an antialiased picture, and records the visible object of every pixel.

`objects` defines what objects look like, `layouts` where they are placed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from earthinstruct.datasets.scenes.colours import Colour
from earthinstruct.regions import MaskRuns

Point = tuple[float, float]
Polygon = Sequence[Point]
Item = TypeVar("Item")
Pixel = TypeVar("Pixel", bound=np.generic)

# Vertices are rounded to this many steps per pixel before a mask is drawn, and the mask is computed in integers. The
# last digit of sin and cos differs between C libraries and SIMD units. Without the grid it could flip a pixel, and the
# ground truth would differ between machines.
GRID = 16

# an object is not drawn if less of it, or of an object below it, would be visible
LEAST_VISIBLE_SHARE = 0.35  # of an object's area
LEAST_VISIBLE_PIXELS = 40


class Material(IntEnum):
    """The material of the ground, which determines its texture and what may stand on it."""

    GRASS = 0
    SOIL = 1
    ASPHALT = 2
    CONCRETE = 3
    WATER = 4
    ROOF = 5
    TREE = 6
    OBJECT = 7


class Dice:
    """Random choices from one seed.

    Only the raw bits of PCG64 are used, because numpy guarantees these, but not the streams of its distributions.
    """

    def __init__(self, *seed: int) -> None:
        self._bits = np.random.PCG64(np.random.SeedSequence(seed))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Draw a number in [low, high)."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def integer(self, low: int, high: int) -> int:
        """Draw an integer in [low, high], both included."""
        return low + int(self.uniform() * (high - low + 1))

    def chance(self, probability: float) -> bool:
        """Return True with this probability."""
        return self.uniform() < probability

    def choice(self, items: Sequence[Item]) -> Item:
        """Choose one of the items."""
        return items[self.integer(0, len(items) - 1)]

    def shuffled(self, items: Iterable[Item]) -> list[Item]:
        """Put the items into random order."""
        return sorted(items, key=lambda _: self.uniform())

    def tint(self, colour: Colour, amount: int) -> Colour:
        """Change the brightness of a colour by up to `amount`, and its hue by less."""
        light = self.uniform(-amount, amount)
        red, green, blue = (min(255, max(0, round(c + light + self.uniform(-amount, amount) / 3))) for c in colour)
        return red, green, blue


def rectangle(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    """The four corners of a rectangle."""
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def centred(length: float, width: float) -> list[Point]:
    """The four corners of a rectangle around the origin, of this length along x."""
    return rectangle(-length / 2, -width / 2, length / 2, width / 2)


def arc(x: float, y: float, rx: float, ry: float, start: float, end: float, steps: int = 24) -> list[Point]:
    """Points on an ellipse from one angle to another, in radians."""
    angles = (start + (end - start) * i / steps for i in range(steps + 1))
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


def disc(x: float, y: float, rx: float, ry: float | None = None, steps: int = 40) -> list[Point]:
    """Points on a whole ellipse."""
    return arc(x, y, rx, rx if ry is None else ry, 0.0, 2 * math.pi, steps)[:-1]


def positions(start: float, stop: float, step: float | Callable[[], float]) -> Iterator[float]:
    """Positions from `start` up to `stop`. A step that is a function is drawn after the position is used."""
    while start < stop:
        yield start
        start += step() if callable(step) else step


def spans(start: float, stop: float, length: Callable[[], float]) -> Iterator[tuple[float, float]]:
    """Adjoining spans from `start` until `stop` is covered, as start and length; each length is drawn before use."""
    while start < stop:
        drawn = length()
        yield start, drawn
        start += drawn


@dataclass(frozen=True)
class Stencil:
    """The pixels whose centres lie inside some polygons.

    Attributes:
        top: first row of `inside`, pixels.
        left: first column of `inside`, pixels.
        inside: bool (rows, columns), cropped to the canvas.
        area: number of pixels, including those outside the canvas.
    """

    top: int
    left: int
    inside: NDArray[np.bool_]
    area: int

    def of(self, layer: NDArray[Pixel]) -> NDArray[Pixel]:
        """The view of a canvas layer at the place of `inside`."""
        rows, columns = self.inside.shape
        return layer[self.top : self.top + rows, self.left : self.left + columns]


def rasterise(polygons: Iterable[Polygon], height: int, width: int) -> Stencil:
    """Rasterise the union of polygons (even-odd each), exactly: in integers once the vertices are on the grid."""
    grids = [np.array([(round(x * GRID), round(y * GRID)) for x, y in polygon], dtype=np.int64) for polygon in polygons]
    vertices = np.concatenate(grids)
    left, top = (int(v) for v in vertices.min(axis=0) // GRID)
    right, bottom = (int(v) for v in -(-vertices.max(axis=0) // GRID))
    inside = np.zeros((bottom - top + 1, right - left + 1), dtype=bool)
    centre = (np.arange(top, bottom + 1, dtype=np.int64) * GRID + GRID // 2)[None, :]
    for grid in grids:
        x0, y0 = grid[:, 0:1], grid[:, 1:2]
        x1, y1 = np.roll(x0, -1, axis=0), np.roll(y0, -1, axis=0)
        edge, row = np.nonzero((y0 <= centre) != (y1 <= centre))
        x0, y0, x1, y1 = x0[edge, 0], y0[edge, 0], x1[edge, 0], y1[edge, 0]
        down = np.where(y1 > y0, 1, -1)
        rise = (y1 - y0) * down
        # the first pixel whose centre is at or right of the crossing: ceil((crossing - GRID / 2) / GRID)
        crossing = (x0 - GRID // 2) * rise + (centre[0, row] - y0) * (x1 - x0) * down
        first = -(-crossing // (rise * GRID)) - left
        flips = np.zeros(inside.shape, dtype=np.int32)
        np.add.at(flips, (row, first), 1)
        inside |= np.cumsum(flips, axis=1) % 2 == 1
    area = int(np.count_nonzero(inside))
    y0c, x0c = min(max(top, 0), height), min(max(left, 0), width)
    y1c, x1c = min(max(bottom + 1, y0c), height), min(max(right + 1, x0c), width)
    return Stencil(y0c, x0c, inside[y0c - top : y1c - top, x0c - left : x1c - left], area)


class Canvas:
    """A picture being drawn, with the visible pixels of each object. It is drawn on through a `Frame`.

    Args:
        width: width in pixels.
        height: height in pixels.
        sun: the shift of a shadow per pixel of height, in pixels.

    Attributes:
        zoom: pixels of the picture per pixel of the final image; less for large images, to save memory.
        picture: the picture, supersampled.
        material: uint8 (height, width), material of the ground.
        instances: int32 (height, width), number of the visible object from 1, or 0.
        labels: category of each object, in drawing order.
    """

    def __init__(self, width: int, height: int, sun: Point) -> None:
        self.width, self.height, self.sun = width, height, sun
        self.zoom = 3 if max(width, height) <= 1024 else 2
        self.picture = Image.new("RGB", (width * self.zoom, height * self.zoom))
        self.draw = ImageDraw.Draw(self.picture, "RGBA")
        self.material = np.full((height, width), Material.GRASS, dtype=np.uint8)
        self.instances = np.zeros((height, width), dtype=np.int32)
        self.labels: list[str] = []
        self._areas: list[int] = [0]
        self._visible: list[int] = [0]

    @property
    def reach(self) -> float:
        """Half the diagonal in pixels. Points farther from the centre are not visible."""
        return math.hypot(self.width, self.height) / 2

    def add(self, label: str, stencil: Stencil, over: Collection[str]) -> bool:
        """Add an object, unless it would hide too much of another; returns whether it was added."""
        if not self.cover(stencil, over, LEAST_VISIBLE_SHARE):
            return False
        self.labels.append(label)
        self._areas.append(stencil.area)
        self._visible.append(int(np.count_nonzero(stencil.inside)))
        stencil.of(self.instances)[stencil.inside] = len(self.labels)
        return True

    def cover(self, stencil: Stencil, over: Collection[str] | None, keep: float) -> bool:
        """Cover objects of the categories `over` (None: of any), if a share `keep` of each stays visible."""
        below = stencil.of(self.instances)[stencil.inside]
        numbers, pixels = np.unique(below[below > 0], return_counts=True)
        lost = list(zip(numbers.tolist(), pixels.tolist(), strict=True))
        for number, count in lost:
            left = self._visible[number] - count
            if over is not None and self.labels[number - 1] not in over:
                return False
            if left < LEAST_VISIBLE_PIXELS or left < keep * self._areas[number]:
                return False
        for number, count in lost:
            self._visible[number] -= count
        return True

    def masks(self) -> MaskRuns:
        """The visible pixels of each object, in the order of `labels`."""
        flat = self.instances.T.ravel()
        cuts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
        owner = flat[cuts[:-1]]
        runs = np.argsort(owner, kind="stable")[np.count_nonzero(owner == 0) :]
        count = len(self.labels)
        offsets = np.searchsorted(owner[runs], np.arange(1, count + 2))
        return MaskRuns(np.full(count, self.height), np.full(count, self.width), offsets, cuts[runs], cuts[runs + 1])


@dataclass(frozen=True)
class Frame:
    """A local coordinate system on a canvas, rotated, scaled and moved, to draw in.

    Attributes:
        canvas: the canvas.
        x: origin, pixels from the left edge.
        y: origin, pixels from the upper edge.
        angle: radians, clockwise as seen on the screen.
        scale: pixels per local unit.
    """

    canvas: Canvas
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0
    scale: float = 1.0

    def points(self, local: Iterable[Point]) -> list[Point]:
        """Convert local coordinates to pixels."""
        cos, sin = math.cos(self.angle) * self.scale, math.sin(self.angle) * self.scale
        return [(self.x + cos * x - sin * y, self.y + sin * x + cos * y) for x, y in local]

    def at(self, x: float, y: float, turn: float = 0.0, scale: float = 1.0) -> Frame:
        """Make a frame with its origin at local (x, y), further rotated and scaled."""
        ((px, py),) = self.points([(x, y)])
        return Frame(self.canvas, px, py, self.angle + turn, self.scale * scale)

    def paint(self, polygon: Polygon, colour: Colour, material: Material | None = None, alpha: int = 255) -> None:
        """Fill a polygon of the picture; with a material, also set the ground there."""
        self.canvas.draw.polygon(self._zoomed(polygon), fill=(*colour, alpha))
        if material is not None:
            stencil = self._rasterised([polygon])
            stencil.of(self.canvas.material)[stencil.inside] = material

    def line(self, points: Polygon, width: float, colour: Colour, alpha: int = 255) -> None:
        """Draw a line, with its width in pixels. The ground truth does not change."""
        pixels = max(1, round(width * self.canvas.zoom))
        joint = "curve" if pixels > 2 else None
        self.canvas.draw.line(self._zoomed(points), fill=(*colour, alpha), width=pixels, joint=joint)

    def shadow(self, polygons: Sequence[Polygon], height: float, alpha: int = 110) -> None:
        """Draw the shadow of a body of this height (pixels)."""
        zoomed = [np.array(self._zoomed(outline)) for outline in polygons]
        picture = self.canvas.picture
        shift = np.array(self.canvas.sun) * height * self.canvas.zoom
        corners = np.concatenate([polygon + move for polygon in zoomed for move in (0 * shift, shift)])
        left, top = (max(0, math.floor(v) - 1) for v in corners.min(axis=0))
        right, bottom = (math.ceil(v) + 2 for v in corners.max(axis=0))
        right, bottom = min(right, picture.width), min(bottom, picture.height)
        if right <= left or bottom <= top:
            return
        mask = Image.new("L", (right - left, bottom - top))
        draw = ImageDraw.Draw(mask)
        steps = max(1, math.ceil(math.hypot(*shift) / 3))
        for polygon in zoomed:
            for i in range(steps + 1):
                draw.polygon([tuple(p) for p in (polygon + shift * (i / steps) - (left, top)).tolist()], fill=alpha)
        picture.paste((12, 16, 26), (left, top), mask)

    def place(
        self,
        label: str,
        outlines: Sequence[Polygon],
        *,
        least: float = 0.5,
        over: Collection[str] = (),
        on: Material | None = None,
    ) -> bool:
        """Add an object to the ground truth, unless it or an object that it covers would be hardly visible.

        Args:
            label: its category.
            outlines: polygons whose union is the object.
            least: the share of its area that must be on the canvas.
            over: categories that it may partly cover.
            on: the material that it must stand on; None for any.

        Returns:
            Whether the object was added. Otherwise it must not be painted.
        """
        stencil = self._rasterised(outlines)
        visible = np.count_nonzero(stencil.inside)
        if visible < LEAST_VISIBLE_PIXELS or visible < least * stencil.area:
            return False
        if on is not None:
            suitable = stencil.of(self.canvas.material)[stencil.inside] == on
            if np.count_nonzero(suitable) < 0.97 * visible:
                return False
        return self.canvas.add(label, stencil, over)

    def hide(self, polygon: Polygon, keep: float) -> bool:
        """Cover objects by a tree; refused if less than a share `keep` of one would stay visible."""
        stencil = self._rasterised([polygon])
        if not self.canvas.cover(stencil, None, keep):
            return False
        stencil.of(self.canvas.instances)[stencil.inside] = 0
        return True

    def is_free(self, polygon: Polygon, *on: Material) -> bool:
        """Whether the polygon holds no object and only ground of the given materials."""
        stencil = self._rasterised([polygon])
        if stencil.of(self.canvas.instances)[stencil.inside].any():
            return False
        return bool(np.isin(stencil.of(self.canvas.material)[stencil.inside], on).all())

    def _rasterised(self, polygons: Sequence[Polygon]) -> Stencil:
        return rasterise(map(self.points, polygons), self.canvas.height, self.canvas.width)

    def _zoomed(self, polygon: Polygon) -> list[Point]:
        # Pillow measures from the centre of the first pixel, we from its corner
        return [(x * self.canvas.zoom - 0.5, y * self.canvas.zoom - 0.5) for x, y in self.points(polygon)]
