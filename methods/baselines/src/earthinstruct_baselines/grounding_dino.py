"""Grounding DINO, MM-Grounding-DINO and LLMDet: detectors that read the category names as one text.

Sources: Liu et al., Grounding DINO (arXiv 2303.05499); Zhao et al., MM-Grounding-DINO (arXiv 2401.02361); Fu et al.,
LLMDet (arXiv 2501.18954).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from earthinstruct_models.boxes import best, corners_of_centres
from earthinstruct_models.devices import as_doubles
from earthinstruct_models.pretrained import Published
from numpy.typing import NDArray
from PIL import Image

from earthinstruct.errors import EarthInstructError
from earthinstruct_baselines._detector import Detections
from earthinstruct_baselines._pretrained import PretrainedDetector

_FULL_STOP = 1  # token, after a name
_FRAME = 2  # tokens around a text: [CLS] and [SEP]
_DELIMITERS = re.compile(r"[._?\s]+")  # "." and "?" end a phrase for the model


class GroundingDino(PretrainedDetector):
    """Grounding DINO: reads the category names as one text, and labels a box through the tokens of each name.

    The score of a query and a category is the mean probability of the category's tokens. Every pair is a candidate, and
    the `limit` best are kept, as its authors evaluate. The number of pairs is that of queries (900 in the published
    models) times that of categories. Names that do not fit into one text are divided into several, with one pass each.
    Parameters are those of `PretrainedDetector`.
    """

    name = "grounding-dino"
    published = Published(
        ("grounding-dino",), "GroundingDinoForObjectDetection", "GroundingDinoProcessor", "grounding-dino-base"
    )

    def detect(self, image: NDArray[np.uint8], names: Sequence[str]) -> Detections:
        """Find objects with these names in one RGB image, uint8 (height, width, 3)."""
        import torch

        tokenizer = self.processor.tokenizer
        pixels = self.processor.image_processor(images=Image.fromarray(image), return_tensors="pt").to(self.device)
        scores, corners, categories = [], [], []
        for part in split_names(names, self._count_tokens, self.model.config.max_text_len):
            text = join_names([names[i] for i in part])
            tokens = tokenizer(text.text, return_offsets_mapping=True, return_tensors="pt")
            offsets = tokens.pop("offset_mapping")[0].numpy()
            with torch.inference_mode():
                answer = self.model(**pixels, **tokens.to(self.device))
            probabilities = as_doubles(answer.logits[0].sigmoid()[:, : len(offsets)])
            found = probabilities @ token_map(text.spans, offsets).T  # (queries, names of this part)
            chosen = best(found.ravel(), self.threshold, self.limit)
            query, column = np.divmod(chosen, len(part))
            scores.append(found.ravel()[chosen])
            categories.append(np.array(part)[column])
            corners.append(corners_of_centres(as_doubles(answer.pred_boxes[0]))[query])
        merged = np.concatenate(scores)
        kept = best(merged, self.threshold, self.limit)
        height, width = image.shape[:2]
        scale = np.array([width, height, width, height])
        return Detections(np.concatenate(categories)[kept], np.concatenate(corners)[kept] * scale, merged[kept])

    def fits(self, name: str) -> bool:
        """Whether the model can read the name, and there is text in it."""
        return bool(_FULL_STOP < self._count_tokens(f"{phrase(name)}.") <= self.model.config.max_text_len - _FRAME)

    def _count_tokens(self, text: str) -> int:
        return len(self.processor.tokenizer.tokenize(text))

    def parameters(self) -> dict[str, Any]:
        """The form of the text, its length, and the score."""
        return {
            "text": "lower-case names, each followed by a full stop",
            "score": "mean over the tokens of a name",
            "most_text_tokens": int(self.model.config.max_text_len),
            "queries": int(self.model.config.num_queries),
        }


class MMGroundingDino(GroundingDino):
    """MM-Grounding-DINO: Grounding DINO, retrained on open data by MMDetection and used in the same way."""

    name = "mm-grounding-dino"
    published = Published(
        ("mm-grounding-dino",), "MMGroundingDinoForObjectDetection", "GroundingDinoProcessor", "mm-grounding-dino-tiny"
    )


class LLMDet(GroundingDino):
    """LLMDet: MM-Grounding-DINO, trained together with a language model and used in the same way."""

    name = "llmdet"
    published = Published(
        ("mm-grounding-dino",), "MMGroundingDinoForObjectDetection", "GroundingDinoProcessor", "llmdet-large"
    )


@dataclass(frozen=True)
class JoinedNames:
    """Names as one text, such as "airplane. storage tank."."""

    text: str
    spans: tuple[tuple[int, int], ...]  # the first character of each name, and the one after its last


def phrase(name: str) -> str:
    """A name in the form of the text: lower case, without characters that end a phrase.

    >>> phrase("Storage_Tank"), phrase("St. Mary's ")
    ('storage tank', "st mary's")
    """
    return _DELIMITERS.sub(" ", name.lower()).strip()


def join_names(names: Sequence[str]) -> JoinedNames:
    """Join names into one text.

    >>> join_names(["airplane", "storage_tank"])
    JoinedNames(text='airplane. storage tank.', spans=((0, 8), (10, 22)))
    """
    text, spans = "", []
    for name in names:
        start = len(text) + bool(text)
        text = f"{text} {phrase(name)}.".lstrip()
        spans.append((start, len(text) - 1))
    return JoinedNames(text, tuple(spans))


def split_names(names: Sequence[str], count_tokens: Callable[[str], int], limit: int) -> list[list[int]]:
    """Divide names, in order, into as few texts as possible, each of at most `limit` tokens.

    Args:
        names: category names.
        count_tokens: returns the number of tokens of a text, without those around it.
        limit: most tokens of a text, including those around it.

    Returns:
        Indices of the names of each text.

    Raises:
        EarthInstructError: one name alone is too long or has no letters.

    >>> split_names(["a", "b c", "d"], lambda text: len(text.split()) + 1, limit=7)
    [[0, 1], [2]]
    """
    parts: list[list[int]] = []
    room = 0
    for i, name in enumerate(names):
        length = count_tokens(f"{phrase(name)}.")
        if length <= _FULL_STOP:
            raise EarthInstructError(f"category {name!r} has no text to look for")
        if length > limit - _FRAME:
            raise EarthInstructError(f"category {name!r} has {length} tokens, the model reads {limit - _FRAME} at most")
        if length > room:
            parts.append([])
            room = limit - _FRAME
        parts[-1].append(i)
        room -= length
    return parts


def token_map(spans: Sequence[tuple[int, int]], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """The tokens of each name, as weights that sum to 1.

    Args:
        spans: m names, as their first character and the one after their last.
        offsets: (t, 2), the same for t tokens; (0, 0) for tokens without characters.

    Returns:
        float64 (m, t).

    >>> token_map([(0, 8), (10, 22)], np.array([[0, 0], [0, 8], [8, 9], [10, 17], [18, 22], [22, 23], [0, 0]])).tolist()
    [[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0]]
    """
    first, after = np.array(spans).T[:, :, None]
    belongs = ((offsets[:, 0] < after) & (offsets[:, 1] > first)).astype(np.float64)
    share: NDArray[np.float64] = belongs / belongs.sum(axis=1, keepdims=True)
    return share
