"""The matcher against hand-made cases, brute force and scipy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from earthinstruct.metrics import PROTOCOLS, find_pairs, match, matching
from earthinstruct.metrics.matching import Pairs, box_iou, enlarges_greedy, match_at_each
from earthinstruct.regions import Instances


def pairs_of(edges: list[tuple[int, int, float]], n: int, m: int) -> Pairs:
    table = np.array(edges, dtype=np.float64).reshape(-1, 3)
    return Pairs(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], n, m)


graphs = st.integers(1, 7).flatmap(
    lambda n: st.integers(1, 7).flatmap(
        lambda m: st.sets(st.tuples(st.integers(0, n - 1), st.integers(0, m - 1))).flatmap(
            lambda edges: st.lists(st.integers(50, 100), min_size=len(edges), max_size=len(edges)).map(
                lambda ious: pairs_of([(p, t, v / 100) for (p, t), v in zip(sorted(edges), ious, strict=True)], n, m)
            )
        )
    )
)


def test_greedy_takes_the_best_free_and_maximum_re_pairs() -> None:
    # prediction 0 overlaps both ground truths and prefers 0; prediction 1 overlaps ground truth 0 only
    pairs = pairs_of([(0, 0, 0.9), (0, 1, 0.6), (1, 0, 0.8)], 2, 2)
    assert match(pairs, "greedy").tolist() == [0, -1]
    assert match(pairs, "maximum").tolist() == [1, 0]
    assert match(pairs, "greedy", np.array([1, 0])).tolist() == [1, 0]


def test_no_pairs() -> None:
    assert match(pairs_of([], 3, 2), "maximum").tolist() == [-1, -1, -1]
    assert match(pairs_of([], 0, 2), "greedy").tolist() == []


@given(graphs)
def test_maximum_equals_scipy_and_is_never_less_than_greedy(pairs: Pairs) -> None:
    places = (pairs.prediction.astype(np.int32), pairs.target.astype(np.int32))  # the only width that older SciPy takes
    graph = csr_array((np.ones(len(pairs.iou)), places), shape=(pairs.n_predictions, pairs.n_targets))
    largest = int((maximum_bipartite_matching(graph, perm_type="column") >= 0).sum())
    edges = set(zip(pairs.prediction.tolist(), pairs.target.tolist(), strict=True))
    for rule in ("maximum", "greedy"):
        matched = match(pairs, rule)
        used = matched[matched >= 0]
        assert len(set(used.tolist())) == len(used)
        assert all((p, t) in edges for p, t in enumerate(matched.tolist()) if t >= 0)
        assert len(used) == largest if rule == "maximum" else len(used) <= largest


@given(graphs, st.randoms(use_true_random=False))
def test_every_prefix_of_the_order_is_a_maximum_matching(pairs: Pairs, random: object) -> None:
    order = np.arange(pairs.n_predictions)
    random.shuffle(order)  # type: ignore[attr-defined]
    matched = match(pairs, "maximum", order)
    for n in range(1, len(order) + 1):
        prefix = np.isin(pairs.prediction, order[:n])
        alone = match(pairs.where(prefix), "maximum")
        assert (matched[order[:n]] >= 0).sum() == (alone >= 0).sum()


def test_greedy_equals_a_plain_loop() -> None:
    generator = np.random.default_rng(5)
    for _ in range(200):
        n, m = generator.integers(1, 8, 2)
        iou = np.where(generator.random((n, m)) < 0.4, generator.integers(50, 60, (n, m)) / 60, 0.0)
        prediction, target = np.nonzero(iou)
        expected, taken = [], set()
        for row in iou:
            free = [t for t in range(m) if row[t] > 0 and t not in taken]
            best = max(free, key=lambda t: row[t], default=-1)
            taken.add(best)
            expected.append(best)
        assert match(Pairs(prediction, target, iou[prediction, target], n, m), "greedy").tolist() == expected


def test_maximum_equals_brute_force() -> None:
    generator = np.random.default_rng(6)
    for _ in range(50):
        edge = generator.random((4, 4)) < 0.4
        best = max(sum(edge[p, t] for p, t in enumerate(order)) for order in permutations(range(4)))
        prediction, target = np.nonzero(edge)
        matched = match(Pairs(prediction, target, np.ones(len(target)), 4, 4), "maximum")
        assert (matched >= 0).sum() == best


def test_a_long_chain_needs_no_recursion() -> None:
    # prediction i overlaps ground truths i and i + 1, the last one only ground truth 0: all must move by one
    n = 3_000
    edges = [(i, i, 0.9) for i in range(n)] + [(i, i + 1, 0.6) for i in range(n)] + [(n, 0, 0.7)]
    assert (match(pairs_of(edges, n + 1, n + 1), "maximum") >= 0).all()


def test_box_iou_is_that_of_pycocotools() -> None:
    generator = np.random.default_rng(7)
    a, b = generator.integers(0, 12, (2, 60, 4)).astype(np.float64) + 0.5
    expected = coco_mask.iou(a, b, [0] * 60).diagonal()
    np.testing.assert_allclose(box_iou(a, b), expected, rtol=1e-12)


def test_boxes_without_area_pair_with_nothing(build) -> None:
    flat = build.instances([(0, 0, 5, 5, 0, 8), (0, 0, 5, 5, 0, 0)])
    assert len(find_pairs(flat, flat, "box").iou) == 0
    assert len(find_pairs(flat, flat, "mask").iou) == 0


@pytest.mark.parametrize("geometry", ["box", "mask"])
@pytest.mark.parametrize("agnostic", [False, True])
def test_pairs_are_those_of_all_against_all(build, geometry, agnostic) -> None:
    generator = np.random.default_rng(8)
    predictions, targets = build.random(generator, 60), build.random(generator, 50)
    pairs = find_pairs(predictions, targets, geometry, agnostic=agnostic)
    full = coco_mask.iou(predictions.masks.encode(), targets.masks.encode(), [0] * 50)  # boxes and masks are equal here
    same = predictions.image[:, None] == targets.image
    if not agnostic:
        same &= predictions.category[:, None] == targets.category
    expected = np.argwhere(same & (full >= 0.5))
    found = np.stack([pairs.prediction, pairs.target], axis=1)
    np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], expected)
    np.testing.assert_allclose(pairs.iou, full[pairs.prediction, pairs.target])


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 7]), st.sampled_from([0.1, 0.5, 1.0]))
def test_crowds_have_the_pairs_of_all_against_all(seed: int, at_once: int, threshold: float) -> None:
    generator = np.random.default_rng(seed)

    def random(n: int) -> Instances:
        # sides from a fraction of a pixel to the whole image, and coordinates of which many are equal
        sides = 2.0 ** generator.integers(-3, 8, (n, 2)) * generator.choice([1, 0.75, 0], (n, 2), p=[0.6, 0.3, 0.1])
        boxes = np.hstack([generator.integers(-40, 200, (n, 2)) / generator.choice([1, 2, 3]), sides])
        return Instances(generator.integers(0, 2, n), generator.integers(-1, 2, n), boxes)

    predictions, targets = random(60), random(50)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_LARGE_CELL", at_once)
        patch.setattr(matching, "_CANDIDATES_AT_ONCE", at_once)
        pairs = find_pairs(predictions, targets, "box", iou_threshold=threshold)
    prediction, target = (index.ravel() for index in np.indices((60, 50)))
    iou = box_iou(predictions.boxes[prediction], targets.boxes[target])
    same = predictions.image[prediction] == targets.image[target]
    same &= (predictions.category[prediction] == targets.category[target]) & (targets.category[target] >= 0)
    expected = np.flatnonzero(same & (iou >= threshold))
    order = np.lexsort((pairs.target, pairs.prediction))
    np.testing.assert_array_equal(pairs.prediction[order], prediction[expected])
    np.testing.assert_array_equal(pairs.target[order], target[expected])
    np.testing.assert_array_equal(pairs.iou[order], iou[expected])
    assert (np.diff(pairs.prediction) >= 0).all()


@given(st.integers(0, 2**32 - 1))
def test_crowds_are_matched_as_by_searching(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n, m = generator.integers(1, 40, 2).tolist()
    n_edges = int(generator.integers(1, n * m + 1))
    prediction, target = np.divmod(generator.choice(n * m, n_edges, replace=False), m)  # in any order
    pairs = Pairs(prediction, target, generator.choice([0.5, 0.72, 0.95], n_edges), n, m)
    order = generator.permutation(n)
    searched = [match(pairs, "maximum", of) for of in (None, order)]
    at_each = match_at_each(pairs, "maximum", np.array([0.5, 0.7, 0.9]), order)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_DENSE", 0)
        by_distance = [match(pairs, "maximum", of) for of in (None, order)]
        patch.setattr(matching, "_PAIRS_AT_ONCE", 1)
        one_by_one = match_at_each(pairs, "maximum", np.array([0.5, 0.7, 0.9]), order)
    edges = set(zip(prediction.tolist(), target.tolist(), strict=True))
    for found, expected in zip([*by_distance, *one_by_one], [*searched, *at_each], strict=True):
        np.testing.assert_array_equal(found >= 0, expected >= 0)
        chosen = np.flatnonzero(found >= 0)
        assert len(set(found[chosen].tolist())) == len(chosen)
        assert edges.issuperset(zip(chosen.tolist(), found[chosen].tolist(), strict=True))


def test_a_crowd_may_leave_predictions_that_are_alone_out_of_the_order() -> None:
    pairs = pairs_of([(0, 0, 0.9), (1, 0, 0.9), (2, 1, 0.9)], 3, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_DENSE", 0)
        assert match(pairs, "maximum", np.array([1, 0])).tolist() == [-1, 0, 1]


def test_searches_in_vain_are_not_repeated() -> None:
    class Counted(dict[int, range]):
        asked = 0

        def __getitem__(self, prediction: int) -> range:
            self.asked += 1
            return super().__getitem__(prediction)

    options = Counted({prediction: range(100) for prediction in range(2_000)})
    assert len(matching._augment(options)) == 100  # type: ignore[arg-type]
    # the 1,900 without a free one once, and the 100 that hold a ground truth, in the first search that is in vain
    assert options.asked == 2_000


def test_an_instance_without_a_category_pairs_with_nothing(build) -> None:
    lost = build.instances([(0, -1, 0, 0, 9, 9)])
    assert len(find_pairs(lost, lost, "box").iou) == 0


@given(graphs, st.randoms(use_true_random=False))
def test_greedy_grows_by_the_predictions_that_enlarge_it(pairs: Pairs, random: object) -> None:
    entering = np.arange(pairs.n_predictions)
    random.shuffle(entering)  # type: ignore[attr-defined]
    larger = enlarges_greedy(pairs, entering)
    for n in range(len(entering) + 1):
        alone = match(pairs.where(np.isin(pairs.prediction, entering[:n])), "greedy")
        assert larger[entering[:n]].sum() == (alone >= 0).sum()


@pytest.mark.parametrize("geometry", ["box", "mask"])
@pytest.mark.parametrize("seed", range(3))
def test_the_paper_sweep_is_that_of_plain_loops_on_dense_scenes(build, geometry: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    predictions, targets = build.random(generator, 150, scores=True), build.random(generator, 90)
    iou = coco_mask.iou(predictions.masks.encode(), targets.masks.encode(), [0] * len(targets))  # boxes equal masks
    same = (predictions.image[:, None] == targets.image) & (predictions.category[:, None] == targets.category)
    larger = enlarges_greedy(find_pairs(predictions, targets, geometry), np.argsort(-predictions.scores, kind="stable"))
    for threshold in PROTOCOLS["paper"].thresholds:
        taken: list[int] = []
        for i in np.flatnonzero(predictions.scores >= threshold):
            free = [j for j in np.flatnonzero(same[i]) if iou[i, j] >= 0.5 and j not in taken]
            taken += sorted(free, key=lambda j: -iou[i, j])[:1]
        assert larger[predictions.scores >= threshold].sum() == len(taken)
