"""Relative transparencies of frames from the fluxes of common stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

ROUNDS = 10  # of an alternation by medians, and of clipping, at most
#: Error of the flat at a star's position, as it moves over the field, and number of stars that average it out.
FLAT_ERROR, SEVERAL = 0.02, 3
#: Error of a star's flux besides its noise: light outside the aperture, replaced pixels, small-scale flat errors.
STAR_ERROR = 0.003
#: Least share of a flux's variance that the other fluxes must leave in its residual to check it.
LEAST_CHECK = 0.01
#: If an aperture of 3 FWHM gains with exponent b relative to one of 2 FWHM as seeing widens, the latter loses with
#: exponent `WINGS` b**1.5: to 5 % for Moffat indices of 2.5 to 4.5, measured with the ring, which receives light, too.
WINGS = 5.2
#: Prior of that b for the atmosphere, indices of 2.5 to 4.5, and its error: few stars do not determine it.
NATURAL_GAIN, ITS_ERROR = 0.08, 0.03


def relative_transparencies(flux: Float64, error: Float64, min_stars: int = 3) -> tuple[Float64, Float64]:
    """Transparency of each frame relative to their median, from stars measured in several frames.

    Solves ln flux[k, s] = ln T[k] + ln F[s] by weighted least squares without values 4 sigma off. Clipping starts from
    medians: with few stars, one whose flux a cosmic ray doubled would bias a least-squares fit.

    Parameters
    ----------
    flux, error : float64 (frames, stars)
        NaN or not positive where a star was not measured.
    min_stars : int
        A frame with fewer stars keeps T = 1 with infinite error; with fewer stars in all, every frame does.

    Returns
    -------
    T, T_error : float64 (frames,)
        Errors of frames with fewer than `SEVERAL` stars include the flat's.
    """
    n = flux.shape[0]
    y, w = _logarithms(flux, error)
    if (w.sum(axis=0) > 0).sum() < min_stars:
        return np.ones(n), np.full(n, np.inf)
    (t, star), all_w = _polish(y, w), w
    for _ in range(ROUNDS):
        residual = (y - t[:, None] - star[None, :]) * np.sqrt(all_w)
        spread = 1.4826 * np.median(np.abs(residual[all_w > 0]))
        before, w = w, np.where(np.abs(residual) > 4 * max(spread, 1.0), 0.0, all_w)
        t, star = _alternate(y, w)
        if np.array_equal(w, before):
            break
    for _ in range(ROUNDS):
        wrong = _unlikely(y - t[:, None] - star[None, :], w, 4 * max(spread, 1.0))
        if not wrong.any():
            break
        w = np.where(wrong, 0.0, w)
        t, star = _alternate(y, w)
    total = w.sum(axis=1)
    enough = (w > 0).sum(axis=1) >= min_stars
    with np.errstate(divide="ignore"):
        sigma = np.where(enough, max(spread, 1.0) / np.sqrt(np.maximum(total, 1e-30)), np.inf)
    count = np.maximum((w > 0).sum(axis=1), 1)
    sigma = np.where(count < SEVERAL, np.hypot(sigma, FLAT_ERROR / np.sqrt(count)), sigma)
    usual = float(np.median(t[enough])) if enough.any() else 0.0
    return np.exp(np.where(enough, t - usual, 0.0)), sigma


def uneven_transparencies(flux: Float64, error: Float64, areas: NDArray[np.intp]) -> tuple[Float64, Float64]:
    """Difference of transparencies between areas of the detectors, for each frame.

    Parameters
    ----------
    flux, error : float64 (frames, stars)
        NaN or not positive where a star was not measured.
    areas : intp (frames, stars)
        Number of the area in which a frame has the star.

    Returns
    -------
    difference, sigma : float64 (frames,)
        Between the largest and the smallest ln T of areas with at least `SEVERAL` stars, and its error, from the
        scatter of all fluxes; 0 and infinity with fewer than two such areas.
    """
    y, w = _logarithms(flux, error)
    if not w.any():
        return np.zeros(y.shape[0]), np.full(y.shape[0], np.inf)
    t, star = _polish(y, w)
    residual = y - t[:, None] - star[None, :]
    spread = 1.4826 * float(np.median(np.abs(residual * np.sqrt(w))[w > 0]))
    w = w / max(spread, 1.0) ** 2
    numbers = np.unique(areas)
    inside = [np.where(areas == k, w, 0.0) for k in numbers]
    told = np.array([(part > 0).sum(axis=1) >= SEVERAL for part in inside])
    level = np.array([_medians(residual, part) for part in inside])
    variance = np.array([0.5 * np.pi / np.maximum(part.sum(axis=1), 1e-30) for part in inside])
    enough, frames = told.sum(axis=0) >= 2, np.arange(y.shape[0])
    high, low = np.where(told, level, -np.inf).argmax(axis=0), np.where(told, level, np.inf).argmin(axis=0)
    difference = np.where(enough, level[high, frames] - level[low, frames], 0.0)
    return difference, np.where(enough, np.sqrt(variance[high, frames] + variance[low, frames]), np.inf)


def area_exponent(flux: Float64, error: Float64, area: Float64) -> tuple[float, float]:
    """Power of the pixel area with which stellar fluxes scale, where a distortion changes the area.

    Solves ln flux[k, s] = ln T[k] + ln F[s] + p ln area[k, s]: p is 1 if pixel values are surface brightness, as after
    division by a flat of uniform brightness, and 0 if they are electrons.

    Parameters
    ----------
    flux, error : float64 (frames, stars)
        NaN or not positive where a star was not measured.
    area : float64 (frames, stars)
        Detector pixels per unit of the sky's area.

    Returns
    -------
    p, p_error : float
        The error is infinite if the areas do not determine p.
    """
    y, w = _logarithms(flux, error)
    x = np.where(w > 0, np.log(area), 0.0)
    p, sigma = 0.0, float("inf")
    for _ in range(2):
        dx, dy = (v - np.add.outer(*_alternate(v, w)) for v in (x, y))
        power = float(np.sum(w * dx**2))
        if power <= 0 or np.count_nonzero(w) < 10:
            return 0.0, float("inf")
        p = float(np.sum(w * dx * dy)) / power
        residual = (dy - p * dx) * np.sqrt(w)
        spread = max(1.4826 * float(np.median(np.abs(residual[w > 0]))), 1.0)
        sigma = spread / float(np.sqrt(power))
        w = np.where(np.abs(residual) > 4 * spread, 0.0, w)
    return p, sigma


def seeing_loss(narrow: Float64, wide: Float64, error: Float64, widths: Float64) -> float:
    """Exponent with which seeing reduces a star's light in a fixed aperture, measured from the stars.

    Solves ln(wide[k, s] / narrow[k, s]) = a[s] + b ln widths[k] by weighted least squares without values 4 sigma off:
    b is 0.1 for a Moffat profile of index 3 and apertures of 2 and 3 FWHM, and about 0 for a halo or a galaxy that
    keeps its shape in any seeing. A prior for the atmosphere constrains b where stars do not. The loss of the narrow
    aperture, including light beyond the wide one, follows from b.

    Parameters
    ----------
    narrow, wide, error : float64 (frames, stars)
        Fluxes in two apertures of one size for all frames, and the error of the wide ones; NaN where not measured.
    widths : float64 (frames,)
        FWHM of the frames; NaN if it is unknown.

    Returns
    -------
    float
        Exponent p of narrow = F widths**-p.
    """
    known = np.isfinite(widths) & (widths > 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        y, e = np.log(wide / narrow), error / wide
    good = np.isfinite(y) & (wide > 10 * error) & known[:, None]
    good &= good.sum(axis=0) >= 2
    y, w = np.where(good, y, 0.0), np.where(good, 1.0 / (np.where(good, e, 1.0) ** 2 + STAR_ERROR**2), 0.0)
    x = np.where(good, np.log(np.where(known, widths, 1.0))[:, None], 0.0)
    gain, told = NATURAL_GAIN, 1.0 / ITS_ERROR**2
    for _ in range(3):
        total = np.maximum(w.sum(axis=0), 1e-30)
        dx, dy = (v - (w * v).sum(axis=0) / total for v in (x, y))
        power = float(np.sum(w * dx**2))
        if power <= 0:
            break
        slope = float(np.sum(w * dx * dy)) / power
        residual = (dy - slope * dx) * np.sqrt(w)
        spread = max(1.4826 * float(np.median(np.abs(residual[w > 0]))), 1.0)
        of_stars = power / spread**2
        gain = (NATURAL_GAIN * told + slope * of_stars) / (told + of_stars)
        w = np.where(np.abs(residual) > 4 * spread, 0.0, w)
    return float(WINGS * max(gain, 0.0) ** 1.5)


def _logarithms(flux: Float64, error: Float64) -> tuple[Float64, Float64]:
    """Logarithms of fluxes and their weights, 0 for fluxes fainter than 10 sigma or measured once.

    Weights use the star's usual flux: otherwise a cosmic ray would increase them. `STAR_ERROR` keeps the brightest star
    from dominating all others.
    """
    good = np.isfinite(flux) & (flux > 0) & (error > 0) & (flux > 10 * error)
    good &= good.sum(axis=0) >= 2
    y = np.log(np.where(good, flux, 1.0))
    usual = np.exp(_medians(y.T, good.T.astype(float)))
    w = np.where(good, 1.0 / ((np.where(good, error, 1.0) / usual) ** 2 + STAR_ERROR**2), 0.0)
    return y, w


def _polish(y: Float64, w: Float64) -> tuple[Float64, Float64]:
    """Two-way layout by alternating weighted medians: nearly that of least squares, and outliers do not move it."""
    t, star = np.zeros(y.shape[0]), np.zeros(y.shape[1])
    for _ in range(ROUNDS):
        star = _medians((y - t[:, None]).T, w.T)
        t = _medians(y - star[None, :], w)
        t -= t.mean()
    return t, star


def _medians(values: Float64, weights: Float64) -> Float64:
    """Weighted median of each row, the mean of both middle values where half of the weight lies on either side."""
    order = np.argsort(values, axis=1, kind="stable")
    ranked = np.take_along_axis(values, order, axis=1)
    summed = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    half, last, rows = 0.5 * summed[:, -1:], values.shape[1] - 1, np.arange(values.shape[0])
    low = ranked[rows, np.minimum((summed < (1 - 1e-9) * half).sum(axis=1), last)]
    high = ranked[rows, np.minimum((summed <= (1 + 1e-9) * half).sum(axis=1), last)]
    return np.asarray(0.5 * (low + high))


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


def _unlikely(residual: Float64, w: Float64, limit: float) -> NDArray[np.bool_]:
    """The worst of each frame's fluxes that differ by more than `limit` sigma from what all other fluxes predict.

    A star seen in two frames only pulls both towards itself: the residuals are small, but so are their expected errors.
    """
    use = w > 0
    total = w.sum(axis=1)
    by_frame = np.where(total > 0, 1.0 / np.where(total > 0, total, 1.0), 0.0)
    # Covariance of the stars' logarithms; the frames have been eliminated, and the mean is not determined.
    ratio = w * by_frame[:, None]
    stars = np.linalg.pinv(np.diag(w.sum(axis=0)) - ratio.T @ w, hermitian=True)
    both = ratio @ stars
    variance = (by_frame + np.einsum("ks,ks->k", both, ratio))[:, None] - 2 * both + np.diag(stars)[None, :]
    expected = np.where(use, np.maximum(1.0 / np.where(use, w, 1.0) - variance, 0.0), 0.0)
    told = expected * w > LEAST_CHECK
    sigma = np.where(told, np.abs(residual) / np.sqrt(np.where(told, expected, 1.0)), 0.0)
    return np.asarray((sigma > limit) & (sigma > 0.99 * sigma.max(axis=1, keepdims=True)))


def shrink(values: Float64, errors: Float64) -> Float64:
    """Shrink noisy values near 1 towards 1 according to the share of noise in their scatter.

    The real variance S is that of the scatter minus that of the errors, by medians, so that one cloudy frame does not
    affect the others. For a value more than 3 sigma off, S is at least its squared deviation minus e^2. Each value v
    with error e becomes 1 + (v - 1) S / (S + e^2).
    """
    known = np.isfinite(errors)
    if known.sum() < 2:
        return np.ones_like(values)
    deviation, noise = values - 1.0, np.where(known, errors, 1.0) ** 2
    usual = (1.4826 * float(np.median(np.abs(deviation[known])))) ** 2 - float(np.median(noise[known]))
    own = np.where(deviation**2 > 9.0 * noise, deviation**2 - noise, 0.0)
    real = np.maximum(max(usual, 0.0), own)
    factor = np.where(known, real / np.maximum(real + noise, 1e-30), 0.0)
    return np.asarray(1.0 + factor * deviation)


def concentrations(core: Float64, whole: Float64) -> Float64:
    """Share of starlight close to the stars' expected positions, relative to the usual share of each star.

    It is lower for images that are elongated, doubled, or displaced from the frame's offset than for images that are
    merely widened by seeing.

    Parameters
    ----------
    core, whole : float64 (frames, stars)
        Fluxes in a narrow and in a wide aperture; NaN where a star was not measured.

    Returns
    -------
    float64 (frames,)
        Median over the stars; NaN with fewer than three.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where((whole > 0) & np.isfinite(core), core / whole, np.nan)
    seen = np.isfinite(share)
    usual = _medians(np.nan_to_num(share.T), seen.T.astype(float))
    relative = np.where(seen & (usual > 0), share / np.where(usual > 0, usual, 1.0), np.nan)
    known = np.isfinite(relative).sum(axis=1) >= 3
    found = np.full(share.shape[0], np.nan)
    found[known] = np.nanmedian(relative[known], axis=1)
    return found
