"""Rows of sky frames: which of their pixels are sky, their running mean, and its subtraction, by tiles of one row.

Model of a calibrated sky frame j: F_j = zero_j + unit_j * g(x, y) + noise, with either zero = 0 and unit = the frame's
sky level (the pattern g is what the flat left over, it scales with the sky), or zero = the level and unit = 1 (the
pattern is additive, as an uncorrected dark). The estimate of g from a set S of frames is
sum(F_j - zero_j) / sum(unit_j) over the pixels that no object, outlier or bad pixel covers: for Poisson noise that is
the weighting of least variance.

Sums are of what frames differ by from a pattern known before (their median, or the smooth sky), in float32: they hold
noise, not sky, so that nothing is lost by it. A tile's values of all frames stay in the first caches from the median to
the sums; every loop over its lanes is free of branches. Each pixel is worked on for itself, in the order of the frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.combine import sorting_network

Float32 = NDArray[np.float32]
UInt16 = NDArray[np.uint16]
Index = NDArray[np.int64]

#: Pixels of a row that are worked on at once; where no frame of a tile's pixel shows sky, the tile's others stand in.
LANES = 256
#: A median of more frames than this is not worth its time: the noise of one frame is well above its own.
MOST_IN_MEDIAN = 17
#: Where fewer than this of them show sky, all frames are asked.
FEW = 5
#: Variance of a median over that of the mean.
MEDIAN_VARIANCE = 1.571

_NAN, _INF = np.float32(np.nan), np.float32(np.inf)


class _Table(NamedTuple):
    """Per frame: place in the arrays, model, level and squared noise scale of the noise model."""

    place: Index
    zero: Float32
    unit: Float32
    level: Float32
    scale: Float32


class _Rule(NamedTuple):
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
def _survey(data, dq, table, rule, network, sample, first, noise, centres, halves):  # type: ignore[no-untyped-def]
    """See `survey`; centres or halves may have no rows: then they are not asked for."""
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
            if halves.shape[1]:
                for h in range(2):
                    g, u = halves[2 * h, r, start : start + m], halves[2 * h + 1, r, start : start + m]
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
def _subtract(data, dq, skies, targets, moves, useless, first, least, smooth, shrink, offsets, out, tops):  # type: ignore[no-untyped-def]
    """See `subtract`."""
    begins, who, sign = moves
    power, noise = shrink
    left, seen = np.empty((2, skies.place.size, LANES), np.float32)
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
                for j in range(m):
                    known = units[j] > least
                    g = total[j] / units[j] if known else zero
                    w = v[j] / units[j] if known else zero
                    whole = p[j] + w
                    share = w / whole if whole > zero else zero
                    square = g * g
                    cut = one if square < nine * whole else nine * whole / square
                    target[j] = (
                        x[j] - own - unit * (s[j] + (one - (cut * share if whole > zero else zero)) * g) - offset
                    )


@dataclass(frozen=True)
class SkyFrames:
    """Rows of frames and the model of their sky.

    Parameters
    ----------
    data : float32 (m, h, nx)
        Calibrated, electron; finite.
    dq : uint16 (m, h, nx)
        Flags.
    places : sequence of int (n,)
        Which of the m are the sky frames, in order of time.
    top : int
        Their row `top` is the first one to be worked on.
    zero, unit : float64 (n,)
        As in the module's model; units are positive.
    level, noise_scale : float64 (n,)
        Sky level (electron) and measured over predicted noise (sigma): for the noise model.
    """

    data: Float32
    dq: UInt16
    places: Sequence[int]
    top: int
    zero: ArrayLike
    unit: ArrayLike
    level: ArrayLike
    noise_scale: ArrayLike

    @cached_property
    def table(self) -> _Table:
        """What kernels want to know of each frame."""
        columns = self.zero, self.unit, self.level, np.square(np.asarray(self.noise_scale, np.float64))
        zero, unit, level, scale = (np.asarray(c, np.float32) for c in columns)
        return _Table(np.asarray(self.places, np.int64), zero, unit, level, scale)


@lru_cache(maxsize=64)
def _sample(n: int) -> tuple[Index, Index]:
    """Frames whose median is taken, spread over all without a period of their own, and the network that sorts them."""
    chosen = np.arange(n)
    if n > MOST_IN_MEDIAN:  # multiples of the golden ratio, modulo 1, favour no cycle of a dither
        order = np.argsort((chosen * (np.sqrt(5.0) - 1.0) / 2.0) % 1.0, kind="stable")
        chosen = np.sort(order[:MOST_IN_MEDIAN])
    number = chosen.size
    return chosen, sorting_network(number, (max(number // 2 - 1, 0), number // 2))


def survey(
    frames: SkyFrames,
    noise: tuple[ArrayLike, ArrayLike],
    bits: tuple[int, int],
    nsigma: float,
    centres: Float32 | None = None,
    halves: Float32 | None = None,
) -> None:
    """Flag what is no sky in rows of sky frames, and estimate their pattern.

    A pixel that no bit of ``bits[0]`` flags is a stray, and flagged with ``bits[1]``, in place, where it differs from
    the median of the frames (of at most `MOST_IN_MEDIAN` of them, unless few of those show sky) by more than `nsigma`
    of the noise; with fewer than 3 frames there are none.

    Parameters
    ----------
    frames : SkyFrames
        Of which `dq` is changed.
    noise : (constant, per_electron), (h, nx) or what broadcasts to it
        Noise model of a calibrated pixel: VAR = constant + signal * per_electron.
    bits : (int, int)
        Flags of what is no sky; the flag of strays, set or cleared.
    nsigma : float
        Limit.
    centres : float32 (h, nx), optional
        Takes the median g; where no frame shows sky, the mean of the row's neighbours, or 1 where g scales, else 0.
    halves : float32 (4, h, nx), optional
        Takes the means g and the sums of units of every other frame, from the first and from the second on; NaN and 0
        where none shows sky.
    """
    given = centres if centres is not None else halves[0] if halves is not None else None
    shape = frames.data.shape[1:] if given is None else given.shape
    table = frames.table
    rule = _Rule(
        np.uint16(bits[0]),
        np.uint16(bits[1]),
        table.place.size >= 3,
        np.float32(nsigma**2),
        np.float32(np.mean(np.asarray(frames.level))),
        np.float32(np.mean(np.asarray(frames.unit))),
        np.float32(0 if np.any(table.zero) else 1),
    )
    planes = tuple(np.ascontiguousarray(np.broadcast_to(np.asarray(n, np.float32), shape)) for n in noise)
    sample, network = _sample(table.place.size)
    none = np.empty((0, 0), np.float32)
    _survey(
        frames.data,
        frames.dq,
        table,
        rule,
        network,
        sample,
        frames.top,
        planes,
        none if centres is None else centres,
        np.empty((4, 0, 0), np.float32) if halves is None else halves,
    )


def moves(sets: Sequence[Sequence[int]]) -> tuple[Index, Index, Float32]:
    """How to go from one set of numbers to the next: where each set's moves begin, whom they concern (-1: all), sign.

    A set that has nothing in common with the one before starts from nothing.
    """
    begins, who, sign = [0], [], []
    here: set[int] = set()
    for members in sets:
        wanted = set(members)
        if not here & wanted:
            who.append(-1)
            sign.append(0.0)
            here = set()
        gone, new = sorted(here - wanted), sorted(wanted - here)
        who += [*gone, *new]
        sign += [*(-1.0 for _ in gone), *(1.0 for _ in new)]
        begins.append(len(who))
        here = wanted
    return np.array(begins), np.array(who, np.int64), np.array(sign, np.float32)


@dataclass(frozen=True)
class Targets:
    """Frames whose sky is to be subtracted, rows of which are among those of `SkyFrames`.

    Parameters
    ----------
    places : sequence of int (k,)
        Which of the m frames.
    zero, unit : float64 (k,)
        As in the module's model.
    offset : float64 (k,)
        Taken off besides, electron.
    skies : sequence of sequences of int
        The sky frames of each, as places in `SkyFrames.places`.
    """

    places: Sequence[int]
    zero: ArrayLike
    unit: ArrayLike
    offset: ArrayLike
    skies: Sequence[Sequence[int]]


def subtract(
    frames: SkyFrames,
    targets: Targets,
    useless: int,
    smooth: Float32,
    shrink: tuple[Float32, Float32] | None,
    out: tuple[Float32, Sequence[int], int],
) -> None:
    """Subtract zero + unit * (smooth + w * (g - smooth)) from rows of frames.

    w = P / (P + v) is the least-squares weight of a pixel's own pattern: P the variance of what is really there, v
    that of the noise of g. Deviations t beyond 3 sigma of P + v are real and keep theirs: w -> 1 - 9/t^2 v/(P + v).
    Without shrinkage the full pattern is taken off. Where no frame shows sky the smooth part alone is.

    Parameters
    ----------
    frames : SkyFrames
        The sky frames, strays flagged.
    targets : Targets
        Frames to subtract from, in order of time: going from the sky of one to that of the next costs what differs.
    useless : int
        Flags of what is no sky, strays included.
    smooth : float32 (h, nx)
        Large-scale part of g, defined everywhere.
    shrink : (P, V), float32 (h, nx), optional
        Variance of the true small-scale pattern, and noise variance of g times the sum of units.
    out : (float32 (any, h', nx), places, top)
        Where the rows go: the frames' places in an array, and the row there of the first.
    """
    if shrink is None:
        nothing = np.zeros_like(smooth)
        shrink = nothing, nothing
    number = len(targets.places)
    unused = np.ones(number, np.float32)
    zero, unit = (np.asarray(c, np.float32) for c in (targets.zero, targets.unit))
    table = _Table(np.asarray(targets.places, np.int64), zero, unit, unused, unused)
    array, places, top = out
    least = np.float32(1e-3 * float(np.min(np.asarray(frames.unit))))  # what rounding leaves of frames taken away
    _subtract(
        frames.data,
        frames.dq,
        frames.table,
        table,
        moves(targets.skies),
        np.uint16(useless),
        frames.top,
        least,
        smooth,
        shrink,
        np.asarray(targets.offset, np.float32),
        array,
        np.array([*places, top], np.int64),
    )
