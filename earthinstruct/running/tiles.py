"""Cuts large images into overlapping tiles."""

from __future__ import annotations

from dataclasses import dataclass

from earthinstruct.errors import EarthInstructError
from earthinstruct.images import Window

TILE = 1024  # pixels a side
TILED_ABOVE = 2048  # a side longer than this is cut unless told otherwise


@dataclass(frozen=True)
class Tiling:
    """How images are cut into tiles.

    Attributes:
        tile: side of the tiles in pixels; 0: images are never cut; None: an image larger than the method takes is cut
            into tiles of the size that it takes.
        overlap: pixels that neighbouring tiles share at least; None: an eighth of a tile.
        cut_above: the longest side that is not cut where a method does not say what it takes; then tiles have `TILE`
            pixels a side. None: no image is cut.

    Raises:
        EarthInstructError: `tile` or `overlap` is out of range.
    """

    tile: int | None = None
    overlap: int | None = None
    cut_above: int | None = None

    def __post_init__(self) -> None:
        if self.tile:
            _refuse_tiles(self.tile, self._shared(self.tile))

    def windows(self, part: Window, largest_side: int | None) -> list[Window]:
        """The tiles of a part of an image; the part itself if it is not cut.

        Args:
            part: the part, in pixels of the image.
            largest_side: the longest side of an image that the method takes; None: it does not say.

        Raises:
            EarthInstructError: the overlap is out of range.
        """
        x0, y0, x1, y1 = part
        tile, longest = self.tile, max(x1 - x0, y1 - y0)
        if tile is None:
            most = largest_side or self.cut_above
            tile = 0 if most is None or longest <= most else largest_side or TILE
        if tile == 0:
            return [part]
        windows = tile_windows(y1 - y0, x1 - x0, tile, self._shared(tile))
        return [(left + x0, top + y0, right + x0, bottom + y0) for left, top, right, bottom in windows]

    def _shared(self, tile: int) -> int:
        return tile // 8 if self.overlap is None else self.overlap


def tile_windows(height: int, width: int, tile: int, overlap: int) -> list[Window]:
    """Windows of one size that cover an image, row by row. The last one of a row or column ends at the image's edge.

    Args:
        height: of the image, pixels.
        width: of the image, pixels.
        tile: side of a window, pixels.
        overlap: least overlap of neighbours, pixels; at most half a tile.

    Raises:
        EarthInstructError: `tile` or `overlap` is out of range.

    >>> tile_windows(10, 18, 10, 2)
    [(0, 0, 10, 10), (8, 0, 18, 10)]
    """
    _refuse_tiles(tile, overlap)
    rows, columns = (_starts(side, tile, overlap) for side in (height, width))
    return [(x, y, min(x + tile, width), min(y + tile, height)) for y in rows for x in columns]


def _refuse_tiles(tile: int, overlap: int) -> None:
    if tile < 1:
        raise EarthInstructError(f"--tile is {tile}; expected pixels, such as {TILE}, or 0: images are not cut")
    if not 0 <= overlap <= tile // 2:
        raise EarthInstructError(
            f"the overlap of tiles of {tile} pixels is {overlap}; expected pixels from 0 to half a tile ({tile // 2})"
        )


def _starts(side: int, tile: int, overlap: int) -> list[int]:
    if side <= tile:
        return [0]
    steps = -(-(side - tile) // max(1, tile - overlap))
    return [round(i * (side - tile) / steps) for i in range(steps + 1)]
