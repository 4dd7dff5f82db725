"""Runs as frames of pandas: a row for each image, or for each prediction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from earthinstruct.datasets import N_OBJECTS, Dataset, image_attributes
from earthinstruct.errors import checked_arguments
from earthinstruct.metrics import GEOMETRIES, PREDICTION_VERDICTS, value_at, verdicts
from earthinstruct.predictions import PLACE, POINT_PLACE, places_of
from earthinstruct.results import Evaluation, read_result, results_in
from earthinstruct.scoring.stored import StoredRun, dataset_of, read_stored, run_folder, tallies_of

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("tp", "fp", "fn")


def runs_of(runs: Path | str | Evaluation) -> list[Path]:
    """The run folders that are meant: those of an evaluation, a run folder itself, or all below a folder.

    Raises:
        DataError: there is no result.
    """
    if isinstance(runs, Evaluation):
        return list(runs.folders)
    folder = run_folder(runs)
    return [file.parent for file, _ in results_in(folder)]


@checked_arguments
def images_df(
    runs: Path | str | Evaluation,
    *,
    per_category: bool = False,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
) -> pd.DataFrame:
    """One row for each image of each run, with its counts, errors, costs and attributes.

    Columns: `task`, `method`, `image` (its id), `file_name`; `objects` and `counted`, the annotated and the counted
    number of objects; `counting_tp`, `counting_fp`, `counting_fn`, and the same of `box`, `mask` and `point` where the
    run has them (protocol `paper` counts in some images only: in the others `counted` and `counting_*` are missing);
    `seconds`, `input_tokens`, `output_tokens`, `error` (the reason of a failure); then the attributes of the
    images that the COCO file has, such as the sensor (`attribute_NAME` where a name is taken).

    Args:
        runs: a run folder, a folder of runs, or what `evaluate` returned.
        per_category: a row for each image and category, named in the column `category`. Seconds and tokens are still
            those of the whole image.
        dataset: the dataset, or its name or path; None: the one that each run used.
        data: the folder of the user's data; None: the one that each run used.

    Raises:
        EarthInstructError: a folder holds no run, or the dataset or the predictions of a run are not there any more.
    """
    import pandas as pd

    frames = [_images_of(_read(folder, dataset, data), per_category) for folder in runs_of(runs)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


@checked_arguments
def predictions_df(
    runs: Path | str | Evaluation,
    *,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
) -> pd.DataFrame:
    """One row for each predicted instance of each run, with its verdict.

    Columns: `task`, `method`, `image`, `file_name`; `label`, the method's own word, and `category`, what it was mapped
    to (missing: none); `x`, `y`, `width`, `height` in pixels (missing for points alone); `score` (missing without
    scores); `verdict` by boxes, or by points alone, as in `earthinstruct.metrics.verdicts`; of the object that explains
    the verdict `object` (its category) and `iou` (missing for points alone); and, where a run has points, `point_x` and
    `point_y`.

    Arguments and errors as for `images_df`.
    """
    import pandas as pd

    columns = ["task", "method", "image", "file_name", "label", "category", *PLACE, "verdict", "object", "iou"]
    rows = [row for folder in runs_of(runs) for row in _predictions_of(_read(folder, dataset, data))]
    columns += [name for name in POINT_PLACE if any(name in row for row in rows)]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype(dict.fromkeys(({*PLACE, *POINT_PLACE, "iou"} & {*columns}), float))


def _read(folder: Path, dataset: str | Path | Dataset | None, data: Path | str | None) -> StoredRun:
    result = read_result(folder / "result.json")
    return read_stored(folder, result, dataset_of(folder, result, dataset, data))


def _images_of(run: StoredRun, per_category: bool) -> pd.DataFrame:
    import pandas as pd

    tallies = tallies_of(run.folder, run.result, run.dataset).tallies
    images, categories = tallies["box"].images, tallies["box"].categories
    rows = len(categories) if per_category else 1
    frame: dict[str, Any] = {
        "task": run.task.name,
        "method": run.result.method.name,
        "image": np.repeat(np.array(images, dtype=object), rows),
    }
    records = [run.records.get(image) for image in images]
    names = {image.id: image.file_name for image in run.dataset.images}
    frame["file_name"] = np.repeat([names[image] for image in images], rows)
    if per_category:
        frame["category"] = np.tile(categories, len(images))
    truth = tallies["box"].columns  # of every image, also where the method only counts
    frame["objects"] = truth["tp"].astype(np.int64) + truth["fn"]
    for geometry in GEOMETRIES:
        if geometry not in tallies or not _defined(run, geometry):
            continue
        tally, with_row = tallies[geometry].in_order(images), set(tallies[geometry].images)
        found = {name: tally.columns[name].astype(np.int64) for name in _COLUMNS}
        if without := [i for i, image in enumerate(images) if image not in with_row]:  # counts of protocol `paper`
            found = {name: column.astype(float) for name, column in found.items()}
            for column in found.values():
                column[without] = np.nan
        if geometry == "counting":
            frame["counted"] = found["tp"] + found["fp"]
        frame |= {f"{geometry}_{name}": column for name, column in found.items()}
    for name, column in frame.items():
        if isinstance(column, np.ndarray) and column.ndim == 2:
            frame[name] = column.ravel() if per_category else column.sum(axis=1)
    frame["seconds"] = np.repeat(
        [np.nan if record is None else record.seconds.get("total", np.nan) for record in records], rows
    )
    for name in ("input_tokens", "output_tokens"):
        frame[name] = np.repeat([0 if record is None else getattr(record, name) for record in records], rows)
    reasons = ["no prediction" if record is None else record.error for record in records]
    frame["error"] = np.repeat(np.array(reasons, dtype=object), rows)
    for name, values in image_attributes(run.dataset).items():
        if name != N_OBJECTS:
            column = np.array([values.get(image) for image in images], dtype=object)
            frame[f"attribute_{name}" if name in frame else name] = np.repeat(column, rows)
    return pd.DataFrame(frame).infer_objects()


def _defined(run: StoredRun, geometry: str) -> bool:
    value = value_at(run.result.metrics, f"{geometry}.f1")
    return value is not None and value.value is not None


def _predictions_of(run: StoredRun) -> Iterator[dict[str, Any]]:
    names = {image.id: image.file_name for image in run.dataset.images}
    known = run.scoring_set()
    for truth, predicted in known.chunks(boxes_only=known.survey.no_boxes_reason is None):
        instances, targets = predicted.instances, truth.instances
        found = verdicts(truth, predicted, run.protocol, predicted.geometry, threshold=run.threshold)
        answered = (run.records[image] for image in truth.images if image not in known.survey.failed)
        placed = (pair for record in answered for pair in zip(record.labels, places_of(record), strict=True))
        for i, (label, place) in enumerate(placed):
            image, target = truth.images[instances.image[i]], int(found.because_of[i])
            category = int(instances.category[i])
            yield {
                "task": run.task.name,
                "method": run.result.method.name,
                "image": image,
                "file_name": names[image],
                "label": label,
                "category": truth.categories[category] if category >= 0 else None,
                **place,
                "verdict": PREDICTION_VERDICTS[found.predictions[i]],
                "object": truth.categories[targets.category[target]] if target >= 0 else None,
                "iou": float(found.iou[i]) if target >= 0 and predicted.geometry != "point" else None,
            }
