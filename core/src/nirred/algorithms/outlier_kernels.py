"""Kernels of `outliers`: find pixels that deviate from the sequence's model, and fill unusable ones.

The model is given at each pixel of the plane, or on a grid to which a map leads (`outlier_mapped`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel

#: Weight that usable samples must have of four.
_LEAST_WEIGHT = 0.5
#: Largest step over half a FWHM, as a share of the light of the pixel: a Gaussian falls by 1.0 of it from its peak.
_FLANK = 3.0


class OutlierLimits(NamedTuple):
    """When a pixel of a frame is an outlier against the sequence.

    Parameters
    ----------
    high, low : float
        Sigma of the noise model; `low` holds for neighbours of an outlier.
    slope_high, slope_low : float
        Additional tolerance, as a share of the model's steepest step to a neighbour: for seeing and registration.
    least : int
        Frames that must have contributed to the model.
    reach : int
        Pixels to the second ring of neighbours, half the FWHM: a Gaussian's core changes by 0.23 of its peak if the
        seeing changes by a tenth, and falls by half of its peak at that distance, whatever the sampling.
    near : int
        Pixels to the first ring, `flank_reach`.
    bright : int
        Flags of saturated and non-linear pixels: such a star's core differs from frame to frame.
    bad : int
        Flags of unusable pixels: they are judged only because of their neighbours.
    """

    high: float = 5.0
    low: float = 3.0
    slope_high: float = 0.6
    slope_low: float = 0.4
    least: int = 3
    reach: int = 2
    near: int = 1
    bright: int = 0
    bad: int = 0


class Median(NamedTuple):
    """The sequence's median, at the pixels of a plane, or on a grid to which a map leads.

    Parameters
    ----------
    model : float32 (height, width)
        At transparency 1; NaN where there is none.
    number : uint16 (height, width)
        Frames in each of its pixels.
    nodes : float64 (3, rows, columns)
        The map's, as `PixelMap.nodes`; without columns: `model` is given at the plane's own pixels.
    step : int
        Their distance, pixels.
    """

    model: NDArray[np.float32]
    number: NDArray[np.uint16]
    nodes: NDArray[np.float64]
    step: int


class Noise(NamedTuple):
    """Noise model of a plane, float32 (ny, nx) each: VAR = constant + signal * per_electron."""

    constant: NDArray[np.float32]
    per_electron: NDArray[np.float32]


class Conditions(NamedTuple):
    """What a frame was exposed under.

    Parameters
    ----------
    transparency : float
        By which the median is multiplied.
    sky : float
        Level, electron.
    excess : float
        Factor on the variance by the noise model (sky noise, measured noise).
    """

    transparency: float
    sky: float
    excess: float


@subkernel
def _spread(n: np.float32) -> np.float32:
    """Variance of the difference to the median of n frames, over that of the frame; for two, of half the difference.

    The median of few frames is the highest of the others where this one is high: nearer than its noise says.
    """
    few = n < np.float32(3)
    more = np.float32(1) + (np.float32(1.6) - np.float32(4.8) / n) / n
    return np.float32(0.5) if few else more


@subkernel
def _place(nodes: np.ndarray, step: int, y: int, x: int) -> tuple[float, float]:
    """Position of a plane's pixel on the grid, linear between nodes."""
    rows, columns, part = nodes.shape[1], np.uint64(nodes.shape[2]), 1.0 / step
    j, i = min(np.uint32(y) // np.uint32(step), rows - 2), min(np.uint32(x) // np.uint32(step), nodes.shape[2] - 2)
    down, right, line = (y - j * step) * part, (x - i * step) * part, nodes.ravel()
    k = np.uint64(j) * columns + np.uint64(i)
    u = between(line[k], line[k + np.uint64(1)], line[k + columns], line[k + columns + np.uint64(1)], right, down)
    k += np.uint64(rows) * columns
    v = between(line[k], line[k + np.uint64(1)], line[k + columns], line[k + columns + np.uint64(1)], right, down)
    return u, v


@subkernel
def between(a: float, b: float, c: float, d: float, right: float, down: float) -> float:
    """Between two values above and two below."""
    upper, lower = a + right * (b - a), c + right * (d - c)
    return upper + down * (lower - upper)


@subkernel
def _bilinear(model: np.ndarray, u: float, v: float) -> np.float32:
    """The model at a position on the grid, from usable samples only; NaN where it has no value."""
    if 0.0 <= u < model.shape[1] - 1 and 0.0 <= v < model.shape[0] - 1:
        p, q, one = np.uint64(u), np.uint64(v), np.uint64(1)
        right, down = np.float32(u - np.float64(p)), np.float32(v - np.float64(q))
        value = between(model[q, p], model[q, p + one], model[q + one, p], model[q + one, p + one], right, down)
        if value == value:
            return value
    if not (-0.5 <= u < model.shape[1] - 0.5 and -0.5 <= v < model.shape[0] - 0.5):
        return np.float32(np.nan)
    i, j = math.floor(u), math.floor(v)
    total, weight = 0.0, 0.0
    for k in range(4):
        yy, xx = j + k // 2, i + k % 2
        share = (v - j if k // 2 else 1.0 + j - v) * (u - i if k % 2 else 1.0 + i - u)
        if 0 <= yy < model.shape[0] and 0 <= xx < model.shape[1] and model[yy, xx] == model[yy, xx]:
            total += share * model[yy, xx]
            weight += share
    return np.float32(total / weight if weight >= _LEAST_WEIGHT else np.nan)


@subkernel
def model_at(model: np.ndarray, nodes: np.ndarray, step: int, y: int, x: int) -> np.float32:
    """The model at a pixel of the plane: its own value, or interpolated from the grid."""
    if nodes.size == 0:
        return model[y, x]
    u, v = _place(nodes, step, y, x)
    return _bilinear(model, u, v)


@subkernel
def number_at(median: Median, y: int, x: int) -> np.uint16:
    """Number of frames in the grid's nearest pixel."""
    (u, v), number = _place(median.nodes, median.step, y, x), median.number
    i, j = math.floor(u + 0.5), math.floor(v + 0.5)
    return number[j, i] if 0 <= i < number.shape[1] and 0 <= j < number.shape[0] else np.uint16(0)


@subkernel
def _beside(way: int, near: int, reach: int, y: int, x: int, shape: tuple[int, int]) -> tuple[int, int]:
    """One of eight pixels around another: of the first ring, and at the distance of half a FWHM."""
    far = near if way < 4 else reach
    yy = min(max(y + far * ((way % 4 == 0) - (way % 4 == 1)), 0), shape[0] - 1)
    return yy, min(max(x + far * ((way % 4 == 2) - (way % 4 == 3)), 0), shape[1] - 1)


@subkernel
def steepest(median: Median, y: int, x: int, m: float, limits: OutlierLimits, shape: tuple[int, int]) -> float:
    """Largest difference between the model at a pixel of the plane, `m`, and at those around it.

    Half a FWHM is for the star's core, where the first ring is as bright. On its flank the seeing changes much less
    than the model does over that distance.
    """
    (model, _, nodes, step), steep, place, most = median, 0.0, (0.0, 0.0), _FLANK * max(m, 0.0)
    if nodes.size > 0:
        place = _place(nodes, step, y, x)
        right, down = _place(nodes, step, y, x + 1), _place(nodes, step, y + 1, x)
    for way in range(8):
        yy, xx = _beside(way, limits.near, limits.reach, y, x, shape)
        if nodes.size > 0:  # as even as the map is within so few pixels
            u = place[0] + (xx - x) * (right[0] - place[0]) + (yy - y) * (down[0] - place[0])
            v = place[1] + (xx - x) * (right[1] - place[1]) + (yy - y) * (down[1] - place[1])
            d = abs(_bilinear(model, u, v) - m)
        else:
            d = abs(model[yy, xx] - m)
        if way >= 4:
            d = min(d, most)
        if d > steep:
            steep = d
    return steep


@subkernel
def judge(
    value: np.float32,
    bright: bool,
    m: float,
    steep: float,
    n: int,
    noise: tuple[float, float],
    frame: Conditions,
    limits: OutlierLimits,
) -> int:
    """1 if a pixel deviates much from the model `m`; 2 if it deviates a little: kept only next to a 1.

    `steep` is the model's steepest step, `noise` the pixel's own (constant, per_electron). Of two values the model is
    the mean, or the one nearer to the sky: half their difference is compared, and only the one farther from the sky is
    an outlier, above it or, by a cosmic ray of a sky frame, below.
    """
    scale, sky, excess = frame
    high, low, slope_high, slope_low, least = limits.high, limits.low, limits.slope_high, limits.slope_low, limits.least
    if n < least and not (least <= 3 and abs(value) > abs(scale * m)):
        return 0
    variance = (noise[0] + (sky + max(m, 0.0) * scale) * noise[1]) * excess
    sigma = math.sqrt(variance * _spread(np.float32(n)))
    off = abs(value - scale * m)
    others = scale * m if n > 2 else 2.0 * scale * m - value
    if bright and others > high * sigma:  # a star's core, not a cosmic ray or a hot pixel
        return 0
    # the steepest of eight steps of a model that has noise of its own is never nothing
    steep = math.sqrt(max(steep * steep - 9.0 * variance * 1.6 / n, 0.0))
    if n < 3:
        steep *= 0.5
    if off > high * sigma + slope_high * steep:
        return 1
    return 2 if off > low * sigma + slope_low * steep else 0


@subkernel
def buried(dq: np.ndarray, bad: np.uint16, y: int, x: int) -> bool:
    """Whether a pixel and all its neighbours are unusable."""
    for yy in range(max(y - 1, 0), min(y + 2, dq.shape[0])):
        for xx in range(max(x - 1, 0), min(x + 2, dq.shape[1])):
            if dq[yy, xx] & bad == 0:
                return False
    return True


@subkernel
def _gather(marks: np.ndarray, words: np.ndarray, places: np.ndarray) -> int:
    """Indices of non-zero marks, and their number; `words` are the marks, eight bytes each, mostly 0.

    The loop that uses the indices has no branch between one and the next, so that many are loaded from memory at once.
    The array of indices needs one element more than there are marks.
    """
    number, each = 0, marks.size // max(words.size, 1)
    for k in range(words.size):
        if words[k] != 0:
            for x in range(each * k, each * (k + 1)):
                places[number] = x
                number += marks[x] != 0
    return number


@kernel
def flag_plane(
    sub: np.ndarray,
    dq: np.ndarray,
    median: Median,
    origin: tuple[int, int],
    noise: Noise,
    frame: Conditions,
    limits: OutlierLimits,
    flags: np.ndarray,
) -> None:
    """Judge the pixels that deviate from the model by more than the lower limit without tolerance: a few in 1000."""
    model, count, (ny, nx) = median.model, median.number, sub.shape
    scale, sky, excess = np.float32(frame.transparency), np.float32(frame.sky), np.float32(frame.excess)
    low = np.float32(0.999 * limits.low)  # rounding decides nothing here
    bright, bad, zero = np.uint16(limits.bright), np.uint16(limits.bad), np.float32(0)
    x0 = min(max(0, -origin[0]), nx)
    x1 = max(x0, min(nx, count.shape[1] - origin[0]))
    stray = np.zeros((nx + 7) // 8 * 8, np.uint8)
    words, places = stray.view(np.uint64), np.empty(stray.size + 1, np.int64)
    for y in range(max(0, -origin[1]), min(ny, count.shape[0] - origin[1])):
        values, middle, number = sub[y, x0:x1], model[y, x0:x1], count[y + origin[1], x0 + origin[0] : x1 + origin[0]]
        constant, electrons, found = noise.constant[y, x0:x1], noise.per_electron[y, x0:x1], stray[x0:x1]
        for x in range(values.size):
            off = values[x] - scale * middle[x]
            signal = middle[x] if middle[x] > zero else zero
            n = np.float32(number[x])
            variance = (constant[x] + (sky + signal * scale) * electrons[x]) * excess * _spread(n)
            found[x] = (off * off > low * low * variance) & (n > np.float32(1))
        for x in places[: _gather(stray, words, places)]:
            if dq[y, x] & bad == 0 or not buried(dq, bad, y, x):
                n, m = count[y + origin[1], x + origin[0]], np.float64(model[y, x])
                core, own = dq[y, x] & bright != 0, (noise.constant[y, x], noise.per_electron[y, x])
                steep = steepest(median, y, x, m, limits, sub.shape)
                flags[y, x] = judge(sub[y, x], core, m, steep, n, own, frame, limits)


@subkernel
def _touches(flags: np.ndarray, y: int, x: int) -> bool:
    """Whether a neighbour is a 1."""
    for yy in range(max(y - 1, 0), min(y + 2, flags.shape[0])):
        for xx in range(max(x - 1, 0), min(x + 2, flags.shape[1])):
            if flags[yy, xx] == 1:
                return True
    return False


@kernel
def grow(flags: np.ndarray, words: np.ndarray) -> None:
    """Keep 1, and 2 next to a 1, and nothing else; `words` are eight flags each, of which most are 0."""
    flat, nx = flags.ravel(), flags.shape[1]
    for mark in (3, 1):
        for k in range(words.size):
            if words[k] == 0:
                continue
            for p in range(8 * k, min(8 * k + 8, flat.size)):
                if mark == 1:
                    flat[p] &= np.uint8(1)
                elif flat[p] == 2 and _touches(flags, p // nx, p % nx):
                    flat[p] = 3


@kernel
def fill_from_model(
    data: np.ndarray,
    dq: np.ndarray,
    bits: np.uint16,
    median: Median,
    scale: np.float32,
    lost: np.ndarray,
) -> None:
    """Set unusable pixels to the model's value, or to NaN where it has none: then the row is marked in `lost`."""
    (model, _, nodes, step), (ny, nx) = median, data.shape
    hidden = np.zeros((nx + 3) // 4 * 4, np.uint16)  # as wide as the flags, for the vector unit
    words, places = hidden.view(np.uint64), np.empty(hidden.size + 1, np.int64)
    for y in range(ny):
        flags = dq[y]
        for x in range(nx):
            hidden[x] = flags[x] & bits
        for x in places[: _gather(hidden, words, places)]:
            value = scale * model_at(model, nodes, step, y, x)
            lost[y] |= value - value != 0
            data[y, x] = value
