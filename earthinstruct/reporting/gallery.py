"""The gallery of a report: small pictures, worst images first, with outlines of the ground truth and predictions."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.errors import DataError
from earthinstruct.images import step_for
from earthinstruct.metrics import PREDICTION_VERDICTS, TARGET_VERDICTS
from earthinstruct.regions import ImageId, Instances, mask_path
from earthinstruct.reporting.loaded import Judged, LoadedRun

MAX_IMAGES = 200  # shown on a page by default
_LONGEST_READ = 4096  # side of the pixels that are read for it
_LONGEST_SIDE = 480  # pixels of a picture on the page
_QUALITY = 60  # JPEG quality


@dataclass(frozen=True)
class Gallery:
    """The shown images."""

    entries: list[dict[str, Any]]  # the data of each image for the script of the page, worst image first
    pictures: list[str | None]  # a JPEG as base64 for each entry, or None if the image cannot be read
    n_images: int  # number of scored images
    unreadable: dict[str, str]  # file name -> why its picture is missing

    @property
    def left_out(self) -> int:
        """Number of scored images that are not shown."""
        return self.n_images - len(self.entries)


def worst_first(run: LoadedRun) -> NDArray[np.int64]:
    """Sort the images: failed ones first, then by number of errors, share of errors, and order of the dataset."""
    failed = np.array([image in run.failed for image in run.images], dtype=bool)
    share = run.errors / np.maximum(run.objects, 1)
    return np.lexsort((-share, -run.errors, ~failed))


def shown_images(run: LoadedRun, others: Sequence[LoadedRun], max_images: int) -> list[int]:
    """Choose the images with the most errors, the largest counting errors, and the largest differences from others.

    They are in turn the first of each of these orders, and then sorted as in `worst_first`.
    """
    n, order = len(run.images), worst_first(run)
    place = np.empty(n, dtype=np.int64)
    place[order] = np.arange(n)
    best = place.copy()
    pairs = [run.errors_beside(other) for other in others]
    for value in (run.miscounted, *(np.abs(own - of_other) for _, own, of_other in pairs)):
        by_value = order[np.argsort(-value[order], kind="stable")]
        rank = np.empty(n, dtype=np.int64)
        rank[by_value] = np.arange(n)
        best = np.where(value > 0, np.minimum(best, rank), best)
    chosen = np.lexsort((place, best))[:max_images]
    return [int(index) for index in chosen[np.argsort(place[chosen])]]


def make_gallery(
    run: LoadedRun,
    others: Sequence[LoadedRun],
    max_images: int,
    progress: Callable[[int, int], None] | None,
) -> Gallery:
    """Choose, shrink and outline images; the predictions of other runs are shown for comparison."""
    shown = shown_images(run, others, max_images)
    described = _entries(run, others, shown)
    entries: list[dict[str, Any]] = []
    pictures: list[str | None] = []
    unreadable: dict[str, str] = {}
    for done, index in enumerate(shown):
        if progress:
            progress(done + 1, len(shown))
        entries.append(described[index])
        try:
            with run.stored.dataset.open_scene(index) as scene:
                pictures.append(_jpeg(scene.read(step=step_for(scene.height, scene.width, _LONGEST_READ))[0]))
        except DataError as error:
            unreadable[run.stored.dataset.images[index].file_name] = str(error)
            pictures.append(None)
    return Gallery(entries, pictures, len(run.images), unreadable)


def _entries(run: LoadedRun, others: Sequence[LoadedRun], shown: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Index of an image in the dataset -> its data for the script of the page."""
    places = sorted(shown)
    images = [run.images[place] for place in places]
    found: dict[int, dict[str, Any]] = {}
    for judged, *of_others in zip(run.judged(images), *(other.judged(images) for other in others), strict=False):
        objects = _rows_by_image(judged.truth.instances, judged)
        predictions = _rows_by_image(judged.predicted.instances, judged)
        others_predictions = [_rows_by_image(other.predicted.instances, other) for other in of_others]
        actual, said = judged.counts
        for i in range(len(judged.truth.images)):
            place = places[len(found)]
            image = run.stored.dataset.images[place]
            counted = np.flatnonzero(actual[i] + said[i])
            finest = max(1.0, max(image.width, image.height) / _LONGEST_SIDE)
            found[place] = {
                "id": str(image.id),
                "file": image.file_name,
                "width": image.width,
                "height": image.height,
                "errors": int(run.errors[place]),
                "miscounted": int(run.miscounted[place]),
                "seconds": _seconds(run, image.id),
                "failed": run.failed.get(image.id),
                "counts": [(run.stored.task.categories[c], int(actual[i, c]), int(said[i, c])) for c in counted],
                "truth": list(_truth(judged, objects[i], finest)),
                "predicted": list(_predicted(judged, predictions[i], finest)),
            }
            found[place]["others"] = [
                {
                    "errors": int(other.errors[place]),
                    "miscounted": int(other.miscounted[place]),
                    "predicted": list(_predicted(there, rows[i], finest)),
                }
                for other, there, rows in zip(others, of_others, others_predictions, strict=True)
            ]
    return found


def _rows_by_image(instances: Instances, judged: Judged) -> list[NDArray[np.int64]]:
    """The indices of the instances of each image."""
    order = np.argsort(instances.image, kind="stable")
    return np.split(order, np.searchsorted(instances.image[order], np.arange(1, len(judged.truth.images))))


def _truth(judged: Judged, rows: NDArray[np.int64], finest: float) -> Iterator[dict[str, Any]]:
    truth = judged.truth
    for row in rows.tolist():
        yield {
            "category": truth.categories[truth.instances.category[row]],
            "kind": TARGET_VERDICTS[judged.verdicts.targets[row]],
            **_shape(truth.instances, row, finest),
        }


def _predicted(judged: Judged, rows: NDArray[np.int64], finest: float) -> Iterator[dict[str, Any]]:
    instances, truth = judged.predicted.instances, judged.truth
    for row in rows.tolist():
        category = int(instances.category[row])
        drawn: dict[str, Any] = {
            "label": judged.labels[row],
            "category": truth.categories[category] if category >= 0 else None,
            "kind": PREDICTION_VERDICTS[judged.verdicts.predictions[row]],
            **_shape(instances, row, finest),
        }
        if judged.predicted.geometry == "point":
            del drawn["box"]
        target = int(judged.verdicts.because_of[row])
        if target >= 0:
            drawn["on"] = truth.categories[truth.instances.category[target]]
            if judged.predicted.geometry != "point":
                drawn["iou"] = round(float(judged.verdicts.iou[row]), 2)
        if instances.scores is not None:
            drawn["score"] = round(float(instances.scores[row]), 3)
        yield drawn


def _shape(instances: Instances, row: int, finest: float) -> dict[str, Any]:
    """The box, outline and point of an instance; `finest` is the tolerance of the outline in pixels."""
    shape: dict[str, Any] = {"box": [round(side, 1) for side in instances.boxes[row].tolist()]}
    if instances.masks is not None:
        shape["mask"] = mask_path(instances.masks, row, finest)
    if instances.points is not None:
        shape["point"] = [round(place, 1) for place in instances.points[row].tolist()]
    return shape


def _seconds(run: LoadedRun, image: ImageId) -> float | None:
    record = run.stored.records.get(image)
    seconds = None if record is None else record.seconds.get("total")
    return None if seconds is None else round(seconds, 3)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")
