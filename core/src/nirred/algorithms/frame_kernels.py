"""Pixel kernels over many frames: medians, strays from them, and running means, by tiles of one row.

A tile's values of all frames stay in the first caches from the median to the sums; every loop over its lanes is free of
branches. Each pixel is worked on for itself, in the order of the frames.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]

#: Pixels of a row that are worked on at once; where no frame of a tile's pixel shows sky, the tile's others stand in.
LANES = 256
#: Where fewer frames of a sample than this show sky, all frames are asked.
FEW = 5
#: Variance of a median over that of the mean.
MEDIAN_VARIANCE = 1.571

_NAN, _INF = np.float32(np.nan), np.float32(np.inf)


class Table(NamedTuple):
    """Per frame: place in the arrays, model, level and squared noise scale of the noise model."""

    place: Index
    zero: Float32
    unit: Float32
    level: Float32
    scale: Float32


class Rule(NamedTuple):
    """Bits that are no sky; bit of strays, whether they are sought, squared limit; typical level and unit; usual g."""

    useless: np.uint16
    stray: np.uint16
    check: bool
    limit: np.float32
    level: np.float32
    unit: np.float32
    default: np.float32


@njit(nogil=True, cache=True, error_model="numpy")
def _sorted_middle(values, network, m, sign, count, out):  # type: ignore[no-untyped-def]
    """Median per lane; NaN become +inf and -inf in turn, which keeps the median on the middle wires."""
    n = values.shape[0]
    sign[:m], count[:m] = _INF, 0
    for i in range(n):
        row = values[i]
        for j in range(m):
            dead = row[j] != row[j]
            row[j] = sign[j] if dead else row[j]
            sign[j] = -sign[j] if dead else sign[j]
            count[j] += np.float32(0) if dead else np.float32(1)
    for c in range(network.shape[0]):
        a, b = values[network[c, 0]], values[network[c, 1]]
        for j in range(m):
            x, y = a[j], b[j]
            a[j] = x if x < y else y
            b[j] = x if x > y else y
    below, above = values[max(n // 2 - 1, 0)], values[n // 2]
    even = n % 2 == 0
    for j in range(m):
        odd_dead = sign[j] < 0  # the first is +inf: an odd number of them leaves the median half a wire lower
        first = below[j] if odd_dead | even else above[j]
        last = below[j] if odd_dead & even else above[j]
        out[j] = first if first == last else first + np.float32(0.5) * (last - first)


@njit(nogil=True, cache=True, error_model="numpy")
def _median_of_all(data, dq, table, row, column, useless, work):  # type: ignore[no-untyped-def]
    """Median of every frame that shows sky at one pixel, and their number."""
    n = 0
    for k in range(table.place.size):
        i = table.place[k]
        if dq[i, row, column] & useless == 0:
            value = (data[i, row, column] - table.zero[k]) / table.unit[k]
            place = n
            while place > 0 and work[place - 1] > value:
                work[place] = work[place - 1]
                place -= 1
            work[place] = value
            n += 1
    return np.float32(0.5) * (work[(n - 1) // 2] + work[n // 2]) if n else _NAN, np.float32(n)


@njit(nogil=True, cache=True, error_model="numpy")
def _centres(data, dq, table, rule, network, sample, row, start, m, values, lanes, work):  # type: ignore[no-untyped-def]
    """Median pattern of a tile into lanes[0], the number of frames behind it into lanes[1]."""
    for s in range(sample.size):
        k = sample[s]
        x, bits = data[table.place[k], row, start : start + m], dq[table.place[k], row, start : start + m]
        zero, scale, target = table.zero[k], np.float32(1) / table.unit[k], values[s]
        for j in range(m):
            target[j] = (x[j] - zero) * scale if (bits[j] & rule.useless) == 0 else _NAN
    centre, count = lanes[0], lanes[1]
    _sorted_middle(values, network, m, lanes[2], count, centre)
    if table.place.size > sample.size:
        for j in range(m):
            if count[j] < FEW:
                centre[j], count[j] = _median_of_all(data, dq, table, row, start + j, rule.useless, work)
    known, total = 0, 0.0
    for j in range(m):
        if count[j] > 0:
            known += 1
            total += centre[j]
    if known < m:
        usual = np.float32(total / known) if known else rule.default
        for j in range(m):
            centre[j] = centre[j] if count[j] > 0 else usual


@njit(nogil=True, cache=True, error_model="numpy")
def survey_rows(data, dq, table, rule, network, sample, first, noise, centres, halves):  # type: ignore[no-untyped-def]
    """See `sky_rows.survey`; centres or halves may have no rows: then they are not asked for."""
    constant, per_electron = noise
    values = np.empty((sample.size, LANES), np.float32)
    lanes, sums = np.empty((4, LANES), np.float32), np.empty((4, LANES), np.float32)
    work = np.empty(table.place.size, np.float32)
    zero, one = np.float32(0), np.float32(1)
    for r in range(constant.shape[0]):
        for start in range(0, constant.shape[1], LANES):
            m = min(LANES, constant.shape[1] - start)
            _centres(data, dq, table, rule, network, sample, first + r, start, m, values, lanes, work)
            centre, spread = lanes[0], lanes[3]
            quiet, shot = constant[r, start : start + m], per_electron[r, start : start + m]
            factor = np.float32(MEDIAN_VARIANCE) / (rule.unit * rule.unit)
            for j in range(m):
                spread[j] = factor * (quiet[j] + rule.level * shot[j]) / max(lanes[1, j], one)
            sums[:, :m] = zero
            for k in range(table.place.size):
                x = data[table.place[k], first + r, start : start + m]
                bits = dq[table.place[k], first + r, start : start + m]
                own, unit, level, scale = table.zero[k], table.unit[k], table.level[k], table.scale[k]
                total, units = sums[2 * (k % 2)], sums[2 * (k % 2) + 1]
                for j in range(m):
                    useful = (bits[j] & rule.useless) == 0
                    d = x[j] - own - unit * centre[j]
                    variance = (quiet[j] + level * shot[j]) * scale + unit * unit * spread[j]
                    sky = useful & ((d * d <= rule.limit * variance) | (not rule.check))
                    bits[j] = (bits[j] & ~rule.stray) | (rule.stray if useful & (not sky) else np.uint16(0))
                    total[j] += d if sky else zero
                    units[j] += unit if sky else zero
            if centres.shape[0]:
                centres[r, start : start + m] = centre[:m]
            if halves[0].shape[0]:
                for h in range(2):
                    g, u = halves[2 * h][r, start : start + m], halves[2 * h + 1][r, start : start + m]
                    total, units = sums[2 * h], sums[2 * h + 1]
                    for j in range(m):
                        g[j] = centre[j] + total[j] / units[j] if units[j] > zero else _NAN
                        u[j] = units[j]


@njit(nogil=True, cache=True, error_model="numpy")
def _residuals(data, dq, table, useless, row, start, smooth, left, seen):  # type: ignore[no-untyped-def]
    """What each frame differs by from the smooth sky, 0 where it shows none, and its unit there, else 0."""
    zero, m = np.float32(0), smooth.size
    for k in range(table.place.size):
        x, bits = data[table.place[k], row, start : start + m], dq[table.place[k], row, start : start + m]
        own, unit, d, u = table.zero[k], table.unit[k], left[k], seen[k]
        for j in range(m):
            sky = (bits[j] & useless) == 0
            d[j] = x[j] - own - unit * smooth[j] if sky else zero
            u[j] = unit if sky else zero


@njit(nogil=True, cache=True, error_model="numpy")
def subtract_rows(data, dq, skies, targets, moves, useless, first, least, smooth, shrink, offsets, out, tops):  # type: ignore[no-untyped-def]
    """See `sky_rows.subtract`."""
    begins, who, sign, without = moves
    power, noise = shrink
    left, seen = np.zeros((2, skies.place.size + 1, LANES), np.float32)  # the last stands for no frame
    total, units = np.empty((2, LANES), np.float32)
    zero, one, nine = np.float32(0), np.float32(1), np.float32(9)
    for r in range(smooth.shape[0]):
        for start in range(0, smooth.shape[1], LANES):
            stop = min(start + LANES, smooth.shape[1])
            m = stop - start
            s, p, v = smooth[r, start:stop], power[r, start:stop], noise[r, start:stop]
            _residuals(data, dq, skies, useless, first + r, start, s, left, seen)
            total[:m], units[:m] = zero, zero
            for e in range(targets.place.size):
                for q in range(begins[e], begins[e + 1]):
                    if who[q] < 0:
                        total[:m], units[:m] = zero, zero
                        continue
                    d, u, by = left[who[q]], seen[who[q]], sign[q]
                    for j in range(m):
                        total[j] += by * d[j]
                        units[j] += by * u[j]
                x, target = data[targets.place[e], first + r, start:stop], out[tops[e], tops[-1] + r, start:stop]
                own, unit, offset = targets.zero[e], targets.unit[e], offsets[e]
                gone, lost = left[without[e]], seen[without[e]]
                for j in range(m):
                    behind = units[j] - lost[j]
                    per_unit = one / behind if behind > least else zero
                    g, w = (total[j] - gone[j]) * per_unit, v[j] * per_unit
                    whole, square = p[j] + w, g * g
                    real = square >= nine * whole  # keeps all but 9/t^2 of what noise would take
                    share = (nine * w if real else w) / (square if real else whole) if whole > zero else zero
                    target[j] = x[j] - own - unit * (s[j] + (one - share) * g) - offset
