"""Counts of an exposure from its non-destructive reads."""

from __future__ import annotations

import numpy as np

#: Steps between reads that deviate by more sigma from the pixel's median step are jumps (cosmic rays).
JUMP = 5.0


def ramp_counts(
    reads: np.ndarray,
    times: np.ndarray,
    *,
    gain: float = 1.0,
    read_noise: float = 0.0,
    saturation: float | None = None,
) -> np.ndarray:
    """Counts accumulated from the first read to the last.

    The rate is the mean of the steps between successive reads without jumps and saturation, weighted by time. Without
    either it is the last read minus the first, the best estimate if photon noise dominates.

    Parameters
    ----------
    reads : float32 (n, ny, nx)
        ADU.
    times : float64 (n,)
        s, rising.
    gain : float
        Electrons per ADU.
    read_noise : float
        Electrons, of the difference of two reads.
    saturation : float, optional
        ADU; reads from the first one at this level on are not used.

    Returns
    -------
    float32 (ny, nx)
        ADU. A pixel saturated in all steps has its last read, so that its level still shows saturation.

    Raises
    ------
    ValueError
        Fewer than two reads, another number of times, or times that do not rise.
    """
    reads, times = np.asarray(reads, np.float32), np.asarray(times, np.float64)
    lasting = np.diff(times)
    if reads.ndim != 3 or len(reads) < 2 or times.shape != (len(reads),) or not (lasting > 0).all():
        raise ValueError(f"a ramp needs two or more reads and rising times, got {reads.shape} and {times}")
    steps = np.diff(reads, axis=0)
    duration = lasting.astype(np.float32)[:, None, None]
    good = np.isfinite(steps)
    if saturation is not None:
        good &= np.logical_and.accumulate(~(reads >= saturation), axis=0)[1:]
    if len(steps) > 2:
        good &= ~_jumps(steps, duration, good, gain, read_noise)
    spent = (duration * good).sum(axis=0)
    gathered = np.where(good, steps, np.float32(0.0)).sum(axis=0, dtype=np.float64)
    total = np.float32(times[-1] - times[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(spent > 0, gathered / spent * total, reads[-1]), np.float32)


def _jumps(steps: np.ndarray, duration: np.ndarray, good: np.ndarray, gain: float, read_noise: float) -> np.ndarray:
    """Steps far above the median rate of their pixel, by read and photon noise."""
    rates = np.where(good, steps / duration, np.float32(np.nan))
    known = good.any(axis=0)
    usual = np.zeros(steps.shape[1:], np.float32)
    usual[known] = np.nanmedian(rates[:, known], axis=0)
    expected = usual * duration
    variance = (read_noise / gain) ** 2 + np.abs(expected) / gain
    return np.asarray(steps - expected > JUMP * np.sqrt(variance), bool)
