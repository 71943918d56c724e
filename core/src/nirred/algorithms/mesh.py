"""Background of an image on a mesh of boxes, drawn smoothly between them.

The level of each box is the mode of its pixels, from the same fit as that of a whole image in `background`, but made to
a histogram: a mesh has a thousand boxes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import LOWER_CLIP, UPPER_CLIP, as_mask, truncation
from nirred.algorithms.bicubic import interpolate, taps
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.threads import run_blocks

BINS = 192  # of a box's histogram
SPAN = 6.0  # of the histogram to either side of the level, in sigma
ROWS = 256  # of an image that are drawn at once


@subkernel
def _first_guess(box: np.ndarray, bad: np.ndarray, sample: np.ndarray) -> tuple[float, float]:
    """Median and half the central 68 % of about 64 pixels; -1 for sigma where fewer than 4 are good."""
    rows = max(1, box.shape[0] // 8)
    columns = max(1, box.shape[1] // 8)
    n = 0
    for y in range(rows // 2, box.shape[0], rows):
        for x in range((columns // 2 + y) % columns, box.shape[1], columns):
            if n < sample.size and bad[y, x] == 0 and math.isfinite(box[y, x]):
                value = box[y, x]
                k = n
                while k > 0 and sample[k - 1] > value:
                    sample[k] = sample[k - 1]
                    k -= 1
                sample[k] = value
                n += 1
    if n < 4:
        return 0.0, -1.0
    return sample[n // 2], 0.5 * (sample[(84 * n) // 100] - sample[(16 * n) // 100])


@subkernel
def _cumulate(
    data: np.ndarray,
    bad: np.ndarray,
    box: tuple[tuple[int, int], tuple[int, int]],
    start: np.float32,
    scale: np.float32,
    counts: np.ndarray,
    sums: np.ndarray,
) -> float:
    """Cumulative moments 0, 1, 2 of a box's histogram, in bins from `start`; returns the share of good pixels.

    Large boxes are sampled on every other row: 0.03 sigma per box of 64 pixels is enough before the median filter.
    Rows are cut from whole rows, because the compiler cannot know that rows of a cut box are contiguous.
    """
    (top, bottom), (left, right) = box
    counts[:] = 0
    places = np.empty(right - left, np.int32)
    step = 2 if bottom - top >= 32 else 1
    lowest, highest, infinite, beyond = np.float32(0), np.float32(BINS + 1), np.float32(np.inf), np.float32(BINS + 2)
    for y in range(top, bottom, step):
        row, flags = data[y][left:right], bad[y][left:right]
        for x in range(places.size):
            position = (row[x] - start) * scale + np.float32(1)
            usable = (flags[x] == 0) & (abs(position) < infinite)
            position = lowest if position < lowest else position
            position = highest if position > highest else position
            places[x] = np.int32(position if usable else beyond)
        for x in range(places.size):
            counts[np.uint64(places[x])] += 1
    pixels = (bottom - top + step - 1) // step * (right - left)
    good = pixels - counts[BINS + 2]
    for k in range(BINS):
        centre = k + 0.5
        count = float(counts[k + 1])
        sums[0, k + 1] = sums[0, k] + count
        sums[1, k + 1] = sums[1, k] + count * centre
        sums[2, k + 1] = sums[2, k] + count * centre * centre
    return good / pixels


@subkernel
def _fit_histogram(
    sums: np.ndarray, position: float, width: float, window: np.ndarray, factors: np.ndarray
) -> tuple[float, float]:
    """Mode and sigma, in bins, of a cumulated histogram; the same fit as `background.level`."""
    last = sums.shape[1] - 1
    moments = np.zeros(3)
    for _ in range(20):
        low = min(max(position + window[0] * width, 0.0), float(last))
        high = min(max(position + window[1] * width, 0.0), float(last))
        i, j = min(int(low), last - 1), min(int(high), last - 1)
        for m in range(3):
            upper = sums[m, j] + (high - j) * (sums[m, j + 1] - sums[m, j])
            moments[m] = upper - sums[m, i] - (low - i) * (sums[m, i + 1] - sums[m, i])
        if moments[0] < 10.0:
            break
        mean = moments[1] / moments[0]
        scatter = math.sqrt(max(moments[2] / moments[0] - mean * mean, 1e-4)) / factors[1]
        fitted = mean - factors[0] * scatter
        moved = abs(fitted - position)
        position, width = fitted, scatter
        if moved < 1e-3 * width:
            break
    return position, width


@kernel
def _box_levels(
    data: np.ndarray,
    bad: np.ndarray,
    window: np.ndarray,
    factors: np.ndarray,
    values: np.ndarray,
    sigmas: np.ndarray,
    shares: np.ndarray,
) -> None:
    """Level, scatter and share of good pixels of each box of an even grid over the image."""
    ny, nx = values.shape
    sample = np.empty(128)
    counts = np.empty(BINS + 3, np.int32)  # one bin below and one above the range, and one for bad pixels
    sums = np.zeros((3, BINS + 1))
    for j in range(ny):
        for i in range(nx):
            top, bottom = j * data.shape[0] // ny, (j + 1) * data.shape[0] // ny
            left, right = i * data.shape[1] // nx, (i + 1) * data.shape[1] // nx
            guess, spread = _first_guess(data[top:bottom, left:right], bad[top:bottom, left:right], sample)
            values[j, i], sigmas[j, i] = guess, max(spread, 0.0)
            # without spread any bin width does: only the share is asked for
            scale = BINS / (2.0 * SPAN * spread) if spread > 0.0 else 1.0
            start = guess - BINS / (2.0 * scale)
            narrow = np.float32(start), np.float32(scale)
            box = (top, bottom), (left, right)
            shares[j, i] = _cumulate(data, bad, box, narrow[0], narrow[1], counts, sums) if spread >= 0.0 else 0.0
            if spread > 0.0:
                position, width = _fit_histogram(sums, 0.5 * BINS, spread * scale, window, factors)
                values[j, i] = start + position / scale
                sigmas[j, i] = width / scale


@dataclass(frozen=True, slots=True)
class Mesh:
    """Background on an even grid of boxes over an image.

    Attributes
    ----------
    values, sigmas : ndarray of float64, shape (ny, nx)
        Level (filled and filtered) and pixel scatter of each box; NaN everywhere if no box could be measured.
    shares : ndarray of float64, shape (ny, nx)
        Fraction of good pixels in each box.
    shape : tuple of int
        Shape of the image.
    """

    values: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    shares: NDArray[np.float64]
    shape: tuple[int, int]

    def rows(self, start: int, stop: int, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
        """Background of the image rows ``start:stop``, by bicubic interpolation; linear beyond the outer centres.

        `out`, C-contiguous of shape ``(stop - start, width)``, receives it.
        """
        padded = np.pad(self.values, 2, mode="reflect", reflect_type="odd")
        first_y, weight_y = taps(np.arange(start, stop), self.shape[0], self.values.shape[0])
        first_x, weight_x = taps(np.arange(self.shape[1]), self.shape[1], self.values.shape[1])
        out = np.empty((stop - start, self.shape[1]), np.float32) if out is None else out
        interpolate(padded, first_y, weight_y, first_x, weight_x, out)
        return out

    def filtered(self, size: int) -> Mesh:
        """The mesh with a median filter of `size` x `size` boxes over its values and sigmas."""
        from scipy.ndimage import median_filter

        (ny, nx), edge = self.values.shape, size // 2
        # continued linearly, or the filter would flatten gradients at the corners
        padded = np.pad(self.values, edge, mode="reflect", reflect_type="odd")
        values = median_filter(padded, size)[edge : edge + ny, edge : edge + nx]
        return Mesh(values, median_filter(self.sigmas, size, mode="nearest"), self.shares, self.shape)

    def evaluate(self, shape: tuple[int, int] | None = None, threads: int = 1) -> NDArray[np.float32]:
        """Background of the whole image, float32; with `shape`, stretched to an image of that shape."""
        stretched = self if shape is None else Mesh(self.values, self.sigmas, self.shares, shape)
        out = np.empty(stretched.shape, np.float32)
        run_blocks(lambda a, b: stretched.rows(a, b, out[a:b]), out.shape[0], threads, ROWS)
        return out

    def add_to(self, image: NDArray[np.float32], threads: int = 1) -> None:
        """Add the background to an image, float32 of the mesh's shape, in place."""

        def add(start: int, stop: int) -> None:
            image[start:stop] += self.rows(start, stop)

        run_blocks(add, image.shape[0], threads, ROWS)


@kernel
def fill_boxes(values: np.ndarray, sigmas: np.ndarray, valid: np.ndarray, good: np.ndarray) -> None:
    """Fill boxes that are not valid with the mean of the `good` ones (y, x), weighted by distance to the power -4."""
    for j in range(valid.shape[0]):
        for i in range(valid.shape[1]):
            if valid[j, i]:
                continue
            total = value = sigma = 0.0
            for n in range(good.shape[0]):
                y, x = good[n, 0], good[n, 1]
                distance = float((y - j) ** 2 + (x - i) ** 2)
                weight = 1.0 / (distance * distance)
                total += weight
                value += weight * values[y, x]
                sigma += weight * sigmas[y, x]
            values[j, i], sigmas[j, i] = value / total, sigma / total


def mesh_background(
    data: ArrayLike, bad: ArrayLike | None, size: int | tuple[int, int] = 64, filter: int = 3, *, minimum: float = 0.25
) -> Mesh:
    """Measure the background on a mesh of boxes.

    Parameters
    ----------
    data : array_like, shape (h, w)
        Image; pixels that are not finite are left out.
    bad : array_like or None, shape (h, w)
        Non-zero pixels are left out.
    size : int or (int, int)
        Side of a box, or height and width, in pixels; the nearest even division of the image is taken.
    filter : int
        Side of the median filter over boxes that suppresses boxes dominated by one object; 1 for none.
    minimum : float
        Boxes with a smaller fraction of good pixels are filled from the others.

    Returns
    -------
    Mesh
        With the mode of each box, measured as by `background.level` on a whole image.

    Raises
    ------
    ValueError
        If the shapes differ or the image is not two-dimensional.
    """
    image = np.ascontiguousarray(data, np.float32)
    if image.ndim != 2:
        raise ValueError(f"a mesh needs a two-dimensional image, not {image.ndim}")
    mask = as_mask(bad, image.shape)
    height, width = (size, size) if isinstance(size, int) else size
    boxes = (max(1, round(image.shape[0] / height)), max(1, round(image.shape[1] / width)))
    values, sigmas, shares = np.zeros(boxes), np.zeros(boxes), np.zeros(boxes)
    window = -LOWER_CLIP, UPPER_CLIP * LOWER_CLIP
    _box_levels(image, mask, np.array(window), np.array(truncation(*window)), values, sigmas, shares)
    valid = (shares >= minimum) & (shares > 0.0)
    fill_boxes(values, sigmas, valid, np.argwhere(valid))
    mesh = Mesh(values, sigmas, shares, (image.shape[0], image.shape[1]))
    return mesh.filtered(filter) if filter > 1 and valid.any() else mesh
