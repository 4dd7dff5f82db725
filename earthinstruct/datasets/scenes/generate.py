"""Generate single scenes by split and index, and write whole splits as COCO datasets."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.datasets.ground_truth import TrueImage, TrueObject, coco_annotation, coco_categories, coco_image
from earthinstruct.datasets.scenes import grounds, layouts
from earthinstruct.datasets.scenes.canvas import Canvas, Dice, Frame
from earthinstruct.errors import ContractError, UnknownNameError, checked_arguments
from earthinstruct.files import new_folder
from earthinstruct.regions import RLE, decode_rles
from earthinstruct.tasks import NWPU

VERSION = "1"
CATEGORIES: tuple[str, ...] = NWPU.categories
SPLITS: dict[str, int] = {"train": 600, "val": 48, "test": 48}

_GSD = 0.25  # metres a pixel where the zoom is 1: vehicles of 4 to 5 metres have 16 to 20 pixels
_SPLIT_SEEDS = {"train": 0, "val": 1, "test": 2}


@dataclass(frozen=True, eq=False)
class DrawnScene:
    """One image with its ground truth.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        labels: category of each of n objects.
        masks: n masks of the visible pixels.
        boxes: float64 (n, 4), COCO xywh in pixels: the bounding boxes of the masks.
        kind: what the scene shows: "airport", "marina", ...
        gsd: its ground resolution, metres a pixel; None for a load test.
    """

    image: NDArray[np.uint8]
    labels: tuple[str, ...]
    masks: tuple[RLE, ...]
    boxes: NDArray[np.float64]
    kind: str
    gsd: float | None


@dataclass(frozen=True)
class _View:
    """What is chosen before anything is drawn: the size in pixels, the directions of the sun and of the camera."""

    width: int
    height: int
    sun: float
    turn: float

    @staticmethod
    def of(dice: Dice, size: int | None) -> _View:
        width, height = (size, size) if size else (dice.integer(48, 64) * 8, dice.integer(48, 64) * 8)
        return _View(width, height, dice.uniform(0, 6.28), dice.uniform(0, 6.28))


def generate_scene(split: str, index: int, *, size: int | None = None, objects: int | None = None) -> DrawnScene:
    """Draw one scene. The same arguments give the same ground truth, on any machine and in any order.

    Args:
        split: "train", "val" or "test".
        index: number of the image, from 0; may exceed the size of the split.
        size: side of a square image in pixels. By default, each side is 384 to 512.
        objects: for load tests: draw about this number of small objects on a grid instead of a realistic scene. `size`
            is then 512 by default.

    Raises:
        UnknownNameError: the split does not exist.
        ContractError: `index` is negative, `size` is less than 128, or `objects` is too large for the size.

    >>> scene = generate_scene("test", 0)
    >>> scene.image.shape[2], len(scene.labels) == len(scene.masks) == len(scene.boxes)
    (3, True)
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if index < 0:
        raise ContractError(f"index must be >= 0, got {index}")
    if size is not None and size < 128:
        raise ContractError(f"size must be at least 128 pixels, got {size}")
    if objects is not None:
        size = size or 512
        most = (size // 24) ** 2
        if not 0 < objects <= most:
            raise ContractError(
                f"objects must be from 1 to {most} for {size} x {size} pixels, got {objects}; give a larger size"
            )
    seed = (int(VERSION), _SPLIT_SEEDS[split], index)
    dice = Dice(*seed)
    chosen = _View.of(dice, size)
    canvas = Canvas(chosen.width, chosen.height, (math.cos(chosen.sun), math.sin(chosen.sun)))
    view = Frame(canvas, chosen.width / 2, chosen.height / 2, chosen.turn)
    gsd = None
    if objects is None:
        kind, zoom = _kind(split, index), _zoom(dice)
        _, layout = layouts.KINDS[kind]
        layout(view, dice, zoom)
        gsd = _GSD / zoom
    else:
        kind = "load_test"
        layouts.load_test(canvas, dice, objects)
    # noise has its own random stream, so that it cannot change ground truth that is drawn later
    image = grounds.photograph(canvas, dice, np.random.Generator(np.random.PCG64(np.random.SeedSequence((*seed, 1)))))
    masks = canvas.masks()
    masks.boxes.flags.writeable = image.flags.writeable = False
    return DrawnScene(image, tuple(canvas.labels), tuple(masks.encode()), masks.boxes, kind, gsd)


def scene_attributes(split: str, index: int) -> dict[str, float | str]:
    """The kind of a scene and its ground resolution in metres a pixel, `gsd`, without drawing it.

    >>> scene_attributes("test", 0)["gsd"] == round(generate_scene("test", 0).gsd, 3)
    True
    """
    dice = Dice(int(VERSION), _SPLIT_SEEDS[split], index)
    _View.of(dice, None)
    return {"gsd": round(_GSD / _zoom(dice), 3), "kind": _kind(split, index)}


def _zoom(dice: Dice) -> float:
    """How large everything is drawn. It is chosen after the view, and before the objects."""
    return dice.uniform(0.9, 1.15)


def _kind(split: str, index: int) -> str:
    """Choose the kind of an image: every 48 consecutive images hold each kind in its share, in random order."""
    deck = [kind for kind, (share, _) in layouts.KINDS.items() for _ in range(share)]
    turn, place = divmod(index, len(deck))
    return Dice(int(VERSION), _SPLIT_SEEDS[split], turn, 2).shuffled(deck)[place]


@checked_arguments
def draw_scenes(
    folder: Path | str,
    split: str = "test",
    images: int | None = None,
    size: int | None = None,
    objects: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write a split as a COCO dataset: `annotations.json` and `images/*.png`, and `attributes.csv` for `--attributes`.

    The folder is written atomically, so a killed run leaves no incomplete dataset.

    Args:
        folder: the folder to create; must be missing or empty.
        split: "train", "val" or "test".
        images: number of images, from index 0; by default the size of the split, which it may exceed.
        size: as in `generate_scene`.
        objects: as in `generate_scene`.
        progress: a callback `(done, total)`, called after each image.

    Returns:
        The folder.

    Raises:
        DataError: `folder` is not empty or cannot be written.
        ContractError: `images` is less than 1, or as in `generate_scene`.
        UnknownNameError: the split does not exist.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if images is not None and images < 1:
        raise ContractError(f"images must be at least 1, got {images}")
    folder, total = Path(folder), SPLITS[split] if images is None else images
    entries: list[dict[str, Any]] = []
    attributes = ["image,gsd,kind"]
    number = 0
    with (
        new_folder(folder, f"remove it or give another folder for the {split} split of scenes") as unfinished,
        (unfinished / "annotations.json").open("w", encoding="utf-8") as file,
    ):
        (unfinished / "images").mkdir()
        file.write('{"annotations": [')  # written one by one, because a load test may have millions
        for index in range(total):
            scene = generate_scene(split, index, size=size, objects=objects)
            name = f"{split}_{index:05d}.png"
            Image.fromarray(scene.image).save(unfinished / "images" / name, compress_level=3)
            height, width = scene.image.shape[:2]
            attributes.append(f"{name},{'' if scene.gsd is None else round(scene.gsd, 3)},{scene.kind}")
            entries.append(coco_image(TrueImage(index + 1, name, width, height, ())))
            areas = decode_rles(scene.masks).areas
            for label, mask, box, area in zip(scene.labels, scene.masks, scene.boxes, areas, strict=True):
                number += 1
                found = TrueObject(label, tuple(box.tolist()), mask, int(area))
                annotation = coco_annotation(number, index + 1, CATEGORIES.index(label) + 1, found)
                # keep iscrowd last, as in all existing copies: results identify the dataset by the hash of this file
                annotation["iscrowd"] = annotation.pop("iscrowd")
                file.write((",\n" if number > 1 else "\n") + json.dumps(annotation))
            if progress is not None:
                progress(index + 1, total)
        categories = coco_categories(CATEGORIES, NWPU.parents)
        info = {"description": f"EarthInstruct scenes, {split} split", "version": VERSION}
        (unfinished / "attributes.csv").write_text("\n".join(attributes) + "\n", encoding="utf-8")
        file.write("],\n" + json.dumps({"categories": categories, "images": entries, "info": info})[1:] + "\n")
    return folder
