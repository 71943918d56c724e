"""Light that moves with the sky is an object; light that stays on the detector is not, even if it varies."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.mutual import spread
from nirred.coadd import lay_out
from nirred.geometry import targets_of
from nirred.states import OBJECT
from nirred.steps.staying import _showing, release_staying

SHAPE = (400, 400)
SHIFTS = ((0.0, 0.0), (24.0, 10.0), (-16.0, 20.0), (9.0, -22.0))


def _marked_group(make_group, light, hidden):
    """Four frames with a light, less their mean as a first pass leaves them, `hidden` marked in all."""
    rng = np.random.default_rng(7)
    frames = np.array([2e4 + rng.normal(0, 30, SHAPE) + light(k, *shift) for k, shift in enumerate(SHIFTS)])
    group = make_group(["both"] * len(SHIFTS), frames)
    state = group.planes[0]
    for k, (dx, dy) in enumerate(SHIFTS):
        group.frames[k].dx, group.frames[k].dy = dx, dy
        state.sky[k] = 2e4
        state.sub.put(k, (frames[k] - frames.mean(axis=0)).astype(np.float32))
        state.dq.frame(k)[hidden] |= OBJECT
    (target,) = targets_of(group, list(range(len(SHIFTS))))
    return group, lay_out(group, list(range(len(SHIFTS))), target), {0: np.where(hidden, 4, 0).astype(np.uint16)}


def _distance(x, y, q=1.0):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(u - x, (v - y) / q)


def test_a_glow_that_changes_is_unmarked_but_for_the_stars_on_it(make_group) -> None:
    hidden = _distance(400, 0) < 150
    group, layout, marked = _marked_group(
        make_group, lambda k, dx, dy: (6000 + 60 * k) * np.exp(-_distance(400, 0) / 80), hidden
    )
    compact = np.zeros(layout.grid.shape, np.uint8)
    compact[60 - layout.grid.y0, 330 - layout.grid.x0] = 1
    assert release_staying(group, [0, 1, 2, 3], layout, lambda: compact, marked) == pytest.approx(
        hidden.mean(), rel=0.1
    )
    for k, (dx, dy) in enumerate(SHIFTS):
        left = np.argwhere(group.planes[0].dq.frame(k) & OBJECT)
        assert marked[0].max() < 4
        assert [60 + dy, 330 + dx] in left.tolist() and len(left) < 0.1 * hidden.sum()


def test_a_galaxy_wider_than_the_dither_stays_marked(make_group) -> None:
    hidden = _distance(200, 200) < 100
    group, layout, marked = _marked_group(
        make_group, lambda k, dx, dy: 3000 * np.exp(-_distance(200 + dx, 200 + dy, 0.7) / 40), hidden
    )
    assert release_staying(group, [0, 1, 2, 3], layout, lambda: np.zeros(layout.grid.shape, np.uint8), marked) == 0.0
    assert all(((group.planes[0].dq.frame(k) & OBJECT) != 0)[hidden].all() for k in range(4))


def test_both_in_one_field_are_told_apart(make_group) -> None:
    galaxy, glow = _distance(130, 270) < 80, _distance(400, 0) < 120

    def light(k, dx, dy):
        moving = 3000 * np.exp(-_distance(130 + dx, 270 + dy) / 30)
        return moving + (4000 - 50 * k) * np.exp(-_distance(400, 0) / 60)

    group, layout, marked = _marked_group(make_group, light, galaxy | glow)
    release_staying(group, [0, 1, 2, 3], layout, lambda: np.zeros(layout.grid.shape, np.uint8), marked)
    left = (group.planes[0].dq.frame(1) & OBJECT) != 0
    assert left[galaxy].all() and left[glow].mean() < 0.05


def test_behind_an_object_the_frames_that_see_least_of_it_show_light_that_stays(make_group) -> None:
    """A ring behind a galaxy: the sky does not go on as around it, and the galaxy's own light stays out of the sky."""
    hidden = _distance(200, 200) < 100
    ring = 3000 * np.exp(-0.5 * ((_distance(200, 200) - 60) / 30) ** 2)
    group, layout, marked = _marked_group(
        make_group, lambda k, dx, dy: ring + 3000 * np.exp(-_distance(200 + dx, 200 + dy) / 40), hidden
    )
    for k, (dx, dy) in enumerate(SHIFTS):  # masked at its position in each frame
        dq = group.planes[0].dq.frame(k)
        dq[:] = np.where(_distance(200 + dx, 200 + dy) < 100, OBJECT, 0)
    marked[0][:] = sum((group.planes[0].dq.frame(k) & OBJECT != 0).astype(np.uint16) for k in range(4))
    always = marked[0] == 4
    core = np.zeros(layout.grid.shape, np.uint8)
    core[100 - layout.grid.y0 : 300 - layout.grid.y0, 100 - layout.grid.x0 : 300 - layout.grid.x0] = (
        _distance(200, 200)[100:300, 100:300] < 60
    )
    assert release_staying(group, [0, 1, 2, 3], layout, lambda: core, marked) == 0.0
    before = [group.planes[0].dq.frame(k).copy() for k in range(4)]
    (shown,) = group.objects.shown[0]
    with shown.uncovered(group.planes[0]):
        free = sum((group.planes[0].dq.frame(k) & OBJECT == 0).astype(int) for k in range(4))
        left = (group.planes[0].dq.frame(1) & OBJECT) != 0
    for k in range(4):  # apart from the sky, they still contain the galaxy's light
        np.testing.assert_array_equal(group.planes[0].dq.frame(k), before[k])
    away = always & (_distance(200, 200) > 60 + 30)  # outside the core at any position
    assert (free[away] >= 2).all()
    assert free[always].mean() < 2.5, "the others hide it still"
    assert left[_distance(224, 210) < 30].all()
    np.testing.assert_array_equal(marked[0][away], 4 - free[away])


def test_where_everything_is_marked_nothing_is_told(make_group) -> None:
    group, layout, marked = _marked_group(make_group, lambda k, dx, dy: 0.0, np.ones(SHAPE, bool))
    assert release_staying(group, [0, 1, 2, 3], layout, lambda: np.zeros(layout.grid.shape, np.uint8), marked) == 0.0


def test_spread_is_the_mean_variance_of_what_two_images_see() -> None:
    values = np.array([[1.0, 2.0, np.nan, 0.0], [3.0, np.nan, np.nan, 0.0]])
    assert spread(values) == pytest.approx((2.0 + 0.0) / 2)
    assert spread(values[:, 2:3]) == 0.0


@pytest.mark.parametrize(("frames", "showing"), [(3, 2), (4, 2), (6, 3), (9, 4), (14, 4), (40, 10)])
def test_enough_frames_show_what_stays_behind_an_object(frames: int, showing: int) -> None:
    """A quarter of many frames, of few up to a half: the mean of two keeps what is wrong with one."""
    assert _showing(frames) == showing
