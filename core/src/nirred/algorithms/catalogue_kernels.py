"""Compiled loops of the catalogue: smoothing, deblending, Kron apertures, noise of correlated pixels."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.compiled import kernel, subkernel


@kernel
def blur(plane: np.ndarray, half: np.ndarray, start: int, out: np.ndarray) -> None:
    """Convolve along both axes with a symmetric kernel, given its right half; the image is 0 beyond its edges.

    `out` receives the rows from `start` on.
    """
    height, width = plane.shape
    radius = half.size - 1
    line = np.zeros(width + 2 * radius, np.float32)
    column, beyond = line[radius : radius + width], np.zeros(width, np.float32)
    for y in range(start, start + out.shape[0]):
        row = plane[y]
        for x in range(width):
            column[x] = half[0] * row[x]
        for d in range(1, radius + 1):
            factor = half[d]
            above, below = plane[y - d] if y >= d else beyond, plane[y + d] if y + d < height else beyond
            for x in range(width):
                column[x] += factor * (above[x] + below[x])
        target = out[y - start]
        for x in range(width):
            target[x] = half[0] * column[x]
        for d in range(1, radius + 1):
            factor = half[d]
            left, right = line[radius - d : radius - d + width], line[radius + d : radius + d + width]
            for x in range(width):
                target[x] += factor * (left[x] + right[x])


@subkernel
def _trunk(parents: np.ndarray, k: int) -> int:
    while parents[k] != k:
        parents[k] = parents[parents[k]]
        k = parents[k]
    return k


@kernel
def part_blends(
    heights: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    prominence: float,
    contrast: float,
    parts: np.ndarray,
    islands: np.ndarray,
) -> None:
    """Deblend by a watershed from the peaks down: where two peaks meet, the lower one is kept only if significant.

    `heights` are those of the listed pixels, in descending order. A peak is significant if it rises by `prominence`
    above the saddle and has `contrast` of the higher one's flux above it. Labels in `parts` are 1 plus the index of the
    peak in the list; `islands` labels connected regions, before deblending, for each pixel of the list.
    """
    n = rows.size
    parents, whole, area, total = np.arange(n), np.arange(n), np.zeros(n), np.zeros(n)
    near = np.zeros(9, np.int64)
    for k in range(n):
        value, best, met = heights[k], -1, 0
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
            high, low = min(best, other), max(best, other)  # roots are peaks, and peaks are listed by height
            whole[_trunk(whole, low)] = _trunk(whole, high)
            rise = heights[low] - value
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
        islands[k] = _trunk(whole, parts[rows[k], columns[k]] - 1)
        parts[rows[k], columns[k]] = _trunk(parents, parts[rows[k], columns[k]] - 1) + 1


@kernel
def windowed_moments(values: np.ndarray, sigma2: float, rounds: int, found: np.ndarray) -> None:
    """Centroids in a Gaussian window that is recentred iteratively, and second moments in its final position.

    values (n, s, s): square cut-outs; found (n, 5): dx, dy from their middles, initially the starting position, at
    most a quarter of the cut-out's size; xx, yy, xy.
    """
    size = values.shape[1]
    half = size // 2
    across, along = np.empty(size), np.empty(size)
    for k in range(values.shape[0]):
        dx, dy = found[k, 0], found[k, 1]
        for _ in range(rounds):
            for i in range(size):
                across[i] = np.exp(-0.5 * (i - half - dy) ** 2 / sigma2)
                along[i] = np.exp(-0.5 * (i - half - dx) ** 2 / sigma2)
            total, sx, sy, sxx, syy, sxy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(size):
                light, light_x, light_xx = 0.0, 0.0, 0.0
                for i in range(size):
                    u, weighted = i - half - dx, values[k, j, i] * along[i]
                    light += weighted
                    light_x += weighted * u
                    light_xx += weighted * u * u
                v = j - half - dy
                total += across[j] * light
                sx += across[j] * light_x
                sy += across[j] * v * light
                sxx += across[j] * light_xx
                syy += across[j] * v * v * light
                sxy += across[j] * v * light_x
            total = total if total > 0 else np.inf
            dx = min(max(dx + 2.0 * sx / total, -0.5 * half), 0.5 * half)
            dy = min(max(dy + 2.0 * sy / total, -0.5 * half), 0.5 * half)
        found[k, 0], found[k, 1] = dx, dy
        found[k, 2], found[k, 3], found[k, 4] = sxx / total, syy / total, sxy / total


@subkernel
def _correlated_sum(share: np.ndarray, covariance: np.ndarray) -> float:
    """Sum of share_i share_j covariance[j - i]; the innermost loop runs over contiguous pixels."""
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


@kernel
def correlated_sums(shares: np.ndarray, covariance: np.ndarray, out: np.ndarray) -> None:
    """`_correlated_sum` of each of n windows of shape (n, h, w)."""
    for k in range(shares.shape[0]):
        out[k] = _correlated_sum(shares[k], covariance)


@subkernel
def _own_pixel(
    good: np.ndarray, labels: np.ndarray, own: int, y: int, x: int, middle: tuple[int, int]
) -> tuple[int, int]:
    """Index of a pixel of a source, or of its mirror image if it is bad or a neighbour's; (-1, -1) if both are."""
    if good[y, x] and (labels[y, x] == own or labels[y, x] == 0):
        return y, x
    y, x = 2 * middle[0] - y, 2 * middle[1] - x
    inside = y >= 0 and x >= 0 and y < good.shape[0] and x < good.shape[1]
    if inside and good[y, x] and (labels[y, x] == own or labels[y, x] == 0):
        return y, x
    return -1, -1


@kernel
def kron_radii(
    data: np.ndarray,
    good: np.ndarray,
    labels: np.ndarray,
    first: int,
    sources: np.ndarray,
    limits: tuple[float, float, float],
    radii: np.ndarray,
) -> None:
    """Radius of each source's aperture, in units of the ellipse of its moments; NaN if undefined.

    sources (n, 5): x, y, moments xx, yy, xy; limits: radius within which the first moment is computed, radius of the
    aperture per Kron radius, and smallest Kron radius; `first`: label of the first source. A first moment larger than
    the radius within which it is computed is meaningless.
    """
    widest, factor, least = limits
    for k in range(sources.shape[0]):
        x0, y0, xx, yy, xy = sources[k]
        middle = int(np.floor(y0 + 0.5)), int(np.floor(x0 + 0.5))
        determinant = xx * yy - xy * xy
        wide, high = widest * np.sqrt(xx) + 1.0, widest * np.sqrt(yy) + 1.0
        moment, light = 0.0, 0.0
        for y in range(max(0, int(y0 - high)), min(data.shape[0], int(y0 + high) + 2)):
            for x in range(max(0, int(x0 - wide)), min(data.shape[1], int(x0 + wide) + 2)):
                dx, dy = x - x0, y - y0
                r2 = (yy * dx * dx + xx * dy * dy - 2.0 * xy * dx * dy) / determinant
                if r2 > widest * widest:
                    continue
                row, column = _own_pixel(good, labels, first + k, y, x, middle)
                if row >= 0:
                    moment += np.sqrt(max(r2, 0.0)) * data[row, column]
                    light += data[row, column]
        radius = max(moment / light, least) if moment > 0 and light > 0 else least
        radii[k] = radius * factor if radius <= widest else np.nan


@kernel
def own_sum(
    planes: tuple[np.ndarray, np.ndarray],
    good: np.ndarray,
    labels: np.ndarray,
    target: tuple[int, tuple[int, int], np.ndarray],
    weights: np.ndarray,
    covariance: np.ndarray,
) -> tuple[float, float]:
    """Weighted sum of a source's pixels and its variance.

    planes: data and variance; target: the source's label, the pixel (y, x) of weights[0, 0], and its centre (x, y).
    The noise of a pixel that also replaces its mirror image counts with the weight of both.
    """
    data, noise = planes
    own, corner, centre = target
    middle = int(np.floor(centre[1] + 0.5)), int(np.floor(centre[0] + 0.5))
    height, width = weights.shape
    # the weighted pixels and their mirror images, inside the image
    top = max(min(corner[0], 2 * middle[0] - corner[0] - height + 1), 0)
    left = max(min(corner[1], 2 * middle[1] - corner[1] - width + 1), 0)
    bottom = min(max(corner[0] + height, 2 * middle[0] - corner[0] + 1), data.shape[0])
    right = min(max(corner[1] + width, 2 * middle[1] - corner[1] + 1), data.shape[1])
    share = np.zeros((bottom - top, right - left))
    total = 0.0
    for j in range(height):
        for i in range(width):
            if weights[j, i] > 0:
                y, x = _own_pixel(good, labels, own, corner[0] + j, corner[1] + i, middle)
                if y >= 0:
                    total += weights[j, i] * data[y, x]
                    share[y - top, x - left] += weights[j, i]
    for j in range(share.shape[0]):
        for i in range(share.shape[1]):
            share[j, i] *= np.sqrt(noise[top + j, left + i])
    return total, _correlated_sum(share, covariance)
