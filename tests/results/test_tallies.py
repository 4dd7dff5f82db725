"""`tallies.npz`: what a comparison reads in place of predictions and ground truth."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from earthinstruct import evaluate
from earthinstruct.errors import DataError
from earthinstruct.metrics import Tally
from earthinstruct.results import TALLIES_FILE, StoredTallies, read_result, read_tallies, write_tallies
from earthinstruct.scoring import compare


@pytest.fixture
def run(constant, dataset, tmp_path) -> Path:
    """One ship in each image."""
    return evaluate(constant, dataset, setting="open_ended", output=tmp_path).folders[0]


def test_they_add_up_to_the_result(run):
    result = read_result(run / "result.json")
    stored = read_tallies(run, result)
    assert stored.groups == {"all": ("ship", "harbor"), "transport": ("ship",)}
    for name in ("counting", "box"):
        totals = stored.tallies[name].totals
        for c, category in enumerate(stored.tallies[name].categories):
            row = getattr(result.metrics, name).per_category[category]
            assert [totals[column][c] for column in ("tp", "fp", "fn")] == [row.tp, row.fp, row.fn]
    sizes = {f"sizes.box.{size}" for size in ("small", "medium", "large")}
    assert set(stored.tallies) == {"counting", "counting_from_instances", "box", "errors.box", *sizes}


def test_runs_compare_by_them_alone(run, dataset):
    again = compare(run, run, dataset=dataset)
    (run / "predictions.jsonl").rename(run / "moved.jsonl")
    assert compare(run, run) == again  # the dataset `set` has no name here
    (run / TALLIES_FILE).unlink()
    (run / "moved.jsonl").rename(run / "predictions.jsonl")
    assert compare(run, run, dataset=dataset) == again


def test_the_same_tallies_are_the_same_bytes(run, tmp_path):
    result = read_result(run / "result.json")
    stored = read_tallies(run, result)
    write_tallies(tmp_path, result, stored)
    assert (tmp_path / TALLIES_FILE).read_bytes() == (run / TALLIES_FILE).read_bytes()


def test_a_tally_of_some_images_and_one_of_fractions(run, tmp_path):
    result = read_result(run / "result.json")
    stored = read_tallies(run, result)
    box = stored.tallies["box"]
    some = Tally(box.images[::2], box.categories, {name: column[::2] for name, column in box.columns.items()})
    share = Tally(
        box.images, box.categories, {"share": np.full((3, 2), 0.1), "images": np.ones((3, 2)), "a/b": np.ones((3, 2))}
    )
    tallies = {"counting_from_instances": some, "box": box, "extra.share": share}
    write_tallies(tmp_path, result, StoredTallies(tallies, stored.groups))
    found = read_tallies(tmp_path, result).tallies
    assert found["counting_from_instances"].images == box.images[::2]
    np.testing.assert_array_equal(found["counting_from_instances"].columns["fn"], some.columns["fn"])
    assert found["extra.share"].columns.keys() == share.columns.keys()
    np.testing.assert_array_equal(found["extra.share"].columns["share"], share.columns["share"])


def test_those_of_another_result_are_refused(run, constant, dataset, tmp_path):
    constant.name = "other"
    other = evaluate(constant, dataset, setting="open_vocabulary", output=tmp_path).folders[0]
    (run / TALLIES_FILE).write_bytes((other / TALLIES_FILE).read_bytes())
    with pytest.raises(DataError, match=r"tallies\.npz cannot be used: it belongs to another result; delete it"):
        compare(run, run, dataset=dataset)


@pytest.mark.parametrize("damage", [lambda content: content[:200], lambda content: b"", lambda content: b"{}" * 99])
def test_a_damaged_file_is_named(run, damage):
    file = run / TALLIES_FILE
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(DataError, match=r"tallies\.npz cannot be used: .*; delete it, or score the predictions again"):
        compare(run, run)


def test_arrays_that_do_not_fit_are_refused(run):
    for bad in (np.zeros((3, 3)), np.full((3, 2), "x"), np.full((3, 2), None)):
        with np.load(run / TALLIES_FILE) as stored:
            arrays = dict(stored)
        np.savez(run / "bad.npz", allow_pickle=True, **{**arrays, "box/tp": bad})
        folder = run / "bad"
        folder.mkdir(exist_ok=True)
        (run / "bad.npz").rename(folder / TALLIES_FILE)
        with pytest.raises(DataError, match=r"tallies\.npz cannot be used: box/tp"):
            read_tallies(folder, read_result(run / "result.json"))


def test_a_column_that_would_fill_the_memory_is_not_read(run, tmp_path):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = dict(stored)
    np.savez_compressed(tmp_path / TALLIES_FILE, **{**arrays, "box/tp": np.zeros((3, 10_000), dtype=np.int8)})
    with pytest.raises(DataError, match=r"box/tp\.npy has 30128 bytes; expected at most 1072"):
        read_tallies(tmp_path, read_result(run / "result.json"))


def test_whatever_byte_is_damaged_the_file_is_read_or_refused(run):
    file, result = run / TALLIES_FILE, read_result(run / "result.json")
    whole = file.read_bytes()
    refused = 0
    places = range(0, len(whole), 7)
    for place in places:
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            read_tallies(run, result)
        except DataError:
            refused += 1
    assert refused > len(places) / 2  # others are dates and the like


@pytest.mark.parametrize("places", [[-1, 0], [0, 3], [0.0, 1.0]])
def test_places_that_no_image_has_are_refused(run, places):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = dict(stored)
    arrays |= {f"counting/{column}": arrays[f"counting/{column}"][:2] for column in ("tp", "fp", "fn")}
    np.savez(run / TALLIES_FILE, **arrays, **{"images/counting": np.array(places)})
    with pytest.raises(DataError, match=r"images/counting must hold indices of 3 images"):
        read_tallies(run, read_result(run / "result.json"))


def test_a_file_without_the_tally_of_boxes_is_refused(run):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = {name: values for name, values in stored.items() if not name.startswith("box/")}
    np.savez(run / TALLIES_FILE, **arrays)
    with pytest.raises(DataError, match="the tally of boxes is missing"):
        read_tallies(run, read_result(run / "result.json"))


@pytest.mark.parametrize("bad", [np.full((3, 2), -1), np.full((3, 2), np.nan), np.full((3, 2), np.inf)])
def test_numbers_that_are_no_counts_are_refused(run, bad):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = dict(stored)
    np.savez(run / TALLIES_FILE, **{**arrays, "box/fn": bad})
    with pytest.raises(DataError, match="box/fn holds numbers that are no counts"):
        read_tallies(run, read_result(run / "result.json"))


@pytest.mark.parametrize("places", [[0, 0], [[0, 1]]])
def test_an_image_that_is_named_twice_is_refused(run, places):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = dict(stored)
    arrays |= {f"counting/{column}": arrays[f"counting/{column}"][:2] for column in ("tp", "fp", "fn")}
    np.savez(run / TALLIES_FILE, **arrays, **{"images/counting": np.array(places)})
    with pytest.raises(DataError, match=r"images/counting must hold indices of 3 images, each once"):
        read_tallies(run, read_result(run / "result.json"))


def with_array(run, name, content):
    """Replace the bytes of an array of the file, in an otherwise whole archive."""
    with zipfile.ZipFile(run / TALLIES_FILE) as stored:
        entries = {entry: stored.read(entry) for entry in stored.namelist()}
    with zipfile.ZipFile(run / TALLIES_FILE, "w") as file:
        for entry, value in {**entries, name: content}.items():
            file.writestr(entry, value)


def npy(header, values=b"", version=b"\x01\x00"):
    header = header.encode("latin-1")
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + values


FORM = "{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
HEADERS = {
    "unbalanced brackets": "{'descr': '<f" + "[" * 200,
    "a text that does not end": "{'descr': '<i1",
    "a shape that no memory holds": FORM.format(descr="<f4", shape="(5000000000000, 8)"),
    "a shape beyond all numbers": FORM.format(descr="<i1", shape=f"({'9' * 40}, 2)"),
    "a shape without values": FORM.format(descr="<i1", shape=f"({'9' * 40}, 0)"),
    "a negative shape": FORM.format(descr="<i1", shape="(-3, -2)"),
    "a shape of truths": FORM.format(descr="<i1", shape="(True, 6)"),
    "a shape of text": FORM.format(descr="<i1", shape="('3', 2)"),
    "another type": FORM.format(descr="<c16", shape="(3, 2)"),
    "fields": FORM.format(descr="|V6", shape="(1, 1)"),
    "objects": FORM.format(descr="|O", shape="(3, 2)"),
    "no such type": FORM.format(descr="<q99", shape="(3, 2)"),
    "deep brackets": "(" * 5000 + ")" * 5000,
    "a call": FORM.format(descr="<i1", shape="__import__('os').getpid()"),
    "no dictionary": "3",
    "nothing": "",
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("name", ["head.npy", "box/tp.npy"])
def test_a_header_that_lies_is_refused(run, name, header):
    with_array(run, name, npy(header, bytes(6)))
    with pytest.raises(DataError, match=r"tallies\.npz cannot be used: .*; delete it, or score the predictions again"):
        read_tallies(run, read_result(run / "result.json"))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", npy("{}", version=b"\x02\x00"), npy("{}", version=b"\x09\x00")])
def test_what_is_no_array_is_refused(run, content):
    with_array(run, "box/tp.npy", content)
    with pytest.raises(DataError, match=r"cannot be used: box/tp\.npy has "):
        read_tallies(run, read_result(run / "result.json"))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compression_that_could_fill_the_memory_is_refused(run, method):
    with zipfile.ZipFile(run / TALLIES_FILE) as stored:
        entries = {entry: stored.read(entry) for entry in stored.namelist()}
    with zipfile.ZipFile(run / TALLIES_FILE, "w", compression=method) as file:
        for name, value in entries.items():
            file.writestr(name, value)
    with pytest.raises(DataError, match=r"head\.npy is compressed by method \d+; expected deflate"):
        read_tallies(run, read_result(run / "result.json"))


def test_random_damage_is_read_or_refused(run):
    """Bytes of the arrays, whose checksums in the archive are right."""
    random, result = np.random.default_rng(0), read_result(run / "result.json")
    whole = (run / TALLIES_FILE).read_bytes()
    with zipfile.ZipFile(run / TALLIES_FILE) as stored:
        entries = {name: stored.read(name) for name in stored.namelist()}
    tries, refused = int(os.environ.get("EARTHINSTRUCT_FUZZ", 300)), 0
    for _ in range(tries):
        (run / TALLIES_FILE).write_bytes(whole)
        name = random.choice(list(entries))
        content = bytearray(entries[name])
        for place in random.integers(0, min(len(content), 140), random.integers(1, 4)):
            content[place] = random.choice(list(b"[](){}'\"9-,:<\x00 \xff")) if place % 3 else random.integers(256)
        with_array(run, name, bytes(content))
        try:
            read_tallies(run, result)
        except DataError:
            refused += 1
    assert refused > tries / 2  # the others are counts, and blanks of headers
