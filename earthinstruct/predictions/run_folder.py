"""The run folder of one method on one task: its manifest, the images still to do, and the predictions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec

from earthinstruct.contract import Usage
from earthinstruct.datasets import Dataset, Origin
from earthinstruct.errors import DataError, EarthInstructError
from earthinstruct.files import as_json, decode_json, plain_name, read_bytes, remove_unfinished, replace_file
from earthinstruct.metrics import Suspect
from earthinstruct.predictions.file import (
    Record,
    RecordWriter,
    StoredRecords,
    readable,
    sort_records,
    take_out_failures,
)
from earthinstruct.predictions.lock import folder_lock
from earthinstruct.regions import ImageId
from earthinstruct.results import (
    SCHEMA_VERSION,
    SUSPECTS_FILE,
    TALLIES_FILE,
    DatasetInfo,
    MethodInfo,
    Result,
    StoredTallies,
    TaskInfo,
    write_suspects,
    write_tallies,
)
from earthinstruct.tasks import Task

Progress = Callable[[Task, int, int, int], None]  # task, tiles done, all tiles, images failed
TILES_FILE = "tiles.jsonl"  # the tiles of images that have no prediction yet
CONFIG_FILE = "run.yaml"  # the options that repeat a run
_BESIDE_RESULT = (TALLIES_FILE, SUSPECTS_FILE)
_OF_VARIANTS = "-variants"
_LIMIT = re.compile(r"-limit-\d+$")


class Manifest(msgspec.Struct):
    """`run.json`: identifies the run of a folder. A run is continued only if the manifests agree.

    The dataset may be elsewhere when the run is continued.

    Attributes:
        schema_version: the version of the format.
        task: what is predicted.
        method: what predicts.
        dataset: where the dataset was loaded from.
        tile: side of the tiles that images are cut into, as it was asked for; see `--tile`.
        overlap: likewise, pixels that neighbouring tiles share.
    """

    schema_version: int
    task: TaskInfo
    method: MethodInfo
    dataset: Origin | None = None
    tile: int | None = None
    overlap: int | None = None

    def identity(self) -> dict[str, Any]:
        """What may not differ where the run is continued: its name -> its value."""
        return {
            "task": self.task.name,
            "variant": self.task.variant,
            "dataset annotations": self.task.dataset.annotations_sha256,
            "task version": self.task.version,
            "instruction": self.task.instruction_sha256,
            **{f"--{name}": value for name, value in asdict(self.task.images).items()},
            "--tile": self.tile,
            "--overlap": self.overlap,
            **identity_of_method(self.method),
        }


@dataclass(frozen=True)
class Pace:
    """What an image of a run takes: seconds inside `predict`, and tokens of a language model, sent and written."""

    seconds: float
    tokens: float


class Run:
    """The run of one method on one task, in one folder: the images still to do, and the predictions file.

    Predictions can be written while the run is open. Every method that writes raises a `DataError` if the folder cannot
    be written.
    """

    def __init__(
        self,
        method: MethodInfo,
        task: Task,
        dataset: Dataset,
        folder: Path,
        limit: int | None = None,
        *,
        tile: int | None = None,
        overlap: int | None = None,
    ) -> None:
        """Describe a run; nothing is written yet.

        Args:
            method: what predicts.
            task: what it predicts.
            dataset: the images.
            folder: the folder of the whole run. A run of fewer images gets a folder beside it.
            limit: only the first images; None: all.
            tile: side of the tiles that were asked for; None: none was.
            overlap: likewise, the pixels that neighbouring tiles share.
        """
        self.task = task
        self.dataset = dataset
        self.n_images = min(limit or len(dataset.images), len(dataset.images))
        self.whole = folder
        self.folder = folder if self.n_images == len(dataset.images) else _limited(folder, self.n_images)
        self.file = self.folder / "predictions.jsonl"
        self.image_ids = [image.id for image in dataset.images[: self.n_images]]
        asked = task_info(task, dataset, self.n_images)
        self.manifest = Manifest(SCHEMA_VERSION, asked, method, dataset.origin, tile, overlap)
        self.n_failed = 0
        self._done: set[ImageId] = set()
        self._writer: RecordWriter | None = None
        self._spent: dict[ImageId, Usage] = {}  # usage of images that failed in earlier attempts

    @contextmanager
    def open(self, overwrite: bool, *, in_place: bool = False, given: bool = False) -> Iterator[Run]:
        """Lock the folder, and refuse one that holds another run. Opening changes no predictions.

        Predictions that are scored `in_place` may lack a manifest. Those that are `given`, in place or not, may get a
        method version where the folder names none.

        Raises:
            EarthInstructError: the folder is in use, holds another run, or cannot be written.
        """
        with folder_lock(self.folder), closing(self):
            if not overwrite:
                self._refuse_another(in_place=in_place, given=given)
            yield self

    def begin(self, overwrite: bool) -> None:
        """Find the predictions in the folder, or remove them, and accept more.

        A new folder starts with the predictions of the longest run of fewer images that only differs in its limit.

        Raises:
            DataError: the predictions are malformed.
        """
        with self._written():
            if overwrite:
                others = (
                    self.folder / name for name in ("run.json", "result.json", CONFIG_FILE, TILES_FILE, *_BESIDE_RESULT)
                )
                for path in (*others, *self._predictions()):
                    path.unlink(missing_ok=True)
            if not (overwrite or self.file.exists()) and (limited := self._limited_before()) is not None:
                with limited.open("rb") as lines:
                    replace_file(self.file, lines)
            replace_file(self.folder / "run.json", as_json(self.manifest))
            if self.file.exists():
                try:  # failures are removed, to be tried again, but their usage is kept
                    answered, self._spent = take_out_failures(self.file)
                except DataError as error:
                    raise DataError(f"{error}; {_START_AGAIN}") from error
                self._done = answered & set(self.image_ids)
            self._writer = RecordWriter(self.file)

    def answered_before(self, overwrite: bool) -> set[ImageId]:
        """The images of which a run finds a prediction in the folder. The folder is neither locked nor changed.

        Raises:
            EarthInstructError: the folder holds another run, or a malformed file.
        """
        if overwrite:
            return set()
        self._refuse_another(in_place=False)
        file = self.file if self.file.exists() else self._limited_before()
        if file is None:
            return set()
        records = StoredRecords([file])
        return {image for image in self.image_ids if image in records and records[image].error is None}

    @property
    def failed_before(self) -> set[ImageId]:
        """The images that failed in earlier attempts, whose usage is kept."""
        return set(self._spent)

    @property
    def todo(self) -> list[int]:
        """The indices of the images without a prediction."""
        return [i for i, image in enumerate(self.image_ids) if image not in self._done]

    def pace_before(self) -> Pace | None:
        """What an answered image took on average in the folder, otherwise in a shorter run or in the whole one.

        None if no image is answered. The folders are not changed.

        Raises:
            DataError: a file in them is malformed.
        """
        file = self.file if self.file.is_file() else self._limited_before() or self._whole_before()
        records = {} if file is None else StoredRecords([file])
        stored = (records[image] for image in self.image_ids if image in records)
        known = [record for record in stored if record.error is None]
        if not known:
            return None
        tokens = sum(record.input_tokens + record.output_tokens for record in known)
        return Pace(sum(record.seconds.get("total", 0.0) for record in known) / len(known), tokens / len(known))

    @property
    def n_done(self) -> int:
        """Number of images with a prediction."""
        return len(self._done)

    def write(self, record: Record) -> None:
        """Write the record of an image."""
        if self._writer is None:
            raise RuntimeError("begin() comes before the first prediction")
        spent = self._spent.pop(record.image_id, None)
        record = readable(record if spent is None else record.after(spent))
        with self._written():
            self._writer.write(record)
        self._done.add(record.image_id)
        self.n_failed += record.error is not None

    def replace(self, records: Mapping[ImageId, Record]) -> StoredRecords:
        """Replace the contents of the folder by these records, and return them as stored.

        Raises:
            DataError: a record is malformed.
        """
        encoder = msgspec.json.Encoder()
        lines = (encoder.encode(records[image]) + b"\n" for image in self.image_ids if image in records)
        with self._written():
            for name in ("result.json", CONFIG_FILE, *_BESIDE_RESULT):
                (self.folder / name).unlink(missing_ok=True)
            replace_file(self.folder / "run.json", as_json(self.manifest))
            replace_file(self.file, lines)
            for path in {*self._predictions()} - {self.file}:
                path.unlink()
        return StoredRecords([self.file])

    def records(self) -> StoredRecords:
        """Sort the records by image, and return them."""
        self.close()
        with self._written():
            # records were written in the order in which workers finished, retried images last
            sort_records(self.file, {image.id: place for place, image in enumerate(self.dataset.images)})
        return StoredRecords([self.file])

    def keep(self, result: Result, tallies: StoredTallies, suspects: Sequence[Suspect]) -> None:
        """Write `run.json`, `result.json`, and beside it `tallies.npz` and `suspects.json`."""
        with self._written():
            remove_unfinished(self.folder)
            # in this order, no file lies beside a result that is not its own
            for name in _BESIDE_RESULT:
                (self.folder / name).unlink(missing_ok=True)
            replace_file(self.folder / "run.json", as_json(self.manifest))
            replace_file(self.folder / "result.json", as_json(result))
            write_tallies(self.folder, result, tallies)
            write_suspects(self.folder, suspects)

    def keep_result(self, result: Result) -> None:
        """Replace `result.json` by the same result with a summary of other runs."""
        with self._written():
            replace_file(self.folder / "result.json", as_json(result))

    def close(self) -> None:
        """Accept no more predictions."""
        if self._writer is not None:
            with self._written():
                self._writer.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        """Turn an `OSError` (full disk, quota, missing permission) into an error that the user can fix."""
        with writing_run(self.folder):
            try:
                yield
            except FileNotFoundError as error:
                if self._writer is None:
                    raise
                raise DataError(
                    f"{self.file} was removed or moved while the run wrote to it, with the predictions so far; put it "
                    "back, or start again with the same command"
                ) from error

    def _limited_before(self) -> Path | None:
        """The predictions of the longest shorter run that only differs in its limit, if there is one."""
        limited = self.whole.parent.glob(f"{self.whole.name}-limit-*/{self.file.name}")
        limits = (path.parent.name.rpartition("-")[2] for path in limited)
        sizes = {int(limit) for limit in limits if limit.isdecimal()}
        for size in sorted(sizes & set(range(self.n_images)), reverse=True):
            shorter = _limited(self.whole, size)
            manifest = shorter / "run.json"
            if manifest.is_file() and not self._differences(manifest):
                return shorter / self.file.name
        return None

    def _whole_before(self) -> Path | None:
        """The predictions of the whole run, if there is one that only differs in its limit."""
        manifest = self.whole / "run.json"
        return self.whole / self.file.name if manifest.is_file() and not self._differences(manifest) else None

    def _predictions(self) -> list[Path]:
        return list(self.folder.glob("predictions*.jsonl*"))

    def _refuse_another(self, *, in_place: bool, given: bool = False) -> None:
        manifest_file = self.folder / "run.json"
        if not manifest_file.is_file():
            if self._predictions() and not in_place:
                raise EarthInstructError(
                    f"{self.folder} has predictions but no run.json; give --overwrite to replace them, or another "
                    "--output"
                )
            return
        before, asked = read_manifest(manifest_file).identity(), self.manifest.identity()
        if given and before["method version"] is None:
            before["method version"] = asked["method version"]
        found = "; ".join(differences(before, asked))
        if found and in_place:
            raise EarthInstructError(
                f"the run in {self.folder} is another than asked for ({found}); give --overwrite to replace its result "
                "and keep its predictions, or another --name"
            )
        if found:
            raise EarthInstructError(
                f"{self.folder} holds the predictions of another run ({found}); "
                "give --overwrite to replace them, or another --output"
            )

    def _differences(self, manifest: Path) -> list[str]:
        return differences(read_manifest(manifest).identity(), self.manifest.identity())


_START_AGAIN = "give --overwrite to start again"


@contextmanager
def writing_run(folder: Path) -> Iterator[None]:
    """Say in words why a run folder cannot be written.

    Raises:
        DataError: an `OSError` was raised inside.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"run folder {folder} cannot be written: {error.strerror or error}; the predictions so far are kept. Fix "
            "this, then continue with the same command without --overwrite"
        ) from error


def read_manifest(path: Path) -> Manifest:
    """Read a `run.json`.

    Raises:
        DataError: the file is missing or malformed.
    """
    problem = f"{path} is not a run manifest: {{error}}; {_START_AGAIN}"
    return decode_json(read_bytes(path, "run manifest"), msgspec.json.Decoder(Manifest), problem)


def identity_of_method(method: MethodInfo) -> dict[str, Any]:
    """What of a method may not differ where a run is continued. Packages, device and notes may."""
    return {
        "method": method.name,  # two names may lead to the same folder
        "method version": method.version,
        "weights": method.weights,
        "largest side": method.largest_side,
        **{f"parameter {name}": value for name, value in sorted(method.parameters.items())},
    }


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """How the run in a folder differs from the one that is asked for, in words.

    Args:
        before: what identifies the run in the folder: names -> values that JSON can hold.
        after: likewise, of the one that is asked for.
    """
    pairs = {name: (before.get(name), after.get(name)) for name in {**before, **after}}
    return [f"{name} was {str(a)[:80]}, is {str(b)[:80]}" for name, (a, b) in pairs.items() if not _same(a, b)]


def _same(before: Any, after: Any) -> bool:
    """Whether two values are written alike: in Python, `True == 1`."""
    return msgspec.json.encode(before, order="deterministic") == msgspec.json.encode(after, order="deterministic")


def place_of_run(output: Path, task: Task, method: str) -> Path:
    """The folder of a whole run: `<output>/<task>/<method>`, with unsafe characters in the method's name replaced.

    That of a variant of a task is beside it, `<output>/<task>/<method>-variants/<variant>`.
    """
    folder = output / task.whole.name / plain_name(method)
    return folder if task.variant is None else folder.with_name(f"{folder.name}{_OF_VARIANTS}") / task.variant.name


def variants_beside(folder: Path) -> dict[str, Path]:
    """The scored variants of the run in a folder, which lie beside it: name -> folder."""
    whole, limit = _without_limit(folder.name)
    found = {}
    for file in sorted(folder.with_name(f"{whole}{_OF_VARIANTS}").glob("*/result.json")):
        name, of_variant = _without_limit(file.parent.name)
        if of_variant == limit:
            found[name] = file.parent
    return found


def refuse_runs(folder: Path) -> None:
    """Refuse a folder of runs where one run is expected.

    Raises:
        DataError: there are run folders in it.
    """
    below = sorted(file.parent for depth in ("*", "*/*") for file in folder.glob(f"{depth}/run.json"))
    if not below:
        return
    if (whole := folder.name.removesuffix(_OF_VARIANTS)) != folder.name:
        itself = folder.with_name(whole + _without_limit(below[0].name)[1])
        raise DataError(
            f"{folder} holds the runs of {len(below)} variants; give one of them, such as {below[0]}, or the run of "
            f"the task itself, {itself}: scoring it sums up its variants again"
        )
    raise DataError(f"{folder} holds run folders; give one of them, such as {below[0]}")


def _without_limit(name: str) -> tuple[str, str]:
    """The name of a run folder without the part that says how many images it has, and this part."""
    limit = _LIMIT.search(name)
    return (name, "") if limit is None else (name[: limit.start()], limit[0])


def _limited(folder: Path, n_images: int) -> Path:
    """The folder of a run of the first images only, beside that of the whole run."""
    return folder.with_name(f"{folder.name}-limit-{n_images}")


def task_info(task: Task, dataset: Dataset, n_images: int) -> TaskInfo:
    """Describe a task for a result file."""
    return TaskInfo(
        task.whole.name,
        task.version,
        DatasetInfo(dataset.name, dataset.sha256, n_images, dataset.notes, dataset.images_from),
        task.instruction_sha256,
        dataset.image_options,
        None if task.variant is None else task.variant.name,
    )
