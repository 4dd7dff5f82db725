"""Read replies of vision-language models, text with boxes: a JSON object a line, as their evaluation scripts write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np

from earthinstruct.datasets import Dataset, ImageRecord
from earthinstruct.errors import DataError
from earthinstruct.files import checked_json, decode_checked, read_bytes
from earthinstruct.predictions.file import Record, as_boxes
from earthinstruct.predictions.image_names import ImageNames
from earthinstruct.regions import BoxForm, ImageId
from earthinstruct.tasks import forms
from earthinstruct.texts import without_thoughts

_FORM = (
    '{"image_id", "answer", and "label" unless the answer names the objects as <p>ship</p>, <ref>ship</ref> or '
    '"label": "ship"}'
)
_NUMBER = r"\s{0,40}-?\d{1,9}(?:\.\d{1,20})?\s{0,40}"
_NUMBERS = rf"{_NUMBER}(?:,{_NUMBER})*"
_TOKEN = re.compile(
    r"<(?P<tag>p|ref)>(?P<phrase>.{0,300}?)</(?P=tag)>"  # what the boxes after it are; bounds keep long replies quick
    rf"|\{{(?P<braces>(?:\s{{0,40}}[|,]?\s{{0,40}}<{_NUMBER}>)+)\s{{0,40}}\}}"  # {<25><30><40><45>|<90>}
    r"|\{(?P<object>[^{}]{0,500})\}"  # {"bbox_2d": [25, 30, 40, 45], "label": "ship"}
    rf"|\[(?P<brackets>{_NUMBERS})\]"  # [25, 30, 40, 45]
    rf"|(?P<pairs>\({_NUMBERS}\)(?:\s{{0,40}},\s{{0,40}}\({_NUMBERS}\))+)"  # (25, 30), (40, 45)
    r"|(?P<open>[\[{(][\s\d.,<>|()-]{0,300}$)",  # a box that was cut off
    re.DOTALL,
)
_LOCATIONS = re.compile(r"(?:<\w{0,20}\d{3,4}>\s{0,40}){4}")  # <loc0312><loc0100><loc0512><loc0400>
_LOOSE = re.compile(r"(?:\d[\d.]{0,20}\D{1,12}){3}\d")  # four numbers, in a sentence or a box written otherwise
_NOTHING = re.compile(r"\b(?:no|none|not|nothing)\b|\b0 (?=[a-z])", re.IGNORECASE)  # numbers beside it are none
_NAME = re.compile(r"""["'](?:label|category|class|name)["']\s*:\s*["']([^"']{1,300})["']""")
_EACH = re.compile(r"-?\d+(?:\.\d+)?")
_UNREADABLE = "unreadable elements"
_LOOSELY = "numbers that may be no box"
_NOT_ASKED = "labels not asked for"
_NO_LABEL = "boxes without a label"
_LEAST = 10  # swapped boxes: fewer may be mistakes of the model
_SHOWN = 9  # numbers in an error
_BEYOND = 1.01  # of the frame: a corner further out was meant in another frame


class _Line(msgspec.Struct):
    """One reply; other fields of the line are of no use here."""

    answer: str
    image_id: ImageId | None = None
    image: ImageId | None = None
    label: str | None = None


@dataclass
class _Image:
    """What the replies about one image say."""

    labels: list[str] = field(default_factory=list)
    numbers: list[list[float]] = field(default_factory=list)
    asked: set[str | None] = field(default_factory=set)
    events: Counter[str] = field(default_factory=Counter)


def read_replies(path: Path, dataset: Dataset, form: BoxForm) -> dict[ImageId, Record]:
    """Read replies as instances without scores: image -> record.

    Boxes are written `[...]`, `{<...><...>|<...>}` or `(...),(...)`; thoughts are left out. What is lost becomes events
    of the record, under the same names as those of the method `lvlm-boxes`. Images that no line is about get no record.

    Args:
        path: JSON lines, or a list, of `{"image_id" or "image", "answer", "label"}`. Without a label, boxes belong to
            the phrase before them, `<p>ship</p>` or `<ref>ship</ref>`, or to the name in their JSON object. With a
            label, boxes under the name of another category are left out.
        dataset: the dataset of the predictions.
        form: what the numbers of a box mean. Where it has an angle, boxes without one are upright.

    Raises:
        DataError: the file has another format, a line is about no image or about an image and label that had a reply,
            no box of the file can be read, because none has a label, or as many numbers as the form, or because most
            replies write them in another way, or most boxes are of another form.
    """
    problem = f"replies {path}: {{error}}. Expected a line a reply, {_FORM}"
    content = checked_json(read_bytes(path, "replies"), problem, lines=True)
    if content.lstrip().startswith(b"{"):
        content = b"[" + content + b"]"
    lines = decode_checked(content, msgspec.json.Decoder(list[_Line]), problem)
    where = [f"{path}: reply {i}" for i in range(len(lines))]
    found: dict[ImageId, _Image] = {}
    images = _images_of(lines, where, dataset)
    categories = {form for name in dataset.vocabulary.categories for form in forms(name)}
    unread: dict[str, list[str]] = {_UNREADABLE: [], _NO_LABEL: [], _LOOSELY: []}  # what was wrong with each
    for line, image, place in zip(lines, images, where, strict=True):
        about = found.setdefault(image.id, _Image())
        if line.label in about.asked:
            raise DataError(
                f"{place} is about image {image.id!r}{_and_label(line)} like an earlier one; keep one reply a question"
            )
        about.asked.add(line.label)
        _read(line, form, about, place, unread, categories)
    boxes = [box for about in found.values() for box in about.numbers]
    wrong = unread[_UNREADABLE] or unread[_NO_LABEL]
    if 2 * len(unread[_LOOSELY]) > len(lines):
        wrong = wrong or unread[_LOOSELY]
    if wrong and not boxes:
        raise DataError(wrong[0])
    _refuse_other_forms(path, boxes, form)
    asked: set[str | None] = set().union(*(about.asked for about in found.values())) - {None}
    by_id = {image.id: image for image in images}
    return {image: _record(by_id[image], about, form, len(asked - about.asked)) for image, about in found.items()}


def _refuse_other_forms(path: Path, numbers: list[list[float]], form: BoxForm) -> None:
    sides, n = form.boxes(numbers, [(1, 1)] * len(numbers))[:, 2:], len(numbers)
    swapped = int((sides < 0).any(axis=1).sum())
    if misfit := form.misfit(numbers):
        raise DataError(f"{path}: {misfit}")
    if swapped >= _LEAST and 2 * swapped > n:
        raise DataError(
            f"{path}: {swapped} of {n} boxes as {form.order} have their second corner before the first: give another "
            "--order"
        )


def _and_label(line: _Line) -> str:
    return "" if line.label is None else f" and label {line.label!r}"


def _images_of(lines: list[_Line], where: list[str], dataset: Dataset) -> list[ImageRecord]:
    names: list[ImageId] = []
    for line, place in zip(lines, where, strict=True):
        name = line.image if line.image_id is None else line.image_id
        if name is None:
            raise DataError(f"{place} names no image; give 'image_id' or 'image', an id or a file name")
        names.append(name)
    found = ImageNames(dataset).find(names, lambda name: where[names.index(name)], once=False)
    return [found[name] for name in names]


def _read(
    line: _Line, form: BoxForm, about: _Image, place: str, unread: dict[str, list[str]], categories: Set[str]
) -> None:
    """Add the boxes of a reply, and what happened; `categories` are the forms of those of the dataset."""
    answer = without_thoughts(line.answer)
    boxes = list(_boxes_in(answer))
    for phrase, numbers in boxes:
        label = line.label or phrase
        if numbers is None:
            about.events["truncated replies"] += 1
            continue
        if form.has_angle and len(numbers) == form.n_numbers - 1:
            numbers = [*numbers, 0.0]
        if len(numbers) != form.n_numbers:
            about.events[_UNREADABLE] += 1
            shown = f"{numbers[:_SHOWN]}"[:-1] + (", ...]" if len(numbers) > _SHOWN else "]")
            unread[_UNREADABLE].append(
                f"{place} has a box of {len(numbers)} numbers, {shown}, and no box of the file has {form.n_numbers}, "
                f"as {form.order} has: give another --order"
            )
        elif line.label and phrase and not categories.isdisjoint(forms(phrase)) and not _alike(line.label, phrase):
            about.events[_NOT_ASKED] += 1
        elif not label:
            about.events[_NO_LABEL] += 1
            unread[_NO_LABEL].append(
                f"{place} has a box without a label; give the lines a 'label', the category asked for"
            )
        else:
            about.labels.append(label)
            about.numbers.append(numbers)
    if not answer.strip():
        about.events["empty replies"] += 1
    elif not boxes and (written := _written_otherwise(answer)):
        event, text = written
        about.events[_UNREADABLE] += 1
        unread[event].append(
            f"{place} has {text!r}, and no box of the file can be read; expected boxes as [25, 30, 40, 45], "
            "(25, 30), (40, 45) or {<25><30><40><45>|<90>}"
        )
    elif not boxes:
        about.events["replies without a box"] += 1


def _written_otherwise(answer: str) -> tuple[str, str] | None:
    """A box in a way that is not read: `_UNREADABLE`, or `_LOOSELY` if the numbers may be no box, and its text."""
    if (found := _LOCATIONS.search(answer)) is not None:
        return _UNREADABLE, found[0]
    if (found := _LOOSE.search(answer)) is not None and _NOTHING.search(answer) is None:
        return _LOOSELY, found[0]
    return None


def _alike(label: str, other: str) -> bool:
    return not set(forms(label)).isdisjoint(forms(other))


def _boxes_in(answer: str) -> Iterator[tuple[str | None, list[float] | None]]:
    """Yield the phrase before each box, or the name in its object, and its numbers; None: it was cut off."""
    phrase = None
    for token in _TOKEN.finditer(answer):
        if token["tag"] is not None:
            phrase = token["phrase"].strip()
        elif token["object"] is not None:
            name = _NAME.search(token["object"])
            own = phrase if name is None else name[1].strip()
            yield from ((inside or own, numbers) for inside, numbers in _boxes_in(token["object"]))
        elif token["open"] is not None:
            if _EACH.search(token["open"]):
                yield phrase, None
        else:
            yield phrase, [float(number) for number in _EACH.findall(token[0])]


def _record(image: ImageRecord, about: _Image, form: BoxForm, n_missing: int) -> Record:
    size = np.array([image.width, image.height, image.width, image.height])
    boxes = form.boxes(about.numbers, [size[:2]] * len(about.numbers))
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    inside = np.clip(corners, 0, size)
    boxes = np.hstack([inside[:, :2], inside[:, 2:] - inside[:, :2]])
    kept = np.flatnonzero((boxes[:, 2:] > 0).all(axis=1))
    events = {
        **about.events,
        "boxes outside the image": len(boxes) - len(kept),
        "boxes beyond the frame": int((corners > _BEYOND * size).any(axis=1).sum()),
        "questions without a reply": n_missing,
    }
    return Record(
        image.id,
        [about.labels[i] for i in kept],
        as_boxes(boxes[kept]),
        events={name: n for name, n in events.items() if n},
    )
