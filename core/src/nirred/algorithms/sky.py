"""The sky of each frame from its neighbours: robust running means and the shrinkage of their pixel noise.

Model of a calibrated sky frame j: F_j = zero_j + unit_j * g(x, y) + noise, with either zero = 0 and unit = the frame's
sky level (`scale`: the pattern g is what the flat left over, it scales with the sky), or zero = the level and unit = 1
(`offset`: the pattern is additive, as an uncorrected dark). The estimate of g from a set S of frames is
sum(F_j - zero_j) / sum(unit_j) over the pixels that no object, outlier or bad pixel covers: for Poisson noise that is
the weighting of least variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt16 = NDArray[np.uint16]

#: Median of a chi-square variable of one degree of freedom.
MEDIAN_CHI2 = 0.4549364


@njit(nogil=True, cache=True, error_model="numpy")
def _accumulate(data, ok, zero, unit, sign, total, units):  # type: ignore[no-untyped-def]
    """Add (sign 1) or take away (sign -1) one frame's rows to the running sums."""
    for r in range(data.shape[0]):
        for c in range(data.shape[1]):
            m = sign * ok[r, c]
            total[r, c] += m * (np.float64(data[r, c]) - zero)
            units[r, c] += m * unit


@njit(nogil=True, cache=True, error_model="numpy")
def _flag_outliers(data, ok, centre, spread, zero, unit, constant, per_electron, limits):  # type: ignore[no-untyped-def]
    """Clear `ok` where a frame differs from unit * centre + zero by more than the noise allows."""
    nsigma2, level, scale2 = limits
    for r in range(data.shape[0]):
        for c in range(data.shape[1]):
            difference = np.float64(data[r, c]) - zero - unit * centre[r, c]
            variance = (constant[r, c] + level * per_electron[r, c]) * scale2 + unit * unit * spread[r, c]
            if not difference * difference <= nsigma2 * variance:
                ok[r, c] = 0


@njit(nogil=True, cache=True, error_model="numpy")
def _mark_strays(dq, ok, useless, bit, out):  # type: ignore[no-untyped-def]
    for r in range(dq.shape[0]):
        for c in range(dq.shape[1]):
            stray = ((dq[r, c] & useless) == 0) & (ok[r, c] == 0)
            out[r, c] = (dq[r, c] & ~bit) | (bit if stray else np.uint16(0))


def mark_strays(dq: UInt16, ok: NDArray[np.uint8], useless: np.uint16, bit: np.uint16) -> UInt16:
    """Flags with `bit` on pixels that are no sky for no reason that flags of `useless` give, and on no other."""
    out = np.empty_like(dq)
    _mark_strays(dq, ok, useless, bit, out)
    return out


@dataclass(frozen=True)
class SkyFrames:
    """Rows of all frames of a group that may serve as sky.

    Parameters
    ----------
    data : list of float32 (rows, nx)
        Calibrated, electron; no NaN.
    ok : list of uint8 (rows, nx)
        1 where the pixel shows sky: cleared in place where it is found to be an outlier.
    zero, unit : float64 (n,)
        As in the module's model.
    level : float64 (n,)
        Sky level, electron: for the noise model.
    noise_scale : float64 (n,)
        Measured over predicted noise (sigma) of each frame.
    """

    data: list[Float32]
    ok: list[NDArray[np.uint8]]
    zero: Float64
    unit: Float64
    level: Float64
    noise_scale: Float64

    def flag_outliers(
        self, frames: list[int], centre: Float64, spread: Float64, noise: tuple[Float32, Float32], nsigma: float
    ) -> None:
        """Clear `ok` of `frames` where they stray from the pattern `centre` by more than `nsigma`.

        Parameters
        ----------
        frames : list of int
            Which frames to look at.
        centre : float64 (rows, nx)
            Robust estimate of g.
        spread : float64 (rows, nx)
            Variance of `centre`.
        noise : (constant, per_electron), float32 (rows, nx)
            Noise model of a calibrated pixel.
        nsigma : float
            Limit.
        """
        for j in frames:
            limits = (nsigma**2, float(self.level[j]), float(self.noise_scale[j]) ** 2)
            _flag_outliers(
                self.data[j], self.ok[j], centre, spread, float(self.zero[j]), float(self.unit[j]), *noise, limits
            )


class RunningSky:
    """Sums over a changing set of frames: going from one set to the next touches only what differs.

    Notes
    -----
    Sums are float64, so that adding and taking away a frame leaves nothing behind at the level of a float32 pixel,
    and one frame costs about 3 ns per pixel whatever the size of the set.
    """

    def __init__(self, frames: SkyFrames) -> None:
        self._frames = frames
        shape = frames.data[0].shape
        self.total: Float64 = np.zeros(shape)
        self.units: Float64 = np.zeros(shape)
        self._members: set[int] = set()

    def move_to(self, members: tuple[int, ...]) -> None:
        """Make the sums those of `members`."""
        wanted = set(members)
        if not self._members & wanted:
            self.total.fill(0.0)
            self.units.fill(0.0)
            self._members = set()
        for j in sorted(self._members - wanted):
            self._add(j, -1.0)
        for j in sorted(wanted - self._members):
            self._add(j, 1.0)
        self._members = wanted

    def _add(self, j: int, sign: float) -> None:
        f = self._frames
        _accumulate(f.data[j], f.ok[j], float(f.zero[j]), float(f.unit[j]), sign, self.total, self.units)

    def pattern(self) -> tuple[Float64, Float64]:
        """The estimate of g (NaN where no frame shows sky) and the sum of units behind it."""
        g, units = np.empty_like(self.total), np.empty_like(self.units)
        least = 1e-6 * max(float(np.max(self._frames.unit)), 1e-30)  # what rounding leaves of frames taken away
        _divide(self.total, self.units, least, g, units)
        return g, units


@njit(nogil=True, cache=True, error_model="numpy")
def _divide(total, units, least, g, known):  # type: ignore[no-untyped-def]
    for r in range(total.shape[0]):
        for c in range(total.shape[1]):
            u = units[r, c]
            known[r, c] = u if u > least else 0.0
            g[r, c] = total[r, c] / u if u > least else np.nan


@njit(nogil=True, cache=True, error_model="numpy")
def _subtract(data, pattern, units, smooth, shrink, frame, plane, out):  # type: ignore[no-untyped-def]
    """Write out = data - (zero + unit * shrunk pattern) - plane; see `subtract_sky`."""
    zero, unit = frame
    p0, px, py = plane
    signal, noise = shrink
    for r in range(data.shape[0]):
        row = p0 + py * r
        for c in range(data.shape[1]):
            s = smooth[r, c]
            g = pattern[r, c] - s
            if units[r, c] > 0:
                v = noise[r, c] / units[r, c]
                p = signal[r, c]
                t2 = g * g / (p + v) if p + v > 0 else 0.0
                cut = 1.0 if t2 < 9.0 else 9.0 / t2
                keep = 1.0 - cut * v / (p + v) if p + v > 0 else 1.0
                s += keep * g
            out[r, c] = data[r, c] - zero - unit * s - row - px * c


def subtract_sky(
    data: Float32,
    pattern: tuple[Float64, Float64],
    smooth: Float32,
    shrink: tuple[Float32, Float32],
    frame: tuple[float, float],
    plane: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Float32:
    """Subtract zero + unit * (smooth + w * (g - smooth)) from rows of a frame.

    w = P / (P + v) is the least-squares weight of a pixel's own pattern: P the variance of what is really there, v
    that of the noise of g. Deviations t beyond 3 sigma of P + v are real and keep theirs: w -> 1 - 9/t^2 v/(P + v).
    Without shrinkage (v = 0) the full pattern is taken off. Where no frame shows sky the smooth part alone is.

    Parameters
    ----------
    data : float32 (rows, nx)
        The frame.
    pattern : (g, units), float64 (rows, nx)
        From `RunningSky.pattern`.
    smooth : float32 (rows, nx)
        Large-scale part of g, defined everywhere.
    shrink : (P, V), float32 (rows, nx)
        Variance of the true small-scale pattern, and noise variance of g times the sum of units.
    frame : (zero, unit)
        As in the module's model.
    plane : (constant, per column, per row)
        Residual plane to take off, electron; rows counted from the first one given.
    """
    out = np.empty(data.shape, np.float32)
    _subtract(data, pattern[0], pattern[1], smooth, shrink, frame, plane, out)
    return out


def pattern_power(
    first: tuple[Float64, Float64],
    second: tuple[Float64, Float64],
    smooth: Float32,
    tile: int = 64,
    *,
    robust: bool = True,
) -> tuple[Float32, Float32]:
    """Power of the true pattern and of the noise, from two halves of the sky frames.

    Half the sum of two independent estimates of one pattern has the variance of pattern and noise, half their
    difference that of the noise alone. No model of the detector's noise is needed. Both variances are medians of
    squares / 0.4549, which hot pixels and undetected sources do not move.

    Parameters
    ----------
    first, second : (g, units), float64 (ny, nx)
        From disjoint sets of frames.
    smooth : float32 (ny, nx)
        Large-scale part of g.
    tile : int
        Side of the areas over which both are averaged.
    robust : bool
        Take medians of squares; False: means, which see what fills a small part of a tile.

    Returns
    -------
    P : float32 (ny, nx)
        Variance of the small-scale pattern; not below 0.
    V : float32 (ny, nx)
        Noise variance of g times the sum of units behind it.
    """
    (ga, ua), (gb, ub) = first, second
    noise, both, weight = (np.empty(smooth.shape, np.float32) for _ in range(3))
    _half_squares(ga, ua, gb, ub, smooth, noise, both, weight)
    variance = _tile_variance if robust else _tile_mean
    v = variance(noise, tile)
    p = np.maximum(variance(both, tile) - v, 0.0) / np.maximum(_tile_mean(weight, tile), 1e-30)
    return _expand(p, ga.shape), _expand(v, ga.shape)


@njit(nogil=True, cache=True, error_model="numpy")
def _half_squares(ga, ua, gb, ub, smooth, noise, both, weight):  # type: ignore[no-untyped-def]
    """Squares of half the difference and of half the sum less its smooth part, times 4 / (1/ua + 1/ub); else NaN."""
    for r in range(smooth.shape[0]):
        for c in range(smooth.shape[1]):
            a, b = ua[r, c], ub[r, c]
            w = 4.0 * a * b / (a + b) if (a > 0) & (b > 0) else np.nan
            difference, mean = 0.5 * (ga[r, c] - gb[r, c]), 0.5 * (ga[r, c] + gb[r, c]) - smooth[r, c]
            noise[r, c], both[r, c], weight[r, c] = difference * difference * w, mean * mean * w, w


def _tiles(shape: tuple[int, int], tile: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    ny, nx = shape
    rows, cols = max(1, round(ny / tile)), max(1, round(nx / tile))
    return np.linspace(0, ny, rows + 1).astype(int), np.linspace(0, nx, cols + 1).astype(int)


def _tile_variance(squares: Float32, tile: int) -> Float64:
    """Variance over tiles from squares of residuals; tiles without 32 values take the usual one."""
    return _tile_statistic(squares, tile, lambda part: float(np.median(part)) / MEDIAN_CHI2)


def _tile_mean(values: Float32, tile: int) -> Float64:
    return _tile_statistic(values, tile, lambda part: float(part.mean()))


def _tile_statistic(values: Float32, tile: int, statistic: Callable[[Float32], float]) -> Float64:
    y, x = _tiles((values.shape[0], values.shape[1]), tile)
    out = np.full((y.size - 1, x.size - 1), np.nan)
    for i in range(y.size - 1):
        for j in range(x.size - 1):
            part = values[y[i] : y[i + 1], x[j] : x[j + 1]]
            part = part[np.isfinite(part)]
            if part.size >= 32:
                out[i, j] = statistic(part)
    usual = np.nanmedian(out) if np.isfinite(out).any() else 0.0
    return np.where(np.isfinite(out), out, usual)


def _expand(tiles: Float64, shape: tuple[int, ...]) -> Float32:
    """Nearest-tile values on the full grid."""
    rows = np.arange(shape[0]) * tiles.shape[0] // shape[0]
    cols = np.arange(shape[1]) * tiles.shape[1] // shape[1]
    return np.asarray(tiles[np.ix_(rows, cols)], np.float32)


def pixel_noise(data: Float32, bad: NDArray[np.uint8]) -> float:
    """Scatter of single pixels, whatever smooth light covers them: from second differences along rows.

    Parameters
    ----------
    data : float32 (ny, nx)
        Unresampled frame.
    bad : uint8 (ny, nx)
        Not zero where unusable.

    Returns
    -------
    float
        1.4826 x median absolute second difference / sqrt(6); NaN with fewer than 100 of them.
    """
    rows, hidden = data[::7], bad[::7] != 0
    second = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    good = ~(hidden[:, :-2] | hidden[:, 1:-1] | hidden[:, 2:]) & np.isfinite(second)
    if np.count_nonzero(good) < 100:
        return float("nan")
    return float(1.4826 * np.median(np.abs(second[good])) / np.sqrt(6.0))
