"""Relative transparencies of frames from the fluxes of common stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def relative_transparencies(flux: Float64, error: Float64, min_stars: int = 3) -> tuple[Float64, Float64]:
    """Transparency of each frame relative to their mean, from stars that several frames show.

    Solves ln flux[k, s] = ln T[k] + ln F[s] by weighted least squares with one round of clipping at 4 sigma.

    Parameters
    ----------
    flux, error : float64 (frames, stars)
        NaN or not positive where a star was not measured.
    min_stars : int
        A frame with fewer stars keeps T = 1 with infinite error; fewer stars at all, every frame does.

    Returns
    -------
    T, T_error : float64 (frames,)
    """
    n = flux.shape[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        good = np.isfinite(flux) & (flux > 0) & (error > 0) & (flux > 10 * error)
        y = np.where(good, np.log(np.where(good, flux, 1.0)), 0.0)
        w = np.where(good, 1.0 / np.maximum(error / np.where(good, flux, 1.0), 1e-4) ** 2, 0.0)
    w[:, good.sum(axis=0) < 2] = 0.0
    if (w.sum(axis=0) > 0).sum() < min_stars:
        return np.ones(n), np.full(n, np.inf)
    for _ in range(2):
        t, star = _alternate(y, w)
        residual = (y - t[:, None] - star[None, :]) * np.sqrt(w)
        spread = 1.4826 * np.median(np.abs(residual[w > 0])) if (w > 0).any() else 1.0
        w = np.where(np.abs(residual) > 4 * max(spread, 1.0), 0.0, w)
    total = w.sum(axis=1)
    enough = (w > 0).sum(axis=1) >= min_stars
    with np.errstate(divide="ignore"):
        sigma = np.where(enough, max(spread, 1.0) / np.sqrt(np.maximum(total, 1e-30)), np.inf)
    mean = float(t[enough].mean()) if enough.any() else 0.0
    return np.exp(np.where(enough, t - mean, 0.0)), sigma


def _alternate(y: Float64, w: Float64) -> tuple[Float64, Float64]:
    """Least squares of a two-way layout by alternating weighted means."""
    t, star = np.zeros(y.shape[0]), np.zeros(y.shape[1])
    for _ in range(50):
        star = np.sum(w * (y - t[:, None]), axis=0) / np.maximum(w.sum(axis=0), 1e-30)
        fresh = np.sum(w * (y - star[None, :]), axis=1) / np.maximum(w.sum(axis=1), 1e-30)
        fresh -= fresh.mean()
        if np.max(np.abs(fresh - t)) < 1e-9:
            return fresh, star
        t = fresh
    return t, star


def shrink(values: Float64, errors: Float64) -> Float64:
    """Draw noisy values near 1 towards 1 by how much of their scatter is noise.

    The variance that is real, S, is the scatter's beyond the errors'; each value becomes 1 + (v - 1) S / (S + e^2).
    """
    known = np.isfinite(errors)
    if known.sum() < 2:
        return np.ones_like(values)
    deviation = values - 1.0
    real = max(float(np.mean(deviation[known] ** 2) - np.mean(errors[known] ** 2)), 0.0)
    factor = np.where(known, real / np.maximum(real + np.where(known, errors, 1.0) ** 2, 1e-30), 0.0)
    return np.asarray(1.0 + factor * deviation)


def aperture_fluxes(
    data: NDArray[np.float32], bad: NDArray[np.uint8], x: Float64, y: Float64, fwhm: float
) -> tuple[Float64, Float64]:
    """Fluxes of isolated stars in apertures so wide (2 FWHM radius) that seeing hardly matters.

    The local level is the median of a ring of 3 to 4.5 FWHM. An unusable pixel is replaced by its mirror image across
    the star; within 0.7 FWHM of the centre it spoils the star.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame.
    bad : uint8 (ny, nx)
        Not zero where unusable.
    x, y : float64 (n,)
        Zero-based positions.
    fwhm : float
        Pixels.

    Returns
    -------
    flux, error : float64 (n,)
        NaN for stars that could not be measured.
    """
    half = int(np.ceil(4.5 * fwhm))
    flux, error = np.full(x.size, np.nan), np.full(x.size, np.nan)
    span = np.arange(-half, half + 1)
    for k in range(x.size):
        if not (np.isfinite(x[k]) and np.isfinite(y[k])):
            continue
        i, j = round(float(y[k])), round(float(x[k]))
        if i < half or j < half or i + half >= data.shape[0] or j + half >= data.shape[1]:
            continue
        cut = data[i - half : i + half + 1, j - half : j + half + 1].astype(float)
        hidden = bad[i - half : i + half + 1, j - half : j + half + 1] != 0
        r = np.hypot(span[:, None] - (y[k] - i), span[None, :] - (x[k] - j))
        flux[k], error[k] = _aperture(cut, hidden, r, fwhm)
    return flux, error


def _aperture(cut: Float64, hidden: NDArray[np.bool_], r: Float64, fwhm: float) -> tuple[float, float]:
    ring = cut[(r > 3 * fwhm) & ~hidden]
    inside = np.clip(2 * fwhm + 0.5 - r, 0.0, 1.0)
    mirror, mirror_hidden = cut[::-1, ::-1], hidden[::-1, ::-1]
    used = hidden & (inside > 0)
    if ring.size < 20 or (used & (r < 0.7 * fwhm)).any() or (used & mirror_hidden).any():
        return float("nan"), float("nan")
    level = float(np.median(ring))
    sigma = 1.4826 * float(np.median(np.abs(ring - level)))
    values = np.where(hidden, mirror, cut) - level
    flux = float(np.sum(inside * values))
    area = float(inside.sum())
    return flux, float(np.sqrt(area * sigma**2 * (1 + 1.6 * area / ring.size) + max(flux, 0.0)))
