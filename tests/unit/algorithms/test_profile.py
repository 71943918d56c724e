"""Light of extended objects by their profiles."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.profile import FAR, _light


def test_light_within_the_innermost_annulus_is_no_more_than_seen_there() -> None:
    """Where masks cover a field wholly all of its pixels count as blank, the middle of objects, too."""
    radius = np.array([1.4, 1.88, 2.39, 3.13, 3.59])
    means, errors = np.array([60.0, 34.0, 16.0, 23.0, 46.0]), np.array([27.0, 46.0, 21.0, 24.0, 25.0])
    inside = (FAR[1:] < radius[0]) * 1.0
    light, error = _light(radius, means, errors, inside / inside.sum())
    assert 0.0 <= light < 80.0
    assert 0.0 <= error < 100.0
