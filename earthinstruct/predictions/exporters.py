"""Export predictions for other tools: records, COCO with images and annotations, a table of counts."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.contract import Prediction
from earthinstruct.datasets import TrueImage, TrueObject, as_coco
from earthinstruct.images import Place
from earthinstruct.predictions.file import Record
from earthinstruct.regions import decode_rles
from earthinstruct.texts import spreadsheet_cell


@dataclass(frozen=True, eq=False)
class Found:
    """The prediction for one image.

    Attributes:
        path: the image.
        height: of the image, pixels.
        width: of the image, pixels.
        place: its georeference, if it has one.
        prediction: what was found.
        notes: how the pixels that the method saw differ from those of the file.
    """

    path: Path
    height: int
    width: int
    place: Place | None
    prediction: Prediction
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """The counts, how many objects were counted but not drawn, or drawn but not counted, and the notes."""
        undrawn, uncounted = undrawn_and_uncounted(self.prediction)
        return {
            "counts": counts_of(self.prediction),
            "counted_not_drawn": undrawn,
            "drawn_not_counted": uncounted,
            "notes": list(self.notes),
        }

    def tile(self, index: int) -> str:
        """The tile that an instance comes from, as `--window` takes it; the whole image if it was not cut."""
        tiles = self.prediction.tiles
        return ",".join(map(str, (0, 0, self.width, self.height) if tiles is None else tiles[index]))


def counts_of(prediction: Prediction) -> dict[str, int]:
    """The count of each label: the method's, or else the number of instances."""
    return dict(prediction.counts if prediction.counts is not None else sorted(Counter(prediction.labels).items()))


def undrawn_and_uncounted(prediction: Prediction) -> tuple[int, int]:
    """How many objects were counted but not drawn, and drawn but not counted."""
    counted, drawn = Counter(counts_of(prediction)), Counter(prediction.labels)
    return (counted - drawn).total(), (drawn - counted).total()


def records_of(found: Sequence[Found], about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert predictions to one object, with a record for each image as in `predictions.jsonl`.

    Args:
        found: one entry per image.
        about: what made the predictions.
    """
    images = [msgspec.to_builtins(Record.of(str(image.path), image.prediction)) | image.summary() for image in found]
    return {"about": about, "images": images}


def coco_of(found: Sequence[Found], about: Mapping[str, Any]) -> dict[str, Any]:
    """Convert predictions to one COCO object, with ids from 1 and the labels as categories in alphabetical order.

    File names are relative to the deepest folder that holds all images. An annotation has a `score` if the method gave
    one, and a point is its one keypoint. Labels that were only counted are categories too.

    Args:
        found: one entry per image.
        about: what made the predictions, for `info`.
    """
    folder = os.path.commonpath([image.path.absolute().parent for image in found]) if found else ""
    names = sorted({label for image in found for label in (*image.prediction.labels, *counts_of(image.prediction))})
    images = [
        TrueImage(
            number,
            image.path.absolute().relative_to(folder).as_posix(),
            image.width,
            image.height,
            tuple(_objects(image.prediction)),
        )
        for number, image in enumerate(found, start=1)
    ]
    content = as_coco(images, names, info=about)
    for entry, image in zip(content["images"], found, strict=True):
        entry |= image.summary()
    tiles = (image.tile(i) for image in found for i in range(len(image.prediction)))
    for entry, tile in zip(content["annotations"], tiles, strict=True):
        entry["tile"] = tile
    return content


def _objects(prediction: Prediction) -> Iterator[TrueObject]:
    boxes, points = prediction.boxes, prediction.points
    areas = None if prediction.masks is None else decode_rles(prediction.masks).areas.tolist()
    for i, label in enumerate(prediction.labels):
        yield TrueObject(
            label,
            None if boxes is None else tuple(boxes[i].tolist()),
            None if prediction.masks is None else prediction.masks[i],
            area=None if areas is None else areas[i],
            score=None if prediction.scores is None else float(prediction.scores[i]),
            point=None if points is None else tuple(points[i].tolist()),
        )


def summary_of(found: Sequence[Found], about: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says beside the instances: what made them, and the counts of each image."""
    return {"about": dict(about), "images": [{"image": str(image.path), **image.summary()} for image in found]}


def counts_csv(found: Sequence[Found], about: Mapping[str, Any]) -> str:
    """A table with a row for each image and label; a failed image has a row without a label."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(("image", "label", "count", "drawn", "counted_not_drawn", "drawn_not_counted", "notes"))
    for image in found:
        notes = spreadsheet_cell(" ".join(f"{note}." for note in (*image.notes, *about.get("notes", ()))))
        drawn = Counter(image.prediction.labels)
        for label, n in (dict.fromkeys(sorted(drawn), 0) | counts_of(image.prediction)).items():
            apart = max(0, n - drawn[label]), max(0, drawn[label] - n)
            rows.writerow((spreadsheet_cell(str(image.path)), spreadsheet_cell(label), n, drawn[label], *apart, notes))
    rows.writerows(
        (spreadsheet_cell(path), "", "", "", "", "", spreadsheet_cell(why))
        for path, why in about.get("failed", {}).items()
    )
    return text.getvalue()
