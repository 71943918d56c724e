"""Readout patterns are subtracted from sky-subtracted frames, with the effect of quadrant steps on their surfaces."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.group import Group
from nirred.plugin import S
from nirred.states import PlaneState
from nirred.steps.readout import CleanReadout
from nirred.steps.residual import level_frames

SHAPE = (512, 512)


def _frames() -> list[np.ndarray]:
    """Noise, a pattern in each quadrant and steps between them."""
    rng = np.random.default_rng(5)
    frames = []
    for _ in range(3):
        image = rng.normal(0, 20, SHAPE)
        for y in (0, 256):
            for x in (0, 256):
                tile = np.tile(rng.normal(0, 10, (4, 16)), (64, 16))
                image[y : y + 256, x : x + 256] += (tile[::-1] if y else tile) + rng.normal(0, 60)
        frames.append(image.astype(np.float32))
    return frames


def _levelled(group: Group, *, hidden: PlaneState | None = None) -> Group:
    """The group after residual surfaces were fitted through its frames' steps; not those of a plane that is hidden."""
    for state in group.planes:
        level_frames(group, state, [0, 1, 2], {0, 1, 2} if state is hidden else set(), {}, shape=True)
    return group


def _unevenness(frame: np.ndarray) -> float:
    return float(
        np.std([np.median(frame[y : y + 64, x : x + 64]) for y in range(0, 512, 64) for x in range(0, 512, 64)])
    )


def test_quadrants_are_levelled_and_the_surface_through_their_steps_goes(make_group) -> None:
    group = _levelled(make_group(["both"] * 3, _frames()))
    before = [_unevenness(group.planes[0].sub.frame(k)) for k in range(3)]
    CleanReadout().apply(group, CleanReadout.Params(clean="default"), S("clean_readout"))
    after = [_unevenness(group.planes[0].sub.frame(k)) for k in range(3)]
    assert min(before) > 5.0 and max(after) < 2.0
    assert group.keywords["READCLN"][0] == 3 and len(group.remarks) == 1


@pytest.mark.parametrize("covered", [0, 1])
def test_a_surface_is_fitted_anew_only_where_one_was_fitted(make_group, covered: int) -> None:
    group = make_group(["object"] * 3, _frames())
    shown, hidden = group.planes[0], make_group(["object"] * 3, _frames()).planes[0]
    hidden.blank, hidden.unshaped = dict.fromkeys(range(3), 0.0), set(range(3))
    group.planes.insert(covered, hidden)
    _levelled(group, hidden=hidden)
    CleanReadout().apply(group, CleanReadout.Params(clean="default"), S("clean_readout"))
    left = [[_unevenness(state.sub.frame(k)) for k in range(3)] for state in (shown, hidden)]
    assert max(left[0] + left[1]) < 2.0 and len(shown.residual) == 3 and not hidden.residual


def test_before_objects_are_masked_calibrated_frames_are_cleaned_too(make_group) -> None:
    """Skies are then made of frames without pattern; a galaxy that is not masked has little effect."""
    y, x = np.indices(SHAPE)
    galaxy = (3000 * np.exp(-np.hypot(y - 230, x - 270) / 40)).astype(np.float32)
    frames = [frame + galaxy for frame in _frames()]
    group = make_group(["both"] * 3, frames)
    state = group.planes[0]
    CleanReadout().apply(group, CleanReadout.Params(clean="default", before_masks=True), S("clean_readout"))
    for k in range(3):
        assert state.sci.frame(k) == pytest.approx(state.sub.frame(k), abs=1e-2)  # their skies are 0
        before, after = (_unevenness(frame - galaxy) for frame in (frames[k], state.sub.frame(k)))
        assert after < 0.3 * before


def test_nothing_is_done_unasked(make_group) -> None:
    frames = _frames()
    group = make_group(["both"] * 3, frames)
    CleanReadout().apply(group, CleanReadout.Params(), S("clean_readout"))
    assert all(np.array_equal(group.planes[0].sub.frame(k), frames[k]) for k in range(3)) and not group.remarks
