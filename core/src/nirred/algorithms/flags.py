"""Flag planes as masks."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray


@njit(nogil=True, cache=True, error_model="numpy")
def _flagged(dq, bits, out):  # type: ignore[no-untyped-def]
    for r in range(dq.shape[0]):
        source, target = dq[r], out[r]
        for c in range(source.size):
            target[c] = (source[c] & bits) != 0


def flagged(dq: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """uint8 of the shape of `dq`, 2-D: 1 where any of the bits is set."""
    out = np.empty(dq.shape, np.uint8)
    _flagged(np.ascontiguousarray(dq), np.uint16(bits), out)
    return out
