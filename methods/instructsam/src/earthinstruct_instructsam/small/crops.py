"""Crops of scenes to train the small CLIP on: objects, parts of objects, merged objects, and background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from earthinstruct_models.encoders.crops import crop_corners
from earthinstruct_models.interfaces import Proposer
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.datasets import DrawnScene
from earthinstruct_instructsam.small.words import CATEGORIES

BACKGROUND = len(CATEGORIES)  # the value in `Crops.category` of crops that show no object
_MOST = 24  # crops of one category and origin from one scene: car parks would otherwise dominate
_BACKGROUND_IOU = 0.1  # least IoU of a crop that shows a part of the object; below it, background


@dataclass(frozen=True, eq=False)
class Crops:
    """Pictures and their labels."""

    pictures: NDArray[np.uint8]  # (n, side, side, 3), RGB
    category: NDArray[np.int64]  # (n,), index into `CATEGORIES`, or `BACKGROUND`
    iou: NDArray[np.float64]  # (n,), of the crop's box with the object it shows most of; 0 for background

    def __len__(self) -> int:
        return len(self.category)


def crops_of(scenes: Sequence[DrawnScene], proposer: Proposer, side: int, seed: int) -> Crops:
    """Crops of all scenes: of objects, of proposals, of moved, resized and damaged boxes, and of random places.

    At most `_MOST` of a kind are taken from one scene. Each crop is labelled by the object that it overlaps most.
    """
    dice = np.random.default_rng(seed)
    parts = []
    for scene in scenes:
        boxes = [scene.boxes, proposer.propose(scene.image).boxes]
        boxes += [_moved(scene.boxes, dice), _moved(scene.boxes, dice), _damaged(scene.boxes, dice)]
        boxes.append(_anywhere(scene.image.shape[0], scene.image.shape[1], 16, dice))
        every = np.concatenate(boxes)
        category, iou = _shown(every, scene)
        kind = category * 2 + (iou >= 0.5)
        order = dice.permutation(len(every))
        chosen = np.concatenate([order[kind[order] == k][:_MOST] for k in range(2 * len(CATEGORIES) + 2)])
        parts.append((pictures_of(scene.image, every[chosen], side), category[chosen], iou[chosen]))
    return Crops(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def pictures_of(image: NDArray[np.uint8], boxes: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """The crops of boxes, as `OpenClipEncoder` makes them before it normalises colours: uint8 (n, side, side, 3)."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    resize, cut = image_transform_v2(PreprocessCfg(size=side), is_train=False).transforms[:2]
    picture = Image.fromarray(image)
    crops = [np.asarray(cut(resize(picture.crop(corners)))) for corners in crop_corners(boxes, *picture.size)]
    return np.stack(crops) if crops else np.zeros((0, side, side, 3), np.uint8)


def box_ious(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of every pair of boxes: (n, 4) and (m, 4) xywh -> (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, :2] + a[:, None, 2:], b[None, :, :2] + b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    union = np.prod(a[:, 2:], axis=1)[:, None] + np.prod(b[:, 2:], axis=1)[None] - shared
    ious: NDArray[np.float64] = shared / np.maximum(union, 1e-9)
    return ious


def _shown(boxes: NDArray[np.float64], scene: DrawnScene) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Category and IoU of the object that each box overlaps most."""
    if not len(scene.labels):
        return np.full(len(boxes), BACKGROUND), np.zeros(len(boxes))
    ious = box_ious(boxes, scene.boxes)
    best = ious.argmax(axis=1)
    iou = ious.max(axis=1)
    category = np.array([CATEGORIES.index(label) for label in scene.labels])[best]
    nothing = iou < _BACKGROUND_IOU
    return np.where(nothing, BACKGROUND, category), np.where(nothing, 0.0, iou)


def _moved(boxes: NDArray[np.float64], dice: np.random.Generator) -> NDArray[np.float64]:
    """Each box moved by up to 15 % of its size and resized by up to 20 %."""
    size = boxes[:, 2:] * dice.uniform(0.85, 1.2, (len(boxes), 2))
    centre = boxes[:, :2] + boxes[:, 2:] / 2 + boxes[:, 2:] * dice.uniform(-0.15, 0.15, (len(boxes), 2))
    return np.concatenate([centre - size / 2, size], axis=1)


def _damaged(boxes: NDArray[np.float64], dice: np.random.Generator) -> NDArray[np.float64]:
    """Boxes of a part of each object, or of an object and its surroundings."""
    factor = dice.choice([0.4, 0.5, 0.6, 1.0, 1.6, 2.0], (len(boxes), 2))
    size = boxes[:, 2:] * factor
    room = np.abs(boxes[:, 2:] - size)
    centre = boxes[:, :2] + boxes[:, 2:] / 2 + room * dice.uniform(-0.5, 0.5, (len(boxes), 2))
    return np.concatenate([centre - size / 2, size], axis=1)


def _anywhere(height: int, width: int, n: int, dice: np.random.Generator) -> NDArray[np.float64]:
    """Boxes of any size at any place."""
    size = np.exp(dice.uniform(np.log(12), np.log(200), (n, 2)))
    corner = dice.uniform(0, 1, (n, 2)) * np.maximum(np.array([width, height]) - size, 1)
    return np.concatenate([corner, size], axis=1)
