"""Unevenness of blank sky compared with that expected from its noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.typical import median

#: Side of the compared areas, pixels, and the least blank share of an area that is used.
AREA, LEAST = 64, 0.25
#: Least number of areas for a measurement.
FEWEST = 16
#: Sides of windows that stand for apertures of radius 0.5, 1, 2 and 4 FWHM, of equal area; in cells of the first.
WINDOWS, CELL_SIDE = (1, 2, 4, 8), 0.886
#: Least blank share of a window that is used.
WINDOW_BLANK = 0.6
#: Independent windows over their number if they overlap by half; error of the lower half's scatter, sigma / sqrt(n).
OVERLAP, HALF_SCATTER = 0.45, 1.49
#: Spacing of the rows on which the median is measured.
SPARSE = 7
#: Excess that sources too faint to be masked may cause, and the largest excess that is accepted.
FAINT, MOST = 0.08, 1.5
#: Scatter of a median over that of the mean, of normal deviates.
MEDIAN_SCATTER = 1.2533


@dataclass(frozen=True)
class Evenness:
    """Scatter of the levels of areas of blank sky.

    Attributes
    ----------
    ratio : float
        Scatter of their levels over that expected from the pixels' noise; 0 if too few areas are blank.
    excess : float
        Rms scatter beyond that of the noise, in units of the data.
    """

    ratio: float
    excess: float

    def beyond(self, ratio: float) -> float:
        """Scatter beyond `ratio` times that expected from the pixels' noise, in units of the data."""
        if self.ratio <= max(ratio, 1.0):
            return 0.0
        return self.excess * float(np.sqrt((self.ratio**2 - ratio**2) / (self.ratio**2 - 1.0)))


def broad_noise(
    data: NDArray[np.float32],
    var: NDArray[np.float32],
    blank: NDArray[np.bool_],
    noisecov: NDArray[np.float64],
    fwhm: float,
) -> float:
    """Excess variance of sums of blank pixels over that predicted, on scales wider than `noisecov`.

    Errors of a sky model on the scale of apertures are not part of the pixels' noise. The scatter of windows as large
    as apertures of 1, 2 and 4 FWHM, from the lower half of their sums, which faint sources affect less, is compared
    with the prediction; pixels, whose noise is known, stand for 0.5 FWHM. The excess is the one with which `broadened`
    brings all four closest to their prediction.

    Parameters
    ----------
    data, var : float32 (ny, nx)
        An image and the variance of its pixels that holds over an area.
    blank : bool (ny, nx)
        Pixels without objects, of about one depth.
    noisecov : float64 (k, k)
        Correlation of their noise, of sum 1.
    fwhm : float
        Of stars, pixels.

    Returns
    -------
    float
        Variance to add, relative to `var`; 0 if the excess is not significant.
    """
    cell = max(1, round(CELL_SIDE * fwhm))
    ny, nx = (n // cell for n in data.shape)
    if min(ny, nx) < WINDOWS[-1]:
        return 0.0
    inside = np.s_[: ny * cell, : nx * cell]
    parts = [_cells(image[inside], blank[inside], cell) for image in (data, var, np.ones((1, 1), np.float32))]
    sample = data[::SPARSE][blank[::SPARSE]]
    middle = median(sample) if sample.size else 0.0
    ratio, error = np.ones(len(WINDOWS)), np.zeros(len(WINDOWS))
    for k, side in enumerate(WINDOWS[1:], 1):
        total, expected, number = (_window_sums(part, side) for part in parts)
        known = number >= WINDOW_BLANK * (side * cell) ** 2
        n = OVERLAP * np.count_nonzero(known)
        if n < FEWEST:
            return 0.0
        correlated = _seen_through(noisecov, side * cell)
        pulls = (total - middle * number)[known] / np.sqrt(np.maximum(expected[known] * correlated, 1e-30))
        low, centre = np.percentile(pulls, [15.87, 50.0])
        ratio[k] = max(centre - low, 1e-3) ** 2
        error[k] = 2.0 * HALF_SCATTER / np.sqrt(n)
    far = _far_lags(noisecov)
    share = np.array([_seen_through(far, w * cell) / _seen_through(noisecov, w * cell) for w in WINDOWS]) / ratio
    excess = float(share @ (1.0 - 1.0 / ratio) / (share @ share))
    doubt = float(np.hypot(2.0 * np.sqrt(((share * error) ** 2).sum()) / (share @ share), FAINT))
    return min(excess - doubt**2 / excess, MOST) if excess > doubt else 0.0


def broadened(noisecov: NDArray[np.float64], excess: float) -> NDArray[np.float64]:
    """Correlation of noise, of sum 1, after adding the relative variance `excess`, correlated over wide distances.

    The excess is put on the outermost lags: single pixels scatter as before, large apertures as the variance predicts.
    """
    return np.asarray((noisecov + excess * _far_lags(noisecov)) / (1.0 + excess))


def _far_lags(noisecov: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation on the outermost lags only, of sum 1."""
    far: NDArray[np.float64] = np.zeros(noisecov.shape)
    far[[0, -1], :] = far[:, [0, -1]] = 1.0
    return np.asarray(far / far.sum())


def _seen_through(noisecov: NDArray[np.float64], side: int) -> float:
    """Variance of the sum of a square's pixels over the sum of their variances."""
    half = len(noisecov) // 2
    pairs = np.maximum(1.0 - np.abs(np.arange(-half, half + 1)) / side, 0.0)
    return float(pairs @ noisecov @ pairs)


def _cells(image: NDArray[np.float32], blank: NDArray[np.bool_], side: int) -> NDArray[np.float64]:
    """Sums of blank pixels over cells."""
    ny, nx = (n // side for n in blank.shape)
    rows = np.where(blank, image, np.float32(0)).reshape(ny, side, nx * side).sum(axis=1)
    return np.asarray(rows.reshape(ny, nx, side).sum(axis=2, dtype=np.float64))


def _window_sums(cells: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Sums over windows of `side` x `side` cells that overlap by half."""
    total = np.pad(cells.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    return np.asarray(sums[:: side // 2, :: side // 2])


def evenness(data: NDArray[np.float32], var: NDArray[np.float32], blank: NDArray[np.bool_]) -> Evenness:
    """Compare the levels of areas of blank sky.

    Parameters
    ----------
    data, var : float32 (ny, nx)
        An image and the variance of its pixels, uncorrelated as seen over an area.
    blank : bool (ny, nx)
        Pixels without objects.
    """
    levels, errors = [], []
    for y in range(0, data.shape[0] - AREA + 1, AREA):
        for x in range(0, data.shape[1] - AREA + 1, AREA):
            box = np.s_[y : y + AREA, x : x + AREA]
            some = blank[box]
            n = int(np.count_nonzero(some))
            if n >= LEAST * AREA**2:
                levels.append(median(data[box][some]))
                errors.append(MEDIAN_SCATTER * float(np.sqrt(np.mean(var[box][some]) / n)))
    if len(levels) < FEWEST:
        return Evenness(0.0, 0.0)
    apart, noise = np.abs(np.array(levels) - np.median(levels)), np.array(errors)
    seen, expected = 1.4826 * float(np.median(apart)), float(np.median(noise))
    ratio = 1.4826 * float(np.median(apart / np.maximum(noise, 1e-30)))
    return Evenness(ratio, float(np.sqrt(max(seen**2 - expected**2, 0.0))))
