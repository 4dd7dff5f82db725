"""The page on other systems: its blocks and commands turn files in the format of each repository into perfect scores.

The files hold the ground truth of four images, written as the repository writes its predictions. One file in a wrong
order, frame or numbering would not score 1.
"""

import json
import math
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from earthinstruct.cli import main
from earthinstruct.regions import encode_mask
from earthinstruct.tasks.categories import DIOR

PAGE = (Path(__file__).parents[1] / "docs" / "other-systems.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
WIDTH, HEIGHT = 200, 100
OBJECTS = {  # image -> category, x, y, width, height: multiples of 2 and 1 pixels are hundredths
    "00011": [("ship", 10, 10, 40, 20), ("ship", 120, 20, 20, 40), ("dam", 60, 50, 40, 20)],
    "00012": [("expressway service area", 20, 30, 60, 40), ("airport", 120, 10, 60, 80)],
    "00013": [("windmill", 0, 0, 200, 100)],
    "00014": [],
}
FOUND = [(image, *found) for image, several in OBJECTS.items() for found in several]
# the lists of classes of the repositories, in their own order and spelling
ALPHABETICAL = [
    "airplane", "airport", "baseballfield", "basketballcourt", "bridge", "chimney", "dam", "expressway service area",
    "expressway-toll-station", "golffield", "groundtrackfield", "harbor", "overpass", "ship", "stadium", "storagetank",
    "tenniscourt", "trainstation", "vehicle", "windmill",
]  # fmt: skip
NOVEL_LAST = [
    "airplane", "baseballfield", "bridge", "chimney", "dam", "expressway service area", "expressway-toll-station",
    "golffield", "harbor", "overpass", "ship", "stadium", "storagetank", "tenniscourt", "trainstation", "vehicle",
    "airport", "basketballcourt", "groundtrackfield", "windmill",
]  # fmt: skip


def section(heading):
    """The blocks of Python and the commands under a heading."""
    text = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)[1]
    blocks = FENCE.findall(text)
    commands = [line for language, block in blocks if not language for line in block.replace("\\\n", "").splitlines()]
    return [block for language, block in blocks if language == "python"], commands


def write(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def lines(entries):
    return "".join(f"{json.dumps(entry)}\n" for entry in entries)


def mask_of(x, y, width, height):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def hundredths(x, y, width, height):
    return x / 2, y, (x + width) / 2, y + height


@pytest.fixture(autouse=True)
def annotations(tmp_path, monkeypatch):
    """The ground truth, as the annotation file of this project, and the images."""
    monkeypatch.chdir(tmp_path)
    numbers = {name: number for number, name in enumerate(DIOR.categories, start=1)}
    for image in OBJECTS:
        Path("images").mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(f"images/{image}.jpg")
    write(
        "annotations.json",
        {
            "images": [
                {"id": int(image), "file_name": f"{image}.jpg", "width": WIDTH, "height": HEIGHT} for image in OBJECTS
            ],
            "categories": [{"id": number, "name": name} for name, number in numbers.items()],
            "annotations": [
                {
                    "id": i,
                    "image_id": int(image),
                    "category_id": numbers[category],
                    "bbox": box,
                    "segmentation": dict(encode_mask(mask_of(*box))),
                }
                for i, (image, category, *box) in enumerate(FOUND)
            ],
        },
    )
    return numbers


def scored(command, method):
    """The metrics after a documented command on the dataset of this test."""
    words = shlex.split(command)
    assert words.pop(0) == "earthinstruct"
    words[words.index("--dataset") + 1] = "annotations.json"
    assert words[words.index("--name") + 1] == method
    assert main([*words, "--json", "result.json"]) == 0
    return json.loads(Path("result.json").read_text())


def perfect(command, method, *parts):
    result = scored(command, method)
    for part in parts:
        tally = result["metrics"][part]["tally"]
        assert sum(each["tp"] for each in tally.values()) == len(FOUND), part
        assert {(each["fp"], each["fn"]) for each in tally.values()} == {(0, 0)}, part
    return result


def index_maps(names):
    for image, several in OBJECTS.items():
        drawn = np.zeros((HEIGHT, WIDTH), np.uint8)
        for category, *box in several:
            drawn[mask_of(*box)] = names.index(category)
        yield image, drawn


@pytest.fixture
def class_map():
    """Runs the block that makes `classes.json` of `classes.txt`."""
    (block,), _ = section("What a file does not say")
    return lambda: exec(block, {})


def test_segearth_ov(class_map):
    names = ["background", *DIOR.categories]
    write("classes.txt", "\n".join(name + ",a synonym" * (name == "ship") for name in names))
    class_map()
    for image, drawn in index_maps(names):  # as `IoUMetric` does
        Path("maps").mkdir(exist_ok=True)
        Image.fromarray(drawn).save(f"maps/{image}.png")
    _, [command] = section("SegEarth-OV and SegEarth-OV3")
    perfect(command, "SegEarth-OV", "box", "mask", "counting")


def test_gsnet(class_map):
    names = ["background", *reversed(DIOR.categories)]
    write("classes.txt", "\n".join(names))
    class_map()
    regions = [  # as `SemSegEvaluator.encode_json_sem_seg` does
        {
            "file_name": f"/data/val/images/{image}.jpg",
            "category_id": int(number),
            "segmentation": dict(encode_mask(drawn == number)),
        }
        for image, drawn in index_maps(names)
        for number in np.unique(drawn)
    ]
    write("sem_seg_predictions.json", regions)
    _, [command] = section("GSNet")
    perfect(command, "GSNet", "box", "mask")


def test_remotesam(class_map):
    blocks, [command] = section("RemoteSAM")
    exec(blocks[0], {})
    class_map()
    for number, name in enumerate(["background", *ALPHABETICAL]):
        if number:
            found = [
                {"image_id": int(image), "category_id": number, "bbox": [int(side) for side in box], "score": 0.75}
                for image, category, *box in FOUND
                if category == name
            ]
            write(f"result/DET/preds_{name}.json", found)
    write("result/DET/DET.log", "Done evaluating for category:  ship\n")
    perfect(command, "RemoteSAM", "box")


def test_remotesam_on_dota():
    for name in {category for _, category, *_ in FOUND}:
        found = [(image, x, y, x + w, y + h) for image, category, x, y, w, h in FOUND if category == name]
        write(
            f"dota/Task2_{name}.txt",
            "".join(
                f"{image}.jpg 0.75 {' '.join(str(float(each)) for each in (x1, y1, x2, y1, x2, y2, x1, y2))}\n"
                for image, x1, y1, x2, y2 in found
            ),
        )
    command = "earthinstruct score dota --dataset dior --setting open_vocabulary --name RemoteSAM"
    perfect(command, "RemoteSAM", "box")


def test_lae_dino(annotations, class_map):
    _, [results, demo] = section("LAE-DINO")
    entries = [  # as `CocoMetric.results2json` does
        {"image_id": int(image), "bbox": box, "score": 0.5, "category_id": annotations[category]}
        for image, category, *box in FOUND
    ]
    write("found.bbox.json", entries)
    perfect(results, "LAE-DINO", "box")

    prompts = ["windmill", "ship", "dam", "airport", "expressway service area"]
    write("classes.txt", "\n".join(prompts))
    class_map()
    for image, several in OBJECTS.items():  # as `DetInferencer.pred2dict` does
        found = {
            "labels": [prompts.index(category) for category, *_ in several],
            "scores": [0.5] * len(several),
            "bboxes": [[x, y, x + width, y + height] for _, x, y, width, height in several],
        }
        write(f"outputs/preds/{image}.json", found)
    perfect(demo, "LAE-DINO-demo", "box")


def turned(x, y, width, height):
    """The rbox (centre, size, radians) of an upright box, written as turned by a right angle."""
    return [x + width / 2, y + height / 2, height, width, math.pi / 2]


@pytest.mark.parametrize(("system", "classes"), [("CASTDet", NOVEL_LAST), ("RemoteSAM", ALPHABETICAL)])
def test_castdet_and_openrsd(system, classes, class_map):
    exec(section(system)[0][0], {})
    write("classes.txt", Path("classes.txt").read_text().removeprefix("background\n"))
    assert [name.replace(" ", "") for name in Path("classes.txt").read_text().splitlines()] == [
        name.replace(" ", "").replace("-", "") for name in classes
    ]
    class_map()
    entries = [  # as `DOTAMetric.results2json` does
        {"image_id": image, "bbox": turned(*box), "score": 0.5, "category_id": classes.index(category)}
        for image, category, *box in FOUND
    ]
    write("found.bbox.json", entries)
    _, [command] = section("CASTDet")
    perfect(command, "CASTDet", "box")


def test_openrsd_pickle():
    def polygon(x, y, width, height):
        return [x + width, y, x + width, y + height, x, y + height, x, y]

    all_results = {
        image: {
            "visual_embeds": None,
            "texts": [category.capitalize() for category, *_ in several],
            "scores": np.full(len(several), 0.5, np.float32),
            "text_embeds": None,
            "polys": np.array([polygon(*box) for _, *box in several], np.float32),
            "cls_list": ["Ship"],
        }
        for image, several in OBJECTS.items()
    }
    (block,), [command] = section("OpenRSD")
    exec(block, {"all_results": all_results})
    perfect(command, "OpenRSD", "box")


def questions():
    """A question for each image and category of the test."""
    names = sorted({category for _, category, *_ in FOUND})
    asked = [(image, name) for image in OBJECTS for name in names]
    return [
        {"question_id": i, "image": f"{image}.jpg", "label": name, "question": f"[detection]Detect all the {name}s"}
        for i, (image, name) in enumerate(asked)
    ]


def boxes_for(question):
    several = OBJECTS[question["image"].removesuffix(".jpg")]
    return [hundredths(*box) for category, *box in several if category == question["label"]]


def test_skysensegpt():
    write("questions.jsonl", lines(questions()))

    def answer(question):
        rboxes = [
            f"{{<{(x1 + x2) / 2:.2f}><{(y1 + y2) / 2:.2f}><{x2 - x1:.2f}><{y2 - y1:.2f}>|<180>}}"
            for x1, y1, x2, y2 in boxes_for(question)
        ]
        if not rboxes:
            return "I'm sorry, I cannot answer as the given image does not contain any given objects."
        return f"There are {len(rboxes)} {question['label']}s in the image: <rbox>({', '.join(rboxes)})</rbox>"

    answers = [
        {
            "question_id": question["question_id"],
            "image_id": question["image"],
            "category": "task1",
            "ground_truth": "",
            "answer": answer(question),
        }
        for question in questions()
    ]
    write("answers.jsonl", lines(answers))
    (block,), [command] = section("SkySenseGPT")
    exec(block, {})
    events = perfect(command, "SkySenseGPT", "box", "counting")["run"]["events"]
    assert events == {"replies without a box": 15}  # 4 images and 5 categories, of which 5 pairs have objects


def test_earthdial():
    write("questions.jsonl", lines(questions()))
    answers = [
        {
            "question": f"[refer] [hr_rgb_0.5] <image> \n Give me the location of <ref>{question['label']}</ref>",
            "answer": "".join(f"[[{x1:g}, {y1:g}, {x2:g}, {y2:g}, 0]]" for x1, y1, x2, y2 in boxes_for(question)),
            "gt_bbox": "[[0, 0, 1, 1, 0]]",
            "task_type": "ref",
            "size_group": "small",
        }
        for question in questions()
    ]
    write("DIOR.jsonl", lines(answers))
    (block,), [command] = section("EarthDial")
    exec(block, {})
    assert perfect(command, "EarthDial", "box")["run"]["events"] == {"empty replies": 15}


class Tensor:
    """A tensor of masks, of which the block asks for numbers on the CPU."""

    def __init__(self, logits):
        self.logits = logits

    def __len__(self):
        return len(self.logits)

    def float(self):
        return self

    def cpu(self):
        return SimpleNamespace(numpy=lambda: self.logits)


def test_geopixel():
    asked = [(f"images/{image}.jpg", "", "Describe the image") for image in OBJECTS]

    def evaluate(tokenizer, query, images, max_new_tokens):
        several = OBJECTS[Path(images[0]).stem]
        text = " and ".join(f"<p> {category} </p> [SEG]" for category, *_ in several)
        return text, [Tensor(np.array([np.where(mask_of(*box), 3.5, -7.25) for _, *box in several], np.float32))]

    (block,), [command] = section("GeoPixel")
    model = SimpleNamespace(evaluate=evaluate)
    exec(block, {"model": model, "tokenizer": None, "questions": asked})
    perfect(command, "GeoPixel", "box", "mask")

    silent = SimpleNamespace(evaluate=lambda *args, **options: ("I see no ship.", []))
    exec(block, {"model": silent, "tokenizer": None, "questions": asked})
    assert json.loads(Path("geopixel.json").read_text()) == []


def test_countgd():
    def count(path, text):
        return sum(category == text for category, *_ in OBJECTS[Path(path).stem])

    (block,), [command] = section("CountGD")
    text = re.sub(r'\["ship", "storage tank", "vehicle"\]', repr(sorted({name for _, name, *_ in FOUND})), block)
    assert text != block
    exec(text, {"count": count})
    result = perfect(command, "CountGD", "counting")
    assert result["metrics"]["box"]["f1"]["value"] is None


def test_every_system_of_the_page_has_a_test_and_a_source():
    names = re.findall(r"^\| \[([^\]]+)\]\(#", PAGE, re.MULTILINE)
    assert len(names) == 10
    for name in ", ".join(names).split(", "):
        assert re.search(rf"^\| {re.escape(name)} \| \S+/\S+.* \| [0-9a-f]{{7}}", PAGE, re.MULTILINE), name
    tested = Path(__file__).read_text()
    for heading in re.findall(r"^## (.*)$", PAGE, re.MULTILINE):
        assert heading == "Sources" or f'section("{heading}")' in tested, heading
