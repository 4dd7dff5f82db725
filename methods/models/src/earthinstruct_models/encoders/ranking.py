"""How well encoders tell the categories of a dataset apart: the crop of each object against the names of all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from scipy.special import softmax

from earthinstruct.datasets import Dataset
from earthinstruct.download import Progress
from earthinstruct.errors import DataError
from earthinstruct.metrics import PERCENT, Classification, Value, classification_scores
from earthinstruct.results import Block, Shown, new_table
from earthinstruct_models.interfaces import Encoder, timed

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MB = 1e6


class Measured(msgspec.Struct, frozen=True):
    """An encoder on a dataset.

    Attributes:
        name: of the encoder.
        scores: accuracy and calibration over the crops.
        seconds_a_crop: cutting, resizing and embedding, mean.
        weight_bytes: memory of the weights; None: the encoder does not say.
        peak_bytes: the most memory that a GPU held meanwhile; None: the encoder was not on a CUDA device.
        logit_scale: the factor that turned cosines into logits; None: the encoder has none, and so no confidence.
        described: what the encoder says of itself.
    """

    name: str
    scores: Classification
    seconds_a_crop: float
    weight_bytes: int | None
    peak_bytes: int | None
    logit_scale: float | None
    described: dict[str, Any]


class Ranking(Shown, msgspec.Struct, frozen=True):
    """Encoders on the same crops, best mean accuracy first.

    Attributes:
        dataset: its name.
        n_images: number of images with objects.
        categories: the categories that each crop was compared with.
        encoders: the encoders.
    """

    dataset: str
    n_images: int
    categories: list[str]
    encoders: list[Measured]

    def blocks(self) -> Iterable[Block]:
        """A caption and the table."""
        n = self.encoders[0].scores.n_objects if self.encoders else 0
        yield f"{self.dataset}: {n} crops in {self.n_images} images, each against {len(self.categories)} categories"
        yield "accuracy in percent: mean over the categories, and over all crops, with 95 % intervals"
        peak = ("peak",) if any(each.peak_bytes is not None for each in self.encoders) else ()
        table = new_table("encoder", "mean", "95 %", "all", "95 %", "ECE", "ms/crop", "MB", *peak, left=("encoder",))
        table.columns[0].no_wrap = False  # a long name folds
        table.columns[0].overflow = "fold"
        for each in self.encoders:
            found = each.scores
            ece = PERCENT.text(found.calibration.ece.value)
            memory = (each.weight_bytes, each.peak_bytes)[: 1 + len(peak)]
            table.add_row(
                *(each.name, *_cells(found.mean_accuracy), *_cells(found.accuracy), ece),
                f"{1000 * each.seconds_a_crop:.1f}",
                *("-" if size is None else f"{size / _MB:.0f}" for size in memory),
            )
        yield table
        for each in self.encoders:
            if each.scores.calibration.ece.value is None:
                yield f"{each.name}: no ECE: {each.scores.calibration.ece.reason}"


def ranked(dataset: Dataset, measured: Sequence[Measured], limit: int | None = None) -> Ranking:
    """Put measured encoders in order; `dataset` and `limit` as for `measure`."""

    def best_first(each: Measured) -> tuple[float, str]:
        value = each.scores.mean_accuracy.value
        return (0.0 if value is None else -value, each.name)

    return Ranking(
        dataset.name,
        len(_with_objects(dataset, limit)),
        list(dataset.vocabulary.categories),
        sorted(measured, key=best_first),
    )


def measure(
    name: str, encoder: Encoder, dataset: Dataset, limit: int | None = None, progress: Progress | None = None
) -> Measured:
    """Give each annotated object the category whose label is most similar to its crop, and score that.

    Crops and labels are made by the encoder, as InstructSAM asks it. Ignored objects are left out. The confidence is
    the softmax over the categories of the similarities times the encoder's `logit_scale`; the bias of a SigLIP is the
    same for all categories, and so changes nothing.

    Args:
        name: of the encoder, in tables.
        encoder: the encoder.
        dataset: images with ground truth.
        limit: use the first images with objects, at most this many; None: all.
        progress: a callback `(done, total)` in images.

    Raises:
        DataError: the dataset has no objects, or an image cannot be read.
    """
    chosen = _with_objects(dataset, limit)
    if not chosen:
        raise DataError(f"dataset {dataset.name!r} has no annotated objects, so there are no crops to compare")
    labels = encoder.embed_labels(dataset.vocabulary.categories)
    objects = [dataset.annotations_of(index) for index in chosen]
    boxes = [dataset.annotations.boxes[of_image] for of_image in objects]
    encoder.embed_crops(dataset.read_image(chosen[0]), boxes[0][:1])  # the first call of a model is slow
    device = _cuda_of(encoder)
    similarities: list[NDArray[np.float32]] = []
    seconds = 0.0
    for done, (index, of_image) in enumerate(zip(chosen, boxes, strict=True), start=1):
        crops, took = timed(encoder.embed_crops, dataset.read_image(index), of_image)
        similarities.append(crops @ labels.T)
        seconds += took
        if progress is not None:
            progress(done, len(chosen))
    similarity = np.concatenate(similarities).astype(np.float64)
    given = similarity.argmax(axis=1)
    scale: float | None = getattr(encoder, "logit_scale", None)
    confidence = None if scale is None else softmax(scale * similarity, axis=1).max(axis=1)
    scores = classification_scores(
        [dataset.images[index].id for index in chosen],
        dataset.vocabulary.categories,
        np.repeat(np.arange(len(chosen)), [len(of_image) for of_image in objects]),
        dataset.annotations.category[np.concatenate(objects)].astype(np.int64),
        given,
        confidence,
    )
    return Measured(
        name,
        scores,
        seconds / len(given),
        getattr(encoder, "weight_bytes", None),
        _peak(device),
        scale,
        encoder.describe(),
    )


def _with_objects(dataset: Dataset, limit: int | None) -> list[int]:
    """The indices of the images with objects, the first ones."""
    there = np.unique(dataset.annotations.image)
    return [int(index) for index in there[:limit]]


def _cuda_of(encoder: Encoder) -> Any:
    """The CUDA device of an encoder, whose peak of memory begins anew; None: it is on none."""
    device = getattr(encoder, "device", None)
    if getattr(device, "type", None) != "cuda":
        return None
    import torch

    torch.cuda.reset_peak_memory_stats(device)
    return device


def _peak(device: Any) -> int | None:
    if device is None:
        return None
    import torch

    return int(torch.cuda.max_memory_allocated(device))


def _cells(value: Value) -> tuple[str, str]:
    """A share in percent, and its interval."""
    between = "" if value.ci95 is None else " to ".join(map(PERCENT.text, value.ci95))
    return PERCENT.text(value.value), between
