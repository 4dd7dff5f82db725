"""A language model names the crop of each proposal: the paper's "LAE-Label".

The idea comes from the label engine of LAE-DINO (Pan et al., arXiv 2408.09110); the prompts are ours.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
from earthinstruct_models.encoders.crops import crop_corners
from earthinstruct_models.interfaces import Proposer, ask_each
from earthinstruct_models.lvlm import Lvlm, Reply, answered, closed_object, find_json
from numpy.typing import NDArray

from earthinstruct.contract import Instruction, Prediction, Proposals, Usage
from earthinstruct.tasks import ExactMapper
from earthinstruct_baselines._lvlm_method import LvlmMethod

UNRECOGNISED = "unrecognised"
SCHEMA = closed_object({"label": {"type": "string"}})
_FORMAT = f'Answer with JSON and nothing else: {{"label": "name"}}. If you cannot tell, the name is "{UNRECOGNISED}".'


class LaeLabel(LvlmMethod):
    """Proposals, each named by an LVLM that sees only its crop. It gives no scores.

    Crops that the model does not recognise, unreadable answers and, under open_vocabulary, names that are not in the
    instruction are left out and recorded as events of the prediction.

    Args:
        proposer: `sam2`, `segments`, `recorded`, or a proposer object.
        lvlm: `openai`, `transformers`, or a language model; it gets as many crops at once as it takes.
        **parameters: of the parts, as `proposer.key` and `lvlm.key`; `lvlm.replies` is a file that keeps every reply,
            `cache` a folder that keeps proposals and replies.

    Raises:
        EarthInstructError: a parameter is unknown or lacking, or a file is missing.
    """

    name = "lae-label"
    parts: ClassVar[tuple[str, ...]] = ("proposer", "lvlm")

    def __init__(self, proposer: str | Proposer = "sam2", lvlm: str | Lvlm = "openai", **parameters: Any) -> None:
        super().__init__({"proposer": proposer, "lvlm": lvlm}, parameters)

    def predict_batch(self, images: Sequence[NDArray[np.uint8]], instruction: Instruction, /) -> list[Prediction]:
        """Predict several images; the language model gets the crops of all of them together.

        The seconds of the language model are divided evenly among the crops.

        Raises:
            LvlmError: no reply came for a crop; the replies about the others are kept.
        """
        proposed = ask_each(self._parts["proposer"], "propose", images)
        crops = [_crops(image, proposals) for image, (proposals, _) in zip(images, proposed, strict=True)]
        started = time.perf_counter()
        outcomes = self._parts["lvlm"].ask_many([crop for some in crops for crop in some], prompt(instruction), SCHEMA)
        asking = (time.perf_counter() - started) / max(1, len(outcomes))
        rest = iter(outcomes)
        return [
            _named(
                proposals,
                answered(list(islice(rest, len(proposals)))),
                instruction,
                {"proposer": proposing, "lvlm": asking * len(proposals)},
            )
            for proposals, proposing in proposed
        ]


def _crops(image: NDArray[np.uint8], proposals: Proposals) -> list[NDArray[np.uint8]]:
    corners = crop_corners(proposals.boxes, image.shape[1], image.shape[0])
    return [image[top:bottom, left:right] for left, top, right, bottom in corners]


def _named(
    proposals: Proposals, replies: Sequence[Reply], instruction: Instruction, seconds: Mapping[str, float]
) -> Prediction:
    """The prediction from a reply about each proposal."""
    named = [read_label(reply) for reply in replies]
    labels = ["" if label is None or label == UNRECOGNISED else label for label in named]
    known = len(labels) - labels.count("")
    if instruction.categories:
        mapped = ExactMapper().map(labels, instruction.categories)
        labels = [mapped[label].category or "" for label in labels]
    kept = [i for i, label in enumerate(labels) if label]
    events = {
        **Counter(event for reply in replies for event in reply.events),
        "unrecognised crops": named.count(UNRECOGNISED),
        "unreadable answers": named.count(None),
        "labels not asked for": known - len(kept),
    }
    return Prediction(
        labels=tuple(labels[i] for i in kept),
        boxes=proposals.boxes[kept],
        masks=None if proposals.masks is None else tuple(proposals.masks[i] for i in kept),
        proposals=proposals,
        usage=Usage(
            seconds, sum(reply.input_tokens for reply in replies), sum(reply.output_tokens for reply in replies), events
        ),
    )


def prompt(instruction: Instruction) -> str:
    """The prompt about a crop."""
    if instruction.setting == "open_vocabulary":
        what = f"Which of these is it: {', '.join(instruction.categories)}? Use one of these names."
    elif instruction.setting == "open_subclass":
        what = f"If it is a kind of {instruction.parent}, which kind is it? Name the kind."
    else:
        what = "What is it? Name its kind in one to three words, in the singular."
    return f"This is one object, cut out of an image taken from above by a satellite or an aircraft. {what}\n{_FORMAT}"


def read_label(reply: Reply) -> str | None:
    """The name in a reply; None if it is a refusal, was cut off, or has no name or several.

    >>> [read_label(Reply(text)) for text in ('{"label": "Ship"}', "A ship.", '{"label": "Unrecognized"}')]
    ['Ship', None, 'unrecognised']
    """
    found = find_json(reply.text)
    if found.problem or reply.finish != "complete":
        return None
    values = [part for value in found.values for part in (value if isinstance(value, list) else [value])]
    labels = [value.get("label") if isinstance(value, dict) else None for value in values if value]
    label = labels[0] if labels and labels.count(labels[0]) == len(labels) else None
    if not isinstance(label, str) or not label.strip():
        return None
    plain = label.strip().lower()
    return UNRECOGNISED if plain in (UNRECOGNISED, "unrecognized") else label.strip()
