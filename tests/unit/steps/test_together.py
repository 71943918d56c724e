from __future__ import annotations

import numpy as np
import pytest

from nirred.steps.scale import noise_factor
from nirred.steps.together import frames_together

PLACES = [(0.0, 0.0), (0.2, -0.1), (0.1, 0.3), (40.0, 0.0), (40.0, 25.0)]


def test_frames_that_stand_still_share_their_skys_noise(make_group):
    """Three of one position with one sky, one of them with half of it; two that stand alone."""
    group = make_group(["both"] * 5, [np.zeros((8, 8))] * 5)
    for frame, (dx, dy) in zip(group.frames, PLACES, strict=True):
        frame.dx, frame.dy = dx, dy
    group.skies.update({0: (3, 4), 1: (3, 4), 2: (3,), 3: (0, 1), 4: ()})
    found = frames_together(group, [0, 1, 2, 3, 4])
    assert found == pytest.approx({0: 2.5, 1: 2.5, 2: 2.0, 3: 1.0, 4: 1.0})
    assert frames_together(group, [0, 3]) == {0: 1.0, 3: 1.0}


def test_the_mean_of_frames_with_one_sky(make_group):
    """Variance of the mean of k frames less one and the same sky of variance v: (1 + k v) / k."""
    group = make_group(["both"] * 3, [np.zeros((8, 8))] * 3)
    state = group.planes[0]
    state.sky_variance[0] = 0.25
    assert noise_factor(group, state, 0, 3.0) / 3 == pytest.approx(1 / 3 + 0.25)
    assert noise_factor(group, state, 0) == pytest.approx(1.25)
