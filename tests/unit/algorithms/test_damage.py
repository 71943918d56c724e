"""Rows of numbers that are no exposure."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.damage import (
    AREAS,
    FEWEST,
    FINE,
    WIDE,
    area_levels,
    damaged,
    empty_rows,
    foreign,
    pattern_left,
    row_noise,
    unevenly_lit,
)
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


def test_a_frame_with_other_noise_than_most_is_damaged():
    """Bits of many pixels were lost: each row of the frame has the same, wrong, noise."""
    frames = [sky(seed=k) for k in range(5)]
    frames[2] += np.random.default_rng(9).normal(0, 300.0, SHAPE).astype(np.float32)
    frames[4][:] = 1500.0 + np.arange(SHAPE[0], dtype=np.float32)[:, None]
    assert judged(frames).all(axis=1).tolist() == [False, False, True, False, True]
    assert not judged(frames[1:3]).any()  # of two it may be either


def pixels(rows=32, columns=512):
    """Response of pixels, and what it does to a sky of 5000 electrons."""
    rng = np.random.default_rng(3)
    response = rng.normal(1.0, 0.03, (rows, columns))
    return rng, response, lambda seen: rng.poisson(5000.0 * seen).astype(np.float32)


@pytest.mark.parametrize(
    ("damage", "share"),
    [("none", 0.0), ("mirror", 1.0), ("shift", 1.0), ("half", 0.5), ("constant", 1.0), ("blank", 0.0), ("dark", 0.0)],
)
def test_the_pattern_of_a_flat_is_not_in_frames_that_are_no_exposure(damage, share):
    rng, response, expose = pixels()
    frames = [expose(response) for _ in range(4)]
    odd = frames[1]
    for y, x in rng.integers(0, [32, 500], (40, 2)):  # stars do not matter
        odd[y, x : x + 6] += 3e4
    if damage == "mirror":
        odd = odd[:, ::-1]
    elif damage == "shift":
        odd = np.roll(odd, 1, axis=1)
    elif damage == "half":
        odd[:, :256] = 5000.0
    elif damage in ("constant", "dark"):
        odd = np.full_like(odd, 5000.0 if damage == "constant" else 0.0)
    bad = [np.full(odd.shape, damage == "blank" and k == 1) for k in range(4)]
    reciprocal = (1 / response).astype(np.float32)
    calibrated = [f * reciprocal for f in (frames[0], odd, *frames[2:])]
    seen = [pattern_left(f, b, reciprocal) for f, b in zip(calibrated, bad, strict=True)]
    left, error = (np.stack(each) for each in zip(*seen, strict=True))
    assert left.shape == (4, AREAS**2)
    assert foreign(left, error).tolist() == pytest.approx([0.0, share, 0.0, 0.0])


def test_a_flat_whose_pattern_is_old_or_noise_excludes_no_frame():
    _, response, expose = pixels()
    reciprocal = np.random.default_rng(8).normal(1.0, 0.03, response.shape).astype(np.float32)
    frames = [expose(response) * reciprocal for _ in range(3)]
    left, error = (np.stack(e) for e in zip(*(pattern_left(f, f < 0, reciprocal) for f in frames), strict=True))
    assert np.median(left) > 0.9 and not foreign(left, error).any()
    even = pattern_left(frames[0], frames[0] < 0, np.ones_like(reciprocal))
    assert np.isnan(even).all() and not foreign(even[0][None], even[1][None]).any()
    assert np.isnan(pattern_left(np.ones((2, 3), np.float32), np.zeros((2, 3), bool), np.ones((2, 3), "f4"))).all()


def test_light_on_a_part_of_a_frame_shows_in_the_shape_of_its_sky():
    y, x = np.mgrid[:32, :512]
    shape = 1.0 - 0.2 * ((x - 256) / 256) ** 2
    frames = [(1.0 + 0.3 * k) * 1000.0 * shape * sky(1.0, 0.03, (32, 512), k) for k in range(4)]
    frames[1] = frames[1] + 400.0 * np.exp(-(((x - 100) / 80) ** 2) - ((y - 10) / 8) ** 2)
    frames[3][:16, :256] = 0.0
    levels = np.stack([area_levels(f.astype(np.float32), np.zeros(f.shape, np.bool_)) for f in frames])
    apart = unevenly_lit(levels)
    assert levels.shape == (4, FINE**2) and (apart[[0, 2]] < 0.01).all()
    assert 0.02 < apart[1] < 0.2 and apart[3] == pytest.approx(0.25, abs=0.03)
    assert not unevenly_lit(levels[:2]).any()
    assert np.isnan(area_levels(frames[0].astype(np.float32), np.ones((32, 512), np.bool_))).all()
    assert not unevenly_lit(np.full((3, FINE**2), np.nan)).any()
