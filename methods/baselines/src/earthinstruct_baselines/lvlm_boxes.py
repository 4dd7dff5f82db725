"""Vision-language models that are asked for boxes or points: one method, and a table of the coordinates of each family.

The prompts are ours. Where each family says how it writes boxes is in `FAMILIES`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from earthinstruct_models.boxes import inside_image
from earthinstruct_models.choices import LVLMS, transformers_lvlm
from earthinstruct_models.lvlm import Boxes, Lvlm, LvlmError, Reply, answered, read_boxes, read_points
from earthinstruct_models.parameters import check_choice, check_integer
from earthinstruct_models.parts import Tables, lacking
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Usage
from earthinstruct.errors import EarthInstructError
from earthinstruct.regions import FRAMES, BoxForm
from earthinstruct.tasks import ExactMapper
from earthinstruct_baselines._lvlm_method import LvlmMethod

_CORNERS = {"xyxy": "x1, y1, x2, y2", "yxyx": "y1, x1, y2, x2"}
_TAGGED = re.compile(r"<ref>(.*?)</ref>\s*<box>\s*(\[\[.*?\]\])\s*</box>", re.DOTALL)  # what InternVL was trained with
_BEYOND = 1.01  # of the frame: a corner further out was meant in another frame


@dataclass(frozen=True)
class Family:
    """How the models of one family write a box, or a point."""

    frame: str  # as in `BoxForm`, of the image that is sent
    order: str  # as in `BoxForm`, one of `_CORNERS`; of points, `xy`
    key: str  # the name of a box or of points, which the models were trained with
    source: str  # where its authors say so
    weights: str | None = None  # in the table of weights, for a model on this machine; None: a folder is given
    # sides of the image are resized here to multiples of this, so that the size is known that pixels refer to
    factor: int | None = None
    points: bool = False  # they write points, in tags, and are asked about one category at a time

    @property
    def form(self) -> BoxForm:
        """What the numbers of a box mean."""
        return BoxForm(self.order, self.frame)


FAMILIES: Mapping[str, Family] = {
    "qwen2.5-vl": Family("pixels", "xyxy", "bbox_2d", "arXiv 2502.13923", "qwen2.5-vl-7b", factor=28),
    "qwen3-vl": Family("thousandths", "xyxy", "bbox_2d", "arXiv 2511.21631", "qwen3-vl-8b"),
    "qwen3.5": Family("thousandths", "xyxy", "bbox_2d", "github.com/QwenLM/Qwen3.8-Flash-Next/issues/4"),
    "glm-v": Family("thousandths", "xyxy", "bbox_2d", "github.com/zai-org/GLM-V, skills/glmv-grounding"),
    "internvl": Family("thousandths", "xyxy", "box", "internvl.readthedocs.io, chat data format"),
    "gemini": Family("thousandths", "yxyx", "box_2d", "ai.google.dev/gemini-api/docs/image-understanding"),
    # its code is not in transformers, and no code of a folder is run here: over a server
    "molmo": Family("hundredths", "xy", "points", "huggingface.co/allenai/Molmo-7B-O-0924/discussions/1", points=True),
    "molmo2": Family("thousandths", "xy", "points", "huggingface.co/allenai/Molmo2-8B", "molmo2-8b", points=True),
}


class LvlmBoxes(LvlmMethod):
    """A vision-language model that is asked for boxes or points, read in the coordinates of its family. No scores.

    Molmo and Molmo 2 point: their answers have points and no boxes. Under open_vocabulary they are asked about one
    category at a time, as they were trained, and what they point at has this category. A reply without a point says
    that there is no such object; it is an event.

    A reply that was cut off is read up to its end. Losses are recorded as events of the prediction: torn or unreadable
    elements, boxes or points outside the image, boxes beyond the frame (a sign of another frame) and, under
    open_vocabulary, labels that are not in the instruction. `earthinstruct check-method` asks the model about an image
    with one known square, and says in which coordinates it answers.

    An image is resized here for a family with a `factor`, to multiples of it within the limits. The model's processor,
    on this machine or on a server, does not resize an image of such a size. The limits of a server must include
    `min_pixels` and `max_pixels`; otherwise it resizes again, and all boxes are wrong.

    Args:
        family: `qwen2.5-vl`, `qwen3-vl`, `qwen3.5`, `glm-v` (GLM-4.1V to 4.6V), `internvl`, `gemini`, `molmo` (over a
            server) or `molmo2`; None for another model that writes boxes, with its `frame` and `order`.
        lvlm: `transformers` (on this machine), `openai` (an OpenAI-compatible server), or a language model.
        frame: `pixels` of the image that is sent, or `fractions`, `hundredths` or `thousandths` of its sides; None: the
            family's.
        order: `xyxy` or `yxyx`; None: the family's.
        key: the name of a box in the answer; None: the family's, or `bbox_2d`.
        factor: sides are resized to multiples of it; 0: the image is sent as it is; None: the family's.
        min_pixels: a smaller image is enlarged, where it is resized.
        max_pixels: a larger image is reduced, where it is resized.
        name: the name in run folders, results and tables; None: the family.
        **parameters: of the language model, as `lvlm.key`; `lvlm.replies` is a file that keeps every reply.

    Raises:
        EarthInstructError: a parameter is unknown, lacking or out of range, or the weights are not on this machine.
    """

    name = "lvlm-boxes"

    def __init__(
        self,
        family: str | None = None,
        lvlm: str | Lvlm = "transformers",
        frame: str | None = None,
        order: str | None = None,
        key: str | None = None,
        factor: int | None = None,
        min_pixels: int = 256 * 28 * 28,
        max_pixels: int = 1280 * 28 * 28,
        name: str | None = None,
        **parameters: Any,
    ) -> None:
        self.family = family
        self.written = _written(family, frame, order, key, factor)
        self.factor = self.written.factor or 0
        self.min_pixels = check_integer("min_pixels", min_pixels)
        self.max_pixels = check_integer("max_pixels", max_pixels)
        if self.factor:
            self._refuse_limits(parameters)
            if lvlm == "transformers":
                parameters |= {"lvlm.min_pixels": self.min_pixels, "lvlm.max_pixels": self.max_pixels}
        self.name = name or family or type(self).name
        super().__init__({"lvlm": lvlm}, parameters, _tables(self.written))

    def _refuse_limits(self, parameters: Mapping[str, Any]) -> None:
        if not self.factor**2 <= self.min_pixels < self.max_pixels:
            raise EarthInstructError(
                f"min_pixels must be at least {self.factor**2} and below max_pixels, got {self.min_pixels} and "
                f"{self.max_pixels}"
            )
        for limit in ("min_pixels", "max_pixels"):
            if f"lvlm.{limit}" in parameters:
                raise EarthInstructError(f"give {limit} without 'lvlm.': the image is resized before the model gets it")

    def shown(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The image that is sent to the model."""
        if not self.factor:
            return image
        from PIL import Image
        from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

        try:
            height, width = smart_resize(*image.shape[:2], self.factor, self.min_pixels, self.max_pixels)
        except ValueError as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise EarthInstructError(f"{self.name} takes no image of {size} pixels: {error}") from error
        if (height, width) == image.shape[:2]:
            return image
        return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))

    def questions(self, image: NDArray[np.uint8], instruction: Instruction) -> list[tuple[Any, ...]]:
        """The requests about an image."""
        shown = self.shown(image)
        return [(shown, text) for text in prompts(instruction, self.written)]

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets them together.

        Raises:
            LvlmError: no reply came about one of the images, or it is a refusal or has no JSON; the replies about the
                others are kept.
        """
        shown = [self.shown(image) for image in images]
        replies = [answered(self._parts["lvlm"].ask_many(shown, text)) for text in prompts(instruction, self.written)]
        if self.written.points:
            return [
                self._read_points(image, list(own), instruction)
                for image, own in zip(images, zip(*replies, strict=True), strict=True)
            ]
        return [self._read(*about, instruction) for about in zip(images, shown, replies[0], strict=True)]

    def _read_points(self, image: NDArray[np.uint8], replies: list[Reply], instruction: Instruction) -> Prediction:
        labels: list[str] = []
        shares: list[NDArray[np.float64]] = []
        usages: list[Usage] = []
        for category, reply in zip(instruction.categories or ("",), replies, strict=True):
            found = read_points(reply)
            inside = ((found.places >= 0) & (found.places <= 1)).all(axis=1)
            named = np.array([bool(category or label) for label in found.labels], dtype=bool)
            kept = np.flatnonzero(inside & named)
            labels += [category or found.labels[i] for i in kept]
            shares.append(found.places[kept])
            events = {
                **reply.events,
                "truncated replies": int(found.truncated),
                "replies without points": int(not len(found.places) and not found.unreadable),
                "unreadable elements": found.unreadable,
                "points outside the image": int((~inside).sum()),
                "points without a label": int((inside & ~named).sum()),
            }
            usages.append(Usage({"lvlm": reply.seconds}, reply.input_tokens, reply.output_tokens, events))
        extent = np.array(image.shape[1::-1], dtype=np.float64)
        # the far border of the image is in its last row and column
        points = np.minimum(np.concatenate(shares) * extent, np.nextafter(extent, 0))
        return Prediction(tuple(labels), points=points, usage=Usage.join(usages))

    def _read(
        self, image: NDArray[np.uint8], shown: NDArray[np.uint8], reply: Reply, instruction: Instruction
    ) -> Prediction:
        found = _boxes_of(reply)
        height, width = image.shape[:2]
        shares = _shares(found.corners, shown, self.written.form)
        boxes, kept = inside_image(shares * np.array([width, height, width, height]), height, width)
        labels = [found.labels[i] for i in kept]
        asked = list(range(len(labels)))
        if instruction.categories:
            mapped = ExactMapper().map(labels, instruction.categories)
            asked = [i for i, label in enumerate(labels) if mapped[label].category is not None]
            labels = [mapped[label].category or label for label in labels]
        events = {
            **reply.events,
            "truncated replies": int(found.truncated),
            "unreadable elements": found.unreadable,
            "boxes outside the image": len(found.labels) - len(kept),
            "boxes beyond the frame": int((shares > _BEYOND).any(axis=1).sum()),
            "labels not asked for": len(labels) - len(asked),
        }
        return Prediction(
            labels=tuple(labels[i] for i in asked),
            boxes=boxes[asked],
            usage=Usage({"lvlm": reply.seconds}, reply.input_tokens, reply.output_tokens, events),
        )

    def parameters(self) -> dict[str, Any]:
        """The coordinates, and the limits where the image is resized."""
        limits = {"min_pixels": self.min_pixels, "max_pixels": self.max_pixels} if self.factor else {}
        about = {"family": self.family, "frame": self.written.frame, "order": self.written.order}
        return {**about, "key": self.written.key, "factor": self.factor, **limits}

    @classmethod
    def missing(
        cls,
        family: str | None = None,
        frame: str | None = None,
        order: str | None = None,
        key: str | None = None,
        factor: int | None = None,
        **parameters: Any,
    ) -> list[str]:
        """What the method lacks on this machine, and how to get it; parameters as for the class."""
        if family is None and None in (frame, order):
            return [f"parameter family: give -M family=NAME ({', '.join(FAMILIES)}), or -M frame=... -M order=..."]
        return lacking(cls, cls.parts, parameters, _tables(_written(family, frame, order, key, factor)))

    def checks(self) -> Iterator[tuple[str, str | None]]:
        """Ask about an image with one known square: does the model answer in the coordinates of its family?"""
        yield "coordinates of a known square", _problem_of_square(self)


def _written(family: str | None, frame: str | None, order: str | None, key: str | None, factor: int | None) -> Family:
    """How boxes are written: as in the table, unless it is given."""
    if family is not None:
        next_step = "Another model takes -M frame=... -M order=... without -M family."
        check_choice("family", family, FAMILIES, next_step)
    if family is None and None in (frame, order):
        raise EarthInstructError("give -M family=NAME, or -M frame=... -M order=... of another model")
    known = Family("", "", "bbox_2d", "") if family is None else FAMILIES[family]
    given = {"frame": frame, "order": order, "key": key, "factor": factor}
    if known.points and (chosen := [name for name, value in given.items() if value is not None]):
        raise EarthInstructError(f"family {family} writes points, in tags: leave out -M {chosen[0]}")
    written = replace(
        known,
        frame=known.frame if frame is None else frame,
        order=known.order if order is None else order,
        key=known.key if key is None else key,
        factor=known.factor if factor is None else factor,
    )
    if not written.points:
        check_choice("order", written.order, _CORNERS)
        check_choice("frame of a box", written.frame, FRAMES)
    if written.factor is None:
        return written
    return replace(written, factor=check_integer("factor", written.factor, least=0))


def _tables(written: Family) -> Tables:
    """The language models; on this machine, the one with the weights of the family."""
    return {"lvlm": {**LVLMS, "transformers": transformers_lvlm(written.weights)}}


def _boxes_of(reply: Reply) -> Boxes:
    """The boxes in a reply, also those in tags."""
    text = _TAGGED.sub(lambda found: f"[{json.dumps(found[1])}, {found[2]}]\n", reply.text)
    return read_boxes(replace(reply, text=text))


def _shares(corners: NDArray[np.float64], shown: NDArray[np.uint8], form: BoxForm) -> NDArray[np.float64]:
    """Corners as a reply has them -> x1, y1, x2, y2 (n, 4) as shares of width and height."""
    size = np.array(shown.shape[1::-1], dtype=np.float64)
    boxes = form.boxes(corners, np.tile(size, (len(corners), 1)))
    return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]) / np.tile(size, 2)


_SQUARE = np.array([0.68, 0.1, 0.86, 0.37])  # x1, y1, x2, y2 as shares of an image of 900 x 600 pixels: 162 x 162
_SQUARE_FOUND = 0.5  # IoU


def _problem_of_square(method: LvlmBoxes) -> str | None:
    """Compare where a model says that a square is with where it is, in all frames and orders."""
    image = np.full((600, 900, 3), 200, dtype=np.uint8)
    x1, y1, x2, y2 = (_SQUARE * [900, 600, 900, 600]).astype(int)
    image[y1:y2, x1:x2] = (220, 30, 30)
    asked = Instruction("open_vocabulary", "Find the red square.", ("red square",))
    if method.written.points:
        return _problem_of_point(method, image, asked)
    shown, (text,) = method.shown(image), prompts(asked, method.written)
    try:
        (reply,) = answered(method._parts["lvlm"].ask_many([shown], text))
        found = _boxes_of(reply)
    except LvlmError as error:
        return f"the model gave no box: {error}"
    if len(found.corners) != 1:
        return f"the model gave {len(found.corners)} boxes for one square: {reply.text[:200]!r}"
    fits = {
        (frame, order): _iou(_shares(found.corners, shown, BoxForm(order, frame))[0], _SQUARE)
        for frame in FRAMES
        for order in _CORNERS
    }
    written = (method.written.frame, method.written.order)
    if fits[written] >= _SQUARE_FOUND:
        return None
    frame, order = max(fits, key=lambda each: fits[each])
    if fits[frame, order] >= _SQUARE_FOUND:
        return (
            f"the model answers in {frame}, {order}, not in {written[0]}, {written[1]}: give -M frame={frame} "
            f"-M order={order}"
        )
    corners = ", ".join(f"{number:g}" for number in found.corners[0])
    return (
        f"the model answers {corners} for a square that fills {', '.join(f'{share:.0%}' for share in _SQUARE)} of an "
        f"image of {shown.shape[1]} x {shown.shape[0]} pixels: no frame ({', '.join(FRAMES)}) and order fits"
    )


def _problem_of_point(method: LvlmBoxes, image: NDArray[np.uint8], asked: Instruction) -> str | None:
    """Whether a model points into a square; what it wrote, if not."""
    (text,) = prompts(asked, method.written)
    try:
        (reply,) = answered(method._parts["lvlm"].ask_many([image], text))
        found = read_points(reply)
    except LvlmError as error:
        return f"the model gave no point: {error}"
    if len(found.places) != 1:
        return f"the model gave {len(found.places)} points for one square: {reply.text[:200]!r}"
    if ((found.places[0] >= _SQUARE[:2]) & (found.places[0] < _SQUARE[2:])).all():
        return None
    place = ", ".join(f"{share:.1%}" for share in found.places[0])
    square = ", ".join(f"{share:.0%}" for share in _SQUARE)
    return f"the model points at {place} of width and height, and the square fills {square}: {reply.text[:200]!r}"


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    both = float(np.prod(np.maximum(sides, 0)))
    areas = [float(np.prod(box[2:] - box[:2])) for box in (one, other)]
    return both / (sum(areas) - both)


def prompts(instruction: Instruction, written: Family) -> list[str]:
    """The prompts about an image: one, or one for each category."""
    if not written.points:
        return [prompt(instruction, written)]
    if instruction.setting == "open_vocabulary":
        return [f"Point to every {name.replace('_', ' ')} in this image." for name in instruction.categories]
    kinds = f"object that is a kind of {instruction.parent}" if instruction.parent else "object that can be told apart"
    return [f"Point to every {kinds} in this image, kind by kind, and name each kind in one to three words."]


def prompt(instruction: Instruction, written: Family) -> str:
    """The prompt for boxes. It does not contain the rules of the dataset, unlike the instruction's own text."""
    if instruction.setting == "open_vocabulary":
        what = f"Find every object of these categories: {', '.join(instruction.categories)}. Use these names as labels."
    elif instruction.setting == "open_subclass":
        what = f"Find every object that is a kind of {instruction.parent}. Label each with the name of its own kind."
    else:
        what = "Find every object that can be told apart. Label each with the name of its kind, in one to three words."
    form = (
        f'Answer with a JSON array and nothing else. Each object is one element: {{"{written.key}": '
        f'[{_CORNERS[written.order]}], "label": "name"}}, where (x1, y1) is its upper left and (x2, y2) its lower '
        "right corner. If there is none: []."
    )
    return f"This image was taken from above, by a satellite or an aircraft. {what}\n{form}"
