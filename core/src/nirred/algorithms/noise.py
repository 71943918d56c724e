"""Noise correlation between pixels: measured, predicted from resampling kernels, and summed over apertures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask
from nirred.algorithms.compiled import kernel
from nirred.algorithms.mesh import mesh_background

CLIP = 5.0  # sigma: pixels beyond it are excluded from the measured correlation
AROUND = 16  # side of the boxes with which a pixel is compared, pixels: the glow of an amplifier is wider


@kernel
def _lagged_products(values: np.ndarray, good: np.ndarray, half: int, products: np.ndarray, pairs: np.ndarray) -> None:
    """Sums of products, and numbers of pairs, of pixels at each lag; lags (dy, dx) and (-dy, -dx) are equal.

    Columns are summed first, so that neighbouring columns share one vector operation.
    """
    height, width = values.shape
    line = np.zeros((2, width))
    for dy in range(half + 1):
        for dx in range(-half, half + 1):
            if (dy == 0 and dx < 0) or dy >= height or abs(dx) >= width:
                continue
            first, second = max(0, -dx), max(0, dx)
            n = width - abs(dx)
            total, count = line[0, :n], line[1, :n]
            total[:] = 0
            count[:] = 0
            for y in range(height - dy):
                a, b = values[y, first : first + n], values[y + dy, second : second + n]
                g, h = good[y, first : first + n], good[y + dy, second : second + n]
                for x in range(n):
                    total[x] += a[x] * b[x]
                    count[x] += g[x] * h[x]
            for sign in (-1, 1):
                products[half + sign * dy, half + sign * dx] = total.sum()
                pairs[half + sign * dy, half + sign * dx] = count.sum()


def autocorrelation(residual: ArrayLike, mask: ArrayLike | None, half: int = 3) -> NDArray[np.float64]:
    """Mean noise autocovariance of blank pixels.

    Parameters
    ----------
    residual : array_like, shape (h, w)
        Sky-subtracted image divided by its predicted 1-sigma noise, ``data / sqrt(var)``. A background that varies
        over 64 pixels or more is subtracted first.
    mask : array_like or None, shape (h, w)
        Non-zero where a pixel is bad or covered by an object.
    half : int
        Largest lag in pixels.

    Returns
    -------
    ndarray of float64, shape (2 half + 1, 2 half + 1)
        Covariance at each lag, in units of the predicted variance: the centre is measured over predicted variance.
        NaN at lags without a good pair.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    image = np.ascontiguousarray(residual, np.float32)
    bad = as_mask(mask, image.shape)
    mesh = mesh_background(image, bad)
    products, pairs = np.zeros((2, 2 * half + 1, 2 * half + 1))
    if np.all(np.isfinite(mesh.values)):
        image = image - mesh.evaluate()
        limit = CLIP * float(np.median(mesh.sigmas))
        good = (bad == 0) & (np.abs(image) <= limit)
        values = np.where(good, image, np.float32(0.0))
        _lagged_products(values, good.astype(np.float32), half, products, pairs)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(products / pairs)


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


def disc(radius: float, dx: ArrayLike = 0.0, dy: ArrayLike = 0.0) -> NDArray[np.float64]:
    """Weights of circular apertures: the exact fraction of each pixel inside.

    Parameters
    ----------
    radius : float
        In pixels.
    dx, dy : float or array_like, shape (n,)
        Offset of the aperture's centre from that of the middle pixel, within half a pixel.

    Returns
    -------
    ndarray of float64, shape (2 r + 1, 2 r + 1) or (n, 2 r + 1, 2 r + 1)
        Where r is the smallest integer for which the aperture fits.
    """
    reach = math.ceil(radius + 0.5)
    edges = np.arange(-reach - 0.5, reach + 1.0)
    x = (edges - np.asarray(dx, np.float64)[..., None])[..., None, :]
    y = (edges - np.asarray(dy, np.float64)[..., None])[..., :, None]
    area = np.diff(np.diff(_quarter(x, y, radius), axis=-1), axis=-2)
    # pixels entirely inside or outside: without rounding errors
    squares = x * x + y * y
    corners = [squares[..., j : j - 1 or None, i : i - 1 or None] for j in (0, 1) for i in (0, 1)]
    inside = np.max(corners, axis=0) <= radius**2
    u = np.maximum(np.maximum(x[..., :-1], -x[..., 1:]), 0.0)
    v = np.maximum(np.maximum(y[..., :-1, :], -y[..., 1:, :]), 0.0)
    outside = u * u + v * v >= radius**2
    return np.asarray(np.where(inside, 1.0, np.where(outside, 0.0, np.clip(area, 0.0, 1.0))))


def _quarter(x: NDArray[np.float64], y: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    """Signed overlap of a circle around the origin with the rectangle from the origin to (x, y)."""
    u, v = np.minimum(np.abs(x), radius), np.minimum(np.abs(y), radius)
    beyond = u * np.sqrt(radius**2 - u * u) + v * np.sqrt(radius**2 - v * v)
    beyond = 0.5 * (beyond + radius**2 * (np.arcsin(u / radius) + np.arcsin(v / radius) - 0.5 * math.pi))
    return np.asarray(np.sign(x) * np.sign(y) * np.where(u * u + v * v <= radius**2, u * v, beyond))
