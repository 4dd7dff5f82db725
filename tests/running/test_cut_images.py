"""Large images are cut alike by `predict` and `evaluate`, on every engine; each tile is kept, and asked about once."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from earthinstruct import Estimate, Prediction, dry_run, evaluate, predict
from earthinstruct.datasets import load_dataset
from earthinstruct.errors import EarthInstructError
from earthinstruct.results import read_result

SPOTS = '''
import os
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import label

from earthinstruct import Estimate, HopelessError, Prediction, Usage
from earthinstruct.regions import decode_rles, encode_masks


class Spots:
    """Finds bright spots. The folder `log` gets an empty file for each call; `log/fault` says what goes wrong when."""

    name = "spots"

    def __init__(self, log, meet=False):
        self.log, self.meet = Path(log), meet

    def describe(self):
        return {"largest_side": 16}

    def predict(self, image, instruction):
        assert max(image.shape) <= 16
        number = len(list(self.log.glob("call*")))
        (self.log / f"call{number}-{os.getpid()}").touch()
        while self.meet and len({path.name.split("-")[1] for path in self.log.glob("call*")}) < 2:
            time.sleep(0.01)
        fault = self.log / "fault"
        what, when = fault.read_text().split() if fault.exists() else ("", -1)
        if number == int(when):
            raise {"stop": KeyboardInterrupt, "fail": ValueError, "hopeless": HopelessError}[what]("no luck")
        regions, n = label(image[..., 0] > 127)
        masks = encode_masks(np.array([regions == i + 1 for i in range(n)])) if n else []
        return Prediction(["ship"] * n, decode_rles(masks).boxes, masks, usage=Usage(input_tokens=10))

    def estimate(self, image, instruction):
        return Estimate(1, image.shape[1], 5)
'''

WIDE, SMALL, ALSO_WIDE = 0, 7, 9  # images of 40 x 20 pixels, six tiles, and of 16 x 16, which the method takes
SHIPS = {WIDE: [(2, 2, 4, 4), (14, 8, 12, 6)], SMALL: [(5, 5, 6, 6)], ALSO_WIDE: [(30, 2, 5, 12)]}  # on seams too
N_TILES = 13


@pytest.fixture
def spots(tmp_path):
    """The parameters of the method, and its folder of calls."""
    (tmp_path / "spots.py").write_text(SPOTS)
    (tmp_path / "log").mkdir()
    return {"method": f"{tmp_path / 'spots.py'}:Spots", "parameters": {"log": str(tmp_path / "log")}}


@pytest.fixture
def calls(tmp_path):
    """How often the method was called."""
    return lambda: len(list((tmp_path / "log").glob("call*")))


@pytest.fixture
def ships(coco, write_coco):
    """Three images with ships."""
    sizes = {WIDE: (40, 20), SMALL: (16, 16), ALSO_WIDE: (40, 20)}
    for image in coco["images"]:
        image["width"], image["height"] = sizes[image["id"]]
    coco["annotations"] = [
        {
            "id": i,
            "image_id": image,
            "category_id": 1,
            "bbox": box,
            "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
        }
        for i, (image, box) in enumerate((image, box) for image, boxes in SHIPS.items() for box in boxes)
        for x, y, w, h in [box]
    ]
    file = write_coco(coco)
    for image in coco["images"]:
        pixels = np.zeros((image["height"], image["width"], 3), dtype=np.uint8)
        for x, y, w, h in SHIPS[image["id"]]:
            pixels[y : y + h, x : x + w] = 255
        Image.fromarray(pixels).save(file.parent / "images" / image["file_name"])
    return load_dataset(str(file))


def run(spots, ships, tmp_path, **options):
    """Evaluate the method."""
    return evaluate(dataset=ships, setting="open_vocabulary", output=tmp_path / "runs", **spots, **options)


def records(folder):
    """The records of the images, by id, without seconds."""
    lines = (folder / "predictions.jsonl").read_text().splitlines()
    return {
        record["image_id"]: record
        for record in map(json.loads, re.sub(r',"seconds":{[^}]*}', "", "\n".join(lines)).splitlines())
    }


def boxes(record):
    return sorted(tuple(int(side) for side in box) for box in record["boxes"])


def test_evaluate_cuts_what_is_larger_than_the_method_takes(spots, ships, tmp_path, calls):
    told = []
    evaluation = run(spots, ships, tmp_path, progress=lambda task, *numbers: told.append(numbers))
    (result,), (folder,) = evaluation.results, evaluation.folders
    assert calls() == N_TILES
    assert told == [(done, N_TILES, 0) for done in range(N_TILES + 1)]
    found = records(folder)
    assert {image: boxes(record) for image, record in found.items()} == SHIPS
    assert found[WIDE]["events"] == {"images: cut into tiles of 16 x 16 pixels": 1}
    assert found[WIDE]["input_tokens"] == 60
    assert float(result.metrics.box.f1) == float(result.metrics.mask.f1) == 1
    assert read_result(folder / "result.json").run.events == {"images: cut into tiles of 16 x 16 pixels": 2}
    assert json.loads((folder / "run.json").read_text())["method"]["largest_side"] == 16
    assert not (folder / "tiles.jsonl").exists()


def test_predict_and_evaluate_find_the_same(spots, ships, tmp_path):
    evaluated = records(run(spots, ships, tmp_path).folders[0])
    images = [ships.path_of(i) for i in range(3)]
    answers = predict(images=images, categories="ship, harbor", output=tmp_path / "runs", **spots)
    for answer, record in zip(answers, evaluated.values(), strict=True):
        assert [list(box) for box in answer.prediction.boxes] == record["boxes"]
        assert [mask["counts"] for mask in answer.prediction.masks] == [mask["counts"] for mask in record["masks"]]
        assert answer.prediction.usage.input_tokens == record["input_tokens"]


def test_other_tiles_are_another_run(spots, ships, tmp_path, calls):
    folder = run(spots, ships, tmp_path, tile=12, overlap=2).folders[0]
    manifest = json.loads((folder / "run.json").read_text())
    assert (manifest["tile"], manifest["overlap"]) == (12, 2)
    n_calls = calls()
    with pytest.raises(EarthInstructError, match=r"--tile was 12, is None; --overlap was 2, is None"):
        run(spots, ships, tmp_path)
    assert calls() == n_calls
    with pytest.raises(EarthInstructError, match="overlap of tiles of 12 pixels is 7; expected"):
        run(spots, ships, tmp_path, tile=12, overlap=7)


def test_a_control_answers_from_whole_images(ships, tmp_path):
    assert evaluate("oracle", ships, setting="open_vocabulary", output=tmp_path).results[0].run.n_failed == 0
    with pytest.raises(EarthInstructError, match=r"'oracle' is a control: .* leave --tile out"):
        evaluate("oracle", ships, setting="open_vocabulary", output=tmp_path / "other", tile=16)


def test_a_stopped_evaluation_goes_on_at_the_next_tile(spots, ships, tmp_path, calls):
    (tmp_path / "log/fault").write_text("stop 9")  # the third of the second large image
    with pytest.raises(KeyboardInterrupt):
        run(spots, ships, tmp_path)
    (kept,) = (tmp_path / "runs").rglob("tiles.jsonl")
    assert len(kept.read_text().splitlines()) == 8
    with kept.open("a") as file:
        file.write('{"image_id": "9#24,4')  # torn
    (tmp_path / "log/fault").unlink()
    folder = run(spots, ships, tmp_path).folders[0]
    assert calls() == N_TILES + 1
    assert {image: boxes(record) for image, record in records(folder).items()} == SHIPS
    assert not kept.exists()


def test_a_tile_that_fails_is_tried_again_alone_and_every_token_is_counted_once(spots, ships, tmp_path, calls):
    (tmp_path / "log/fault").write_text("fail 2")
    evaluation = run(spots, ships, tmp_path)
    assert evaluation.results[0].run.failed == {"0": "tile 24,0,16,16: ValueError: no luck"}
    assert evaluation.results[0].run.input_tokens == 10 * (N_TILES - 1)
    assert calls() == N_TILES
    evaluation = run(spots, ships, tmp_path)
    assert calls() == N_TILES + 1
    assert evaluation.results[0].run.failed == {}
    assert evaluation.results[0].run.input_tokens == 10 * N_TILES
    assert {image: boxes(record) for image, record in records(evaluation.folders[0]).items()} == SHIPS


@pytest.mark.timeout(120)
def test_tiles_go_to_several_processes_and_the_answers_are_the_same(spots, ships, tmp_path, calls):
    one = predict(images=[ships.path_of(0)], categories="ship, harbor", output=tmp_path / "one", **spots)
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    spots["parameters"]["meet"] = True  # each process waits until another has come
    two = predict(images=[ships.path_of(0)], categories="ship, harbor", output=tmp_path / "two", workers=2, **spots)
    assert len({path.name.split("-")[1] for path in (tmp_path / "log").iterdir()}) == 2
    assert records(two.folder) == records(one.folder)


def test_a_dry_run_estimates_each_tile(spots, ships, tmp_path):
    planned = dry_run(dataset=ships, setting="open_vocabulary", output=tmp_path / "runs", **spots)
    assert planned.tasks[0].estimate == Estimate(N_TILES, 16 * N_TILES, 5 * N_TILES)
    assert planned.tasks[0].images == 3


def test_one_image_fails_at_its_first_tile_or_after_its_last(spots, ships, tmp_path, calls):
    asked = {"images": ships.path_of(0), "categories": "ship", "output": tmp_path / "runs", **spots}
    (tmp_path / "log/fault").write_text("fail 0")
    with pytest.raises(EarthInstructError, match=r"image .*a\.png: ValueError: no luck") as raised:
        predict(**asked)
    assert calls() == 1
    assert raised.value.__cause__ is raised.value.__context__ is None  # no traceback of the method
    (tmp_path / "log/fault").write_text("fail 3")
    with pytest.raises(EarthInstructError, match=r"image .*a\.png: tile 24,0,16,16: ValueError: no luck"):
        predict(**asked)
    assert calls() == 7
    assert predict(**asked)[0].counts == {"ship": 2}
    assert calls() == 8


@pytest.mark.timeout(120)
def test_after_a_hopeless_error_in_another_process_no_image_is_tried(spots, ships, tmp_path, calls):
    (tmp_path / "log/fault").write_text("hopeless 0")
    images = [ships.path_of(i) for i in range(3)]
    answers = predict(images=images, categories="ship", output=tmp_path / "runs", timeout=100, **spots)
    assert calls() == 1
    assert [answer.problem for answer in answers] == [
        "no luck",
        *[f"not tried, after the error of {images[0]}: no luck"] * 2,
    ]


def test_the_order_of_the_images_does_not_matter(spots, ships, tmp_path, calls):
    images = [ships.path_of(i) for i in range(3)]
    first = predict(images=images, categories="ship", output=tmp_path / "runs", **spots)
    again = predict(images=images[::-1], categories="ship", output=tmp_path / "runs", **spots)
    assert again.folder == first.folder
    assert first.folder.parent.name.startswith("a-")
    assert calls() == N_TILES
    assert [answer.path for answer in again] == images[::-1]
    assert [answer.counts for answer in again] == [answer.counts for answer in first][::-1]


class Draws:
    name = "draws"

    def predict(self, image, instruction):
        return Prediction()

    def explain(self, image, instruction):
        return image


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({}, "pixels in memory stay in this process; leave workers, .* out, or give files"),
        ({"explain": "x.png"}, "pixels in memory stay"),
    ],
)
def test_what_needs_whole_images_stays_in_this_process(tmp_path, given, reason):
    pixels = np.zeros((4, 4, 3), dtype=np.uint8)
    with pytest.raises(EarthInstructError, match=reason):
        predict(Draws(), pixels, "count the ships", output=None, workers=2, **given)


def test_an_explanation_is_drawn_in_this_process(ships, tmp_path):
    asked = {"images": ships.path_of(1), "instruction": "count the ships", "explain": tmp_path / "x.png"}
    with pytest.raises(EarthInstructError, match="--explain draws in this process; leave workers"):
        predict(Draws(), output=None, workers=2, **asked)
    predict(Draws(), output=None, **asked)
    assert (tmp_path / "x.png").exists()


def test_no_image_is_refused_in_words():
    with pytest.raises(EarthInstructError, match="no image is given; give a file, several, or a folder"):
        predict(Draws(), [], "count the ships", output=None)
