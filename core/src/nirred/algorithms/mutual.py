"""Smooth differences between images of one sky, compared at the same sky positions so that objects cancel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.surface import Surface, fit_points
from nirred.algorithms.threads import run_blocks

Float64 = NDArray[np.float64]

#: Images are compared at this many places along their longer side.
PLACES = 80
#: Positions on a side of the tiles in which images are compared as wholes.
TILE = 8
#: Iterations of the differences: where not all images overlap, the mean is not that of all.
ROUNDS = 3
#: An image's surface has its full order if others overlap at least the first share of the image, is a constant if they
#: overlap less than the second, and a plane between: no surface is extrapolated far.
_SHAPED, _SLOPED = 0.6, 0.25


def square_means(data: NDArray[np.float32], bad: NDArray[np.uint8], x: Float64, y: Float64, size: int) -> Float64:
    """Means of the good pixels in squares of `size` pixels around positions.

    Parameters
    ----------
    data, bad : ndarray, shape (ny, nx)
        An image, and its bad pixels.
    x, y : float64, shape (m,)
        Positions, pixels from 0.
    size : int
        Side of the squares.

    Returns
    -------
    float64, shape (m,)
        NaN if a square extends beyond the image, or less than half of it is good.
    """
    first = [np.floor(np.asarray(p) - 0.5 * size + 1.0) for p in (x, y)]
    inside = np.ones(first[0].shape, bool)
    for start, n in zip(first, data.shape[::-1], strict=True):
        inside &= (start >= 0) & (start + size <= n)
    columns, rows = (np.where(inside, start, -1).astype(np.int64) for start in first)
    means = np.empty(inside.shape)
    _square_means(data, bad, columns, rows, size, means)
    return means


@kernel
def _square_means(
    data: np.ndarray, bad: np.ndarray, columns: np.ndarray, rows: np.ndarray, size: int, means: np.ndarray
) -> None:
    """Means of squares that begin at these pixels; -1: none."""
    for k in range(means.size):
        total, count = 0.0, 0
        for y in range(rows[k], rows[k] + size if columns[k] >= 0 and rows[k] >= 0 else rows[k]):
            for x in range(columns[k], columns[k] + size):
                if bad[y, x] == 0:
                    total += data[y, x]
                    count += 1
        means[k] = total / count if count > 0 and 2 * count >= size * size else np.nan


@dataclass(frozen=True)
class Squares:
    """A detector's squares in which images are compared.

    Attributes
    ----------
    side : int
        Pixels.
    x, y : float64 (rows, columns)
        Pixels of their middles.
    """

    side: int
    x: NDArray[Any]
    y: NDArray[Any]

    @classmethod
    def of(cls, shape: tuple[int, int]) -> Squares:
        """`PLACES` squares along the longer side of a detector (ny, nx); a remainder at the far edges is in none."""
        side = max(max(shape) // PLACES, 1)
        x, y = np.meshgrid(*((np.arange(n // side) + 0.5) * side - 0.5 for n in shape[::-1]))
        return cls(side, x, y)

    def picked(self, image: NDArray[Any]) -> NDArray[Any]:
        """An image's pixels at the centres of squares."""
        return np.asarray(image[np.ix_(np.rint(self.y[:, 0]).astype(int), np.rint(self.x[0]).astype(int))])

    def means(self, data: NDArray[Any], bad: NDArray[Any]) -> NDArray[Any]:
        """Means of the good pixels of each square; NaN where less than half are good."""
        return square_means(data, bad, self.x.ravel(), self.y.ravel(), self.side).reshape(self.x.shape)

    def spread_out(self, squares: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
        """The value of each pixel's square; a remainder at the far edges belongs to the last squares."""
        whose = (np.minimum(np.arange(n) // self.side, k - 1) for n, k in zip(shape, squares.shape, strict=True))
        return np.asarray(squares[np.ix_(*whose)])

    def at(self, values: NDArray[Any], x: NDArray[Any], y: NDArray[Any]) -> NDArray[Any]:
        """Values between the squares, linear; NaN beyond them."""
        from scipy.ndimage import map_coordinates

        places = [(p - 0.5 * (self.side - 1)) / self.side for p in (y, x)]
        return np.asarray(map_coordinates(values, places, order=1, cval=np.nan))


def add_shown(
    dq: NDArray[np.uint16],
    useless: int,
    light: NDArray[np.float32],
    side: int,
    first: tuple[int, int],
    unit: float,
    total: NDArray[np.float32],
    units: NDArray[np.float32],
) -> None:
    """Add the light of squares, and a unit, to the sums of the pixels where an image is usable.

    Parameters
    ----------
    dq : uint16 (h, w)
        Flags of a part of the image.
    useless : int
        Flags of pixels that are not usable.
    light : float32 (rows, columns)
        In squares; linear between them, also beyond the outermost.
    side : int
        Of the squares, pixels.
    first : (int, int)
        Row and column of the part's first pixel.
    unit : float
        Of the image.
    total, units : float32 (h, w)
        Sums of the light, and of units; changed.
    """
    places = (
        np.clip((np.arange(n) + f + 0.5) / side - 0.5, 0, k - 1)
        for n, f, k in zip(dq.shape, first, light.shape, strict=True)
    )
    (j, v), (i, u) = ((p.astype(np.int64), (p % 1.0).astype(np.float32)) for p in places)
    padded = np.pad(np.asarray(light, np.float32), ((0, 1), (0, 1)), mode="edge")
    _add_shown(dq, np.uint16(useless), padded, j, v, i, u, np.float32(unit), total, units)


@kernel
def _add_shown(
    dq: np.ndarray,
    useless: np.uint16,
    light: np.ndarray,
    j: np.ndarray,
    v: np.ndarray,
    i: np.ndarray,
    u: np.ndarray,
    unit: np.float32,
    total: np.ndarray,
    units: np.ndarray,
) -> None:
    for y in range(dq.shape[0]):
        upper, lower, t = light[j[y]], light[j[y] + 1], v[y]
        for x in range(dq.shape[1]):
            if dq[y, x] & useless == 0:
                k, s = i[x], u[x]
                above = upper[k] + s * (upper[k + 1] - upper[k])
                below = lower[k] + s * (lower[k + 1] - lower[k])
                total[y, x] += above + t * (below - above)
                units[y, x] += unit


def mutual_surfaces(
    values: Float64,
    positions: tuple[Float64, Float64],
    shapes: list[tuple[int, int]],
    weights: Float64,
    order: int,
    threads: int = 1,
    planes: Sequence[int] | None = None,
) -> list[Surface]:
    """Surfaces whose removal brings images of one sky to their mean; the common part stays in the images.

    The common part is the surfaces' mean. It is given back where it lies on the sky, not on the detector: a parabola
    at one place of the detector would differ between dithered images, by slopes in proportion to their offsets.

    Parameters
    ----------
    values : float64, shape (n, m)
        Of n images at m positions of the sky; NaN where an image has no data.
    positions : (x, y), float64, each of shape (n, m)
        Pixels of the images at these positions.
    shapes : list of (int, int)
        (ny, nx) of the images.
    weights : float64, shape (n,)
        Of the images in their mean.
    order : int
        Highest degree of the surfaces.
    threads : int
        Number of images fitted at once.
    planes : sequence of int, length n
        Detector of each image. Default: all are of one.

    Returns
    -------
    list of Surface
        One for each image: zero if no other overlaps enough of it.
    """
    seen = np.isfinite(values)
    shared = seen & (seen.sum(axis=0) > 1)
    orders = [_order(float(shared[k].sum()) / max(int(seen[k].sum()), 1), order) for k in range(len(shapes))]
    parts = np.where(seen, np.asarray(weights, float)[:, None], 0.0)
    images = list(zip(shapes, orders, shared, strict=True))
    sums = _from_mean(np.array(values, float), positions, images, parts, order, threads)
    share = np.asarray(weights, float) / np.sum(weights)
    alike = np.zeros(len(shapes)) if planes is None else np.asarray(planes)
    common = np.tensordot(share, sums, 1)
    for k in (k for k, known in enumerate(orders) if known is not None):
        sums[k] -= _moved(common, (k, shapes[k]), positions, (seen, share * (alike == alike[k])))
    taken = float(share @ sums[:, 0, 0])
    return [
        Surface(own, shape).raised(0.0 if known is None else -taken)
        for own, shape, known in zip(sums, shapes, orders, strict=True)
    ]


def _from_mean(
    left: Float64,
    positions: tuple[Float64, Float64],
    images: Sequence[tuple[tuple[int, int], int | None, NDArray[np.bool_]]],
    parts: Float64,
    order: int,
    threads: int,
) -> Float64:
    """Coefficients, shape (n, order + 1, order + 1), of the images' surfaces relative to their mean.

    `left` are the images' values and is changed; `images` are their shapes, the degrees of their surfaces, and the
    positions where others overlap them; `parts` are their weights at each position.
    """
    seen, sums = np.isfinite(left), np.zeros((len(images), order + 1, order + 1))
    for _ in range(ROUNDS):
        mean = (parts * np.where(seen, left, 0.0)).sum(axis=0) / np.maximum(parts.sum(axis=0), 1e-300)

        def fit(k: int, _: int, mean: Float64 = mean) -> None:
            shape, degree, use = images[k]
            if degree is None or use.sum() < _fewest(order):
                return
            x, y = (p[k] for p in positions)
            found = fit_points(x[use], y[use], (left[k] - mean)[use], shape, degree)
            sums[k, : found.coefficients.shape[0], : found.coefficients.shape[1]] += found.coefficients
            left[k] -= found.at(x, y)

        run_blocks(fit, len(images), threads, 1)
    return sums


def _moved(
    common: Float64,
    image: tuple[int, tuple[int, int]],
    positions: tuple[Float64, Float64],
    what: tuple[NDArray[np.bool_], Float64],
) -> Float64:
    """Coefficients in an image, given by number and shape, of the surface that is `common` at the mean pointing.

    `what` are the places that each image shows, and the weights of the images in the mean.
    """
    (k, shape), (seen, share) = image, what
    if seen[k].sum() < _fewest(len(common) - 1):
        return common
    x, y = (p[k, seen[k]] for p in positions)
    u, v = (share @ p[:, seen[k]] / share.sum() for p in positions)
    surface = Surface(common, shape)
    return fit_points(x, y, surface.at(u, v), shape, len(common) - 1).coefficients


def _fewest(order: int) -> int:
    """Least number of positions from which a surface is fitted."""
    return 4 * (order + 1) * (order + 2)


def _order(share: float, order: int) -> int | None:
    """Degree of the surface for the share of an image that others overlap; None: no surface."""
    if share == 0.0:
        return None
    return order if share >= _SHAPED else min(order, 1) if share >= _SLOPED else 0


def strays(values: Float64) -> Float64:
    """How far images of one sky deviate from the median of all on a large scale.

    Parameters
    ----------
    values : float64, shape (n, rows, columns)
        Of n images at positions on a grid; NaN where an image has no data.

    Returns
    -------
    float64, shape (n,)
        Mean absolute deviation of tiles of `TILE` x `TILE` positions, of which the median counts: neither stars nor
        noise matter. 0 where fewer than three images show the same.
    """
    seen = np.isfinite(values)
    shared = seen & (seen.sum(axis=0) > 2)
    middle = np.zeros(values.shape[1:])
    known = shared.any(axis=0)
    middle[known] = np.nanmedian(values[:, known], axis=0)
    total, number = np.zeros((2, len(values)))
    for y in range(0, values.shape[1], TILE):
        for x in range(0, values.shape[2], TILE):
            tile = slice(y, y + TILE), slice(x, x + TILE)
            for k in np.flatnonzero(shared[:, *tile].sum(axis=(1, 2)) >= 0.5 * TILE**2):
                total[k] += abs(np.median((values[k, *tile] - middle[tile])[shared[k, *tile]]))
                number[k] += 1
    return total / np.maximum(number, 1)


def spread(values: Float64) -> float:
    """Mean variance among n images at positions where at least two have data; 0 if there are none.

    Parameters
    ----------
    values : float64, shape (n, m)
        Of n images at m positions; NaN where an image has no data.
    """
    seen = np.isfinite(values)
    count = seen.sum(axis=0)
    shared = count > 1
    if not shared.any():
        return 0.0
    known, number = np.where(seen, values, 0.0)[:, shared], count[shared]
    apart = np.where(seen[:, shared], known - known.sum(axis=0) / number, 0.0)
    return float(np.mean((apart**2).sum(axis=0) / (number - 1)))
