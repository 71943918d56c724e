"""Frames whose target hides the slope of their sky are matched to the mean of all by a plane."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.plugin import S
from nirred.results import SkyScale
from nirred.states import OBJECT
from nirred.steps.match import MatchBackgrounds, match_skies

CALL = S("any")
SHAPE = (512, 576)


@pytest.fixture
def nebula(make_group):
    """A nebula that covers the field, in five frames with different skies: (group, the sky planes, weights)."""
    rng = np.random.default_rng(3)
    v, u = (2 * (np.arange(n) + 0.5) / n - 1 for n in SHAPE)
    light = 800 * np.exp(-(v[:, None] ** 2) - 0.5 * u**2)
    c, a, b = rng.normal(0, 15, (3, 5))
    skies = [c[k] + a[k] * u + b[k] * v[:, None] for k in range(5)]
    transparency = 1 + 0.02 * rng.standard_normal(5)
    frames = [transparency[k] * (light + skies[k]) + rng.normal(0, 30, SHAPE) for k in range(5)]
    group = make_group(["object"] * 5, frames)
    weights = rng.uniform(0.5, 1.5, 5)
    for k, frame in enumerate(group.frames):
        frame.dx = frame.dy = 0.0
        frame.transparency = float(transparency[k])
        frame.weight = float(weights[k])
    return group, np.array(skies), light, weights / weights.sum()


def test_planes_go_and_their_mean_stays(nebula) -> None:
    group, skies, light, weights = nebula
    group.planes[0].unshaped = set(range(5))
    MatchBackgrounds().apply(group, MatchBackgrounds.Params(), CALL)
    mean = np.tensordot(weights, skies, 1)
    for k, frame in enumerate(group.frames):
        left = group.planes[0].sub.frame(k) / frame.transparency - light - mean
        blocks = left.reshape(8, 64, 9, 64).mean(axis=(1, 3))
        assert np.std(skies[k] - mean) > 3 and np.abs(blocks).max() < 2.5, k


@pytest.mark.parametrize("unshaped", [None, {2}])
def test_frames_that_know_their_sky_stay_as_they_are(nebula, unshaped) -> None:
    group = nebula[0]
    if unshaped:
        group.planes[0].unshaped = unshaped
    before = [group.planes[0].sub.frame(k).copy() for k in range(5)]
    MatchBackgrounds().apply(group, MatchBackgrounds.Params(), CALL)
    assert all(np.array_equal(before[k], group.planes[0].sub.frame(k)) for k in range(5))


@pytest.mark.parametrize("covered", [0, 1])
def test_of_two_detectors_the_one_that_a_target_covers_is_brought_to_its_mean(nebula, make_group, covered) -> None:
    group, skies, light, weights = nebula
    rng = np.random.default_rng(4)
    blank = make_group(["object"] * 5, [rng.normal(0, 30, SHAPE) for _ in range(5)]).planes[0]
    (hidden,) = group.planes
    hidden.unshaped = set(range(5))
    group.planes.insert(1 - covered, blank)
    before = [blank.sub.frame(k).copy() for k in range(5)]
    MatchBackgrounds().apply(group, MatchBackgrounds.Params(), CALL)
    assert all(np.array_equal(before[k], blank.sub.frame(k)) for k in range(5))
    mean = np.tensordot(weights, skies, 1)
    for k, frame in enumerate(group.frames):
        left = hidden.sub.frame(k) / frame.transparency - light - mean
        assert np.abs(left.reshape(8, 64, 9, 64).mean(axis=(1, 3))).max() < 2.5, k


def test_skies_are_brought_to_the_plane_that_they_have_in_common(make_group) -> None:
    rng = np.random.default_rng(5)
    v, u = np.meshgrid(*(2 * (np.arange(n) + 0.5) / n - 1 for n in SHAPE), indexing="ij")
    unit = np.array([1000.0, 1020.0, 990.0, 1010.0])
    ring = 0.02 * np.exp(-(((np.hypot(u, v) - 0.5) / 0.2) ** 2)) + 0.01 * u
    slopes = rng.normal(0, 0.01, (4, 3))
    own = [a + b * u + c * v for a, b, c in slopes - unit @ slopes / unit.sum()]
    frames = [unit[k] * (1 + ring + own[k]) + rng.normal(0, 15, SHAPE) for k in range(4)]
    group = make_group(["both"] * 4, frames)
    state = group.planes[0]
    for k in range(4):  # a wide object, elsewhere in each
        covered = np.hypot(u - 0.2 * k + 0.3, v) < 0.5
        state.sci.frame(k)[covered] += 5000.0
        state.dq.frame(k)[covered] |= OBJECT
    match_skies(group, state, SkyScale(np.zeros(4), unit))
    for k in range(4):
        blank = state.covered(k) == 0
        left = np.where(blank, state.sci.frame(k) / unit[k] - 1 - ring, 0.0).reshape(8, 64, 9, 64).sum(axis=(1, 3))
        pixels = blank.reshape(8, 64, 9, 64).sum(axis=(1, 3))
        assert np.abs(left / np.maximum(pixels, 2000)).max() < 0.0015, k
        assert np.abs(own[k]).max() > 0.004


@pytest.mark.parametrize(("slope", "blank", "changed"), [(0.02, 1.0, True), (0.0002, 1.0, False), (0.02, 0.2, False)])
def test_slight_slopes_of_the_sky_stay(make_group, slope, blank, changed) -> None:
    rng = np.random.default_rng(7)
    u = 2 * (np.arange(SHAPE[1]) + 0.5) / SHAPE[1] - 1
    own = slope * np.linspace(-1, 1, 12)
    group = make_group(["both"] * 12, [1000.0 * (1 + a * u) + rng.normal(0, 32, SHAPE) for a in own])
    state = group.planes[0]
    state.blank = dict.fromkeys(range(12), blank)
    before = [state.sci.frame(k).copy() for k in range(12)]
    match_skies(group, state, SkyScale(np.zeros(12), np.full(12, 1000.0)), slight=0.007)
    assert changed != all(np.array_equal(before[k], state.sci.frame(k)) for k in range(12))
    if changed:
        slopes = [float((state.sci.frame(k) * u).mean() / (u**2).mean()) for k in range(12)]
        assert np.std(slopes) < 0.5


def test_skies_without_common_places_stay_as_they_are(make_group) -> None:
    group = make_group(["both"] * 3, [np.full((40, 40), 100.0 + k, np.float32) for k in range(3)])
    for k in range(3):
        group.planes[0].dq.frame(k)[:] |= OBJECT
    match_skies(group, group.planes[0], SkyScale(np.zeros(3), np.full(3, 100.0)))
    assert [float(group.planes[0].sci.frame(k).mean()) for k in range(3)] == [100.0, 101.0, 102.0]


def test_frames_beside_the_target_are_brought_to_one_shape_and_what_was_taken_off_is_known(make_group) -> None:
    rng = np.random.default_rng(8)
    u = 2 * (np.arange(SHAPE[1]) + 0.5) / SHAPE[1] - 1
    own = np.array([0.01, -0.02, 0.015, -0.005])
    roles = ["object", *["sky"] * 4]
    frames = [1000.0 * (1 + a * u) + rng.normal(0, 32, SHAPE) for a in (0.03, *own)]
    group = make_group(roles, frames)
    state = group.planes[0]
    before = [state.sci.frame(k).copy() for k in range(5)]
    for _ in range(2):
        match_skies(group, state, SkyScale(np.zeros(5), np.full(5, 1000.0)))
    slopes = [float((state.sci.frame(k) * u).mean() / (u**2).mean()) for k in range(5)]
    assert np.ptp(slopes[1:]) < 0.5 and slopes[1] == pytest.approx(1000 * own.mean(), abs=0.5)
    assert np.array_equal(before[0], state.sci.frame(0)) and set(state.evened) == {1, 2, 3, 4}
    for k in range(1, 5):
        state.evened[k].times(-1.0).take_off(state.sci.frame_to_change(k))
        np.testing.assert_allclose(state.sci.frame(k), before[k], atol=1e-3)
