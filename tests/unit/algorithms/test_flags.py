"""Flag planes as masks, compared with numpy."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.flags import flagged, mark


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
