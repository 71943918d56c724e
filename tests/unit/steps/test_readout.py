"""Readout patterns are subtracted from sky-subtracted frames, with the effect of quadrant steps on their surfaces."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.surface import fit_points
from nirred.plugin import S
from nirred.steps.readout import CleanReadout

SHAPE = (512, 512)


def _frames() -> list[np.ndarray]:
    """Noise, a pattern in each quadrant and steps between them, minus the best-fitting parabola."""
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(3):
        image = rng.normal(0, 20, SHAPE)
        for y in (0, 256):
            for x in (0, 256):
                tile = np.tile(rng.normal(0, 10, (4, 16)), (64, 16))
                image[y : y + 256, x : x + 256] += (tile[::-1] if y else tile) + rng.normal(0, 60)
        image = image.astype(np.float32)
        some = image[::7, ::7]
        y, x = 7.0 * np.indices(some.shape).reshape(2, -1)
        frames.append(image - fit_points(x, y, some.ravel(), SHAPE, 2).evaluate().astype(np.float32))
    return frames


def _unevenness(frame: np.ndarray) -> float:
    return float(
        np.std([np.median(frame[y : y + 64, x : x + 64]) for y in range(0, 512, 64) for x in range(0, 512, 64)])
    )


def test_quadrants_are_levelled_and_the_surface_through_their_steps_goes(make_group) -> None:
    group = make_group(["both"] * 3, _frames())
    before = [_unevenness(group.planes[0].sub.frame(k)) for k in range(3)]
    CleanReadout().apply(group, CleanReadout.Params(clean="default"), S("clean_readout"))
    after = [_unevenness(group.planes[0].sub.frame(k)) for k in range(3)]
    assert min(before) > 5.0 and max(after) < 2.0
    assert group.keywords["READCLN"][0] == 3 and len(group.remarks) == 1


@pytest.mark.parametrize("covered", [0, 1])
def test_a_detector_that_shows_its_sky_is_levelled_beside_one_that_does_not(make_group, covered: int) -> None:
    group = make_group(["object"] * 3, _frames())
    shown, hidden = group.planes[0], make_group(["object"] * 3, _frames()).planes[0]
    hidden.blank, hidden.unshaped = dict.fromkeys(range(3), 0.0), set(range(3))
    group.planes.insert(covered, hidden)
    CleanReadout().apply(group, CleanReadout.Params(clean="default"), S("clean_readout"))
    left = [[_unevenness(state.sub.frame(k)) for k in range(3)] for state in (shown, hidden)]
    assert max(left[0]) < 2.0 and min(left[1]) > 5.0


def test_nothing_is_done_unasked(make_group) -> None:
    frames = _frames()
    group = make_group(["both"] * 3, frames)
    CleanReadout().apply(group, CleanReadout.Params(), S("clean_readout"))
    assert all(np.array_equal(group.planes[0].sub.frame(k), frames[k]) for k in range(3)) and not group.remarks
