"""Medians of many pixels, identical to numpy's, in a fraction of its time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel

_SIGN = np.uint32(0x80000000)


def median(values: NDArray[np.floating[Any]]) -> float:
    """Median of numbers, by selecting one rank; numpy selects two.

    Parameters
    ----------
    values : float32 or float64
        Not empty; no NaN.
    """
    ranked, middle = values.flatten(), values.size // 2
    ranked.partition(middle)
    above = ranked[middle]
    return float(above if values.size % 2 else (ranked[:middle].max() + above) / 2)


def sampled_median(
    data: NDArray[np.float32], flags: NDArray[np.uint16], known: NDArray[np.uint16] | None, step: int
) -> float:
    """Median of the good pixels among every `step`-th pixel of every `step`-th row; of all of these if none is good.

    Parameters
    ----------
    data : (ny, nx) float32, C-contiguous
        No NaN.
    flags : (ny, nx) uint16, C-contiguous
        0 where a pixel is good.
    known : (ny, nx) uint16, optional
        Flags that are ignored.
    step : int
        Of the sample, in rows and columns.

    Returns
    -------
    float
        As numpy's median of the sample.
    """
    ny, nx = data.shape
    values = np.empty(-(-ny // step) * -(-nx // step), np.float32)
    ignored = np.zeros((1, nx), np.uint16) if known is None else np.ascontiguousarray(known)
    return float(_median(data, flags, ignored, step, values, values.view(np.uint32)))


@subkernel
def _gather(data: np.ndarray, flags: np.ndarray, ignored: np.ndarray, step: int, values: np.ndarray) -> int:
    """Put the good pixels before the others; return their number."""
    n, end = 0, values.size
    for y in range(0, data.shape[0], step):
        row = y % ignored.shape[0]
        for x in range(0, data.shape[1], step):
            if flags[y, x] & ~ignored[row, x]:
                end -= 1
                values[end] = data[y, x]
            else:
                values[n] = data[y, x]
                n += 1
    return n


@subkernel
def _ranked(keys: np.ndarray, rank: int) -> tuple[np.uint32, int]:
    """The key of a rank (from 0), and how many keys do not exceed it: counts upper halves of the bits, then lower."""
    key, left = np.uint32(0), rank
    for shift in (np.uint32(16), np.uint32(0)):
        counts = np.zeros(1 << 16, np.int64)
        for k in keys:
            if shift or (k ^ key) < np.uint32(1 << 16):
                counts[(k >> shift) & np.uint32(0xFFFF)] += 1
        place = 0
        while left >= counts[place]:
            left -= counts[place]
            place += 1
        key |= np.uint32(place) << shift
    return key, rank - left + counts[place]


@kernel
def _median(
    data: np.ndarray, flags: np.ndarray, ignored: np.ndarray, step: int, values: np.ndarray, bits: np.ndarray
) -> np.float32:
    """Median of the values from `_gather`; `bits` shares the memory of `values`."""
    n = _gather(data, flags, ignored, step, values)
    keys = bits[:n] if n else bits
    for i in range(keys.size):  # make keys sort like the numbers: negative ones first, in reversed order
        keys[i] = ~keys[i] if keys[i] & _SIGN else keys[i] | _SIGN
    key, behind = _ranked(keys, (keys.size - 1) // 2)
    following = key
    if behind <= keys.size // 2:
        following = np.uint32(0xFFFFFFFF)
        for k in keys:
            following = k if key < k < following else following
    bits[0] = key ^ _SIGN if key & _SIGN else ~key
    first = values[0]
    bits[0] = following ^ _SIGN if following & _SIGN else ~following
    return (first + values[0]) / np.float32(2)
