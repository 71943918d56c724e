"""Data-quality flags in kernels, and flag planes as masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel

#: Bits of the flags, those of `nirred.dq.DQ`: kernels need plain numbers.
BAD_PIXEL, NON_LINEAR, SATURATED, COSMIC_RAY, NO_DATA, OVERLAP, UNILLUMINATED = 1, 2, 4, 8, 16, 32, 64


@kernel
def _flagged(dq: np.ndarray, bits: np.uint16, out: np.ndarray) -> None:
    for r in range(dq.shape[0]):
        source, target = dq[r], out[r]
        for c in range(source.size):
            target[c] = (source[c] & bits) != 0


def flagged(dq: NDArray[np.uint16], bits: int) -> NDArray[np.uint8]:
    """uint8 of the shape of `dq`, 2-D: 1 where any of the bits is set."""
    out = np.empty(dq.shape, np.uint8)
    _flagged(np.ascontiguousarray(dq), np.uint16(bits), out)
    return out


@kernel
def _mark(dq: np.ndarray, bits: np.uint16, mask: np.ndarray) -> None:
    for r in range(dq.shape[0]):
        target, source = dq[r], mask[r]
        for c in range(target.size):
            target[c] = (target[c] & ~bits) | (bits if source[c] != 0 else np.uint16(0))


def mark(dq: NDArray[np.uint16], bits: int, mask: NDArray[np.uint8]) -> None:
    """Set bits of a 2-D `dq`, in place, where `mask` is not 0, and clear them elsewhere."""
    _mark(dq, np.uint16(bits), mask)
