"""The median of a sample, compared with numpy's."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.typical import median, sampled_median

RNG = np.random.default_rng(7)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (40, 61), (63, 64)])
@pytest.mark.parametrize("offset", [0.0, 300.0, -20.0, 1e9])
@pytest.mark.parametrize("step", [1, 3])
def test_median_is_numpys(shape: tuple[int, int], offset: float, step: int) -> None:
    data = (offset + 5.0 * RNG.standard_normal(shape)).astype(np.float32)
    flags = np.where(RNG.random(shape) < 0.3, 4, 0).astype(np.uint16)
    sample, marked = data[::step, ::step], flags[::step, ::step]
    good = sample[marked == 0]
    expected = np.median(good if good.size else sample)
    assert sampled_median(data, flags, None, step) == expected
    known = np.where(RNG.random(shape) < 0.5, 0xFFFF, 1).astype(np.uint16)
    good = sample[(marked & ~known[::step, ::step]) == 0]
    assert sampled_median(data, flags, known, step) == np.median(good if good.size else sample)


def test_all_bad_takes_all_and_equal_values_are_told() -> None:
    data, flags = np.full((6, 6), -2.5, np.float32), np.ones((6, 6), np.uint16)
    assert sampled_median(data, flags, None, 1) == -2.5
    data[:3] = 1.0
    assert sampled_median(data, flags, None, 1) == -0.75


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 1001, 4096])
def test_medians_are_numpys_and_leave_the_numbers_where_they_are(n: int, dtype: type) -> None:
    rng = np.random.default_rng(n)
    for values in (rng.normal(1e3, 1.0, n), rng.integers(-2, 2, n), rng.normal(size=(n, 2)).T[::-1]):
        given = values.astype(dtype)
        kept = given.copy()
        assert median(given) == float(np.median(given))
        assert np.array_equal(given, kept)
