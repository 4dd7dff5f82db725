"""Suspected errors of the ground truth: by hand, against plain Python, and what must not change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.metrics import (
    PREDICTION_VERDICTS,
    STANDARD,
    TARGET_VERDICTS,
    Chunk,
    Suspect,
    find_pairs,
    suspects,
    verdicts,
)

seeds = st.integers(0, 2**32 - 1)


def suspected(truth, predicted) -> list[Suspect]:
    return Chunk.of(truth, predicted, STANDARD, threshold=None, any_counts=False).suspected


TARGETS = [
    (0, 0, 0, 0, 9, 9),  # a, found
    (1, 0, 0, 0, 9, 9),  # a, found
    (2, 0, 0, 0, 20, 20),  # a, missed
    (2, 0, 0, 30, 9, 9),  # a, found
    (0, 1, 20, 0, 9, 9),  # b, found as a
    (1, 2, 20, 0, 9, 9),  # c, missed, as all c are
]
PREDICTIONS = [
    ((0, 0, 0, 0, 9, 9), 0.5),
    ((1, 0, 0, 0, 9, 9), 0.6),
    ((2, 0, 0, 30, 9, 9), 0.9),
    ((0, 0, 20, 0, 9, 9), 0.7),  # on the b
    ((1, 0, 25, 25, 9, 9), 0.8),  # on nothing
    ((1, 1, 0, 25, 9, 9), 0.95),  # on nothing
    ((0, 0, 25, 25, 9, 9), 0.59),  # on nothing, and less sure than 0.6, the median of the right ones
]


def test_by_hand(build) -> None:
    truth = build.truth(build.instances(TARGETS))
    found = build.instances([row for row, _ in PREDICTIONS], [score for _, score in PREDICTIONS])
    assert suspected(truth, build.predicted(found, truth)) == [
        Suspect("missing", 1, (0, 25, 9, 9), predicted="b", score=0.95),
        Suspect("missing", 1, (25, 25, 9, 9), predicted="a", score=0.8),
        Suspect("category", 0, (20, 0, 9, 9), annotated="b", predicted="a", score=0.7, iou=1),
        Suspect("spurious", 2, (0, 0, 20, 20), annotated="a"),
    ]
    # without scores nothing says how sure a lone prediction is
    assert suspected(truth, build.predicted(replace(found, scores=None), truth)) == [
        Suspect("category", 0, (20, 0, 9, 9), annotated="b", predicted="a", iou=1),
        Suspect("spurious", 2, (0, 0, 20, 20), annotated="a"),
    ]


def test_a_method_that_is_mostly_wrong_suspects_nothing(build) -> None:
    truth = build.truth(build.instances(TARGETS))
    wrong = build.instances([(0, 0, 20, 0, 9, 9), (1, 0, 25, 25, 9, 9)], [0.9, 0.9])
    assert suspected(truth, build.predicted(wrong, truth)) == []


def test_the_list_is_bounded_and_the_largest_objects_come_first(build) -> None:
    rows = [(0, 0, 0, 0, 9, 9)] * 150 + [(1, 0, 0, 0, 5 + i % 30, 5) for i in range(120)]
    truth = build.truth(build.instances(rows))
    found = suspected(truth, build.predicted(build.instances(rows[:150]), truth))
    assert len(found) == suspects.MOST_SUSPECTS
    widths = [one.box[2] for one in found]
    assert widths == sorted((5 + i % 30 for i in range(120)), reverse=True)[: len(widths)]


def by_plain_python(truth, predicted) -> list[Suspect]:
    """The suspects, one after another, from the verdicts."""
    judged = verdicts(truth, predicted)
    of, targets, names = predicted.instances, truth.instances, truth.categories
    said = [PREDICTION_VERDICTS[code] for code in judged.predictions]
    happened = [TARGET_VERDICTS[code] for code in judged.targets]
    right = sorted(of.scores[i] for i in range(len(of)) if said[i] == "correct")
    least = right[len(right) // 2] if right else np.inf
    recall = {}
    for c in range(len(names)):
        mine = [happened[j] == "correct" for j in range(len(targets)) if targets.category[j] == c]
        recall[c] = sum(mine) / len(mine) if mine else 0
    found = {"missing": [], "category": [], "spurious": []}
    on = {}
    pairs = find_pairs(of, targets, "box", agnostic=True)
    for i, j, iou in zip(pairs.prediction.tolist(), pairs.target.tolist(), pairs.iou.tolist(), strict=True):
        if said[i] == "classification" and happened[j] == "misclassified":
            on.setdefault(i, []).append((iou, j))
    for i in range(len(of)):
        box, score, c = tuple(of.boxes[i].tolist()), float(of.scores[i]), int(of.category[i])
        if said[i] == "background" and score >= least:
            one = Suspect("missing", int(of.image[i]), box, predicted=names[c], score=score)
            found["missing"].append(((-score, 0, one.image), one))
        if i in on and score >= least and recall[c] >= 0.5:
            iou = max(on[i])[0]
            annotated = {names[targets.category[j]] for other, j in on[i] if other == iou}
            one = Suspect("category", int(of.image[i]), box, min(annotated), names[c], score, iou)
            found["category"].append(((-score, -iou, one.image), one))
    for j in range(len(targets)):
        if happened[j] == "missed" and recall[targets.category[j]] >= 0.5:
            box = tuple(targets.boxes[j].tolist())
            one = Suspect("spurious", int(targets.image[j]), box, names[targets.category[j]])
            found["spurious"].append(((-box[2] * box[3], 0, one.image), one))
    key = lambda pair: (pair[0], pair[1].box, pair[1].annotated or "", pair[1].predicted or "")  # noqa: E731
    return [one for reason in found for _, one in sorted(found[reason], key=key)]


@given(seeds)
@settings(max_examples=settings().max_examples // 2)
def test_the_list_is_that_of_plain_python(build, seed) -> None:
    chance = np.random.default_rng(seed)
    truth = build.truth(build.random(chance, 20))
    found = build.random(chance, 25)
    exact = truth.instances.take(chance.random(20) < 0.6)  # so that many are right
    rows = [np.column_stack([side.image, side.category, side.boxes]) for side in (found, exact)]
    rows = np.concatenate(rows)
    predicted = build.predicted(build.instances(rows.tolist(), (chance.integers(0, 9, len(rows)) / 8).tolist()), truth)
    assert suspected(truth, predicted) == by_plain_python(truth, predicted)


@given(seeds, st.booleans())
@settings(max_examples=settings().max_examples // 5)
def test_no_order_and_no_chunks_change_the_list(build, seed, scored) -> None:
    chance = np.random.default_rng(seed)
    targets, predictions = build.random(chance, 30), build.random(chance, 30, scored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suspects, "MOST_SUSPECTS", 2)
        truth = build.truth(targets)
        expected = suspected(truth, build.predicted(predictions, truth))
        targets, predictions = targets.take(chance.permutation(30)), predictions.take(chance.permutation(30))
        truth = build.truth(targets)
        assert suspected(truth, build.predicted(predictions, truth)) == expected

        def only(instances, image):
            part = instances.take(instances.image == image)
            return replace(part, image=part.image - image)

        chunks = [
            Chunk.of(
                part := replace(truth, images=(image,), instances=only(targets, image)),
                build.predicted(only(predictions, image), part),
                STANDARD,
                threshold=None,
                any_counts=False,
            )
            for image in (2, 0, 1)
        ]
        assert Chunk.join(chunks).suspected == expected
