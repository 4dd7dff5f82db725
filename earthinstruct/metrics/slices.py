"""Scores of slices: subsets of the images that share an attribute, such as the sensor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from earthinstruct.metrics import scores
from earthinstruct.metrics.counting import counting_scores
from earthinstruct.metrics.extra import ExtraMetric
from earthinstruct.metrics.protocols import STANDARD
from earthinstruct.metrics.summary import PRECISION_RECALL_F1, Summary
from earthinstruct.metrics.tally import Tally
from earthinstruct.metrics.values import NEEDS_SCORES, GeometryScores, Metrics, Slice, Value
from earthinstruct.regions import ImageId

SliceImages = Mapping[str, Collection[ImageId]]  # name of a slice -> its images
_WITHOUT_SLICES = ("errors.", "sizes.", "proposals.", "counting_from_instances")


def slice_scores(
    metrics: Metrics,
    tallies: Mapping[str, Tally],
    groups: Mapping[str, tuple[str, ...]],
    slices: SliceImages,
    extra: Sequence[ExtraMetric] = (),
) -> list[Slice]:
    """Score each slice from the tallies of all images, under protocol `standard`.

    Args:
        metrics: the scores of all images. What is undefined there is undefined in each slice, for the same reason.
        tallies: name -> tally of all images, as in `Chunk.named_tallies`.
        groups: group -> its categories.
        slices: name -> images.
        extra: metric plug-ins.
    """
    held = None if metrics.sweep is None else ()  # intervals would have to include the choice of the threshold
    found = []
    for name, images in slices.items():
        here = {
            tally: whole.of_images(images) for tally, whole in tallies.items() if not tally.startswith(_WITHOUT_SLICES)
        }
        totals = here["box"].totals
        n_targets = totals["tp"] + totals["fn"]
        summary = Summary(here["box"].categories, groups, n_targets, here, held=held)
        of_slice = {
            f"{part}.{score}": value for part in metrics.by_geometry for score, value in _values(summary, metrics, part)
        }
        for of in extra:
            whole = metrics.extra[of.name].mean
            defined = whole.value is not None
            of_slice[f"extra.{of.name}"] = of.scores(summary, here[f"extra.{of.name}"]).mean if defined else whole
        found.append(Slice(name, len(images), int(n_targets.sum()), of_slice))
    return found


def _values(summary: Summary, metrics: Metrics, part: str) -> Iterator[tuple[str, Value]]:
    """Every score of counting, boxes, masks or points that is a function of sums over images."""
    found = metrics.by_geometry[part]
    if found.f1.value is not None:
        if part == "counting":
            found = counting_scores(summary, part, STANDARD, found.source or "", summary.has_truth)
        else:
            functions = {**PRECISION_RECALL_F1, "ap_nc50": scores.ap_nc}
            regions = "regions" if part == "mask" else None
            found = summary.of_geometry(part, functions, summary.has_truth, regions=regions)
    for field in msgspec.structs.fields(GeometryScores):
        value = getattr(found, field.name)
        if isinstance(value, Value) and value != NEEDS_SCORES:
            yield field.name, value
