"""Check, decode, encode and intersect instance masks in COCO run-length encoding, many at a time.

A COCO mask is a list of run lengths over the pixels in column-major order, background first. This module decodes
whole lists of encodings at once into foreground runs (half-open intervals of pixel positions) and computes on
those runs without drawing a mask. It rejects malformed encodings, because the decoder of pycocotools trusts its input.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from earthinstruct.errors import ContractError

_LONGEST_TOKEN = 7  # characters of one run length: 35 bits, more than any image has pixels
MOST_PIXELS = (1 << 32) - 1  # largest image and mask: run lengths are 32-bit numbers in pycocotools
_RUNS_AT_ONCE = 200_000
_CHARACTERS_AT_ONCE = 100_000  # small enough for the arrays to stay in the cache of a core


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
        total: NDArray[np.int64] = np.concatenate([[0], np.cumsum(self.ends - self.starts)])
        return total[self.offsets[1:]] - total[self.offsets[:-1]]

    @cached_property
    def boxes(self) -> NDArray[np.float64]:
        """float64 (n, 4): bounding box of each mask, COCO xywh in pixels; zeros for an empty mask."""
        boxes = np.zeros((len(self), 4))
        filled = np.flatnonzero(np.diff(self.offsets))
        if not len(filled):
            return boxes
        height = self.heights.astype(self.starts.dtype)[self.owners]
        left, top = np.divmod(self.starts, height)
        right, bottom = np.divmod(self.ends - 1, height)
        # a run that crosses a column edge reaches the bottom of one column and the top of the next
        wraps = right > left
        at = self.offsets[filled]
        x0 = np.minimum.reduceat(left, at)
        y0 = np.minimum.reduceat(np.where(wraps, 0, top), at)
        x1 = np.maximum.reduceat(right, at)
        y1 = np.maximum.reduceat(np.where(wraps, height - 1, bottom), at)
        boxes[filled] = np.stack([x0, y0, x1 - x0 + 1, y1 - y0 + 1], axis=1)
        return boxes

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
        for rle in rles:
            self._sizes.extend(rle["size"])
            self._text += rle["counts"].encode("ascii")
            self._ends.append(len(self._text))

    def take(self, indices: NDArray[np.int64]) -> MaskRuns:
        """Decode the masks at `indices`, in that order."""
        sizes = np.frombuffer(self._sizes, dtype=np.uintc).reshape(-1, 2)[indices].tolist()
        ends = np.frombuffer(self._ends, dtype=np.int64)
        spans = zip(ends[indices].tolist(), ends[indices + 1].tolist(), strict=True)
        return decode_rles(
            [
                RLE(size=(height, width), counts=self._text[start:end].decode("ascii"))
                for (height, width), (start, end) in zip(sizes, spans, strict=True)
            ]
        )


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
    length = np.array([len(rle["counts"]) for rle in rles], dtype=np.int64)
    group = np.cumsum(length) // _CHARACTERS_AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(rles)]
    return MaskRuns.join(
        [_decode(rles[low:high], where, before + low) for low, high in itertools.pairwise(bounds)] if len(rles) else []
    )


def _decode(rles: Sequence[RLE], where: str, before: int) -> MaskRuns:
    """Decode one or more encodings; `before` is the number of masks in the list before them."""
    n = len(rles)
    try:
        sizes = np.array([rle["size"] for rle in rles], dtype=np.int64).reshape(n, 2)
    except OverflowError:
        sizes = np.array([[min(max(side, 0), MOST_PIXELS) for side in rle["size"]] for rle in rles]).reshape(n, 2)

    def refuse(bad: NDArray[np.bool_], why: str, lengths: NDArray[np.int64] | None = None) -> None:
        """Raise an error that names the first bad mask.

        `bad` has one entry a mask, or with `lengths`, `lengths[i]` entries for mask i (its characters, its runs).
        """
        if bad.any():
            at = int(np.argmax(bad))
            i = at if lengths is None else int(np.searchsorted(np.cumsum(lengths), at, side="right"))
            raise ContractError(
                f"{where}[{before + i}]: {why} (size {list(rles[i]['size'])}, counts {_short(rles[i]['counts'])})"
            )

    # divide, because the product of two large sides could overflow int64
    too_large = (sizes < 1).any(axis=1) | (sizes[:, 0] > MOST_PIXELS // np.maximum(sizes[:, 1], 1))
    refuse(too_large, f"size must be two positive integers with at most {MOST_PIXELS} pixels")
    text = [rle["counts"].encode("utf-8", "surrogatepass") for rle in rles]  # bytes of non-ASCII characters are > 127
    length = np.array([len(counts) for counts in text], dtype=np.int64)
    refuse(length == 0, "counts is empty")
    # characters below "0" wrap around to values above 63
    code = np.frombuffer(b"".join(text), dtype=np.uint8) - np.uint8(48)
    text_end = np.cumsum(length)
    refuse(code > 63, "counts has a character outside the alphabet", length)
    refuse(code[text_end - 1] & 0x20 != 0, "counts ends in the middle of a run length")

    # a token (one run length) has five bits a character, lowest first; 0x20 means that more characters follow,
    # and 0x10 of the last character is the sign
    last = np.flatnonzero(code & 0x20 == 0)
    digits = np.diff(last, prepend=-1)
    tokens = np.diff(np.searchsorted(last, text_end), prepend=0)
    refuse(digits > _LONGEST_TOKEN, "counts has an oversized run length", tokens)
    value = (code[last] & 0x1F).astype(np.int64)
    value -= (value & 0x10) << 1
    for place in range(1, int(digits.max())):
        longer = np.flatnonzero(digits > place)
        value[longer] = (value[longer] << 5) | (code[last[longer] - place] & 0x1F)

    # the runs of a mask alternate between background and foreground: store them as pairs, and give a last background
    # without a partner an empty foreground
    odd = tokens % 2
    pairs = (tokens + odd) // 2
    pair_end = np.cumsum(pairs)
    first = pair_end - pairs
    unpaired = (pair_end - 1)[odd == 1]
    paired = np.ones(2 * int(pair_end[-1]), dtype=bool)
    paired[2 * unpaired + 1] = False
    runs = np.zeros(len(paired), dtype=np.int64)
    runs[paired] = value
    background, foreground = runs[::2].copy(), runs[1::2].copy()
    # from the fourth run on, COCO stores the difference to the run two places before; running sums undo it. The first
    # background is left out of its sum, because the second one is stored as it is.
    leading = background[first]
    background[first] = 0
    background, foreground = _sums_within(background, first, pairs), _sums_within(foreground, first, pairs)
    background[first], foreground[unpaired] = leading, 0
    refuse((background < 0) | (foreground < 0), "counts has a negative run length", pairs)
    end = _sums_within(background + foreground, first, pairs)
    total = end[pair_end - 1]
    refuse(total != sizes[:, 0] * sizes[:, 1], "the run lengths do not add up to height x width")

    filled = foreground > 0
    starts, ends = (end - foreground)[filled], end[filled]
    offsets = np.concatenate([[0], np.cumsum(filled)])[np.concatenate([[0], pair_end])]
    if total.max() < 1 << 31:
        return MaskRuns(sizes[:, 0], sizes[:, 1], offsets, starts.astype(np.int32), ends.astype(np.int32))
    return MaskRuns(sizes[:, 0], sizes[:, 1], offsets, starts, ends)


def _sums_within(values: NDArray[np.int64], first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Running sums within groups; group i has `counts[i]` values starting at `first[i]`."""
    sums = np.cumsum(values)
    return sums - np.repeat(sums[first] - values[first], counts)


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


def decode_mask(rle: RLE) -> NDArray[np.bool_]:
    """Draw one mask: bool (height, width).

    >>> decode_mask({'size': (2, 2), 'counts': '13'}).tolist()
    [[False, True], [True, True]]
    """
    inside, x, y = decode_rles([check_rle(rle, "mask")], "mask").drawn(0)
    drawn = np.zeros(rle["size"], dtype=bool, order="F")
    drawn[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return drawn


def intersections(
    a: MaskRuns, b: MaskRuns, a_index: NDArray[np.int64], b_index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the foreground pixels shared by pairs of masks.

    Args:
        a: n masks.
        b: m masks.
        a_index: int64 (pairs,), index into `a`.
        b_index: int64 (pairs,), index into `b`; both masks of a pair have the same size.

    Returns:
        int64 (pairs,), pixels.
    """
    shared = np.zeros(len(a_index), dtype=np.int64)
    runs = np.diff(a.offsets)[a_index] + np.diff(b.offsets)[b_index]
    group = np.cumsum(runs) // _RUNS_AT_ONCE
    for pairs in np.split(np.arange(len(a_index)), np.flatnonzero(np.diff(group)) + 1):
        if len(pairs):
            near, of_pair = np.unique(b_index[pairs], return_inverse=True)
            shared[pairs] = _shared_pixels(a, b.take(near), a_index[pairs], of_pair)
    return shared


def _shared_pixels(
    a: MaskRuns, b: MaskRuns, a_index: NDArray[np.int64], b_index: NDArray[np.int64]
) -> NDArray[np.int64]:
    """`intersections` of one group of pairs.

    For each run of the mask of `a`, counts the pixels of the mask of `b` before its end and before its start; the
    difference is the overlap of this run.
    """
    if not len(b.starts):
        return np.zeros(len(a_index), dtype=np.int64)
    # mask * span + position sorts the runs of all masks of `b` in one array, so one binary search serves all
    span = 1 + max(int(b.ends.max(initial=0)), int(a.ends.max(initial=0)))
    keys = b.owners * span + b.starts
    length_before = np.concatenate([[0], np.cumsum(b.ends - b.starts)])
    count = np.diff(a.offsets)[a_index]
    run = spans(a.offsets[a_index], count)
    target = np.repeat(b_index, count)

    def covered(position: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Number of foreground pixels of the target mask before `position`."""
        at = np.searchsorted(keys, target * span + position, side="right") - 1
        inside = at >= b.offsets[target]
        at = np.maximum(at, 0)
        pixels = length_before[at] - length_before[b.offsets[target]] + np.minimum(position, b.ends[at]) - b.starts[at]
        return np.where(inside, pixels, 0)

    pixels = covered(a.ends[run]) - covered(a.starts[run])
    total = np.bincount(np.repeat(np.arange(len(count)), count), weights=pixels, minlength=len(count))
    return total.astype(np.int64)
