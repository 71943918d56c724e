"""Columns and rows of a detector whose level changes from frame to frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Parts of a line that are judged alone, pixels of each that are looked at, and the least that must be usable.
PARTS, SAMPLES, LEAST = 4, 64, 32
#: A pixel counts by at most this many sigma: cosmic rays and stars are few among those of a line.
CLIP = 4.0
#: Lines whose median is the level around one; an odd number.
AROUND = 15
#: A line is left out if its level deviates by this times the noise of a pixel (rms): within an aperture of a star its
#: pixels deviate together, and add as much variance as is lost without them; by so many times the level's error, as
#: there are thousands of lines; and by so many times the usual.
DEVIATES, SURE, UNUSUAL = 0.5, 4.0, 3.0
#: A larger share of lines is no defect of some, but the detector's pattern.
MOST = 0.02


def lit(good: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns between the outermost of which a tenth has usable pixels, bool (ny, nx)."""
    ends = [np.flatnonzero(good.mean(axis=axis) > 0.1) for axis in (1, 0)]
    rows, columns = (slice(int(e[0]), int(e[-1]) + 1) if e.size else slice(0, 0) for e in ends)
    return rows, columns


def sampled(within: slice) -> NDArray[np.intp]:
    """Positions at which lines that extend over `within` are looked at, intp (PARTS * SAMPLES,)."""
    step = (within.stop - within.start) / (PARTS * SAMPLES)
    return within.start + ((np.arange(PARTS * SAMPLES) + 0.5) * step).astype(np.intp)


def line_levels(
    data: NDArray[np.float32], bad: NDArray[np.bool_], sigma: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Level of each part of each column above that of the columns around it, and its error.

    Parameters
    ----------
    data : float32 (PARTS * SAMPLES, n)
        Rows of a sky-subtracted frame; transposed, columns.
    bad : bool (PARTS * SAMPLES, n)
        Pixels that do not count, such as those of objects.
    sigma : float
        Noise of a pixel.

    Returns
    -------
    level, error : float64 (PARTS, n)
        In sigma; NaN with too few pixels.
    """
    values = np.clip(data * np.float32(1.0 / sigma), -CLIP, CLIP)
    values[bad] = 0.0
    total = values.reshape(PARTS, SAMPLES, -1).sum(axis=1, dtype=np.float64)
    count = SAMPLES - bad.reshape(PARTS, SAMPLES, -1).sum(axis=1, dtype=np.int16).astype(np.intp)
    level, enough = total / np.maximum(count, 1), count >= LEAST
    level = np.where(enough, level, 0.0)
    level -= _median_around(level)
    error = 1.0 / np.sqrt(np.maximum(count, 1))
    return np.where(enough, level, np.nan), np.where(enough, error, np.nan)


def _median_around(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Running median of each row over `AROUND` levels; the outermost level continues beyond the edges."""
    middle = AROUND // 2
    wider = np.pad(levels, ((0, 0), (middle, middle)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(wider, AROUND, axis=1)
    return np.asarray(np.partition(windows, middle, axis=2)[..., middle])


def unsteady_lines(
    levels: NDArray[np.float64], errors: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Parts of lines whose level changes.

    A star or its spike changes the level as much, but alike in all frames of one position, and in other lines in frames
    of another. Two measures are therefore used: the scatter of frames of one position about their mean; and, with three
    positions or more, the levels, the position in which a line deviates most apart.

    Parameters
    ----------
    levels, errors : float64 (frames, PARTS, n)
        As from `line_levels`.
    places : float64 (frames,)
        Position of each frame across the lines, equal if they show the same stars in the same lines.

    Returns
    -------
    bool (PARTS, n)
    """
    seen = np.isfinite(levels)
    value = np.where(seen, levels, 0.0)
    at = [places == k for k in np.unique(places)]
    total, power, count = (np.array([v[k].sum(axis=0) for k in at]) for v in (value, value**2, seen))
    worst = power.argmax(axis=0)[None]
    apart = np.where((count > 0).sum(axis=0) < 3, 0, count.sum(axis=0) - np.take_along_axis(count, worst, axis=0)[0])
    within = np.maximum(count - 1, 0).sum(axis=0)
    between = _root(power.sum(axis=0) - power.max(axis=0), apart)
    scatter = _root((power - total**2 / np.maximum(count, 1)).sum(axis=0), within)
    rms = np.fmax(between, scatter)
    told = np.isfinite(rms)
    if not told.any():
        return np.zeros_like(told)
    error = np.where(seen, errors, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    found = told & (rms > np.maximum(SURE * error, max(DEVIATES, UNUSUAL * float(np.median(rms[told])))))
    return found if found.mean() <= MOST else np.zeros_like(found)


def _root(squares: NDArray[np.float64], number: NDArray[np.intp]) -> NDArray[np.float64]:
    """Root of a mean of two squares or more; NaN of fewer."""
    return np.where(number >= 2, np.sqrt(np.maximum(squares, 0.0) / np.maximum(number, 1)), np.nan)
