"""Read a scored run back from its folder: its result, predictions and dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from earthinstruct.datasets import Dataset, Origin, dataset_sources, image_attributes, load_dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import ExtraMetric, Protocol, ScoreThreshold, SliceImages, protocol_named, threshold_of
from earthinstruct.predictions import Record, hash_predictions, prediction_files, read_manifest, read_predictions
from earthinstruct.regions import ImageId
from earthinstruct.results import Evaluation, Result, StoredTallies, read_result, read_tallies, results_in
from earthinstruct.scoring.records import ScoringSet
from earthinstruct.scoring.slicing import slices_by
from earthinstruct.tasks import FileMapper, Task, task_named, with_variant_of
from earthinstruct.texts import plural


@dataclass(frozen=True, eq=False)
class StoredRun:
    """A scored run with its predictions, and the dataset that it was scored against."""

    folder: Path
    result: Result
    dataset: Dataset
    task: Task
    records: Mapping[ImageId, Record]

    @property
    def protocol(self) -> Protocol:
        """The rules it was scored under."""
        return protocol_named(self.result.protocol)

    @property
    def threshold(self) -> ScoreThreshold:
        """The score threshold that it was scored at."""
        return threshold_of(self.result.metrics, self.images)

    @property
    def images(self) -> list[ImageId]:
        """The scored images."""
        return [image.id for image in self.dataset.images[: self.result.task.dataset.n_images]]

    def scoring_set(self, images: Sequence[ImageId] | None = None) -> ScoringSet:
        """Its predictions of these images (None: all), mapped by the label map of its result, and the ground truth.

        Raises:
            DataError: the predictions are malformed.
        """
        mapper = FileMapper(self.result.label_mapper, self.result.label_map)
        images = self.images if images is None else images
        return ScoringSet(self.task, self.dataset, self.records, self.protocol, mapper, images)


def run_folder(run: Path | str | Evaluation) -> Path:
    """A run folder: the path itself, the folder of the result file that it names, or that of an evaluation.

    Raises:
        EarthInstructError: an evaluation has several runs.
    """
    path = run.folder if isinstance(run, Evaluation) else Path(run)
    return path.parent if path.name == "result.json" else path


def read_run(run: Path | str | Evaluation) -> tuple[Path, Result]:
    """The folder of one run, and its result.

    Raises:
        EarthInstructError: an evaluation has several runs.
        DataError: the folder has no result, or the result is malformed.
    """
    folder = run_folder(run)
    if folder.is_dir() and not (folder / "result.json").is_file():
        if any(folder.rglob("result.json")):
            below = [file.parent for file, _ in results_in(folder)]
            raise DataError(
                f"{folder} is a folder of {plural(len(below), 'run')}; give one of them, such as {below[0]}"
            )
        raise DataError(f"{folder} has no result.json; give a run folder, as printed by `earthinstruct evaluate`")
    return folder, read_result(folder / "result.json")


def dataset_of(
    folder: Path, result: Result, dataset: str | Path | Dataset | None = None, data: Path | str | None = None
) -> Dataset:
    """Load the dataset that a run was scored against, by default from where the run found it.

    Raises:
        DataError: the dataset is missing or has other annotations.
    """
    if dataset is None:
        dataset = _remembered(folder, result, data)
    elif not isinstance(dataset, Dataset):
        dataset = load_dataset(dataset, data)
    if dataset.sha256 != result.task.dataset.annotations_sha256:
        raise DataError(
            f"the annotations of dataset {dataset.name!r} are not those against which {result.method.name} on "
            f"{result.task.name} was scored; give the original dataset with --dataset PATH, or score the run again"
        )
    return replace(dataset, image_options=result.task.images)


def _remembered(folder: Path, result: Result, data: Path | str | None) -> Dataset:
    """Load the dataset from the path in the run's manifest or, without a manifest, by the name in the result."""
    manifest = folder / "run.json"
    origin = read_manifest(manifest).dataset if manifest.is_file() else None
    origin = origin or Origin(result.task.dataset.name)
    source = dataset_sources().get(origin.name)
    if source is None and not Path(origin.name).exists():
        raise DataError(f"the dataset of {folder} is no longer at {origin.name}; give its path with --dataset PATH")
    if source is not None and data is None and origin.data and source.missing(Path(origin.data)) is None:
        data = Path(origin.data)
    images = Path(origin.images) if origin.images and Path(origin.images).is_dir() else None
    return load_dataset(origin.name, data, images, skip_invalid=origin.skip_invalid)


def read_stored(folder: Path, result: Result, dataset: Dataset) -> StoredRun:
    """Find the predictions of a run; `dataset` comes from `dataset_of`.

    Raises:
        DataError: the predictions are missing, malformed, or have changed since they were scored.
    """
    files = prediction_files(folder)
    if not files:
        raise DataError(f"{folder} has no predictions.jsonl; give a run folder with the predictions that were scored")
    if result.predictions.sha256 not in (None, hash_predictions(files)):
        raise DataError(f"{files[0]} has changed since it was scored; score it again with `earthinstruct score`")
    task = task_named(result.task.name, dataset.name, dataset.vocabulary)
    task = with_variant_of(task, result.task.variant, result.task.instruction_sha256)
    return StoredRun(folder, result, dataset, task, read_predictions(folder, dataset))


def tallies_of(
    folder: Path,
    result: Result,
    dataset: str | Path | Dataset | None = None,
    data: Path | str | None = None,
    extra: Sequence[ExtraMetric] = (),
) -> StoredTallies:
    """The tallies of a run: those beside its result or, without them and for metric plug-ins, by scoring it again.

    Args:
        folder: the run folder.
        result: its result.
        dataset: the dataset, or its name or path; None: the one that the run used. Read only if needed.
        data: the folder of the user's data; None: the one that the run used.
        extra: metric plug-ins to tally as well.

    Raises:
        DataError: a file is missing or malformed, or a metric is undefined for the run.
    """
    stored = read_tallies(folder, result)
    if stored is None or extra:
        run = read_stored(folder, result, dataset_of(folder, result, dataset, data))
        return replace(_scored_again(run, extra), slices=_sliced_again(run) if stored is None else stored.slices)
    return stored


def _sliced_again(run: StoredRun) -> dict[str, SliceImages]:
    """The slices of a result, by the attributes of its dataset; only those that agree with the result."""
    images, known = run.images, image_attributes(run.dataset)
    found = {}
    for name, slices in run.result.metrics.slices.items():
        again = slices_by(name, known[name], images) if name in known else {}
        if [(one.name, one.n_images) for one in slices] == [(part, len(of)) for part, of in again.items()]:
            found[name] = again
    return found


def _scored_again(run: StoredRun, extra: Sequence[ExtraMetric]) -> StoredTallies:
    if run.result.protocol_version != run.protocol.version:
        raise DataError(
            f"{run.folder} was scored under version {run.result.protocol_version} of protocol {run.protocol.name}, and "
            f"this release has version {run.protocol.version}; score it again with `earthinstruct score`"
        )
    whole = run.scoring_set().tallied(run.threshold, extra)
    for name, tally in whole.extra.items():
        if isinstance(tally, str):
            raise DataError(f"metric {name!r} is undefined for {run.folder}: {tally}")
    return StoredTallies(whole.named_tallies, dict(run.task.groups))
