"""The kernel of the sky: medians of many frames, outliers from them, running means and their subtraction.

It works on tiles of one row. A tile of all frames is copied to contiguous memory once and stays in the fast caches from
the median to the subtraction: rows of frames are powers of two apart, so that few of them can be in a cache together.
Loops over lanes have no branches. Each pixel is processed independently, in the order of the frames.
"""

from __future__ import annotations

import numpy as np

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.networks import middle_pair, sort_lanes
from nirred.algorithms.sky_tables import Asked, Rule, Table

#: Number of pixels of a row processed at once; a pixel at which no frame shows sky gets the mean of the tile's others.
#: A shorter tile would fit into a faster cache, but starting a loop over lanes takes as long as 100 of them.
LANES = 1024
#: Row length of scratch arrays, so that rows are not powers of two apart, at which distance stores delay loads.
_STRIDE = LANES + 16
#: If fewer frames of a sample than this show sky, all frames are used.
FEW = 5
#: Variance of a median over that of the mean.
MEDIAN_VARIANCE = 1.571

_NAN, _INF = np.float32(np.nan), np.float32(np.inf)


@subkernel
def _medians(
    values: np.ndarray, network: np.ndarray, m: int, sign: np.ndarray, count: np.ndarray, out: np.ndarray
) -> None:
    """Median per lane, and the number of values in it; NaN are missing values, see `networks`."""
    n = values.shape[0]
    sign[:m], count[:m] = _INF, 0
    for i in range(n):
        row = values[i]
        for j in range(m):
            dead = row[j] != row[j]
            row[j] = sign[j] if dead else row[j]
            sign[j] = -sign[j] if dead else sign[j]
            count[j] += np.float32(0) if dead else np.float32(1)
    sort_lanes(values, network, m)
    below, above, even = values[max(n // 2 - 1, 0)], values[n // 2], n % 2 == 0
    for j in range(m):
        first, last = middle_pair(below[j], above[j], even, sign[j])
        out[j] = first if first == last else first + np.float32(0.5) * (last - first)


@subkernel
def _load(
    data: np.ndarray,
    dq: np.ndarray,
    table: Table,
    useless: np.uint16,
    row: int,
    start: int,
    m: int,
    values: np.ndarray,
    units: np.ndarray,
) -> None:
    """Copy a tile of every frame; its unit where it shows sky, else 0."""
    zero = np.float32(0)
    for k in range(table.place.size):
        x, bits = data[table.place[k], row, start : start + m], dq[table.place[k], row, start : start + m]
        unit, value, seen = table.unit[k], values[k], units[k]
        for j in range(m):
            value[j] = x[j]
            seen[j] = unit if (bits[j] & useless) == 0 else zero


@subkernel
def _load_beside(
    data: np.ndarray,
    dq: np.ndarray,
    table: Table,
    useless: np.uint16,
    row: int,
    start: int,
    smooth: np.ndarray,
    values: np.ndarray,
    units: np.ndarray,
) -> None:
    """As `_load`, for each frame's difference from a smooth sky."""
    zero, m = np.float32(0), smooth.size
    for k in range(table.place.size):
        x, bits = data[table.place[k], row, start : start + m], dq[table.place[k], row, start : start + m]
        own, unit, value, seen = table.zero[k], table.unit[k], values[k], units[k]
        for j in range(m):
            value[j] = x[j] - own - unit * smooth[j]
            seen[j] = unit if (bits[j] & useless) == 0 else zero


@subkernel
def _median_of_all(
    values: np.ndarray, units: np.ndarray, table: Table, j: int, work: np.ndarray
) -> tuple[np.float32, np.float32]:
    """Median of every frame that shows sky at one pixel, and their number."""
    n = 0
    for k in range(table.place.size):
        if units[k, j] > 0:
            value = (values[k, j] - table.zero[k]) / table.unit[k]
            place = n
            while place > 0 and work[place - 1] > value:
                work[place] = work[place - 1]
                place -= 1
            work[place] = value
            n += 1
    return np.float32(0.5) * (work[(n - 1) // 2] + work[n // 2]) if n else _NAN, np.float32(n)


@subkernel
def _centres(
    values: np.ndarray,
    units: np.ndarray,
    m: int,
    table: Table,
    rule: Rule,
    network: np.ndarray,
    sample: np.ndarray,
    wires: np.ndarray,
    lanes: np.ndarray,
    work: np.ndarray,
) -> None:
    """Median pattern of a tile into lanes[0], the number of frames in it into lanes[1]."""
    for s in range(sample.size):
        k = sample[s]
        x, seen, zero, scale, target = values[k], units[k], table.zero[k], np.float32(1) / table.unit[k], wires[s]
        for j in range(m):
            pattern = (x[j] - zero) * scale
            target[j] = pattern if seen[j] > np.float32(0) else _NAN
    centre, count = lanes[0], lanes[1]
    _medians(wires, network, m, lanes[2], count, centre)
    if table.place.size > sample.size:
        for j in range(m):
            if count[j] < FEW:
                centre[j], count[j] = _median_of_all(values, units, table, j, work)
    known, total = 0, 0.0
    for j in range(m):
        if count[j] > 0:
            known += 1
            total += centre[j]
    if known < m:
        usual = np.float32(total / known) if known else rule.default
        for j in range(m):
            centre[j] = centre[j] if count[j] > 0 else usual


@subkernel
def _leave_out_strays(
    values: np.ndarray,
    units: np.ndarray,
    table: Table,
    rule: Rule,
    quiet: np.ndarray,
    shot: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Subtract the median from the values, and set the units of outliers to 0."""
    zero, one, m = np.float32(0), np.float32(1), quiet.size
    centre, spread = lanes[0], lanes[3]
    factor = np.float32(MEDIAN_VARIANCE) / (rule.unit * rule.unit)
    for j in range(m):
        spread[j] = factor * (quiet[j] + rule.level * shot[j]) / max(lanes[1, j], one)
    for k in range(table.place.size):
        x, seen = values[k], units[k]
        own, unit, level, scale = table.zero[k], table.unit[k], table.level[k], table.scale[k]
        for j in range(m):
            x[j] = x[j] - own - unit * centre[j]
        for j in range(m if rule.check else 0):
            variance = (quiet[j] + level * shot[j]) * scale + unit * unit * spread[j]
            usual = seen[j]
            seen[j] = usual if x[j] * x[j] <= rule.limit * variance else zero


@subkernel
def _flag_strays(units: np.ndarray, dq: np.ndarray, table: Table, rule: Rule, row: int, start: int, m: int) -> None:
    """Set or clear the bit of outliers."""
    for k in range(table.place.size):
        seen, bits = units[k], dq[table.place[k], row, start : start + m]
        for j in range(m):
            stray = (seen[j] == np.float32(0)) & ((bits[j] & rule.useless) == 0)
            bits[j] = (bits[j] & ~rule.stray) | (rule.stray if stray else np.uint16(0))


@subkernel
def _halve(
    values: np.ndarray,
    units: np.ndarray,
    number: int,
    centre: np.ndarray,
    sums: np.ndarray,
    halves: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    r: int,
    start: int,
) -> None:
    """Means of every other frame, and their units."""
    zero, m = np.float32(0), centre.size
    for total in sums:
        for j in range(m):
            total[j] = zero
    for k in range(number):
        x, seen, total, behind = values[k], units[k], sums[2 * (k % 2)], sums[2 * (k % 2) + 1]
        for j in range(m):
            d = x[j]
            total[j] += d if seen[j] > zero else zero
            behind[j] += seen[j]
    for h in range(2):
        g, u = halves[2 * h][r, start : start + m], halves[2 * h + 1][r, start : start + m]
        total, behind = sums[2 * h], sums[2 * h + 1]
        for j in range(m):
            g[j] = centre[j] + total[j] / behind[j] if behind[j] > zero else _NAN
            u[j] = behind[j]


@subkernel
def _move(values: np.ndarray, units: np.ndarray, asked: Asked, e: int, total: np.ndarray, behind: np.ndarray) -> None:
    """Update the sums of the previous frame to those of frame e."""
    zero = np.float32(0)
    for q in range(asked.begins[e], asked.begins[e + 1]):
        if asked.who[q] < 0:
            for j in range(total.size):
                total[j], behind[j] = zero, zero
            continue
        x, seen, by = values[asked.who[q]], units[asked.who[q]], asked.sign[q]
        for j in range(total.size):
            d = by * x[j]
            total[j] += d if seen[j] > zero else zero
            behind[j] += by * seen[j]


@subkernel
def _subtract(
    data: np.ndarray,
    asked: Asked,
    smooth: np.ndarray,
    values: np.ndarray,
    units: np.ndarray,
    r: int,
    row: int,
    start: int,
    sums: np.ndarray,
) -> None:
    """Subtract the sky of a tile from all requested frames; two more rows of values: none, and spare."""
    zero, one, nine, m, least = np.float32(0), np.float32(1), np.float32(9), smooth.size, asked.least
    total, behind, spare = sums[0, :m], sums[1, :m], values[values.shape[0] - 1]
    for j in range(m):
        total[j], behind[j] = zero, zero
    for e in range(asked.table.place.size):
        _move(values, units, asked, e, total, behind)
        unit, offset = asked.table.unit[e], asked.offsets[e]
        d = values[asked.own[e]] if asked.own[e] >= 0 else spare
        if asked.own[e] < 0:
            x, own = data[asked.table.place[e], row, start : start + m], asked.table.zero[e]
            for j in range(m):
                spare[j] = x[j] - own - unit * smooth[j]
        gone, lost = values[asked.without[e]], units[asked.without[e]]
        target = asked.out[asked.tops[e], asked.tops[-1] + r, start : start + m]
        if asked.power.shape[0] == 0:
            for j in range(m):
                rest, known = behind[j] - lost[j], gone[j]
                known = total[j] - (known if lost[j] > zero else zero)
                target[j] = d[j] - unit * (known / rest if rest > least else zero) - offset
            continue
        p, v = asked.power[r, start : start + m], asked.noise[r, start : start + m]
        for j in range(m):
            rest, known = behind[j] - lost[j], gone[j]
            per_unit = one / rest if rest > least else zero
            known = total[j] - (known if lost[j] > zero else zero)
            g, w = known * per_unit, v[j] * per_unit
            whole, square = p[j] + w, g * g
            real = square >= nine * whole  # shrinks by only 9/t^2 of the noise's fraction
            share = (nine * w if real else w) / (square if real else whole) if whole > zero else zero
            target[j] = d[j] - unit * ((one - share) * g) - offset


@kernel
def sky_rows(
    data: np.ndarray,
    dq: np.ndarray,
    table: Table,
    rule: Rule,
    network: np.ndarray,
    sample: np.ndarray,
    first: int,
    noise: tuple[np.ndarray, np.ndarray],
    known: np.ndarray,
    centres: np.ndarray,
    halves: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    asked: Asked,
) -> None:
    """See `sky_rows.survey` and `sky_rows.subtract`; arrays without rows are unknown, or not requested.

    The smooth sky is `known`, or else the median.
    """
    constant, per_electron = noise
    ny, nx = known.shape if known.shape[0] else constant.shape
    number = table.place.size
    # one by one: parts of one array are not known to be contiguous, which keeps the compiler from vectors
    values, units = np.zeros((number + 2, _STRIDE), np.float32), np.zeros((number + 2, _STRIDE), np.float32)
    lanes, sums = np.empty((4, _STRIDE), np.float32), np.empty((4, _STRIDE), np.float32)
    wires, work = np.empty((sample.size, _STRIDE), np.float32), np.empty(number, np.float32)
    for r in range(ny):
        for start in range(0, nx, LANES):
            m = min(LANES, nx - start)
            smooth = known[r, start : start + m] if known.shape[0] else lanes[0, :m]
            if known.shape[0]:
                _load_beside(data, dq, table, rule.useless, first + r, start, smooth, values, units)
            else:
                quiet, shot = constant[r, start : start + m], per_electron[r, start : start + m]
                _load(data, dq, table, rule.useless, first + r, start, m, values, units)
                _centres(values, units, m, table, rule, network, sample, wires, lanes, work)
                _leave_out_strays(values, units, table, rule, quiet, shot, lanes)
                if asked.table.place.size == 0:
                    _flag_strays(units, dq, table, rule, first + r, start, m)
            if centres.shape[0]:
                for j in range(m):
                    centres[r, start + j] = smooth[j]
            if halves[0].shape[0]:
                _halve(values, units, number, smooth, sums, halves, r, start)
            if asked.table.place.size:
                _subtract(data, asked, smooth, values, units, r, first + r, start, sums)
