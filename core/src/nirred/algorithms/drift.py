"""The sky level between measurements: interpolation in time with an honest error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def predict_level(times: ArrayLike, levels: ArrayLike, errors: ArrayLike, when: float) -> tuple[float, float]:
    """Sky level at a time from levels measured at others.

    Between two measurements the level is interpolated linearly, outside them the line through the nearest ones is
    continued. The error adds the measurements' own, propagated, to what the sequence itself shows: how badly each of
    its levels is predicted by the others, at a like lag in time.

    Parameters
    ----------
    times, levels, errors : (n,)
        Seconds, level, 1-sigma error of each measurement.
    when : float
        Seconds.

    Returns
    -------
    level, error : float
        NaN and infinity without a measurement; with a single one its level, and 5 % of it as error.
    """
    t, y, e = (np.asarray(a, float) for a in (times, levels, errors))
    order = np.argsort(t, kind="stable")
    t, y, e = t[order], y[order], e[order]
    if t.size == 0:
        return float("nan"), float("inf")
    if t.size == 1:
        return float(y[0]), float(np.hypot(e[0], 0.05 * abs(y[0])))
    weights, lag = _line_weights(t, when)
    level = float(weights @ y)
    measured = float(np.sqrt(np.sum((weights * e) ** 2)))
    inside = bool(t[0] <= when <= t[-1])
    return level, float(np.hypot(measured, _unpredictability(t, y, lag, inside=inside)))


def _line_weights(t: np.ndarray, when: float) -> tuple[np.ndarray, float]:
    """Weights of the levels in the prediction, and its lag: distance in time, seconds.

    Between measurements at distances a and b the lag is a b / (a + b): the variance of a random walk there is
    proportional to it, as it is to the distance beyond the last one. Levels measured at that very time are averaged.
    """
    here = t == when
    if here.any():
        return here / here.sum(), 0.0
    weights = np.zeros(t.size)
    if t[0] < when < t[-1]:
        k = int(np.searchsorted(t, when))
        before, after = when - t[k - 1], t[k] - when
        weights[k - 1], weights[k] = after / (before + after), before / (before + after)
        return weights, float(before * after / (before + after))
    n = min(t.size, 5)
    chosen = np.arange(n) if when < t[0] else np.arange(t.size - n, t.size)
    x = t[chosen] - t[chosen].mean()
    weights[chosen] = 1.0 / n + x * (when - t[chosen].mean()) / max(float(x @ x), 1e-9)
    return weights, float(np.min(np.abs(t - when)))


def _unpredictability(t: np.ndarray, y: np.ndarray, lag: float, *, inside: bool) -> float:
    """Error of predicting known levels from others in the same way, brought to a lag as a random walk grows.

    Inside the sequence each level is predicted from all the others; outside from those on one side of it only, and
    the error does not shrink below theirs, because a line through several levels misses even the last of them.
    """
    least = max(0.1 * float(t[-1] - t[0]) / (t.size - 1), 1e-9)
    if t.size == 2:
        return float(abs(y[1] - y[0]) * np.sqrt(lag / max(float(t[1] - t[0]), least)))
    ranks = np.arange(t.size)
    sides = [ranks != k for k in ranks] if inside else [ranks < k for k in ranks] + [ranks > k for k in ranks]
    squares, lags = [], []
    for k, others in zip(np.tile(ranks, 2), sides, strict=False):
        if others.sum() >= 2:
            weights, far = _line_weights(t[others], float(t[k]))
            lags.append(max(far, least))
            squares.append((float(weights @ y[others]) - y[k]) ** 2 / lags[-1])
    usual = least if inside else float(np.median(lags))
    return float(np.sqrt(np.mean(squares) * (max(lag, usual) if lag else 0.0)))
