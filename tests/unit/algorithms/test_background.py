from __future__ import annotations

import math

import numpy as np
import pytest

from nirred.algorithms.background import level


def test_level_of_pure_noise_is_unbiased_and_its_error_never_too_small() -> None:
    rng = np.random.default_rng(1)
    levels = [level(rng.normal(100.0, 5.0, 20_000), None) for _ in range(60)]
    values = np.array([one.value for one in levels])
    assert abs(values.mean() - 100.0) < 0.01 * 5.0
    # the allowance for sources makes the error of a clean sky up to twice too large
    assert 0.5 < values.std() / np.mean([one.error for one in levels]) < 1.1
    assert np.mean([one.sigma for one in levels]) == pytest.approx(5.0, rel=0.01)


@pytest.mark.parametrize("brightness", [1.0, 2.0, 5.0])
def test_level_withstands_faint_sources(brightness: float) -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(0.0, 1.0, (1000, 1000))
    image.flat[rng.choice(image.size, image.size // 20, replace=False)] += rng.exponential(brightness, image.size // 20)
    measured = level(image, None, step=1)
    assert abs(measured.value) < 0.03
    assert abs(measured.value) < 4 * measured.error


def test_level_leaves_out_bad_and_nan_pixels() -> None:
    rng = np.random.default_rng(3)
    image = rng.normal(10.0, 1.0, (64, 64))
    bad = np.zeros(image.shape, np.uint16)
    image[:20], bad[:20] = 1e6, 4
    image[20:30] = np.nan
    measured = level(image, bad)
    assert measured.value == pytest.approx(10.0, abs=0.1)
    assert measured.n == 34 * 64


def test_level_of_digitised_noise_is_not_held_by_the_quantum() -> None:
    image = np.round(np.random.default_rng(4).normal(100.3, 1.0, (400, 400)))
    assert level(image, None).value == pytest.approx(100.3, abs=0.03)


def test_level_without_pixels_and_of_one() -> None:
    nothing = level(np.ones((4, 4)), np.ones((4, 4), bool))
    assert math.isnan(nothing.value) and math.isinf(nothing.error) and nothing.n == 0
    single = level(np.array([[7.0]]), None)
    assert (single.value, single.sigma, single.n) == (7.0, 0.0, 1)
    assert level(np.full((50, 50), 3.0), None).value == 3.0


def test_level_rejects_a_mask_of_another_shape() -> None:
    with pytest.raises(ValueError, match="shape"):
        level(np.ones((4, 4)), np.ones((4, 5)))


def test_a_part_of_an_image_has_the_level_of_a_copy_of_it() -> None:
    image = np.random.default_rng(8).normal(10.0, 2.0, (300, 200)).astype(np.float32)
    bad = np.random.default_rng(9).random(image.shape) < 0.2
    part = np.s_[3:291, 5:190]
    assert level(image[part], bad[part]) == level(image[part].copy(), bad[part].copy())
