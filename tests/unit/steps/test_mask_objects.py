"""Objects are masked; sky slopes that drift from frame to frame are not."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest

from nirred.algorithms.mutual import Squares
from nirred.algorithms.nested import LIGHT_STEP
from nirred.algorithms.profile import cut_share
from nirred.dq import DQ
from nirred.plugin import S
from nirred.results import ObjectResults
from nirred.states import OBJECT
from nirred.steps.moving import MovingLight
from nirred.steps.objects import Hidden, MaskObjects, _always
from nirred.steps.outskirts import halo_light, prefer_halos, put_back, take_off_halos

SHAPE = (512, 512)
STARS = ((120, 130), (400, 90), (250, 300), (90, 420), (430, 410))


@pytest.fixture
def drifting(make_group):
    """Five dithered frames of five stars whose sky tilts from one side to the other."""
    rng = np.random.default_rng(8)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]] / 256 - 1
    shifts = rng.uniform(-70, 70, (5, 2)).round()
    frames = []
    for k, (dx, dy) in enumerate(shifts):
        image = rng.normal(0, 30, SHAPE) + 40 * (k / 2 - 1) * (0.8 * u + 0.5 * v)
        for x, y in STARS:
            r2 = (np.arange(SHAPE[1]) - x - dx) ** 2 + ((np.arange(SHAPE[0]) - y - dy) ** 2)[:, None]
            image += 3000 * np.exp(-r2 / 2 / 2.0**2)
        frames.append(image)
    group = make_group(["object"] * 5, frames)
    for frame, (dx, dy) in zip(group.frames, shifts, strict=True):
        frame.dx, frame.dy = float(dx), float(dy)
    return group, shifts


def _masked(group) -> list[np.ndarray]:
    return [(group.planes[0].dq.frame(k) & OBJECT) != 0 for k in range(5)]


def test_stars_are_masked_and_drifting_slopes_are_not(drifting) -> None:
    group, shifts = drifting
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    for mask, (dx, dy) in zip(_masked(group), shifts, strict=True):
        assert mask.mean() < 0.04
        for x, y in STARS:
            inside = 0 <= x + dx < SHAPE[1] and 0 <= y + dy < SHAPE[0]
            assert not inside or mask[int(y + dy), int(x + dx)]


def test_they_would_be_if_frames_were_not_levelled_among_each_other(drifting, monkeypatch) -> None:
    group, _ = drifting
    monkeypatch.setattr("nirred.steps.objects.match_frames", lambda *_, **__: np.full((5, 1, 1), np.nan))
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert max(mask.mean() for mask in _masked(group)) > 0.1


@pytest.mark.parametrize(("odd", "used"), [([3], [0, 1, 2, 4]), ([1, 3], [0, 1, 2, 3, 4])])
def test_a_frame_with_another_sky_than_all_others_is_left_out(drifting, odd, used) -> None:
    """One quadrant of it is low. If more frames are like that, who is right?"""
    group, _ = drifting
    (state,) = group.planes
    state.constant, state.sky = 900.0, dict.fromkeys(range(5), 0.0)
    for k in odd:
        state.sub.frame_to_change(k)[:256, :256] -= 90.0
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert group.indices() == used
    assert ("its sky differs by" in group.frames[3].reason) == (3 not in used)
    if 3 not in used:
        assert max(mask.mean() for k, mask in enumerate(_masked(group)) if k in used) < 0.05


@pytest.mark.parametrize(("role", "told"), [("both", True), ("object", False)])
def test_a_target_wider_than_the_dither_is_told(make_group, role: str, told: bool) -> None:
    rng = np.random.default_rng(3)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shifts = [(0.0, 0.0), (12.0, 5.0), (-8.0, 10.0)]
    frames = [rng.normal(0, 30, SHAPE) + 400 * np.exp(-np.hypot(u - 256 - dx, v - 256 - dy) / 12) for dx, dy in shifts]
    group = make_group([role] * 3, frames)
    for frame, (dx, dy) in zip(group.frames, shifts, strict=True):
        frame.dx, frame.dy = dx, dy
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert (group.objects.hidden > 0.02) is told
    flags = group.planes[0].dq
    before = [flags.frame(k).copy() for k in range(3)]
    for k in range(3):
        group.planes[0].sub.frame(k)[:200] += 500.0
    MaskObjects().apply(group, MaskObjects.Params(only_hidden=True), S("mask_objects"))
    again = any(not np.array_equal(before[k], flags.frame(k)) for k in range(3))
    assert again is told  # nothing is hidden: unchanged


@pytest.mark.parametrize("role", ["object", "both"])
def test_the_light_of_halos_beside_offset_sky_is_known_on_each_frame(make_group, role: str) -> None:
    rng = np.random.default_rng(3)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shifts = [(0.0, 0.0), (22.0, 5.0), (-18.0, 20.0)]
    lights = [400 * np.exp(-np.hypot(u - 256 - dx, v - 256 - dy) / 25) for dx, dy in shifts]
    group = make_group([role] * 3, [light + rng.normal(0, 10, SHAPE) for light in lights])
    for frame, (dx, dy) in zip(group.frames, shifts, strict=True):
        frame.dx, frame.dy = dx, dy
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    for k, light in enumerate(lights):
        halo = halo_light(group, k, 0)
        if role == "both":  # each frame's sky contained as much of it
            assert halo is None
            continue
        true = light[::LIGHT_STEP, ::LIGHT_STEP]
        outside = (true < 10.0) & (true > 2.0)
        assert np.corrcoef(halo[outside], true[outside])[0, 1] > 0.98
        assert halo[outside].mean() == pytest.approx(true[outside].mean(), rel=0.3)


@pytest.mark.parametrize(("x", "enclosed"), [(256, True), (30, False)])
def test_only_what_sky_surrounds_is_worth_another_pass(make_group, x: int, enclosed: bool) -> None:
    """Beyond a target cut by the detector's edge the sky cannot be measured: planes would be extrapolated there."""
    rng = np.random.default_rng(3)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    frames = [rng.normal(0, 30, SHAPE) + 400 * np.exp(-np.hypot(u - x - dx, v - 256) / 12) for dx in (0, 4, -5)]
    group = make_group(["both"] * 3, frames)
    for frame, dx in zip(group.frames, (0.0, 4.0, -5.0), strict=True):
        frame.dx = dx
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert group.objects.hidden > 0.02 and group.objects.enclosed is enclosed


@pytest.mark.parametrize(
    ("shares", "hidden", "enclosed"),
    [((0.009, 0.0), 0.009, True), ((0.004, 0.0), 0.0, False), ((0.019, 0.013), 0.019, True), ((0.3, 0.1), 0.3, False)],
)
def test_a_core_that_every_frame_hides_is_worth_another_pass(drifting, monkeypatch, shares, hidden, enclosed) -> None:
    """The first pass shows only the core of a galaxy as wide as the dithers: the rest was subtracted with the sky."""
    group, _ = drifting
    for frame in group.frames:
        frame.role = "both"
    monkeypatch.setattr("nirred.steps.objects._always", lambda *_: Hidden(*shares))
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert group.objects.hidden == hidden
    assert group.objects.enclosed is enclosed


@pytest.mark.parametrize(("share", "cut", "again"), [(0.005, 0.0, True), (0.003, 0.0, False), (0.012, 0.03, False)])
def test_a_hollow_that_the_first_pass_made_is_worth_another(drifting, monkeypatch, share, cut, again) -> None:
    """In a long sequence no pixel is covered in all frames, and yet their sky contains the galaxy's light."""
    group, _ = drifting
    for frame in group.frames:
        frame.role = "both"
    monkeypatch.setattr("nirred.steps.objects.hollowed_share", lambda *_: share)
    monkeypatch.setattr("nirred.steps.objects._always", lambda *_: Hidden(0.0, cut))
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert group.objects.enclosed is again


@pytest.mark.parametrize(("side", "buried"), [(6, False), (12, False), (25, True)])
def test_of_a_keyhole_what_light_falls_on_counts(make_group, side, buried) -> None:
    """The pixels hidden are 0.02, 0.1 and 0.4 % of the detector, and 0.4, 1.6 and 6.9 % of its keyhole."""
    keyhole, count = np.full((400, 400), int(DQ.UNILLUMINATED), np.uint16), np.zeros((400, 400), np.uint16)
    keyhole[100:195, 100:195] = 0
    count[120 : 120 + side, 120 : 120 + side] = 2
    group = make_group(["both"] * 2, [np.ones((400, 400))] * 2, dq=[keyhole] * 2)
    hidden = _always(group, [0, 1], {0: count})
    assert hidden.share == pytest.approx(side**2 / 400**2) and hidden.cut == 0.0
    assert hidden.buried is buried


def test_a_star_of_a_small_field_is_not_worth_another_pass(drifting, monkeypatch) -> None:
    """One that 0.9 % of the field is too much for hides a few pixels; 2 % of any field count."""
    group, _ = drifting
    for frame in group.frames:
        frame.role = "both"
    monkeypatch.setattr("nirred.steps.objects.STARS", 0.015 * math.prod(group.planes[0].shape))
    for share, enclosed in ((0.009, False), (0.016, True)):
        monkeypatch.setattr("nirred.steps.objects._always", lambda *_, share=share: Hidden(share))
        MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
        assert group.objects.enclosed is enclosed
    monkeypatch.setattr("nirred.steps.objects.STARS", math.inf)
    monkeypatch.setattr("nirred.steps.objects._always", lambda *_: Hidden(0.021))
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert group.objects.enclosed is True


def test_share_of_regions_that_an_edge_cuts() -> None:
    marked, outside = np.zeros((400, 400), bool), np.zeros((400, 400), bool)
    marked[100:200, 100:200] = marked[300:400, 300:340] = True
    assert cut_share(marked, outside) == pytest.approx(0.025, rel=0.1)
    outside[:, :102] = True
    assert cut_share(marked, outside) == pytest.approx(0.0875, rel=0.1)
    assert cut_share(marked[:0], outside[:0]) == cut_share(outside[:1, 200:201], outside[:1, 200:201]) == 0.0


def test_halos_that_the_sky_holds_are_told_by_what_was_masked(make_group) -> None:
    """In frames that are each other's sky, a halo outside its mask is only in the sky, and is removed from it."""
    rng = np.random.default_rng(3)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    shifts = [(0.0, 0.0), (22.0, 5.0), (-18.0, 20.0)]
    lights = [
        4000 * np.exp(-7.67 * (np.hypot(u - 256 - dx, v - 256 - dy) / 25 + 0.05) ** 0.25 + 4) for dx, dy in shifts
    ]
    group = make_group(["both"] * 3, [light + rng.normal(0, 10, SHAPE) for light in lights])
    for frame, (dx, dy) in zip(group.frames, shifts, strict=True):
        frame.dx, frame.dy = dx, dy
    MaskObjects().apply(group, MaskObjects.Params(), S("mask_objects"))
    assert take_off_halos(group, 0) == {}  # nothing in the stack was masked
    group.objects.enclosed = True
    state = group.planes[0]
    for k, light in enumerate(lights):
        mine = (state.dq.frame(k) & OBJECT) != 0
        edge = light[mine].min()
        state.sub.frame(k)[:] = np.where(mine, light - 0.6 * edge, 0.0) + rng.normal(0, 10, SHAPE)
    MaskObjects().apply(group, MaskObjects.Params(only_hidden=True), S("mask_objects"))
    sci, sub = ([stack.frame(k).copy() for k in range(3)] for stack in (state.sci, state.sub))
    group.objects.moving = {0: MovingLight(Squares.of(SHAPE), dict.fromkeys(range(3)))}
    assert take_off_halos(group, 0) == {}  # not in addition to light that is returned
    group.objects.moving = {}
    taken = take_off_halos(group, 0)
    assert sorted(taken) == [0, 1, 2]
    for k, light in enumerate(lights):
        outside = (light < edge) & (light > 0.2 * edge)
        off = sci[k] - state.sci.frame(k)
        assert np.corrcoef(off[outside], light[outside])[0, 1] > 0.9
        assert 0.5 < off[outside].mean() / light[outside].mean() < 1.2
    put_back(group, 0, taken)
    for k in range(3):
        assert state.sci.frame(k) == pytest.approx(sci[k], abs=0.01)
        assert (state.sub.frame(k) - sub[k])[::8, ::8] == pytest.approx(taken[k].evaluate()[::8, ::8], abs=0.01)


@pytest.mark.parametrize("told", [True, False])
def test_profiles_stand_for_what_squares_tell(told: bool) -> None:
    halos = [object()] if told else []
    objects = ObjectResults(halos={(0, 0): (halos, None), (1, 0): (halos, None)})
    objects.moving[0] = MovingLight(Squares.of(SHAPE), dict.fromkeys((0, 1)))
    group = SimpleNamespace(objects=objects)
    prefer_halos(group, SimpleNamespace(placements={(0, 0): None, (1, 0): None}))
    assert (0 in group.objects.moving) is not told


def test_profiles_of_one_pointing_leave_what_squares_tell_of_others() -> None:
    objects = ObjectResults(halos={(0, 0): ([object()], None), (1, 0): ([], None)})
    objects.moving[0] = MovingLight(Squares.of(SHAPE), dict.fromkeys((0, 1)))
    prefer_halos(SimpleNamespace(objects=objects), SimpleNamespace(placements={(0, 0): None}))
    assert list(objects.moving[0].light) == [1]
