"""Outliers of a frame on its detector against what the sequence says, and values in their place."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
UInt8 = NDArray[np.uint8]
UInt16 = NDArray[np.uint16]


@dataclass(frozen=True)
class Expected:
    """What the sequence says of a frame's pixels, and their noise.

    Parameters
    ----------
    model : float32 (ny, nx)
        Median of the sequence at the frame's pixels, at transparency 1; NaN without one.
    count : uint16 (height, width)
        How many frames are behind each pixel of a grid.
    origin : (int, int)
        (x, y) in `count` of the frame's pixel (0, 0); 0 frames are behind pixels beyond it.
    constant, per_electron : float32 (ny, nx)
        Noise model of the frame's pixels.
    scale, sky, extra : float
        Transparency of the frame, sky level (electron), and factor on its variance (sky noise, measured noise).
    """

    model: Float32
    count: UInt16
    origin: tuple[int, int]
    constant: Float32
    per_electron: Float32
    scale: float
    sky: float
    extra: float


@dataclass(frozen=True)
class OutlierLimits:
    """When a pixel of a frame is an outlier against the sequence.

    Parameters
    ----------
    high, low : float
        Sigma of the noise model; `low` holds for neighbours of an outlier.
    slope_high, slope_low : float
        Share of the model's steepest step to a neighbour that is allowed besides: seeing and registration change it.
    least : int
        Frames that must have contributed to the model.
    reach : int
        Pixels to the second ring of neighbours, half the FWHM: a Gaussian's core changes by 0.23 of its peak when the
        seeing does by a tenth, and falls by half of it that far away, whatever the sampling.
    bright : int
        Flags of saturated and non-linear pixels: such a star's core differs from frame to frame.
    bad : int
        Flags of unusable pixels: they are judged for their neighbours' sake alone.
    """

    high: float = 5.0
    low: float = 3.0
    slope_high: float = 0.6
    slope_low: float = 0.4
    least: int = 3
    reach: int = 2
    bright: int = 0
    bad: int = 0


def core_slope(fwhm: float, usual: float) -> float:
    """Share of the steepness by which a star's core may differ in a frame of seeing `fwhm` among others of `usual`.

    A Gaussian of the same flux has (usual/fwhm)**2 times the peak, and its steepness is taken over half a FWHM: half of
    the peak. A quarter of margin is for profiles that are no Gaussians; 0 where a width is not known, 2 at most.
    """
    change = abs((usual / fwhm) ** 2 - 1.0) if fwhm > 0 and usual > 0 else 0.0
    return min(2.5 * change, 2.0)


def flag_outliers(sub: Float32, dq: UInt16, expected: Expected, limits: OutlierLimits) -> UInt8:
    """Pixels of a sky-subtracted frame, on its detector, that the sequence's blotted model does not explain.

    Parameters
    ----------
    sub : float32 (ny, nx)
        Sky-subtracted frame, electron.
    dq : uint16 (ny, nx)
        Its flags, of which those of bright and of unusable pixels count.
    expected : Expected
        Model and noise.
    limits : OutlierLimits
        Thresholds.

    Returns
    -------
    uint8 (ny, nx)
        1 where flagged.
    """
    words = np.zeros(-(-sub.size // 8), np.uint64)  # of eight flags each
    flags = words.view(np.uint8)[: sub.size].reshape(sub.shape)
    e, u = expected, limits
    noise = (e.constant, e.per_electron)
    values = (u.high, u.low, u.slope_high, u.slope_low, float(u.least), u.reach, u.bright, u.bad)
    _flag(sub, dq, e.model, e.count, e.origin, noise, (e.scale, e.sky, e.extra), values, flags)
    _grow(flags, words)
    return flags


def fill_hidden(data: Float32, dq: UInt16, bits: int, model: Float32, scale: float) -> None:
    """Give unusable pixels the model's value, else the mean of good ones around, else 0: they ring into no neighbour.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame, changed in place.
    dq : uint16 (ny, nx)
        Its flags.
    bits : int
        Flags of unusable pixels.
    model : float32 (ny, nx)
        What the other frames say; NaN where they say nothing.
    scale : float
        The frame's transparency, which the model is multiplied by.
    """
    _fill(data, dq, np.uint16(bits), model, np.float32(scale))


@njit(nogil=True, cache=True, error_model="numpy")
def _spread(n):  # type: ignore[no-untyped-def]
    """Variance of the difference to the median of n frames, over that of the frame; for two, of half the difference.

    The median of few frames is the highest of the others where this one is high: nearer than its noise says.
    """
    few = n < np.float32(3)
    more = np.float32(1) + (np.float32(1.6) - np.float32(4.8) / n) / n
    return np.float32(0.5) if few else more


@njit(nogil=True, cache=True, error_model="numpy")
def _judge(sub, bright, model, y, x, n, noise, frame, limits):  # type: ignore[no-untyped-def]
    """1 where a pixel strays far from the model; 2 where it strays a little: kept only beside a 1.

    Of two values the model is the mean: half their difference is compared, and only the higher is an outlier.
    """
    scale, sky, extra = frame
    high, low, slope_high, slope_low, least, reach = limits[:6]
    ny, nx = model.shape
    m = np.float64(model[y, x])
    if n < least and not (least <= 3 and sub > scale * m):
        return 0
    variance = (noise[0][y, x] + (sky + max(m, 0.0) * scale) * noise[1][y, x]) * extra
    sigma = math.sqrt(variance * _spread(np.float32(n)))
    off = abs(sub - scale * m)
    others = scale * m if n > 2 else 2.0 * scale * m - sub
    if bright and others > high * sigma:  # a star's core, not a cosmic ray or a hot pixel
        return 0
    steep = 0.0
    for step in range(8):
        far = 1 if step < 4 else reach
        yy = min(max(y + far * ((step % 4 == 0) - (step % 4 == 1)), 0), ny - 1)
        xx = min(max(x + far * ((step % 4 == 2) - (step % 4 == 3)), 0), nx - 1)
        d = abs(model[yy, xx] - m)
        if d > steep:
            steep = d
    # the steepest of eight steps of a model that has noise of its own is never nothing
    steep = math.sqrt(max(steep * steep - 9.0 * variance * 1.6 / n, 0.0))
    if n < 3:
        steep *= 0.5
    if off > high * sigma + slope_high * steep:
        return 1
    return 2 if off > low * sigma + slope_low * steep else 0


@njit(nogil=True, cache=True, error_model="numpy")
def _buried(dq, bad, y, x):  # type: ignore[no-untyped-def]
    """Whether a pixel and all its neighbours are unusable."""
    for yy in range(max(y - 1, 0), min(y + 2, dq.shape[0])):
        for xx in range(max(x - 1, 0), min(x + 2, dq.shape[1])):
            if dq[yy, xx] & bad == 0:
                return False
    return True


@njit(nogil=True, cache=True, error_model="numpy")
def _flag(sub, dq, model, count, origin, noise, frame, limits, flags):  # type: ignore[no-untyped-def]
    """Judge the pixels that stray from the model by more than the lower limit without any allowance: a few in 1000."""
    ny, nx = sub.shape
    scale, sky, extra = np.float32(frame[0]), np.float32(frame[1]), np.float32(frame[2])
    low = np.float32(0.999 * limits[1])  # rounding decides nothing here
    bright, bad, zero = np.uint16(limits[6]), np.uint16(limits[7]), np.float32(0)
    x0 = min(max(0, -origin[0]), nx)
    x1 = max(x0, min(nx, count.shape[1] - origin[0]))
    stray = np.zeros((nx + 7) // 8 * 8, np.uint8)
    words = stray.view(np.uint64)
    for y in range(max(0, -origin[1]), min(ny, count.shape[0] - origin[1])):
        values, middle, number = sub[y, x0:x1], model[y, x0:x1], count[y + origin[1], x0 + origin[0] : x1 + origin[0]]
        constant, electrons, found = noise[0][y, x0:x1], noise[1][y, x0:x1], stray[x0:x1]
        for x in range(values.size):
            off = values[x] - scale * middle[x]
            signal = middle[x] if middle[x] > zero else zero
            n = np.float32(number[x])
            variance = (constant[x] + (sky + signal * scale) * electrons[x]) * extra * _spread(n)
            found[x] = (off * off > low * low * variance) & (n > np.float32(1))
        for k in range(words.size):
            if words[k] == 0:
                continue
            for x in range(8 * k, min(8 * k + 8, nx)):
                if stray[x] and not (dq[y, x] & bad != 0 and _buried(dq, bad, y, x)):
                    n = count[y + origin[1], x + origin[0]]
                    core = dq[y, x] & bright != 0
                    flags[y, x] = _judge(sub[y, x], core, model, y, x, n, noise, frame, limits)


@njit(nogil=True, cache=True, error_model="numpy")
def _touches(flags, y, x):  # type: ignore[no-untyped-def]
    """Whether a neighbour is a 1."""
    for yy in range(max(y - 1, 0), min(y + 2, flags.shape[0])):
        for xx in range(max(x - 1, 0), min(x + 2, flags.shape[1])):
            if flags[yy, xx] == 1:
                return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _grow(flags, words):  # type: ignore[no-untyped-def]
    """Keep 1, and 2 that touches a 1; `words` are eight flags each, of which most are 0."""
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


@njit(nogil=True, cache=True, error_model="numpy")
def _mean_around(data, dq, bits, y, x):  # type: ignore[no-untyped-def]
    """Mean of the good pixels in 3 x 3, else 5 x 5, else 7 x 7; 0 without any."""
    ny, nx = data.shape
    for reach in range(1, 4):
        total, n = 0.0, 0
        for yy in range(max(y - reach, 0), min(y + reach + 1, ny)):
            for xx in range(max(x - reach, 0), min(x + reach + 1, nx)):
                if dq[yy, xx] & bits == 0:
                    total += data[yy, xx]
                    n += 1
        if n > 0:
            return np.float32(total / n)
    return np.float32(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _good_blocks(dq, bits, y, block, known, good):  # type: ignore[no-untyped-def]
    """Whether any pixel around this block of 16 pixels of row y is good: three blocks of seven rows, each seen once."""
    nx = dq.shape[1]
    for yy in range(max(y - 3, 0), min(y + 4, dq.shape[0])):
        for b in range(max(block - 1, 0), min(block + 2, good.shape[1])):
            if not known[yy, b]:
                known[yy, b] = 1
                for x in range(16 * b, min(16 * b + 16, nx)):
                    good[yy, b] |= dq[yy, x] & bits == 0
            if good[yy, b]:
                return True
    return False


@njit(nogil=True, cache=True, error_model="numpy")
def _fill(data, dq, bits, model, scale):  # type: ignore[no-untyped-def]
    ny, nx = data.shape
    blocks = (nx + 15) // 16  # where three of them and seven rows hold no good pixel, none is sought
    known, good = np.zeros((ny, blocks), np.uint8), np.zeros((ny, blocks), np.uint8)
    hidden = np.zeros((nx + 7) // 8 * 8, np.uint8)
    words = hidden.view(np.uint64)
    for y in range(ny):
        flags = dq[y]
        for x in range(nx):
            hidden[x] = flags[x] & bits != 0
        block, near = -1, False
        for k in range(words.size):
            if words[k] == 0:
                continue
            for x in range(8 * k, min(8 * k + 8, nx)):
                if not hidden[x]:
                    continue
                if math.isfinite(model[y, x]):
                    data[y, x] = scale * model[y, x]
                    continue
                if x // 16 != block:
                    block, near = x // 16, _good_blocks(dq, bits, y, x // 16, known, good)
                if near:
                    data[y, x] = _mean_around(data, dq, bits, y, x)
                else:
                    data[y, x] = np.float32(0)
