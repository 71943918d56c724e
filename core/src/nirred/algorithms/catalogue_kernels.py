"""Compiled loops of the catalogue: parting of blends, Kron apertures, and noise sums over correlated pixels."""

from __future__ import annotations

import numpy as np
from numba import njit

SUBPIXELS = 5  # a pixel on the rim of an ellipse is cut into so many squared


@njit(nogil=True, cache=True, error_model="numpy")
def _trunk(parents, k):  # type: ignore[no-untyped-def]
    while parents[k] != k:
        k = parents[k]
    return k


@njit(nogil=True, cache=True, error_model="numpy")
def part_blends(height, rows, columns, prominence, contrast, parts):  # type: ignore[no-untyped-def]
    """Flood peaks from the top down; where two meet, the lower one stays apart only if it stands out.

    It does with a rise of `prominence` above the saddle and `contrast` of the higher one's flux above it. Labels in
    `parts` are 1 plus the place of the peak in the list of pixels, which descends in height.
    """
    n = rows.size
    parents, area, total = np.arange(n), np.zeros(n), np.zeros(n)
    near = np.zeros(9, np.int64)
    for k in range(n):
        value, best, met = height[rows[k], columns[k]], -1, 0
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                y, x = rows[k] + dy, columns[k] + dx
                inside = y >= 0 and x >= 0 and y < parts.shape[0] and x < parts.shape[1]
                if inside and parts[y, x] > 0:
                    near[met] = _trunk(parents, parts[y, x] - 1)
                    met += 1
        for m in range(met):
            other = _trunk(parents, near[m])
            best = other if best < 0 else best
            if other == best:
                continue
            high, low = min(best, other), max(best, other)  # trunks are peaks, and peaks are listed by height
            rise = height[rows[low], columns[low]] - value
            above = total[low] - area[low] * value
            if rise < prominence or above < contrast * (total[high] - area[high] * value):
                parents[low] = high
                area[high] += area[low]
                total[high] += total[low]
            best = high
        best = k if best < 0 else best
        parts[rows[k], columns[k]] = best + 1
        area[best] += 1.0
        total[best] += value
    for k in range(n):
        parts[rows[k], columns[k]] = _trunk(parents, parts[rows[k], columns[k]] - 1) + 1


@njit(nogil=True, cache=True, error_model="numpy")
def _correlated_sum(share, covariance):  # type: ignore[no-untyped-def]
    """Sum of share_i share_j covariance[j - i]; lags of one row run along contiguous pixels."""
    height, width = share.shape
    half = covariance.shape[0] // 2
    total = 0.0
    for dy in range(half + 1):
        for dx in range(-half, half + 1):
            if dy == 0 and dx < 0:
                continue
            factor = covariance[half + dy, half + dx] + covariance[half - dy, half - dx]
            factor = factor if dy > 0 or dx > 0 else 0.5 * factor
            first, last = max(0, -dx), min(width, width - dx)
            for y in range(height - dy):
                line = 0.0
                for x in range(first, last):
                    line += share[y, x] * share[y + dy, x + dx]
                total += factor * line
    return total


@njit(nogil=True, cache=True, error_model="numpy")
def correlated_sums(shares, covariance, out):  # type: ignore[no-untyped-def]
    """`_correlated_sum` of each of n windows of shape (n, h, w)."""
    for k in range(shares.shape[0]):
        out[k] = _correlated_sum(shares[k], covariance)


@njit(nogil=True, cache=True, error_model="numpy")
def _covered(dx, dy, inverse, radius, reach):  # type: ignore[no-untyped-def]
    """Share of a pixel at (dx, dy) inside an ellipse; `reach` is how far its elliptic radius varies in the pixel."""
    xx, yy, xy = inverse
    distance = np.sqrt(max(xx * dx * dx + yy * dy * dy + xy * dx * dy, 0.0))
    if distance - reach > radius:
        return 0.0
    if distance + reach < radius:
        return 1.0
    inside = 0
    for j in range(SUBPIXELS):
        v = dy + (j + 0.5) / SUBPIXELS - 0.5
        for i in range(SUBPIXELS):
            u = dx + (i + 0.5) / SUBPIXELS - 0.5
            inside += xx * u * u + yy * v * v + xy * u * v <= radius * radius
    return inside / SUBPIXELS**2


@njit(nogil=True, cache=True, error_model="numpy")
def _own_value(data, good, labels, own, y, x, middle):  # type: ignore[no-untyped-def]
    """Pixel of a source; a bad or a neighbour's pixel is replaced by the one across the centre, or by nothing."""
    if good[y, x] and (labels[y, x] == own or labels[y, x] == 0):
        return data[y, x]
    y, x = 2 * middle[0] - y, 2 * middle[1] - x
    inside = y >= 0 and x >= 0 and y < data.shape[0] and x < data.shape[1]
    if inside and good[y, x] and (labels[y, x] == own or labels[y, x] == 0):
        return data[y, x]
    return 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def kron(planes, good, labels, sources, covariance, limits, flux, variance):  # type: ignore[no-untyped-def]
    """Flux in each source's Kron ellipse, and its variance.

    planes: data and variance; sources (n, 5): x, y, moments xx, yy, xy; limits: radius in which the first moment is
    taken and that of the aperture per Kron radius, in units of the ellipse of the moments, and the least Kron radius.
    NaN where the first moment lies outside the radius it was taken in.
    """
    data, noise = planes
    widest, factor, least = limits
    for k in range(sources.shape[0]):
        x0, y0, xx, yy, xy = sources[k]
        middle = int(np.floor(y0 + 0.5)), int(np.floor(x0 + 0.5))
        determinant = xx * yy - xy * xy
        inverse = yy / determinant, xx / determinant, -2.0 * xy / determinant
        minor = 0.5 * (xx + yy) - np.hypot(0.5 * (xx - yy), xy)
        reach = np.sqrt(0.5 / minor)
        radius, moment, light = widest, 0.0, 0.0
        for stage in range(2):
            if stage == 1:
                radius = max(moment / light, least) if moment > 0 and light > 0 else least
                if radius > widest:
                    flux[k], variance[k] = np.nan, np.nan
                    break
                radius *= factor
            wide, high = radius * np.sqrt(xx) + 1.0, radius * np.sqrt(yy) + 1.0
            rows = max(0, int(y0 - high)), min(data.shape[0], int(y0 + high) + 2)
            columns = max(0, int(x0 - wide)), min(data.shape[1], int(x0 + wide) + 2)
            share = np.zeros((max(rows[1] - rows[0], 0), max(columns[1] - columns[0], 0)))
            total = 0.0
            for y in range(rows[0], rows[1]):
                for x in range(columns[0], columns[1]):
                    dx, dy = x - x0, y - y0
                    if stage == 0:
                        r2 = inverse[0] * dx * dx + inverse[1] * dy * dy + inverse[2] * dx * dy
                        if r2 <= radius * radius:
                            value = _own_value(data, good, labels, k + 1, y, x, middle)
                            moment += np.sqrt(max(r2, 0.0)) * value
                            light += value
                    else:
                        weight = _covered(dx, dy, inverse, radius, reach)
                        if weight > 0:
                            total += weight * _own_value(data, good, labels, k + 1, y, x, middle)
                            share[y - rows[0], x - columns[0]] = weight * np.sqrt(noise[y, x])
            if stage == 1:
                flux[k], variance[k] = total, _correlated_sum(share, covariance)
