"""Neighbours within a radius: compared with brute force, without any neighbour, and within one list."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.neighbours import mutual, nearest


def brute(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.hypot(*(points[:, None] - others[None]).transpose(2, 0, 1))


@pytest.mark.parametrize(("n", "m", "radius"), [(200, 150, 3.0), (50, 300, 40.0), (1, 1, 200.0), (30, 30, 1e-9)])
def test_nearest_agrees_with_all_distances(n: int, m: int, radius: float) -> None:
    rng = np.random.default_rng(n)
    points, others = rng.uniform(0, 100, (n, 2)), rng.uniform(0, 100, (m, 2))
    distance, index, pairs = nearest(points, others, radius)
    every = brute(points, others)
    near = every.min(axis=1) <= radius
    np.testing.assert_array_equal(index, np.where(near, every.argmin(axis=1), m))
    np.testing.assert_allclose(distance, np.where(near, every.min(axis=1), np.inf), rtol=1e-14)
    assert pairs == np.count_nonzero(every <= radius)


def test_within_one_list_only_earlier_points_count() -> None:
    points = np.array([[0.0, 0.0], [0.4, 0.0], [5.0, 5.0], [5.0, 5.9], [0.1, 0.1]])
    distance, index, pairs = nearest(points, points, 1.0, earlier=True)
    assert index.tolist() == [5, 0, 5, 2, 0]
    assert pairs == 4
    np.testing.assert_array_equal(np.isinf(distance), [True, False, True, False, False])


@pytest.mark.parametrize(("n", "m"), [(0, 0), (0, 4), (4, 0)])
def test_lists_without_points(n: int, m: int) -> None:
    distance, index, pairs = nearest(np.zeros((n, 2)), np.zeros((m, 2)), 1.0)
    assert pairs == 0
    assert np.isinf(distance).all()
    assert (index == m).all()
    assert [part.size for part in mutual(np.zeros((n, 2)), np.zeros((m, 2)), 1.0)] == [0, 0]


def test_pairs_are_each_other_s_nearest() -> None:
    a = np.array([[0.0, 0.0], [10.0, 0.0], [20.0, 0.0]])
    b = np.array([[10.3, 0.0], [10.6, 0.0], [0.2, 0.1]])
    i, j = mutual(a, b, 1.0)
    assert i.tolist() == [0, 1]
    assert j.tolist() == [2, 0]
