"""Sky structure a few pixels wide: detected if present, separately for each frame."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nirred.algorithms.sky_fine import WORTH, FineSky, cells_of, fine_power, frame_cells

SHAPE, NOISE, UNIT = (256, 256), 90.0, 9000.0


def wide(rms, seed=1):
    """A pattern about 8 pixels wide."""
    found = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), 3.0, mode="wrap")
    return (rms / found.std() * found).astype(np.float32)


def halves(pattern, n=10):
    rng = np.random.default_rng(5)
    noise = NOISE / UNIT / np.sqrt(n / 2)
    units = np.full(SHAPE, n / 2 * UNIT, np.float32)
    return [((1 + pattern + noise * rng.standard_normal(SHAPE)).astype(np.float32), units) for _ in range(2)]


def sky_of(pattern, n=10, dq=None, smooth=None):
    rng = np.random.default_rng(6)
    ones = np.ones(SHAPE, np.float32) if smooth is None else smooth
    flags = np.zeros(SHAPE, np.uint16) if dq is None else dq
    frames = [(UNIT * (1 + pattern) + NOISE * rng.standard_normal(SHAPE)).astype(np.float32) for _ in range(n)]
    return FineSky(
        [
            frame_cells(
                f,
                flags,
                ones,
                (0.0, UNIT),
                1,
            )
            for f in frames
        ],
        SHAPE,
    )


@pytest.mark.parametrize(("rms", "worth"), [(0.0, False), (0.0005, True), (0.002, True)])
def test_structure_is_seen_where_it_is(rms, worth):
    assert (fine_power(*halves(wide(rms)), np.ones(SHAPE, np.float32), 0.05) > WORTH) == worth


def test_pixels_that_stand_alone_have_no_more_power_in_cells():
    white = 0.003 * np.random.default_rng(2).standard_normal(SHAPE)
    found = fine_power(*halves(white.astype(np.float32)), np.ones(SHAPE, np.float32), 0.05)
    assert found == pytest.approx(0.003**2 / (NOISE / UNIT) ** 2 * 10, rel=0.25)


@pytest.mark.parametrize("shape", [(1, 1), (7, 40), (3, 3)])
def test_an_image_smaller_than_a_cell_has_none(shape):
    plane = np.ones(shape, np.float32)
    assert fine_power((plane, plane), (plane, plane), plane, 1.0) == 0.0


def test_where_nothing_shows_sky_there_is_none():
    plane, none = np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    assert fine_power((plane * np.nan, none), (plane * np.nan, none), plane, 1.0) == 0.0
    for hidden in ({"dq": np.ones(SHAPE, np.uint16)}, {"smooth": plane * np.nan}):
        assert not sky_of(0.0, **hidden).of(range(10)).any()


def test_a_pattern_is_followed_and_noise_is_not():
    """Less than 0.09 % of a pattern of 0.2 % is left, with pixel noise of 0.32 %; noise alone adds 0.008 %."""
    pattern = wide(0.002)
    sky = sky_of(pattern)
    assert np.std(sky.draw(sky.of(range(10))) - pattern) < 0.0009
    quiet = sky_of(0.0)
    assert np.std(quiet.of(range(10))) < 0.1 * NOISE / UNIT / np.sqrt(10) / 4


def test_flagged_pixels_and_uneven_images_count_for_nothing():
    """Flags on a third of the pixels, with arbitrary values there; sides that are not multiples of the cells."""
    dq = (np.random.default_rng(7).random(SHAPE) < 0.3).astype(np.uint16)
    pattern = wide(0.002) + np.where(dq > 0, 5.0, 0.0).astype(np.float32)
    sky = sky_of(pattern, dq=dq)
    assert np.std((sky.draw(sky.of(range(10))) - pattern)[dq == 0]) < 0.001
    assert cells_of((150, 301)) == (38, 76)
