"""The images of a report, worst first: a small picture, and what is there and was found as outlines over it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.errors import DataError
from earthinstruct.instances import Instances
from earthinstruct.metrics import PREDICTION_VERDICTS, TARGET_VERDICTS
from earthinstruct.metrics.tally import count_per_image
from earthinstruct.report import MAX_IMAGES
from earthinstruct.report.loaded import LoadedRun
from earthinstruct.report.outlines import mask_path

_LONGEST_SIDE = 480  # of a picture in the page, pixels
_QUALITY = 60  # of its JPEG


@dataclass(frozen=True)
class Gallery:
    """The shown images.

    Attributes:
        entries: what the page's script reads, one an image, worst first.
        pictures: a JPEG as base64 for each entry, or None.
        n_images: how many images were scored.
        unreadable: file name -> why its picture is missing.
    """

    entries: list[dict[str, Any]]
    pictures: list[str | None]
    n_images: int
    unreadable: dict[str, str]

    @property
    def left_out(self) -> int:
        """Images that are scored and not shown."""
        return self.n_images - len(self.entries)


def worst_first(run: LoadedRun) -> NDArray[np.int64]:
    """The images by failure, then by errors, then by the share of errors, then in the order of the dataset."""
    failed = np.array([image in run.failed for image in run.truth.images], dtype=bool)
    share = run.errors / np.maximum(run.objects, 1)
    return np.lexsort((-share, -run.errors, ~failed))


def make_gallery(
    run: LoadedRun,
    against: LoadedRun | None = None,
    max_images: int = MAX_IMAGES,
    progress: Callable[[int, int], None] | None = None,
) -> Gallery:
    """Choose, shrink and outline the worst images.

    Args:
        run: the run.
        against: another run of the same images, shown behind it.
        max_images: how many to show.
        progress: called with the images done and the images to do.
    """
    shown = worst_first(run)[:max_images]
    objects, found = _rows_by_image(run.truth.instances, run), _rows_by_image(run.predicted.instances, run)
    other = None if against is None else _rows_by_image(against.predicted.instances, run)
    names, (actual, said) = run.truth.categories, _counts(run)
    counted = actual + said
    entries: list[dict[str, Any]] = []
    pictures: list[str | None] = []
    unreadable: dict[str, str] = {}
    for done, index in enumerate(shown.tolist()):
        if progress:
            progress(done + 1, len(shown))
        image = run.stored.dataset.images[index]
        entry = {
            "id": str(image.id),
            "file": image.file_name,
            "width": image.width,
            "height": image.height,
            "errors": int(run.errors[index]),
            "seconds": _seconds(run, index),
            "failed": run.failed.get(image.id),
            "counts": [(names[c], int(actual[index, c]), int(said[index, c])) for c in np.flatnonzero(counted[index])],
            "truth": list(_truth(run, objects[index], index)),
            "predicted": list(_predicted(run, found[index], index)),
        }
        if against is not None and other is not None:
            entry["before"] = int(against.errors[index])
            entry["other"] = list(_predicted(against, other[index], index))
        entries.append(entry)
        try:
            pictures.append(_jpeg(run.stored.dataset.read_image(index)))
        except DataError as error:
            unreadable[image.file_name] = str(error)
            pictures.append(None)
    return Gallery(entries, pictures, len(run.truth.images), unreadable)


def _rows_by_image(instances: Instances, run: LoadedRun) -> list[NDArray[np.int64]]:
    """The rows of the instances of each image."""
    order = np.argsort(instances.image, kind="stable")
    return np.split(order, np.searchsorted(instances.image[order], np.arange(1, len(run.truth.images))))


def _truth(run: LoadedRun, rows: NDArray[np.int64], index: int) -> Iterator[dict[str, Any]]:
    for row in rows.tolist():
        yield {
            "category": run.truth.categories[run.truth.instances.category[row]],
            "kind": TARGET_VERDICTS[run.verdicts.targets[row]],
            **_shape(run, run.truth.instances, row, index),
        }


def _predicted(run: LoadedRun, rows: NDArray[np.int64], index: int) -> Iterator[dict[str, Any]]:
    instances = run.predicted.instances
    for row in rows.tolist():
        category = int(instances.category[row])
        drawn: dict[str, Any] = {
            "label": run.labels[row],
            "category": run.truth.categories[category] if category >= 0 else None,
            "kind": PREDICTION_VERDICTS[run.verdicts.predictions[row]],
            **_shape(run, instances, row, index),
        }
        target = int(run.verdicts.because_of[row])
        if target >= 0:
            drawn["on"] = run.truth.categories[run.truth.instances.category[target]]
            drawn["iou"] = round(float(run.verdicts.iou[row]), 2)
        if instances.scores is not None:
            drawn["score"] = round(float(instances.scores[row]), 3)
        yield drawn


def _shape(run: LoadedRun, instances: Instances, row: int, index: int) -> dict[str, Any]:
    shape: dict[str, Any] = {"box": [round(side, 1) for side in instances.boxes[row].tolist()]}
    if instances.masks is not None:
        image = run.stored.dataset.images[index]
        shape["mask"] = mask_path(instances.masks, row, max(1.0, max(image.width, image.height) / _LONGEST_SIDE))
    return shape


def _counts(run: LoadedRun) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Objects that are there, and that a method says are there: two int64 (images, categories)."""
    actual = count_per_image(run.truth.instances, *run.truth.shape)
    own = count_per_image(run.predicted.instances, *run.truth.shape)
    return actual, np.where(run.predicted.has_counts[:, None], run.predicted.counts, own)


def _seconds(run: LoadedRun, index: int) -> float | None:
    record = run.records.get(run.truth.images[index])
    seconds = None if record is None else record.seconds.get("total")
    return None if seconds is None else round(seconds, 3)


def _jpeg(pixels: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=_QUALITY, optimize=True)
    return base64.b64encode(stored.getvalue()).decode("ascii")
