"""Flats made of dithered frames of the sky."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirred.dq import DQ
from nirred.errors import StepError
from nirred.group import Group
from nirred.plugin import S
from nirred.steps.calibrations import NormalizeFlat, ThresholdFlatfield
from nirred.steps.skyflat import MakeSkyFlat

CALL = S("make_sky_flat")
SKY = 5000.0


def frames_with_a_star(step: float, number: int = 5, side: int = 120) -> list[np.ndarray]:
    """Frames of even sky whose one star is `step` pixels further in each."""
    rng, (y, x) = np.random.default_rng(1), np.mgrid[:side, :side]
    places = side / 2 + step * (np.arange(number) - number // 2)
    lights = [3e4 * np.exp(-((x - place) ** 2 + (y - side / 2) ** 2) / 18.0) for place in places]
    return [rng.poisson(SKY + light).astype(np.float32) for light in lights]


def flat_of(make_group: Any, frames: list[np.ndarray]) -> Group:
    group: Group = make_group(["both"] * len(frames), frames, makes="skyflat")
    group.planes[0].constant, group.planes[0].per_electron = 0.0, 1.0
    for step in (MakeSkyFlat(), NormalizeFlat(), ThresholdFlatfield()):
        step.apply(group, step.Params(), CALL)
    return group


def test_a_sky_flat_of_too_few_frames_is_refused(make_group: Any) -> None:
    group = make_group(["object"] * 2, [np.ones((8, 8), np.float32)] * 2)
    with pytest.raises(StepError, match=r"only 2 frames \(.* \.\.\.\); a sky flat is made of at least 3"):
        MakeSkyFlat().apply(group, MakeSkyFlat.Params(), CALL)


def test_a_dithered_star_leaves_no_trace_and_var_is_the_scatter(make_group: Any) -> None:
    group = flat_of(make_group, frames_with_a_star(25.0))
    (flat,) = group.streams["main"]
    assert not flat.dq.any() and flat.data[50:70].mean() == pytest.approx(1.0, abs=2e-3)
    assert flat.data[:30].std() == pytest.approx(float(np.sqrt(flat.var[:30].mean())), rel=0.05)


def test_pixels_that_a_star_covers_in_every_frame_have_no_flat(make_group: Any) -> None:
    """A flat with the star in it would divide stars away there."""
    group = flat_of(make_group, frames_with_a_star(1.5))
    (flat,) = group.streams["main"]
    assert flat.dq[60, 60] == DQ.NO_DATA and flat.data[60, 60] == 1.0
    assert np.abs(flat.data[flat.dq == 0] - 1.0).max() < 0.06
    assert any("in every frame: no flat there" in remark for remark in group.remarks)


def test_levels_are_those_of_the_sky_whatever_objects_cover_in_an_uneven_field(make_group: Any) -> None:
    """A wide object hides the dim side of a field in some frames and the bright one in others."""
    rng, side = np.random.default_rng(3), 160
    y, x = np.mgrid[:side, :side]
    truth = 1.0 + 0.3 * (x / (side - 1) - 0.5)
    frames = []
    for k, place in enumerate((25, 60, 95, 130)):
        light = 800.0 * np.exp(-((x - place) ** 2 + (y - side / 2) ** 2) / (2 * 14.0**2))
        frames.append(rng.poisson((SKY + 100.0 * k + light) * truth).astype(np.float32))
    (flat,) = flat_of(make_group, frames).streams["main"]
    ratio = np.where(flat.dq == 0, flat.data / truth, np.nan)[30:130]
    columns = np.nanmean(ratio, axis=0) / np.nanmedian(ratio)
    assert np.nanmax(np.abs(columns - 1.0)) < 6e-3
