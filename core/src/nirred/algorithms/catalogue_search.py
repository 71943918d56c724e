"""Detect sources in an image smoothed with a star's profile, and assign pixels to each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms import catalogue_kernels as kernels
from nirred.algorithms.background import as_mask
from nirred.algorithms.dilation import dilate
from nirred.algorithms.noise import aperture_sigma
from nirred.algorithms.stars import FWHM_PER_SIGMA
from nirred.algorithms.threads import run_blocks

MIN_AREA = 5  # smallest number of connected pixels of a source
CONTRAST = 0.005  # fraction of the flux from which a second peak is a source
PROMINENCE = 5.0  # of a blended peak above the saddle, in units of noise
ROWS = 128  # number of image rows that a thread processes at once


@dataclass(frozen=True, slots=True)
class Image:
    """An image to be searched for sources, and its noise.

    Attributes
    ----------
    data, variance : float32 (h, w)
        0 where a pixel is not good.
    good : bool (h, w)
    noisecov : float64 (k, k)
        Noise correlation, of sum 1.
    fwhm : float
        Of a star, in pixels.
    """

    data: NDArray[np.float32]
    variance: NDArray[np.float32]
    good: NDArray[np.bool_]
    noisecov: NDArray[np.float64]
    fwhm: float

    @classmethod
    def of(
        cls,
        sci: ArrayLike,
        var: ArrayLike,
        bad: ArrayLike | None,
        noisecov: NDArray[np.float64],
        fwhm: float,
        threads: int = 1,
    ) -> Image:
        """Determine good pixels and set others to 0; ValueError if shapes differ."""
        image, noise = np.asarray(sci, np.float32), np.asarray(var, np.float32)
        if noise.shape != image.shape:
            raise ValueError(f"variance has shape {noise.shape}, image {image.shape}")
        mask = as_mask(bad, image.shape)
        data, variance, good = np.empty_like(image), np.empty_like(image), np.empty(image.shape, np.bool_)

        def clean(start: int, stop: int) -> None:
            rows = slice(start, stop)
            good[rows] = (mask[rows] == 0) & np.isfinite(image[rows]) & (noise[rows] > 0) & np.isfinite(noise[rows])
            data[rows] = np.where(good[rows], image[rows], np.float32(0))
            variance[rows] = np.where(good[rows], noise[rows], np.float32(0))

        run_blocks(clean, image.shape[0], threads, ROWS)
        return cls(data, variance, good, noisecov, fwhm)


@dataclass(frozen=True, slots=True)
class Segments:
    """Pixels of the sources.

    Attributes
    ----------
    labels : int32 (h, w)
        1 to n, the highest peak first; 0 outside sources.
    y, x : int64 (m,)
        All pixels that have a label, row by row.
    smooth : float32 (m,)
        The smoothed image at these pixels.
    deblended : bool (n,)
        Whether the source was part of a blend.
    """

    labels: NDArray[np.int32]
    y: NDArray[np.int64]
    x: NDArray[np.int64]
    smooth: NDArray[np.float32]
    deblended: NDArray[np.bool_]


def search(image: Image, hot: NDArray[np.uint8], threshold: float, threads: int = 1) -> Segments | None:
    """Pixels of the sources; None if there are none.

    Blends are separated in an image smoothed by half the seeing, because the matched filter merges neighbours.

    Parameters
    ----------
    image : Image
        To be searched.
    hot : uint8 (h, w)
        Non-zero where a source is saturated.
    threshold : float
        In units of the noise of the image convolved with a Gaussian of its `fwhm`.
    threads : int
        Number of threads; the pixels do not depend on it.
    """
    cores = _cores(hot, image.fwhm)
    y, x, convolved, significance = _standing_out(image, cores, threshold, threads)
    if y.size == 0:
        return None
    smooth = convolved[y, x]
    known, sharp = significance > threshold, _sharp(image, convolved, y, x, threads)
    # half the kernel's width gives about twice the noise: heights are in units of that
    height = np.zeros(y.size)
    height[known] = sharp[known] / (2.0 * smooth[known] / significance[known])
    if cores is not None:
        core = cores[y, x]
        tops = np.zeros(int(cores.max()) + 1)
        np.maximum.at(tops, core, height)
        height = np.where(core > 0, tops[core], height)
    order = np.argsort(-height, kind="stable")
    labels, islands = np.zeros(image.data.shape, np.int32), np.empty(y.size, np.int64)
    island = np.empty_like(islands)
    kernels.part_blends(height[order], y[order], x[order], PROMINENCE, CONTRAST, labels, islands)
    island[order] = islands
    large = np.bincount(island[known], minlength=y.size)[island] >= MIN_AREA
    labels[y[~large], x[~large]] = 0
    if not large.any():
        return None
    y, x, island = y[large], x[large], island[large]
    _, first, number = np.unique(labels[y, x], return_index=True, return_inverse=True)
    labels[y, x] = number + 1
    parents = island[first]
    return Segments(labels, y, x, smooth[large], np.asarray(np.bincount(parents)[parents] > 1))


def _standing_out(
    image: Image, cores: NDArray[np.int32] | None, threshold: float, threads: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]:
    """(y, x) of pixels above the threshold or in a core, row by row; the smoothed image; their significance.

    The image is convolved with a Gaussian of `fwhm`, interpolating bad pixels, and compared with its noise.
    """
    sigma = image.fwhm / FWHM_PER_SIGMA
    reach = math.ceil(4.0 * sigma)
    line = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    factor = np.float32(aperture_sigma(image.noisecov, np.ones_like(kernel), kernel))
    half, convolved = _half(sigma), np.empty_like(image.data)

    def rows(start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        part, skip = _around(start, stop, half)

        def blurred(plane: NDArray[Any]) -> NDArray[np.float32]:
            return _blurred(plane[part], half, skip, stop - start)

        cover = blurred(image.good)
        known: NDArray[np.float32] = np.maximum(cover, np.float32(0.1))
        smooth = blurred(image.data) / known
        noise = factor * np.sqrt(blurred(image.variance) / known)
        usable = (cover > np.float32(0.3)) & (noise > 0)
        significance = np.divide(smooth, noise, out=np.zeros_like(smooth), where=usable)
        convolved[start:stop] = np.where(usable, smooth, np.float32(0))
        found = significance > threshold
        y, x = np.nonzero(found if cores is None else found | (cores[start:stop] > 0))
        return y + start, x, significance[y, x]

    y, x, significance = (np.concatenate(v) for v in zip(*run_blocks(rows, convolved.shape[0], threads, ROWS)))
    return y, x, convolved, significance


def _sharp(
    image: Image, convolved: NDArray[np.float32], y: NDArray[np.int64], x: NDArray[np.int64], threads: int
) -> NDArray[np.float32]:
    """The image, bad pixels interpolated, convolved with a Gaussian of half the `fwhm`; at pixels in row order."""
    half, out = _half(0.5 * image.fwhm / FWHM_PER_SIGMA), np.empty(y.size, np.float32)

    def rows(start: int, stop: int) -> None:
        part, skip = _around(start, stop, half)
        here = slice(*np.searchsorted(y, (start, stop)))
        bridged = np.where(image.good[part], image.data[part], convolved[part])
        out[here] = _blurred(bridged, half, skip, stop - start)[y[here] - start, x[here]]

    run_blocks(rows, convolved.shape[0], threads, ROWS)
    return out


def _around(start: int, stop: int, half: NDArray[np.float32]) -> tuple[slice, int]:
    """Rows needed for the convolution of some rows, and how many of them come before these."""
    low = max(start - half.size + 1, 0)
    return slice(low, stop + half.size - 1), start - low


def _blurred(plane: NDArray[Any], half: NDArray[np.float32], skip: int, rows: int) -> NDArray[np.float32]:
    """Convolve `rows` rows, after the first `skip`, with a symmetric kernel; the image is 0 beyond its edges."""
    out = np.empty((rows, plane.shape[1]), np.float32)
    kernels.blur(plane.astype(np.float32, copy=False), half, skip, out)
    return out


def _half(sigma: float) -> NDArray[np.float32]:
    """Right half of a Gaussian truncated at 3 sigma."""
    half = np.exp(-0.5 * (np.arange(int(3.0 * sigma + 0.5) + 1) / sigma) ** 2)
    return np.asarray(half / (2.0 * half.sum() - half[0]), np.float32)


def _cores(hot: NDArray[np.uint8], fwhm: float) -> NDArray[np.int32] | None:
    """Label cores of saturated stars with a rim of one FWHM: a core without signal is the peak of its surroundings."""
    from scipy.ndimage import label

    if not hot.any():
        return None
    labels, _ = label(dilate(hot, max(fwhm, 1.0)))
    return np.asarray(labels, np.int32)
