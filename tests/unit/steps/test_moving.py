"""Light of a galaxy wider than the dither is separated from a fixed ring, and returned to the frames."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.mutual import Squares
from nirred.coadd import lay_out
from nirred.geometry import targets_of
from nirred.results import SkyScale
from nirred.states import OBJECT
from nirred.steps.moving import MovingLight, tell_light

SHAPE = (400, 400)
SHIFTS = ((0.0, 0.0), (42.0, 15.0), (-36.0, 30.0), (19.0, -42.0), (-14.0, -31.0))
MIDDLE = (190.0, 210.0)


def _distance(x, y):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(u - x, v - y)


def _galaxy(k, peak=1500.0):
    return peak * np.exp(-_distance(MIDDLE[0] + SHIFTS[k][0], MIDDLE[1] + SHIFTS[k][1]) / 18)


def _night(make_group, light, size=110):
    """Frames of a sky with a ring of stray light, each with a slope; the mask of what lies in the middle."""
    rng = np.random.default_rng(7)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    ring = 600 * np.exp(-0.5 * ((_distance(200, 200) - 90) / 30) ** 2)
    own = 3e4 + 300 * rng.standard_normal(len(SHIFTS))
    slopes = 0.1 * rng.standard_normal((2, len(SHIFTS)))
    frames = [
        level * (1 + ring / 3e4) + a * (u - 200) + b * (v - 200) + light(k) + rng.normal(0, 20, SHAPE)
        for k, (level, a, b) in enumerate(zip(own, *slopes, strict=True))
    ]
    group = make_group(["both"] * len(SHIFTS), frames)
    for k, (dx, dy) in enumerate(SHIFTS):
        group.frames[k].dx, group.frames[k].dy = dx, dy
    group.sky.scales = {0: SkyScale(np.zeros(len(SHIFTS)), own)}
    (target,) = targets_of(group, list(range(len(SHIFTS))))
    layout = lay_out(group, list(range(len(SHIFTS))), target)
    y, x = np.mgrid[: layout.grid.shape[0], : layout.grid.shape[1]]
    mask = np.hypot(x + layout.grid.x0 - MIDDLE[0], y + layout.grid.y0 - MIDDLE[1]) < size
    return group, layout, mask.astype(np.uint8)


def _told(group, layout, mask, shown_by=1, *, hollowed=False):
    frames = list(range(len(SHIFTS)))
    marked = {0: np.zeros(SHAPE, np.uint16)}
    marked[0][150:250, 150:250] = len(frames) - shown_by
    tell_light(group, frames, layout, mask, lambda: np.zeros(layout.grid.shape, np.uint8), marked, hollowed=hollowed)
    return group.objects.moving


def test_a_galaxy_is_told_from_the_ring_behind_it(make_group) -> None:
    moving = _told(*_night(make_group, _galaxy))[0]
    squares = Squares.of(SHAPE)
    for k in range(len(SHIFTS)):
        true = squares.means(_galaxy(k).astype(np.float32), np.zeros(SHAPE, np.uint8))
        halo = (true < 400) & (true > 20)
        assert np.median((moving.light[k] - true)[halo]) == pytest.approx(0.0, abs=3.0), "a pixel's noise is 20"
        assert (moving.light[k][true < 2] == 0.0).mean() > 0.9


def test_slopes_that_a_galaxy_hides_are_evened_beside_it(make_group) -> None:
    group, layout, mask = _night(make_group, _galaxy)
    before = [group.planes[0].sci.frame(k).copy() for k in range(len(SHIFTS))]
    _told(group, layout, mask)

    def slopes(images):
        across = [np.median(image[:, -60:]) - np.median(image[:, :60]) for image in images]
        return float(np.std(across))

    after = [group.planes[0].sci.frame(k) for k in range(len(SHIFTS))]
    assert slopes(before) > 15.0
    assert slopes(after) < 4.0


def test_light_that_stays_and_changes_is_no_objects(make_group) -> None:
    """A glow that was masked as an object: the frames are not changed."""
    group, layout, mask = _night(make_group, lambda k: (1500 + 100 * k) * np.exp(-_distance(*MIDDLE) / 25))
    before = group.planes[0].sci.frame(1).copy()
    assert _told(group, layout, mask) == {}
    np.testing.assert_array_equal(group.planes[0].sci.frame(1), before)


@pytest.mark.parametrize("size", [0, 8])
def test_without_a_wide_object_nothing_is_sought(make_group, size: int) -> None:
    group, layout, mask = _night(make_group, _galaxy, size)
    assert _told(group, layout, mask) == {}


@pytest.mark.parametrize(("shown_by", "hollowed"), [(0, False), (1, False), (3, True)])
def test_light_is_sought_where_few_frames_show_the_sky_or_a_hollow_is_seen(make_group, shown_by, hollowed) -> None:
    assert 0 in _told(*_night(make_group, _galaxy), shown_by, hollowed=hollowed)


def test_where_most_frames_show_the_sky_masks_are_enough(make_group) -> None:
    assert _told(*_night(make_group, _galaxy), 3) == {}


def test_light_of_every_pointing_is_kept(make_group) -> None:
    """A sky of two pointings, one of which has no wide object, is freed of what the other's frames have."""
    group, layout, mask = _night(make_group, _galaxy)
    group.objects.moving[0] = MovingLight(Squares.of(SHAPE), {7: np.zeros(Squares.of(SHAPE).x.shape, np.float32)})
    assert sorted(_told(group, layout, mask)[0].light) == [0, 1, 2, 3, 4, 7]


def test_frames_of_which_no_sky_was_made_are_left_alone(make_group) -> None:
    group, layout, mask = _night(make_group, _galaxy)
    group.sky.scales.clear()
    assert _told(group, layout, mask) == {}


def test_what_a_sky_held_of_an_object_is_given_back(make_group) -> None:
    """Three frames made the sky; one of them hides a pixel, another is bad there."""
    group = make_group(["both"] * 3, [np.full(SHAPE, 100.0)] * 3)
    state = group.planes[0]
    squares = Squares.of(SHAPE)
    light = {k: np.zeros(squares.x.shape, np.float32) for k in range(3)}
    for k in range(3):
        light[k][20:40, 30:50] = 6.0 * (k + 1)
    state.dq.frame_to_change(0)[150, 200] |= OBJECT
    state.dq.frame_to_change(1)[150, 200] |= np.uint16(1)
    MovingLight(squares, light).give_back(state, [0, 2], [0, 1, 2], np.array([2.0, 2.0, 4.0]))
    given = state.sub.frame(2) - 100.0
    assert given[150, 210] == pytest.approx(4.0 * (6 + 12 + 18) / 8, rel=1e-6)
    assert given[150, 200] == pytest.approx(4.0 * 18 / 4, rel=1e-6), "of the one that shows it"
    assert given[10, 10] == given[390, 390] == 0.0
    del light[1]
    MovingLight(squares, light).give_back(state, [2], [0, 1, 2], np.array([2.0, 2.0, 4.0]))
    assert state.sub.frame(2)[150, 210] - given[150, 210] == pytest.approx(100.0 + 4.0 * (6 + 18) / 8, rel=1e-6)
    assert (state.sub.frame(0) - 100.0)[150, 210] == pytest.approx(0.5 * given[150, 210], rel=1e-6)
    assert (state.sub.frame(1) == 100.0).all()
