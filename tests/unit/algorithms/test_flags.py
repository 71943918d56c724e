"""Bits of flags, and flag planes as masks, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms import flags
from nirred.algorithms.flags import flagged, mark
from nirred.dq import DQ


def test_bits_of_the_kernels_are_those_of_frames():
    assert {bit.name: getattr(flags, str(bit.name)) for bit in DQ} == {bit.name: int(bit) for bit in DQ}


@pytest.mark.parametrize("shape", [(1, 1), (7, 33)])
@pytest.mark.parametrize("bits", [1, 6, 0x8000, 0xFFFF])
def test_flagged_and_mark_are_the_plain_ones(shape, bits):
    rng = np.random.default_rng(bits)
    dq = rng.integers(0, 1 << 16, shape).astype(np.uint16)
    dq[rng.random(shape) < 0.5] = 0
    mask = flagged(dq, bits)
    assert mask.dtype == np.uint8 and np.array_equal(mask, (dq & bits) != 0)
    assert np.array_equal(flagged(dq.T, bits), mask.T)
    chosen, before = rng.integers(0, 3, shape).astype(np.uint8), dq.copy()
    mark(dq, bits, chosen)
    assert np.array_equal(dq, (before & ~np.uint16(bits)) | np.where(chosen != 0, bits, 0))
