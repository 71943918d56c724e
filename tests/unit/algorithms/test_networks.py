"""Sorting networks."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.networks import median_network, sorting_network


@pytest.mark.parametrize("n", [1, 2, 3, 7, 16, 31, 100])
def test_network_sorts(n):
    rng = np.random.default_rng(n)
    values = rng.integers(0, 5, (n, 300))
    work, middle = values.copy(), values.copy()
    for target, network in ((work, sorting_network(n)), (middle, median_network(n))):
        for a, b in network:
            target[a], target[b] = np.minimum(target[a], target[b]), np.maximum(target[a], target[b])
    np.testing.assert_array_equal(work, np.sort(values, axis=0))
    for wire in (max(n // 2 - 1, 0), n // 2):
        np.testing.assert_array_equal(middle[wire], work[wire])
