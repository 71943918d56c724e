from __future__ import annotations

import math

import numpy as np
import pytest

from nirred.report.figures import blank_pixels, box_factor, measure_noise

WHITE = np.array([[1.0]])


def smoothed(shape, seed=5):
    """Noise of variance 4 per pixel before a mean of two neighbours in x, and its autocorrelation in units of VAR."""
    noise = np.random.default_rng(seed).normal(0, 2, (shape[0], shape[1] + 1))
    cov = np.zeros((3, 3))
    cov[1] = 0.25, 0.5, 0.25
    return ((noise[:, 1:] + noise[:, :-1]) / 2).astype(np.float32), cov


def test_white_noise_is_as_predicted():
    sci = np.random.default_rng(1).normal(7, 3, (300, 300)).astype(np.float32)
    noise = measure_noise(sci, np.full(sci.shape, 9, np.float32), np.ones(sci.shape, bool), WHITE, 5)
    assert noise is not None and noise.box_ratio is not None
    assert noise.level == pytest.approx(7, abs=0.05)
    assert noise.ratio.value == pytest.approx(1, abs=4 * noise.ratio.error)
    assert noise.box_ratio.value == pytest.approx(1, abs=4 * noise.box_ratio.error)
    assert noise.box_ratio.number == 3600
    assert noise.limit(3.0) == pytest.approx(5 * math.sqrt(math.pi * 9 * 9))


def test_correlated_noise_is_as_its_covariance_predicts():
    sci, cov = smoothed((400, 400))
    noise = measure_noise(sci, np.full(sci.shape, 4, np.float32), np.ones(sci.shape, bool), cov, 4)
    assert noise is not None and noise.box_ratio is not None
    assert noise.pixel == pytest.approx(2 * math.sqrt(0.5))
    assert noise.ratio.value == pytest.approx(1, abs=0.01)
    assert noise.box_ratio.value == pytest.approx(1, abs=0.04)
    assert box_factor(cov, 4) == pytest.approx(0.5 + 2 * 0.25 * 3 / 4)


def test_a_sky_left_in_shows_in_boxes_and_hardly_in_pixels():
    rng = np.random.default_rng(2)
    sky = np.kron(rng.normal(0, 0.5, (40, 40)), np.ones((10, 10)))
    sci = (rng.normal(0, 1, sky.shape) + sky).astype(np.float32)
    noise = measure_noise(sci, np.ones(sci.shape, np.float32), np.ones(sci.shape, bool), WHITE, 5)
    assert noise is not None and noise.box_ratio is not None
    assert noise.box_ratio.value > 1.5 > 1.2 > noise.ratio.value


def test_too_few_pixels_say_nothing():
    few = np.ones((5, 5), np.float32)
    assert measure_noise(few, few, np.ones((5, 5), bool), WHITE, 3) is None
    assert measure_noise(few, few, np.zeros((5, 5), bool), WHITE, 3) is None


def test_blank_pixels_are_good_deep_and_away_from_sources():
    dq = np.zeros((20, 30), np.uint16)
    dq[0, 0], dq[0, 1], dq[0, 2] = 1, 4, 64
    nexp = np.full((20, 30), 4, np.uint16)
    nexp[:, 29], nexp[:, 28] = 1, 2
    blank = blank_pixels(dq, nexp, np.array([10.0, np.nan]), np.array([10.0, 1.0]), np.array([2.0, 5.0]))
    assert not blank[0, 0] and blank[0, 1] and not blank[0, 2]
    assert not blank[:, 29].any() and blank[:, 28].all()
    assert not blank[8:13, 8:13].any()
    assert (~blank).sum() == 2 + 20 + 36
