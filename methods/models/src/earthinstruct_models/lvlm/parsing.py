"""Reads counts and boxes from the reply of a language model, from any form of JSON that says them clearly.

Everything that a reply holds is read, or named: in an error, or in the events beside the answer. The table of what is
read is in `methods/models/README.md`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from earthinstruct.tasks import normalised
from earthinstruct_models.lvlm.interface import LvlmError, Reply, checked
from earthinstruct_models.lvlm.json_in_text import Container, Found, find_json

LARGEST_COUNT = 100_000  # objects of one kind in one image; more is a mistake of the model
_DEEPEST = 16  # objects and arrays inside each other, around a count

# Keys, in small letters, with spaces for "_" and "-"
_KINDS = ("kind", "type")  # of a labelled object, or its label where it has no other
_NAMES = (
    *("label", "name", "category", "class", "class name", "category name", "object name", "object", *_KINDS),
    *("labels", "names", "categories", "classes"),
)
_COUNTS = ("count", "number", "quantity", "total", "n", "total count", "amount", "value")
_BOXES = ("bbox 2d", "bbox", "box 2d", "box", "bounding box", "bboxes", "boxes", "bboxes 2d", "bounding boxes")
_SIDES = (
    *(("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"), ("x min", "y min", "x max", "y max")),
    ("left", "top", "right", "bottom"),
)
_WRAPPERS = (
    *("counts", "count", "object counts", "answer", "answers", "result", "results", "output", "objects", "data"),
    *("detections", "predictions", "instances", "items", "elements", "annotations", "image", "response"),
)
_WRAPPING_WORDS = frozenset(  # in the name of what holds all counts, also with the ending of the plural
    (
        "count",
        "object",
        "detect",
        "detected",
        "detection",
        "image",
        "scene",
        "result",
        "answer",
        "category",
        "categories",
    )
)
_TOTALS = (
    *(*_COUNTS, *_WRAPPERS, "totals", "sum", "overall", "all", "all objects", "grand total", "overall total"),
    *("total number", "total objects", "objects total", "number of objects", "total number of objects"),
)
_MEASURES = ("confidence", "score", "id", "index", "image", "image id", "image size", "width", "height")
_COMMENTS = (  # unless they hold a whole number: then they may be labels
    *("reasoning", "reason", "rationale", "explanation", "analysis", "thought", "thoughts", "thinking", "summary"),
    *("note", "notes", "comment", "comments", "remark", "remarks", "description", "caption", "status", "unit"),
    *("image name", "file", "file name", "filename", "format", "bbox format", "box format", "coordinate format"),
)

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_BELOW_100 = (*_ONES, *(f"{ten} {one}".removesuffix(" zero") for ten in _TENS for one in _ONES[:10]))
_NUMBER_WORDS = {
    **{word: i for i, word in enumerate(_BELOW_100)},
    **{
        f"{hundreds} hundred {word}".removesuffix(" zero"): 100 * i + j
        for i, hundreds in enumerate(_ONES[1:10], 1)
        for j, word in enumerate(_BELOW_100)
    },
    **dict.fromkeys(("none", "null", "no", "nil"), 0),
}
_END = "(?:c(?:ent(?:er|re))?|min|1|(?:(?:top|upper) )?left|top)?"  # what stands beside x and y
_NO_CORNERS = re.compile(  # a centre or corner and a size, in small words
    r"(?<!not )(?<!not in )(?<!instead of )(?<!rather than )(?<![a-z])(?:b?box(?:es)?)? ?"
    rf"(?:{_END} ?x ?{_END} ?{_END} ?y ?{_END}|left top) ?w(?:idth)? ?h(?:eight)?(?![a-z])"
    r"|\b(?:format|b?box(?:es)?)\b.{0,40}\b(?:coco|yolo)\b|\b(?:coco|yolo) (?:format|b?box(?:es)?)\b"
)
_DIGITS = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?")


@dataclass(frozen=True)
class Counts:
    """The counts in a reply."""

    counts: dict[str, int]  # label -> whole number >= 0; spellings of one label, as for `exact`, are one label
    events: dict[str, int] = field(default_factory=dict)  # how often a total is not the sum of the counts


@dataclass(frozen=True)
class Boxes:
    """The boxes in a reply."""

    labels: list[str]  # n labels, in the model's words
    corners: NDArray[np.float64]  # (n, 4), x1 <= x2 and y1 <= y2, in the model's own coordinates
    unreadable: int  # number of elements without a label or four numbers, and of pieces that are not JSON
    truncated: bool  # the reply ended before its JSON did


def parse_counts(reply: Reply) -> dict[str, int]:
    r"""The counts in a reply: label -> whole number >= 0. See `read_counts`.

    >>> parse_counts(Reply('Sure!\n```json\n{"counts": {"ship": "3", "harbor": 2.0, "dam": null}}\n```'))
    {'ship': 3, 'harbor': 2, 'dam': 0}
    >>> parse_counts(Reply('[{"label": "ship", "count": 3}]'))
    {'ship': 3}
    """
    return read_counts(reply).counts


def read_counts(reply: Reply, categories: Iterable[str] = ()) -> Counts:
    r"""The counts in a reply, with what a reader should know of them.

    Accepted are objects of labels and numbers, objects with a label and a count, pairs, arrays of these (a repeated
    label is summed), and any of them inside an object under a name such as "counts". Several of them in one reply are
    one answer if they agree. A number may be a float without a fraction, digits in a string ("3", "1,200"), or English
    words up to 999; null and "none" are 0. Comments ("reasoning") are ignored; a total is compared with the sum.

    Args:
        reply: the reply.
        categories: those that were asked for, if known. A single name that is none of them may stand before the counts.

    Raises:
        LvlmError: the reply is a refusal, is cut off, or has no such JSON: it has a fraction, a negative number, a
            value that is not a number, one label with two counts, or an unreadable piece. The error keeps the reply.

    >>> read_counts(Reply('{"ship": 3}\n{"harbor": 1, "total": 5}'))
    Counts(counts={'ship': 3, 'harbor': 1}, events={'totals that differ': 1})
    """
    found = find_json(checked(reply).text)
    try:
        if found.problem:
            raise _NoCountError(f"the reply holds {found.problem}")
        known = frozenset(map(normalised, categories))
        return _without_totals(_joined((_of_run(run, known) for run in _answers(found, _is_mixed)), "same"))
    except _NoCountError as error:
        raise LvlmError(str(error), reply) from None


class _NoCountError(ValueError):
    """A value is not a count."""


def _answers(found: Found, is_answer: Callable[[Container], bool]) -> list[list[Container]]:
    """The runs, without arrays of plain values in the text around an answer, such as "in an image of [800, 800]"."""
    runs = [[value for value in run if not _is_plain(value) or is_answer(value)] for run in found.runs]
    return [run for run in runs if run] or found.runs


def _of_run(run: list[Container], known: frozenset[str]) -> dict[str, int]:
    entries = all(isinstance(value, dict) and _entry(value) is not None for value in run)
    return _joined((_counts(value, known) for value in run), "sum" if entries else "refused")


def _counts(value: Any, known: frozenset[str], depth: int = 0) -> dict[str, int]:
    if depth > _DEEPEST:
        raise _NoCountError("the counts of the reply are nested too deep")
    if _is_pair(value):
        return {_label(value[0]): _count(value[0], value[1])}
    if isinstance(value, list):
        return _joined((_counts(part, known, depth + 1) for part in value), "sum")
    if not isinstance(value, dict):
        raise _NoCountError(f"the reply has {str(value)[:100]!r}, which is not an object with a label and a count")
    if entry := _entry(value):
        for key, part in value.items():
            if type(part) is int and _plain(key) not in (*_NAMES, *_COUNTS, *_MEASURES):
                raise _NoCountError(f"the reply gives {key[:100]!r} a number beside a label and its count")
        return {_label(entry[0]): _count(*entry)}
    members = {key: part for key, part in value.items() if not _is_comment(key, part)}
    if value and not members:
        raise _NoCountError(f"the reply has an object without counts: {str(value)[:100]!r}")
    parts = []
    alone = len([key for key in members if _plain(key) not in _TOTALS]) == 1
    for key, part in members.items():
        wraps = _is_wrapper(key) or (alone and _holds_all(key, part, known))
        if isinstance(part, dict | list) and (wraps or _names_itself(part)):
            parts.append(_counts(part, known, depth + 1))
        elif _plain(key) in _NAMES and isinstance(part, str) and _number_in(part) is part:
            raise _NoCountError(f"the reply has an entry without a label or a count: {str(value)[:100]!r}")
        else:
            parts.append({_label(key): _count(key, _first(part, _COUNTS) if _has_count(part) else part)})
    return _joined(parts, "same")


def _joined(parts: Iterable[Mapping[str, int]], repeated: Literal["sum", "same", "refused"]) -> dict[str, int]:
    """Counts as one. A repeated label is summed, must have the same count, or is an error."""
    counts: dict[str, int] = {}
    known: dict[str, str] = {}  # form that all spellings share -> first spelling
    for part in parts:
        for word, count in part.items():
            label = known.setdefault(normalised(word), word)
            if counts.get(label, count) != count and repeated != "sum":
                raise _NoCountError(f"the reply gives {label!r} two different values")
            if label in counts and repeated == "refused":
                raise _NoCountError(f"the reply gives {label!r} twice in a row")
            counts[label] = count + (counts.get(label, 0) if repeated == "sum" else 0)
    return counts


def _without_totals(counts: dict[str, int]) -> Counts:
    totals = [label for label in counts if _plain(label) in _TOTALS]
    kept = {label: count for label, count in counts.items() if label not in totals}
    if totals and not kept:
        raise _NoCountError(f"the reply gives {totals[0]!r}, a count without a label")
    differ = sum(counts[label] != sum(kept.values()) for label in totals)
    return Counts(kept, {"totals that differ": differ} if differ else {})


def _entry(value: Mapping[str, Any]) -> tuple[str, Any] | None:
    """The label and the count of {"label": "ship", "count": 3}."""
    label = _first(value, _NAMES)
    return (label, _first(value, _COUNTS)) if isinstance(label, str) and _has_count(value) else None


def _is_wrapper(key: str) -> bool:
    """Whether a key says that there are counts, and not what is counted."""
    plain = _plain(key)
    return plain in _WRAPPERS or plain in _NAMES or plain.split()[-1:] in (["counts"], ["count"])


def _holds_all(key: str, value: Any, known: frozenset[str]) -> bool:
    """Whether the only key of an object says what holds the counts: {"image_1": {"ship": 3}}, {"harbour": {"ship": 3}}.

    It is no category. It has a word such as "image", or holds categories.
    """
    if not isinstance(value, dict) or normalised(key) in known:
        return False
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", key)]
    wraps = any({word, word.removesuffix("s")} & _WRAPPING_WORDS for word in words)
    return wraps or any(normalised(label) in known for label in value)


def _names_itself(value: Any) -> bool:
    """Whether a value is {"label": "ship", "count": 3}, or an array of these, under whatever key."""
    if isinstance(value, list):
        return bool(value) and all(isinstance(part, dict) and _names_itself(part) for part in value)
    return isinstance(value, dict) and _entry(value) is not None and _first(value, _KINDS) is None


def _has_count(value: Any) -> bool:
    """Whether a value is an object with a count, such as {"count": 3, "confidence": "high"}."""
    return isinstance(value, dict) and any(
        _plain(key) in _COUNTS and not isinstance(part, dict | list) for key, part in value.items()
    )


def _is_pair(value: Any) -> bool:
    """Whether a value is ["ship", 3]."""
    return isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and not _is_structure(value)


def _label(text: str) -> str:
    label = " ".join(text.split())
    if not label:
        raise _NoCountError("the reply has a count without a label")
    if not label.isprintable() or not any(map(str.isalpha, label)):
        raise _NoCountError(f"the reply has the label {label!r}, which is no text")
    return label


def _count(label: str, value: Any) -> int:
    number = _number_in(value) if isinstance(value, str) else 0 if value is None else value
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise _NoCountError(f"the reply gives {label!r} the count {str(value)[:100]!r}, which is not a number")
    if not math.isfinite(number) or number != int(number):
        raise _NoCountError(f"the reply gives {label!r} the count {number}, which is not a whole number")
    if not 0 <= number <= LARGEST_COUNT:
        raise _NoCountError(f"the reply gives {label!r} a count outside 0 to {LARGEST_COUNT:,}")
    return int(number)


def _number_in(text: str) -> float | str:
    """The number that a string spells, or the string."""
    words = " ".join(text.lower().replace("-", " ").replace(" and ", " ").split())
    if words in _NUMBER_WORDS:
        return _NUMBER_WORDS[words]
    return float(text.replace(",", "")) if _DIGITS.fullmatch(text.strip()) else text


def read_boxes(reply: Reply) -> Boxes:
    """The boxes in a reply, also in one that was cut off.

    Accepted are objects with a label and a box, with a label and several boxes, or with a list of boxes under each
    label, pairs of a label and a box, arrays of these, and any of them inside an object under a name such as "objects".
    Several of them in one reply are one answer; an exact repetition of it is ignored. Numbers may be text.

    Raises:
        LvlmError: the reply is a refusal, or has no JSON.

    >>> read_boxes(Reply('[{"bbox_2d": [1, 2, 3, 4], "label": "ship"}, {"bbox_2d": [5, 6', finish="truncated"))
    Boxes(labels=['ship'], corners=array([[1., 2., 3., 4.]]), unreadable=1, truncated=True)
    """
    if reply.finish != "truncated":
        checked(reply)
    found = find_json(reply.text)
    if not found.runs:
        raise LvlmError(f"the reply holds {found.problem}", reply)
    elements: list[_Element | None] = []
    answers = _answers(found, lambda value: _is_mixed(value) or len(value) > 3)
    for i, run in enumerate(answers):
        if run not in answers[:i]:
            elements += _elements(run)
    boxes = [element for element in elements if element is not None]
    corners = np.array([corners for _, corners in boxes], dtype=np.float64).reshape(-1, 2, 2)
    return Boxes(
        [label for label, _ in boxes],
        np.sort(corners, axis=1).reshape(-1, 4),
        len(elements) - len(boxes) + len(found.unread),
        found.truncated or reply.finish == "truncated",
    )


_Element = tuple[str, list[float]]  # a label and x1, y1, x2, y2


def _elements(value: Any, label: str = "") -> Iterator[_Element | None]:
    """The boxes in a value that have this label or their own; None for each element that cannot be read."""
    if corners := _corners(value):
        yield (label, corners) if label else None
    elif isinstance(value, dict):
        yield from _elements_of_object(value, label)
    elif isinstance(value, list) and len(value) > 1 and isinstance(value[0], str):
        yield from _elements(value[1] if len(value) == 2 else value[1:], value[0].strip())
    elif isinstance(value, list) and not _is_plain(value):
        for part in value:
            yield from _elements(part, label)
    else:
        yield None


def _elements_of_object(value: dict[str, Any], label: str) -> Iterator[_Element | None]:
    members = _elements_of_members(value, label)
    yield from (None for _ in members) if _says_no_corners(value) else members


def _says_no_corners(value: Mapping[str, Any]) -> bool:
    """Whether an object says that its boxes are no corners, such as {"format": "xywh"}."""
    texts = [key if not isinstance(part, str) else f"{key} {part}" for key, part in value.items()]
    return any(_NO_CORNERS.search(" ".join(re.findall(r"[a-z]+|\d", text.lower()))) for text in texts)


def _elements_of_members(value: dict[str, Any], label: str) -> Iterator[_Element | None]:
    names, boxes = _first(value, _NAMES), _first(value, _BOXES)
    sides = [[_first(value, [side]) for side in sides] for sides in _SIDES if _first(value, sides) is not None]
    if isinstance(names, list) and isinstance(boxes, list) and len(names) == len(boxes):
        for name, box in zip(names, boxes, strict=True):
            yield from _elements(box, name.strip() if isinstance(name, str) else "")
        return
    named = isinstance(names, str)
    own = names.strip() if named else label
    if boxes or sides:
        yield from _elements(boxes or sides[0], own)
        for part in (part for key, part in value.items() if _plain(key) not in _BOXES and isinstance(part, list)):
            if any(isinstance(inner, dict) for inner in part):  # parts of the object, with boxes or without
                yield from (element for element in _elements(part) if element is not None)
            elif _corners(part):
                yield None  # a second box
        return
    members = {key: part for key, part in value.items() if not (_is_comment(key, part) or _is_none(key, part))}
    if named and not any(isinstance(part, dict | list) for part in members.values()):
        yield None
        return
    for key, part in members.items():
        if not (named and _plain(key) in _NAMES):
            number = not any(map(str.isalpha, key))
            yield from _elements(part, own if named or number or _plain(key) in _WRAPPERS else key.strip())


def _is_none(key: str, value: Any) -> bool:
    """Whether a member of an object says that there is no box: {"ship": 0}, or how many there are: {"total": 2}."""
    scalar = not isinstance(value, dict | list)
    return scalar and (_plain(key) in _TOTALS or value in (None, 0) or str(value).lower() in ("0", "", "none", "no"))


def _corners(value: Any) -> list[float] | None:
    """Four numbers of a box: [1, 2, 3, 4], [[1, 2], [3, 4]], or either as text."""
    if isinstance(value, str):
        value = re.sub(r"[\[\](),]", " ", value).split()
    if isinstance(value, list) and len(value) == 2 and all(isinstance(part, list) and len(part) == 2 for part in value):
        value = value[0] + value[1]
    numbers = [_finite(part) for part in value] if isinstance(value, list) and len(value) == 4 else []
    return None if None in numbers else [number for number in numbers if number is not None]


def _finite(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _plain(key: str) -> str:
    """A key in small letters, with spaces for "_" and "-"."""
    return " ".join(key.lower().replace("_", " ").replace("-", " ").split())


def _first(value: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value of the first of these keys that an object has, or None."""
    fields = {_plain(key): part for key, part in value.items()}
    return next((fields[key] for key in keys if key in fields), None)


def _is_comment(key: str, value: Any) -> bool:
    comment = _plain(key) in _MEASURES or (_plain(key) in _COMMENTS and type(value) is not int)
    return comment and not isinstance(value, dict) and not _is_structure(value)


def _is_structure(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(part, dict | list) for part in value))


def _is_mixed(value: Container) -> bool:
    """Whether a plain array has both names and numbers, such as ["ship", 3]."""
    numbers = [
        not isinstance(part, str) or _number_in(part) is not part or any(map(str.isdigit, part)) for part in value
    ]
    return any(numbers) and not all(numbers)


def _is_plain(value: Any) -> bool:
    """Whether a value is an array of numbers and texts alone."""
    return isinstance(value, list) and bool(value) and not _is_structure(value)
