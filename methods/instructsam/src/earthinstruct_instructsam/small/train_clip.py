"""Trains the small CLIP on crops of scenes. This module imports torch; the command line is in `train`.

The text and image towers are trained together. A crop should be nearest to a name of its category, and a crop that fits
its object badly nearest to "part of a ...". Names of one category are pulled together, and all others are pushed apart,
also words without a meaning here, by sentences about random tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from earthinstruct_models.encoders.open_clip import TEMPLATE
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from earthinstruct_instructsam.small.crops import BACKGROUND, Crops
from earthinstruct_instructsam.small.words import (
    BACKGROUND_WORDS,
    CATEGORIES,
    OTHER_OBJECTS,
    PARENT_SYNONYMS,
    PARENTS,
    SYNONYMS,
)

BATCH = 256
LEARNING_RATE = 3e-3
TEMPLATES = (
    TEMPLATE,
    TEMPLATE,
    "an aerial image of a {category}",
    "a satellite photo of a {category}",
    "a photo of a {category} from above",
    "a {category}",
)
PART = "part of a {category}"
CLOSE = 0.99  # least cosine of names of one category
APART = 0.6  # largest cosine of names of different things
_RANDOM_SENTENCES = 48
_TOKENS = 49405  # byte pairs, without the start and end signs


def train_clip(config: Path, crops: Crops, steps: int, seed: int, progress: Callable[[str], None]) -> torch.nn.Module:
    """Train a CLIP of this config of open_clip from scratch; `progress` gets the losses from time to time."""
    import open_clip

    torch.manual_seed(seed)
    dice = np.random.default_rng(seed)
    open_clip.add_model_config(config)
    model: Any = open_clip.create_model(config.stem, load_weights=False)
    texts = _Texts(open_clip.get_tokenizer(config.stem), dice)
    sampler = _Sampler(crops, dice)
    optimiser = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1, pct_start=0.1)
    model.train()
    losses: list[tuple[float, float]] = []
    for step in range(steps):
        pictures, category, fit = sampler.batch()
        images = model.encode_image(pictures, normalize=True)
        embedded = texts.embed(model)
        scale = model.logit_scale.exp().clamp(max=50)
        image_loss = _image_loss(images, category, fit, embedded, scale)
        text_loss = _text_loss(embedded)
        optimiser.zero_grad()
        torch.autograd.backward(image_loss + 2 * text_loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimiser.step()
        schedule.step()
        losses.append((image_loss.item(), text_loss.item()))
        if (step + 1) % 50 == 0:
            image_mean, text_mean = np.mean(losses[-50:], axis=0)
            progress(f"clip: step {step + 1} of {steps}, loss {image_mean:.3f} (images), {text_mean:.4f} (texts)")
    trained: torch.nn.Module = model.eval()
    return trained


def text_margins(embed_labels: Callable[[Sequence[str]], NDArray[np.float32]]) -> dict[str, float]:
    """The cosines between names of one category, and between all others.

    Returns:
        `lowest_synonym`: the smallest cosine of a synonym and its own category; `highest_category`: the largest of two
        categories; `highest_other`: the largest of a category and a word that is no category.
    """
    categories = embed_labels(CATEGORIES)
    same = [float((embed_labels(names) @ row).min()) for row, names in zip(categories, SYNONYMS.values(), strict=True)]
    between = categories @ categories.T - 2 * np.eye(len(CATEGORIES))
    others = embed_labels((*BACKGROUND_WORDS, *OTHER_OBJECTS, *PARENTS)) @ categories.T
    return {"lowest_synonym": min(same), "highest_category": float(between.max()), "highest_other": float(others.max())}


class _Sampler:
    """Batches: half of them objects, a quarter parts and a quarter background, categories in equal shares."""

    def __init__(self, crops: Crops, dice: np.random.Generator) -> None:
        self._crops, self._dice = crops, dice
        index = range(len(CATEGORIES))
        self._objects = [np.flatnonzero((crops.category == c) & (crops.iou >= 0.5)) for c in index]
        self._parts = [np.flatnonzero((crops.category == c) & (crops.iou < 0.5)) for c in index]
        self._background = [np.flatnonzero(crops.category == BACKGROUND)]

    def batch(self) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised pictures (n, 3, side, side), category (n,) and fit (n,) in [0, 1]."""
        shares = (self._objects, BATCH // 2), (self._parts, BATCH // 4), (self._background, BATCH // 4)
        chosen = np.concatenate([self._draw(groups, n) for groups, n in shares])
        pictures = torch.from_numpy(self._crops.pictures[chosen]).permute(0, 3, 1, 2).float() / 255
        fit = np.clip((self._crops.iou[chosen] - 0.35) / 0.3, 0, 1)
        return (
            normalise(self._vary(pictures)),
            torch.from_numpy(self._crops.category[chosen]),
            torch.from_numpy(fit).float(),
        )

    def _draw(self, groups: list[NDArray[np.int64]], n: int) -> NDArray[np.int64]:
        filled = [group for group in groups if len(group)]
        if not filled:
            return np.zeros(0, dtype=np.int64)
        return np.array([self._dice.choice(filled[k]) for k in self._dice.integers(len(filled), size=n)])

    def _vary(self, pictures: Tensor) -> Tensor:
        """Rotate and mirror quarters of the batch; change brightness, contrast and colour of each picture."""
        order = self._dice.permutation(len(pictures))
        parts = []
        for turns, part in enumerate(np.array_split(order, 8)):
            turned = torch.rot90(pictures[part], turns % 4, (2, 3))
            parts.append(turned.flip(3) if turns >= 4 else turned)
        varied = torch.cat(parts)[torch.from_numpy(np.argsort(order))]
        n = len(pictures)
        gain = self._dice.uniform(0.8, 1.2, (n, 1, 1, 1)) * self._dice.uniform(0.95, 1.05, (n, 3, 1, 1))
        offset = self._dice.uniform(-0.08, 0.08, (n, 1, 1, 1))
        return ((varied - 0.5) * torch.from_numpy(gain).float() + 0.5 + torch.from_numpy(offset).float()).clamp(0, 1)


def normalise(pictures: Tensor) -> Tensor:
    """Normalise colours in [0, 1] as open_clip's towers expect them: (n, 3, height, width)."""
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    mean, deviation = torch.tensor(OPENAI_DATASET_MEAN), torch.tensor(OPENAI_DATASET_STD)
    return (pictures - mean[:, None, None]) / deviation[:, None, None]


class _Texts:
    """The sentences of one step. All names of a category form a group, all backgrounds one, each other word one."""

    def __init__(self, tokenizer: Any, dice: np.random.Generator) -> None:
        self._tokenizer, self._dice = tokenizer, dice
        names = [(name.replace("_", " "), *synonyms) for name, synonyms in SYNONYMS.items()]
        parents = [(parent, *synonyms) for parent, synonyms in PARENT_SYNONYMS.items()]
        self._groups = names + parents + [BACKGROUND_WORDS] + [(word,) for word in OTHER_OBJECTS]
        self._tokens: dict[str, Tensor] = {}

    def embed(self, model: Any) -> dict[str, Tensor]:
        """Unit embeddings of every name, in a template each.

        Returns:
            `names` (n, d) with `group` (n,): the categories are groups 0 to 9, then the two parents, the background,
            and others; `plain` (10, d), the categories in the main template; `classes` (21, d), a random name of each
            category, of a part of each, and of the background; `parents` (2, d), a random name of each parent.
        """
        names = [name for group in self._groups for name in group]
        group = [number for number, group in enumerate(self._groups) for _ in group]
        sentences = [self._phrase(name) for name in names]
        start = {g: group.index(g) for g in set(group)}
        pick = [start[g] + int(self._dice.integers(len(self._groups[g]))) for g in range(len(CATEGORIES) + 3)]
        parts = [self._phrase(PART.format(category=self._dice.choice(names_))) for names_ in self._groups[:10]]
        plain = [TEMPLATE.format(category=names_[0]) for names_ in self._groups[:10]]
        tokens = torch.cat([self._tokenised([*sentences, *parts, *plain]), self._random()])
        features = model.encode_text(tokens, normalize=True)
        n = len(sentences)
        every = torch.cat([features[: n + 10], features[n + 20 :]])
        numbers = group + list(range(max(group) + 1, max(group) + 1 + len(every) - n))
        own, of_parts, parents, background = pick[:10], range(n, n + 10), pick[10:12], pick[12]
        return {
            "names": every,
            "group": torch.tensor(numbers),
            "plain": features[n + 10 : n + 20],
            "classes": features[[*own, *of_parts, background]],
            "parents": features[parents],
        }

    def _phrase(self, name: str) -> str:
        return TEMPLATES[int(self._dice.integers(len(TEMPLATES)))].format(category=name)

    def _tokenised(self, sentences: list[str]) -> Tensor:
        for sentence in sentences:
            if sentence not in self._tokens:
                self._tokens[sentence] = self._tokenizer([sentence])[0]
        return torch.stack([self._tokens[sentence] for sentence in sentences])

    def _random(self) -> Tensor:
        """Sentences about one to three random tokens."""
        frame = self._tokenised([TEMPLATE.format(category="")])[0]
        end = int(frame.argmax())
        tokens = frame.repeat(_RANDOM_SENTENCES, 1)
        for row in tokens:
            length = int(self._dice.integers(1, 4))
            row[end : end + length] = torch.from_numpy(self._dice.integers(_TOKENS, size=length))
            row[end + length] = frame[end]
        return tokens


def _image_loss(images: Tensor, category: Tensor, fit: Tensor, embedded: dict[str, Tensor], scale: Tensor) -> Tensor:
    """Cross entropy over categories, their parts and background and, with less weight, over the parents.

    The target of a crop that fits its object is the category, that of one that fits badly a part; `fit` mixes the two.
    """
    n = len(CATEGORIES)
    target = torch.zeros(len(images), 2 * n + 1)
    rows = torch.arange(len(images))
    background = category == BACKGROUND
    target[rows, category.clamp(max=n - 1)] = torch.where(background, 0.0, fit)
    target[rows, category.clamp(max=n - 1) + n] = torch.where(background, 0.0, 1 - fit)
    target[background, 2 * n] = 1
    loss = functional.cross_entropy(scale * images @ embedded["classes"].T, target)

    members = [[CATEGORIES.index(name) for name in names] for names in PARENTS.values()]
    without = [c for c in range(n) if not any(c in group for group in members)] + [2 * n]
    above = torch.full((n + 1,), -1)
    for number, group in enumerate(members):
        above[group] = number
    above[without[:-1]] = len(members) + torch.arange(len(without) - 1)
    above[BACKGROUND] = len(members) + len(without) - 1
    clear = background | (fit > 0.8)
    texts = torch.cat([embedded["parents"], embedded["classes"][without]])
    return loss + 0.2 * functional.cross_entropy(scale * images[clear] @ texts.T, above[category[clear]])


def _text_loss(embedded: dict[str, Tensor]) -> Tensor:
    """The loss that pulls names of a category to its plain name and pushes all other names away."""
    cosine = embedded["plain"] @ embedded["names"].T
    same = embedded["group"][None] == torch.arange(len(CATEGORIES))[:, None]
    near = functional.relu(CLOSE - cosine[same])
    far = functional.relu(cosine[~same] - APART)
    worst = far.topk(min(40, len(far))).values
    return near.mean() + near.max() + far.mean() + worst.mean()
