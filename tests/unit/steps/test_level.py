"""The step that brings a stack to its zero level."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nirred.algorithms.zero_level import zero_level
from nirred.coadd import Layout
from nirred.frame import Plane
from nirred.geometry import Target
from nirred.plugin import Amplifier, S, Section
from nirred.steps.level import LevelStack


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

    monkeypatch.setattr("nirred.steps.level.zero_level", spy)
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
