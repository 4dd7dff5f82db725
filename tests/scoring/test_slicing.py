"""Attributes of images, from the dataset or a CSV file, the slices by them, and where their scores go."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from random import Random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from earthinstruct import evaluate, score, validate
from earthinstruct.cli import main
from earthinstruct.datasets import image_attributes, load_dataset
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.metrics import PROTOCOLS, STANDARD
from earthinstruct.results import TALLIES_FILE, read_result, read_suspects, read_tallies
from earthinstruct.scoring import chosen_attributes, compare
from earthinstruct.scoring.slicing import MOST_SLICES, read_attributes, slices_by

SETTING = "open_vocabulary"


@pytest.fixture
def described(coco, write_coco):
    """The small dataset with attributes of its images."""
    for image, sensor, gsd in zip(coco["images"], ("optical", "sar", "optical"), (0.5, 1, 0.5), strict=True):
        image |= {"sensor": sensor, "gsd": gsd, "night": False, "tags": ["a"], "note": None}
    return load_dataset(str(write_coco(coco)))


def test_attributes_of_a_dataset_are_the_scalar_fields_of_its_images(described) -> None:
    assert image_attributes(described) == {
        "width": {0: 30, 7: 30, 9: 30},
        "height": {0: 20, 7: 20, 9: 20},
        "sensor": {0: "optical", 7: "sar", 9: "optical"},
        "gsd": {0: 0.5, 7: 1, 9: 0.5},
        "night": {0: "false", 7: "false", 9: "false"},
        "n_objects": {0: 3, 7: 1, 9: 0},
    }
    assert image_attributes(replace(described, annotation_file=None)).keys() == {"n_objects"}


def test_attributes_of_a_file_are_found_by_id_or_by_file_name(described, tmp_path) -> None:
    file = tmp_path / "attributes.csv"
    file.write_text("image,gsd,season\n0,2,dry\n\n9,3.5,\n")
    expected = {"gsd": {0: 2.0, 9: 3.5}, "season": {0: "dry"}}
    assert read_attributes(file, described) == expected
    file.write_text("image,gsd,season\na.png,2,dry\nc.png,3.5,\n")
    assert read_attributes(file, described) == expected
    chosen = chosen_attributes(["gsd", "sensor"], file, described, STANDARD)  # the file comes first
    assert chosen == {"gsd": expected["gsd"], "sensor": {0: "optical", 7: "sar", 9: "optical"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"starts with ''; expected the line 'image,NAME,\.\.\.'"),
        ("id,gsd\n0,1\n", r"starts with 'id,gsd'; expected the line 'image,NAME,\.\.\.'"),
        ("image,gsd,gsd\n0,1,2\n", r"starts with 'image,gsd,gsd'; expected .* all named differently"),
        ("image,gsd\n0,1\n7\n", r"attributes\.csv, line 3: 1 cell; expected 2, as in the first line"),
        ("image,gsd\n0,1\n0,2\n", r"attributes\.csv, line 3: image '0' is also in line 2; keep one"),
        ("image,gsd\n0,1\n5,2\n", r"attributes\.csv, line 3: dataset 'set' has no image '5'; its images have the ids"),
    ],
)
def test_a_malformed_file_is_named_with_its_line(described, tmp_path, content, message) -> None:
    file = tmp_path / "attributes.csv"
    file.write_text(content)
    with pytest.raises(DataError, match=message):
        read_attributes(file, described)


def test_what_cannot_be_sliced_is_refused(described, tmp_path) -> None:
    with pytest.raises(EarthInstructError, match=r"unknown attribute 'senser'; did you mean 'sensor'\? .*--attributes"):
        chosen_attributes("senser", None, described, STANDARD)
    with pytest.raises(EarthInstructError, match=r"a\.csv are given, but none to slice by; add --slice-by NAME"):
        chosen_attributes((), tmp_path / "a.csv", described, STANDARD)
    with pytest.raises(EarthInstructError, match="slices are scored under protocol 'standard', not 'paper'"):
        chosen_attributes("gsd", None, described, PROTOCOLS["paper"])
    many = {i: f"place {i:02}" for i in range(MOST_SLICES + 1)}
    with pytest.raises(DataError, match=r"attribute 'place' has 21 different texts, such as 'place 00'.*at most 20"):
        slices_by("place", many, range(30))


def test_slices_by_hand() -> None:
    assert slices_by("a", {1: "x", 2: "y", 4: "x"}, [4, 3, 2, 1]) == {"x": [4, 1], "y": [2], "no value": [3]}
    assert slices_by("a", {1: 10, 2: 9, 3: 10}, [1, 2, 3]) == {"9": [2], "10": [1, 3]}
    quarters = slices_by("a", {i: i / 4 for i in range(12)}, range(12))
    assert quarters == {
        "0 to 0.5": [0, 1, 2],
        "0.75 to 1.25": [3, 4, 5],
        "1.5 to 2": [6, 7, 8],
        "2.25 to 2.75": [9, 10, 11],
    }
    # most values are equal: fewer slices
    skewed = {i: 0 if i < 90 else i for i in range(100)}
    assert {name: len(images) for name, images in slices_by("a", skewed, range(100)).items()} == {
        "0 to 0": 90,
        "90 to 99": 10,
    }


@example([0.0, -0.0], Random(0))
@given(st.lists(st.none() | st.floats(-1e6, 1e6) | st.integers(-9, 9), min_size=1, max_size=60), st.randoms())
def test_each_image_is_in_one_slice_and_numbers_do_not_overlap(values, random) -> None:
    attribute = {i: value for i, value in enumerate(values) if value is not None}
    images = list(range(len(values)))
    found = slices_by("a", attribute, images)
    assert sorted(image for part in found.values() for image in part) == images
    spans = [[attribute[i] for i in part] for name, part in found.items() if name != "no value"]
    assert all(max(low) < min(high) for low, high in pairwise(spans))
    assert len(spans) <= 8
    random.shuffle(images)
    assert {name: sorted(part) for name, part in slices_by("a", attribute, images).items()} == found


@pytest.fixture
def run(constant, described, tmp_path):
    """A run with slices by sensor: one ship in each image, that of image 0 right."""
    return evaluate(constant, described, setting=SETTING, output=tmp_path / "runs", slice_by="sensor")


def test_they_are_in_the_result_the_table_and_the_tallies(run) -> None:
    (folder,), (result,) = run.folders, run.results
    assert read_result(folder / "result.json") == result
    optical, sar = result.metrics.slices["sensor"]
    assert (optical.name, optical.n_images, optical.n_objects) == ("optical", 2, 3)
    assert optical.scores["box.f1"].value == pytest.approx((2 * 1 / (2 + 1 + 1) + 0) / 2)  # ship and harbor
    assert (sar.name, sar.n_objects, sar.scores["box.f1"].value) == ("sar", 1, 0)
    assert sar.scores["mask.f1"].reason == result.metrics.mask.f1.reason
    lines = [line.split() for line in str(run).splitlines()]
    assert ["optical", "2", "3", "25.0", "25.0", "-", "-", "12.6", "-"] in lines
    assert read_tallies(folder, result).slices == {"sensor": {"optical": [0, 9], "sar": [7]}}
    assert read_suspects(folder) == []  # of the ships only one in three is found


def test_tables_show_their_intervals_or_say_why_there_are_none(run, described) -> None:
    printed = str(run)
    assert printed.count("95 %: interval over images; without: no interval: fewer than 2 images have objects\n") == 1
    sliced = score(run.folders[0], described, SETTING, slice_by="width")
    (part,) = sliced.metrics.slices["width"]
    lines = [line.split() for line in str(sliced).splitlines()]
    row = lines.index([part.name, "3", "4", "33.3", "16.7", "-", "-", "5.6", "-"])
    ends = (
        f"{100 * bound:.1f}" for score in ("counting.f1", "box.f1", "box.ap_nc50") for bound in part.scores[score].ci95
    )
    assert lines[row + 1] == "95 % {} to {} {} to {} {} to {}".format(*ends).split()


def test_runs_are_compared_over_them(run, constant, described, tmp_path, capsys) -> None:
    constant.name = "other"
    other = evaluate(constant, described, setting=SETTING, output=tmp_path / "runs").folders[0]
    for pair in ((run.folders[0], other), (other, run.folders[0])):
        rows = {(row.score, row.over): row for row in compare(*pair) if row.slice_by == "sensor"}
        assert {over for _, over in rows} == {"optical", "sar"}
        assert rows["box.f1", "optical"].difference.first == rows["box.f1", "optical"].difference.second == 0.25
        assert not rows["box.f1", "optical"].is_group
    assert main(["compare", *map(str, pair)]) == 0
    assert "box.f1       sensor optical" in capsys.readouterr().out


def test_slices_of_one_name_and_other_images_are_not_compared(run, described, tmp_path) -> None:
    file = tmp_path / "other.csv"
    file.write_text("image,sensor\n0,optical\n7,optical\n9,sar\n")
    options = {"slice_by": "sensor", "attributes": file, "name": "other", "output": run.folders[0].parents[2]}
    score(run.folders[0], described, SETTING, **options)
    compared = compare(run.folders[0], run.folders[0].parent / "other")
    assert not any(row.slice_by for row in compared)
    assert [note[:43] for note in compared.notes] == ["no slices by sensor: A and B were sliced in"]


def test_without_tallies_they_are_made_again_or_missed_in_words(run, described, tmp_path) -> None:
    (folder,) = run.folders
    first = compare(folder, folder)
    (folder / TALLIES_FILE).unlink()
    assert compare(folder, folder, dataset=described) == first
    file = tmp_path / "more.csv"
    file.write_text("image,sensor\n0,radar\n7,radar\n")
    options = {"slice_by": "sensor", "attributes": file, "name": "other", "output": folder.parents[2]}
    score(folder, described, SETTING, **options)
    other = folder.parent / "other"
    (other / TALLIES_FILE).unlink()
    compared = compare(other, other, dataset=described)
    assert not any(row.slice_by for row in compared)
    assert compared.notes[0].startswith(
        f"no slices by sensor: {other} has no tallies.npz, and the dataset does not give"
    )
    assert compared.notes[0] in str(compared)


def test_a_result_with_slices_is_not_replaced_by_one_without(run, described) -> None:
    folder = run.folders[0]
    options = {"output": folder.parents[2]}
    with pytest.raises(EarthInstructError, match="slices by sensor would be lost"):
        score(folder, described, SETTING, **options)
    again = score(folder, described, SETTING, slice_by=["sensor", "gsd"], **options)
    assert again.metrics.slices.keys() == {"sensor", "gsd"}
    # the attributes are those of the dataset, so the slices follow from the predictions too
    assert not [finding for finding in validate(folder, dataset=described.annotation_file) if finding.problem]


def test_slices_that_the_dataset_gives_are_validated_and_others_are_refused(run, described, tmp_path) -> None:
    folder = run.folders[0]
    file = tmp_path / "more.csv"
    file.write_text("image,season\n0,dry\n7,wet\n")
    options = {"attributes": file, "name": "other", "output": folder.parents[2]}
    score(folder, described, SETTING, slice_by=["gsd", "season"], **options)
    other = folder.parent / "other"
    findings = {finding.check: finding for finding in validate(other, dataset=described.annotation_file)}
    assert findings["slices"].problem.startswith("by 'season': slices by what the dataset does not say")
    assert findings["scores follow from the predictions"].problem is None
    result = msgspec.json.decode((folder / "result.json").read_bytes())
    result["metrics"]["slices"]["sensor"][0]["scores"]["box.f1"]["value"] = 0.123
    (folder / "result.json").write_bytes(msgspec.json.encode(result))
    findings = {finding.check: finding for finding in validate(folder, dataset=described.annotation_file)}
    assert "sensor" in findings["scores follow from the predictions"].problem


def test_the_command_slices(run, described, tmp_path, capsys) -> None:
    file = tmp_path / "more.csv"
    file.write_text("image,season\n0,dry\n7,wet\n")
    arguments = ["score", str(run.folders[0]), "--dataset", str(described.annotation_file), "--setting", SETTING]
    sliced = ["--slice-by", "season", "--slice-by", "n_objects", "--attributes", str(file), "--no-output"]
    assert main([*arguments, *sliced]) == 0
    printed = capsys.readouterr().out
    names = [line.split("  ")[0] for line in printed.splitlines()]
    assert names[names.index("season") :][1:4] == ["dry", "wet", "no value"]
    assert names[names.index("n_objects") :][1:4] == ["0", "1", "3"]
    np.testing.assert_equal(main([*arguments, "--slice-by", "place", "--no-output"]), 2)
    assert "unknown attribute 'place'" in capsys.readouterr().err
