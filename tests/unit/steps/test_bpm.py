"""Bad-pixel masks from flats and short darks."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.errors import StepError
from nirred.frame import Plane
from nirred.plugin import S
from nirred.steps.bpm import MakeBPM

CALL = S("any")


def plane(data, dq=None):
    data = np.asarray(data, np.float32)
    return Plane(data, np.zeros(data.shape, np.uint16) if dq is None else dq, np.ones(data.shape, np.float32))


def bpm(group, flat, dark=None, **params):
    group.setup.electrons = True
    group.streams["main"] = [plane(flat)]
    if dark is not None:
        group.streams["darks"] = [plane(dark)]
    MakeBPM().apply(group, MakeBPM.Params(**params), CALL)
    return group.streams["main"][0].dq


def test_bad_pixels_from_flat_and_dark(make_group):
    group = make_group(["flat"], [np.ones((256, 256))], makes="bpm")
    flat, dark = np.linspace(0.7, 1.3, 256**2).reshape(256, 256), np.zeros((256, 256))
    flat[10, 10], flat[20, 20], dark[30, 30], dark[40, 40] = 0.0, 3.0, 5000.0, -500.0
    limits = {"flat_lo_thresh": 0.8, "flat_hi_thresh": 1.25, "dark_lo_thresh": -20.0, "dark_hi_thresh": 1300.0}
    dq = bpm(group, flat, dark, **limits)
    assert {tuple(p) for p in np.argwhere(dq)} == {(10, 10), (20, 20), (30, 30), (40, 40)}
    assert group.keywords["BADFRAC"][0] == pytest.approx(4 / 256**2, abs=1e-6)
    with pytest.raises(StepError, match="dark_hi_thresh"):
        bpm(group, flat, dark, dark_lo_thresh=10, dark_hi_thresh=5)


def test_the_share_of_bad_pixels_is_of_those_that_see_light(make_group):
    """A keyhole illuminates a twentieth of its array."""
    group = make_group(["flat"], [np.ones((64, 64))], makes="bpm")
    flat, dq = np.ones((64, 64)), np.zeros((64, 64), np.uint16)
    flat[5, 5], flat[50, 50], dq[16:] = 0.1, 0.1, 64
    group.streams["main"] = [plane(flat, dq)]
    MakeBPM().apply(group, MakeBPM.Params(), CALL)
    assert np.argwhere(group.streams["main"][0].dq).tolist() == [[5, 5]]
    assert group.keywords["BADFRAC"][0] == pytest.approx(1 / 1024, abs=1e-6)
    group.streams["main"] = [plane(flat, np.full((64, 64), 64, np.uint16))]
    MakeBPM().apply(group, MakeBPM.Params(), CALL)
    assert group.keywords["BADFRAC"][0] == 0.0


@pytest.mark.parametrize("level", [-70.0, 150.0])
def test_a_quadrant_of_another_zero_level_is_not_bad(make_group, level):
    rng = np.random.default_rng(6)
    group = make_group(["flat"], [np.ones((256, 256))], makes="bpm")
    dark = rng.normal(0, 5, (256, 256))
    dark[:128, 128:] += level
    dark[30, 200], dark[40, 210], dark[200, 30], dark[210, 40] = min(level, 0) - 90, max(level, 0) + 200, -60.0, 160.0
    dq = bpm(group, np.ones((256, 256)), dark, dark_lo_thresh=-20.0, dark_hi_thresh=100.0)
    bad = dq != 0
    assert bad[30, 200] and bad[40, 210] and bad[200, 30] and bad[210, 40]
    assert np.count_nonzero(bad) == 4


def test_limits_of_darks_in_adu_are_in_electrons_all_the_same(make_group):
    group = make_group(["flat"], [np.ones((64, 64))], makes="bpm")  # 2 electrons per ADU
    dark = np.zeros((64, 64))
    dark[30, 30], dark[40, 40] = 60.0, 40.0
    group.streams["main"], group.streams["darks"] = [plane(np.ones((64, 64)))], [plane(dark)]
    MakeBPM().apply(group, MakeBPM.Params(dark_hi_thresh=100.0), CALL)
    assert np.argwhere(group.streams["main"][0].dq).tolist() == [[30, 30]]


def test_without_limits_the_dark_says_what_stands_out(make_group):
    """A camera without configured limits: hot pixels are those above 20 times the scatter, despite a smooth glow."""
    rng = np.random.default_rng(8)
    group = make_group(["flat"], [np.ones((256, 256))], makes="bpm")
    glow = 300.0 * np.exp(-((np.hypot(*np.indices((256, 256))) / 150) ** 2))
    flat, dark = rng.normal(1, 0.03, (256, 256)), glow + rng.normal(0, 5, (256, 256))
    flat[10, 10], flat[20, 20], flat[50, 50], dark[30, 30], dark[40, 40], dark[60, 60] = 0.3, 1.6, 0.8, 800, -300, 80
    found = {tuple(p) for p in np.argwhere(bpm(group, flat, dark))}
    assert found == {(10, 10), (20, 20), (30, 30), (40, 40)}
    assert (30, 30) not in {tuple(p) for p in np.argwhere(bpm(group, flat, dark, dark_hi_thresh=1e4))}
    assert not bpm(group, np.ones((256, 256)), np.zeros((256, 256))).any()
    assert bpm(make_group(["flat"], [np.ones((1, 1))], makes="bpm"), np.ones((1, 1)), np.zeros((1, 1))).shape == (1, 1)
