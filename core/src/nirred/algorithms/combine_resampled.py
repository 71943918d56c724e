"""Combination of resampled values other than by their weighted mean, and how much more variance it has than a mean."""

from __future__ import annotations

from dataclasses import dataclass

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
        return made.sci, self._loss(there, made.n), made.n

    def _loss(self, there: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Variance relative to that of the mean of all values, for normal noise.

        Fits to variances of order statistics of 2 to 30 normal values, accurate to 5 %. Clipped values are assumed to
        be outliers; most values rejected by minmax are as good as the others.
        """
        left = np.maximum(there, 1)
        loss = left / np.maximum(kept, 1)
        if self.rejection.rule == "minmax":
            loss = 1.0 + 0.571 * np.maximum(1.0 - kept / left, 0.0) ** 1.5
        if self.operation in ("median", "lmedian"):
            even = 2.6 if self.operation == "median" else 0.6
            loss = loss * np.pi * left / (2 * left + np.where(left % 2, np.pi - 2, even))
        return np.asarray(loss)
