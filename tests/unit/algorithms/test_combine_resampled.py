"""Combinations of resampled values: their variance relative to that of a mean."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.combine import Rejection
from nirred.algorithms.combine_resampled import Combination


@pytest.mark.parametrize(
    ("operation", "rejection"),
    [
        ("median", Rejection()),
        ("lmedian", Rejection()),
        ("mean", Rejection("minmax", nlow=1)),
        ("mean", Rejection("minmax", nlow=1, nhigh=1)),
        ("wtmean", Rejection("minmax", nhigh=2)),
        ("mean", Rejection("minmax", nlow=2)),
    ],
)
def test_variance_over_that_of_a_mean_is_known_to_five_percent(operation, rejection):
    rng = np.random.default_rng(7)
    for n in (3, 4, 5, 6, 9, 12, 30):
        values = rng.standard_normal((n, 200, 200)).astype(np.float32)
        how = Combination(operation, rejection, 1.0, 0.0)
        found, factor, number = how.of(values, np.ones(n))
        assert (number == n - rejection.nlow - rejection.nhigh).all()
        assert np.var(found) * n == pytest.approx(float(factor.flat[0]), rel=0.05), n


def test_missing_values_are_not_combined():
    values = np.array([1.0, 2.0, 6.0, np.nan], np.float32).reshape(4, 1, 1)
    found, factor, number = Combination("median", Rejection(), 1.0, 0.0).of(values, np.ones(4))
    assert found == 2.0 and number == 3 and factor == pytest.approx(np.pi * 3 / (6 + np.pi - 2))


def test_of_fewer_values_minmax_rejects_the_same_share():
    values = np.random.default_rng(1).standard_normal((6, 100, 400)).astype(np.float32)
    values[:3, 50:] = np.nan
    how = Combination("mean", Rejection("minmax", nhigh=2), 1.0, 0.0)
    found, factor, number = how.of(values, np.ones(6))
    for part, there, kept in ((np.s_[:50], 6, 4), (np.s_[50:], 3, 2)):
        assert (number[part] == kept).all()
        assert np.var(found[part]) * there == pytest.approx(float(factor[part].flat[0]), rel=0.05)
