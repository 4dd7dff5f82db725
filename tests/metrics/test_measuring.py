"""`measure` as a whole: a hand-computed set, the edge matrix, and what must not change a number."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earthinstruct.errors import EarthInstructError
from earthinstruct.files import as_json
from earthinstruct.metrics import (
    PROTOCOLS,
    Chunk,
    Metrics,
    boxes_of_chunk,
    choose_threshold,
    count_per_image,
    matching,
    measure,
    metrics_of,
)
from earthinstruct.metrics.scores import f1

GEOMETRIES = ("counting", "box", "mask")
seeds = st.integers(0, 2**32 - 1)


def tallies(metrics, geometry: str) -> dict[str, tuple[int, int, int]]:
    return {name: (row.tp, row.fp, row.fn) for name, row in getattr(metrics, geometry).tally.items()}


def test_by_hand(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10), (0, 0, 20, 0, 10, 10), (1, 1, 0, 0, 10, 10)])
    predictions = build.instances(
        [
            (0, 0, 0, 0, 10, 8),  # IoU 80 / 100: a hit up to 0.80
            (0, 0, 0, 0, 10, 10),  # a duplicate
            (1, 1, 5, 0, 10, 10),  # IoU 50 / 150: a miss
            (2, 2, 0, 0, 10, 10),  # a category and an image without ground truth
        ]
    )
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(predictions, truth))
    assert tallies(metrics, "box") == {"a": (1, 1, 1), "b": (0, 1, 1), "c": (0, 1, 0)}
    assert tallies(metrics, "mask") == tallies(metrics, "box")
    assert tallies(metrics, "counting") == {"a": (2, 0, 0), "b": (1, 0, 0), "c": (0, 1, 0)}
    assert metrics.box.f1.value == pytest.approx((0.5 + 0) / 2)  # over a and b: c has no ground truth
    assert metrics.box.per_category["c"].f1 is None
    # a: the union of both predictions is the first object, 100 of 200 pixels; b: 50 of 150
    assert metrics.mask.miou.value == pytest.approx((1 / 2 + 1 / 3) / 2)
    assert metrics.counting.mae.value == 0
    assert metrics.counting.source == "instances"
    # the duplicate fits exactly, so a keeps its F1 of 0.5 at every threshold
    assert metrics.box.f1_5095.value == pytest.approx(0.25)
    assert metrics.box.f1_at_iou["0.95"] == pytest.approx(0.25)
    assert metrics.box.groups["first"]["f1"] == 0.5


def test_the_mean_over_a_group_has_the_interval_of_its_categories(build) -> None:
    generator = np.random.default_rng(4)
    truth = build.truth(build.random(generator, 30))
    found = build.predicted(build.random(generator, 30), truth)
    metrics = measure(replace(truth, groups=truth.groups | {"rest": ("b", "c"), "none": ()}), found)
    rest = measure(replace(truth, groups={"all": ("b", "c")}), found)
    for geometry in GEOMETRIES:
        scores, of_rest = getattr(metrics, geometry), getattr(rest, geometry)
        of_one = scores.per_category["a"].ci95
        assert scores.groups_ci95.keys() == {"first", "rest"}
        assert scores.groups_ci95["first"].keys() == of_one.keys() >= {"precision", "recall", "f1"}
        for score, interval in of_one.items():
            assert scores.groups_ci95["first"][score] == pytest.approx(interval)
            assert scores.groups_ci95["rest"][score] == pytest.approx(getattr(of_rest, score).ci95)
    assert "miou" in metrics.mask.groups_ci95["rest"]


def test_counts_by_hand(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9), (0, 0, 20, 0, 9, 9), (1, 1, 0, 0, 9, 9)])
    truth = build.truth(targets)
    counts = np.array([[4, 0, 0], [0, 0, 0], [0, 0, 0]])
    metrics = measure(truth, build.predicted(targets, truth, counts))
    assert tallies(metrics, "counting") == {"a": (2, 2, 0), "b": (0, 0, 1), "c": (0, 0, 0)}
    assert metrics.counting.f1.value == pytest.approx((4 / 6 + 0) / 2)
    # a is off by 2, 0, 0 objects, b by 0, 1, 0
    assert metrics.counting.mae.value == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert metrics.counting.rmse.value == pytest.approx((np.sqrt(4 / 3) + np.sqrt(1 / 3)) / 2)
    assert metrics.counting.source == "counts"
    assert metrics.counting_from_instances.f1.value == 1
    # paper: the mean is over every category that an answer mentions, c with F1 0 included
    assert measure(truth, build.predicted(targets, truth, counts), PROTOCOLS["paper"]).counting.f1.value == (
        pytest.approx((4 / 6 + 0 + 0) / 3)
    )


def test_proposals_by_hand(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9), (0, 1, 0, 0, 9, 9), (1, 0, 0, 0, 40, 40)])
    # eleven misses come before the one that fits in image 0; image 1 has none
    proposals = build.instances([(0, 0, 30, 30, 4, 4)] * 11 + [(0, 0, 0, 0, 9, 9)])
    truth = build.truth(targets)
    predicted = build.predicted(build.instances([]), truth, proposals=proposals)
    standard = measure(truth, predicted).proposals
    assert standard.recall.value == pytest.approx((1 / 2 + 1) / 2)  # one matching a category: it serves both
    assert standard.at == {"10": 0, "50": 0.75, "100": 0.75, "200": 0.75}
    assert standard.by_size == {"small": 1, "medium": 0, "large": None}
    # by masks the same: they are the boxes, drawn
    assert (standard.mask.recall, standard.mask.at, standard.mask.by_size) == (
        standard.recall,
        standard.at,
        standard.by_size,
    )
    # paper: one matching for all, so it serves the first only; over three categories
    assert measure(truth, predicted, PROTOCOLS["paper"]).proposals.recall.value == pytest.approx(1 / 2 / 3)


def test_proposals_by_masks_where_both_sides_have_them(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 10, 10), (0, 1, 20, 0, 10, 10)])
    truth = build.truth(targets)
    # boxes that fit, with masks of half of the object (IoU 0.5) and of a third of it
    halves = build.instances([(0, 0, 0, 0, 10, 5), (0, 0, 20, 0, 10, 3)])
    proposals = replace(halves, boxes=targets.boxes)
    nothing = build.instances([])
    recall = measure(truth, build.predicted(nothing, truth, proposals=proposals)).proposals
    assert (recall.recall.value, recall.mask.recall.value) == (1, 0.5)
    assert recall.mask.per_category == {"a": 1, "b": 0, "c": None}
    assert (recall.mask.recall.ci95, recall.mask.by_size["small"]) == (None, 0.5)
    assert recall.mask.recall.reason == "no interval: fewer than 2 images have objects"
    bare = replace(proposals, masks=None)
    assert measure(truth, build.predicted(nothing, truth, proposals=bare)).proposals.mask is None


def test_intervals_of_categories(build) -> None:
    # a: found in one of three images, an object in each; b: in one image only, always found; c: none
    targets = build.instances([(i, 0, 0, 0, 9, 9) for i in range(3)] + [(1, 1, 20, 0, 9, 9)])
    truth = build.truth(targets)
    found = build.predicted(targets.take(np.array([0, 3])), truth)
    found_mask = measure(truth, found).mask
    # recall of a is 1 / 3; without one of the three images 0, 1 / 2, 1 / 2: standard error root(2 / 3 x 1 / 6) = 1 / 3,
    # which is that of (2 / 9) / (1 / 9) = 2 trials. t with 2 degrees of freedom is 4.3027, its square 18.513:
    # (1 / 3 + 18.513 / 4) / (1 + 18.513 / 2) ± 4.3027 / (1 + 18.513 / 2) x root(1 / 9 + 18.513 / 16)
    assert found_mask.per_category["a"].ci95["recall"] == pytest.approx((0.4838 - 0.4724, 0.4838 + 0.4724), abs=1e-4)
    assert found_mask.per_category["b"].ci95 == found_mask.per_category["c"].ci95 == {}
    assert found_mask.recall.value == pytest.approx(2 / 3)
    assert found_mask.recall.ci95[0] < 2 / 3 < found_mask.recall.ci95[1]


def test_rare_categories_are_named_and_the_scores_without_them_stand_beside(build) -> None:
    # a: in three images, found in one; b: in two images, always found
    targets = build.instances([(i, 0, 0, 0, 9, 9) for i in range(3)] + [(i, 1, 20, 0, 9, 9) for i in range(2)])
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(targets.take(np.array([0, 3, 4])), truth))
    assert metrics.rare.categories == ["b"]
    assert list(metrics.rare.without) == [
        "counting.f1",
        "box.f1",
        "mask.f1",
        "mask.miou",
        "box.ap_nc50",
        "mask.ap_nc50",
    ]
    # a: TP 1, FN 2: 2 / 4, and P = 1, R = 1 / 3: 34 recall points
    assert metrics.rare.without["box.f1"].value == 0.5
    assert metrics.rare.without["box.f1"].ci95 == metrics.box.per_category["a"].ci95["f1"]
    assert metrics.rare.without["mask.ap_nc50"].value == pytest.approx(34 / 101)
    assert metrics.box.f1.value == 0.75
    both = build.instances([(i, c, 20 * c, 0, 9, 9) for i in range(3) for c in range(2)])
    assert measure(build.truth(both), build.predicted(both, truth)).rare is None


def test_one_image_has_no_interval_and_says_why(build) -> None:
    targets = build.instances([(0, 0, 0, 0, 9, 9)])
    truth = build.truth(targets)
    found = measure(truth, build.predicted(targets, truth))
    for value in (found.counting.f1, found.box.f1, found.mask.miou):
        assert (value.value, value.ci95) == (1, None)
        assert value.reason == "no interval: fewer than 2 images have objects"
    assert found.counting.mae.reason == "no interval is computed for this score"
    assert (found.rare.categories, found.rare.without) == (["a"], {})


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("scored", [False, True])
def test_controls(build, protocol, scored) -> None:
    targets = build.random(np.random.default_rng(1), 40)
    truth = build.truth(targets)
    values = np.ones(40) if scored else None
    perfect = measure(truth, build.predicted(replace(targets, scores=values), truth, proposals=targets), protocol)
    empty = measure(truth, build.predicted(build.instances([]), truth), protocol)
    for geometry in GEOMETRIES:
        assert getattr(perfect, geometry).f1.value == 1
        # 3 images, all right or all wrong: Wilson's interval of 3 of 3 trials, 3 / (3 + 1.96^2) to 1
        assert getattr(perfect, geometry).f1.ci95 == pytest.approx((0.4385, 1), abs=1e-4)
        assert getattr(empty, geometry).f1.value == 0
        assert getattr(empty, geometry).f1.ci95 == pytest.approx((0, 0.5615), abs=1e-4)
    assert perfect.mask.miou.value == perfect.mask.ap_nc50.value == perfect.box.f1_5095.value == 1
    assert empty.mask.miou.value == empty.mask.ap_nc50.value == 0
    assert perfect.box.ap50.value == (1 if scored else None)
    assert scored or "needs a score for each prediction" in perfect.box.ap50.reason


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_nothing_to_find(build, protocol) -> None:
    truth = build.truth(build.instances([]))
    neither = measure(truth, build.predicted(build.instances([]), truth), protocol)
    assert neither.box.f1.value is None
    assert neither.box.f1.reason == "no ground truth in any category"
    wrong = measure(truth, build.predicted(build.instances([(0, 0, 0, 0, 9, 9)], [0.5]), truth), protocol, sweep=True)
    assert tallies(wrong, "box") == {"a": (0, 1, 0), "b": (0, 0, 0), "c": (0, 0, 0)}
    assert (wrong.sweep.threshold, wrong.sweep.curve) == (None, [])


BOX = (0, 0, 0, 0, 9, 9)
EDGES = {  # ground truth, predictions -> (tp, fp, fn) of category a, mean F1
    "neither": ([], [], (0, 0, 0), None),
    "no ground truth": ([], [BOX], (0, 1, 0), None),
    "no prediction": ([BOX], [], (0, 0, 1), 0),
    "absent category": ([BOX], [BOX, (0, 1, 0, 0, 9, 9)], (1, 0, 0), 1),  # b has no ground truth, and no say
    "image without ground truth": ([BOX], [BOX, (2, 0, 0, 0, 9, 9)], (1, 1, 0), 2 / 3),
    "duplicate predictions": ([BOX], [BOX] * 3, (1, 2, 0), 0.5),
    "duplicate ground truth": ([BOX] * 3, [BOX], (1, 0, 2), 0.5),
    "both duplicate": ([BOX] * 3, [BOX] * 2, (2, 0, 1), 0.8),
    "prediction without area": ([BOX], [(0, 0, 3, 3, 0, 5)], (0, 1, 1), 0),
    "ground truth without area": ([(0, 0, 3, 3, 0, 5)], [BOX], (0, 1, 1), 0),
    "neither has area": ([(0, 0, 3, 3, 0, 0)], [(0, 0, 3, 3, 0, 0)], (0, 1, 1), 0),
    "label of no category": ([BOX], [(0, -1, 0, 0, 9, 9)], (0, 0, 1), 0),
    "more than 100": ([BOX] * 150, [BOX] * 150, (150, 0, 0), 1),
}


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@pytest.mark.parametrize("scored", [False, True], ids=["no scores", "scores"])
@pytest.mark.parametrize("edge", EDGES)
def test_edges(build, protocol, scored, edge) -> None:
    there, found, expected, f1_mean = EDGES[edge]
    truth = build.truth(build.instances(there))
    predictions = build.instances(found, [0.5] * len(found) if scored else None)
    metrics = measure(truth, build.predicted(predictions, truth), protocol, sweep=scored)
    for geometry, errors in (("box", metrics.errors.box), ("mask", metrics.errors.mask)):
        assert tallies(metrics, geometry)["a"] == expected
        assert getattr(metrics, geometry).f1.value == (None if f1_mean is None else pytest.approx(f1_mean))
        assert (errors.per_category["a"].correct, errors.total.duplicate) == (
            expected[0],
            2 if edge == "duplicate predictions" else 0,
        )
    assert msgspec.json.decode(msgspec.json.encode(metrics), type=Metrics) == metrics  # NaN would come back as None


def test_masks_and_scores_missing(build) -> None:
    bare = build.instances([(0, 0, 0, 0, 9, 9)], masks=False)
    truth = build.truth(build.instances([(0, 0, 0, 0, 9, 9)]))
    metrics = measure(truth, build.predicted(bare, truth))
    assert metrics.mask.f1.value is None
    assert metrics.mask.f1.reason == "no masks"
    assert metrics.box.f1.value == 1
    for options, what in (({"sweep": True}, "a sweep"), ({"threshold": 0.5}, "a threshold")):
        with pytest.raises(EarthInstructError, match=rf"{what} needs predictions with scores, and these have none"):
            measure(truth, build.predicted(bare, truth), **options)
    with pytest.raises(EarthInstructError, match="threshold and sweep are both given"):
        measure(truth, build.predicted(bare, truth), threshold=0.5, sweep=True)


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
def test_a_thousand_objects_of_one_class_in_one_image(build, protocol) -> None:
    targets = build.instances([(0, 0, 1.5 * i, 0, 10, 10) for i in range(1_000)], masks=False)
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(targets, truth), protocol)
    assert tallies(metrics, "box")["a"] == (1_000, 0, 0)
    # paper: COCO looks at 100 detections an image; recall 0.1 covers 11 of 101 points
    assert metrics.box.ap_nc50.value == pytest.approx(11 / 101 if protocol.name == "paper" else 1)


@given(seeds, st.sampled_from([False, True, "cross"]))
@settings(max_examples=settings().max_examples // 5)
def test_standard_does_not_depend_on_any_order(build, seed, sweep) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 25), build.random(generator, 30, bool(sweep))
    truth = build.truth(targets)
    predicted = build.predicted(predictions, truth, generator.integers(0, 5, (3, 3)), build.random(generator, 20))
    before = measure(truth, predicted, sweep=sweep)

    image, category = generator.permutation(3), generator.permutation(3)  # new -> old

    def moved(instances, order):
        instances = instances.take(order)
        return replace(
            instances, image=np.argsort(image)[instances.image], category=np.argsort(category)[instances.category]
        )

    names = tuple(truth.categories[c] for c in category)
    other = replace(
        truth,
        images=tuple(truth.images[i] for i in image),
        categories=names,
        groups=truth.groups | {"all": names},
        instances=moved(targets, generator.permutation(25)),
    )
    after = measure(
        other,
        replace(
            predicted,
            instances=moved(predictions, generator.permutation(30)),
            counts=predicted.counts[image][:, category],
            # proposals keep their order within an image: it is their ranking
            proposals=moved(predicted.proposals, np.arange(20)),
        ),
        sweep=sweep,
    )
    assert msgspec.to_builtins(before) == msgspec.to_builtins(after)


@given(seeds)
@settings(max_examples=settings().max_examples // 5)
def test_translation_changes_nothing(build, seed) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 20), build.random(generator, 20)

    def shifted(instances):
        rows = np.column_stack([instances.image, instances.category, instances.boxes + np.array([3, 5, 0, 0])])
        return build.instances(rows.tolist())

    results = [
        measure(truth := build.truth(t), build.predicted(p, truth))
        for t, p in ((targets, predictions), (shifted(targets), shifted(predictions)))
    ]
    assert msgspec.to_builtins(results[0]) == msgspec.to_builtins(results[1])


@given(seeds)
@settings(max_examples=settings().max_examples // 10)
def test_recall_never_falls_when_predictions_are_added(build, seed) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 20))
    predictions = build.random(generator, 40)
    recalls = [
        measure(truth, build.predicted(predictions.take(np.arange(n)), truth)).box.recall.value for n in range(0, 41, 5)
    ]
    assert recalls == sorted(recalls)


@given(seeds)
@settings(max_examples=settings().max_examples // 10)
def test_the_sweep_is_what_scoring_the_survivors_gives(build, seed) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 20))
    predictions = build.random(generator, 40, scores=True)
    for protocol in PROTOCOLS.values():
        swept = measure(truth, build.predicted(predictions, truth), protocol, sweep=True)

        def value(threshold, protocol=protocol):
            survivors = replace(predictions.take(predictions.scores >= threshold), masks=None)
            totals = build.tallies(truth, build.predicted(survivors, truth), protocol)["box"].totals
            return f1(totals)[totals["tp"] + totals["fn"] > 0].mean()

        tried = protocol.thresholds or np.unique(predictions.scores)
        expected = [value(threshold) for threshold in tried]
        assert [point.threshold for point in swept.sweep.curve] == list(tried)
        np.testing.assert_allclose([point.f1 for point in swept.sweep.curve], expected, rtol=1e-12)
        assert swept.sweep.threshold == tried[np.argmax(np.round(expected, 12))]
        assert swept.box.f1.value == pytest.approx(max(expected))


@given(seeds)
@settings(max_examples=settings().max_examples // 5)
def test_miou_is_that_of_drawn_masks(build, seed) -> None:
    generator = np.random.default_rng(seed)
    targets, predictions = build.random(generator, 15), build.random(generator, 15)
    truth = build.truth(targets)
    metrics = measure(truth, build.predicted(predictions, truth))

    def drawn(instances):
        canvas = np.zeros((3, 3, 40, 40), dtype=bool)
        for image, category, (x, y, w, h) in zip(
            instances.image, instances.category, instances.boxes.astype(int), strict=True
        ):
            canvas[image, category, y : y + h, x : x + w] = True
        return canvas

    a, b = drawn(targets), drawn(predictions)
    there = count_per_image(targets, 3, 3).sum(axis=0) > 0
    expected = ((a & b).sum(axis=(0, 2, 3)) / np.maximum((a | b).sum(axis=(0, 2, 3)), 1))[there]
    assert metrics.mask.miou.value == pytest.approx(expected.mean())


def test_inputs_are_not_changed(build) -> None:
    generator = np.random.default_rng(2)
    targets, predictions = build.random(generator, 20), build.random(generator, 20, scores=True)
    before = [array.copy() for array in (targets.boxes, predictions.boxes, predictions.scores, predictions.category)]
    truth = build.truth(targets)
    measure(truth, build.predicted(predictions, truth), sweep=True)
    for old, new in zip(
        before, (targets.boxes, predictions.boxes, predictions.scores, predictions.category), strict=True
    ):
        np.testing.assert_array_equal(old, new)


def test_f1_of_nothing_is_zero() -> None:
    assert f1({"tp": np.array([0]), "fp": np.array([0]), "fn": np.array([0])}).tolist() == [0]


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS)
@given(seed=st.integers(0, 2**32 - 1), with_counts=st.booleans(), sweep=st.sampled_from([True, "cross"]))
@settings(max_examples=settings().max_examples // 10)
def test_chunks_score_as_the_whole(build, protocol, seed, with_counts, sweep) -> None:
    generator = np.random.default_rng(seed)
    truth = build.truth(build.random(generator, 25))
    counts = generator.integers(0, 4, (3, 3)) if with_counts else None
    predicted = build.predicted(build.random(generator, 30, scores=True), truth, counts, build.random(generator, 20))
    whole = measure(truth, predicted, protocol, sweep=sweep)

    def only(instances, image):
        part = instances.take(instances.image == image)
        return replace(part, image=part.image - image)

    chunks = [
        (
            replace(truth, images=truth.images[i : i + 1], instances=only(truth.instances, i)),
            replace(
                predicted,
                instances=only(predicted.instances, i),
                counts=predicted.counts[i : i + 1],
                has_counts=predicted.has_counts[i : i + 1],
                proposals=only(predicted.proposals, i),
            ),
        )
        for i in range(3)
    ]
    boxes = [boxes_of_chunk(*chunk, protocol)[0] for chunk in chunks]
    chosen = choose_threshold(boxes, truth.images, truth, protocol, cross=sweep == "cross")
    options = {"threshold": chosen.threshold, "also_at": chosen.also_at, "any_counts": with_counts}
    tallied = [Chunk.of(*chunk, protocol, **options) for chunk in chunks]
    found = metrics_of(Chunk.join(tallied), truth.groups, protocol, chosen, no_masks_reason=None)
    assert as_json(found) == as_json(whole)


@pytest.mark.parametrize("protocol", ["standard", "paper"])
def test_the_way_of_crowds_gives_the_same_scores(build, monkeypatch, protocol) -> None:
    generator = np.random.default_rng(5)
    truth = build.truth(build.random(generator, 60))
    predicted = build.predicted(build.random(generator, 90, scores=True), truth)
    expected = measure(truth, predicted, PROTOCOLS[protocol], sweep=True)
    monkeypatch.setattr(matching, "_DENSE", 0)
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", 7)
    assert measure(truth, predicted, PROTOCOLS[protocol], sweep=True) == expected
