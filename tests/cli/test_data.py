"""`data` as a user meets it."""

import io
import json
import shlex

import pytest

from earthinstruct.datasets import dior_mini

from ..datasets.fake_dior import make_dior, make_samrs
from ..datasets.fake_nwpu import make_nwpu


def test_data_scenes_makes_a_dataset_of_any_size(call, method, tmp_path):
    code, out, _ = call("data", "scenes", "load", "--images", "2", "--size", "128", "--objects", "5")
    assert code == 0
    assert "annotations.json" in out
    assert len(json.loads((tmp_path / "load" / "annotations.json").read_text())["images"]) == 2


def test_prepare_dior_prints_counts_beside_the_published_ones(call, method, tmp_path):
    root, masks = make_dior(tmp_path / "my dior"), make_samrs(tmp_path / "ins")
    code, out, _ = call("data", "prepare", "dior", root, "--masks", masks)
    assert code == 0
    rows = {line.split()[0]: line.split() for line in out.splitlines() if line}
    assert rows["ship"] == ["ship", "1", "14323", "-14322"]
    assert rows["all"] == ["all", "3", "35439", "-35436"]
    assert "20 of 20 categories differ from the published counts" in out
    assert "3 images, published are 5863" in out
    command = f"earthinstruct evaluate --method NAME --dataset dior --data '{root}'"
    assert f"next: {command}" in out
    code, out, _ = call(*shlex.split(command.replace("NAME", f"{method}:Finds"))[1:], "--limit", "1")
    assert code == 0
    code, out, _ = call("list", "datasets", "--data", root, "--json")
    assert {row["name"]: row["missing"] for row in json.loads(out)}["dior"] is None


def test_prepare_dior_without_masks_says_so(call, tmp_path):
    root = make_dior(tmp_path / "dior")
    code, out, _ = call("data", "prepare", "dior", root, "--split", "train")
    assert code == 0
    assert "no counts by category are published for this split" in out
    assert "mask scores will be null" in out
    assert f"--dataset {root / 'earthinstruct-dior-train.json'}" in out


def test_prepare_nwpu_of_the_reference_has_no_difference(call, reference, tmp_path):
    annotations = reference / "nwpu" / "annotations.json"
    code, out, _ = call("data", "prepare", "nwpu", tmp_path, "--annotations", annotations)
    assert code == 0
    assert "differ" not in out.replace("difference", "")
    assert "650 images, as published" in out


def test_doctor_names_the_command_for_dior(call, monkeypatch):
    monkeypatch.delenv("EARTHINSTRUCT_DATA", raising=False)
    code, out, _ = call("doctor")
    assert code == 0
    assert "missing  dataset dior not found: looked for data/dior/earthinstruct-dior-val.json" in out
    assert "earthinstruct data prepare dior ROOT" in out
    assert "earthinstruct data fetch dior-mini" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["prepare", "dior", "none"], "DIOR split list not found: looked for none/ImageSets/Main/val.txt"),
        (["prepare", "dior", "none", "--gt-boxes", "masks"], "unknown choice of boxes (--gt-boxes) 'masks'; did you"),
        (["prepare", "nwpu", "none"], "folder none does not exist"),
        (["prepare", "nwpu", "nwpu", "--gt-boxes", "mask"], "give it with --annotations FILE"),
        (["prepare", "coco", "none"], "coco"),
        (["fetch", "dior", "--yes"], "unknown dataset to fetch 'dior'; did you mean 'dior-mini'?"),
        (["fetch", "dior-mini"], "nothing was fetched; answer y, or give --yes, to accept the licence"),
    ],
)
def test_a_mistake_gets_one_line(call, monkeypatch, tmp_path, arguments, message):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    make_nwpu(tmp_path / "nwpu")
    code, _, err = call("data", *arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err


def test_fetch_shows_the_licence_and_asks_first(call, monkeypatch, tmp_path, no_server):
    monkeypatch.setattr(dior_mini, "URL", f"{no_server}/")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, _ = call("data", "fetch", "dior-mini")
    assert code == 2
    assert "Apache License 2.0" in out
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    code, out, err = call("data", "fetch", "dior-mini")
    assert code == 2
    assert f"{no_server}/LISCENSE.txt cannot be fetched" in err
    assert not list((tmp_path / "data").iterdir())
