"""Darks and flats from calibrated frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nirred.algorithms.response import CalibrationInputs
from nirred.dq import DQ
from nirred.errors import StepError
from nirred.frame import Plane
from nirred.plugin import S
from nirred.results import Calibration
from nirred.steps.calibrations import (
    MakeLampFlat,
    NormalizeFlat,
    StackDarks,
    StackParams,
    ThresholdFlatfield,
    stack_planes,
)

CALL = S("any")


def plane(data, dq=None):
    data = np.asarray(data, np.float32)
    return Plane(data, np.zeros(data.shape, np.uint16) if dq is None else dq, np.ones(data.shape, np.float32))


def with_noise(group, constant, per_electron=1.0):
    group.planes[0].constant, group.planes[0].per_electron = constant, per_electron
    return group


@pytest.mark.parametrize("n", [2, 3, 10])
def test_variance_of_a_dark_is_that_of_a_monte_carlo(make_group, n):
    rng = np.random.default_rng(n)
    frames = [rng.normal(0, 10, (200, 200)) + rng.poisson(50, (200, 200)) for _ in range(n)]
    group = with_noise(make_group(["dark"] * n, frames, makes="dark"), 100.0)
    (made,) = stack_planes(group, list(range(n)), 4.0)
    assert made.data.mean() == pytest.approx(50, abs=4 * np.sqrt(150 / n) / 200 + 0.02)
    assert made.data.std() == pytest.approx(np.sqrt(150 / n), rel=0.03)
    assert np.sqrt(np.median(made.var)) == pytest.approx(np.sqrt(150 / n), rel=0.05)


def test_cosmic_rays_and_bad_pixels_do_not_reach_the_dark(make_group):
    rng = np.random.default_rng(1)
    frames = [rng.normal(50, 10, (40, 40)) for _ in range(3)]
    frames[1][5, 5] += 5000
    dq = [np.zeros((40, 40), np.uint16) for _ in range(3)]
    frames[0][8, 8], dq[0][8, 8] = 1e6, DQ.BAD_PIXEL
    for k in range(3):
        frames[k][9, 9], dq[k][9, 9] = 1e6, DQ.BAD_PIXEL
    group = with_noise(make_group(["dark"] * 3, frames, dq, makes="dark"), 100.0, 0.0)
    StackDarks().apply(group, StackParams(), CALL)
    (made,) = group.streams["main"]
    assert abs(made.data[5, 5] - 50) < 30 and abs(made.data[8, 8] - 50) < 30
    assert made.dq[9, 9] & DQ.BAD_PIXEL and not made.dq[8, 8]
    assert np.isfinite(made.data).all() and np.isfinite(made.var).all()
    assert group.keywords["NCOMBINE"] == 3


@pytest.mark.parametrize("level", [6000.0, -900.0])
def test_a_dark_with_light_in_it_is_left_out_by_name(make_group, level):
    """It would raise the level of the dark, and no pixel of it would stand out from the others."""
    rng = np.random.default_rng(1)
    frames = [rng.normal(50 + k, 10, (40, 40)) for k in range(5)]
    frames[2] = np.full((40, 40), level)
    group = with_noise(make_group(["dark"] * 5, frames, makes="dark"), 100.0, 0.0)
    StackDarks().apply(group, StackParams(), CALL)
    assert np.median(group.streams["main"][0].data) == pytest.approx(52.0, abs=1.5)
    assert group.keywords["NCOMBINE"] == 4 and group.indices() == [0, 1, 3, 4]
    assert f"its level is {level:.0f} ADU, that of the others 5" in group.frames[2].reason


def test_two_darks_of_different_levels_are_both_used_and_named(make_group):
    group = with_noise(make_group(["dark"] * 2, [np.full((8, 8), 50.0), np.full((8, 8), 900.0)], makes="dark"), 100.0)
    StackDarks().apply(group, StackParams(), CALL)
    assert group.keywords["NCOMBINE"] == 2
    assert group.remarks == ["the levels of the 2 darks from f0.fits on differ: 50 to 900 ADU"]


def test_darks_of_two_levels_are_all_used(make_group):
    frames = [np.full((8, 8), level) for level in (100.0, 101.0, 100.0, 99.0, 100.0, 600.0, 601.0)]
    group = with_noise(make_group(["dark"] * 7, frames, makes="dark"), 100.0)
    StackDarks().apply(group, StackParams(), CALL)
    assert group.keywords["NCOMBINE"] == 7
    assert group.remarks == ["the levels of the 7 darks from f0.fits on differ: 99 to 601 ADU"]


def test_darks_whose_level_drifts_are_all_used(make_group):
    frames = [np.full((40, 40), level) for level in (130.0, 90.0, 62.0, 55.0, 52.0)]
    group = with_noise(make_group(["dark"] * 5, frames, makes="dark"), 100.0, 0.0)
    StackDarks().apply(group, StackParams(), CALL)
    assert group.keywords["NCOMBINE"] == 5


def test_a_lamp_that_was_off_is_left_out_of_the_lamps_and_the_other_way_round(make_group):
    rng = np.random.default_rng(1)
    lit = [rng.normal(1000.0 * (1 + 0.02 * k), 10, (40, 40)) for k in range(4)]
    dark = [rng.normal(600.0, 10, (40, 40)) for _ in range(4)]
    roles, frames = ["lamp_on"] * 5 + ["lamp_off"] * 5, [*lit, dark[0], *dark, lit[0]]
    group = with_noise(make_group(roles, frames, makes="flat"), 100.0, 0.0)
    MakeLampFlat().apply(group, StackParams(), CALL)
    assert (group.keywords["NCOMBINE"], group.keywords["NLAMPOFF"][0]) == (4, 4)
    assert [i for i, frame in enumerate(group.frames) if not frame.alive] == [4, 9]
    assert np.median(group.streams["main"][0].data) == pytest.approx(430.0, abs=2)


def test_darks_of_a_burst(make_group):
    n = 1100
    frames = [np.full((4, 4), 50.0 + k % 3) for k in range(n)]
    frames[7][1, 2] = 5000.0
    group = with_noise(make_group(["dark"] * n, frames, makes="dark"), 1.0)
    StackDarks().apply(group, StackParams(), CALL)
    np.testing.assert_allclose(group.streams["main"][0].data, 51.0, atol=0.01)
    assert group.keywords["NCOMBINE"] == n


def test_one_dark_of_one_pixel(make_group):
    group = make_group(["dark"], [np.array([[7.0]], np.float32)], makes="dark")
    StackDarks().apply(group, StackParams(), CALL)
    assert group.streams["main"][0].data.tolist() == [[7.0]]


def test_no_darks_and_darks_of_different_exposure_are_errors(make_group):
    group = make_group(["lamp_on"], [np.ones((4, 4))], makes="dark")
    with pytest.raises(StepError, match="no darks left"):
        StackDarks().apply(group, StackParams(), CALL)
    group = make_group(["dark", "dark"], [np.ones((4, 4))] * 2, makes="dark")
    object.__setattr__(group.frames[1].info.descriptors, "exposure_time", 21.0)
    with pytest.raises(StepError, match="different exposure times"):
        StackDarks().apply(group, StackParams(), CALL)


def test_lamp_on_minus_lamp_off_whatever_the_lamp_did(make_group):
    shape = np.linspace(0.8, 1.2, 64).reshape(8, 8)
    frames = [1000 * f * shape + 100 for f in (0.99, 1.0, 1.01)] + [np.full((8, 8), 100.0)] * 3
    group = with_noise(make_group(["lamp_on"] * 3 + ["lamp_off"] * 3, frames, makes="flat"), 100.0)
    MakeLampFlat().apply(group, StackParams(), CALL)
    np.testing.assert_allclose(group.streams["main"][0].data, 1000 * shape, rtol=0.002)
    assert not group.remarks
    NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    made = group.streams["main"][0]
    assert np.median(made.data) == pytest.approx(1.0, abs=1e-6)
    assert group.keywords["FLATLEV"][0] == pytest.approx(1000, rel=0.01)


def test_frames_of_a_lamp_that_failed_are_left_out_by_name(make_group):
    """Scaled to the level of the others, a lamp-on frame without light is noise in a flat that looks right."""
    rng = np.random.default_rng(8)
    shape = np.linspace(0.8, 1.2, 64 * 64).reshape(64, 64)
    light = [1.0, 0.004, 1.01, 0.99, 0.0, 0.0, 0.9]
    frames = [rng.normal(f * 40000 * shape + 5000, 30) for f in light]
    group = with_noise(make_group(["lamp_on"] * 4 + ["lamp_off"] * 3, frames, makes="flat"), 900.0, 0.0)
    MakeLampFlat().apply(group, StackParams(), CALL)
    NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    assert np.std(group.streams["main"][0].data / shape) < 0.001
    assert [i for i, frame in enumerate(group.frames) if not frame.alive] == [1, 6]
    assert "lamp or shutter failed" in group.remarks[0] and "the lamp was not off" in group.remarks[1]
    assert (group.keywords["NCOMBINE"], group.keywords["NLAMPOFF"][0]) == (3, 2)


def test_lamp_off_frames_whose_thermal_light_drifts_are_all_used(make_group):
    levels = [12000.0] * 3 + [8000.0, 8200.0, 8400.0, 8600.0]
    group = make_group(["lamp_on"] * 3 + ["lamp_off"] * 4, [np.full((8, 8), v) for v in levels], makes="flat")
    MakeLampFlat().apply(with_noise(group, 900.0, 0.0), StackParams(), CALL)
    assert group.keywords["NLAMPOFF"][0] == 4 and not group.remarks


def test_without_lamp_off_the_dark_is_taken_or_the_lack_is_said(make_group):
    frames = [np.full((8, 8), 1100.0)] * 2
    group = make_group(["lamp_on"] * 2, frames, makes="flat")
    MakeLampFlat().apply(group, StackParams(), CALL)
    assert "no lamp-off frames" in group.remarks[0]
    group = make_group(["lamp_on"] * 2, frames, makes="flat")
    group.calibrations["dark"] = Calibration([plane(np.full((8, 8), 100.0))])
    MakeLampFlat().apply(group, StackParams(), CALL)
    np.testing.assert_allclose(group.streams["main"][0].data, 1000.0)
    assert not group.remarks


@pytest.mark.parametrize(("holds_bias", "level"), [(True, 1050.0), (False, 1020.0)])
def test_dark_of_another_exposure_and_bias_are_subtracted_from_flats_as_from_frames(make_group, holds_bias, level):
    group = make_group(["flat"] * 2, [np.full((8, 8), 1100.0)] * 2, makes="flat")
    group.calibrations["dark"] = Calibration([plane(np.full((8, 8), 100.0))], scale=0.5, holds_bias=holds_bias)
    group.calibrations["bias"] = Calibration([plane(np.full((8, 8), 30.0))])
    MakeLampFlat().apply(with_noise(group, 900.0), StackParams(), CALL)
    (made,) = group.streams["main"]
    np.testing.assert_allclose(made.data, level)
    np.testing.assert_allclose(made.var, (900.0 + 1100.0) / 2 + 0.25 + (not holds_bias), rtol=1e-6)


def test_a_dark_without_variance_takes_none_from_the_flat(make_group):
    group = make_group(["flat"] * 2, [np.full((8, 8), 1100.0)] * 2, makes="flat")
    group.calibrations["dark"] = Calibration([replace(plane(np.full((8, 8), 100.0)), var=None)])
    MakeLampFlat().apply(with_noise(group, 900.0), StackParams(), CALL)
    np.testing.assert_allclose(group.streams["main"][0].var, (900.0 + 1100.0) / 2)


def test_the_dark_of_a_flat_is_scaled_as_its_rule_says(make_group):
    """A dark of 3 coadds and a flat of 6, in electrons."""
    shape = np.linspace(0.8, 1.2, 64).reshape(8, 8)
    group = make_group(["flat"] * 3, [1000 * shape + 200.0] * 3, makes="flat")
    master = plane(np.full((8, 8), 100.0), np.full((8, 8), DQ.BAD_PIXEL, np.uint16))
    group.calibrations["dark"] = Calibration([master], scale=2.0)
    MakeLampFlat().apply(with_noise(group, 100.0, 0.0), StackParams(), CALL)
    made = group.streams["main"][0]
    np.testing.assert_allclose(made.data, 1000 * shape, rtol=1e-6)
    np.testing.assert_allclose(made.var, 100.0 / 3 + 4.0, rtol=1e-6)
    assert np.all(made.dq == DQ.BAD_PIXEL)


def test_twilight_flats_keep_nothing_of_the_dark_and_weigh_by_their_light(make_group):
    """Their levels differ by a factor of 8; the dark's pattern does not brighten with them."""
    rng = np.random.default_rng(5)
    shape, pattern = np.linspace(0.5, 1.5, 64 * 64).reshape(64, 64), np.zeros((64, 64))
    pattern[:8] = 500.0
    levels = 80_000 * np.exp(-np.linspace(0, 2.1, 8))
    frames = [rng.normal(s := level * shape, np.sqrt(s + 100.0)) + pattern for level in levels]
    frames[3][40, 40] += 40_000.0
    group = with_noise(make_group(["flat"] * 8, frames, makes="flat"), 100.0)
    group.calibrations["dark"] = Calibration([plane(pattern)])
    MakeLampFlat().apply(group, StackParams(), CALL)
    NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    made = group.streams["main"][0]
    assert made.var is not None
    off, ideal = made.data / shape - 1.0, 1.0 / np.sqrt(levels.sum() * shape)
    assert np.std(off / ideal) == pytest.approx(1.0, abs=0.05)
    assert np.median(np.sqrt(made.var) / shape / ideal) == pytest.approx(1.0, abs=0.05)
    assert abs(np.mean(off[:8])) < 0.001 and abs(off[40, 40]) < 5 * ideal[40, 40]


def test_a_flat_without_light_is_an_error(make_group):
    group = make_group(["flat"], [np.ones((4, 4))], makes="flat")
    for data in (np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), -5.0)):
        group.streams["main"] = [plane(data)]
        with pytest.raises(StepError, match=r"median|no pixel of the flat is good"):
            NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    for bit, share in ((DQ.SATURATED, "100%"), (DQ.BAD_PIXEL, "0%")):
        group.streams["main"] = [plane(np.ones((4, 4)), np.full((4, 4), bit, np.uint16))]
        with pytest.raises(StepError, match=f"no pixel of the flat is good: {share} are saturated"):
            NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)


def test_a_flat_of_noise_is_an_error(make_group):
    """Of a keyhole without its mask the median is that of unlit pixels: any value near 0 may be positive."""
    group = make_group(["flat"], [np.ones((20, 20))], makes="flat")
    dim = np.full((20, 20), 0.2)
    dim[:3] = 1000.0
    group.streams["main"] = [Plane(dim.astype(np.float32), np.zeros((20, 20), np.uint16), np.full((20, 20), 9.0, "f4"))]
    with pytest.raises(StepError, match=r"median is 0\.2 ADU, the noise of its pixels 3"):
        NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)


def test_a_flat_that_is_saturated_in_part_says_so(make_group):
    group, flags = make_group(["flat"], [np.ones((4, 4))], makes="flat"), np.zeros((4, 4), np.uint16)
    flags[0], flags[1] = DQ.SATURATED, DQ.SATURATED | DQ.BAD_PIXEL
    group.streams["main"] = [plane(np.full((4, 4), 100.0), flags)]
    NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    assert group.remarks == ["25.0% of the flat's pixels are saturated and count as bad; use shorter exposures"]


def test_planes_keep_their_relative_sensitivity(make_group):
    group = make_group(["flat"], [np.ones((4, 4))], makes="flat")
    group.streams["main"] = [plane(np.full((4, 4), 100.0)), plane(np.full((4, 4), 300.0))]
    NormalizeFlat().apply(group, NormalizeFlat.Params(), CALL)
    a, b = group.streams["main"]
    assert b.data[0, 0] / a.data[0, 0] == pytest.approx(3.0) and a.data[0, 0] + b.data[0, 0] == pytest.approx(2.0)
    assert a.var is not None and a.var[0, 0] == pytest.approx(1 / 200**2)


def test_threshold_flags_and_fills(make_group):
    data = np.array([[1.0, 20.0, 0.001, -1.0, np.nan, 0.0]])
    dq = np.array([[0, 0, 0, 0, 0, 1]], np.uint16)
    group = make_group(["flat"], [np.ones((1, 6))], makes="flat")
    group.streams["main"] = [plane(data, dq)]
    ThresholdFlatfield().apply(group, ThresholdFlatfield.Params(), CALL)
    made = group.streams["main"][0]
    assert made.data.tolist() == [[1.0] * 6]
    assert made.dq.tolist() == [[0, 64, 64, 64, 64, 1]]


def test_the_flat_takes_over_the_lamps_that_its_mask_was_made_from(make_group):
    """Bit for bit what the flat makes of them alone, and once only; a mask of the whole group changes nothing."""
    rng = np.random.default_rng(3)
    roles = ["lamp_on"] * 3 + ["lamp_off"] * 3
    frames = [rng.normal(1000.0 if role == "lamp_on" else 100.0, 10, (64, 64)) for role in roles]
    mask = np.where(rng.random((64, 64)) < 0.05, np.uint16(DQ.BAD_PIXEL), np.uint16(0))
    unlit = np.zeros_like(mask)
    unlit[:20] = DQ.UNILLUMINATED

    def group(makes, static):
        flags = [static | unlit for _ in frames]
        made = with_noise(make_group(roles, frames, flags, makes=makes), 100.0)
        made.planes[0].inputs = CalibrationInputs(2.0, 1, 1.0, static_dq=static)
        return made

    alone, bpm, flat = group("flat", mask), group("bpm", np.zeros_like(mask)), group("flat", mask)
    step = MakeLampFlat()
    for frame in alone.frames:
        frame.info.path.write_bytes(b"raw")
    assert step.needs_frames(alone, StackParams())
    MakeLampFlat().apply(alone, StackParams(), CALL)
    object.__setattr__(flat, "context", bpm.context)
    MakeLampFlat().apply(bpm, StackParams(), CALL)
    assert len(bpm.context.lamp_stacks) == 2
    assert not step.needs_frames(flat, StackParams())
    assert step.needs_frames(flat, StackParams(nsigma=5.0))
    flat.frames[0].info.path.write_bytes(b"changed")
    assert step.needs_frames(flat, StackParams())
    flat.frames[0].info.path.write_bytes(b"raw")
    for state in flat.planes:  # not read again
        for i in range(len(roles)):
            state.sci.put(i, np.full((64, 64), np.nan, np.float32))
            state.dq.put(i, np.zeros((64, 64), np.uint16))
    MakeLampFlat().apply(flat, StackParams(), CALL)
    assert not bpm.context.lamp_stacks
    (one,), (other,) = alone.streams["main"], flat.streams["main"]
    for a, b in ((one.data, other.data), (one.dq, other.dq), (one.var, other.var)):
        assert a.tobytes() == b.tobytes()
    assert np.array_equal(other.dq, mask | unlit)


def test_flats_of_another_dark_are_not_taken_over(make_group):
    def group(makes, scale):
        made = with_noise(make_group(["flat"] * 3, [np.full((8, 8), 1200.0)] * 3, makes=makes), 100.0)
        made.calibrations["dark"] = Calibration([plane(np.full((8, 8), 100.0))], scale=scale)
        return made

    bpm, alike, other = group("bpm", 2.0), group("flat", 2.0), group("flat", 1.0)
    for frame in bpm.frames:
        frame.info.path.write_bytes(b"raw")
    MakeLampFlat().apply(bpm, StackParams(), CALL)
    for flat in (alike, other):
        object.__setattr__(flat, "context", bpm.context)
    assert MakeLampFlat().needs_frames(other, StackParams())
    assert not MakeLampFlat().needs_frames(alike, StackParams())
    MakeLampFlat().apply(alike, StackParams(), CALL)
    assert np.all(alike.streams["main"][0].data == 1000.0)
