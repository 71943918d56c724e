"""Signs of frames, or rows of them, that are no exposure.

They are empty, their noise is not that of their signal, their pixels are not those of the flat, or other light than
the sky's fell on a part of them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

#: Least number of good second differences from which the noise of a row is measured.
FEWEST = 50
#: A row with so many times the noise of its signal is damaged: readout patterns may treble it, integers shifted by a
#: byte have 16 times as much or more.
HIGH = 12.0
#: So is one with less than this part of it: noise is the least that an exposure has.
LOW = 1 / 3
#: So is a frame with so many times the noise that the others have relative to their signal.
NOISY = 5.0
#: The smallest part of a row's second differences, whose mean neither depends on stars nor jumps like a median of
#: integers; and sigma over the mean of that part of the absolute values of a normal variable.
PART, SIGMA = 0.8, 1.790
#: Areas along each axis in which the flat's pattern, and the light, are measured.
AREAS, FINE = 4, 8
#: Excess over the usual part of the flat's pattern with which pixels are not those of the flat; in errors.
FOREIGN, SURE = 0.4, 5.0
#: Steps this many times the scatter of values are coarser than their noise: rounding alone scatters by half a step.
COARSE = 1.5

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
    noise and model is compared with those, and that of a whole frame with those of at least two others.

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
    whole = _unlike(own[:, 0], np.asarray(np.isfinite(ratio).any(axis=1)))
    known &= own > LOW  # not where most of a frame has less noise than its signal: it is made, not observed
    ratio = np.where(known, noise / np.where(known, expected * own, 1.0), np.nan)
    usual = _medians(np.where(clipped, np.nan, ratio), 0) if len(ratio) > 2 else np.ones((1, 1))
    high, low = ratio > HIGH * usual, ratio < LOW * usual  # False where it is NaN
    return np.asarray(((usual > 0) & (high | (low & ~clipped))) | whole[:, None])


def _unlike(own: NDArray[np.float64], told: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Frames of which the ratio of noise and model is not that of the others."""
    usual = float(np.median(own[told])) if np.count_nonzero(told) > 2 else 0.0
    if usual <= LOW:  # few frames, or frames that are made, not observed
        return np.zeros(own.shape, np.bool_)
    return np.asarray(told & ((own > NOISY * usual) | (own < LOW * usual)))


def _medians(ratio: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Medians of known values along an axis, which remains; 0 where none is known."""
    none = np.isnan(ratio).all(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(none, 0.0, ratio), axis=axis, keepdims=True))


def pattern_left(
    data: NDArray[np.float32], bad: NDArray[np.bool_], reciprocal: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of the flat's pattern that division by it has put into areas of a frame, instead of taking it out.

    About 0 in an exposure, 1 where the pixels are not those of the flat: mirrored, displaced, or no exposure. It is
    measured on second differences along rows, which neither smooth light nor sources affect.

    Parameters
    ----------
    data : float32 (rows, nx)
        Rows of a frame that was divided by the flat.
    bad : bool (rows, nx)
        Pixels to be left out.
    reciprocal : float32 (rows, nx)
        1 / flat.

    Returns
    -------
    left, error : float64 (`AREAS` squared,)
        By areas, in order of rows; NaN where too few pixels are good or there is no signal.
    """
    left, error = np.full((2, AREAS**2), np.nan)
    if min(data.shape) < AREAS + 2:
        return left, error
    hidden = bad[:, :-2] | bad[:, 1:-1] | bad[:, 2:]
    for k, box in enumerate(_areas((len(data), data.shape[1] - 2), AREAS)):
        good = ~hidden[box]
        level = np.median(data[:, 1:-1][box][good]) if np.count_nonzero(good) >= FEWEST else 0.0
        if level <= 0:
            continue
        seen, pattern = (_second(a)[box][good] for a in (data / np.float32(level), reciprocal))
        usual = (np.abs(seen) <= 5 * _spread(seen)) & (np.abs(pattern) <= 5 * _spread(pattern))
        power = float((pattern[usual] ** 2).sum())
        if power > 0:
            left[k] = float((seen[usual] * pattern[usual]).sum()) / power
            error[k] = _spread(seen) / np.sqrt(power)
    return left, error


def foreign(left: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the areas of frames whose pixels are not those of the flat, as those of other frames are.

    Parameters
    ----------
    left, error : float64 (frames, areas)
        From `pattern_left`. An old or noisy flat leaves a part of its pattern in all frames.

    Returns
    -------
    float64 (frames,)
        0 where nothing is known.
    """
    known = np.isfinite(left)
    ordered, middle = np.sort(np.where(known, left, np.inf), axis=0), (np.maximum(known.sum(axis=0), 1) - 1) // 2
    usual = np.take_along_axis(ordered, middle[None], axis=0)  # the lower one of two
    excess = np.where(known, left, 0.0) - np.where(np.isfinite(usual), usual, 0.0)
    strange = known & (excess > FOREIGN) & (excess > SURE * np.where(known, error, 0.0))
    return np.asarray(strange.sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def coarse_step(data: NDArray[np.float32], bad: NDArray[np.bool_]) -> float:
    """Step between the values of an image, if it is coarser than their noise.

    Parameters
    ----------
    data : float32 (ny, nx)
        Rows sampled from the image.
    bad : bool (ny, nx)
        Pixels that do not count.

    Returns
    -------
    float
        Smallest difference of two values; 0 if the scatter of neighbours shows it to be noise, or all values are equal.
    """
    steps = np.diff(np.unique(data[~bad]))
    pairs = ~(bad[:, 1:] | bad[:, :-1])
    rise = data[:, 1:][pairs].astype(np.float64) - data[:, :-1][pairs]
    scatter = float(np.sqrt(0.5 * np.mean(rise**2))) if rise.size else 0.0
    step = float(steps.min()) if steps.size else 0.0
    return step if step > COARSE * scatter else 0.0


def area_levels(data: NDArray[np.float32], bad: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Medians of `FINE` x `FINE` areas of rows of a frame (rows, nx), in order of rows; NaN where most is bad."""
    levels = np.full(FINE**2, np.nan)
    for k, box in enumerate(_areas(data.shape, FINE)):
        good = ~bad[box]
        if good.size and np.count_nonzero(good) >= 0.5 * good.size:
            levels[k] = np.median(data[box][good])
    return levels


def unevenly_lit(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean deviation of the areas of frames from the shape of the sky in most of the frames.

    Parameters
    ----------
    levels : float64 (frames, areas)
        From `area_levels`, NaN where unknown.

    Returns
    -------
    float64 (frames,)
        Relative to the sky; 0 with fewer than three frames, or where nothing is known.
    """
    known = np.isfinite(levels)
    if len(levels) < 3:
        return np.zeros(len(levels))
    ratio = np.where(known, levels, np.nan)
    for axis in (1, 0, 1):  # to the level of frames, to the shape of the sky, and again
        middle = _medians(ratio, axis)
        ratio = ratio / np.where(middle > 0, middle, np.nan)
    apart = np.clip(np.nan_to_num(np.abs(ratio - 1.0)), 0.0, 1.0)
    return np.asarray(apart.sum(axis=1) / np.maximum(known.sum(axis=1), 1))


def _areas(shape: tuple[int, ...], number: int) -> list[tuple[slice, slice]]:
    """Slices of number x number areas of an array, in order of rows."""
    ys, xs = (np.linspace(0, n, number + 1).astype(int) for n in shape)
    return [np.s_[a:b, c:d] for a, b in pairwise(ys) for c, d in pairwise(xs)]


def _second(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(values[:, :-2] - 2 * values[:, 1:-1] + values[:, 2:], np.float32)


def _spread(values: NDArray[np.float32]) -> float:
    return 1.4826 * float(np.median(np.abs(values)))
