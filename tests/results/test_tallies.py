"""`tallies.npz`: what a comparison reads in place of predictions and ground truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earthinstruct import evaluate
from earthinstruct.errors import DataError
from earthinstruct.metrics import Tally
from earthinstruct.results import TALLIES_FILE, read_result, read_tallies, write_tallies
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
    assert set(stored.tallies) == {"counting", "counting_from_instances", "box", "errors.box"}


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
    write_tallies(tmp_path, result, stored.groups, stored.tallies)
    assert (tmp_path / TALLIES_FILE).read_bytes() == (run / TALLIES_FILE).read_bytes()


def test_a_tally_of_some_images_and_one_of_fractions(run, tmp_path):
    result = read_result(run / "result.json")
    stored = read_tallies(run, result)
    box = stored.tallies["box"]
    some = Tally(box.images[::2], box.categories, {name: column[::2] for name, column in box.columns.items()})
    share = Tally(box.images, box.categories, {"share": np.full((3, 2), 0.1)})
    write_tallies(tmp_path, result, stored.groups, {"counting": some, "box": box, "extra.share": share})
    found = read_tallies(tmp_path, result).tallies
    assert found["counting"].images == box.images[::2]
    np.testing.assert_array_equal(found["counting"].columns["fn"], some.columns["fn"])
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
    with pytest.raises(DataError, match=r"tallies\.npz cannot be used: .*; delete it to compare by the predictions"):
        compare(run, run)


def test_arrays_that_do_not_fit_are_refused(run):
    for bad in (np.zeros((3, 3)), np.full((3, 2), "x"), np.full((3, 2), None)):
        with np.load(run / TALLIES_FILE) as stored:
            arrays = dict(stored)
        np.savez(run / "bad.npz", allow_pickle=True, **{**arrays, "box/tp": bad})
        folder = run / "bad"
        folder.mkdir(exist_ok=True)
        (run / "bad.npz").rename(folder / TALLIES_FILE)
        with pytest.raises(DataError, match=r"tallies\.npz cannot be used: (box/tp|Object arrays cannot be loaded)"):
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
    np.savez(run / TALLIES_FILE, **arrays, **{"counting/images": np.array(places)})
    with pytest.raises(DataError, match=r"counting/images must hold indices of 3 images"):
        read_tallies(run, read_result(run / "result.json"))


def test_a_file_without_the_tally_of_boxes_is_refused(run):
    with np.load(run / TALLIES_FILE) as stored:
        arrays = {name: values for name, values in stored.items() if not name.startswith("box/")}
    np.savez(run / TALLIES_FILE, **arrays)
    with pytest.raises(DataError, match="the tally of boxes is missing"):
        read_tallies(run, read_result(run / "result.json"))
