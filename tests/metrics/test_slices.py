"""Scores of slices: by hand, and against scoring the images of a slice alone."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import STANDARD, Chunk, extra_metrics, measure, slice_scores
from earthinstruct.metrics.values import Value


class Found:
    """The share of the objects that the method has predictions for."""

    name = "found"

    def tally(self, truth, predicted):
        return {
            "predictions": np.bincount(predicted.instances.image, minlength=len(truth.images))[:, None] * [[1, 0, 0]]
        }

    def score(self, sums):
        return sums["predictions"] / np.maximum(sums["targets"], 1)


def sliced(truth, predicted, slices, extra=()):
    counted = bool(predicted.has_counts.any())
    whole = Chunk.of(truth, predicted, STANDARD, threshold=None, any_counts=counted, extra=extra)
    metrics = measure(truth, predicted, extra=extra)
    return slice_scores(metrics, whole.named_tallies, truth.groups, slices, extra)


def test_by_hand(build) -> None:
    # image 0: a found; image 1: a missed, b found; image 2: nothing, and a false b
    targets = build.instances([(0, 0, 0, 0, 9, 9), (1, 0, 0, 0, 9, 9), (1, 1, 20, 0, 9, 9)])
    predictions = build.instances([(0, 0, 0, 0, 9, 9), (1, 1, 20, 0, 9, 9), (2, 1, 0, 0, 9, 9)])
    truth = build.truth(targets)
    predicted = build.predicted(predictions, truth, np.array([[1, 0, 0], [3, 1, 0], [0, 2, 0]]))
    first, rest, last = sliced(truth, predicted, {"first": [0], "rest": [1, 2], "last": [2]})
    assert (first.name, first.n_images, first.n_objects) == ("first", 1, 1)
    assert (rest.name, rest.n_images, rest.n_objects) == ("rest", 2, 2)
    assert first.scores["box.f1"].value == 1  # over a alone: image 0 has no b
    # rest: a has tp 0, fn 1; b has tp 1, fp 1
    assert rest.scores["box.f1"].value == pytest.approx((0 + 2 / 3) / 2)
    assert rest.scores["mask.miou"].value == pytest.approx((0 + 1 / 2) / 2)
    # counts of rest: a 3 of 1, b 1 of 1 and 2 of 0
    assert rest.scores["counting.f1"].value == pytest.approx((2 / 4 + 2 / 4) / 2)
    assert rest.scores["counting.mae"].value == pytest.approx((1 + 1) / 2)
    assert last.scores["box.f1"].value is None
    assert last.scores["box.f1"].reason == "no ground truth in any category"
    assert "box.ap50" not in rest.scores


@given(st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=settings().max_examples // 8)
def test_a_slice_is_what_its_images_alone_score(build, seed, with_counts) -> None:
    chance = np.random.default_rng(seed)
    truth = build.truth(build.random(chance, 25))
    counts = chance.integers(0, 4, (3, 3)) if with_counts else None
    predicted = build.predicted(build.random(chance, 30, scores=True), truth, counts)
    extra = extra_metrics(Found)
    chosen = np.flatnonzero(chance.random(3) < 0.6)
    (found,) = sliced(truth, predicted, {"some": chosen.tolist()}, extra)

    def only(instances):
        part = instances.take(np.isin(instances.image, chosen))
        return replace(part, image=np.searchsorted(chosen, part.image))

    alone = measure(
        replace(truth, images=tuple(chosen.tolist()), instances=only(truth.instances)),
        replace(
            predicted,
            instances=only(predicted.instances),
            counts=predicted.counts[chosen],
            has_counts=predicted.has_counts[chosen],
        ),
        extra=extra,
    )
    sections = {name: getattr(alone, name) for name in ("counting", "box", "mask")}
    expected = {
        f"{name}.{field}": value
        for name, section in sections.items()
        for field in section.__struct_fields__
        if isinstance(value := getattr(section, field), Value)
    }
    no_sums = {"ap50", "ap75", "ap", "f1_5095"}
    expected = {path: value for path, value in expected.items() if path.partition(".")[2] not in no_sums}
    assert found.scores == expected | {"extra.found": alone.extra["found"].mean}
    assert (found.n_images, found.n_objects) == (len(chosen), int(np.isin(truth.instances.image, chosen).sum()))
    assert msgspec.json.decode(msgspec.json.encode(found), type=type(found)) == found


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=settings().max_examples // 8)
def test_one_slice_of_all_images_is_the_whole_in_any_order(build, seed) -> None:
    chance = np.random.default_rng(seed)
    truth = build.truth(build.random(chance, 25))
    predicted = build.predicted(build.random(chance, 30), truth)
    metrics = measure(truth, predicted)
    (found,) = sliced(truth, predicted, {"all": chance.permutation(3).tolist()})
    for path, value in found.scores.items():
        section, _, name = path.partition(".")
        assert value == getattr(getattr(metrics, section), name)


def test_what_is_undefined_in_the_whole_is_undefined_in_each_slice(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9)], masks=False)
    truth = build.truth(targets)
    predicted = replace(build.predicted(targets, truth), no_masks_reason="no masks here")
    (found,) = sliced(truth, predicted, {"some": [0]})
    assert found.scores["mask.f1"].value is None
    assert found.scores["mask.f1"].reason == "no masks here"
