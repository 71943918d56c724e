"""Blank sky that is as even as its noise implies, and sky that is not."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.evenness import Evenness, broad_noise, broadened, evenness

SHAPE = (512, 640)


def _sky(seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    data = np.random.default_rng(seed).normal(100.0, 5.0, SHAPE).astype(np.float32)
    return data, np.full(SHAPE, 25.0, np.float32), np.ones(SHAPE, bool)


def test_noise_is_even() -> None:
    data, var, blank = _sky()
    found = evenness(data, var, blank)
    assert 0.7 < found.ratio < 1.3 and found.excess < 0.1


def test_quadrants_that_differ_are_told_in_the_unit_of_the_data() -> None:
    data, var, blank = _sky()
    data[:256, :320] += 2.0
    data[256:, 320:] += 2.0
    found = evenness(data, var, blank)
    assert found.ratio > 5.0
    assert found.excess == pytest.approx(1.48, abs=0.2)  # from the median absolute deviation, 1


def test_what_is_beyond_usual_scatter_is_told_from_nothing_on() -> None:
    found = Evenness(2.0, np.sqrt(3.0))  # areas scatter by 2, noise makes 1
    assert found.beyond(1.0) == pytest.approx(found.excess)
    assert found.beyond(1.5) == pytest.approx(np.sqrt(4.0 - 2.25))
    assert (
        found.beyond(2.0) == found.beyond(3.0) == Evenness(0.0, 0.0).beyond(1.5) == Evenness(0.9, 0.0).beyond(0.5) == 0
    )


def test_objects_do_not_count() -> None:
    data, var, blank = _sky()
    data[100:300, 100:300], blank[100:300, 100:300] = np.nan, False
    assert evenness(data, var, blank).ratio < 1.3


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (512, 640)])
def test_too_little_blank_sky_tells_nothing(shape: tuple[int, int]) -> None:
    data = np.zeros(shape, np.float32)
    assert evenness(data, data, np.zeros(shape, bool)).ratio == 0.0


WHITE = np.pad(np.ones((1, 1)), 3)


def test_noise_of_pixels_is_not_broad() -> None:
    data, var, blank = _sky()
    assert broad_noise(data, var, blank, WHITE, 5.0) == 0.0


def test_faint_sources_are_no_noise() -> None:
    data, var, blank = _sky()
    rng = np.random.default_rng(9)
    v, u = np.mgrid[-7:8, -7:8]
    for y, x in rng.integers(8, 500, (60, 2)):
        data[y - 7 : y + 8, x - 7 : x + 8] += 4.0 * np.exp(-(u**2 + v**2) / 9.0)
    assert broad_noise(data, var, blank, WHITE, 5.0) == 0.0


def test_what_the_sky_model_errs_by_becomes_part_of_the_variance() -> None:
    from scipy.ndimage import gaussian_filter

    data, var, blank = _sky()
    lumps = gaussian_filter(np.random.default_rng(4).normal(size=SHAPE), 12.0)
    data += (0.35 * lumps / lumps.std()).astype(np.float32)
    excess = broad_noise(data, var, blank, WHITE, 5.0)
    cov = broadened(WHITE, excess)
    assert 0.2 < excess < 1.5
    assert cov.sum() == pytest.approx(1.0) and (1.0 + excess) * cov[3, 3] == pytest.approx(1.0)
    windows = data.reshape(16, 32, 20, 32).sum(axis=(1, 3)) - 1024 * np.median(data)
    before = 1.4826 * float(np.median(np.abs(windows))) / (32 * 5.0)
    assert before > 1.7  # relative to the pixels' noise
    assert abs(np.log(before / np.sqrt(1.0 + excess))) < 0.75 * np.log(before)


@pytest.mark.parametrize(("shape", "fwhm"), [((1, 1), 5.0), ((64, 64), 8.0), ((512, 640), 5.0)])
def test_too_little_blank_sky_tells_no_broad_noise(shape: tuple[int, int], fwhm: float) -> None:
    data = np.ones(shape, np.float32)
    assert broad_noise(data, data, np.zeros(shape, bool), WHITE, fwhm) == 0.0
