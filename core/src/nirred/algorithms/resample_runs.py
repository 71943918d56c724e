"""Vector code of the gather, for runs of pixels with adjacent windows of samples.

Weights are polynomials of the position between two samples; no table is needed.
"""

from __future__ import annotations

import numpy as np

from nirred.algorithms.compiled import contracting_subkernel, subkernel
from nirred.algorithms.resample_kernels import MIN_COVERAGE

#: Columns processed at once, and pixels processed in parallel: a run's last block may extend beyond its end.
CHUNK, LANES = 256, 8
PITCH = CHUNK + LANES

#: Degrees of freedom of Lanczos-3's weights apart from sum and first two moments: least squares over all phases,
#: accurate to 5e-7. With u from the middle between two samples, the even part of the first weight is 1/4 - u^2 times
#: the first polynomial in u^2, the odd parts of the first two are u (1/4 - u^2) times the others: exact at samples.
_FREE = (
    (0.096551391, -0.009239491, -0.024005453, -0.011558874),
    (-0.23716348, 0.21907687, -0.032973859, -0.042755364),
    (0.81224516, -0.54122531, 0.12387517, 0.028301472),
)


# Fused multiply-adds are safe here: every pixel goes through the same code, wherever a run begins.
@contracting_subkernel
def _polynomial(terms: tuple[float, float, float, float], square: np.float32) -> np.float32:
    higher = np.float32(terms[2]) + square * np.float32(terms[3])
    return np.float32(terms[0]) + square * (np.float32(terms[1]) + square * higher)


@contracting_subkernel
def _weights(phase: np.float32) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]:
    """Six weights: the free parts by their polynomials, the rest from the sum, 1, and from two moments."""
    two, three, five = np.float32(2), np.float32(3), np.float32(5)
    u = phase - np.float32(0.5)
    square, quarter = u * u, np.float32(0.25)
    gap = quarter - square
    even0 = gap * _polynomial(_FREE[0], square)
    even1 = quarter * square - np.float32(1 / 16) - three * even0
    even2 = np.float32(9 / 16) - quarter * square + two * even0
    odd0 = u * gap * _polynomial(_FREE[1], square)
    odd1 = u * gap * _polynomial(_FREE[2], square)
    odd2 = -u - five * odd0 - three * odd1
    return even0 + odd0, even1 + odd1, even2 + odd2, even2 - odd2, even1 - odd1, even0 - odd0


@contracting_subkernel
def _across(
    flat: np.ndarray, p: np.uint64, w: tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
) -> np.float32:
    i1, i2, i3, i4, i5 = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(4), np.uint64(5)
    left = w[0] * flat[p] + w[1] * flat[p + i1] + w[2] * flat[p + i2]
    return left + (w[3] * flat[p + i3] + w[4] * flat[p + i4] + w[5] * flat[p + i5])


@contracting_subkernel
def run_lanczos(flat: np.ndarray, corner: np.int32, stride: int, lanes: np.ndarray, at: int, n: int) -> None:
    """Values of n pixels from `at`, and up to seven more, with adjacent windows from `corner`.

    `lanes` holds values and phases in x and y. It is one array, and its indices are unsigned: otherwise each run would
    begin by asking whether arrays overlap and indices count from the end.
    """
    start, down, pitch = np.uint64(corner), np.uint64(stride), np.uint64(PITCH)
    for k in range(np.uint64((n + LANES - 1) & -LANES)):
        i, p = np.uint64(at) + k, start + k
        x, y = _weights(lanes[i + pitch]), _weights(lanes[i + pitch + pitch])
        value = y[0] * _across(flat, p, x)
        p += down
        value += y[1] * _across(flat, p, x)
        p += down
        value += y[2] * _across(flat, p, x)
        p += down
        value += y[3] * _across(flat, p, x)
        p += down
        value += y[4] * _across(flat, p, x)
        p += down
        lanes[i] = value + y[5] * _across(flat, p, x)


@contracting_subkernel
def run_bilinear(flat: np.ndarray, corner: np.int32, stride: int, lanes: np.ndarray, at: int, n: int) -> None:
    """The same for the four samples of the bilinear kernel, in the middle of the window."""
    one, pitch = np.uint64(1), np.uint64(PITCH)
    upper = np.uint64(corner + 2 * stride + 2)
    lower = upper + np.uint64(stride)
    for k in range(np.uint64((n + LANES - 1) & -LANES)):
        i, p, q = np.uint64(at) + k, upper + k, lower + k
        x, y = lanes[i + pitch], lanes[i + pitch + pitch]
        above = flat[p] + x * (flat[p + one] - flat[p])
        below = flat[q] + x * (flat[q + one] - flat[q])
        lanes[i] = above + y * (below - above)


@subkernel
def _plus(
    sums: tuple[np.float32, np.float32, np.float32], share: np.float32, more: tuple[np.float32, np.float32, np.float32]
) -> tuple[np.float32, np.float32, np.float32]:
    """Weighted sum, weight and absolute weight with a share of others."""
    return sums[0] + share * more[0], sums[1] + share * more[1], sums[2] + abs(share) * more[2]


@subkernel
def _sample(flat: np.ndarray, p: np.uint64, i: int) -> tuple[np.float32, np.float32, np.float32]:
    """A sample and its weights 1, or nothing where it is not usable."""
    zero, sample = np.float32(0), flat[p + np.uint64(i)]
    one = np.float32(1) if sample == sample else zero
    return sample if sample == sample else zero, one, one


@subkernel
def _usable(
    flat: np.ndarray, p: np.uint64, w: tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
) -> tuple[np.float32, np.float32, np.float32]:
    """Weighted sum, weight and absolute weight of the usable ones of six samples side by side."""
    sums = _plus((np.float32(0), np.float32(0), np.float32(0)), w[0], _sample(flat, p, 0))
    sums = _plus(_plus(sums, w[1], _sample(flat, p, 1)), w[2], _sample(flat, p, 2))
    sums = _plus(_plus(sums, w[3], _sample(flat, p, 3)), w[4], _sample(flat, p, 4))
    return _plus(sums, w[5], _sample(flat, p, 5))


@subkernel
def _size(w: tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]) -> np.float32:
    return abs(w[0]) + abs(w[1]) + abs(w[2]) + (abs(w[3]) + abs(w[4]) + abs(w[5]))


@subkernel
def _share(sums: tuple[np.float32, np.float32, np.float32], size: np.float32) -> tuple[np.float32, np.float32]:
    """Value and part of the absolute weight that sums over usable samples give."""
    least, (value, weight, good) = np.float32(MIN_COVERAGE), sums
    part = good / size
    return value / weight if (weight >= least) & (part >= least) else np.float32(np.nan), part


@subkernel
def masked_lanczos(flat: np.ndarray, corner: np.int32, stride: int, lanes: np.ndarray, at: int, n: int) -> None:
    """The same over the usable samples alone, and their part of the absolute weight in the last row of `lanes`.

    NaN where less than half of the weight is left.
    """
    start, down, pitch = np.uint64(corner), np.uint64(stride), np.uint64(PITCH)
    nothing = np.float32(0), np.float32(0), np.float32(0)
    for k in range(np.uint64((n + LANES - 1) & -LANES)):
        i, p = np.uint64(at) + k, start + k
        x, y = _weights(lanes[i + pitch]), _weights(lanes[i + pitch + pitch])
        q = p + down + down
        sums = _plus(nothing, y[0], _usable(flat, p, x))
        sums = _plus(_plus(sums, y[1], _usable(flat, p + down, x)), y[2], _usable(flat, q, x))
        sums = _plus(_plus(sums, y[3], _usable(flat, q + down, x)), y[4], _usable(flat, q + down + down, x))
        sums = _plus(sums, y[5], _usable(flat, q + down + down + down, x))
        lanes[i], lanes[i + pitch + pitch + pitch] = _share(sums, _size(x) * _size(y))


@subkernel
def masked_bilinear(flat: np.ndarray, corner: np.int32, stride: int, lanes: np.ndarray, at: int, n: int) -> None:
    """The same for the four samples of the bilinear kernel."""
    one, pitch, unit = np.uint64(1), np.uint64(PITCH), np.float32(1)
    nothing = np.float32(0), np.float32(0), np.float32(0)
    upper = np.uint64(corner + 2 * stride + 2)
    lower = upper + np.uint64(stride)
    for k in range(np.uint64((n + LANES - 1) & -LANES)):
        i, p, q = np.uint64(at) + k, upper + k, lower + k
        x, y = lanes[i + pitch], lanes[i + pitch + pitch]
        above = _plus(_plus(nothing, unit - x, _sample(flat, p, 0)), x, _sample(flat, p + one, 0))
        below = _plus(_plus(nothing, unit - x, _sample(flat, q, 0)), x, _sample(flat, q + one, 0))
        sums = _plus(_plus(nothing, unit - y, above), y, below)
        lanes[i], lanes[i + pitch + pitch + pitch] = _share(sums, ((unit - x) + x) * ((unit - y) + y))
