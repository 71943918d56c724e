"""Masks of objects, for estimating sky and noise outside them.

Detection uses a pyramid: the image in units of its noise is thresholded unsmoothed, then smoothed at increasing scales
(each on pixels binned so that the kernel stays small). Detections at one scale are removed before the next, so that a
wide kernel detects faint halos and not the wings of a bright core. Noise is measured on each smoothed image itself:
correlated noise needs no model. Extended objects are then grown to the extent of their extrapolated profile.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask, level
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.dilation import dilate, find_runs
from nirred.algorithms.profile import extended_ellipses
from nirred.algorithms.threads import run_blocks

KERNEL_SIGMA = 1.5  # of the smoothing, in binned pixels, at every scale
COVERAGE = 0.25  # least good share of the kernel of a smoothed pixel
ROWS = 128  # of the image that a thread works on at once
CELL = 16  # side of a pixel at the widest binning, pixels
BLOCK = 4  # side of the blocks in which extended objects are measured, pixels
SAMPLES = 50_000  # pixels from which level and noise for a threshold are measured: to 0.01 sigma


def blank_fraction(mask: ArrayLike, bad: ArrayLike | None) -> float:
    """Fraction of the good pixels that no object covers; NaN if no pixel is good."""
    objects = np.asarray(mask) != 0
    good = as_mask(bad, objects.shape) == 0
    total = int(np.count_nonzero(good))
    return int(np.count_nonzero(good & ~objects)) / total if total else math.nan


@subkernel
def _root(parents: np.ndarray, k: int) -> int:
    while parents[k] != k:
        parents[k] = parents[parents[k]]
        k = parents[k]
    return k


@kernel
def _keep_regions(
    runs: np.ndarray, begins: np.ndarray, min_area: int, found: np.ndarray, signal: np.ndarray, weight: np.ndarray
) -> None:
    """Mark 8-connected regions of at least `min_area` pixels in `found` and take them out of signal and weight.

    Runs are joined by union-find to those of the row before (Rosenfeld & Pfaltz 1966).
    """
    parents = np.arange(runs.shape[0])
    for y in range(1, begins.size - 1):
        above = begins[y - 1]
        for k in range(begins[y], begins[y + 1]):
            while above < begins[y] and runs[above, 1] < runs[k, 0]:
                above += 1
            j = above
            while j < begins[y] and runs[j, 0] <= runs[k, 1]:
                parents[_root(parents, k)] = _root(parents, j)
                j += 1
    area = np.zeros(runs.shape[0], np.int64)
    for k in range(runs.shape[0]):
        area[_root(parents, k)] += runs[k, 1] - runs[k, 0]
    for y in range(begins.size - 1):
        for k in range(begins[y], begins[y + 1]):
            if area[_root(parents, k)] >= min_area:
                found[y, runs[k, 0] : runs[k, 1]] = 1
                signal[y, runs[k, 0] : runs[k, 1]] = 0
                weight[y, runs[k, 0] : runs[k, 1]] = 0


@kernel
def _standardise(
    data: np.ndarray, bad: np.ndarray, noise: np.ndarray, zero: np.float32, signal: np.ndarray, weight: np.ndarray
) -> None:
    """Fill `signal` with (data - zero) / noise and `weight` with 1, both 0 where a pixel is bad or has no noise."""
    nothing, one, infinite = np.float32(0), np.float32(1), np.float32(np.inf)
    constant = np.full(data.shape[1], noise[0, 0])
    for y in range(data.shape[0]):
        sigma = noise[y] if noise.size > 1 else constant
        source, flags, value, cover = data[y], bad[y], signal[y], weight[y]
        for x in range(source.size):
            scaled = (source[x] - zero) / sigma[x]
            good = (flags[x] == 0) & (sigma[x] > nothing) & (abs(scaled) < infinite)
            value[x] = scaled if good else nothing
            cover[x] = one if good else nothing


@kernel
def _halve(plane: np.ndarray, out: np.ndarray) -> None:
    """Sums of blocks of 2 x 2 pixels; incomplete blocks at the far edges count as they are."""
    height, width = plane.shape
    line = np.zeros(2 * out.shape[1], np.float32)
    pairs = line.reshape(-1, 2)
    for j in range(out.shape[0]):
        target, row, below = out[j], plane[2 * j], plane[min(2 * j + 1, height - 1)]
        share = np.float32(1 if 2 * j + 1 < height else 0)
        for x in range(width):
            line[x] = row[x] + share * below[x]
        for x in range(target.size):
            target[x] = pairs[x, 0] + pairs[x, 1]


@kernel
def _smooth(
    signal: np.ndarray, weight: np.ndarray, kernel: np.ndarray, floor: np.float32, start: int, out: np.ndarray
) -> None:
    """Smooth with a symmetric kernel (right half given): signal over the root of the weight, for uniform noise.

    `out` receives the rows from `start` on.
    """
    height, width = signal.shape
    radius = kernel.size - 1
    columns = np.zeros((2, width + 2 * radius), np.float32)
    sums = np.zeros((2, width), np.float32)
    beyond = np.zeros(width, np.float32)
    for y in range(start, start + out.shape[0]):
        for plane, source in ((0, signal), (1, weight)):
            column, row = columns[plane, radius : radius + width], source[y]
            for x in range(width):
                column[x] = kernel[0] * row[x]
            for dy in range(1, radius + 1):
                factor = kernel[dy]
                above = source[y - dy] if y >= dy else beyond
                below = source[y + dy] if y + dy < height else beyond
                for x in range(width):
                    column[x] += factor * (above[x] + below[x])
            total = sums[plane]
            for x in range(width):
                total[x] = kernel[0] * column[x]
            for dx in range(1, radius + 1):
                factor = kernel[dx]
                left = columns[plane, radius - dx : radius - dx + width]
                right = columns[plane, radius + dx : radius + dx + width]
                for x in range(width):
                    total[x] += factor * (left[x] + right[x])
        target, value, cover = out[y - start], sums[0], sums[1]
        for x in range(width):
            target[x] = value[x] / np.sqrt(cover[x]) if cover[x] > floor else np.float32(np.nan)


def block_sums(plane: ArrayLike) -> NDArray[np.float32]:
    """Sums over blocks of `BLOCK` x `BLOCK` pixels, those at the far edges incomplete."""
    sums = np.ascontiguousarray(plane, np.float32)
    for _ in range(int(math.log2(BLOCK))):
        sums = _halved(sums, 1)
    return sums


def block_means(data: ArrayLike, bad: ArrayLike) -> NDArray[np.float32]:
    """Means of the good pixels (`bad` is 0, values finite) of blocks as in `block_sums`; NaN where there are none."""
    good = (np.asarray(bad) == 0) & np.isfinite(data)
    with np.errstate(invalid="ignore", divide="ignore"):
        return block_sums(np.where(good, data, np.float32(0))) / block_sums(good)


def _halved(plane: NDArray[np.float32], threads: int) -> NDArray[np.float32]:
    out = np.empty([(n + 1) // 2 for n in plane.shape], np.float32)
    run_blocks(lambda a, b: _halve(plane[2 * a : 2 * b], out[a:b]), out.shape[0], threads, ROWS)
    return out


@dataclass(slots=True)
class _Layer:
    """One binning of the image: sums of signal and weight without detections, and how far these are to be grown."""

    signal: NDArray[np.float32]
    weight: NDArray[np.float32]
    factor: int
    threads: int
    found: NDArray[np.uint8]
    radius: float = 0.0

    @classmethod
    def of(cls, signal: NDArray[np.float32], weight: NDArray[np.float32], factor: int, threads: int) -> _Layer:
        return cls(signal, weight, factor, threads, np.zeros(signal.shape, np.uint8))

    def halved(self) -> _Layer:
        signal, weight = (_halved(plane, self.threads) for plane in (self.signal, self.weight))
        return _Layer.of(signal, weight, 2 * self.factor, self.threads)

    def detect(self, scale: float, threshold: float, min_area: int, grow: float) -> None:
        """Find further objects at one scale, in pixels of the image."""
        sigma = scale / self.factor
        smoothed = self.signal
        if sigma > 0:
            half = np.exp(-0.5 * (np.arange(math.ceil(3.0 * sigma) + 1) / sigma) ** 2)
            kernel = (half / (2.0 * half.sum() - half[0])).astype(np.float32)
            smoothed, floor = np.empty_like(self.signal), np.float32(COVERAGE * self.factor**2)

            def smooth(start: int, stop: int) -> None:
                _smooth(self.signal, self.weight, kernel, floor, start, smoothed[start:stop])

            run_blocks(smooth, smoothed.shape[0], self.threads, ROWS)
        noise = level(smoothed, self.weight == 0 if sigma == 0 else None, samples=SAMPLES)
        if noise.n < 10 or not noise.sigma > 0:
            return
        runs, begins = find_runs((smoothed > np.float32(noise.value + threshold * noise.sigma)).view(np.uint8))
        _keep_regions(runs, begins, min_area, self.found, self.signal, self.weight)
        self.radius = grow * max(sigma, 1.0)


def _doubled(mask: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Mask (0 and 1) of a layer at the next finer binning, of the given shape."""
    pairs = (mask * np.uint16(0x0101)).view(np.uint8)  # both bytes of a word
    out = np.empty((2 * mask.shape[0], pairs.shape[1]), np.uint8)
    out[0::2], out[1::2] = pairs, pairs
    return out[: shape[0], : shape[1]]


def _paint_ellipses(mask: NDArray[np.uint8], ellipses: NDArray[np.float64]) -> None:
    """Set the pixels of `mask` within each ellipse (x, y, semi-major, axis ratio, angle in radian)."""
    for x0, y0, major, ratio, angle in ellipses:
        c, s = math.cos(angle), math.sin(angle)
        rows = np.arange(max(0, int(y0 - major)), min(mask.shape[0], int(y0 + major) + 2))
        dy = rows - y0
        # |(along, across / ratio)| <= major, a quadratic in x for each row
        square, half = c * c + (s / ratio) ** 2, c * s * (1.0 - 1.0 / ratio**2) * dy
        root = half**2 - square * (dy * dy * (s * s + (c / ratio) ** 2) - major * major)
        reach = np.sqrt(np.maximum(root, 0.0)) / square
        middle = x0 - half / square
        first = np.maximum(np.ceil(middle - reach), 0).astype(np.int64)
        past = np.maximum(np.where(root >= 0, np.floor(middle + reach) + 1, 0), 0).astype(np.int64)
        if rows.size:
            left, right = int(first.min()), max(int(past.max()), int(first.min()))
            x = np.arange(left, min(right, mask.shape[1]))
            mask[rows[0] : rows[-1] + 1, left : left + x.size] |= (x >= first[:, None]) & (x < past[:, None])


def object_mask(data: ArrayLike, bad: ArrayLike | None, noise: ArrayLike, **options: Any) -> NDArray[np.uint8]:
    """Mask objects of every size in a sky-subtracted image: the mask of `find_objects`."""
    return find_objects(data, bad, noise, **options)[0]


def find_objects(
    data: ArrayLike,
    bad: ArrayLike | None,
    noise: ArrayLike,
    *,
    threshold: float = 3.0,
    scales: Sequence[float] = (0.0, 1.5, 3.0, 6.0, 12.0),
    min_area: int = 6,
    grow: float = 1.5,
    sunk: bool = False,
    extended: bool = True,
    threads: int = 1,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Mask objects of every size in a sky-subtracted image; also return where they were detected.

    Parameters
    ----------
    data, bad : array_like, shape (h, w)
        Image, whose constant background is subtracted; unusable pixels (non-zero), None: all are usable.
    noise : float or array_like, shape (h, w)
        1-sigma noise of each pixel; only its variation over the image matters, its level is measured.
    threshold : float
        In units of the noise measured at each scale.
    scales : sequence of float
        Sigma of the smoothing Gaussians, in pixels, ascending; 0 is the image itself.
    min_area : int
        Least number of connected pixels of an object; at scales of 3 and more, pixels binned to a sigma of 1.5 to 3.
    grow : float
        Detections are dilated by this many sigma of their scale; extended ones along their extrapolated profile.
    sunk : bool
        Extended objects lie in hollows: their own light was subtracted with the sky.
    extended : bool
        Extended objects are grown along their profile.
    threads : int
        Number of threads; the mask does not depend on it.

    Returns
    -------
    mask : ndarray of uint8, shape (h, w)
        1 on objects; all 0 if the noise cannot be measured.
    found : ndarray of uint8, shape (h / 4, w / 4), rounded up
        1 where objects were detected, before they are grown, in blocks of `BLOCK` pixels.

    Raises
    ------
    ValueError
        If shapes differ or the scales do not ascend.
    """
    image, sigma, mask = _checked(data, noise, bad, scales)
    covered, found = (np.zeros([-(-n // side) for n in image.shape], np.uint8) for side in (1, BLOCK))
    part = _seen(mask, 2 * math.ceil(grow * max(scales)))
    first = _standardised(image[part], mask[part], sigma[part] if sigma.size > 1 else sigma, threads)
    if first is None:
        return covered, found
    whole = first.halved().halved()
    covered[part] = _merge(_searched(first, scales, (threshold, min_area, grow)), whole)
    found[tuple(slice(s.start // BLOCK, -(-s.stop // BLOCK)) for s in part)] = whole.found
    if extended:
        _paint_ellipses(covered, _extended(whole, part, sunk=sunk))
    return covered, found


def _checked(
    data: ArrayLike, noise: ArrayLike, bad: ArrayLike | None, scales: Sequence[float]
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.uint8]]:
    """Image, noise (of one value or of the image's shape) and mask, after checking them and the scales."""
    if list(scales) != sorted(scales):
        raise ValueError(f"scales must ascend: {scales}")
    image, sigma = np.asarray(data), np.atleast_2d(noise)
    if sigma.size > 1 and sigma.shape != image.shape:
        raise ValueError(f"noise has shape {sigma.shape}, data {image.shape}")
    return image, sigma, as_mask(bad, image.shape)


def _extended(whole: _Layer, part: tuple[slice, slice], *, sunk: bool) -> NDArray[np.float64]:
    """Ellipses (x, y, semi-major, axis ratio, angle) of extended objects in a part of the image, in its pixels."""
    ellipses = extended_ellipses(whole.signal, whole.weight, whole.found, sunk=sunk)
    corner = [part[1].start + 0.5 * (BLOCK - 1), part[0].start + 0.5 * (BLOCK - 1)]
    return np.asarray(ellipses * [BLOCK, BLOCK, BLOCK, 1, 1] + [*corner, 0, 0, 0])


def _searched(first: _Layer, scales: Sequence[float], limits: tuple[float, int, float]) -> list[_Layer]:
    """The image at each binning that the scales need, searched for objects."""
    layers = [first]
    for scale in scales:
        while scale >= 2.0 * KERNEL_SIGMA * layers[-1].factor:
            layers.append(layers[-1].halved())
        layers[-1].detect(scale, *limits)
    return layers


def _seen(bad: NDArray[np.uint8], margin: int) -> tuple[slice, slice]:
    """Rows and columns around all good pixels, with a margin, starting at a cell of the widest binning."""
    parts = []
    for axis, n in enumerate(bad.shape):
        good = np.flatnonzero(bad.min(axis=1 - axis) == 0)
        first, last = (good[0], good[-1]) if good.size else (0, n - 1)
        parts.append(slice(max(first - margin, 0) // CELL * CELL, min(-(-(last + 1 + margin) // CELL) * CELL, n)))
    return parts[0], parts[1]


def _standardised(data: NDArray[Any], bad: NDArray[np.uint8], noise: NDArray[Any], threads: int) -> _Layer | None:
    """The image minus its level, in units of its noise; None if no pixel is good."""
    zero = level(data, bad, samples=SAMPLES)
    if zero.n == 0:
        return None
    signal, weight = (np.empty(data.shape, np.float32) for _ in range(2))

    def rows(a: int, b: int) -> None:  # of a part of an image: copies of few rows at a time
        image, sigma = (
            np.ascontiguousarray(v, np.float32) for v in (data[a:b], noise[a:b] if noise.size > 1 else noise)
        )
        mask = np.ascontiguousarray(bad[a:b])
        _standardise(image, mask, sigma, np.float32(zero.value), signal[a:b], weight[a:b])

    run_blocks(rows, data.shape[0], threads, ROWS)
    return _Layer.of(signal, weight, 1, threads)


def _merge(layers: list[_Layer], whole: _Layer) -> NDArray[np.uint8]:
    """Union of the layers' grown detections, at full resolution; `whole` receives all detections."""
    for layer in layers:
        whole.found |= _match(layer, whole)
    union = np.zeros_like(layers[-1].found)
    for layer in reversed(layers):
        if union.shape != layer.found.shape:
            union = _doubled(union, layer.found.shape)
        union |= dilate(layer.found, layer.radius)
    return union


def _match(layer: _Layer, whole: _Layer) -> NDArray[np.uint8]:
    """A layer's detections at the binning of `whole`: a block counts if half of its pixels do."""
    found, factor = layer.found, layer.factor
    while factor > whole.factor:
        finer = tuple(2 * n for n in found.shape)
        found, factor = _doubled(found, finer), factor // 2
    if factor < whole.factor:
        ratio = whole.factor // factor
        padded = np.zeros((ratio * whole.found.shape[0], ratio * whole.found.shape[1]), np.uint8)
        padded[: found.shape[0], : found.shape[1]] = found
        lines = sum(padded[j::ratio] for j in range(ratio))
        blocks = sum(np.asarray(lines)[:, i::ratio] for i in range(ratio))
        found = (2 * np.asarray(blocks) >= ratio * ratio).view(np.uint8)
    return found[: whole.found.shape[0], : whole.found.shape[1]]
