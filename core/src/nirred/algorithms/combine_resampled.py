"""Combination of resampled values other than by their weighted mean, and how much more variance it has than a mean."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from nirred.algorithms.combine import NoiseModel, Rejection, combine


@dataclass(frozen=True)
class Combination:
    """A combination of resampled values other than their weighted mean.

    Parameters
    ----------
    operation : {"wtmean", "mean", "median", "lmedian"}
    rejection : Rejection
        Of resampled values.
    constant, per_electron : float
        Noise model of a resampled pixel, mean of the frames.
    """

    operation: str
    rejection: Rejection
    constant: float
    per_electron: float

    def of(self, images: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, factor on the variance of the mean, and number combined, of images (n, rows, nx); NaN: no value."""
        there = np.isfinite(images).sum(axis=0)
        noise = NoiseModel(np.float32(self.constant), np.float32(self.per_electron))
        weighted = weights if self.operation == "wtmean" else None
        made = combine(images, noise=noise, method=self.operation, rejection=self.rejection, weights=weighted)
        return made.sci, self._loss(there, made.n, len(images)), made.n

    def _loss(self, there: np.ndarray, kept: np.ndarray, frames: int) -> np.ndarray:
        """Variance relative to that of the mean of all values that are there, for normal noise, to 5 %.

        Clipped values are assumed to be outliers; most values rejected by minmax are as good as the others. For
        medians, fits to the variances of those of 2 to 30 normal values.
        """
        left = np.maximum(there, 1)
        loss = left / np.maximum(kept, 1)
        if self.rejection.rule == "minmax":
            loss = np.array([self._loss_by_minmax(n, frames) for n in range(frames + 1)])[there]
        if self.operation in ("median", "lmedian"):
            even = 2.6 if self.operation == "median" else 0.6
            loss = loss * np.pi * left / (2 * left + np.where(left % 2, np.pi - 2, even))
        return np.asarray(loss)

    def _loss_by_minmax(self, n: int, frames: int) -> float:
        """The same for the mean of n values of so many frames, of which the rule rejects its shares."""
        low, high = (int(n * share / frames + 0.001) for share in (self.rejection.nlow, self.rejection.nhigh))
        return trimmed_variance(low / n, high / n) if 0 < low + high < n else 1.0


def trimmed_variance(low: float, high: float) -> float:
    """Variance of a trimmed mean of normal values relative to that of the mean of all, if these are many.

    It is that of the values with the trimmed ones moved to the nearest that are kept, over the square of the share that
    is kept (Stigler 1973); of three or more values it is true to 5 %, or 8 % if a single one is kept.

    Parameters
    ----------
    low, high : float
        Shares of the lowest and highest values that are left out.
    """
    normal, kept = NormalDist(), 1.0 - low - high
    mean, square = 0.0, kept
    if low > 0:
        edge = normal.inv_cdf(low)
        mean, square = mean + normal.pdf(edge) + edge * low, square + edge * (normal.pdf(edge) + edge * low)
    if high > 0:
        edge = normal.inv_cdf(high)
        mean, square = mean - normal.pdf(edge) - edge * high, square + edge * (normal.pdf(edge) + edge * high)
    return float((square - mean**2) / kept**2)
