"""Catalogue of a sky-subtracted stack: positions, shapes and fluxes with errors from variance and noise correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms import catalogue_kernels as kernels
from nirred.algorithms import overlap
from nirred.algorithms.background import as_mask
from nirred.algorithms.catalogue_search import Image, Segments, search
from nirred.algorithms.stars import FWHM_PER_SIGMA
from nirred.algorithms.threads import run_blocks

#: Radius in which first moments are computed, aperture in Kron radii, smallest Kron radius; the first and last in units
#: of the isophotal ellipse (Bertin & Arnouts 1996; Barbary 2016 for the last).
KRON = (6.0, 2.5, 1.4)
CENTROID_ROUNDS = 12
SEEN = 0.6  # smallest fraction of good pixels in a source's core for a windowed centroid
TOGETHER = 128  # number of sources measured at once
NEIGHBOUR, DEBLENDED, SATURATED, TRUNCATED = 1, 2, 4, 8
INTEGERS = ("NUMBER", "FLAGS")
COLUMNS = (
    "NUMBER X_IMAGE Y_IMAGE FLUX_AUTO FLUXERR_AUTO FWHM_IMAGE ELLIPTICITY FLAGS "
    "FLUX_APER FLUXERR_APER A_IMAGE B_IMAGE THETA_IMAGE SNR"
).split()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Sources of one image.

    Attributes
    ----------
    columns : dict of str to ndarray, shape (n,)
        NUMBER (1 to n); X_IMAGE, Y_IMAGE (pixel, 1-based, windowed centroid); FLUX_AUTO, FLUXERR_AUTO (Kron ellipse of
        2.5 radii), FLUX_APER, FLUXERR_APER (circle of `aperture_radius`), all in units of the image; FWHM_IMAGE
        (pixel), ELLIPTICITY (1 - b/a), A_IMAGE, B_IMAGE (pixel, rms along the axes), THETA_IMAGE (degree, from x
        towards y); SNR (of FLUX_APER); FLAGS: 1 a neighbour near, or more than a tenth of the aperture bad, 2
        deblended, 4 saturated pixel, 8 truncated by the edge.
    aperture_radius : float
        In pixels: one FWHM.
    """

    columns: dict[str, NDArray[Any]]
    aperture_radius: float


def detect(
    sci: ArrayLike,
    var: ArrayLike,
    bad: ArrayLike | None,
    *,
    noisecov: ArrayLike,
    fwhm: float,
    threshold: float = 4.5,
    saturated: ArrayLike | None = None,
    threads: int = 1,
) -> Catalogue:
    """Find and measure sources.

    Parameters
    ----------
    sci, var : array_like, shape (h, w)
        Sky-subtracted image and its variance, whose sum over a large aperture is the variance of the flux in it.
    bad : array_like or None, shape (h, w)
        Non-zero pixels have no signal; in an aperture they are replaced by their mirror image across the centre,
        whose noise counts accordingly.
    noisecov : array_like, shape (k, k)
        Noise correlation, of sum 1 (`nirred.algorithms.noise.noise_covariance`).
    fwhm : float
        Of a star, in pixels.
    threshold : float
        In units of the noise of the image convolved with a Gaussian of `fwhm`.
    saturated : array_like, optional, shape (h, w)
        Non-zero where a source is saturated.
    threads : int
        Number of threads; the catalogue does not depend on it.

    Returns
    -------
    Catalogue
        Sorted by NUMBER, the most significant peak first; without rows if nothing was found.

    Raises
    ------
    ValueError
        If shapes differ or `fwhm` is not positive.
    """
    if not fwhm > 0:
        raise ValueError(f"a FWHM must be positive, not {fwhm}")
    image = Image.of(sci, var, bad, np.asarray(noisecov, np.float64), fwhm, threads)
    hot = as_mask(saturated, image.data.shape)
    segments = search(image, hot, threshold, threads)
    if segments is None:
        empty = {name: np.empty(0, np.int64 if name in INTEGERS else np.float64) for name in COLUMNS}
        return Catalogue(empty, fwhm)
    places, isophotal = _moments(image, segments)

    def measure(first: int, last: int) -> dict[str, NDArray[Any]]:
        return _measure(image, segments, (places, isophotal), hot, slice(first, last))

    parts = run_blocks(measure, len(places), threads, TOGETHER)
    return Catalogue({name: np.concatenate([part[name] for part in parts]) for name in COLUMNS}, fwhm)


def _measure(
    image: Image,
    segments: Segments,
    isophotes: tuple[NDArray[np.float64], NDArray[np.float64]],
    hot: NDArray[np.uint8],
    which: slice,
) -> dict[str, NDArray[Any]]:
    """Measure all columns for some of the sources."""
    labels, own = segments.labels, np.arange(which.start, which.stop) + 1
    places, isophotal = (values[which] for values in isophotes)
    x, y, shape = _windowed(image, places[:, 0], places[:, 1])
    shape = np.where(np.isnan(shape[:, :1, :1]), isophotal, shape)
    major, minor, angle = _axes(shape)
    flux, error, flags = _apertures(image, labels, own, (x, y), hot)
    kron_flux, kron_error = _kron(image, labels, own, places, isophotal)
    return {
        "NUMBER": own,
        "X_IMAGE": x + 1.0,
        "Y_IMAGE": y + 1.0,
        "FLUX_AUTO": kron_flux,
        "FLUXERR_AUTO": kron_error,
        "FWHM_IMAGE": FWHM_PER_SIGMA * np.sqrt(0.5 * (major**2 + minor**2)),
        "ELLIPTICITY": 1.0 - minor / major,
        "FLAGS": flags | np.where(segments.deblended[which], DEBLENDED, 0),
        "FLUX_APER": flux,
        "FLUXERR_APER": error,
        "A_IMAGE": major,
        "B_IMAGE": minor,
        "THETA_IMAGE": np.degrees(angle),
        "SNR": flux / error,
    }


def _moments(image: Image, segments: Segments) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Isophotal centres (n, 2) as zero-based x, y, and second moments (n, 2, 2), at least those of one pixel."""
    y, x = segments.y, segments.x
    own, n = segments.labels[y, x] - 1, segments.deblended.size
    smooth = np.maximum(segments.smooth.astype(np.float64), 0.0)  # negative around a saturated core in a depression
    light = np.where(image.good[y, x], smooth, 0.0)
    for rest in (smooth, 1.0):  # all pixels bad: use the interpolated image, else equal weights
        unseen = np.bincount(own, light, n) <= 0
        light = np.where(unseen[own], rest, light)

    def mean(values: NDArray[Any]) -> NDArray[np.float64]:
        return np.bincount(own, light * values, n) / np.bincount(own, light, n)

    places = np.stack([mean(x), mean(y)], axis=-1)
    u, v = x - places[own, 0], y - places[own, 1]
    xx, yy, xy = mean(u * u), mean(v * v), mean(u * v)
    while np.any(thin := xx * yy - xy * xy < 1.0 / 144.0):
        xx, yy = np.where(thin, xx + 1.0 / 12.0, xx), np.where(thin, yy + 1.0 / 12.0, yy)
    return places, np.stack([np.stack([xx, xy], -1), np.stack([xy, yy], -1)], -2)


def _axes(shape: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rms along the major and minor axis and position angle (radian) of second moments."""
    xx, yy, xy = shape[:, 0, 0], shape[:, 1, 1], shape[:, 0, 1]
    root = np.hypot(0.5 * (xx - yy), xy)
    mean = 0.5 * (xx + yy)
    floor = 1.0 / 12.0  # second moment of a pixel
    major, minor = np.sqrt(np.maximum(mean + root, floor)), np.sqrt(np.maximum(mean - root, floor))
    return major, minor, 0.5 * np.arctan2(2.0 * xy, xx - yy)


def _windows(plane: NDArray[Any], x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> NDArray[Any]:
    """Square cut-outs around pixels, zero outside the image, shape (n, 2 half + 1, 2 half + 1)."""
    rows, columns = (c[:, None] + np.arange(-half, half + 1) for c in (y, x))
    above, beside = ((0 <= i) & (i < n) for i, n in zip((rows, columns), plane.shape, strict=True))
    cut = plane[np.where(above, rows, 0)[:, :, None], np.where(beside, columns, 0)[:, None, :]]
    cut[~(above[:, :, None] & beside[:, None, :])] = 0
    return cut


def _mirrored(values: NDArray[np.float32], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values with bad pixels replaced by their mirror images across the centre of each window."""
    across = np.where(good[:, ::-1, ::-1], values[:, ::-1, ::-1], np.float32(0))
    return np.where(good, values, across).astype(np.float64)


def _windowed(
    image: Image, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centroids in a Gaussian window of the seeing's width, and second moments without the window (NaN: too wide)."""
    sigma2 = (image.fwhm / FWHM_PER_SIGMA) ** 2
    half = math.ceil(4.0 * math.sqrt(sigma2)) + 1
    column = np.clip(np.rint(x), 0, image.data.shape[1] - 1).astype(np.int64)
    row = np.clip(np.rint(y), 0, image.data.shape[0] - 1).astype(np.int64)
    good = _windows(image.good, column, row, half)
    values = _mirrored(_windows(image.data, column, row, half), good)
    found = np.stack([x - column, y - row, *np.zeros((3, x.size))], axis=1)
    kernels.windowed_moments(values, sigma2, CENTROID_ROUNDS, found)
    dx, dy, xx, yy, xy = found.T
    # attracted by a neighbour, or by one side of a saturated core: keep the isophotal centre
    lost = np.hypot(column + dx - x, row + dy - y) > image.fwhm
    lost |= np.mean(_central(good, image.fwhm), axis=(1, 2)) < SEEN
    dx, dy = np.where(lost, x - column, dx), np.where(lost, y - row, dy)
    # a Gaussian multiplied by a Gaussian: 1/measured = 1/source + 1/window, as matrices
    determinant = xx * yy - xy * xy
    wide = ~(determinant > 0) | lost | (0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy) > 0.85 * sigma2)
    safe = np.where(wide, 1.0, determinant)
    inverse = np.stack([np.stack([yy, -xy], -1), np.stack([-xy, xx], -1)], -2) / safe[:, None, None]
    inverse = np.where(wide[:, None, None], np.eye(2), inverse - np.eye(2) / sigma2)
    shape = np.where(wide[:, None, None], np.nan, np.linalg.inv(inverse))
    return np.asarray(column + dx), np.asarray(row + dy), shape


def _central(windows: NDArray[Any], fwhm: float) -> NDArray[Any]:
    """Central square of each window, one FWHM wide, but at least 3 pixels."""
    middle, reach = windows.shape[-1] // 2, max(round(fwhm / 2), 1)
    cut = slice(middle - reach, middle + reach + 1)
    return windows[:, cut, cut]


def _discs(radius: float, dx: NDArray[np.float64], dy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fraction of each pixel in circles centred (dx, dy) from a window's middle, (n, 2 half + 1, 2 half + 1)."""
    return np.stack([overlap.disc(radius, x, y) for x, y in zip(dx.tolist(), dy.tolist(), strict=True)])


def _ellipse(
    centre: NDArray[np.float64], axes: tuple[float, float], angle: float, shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """Fraction of each pixel in the part of an ellipse inside the image, and (y, x) of the first of these pixels."""
    c, s = math.cos(angle), math.sin(angle)
    reach = math.hypot(axes[0] * c, axes[1] * s), math.hypot(axes[0] * s, axes[1] * c)
    first = [max(0, math.floor(p - r + 0.5)) for p, r in zip(centre, reach, strict=True)]
    last = [min(n, math.ceil(p + r + 0.5)) for p, r, n in zip(centre, reach, shape[::-1], strict=True)]
    x0, x1, y0, y1 = (float(n - 0.5 - p) for p, a, b in zip(centre, first, last, strict=True) for n in (a, b))
    share = overlap.ellipse((x0, x1, y0, y1), (last[0] - first[0], last[1] - first[1]), axes, angle)
    return share, (first[1], first[0])


def _apertures(
    image: Image,
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    centres: tuple[NDArray[np.float64], NDArray[np.float64]],
    hot: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Fluxes and errors in circles of one FWHM radius, and all flags except deblending."""
    x, y = centres
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    inside = (column >= 0) & (column < labels.shape[1]) & (row >= 0) & (row < labels.shape[0])
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    weights = _discs(image.fwhm, np.where(inside, x - column, 0.0), np.where(inside, y - row, 0.0))
    half = weights.shape[-1] // 2
    good = _windows(image.good, column, row, half)
    values = _mirrored(_windows(image.data, column, row, half), good)
    across = np.where(good[:, ::-1, ::-1], 0.0, weights[:, ::-1, ::-1])
    share = np.where(good, weights + across, 0.0)  # a pixel that replaces a bad one has the weight of both
    noisy = share * np.sqrt(_windows(image.variance, column, row, half))
    near, covered = _windows(labels, column, row, half), weights > 0
    noise = np.empty(x.size)
    kernels.correlated_sums(noisy, image.noisecov, noise)
    noise[~inside] = 0.0
    flux = np.where(noise > 0.0, np.sum(weights * values, axis=(1, 2)), np.nan)
    error = np.where(noise > 0.0, np.sqrt(np.maximum(noise, 0.0)), np.nan)
    lost = _windows(~image.good, column, row, half)
    hole = np.sum(weights * lost, axis=(1, 2)) > 0.1 * weights.sum(axis=(1, 2))
    other = np.any(covered & (near > 0) & (near != own[:, None, None]), axis=(1, 2))
    saturated = np.any(covered & (_windows(hot, column, row, half) != 0), axis=(1, 2))
    edge = image.fwhm - 0.5
    cut = (x < edge) | (y < edge) | (x > labels.shape[1] - 1 - edge) | (y > labels.shape[0] - 1 - edge)
    flags = np.where(hole | other, NEIGHBOUR, 0) | np.where(saturated, SATURATED, 0)
    return flux, error, np.asarray(np.where(inside, flags, 0) | np.where(cut, TRUNCATED, 0), np.int64)


def _kron(
    image: Image,
    labels: NDArray[np.int32],
    own: NDArray[np.int64],
    places: NDArray[np.float64],
    shape: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kron fluxes and errors, with bad and neighbours' pixels replaced by mirror images; NaN for undefined ellipses."""
    radii = np.empty(len(places))
    sources = np.column_stack([places, shape[:, 0, 0], shape[:, 1, 1], shape[:, 0, 1]])
    kernels.kron_radii(image.data, image.good, labels, int(own[0]), sources, KRON, radii)
    major, minor, angle = _axes(shape)
    flux, variance = np.full((2, len(places)), np.nan)
    planes = image.data, image.variance
    for k in np.flatnonzero(np.isfinite(radii)):
        axes = float(radii[k] * major[k]), float(radii[k] * minor[k])
        weights, corner = _ellipse(places[k], axes, float(angle[k]), labels.shape)
        target = int(own[k]), corner, places[k]
        flux[k], variance[k] = kernels.own_sum(planes, image.good, labels, target, weights, image.noisecov)
    return flux, np.sqrt(np.maximum(variance, 0.0))
