from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.overlap import disc
from nirred.steps.noisemodel import noise_factor
from nirred.steps.together import APERTURE, frames_together, shared_area

PLACES = [(0.0, 0.0), (0.2, -0.1), (0.1, 0.3), (40.0, 0.0), (40.0, 25.0)]


def placed(make_group, places, skies):
    group = make_group(["both"] * len(places), [np.zeros((8, 8))] * len(places))
    for frame, (dx, dy) in zip(group.frames, places, strict=True):
        frame.dx, frame.dy = dx, dy
    group.skies.update(dict(enumerate(skies)))
    return group


def test_frames_that_stand_still_share_their_skys_noise(make_group):
    """Three of one position with one sky, one of them with half of it; two that stand alone."""
    group = placed(make_group, PLACES, [(3, 4), (3, 4), (3,), (0, 1), ()])
    found = frames_together(group, [0, 1, 2, 3, 4])
    for of in ("pixel", "aperture"):
        assert [getattr(found[i], of) for i in range(5)] == pytest.approx([2.5, 2.5, 2.0, 1.0, 1.0])
    assert [t.pixel for t in frames_together(group, [0, 3]).values()] == [1.0, 1.0]


def test_frames_a_few_pixels_apart_share_it_in_apertures_alone(make_group):
    group = placed(make_group, [(0.0, 0.0), (3.0, 0.0), (0.0, 400.0)], [(2,), (2,), (0, 1)])
    group.registration.fwhm = 5.0
    found = frames_together(group, [0, 1, 2])
    assert [t.pixel for t in found.values()] == [1.0, 1.0, 1.0]
    overlap = float(shared_area(np.array(3.0), 5.0 * APERTURE))
    assert [t.aperture for t in found.values()] == pytest.approx([1.0 + overlap, 1.0 + overlap, 1.0])


def test_pattern_that_was_not_subtracted_is_shared_whatever_the_skies(make_group):
    group = placed(make_group, [(0.0, 0.0), (0.0, 0.0)], [(2, 3), (4, 5)])
    assert frames_together(group, [0, 1])[0].pixel == 1.0
    group.planes[0].sky_lasting.update({0: 0.75, 1: 0.5})
    found = frames_together(group, [0, 1])
    assert [found[i].pixel for i in (0, 1)] == [found[i].aperture for i in (0, 1)] == [1.75, 1.5]


def test_the_area_that_two_circles_share():
    """All of it, none, and two thirds less sqrt(3) / 2 pi where each runs through the other's middle."""
    found = shared_area(np.array([0.0, 7.0, 14.0, 99.0]), 7.0)
    assert found == pytest.approx([1.0, 2 / 3 - np.sqrt(3) / (2 * np.pi), 0.0, 0.0], abs=1e-12)


def test_white_noise_that_comes_back_a_few_pixels_away():
    """The mean of frames that share noise, each shifted by up to 3 pixels, in apertures of 1.5 FWHM: as is said."""
    rng, fwhm = np.random.default_rng(3), 5.0
    shifts = rng.integers(-3, 4, (6, 2))
    apart = np.hypot(*(shifts[:, None] - shifts[None]).transpose(2, 0, 1))
    expected = shared_area(apart, APERTURE * fwhm).sum() / 6**2
    weights = disc(APERTURE * fwhm)
    size, sums = len(weights), []
    for _ in range(400):
        noise = rng.standard_normal((size + 6, size + 6))
        seen = [noise[3 + y : 3 + y + size, 3 + x : 3 + x + size] for x, y in shifts]
        sums.append(float((np.mean(seen, axis=0) * weights).sum()))
    assert np.var(sums) / (weights**2).sum() == pytest.approx(expected, rel=0.2)


def test_the_mean_of_frames_with_one_sky(make_group):
    """Variance of the mean of k frames less one and the same sky of variance v: (1 + k v) / k."""
    group = make_group(["both"] * 3, [np.zeros((8, 8))] * 3)
    state = group.planes[0]
    state.sky_variance[0] = 0.25
    assert noise_factor(group, state, 0, 3.0) / 3 == pytest.approx(1 / 3 + 0.25)
    assert noise_factor(group, state, 0) == pytest.approx(1.25)


def test_noise_of_the_skys_shape_is_seen_in_apertures_alone(make_group):
    group = make_group(["object"] * 3, [np.zeros((8, 8))] * 3)
    state = group.planes[0]
    state.sky_variance[0], state.sky_wide[0] = 0.1, 0.2
    assert noise_factor(group, state, 0, 2.0) == pytest.approx(1.2)
    assert noise_factor(group, state, 0, 2.0, wide=True) == pytest.approx(1.6)
