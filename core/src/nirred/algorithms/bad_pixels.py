"""Bad pixels of a detector: those whose flat or short dark is out of range."""

from __future__ import annotations

import math

import numpy as np

from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.typical import median

#: A pixel that deviates in the short dark by this many times the scatter of all pixels is useless in a long exposure.
DARK_SCATTER = 20.0
#: Tolerance for the noise of a dark, sigma: its limits are for bad pixels, not for the noise of few short darks.
NOISE = 4.0

Limit = np.ndarray | float | None


def bad_in_flat(data: np.ndarray, bad: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """Pixels whose flat, relative to its surroundings, is below `low` or above `high`; bool (ny, nx).

    Parameters
    ----------
    data : float32 (ny, nx)
        The flat.
    bad : uint8 (ny, nx)
        1 for pixels that do not count as surroundings.
    low, high : float or None
        Limits; None: none.
    """
    around = mesh_background(data, bad).evaluate()
    return _out_of_range(data / np.maximum(around, 0.01), low, high)


def bad_in_dark(
    data: np.ndarray, var: np.ndarray | None, bad: np.ndarray, low: float | None, high: float | None
) -> np.ndarray:
    """Pixels whose dark is out of range by more than its noise; bool (ny, nx).

    Parameters
    ----------
    data, var : float32 (ny, nx)
        The dark, and its variance if known.
    bad : uint8 (ny, nx)
        1 for pixels that do not count as surroundings.
    low, high : float or None
        Limits, in the unit of the dark; None: `DARK_SCATTER` times the scatter around a pixel's surroundings.
    """
    spread = 0.0 if var is None else NOISE * np.sqrt(np.maximum(var, 0.0))
    return _out_of_range(data, *_dark_limits(data, var, bad, low, high), spread)


def _dark_limits(
    data: np.ndarray, var: np.ndarray | None, bad: np.ndarray, low: float | None, high: float | None
) -> tuple[Limit, Limit]:
    """Limits of each pixel: the given ones, shifted where the pixel's surroundings are themselves out of range.

    Thresholds apply to single pixels, but a whole quadrant may have another zero level. A limit that is not given
    follows from the scatter of this dark, so that every camera has one.
    """
    lowest: Limit = low
    highest: Limit = high
    if low is None or high is None:
        around = mesh_background(data, bad).evaluate()
        room = _room(data, var, around)
        lowest, highest = around - room if low is None else low, around + room if high is None else high
    cells = mesh_background(data, bad, filter=1).values
    if low is not None and cells.min() < low:
        lowest = _beside(cells, low, data.shape)
    if high is not None and cells.max() > high:
        highest = -_beside(-cells, -high, data.shape)
    return lowest, highest


def _beside(cells: np.ndarray, low: float, shape: tuple[int, ...]) -> np.ndarray:
    """Lowest good value of each pixel, lowered where the medians of the cells around it are below the limit."""
    from scipy.ndimage import minimum_filter

    lowest = minimum_filter(cells, 3)
    limits = np.where(lowest < low, lowest + min(low, 0.0), low).astype(np.float32)
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, cells.shape, strict=True))
    return np.asarray(limits[np.ix_(rows, columns)])


def _room(data: np.ndarray, var: np.ndarray | None, around: np.ndarray) -> float:
    """How far a good pixel of a dark may deviate from its surroundings, electron."""
    rest = np.abs(data - around)
    known = rest[np.isfinite(rest)]
    scatter = 1.4826 * median(known) if known.size else 0.0
    noise = 0.0 if var is None else math.sqrt(max(float(np.nanmedian(var)), 0.0))
    return DARK_SCATTER * max(scatter, noise)


def _out_of_range(data: np.ndarray, low: Limit, high: Limit, spread: np.ndarray | float = 0.0) -> np.ndarray:
    bad: np.ndarray = ~np.isfinite(data)
    if low is not None:
        bad |= data + spread < low
    if high is not None:
        bad |= data - spread > high
    return bad
