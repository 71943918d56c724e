"""What the working state of a detector tells of its frames."""

from __future__ import annotations

import numpy as np

from nirred.states import PlaneState
from nirred.store import PlaneStack


def test_what_a_level_becomes_by_the_flat() -> None:
    """It was there before the flat was divided out: more of it is left where the flat is low, pixels apart."""
    v, u = np.mgrid[:256, :256] / 256 - 0.5
    rng = np.random.default_rng(3)
    smooth = 1 - 0.3 * (u**2 + v**2)
    flat = smooth * rng.normal(1, 0.02, smooth.shape)
    state = PlaneState(PlaneStack((1, 256, 256), np.float32), PlaneStack((1, 256, 256), np.uint16))
    state.dq.put(0, (rng.random(flat.shape) < 0.05).astype(np.uint16))
    state.per_electron = np.where(state.bad(0), 1e6, 1 / flat)
    gain = state.electronic_gain(0)
    assert gain is not None
    np.testing.assert_allclose(gain * smooth, np.median(gain * smooth), rtol=0.02)
    state.per_electron = 1.0
    assert state.electronic_gain(0) is None
