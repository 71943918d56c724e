"""Noise of pixels: those much noisier than others; correlation between them, predicted and summed over apertures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.mesh import mesh_background

AROUND = 16  # side of the boxes with which a pixel is compared, pixels: the glow of an amplifier is wider


def noisy_pixels(
    constant: ArrayLike, per_electron: ArrayLike, bad: ArrayLike, sky: float, limit: float
) -> NDArray[np.uint8] | None:
    """Pixels whose read noise and dark make them much noisier than those around them; None if there are none.

    Compared are charges before the flat: where a vignetted pixel's flat amplifies its noise, that of its neighbours is
    amplified as well.

    Parameters
    ----------
    constant, per_electron : array_like, shape (h, w), or scalar
        Noise model: VAR = constant + s * per_electron for a signal s.
    bad : array_like, shape (h, w)
        Non-zero pixels are not used as surroundings.
    sky : float
        Signal of the sky, electron.
    limit : float
        Largest excess of a pixel's variance, in units of its surroundings' variance, sky included.

    Returns
    -------
    ndarray of uint8, shape (h, w), or None
    """
    mask = np.asarray(bad)
    if np.ndim(constant) < 2:
        return None
    gain = np.broadcast_to(np.asarray(per_electron, np.float32), mask.shape)
    hidden = (mask != 0) | ~(gain > 0)  # the latter where the flat is invalid
    gain = np.where(hidden, np.float32(1), gain)
    own, photons = np.asarray(constant, np.float32) / gain**2, max(sky, 0.0) / gain
    noisy = (own > limit * photons) & ~hidden
    if not noisy.any():  # whatever the surroundings
        return None
    usual = mesh_background(own, hidden.view(np.uint8), AROUND, filter=1).evaluate()
    noisy &= own - usual > limit * (usual + photons)
    return noisy.view(np.uint8) if noisy.any() else None


def noise_covariance(kernels: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Noise autocorrelation of a stack, predicted from its frames' resampling.

    Parameters
    ----------
    kernels : array_like, shape (n, k, k)
        Autocorrelation of each frame's mean resampling kernel: the sum over lags is 1 for a kernel that conserves
        flux, the centre is the pixel variance after resampling over that before.
    weights : array_like, shape (n,)
        Each frame's share of the stack's variance, ``w_i**2 var_i``, in any unit.

    Returns
    -------
    ndarray of float64, shape (k, k)
        Normalized to sum 1; its centre is then CORRFAC squared, the ratio of the pixel variance to VAR.

    Raises
    ------
    ValueError
        If there is no positive weight or the sum over lags is not positive.
    """
    stack, shares = np.asarray(kernels, np.float64), np.asarray(weights, np.float64)
    if stack.ndim != 3 or stack.shape[0] != shares.size:
        raise ValueError(f"{shares.size} weights for kernels of shape {stack.shape}")
    mean = np.einsum("n,nyx->yx", shares, stack)
    total = float(mean.sum())
    if not (np.all(shares >= 0) and total > 0):
        raise ValueError("a noise covariance needs weights >= 0, one of them positive, and kernels of positive sum")
    return np.asarray(mean / total)


def aperture_sigma(noisecov: ArrayLike, var: ArrayLike, aperture_weights: ArrayLike) -> float:
    """1-sigma noise of a weighted sum of pixels.

    ``sigma**2 = sum_ij w_i w_j sqrt(V_i V_j) C(j - i)``.

    Parameters
    ----------
    noisecov : array_like, shape (k, k), k odd
        Noise correlation by lag, centre CORRFAC squared.
    var : array_like, shape (h, w)
        Variance plane; values that are not finite count as zero.
    aperture_weights : array_like, shape (h, w)
        Weight of each pixel.

    Returns
    -------
    float
        In the unit of the data.
    """
    covariance = np.asarray(noisecov, np.float64)
    half = covariance.shape[0] // 2
    variance = np.asarray(var, np.float64)
    share = np.asarray(aperture_weights, np.float64) * np.sqrt(np.where(variance > 0, variance, 0.0))
    padded = np.pad(np.nan_to_num(share, posinf=0.0), half)
    lagged = np.lib.stride_tricks.sliding_window_view(padded, covariance.shape)
    total = float(np.einsum("yx,yxji,ji->", np.nan_to_num(share, posinf=0.0), lagged, covariance))
    return math.sqrt(max(total, 0.0))


def median_variance_ratio(noisecov: ArrayLike) -> float:
    """Variance of the median of many Gaussian pixels, relative to that for uncorrelated noise.

    The error of the median is proportional to that of the mean sign of the pixels, and the signs of two pixels whose
    noise has the correlation rho have the correlation ``2/pi arcsin(rho)``.

    Parameters
    ----------
    noisecov : array_like, shape (k, k), k odd
        Noise correlation by lag, in any unit.

    Returns
    -------
    float
        1 for white noise; for widely correlated noise about the sum of `noisecov` over its centre, 1 / CORRFAC squared.
    """
    covariance = np.asarray(noisecov, np.float64)
    middle = covariance.shape[0] // 2
    correlation = np.clip(covariance / covariance[middle, middle], -1.0, 1.0)
    return float(2.0 / np.pi * np.arcsin(correlation).sum())
