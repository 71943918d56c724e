"""Exposures of one position, combined with their sky."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirred.dq import DQ
from nirred.plugin import S
from nirred.steps.calibrations import StackParams
from nirred.steps.stare import CombineExposures

CALL = S("combine_exposures")


def test_exposures_are_counted_as_they_are_combined(make_group: Any) -> None:
    """A cosmic ray is in no count; what is bad in every frame has neither value nor variance; VAR is the scatter."""
    rng, side = np.random.default_rng(2), 100
    frames = [rng.normal(1000.0, 40.0, (side, side)).astype(np.float32) for _ in range(5)]
    frames[2][10, 10] += 1e5
    flags = [np.zeros((side, side), np.uint16) for _ in frames]
    for k, dq in enumerate(flags):
        dq[20, 20] = DQ.BAD_PIXEL if k % 2 else DQ.COSMIC_RAY
        dq[30, 30] = DQ.SATURATED
    flags[0][40, 40] = DQ.BAD_PIXEL
    group = make_group(["both"] * 5, frames, flags)
    group.planes[0].constant, group.planes[0].per_electron = 600.0, 1.0
    CombineExposures().apply(group, StackParams(), CALL)
    (made,), (count,) = group.streams["main"], group.stack.nexp
    assert [int(count[k, k]) for k in (0, 10, 20, 30, 40)] == [5, 4, 0, 5, 4]
    assert np.isnan(made.data[20, 20]) and np.isnan(made.var[20, 20]) and made.dq[20, 20] & DQ.NO_DATA
    assert made.dq[30, 30] == DQ.SATURATED and not made.dq[40, 40] and not made.dq[10, 10]
    assert made.var[10, 10] == pytest.approx(float(made.var[0, 0]) * 5 / 4, rel=0.1)
    assert np.nanstd(made.data) == pytest.approx(float(np.sqrt(np.nanmedian(made.var))), rel=0.03)
