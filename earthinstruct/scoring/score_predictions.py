"""The public function `score`: scores stored predictions of any format and, on request, keeps them as a run folder."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.datasets import Dataset, load_dataset, training_sets_given
from earthinstruct.errors import DataError, EarthInstructError, checked_arguments
from earthinstruct.files import collection_paused
from earthinstruct.metrics import (
    ExtraMetric,
    GivenMetrics,
    Protocol,
    Sweeping,
    extra_metrics,
    protocol_named,
    sweep_of,
)
from earthinstruct.predictions import (
    Conventions,
    Manifest,
    Record,
    Run,
    hash_predictions,
    place_of_run,
    prediction_files,
    read_manifest,
    read_predictions,
    refuse_runs,
    task_info,
)
from earthinstruct.regions import ImageId
from earthinstruct.results import (
    SCHEMA_VERSION,
    MethodInfo,
    PredictionsInfo,
    Result,
    RunInfo,
    TaskInfo,
    environment_info,
    read_result,
)
from earthinstruct.scoring.records import Scored, score_records
from earthinstruct.scoring.slicing import chosen_attributes
from earthinstruct.scoring.variants import summarised_variants
from earthinstruct.tasks import LabelMapper, Task, named_mapper, tasks_of, with_variant_of
from earthinstruct.texts import shortened


@checked_arguments
@collection_paused()
def score(
    predictions: Path | str,
    dataset: str | Path | Dataset,
    setting: str,
    *,
    parent: str | None = None,
    counts: Path | str | None = None,
    proposals: Path | str | None = None,
    classes: Path | str | None = None,
    order: str | None = None,
    frame: str | None = None,
    min_area: int = 1,
    data: Path | str | None = None,
    images: Path | str | None = None,
    skip_invalid: bool = False,
    protocol: str = "standard",
    label_map: str | Path | LabelMapper | None = None,
    threshold: float | None = None,
    sweep: Sweeping = False,
    metric: GivenMetrics = (),
    slice_by: str | Sequence[str] = (),
    attributes: Path | str | None = None,
    name: str | None = None,
    method_version: str | None = None,
    training_data: str | Sequence[str] | None = None,
    output: Path | str | None = None,
    overwrite: bool = False,
    kept: Callable[[Path], None] | None = None,
) -> Result:
    """Score stored predictions, in the format of this project or of another tool.

    With `output`, the predictions become a run folder, like that of `evaluate`. If the predictions are a run folder
    already, it is scored in place: the result is written beside its predictions, which are not changed. With another
    `name`, or with added `counts` or `proposals`, a new run folder is made.

    Args:
        predictions: a predictions file, a run folder, COCO results, a folder of count files or detections, semantic
            maps or replies (see `earthinstruct.predictions.read_predictions`).
        dataset: a dataset, the name of one, or the path of a COCO file.
        setting: the setting of the predictions.
        parent: the parent category; open_subclass only.
        counts: count files to add, a folder or one file of all images.
        proposals: a proposals file to add.
        classes: what the class numbers of another tool mean, a JSON file: class number -> category or null.
        order: what the numbers of its boxes are, such as `xyxy` or `cxcywh+radians` (see
            `earthinstruct.regions.BoxForm`).
        frame: what they refer to: `pixels`, or `fractions`, `hundredths` or `thousandths` of the image.
        min_area: for semantic maps, ignore regions with fewer pixels.
        data: the folder of the user's data.
        images: the folder of the images. Scoring does not read them; a report shows them.
        skip_invalid: leave out the objects that no method can find, instead of refusing the dataset.
        protocol: `standard` or `paper`.
        label_map: maps labels to categories: `exact`, `clip:<encoder>`, a JSON file, or a mapper. None: the mapper of
            the dataset.
        threshold: score the predictions with at least this score.
        sweep: first choose the score threshold with the largest box mF1, on the scored images themselves (an oracle).
            `cross`: choose the threshold of each fold of images on the other folds.
        metric: metric plug-ins to score as well, by name or as objects.
        slice_by: attributes of the images, such as `gsd`; scores are also given over the images of each value or range.
        attributes: a CSV file with attributes of the images; None: those of the dataset alone.
        name: the method's name; None: the name in the run folder, otherwise the file name.
        method_version: the method's version; None: the version in the run folder, if any.
        training_data: what the method was trained on: names of training sets, in a text with commas between them, or
            `unknown`; an empty text: it was not trained. None: as in the run folder, if any.
        output: the folder for run folders, `<output>/<task>/<name>/`; None: write nothing.
        overwrite: replace the contents of a run folder that holds another run or another kind of result.
        kept: called with the run folder after the result is written.

    Raises:
        EarthInstructError: invalid input.
    """
    rules, extra = checked_rules(protocol, threshold, sweep, metric)
    if not isinstance(dataset, Dataset):
        dataset = load_dataset(dataset, data, images, skip_invalid=skip_invalid)
    sliced = chosen_attributes(slice_by, attributes, dataset, rules)
    mapper = mapper_for(label_map, dataset)
    added = {kind: Path(path) for kind, path in (("counts", counts), ("proposals", proposals)) if path is not None}
    conventions = Conventions(None if classes is None else Path(classes), order, frame, min_area)
    given = _Given(Path(predictions), added, conventions)
    given.refuse_runs()
    task = given.asked(_one_task(dataset, setting, parent))
    method = given.method(name, method_version, training_data)
    info = given.task_info(task, dataset)
    scored = partial(
        score_records,
        task,
        dataset,
        protocol=rules,
        mapper=mapper,
        threshold=threshold,
        sweep=sweep,
        extra=extra,
        attributes=sliced,
    )
    if output is None:
        return result_of(info, method, given.named(scored, given.records(dataset)), rules, mapper, given.sha256)
    in_place = given.is_run_of(method.name)
    folder = given.folder if in_place else place_of_run(Path(output).absolute(), task, method.name)
    run = Run(method, task, dataset, folder)
    run.manifest.task = info
    if in_place and given.manifest is not None:
        ran = given.manifest
        run.manifest.tile, run.manifest.overlap = ran.tile, ran.overlap
        run.manifest.dataset = run.manifest.dataset or ran.dataset  # a dataset in memory has no place
    if not in_place and folder.resolve() in (given.path.resolve(), given.folder.resolve()):
        raise EarthInstructError(f"{folder} already holds {given.path}; give another --name or --output")
    records = given.records(dataset)
    if folder.exists() and not os.access(folder, os.W_OK):
        raise DataError(
            f"run folder {folder} cannot be written; give --no-output to write nothing, or --name to make a new run "
            "folder in --output"
        )
    with run.open(overwrite, in_place=in_place, given=True):
        if not overwrite:
            _refuse_to_replace(folder, info, protocol, mapper, threshold, sweep, extra, sliced)
        if not in_place:
            records = run.replace(records)
        found = given.named(scored, records)
        result = result_of(info, method, found, rules, mapper, hash_predictions(prediction_files(folder)))
        run.keep(result, found.tallies, found.suspects)
        result = summarised_variants(task, folder, result)
        run.keep_result(result)
    if kept:
        kept(folder)
    return result


@dataclass(frozen=True)
class _Given:
    """The predictions given by the user: their files, and what made them."""

    path: Path
    added: Mapping[str, Path]  # counts, proposals
    conventions: Conventions

    @cached_property
    def _own(self) -> list[Path]:
        """The predictions files in the format of this project."""
        return [] if self.conventions.given else prediction_files(self.path)

    @cached_property
    def files(self) -> list[Path]:
        """The predictions files in the format of this project, otherwise the given file or folder."""
        return self._own or [self.path]

    def refuse_runs(self) -> None:
        """Refuse a folder of runs, which are scored one by one.

        Raises:
            DataError: the path is such a folder.
        """
        if not self._own:
            refuse_runs(self.path)

    @property
    def folder(self) -> Path:
        """The folder of the predictions."""
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """The name and the hash of the predictions."""
        return _fingerprint(self.path)

    @property
    def sha256(self) -> str | None:
        """The hash of the predictions; None for a folder that does not hold predictions files."""
        return self.fingerprint["sha256"] if all(file.is_file() for file in self.files) else None

    @cached_property
    def manifest(self) -> Manifest | None:
        """The manifest of the run folder that the predictions lie in; None if they lie in none."""
        if not self._own:
            return None
        named = self.path.is_dir() or self.path.name.startswith("predictions")
        file = self.folder / "run.json"
        return read_manifest(file) if named and file.is_file() else None

    def asked(self, task: Task) -> Task:
        """The task, or the variant of it that the predictions are of."""
        if self.manifest is None or self.manifest.task.name.partition("/")[2] != task.name.partition("/")[2]:
            return task
        return with_variant_of(task, self.manifest.task.variant, self.manifest.task.instruction_sha256)

    def is_run_of(self, name: str) -> bool:
        """Whether the predictions are a whole run folder of the method, with nothing added."""
        if self.added or not self._own:
            return False
        if self.manifest is None:
            return self.path.is_dir()
        return self.manifest.method.name == name and self.files == prediction_files(self.folder)

    def method(self, name: str | None, version: str | None, training_data: str | Sequence[str] | None) -> MethodInfo:
        """The method that made the predictions. For imported ones, its parameters hold the hashes of the files."""
        path = self.path.resolve()
        own_name = path.name if path.is_dir() else Path(path.name.removesuffix(".zst").removesuffix(".gz")).stem
        known = self.manifest.method if self.manifest else MethodInfo(own_name)
        method = msgspec.structs.replace(
            known,
            name=name or known.name,
            version=version or known.version,
            training_data=known.training_data if training_data is None else list(training_sets_given(training_data)),
        )
        if self.is_run_of(method.name):
            return method
        imported: dict[str, Any] = {what: _fingerprint(path) for what, path in self.added.items()}
        imported = {"predictions": self.fingerprint, **imported}
        how = self.conventions
        if how.classes is not None:
            imported |= {"classes": _fingerprint(how.classes), "min_area": how.min_area}
        imported |= {name: value for name, value in (("order", how.order), ("frame", how.frame)) if value is not None}
        return msgspec.structs.replace(method, parameters=method.parameters | {"imported": imported})

    def task_info(self, task: Task, dataset: Dataset) -> TaskInfo:
        """The task, with the instruction text and the image options of the run if it had its own."""
        info = task_info(task, dataset, len(dataset.images))
        if self.manifest is None or self.manifest.task.name.partition("/")[2] != task.name.partition("/")[2]:
            return info
        ran = self.manifest.task
        return msgspec.structs.replace(info, instruction_sha256=ran.instruction_sha256, images=ran.images)

    def named(self, scored: Callable[[Mapping[ImageId, Record]], Scored], records: Mapping[ImageId, Record]) -> Scored:
        """Score the records; an error about one of them names the file too."""
        try:
            return scored(records)
        except DataError as error:
            raise DataError(f"{self.path}: {error}" if str(error).startswith("image ") else str(error)) from error

    def records(self, dataset: Dataset) -> Mapping[ImageId, Record]:
        """Read the predictions: image -> record."""
        return read_predictions(self.path, dataset, conventions=self.conventions, **self.added)


def _fingerprint(path: Path) -> dict[str, str]:
    """The name and the SHA-256 of a file, or of the files in a folder and its subfolders in alphabetical order."""
    files = prediction_files(path)
    if not files:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {"name": path.resolve().name, "sha256": hash_predictions(files)}


def _one_task(dataset: Dataset, setting: str, parent: str | None) -> Task:
    if setting == "all":
        raise EarthInstructError(
            "predictions belong to one setting, not 'all'; give open_vocabulary, open_ended or open_subclass"
        )
    tasks = tasks_of(dataset.name, dataset.vocabulary, setting, parent)
    if len(tasks) > 1:
        parents = ", ".join(repr(task.parent) for task in tasks)
        raise EarthInstructError(
            f"dataset {dataset.name!r} has several parent categories; give one with --parent ({parents})"
        )
    return tasks[0]


def _refuse_to_replace(
    folder: Path,
    task: TaskInfo,
    protocol: str,
    mapper: LabelMapper,
    threshold: float | None,
    sweep: Sweeping,
    extra: Sequence[ExtraMetric],
    sliced: Container[str],
) -> None:
    """Refuse to replace a result by one of another kind.

    Raises:
        EarthInstructError: the result in the folder is over other images, has other rules, or has more scores.
    """
    if not (folder / "result.json").is_file():
        return
    old = read_result(folder / "result.json")
    metrics = old.metrics
    pairs: dict[str, tuple[Any, Any]] = {
        "number of images": (old.task.dataset.n_images, task.dataset.n_images),
        "protocol": (old.protocol, protocol),
        "label map": (old.label_mapper, mapper.name),
        "threshold": (metrics.threshold, threshold),
        "sweep": (sweep_of(metrics), sweep),
    }
    differences = [f"{what} was {before}, is {after}" for what, (before, after) in pairs.items() if before != after]
    lost = sorted(set(metrics.extra) - {one.name for one in extra})
    lost += [f"slices by {name}" for name in metrics.slices if name not in sliced]
    differences += [f"{what} would be lost" for what in lost]
    if differences:
        raise EarthInstructError(
            f"{folder} holds a result of another kind ({'; '.join(differences)}); give --overwrite to replace it, "
            "--no-output to write nothing, or another --name to keep both"
        )


def checked_rules(
    protocol: str, threshold: float | None, sweep: Sweeping, metric: GivenMetrics
) -> tuple[Protocol, tuple[ExtraMetric, ...]]:
    """Look up the protocol and load the metric plug-ins.

    Raises:
        EarthInstructError: a name is unknown, or the threshold is no number or beside a sweep.
    """
    if threshold is not None and not math.isfinite(threshold):
        raise EarthInstructError(f"threshold must be a finite number, got {threshold}")
    if threshold is not None and sweep:
        raise EarthInstructError("threshold and sweep are both given; a sweep chooses the threshold itself: give one")
    if sweep not in (False, True, "cross"):
        raise EarthInstructError(f"sweep must be true, false or 'cross', got {sweep!r}")
    return protocol_named(protocol), extra_metrics(metric)


def mapper_for(label_map: str | Path | LabelMapper | None, dataset: Dataset) -> LabelMapper:
    """Look up the label mapper, given by name or as an object; None: the mapper of the dataset.

    Raises:
        EarthInstructError: no mapper has this name, or its file is malformed.
    """
    if label_map is None:
        return dataset.mapper
    return named_mapper(str(label_map)) if isinstance(label_map, str | Path) else label_map


def result_of(
    task: TaskInfo, method: MethodInfo, scored: Scored, protocol: Protocol, mapper: LabelMapper, sha256: str | None
) -> Result:
    """Build the result of scored predictions.

    The number of images of the task becomes that of the scored images. `sha256` is the hash of the predictions files.
    """
    n_images = scored.n_done + len(scored.failed)
    return Result(
        schema_version=SCHEMA_VERSION,
        task=msgspec.structs.replace(task, dataset=msgspec.structs.replace(task.dataset, n_images=n_images)),
        protocol=protocol.name,
        protocol_version=protocol.version,
        method=msgspec.structs.replace(method, notes=[*method.notes, *scored.notes]),
        environment=environment_info(method),
        run=RunInfo(
            seconds=dict(scored.usage.seconds),
            input_tokens=scored.usage.input_tokens,
            output_tokens=scored.usage.output_tokens,
            events=dict(scored.usage.events),
            n_done=scored.n_done,
            n_failed=len(scored.failed),
            failed={str(image): shortened(reason) for image, reason in scored.failed.items()},
        ),
        metrics=scored.metrics,
        label_map=scored.label_map,
        label_mapper=mapper.name,
        predictions=PredictionsInfo(sha256),
    )
