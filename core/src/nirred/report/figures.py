"""Figures of a stack, measured on its pixels: level, noise against its prediction, depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..dq import NOT_SIGNAL

#: Largest number of pixels used: more do not improve the result.
_MOST = 1_000_000
#: Smallest number of pixels or boxes for a result.
_LEAST = 30


@dataclass(frozen=True)
class Measured:
    """A ratio with its standard error and the number of pixels or boxes."""

    value: float
    error: float
    number: int


@dataclass(frozen=True)
class Noise:
    """Noise of the blank part of a stack.

    Parameters
    ----------
    level : float
        Median, electron.
    pixel : float
        Predicted scatter of a pixel, electron.
    ratio : Measured
        Ratio of measured to predicted scatter of pixels.
    box : int
        Side of boxes, pixels; 0 if too few are blank.
    box_ratio : Measured or None
        The same for sums over boxes, for which the prediction needs the noise's correlation.
    variance : float
        Median of VAR, electron squared.
    """

    level: float
    pixel: float
    ratio: Measured
    variance: float
    box: int = 0
    box_ratio: Measured | None = None

    def limit(self, radius: float, significance: float = 5.0) -> float:
        """Flux limit, `significance` times the noise in an aperture of that radius (pixels), electron."""
        return significance * math.sqrt(math.pi * radius**2 * self.variance)


def blank_pixels(dq: np.ndarray, nexp: np.ndarray, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Good pixels with at least half of the most exposures, away from sources.

    Parameters
    ----------
    dq, nexp : integer (ny, nx)
        Flags; number of exposures at each pixel.
    x, y, radius : float (n,)
        Positions of sources (pixels, from 0) and half the side of the square excluded around each.

    Returns
    -------
    bool (ny, nx)
    """
    blank = ((dq & np.uint16(NOT_SIGNAL)) == 0) & (nexp > 0) & (2 * nexp >= nexp.max(initial=0))
    sides = zip(x, y, radius, strict=True)
    for one, two, half in (s for s in sides if all(map(math.isfinite, s))):
        y1, x1 = max(int(two - half), 0), max(int(one - half), 0)
        blank[y1 : max(int(two + half) + 2, 0), x1 : max(int(one + half) + 2, 0)] = False
    return np.asarray(blank)


def measure_noise(sci: np.ndarray, var: np.ndarray, blank: np.ndarray, cov: np.ndarray, box: int) -> Noise | None:
    """Compare the scatter of blank pixels, and of blank boxes, with the predictions of VAR and NOISECOV.

    Parameters
    ----------
    sci, var : float (ny, nx)
        electron, electron squared.
    blank : bool (ny, nx)
        From `blank_pixels`.
    cov : float (k, k)
        Autocorrelation of the noise, in units of VAR: its centre is CORRFAC squared.
    box : int
        Side of the boxes, pixels.

    Returns
    -------
    Noise or None
        None if fewer than 30 pixels are blank.
    """
    good = blank & np.isfinite(sci) & (var > 0)
    values, variances = sci[good], var[good]
    thin = -(-values.size // _MOST) or 1
    values, variances = values[::thin], variances[::thin]
    if values.size < _LEAST:
        return None
    predicted = math.sqrt(max(float(cov[cov.shape[0] // 2, cov.shape[1] // 2]), 0.0)) or 1.0
    typical = float(np.median(variances))
    ratio = _scatter(values / np.sqrt(variances), predicted)
    noise = Noise(float(np.median(values)), predicted * math.sqrt(typical), ratio, typical)
    total, expected = box_sums(np.where(good, sci, np.nan), var, box)
    if total.size < _LEAST:
        return noise
    boxes = _scatter(total / np.sqrt(expected), math.sqrt(box_factor(cov, box)))
    return Noise(noise.level, noise.pixel, ratio, typical, box, boxes)


def box_sums(sci: np.ndarray, var: np.ndarray, box: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `sci` and `var` over the boxes of that side without NaN in `sci`."""
    ny, nx = (n // box * box for n in sci.shape)
    shape = (ny // box, box, nx // box, box)
    total = sci[:ny, :nx].reshape(shape).sum(axis=(1, 3), dtype=np.float64)
    whole = np.isfinite(total)
    return total[whole], var[:ny, :nx].reshape(shape).sum(axis=(1, 3), dtype=np.float64)[whole]


def box_factor(cov: np.ndarray, box: int) -> float:
    """Variance of the sum over a box over the sum of VAR: each lag counts as often as it fits into the box."""
    shares = [np.maximum(1 - np.abs(np.arange(n) - n // 2) / box, 0) for n in cov.shape]
    return max(float((cov * np.outer(*shares)).sum()), 1e-12)


def _scatter(values: np.ndarray, predicted: float) -> Measured:
    """Ratio of robust to predicted scatter; 1.17 is the standard error of a sigma from the median deviation."""
    centre = np.median(values)
    value = 1.4826 * float(np.median(np.abs(values - centre))) / predicted
    return Measured(value, 1.17 * value / math.sqrt(values.size), values.size)
