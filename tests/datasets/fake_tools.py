"""Writes the same two images and three objects as each annotation tool exports them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

WIDTH, HEIGHT = 100, 80
NAMES = ("ship", "storage tank")
# image -> category, box
OBJECTS = {"a": [(0, (10, 10, 20, 20)), (1, (50, 40, 20, 20))], "b": [(0, (5, 5, 40, 30))]}


def pictures(folder: Path, suffix: str = ".png") -> Path:
    """Write the two images."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in OBJECTS:
        Image.new("RGB", (WIDTH, HEIGHT), (40, 80, 120)).save(folder / f"{name}{suffix}")
    return folder


def polygon(box: tuple[int, int, int, int]) -> list[int]:
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def coco(**changes: Any) -> dict[str, Any]:
    """A COCO file; `changes` are the entries of all annotations."""
    annotations = [
        {"id": 0, "image_id": image, "category_id": category + 1, "bbox": list(box), "area": 1, "iscrowd": 0}
        | {"segmentation": [polygon(box)]}
        | changes
        for image, found in enumerate(OBJECTS.values(), start=1)
        for category, box in found
    ]
    for number, entry in enumerate(annotations, start=1):
        entry["id"] = number
    return {
        "images": [
            {"id": i, "file_name": f"{name}.png", "width": WIDTH, "height": HEIGHT} for i, name in enumerate(OBJECTS, 1)
        ],
        "categories": [{"id": i, "name": name, "supercategory": "none"} for i, name in enumerate(NAMES, start=1)],
        "annotations": annotations,
    }


def _written(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def coco_annotator(root: Path) -> list[str]:
    pictures(root)
    content = coco(iscrowd=False, isbbox=False, color="#f00", keypoints=[], metadata={})
    content["images"] = [
        image | {"dataset_id": 1, "path": f"/datasets/{image['file_name']}"} for image in content["images"]
    ]
    return [str(_written(root / "export.json", content))]


def cvat_coco(root: Path) -> list[str]:
    pictures(root / "images")
    _written(root / "annotations" / "instances_default.json", coco(attributes={"occluded": False}))
    return [str(root)]


def cvat_yolo(root: Path) -> list[str]:
    pictures(root / "obj_train_data")
    yolo_labels(root / "obj_train_data")
    (root / "obj.names").write_text("\n".join(NAMES))
    (root / "obj.data").write_text("classes = 2\nnames = data/obj.names\n")
    (root / "train.txt").write_text("data/obj_train_data/a.png\ndata/obj_train_data/b.png\n")
    return [str(root)]


def label_studio_coco(root: Path) -> list[str]:
    pictures(root / "images")
    content = coco()
    for image in content["images"]:
        image["file_name"] = f"images/{image['file_name']}"
    return [str(_written(root / "result.json", content)), "--images", str(root)]


def label_studio_yolo(root: Path) -> list[str]:
    pictures(root / "images")
    yolo_labels(root / "labels")
    (root / "classes.txt").write_text("\n".join(NAMES))
    _written(root / "notes.json", {"categories": [{"id": 0, "name": "ship"}]})
    return [str(root)]


def via_coco(root: Path) -> list[str]:
    pictures(root)
    return [str(_written(root / "via_export_coco.json", coco()))]


def roboflow_coco(root: Path) -> list[str]:
    for split in ("train", "valid"):
        pictures(root / split)
        _written(root / split / "_annotations.coco.json", coco())
    return [str(root / "valid")]


def roboflow_yolo(root: Path) -> list[str]:
    for split in ("train", "valid"):
        pictures(root / split / "images")
        yolo_labels(root / split / "labels")
    (root / "data.yaml").write_text(f"train: ../train/images\nval: ../valid/images\nnc: 2\nnames: {list(NAMES)}\n")
    return [str(root / "valid")]


def roboflow_voc(root: Path) -> list[str]:
    pictures(root / "train")
    voc_files(root / "train")
    return [str(root / "train")]


def ultralytics(root: Path) -> list[str]:
    for split in ("train", "val"):
        pictures(root / "images" / split)
        yolo_labels(root / "labels" / split, polygons=True)
    (root / "data.yml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames:\n  0: ship\n  1: storage tank\n"
    )
    return [str(root / "images" / "val")]


def pandas_csv(root: Path) -> list[str]:
    pictures(root)
    rows = [
        [i, f"{image}.png", x, y, x + width, y + height, NAMES[category]]
        for i, (image, category, (x, y, width, height)) in enumerate(
            (image, *item) for image, found in OBJECTS.items() for item in found
        )
    ]
    with (root / "boxes.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["", "image", "xmin", "ymin", "xmax", "ymax", "label"], *rows])
    return [str(root / "boxes.csv")]


def deepforest_csv(root: Path) -> list[str]:
    pandas_csv(root)
    text = (root / "boxes.csv").read_text().replace(",image,", ",image_path,").replace(",", ";")
    (root / "boxes.csv").write_text(text, encoding="utf-16")
    return [str(root)]


def visdrone_coco(root: Path) -> list[str]:
    pictures(root / "images")
    content = coco(ignore=0, truncation=0, occlusion=1)
    content["categories"].append({"id": 12, "name": "ignored regions"})
    region = {"id": 99, "image_id": 1, "category_id": 1, "bbox": [60, 0, 40, 30], "ignore": 1}
    content["annotations"].append(region | {"segmentation": [polygon((60, 0, 40, 30))]})
    return [str(_written(root / "annotations.json", content))]


def visdrone_yolo(root: Path) -> list[str]:
    pictures(root / "images", ".jpg")
    yolo_labels(root / "labels")
    (root / "VisDrone.yaml").write_text("names: []")
    (root / "data.yaml").write_text("names: {'0': ship, '1': storage tank}")
    return [str(root / "data.yaml")]


def dota(root: Path) -> list[str]:
    pictures(root / "images")
    (root / "labelTxt-v1.0").mkdir(parents=True)
    for image, found in OBJECTS.items():
        lines = [f"{' '.join(f'{v:.1f}' for v in polygon(box))} {NAMES[c].replace(' ', '-')} 0" for c, box in found]
        lines += ["80 60 90 60 90 70 80 70 ship 1"]
        text = "\n".join(["imagesource:GoogleEarth", "gsd:null", *lines])
        (root / "labelTxt-v1.0" / f"{image}.txt").write_text(text)
    return [str(root)]


def labelimg_voc(root: Path) -> list[str]:
    pictures(root)
    voc_files(root, size="0")
    return [str(root)]


def labelimg_yolo(root: Path) -> list[str]:
    pictures(root)
    yolo_labels(root)
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return [str(root)]


def zipped_coco(root: Path) -> list[str]:
    pictures(root / "images")
    (root / "annotations.json.gz").write_bytes(gzip.compress(json.dumps(coco()).encode("utf-16")))
    return [str(root)]


def yolo_labels(folder: Path, *, polygons: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, found in OBJECTS.items():
        lines = []
        for category, (x, y, width, height) in found:
            centre = ((x + width / 2) / WIDTH, (y + height / 2) / HEIGHT, width / WIDTH, height / HEIGHT)
            corners = [v / (HEIGHT if i % 2 else WIDTH) for i, v in enumerate(polygon((x, y, width, height)))]
            lines.append(" ".join(map(str, [category, *(corners if polygons else centre)])))
        (folder / f"{image}.txt").write_text("\n".join(lines))


def voc_files(folder: Path, size: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, found in OBJECTS.items():
        objects = "".join(
            f"<object><name>{NAMES[category]}</name><pose>Unspecified</pose><truncated>0</truncated>"
            f"<difficult>0</difficult><bndbox><xmin>{x}</xmin><ymin>{y}</ymin><xmax>{x + width}</xmax>"
            f"<ymax>{y + height}</ymax></bndbox></object>"
            for category, (x, y, width, height) in found
        )
        sides = f"<width>{size or WIDTH}</width><height>{size or HEIGHT}</height><depth>3</depth>"
        (folder / f"{image}.xml").write_text(f"<annotation><size>{sides}</size>{objects}</annotation>")


TOOLS: dict[str, Callable[[Path], list[str]]] = {
    maker.__name__: maker
    for maker in (
        coco_annotator,
        cvat_coco,
        cvat_yolo,
        label_studio_coco,
        label_studio_yolo,
        via_coco,
        roboflow_coco,
        roboflow_yolo,
        roboflow_voc,
        ultralytics,
        pandas_csv,
        deepforest_csv,
        visdrone_coco,
        visdrone_yolo,
        dota,
        labelimg_voc,
        labelimg_yolo,
        zipped_coco,
    )
}
