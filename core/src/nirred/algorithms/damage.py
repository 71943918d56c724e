"""Rows of a frame that are no exposure: they are empty, or their noise is not that of their signal."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Least number of good second differences of a row that tell its noise.
FEWEST = 50
#: A row with so many times the noise of its signal is damaged: readout patterns may treble it, integers shifted by a
#: byte have 16 times as much or more.
HIGH = 12.0
#: So is one with less than this part of it: noise is the least that an exposure has.
LOW = 1 / 3
#: The smallest part of a row's second differences, whose mean neither depends on stars nor jumps like a median of
#: integers; and sigma over the mean of that part of the absolute values of a normal variable.
PART, SIGMA = 0.8, 1.790


#: Numbers that are not equal by chance; rows that are looked at before all are.
WIDE, FIRST = 64, 32


def empty_rows(counts: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Rows of raw counts (ny, nx) that are all the same number; none, if no row of a sample is, or if all rows are.

    Returns
    -------
    bool (ny,)
    """
    step = max(1, len(counts) // FIRST)
    some = counts[step // 2 :: step]  # not the rim of reference pixels
    if counts.shape[1] < WIDE or not _even(some).any():
        return np.zeros(len(counts), np.bool_)
    rows = _even(counts)
    return rows & ~rows.all()


def _even(rows: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.asarray((rows == rows[:, :1]).all(axis=1))


def row_noise(data: NDArray[np.float32], bad: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level and noise of rows, independent of stars and smooth light: from second differences along them.

    Parameters
    ----------
    data : float32 (rows, nx)
        Calibrated rows of a frame.
    bad : bool (rows, nx)
        Pixels to be left out.

    Returns
    -------
    level, noise : float64 (rows,)
        Median and standard deviation; NaN with fewer than `FEWEST` second differences.
    """
    level, noise = np.full((2, len(data)), np.nan)
    if data.shape[1] < FEWEST:
        return level, noise
    hidden = bad[:, :-2] | bad[:, 1:-1] | bad[:, 2:]
    second = np.abs(data[:, :-2] - 2.0 * data[:, 1:-1] + data[:, 2:])
    ordered, number = _ordered(second, hidden)
    known = np.flatnonzero(number >= FEWEST)
    for y in known:
        noise[y] = SIGMA / np.sqrt(6.0) * ordered[y, : int(PART * number[y])].mean(dtype=np.float64)
    values, count = _ordered(data, bad)
    level[known] = values[known, count[known] // 2]
    return level, noise


def _ordered(values: NDArray[np.float32], hidden: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Values in order, the hidden ones last, and the number of the others, of each row."""
    return np.sort(np.where(hidden, np.float32(np.inf), values), axis=1), np.count_nonzero(~hidden, axis=1)


def damaged(noise: NDArray[np.float64], expected: NDArray[np.float64], clipped: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Rows whose noise is not that of their signal.

    What the noise model leaves out is the same in all rows of a frame, or in the same row of all frames: the ratio of
    noise and model is compared with those.

    Parameters
    ----------
    noise, expected : float64 (frames, rows)
        Measured, NaN where unknown, and from the noise model.
    clipped : bool (frames, rows)
        Rows that are saturated: these have less noise.

    Returns
    -------
    bool (frames, rows)
        If half of a frame's rows are damaged, it may be the other half.
    """
    known = np.isfinite(noise) & (expected > 0)
    ratio = np.where(known & ~clipped, noise / np.where(known, expected, 1.0), np.nan)
    own = _medians(ratio, 1)
    known &= own > LOW  # not where most of a frame has less noise than its signal: it is made, not observed
    ratio = np.where(known, noise / np.where(known, expected * own, 1.0), np.nan)
    usual = _medians(np.where(clipped, np.nan, ratio), 0) if len(ratio) > 2 else np.ones((1, 1))
    high, low = ratio > HIGH * usual, ratio < LOW * usual  # False where it is NaN
    return np.asarray((usual > 0) & (high | (low & ~clipped)))


def _medians(ratio: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Medians of known values along an axis, which remains; 0 where none is known."""
    none = np.isnan(ratio).all(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(none, 0.0, ratio), axis=axis, keepdims=True))
