"""Fluxes of isolated stars in circular apertures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.ranking import middle

Float64 = NDArray[np.float64]

#: A spike exceeds the median of its neighbourhood by this many sigma, and by this share of it.
SPIKE, LEAST_RISE = 5.0, 0.5
#: Number of pixels, over the cube of the FWHM, that may be mirrored near a star's centre: each has up to 0.88 FWHM^-2
#: of the light, with an error of up to 1.4 / FWHM of that, as the mirror is a pixel's centre; together 0.3 %.
HOLES = 0.0024
#: The local level is the median of a ring of these radii, in FWHM, with at least this many pixels.
RING, LEAST_RING = (3.0, 4.5), 20
#: Radius in FWHM in which mirrored pixels count.
CORE = 0.7


def aperture_fluxes(
    data: NDArray[np.float32],
    bad: NDArray[np.uint8],
    x: Float64,
    y: Float64,
    fwhm: float,
    *,
    spikes: bool = False,
    radii: tuple[float, ...] = (2.0,),
    gain: float = 1.0,
) -> tuple[Float64, Float64]:
    """Fluxes of isolated stars, by default in apertures wide enough (2 FWHM radius) that seeing hardly matters.

    The local level is the median of a ring of 3 to 4.5 FWHM. An unusable pixel is replaced by its mirror image across
    the star; within 0.7 FWHM of the centre it makes a narrow star unmeasurable.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame.
    bad : uint8 (ny, nx)
        Non-zero where unusable; pixels that are not finite are unusable, too.
    x, y : float64 (n,)
        Zero-based positions.
    fwhm : float
        Pixels.
    spikes : bool
        Treat pixels too sharp for a star, such as cosmic rays, as unusable. Where a frame has few stars, nothing else
        reveals them.
    radii : tuple of float
        Of the apertures, in FWHM.
    gain : float
        Electrons per data unit, for the photon noise of the stars.

    Returns
    -------
    flux, error : float64 (radii, n)
        NaN for stars that could not be measured.
    """
    flux, error = np.full((2, len(radii), x.size), np.nan)
    places = np.column_stack([x, y]).astype(np.float64)
    _measure(data, bad, places, float(fwhm), spikes, np.array(radii, np.float64), float(gain), flux, error)
    return flux, error


@kernel
def _measure(
    data: np.ndarray,
    bad: np.ndarray,
    places: np.ndarray,
    fwhm: float,
    spikes: bool,
    radii: np.ndarray,
    gain: float,
    flux: np.ndarray,
    error: np.ndarray,
) -> None:
    """Fill in what can be measured; each star in a window of its own."""
    half = int(np.ceil(RING[1] * fwhm))
    size = 2 * half + 1
    cut, r, around = np.empty((3, size, size))
    hidden, some = np.empty((size, size), np.bool_), np.empty(size * size)
    for k in range(places.shape[0]):
        x, y = places[k]
        row, column = np.rint(y), np.rint(x)
        if not (half <= row < data.shape[0] - half and half <= column < data.shape[1] - half):
            continue
        top, left = int(row) - half, int(column) - half
        for j in range(size):
            for i in range(size):
                cut[j, i] = data[top + j, left + i]
                hidden[j, i] = bad[top + j, left + i] != 0 or not np.isfinite(cut[j, i])
                r[j, i] = np.sqrt((j + top - y) ** 2 + (i + left - x) ** 2)
        if spikes:
            _hide_spikes(cut, hidden, fwhm, gain, around, some)
        n = _gather(cut, hidden | (r <= RING[0] * fwhm), some)
        if n >= LEAST_RING:
            level, sigma = _level(some, n)
            for m in range(radii.size):
                flux[m, k], error[m, k] = _aperture(cut, hidden, r, fwhm, radii[m], (level, sigma, n), gain)


@subkernel
def _gather(cut: np.ndarray, hidden: np.ndarray, values: np.ndarray) -> int:
    """Fill in the pixels that are not hidden; return their number."""
    n = 0
    for j in range(cut.shape[0]):
        for i in range(cut.shape[1]):
            if not hidden[j, i]:
                values[n] = cut[j, i]
                n += 1
    return n


@subkernel
def _level(values: np.ndarray, n: int) -> tuple[float, float]:
    """Median of the first n values, and their scatter about it; they are changed."""
    level = middle(values, n)
    for i in range(n):
        values[i] = abs(values[i] - level)
    return level, 1.4826 * middle(values, n)


@subkernel
def _aperture(
    cut: np.ndarray,
    hidden: np.ndarray,
    r: np.ndarray,
    fwhm: float,
    radius: float,
    ring: tuple[float, float, int],
    gain: float,
) -> tuple[float, float]:
    """Flux and error in one aperture; `ring`: level, scatter and number of the usable pixels round it."""
    level, sigma, n = ring
    ny, nx = cut.shape
    flux, area, holes = 0.0, 0.0, 0
    for j in range(ny):
        for i in range(nx):
            inside = min(max(radius * fwhm + 0.5 - r[j, i], 0.0), 1.0)
            if inside == 0.0:
                continue
            value = cut[j, i]
            if hidden[j, i]:
                if hidden[ny - 1 - j, nx - 1 - i]:
                    return np.nan, np.nan
                value = cut[ny - 1 - j, nx - 1 - i]
                holes += r[j, i] < CORE * fwhm
            flux += inside * (value - level)
            area += inside
    if holes > HOLES * fwhm**3:
        return np.nan, np.nan
    return flux, np.sqrt(area * sigma**2 * (1 + 1.6 * area / n) + max(flux, 0.0) / gain)


@subkernel
def _hide_spikes(
    cut: np.ndarray, hidden: np.ndarray, fwhm: float, gain: float, around: np.ndarray, some: np.ndarray
) -> None:
    """Hide pixels that exceed their neighbourhood's median by more than noise and four times a star's own peak."""
    ny, nx = cut.shape
    level, sigma = _level(some, _gather(cut, hidden, some))
    for j in range(ny):
        for i in range(nx):
            around[j, i] = level if hidden[j, i] else cut[j, i]
    rise = max(4.0 * np.expm1(4 * np.log(2) / fwhm**2), LEAST_RISE)  # of a Gaussian's middle above the next pixel
    for j in range(ny):
        for i in range(nx):
            near = _median_of_nine(around, j, i)
            light = max(near - level, 0.0)
            if cut[j, i] - near > SPIKE * np.hypot(sigma, np.sqrt(light / gain)) + rise * light:
                hidden[j, i] = True


@subkernel
def _ordered(a: float, b: float, c: float) -> tuple[float, float, float]:
    """Three values in ascending order."""
    low, high = min(a, b), max(a, b)
    return min(low, c), max(low, min(high, c)), max(high, c)


@subkernel
def _column(image: np.ndarray, j: int, i: int) -> tuple[float, float, float]:
    """A pixel and those above and below it, ordered; beyond the edges the outermost ones are repeated."""
    ny, i = image.shape[0], min(max(i, 0), image.shape[1] - 1)
    return _ordered(image[max(j - 1, 0), i], image[j, i], image[min(j + 1, ny - 1), i])


@subkernel
def _median_of_nine(image: np.ndarray, j: int, i: int) -> float:
    """Median of 3 x 3 pixels: of the columns' the largest least, the median of medians and the least largest."""
    a, b, c = _column(image, j, i - 1), _column(image, j, i), _column(image, j, i + 1)
    least, most = max(a[0], b[0], c[0]), min(a[2], b[2], c[2])
    return _ordered(least, _ordered(a[1], b[1], c[1])[1], most)[1]
