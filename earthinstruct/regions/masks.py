"""Check, decode and encode instance masks in COCO run-length encoding, many at a time.

A COCO mask is a list of run lengths over the pixels in column-major order, background first. This module decodes
whole lists of encodings at once into foreground runs (half-open intervals of pixel positions) and computes on
those runs without drawing a mask. It rejects malformed encodings, because the decoder of pycocotools trusts its input.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, chain, pairwise
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import ContractError

_LONGEST_TOKEN = 7  # characters of one run length: 35 bits, more than any image has pixels
MOST_PIXELS = (1 << 32) - 1  # largest image and mask: run lengths are 32-bit numbers in pycocotools
_LOW_BITS = bytes((((code - 48) & 0x1F ^ 0x10) - 0x10) % 256 for code in range(256))  # of a character, with the sign
_MORE = bytes(range(48 + 0x20, 48 + 0x40))  # characters that are not the last of their run length
_CHARACTERS_AT_ONCE = 200_000  # small enough for the arrays to stay in the cache of a core


class RLE(TypedDict):
    """One mask: `size` is (height, width) in pixels, `counts` the compressed COCO string."""

    size: tuple[int, int]
    counts: str


@dataclass(frozen=True)
class MaskRuns:
    """The foreground runs of n masks, in flat arrays.

    Attributes:
        heights: int64 (n,), pixels.
        widths: int64 (n,), pixels.
        offsets: int64 (n + 1,); mask i has the runs from offsets[i] up to offsets[i + 1].
        starts: (runs,), first pixel of each run in column-major order. int32, or int64 if an image has 2^31 pixels
            or more.
        ends: (runs,), one past the last pixel of each run; same type as `starts`.
    """

    heights: NDArray[np.int64]
    widths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    starts: NDArray[np.int32] | NDArray[np.int64]
    ends: NDArray[np.int32] | NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.heights)

    @staticmethod
    def join(groups: Sequence[MaskRuns]) -> MaskRuns:
        """Concatenate groups of masks."""
        columns = [
            np.concatenate([np.zeros(0, dtype=kind), *(getattr(group, name) for group in groups)])
            for name, kind in (("heights", np.int64), ("widths", np.int64), ("starts", np.int32), ("ends", np.int32))
        ]
        runs = np.concatenate([np.zeros(1, dtype=np.int64), *(np.diff(group.offsets) for group in groups)])
        return MaskRuns(columns[0], columns[1], np.cumsum(runs), columns[2], columns[3])

    @property
    def owners(self) -> NDArray[np.int64]:
        """int64 (runs,): index of the mask of each run."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """int64 (n,): number of foreground pixels of each mask."""
        areas = np.zeros(len(self), dtype=np.int64)
        filled = np.flatnonzero(np.diff(self.offsets))
        areas[filled] = np.add.reduceat(self.ends - self.starts, self.offsets[filled], dtype=np.int64)
        return areas

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """float64 (n, 4): bounding box of each mask, COCO xywh in pixels; zeros for an empty mask."""
        boxes = np.zeros((len(self), 4))
        runs = np.diff(self.offsets)
        filled = np.flatnonzero(runs)
        if not len(filled):
            return boxes
        first, last = self.offsets[filled], self.offsets[filled + 1] - 1
        # runs are in order, so the first one and the last one reach the outermost columns
        height = self.heights[filled]
        left, right = self.starts[first] // height, (self.ends[last] - 1) // height
        top, bottom, column = self._rows
        # a run that crosses a column edge reaches the bottom of one column and the top of the next
        wraps = bottom > column
        if wraps.any():
            top, bottom = np.where(wraps, 0, top), np.minimum(bottom, column)
        highest, lowest = np.minimum.reduceat(top, first), np.maximum.reduceat(bottom, first)
        boxes[filled] = np.stack([left, highest, right - left + 1, lowest - highest], axis=1)
        return boxes

    @cached_property
    def _rows(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """The row in which each run starts, and one past the last, as if no column ended; the height of its image."""
        column = np.repeat(self.heights.astype(self.starts.dtype), np.diff(self.offsets))
        top = self.starts % column
        return top, top + (self.ends - self.starts), column

    @cached_property
    def by_column(self) -> NDArray[np.bool_]:
        """Which masks have exactly one run in each column that they reach, like most outlines: bool (n,)."""
        runs = np.diff(self.offsets)
        filled = np.flatnonzero(runs)
        top, bottom, column = self._rows
        inside = bottom <= column
        follows = np.diff(self.starts - top) == column[1:]  # the run before, of the same mask, by one column
        follows[self.offsets[filled[1:]] - 1] = True
        inside[1:] &= follows
        found = np.zeros(len(self), dtype=bool)
        if len(filled):
            found[filled] = np.logical_and.reduceat(inside, self.offsets[filled])
        return found

    def hold(self, index: NDArray[np.int64], points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether masks hold points: bool (k,). A point lies in the pixel (floor(x), floor(y)).

        Args:
            index: int64 (k,), the mask that each point is looked for in.
            points: float64 (k, 2), x and y in pixels.
        """
        x, y = np.floor(points).T
        width, height = self.widths[index], self.heights[index]
        inside = np.flatnonzero((x >= 0) & (x < width) & (y >= 0) & (y < height))
        pixel = x[inside].astype(np.int64) * height[inside] + y[inside].astype(np.int64)
        # the runs of all masks one after another: the last one that starts at or before the pixel
        span = int((self.widths * self.heights).max(initial=0)) + 1
        run = np.searchsorted(self.owners * span + self.starts, index[inside] * span + pixel, side="right") - 1
        own = run >= self.offsets[index[inside]]
        held = np.zeros(len(index), dtype=bool)
        held[inside[own]] = pixel[own] < self.ends[run[own]]
        return held

    def drawn(self, index: int) -> tuple[NDArray[np.bool_], int, int]:
        """Draw one mask inside its bounding box: bool (height, width), and the box's left column and top row."""
        x, y, width, height = (int(side) for side in self.boxes[index])
        own = slice(self.offsets[index], self.offsets[index + 1])
        column = int(self.heights[index])
        # +1 where a run starts and -1 where it ends: the running sum is 1 inside the mask
        edges = np.zeros(width * column + 1, dtype=np.int8)
        np.add.at(edges, self.starts[own] - x * column, 1)
        np.add.at(edges, self.ends[own] - x * column, -1)
        whole_columns = np.cumsum(edges[:-1], dtype=np.int8).astype(bool).reshape(width, column)
        return whole_columns.T[y : y + height], x, y

    def take(self, indices: NDArray[np.int64]) -> MaskRuns:
        """Select the masks at `indices`, in that order."""
        lengths = np.diff(self.offsets)[indices]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        runs = spans(self.offsets[indices], lengths)
        return MaskRuns(self.heights[indices], self.widths[indices], offsets, self.starts[runs], self.ends[runs])

    def replaced(self, indices: NDArray[np.int64], others: MaskRuns) -> MaskRuns:
        """Replace the masks at `indices` by `others`; returns a copy."""
        chosen = np.arange(len(self))
        chosen[indices] = len(self) + np.arange(len(others))
        return MaskRuns.join([self, others]).take(chosen)

    def encode(self) -> list[RLE]:
        """Encode each mask as compressed COCO RLE."""
        encoded = []
        for i, size in enumerate(zip(self.heights.tolist(), self.widths.tolist(), strict=True)):
            own = slice(self.offsets[i], self.offsets[i + 1])
            edges = np.stack([self.starts[own], self.ends[own]], axis=1, dtype=np.int64).ravel()
            counts = np.diff(edges, prepend=0, append=size[0] * size[1])
            encoded.append(_compress(counts if counts[-1] else counts[:-1], size))
        return encoded


def spans(first: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Count up from each of n numbers: `lengths[i]` numbers from `first[i]` on, for each i in turn.

    >>> spans(np.array([7, 3]), np.array([2, 3])).tolist()
    [7, 8, 3, 4, 5]
    """
    end = np.cumsum(lengths)
    return np.repeat(first - end + lengths, lengths) + np.arange(end[-1] if len(end) else 0)


class StoredMasks:
    """Stores the masks of many images as compressed text and decodes them on `take`.

    Memory: the text plus 16 bytes a mask.
    """

    def __init__(self) -> None:
        self._sizes = array("I")  # height and width of each mask
        self._ends = array("q", [0])  # the text of mask i runs from _ends[i] to _ends[i + 1]
        self._text = bytearray()

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, rles: Iterable[RLE]) -> None:
        """Append valid masks of fewer than 2^32 pixels."""
        rles = list(rles)
        texts = [rle["counts"] for rle in rles]
        self._sizes.extend(chain.from_iterable(rle["size"] for rle in rles))
        self._ends.extend(list(accumulate(map(len, texts), initial=len(self._text)))[1:])
        self._text += "".join(texts).encode("ascii")

    def take(self, indices: NDArray[np.int64]) -> MaskRuns:
        """Decode the masks at `indices`, in that order."""
        sizes = np.frombuffer(self._sizes, dtype=np.uintc).reshape(-1, 2)[indices].astype(np.int64)
        ends = np.frombuffer(self._ends, dtype=np.int64)
        places = zip(ends[indices].tolist(), ends[indices + 1].tolist(), strict=True)
        texts = [self._text[start:end].decode("ascii") for start, end in places]
        return _decode(texts, sizes, lambda i: _decode_one(RLE(size=tuple(sizes[i].tolist()), counts=texts[i]), "mask"))


def check_rle(value: object, where: str) -> RLE:
    """Check the structure of one mask and return it as an `RLE`. The runs themselves are not decoded.

    Args:
        value: a mapping with `size`, two positive integers, and `counts`, text or the ASCII bytes of pycocotools.
        where: the name of the mask in errors.

    Raises:
        ContractError: `value` is not such a mapping.
    """
    if not isinstance(value, Mapping) or "size" not in value or "counts" not in value:
        raise ContractError(f"{where} must be a COCO RLE with 'size' and 'counts', got {_short(value)}")
    size, counts = value["size"], value["counts"]
    if (
        not isinstance(size, Sequence)
        or isinstance(size, str | bytes)
        or len(size) != 2
        or not all(isinstance(side, int | np.integer) and not isinstance(side, bool) and side > 0 for side in size)
    ):
        raise ContractError(f"{where}: size must be two positive integers (height, width), got {_short(size)}")
    if int(size[0]) * int(size[1]) > MOST_PIXELS:
        raise ContractError(f"{where}: size {_short(size)} has more than {MOST_PIXELS} pixels")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", errors="replace")
    if not isinstance(counts, str):
        raise ContractError(
            f"{where}: counts must be a compressed RLE string, got {_short(counts)}; "
            "encode a list of run lengths with earthinstruct.regions.masks.encode_runs"
        )
    return RLE(size=(int(size[0]), int(size[1])), counts=counts)


def are_sizes(sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether all of n tuples (height, width) are sizes of masks, as `check_rle` has them."""
    try:
        sides = np.fromiter(chain.from_iterable(sizes), dtype=np.int64).reshape(-1, 2)
    except OverflowError:
        return False
    # divided, because the product of two large sides may overflow
    return not ((sides < 1).any() or (sides[:, 0] > MOST_PIXELS // np.maximum(sides[:, 1], 1)).any())


def decode_rles(rles: Sequence[RLE], where: str = "masks", *, before: int = 0) -> MaskRuns:
    """Decode n compressed encodings at once.

    Args:
        rles: n masks, each checked by `check_rle`.
        where: the name of the list in errors.
        before: number of masks in the list before these, added to the index in errors.

    Raises:
        ContractError: a size is invalid, or an encoding has a character outside the alphabet, ends in the middle of a
            run length, has a negative run, or does not cover exactly height x width pixels. The message names the
            index.
    """
    try:
        sizes = np.fromiter(chain.from_iterable(rle["size"] for rle in rles), dtype=np.int64).reshape(-1, 2)
    except OverflowError:
        sizes = np.zeros((len(rles), 2), dtype=np.int64)  # decoded one by one, which names the mask
    return _decode([rle["counts"] for rle in rles], sizes, lambda i: _decode_one(rles[i], f"{where}[{before + i}]"))


def _decode(texts: Sequence[str], sizes: NDArray[np.int64], alone: Callable[[int], MaskRuns]) -> MaskRuns:
    """Decode n encodings, many at once; `alone` decodes one of those that `_decode_many` does not."""
    length = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    cuts = np.flatnonzero(np.diff(np.cumsum(length) // _CHARACTERS_AT_ONCE)) + 1
    groups: list[MaskRuns] = []
    for low, high in pairwise([0, *cuts.tolist(), len(texts)]):
        joined = "".join(texts[low:high])
        some = _decode_many(joined.encode(), length[low:high], sizes[low:high]) if joined.isascii() else None
        groups += [some] if some is not None else map(alone, range(low, high))
    return MaskRuns.join(groups)


def _decode_many(text: bytes, length: NDArray[np.int64], sizes: NDArray[np.int64]) -> MaskRuns | None:
    """Decode n encodings, which lie one after another in `text`.

    Returns:
        The masks. None: one of them is malformed, or 32 bits do not hold its runs. Sums are taken modulo 2^32; they are
        exact, because no step is larger than 2^31, so that the first one which is too large is negative.
    """
    if not text or not length.all() or (sizes < 1).any() or (sizes[:, 0] >= (1 << 31) // sizes[:, 1]).any():
        return None
    code = np.frombuffer(text, dtype=np.uint8) - np.uint8(48)
    end = np.cumsum(length)
    if code.max() > 0x3F or (code[end - 1] & 0x20).any():  # other characters, or half of a run length
        return None

    # a token (one run length) has five bits a character, lowest first; 0x20 means that more characters follow,
    # and 0x10 of the last character is the sign
    more = np.flatnonzero(code > 0x1F)
    ends = np.flatnonzero(np.diff(more, append=len(code) + 1) > 1)  # of the tokens of several characters
    last = more[ends] + 1
    before = np.diff(ends, prepend=-1)  # their other characters
    if (before > 5).any():
        return None
    value = np.frombuffer(text.translate(_LOW_BITS, _MORE), dtype=np.int8).astype(np.int32)
    n_before = np.cumsum(before)
    long = value[last - n_before]
    for place in range(1, int(before.max(initial=0)) + 1):
        some = slice(None) if place == 1 else np.flatnonzero(before >= place)
        long[some] = (long[some] << 5) | (code[last[some] - place] & 0x1F)
    value[last - n_before] = long

    # runs alternate between background and foreground; a last background without a foreground is set aside
    stop = end - np.append(0, n_before)[np.searchsorted(last, end)]  # where the tokens of each mask end
    tokens = np.diff(stop, prepend=0)
    pairs = tokens // 2
    odd = np.flatnonzero(tokens % 2)
    remainder = np.zeros(len(length), dtype=np.int32)
    remainder[odd] = value[stop[odd] - 1]
    value = np.delete(value, stop[odd] - 1)
    filled = np.flatnonzero(pairs)
    first = (np.cumsum(pairs) - pairs)[filled]
    final = first + pairs[filled] - 1
    # from the fourth run on, COCO stores the difference to the run two places before; running sums undo it. The second
    # background is stored as it is.
    background, foreground = value[::2].copy(), value[1::2].copy()
    several = first < final
    background[first[several] + 1] -= background[first[several]]
    _sum_within(background, first)
    _sum_within(foreground, first)
    odd = odd[pairs[odd] > 1]
    remainder[odd] += background[(np.cumsum(pairs) - 1)[odd]]
    covered = sizes[:, 0] * sizes[:, 1] - remainder
    ends = background + foreground
    ends[first[1:]] -= covered[filled[:-1]].astype(np.int32)
    np.cumsum(ends, out=ends)
    starts = ends - foreground
    if min(part.min(initial=0) for part in (background, foreground, starts, ends, remainder)) < 0:
        return None
    if (ends[final] != covered[filled]).any() or (covered[pairs == 0] != 0).any():
        return None
    offsets = np.append(0, np.cumsum(pairs))
    empty = foreground == 0
    if empty.any():
        offsets -= np.append(0, np.cumsum(empty))[offsets]
        starts, ends = starts[~empty], ends[~empty]
    return MaskRuns(sizes[:, 0], sizes[:, 1], offsets, starts, ends)


def _sum_within(values: NDArray[np.int32], first: NDArray[np.int64]) -> None:
    """Replace values by their running sums within groups, modulo 2^32; `first` are the first indices of the groups."""
    if len(first):
        values[first[1:]] -= np.add.reduceat(values, first, dtype=np.int32)[:-1]
        np.cumsum(values, out=values)


def _decode_one(rle: RLE, where: str) -> MaskRuns:
    """Decode one encoding.

    Raises:
        ContractError: as in `decode_rles`.
    """
    (height, width), counts = rle["size"], rle["counts"]

    def refuse(why: str) -> ContractError:
        return ContractError(f"{where}: {why} (size {[height, width]}, counts {_short(counts)})")

    if height < 1 or width < 1 or height * width > MOST_PIXELS:
        raise refuse(f"size must be two positive integers with at most {MOST_PIXELS} pixels")
    if not counts:
        raise refuse("counts is empty")
    runs: list[int] = []
    value = digits = 0
    for character in counts:
        code = ord(character) - 48
        if not 0 <= code <= 0x3F:
            raise refuse("counts has a character outside the alphabet")
        if digits == _LONGEST_TOKEN:
            raise refuse("counts has an oversized run length")
        value |= (code & 0x1F) << (5 * digits)
        digits += 1
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << (5 * digits)
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        if runs[-1] < 0:
            raise refuse("counts has a negative run length")
        value = digits = 0
    if digits:
        raise refuse("counts ends in the middle of a run length")
    if sum(runs) != height * width:
        raise refuse("the run lengths do not add up to height x width")
    edges = np.cumsum(runs)[: len(runs) // 2 * 2].reshape(-1, 2)
    edges = edges[edges[:, 0] < edges[:, 1]].astype(np.int32 if height * width < 1 << 31 else np.int64)
    return MaskRuns(np.array([height]), np.array([width]), np.array([0, len(edges)]), edges[:, 0], edges[:, 1])


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def encode_runs(counts: Sequence[int], size: tuple[int, int]) -> RLE:
    """Compress a list of run lengths (uncompressed COCO RLE), background first.

    Args:
        counts: run lengths in pixels, column-major, background first.
        size: (height, width) in pixels.

    Raises:
        ContractError: a run is negative or not an integer, the size is invalid, or the runs do not add up to
            height x width.
    """
    for i, count in enumerate(counts):
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise ContractError(f"run length {i} must be an integer >= 0, got {_short(count)}")
    check_rle({"size": size, "counts": ""}, "mask")
    if sum(counts) != size[0] * size[1]:
        raise ContractError(f"run lengths add up to {sum(counts)} pixels; expected {size[0]} x {size[1]} of the mask")
    return _compress(counts, size)


def _compress(counts: Sequence[int] | NDArray[np.int64], size: tuple[int, int]) -> RLE:
    from pycocotools import mask as coco_mask

    return check_rle(coco_mask.frPyObjects({"size": size, "counts": counts}, *size), "mask")


def encode_polygons(polygons: Sequence[Sequence[float]], size: tuple[int, int], where: str) -> RLE:
    """Encode the pixels inside any of several polygons, as pycocotools does.

    Args:
        polygons: for each polygon, `x, y` of its points in turn.
        size: (height, width) of the image.
        where: names the polygons in errors.

    Raises:
        ContractError: a polygon has fewer than 3 points, an odd number of coordinates, or a point far outside.
    """
    from pycocotools import mask as coco_mask

    height, width = size
    limit = 2 * max(size)
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ContractError(f"{where} has a polygon of {len(polygon)} numbers; expected x, y of at least 3 points")
        far = max(polygon, key=abs)
        if not abs(far) <= limit:
            raise ContractError(f"{where} has a polygon vertex at {far}, far outside its {width}x{height} image")
    masks = coco_mask.frPyObjects(polygons, height, width)
    whole = masks[0] if len(masks) == 1 else coco_mask.merge(masks)
    return RLE(size=size, counts=whole["counts"].decode())


def encode_outlines(outlines: Sequence[Sequence[float]], size: tuple[int, int]) -> list[RLE]:
    """Encode the pixels inside each of n polygons in one image size; each is one that `encode_polygons` takes."""
    from pycocotools import mask as coco_mask

    return [RLE(size=size, counts=mask["counts"].decode()) for mask in coco_mask.frPyObjects(outlines, *size)]


def encode_mask(mask: NDArray[np.bool_]) -> RLE:
    """Encode a boolean mask of shape (height, width).

    >>> encode_mask(np.array([[False, True], [True, True]]))
    {'size': (2, 2), 'counts': '13'}
    """
    return encode_masks(np.asarray(mask)[None])[0]


def encode_masks(masks: NDArray[np.bool_]) -> list[RLE]:
    """Encode boolean masks of shape (n, height, width)."""
    from pycocotools import mask as coco_mask

    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ContractError(f"masks must have shape (n, height, width), got {masks.shape}")
    stack = np.asfortranarray(masks.transpose(1, 2, 0), dtype=np.uint8)
    return [check_rle(rle, f"masks[{i}]") for i, rle in enumerate(coco_mask.encode(stack))]


def encode_part(part: NDArray[np.bool_], x: int, y: int, size: tuple[int, int]) -> RLE:
    """Encode a mask that is given in a part of its image, without drawing the image.

    Args:
        part: bool (height, width), all that the mask covers.
        x: the column of the image where the part begins.
        y: the row likewise.
        size: height and width of the image.

    >>> encode_part(np.array([[True]]), 1, 0, (2, 2)) == encode_mask(np.array([[False, True], [False, False]]))
    True
    """
    columns = np.pad(part.T, ((0, 0), (1, 1))).astype(np.int8)
    edges = np.diff(columns, axis=1)
    column, start = np.nonzero(edges == 1)  # column by column, so the runs are in order
    end = np.nonzero(edges == -1)[1]
    offset = (column + x) * size[0] + y
    starts, ends = offset + start, offset + end
    inner = np.intersect1d(starts, ends)  # of runs that go on in the next column
    starts, ends = np.setdiff1d(starts, inner), np.setdiff1d(ends, inner)
    one = np.array([0], dtype=np.int64)
    return MaskRuns(one + size[0], one + size[1], np.array([0, len(starts)]), starts, ends).encode()[0]


def resize_masks(rles: Sequence[RLE], height: int, width: int) -> list[RLE]:
    """The same masks in an image of another size. A pixel is inside if its middle is.

    A mask that is smaller than a pixel, and holds the middle of none, becomes the pixel where its own middle lies.
    """
    runs = decode_rles(rles)
    resized = []
    for i in range(len(runs)):
        part, x, y = runs.drawn(i)
        down, across = height / int(runs.heights[i]), width / int(runs.widths[i])
        rows, top = _nearest(y, part.shape[0], down, height)
        columns, left = _nearest(x, part.shape[1], across, width)
        drawn = part[np.ix_(rows, columns)]
        if part.any() and not drawn.any():
            inside = np.argwhere(part)[np.count_nonzero(part) // 2]
            top, left = int((y + inside[0] + 0.5) * down), int((x + inside[1] + 0.5) * across)
            drawn = np.ones((1, 1), dtype=bool)
        resized.append(encode_part(drawn, left, top, (height, width)))
    return resized


def _nearest(first: int, length: int, factor: float, side: int) -> tuple[NDArray[np.int64], int]:
    """For each row or column of a new image: which one of the part of an old one lies there, and where these begin."""
    start = max(0, int(first * factor) - 1)
    stop = min(side, int((first + length) * factor) + 2)
    old = ((np.arange(start, stop) + 0.5) / factor).astype(np.int64) - first
    inside = np.flatnonzero((old >= 0) & (old < length))
    return old[inside], start + (int(inside[0]) if len(inside) else 0)


def decode_mask(rle: RLE) -> NDArray[np.bool_]:
    """Draw one mask: bool (height, width).

    >>> decode_mask({'size': (2, 2), 'counts': '13'}).tolist()
    [[False, True], [True, True]]
    """
    inside, x, y = decode_rles([check_rle(rle, "mask")], "mask").drawn(0)
    drawn = np.zeros(rle["size"], dtype=bool, order="F")
    drawn[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return drawn
