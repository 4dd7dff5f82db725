"""Read folders that detectors write: COCO results in several files, a file an image, or the text files of DOTA."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import msgspec

from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import DataError
from earthinstruct.files import read_json, read_text
from earthinstruct.predictions.coco_results import NO_CATEGORY, RunLengths, read_coco_results, rle_of
from earthinstruct.predictions.file import Box, Record, as_boxes
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import BoxForm, ImageId

_CORNERS, _UPRIGHT = BoxForm("corners"), BoxForm("xyxy")
_LINE = "`image score x1 y1 x2 y2`, or four corners"
_SUFFIX = re.compile(r"\.json(\.gz)?$", re.IGNORECASE)


class _Inference(msgspec.Struct):
    """What mmdetection's `DetInferencer` writes about an image."""

    labels: list[int]
    bboxes: list[list[float]]
    scores: list[float] | None = None
    masks: list[RunLengths] | None = None


def read_results_in_files(
    files: Sequence[Path], dataset: Dataset, form: BoxForm, classes: Mapping[int, str | None] | None
) -> dict[ImageId, Record]:
    """Read COCO results that lie in several files, such as one a category; arguments as in `read_coco_results`.

    Raises:
        DataError: a file is malformed, or only some files have masks or scores.
    """
    parts = {file: read_coco_results(file, dataset, form, classes) for file in files}
    has: dict[str, dict[bool, Path]] = {"masks": {}, "scores": {}}
    for file, part in parts.items():
        for record in part.values():
            if record.labels:
                has["masks"].setdefault(record.masks is not None, file)
                has["scores"].setdefault(record.scores is not None, file)
    for field, found in has.items():
        if len(found) > 1:
            raise DataError(f"{found[True]} has {field}, and {found[False]} has none; give them in all files or none")
    without = {field for field, found in has.items() if True not in found}
    if not has["scores"]:
        without.discard("scores")  # nothing was found in any file
    return {image.id: _joined([part[image.id] for part in parts.values()], without) for image in dataset.images}


def _joined(parts: Sequence[Record], without: Container[str]) -> Record:
    """One record of several about an image."""
    events: Counter[str] = Counter()
    for part in parts:
        events.update(part.events)
    return Record(
        parts[0].image_id,
        [label for part in parts for label in part.labels],
        [box for part in parts for box in part.boxes or ()],
        None if "masks" in without else [mask for part in parts for mask in part.masks or ()],
        None if "scores" in without else [score for part in parts for score in part.scores or ()],
        events=dict(events),
    )


def read_inferences(
    files: Sequence[Path], folder: Path, dataset: Dataset, form: BoxForm, classes: Mapping[int, str | None]
) -> dict[ImageId, Record]:
    """Read one JSON file an image, `<image name>.json` with `{"labels", "bboxes", "scores", "masks"}`.

    Args:
        files: the files.
        folder: the folder that they lie in.
        dataset: the dataset of the predictions.
        form: what the numbers of a box mean.
        classes: number in `labels` -> label, or None: the object is left out, and an event has the number of them.

    Raises:
        DataError: a file is malformed, belongs to no image, or has a class that `classes` lacks.
    """
    names = {_SUFFIX.sub("", file.relative_to(folder).as_posix()): file for file in files}
    images = ImageNames(dataset).find(names, lambda name: str(names[str(name)]), ids=False)
    found = {name: _inference(file, form, classes) for name, file in names.items()}
    if misfit := form.misfit([box for of_image in found.values() for box in of_image.bboxes]):
        raise DataError(f"{folder}: {misfit}")
    return {images[name].id: _record(found[name], names[name], images[name], form, classes) for name in names}


def _inference(file: Path, form: BoxForm, classes: Mapping[int, str | None]) -> _Inference:
    """Read the detections of one image, and check that they belong together."""
    what = '{"labels": [0], "bboxes": [[x1, y1, x2, y2]], "scores": [0.9]}'
    found = read_json(file, _Inference, "file of detections", what)
    for field, values in (("bboxes", found.bboxes), ("scores", found.scores), ("masks", found.masks)):
        if values is not None and len(values) != len(found.labels):
            raise DataError(f"{file} has {len(found.labels)} labels and {len(values)} {field}")
    for i, (number, box) in enumerate(zip(found.labels, found.bboxes, strict=True)):
        if number not in classes:
            raise DataError(f"{file}: labels[{i}] is the class {number}, which --classes lacks; add it")
        if len(box) != form.n_numbers:
            raise DataError(
                f"{file}: bboxes[{i}] has {len(box)} numbers; a box as {form.order} has {form.n_numbers}: give another "
                "--order"
            )
    return found


def _record(
    found: _Inference, file: Path, image: ImageRecord, form: BoxForm, classes: Mapping[int, str | None]
) -> Record:
    labels = [classes[number] for number in found.labels]
    kept = [i for i, label in enumerate(labels) if label is not None]
    boxes = as_boxes(form.boxes(found.bboxes, [(image.width, image.height)] * len(labels)))
    where = partial("{}: masks[{}]".format, file)
    return Record(
        image.id,
        [labels[i] or "" for i in kept],
        [boxes[i] for i in kept],
        None if found.masks is None else [rle_of(found.masks[i], partial(where, i)) for i in kept],
        None if found.scores is None else [found.scores[i] for i in kept],
        events={NO_CATEGORY: len(labels) - len(kept)} if len(kept) < len(labels) else {},
    )


def read_dota_results(files: Sequence[Path], dataset: Dataset) -> dict[ImageId, Record]:
    """Read `Task1_<category>.txt` (turned boxes) or `Task2_<category>.txt` (upright ones) of the benchmark DOTA.

    A turned box becomes the upright one around it. Every image of the dataset gets a record, because an image without
    lines was predicted empty.

    Raises:
        DataError: a line is malformed, or is about no image of the dataset.
    """
    records = {image.id: Record(image.id, boxes=[], scores=[]) for image in dataset.images}
    names = ImageNames(dataset)
    for file in files:
        lines = [_line(line, f"{file}, line {n}") for n, line in enumerate(_text(file), start=1) if line.strip()]
        images = names.find([name for name, _ in lines], partial("{}, image {!r}".format, file), ids=False, once=False)
        form = _UPRIGHT if all(len(numbers) == 5 for _, numbers in lines) else _CORNERS
        if mixed := [i for i, (_, numbers) in enumerate(lines) if len(numbers) != 1 + form.n_numbers]:
            raise DataError(
                f"{file}: its lines have 4 or 8 coordinates, such as entry {mixed[0]}; expected one of both"
            )
        scores_last = sum(numbers[0] > 1 and 0 <= numbers[-1] <= 1 for _, numbers in lines)
        if 2 * scores_last > len(lines):
            raise DataError(
                f"{file}: the last number of {scores_last} of {len(lines)} lines looks like a score; expected {_LINE}"
            )
        boxes = as_boxes(form.boxes([numbers[1:] for _, numbers in lines], [(1, 1)] * len(lines)))
        for (name, (score, *_)), box in zip(lines, boxes, strict=True):
            record = records[images[name].id]
            record.labels.append(file.stem.partition("_")[2])
            cast(list[Box], record.boxes).append(box)
            cast(list[float], record.scores).append(score)
    return records


def _text(file: Path) -> list[str]:
    return read_text(file, "results of DOTA").splitlines()


def _line(line: str, where: str) -> tuple[str, list[float]]:
    """The image of a line, and its numbers: the score, and four corners or two."""
    image, *words = line.split()
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) not in (5, 9) or not all(map(math.isfinite, numbers)):
        raise DataError(f"{where} is {line.strip()!r}; expected {_LINE}")
    return image, numbers
