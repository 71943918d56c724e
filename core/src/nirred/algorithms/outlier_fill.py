"""Fill unusable pixels without a model value by the mean of good pixels around them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.flags import flagged


@subkernel
def _mean_around(data: np.ndarray, dq: np.ndarray, bits: np.uint16, y: int, x: int) -> np.float32:
    """Mean of the good pixels in 3 x 3, else 5 x 5, else 7 x 7; 0 without any."""
    ny, nx = data.shape
    for reach in range(1, 4):
        total, n = 0.0, 0
        for yy in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for xx in range(max(x - reach, 0), min(x + reach + 1, nx)):
                if dq[yy, xx] & bits == 0:
                    total += data[yy, xx]
                    n += 1
        if n > 0:
            return np.float32(total / n)
    return np.float32(0)


@subkernel
def _good_blocks(dq: np.ndarray, bits: np.uint16, y: int, block: int, known: np.ndarray, good: np.ndarray) -> bool:
    """Whether any pixel around this block of 16 pixels of row y is good: three blocks of seven rows, each seen once."""
    nx = dq.shape[1]
    for yy in range(max(y - 3, 0), min(y + 4, dq.shape[0])):
        for b in range(max(block - 1, 0), min(block + 2, good.shape[1])):
            if not known[yy, b]:
                known[yy, b] = 1
                for x in range(16 * b, min(16 * b + 16, nx)):
                    good[yy, b] |= dq[yy, x] & bits == 0
            if good[yy, b]:
                return True
    return False


@kernel
def fill_lost(data: np.ndarray, dq: np.ndarray, bits: np.uint16, rows: np.ndarray) -> None:
    """Set unusable pixels that are not finite, in marked `rows`, to the mean of good ones around, else 0."""
    ny, nx = data.shape
    blocks = (nx + 15) // 16  # where three of them and seven rows hold no good pixel, none is sought
    known, good = np.zeros((ny, blocks), np.uint8), np.zeros((ny, blocks), np.uint8)
    lost = np.zeros((nx + 7) // 8 * 8, np.uint8)
    words = lost.view(np.uint64)
    for y in np.flatnonzero(rows):
        row, flags = data[y], dq[y]
        for x in range(nx):
            lost[x] = (flags[x] & bits != 0) & (row[x] - row[x] != 0)
        block, near = -1, False
        for k in range(words.size):
            if words[k] == 0:
                continue
            for x in range(8 * k, min(8 * k + 8, nx)):
                if not lost[x]:
                    continue
                if x // 16 != block:
                    block, near = x // 16, _good_blocks(dq, bits, y, x // 16, known, good)
                data[y, x] = _mean_around(data, dq, bits, y, x) if near else np.float32(0)


def fill_from_around(data: NDArray[np.float32], dq: NDArray[np.uint16], bits: int) -> None:
    """Give unusable pixels the mean of good ones around, else 0: without a model, they ring into no neighbour.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame, changed in place.
    dq : uint16 (ny, nx)
        Its flags.
    bits : int
        Flags of unusable pixels.
    """
    hidden = flagged(dq, bits).view(np.bool_)
    data[hidden] = np.nan
    fill_lost(data, dq, np.uint16(bits), hidden.any(axis=1))
