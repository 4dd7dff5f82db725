"""The exact assignment: constraints, ties, and the same optimum as an integer program solved by CBC."""

import numpy as np
import pulp
import pytest
from earthinstruct_instructsam.assignment import assign_nearest, assign_under_counts

from earthinstruct.errors import EarthInstructError


def optimum_by_cbc(similarities, counts):
    """The least cost of the integer program as the paper states it."""
    n, m = similarities.shape
    problem = pulp.LpProblem("assignment", pulp.LpMinimize)
    x = [[pulp.LpVariable(f"x_{i}_{j}", cat="Binary") for j in range(m)] for i in range(n)]
    problem += pulp.lpSum((1 - float(similarities[i, j])) * x[i][j] for i in range(n) for j in range(m))
    enough = n >= sum(counts)
    for i in range(n):
        problem += pulp.lpSum(x[i]) <= 1 if enough else pulp.lpSum(x[i]) == 1
    for j in range(m):
        column = pulp.lpSum(x[i][j] for i in range(n))
        problem += column == counts[j] if enough else column <= counts[j]
    problem.solve(pulp.PULP_CBC_CMD(msg=False))
    assert pulp.LpStatus[problem.status] == "Optimal"
    return pulp.value(problem.objective) or 0.0


def instance(seed):
    generator = np.random.Generator(np.random.PCG64(seed))
    n, m = generator.integers(1, 13), generator.integers(1, 6)
    similarities = generator.uniform(-1, 1, (n, m)).round(1 if seed % 2 else 6)  # every other one is full of ties
    return similarities, generator.integers(0, 4, m).tolist()


@pytest.mark.parametrize("start", range(0, 200, 50))
def test_200_random_instances_reach_the_optimum_of_cbc(start):
    for seed in range(start, start + 50):
        similarities, counts = instance(seed)
        labels = assign_under_counts(similarities, counts)
        given = np.flatnonzero(labels >= 0)
        cost = (1 - similarities[given, labels[given]]).sum()
        assert cost == pytest.approx(optimum_by_cbc(similarities, counts), abs=1e-6), seed
        used = np.bincount(labels[given], minlength=len(counts))
        if len(similarities) >= sum(counts):
            assert used.tolist() == counts
        else:
            assert len(given) == len(similarities)
            assert (used <= counts).all()


def test_a_count_far_above_the_number_of_proposals_needs_no_memory():
    similarities = np.array([[0.9, 0.8], [0.8, 0.1], [0.2, 0.3]])
    assert assign_under_counts(similarities, [10**12, 1]).tolist() == [0, 0, 1]
    assert assign_under_counts(similarities, [10**12, 0]).tolist() == [0, 0, 0]


def test_among_equal_assignments_the_best_ranked_proposals_are_used():
    assert assign_under_counts(np.full((5, 2), 0.5), [1, 1])[2:].tolist() == [-1, -1, -1]
    assert assign_under_counts(np.array([[0.5], [0.7], [0.7]]), [1]).tolist() == [-1, 0, -1]


def test_noise_below_the_step_decides_nothing():
    similarities = np.full((4, 1), 0.3)
    noisy = similarities + np.array([[0], [1e-9], [2e-9], [-1e-9]])
    assert assign_under_counts(noisy, [2]).tolist() == assign_under_counts(similarities, [2]).tolist() == [0, 0, -1, -1]


@pytest.mark.parametrize(("shape", "counts"), [((0, 2), [1, 1]), ((3, 2), [0, 0]), ((3, 0), [])])
def test_nothing_to_assign(shape, counts):
    assert assign_under_counts(np.zeros(shape), counts).tolist() == [-1] * shape[0]


def test_counts_are_integers_of_any_size():
    assert assign_under_counts(np.array([[0.9, 0.2], [0.8, 0.1]]), [10**19, 1]).tolist() == [0, 0]
    for wrong in (1.9, -1):
        with pytest.raises(EarthInstructError, match=f"count must be an integer >= 0, got {wrong}"):
            assign_under_counts(np.zeros((2, 2)), [wrong, 1])


def test_costs_stay_exact_at_large_sizes():
    generator = np.random.Generator(np.random.PCG64(1))
    similarities = generator.uniform(-1, 1, (1000, 20)).round(6)
    labels = assign_under_counts(similarities, [30] * 20)
    assert np.bincount(labels[labels >= 0]).tolist() == [30] * 20
    reversed_columns = assign_under_counts(similarities[:, ::-1], [30] * 20)
    assert np.array_equal(np.where(reversed_columns >= 0, 19 - reversed_columns, -1), labels)


def test_nearest_takes_the_first_of_equals():
    assert assign_nearest(np.array([[0.1, 0.5, 0.5], [0.9, 0.1, 0.2]])).tolist() == [1, 0]
    assert assign_nearest(np.zeros((2, 0))).tolist() == [-1, -1]
