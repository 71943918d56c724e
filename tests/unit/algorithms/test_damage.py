"""Rows of numbers that are no exposure."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.damage import FEWEST, WIDE, damaged, empty_rows, row_noise
from nirred.algorithms.sky import pixel_noise

SHAPE = (12, 512)


def sky(level=1500.0, sigma=40.0, shape=SHAPE, seed=1):
    return np.random.default_rng(seed).normal(level, sigma, shape).astype(np.float32)


def none(shape=SHAPE):
    return np.zeros(shape, np.bool_)


def test_level_and_noise_of_rows_do_not_see_stars_and_slopes():
    data = sky() + np.linspace(0, 300, SHAPE[1], dtype=np.float32)
    data[:, 100:110] += 1e5
    level, noise = row_noise(data, none())
    np.testing.assert_allclose(level, 1650.0, atol=20.0)
    np.testing.assert_allclose(noise, 40.0, rtol=0.25)
    assert np.median(noise) == pytest.approx(pixel_noise(data, none().view(np.uint8), 1), rel=0.05)


def test_bad_pixels_tell_nothing_and_rows_of_them_are_unknown():
    data, bad = sky(), none()
    data[:, ::7], bad[:, ::7] = 1e8, True
    bad[3] = True
    bad[4, FEWEST:] = True
    level, noise = row_noise(data, bad)
    assert np.isnan(noise[[3, 4]]).all() and np.isnan(level[[3, 4]]).all()
    np.testing.assert_allclose(np.delete(noise, [3, 4]), 40.0, rtol=0.3)
    assert np.isnan(row_noise(sky(shape=(1, 1)), none((1, 1)))).all()


def judged(frames, clipped=None):
    level, noise = np.array([row_noise(f, none()) for f in frames]).transpose(1, 0, 2)
    expected = np.sqrt(100.0 + np.maximum(level, 0.0))
    return damaged(noise, expected, np.zeros(noise.shape, np.bool_) if clipped is None else clipped)


@pytest.mark.parametrize("number", [1, 2, 3, 9])
@pytest.mark.parametrize("damage", ["shifted", "random", "zero"])
def test_shifted_random_and_empty_rows_are_damaged(number, damage):
    frames = [sky(seed=k) for k in range(number)]
    rng = np.random.default_rng(9)
    frames[0][5:9] = {"shifted": 256 * frames[0][5:9], "random": rng.uniform(0, 65535, (4, 512)), "zero": 0.0}[damage]
    found = judged(frames)
    assert found[0].tolist() == [5 <= y < 9 for y in range(12)] and not found[1:].any()


def test_the_noise_of_a_model_that_is_wrong_and_of_readout_patterns_is_no_damage():
    wrong = [30.0 * sky(seed=k) for k in range(5)]
    assert not judged(wrong).any()
    patterned = [sky(seed=k) for k in range(5)]
    patterned[2][:6] += 3 * 40.0 * np.tile(np.random.default_rng(2).normal(size=8), 64).astype(np.float32)
    assert not judged(patterned).any()


def test_saturated_rows_may_have_no_noise_but_not_too_much():
    frames = [sky(seed=k) for k in range(4)]
    clipped = np.zeros((4, 12), np.bool_)
    frames[1][2], clipped[1, 2] = 60_000.0, True
    frames[1][3], clipped[1, 3] = 256 * sky(6000.0, 80.0, (512,)), True
    assert np.argwhere(judged(frames, clipped)).tolist() == [[1, 3]]


@pytest.mark.parametrize("kind", [np.float32, np.int32, ">u2"])
def test_empty_rows_are_found_if_there_are_some_among_the_first_looked_at(kind):
    counts = sky(shape=(320, WIDE)).astype(kind)
    assert not empty_rows(counts).any()
    counts[37] = 7
    assert not empty_rows(counts).any(), "a single row between those"
    counts[100:150] = 0
    assert np.flatnonzero(empty_rows(counts)).tolist() == [37, *range(100, 150)]
    assert not empty_rows(counts[:, 1:]).any() and not empty_rows(np.ones((5, 100))).any()


def test_nothing_known_is_no_damage():
    made = np.array([[1e-3] * 9 + [1.0] * 3])
    assert not damaged(made, np.ones((1, 12)), none((1, 12))).any(), "a frame without noise"
    assert not judged([np.ones(SHAPE, np.float32)]).any()
    unknown = np.full((3, 4), np.nan)
    assert not damaged(unknown, unknown, np.zeros((3, 4), np.bool_)).any()
