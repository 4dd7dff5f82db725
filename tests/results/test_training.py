"""The mark of a row: seen, unknown or zero-shot, and why."""

import json

import pytest
from PIL import Image

from earthinstruct import evaluate, load_dataset, score
from earthinstruct.cli import main
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.results import judge_training, method_info, read_result, training_note
from earthinstruct.testing import check_method

WEB = "; these come from the web or are not public, and cannot be checked: "


@pytest.mark.parametrize(
    ("declared", "dataset", "expected"),
    [
        (["dior"], "dior-test", "seen: the method was trained on images of DIOR with their labels"),
        (
            {"counter": ["unknown"], "encoder": ["remoteclip-seg-4"], "proposer": []},
            "nwpu",
            "seen: the encoder was trained on SEG-4 of RemoteCLIP, which holds images of ISPRS Vaihingen without "
            "their labels, and NWPU VHR-10 holds such images too",
        ),
        (
            {"counter": ["scenes"], "encoder": ["scenes"]},
            "scenes",
            "seen: the counter and the encoder were trained on images of the drawn scenes with their labels",
        ),
        (
            {"counter": ["vrsbench"], "encoder": ["git-10m"]},
            "dior",
            "seen: the counter was trained on VRSBench, which holds images of DIOR with their labels; the encoder was "
            "trained on Git-10M, which holds images of DIOR without their labels, according to a list by others",
        ),
        (None, "dior", "unknown: the method does not say what it was trained on"),
        (["unknown"], "dior", "unknown: what the method was trained on is not known"),
        (["coco", "unknown"], "dior", "unknown: what else the method was trained on is not known"),
        (
            {"counter": ["unknown"], "proposer": ["unknown"], "encoder": ["coco", "unknown"]},
            "dior",
            "unknown: what the counter and the proposer were trained on is not known; what else the encoder was "
            "trained on is not known",
        ),
        (["coco", "dio"], "dior", "unknown: 'dio' is not in the table of training sets, did you mean 'dior'?"),
        ([], "dior", "zero-shot: it was not trained"),
        ([], "mine", "zero-shot: it was not trained"),
        (["coco"], "nwpu", "zero-shot: no set that it was trained on is known to hold images of NWPU VHR-10"),
        (
            {"detector": ["coco", "webli"]},
            "dior",
            f"zero-shot: no set that it was trained on is known to hold images of DIOR{WEB}WebLI",
        ),
    ],
)
def test_marks_of_named_datasets(declared, dataset, expected):
    assert str(judge_training(declared, dataset)) == expected


@pytest.mark.parametrize(
    ("images_from", "expected"),
    [
        (None, "unknown: dataset mine does not say which sets all its images are from"),
        (["unknown"], "unknown: dataset mine does not say which sets all its images are from"),
        ([], "zero-shot: no set that it was trained on is known to hold images of mine"),
        (["fair1m"], "zero-shot: no set that it was trained on is known to hold images of FAIR1M"),
        (["dota"], "seen: the method was trained on iSAID, which holds images of DOTA with their labels"),
        (["dota", "unknown"], "seen: the method was trained on iSAID, which holds images of DOTA with their labels"),
        (["fair1m", "unknown"], "unknown: dataset mine does not say which sets all its images are from"),
        (
            ["fair1m", "DOTA"],
            "unknown: dataset mine has images from a set that is not known: 'DOTA' is not in the table of training "
            "sets, did you mean 'dota'?",
        ),
        (["dota", "DIORR"], "seen: the method was trained on iSAID, which holds images of DOTA with their labels"),
    ],
)
def test_marks_of_datasets_of_users(images_from, expected):
    assert str(judge_training(["isaid"], "mine", images_from)) == expected


def test_a_method_without_training_has_seen_nothing_of_any_set():
    assert judge_training([], "mine", ["DIORR"]).mark == "zero-shot"


def test_a_dataset_of_the_suite_cannot_declare_its_images_away():
    assert judge_training(["dior"], "dior", []).mark == "seen"


def test_a_result_keeps_what_the_method_declares_and_a_control_needs_nothing(constant, dataset, tmp_path, capsys):
    constant.describe = lambda: {"training_data": ("coco", "unknown")}
    evaluation = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs")
    (kept,) = (read_result(folder / "result.json") for folder in evaluation.folders)
    assert kept.method.training_data == ["coco", "unknown"]
    assert "training data: unknown: what else the method was trained on is not known" in str(evaluation)
    controls = evaluate("empty", dataset, setting="open_ended", output=tmp_path / "runs")
    assert controls.results[0].training is None
    assert "training data" not in str(controls)


def test_a_dataset_says_where_its_images_are_from(constant, dataset, tmp_path):
    annotations = tmp_path / "set" / "annotations.json"
    content = json.loads(annotations.read_text())
    annotations.write_text(json.dumps(content | {"info": {"images_from": ["dota"], "year": 2020}}))
    constant.describe = lambda: {"training_data": ["isaid"]}
    (result,) = evaluate(constant, annotations, setting="open_ended", output=tmp_path / "runs").results
    assert result.task.dataset.images_from == ("dota",)
    assert result.training.mark == "seen"
    annotations.write_text(json.dumps(content | {"info": {"images_from": "dota"}}))
    with pytest.raises(DataError, match=r"info.images_from is 'dota'; expected a list of names"):
        evaluate(constant, annotations, setting="open_ended", output=tmp_path / "others")


@pytest.mark.parametrize(
    ("place", "text", "expected"),
    [
        ("", "dota\n", ("dota",)),
        ("", "dota, fair1m\nunknown\n", ("dota", "fair1m", "unknown")),
        ("", "none", ()),
        ("..", "dota", ("dota",)),  # as the class names of the splits of one folder
        ("../../..", "dota", None),
    ],
)
def test_a_file_says_where_the_images_of_a_folder_are_from(tmp_path, place, text, expected):
    folder = tmp_path / "sets" / "quays" / "val"
    folder.mkdir(parents=True)
    Image.new("RGB", (10, 20)).save(folder / "a.png")
    (folder / "a.txt").write_text("0 0.5 0.5 0.2 0.1\n")
    (folder / "classes.txt").write_text("ship\n")
    (folder / "boxes.csv").write_text("a.png,1,2,3,5,ship\n")
    (folder / place / "images_from.txt").write_text(text)
    assert load_dataset(folder).images_from == expected
    assert load_dataset(folder / "boxes.csv").images_from == expected


def test_what_the_coco_file_says_itself_goes_before_the_file_beside_it(constant, dataset, tmp_path):
    annotations = tmp_path / "set" / "annotations.json"
    beside = tmp_path / "set" / "images_from.txt"
    beside.write_text("dota")
    assert load_dataset(annotations).images_from == ("dota",)
    content = json.loads(annotations.read_text())
    annotations.write_text(json.dumps(content | {"info": {"images_from": []}}))
    assert load_dataset(annotations).images_from == ()
    annotations.write_text(json.dumps(content))
    beside.write_text(" \n")
    with pytest.raises(DataError, match=r"images_from.txt is empty; write the training sets .* or `none`"):
        load_dataset(annotations)


def test_predictions_of_others_are_declared_where_they_are_scored(constant, dataset, tmp_path):
    (folder,) = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs").folders
    assert score(folder, dataset, "open_ended").method.training_data is None
    again = score(folder, dataset, "open_ended", training_data="dior, coco")
    assert again.method.training_data == ["dior", "coco"]
    assert score(folder, dataset, "open_ended", training_data="none").method.training_data == []
    with pytest.raises(EarthInstructError, match="names of training sets are empty; give"):
        score(folder, dataset, "open_ended", training_data="")


@pytest.mark.parametrize("declared", ["dior", 3, ["dior", 3], {"encoder": "dior"}])
def test_a_malformed_declaration_is_named(constant, declared):
    constant.describe = lambda: {"training_data": declared}
    with pytest.raises(DataError, match=r"describe\(\) is malformed.*training_data"):
        method_info(constant)


@pytest.mark.parametrize(
    ("described", "note"),
    [
        ({}, "describe() has no training_data, so that leaderboards mark every row unknown; `earthinstruct list"),
        (
            {"training_data": ["imagnet"]},
            "'imagnet' is not in the table of training sets, did you mean 'imagenet'?; `earthinstruct list",
        ),
        ({"training_data": ["unknown"]}, None),
        ({"training_data": {"encoder": ["coco"], "counter": []}}, None),
    ],
)
def test_the_conformance_kit_asks_for_it_without_a_failure(constant, described, note):
    constant.describe = lambda: described
    (check,) = [check for check in check_method(constant) if check.name == "training data"]
    assert check.problem is None
    assert (check.note is None) == (note is None) and (note is None or check.note.startswith(note))
    assert str(check).startswith("ok  " if note is None else "note")


def test_a_control_is_not_asked():
    assert "training data" not in [check.name for check in check_method("oracle")]


def test_validate_asks_for_it(constant, dataset, tmp_path, capsys):
    (folder,) = evaluate(constant, dataset, setting="open_ended", output=tmp_path / "runs").folders
    arguments = ["validate", str(folder), "--dataset", str(tmp_path / "set" / "annotations.json")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "note     training data: the result does not say what the method was trained on" in out
    score(folder, dataset, "open_ended", training_data="coco", output=tmp_path / "runs")
    assert main(arguments) == 0
    assert "ok       training data: unknown: dataset set does not say" in capsys.readouterr().out


def test_names_outside_the_table():
    assert training_note([], "") is training_note(["unknown", "coco"], "") is None
    note = training_note({"a": ["x", "coco"], "b": ["x"]}, "")
    assert note == "'x' is not in the table of training sets; `earthinstruct list training-sets` shows the names"


def test_the_list_of_sets(capsys):
    assert main(["list", "training-sets"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lae-1m ")]
    assert "dior, dota" in line and "arXiv 2408.09110" in line
