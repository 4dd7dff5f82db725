"""The page on detectors as plug-ins: its blocks make a distribution that works with what ultralytics returns.

ultralytics is played by a module with the interface of its models and `Results`: they find squares of pure colours.
"""

import json
import re
import sys
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Instruction, check_method, evaluate, missing_for
from earthinstruct.cli import main

sv = pytest.importorskip("supervision")

PAGE = (Path(__file__).parents[1] / "docs" / "detector-plugins.md").read_text()
BLOCKS = re.findall(r"^```(python|toml)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
PLUGIN, ADAPTER, USED = (block for language, block in BLOCKS if language == "python")
(PYPROJECT,) = (block for language, block in BLOCKS if language == "toml")
COLOURS = {"ship": (255, 0, 0), "harbor": (0, 0, 255)}  # RGB


class Model:
    """Finds the pixels of each colour that its classes have; the colours of arrays are read as BGR, as there."""

    masks = False

    def __init__(self, weights):
        self.names = {0: "harbor", 1: "vessel", 2: "tree"}

    def predict(self, image, conf, max_det, imgsz, device, retina_masks, verbose):
        assert image.flags["C_CONTIGUOUS"]
        assert retina_masks
        found = []
        for number, name in self.names.items():
            colour = COLOURS.get({"vessel": "ship"}.get(name, name))
            drawn = np.zeros(image.shape[:2], bool) if colour is None else (image[..., ::-1] == colour).all(axis=-1)
            if drawn.any():
                (top, *_, bottom), (left, *_, right) = map(np.unique, np.nonzero(drawn))
                found.append((number, 0.5 + number / 10, [left, top, right + 1, bottom + 1], drawn))
        found = [each for each in found if each[1] >= conf][:max_det]
        return [results(found, self.names, image.shape[:2], self.masks)]


def results(found, names, shape, masks):
    """The fields of ultralytics' `Results` that supervision reads."""
    boxes = SimpleNamespace(
        cls=np.array([number for number, *_ in found], np.float32),
        conf=np.array([score for _, score, *_ in found], np.float32),
        xyxy=np.array([box for _, _, box, _ in found], np.float32).reshape(-1, 4),
        id=None,
    )
    drawn = np.array([mask for *_, mask in found], np.float32)
    data = SimpleNamespace(data=drawn) if masks and found else None
    return SimpleNamespace(boxes=boxes, masks=data, obb=None, names=names, orig_shape=shape)


class OpenModel(Model):
    def set_classes(self, classes):
        self.names = dict(enumerate(classes))


class MaskModel(OpenModel):
    masks = True


@pytest.fixture
def yolo_world(tmp_path, monkeypatch):
    """The distribution of the page, and a module that plays ultralytics."""
    ultralytics = ModuleType("ultralytics")
    ultralytics.__spec__ = ModuleSpec("ultralytics", None)
    ultralytics.YOLO, ultralytics.YOLOWorld, ultralytics.YOLOE = Model, OpenModel, MaskModel
    monkeypatch.setitem(sys.modules, "ultralytics", ultralytics)
    monkeypatch.chdir(tmp_path)
    assert main(["new-method", "yolo-world"]) == 0
    Path("yolo-world/src/yolo_world/__init__.py").write_text(PLUGIN)
    Path("yolo-world/pyproject.toml").write_text(PYPROJECT)
    monkeypatch.syspath_prepend("yolo-world/src")
    monkeypatch.delitem(sys.modules, "yolo_world", raising=False)
    return __import__("yolo_world")


@pytest.fixture
def painted(coco, write_coco):
    """The small dataset, with each object painted in the colour of its category."""
    file = write_coco(coco)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    coco["annotations"] = [each for each in coco["annotations"] if each["id"] != 1]  # one object a category and image
    file = write_coco(coco)
    for image in coco["images"]:
        pixels = np.full((image["height"], image["width"], 3), 90, np.uint8)
        for each in coco["annotations"]:
            if each["image_id"] == image["id"]:
                x, y, width, height = each["bbox"]
                pixels[y : y + height, x : x + width] = COLOURS[names[each["category_id"]]]
        Image.fromarray(pixels).save(file.parent / "images" / image["file_name"])
    return file


def test_the_entry_points_are_the_classes(yolo_world):
    project = tomllib.loads(PYPROJECT)["project"]
    for name, place in project["entry-points"]["earthinstruct.methods"].items():
        module, _, class_name = place.partition(":")
        assert (module, getattr(yolo_world, class_name).name) == ("yolo_world", name)
    assert project["license"].startswith("AGPL-3.0")


@pytest.mark.parametrize("name", ["YoloWorld", "Yoloe", "TrainedYolo"])
def test_the_methods_keep_the_contract(yolo_world, name):
    checks = check_method(getattr(yolo_world, name)())
    assert [check.problem for check in checks if check.problem] == []
    assert any(check.skipped for check in checks) == (name != "TrainedYolo")


@pytest.mark.parametrize(("name", "parts"), [("YoloWorld", ["box"]), ("Yoloe", ["box", "mask"])])
def test_objects_are_found_under_the_names_of_the_instruction(yolo_world, painted, name, parts):
    method = getattr(yolo_world, name)(limit=2)
    result = evaluate(method, painted, setting="open_vocabulary").results[0]
    for part in parts:
        assert {each: tally.fp + tally.fn for each, tally in getattr(result.metrics, part).tally.items()} == {
            "ship": 0,
            "harbor": 0,
        }
    assert result.metrics.box.ap50.value == 1
    assert result.run.events == {"limit of 2 detections reached": 1}
    assert result.method.parameters["max_det"] == 2


def test_a_detector_with_classes_of_its_own(yolo_world, painted, tmp_path):
    (tmp_path / "classes.json").write_text('{"vessel": "ship", "tree": null}')
    method = yolo_world.TrainedYolo(label_map=str(tmp_path / "classes.json"))
    result = evaluate(method, painted, setting="open_vocabulary").results[0]
    assert {each: (tally.tp, tally.fp) for each, tally in result.metrics.box.tally.items()} == {
        "ship": (2, 0),
        "harbor": (1, 0),
    }
    image = np.array(Image.open(painted.parent / "images" / "a.png"))
    assert method.predict(image, Instruction("open_vocabulary", "find", ("harbor",))).labels == ("harbor",)
    assert method.predict(image, Instruction("open_ended", "find")).labels == ("harbor", "vessel")
    assert yolo_world.TrainedYolo().predict(image, Instruction("open_vocabulary", "find", ("ship",))).labels == ()


def test_what_is_missing_is_named(yolo_world, tmp_path):
    (tmp_path / "best.pt").write_bytes(b"")
    lines = yolo_world.YoloWorld.missing(weights="nowhere.pt")
    assert lines[-1] == "weights nowhere.pt: give a file, -M weights=FILE"
    assert yolo_world.TrainedYolo.missing(weights="best.pt") == [
        line for line in yolo_world.YoloWorld.missing(weights="best.pt") if not line.startswith("clip:")
    ]
    assert missing_for("yolo-world/src/yolo_world/__init__.py:YoloWorld", {"weights": "nowhere.pt"})[-1] == lines[-1]


def test_the_adapter_makes_a_method_of_a_function(painted, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    names = {0: "ship", 1: "harbor", 2: "tree"}

    def detect(image, categories):
        model = MaskModel("")
        model.names = names
        (found,) = model.predict(np.ascontiguousarray(image[..., ::-1]), 0, 9, 640, "cpu", True, False)
        return sv.Detections.from_ultralytics(found)

    scope = {"detect": detect}
    exec(ADAPTER, scope)
    assert len([line for line in ADAPTER.splitlines() if line.strip()]) <= 15
    result = evaluate(scope["Adapter"]("mine", detect), painted, setting="open_vocabulary").results[0]
    assert result.metrics.mask.f1.value == 1
    exec(USED, scope)
    assert "mine on scenes" in capsys.readouterr().out


def test_results_of_yolo_val_are_scored(painted, coco, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = {category["id"]: category["name"] for category in coco["categories"]}
    files = {image["id"]: image["file_name"] for image in coco["images"]}
    own = ["tree", "harbor", "vessel"]  # the classes of the detector, which are numbered from 1
    entries = [
        {
            "image_id": Path(files[each["image_id"]]).stem,
            "file_name": files[each["image_id"]],
            "category_id": own.index({"ship": "vessel"}.get(names[each["category_id"]], "harbor")) + 1,
            "bbox": each["bbox"],
            "score": 0.5,
        }
        for each in coco["annotations"]
    ]
    Path("predictions.json").write_text(json.dumps([*entries, {**entries[0], "category_id": 1}]))
    Path("classes.json").write_text('{"1": null, "2": "harbor", "3": "ship"}')
    (command,) = re.findall(r"^earthinstruct (score .*)$", PAGE.replace("\\\n", ""), re.MULTILINE)
    words = [str(painted) if word == "mine/annotations.json" else word for word in command.split()]
    assert main([*words, "--json", "result.json"]) == 0
    result = json.loads(Path("result.json").read_text())
    assert result["metrics"]["box"]["f1"]["value"] == 1
    assert result["run"]["events"] == {"objects of classes without a category": 1}
