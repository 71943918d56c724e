"""Frames whose target hides their sky's slope are brought to one plane, which is their mean."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.plugin import S
from nirred.steps.match import MatchBackgrounds

CALL = S("any")
SHAPE = (512, 576)


@pytest.fixture
def nebula(make_group):
    """A nebula that covers the field, seen by five frames of different skies: (group, the sky planes, weights)."""
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
    group.extras["unshaped"] = set(range(5))
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
        group.extras["unshaped"] = unshaped
    before = [group.planes[0].sub.frame(k).copy() for k in range(5)]
    MatchBackgrounds().apply(group, MatchBackgrounds.Params(), CALL)
    assert all(np.array_equal(before[k], group.planes[0].sub.frame(k)) for k in range(5))
