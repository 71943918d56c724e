"""Pixels that their dark current makes noisy are left out where other pixels see the same sky."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.noise import noisy_pixels
from nirred.algorithms.response import CalibrationInputs
from nirred.dq import DQ
from nirred.steps.noisemodel import noise_of
from nirred.steps.noisy import leave_out_noisy

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
