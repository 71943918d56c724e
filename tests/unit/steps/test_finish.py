"""Zero level of a stack."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nirred.algorithms.resample_kernels import kernel_correlation
from nirred.algorithms.resample_shift import shift_rows
from nirred.coadd import Layout
from nirred.frame import Plane
from nirred.geometry import Target
from nirred.plugin import Amplifier, S, Section
from nirred.steps.finish import LevelStack, stack_objects, zero_level

SHAPE = (200, 400)


def stack(deep: int, shallow: float, faint: float) -> Plane:
    """Noise of variance 1 in the first columns, of five times that in the others, where faint light is left."""
    rng = np.random.default_rng(1)
    var = np.ones(SHAPE, np.float32)
    var[:, deep:] = shallow
    data = np.sqrt(var) * rng.standard_normal(SHAPE) + 10.0
    data[:, deep:] += faint
    return Plane(data.astype(np.float32), np.zeros(SHAPE, np.uint16), var)


def exposures(deep: int, shallow: int) -> np.ndarray:
    """Fifty in the first columns, so many in the others."""
    count = np.full(SHAPE, 50, np.uint16)
    count[:, deep:] = shallow
    return count


def test_level_is_that_of_blank_pixels() -> None:
    plane = stack(400, 1.0, 0.0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:50], plane.data[:50] = 1, 1000.0
    plane.data[50, 0] = np.nan
    value, error = zero_level(plane, exposures(400, 50), mask)
    assert value == pytest.approx(10.0, abs=4 * error) and 0.003 < error < 0.02


def test_level_is_taken_where_the_stack_is_deep() -> None:
    value, error = zero_level(stack(200, 5.0, 0.5), exposures(200, 10), np.zeros(SHAPE, np.uint8))
    assert value == pytest.approx(10.0, abs=0.03) and error < 0.3


def test_pixels_of_half_the_depth_are_not_chosen_by_their_own_noise() -> None:
    """VAR rises slightly with a pixel's value: of the pixels at the limit, only low ones would count."""
    plane = stack(200, 2.0, 0.0)
    assert plane.var is not None
    plane.var[:] *= 1.0 + 0.02 * (plane.data - 10.0)
    for shallow in (24, 25):
        value, _ = zero_level(plane, exposures(200, shallow), np.zeros(SHAPE, np.uint8))
        assert value == pytest.approx(10.0, abs=0.02)


def test_a_small_deep_part_does_not_decide() -> None:
    value, _ = zero_level(stack(50, 5.0, 0.5), exposures(50, 10), np.zeros(SHAPE, np.uint8))
    assert value > 10.3


def test_no_blank_pixel_at_all() -> None:
    plane = Plane(np.full(SHAPE, np.nan, np.float32), np.zeros(SHAPE, np.uint16), np.ones(SHAPE, np.float32))
    assert zero_level(plane, np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)) == (0.0, float("inf"))


@pytest.mark.parametrize(("kernel", "shift"), [("nearest", 0.0), ("lanczos3", 0.4), ("bilinear", 0.5)])
def test_the_level_of_resampled_pixels_scatters_as_its_error_says(kernel: str, shift: float) -> None:
    """Interpolated pixels scatter by less than predicted by `VAR`, down to half, and are not independent."""
    rng = np.random.default_rng(9)
    shape, found = (120, 120), []
    nothing, even = np.zeros(shape, np.uint16), np.full(shape, 5, np.uint16)
    for _ in range(200):
        noise = rng.standard_normal((128, 128), np.float32)
        drawn, _ = shift_rows(noise, None, shift, shift, kernel=kernel, shape=shape, origin=(4, 4))
        plane = Plane(drawn, nothing, np.ones(shape, np.float32))
        cov = kernel_correlation(shift, shift, kernel)
        found.append(zero_level(plane, even, np.zeros(shape, np.uint8), None, cov))
    levels, errors = np.transpose(found)
    assert np.median(errors) == pytest.approx(levels.std(), rel=0.12)
    if kernel == "nearest":
        assert zero_level(plane, even, np.zeros(shape, np.uint8)) == found[-1]


def test_the_outskirts_of_a_galaxy_are_taken_off_the_level() -> None:
    """An exponential disc whose light reaches beyond every mask, on a sky of 3."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:384, :384]
    disc = 20.0 * np.exp(-np.hypot(x - 200.0, (y - 180.0) / 0.7) / 45.0)
    image = (3.0 + disc + rng.normal(0, 1, disc.shape)).astype(np.float32)
    plane = Plane(image, np.zeros(disc.shape, np.uint16), np.ones_like(image))
    mask, objects = stack_objects(plane, 3.0)
    even = np.full(disc.shape, 5, np.uint16)
    lit, stated = zero_level(plane, even, mask)
    told, error = zero_level(plane, even, mask, objects)
    beyond = float(disc[mask == 0].mean())
    assert beyond > 0.004
    assert abs(told - 3.0) < 3 * error < 0.2
    assert 0.5 * beyond < lit - told < 2.5 * beyond
    assert error >= stated


def test_sources_too_faint_to_be_found_are_part_of_the_error() -> None:
    """Sources whose number is proportional to flux^-0.75: the faintest contribute to the level."""
    rng = np.random.default_rng(7)
    image = rng.normal(0, 1, (512, 512))
    flux = 3.0 * rng.random(1300) ** (-1 / 0.75)
    light = np.zeros_like(image)
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x * x + y * y) / 8.0) / (8.0 * np.pi)
    for f, (j, i) in zip(np.minimum(flux, 1e5), rng.integers(12, 500, (1300, 2)), strict=True):
        light[j - 12 : j + 13, i - 12 : i + 13] += f * star
    image = (image + light).astype(np.float32)
    plane = Plane(image, np.zeros(image.shape, np.uint16), np.ones_like(image))
    mask, objects = stack_objects(plane, 3.0)
    even = np.full(image.shape, 5, np.uint16)
    _, error = zero_level(plane, even, mask, objects)
    _, blind = zero_level(plane, even, mask)
    assert blind < 0.5 * error
    assert 0.7 * error < light[mask == 0].mean() < 2.0 * error


def test_a_wide_dither_does_not_make_the_level_uncertain() -> None:
    """Blank pixels of all depths have no single mode: the deep ones show the effect of sources too faint to mask."""
    rng = np.random.default_rng(8)
    count = np.repeat(np.arange(1, 10), 40)[:, None] * np.ones((1, 360), int)
    image = (rng.standard_normal(count.shape) / np.sqrt(count)).astype(np.float32)
    plane = Plane(image, np.zeros(count.shape, np.uint16), (1.0 / count).astype(np.float32))
    value, error = zero_level(plane, count.astype(np.uint16), np.zeros(count.shape, np.uint8))
    assert abs(value) < 3 * error
    assert error < 0.004


def test_without_extended_objects_the_level_is_that_of_the_blank_pixels() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(3, 1, (256, 256)).astype(np.float32)
    image[100:106, 100:106] += 50
    plane = Plane(image, np.zeros(image.shape, np.uint16), np.ones_like(image))
    mask, objects = stack_objects(plane, 3.0)
    even = np.full(image.shape, 5, np.uint16)
    assert zero_level(plane, even, mask, objects) == zero_level(plane, even, mask)


@pytest.mark.parametrize("sunk", [True, False])
def test_a_hollow_round_a_wide_object_is_part_of_the_error(sunk: bool) -> None:
    rng = np.random.default_rng(2)
    v, u = np.mgrid[:400, :400]
    r = np.hypot(u - 200, v - 200)
    light = 20.0 * np.exp(-r / 25) - 0.5 * np.exp(-(((r - 140) / 25) ** 2))
    data = (light + rng.standard_normal(r.shape)).astype(np.float32)
    plane = Plane(data, np.zeros(r.shape, np.uint16), np.ones(r.shape, np.float32))
    mask, objects = stack_objects(plane, 3.0)
    _, error = zero_level(plane, np.ones(r.shape, np.uint16), mask, objects, sunk=sunk)
    assert (error > 0.5) is sunk and error < 2.0


def test_a_level_behind_wide_objects_is_remarked(make_group) -> None:
    group = make_group(["both"] * 3, [np.zeros((64, 64), np.float32)] * 3)
    for frame in group.frames:
        frame.sky, frame.weight = 1000.0, 1.0 / 3
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((64, 64)).astype(np.float32)
    group.streams["main"] = [Plane(noise, np.zeros((64, 64), np.uint16), np.ones((64, 64), np.float32))]
    group.stack.nexp = [np.full((64, 64), 3, np.uint16)]
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    assert not group.remarks
    group.objects.hidden = 0.2
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    assert "cover 20% of the detector in every frame" in group.remarks[0]


@pytest.mark.parametrize("filled", [0, 1])
def test_a_detector_that_a_target_fills_has_the_level_and_error_of_its_sky_frames(make_group, filled: int) -> None:
    """That of another one is its own stack's; a mosaic of both has the error of the one that is filled."""
    blank = [np.zeros((64, 64), np.float32)] * 3
    group = make_group(["object"] * 3, blank)
    group.planes += make_group(["object"] * 3, blank).planes
    for frame in group.frames:
        frame.weight = 1.0 / 3
    group.planes[filled].filled = True
    for p, state in enumerate(group.planes):
        state.sky_err = dict.fromkeys(range(3), 7.0 if p == filled else 0.1)
    shapes, noise = (64, 64), np.random.default_rng(3).normal(5.0, 1.0, (2, 64, 64)).astype(np.float32)
    planes = [Plane(n, np.zeros(shapes, np.uint16), np.ones(shapes, np.float32)) for n in noise]
    group.streams["main"], group.stack.nexp = planes, [np.full(shapes, 3, np.uint16)] * 2
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    levels = [float(np.median(plane.data)) for plane in group.streams["main"]]
    assert levels[filled] == pytest.approx(5.0, abs=0.1) and levels[1 - filled] == pytest.approx(0.0, abs=0.1)
    assert group.keywords["LEVELERR"][0] == pytest.approx(7.0)
    group.streams["main"], group.stack.nexp = planes[:1], group.stack.nexp[:1]
    group.stack.layouts = [Layout(Target(0, 0, (0, 1)), {})]
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    assert np.median(group.streams["main"][0].data) == pytest.approx(5.0, abs=0.1)
    assert group.keywords["LEVELERR"][0] == pytest.approx(7.0)


def test_behind_objects_of_a_keyhole_the_level_may_hold_their_light(make_group, monkeypatch) -> None:
    """The detector round it is dark: what they hide is little of that, and much of what there is."""
    group = make_group(["both"] * 3, [np.zeros((64, 64), np.float32)] * 3)
    for frame in group.frames:
        frame.weight = 1.0 / 3
    noise = np.random.default_rng(3).standard_normal((64, 64)).astype(np.float32)
    group.streams["main"] = [Plane(noise, np.zeros((64, 64), np.uint16), np.ones((64, 64), np.float32))]
    group.stack.nexp = [np.full((64, 64), 3, np.uint16)]
    asked: list[bool] = []

    def spy(*what: Any, sunk: bool) -> tuple[float, float]:
        asked.append(sunk)
        return zero_level(*what, sunk=sunk)

    monkeypatch.setattr("nirred.steps.finish.zero_level", spy)
    for buried in (False, True):
        group.objects.buried = buried
        LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    assert asked == [False, True]
    assert not group.remarks


@pytest.mark.parametrize(("columns", "advised"), [(0, True), (256, True), (64, False)])
def test_uneven_sky_is_told_with_advice_that_suits_the_readout(make_group, columns: int, advised: bool) -> None:
    """`clean_readout` works on quadrants: it is not applicable to detectors with other readout sections."""
    group = make_group(["object"], [np.zeros((512, 512), np.float32)])
    info = group.frames[0].info
    rows = 256 if columns == 256 else 512
    parts = [Section(x, x + columns, 0, rows) for x in range(0, 512, columns or 512) if columns]
    made = replace(info.detectors[0], shape=(512, 512), amplifiers=tuple(Amplifier("", s) for s in parts))
    group.frames[0].info = replace(info, detectors=(made,))
    data = np.random.default_rng(7).normal(0, 1, (512, 512)).astype(np.float32)
    data += np.repeat(np.arange(8) % 2, 64).astype(np.float32)
    group.streams["main"] = [Plane(data, np.zeros(data.shape, np.uint16), np.ones_like(data))]
    group.stack.nexp = [np.ones(data.shape, np.uint16)]
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    (told,) = group.remarks
    assert "blank sky is uneven" in told
    assert ("clean_readout" in told) is advised


def test_lumps_of_the_sky_become_variance_but_no_more_for_stars(make_group) -> None:
    from scipy.ndimage import gaussian_filter

    group = make_group(["object"] * 2, [np.zeros((512, 512), np.float32)] * 2)
    rng = np.random.default_rng(6)
    lumps = gaussian_filter(rng.standard_normal((512, 512)), 12.0)
    data = (rng.standard_normal((512, 512)) + 0.08 * lumps / lumps.std()).astype(np.float32)
    var = np.ones((512, 512), np.float32)
    data[100:104, 100:104], var[100:104, 100:104] = 500.0, 40.0
    group.streams["main"] = [Plane(data, np.zeros(data.shape, np.uint16), var)]
    group.stack.noisecov, group.stack.nexp = np.pad(np.ones((1, 1)), 3), [np.full(data.shape, 2, np.uint16)]
    LevelStack().apply(group, LevelStack.Params(), S("level_stack"))
    made, cov = group.streams["main"][0].var, group.stack.noisecov
    assert var[0, 0] == 1.0 and 1.2 < made[0, 0] < 2.5
    assert made[102, 102] == pytest.approx(40.0 + 1.5 * (made[0, 0] - 1.0))
    assert cov.sum() == pytest.approx(1.0)
    assert group.keywords["CORRFAC"][0] ** 2 * made[0, 0] == pytest.approx(1.0)  # pixels scatter as before
