"""Export the predictions of a run as COCO, which other tools read: FiftyOne, supervision, pycocotools."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from earthinstruct.datasets import Dataset, TrueImage, TrueObject, as_coco
from earthinstruct.errors import EarthInstructError, checked_arguments
from earthinstruct.files import as_json, replace_file, writing
from earthinstruct.predictions import Record, prediction_files
from earthinstruct.regions import decode_rles
from earthinstruct.results import Evaluation, Result
from earthinstruct.scoring.stored import dataset_of, read_run, read_stored


@checked_arguments
def export(
    run: Path | str | Evaluation,
    output: Path | str,
    *,
    results: bool = False,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
) -> Path:
    """Write the predictions of a run as a COCO file.

    The ids of images and categories are those of the dataset. An annotation has the `label` of the method and, where
    the method gives scores, a `score`; a point is its one keypoint. Instances whose label maps to no
    category are left out; `info` has their number. All instances are written, also those below a score threshold.

    Args:
        run: a run folder, the result file in it, or an evaluation of one task.
        output: the file.
        results: write the list of annotations alone, as `pycocotools.coco.COCO.loadRes` reads it.
        dataset: the dataset, or its name or path; None: the one that the run used.
        data: the folder of the user's data; None: the one that the run used.

    Returns:
        The file.

    Raises:
        EarthInstructError: the run is incomplete, or the file cannot be written, or is one of the run or its dataset.
    """
    output = Path(output)
    folder, result = read_run(run)
    stored = read_stored(folder, result, dataset_of(folder, result, dataset, data))
    read = (folder / "result.json", *prediction_files(folder), stored.dataset.annotation_file)
    if output.resolve() in {file.resolve() for file in read if file is not None}:
        raise EarthInstructError(f"{output} is a file of the run or of its dataset; give another file")
    images, left_out = [], 0
    for image in stored.dataset.images[: result.task.dataset.n_images]:
        record = stored.records.get(image.id)
        objects = () if record is None else tuple(_objects(record, result))
        left_out += 0 if record is None else len(record.labels) - len(objects)
        images.append(TrueImage(image.id, image.file_name, image.width, image.height, objects))
    about = {"task": result.task.name, "method": result.method.name, "labels_without_category": left_out}
    content = as_coco(images, stored.dataset.vocabulary.categories, info=about)
    ids = dict(enumerate(stored.dataset.category_ids, start=1))
    for category in content["categories"]:
        category["id"] = ids[category["id"]]
    labels = (
        label
        for image in images
        if (record := stored.records.get(image.id)) is not None
        for label in record.labels
        if result.label_map[label].category is not None
    )
    for annotation, label in zip(content["annotations"], labels, strict=True):
        annotation["category_id"] = ids[annotation["category_id"]]
        annotation["label"] = label
    with writing(output, "give another file"):
        replace_file(output, as_json(content["annotations"] if results else content))
    return output


def _objects(record: Record, result: Result) -> Iterator[TrueObject]:
    """The instances of an image whose label maps to a category."""
    areas = None if record.masks is None else decode_rles(record.masks).areas.tolist()
    for i, label in enumerate(record.labels):
        category = result.label_map[label].category
        if category is None:
            continue
        yield TrueObject(
            category,
            None if record.boxes is None else record.boxes[i],
            None if record.masks is None else record.masks[i],
            area=None if areas is None else areas[i],
            score=None if record.scores is None else record.scores[i],
            point=None if record.points is None else record.points[i],
        )
