"""Aperture measurements for the accuracy table, in plain numpy and scipy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Figure:
    """A measured value and its floor: the standard error that the measurement itself has."""

    value: float
    error: float


@dataclass(frozen=True)
class Apertures:
    """Circular apertures: whole pixels whose centres lie within `radius` pixels of (x, y), zero-based."""

    x: np.ndarray
    y: np.ndarray
    radius: float

    def stamps(self, shape: tuple[int, int]) -> list[tuple[tuple[slice, slice], np.ndarray] | None]:
        """Per aperture its cut-out and 0/1 weights; None where it leaves the array."""
        found: list[tuple[tuple[slice, slice], np.ndarray] | None] = []
        for x0, y0 in zip(self.x, self.y):
            x1, x2 = math.ceil(x0 - self.radius), math.floor(x0 + self.radius)
            y1, y2 = math.ceil(y0 - self.radius), math.floor(y0 + self.radius)
            if x1 < 0 or y1 < 0 or x2 >= shape[1] or y2 >= shape[0]:
                found.append(None)
                continue
            y, x = np.mgrid[y1 : y2 + 1, x1 : x2 + 1]
            inside = (x - x0) ** 2 + (y - y0) ** 2 <= self.radius**2
            found.append(((slice(y1, y2 + 1), slice(x1, x2 + 1)), inside.astype(np.float64)))
        return found

    def sums(self, image: np.ndarray) -> np.ndarray:
        """Sum of the image in each aperture; NaN where it leaves the array or meets a NaN."""
        stamps = self.stamps(image.shape)
        return np.array([np.nan if item is None else float(image[item[0]][item[1] > 0].sum()) for item in stamps])

    def sigmas(self, var: np.ndarray, noisecov: np.ndarray) -> np.ndarray:
        """Predicted 1-sigma noise: sigma^2 = sum_ij w_i w_j sqrt(V_i V_j) C_ij."""
        stamps = self.stamps(var.shape)
        return np.array(
            [np.nan if item is None else aperture_sigma(var[item[0]], item[1], noisecov) for item in stamps]
        )


def aperture_sigma(var: np.ndarray, weights: np.ndarray, noisecov: np.ndarray) -> float:
    """Noise of one weighted aperture from the variance plane's cut-out and the (odd, odd) noise autocorrelation."""
    from scipy.ndimage import correlate

    amplitude = weights * np.sqrt(np.where(weights > 0, var, 0.0))
    return math.sqrt(max(float((amplitude * correlate(amplitude, noisecov, mode="constant")).sum()), 0.0))


def blank_apertures(blank: np.ndarray, radius: float) -> Apertures:
    """Non-overlapping apertures on a square grid that hold blank pixels only."""
    from scipy.ndimage import distance_transform_edt

    padded = np.pad(blank, 1)
    room = distance_transform_edt(padded)[1:-1, 1:-1]
    step = math.floor(2 * radius) + 1
    first = math.ceil(radius)
    y, x = np.mgrid[first : blank.shape[0] : step, first : blank.shape[1] : step]
    y, x = y.ravel(), x.ravel()
    fits = room[y, x] > radius + 0.5
    return Apertures(x[fits].astype(float), y[fits].astype(float), radius)


def clipped(values: np.ndarray, limit: float = 4.0) -> np.ndarray:
    """Mask of the finite values within `limit` robust sigmas of their median, iterated."""
    good = np.isfinite(values)
    for _ in range(5):
        if good.sum() < 3:
            break
        centre, spread = np.median(values[good]), robust_sigma(values[good])
        good = np.isfinite(values) & (np.abs(values - centre) <= limit * max(spread, 1e-300))
    return np.asarray(good)


def robust_sigma(values: np.ndarray) -> float:
    """Standard deviation from the median absolute deviation."""
    return float(1.4826 * np.median(np.abs(values - np.median(values)))) if values.size else math.nan


def scatter(values: np.ndarray) -> float:
    """Standard deviation after a 4-sigma clip (which alone costs a Gaussian 0.1 %)."""
    good = values[clipped(values)]
    return float(np.std(good)) if good.size > 1 else math.nan


def scatter_ratio(first: np.ndarray, second: np.ndarray) -> Figure:
    """Scatter of paired values over that of their partners; the error from 100 paired resamplings."""
    both = clipped(first) & clipped(second)
    if both.sum() < 8:
        return Figure(math.nan, math.inf)
    pairs = np.stack([first[both], second[both]])
    rng = np.random.default_rng(0)
    draws = [pairs[:, rng.integers(0, pairs.shape[1], pairs.shape[1])].std(axis=1) for _ in range(100)]
    one, two = pairs.std(axis=1)
    return Figure(float(one / two), float(np.std([a / b for a, b in draws])))


def median_figure(values: np.ndarray) -> Figure:
    """Median and its standard error (1.253 sigma / sqrt(n))."""
    values = values[np.isfinite(values)]
    if values.size < 3:
        return Figure(math.nan, math.inf)
    return Figure(float(np.median(values)), 1.253 * robust_sigma(values) / math.sqrt(values.size))


def surface(image: np.ndarray, good: np.ndarray, order: int = 3, step: int = 32) -> np.ndarray:
    """Smooth background: Legendre polynomials of total `order`, fitted to the medians of good pixels in boxes.

    Zero where fewer boxes are usable than there are terms.
    """
    ny, nx = image.shape
    points = []
    for y in range(0, ny, step):
        for x in range(0, nx, step):
            box = np.s_[y : y + step, x : x + step]
            values = image[box][good[box]]
            if values.size > 0.2 * step * step:
                points.append((x + step / 2, y + step / 2, float(np.median(values)), values.size))
    terms = [(i, j) for i in range(order + 1) for j in range(order + 1 - i)]
    if len(points) < 2 * len(terms):
        centre = np.median([point[2] for point in points]) if points else 0.0
        return np.full(image.shape, float(centre))
    x, y, value, number = np.array(points).T
    design = _legendre(x, y, image.shape, terms)
    weight = np.sqrt(number)
    solution, *_ = np.linalg.lstsq(design * weight[:, None], value * weight, rcond=None)
    rows = np.polynomial.legendre.legvander(_unit(np.arange(ny), ny), order)
    columns = np.polynomial.legendre.legvander(_unit(np.arange(nx), nx), order)
    matrix = np.zeros((order + 1, order + 1))
    for (i, j), coefficient in zip(terms, solution):
        matrix[j, i] = coefficient
    return np.asarray(rows @ matrix @ columns.T)


def _unit(position: np.ndarray, length: int) -> np.ndarray:
    return 2 * position / max(length - 1, 1) - 1


def _legendre(x: np.ndarray, y: np.ndarray, shape: tuple[int, int], terms: list[tuple[int, int]]) -> np.ndarray:
    order = max(i for i, _ in terms)
    u = np.polynomial.legendre.legvander(_unit(x, shape[1]), order)
    v = np.polynomial.legendre.legvander(_unit(y, shape[0]), order)
    return np.stack([u[:, i] * v[:, j] for i, j in terms], axis=1)
