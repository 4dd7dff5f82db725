"""The result file: a versioned schema of what was run, on which data, under which rules, and with which scores."""

from __future__ import annotations

import importlib.metadata
import inspect
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from earthinstruct.contract import optional_member
from earthinstruct.errors import DataError
from earthinstruct.files import decode_json, read_bytes
from earthinstruct.images import ImageOptions
from earthinstruct.metrics import Metrics
from earthinstruct.results.frame import score_rows
from earthinstruct.results.rules import contradiction
from earthinstruct.results.shown import Block, ScoreTable
from earthinstruct.results.table import result_blocks
from earthinstruct.results.training import Training, judge_training
from earthinstruct.results.variants import Variants
from earthinstruct.tasks import MappedLabel
from earthinstruct.texts import error_in_words, message_of, redacted, secret_values, without_secrets

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

_RECORDED_PACKAGES = ("earthinstruct", "numpy", "scipy", "pycocotools", "pillow")


class DatasetInfo(msgspec.Struct, frozen=True, omit_defaults=True):
    """The annotation file used for scoring.

    Attributes:
        name: the dataset's name.
        annotations_sha256: the hash of its annotations.
        n_images: the number of scored images, which a limit may reduce.
        notes: sentences on ignored objects and on what was left out of the ground truth.
        images_from: the training sets that its images are from, where the dataset says so itself.
    """

    name: str
    annotations_sha256: str
    n_images: int
    notes: tuple[str, ...] = ()
    images_from: tuple[str, ...] | None = None


class TaskInfo(msgspec.Struct, frozen=True):
    """The task, with the hash of the instruction text that the method was given, and how image files were read.

    `variant` names how the question differed from the task, such as `wordings-german`; None: it did not.
    """

    name: str
    version: str
    dataset: DatasetInfo
    instruction_sha256: str
    images: ImageOptions = ImageOptions()
    variant: str | None = None


class WeightsInfo(msgspec.Struct, frozen=True):
    """One weights file."""

    name: str
    sha256: str


class MethodInfo(msgspec.Struct, frozen=True):
    """The description that a method gives of itself.

    Attributes:
        name: the method's name.
        version: its version.
        parameters: every parameter, given or default.
        weights: the weights files that it loaded.
        device: the device that it ran on.
        packages: the versions of the packages that influence it.
        notes: sentences shown below the table.
        made_for: the datasets that its weights were trained for; on others, its scores are marked as out of domain.
            None: any dataset.
        largest_side: the longest side, in pixels, of an image that it takes; larger ones are cut into tiles of that
            size. None: it does not say.
        control: whether it sees the ground truth.
        training_data: what it was trained on: names of training sets, or part -> names of training sets; `unknown` is
            one of the names. None: it does not say.
        deterministic: whether it says that the same image and instruction always get the same answer; None: it does
            not say.
    """

    name: str
    version: str | None = None
    parameters: dict[str, Any] = {}
    weights: list[WeightsInfo] = []
    device: str | None = None
    packages: dict[str, str] = {}
    notes: list[str] = []
    made_for: list[str] | None = None
    largest_side: Annotated[int, msgspec.Meta(ge=1)] | None = None
    control: bool = False
    training_data: list[str] | dict[str, list[str]] | None = None
    deterministic: bool | None = None


class EnvironmentInfo(msgspec.Struct, frozen=True):
    """The machine and the packages of the run."""

    python: str
    platform: str
    device: str
    packages: dict[str, str]


class RunInfo(msgspec.Struct, frozen=True):
    """What a run used, and its failures.

    Attributes:
        seconds: wall time per stage, summed over images; `total` is the time inside `predict`.
        input_tokens: tokens sent to a language model.
        output_tokens: tokens that it wrote.
        n_done: number of images with a prediction.
        n_failed: number of images without one; they count as predicted empty.
        failed: image id -> reason.
        events: name of an event during prediction -> its number, summed over images.
    """

    seconds: dict[str, float]
    input_tokens: int
    output_tokens: int
    n_done: int
    n_failed: int
    failed: dict[str, str]
    events: dict[str, int] = {}


class PredictionsInfo(msgspec.Struct, frozen=True):
    """The hash of the scored predictions file; None for a folder."""

    sha256: str | None


class Result(ScoreTable, msgspec.Struct, frozen=True):
    """One scored run of one method on one task.

    The `protocol_version` of a result that names none is 1. `variants` sums up the runs of variants of the task that
    lie beside it: `wordings`, `blind`, `repeats`, `distractors`.
    """

    schema_version: int
    task: TaskInfo
    protocol: str
    method: MethodInfo
    environment: EnvironmentInfo
    run: RunInfo
    metrics: Metrics
    label_map: dict[str, MappedLabel]
    label_mapper: str
    predictions: PredictionsInfo
    protocol_version: int = 1
    variants: dict[str, Variants] = {}

    @property
    def training(self) -> Training | None:
        """Whether the method was trained on these images; None for a control, which sees the ground truth anyway."""
        method, dataset = self.method, self.task.dataset
        if method.control:
            return None
        return judge_training(method.training_data, dataset.name, dataset.images_from)

    def blocks(self) -> Iterable[Block]:
        """The table of its scores, and remarks."""
        return result_blocks([self])

    def to_pandas(self, *, per_category: bool = True) -> pd.DataFrame:
        """Every score over groups and, by default, single categories, one a row.

        Columns: `task`, `method`, `protocol`, `score` (its path in the metrics), `over` (a group or a category),
        `is_group`, `value` (missing where undefined) and its 95 % interval from `low` to `high`.
        """
        import pandas as pd

        columns = ["task", "method", "protocol", "score", "over", "is_group", "value", "low", "high"]
        rows = [(self.task.name, self.method.name, self.protocol, *row) for row in score_rows(self.metrics)]
        rows = [row for row in rows if per_category or row[columns.index("is_group")]]
        return pd.DataFrame(rows, columns=columns).astype({"value": float, "low": float, "high": float})


def read_result(path: Path, *, consistent: bool = True) -> Result:
    """Read a result file.

    Args:
        path: the file.
        consistent: whether to refuse a result that contradicts itself; `validate` scores it again instead.

    Raises:
        DataError: the file is missing, malformed, contradicts itself, or has another schema version.
    """
    content = read_bytes(path, "result")
    result = decode_json(content, msgspec.json.Decoder(Result), f"{path} is not a result file: {{error}}")
    if result.schema_version != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {result.schema_version}; this release reads {SCHEMA_VERSION}")
    if consistent and (found := contradiction(result)) is not None:
        raise DataError(f"{path} contradicts itself: {found}; score its predictions again with `earthinstruct score`")
    return result


def result_schema() -> dict[str, Any]:
    """Generate the JSON Schema of a result file from `Result`, the same on every version of Python and msgspec."""
    return {name: _canonical(node) for name, node in msgspec.json.schema(Result).items()}


def _canonical(node: Any) -> Any:
    """Normalise a node of a schema: Python 3.13 dedents docstrings, and msgspec 0.22 reversed the order of `anyOf`."""
    if isinstance(node, list):
        return [_canonical(element) for element in node]
    if not isinstance(node, dict):
        return node
    whole = {name: _canonical(value) for name, value in node.items()}
    if isinstance(text := whole.get("description"), str):
        whole["description"] = inspect.cleandoc(text)
    if isinstance(choices := whole.get("anyOf"), list):
        whole["anyOf"] = sorted(choices, key=lambda choice: (choice == {"type": "null"}, str(choice)))
    return whole


def environment_info(method: MethodInfo) -> EnvironmentInfo:
    """Describe this machine and the versions of the relevant packages."""
    packages = {}
    for name in _RECORDED_PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = "not installed"
    return EnvironmentInfo(
        python=platform.python_version(),
        platform=f"{platform.system()}-{platform.machine()}",
        device=method.device or "cpu",
        packages=packages | method.packages,
    )


def method_info(method: object, *, control: bool = False, parameters: Mapping[str, Any] | None = None) -> MethodInfo:
    """Ask a method for its description, through `name` and `describe()`, and remove secrets.

    Args:
        method: the method.
        control: whether it sees the ground truth.
        parameters: what it was made from, which describes it where it names no parameters itself; secrets among them
            are removed wherever they stand.

    Raises:
        DataError: `describe()` raises an exception, or returns anything but the fields of `MethodInfo` with values that
            JSON can hold.
    """
    secrets = secret_values(parameters or {})
    name = redacted(str(getattr(method, "name", type(method).__name__)), secrets)
    try:
        described = dict(optional_member(method, "describe")())
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        problem = redacted(error_in_words(error), secrets)
        raise DataError(f"method {name!r}: describe() failed: {problem}") from error
    try:
        told = described.pop("parameters", None)
        own = without_secrets(_as_json(parameters or {}) if told is None else told, secrets)
        others = _redacted_parts(described, secrets)
        info = msgspec.convert({**others, "parameters": own, "name": name, "control": control}, type=MethodInfo)
        msgspec.json.encode(info)
        return info
    except Exception as error:  # msgspec's, and whatever the objects in it raise
        raise DataError(f"method {name!r}: describe() is malformed: {redacted(message_of(error), secrets)}") from error


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON holds them; of an object, its type."""
    return {
        name: msgspec.to_builtins(value, enc_hook=lambda one: type(one).__name__, str_keys=True)
        for name, value in parameters.items()
    }


def _redacted_parts(value: Any, secrets: Sequence[str]) -> Any:
    """A value with each text in it redacted."""
    if isinstance(value, str):
        return redacted(value, secrets)
    if isinstance(value, Mapping):
        return {key: _redacted_parts(entry, secrets) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted_parts(entry, secrets) for entry in value]
    return value
