"""The sky level between measurements: interpolation in time with an honest error."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def predict_level(times: ArrayLike, levels: ArrayLike, errors: ArrayLike, when: float) -> tuple[float, float]:
    """Sky level at a time from levels measured at others.

    Between two measurements the level is interpolated linearly, outside them the line through the nearest ones is
    continued. The error adds the measurements' own, propagated, to what the sequence itself shows: how badly each of
    its levels is predicted by the others, at a like distance in time.

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
    weights, reach = _line_weights(t, when)
    level = float(weights @ y)
    measured = float(np.sqrt(np.sum((weights * e) ** 2)))
    return level, float(np.hypot(measured, _unpredictability(t, y, reach)))


def _line_weights(t: np.ndarray, when: float) -> tuple[np.ndarray, float]:
    """Weights of the levels in the prediction, and its distance in time from the nearest of them."""
    weights = np.zeros(t.size)
    inside = t[0] <= when <= t[-1]
    if inside:
        k = int(np.clip(np.searchsorted(t, when), 1, t.size - 1))
        span = max(t[k] - t[k - 1], 1e-9)
        weights[k - 1], weights[k] = (t[k] - when) / span, (when - t[k - 1]) / span
    else:
        n = min(t.size, 5)
        chosen = np.arange(n) if when < t[0] else np.arange(t.size - n, t.size)
        x = t[chosen] - t[chosen].mean()
        weights[chosen] = 1.0 / n + x * (when - t[chosen].mean()) / max(float(x @ x), 1e-9)
    return weights, float(np.min(np.abs(t - when)))


def _unpredictability(t: np.ndarray, y: np.ndarray, reach: float) -> float:
    """Error of predicting each level from the others, scaled to a distance in time of `reach`."""
    if t.size < 3:
        slope = abs(y[1] - y[0]) / max(t[1] - t[0], 1e-9)
        return float(0.5 * slope * reach)
    rest = np.arange(t.size)
    misses, reaches = [], []
    for k in rest:
        others = rest != k
        weights, far = _line_weights(t[others], float(t[k]))
        misses.append(float(weights @ y[others]) - y[k])
        reaches.append(far)
    scale = reach / max(float(np.median(reaches)), 1e-9)
    return float(np.sqrt(np.mean(np.square(misses)))) * scale
