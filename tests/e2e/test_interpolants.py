"""Every interpolant preserves the fluxes and positions of stars in the single resampling."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from nirred.params import Setting
from nirred.plan.options import PlanOptions, with_parameters
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.pytest_plugin import NightCache

METHODS = ("bilinear", "nearest", "interp", "adaptive", "exact", "none")


def stack(nights: NightCache, out: Path, method: str) -> SimpleNamespace:
    """Tables of the night's stack by one method; calibrations are made once and reused."""
    registry = Registry.discover(only=["niri"])
    night = nights.night("niri", registry)
    settings = (Setting("resample_to_common_frame", "interpolant", method, "test"),)
    plan = with_parameters(PlanOptions(), settings, registry)
    assert run([night.raw_dir], out, RunOptions(plan, jobs=1), registry).exit_code == 0
    with fits.open(out / night.groups["dither"].product) as hdus:
        tables = {name.lower(): np.array(hdus[name].data) for name in ("SCI", "OBJCAT", "FRAMES")}
    return SimpleNamespace(**tables)


@pytest.fixture(scope="module")
def stacks(nirred_nights: NightCache, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimpleNamespace]:
    out = tmp_path_factory.mktemp("interpolants")
    return {method: stack(nirred_nights, out, method) for method in ("lanczos3", *METHODS)}


@pytest.mark.parametrize("method", METHODS)
def test_stars_are_where_and_as_bright_as_with_lanczos3(stacks: dict[str, SimpleNamespace], method: str) -> None:
    usual, frames, ours = stacks["lanczos3"].objcat, stacks["lanczos3"].frames, stacks[method].objcat
    distance = np.hypot(*(usual[axis][:, None] - ours[axis] for axis in ("X_IMAGE", "Y_IMAGE")))
    match = distance.argmin(axis=1)
    good = (distance.min(axis=1) < 1.0) & (usual["FLAGS"] == 0) & (ours["FLAGS"][match] == 0) & (usual["SNR"] > 50)
    assert np.count_nonzero(good) >= 8
    ratio = (ours["FLUX_AUTO"][match] / usual["FLUX_AUTO"])[good]
    wider = method == "adaptive"  # which makes stars wider: a Kron aperture contains another fraction of their wings
    assert np.median(ratio) == pytest.approx(1.0, abs=0.02 if wider else 0.01)
    whole = method in ("nearest", "none")
    for axis, offset in (("X_IMAGE", "xoff"), ("Y_IMAGE", "yoff")):
        moved = np.median((ours[axis][match] - usual[axis])[good])
        rounded = np.sum(frames["weight"] * (frames[offset] - np.floor(frames[offset] + 0.5)))
        assert moved == pytest.approx(rounded if whole else 0.0, abs=0.02)


def test_none_shifts_by_whole_pixels(stacks: dict[str, SimpleNamespace]) -> None:
    np.testing.assert_array_equal(stacks["none"].sci, stacks["nearest"].sci)


@pytest.mark.parametrize("method", ["interp", "exact"])
def test_reproject_agrees_with_bilinear(stacks: dict[str, SimpleNamespace], method: str) -> None:
    """For a pure shift all three have the same weights; edges differ, and so, slightly, the stack's zero level."""
    ours, theirs = stacks["bilinear"].sci, stacks[method].sci
    inner = np.isfinite(ours) & np.isfinite(theirs)
    assert inner.mean() > 0.7
    difference = (ours - theirs)[inner]
    zero = np.median(difference)
    assert abs(zero) < 0.5  # of a sky of thousands, electron
    assert np.mean(np.abs(difference - zero) < 0.01) > 0.97
