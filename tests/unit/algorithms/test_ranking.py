from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.compiled import kernel
from nirred.algorithms.ranking import middle


@kernel
def of_first(values, n):
    return middle(values, n)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([-3.5, -1.0, 0.0, 0.1, 0.3, 2.0, 7e5]), min_size=1, max_size=40), st.integers(0, 5))
def test_median_of_the_first_is_numpys(values, more):
    padded = np.array(values + [1e9] * more)
    assert of_first(padded, len(values)) == np.median(np.array(values))
    assert sorted(padded[: len(values)]) == sorted(values) and (padded[len(values) :] == 1e9).all()


def test_float32_many_and_none():
    values = np.random.default_rng(1).normal(0, 1, 3001).astype(np.float32)
    for n in (3001, 3000):
        assert np.float32(of_first(values.copy(), n)) == np.median(values[:n])
    assert np.isnan(of_first(values, 0))
    assert of_first(values[:1].copy(), 1) == pytest.approx(float(values[0]))
