"""Catalogue of a sky-subtracted stack: positions, shapes and fluxes with errors from variance and noise correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask
from nirred.algorithms.noise import aperture_sigma, disc

FWHM_PER_SIGMA = 2.0 * math.sqrt(2.0 * math.log(2.0))
MIN_AREA = 5  # connected pixels of a source
CONTRAST = 0.005  # share of the flux that makes a second peak a source
PROMINENCE = 5.0  # of a blended peak over the saddle, in units of noise
KRON = (2.5, 1.4, 0.0)  # factor, least unscaled radius, least circular radius (photutils' kron_params)
CENTROID_ROUNDS = 12
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
        deblended, 4 saturated pixel, 8 cut by the edge.
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
) -> Catalogue:
    """Find and measure sources.

    Parameters
    ----------
    sci, var : array_like, shape (h, w)
        Sky-subtracted image and its variance, as apertures see it.
    bad : array_like or None, shape (h, w)
        Non-zero pixels hold no signal; in an aperture they are replaced by their mirror image across the centre.
    noisecov : array_like, shape (k, k)
        Noise correlation, of sum 1 (`nirred.algorithms.noise.noise_covariance`).
    fwhm : float
        Of a star, in pixels.
    threshold : float
        In units of the noise of the image convolved with a Gaussian of `fwhm`.
    saturated : array_like, optional, shape (h, w)
        Non-zero where a source is saturated.

    Returns
    -------
    Catalogue
        Sorted by NUMBER, from the bottom of the image to the top; without rows if nothing was found.

    Raises
    ------
    ValueError
        If shapes differ or `fwhm` is not positive.
    """
    if not fwhm > 0:
        raise ValueError(f"a FWHM must be positive, not {fwhm}")
    image, variance = np.asarray(sci, np.float64), np.asarray(var, np.float64)
    if variance.shape != image.shape:
        raise ValueError(f"variance has shape {variance.shape}, image {image.shape}")
    good = (as_mask(bad, image.shape) == 0) & np.isfinite(image) & (variance > 0) & np.isfinite(variance)
    image, variance = np.where(good, image, 0.0), np.where(good, variance, 0.0)
    covariance = np.asarray(noisecov, np.float64)
    convolved, significance = _matched(image, variance, good, covariance, fwhm)
    segments, deblended = _segment(np.where(good, image, convolved), (convolved, significance), threshold, fwhm)
    if segments is None:
        empty = {name: np.empty(0, np.int64 if name in INTEGERS else np.float64) for name in COLUMNS}
        return Catalogue(empty, fwhm)
    bundle = _Image(image, variance, good, covariance, fwhm)
    return Catalogue(_measure(bundle, segments, convolved, deblended, as_mask(saturated, image.shape)), fwhm)


@dataclass(frozen=True, slots=True)
class _Image:
    data: NDArray[np.float64]
    variance: NDArray[np.float64]
    good: NDArray[np.bool_]
    noisecov: NDArray[np.float64]
    fwhm: float


def _matched(
    image: NDArray[np.float64],
    variance: NDArray[np.float64],
    good: NDArray[np.bool_],
    noisecov: NDArray[np.float64],
    fwhm: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image convolved with a Gaussian of `fwhm`, bad pixels bridged, and the same over its noise."""
    from scipy.ndimage import gaussian_filter

    sigma = fwhm / FWHM_PER_SIGMA
    reach = math.ceil(4.0 * sigma)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    factor = aperture_sigma(noisecov, np.ones_like(kernel), kernel)
    cover = gaussian_filter(good.astype(np.float32), sigma, mode="constant", truncate=3.0)
    convolved = gaussian_filter(image.astype(np.float32), sigma, mode="constant", truncate=3.0) / np.maximum(cover, 0.1)
    noise = factor * np.sqrt(
        gaussian_filter(variance.astype(np.float32), sigma, mode="constant", truncate=3.0) / np.maximum(cover, 0.1)
    )
    usable = (cover > 0.3) & (noise > 0)
    significance = np.where(usable, convolved / np.where(usable, noise, 1.0), 0.0)
    return np.where(usable, convolved, 0.0).astype(np.float64), significance


def _segment(
    image: NDArray[np.float64],
    matched: tuple[NDArray[np.float64], NDArray[np.float64]],
    threshold: float,
    fwhm: float,
) -> tuple[Any, NDArray[np.bool_]]:
    """Segmentation image (None without sources) and which labels came out of a blend.

    Blends are parted on an image smoothed by half the seeing, for the matched filter melts neighbours together.
    """
    from photutils.segmentation import SegmentationImage, detect_sources
    from scipy.ndimage import gaussian_filter

    convolved, significance = matched
    if not np.any(significance > threshold):
        return None, np.zeros(0, bool)
    segments = detect_sources(significance, threshold, MIN_AREA)
    if segments is None:
        return None, np.zeros(0, bool)
    sharp = gaussian_filter(image.astype(np.float32), 0.5 * fwhm / FWHM_PER_SIGMA, mode="constant", truncate=3.0)
    y, x = np.nonzero(segments.data)
    # half the kernel's width, about twice the noise: heights in units of it
    noise = 2.0 * convolved[y, x] / significance[y, x]
    height = np.zeros(image.shape)
    height[y, x] = sharp[y, x] / noise
    order = np.argsort(-height[y, x], kind="stable")
    parts = np.zeros(image.shape, np.int64)
    _part_blends(height, y[order], x[order], PROMINENCE, CONTRAST, parts)
    labels, parents = np.unique(parts[y, x]), np.zeros(int(parts.max()) + 1, np.int64)
    parents[parts[y, x]] = segments.data[y, x]
    siblings = np.bincount(parents[labels])
    numbers = np.zeros(parents.size, np.int64)
    numbers[labels] = np.arange(1, labels.size + 1)
    return SegmentationImage(numbers[parts]), np.asarray(siblings[parents[labels]] > 1)


@njit(nogil=True, cache=True, error_model="numpy")
def _trunk(parents, k):  # type: ignore[no-untyped-def]
    while parents[k] != k:
        k = parents[k]
    return k


@njit(nogil=True, cache=True, error_model="numpy")
def _part_blends(height, rows, columns, prominence, contrast, parts):  # type: ignore[no-untyped-def]
    """Flood peaks from the top down; where two meet, the lower one stays apart only if it stands out.

    It does with a rise of `prominence` above the saddle and `contrast` of the higher one's flux above it. Labels in
    `parts` are 1 plus the place of the peak in the list of pixels, which descends in height.
    """
    n = rows.size
    parents, area, total = np.arange(n), np.zeros(n), np.zeros(n)
    near = np.zeros(9, np.int64)
    for k in range(n):
        value, best, met = height[rows[k], columns[k]], -1, 0
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
            high, low = min(best, other), max(best, other)  # trunks are peaks, and peaks are listed by height
            rise = height[rows[low], columns[low]] - value
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
        parts[rows[k], columns[k]] = _trunk(parents, parts[rows[k], columns[k]] - 1) + 1


def _measure(
    image: _Image, segments: Any, convolved: NDArray[np.float64], deblended: NDArray[np.bool_], hot: NDArray[np.uint8]
) -> dict[str, NDArray[Any]]:
    """All columns."""
    from photutils.segmentation import SourceCatalog

    sources = SourceCatalog(
        image.data, segments, convolved_data=convolved, mask=~image.good, kron_params=KRON, progress_bar=False
    )
    start = np.atleast_2d(sources.centroid)
    x, y, shape = _windowed(image, start[:, 0], start[:, 1])
    isophotal = _covariance(sources)
    shape = np.where(np.isnan(shape[:, :1, :1]), isophotal, shape)
    major, minor, angle = _axes(shape)
    flux, error, flags = _apertures(image, segments.data, np.asarray(segments.labels), x, y, hot)
    kron_flux, kron_error = _kron(image, sources)
    return {
        "NUMBER": np.arange(1, x.size + 1),
        "X_IMAGE": x + 1.0,
        "Y_IMAGE": y + 1.0,
        "FLUX_AUTO": kron_flux,
        "FLUXERR_AUTO": kron_error,
        "FWHM_IMAGE": FWHM_PER_SIGMA * np.sqrt(0.5 * (major**2 + minor**2)),
        "ELLIPTICITY": 1.0 - minor / major,
        "FLAGS": flags | np.where(deblended, DEBLENDED, 0),
        "FLUX_APER": flux,
        "FLUXERR_APER": error,
        "A_IMAGE": major,
        "B_IMAGE": minor,
        "THETA_IMAGE": np.degrees(angle),
        "SNR": flux / error,
    }


def _covariance(sources: Any) -> NDArray[np.float64]:
    """Isophotal second moments of photutils, shape (n, 2, 2), pixel squared, at least of a pixel's width."""
    moments = np.asarray(getattr(sources.covariance, "value", sources.covariance), np.float64).reshape(-1, 2, 2)
    return np.where(np.isfinite(moments), moments, np.eye(2) / 12.0)


def _axes(shape: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Rms along the major and minor axis and position angle (radian) of second moments."""
    xx, yy, xy = shape[:, 0, 0], shape[:, 1, 1], shape[:, 0, 1]
    root = np.hypot(0.5 * (xx - yy), xy)
    mean = 0.5 * (xx + yy)
    floor = 1.0 / 12.0  # a pixel's own
    major, minor = np.sqrt(np.maximum(mean + root, floor)), np.sqrt(np.maximum(mean - root, floor))
    return major, minor, 0.5 * np.arctan2(2.0 * xy, xx - yy)


def _windows(plane: NDArray[Any], x: NDArray[np.int64], y: NDArray[np.int64], half: int) -> NDArray[Any]:
    """Square cut-outs round pixels, zero beyond the image, shape (n, 2 half + 1, 2 half + 1)."""
    padded = np.pad(plane, half)
    return np.lib.stride_tricks.sliding_window_view(padded, (2 * half + 1, 2 * half + 1))[y, x]


def _mirrored(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values with bad pixels replaced by those across the centre of each window."""
    return np.where(good, values, np.where(good[:, ::-1, ::-1], values[:, ::-1, ::-1], 0.0))


def _windowed(
    image: _Image, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Centroids in a Gaussian window of the seeing's width, and second moments freed of the window (NaN: too wide)."""
    sigma2 = (image.fwhm / FWHM_PER_SIGMA) ** 2
    half = math.ceil(4.0 * math.sqrt(sigma2)) + 1
    column = np.clip(np.rint(x), 0, image.data.shape[1] - 1).astype(np.int64)
    row = np.clip(np.rint(y), 0, image.data.shape[0] - 1).astype(np.int64)
    values = _mirrored(_windows(image.data, column, row, half), _windows(image.good, column, row, half))
    offsets = np.arange(-half, half + 1, dtype=np.float64)
    dx, dy = x - column, y - row
    for _ in range(CENTROID_ROUNDS):
        u, v = offsets[None, None, :] - dx[:, None, None], offsets[None, :, None] - dy[:, None, None]
        weighted = values * np.exp(-0.5 * (u * u + v * v) / sigma2)
        total = weighted.sum(axis=(1, 2))
        total = np.where(total > 0, total, np.inf)
        step_x, step_y = (2.0 * (weighted * w).sum(axis=(1, 2)) / total for w in (u, v))
        dx, dy = np.clip(dx + step_x, -half / 2, half / 2), np.clip(dy + step_y, -half / 2, half / 2)
    lost = np.hypot(column + dx - x, row + dy - y) > image.fwhm  # drawn to a neighbour: keep the isophotal centre
    dx, dy = np.where(lost, x - column, dx), np.where(lost, y - row, dy)
    xx, yy, xy = ((weighted * w).sum(axis=(1, 2)) / total for w in (u * u, v * v, u * v))
    # a Gaussian seen through a Gaussian: 1/measured = 1/source + 1/window, as matrices
    determinant = xx * yy - xy * xy
    wide = ~(determinant > 0) | lost | (0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy) > 0.85 * sigma2)
    safe = np.where(wide, 1.0, determinant)
    inverse = np.stack([np.stack([yy, -xy], -1), np.stack([-xy, xx], -1)], -2) / safe[:, None, None]
    inverse = np.where(wide[:, None, None], np.eye(2), inverse - np.eye(2) / sigma2)
    shape = np.where(wide[:, None, None], np.nan, np.linalg.inv(inverse))
    return column + dx, row + dy, shape


def _apertures(
    image: _Image,
    labels: NDArray[Any],
    numbers: NDArray[Any],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    hot: NDArray[np.uint8],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Fluxes and errors in circles of one FWHM, and flags but for deblending."""
    column, row = np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)
    half = disc(image.fwhm).shape[0] // 2
    inside = (column >= 0) & (column < labels.shape[1]) & (row >= 0) & (row < labels.shape[0])
    column, row = np.where(inside, column, 0), np.where(inside, row, 0)
    good = _windows(image.good, column, row, half)
    values = _mirrored(_windows(image.data, column, row, half), good)
    variances = _mirrored(_windows(image.variance, column, row, half), good)
    lost = _windows(~image.good, column, row, half)
    near, saturated = _windows(labels, column, row, half), _windows(hot, column, row, half)
    flux, error, flags = np.full(x.size, np.nan), np.full(x.size, np.nan), np.zeros(x.size, np.int64)
    edge = image.fwhm - 0.5
    for k in np.flatnonzero(inside):
        weights = disc(image.fwhm, x[k] - column[k], y[k] - row[k])
        flux[k] = np.sum(weights * values[k])
        error[k] = aperture_sigma(image.noisecov, variances[k], weights)
        hole = np.sum(weights[lost[k]]) > 0.1 * weights.sum()
        other = np.any((weights > 0) & (near[k] > 0) & (near[k] != numbers[k]))
        flags[k] |= NEIGHBOUR if hole or other else 0
        flags[k] |= SATURATED if np.any(saturated[k][weights > 0]) else 0
    cut = (x < edge) | (y < edge) | (x > labels.shape[1] - 1 - edge) | (y > labels.shape[0] - 1 - edge)
    return flux, error, flags | np.where(cut, TRUNCATED, 0)


def _kron(image: _Image, sources: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Kron fluxes, neighbours' pixels mirrored (photutils), and their errors; NaN where the ellipse is undefined."""
    flux = np.atleast_1d(np.asarray(sources.kron_flux, np.float64))
    error = np.full(flux.size, np.nan)
    apertures = sources.kron_aperture if flux.size > 1 else np.atleast_1d(np.asarray(sources.kron_aperture, object))
    for k, aperture in enumerate(apertures):
        if aperture is None or not np.isfinite(flux[k]):
            continue
        mask = aperture.to_mask(method="subpixel", subpixels=3)
        inner, outer = mask.get_overlap_slices(image.data.shape)
        if inner is not None:
            error[k] = aperture_sigma(image.noisecov, image.variance[inner], mask.data[outer])
    return flux, error
