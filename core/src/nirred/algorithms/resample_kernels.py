"""Interpolation kernels: weights of a fractional shift and the resulting noise correlation."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Kernel: TypeAlias = Literal["lanczos3", "bilinear", "nearest"]

#: Number of input samples per axis used for an output pixel.
TAPS: dict[str, int] = {"lanczos3": 6, "bilinear": 2, "nearest": 1}

#: Shifts nearer than this to a whole pixel are copied without interpolation (px).
WHOLE_PIXEL = 1e-6

#: An output pixel is dropped when less than this part of its kernel's weight, or of its absolute weight, is left:
#: where the best samples are masked the rest may add up to next to nothing.
MIN_COVERAGE = 0.5

#: Half-width of the noise correlation matrix: 7x7 (5x5 misses 4 % after Lanczos-3).
CORRELATION_HALF_WIDTH = 3

#: Phases per pixel of the mean correlation's weights.
_TABLED = 1024


@lru_cache(maxsize=4096)
def split_shift(shift: float, kernel: Kernel) -> tuple[int, NDArray[np.float64]]:
    """Split a shift into the first input sample drawn on and the weights of the samples.

    Output pixel ``i`` is ``sum_k weights[k] * input[i + first + k]``.

    Parameters
    ----------
    shift : float
        Position in the input minus position in the output (px).
    kernel : {"lanczos3", "bilinear", "nearest"}
        The interpolant.

    Returns
    -------
    first : int
        Index of the first sample for output pixel 0.
    weights : float64 array, shape (6,), (2,) or (1,)
        They sum to 1, so a shift keeps every source's flux. Read-only.
    """
    if not math.isfinite(shift):
        raise ValueError(f"a shift must be finite, got {shift}")
    nearest = math.floor(shift + 0.5)
    base, weights = nearest, np.ones(1)
    if kernel != "nearest" and abs(shift - nearest) >= WHOLE_PIXEL:
        base = math.floor(shift)
        weights = phase_weights(np.array([shift - base]), kernel)[0]
    weights.flags.writeable = False
    return base - (weights.size - 1) // 2, weights


def phase_weights(phase: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """Return the weights of the samples for fractional positions.

    Parameters
    ----------
    phase : float64 array, shape (n,)
        Distance (px, 0 to 1) beyond the sample at index ``taps // 2 - 1``.
    kernel : {"lanczos3", "bilinear", "nearest"}
        Lanczos-3 is sinc(t) sinc(t/3) for ``|t| < 3``, corrected to keep the moments of a source.

    Returns
    -------
    float64 array, shape (n, taps)
        Each row sums to 1.
    """
    if kernel == "nearest":
        return np.ones((phase.size, 1))
    taps = TAPS[kernel]
    distance = phase[:, None] - (np.arange(taps) - taps // 2 + 1)
    if kernel == "bilinear":
        weights = np.clip(1.0 - np.abs(distance), 0.0, None)
    else:
        weights = _keep_moments(distance, np.sinc(distance) * np.sinc(distance / 3))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float64)


def _keep_moments(distance: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Make the weights reproduce polynomials up to the second degree.

    Lanczos-3 divided by its sum alone moves a source by up to 0.020 px; with the first two moments at
    zero its position and its width are exact, and the response to noise stays within 1 %.  The correction is
    a quadratic under the window sinc(t/3)^2.
    """
    window = np.sinc(distance / 3) ** 2
    powers = (distance / 3)[:, :, None] ** np.arange(3)
    missing = np.array([1.0, 0.0, 0.0]) - np.einsum("nt,ntk->nk", weights, powers)
    matrix = np.einsum("ntj,nt,ntk->njk", powers, window, powers)
    coefficients = np.linalg.solve(matrix, missing[:, :, None])[:, :, 0]
    return np.asarray(weights + window * np.einsum("ntk,nk->nt", powers, coefficients), dtype=np.float64)


def kernel_correlation(dx: float, dy: float, kernel: Kernel = "lanczos3") -> NDArray[np.float64]:
    """Return the noise covariance of unit white noise after a resampling by a shift.

    The variance of the resampled pixels is the centre of the matrix, although a variance plane resampled
    with plain weights remains 1: that plane is valid for apertures of one FWHM and larger, because
    the covariance summed over *all* lags is exactly 1.  The mean of the matrices of the frames, each with its
    squared stacking weight, is the covariance of the stack.

    Parameters
    ----------
    dx, dy : float
        The shift (px); only its fractional part matters.
    kernel : {"lanczos3", "bilinear", "nearest"}
        The interpolant.

    Returns
    -------
    float64 array, shape (7, 7)
        Indexed ``[lag_y + 3, lag_x + 3]``; exact for the lags that it holds.
    """
    half = CORRELATION_HALF_WIDTH
    axes = []
    for shift in (dy, dx):
        _, weights = split_shift(shift, kernel)
        padded = np.pad(weights, (0, max(0, half + 1 - weights.size)))
        full = np.correlate(padded, padded, mode="full")
        centre = padded.size - 1
        axes.append(full[centre - half : centre + half + 1])
    return np.outer(axes[0], axes[1])


def mean_correlation(
    x: NDArray[np.float64], y: NDArray[np.float64], jacobian: NDArray[np.float64], kernel: Kernel = "lanczos3"
) -> NDArray[np.float64]:
    """Return the noise covariance of unit white noise after a resampling by any map, the mean over some output pixels.

    Parameters
    ----------
    x, y : float64 array, shape (n,)
        Positions of these pixels in the input: a representative sample of the map's sub-pixel phases.
    jacobian : float64 array, shape (2, 2)
        Steps in input x and y (rows) per step in output x and y (columns), pixels.
    kernel : {"lanczos3", "bilinear", "nearest"}
        The interpolant.

    Returns
    -------
    float64 array, shape (7, 7)
        As `kernel_correlation`; summed over all lags it is about 1 / the jacobian's determinant.
    """
    lags = np.arange(-CORRELATION_HALF_WIDTH, CORRELATION_HALF_WIDTH + 1)
    out_x, out_y = np.meshgrid(lags, lags)
    overlaps = []
    for places, (a, b) in ((x, jacobian[0]), (y, jacobian[1])):
        steps = (a * out_x + b * out_y).ravel()
        overlaps.append(_overlap(places % 1.0, steps, kernel))
    return np.asarray((overlaps[0] * overlaps[1]).mean(axis=0).reshape(out_x.shape))


@lru_cache(maxsize=3)
def _phase_table(kernel: Kernel) -> NDArray[np.float64]:
    """Weights of the samples for `_TABLED` + 1 phases from 0 to 1."""
    return phase_weights(np.arange(_TABLED + 1) / _TABLED, kernel)


def _overlap(phase: NDArray[np.float64], steps: NDArray[np.float64], kernel: Kernel) -> NDArray[np.float64]:
    """Covariance along one axis of samples at each phase with those `steps` pixels further; shape (phases, steps)."""
    reach = int(np.ceil(np.abs(steps).max())) + 4
    own = _samples(phase, reach, kernel)
    other = _samples((phase[:, None] + steps).ravel(), reach, kernel).reshape(phase.size, steps.size, -1)
    return np.asarray(np.einsum("pk,psk->ps", own, other))


def _samples(places: NDArray[np.float64], reach: int, kernel: Kernel) -> NDArray[np.float64]:
    """Weights of the input samples -reach to reach for positions among them."""
    base = np.floor(places + (0.5 if kernel == "nearest" else 0.0)).astype(np.intp)
    weights = _phase_table(kernel)[np.rint(np.abs(places - base) * _TABLED).astype(np.intp)]  # the nearest's are all 1
    first = base - (TAPS[kernel] - 1) // 2 + reach
    out = np.zeros((places.size, 2 * reach + 1))
    np.put_along_axis(out, first[:, None] + np.arange(TAPS[kernel]), weights, axis=1)
    return out
