"""Pixels that their dark current makes noisy are left out where other pixels see the same sky."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.noise import noisy_pixels
from nirred.algorithms.response import CalibrationInputs
from nirred.dq import DQ
from nirred.states import OBJECT
from nirred.steps.noisemodel import noise_of
from nirred.steps.noisy import leave_out_noisy, leave_out_unsteady

SHAPE = (192, 256)
READ, SKY = 150.0, 100.0  # variance of the read noise, electron squared, and sky, electron


def _noise_model(rng):
    """Of a camera with vignetting, a glowing corner and hot pixels; and where its pixels are noisy."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    flat = (1 - 0.6 * x / SHAPE[1]) * rng.normal(1, 0.02, SHAPE)
    dark = 2.0 + 2000 * np.exp(-((x - 255) ** 2 + y**2) / 2 / 60**2)
    hot = rng.random(SHAPE) < 0.01
    dark[hot] += 3.0 * (READ + SKY + dark[hot])
    weak = ~hot & (rng.random(SHAPE) < 0.01)
    dark[weak] += 0.5 * READ
    return ((READ + dark) / flat**2).astype(np.float32), (1 / flat).astype(np.float32), hot


def test_noisy_is_what_exceeds_its_surroundings_before_the_flat():
    constant, per_electron, hot = _noise_model(np.random.default_rng(1))
    found = noisy_pixels(constant, per_electron, np.zeros(SHAPE, np.uint16), SKY, 2.0)
    assert np.mean(found[hot]) > 0.98
    assert not found[~hot].any()  # neither vignetting nor glow nor weakly hot pixels
    assert noisy_pixels(constant, per_electron, np.zeros(SHAPE, np.uint16), 1e5, 2.0) is None
    assert noisy_pixels(READ, 1.0, np.zeros(SHAPE, np.uint16), SKY, 2.0) is None


def test_pixels_without_a_flat_are_not_compared():
    constant, per_electron, hot = _noise_model(np.random.default_rng(1))
    constant[:20], per_electron[:20] = 0.0, 0.0
    with np.errstate(all="raise"):
        found = noisy_pixels(constant, per_electron, np.zeros(SHAPE, np.uint16), SKY, 2.0)
    assert not found[:20].any() and np.mean(found[20:][hot[20:]]) > 0.98


@pytest.mark.parametrize(
    ("places", "left_out"),
    [((0.0, 12.0, 24.0), True), ((0.0, 0.0, 0.0), False), ((1.9, 2.0, 2.1), False), ((0.0, 2.1, 4.2), True)],
)
def test_noisy_pixels_are_bad_in_dithered_frames(make_group, places, left_out):
    constant, per_electron, hot = _noise_model(np.random.default_rng(2))
    group = make_group(["both"] * 3, [np.zeros(SHAPE)] * 3)
    state = group.planes[0]
    static = np.zeros(SHAPE, np.uint16)
    static[5, 5] = DQ.BAD_PIXEL
    state.constant, state.per_electron = constant, per_electron
    state.inputs = CalibrationInputs(2.0, 1, 1.0, static_dq=static)
    for k, frame in enumerate(group.frames):
        frame.dx, frame.sky = places[k], SKY
        state.dq.put(k, static)
    leave_out_noisy(group, [0, 1, 2])
    for k in range(3):
        flags = state.dq.frame(k)
        assert flags[5, 5] == DQ.BAD_PIXEL
        assert (np.mean(flags[hot] == DQ.BAD_PIXEL) > 0.98) == left_out
    if left_out:  # what is interpolated has the noise of a usual pixel
        assert np.median(noise_of(state)[0][hot]) == pytest.approx(state.typical_noise[0])
    assert not static[hot].any()  # the group's mask is shared with other tasks


def _frames(rng, n):
    """Sky-subtracted frames of unit noise, with a star, its spikes, and the track of a cosmic ray."""
    frames = rng.normal(0, 1, (n, *SHAPE))
    for k in range(n):
        frames[k, 20:150, 40 + 6 * k : 42 + 6 * k] += 3.0
        frames[k, 100 + 6 * k : 102 + 6 * k, 10:90] += 3.0
        frames[k, 30:90, 200] += 8.0 * (k == 2)
    return frames


def _steady_group(make_group, frames, dx, dy):
    """Group of sky-subtracted frames of unit variance, with steps between them."""
    group = make_group(["both"] * len(frames), np.zeros_like(frames))
    state = group.planes[0]
    state.constant, state.per_electron, state.sub = 1.0, 0.0, state.sci
    for k, frame in enumerate(group.frames):
        frame.dx, frame.dy, frame.sky = dx * k, dy * k, 0.0
        state.sub.put(k, frames[k].astype(np.float32))
    return group


@pytest.mark.parametrize(
    ("step", "amplitude", "told"),
    [(6.0, 1.5, "1 column and 2 rows"), (6.0, 0.3, ""), (0.5, 1.5, "")],
)
def test_lines_whose_level_changes_are_left_out_of_dithered_frames(make_group, step, amplitude, told):
    """A column that grows hot, and rows that jump: 1.5 sigma of a pixel, which no outlier has."""
    frames = _frames(np.random.default_rng(3), 5)
    for k in range(5):
        frames[k, :96, 130] += amplitude * (k - 2)
        frames[k, 160:162, :] += amplitude * (-1) ** k
    group = _steady_group(make_group, frames, step, step)
    leave_out_unsteady(group, list(range(5)))
    expected = np.zeros(SHAPE, np.bool_)
    expected[:96, 130], expected[160:162] = True, True
    for k in range(5):
        np.testing.assert_array_equal((group.planes[0].dq.frame(k) & DQ.BAD_PIXEL) != 0, expected & bool(told))
    assert [r.split(": ")[0] for r in group.remarks] == [f"{told} left out, in part or whole"] * bool(told)


def test_spikes_of_stars_that_dithers_move_along_themselves_are_kept(make_group):
    frames = np.random.default_rng(3).normal(0, 1, (5, *SHAPE))
    frames[:, 100:102, 10:230] += 3.0
    group = _steady_group(make_group, frames, 6.0, 0.0)
    leave_out_unsteady(group, list(range(5)))
    assert not group.remarks


def test_of_two_positions_changes_within_one_of_them_tell(make_group):
    """A spike of a star is the same in all frames of one position, and absent from those of the other."""
    frames = np.random.default_rng(3).normal(0, 1, (6, *SHAPE))
    frames[:3, 10:180, 60:62] += 3.0
    frames[:, 96:, 130] += np.linspace(-2.5, 2.5, 6)[:, None]
    group = _steady_group(make_group, frames, 0.0, 0.0)
    for frame in group.frames[3:]:
        frame.dx = 30.0
    leave_out_unsteady(group, list(range(6)))
    expected = np.zeros(SHAPE, np.bool_)
    expected[96:, 130] = True
    np.testing.assert_array_equal(group.planes[0].dq.frame(0) == DQ.BAD_PIXEL, expected)


def test_objects_and_what_most_lines_do_are_not_unsteady(make_group):
    rng = np.random.default_rng(4)
    frames = rng.normal(0, 1, (5, *SHAPE)) + rng.normal(0, 1.0, (5, 1, SHAPE[1]))
    frames[:, 50:52] += 3.0 * np.arange(5)[:, None, None]
    group = _steady_group(make_group, frames, 6.0, -6.0)
    state = group.planes[0]
    for k in range(5):
        state.dq.frame_to_change(k)[50:52] = OBJECT
    leave_out_unsteady(group, list(range(5)))
    assert not group.remarks and not (state.dq.frame(0) & DQ.BAD_PIXEL).any()
