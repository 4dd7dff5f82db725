"""Run-length masks against pycocotools on random masks, and malformed encodings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from earthinstruct.errors import ContractError
from earthinstruct.regions import (
    StoredMasks,
    check_rle,
    decode_mask,
    decode_rles,
    encode_masks,
    encode_part,
    encode_runs,
    intersections,
    masks,
    overlaps,
    resize_masks,
)

stacks = st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)).flatmap(lambda shape: arrays(bool, shape))


@given(stacks)
def test_decode_encode_area_and_box_are_those_of_pycocotools(masks: np.ndarray) -> None:
    rles = encode_masks(masks)
    runs = decode_rles(rles)
    theirs = [{"size": list(rle["size"]), "counts": rle["counts"].encode()} for rle in rles]
    assert runs.encode() == rles
    np.testing.assert_array_equal(runs.areas, coco_mask.area(theirs))
    np.testing.assert_array_equal(runs.areas, masks.sum(axis=(1, 2)))
    np.testing.assert_array_equal(runs.boxes, coco_mask.toBbox(theirs))
    for mask, rle in zip(masks, rles, strict=True):
        np.testing.assert_array_equal(decode_mask(rle), mask)


@given(stacks)
def test_intersections_are_those_of_drawn_masks(masks: np.ndarray) -> None:
    runs = decode_rles(encode_masks(masks))
    a, b = (index.ravel() for index in np.indices((len(masks), len(masks))))
    np.testing.assert_array_equal(intersections(runs, runs, a, b), (masks[a] & masks[b]).sum(axis=(1, 2)))


def test_take_keeps_order_and_repeats() -> None:
    masks = np.random.default_rng(0).random((5, 7, 4)) < 0.5
    chosen = np.array([3, 0, 3])
    assert decode_rles(encode_masks(masks)).take(chosen).encode() == encode_masks(masks[chosen])


def test_no_masks() -> None:
    runs = decode_rles([])
    assert len(runs) == 0
    assert runs.boxes.shape == (0, 4)
    assert runs.encode() == []


@pytest.mark.parametrize(
    ("counts", "why"),
    [
        ("", "empty"),
        ("1\x7f", "outside the alphabet"),
        ("P", "middle of a run length"),
        ("PPPPPPPPPP0", "oversized"),
        ("O", "negative run"),
        ("13", "add up"),
    ],
)
def test_malformed_encodings_are_refused(counts: str, why: str) -> None:
    with pytest.raises(ContractError, match=why):
        decode_rles([{"size": (4, 4), "counts": counts}])


@pytest.mark.parametrize(
    "size", [(0, 4), (-1, -1), (4,), "44", (1.5, 2), (True, 4), None, (1 << 40, 1 << 40)], ids=repr
)
def test_sizes_that_no_image_has_are_refused(size: object) -> None:
    with pytest.raises(ContractError, match="size"):
        check_rle({"size": size, "counts": "04"}, "mask")


@pytest.mark.parametrize("counts", [[-1, 17], [1.5, 14.5], [True, 15], [3], [1 << 80]], ids=repr)
def test_run_lengths_that_do_not_cover_the_mask_are_refused(counts: list[int]) -> None:
    with pytest.raises(ContractError, match="run length"):
        encode_runs(counts, (4, 4))


@given(
    st.lists(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12), max_size=4), st.integers(1, 6)
)
def test_any_text_is_either_refused_or_a_mask_of_the_right_size(texts: list[str], side: int) -> None:
    try:
        runs = decode_rles([{"size": (side, side), "counts": text} for text in texts])
    except ContractError:
        return
    assert len(runs) == len(texts)
    assert (runs.starts < runs.ends).all()
    assert (runs.ends <= side * side).all()


numbers = st.one_of(st.integers(-40, 40), st.integers(-(1 << 34), (1 << 34) - 1), st.integers(0, 1 << 31))


def written(numbers: list[int]) -> str:
    """The characters of run lengths, or of differences of run lengths."""
    text = ""
    for number in numbers:
        while True:
            bits, number = number & 0x1F, number >> 5
            more = number != (-1 if bits & 0x10 else 0)
            text += chr(48 + bits + 0x20 * more)
            if not more:
                break
    return text


@st.composite
def encodings(draw: st.DrawFn) -> dict:
    """Valid ones of large and small masks, and such as nearly are."""
    lengths = draw(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 1 << 31)), min_size=1, max_size=9))
    differences = [run - (lengths[i - 2] if i > 2 else 0) for i, run in enumerate(lengths)]
    if draw(st.booleans()):
        differences[draw(st.integers(0, len(lengths) - 1))] = draw(numbers)
    pixels = draw(st.one_of(st.just(sum(lengths)), st.integers(0, 1 << 33))) or 1
    return {"size": (1, pixels), "counts": written(differences) + draw(st.sampled_from(["", "", "", "p", "P", "0"]))}


@given(st.lists(encodings(), min_size=1, max_size=4))
def test_many_masks_are_decoded_as_one_by_one(rles: list[dict]) -> None:
    try:
        expected = [masks._decode_one(rle, "masks[0]") for rle in rles]
    except ContractError:
        expected = None
    texts, sizes = [rle["counts"] for rle in rles], np.array([rle["size"] for rle in rles])
    found = masks._decode_many("".join(texts).encode(), np.array([len(text) for text in texts]), sizes)
    if expected is None:
        assert found is None
        return
    if found is None:  # such numbers are decoded one by one
        assert sizes.max() >= 1 << 30 or max(map(len, texts)) >= 7
    else:
        assert found.encode() == [mask.encode()[0] for mask in expected]


@given(stacks)
def test_many_masks_of_images_are_decoded_at_once(stack: np.ndarray) -> None:
    rles = encode_masks(stack)
    texts = [rle["counts"] for rle in rles]
    sizes = np.array([rle["size"] for rle in rles])
    found = masks._decode_many("".join(texts).encode(), np.array([len(text) for text in texts]), sizes)
    assert found is not None
    assert found.encode() == rles


@pytest.mark.parametrize("size", [(1 << 63, 30), (1 << 40, 1 << 40), (1 << 32, 1 << 32), (-4, -4), (0, 4)], ids=repr)
def test_unchecked_sizes_that_no_image_has_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ContractError, match=r"masks\[1\]: size"):
        decode_rles([{"size": (2, 2), "counts": "13"}, {"size": size, "counts": "`0"}])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = np.random.default_rng(3).random((40, 9, 11)) < 0.4
    rles = encode_masks(stack)
    a, b = (index.ravel() for index in np.indices((40, 40)))
    whole = decode_rles(rles)
    shared = intersections(whole, whole, a, b)
    monkeypatch.setattr(masks, "_CHARACTERS_AT_ONCE", 50)
    monkeypatch.setattr(overlaps, "_RUNS_AT_ONCE", 100)
    parts = decode_rles(rles)
    for name in ("heights", "widths", "offsets", "starts", "ends"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_array_equal(intersections(parts, parts, a, b), shared)
    with pytest.raises(ContractError, match=r"masks\[31\]: counts ends in the middle"):
        decode_rles([*rles[:31], {"size": (9, 11), "counts": "P"}, *rles[31:]])


def test_the_largest_mask_has_as_many_pixels_as_the_largest_image() -> None:
    size = (3, masks.MOST_PIXELS // 3)
    most = size[0] * size[1]
    assert most == masks.MOST_PIXELS
    runs = decode_rles([encode_runs([most - 5, 3, 2], size), encode_runs([1, most - 1], size)])
    assert runs.starts.tolist() == [most - 5, 1]
    assert runs.areas.tolist() == [3, most - 1]
    assert intersections(runs, runs, np.array([0, 1]), np.array([1, 1])).tolist() == [3, most - 1]
    with pytest.raises(ContractError, match="more than 4294967295 pixels"):
        encode_runs([most + 1], (1 << 16, 1 << 16))


def test_replaced_masks() -> None:
    runs = decode_rles(encode_masks(np.eye(6, dtype=bool).reshape(4, 3, 3)))
    assert runs.replaced(np.array([2]), runs.take(np.array([0]))).encode() == [runs.encode()[i] for i in (0, 1, 0, 3)]


@given(stacks, st.data())
def test_stored_masks_are_those_appended_in_any_order(stack: np.ndarray, data: st.DataObject) -> None:
    runs = decode_rles(encode_masks(stack))
    n = len(runs)
    chosen = np.array(data.draw(st.lists(st.integers(0, n - 1), max_size=2 * n)), dtype=np.int64)
    cut = data.draw(st.integers(0, n))
    stored = StoredMasks()
    stored.append(runs.encode()[:cut])
    stored.append(runs.encode()[cut:])
    assert len(stored) == n
    assert stored.take(chosen).encode() == [runs.encode()[i] for i in chosen]


def test_stored_masks_beyond_31_bits() -> None:
    size = (1 << 16, (1 << 16) - 1)
    runs = decode_rles(
        [encode_runs([(1 << 32) - (1 << 16) - 5, 3, 2], size), encode_runs([0, 7, (1 << 16) - 7], (1, 1 << 16))]
    )
    stored = StoredMasks()
    stored.append(runs.encode())
    assert stored.take(np.array([1, 0])).encode() == [runs.encode()[1], runs.encode()[0]]
    assert stored.take(np.array([1])).starts.dtype == np.int32


@settings(max_examples=settings().max_examples // 4)
@given(stacks, st.integers(1, 30), st.integers(1, 30))
def test_masks_in_an_image_of_another_size_are_those_of_the_nearest_pixels(
    masks: np.ndarray, height: int, width: int
) -> None:
    resized = resize_masks(encode_masks(masks), height, width)
    rows = ((np.arange(height) + 0.5) / (height / masks.shape[1])).astype(int)
    columns = ((np.arange(width) + 0.5) / (width / masks.shape[2])).astype(int)
    for rle, mask in zip(resized, masks, strict=True):
        expected = mask[np.ix_(rows, columns)]
        assert tuple(rle["size"]) == (height, width)
        if expected.any() or not mask.any():
            assert np.array_equal(decode_mask(rle), expected)
        else:  # a mask that holds the middle of no pixel is not lost
            assert decode_mask(rle).sum() == 1


@settings(max_examples=settings().max_examples // 4)
@given(stacks)
def test_a_part_is_encoded_as_the_whole(masks: np.ndarray) -> None:
    rles = encode_masks(masks)
    runs = decode_rles(rles)
    assert [encode_part(*runs.drawn(i), masks.shape[1:]) for i in range(len(runs))] == rles
