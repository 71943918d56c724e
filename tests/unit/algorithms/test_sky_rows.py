"""Rows of sky frames compared with float64 references: outliers, patterns of halves, running means, shrinkage."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.sky_kernels import LANES
from nirred.algorithms.sky_rows import (
    MOST_IN_MEDIAN,
    SkyFrames,
    Targets,
    _with_themselves,
    moves,
    subtract,
    subtract_around_medians,
    survey,
)

BAD, OBJECT, STRAY = 1, 2, 4
USELESS = BAD | OBJECT


def night(n=9, shape=(5, LANES + 37), *, additive=False, seed=1):
    """Frames of a pattern, a fifth of their pixels flagged; (data, dq, zero, unit)."""
    rng = np.random.default_rng(seed)
    levels = rng.uniform(900, 1100, n)
    zero, unit = (levels, np.ones(n)) if additive else (np.zeros(n), levels)
    g = 20.0 * rng.standard_normal(shape) if additive else 1 + 0.05 * rng.standard_normal(shape)
    model = zero[:, None, None] + unit[:, None, None] * g
    data = (model + np.sqrt(levels)[:, None, None] * rng.standard_normal(model.shape)).astype(np.float32)
    return data, rng.choice([0, BAD, OBJECT], (n, *shape), p=[0.8, 0.1, 0.1]).astype(np.uint16), zero, unit


def frames_of(data, dq, zero, unit, places=None):
    places = list(range(len(data))) if places is None else places
    levels = np.maximum(np.where(unit > 1, unit, zero), 0)[places]
    return SkyFrames(data, dq, places, 0, zero[places], unit[places], levels, np.ones(len(places)))


def reference(data, dq, zero, unit, nsigma=4.0, noise=(0.0, 1.0)):
    """Outliers and the patterns of both halves, in float64."""
    levels = np.where(unit > 1, unit, zero)
    useful = (dq & USELESS) == 0
    x = data.astype(np.float64) - zero[:, None, None]
    centre = np.nanmedian(np.where(useful, x / unit[:, None, None], np.nan), axis=0)
    spread = 1.571 * (noise[0] + levels.mean() * noise[1]) / unit.mean() ** 2 / np.maximum(useful.sum(0), 1)
    variance = noise[0] + levels[:, None, None] * noise[1] + unit[:, None, None] ** 2 * spread
    stray = useful & ((x - unit[:, None, None] * centre) ** 2 > nsigma**2 * variance)
    sky = useful & ~stray
    halves = []
    for h in (0, 1):
        u = np.sum(sky[h::2] * unit[h::2, None, None], axis=0)
        with np.errstate(invalid="ignore"):
            halves += [np.sum(sky[h::2] * x[h::2], axis=0) / u, u]
    return centre, stray, np.array(halves)


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("n", [3, 4, 9])
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_survey_is_the_plain_one(n, additive):
    data, dq, zero, unit = night(n, additive=additive)
    data[n // 2, 2, 7:9] += 1000
    dq[:, 2, 7:9] = 0
    dq[:, 3, 5], dq[:, 4, 6] = BAD, 0
    centre, stray, halves = reference(data, dq, zero, unit)
    got, found = np.empty((4, *data.shape[1:]), np.float32), np.empty(data.shape[1:], np.float32)
    survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 4.0, found, got)
    assert np.array_equal((dq & STRAY) != 0, stray) and stray[n // 2, 2, 7]
    known = np.isfinite(centre)
    assert np.allclose(found[known], centre[known], rtol=1e-5, atol=1e-3 if additive else 0)
    assert np.isfinite(found[3, 5]) and np.isnan(got[0, 3, 5]) and got[1, 3, 5] == 0
    assert np.allclose(got, halves, rtol=1e-5, atol=1e-3 if additive else 0, equal_nan=True)


def test_flags_of_strays_are_renewed_and_others_stay():
    data, dq, zero, unit = night()
    before = dq.copy()
    dq |= STRAY
    survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 1e6)
    assert np.array_equal(dq, before)


def test_two_frames_tell_no_strays_and_nothing_known_is_the_usual():
    for additive, usual in ((False, 1.0), (True, 0.0)):
        data, dq, zero, unit = night(2, (1, 1), additive=additive)
        data[1], dq[:] = 1e6, 0
        survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 4.0)
        assert not dq.any()
        dq[:] = BAD
        centre = np.empty((1, 1), np.float32)
        survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 4.0, centre)
        assert centre[0, 0] == usual and not (dq & STRAY).any()


def test_many_frames_few_of_which_show_sky():
    """The median is that of a sample of frames, or of all if few of the sample show sky."""
    n = 3 * MOST_IN_MEDIAN
    data, dq, zero, unit = night(n)
    dq[:] = 0
    dq[: n - 4, :, 10] = OBJECT
    data[: n - 4, :, 10] *= 3
    centre = np.empty(data.shape[1:], np.float32)
    survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 4.0, centre)
    expected = np.median((data / unit[:, None, None])[n - 4 :, :, 10], axis=0)
    assert np.allclose(centre[:, 10], expected, rtol=1e-6)
    everything = np.median(data / unit[:, None, None], axis=0)
    assert np.std((centre - everything)[:, 20:]) < 1.3 / np.sqrt(MOST_IN_MEDIAN) / np.sqrt(1000)
    assert np.mean((dq & STRAY) != 0) < 3e-4


def test_a_value_that_is_not_finite_is_a_stray():
    data, dq, zero, unit = night(5)
    dq[:] = 0
    data[2, 1, 3] = np.nan
    halves = np.empty((4, *data.shape[1:]), np.float32)
    survey(frames_of(data, dq, zero, unit), (0.0, 1.0), (USELESS, STRAY), 4.0, halves=halves)
    assert dq[2, 1, 3] == STRAY and np.isfinite(halves).all()


# -- subtraction --------------------------------------------------------------------------------------------------


def plain(data, dq, zero, unit, i, members, smooth, shrink=(0.0, 0.0)):
    """Frame i minus its sky, float64."""
    seen = (dq[members] & (USELESS | STRAY)) == 0
    units = np.sum(seen * unit[members, None, None], axis=0)
    total = np.sum(seen * (data[members].astype(np.float64) - zero[members, None, None]), axis=0)
    known = units > 0
    g = np.where(known, total / np.where(known, units, 1) - smooth, 0)
    v = np.where(known, shrink[1] / np.where(known, units, 1), 0)
    whole = shrink[0] + v
    with np.errstate(invalid="ignore", divide="ignore"):
        cut = np.where(g**2 < 9 * whole, 1, 9 * whole / g**2)
        keep = np.where(whole > 0, 1 - cut * v / whole, 1)
    return data[i] - zero[i] - unit[i] * (smooth + keep * g)


def subtracted(arrays, sets, smooth, shrink=None, offset=0.0, rows=None):
    data, dq, zero, unit = arrays
    out = np.full_like(data, -1)
    n, height = len(sets), smooth.shape[0]
    targets = Targets(range(n), zero[:n], unit[:n], np.full(n, offset), sets)
    for top in range(0, height, rows or height):
        stop = min(top + (rows or height), height)
        part = SkyFrames(data, dq, range(len(data)), top, zero, unit, unit, np.ones(len(data)))
        known = None if shrink is None else tuple(s[top:stop] for s in shrink)
        subtract(part, targets, USELESS | STRAY, smooth[top:stop], known, (out, range(n), top))
    return out


SETS = [(1, 2, 3), (0, 2, 3), (1, 3, 4), (8,), (0, 1, 2, 3, 4, 6, 7), (2, 4), (2, 4), (5, 6), (0, 7)]


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("shrunk", [False, True])
def test_the_running_sky_is_the_plain_one_however_a_set_was_reached(additive, shrunk):
    arrays = night(additive=additive)
    arrays[1][:, 3, 5] = BAD
    rng = np.random.default_rng(5)
    smooth = (rng.normal(0, 5, arrays[0].shape[1:]) + (not additive)).astype(np.float32)
    power, noise = (rng.uniform(0, s, smooth.shape).astype(np.float32) for s in (1e-3, 1.0))
    out = subtracted(arrays, SETS, smooth, (power, noise) if shrunk else None)
    for i, members in enumerate(SETS):
        expected = plain(*arrays, i, list(members), smooth.astype(float), (power, noise) if shrunk else (0.0, 0.0))
        assert np.allclose(out[i], expected, rtol=1e-4, atol=2e-2 if not additive else 2e-3)


def test_rows_do_not_depend_on_how_they_are_cut():
    arrays = night()
    smooth = np.ones(arrays[0].shape[1:], np.float32)
    whole = subtracted(arrays, SETS, smooth, offset=3.0)
    assert np.array_equal(whole, subtracted(arrays, SETS, smooth, offset=3.0, rows=2))
    assert np.allclose(whole, subtracted(arrays, SETS, smooth) - 3.0, atol=1e-3)


def test_without_sky_the_smooth_part_alone_is_subtracted():
    data, dq = np.full((2, 1, 1), 50, np.float32), np.full((2, 1, 1), BAD, np.uint16)
    arrays = data, dq, np.array([5.0, 5.0]), np.array([10.0, 10.0])
    assert subtracted(arrays, [(1,)], np.full((1, 1), 2, np.float32))[:, 0, 0].tolist() == [25.0, -1.0]


@pytest.mark.parametrize("power", [0.0, 4.0])
def test_a_real_pattern_pixel_of_ten_sigma_is_taken_off(power):
    v = 25.0
    height = 10 * np.sqrt(power + v)
    data = np.full((5, 1, 1), height, np.float32)
    arrays = data, np.zeros((5, 1, 1), np.uint16), np.zeros(5), np.ones(5)
    shrink = np.full((1, 1), power, np.float32), np.full((1, 1), 4 * v, np.float32)
    left = subtracted(arrays, [(1, 2, 3, 4)], np.zeros((1, 1), np.float32), shrink)[0, 0, 0]
    assert abs(left) < np.sqrt(power + v)  # 90 % and more: the residual is below the noise


@pytest.mark.parametrize("additive", [False, True])
def test_one_sweep_is_survey_and_subtraction(additive):
    """Frames without sky frames of their own, and frames that are not sky frames, among them."""
    data, dq, zero, unit = night(7, additive=additive)
    data[3, 2, 7:9] += 1000
    dq[:, 3, 5], shape = BAD, data.shape[1:]
    sets = [(0, 1, 3, 4), (1, 2, 3), (0, 2, 3), (4,)]
    targets = Targets([5, 0, 1, 6], zero[[5, 0, 1, 6]], unit[[5, 0, 1, 6]], np.arange(4.0), sets)
    frames, unflagged, out = (
        frames_of(data, dq, zero, unit, list(range(5))),
        dq.copy(),
        np.empty((2, 4, *shape), np.float32),
    )
    subtract_around_medians(frames, targets, (0.0, 1.0), shape, USELESS, 4.0, (out[0], range(4), 0))
    assert np.array_equal(dq, unflagged)
    centre = np.empty(shape, np.float32)
    survey(frames, (0.0, 1.0), (USELESS, STRAY), 4.0, centre)
    subtract(frames, targets, USELESS | STRAY, centre, None, (out[1], range(4), 0))
    assert np.array_equal(*out) and (dq & STRAY).any()


def test_moves_touch_what_differs():
    begins, who, sign = moves([(0, 1, 2), (1, 2, 3), (7,)])
    assert begins.tolist() == [0, 4, 6, 8]
    assert who.tolist() == [-1, 0, 1, 2, 0, 3, -1, 7]
    assert sign.tolist() == [0, 1, 1, 1, -1, 1, 0, 1]


def test_frames_that_serve_each_other_move_nothing():
    everyone = [[j for j in range(6) if j != i] for i in range(6)]
    whole, without = _with_themselves(everyone, np.arange(6), 6)
    assert all(s == set(range(6)) for s in whole) and without.tolist() == list(range(6))
    assert moves(whole)[1].tolist() == [-1, *range(6)]
    alone, without = _with_themselves([(0, 1), (0, 1)], np.array([-1, 4]), 6)
    assert alone == [{0, 1}, {0, 1}] and without.tolist() == [6, 6]
