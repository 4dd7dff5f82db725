"""All that a method author needs: what a method is given, what it returns, and the call between the two.

Boxes are COCO xywh in absolute pixels, float64, everywhere: in memory and on disk. Values are checked when they are
made, so what reaches the benchmark is sound.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from earthinstruct.errors import ContractError, EarthInstructError, UnknownNameError
from earthinstruct.regions import RLE, check_rle, decode_rles
from earthinstruct.texts import plural

Setting = Literal["open_vocabulary", "open_ended", "open_subclass"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
MOST_OBJECTS = 1 << 31  # of a label in an image: sums and squares over images stay within int64
_MOST_TOKENS = (1 << 63) - 1  # more does not fit into a file
_MOST_SECONDS = 1e9  # 30 years
_FARTHEST = 1e9  # pixels, of a box: areas and their sums stay exact enough to compare
UNKNOWN_DATA = "unknown"  # among the training data of a method: not, or not all, published
BOX = f"[x, y, width, height] within {_FARTHEST:g} pixels, width and height >= 0"  # what a box must be
POINT = f"[x, y] within {_FARTHEST:g} pixels"  # what a point must be


@dataclass(frozen=True)
class Instruction:
    """What a method is asked to find.

    Attributes:
        setting: `open_vocabulary` (find these categories), `open_ended` (find everything) or `open_subclass` (find
            every kind of one parent category).
        text: the prompt for a language model. It may state rules of a dataset, never facts of one image.
        categories: the category names; open_vocabulary only, empty otherwise.
        parent: the parent category, for example "sports field"; open_subclass only, None otherwise.

    Raises:
        ContractError: a field does not go with the setting.
        UnknownNameError: the setting does not exist.
    """

    setting: Setting
    text: str
    categories: tuple[str, ...] = ()
    parent: str | None = None

    def __post_init__(self) -> None:
        if self.setting not in SETTINGS:
            raise UnknownNameError("setting", str(self.setting), SETTINGS)
        if not isinstance(self.text, str) or not self.text.strip():
            raise ContractError(f"instruction text must be a non-empty string, got {self.text!r}")
        object.__setattr__(self, "categories", _labels(self.categories, "categories"))
        repeated = [name for i, name in enumerate(self.categories) if name in self.categories[:i]]
        if repeated:
            raise ContractError(f"categories name {repeated[0]!r} twice")
        if self.setting == "open_vocabulary" and not self.categories:
            raise ContractError("an open_vocabulary instruction needs categories")
        if self.setting != "open_vocabulary" and self.categories:
            raise ContractError(f"an {self.setting} instruction has no categories, got {list(self.categories)}")
        if self.setting == "open_subclass" and not (isinstance(self.parent, str) and self.parent.strip()):
            raise ContractError(f"an open_subclass instruction needs a parent category, got {self.parent!r}")
        if self.setting != "open_subclass" and self.parent is not None:
            raise ContractError(f"an {self.setting} instruction has no parent, got {self.parent!r}")


@dataclass(frozen=True)
class Usage:
    """What one image used, and what a reader of its prediction should know.

    Attributes:
        seconds: wall time per stage, for example {"counter": 1.2, "proposer": 3.4}.
        input_tokens: tokens sent to a language model.
        output_tokens: tokens it wrote.
        events: what happened, in words -> how often, for example {"truncated replies": 1}; zeros are left out.

    Raises:
        ContractError: a value is negative or of another kind.

    >>> dict(Usage(events={"truncated replies": 1, "labels not asked for": 0}).events)
    {'truncated replies': 1}
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    input_tokens: int = 0
    output_tokens: int = 0
    events: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.seconds, Mapping):
            raise ContractError(f"usage.seconds must be a mapping of stages to seconds, got {self.seconds!r}")
        for stage, value in self.seconds.items():
            if not _is_number(value) or not 0 <= value <= _MOST_SECONDS:
                raise ContractError(
                    f"usage.seconds[{stage!r}] must be a number from 0 to {_MOST_SECONDS:g}, got {value!r}"
                )
        for name in ("input_tokens", "output_tokens"):
            value = getattr(self, name)
            if not _is_whole(value, _MOST_TOKENS):
                raise ContractError(f"usage.{name} must be an integer >= 0 and at most {_MOST_TOKENS}, got {value!r}")
        events = _whole_numbers(self.events, "usage.events", "names", _MOST_TOKENS)
        object.__setattr__(self, "seconds", MappingProxyType({str(k): float(v) for k, v in self.seconds.items()}))
        object.__setattr__(self, "events", MappingProxyType({name: n for name, n in events.items() if n}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade(self)

    @staticmethod
    def join(usages: Iterable[Usage]) -> Usage:
        """All of them added up; a sum that no file can hold becomes the largest that one can."""
        seconds: dict[str, float] = {}
        events: Counter[str] = Counter()
        input_tokens = output_tokens = 0
        for usage in usages:
            for stage, value in usage.seconds.items():
                seconds[stage] = seconds.get(stage, 0.0) + value
            events.update(usage.events)
            input_tokens += usage.input_tokens
            output_tokens += usage.output_tokens
        return Usage(
            {stage: min(value, _MOST_SECONDS) for stage, value in seconds.items()},
            min(input_tokens, _MOST_TOKENS),
            min(output_tokens, _MOST_TOKENS),
            {name: min(number, _MOST_TOKENS) for name, number in events.items()},
        )


@dataclass(frozen=True)
class Estimate:
    """What a prediction will use, as far as it is known before. None: not known.

    Attributes:
        requests: requests to a server.
        input_tokens: tokens that are sent to a language model.
        output_tokens: the most tokens that it may write.

    >>> Estimate.join([Estimate(1, 900, 2000), Estimate(1, None, 2000)])
    Estimate(requests=2, input_tokens=None, output_tokens=4000)
    """

    requests: int | None = 0
    input_tokens: int | None = 0
    output_tokens: int | None = 0

    @staticmethod
    def join(estimates: Iterable[Estimate]) -> Estimate:
        """All of them added up; a sum with an unknown part is unknown."""
        known = list(estimates)
        sums = ([getattr(one, each.name) for one in known] for each in fields(Estimate))
        return Estimate(*(None if None in parts else sum(parts) for parts in sums))


class PredictionError(EarthInstructError):
    """A method could not predict an image, but spent time or tokens on it.

    Args:
        message: the reason.
        usage: the seconds and tokens spent, stored in the record of the failure. None if unknown.
    """

    def __init__(self, message: str, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.usage = usage


class HopelessError(PredictionError):
    """No image can be predicted until the user changes something: a server refuses the key, or the quota is used up.

    A run stops at once and keeps the predictions so far. Arguments as for `PredictionError`.
    """


@dataclass(frozen=True, eq=False)
class Proposals:
    """Class-agnostic regions of one image, best first.

    Attributes:
        boxes: float64 (n, 4), COCO xywh, absolute pixels.
        masks: n COCO RLEs, or None.
        scores: float64 (n,), or None.

    Raises:
        ContractError: lengths differ or a value is malformed; the message gives index and value.
    """

    boxes: NDArray[np.float64]
    masks: tuple[RLE, ...] | None = None
    scores: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _set_regions(self, "proposals.")

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a method found in one image. Inputs are copied, checked and made read-only.

    An answer with counts, and without boxes, masks, points and scores, only counts: it names no instances. Where all
    answers of a method are such, the scores of instances are undefined. Without counts, it says that nothing was found.
    An answer with points and without boxes only points: its instances are the points.

    Attributes:
        labels: n strings, in the method's own words.
        boxes: float64 (n, 4), COCO xywh, absolute pixels; None if the answer only counts or only points.
        masks: n COCO RLEs of the image's size, or None when the method gives none.
        scores: float64 (n,), or None: confidence-free, a normal state.
        counts: label -> number of objects, or None: then the instances are counted.
        proposals: the class-agnostic regions the method chose from, or None.
        usage: seconds per stage, tokens and events.
        tiles: for an image that was cut into tiles, the tile that each instance comes from, as (column, row, width,
            height) in pixels of the image; of an instance that was merged from several tiles, the one that has the
            largest part of its box. A method leaves it None.
        points: float64 (n, 2), x and y in absolute pixels, the place of each instance; or None when the method gives
            none. A point lies in the pixel (floor(x), floor(y)).

    Raises:
        ContractError: lengths differ or a value is malformed; the message gives index and value.

    >>> Prediction(labels=["ship"], boxes=[[10, 20, 30, -1]])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    earthinstruct.errors.ContractError: boxes[0] must be ..., width and height >= 0, got [10.0, 20.0, 30.0, -1.0]
    """

    labels: tuple[str, ...] = ()
    boxes: NDArray[np.float64] | None = None
    masks: tuple[RLE, ...] | None = None
    scores: NDArray[np.float64] | None = None
    counts: Mapping[str, int] | None = None
    proposals: Proposals | None = None
    usage: Usage = field(default_factory=Usage)
    tiles: tuple[tuple[int, int, int, int], ...] | None = None
    points: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", _labels(self.labels, "labels"))
        no_counts_alone = self.counts is None or self.masks is not None or self.scores is not None
        if self.boxes is None and self.points is None and no_counts_alone:
            object.__setattr__(self, "boxes", np.zeros((0, 4)))
        if self.boxes is not None:
            _set_regions(self, "")
        if self.points is not None:
            _set_points(self)
        has_boxes = self.points is None or self.boxes is not None
        places = self.boxes if has_boxes else self.points
        n = 0 if places is None else len(places)
        if len(self.labels) != n:
            raise ContractError(f"{plural(len(self.labels), 'label')} for {_places(n, has_boxes)}")
        if self.counts is not None:
            object.__setattr__(
                self, "counts", MappingProxyType(_whole_numbers(self.counts, "counts", "labels", MOST_OBJECTS))
            )
        if self.proposals is not None and not isinstance(self.proposals, Proposals):
            raise ContractError(f"proposals must be a Proposals or None, got {type(self.proposals).__name__}")
        if not isinstance(self.usage, Usage):
            raise ContractError(f"usage must be a Usage, got {type(self.usage).__name__}")
        if self.tiles is not None and len(self.tiles) != len(self.labels):
            raise ContractError(f"{plural(len(self.tiles), 'tile')} for {plural(len(self.labels), 'label')}")

    def __len__(self) -> int:
        return len(self.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade(self)


@runtime_checkable
class Method(Protocol):
    """A system under evaluation: a name and `predict`.

    A method may also have the members below. The core uses them when they exist, and `optional_member` has the default
    of each. They are not declared, because a class would then need all of them to be a `Method`.

    `predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> Sequence[Prediction]`
        Answers several images in one call, in their order. Default: images are answered one by one.
    `skip(self, task: Task, /) -> str | None`
        The reason not to run an `earthinstruct.tasks.Task`. None, the default: the task is run.
    `describe(self) -> Mapping[str, Any]`
        What goes into the result file: any of `version`, `parameters`, `weights`, `device`, `packages`, `notes`,
        `made_for`, `deterministic` (whether the same image and instruction always get the same answer), `training_data`
        and `largest_side`, the longest side in pixels of an image that it takes: larger ones are cut into tiles of that
        size. `training_data` says what the method was trained on, with the weights that
        it started from: names that `earthinstruct list training-sets` shows, or part -> names; `unknown` where not all
        is published, and an empty list where nothing was learned. Default: nothing but the name.
    `missing(**parameters) -> list[str]`
        What this machine lacks (packages, files, devices), one line each: what is missing, a colon, the command that
        provides it. It is asked before the first image; if it returns any line, nothing is run, and one error lists
        all lines. A class or static method takes the parameters of the class and is asked before the method is made; a
        plain method takes none and is asked of the object. Default: nothing is missing.
    `choices() -> Mapping[str, Mapping[str, Iterable[inspect.Parameter]]]`, of the class
        For a method of several parts: part -> the names that may be chosen for it -> the parameters of the part, for
        `list methods NAME`. Default: no parts.
    `presets() -> Mapping[str, Mapping[str, Any]]`, of the class
        The values that its parameter `preset` may have, and the parameters that each stands for. Default: none.
    `checks(self) -> Iterable[tuple[str, str | None]]`
        Checks of its own for `check-method`: the name of each, and the problem that it found or None. Default: none.
    `explain(self, image: NDArray[np.uint8], instruction: Instruction, /) -> NDArray[np.uint8]`
        A picture, uint8 RGB, of how the method decided on an image. Default: `predict --explain` is refused.
    `estimate(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Estimate`
        What `predict` will use for this image, for `evaluate --dry-run`. It spends nothing. Default: not known.
    `resolution(self) -> float | None`
        Metres a pixel of the images that the method was made for, for `predict --resolution method`. None, the
        default: any.
    `unknown_words(self, instruction: Instruction, /) -> Sequence[str]`
        The words of an instruction (categories or parent) that the method does not know. `predict` and `evaluate` name
        them before the first image. Default: none; a method that takes any word cannot say.
    `repeat(self, number: int, /) -> None`
        The next calls belong to this repeat of a run with `--repeats`; 0: to the run itself. A method that keeps
        answers shares none between repeats, and takes another seed for each if it has one. Default: nothing is done.
    `close(self) -> None`
        Releases what the method holds. It is called at the end of a run on a method that the run has made. Default:
        nothing is done.
    """

    name: str

    def predict(self, image: NDArray[np.uint8], instruction: Instruction, /) -> Prediction:
        """Find what the instruction asks for in one RGB image, uint8 (height, width, 3)."""
        ...


_DEFAULTS: Mapping[str, Callable[..., Any] | None] = {
    "predict_batch": None,
    "skip": lambda task: None,
    "describe": dict,
    "missing": lambda: [],
    "choices": dict,
    "presets": dict,
    "checks": list,
    "explain": None,
    "estimate": None,
    "resolution": lambda: None,
    "unknown_words": lambda instruction: (),
    "repeat": lambda number: None,
    "close": lambda: None,
}


def optional_member(method: object, name: str) -> Any:
    """An optional member of a method, or its default; `Method` describes them.

    Args:
        method: a method, or the class or function that makes one.
        name: the name of the member.

    Returns:
        Something to call. None: the method has no `predict_batch`, `explain` or `estimate`.
    """
    member = getattr(method, name, None)
    return member if callable(member) else _DEFAULTS[name]


@runtime_checkable
class ControlMethod(Protocol):
    """A method with the answer in hand, to catch wrong metrics. Leaderboards mark it.

    `targets` is the ground truth of the image as a `Prediction`, already limited to what the instruction asks for.
    """

    name: str

    def predict_with_targets(
        self, image: NDArray[np.uint8], instruction: Instruction, targets: Prediction, /
    ) -> Prediction:
        """Answer from the targets."""
        ...


def bad_boxes(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of n boxes (n, 4) are none: not finite, too far away, or with a negative size. `BOX` says it in words."""
    return np.asarray(~(np.abs(boxes) <= _FARTHEST).all(axis=1) | (boxes[:, 2:] < 0).any(axis=1))


def bad_points(points: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of n points (n, 2) are none: not finite, or too far away. `POINT` says it in words."""
    return np.asarray(~(np.abs(points) <= _FARTHEST).all(axis=1))


def check_prediction(prediction: Prediction, instruction: Instruction, height: int, width: int) -> None:
    """Check what a method returned against what it was given.

    Raises:
        ContractError: not a `Prediction`, a mask of it or of its proposals of another size than the image, or, for
            open_vocabulary, a label that is not one of the categories.
    """
    if not isinstance(prediction, Prediction):
        raise ContractError(f"predict must return a Prediction, got {type(prediction).__name__}")
    for where, regions in (("", prediction), ("proposals.", prediction.proposals)):
        for i, rle in enumerate((regions.masks if regions is not None else None) or ()):
            if rle["size"] != (height, width):
                raise ContractError(
                    f"{where}masks[{i}] has size {list(rle['size'])}, the image is [{height}, {width}] (height, width)"
                )
    if instruction.setting == "open_vocabulary":
        for label in (*prediction.labels, *(prediction.counts or ())):
            if label not in instruction.categories:
                raise ContractError(
                    f"label {label!r} is not one of the instruction's categories {list(instruction.categories)}"
                )


def _remade(value: Any) -> tuple[Any, ...]:
    """A pickle holds the arguments it is made from: its read-only mappings have no pickle of their own."""
    arguments = (getattr(value, each.name) for each in fields(value))
    return type(value), tuple(dict(each) if isinstance(each, Mapping) else each for each in arguments)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def _labels(values: object, where: str) -> tuple[str, ...]:
    values = values.tolist() if isinstance(values, np.ndarray) else values
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ContractError(f"{where} must be a sequence of strings, got {values!r}")
    for i, value in enumerate(values):
        if not _is_text(value):
            raise ContractError(f"{where}[{i}] must be a non-empty string{_NO_SURROGATES}, got {value!r}")
    return tuple(str(value) for value in values)


_NO_SURROGATES = " without half characters (surrogates)"


def _is_text(value: object) -> bool:
    """Whether it is text that says something and that a file can hold: JSON may bring halves of characters."""
    if not isinstance(value, str) or not value.strip():
        return False
    return value.isascii() or not any("\ud800" <= part <= "\udfff" for part in value)


def _floats(values: ArrayLike, where: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array = np.array(values, dtype=np.float64) if np.asarray(values).dtype.kind in "fiubO" else None
    except (TypeError, ValueError):
        array = None
    if array is None:
        for i, value in enumerate(values if isinstance(values, Sequence) else ()):
            flat = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
            if len(flat) != (shape[1] if len(shape) == 2 else 1) or not all(_is_number(part) for part in flat):
                raise ContractError(
                    f"{where}[{i}] must be {f'{shape[1]} numbers' if len(shape) == 2 else 'a number'}, got {value!r}"
                )
        raise ContractError(f"{where} must be numbers of shape {_shape(shape)}, got {type(values).__name__}")
    if array.size == 0 and len(shape) == 2:
        array = array.reshape(0, shape[1])
    if array.ndim != len(shape) or array.shape[1:] != shape[1:]:
        raise ContractError(f"{where} must have shape {_shape(shape)}, got {array.shape}")
    finite = np.isfinite(array).all(axis=tuple(range(1, array.ndim)))
    if not finite.all():
        i = int(np.argmin(finite))
        raise ContractError(f"{where}[{i}] must be finite, got {array[i].tolist()}")
    array.flags.writeable = False
    return array


def _shape(shape: tuple[int, ...]) -> str:
    return f"(n, {shape[1]})" if len(shape) == 2 else "(n,)"


def _set_regions(value: Any, prefix: str) -> None:
    """Check and freeze the boxes, masks and scores of a prediction or of proposals."""
    boxes = _floats(value.boxes, f"{prefix}boxes", (0, 4))
    bad = bad_boxes(boxes)
    if bad.any():
        i = int(np.argmax(bad))
        raise ContractError(f"{prefix}boxes[{i}] must be {BOX}, got {boxes[i].tolist()}")
    object.__setattr__(value, "boxes", boxes)
    if value.masks is not None:
        if isinstance(value.masks, Mapping) or not isinstance(value.masks, Iterable):
            raise ContractError(f"{prefix}masks must be a sequence of COCO RLEs or None, got {value.masks!r}")
        masks = tuple(check_rle(mask, f"{prefix}masks[{i}]") for i, mask in enumerate(value.masks))
        if len(masks) != len(boxes):
            raise ContractError(f"{prefix}masks has {plural(len(masks), 'entry', 'entries')} for {_places(len(boxes))}")
        decode_rles(masks, f"{prefix}masks")
        object.__setattr__(value, "masks", masks)
    _set_scores(value, prefix, len(boxes))


def _set_points(value: Prediction) -> None:
    """Check and freeze the points of a prediction, and its scores if it has no boxes."""
    points = _floats(value.points, "points", (0, 2))  # type: ignore[arg-type]
    bad = bad_points(points)
    if bad.any():
        i = int(np.argmax(bad))
        raise ContractError(f"points[{i}] must be {POINT}, got {points[i].tolist()}")
    object.__setattr__(value, "points", points)
    if value.boxes is None:
        if value.masks is not None:
            raise ContractError("masks need boxes, and this prediction has points alone; give boxes too")
        _set_scores(value, "", len(points), are_boxes=False)
    elif len(value.boxes) != len(points):
        raise ContractError(f"points has {plural(len(points), 'entry', 'entries')} for {_places(len(value.boxes))}")


def _places(n: int, are_boxes: bool = True) -> str:
    return plural(n, "box", "boxes") if are_boxes else plural(n, "point")


def _set_scores(value: Any, prefix: str, n: int, are_boxes: bool = True) -> None:
    if value.scores is not None:
        scores = _floats(value.scores, f"{prefix}scores", (0,))
        if len(scores) != n:
            raise ContractError(
                f"{prefix}scores has {plural(len(scores), 'entry', 'entries')} for {_places(n, are_boxes)}"
            )
        object.__setattr__(value, "scores", scores)


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(0 <= value <= most)


def _whole_numbers(numbers: Mapping[str, int], where: str, keys: str, most: int) -> dict[str, int]:
    if not isinstance(numbers, Mapping):
        raise ContractError(f"{where} must be a mapping of {keys} to integers, got {numbers!r}")
    for key, number in numbers.items():
        if not _is_text(key):
            raise ContractError(f"{where} has the key {key!r}; {keys} are non-empty strings{_NO_SURROGATES}")
        if not _is_whole(number, most):
            raise ContractError(f"{where}[{key!r}] must be an integer >= 0 and at most {most}, got {number!r}")
    return {key: int(number) for key, number in numbers.items()}
