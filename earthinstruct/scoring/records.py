"""Score stored predictions: map their labels, and pass them to the metrics in chunks of images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from types import MappingProxyType

import msgspec
import numpy as np
from numpy.typing import NDArray

from earthinstruct.contract import Usage
from earthinstruct.datasets import AnnotationMasks, Attribute, Dataset
from earthinstruct.errors import DataError
from earthinstruct.metrics import (
    STANDARD,
    Choice,
    Chunk,
    ExtraMetric,
    Ignored,
    Metrics,
    Pairs,
    Predicted,
    Protocol,
    ScoreThreshold,
    Suspect,
    Sweeping,
    Tally,
    Truth,
    Value,
    boxes_of_chunk,
    choose_threshold,
    metrics_of,
    share_of_images,
    slice_scores,
)
from earthinstruct.predictions import Record
from earthinstruct.regions import ImageId, Instances
from earthinstruct.results import StoredTallies
from earthinstruct.scoring.columns import Columns, Survey
from earthinstruct.scoring.hints import (
    box_hints,
    category_hints,
    coverage_hints,
    label_hints,
    mask_hints,
    place_hints,
    point_hints,
    repetition_hints,
    score_hints,
)
from earthinstruct.scoring.slicing import slices_by
from earthinstruct.tasks import ExactMapper, LabelMapper, MappedLabel, NamesMapper, Task

_IMAGES_AT_ONCE = 500


@dataclass(frozen=True)
class Scored:
    """The scores of a set of predictions, with the data behind them.

    Attributes:
        tallies: name -> tally, as in `Chunk.named_tallies`, with the groups and the slices.
        suspects: places where the ground truth may be wrong.
        n_done: number of images with a prediction.
        failed: image -> reason, for images without a prediction. They count as predicted empty.
        usage: seconds and tokens spent on the scored images.
        notes: sentences on predictions that seem to follow another convention.
    """

    metrics: Metrics
    tallies: StoredTallies
    suspects: list[Suspect]
    label_map: dict[str, MappedLabel]
    n_done: int
    failed: dict[ImageId, str]
    usage: Usage
    notes: tuple[str, ...] = ()


def score_records(
    task: Task,
    dataset: Dataset,
    records: Mapping[ImageId, Record],
    *,
    protocol: Protocol = STANDARD,
    mapper: LabelMapper | None = None,
    threshold: float | None = None,
    sweep: Sweeping = False,
    images: Sequence[ImageId] | None = None,
    extra: Sequence[ExtraMetric] = (),
    attributes: Mapping[str, Attribute] = MappingProxyType({}),
) -> Scored:
    """Score the predictions (image -> record) of these images (None: of all images of the dataset).

    `mapper` maps labels to categories; None: `exact`. `attributes` are those to slice by. The other options are as in
    `measure`.

    Raises:
        DataError: a record is malformed, or a label of an open_vocabulary task maps to no category.
        EarthInstructError: a threshold is given or to be chosen, and the predictions have no scores or are counts
            alone; `sweep` is `cross`, and there are fewer than 2 images; or a metric plug-in failed.
    """
    known = ScoringSet(task, dataset, records, protocol, mapper, images)
    slices = {name: slices_by(name, of, [image.id for image in known.images]) for name, of in attributes.items()}
    if sweep or threshold is not None:
        known.survey.refuse_threshold("--sweep" if sweep else "--threshold")
    chosen = Choice(None if threshold is None else float(threshold))
    box_pairs: Iterable[Pairs | None] = repeat(None)
    if sweep:
        boxes, box_pairs = zip(
            *(boxes_of_chunk(*chunk, protocol) for chunk in known.chunks(boxes_only=True)), strict=True
        )
        ids = [image.id for image in known.images]
        cross = sweep == "cross"
        chosen = choose_threshold(boxes, ids, known.truth(range(0)), protocol, cross=cross)
    whole = known.tallied(chosen.threshold, extra, chosen.also_at, box_pairs)
    metrics = metrics_of(
        whole,
        task.groups,
        protocol,
        chosen,
        no_masks_reason=dataset.no_masks_reason or known.survey.no_masks_reason,
        extra=extra,
    )
    if task.setting == "open_subclass":
        metrics = msgspec.structs.replace(metrics, adherence=known.adherence)
    if metrics.absent is not None and known.distractors:
        named = share_of_images(known.with_distractors(chosen.threshold))
        metrics = msgspec.structs.replace(metrics, absent=msgspec.structs.replace(metrics.absent, distractors=named))
    tallies = whole.named_tallies
    if slices:
        scored = {name: slice_scores(metrics, tallies, task.groups, by, extra) for name, by in slices.items()}
        metrics = msgspec.structs.replace(metrics, slices=scored)
    failed = known.survey.failed
    n_done = len(known.images) - len(failed)
    of_scores = score_hints(np.array(known.survey.scores), threshold)
    notes = (*known.survey.notes(), *of_scores, *known.hints(metrics, tallies))
    return Scored(
        metrics,
        StoredTallies(tallies, dict(task.groups), slices),
        whole.suspected,
        known.label_map,
        n_done,
        failed,
        known.survey.usage,
        notes,
    )


class _Objects:
    """Annotations with the image and the category that they have in a task (-1: not scored), sorted by image."""

    def __init__(
        self, annotations: Instances, image: NDArray[np.int64], category: NDArray[np.int64], n_images: int
    ) -> None:
        self.boxes = annotations.boxes
        self.category = category[annotations.category]
        self.image = np.where(self.category >= 0, image[annotations.image], -1)
        self._by_image: NDArray[np.int64] = np.argsort(self.image, kind="stable")
        self._bounds = np.searchsorted(self.image, np.arange(n_images + 1), sorter=self._by_image)

    def of(self, images: range) -> NDArray[np.int64]:
        """The indices of the annotations of consecutive images, increasing."""
        return np.sort(self._by_image[self._bounds[images.start] : self._bounds[images.stop]])


class ScoringSet:
    """Ground truth and predictions of one task, in chunks of images.

    All records are read once in advance, to collect the labels. Arguments and errors are as in `score_records`.
    """

    def __init__(
        self,
        task: Task,
        dataset: Dataset,
        records: Mapping[ImageId, Record],
        protocol: Protocol = STANDARD,
        mapper: LabelMapper | None = None,
        images: Sequence[ImageId] | None = None,
    ) -> None:
        wanted = None if images is None else set(images)
        self.task, self.dataset, self.records, self.protocol = task, dataset, records, protocol
        self.images = [image for image in dataset.images if wanted is None or image.id in wanted]
        self.survey = Survey.of([image.id for image in self.images], records)
        names = {} if task.variant is None else task.variant.names
        mapper = NamesMapper(names, mapper or ExactMapper())
        self.label_map = mapper.map(sorted(self.survey.first_image), task.vocabulary.categories)
        if task.setting == "open_vocabulary":
            for label, mapped in self.label_map.items():
                if mapped.category is None and label not in names:
                    raise DataError(
                        f"image {self.survey.first_image[label]!r}: label {label!r} is not one of the categories "
                        f"({', '.join(task.categories)}); give a label map with --label-map"
                    )
        category = {name: i for i, name in enumerate(task.categories)}
        of_label = {label: category.get(mapped.category or "", -1) for label, mapped in self.label_map.items()}
        self.columns = Columns(self.survey, self.images, records, of_label, len(category))
        self._index_truth()

    def _index_truth(self) -> None:
        """Sort the scored ground truth by image, so that `truth` can look up consecutive images."""
        names = self.dataset.vocabulary.categories
        scored = [self.task.categories.index(name) if name in self.task.categories else -1 for name in names]
        place = {image.id: i for i, image in enumerate(self.images)}
        of_image = np.array([place.get(image.id, -1) for image in self.dataset.images], dtype=np.int64)
        of_category, ignored = np.array([*scored, -1], dtype=np.int64), self.dataset.ignored
        self._objects = _Objects(self.dataset.annotations, of_image, of_category, len(self.images))
        self._ignored = None
        if ignored is not None:
            self._ignored = _Objects(ignored.annotations, of_image, of_category, len(self.images))

    @property
    def adherence(self) -> Value:
        """Share of the instances whose label maps to a category."""
        n, mapped = len(self.columns.category), int((self.columns.category >= 0).sum())
        return Value(mapped / n) if n else Value(None, reason="no instances")

    @property
    def distractors(self) -> frozenset[str]:
        """The names that are asked for and are no category of the dataset."""
        names = {} if self.task.variant is None else self.task.variant.names
        return frozenset(name for name, category in names.items() if category is None)

    def with_distractors(self, threshold: ScoreThreshold) -> NDArray[np.bool_]:
        """The images in which a distractor is counted or drawn: bool (n,)."""
        found = []
        for image in self.images:
            record = Record(image.id) if image.id in self.survey.failed else self.records[image.id]
            least = threshold.get(image.id) if isinstance(threshold, Mapping) else threshold
            least = -math.inf if least is None else least
            scores = repeat(math.inf) if record.scores is None else record.scores
            kept = (label for label, score in zip(record.labels, scores, strict=False) if score >= least)
            counted = (label for label, count in (record.counts or {}).items() if count)
            found.append(not self.distractors.isdisjoint((*kept, *counted)))
        return np.array(found, dtype=bool)

    def hints(self, metrics: Metrics, tallies: Mapping[str, Tally]) -> Iterator[str]:
        """Sentences on predictions that seem to follow another convention, or to be of other images."""
        survey = self.survey
        sizes = np.array([(image.width, image.height) for image in self.images], dtype=np.float64).reshape(-1, 2)
        n = np.array(survey.n, dtype=np.int64)
        sizes, image = np.repeat(sizes, n, axis=0), np.repeat(np.arange(len(n)), n)
        boxes = np.frombuffer(survey.boxes).reshape(-1, 4) if survey.boxes else np.zeros((0, 4))
        first = [*label_hints(self.label_map)]
        if survey.instances.with_points and survey.instances.unpointed is None:
            first += point_hints(np.array(survey.points).reshape(-1, 2), sizes)
        if survey.instances.unboxed is None:
            first += box_hints(boxes, sizes)
        if not first and self.task.variant is None:  # a blind run finds nothing, by design
            first += place_hints(metrics)
        yield from first
        if survey.columns is not None:
            objects = tallies["box"].columns
            yield from coverage_hints(n, np.asarray(((objects["tp"] > 0) | (objects["fn"] > 0)).any(axis=1)))
        yield from category_hints(metrics)
        yield from mask_hints(metrics)
        yield from repetition_hints(metrics, (image, np.array(survey.labels), boxes))

    def truth(self, images: range, *, boxes_only: bool = False) -> Truth:
        """The ground truth of consecutive images."""
        ignored, of_ignored = self.dataset.ignored, None
        if ignored is not None and self._ignored is not None:
            instances, chosen = self._instances(self._ignored, ignored.masks, images, boxes_only)
            of_ignored = Ignored(instances, ignored.crowd[chosen])
        return Truth(
            images=tuple(image.id for image in self.images[images.start : images.stop]),
            categories=self.task.categories,
            groups=self.task.groups,
            instances=self._instances(self._objects, self.dataset.masks, images, boxes_only)[0],
            no_masks_reason=self.dataset.no_masks_reason,
            ignored=of_ignored,
        )

    def _instances(
        self, objects: _Objects, masks: AnnotationMasks | None, images: range, boxes_only: bool
    ) -> tuple[Instances, NDArray[np.int64]]:
        """The objects of consecutive images, and their indices."""
        chosen = objects.of(images)
        stored = None if boxes_only else masks
        first_only = self.protocol.first_polygon_only
        instances = Instances(
            objects.image[chosen] - images.start,
            objects.category[chosen],
            objects.boxes[chosen],
            None if stored is None else stored.take(chosen, first_polygon_only=first_only),
        )
        return instances, chosen

    def chunks(self, *, boxes_only: bool = False) -> Iterator[tuple[Truth, Predicted]]:
        """Split the set into chunks of images; an empty set gives one empty chunk."""
        n = len(self.images)
        for start in range(0, max(n, 1), _IMAGES_AT_ONCE):
            span = range(start, min(start + _IMAGES_AT_ONCE, n))
            yield self.truth(span, boxes_only=boxes_only), self.columns.predicted(span, boxes_only=boxes_only)

    def tallied(
        self,
        threshold: ScoreThreshold,
        extra: Sequence[ExtraMetric] = (),
        also_at: Sequence[float] = (),
        box_pairs: Iterable[Pairs | None] = repeat(None),
    ) -> Chunk:
        """Tally the whole set; arguments are as in `Chunk.of`, with the `box_pairs` of each chunk."""
        tally = partial(
            Chunk.of,
            protocol=self.protocol,
            threshold=threshold,
            also_at=also_at,
            any_counts=self.survey.any_counts,
            extra=extra,
        )
        pieces = zip(self.chunks(), box_pairs, strict=False)
        return Chunk.join([tally(*chunk, box_pairs=pairs) for chunk, pairs in pieces], extra)
