"""Residuals after the subtraction of the sky, and what is stated about them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import median_filter

from nirred import scratch
from nirred.dq import DQ
from nirred.errors import StepError
from nirred.plugin import S
from nirred.states import OBJECT
from nirred.steps import sky, skymodel
from nirred.steps.association import AssociateSky
from nirred.steps.match import unequally_shown
from nirred.steps.sky import SkyCorrect
from nirred.store import PlaneStack
from tests.unit.steps.conftest import make_info

CALL = S("any")
SHAPE = (256, 256)


def associated(group, **params):
    AssociateSky().apply(group, AssociateSky.Params(**params), CALL)
    return {i: group.skies[i] for i in group.indices()}


def test_sky_frames_at_one_place_show_nothing_and_that_is_said(make_group, monkeypatch):
    """They have no sky of their own: uninitialized memory must not be taken for objects on them."""

    class Used(PlaneStack):
        def __init__(self, *shape, zeros=True):
            super().__init__(*shape, zeros=zeros)
            for i in [] if zeros else range(len(self)):
                self.put(i, np.full(self.shape[1:], 1e5))

    monkeypatch.setattr(sky, "PlaneStack", Used)
    rng, shape = np.random.default_rng(1), SHAPE
    infos = [make_info(Path(f"f{k}.fits"), shape, k, at=(100.0 * (k < 2), 5.0 * k * (k < 2))) for k in range(5)]
    frames = [rng.normal(5000, 70, shape) for _ in infos]
    group = make_group(["object"] * 2 + ["sky"] * 3, frames, infos=infos)
    group.planes[0].subtracted = None
    assert associated(group)[0] == (2, 3, 4) and associated(group)[2] == ()
    for masked in (False, True):
        SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=masked), CALL)
        assert all(not group.planes[0].sub.frame(i).any() for i in (2, 3, 4))
        assert abs(float(np.median(group.planes[0].sub.frame(0)))) < 10
    assert [r for r in group.remarks if "are not masked" in r] == [
        "objects on 3 sky frames (f2.fits ...) are not masked: no other sky frame is far enough away "
        "(associate_sky:distance)"
    ]


def test_no_sky_at_all_is_an_error(make_group):
    group = make_group(["both"], [np.zeros(SHAPE)])
    associated(group)
    with pytest.raises(StepError, match="no frame has a sky frame"):
        SkyCorrect().apply(group, SkyCorrect.Params(), CALL)


def test_contradicting_options_are_an_error(make_group):
    group = make_group(["both"] * 2, [np.zeros(SHAPE)] * 2)
    with pytest.raises(StepError, match="exclude each other"):
        SkyCorrect().apply(group, SkyCorrect.Params(offset_sky=True, scale_sky=True), CALL)


@pytest.fixture(params=[2, 3, 7])
def skies(request, make_group):
    """A drifting sky with a pattern that scales with it, in n dithered frames; Poisson noise."""
    n, rng = request.param, np.random.default_rng(request.param)
    y, x = np.indices(SHAPE) / SHAPE[0]
    pattern = (1 + 0.05 * x - 0.03 * y**2) * (1 + 0.01 * rng.standard_normal(SHAPE))
    frames = [rng.poisson(5000 * (1 + 0.01 * k) * pattern).astype(np.float32) for k in range(n)]
    group = make_group(["both"] * n, frames, step=10.0)
    group.setup.dark = []
    associated(group, min_skies=1)
    return group


@pytest.mark.parametrize("scale", [True, None])
def test_the_sky_goes_and_its_noise_is_told(skies, scale):
    SkyCorrect().apply(skies, SkyCorrect.Params(scale_sky=scale), CALL)
    state = skies.planes[0]
    for i, frame in enumerate(skies.frames):
        assert frame.sky == pytest.approx(5000 * (1 + 0.01 * i), rel=0.03)
        left = state.sub.frame(i)
        assert abs(np.median(left)) < 1.0
        predicted = np.sqrt(frame.sky * (1 + state.sky_variance[i])) * frame.noise_scale
        assert left.std() == pytest.approx(predicted, rel=0.05)
        assert frame.noise_scale == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize(("ring", "whole"), [(0.0, False), (0.02, True)])
def test_few_frames_shrink_a_pattern_without_structure(make_group, n, ring, whole):
    """Their sky adds 1/(n - 1) of a frame's variance if it is subtracted without shrinkage."""
    rng = np.random.default_rng(n)
    y, x = np.indices(SHAPE) - 127.5
    pattern = 1 + ring * np.exp(-0.5 * ((np.hypot(x, y) - 70) / 25) ** 2) + 0.001 * rng.standard_normal(SHAPE)
    group = make_group(["both"] * n, [rng.poisson(5000 * pattern) for _ in range(n)], step=10.0)
    group.setup.dark = []
    associated(group, min_skies=1)
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    added = group.planes[0].sub.frame(0).var() / 5000 - 1
    assert added == pytest.approx(1 / (n - 1), rel=0.1) if whole else added < 0.1
    assert group.planes[0].sky_variance[0] == pytest.approx(added, abs=0.06)


def ringed(make_group, roles):
    """Frames of a sky with a ring of stray light; their photon noise is returned, too."""
    rng = np.random.default_rng(7)
    y, x = np.indices(SHAPE) - 127.5
    pattern = 5000.0 * (1 + 0.05 * np.exp(-0.5 * ((np.hypot(x, y) - 70) / 45) ** 2))
    noise = [rng.normal(0.0, np.sqrt(pattern)) for _ in roles]
    group = make_group(roles, [pattern + own for own in noise], step=10.0)
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(gradient=False), CALL)
    return group.planes[0], noise


def test_noise_of_a_structured_sky_in_areas_is_told(make_group):
    """Of sky frames elsewhere: single pixels do not show it."""
    state, noise = ringed(make_group, ["object"] * 4 + ["sky"] * 4)
    cells = [[a.reshape(8, 32, 8, 32).mean(axis=(1, 3)) for a in (state.sub.frame(i), noise[i])] for i in range(4)]
    added = np.var(np.mean([left - own for left, own in cells], axis=0)) / np.mean([np.var(own) for _, own in cells])
    assert added > 0.12
    for i in range(4):
        assert state.sky_wide[i] == pytest.approx(added, rel=0.4)
        assert state.sky_variance[i] < 0.1


def test_noise_of_the_sky_is_told_where_it_is_seen(make_group):
    """A mask that hides most of the detector, such as the keyhole's, hides its noise, too."""
    rng, shape, lit = np.random.default_rng(3), (256, 256), np.s_[90:166]
    dq = np.full(shape, int(DQ.UNILLUMINATED), np.uint16)
    dq[lit] = 0
    pattern = 5000.0 * (1 + 0.003 * rng.standard_normal(shape))
    noise = [rng.normal(0.0, np.sqrt(5000.0), shape) for _ in range(8)]
    group = make_group(["object"] * 4 + ["sky"] * 4, [pattern + own for own in noise], dq=[dq] * 8, step=10.0)
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(gradient=False), CALL)
    state = group.planes[0]
    for i in range(4):
        left = state.sub.frame(i)[lit]
        added = np.var(left - noise[i][lit]) / 5000.0
        assert state.sky_variance[i] == pytest.approx(added, rel=0.3)
        assert state.sky_wide[i] < 0.5
        assert 0.1 < state.sky_lasting[i] < 0.9


def test_frames_that_are_part_of_their_sky_have_no_more_noise_in_areas(make_group):
    state, _ = ringed(make_group, ["both"] * 5)
    assert state.sky_wide == dict.fromkeys(range(5), 0.0)


def test_masked_objects_leave_no_print(make_group):
    rng = np.random.default_rng(1)
    frames = [rng.normal(5000, 70, SHAPE) for _ in range(5)]
    dq = [np.zeros(SHAPE, np.uint16) for _ in range(5)]
    for k in range(5):
        frames[k][40:60, 20 + 40 * k : 40 + 40 * k] += 2000
        dq[k][40:60, 20 + 40 * k : 40 + 40 * k] |= OBJECT
    group = make_group(["both"] * 5, frames, dq, step=10.0)
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    left = group.planes[0].sub.frame(2)
    assert abs(left[40:60, 20:40].mean()) < 10  # where frame 0 has its object
    assert left[40:60, 100:120].mean() == pytest.approx(2000, abs=15)


def median_left(shape, seed=2):
    """Sky structure left by a flat that was divided by its median over 11 pixels: 0.3 %, a few pixels wide."""
    flat = 1 + 0.03 * np.random.default_rng(seed).standard_normal(shape)
    return median_filter(flat, 11)


def test_what_is_some_pixels_wide_goes_with_the_sky(make_group):
    """In cells of 8 pixels hardly more than photon noise is left; with single pixels most would remain."""
    rng, n = np.random.default_rng(3), 9
    pattern = median_left(SHAPE)
    frames = [rng.poisson((9000 + 30 * k) * pattern).astype(np.float32) for k in range(n)]
    group = make_group(["both"] * n, frames, step=10.0)
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    cells = [group.planes[0].sub.frame(i).reshape(32, 8, 32, 8).mean(axis=(1, 3)) for i in range(n)]
    photons, left = np.sqrt(9120) / 8, np.std(np.mean(cells, axis=0))
    assert np.std(9120 * pattern.reshape(32, 8, 32, 8).mean(axis=(1, 3))) > photons
    assert left < 1.25 * photons / np.sqrt(n)
    assert np.std(cells[4]) == pytest.approx(photons, rel=0.1)


def test_fine_structure_of_the_sky_is_that_of_the_other_frames(make_group):
    """Light that one frame alone has, and no mask, stays in it, and digs no hole."""
    n, light = 6, np.zeros(SHAPE)
    light[100:112, 60:72] = 20.0
    left = []
    for added in (0.0, light):
        rng = np.random.default_rng(4)
        frames = [rng.poisson(9000 * median_left(SHAPE)).astype(np.float32) for _ in range(n)]
        frames[2] += np.float32(1) * added
        group = make_group(["both"] * n, frames, step=10.0)
        group.setup.dark = []
        associated(group)
        SkyCorrect().apply(group, SkyCorrect.Params(gradient=False), CALL)
        left.append(group.planes[0].sub.frame(2).astype(float))
    assert (left[1] - left[0])[96:116, 56:76].sum() == pytest.approx(light.sum(), rel=0.03)


@pytest.mark.parametrize(("masked", "pattern"), [(False, 1.0), (True, 1.0), (True, median_left((150, 300)))])
def test_no_bit_depends_on_memory_threads_or_rows_at_once(make_group, tmp_path, monkeypatch, masked, pattern):
    rng = np.random.default_rng(8)
    frames = [rng.poisson((5000 + 20 * k) * pattern, (150, 300)).astype(np.float32) for k in range(6)]
    dq = [(rng.random(frames[0].shape) < 0.02).astype(np.uint16) for _ in frames]
    made = []
    filed = {"sci": tmp_path, "dq": tmp_path}
    ways = (({}, 1, 16), (filed, 2, 16), (filed, 1, 5), ({"sci": tmp_path}, 2, 5), ({"dq": tmp_path}, 1, 5), ({}, 3, 1))
    for folders, threads, rows in ways:
        group = make_group(["both"] * 6, frames, dq, step=10.0)
        group.context = replace(group.context, threads=threads, scratch=tmp_path)
        group.setup.dark = []
        state = group.planes[0]
        monkeypatch.setattr(scratch, "addresses_unlimited", lambda rows=rows: rows != 5)
        for name in ("sci", "dq"):
            stack = getattr(state, name)
            moved = PlaneStack(stack.shape, stack.dtype, folders.get(name))
            for i in range(6):
                moved.put(i, stack.frame(i))
            setattr(state, name, moved)
        state.subtracted = None
        associated(group, max_skies=4)
        monkeypatch.setattr(skymodel, "BLOCK", rows)
        monkeypatch.setattr(skymodel, "EPOCH", 5)
        SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=masked), CALL)
        made.append((np.stack([state.sub.frame(i) for i in range(6)]), state.noise_scale, state.sky_variance))
    for other in made[1:]:
        assert np.array_equal(made[0][0], other[0]) and made[0][1:] == other[1:]
    assert abs(np.median(made[0][0])) < 0.5


def test_a_frame_all_bad_and_one_pixel(make_group):
    for shape in ((1, 1), (40, 70)):
        frames = [np.full(shape, 1000.0 + k) for k in range(5)]
        dq = [np.full(shape, k == 2, np.uint16) for k in range(5)]
        group = make_group(["both"] * 5, frames, dq, step=10.0)
        associated(group)
        for masked in (False, True):
            SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=masked, offset_sky=True), CALL)
            assert all(np.isfinite(group.planes[0].sub.frame(i)).all() for i in (0, 1, 3, 4))


def test_the_light_of_a_target_is_no_noise_of_the_model(make_group):
    """Frames whose target fills the field: photon noise of sky and target against the model of both."""
    rng = np.random.default_rng(9)
    roles = ["sky", "object"] * 4
    frames = [rng.poisson(5000 + (4000 if role == "object" else 0), SHAPE).astype(np.float32) for role in roles]
    dq = [np.full(SHAPE, OBJECT if role == "object" else 0, np.uint16) for role in roles]
    group = make_group(roles, frames, dq, step=10.0)
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    for i, role in enumerate(roles):
        assert group.frames[i].noise_scale == pytest.approx(1.0, abs=0.05), role
    assert np.median(group.planes[0].sub.frame(1)) == pytest.approx(4000, rel=0.01)
    assert group.planes[0].filled and group.planes[0].unshaped == {1, 3, 5, 7}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("filled", [0, 1])
def test_a_target_fills_one_of_two_detectors(make_group, filled, masked):
    """Whichever it is: each detector's sky is told by what it shows itself."""
    rng = np.random.default_rng(9)
    roles = ["sky", "object"] * 4
    on = np.array([role == "object" for role in roles])
    groups = []
    for p in range(2):
        lit = on & (p == filled)
        frames = [rng.poisson(5000 + 4000 * lit[k], SHAPE).astype(np.float32) for k in range(8)]
        dq = [np.full(SHAPE, OBJECT if lit[k] and masked else 0, np.uint16) for k in range(8)]
        groups.append(make_group(roles, frames, dq, step=10.0, planes=2))
    group = groups[0]
    group.planes += groups[1].planes
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=masked), CALL)
    levels = [[float(np.median(state.sub.frame(i))) for i in group.targets] for state in group.planes]
    assert levels[filled] == pytest.approx([4000.0] * 4, rel=0.01)
    assert levels[1 - filled] == pytest.approx([0.0] * 4, abs=2.0)
    if masked:
        assert [state.filled for state in group.planes] == [p == filled for p in range(2)]
        assert [state.unshaped for state in group.planes] == [{1, 3, 5, 7} if p == filled else set() for p in range(2)]
        assert group.remarks == [
            f"the target fills the field of plane {filled + 1}; its zero level comes from the sky frames"
        ]


def test_pixels_that_no_sky_frame_shows_keep_their_pattern_and_say_so(make_group):
    rng = np.random.default_rng(8)
    pattern = 1 + 0.02 * rng.standard_normal((256, 256))
    frames = [(1000 * pattern + rng.normal(0, 15, pattern.shape)).astype(np.float32) for _ in range(6)]
    group = make_group(["both"] * 6, frames, step=8.0)
    hidden = np.zeros(pattern.shape, bool)
    hidden[96:160, 96:160] = True
    for k in range(6):
        group.planes[0].dq.frame(k)[hidden] |= OBJECT
    AssociateSky().apply(group, AssociateSky.Params(), CALL)
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    assert group.planes[0].unseen is None
    group.objects.hidden = 0.06
    SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    unseen = group.planes[0].unseen
    assert not unseen[~hidden].any() and np.sqrt(np.median(unseen[hidden])) == pytest.approx(20.0, rel=0.15)
    assert np.std(group.planes[0].sub.frame(0)[hidden]) == pytest.approx(np.hypot(20.0, 15.0), rel=0.1)


def test_a_frame_with_other_light_is_left_out_unless_the_sky_falls_from_it(make_group):
    """A lamp frame among sky frames would have the weight of twelve of them."""
    rng = np.random.default_rng(3)
    cases = (
        ((1000, 1000, 12000, 1000, 1000), [2]),
        ((12000, 4000, 1000, 900, 800), []),
        ((0, 1000, 0, 900, 950), [0, 2]),
    )
    for levels, expected in cases:
        data = [rng.normal(v, np.sqrt(max(v, 9.0)), SHAPE).astype("f4") for v in levels]
        group = make_group(["both"] * 5, data, step=10.0)
        group.setup.dark = [np.zeros(SHAPE, "f4")]
        group.planes[0].constant, group.planes[0].per_electron = np.float32(9.0), np.float32(1.0)
        associated(group)
        SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=False), CALL)
        assert [i for i, frame in enumerate(group.frames) if not frame.alive] == expected
        assert all("other light came in" in group.frames[i].reason for i in expected if levels[i])


def test_a_dark_that_is_brighter_than_the_frames_is_told(make_group):
    rng = np.random.default_rng(3)
    group = make_group(["both"] * 3, [rng.normal(-500.0, 9.0, SHAPE).astype("f4") for _ in range(3)], step=10.0)
    group.setup.dark, group.keywords["DARKCOR"] = [np.zeros(SHAPE, "f4")], "D.fits"
    group.planes[0].constant, group.planes[0].per_electron = np.float32(81.0), np.float32(1.0)
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=False), CALL)
    assert group.remarks == ["D.fits is brighter than the frames: their sky is -500 ADU, and its noise unknown"]


@pytest.mark.parametrize("least", [0.0, 120.0])
def test_a_frame_without_light_is_left_out_and_spoils_no_sky(make_group, least):
    rng = np.random.default_rng(3)
    pattern = 1 + 0.1 * np.sin(np.arange(SHAPE[1]) / 30)
    levels = (1000.0, 1100.0, least, 1200.0, 1300.0)
    data = [rng.normal(v * pattern, np.sqrt(max(v, 9.0)), SHAPE).astype("f4") for v in levels]
    group = make_group(["both"] * 5, data, step=10.0)
    group.setup.dark = [np.zeros(SHAPE, "f4")]
    group.planes[0].constant, group.planes[0].per_electron = np.float32(9.0), np.float32(1.0)
    associated(group)
    for params in (SkyCorrect.Params(mask_objects=False), SkyCorrect.Params()):
        SkyCorrect().apply(group, params, CALL)
    assert [f.state for f in group.frames] == ["used"] * 2 + ["rejected"] + ["used"] * 2
    assert "no light came in" in group.frames[2].reason
    assert all(2 not in skies for skies in group.skies.values())
    for i in group.indices():  # scaled: shifted, the pattern would be left by up to 0.1 x 150 electrons
        assert abs(np.corrcoef(group.planes[0].sub.frame(i).mean(axis=0), pattern)[0, 1]) < 0.5


@pytest.mark.parametrize(("frames", "hint"), [(1, "or only calibrate it (-r separate_sky)"), (3, "distance=0")])
def test_no_sky_frame_at_all(make_group, frames, hint):
    group = make_group(["both"] * frames, [np.full((8, 8), 100.0)] * frames)
    associated(group)
    with pytest.raises(StepError, match="no frame has a sky frame") as caught:
        SkyCorrect().apply(group, SkyCorrect.Params(), CALL)
    assert hint in str(caught.value.hint)


def test_a_sky_that_falls_from_twilight_is_light(make_group):
    levels = (20000.0, 3000.0, 800.0, 600.0)
    rng = np.random.default_rng(1)
    group = make_group(["both"] * 4, [rng.normal(v, np.sqrt(v), SHAPE).astype("f4") for v in levels], step=10.0)
    group.setup.dark = [np.zeros(SHAPE, "f4")]
    group.planes[0].constant, group.planes[0].per_electron = np.float32(9.0), np.float32(1.0)
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=False), CALL)
    assert len(group.indices()) == 4


@pytest.mark.parametrize("roles", [["both"] * 6, ["object"] * 2 + ["sky"] * 4])
@pytest.mark.parametrize(("flag", "masked"), [(OBJECT, True), (np.uint16(DQ.UNILLUMINATED), False)])
def test_slopes_of_sky_frames_leave_no_steps_where_some_of_them_show_no_sky(make_group, roles, flag, masked):
    """Behind an object or a guide probe: where two of four sky frames are hidden, the others' mean slope is another."""
    rng, n = np.random.default_rng(9), len(roles)
    u = (np.indices(SHAPE)[1] - 127.5) / 128
    slopes = 0.02 * np.array([0.3, -0.3, 1.0, 1.0, -1.0, -1.0])
    frames = [rng.poisson(30000 * (1 + a * u)).astype(np.float32) for a in slopes]
    dq = [np.zeros(SHAPE, np.uint16) for _ in range(n)]
    hidden = np.s_[60:140, 170:250]
    for k in (2, 3):
        dq[k][hidden] |= flag
        frames[k][hidden] += 3000.0
    group = make_group(roles, frames, dq, step=10.0)
    group.setup.dark = []
    associated(group)
    SkyCorrect().apply(group, SkyCorrect.Params(mask_objects=masked), CALL)
    for i in group.targets[:2]:
        left = group.planes[0].sub.frame(i)
        beside = np.concatenate([left[20:50, 170:250], left[150:180, 170:250]])
        assert abs(left[hidden].mean() - beside.mean()) < 15  # a step of 0.6 % of the sky would be 180


def test_only_parts_that_some_frames_alone_show_call_for_one_slope_before_objects_are_known(make_group):
    dq = [np.zeros(SHAPE, np.uint16) for _ in range(4)]
    for flags in dq:
        flags[:40] |= np.uint16(1)
    group = make_group(["both"] * 4, [np.full(SHAPE, 100.0)] * 4, dq)
    assert not unequally_shown(group, group.planes[0])
    group.planes[0].dq.frame_to_change(2)[100:150, 100:150] |= np.uint16(1)
    assert unequally_shown(group, group.planes[0])


def test_the_level_of_a_strip_that_an_object_covers_is_measured_where_no_row_is_sampled(make_group):
    dq = np.full((1200, 1200), DQ.UNILLUMINATED, np.uint16)
    dq[8:13] = OBJECT
    group = make_group(["object"], [np.full((1200, 1200), 50.0)], [dq])
    sky.measure_levels(group, 0, SkyCorrect.Params())
    assert group.frames[0].sky == 50.0
