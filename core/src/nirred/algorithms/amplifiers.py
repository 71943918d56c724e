"""Levels of a detector's amplifiers: parts that drift on their own, apart from the smooth sky and from sources.

Levels are measured together with a low-order surface that runs through all amplifiers. Both are to be taken off: a
surface fitted to a detector with steps has followed what looks like one in the levels and left slopes inside the
amplifiers, and only levels and surface together undo that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask, mesh_background
from nirred.algorithms.surface import Surface

Float64 = NDArray[np.float64]
Box = tuple[slice, slice]

#: Share of good pixels from which a cell counts.
LEAST = 0.25
#: Weight of "no offset" beside that of one cell: decides only what the data leave open.
_PRIOR = 1e-4
#: Width of the cells beside an edge, in pixels, and the least that makes sense.
_STRIP, _NARROWEST = 16, 4


def amplifier_levels(
    data: ArrayLike, covered: ArrayLike, boxes: Sequence[Box], *, order: int = 2, size: int = 64
) -> tuple[Float64, Surface]:
    """Measure the levels of an image's amplifiers, and the surface that runs through all of them.

    The slope inside the amplifiers tells a surface from levels that rise like one: cells are at most a quarter of an
    amplifier wide. How the two share what they can both do is known badly, their sum well, if both are taken off.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Sky-subtracted image.
    covered : array_like, shape (ny, nx)
        Non-zero where a pixel is bad or covered by an object.
    boxes : sequence of (slice, slice)
        Rows and columns of each amplifier.
    order : int
        Degree of the surface that runs through all amplifiers.
    size : int
        Largest side of the cells in which the background is measured, in pixels.

    Returns
    -------
    levels : ndarray of float64, shape (n_boxes,)
        In the data's unit, mean 0 over those known; NaN for an amplifier without blank cells.
    surface : Surface
        Fitted to the rest; its mean is the image's level.

    Raises
    ------
    ValueError
        If the shapes differ or `order` is negative.
    """
    if order < 0:
        raise ValueError(f"the order of a surface cannot be {order}")
    image = np.asarray(data, np.float32)
    mask = as_mask(covered, image.shape)
    owner, place, value, weight = _cells(image, mask, boxes, size)
    levels = np.full(len(boxes), np.nan)
    known = np.unique(owner)
    degrees = [(q, p) for q in range(order + 1) for p in range(order + 1 - q)]
    coefficients = np.zeros((order + 1, order + 1))
    if known.size < 2:
        levels[known] = 0.0
        return levels, Surface(coefficients, np.zeros_like(coefficients), (image.shape[0], image.shape[1]))
    along = np.polynomial.legendre.legvander(place, order)  # (cell, axis, degree)
    surface = np.stack([along[:, 0, q] * along[:, 1, p] for q, p in degrees], axis=1)
    parts = (owner[:, None] == known).astype(np.float64)
    found = _solve(np.concatenate([surface, parts], axis=1), value, weight, len(degrees))[len(degrees) :]
    levels[known] = found - found.mean()
    shape = _solve(surface, value - levels[owner], weight, len(degrees))
    rows, columns = zip(*degrees, strict=True)
    coefficients[rows, columns] = shape
    return levels, Surface(coefficients, np.zeros_like(coefficients), (image.shape[0], image.shape[1]))


def _cells(
    image: NDArray[np.float32], mask: NDArray[np.uint8], boxes: Sequence[Box], size: int
) -> tuple[NDArray[np.intp], Float64, Float64, Float64]:
    """Cells with enough blank pixels: number of their box, place (y, x) from -1 to 1, level, share of blank pixels."""
    numbers, places, values, shares = [], [], [], []
    for k, (rows, columns) in enumerate(boxes):
        sides = min(size, max((rows.stop - rows.start) // 4, 1)), min(size, max((columns.stop - columns.start) // 4, 1))
        mesh = mesh_background(image[rows, columns], mask[rows, columns], sides, filter=1, minimum=LEAST)
        j, i = np.nonzero((mesh.shares >= LEAST) & np.isfinite(mesh.values))
        ny, nx = mesh.shares.shape
        y = rows.start + (j + 0.5) * mesh.shape[0] / ny
        x = columns.start + (i + 0.5) * mesh.shape[1] / nx
        numbers.append(np.full(j.size, k))
        places.append(np.stack([2.0 * y / image.shape[0] - 1.0, 2.0 * x / image.shape[1] - 1.0], axis=1))
        values.append(mesh.values[j, i])
        shares.append(mesh.shares[j, i])
    return np.concatenate(numbers), np.concatenate(places), np.concatenate(values), np.concatenate(shares)


def _solve(terms: Float64, values: Float64, weights: Float64, free: int) -> Float64:
    """Coefficients, beyond the first `free` drawn to 0 a little, by least squares with Tukey's biweight (6 sigma)."""
    robust = np.ones_like(values)
    prior = np.diag(np.where(np.arange(terms.shape[1]) < free, 1e-12, _PRIOR))
    solution = np.zeros(terms.shape[1])
    for _ in range(8):
        both = weights * robust
        # plain sums, not a BLAS product: the same bits on any number of threads
        normal = np.einsum("na,n,nb->ab", terms, both, terms) + prior
        solution = np.linalg.solve(normal, np.einsum("na,n->a", terms, both * values))
        residual = values - np.einsum("na,a->n", terms, solution)
        scatter = 1.4826 * float(np.median(np.abs(residual)))
        if scatter <= 1e-12 * float(np.max(np.abs(values), initial=0.0)):
            break
        robust = np.clip(1.0 - (residual / (6.0 * scatter)) ** 2, 0.0, None) ** 2
    return np.asarray(solution, np.float64)


def edge_levels(data: ArrayLike, bad: ArrayLike, boxes: Sequence[Box]) -> Float64:
    """Levels of amplifiers from the jumps at the edges that they share.

    Whatever light the image shows runs on across an edge; only a level stops there. So this measures the steps of a
    deep image with structure of its own, as a sky pattern with stray light, where no low-order surface would do. Sums
    of many jumps drift slowly: what is smooth in the levels is not known well.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image.
    bad : array_like, shape (ny, nx)
        Non-zero where a pixel is not to be used.
    boxes : sequence of (slice, slice)
        Rows and columns of each amplifier.

    Returns
    -------
    ndarray of float64, shape (n_boxes,)
        Levels in the data's unit, mean 0; a jump of less than 3 times its error counts as none.
    """
    image = np.asarray(data, np.float32)
    mask = as_mask(bad, image.shape)
    n = len(boxes)
    normal, right = np.full((n, n), 1.0), np.zeros(n)  # the sum of all levels is 0
    for k, (rows, columns) in enumerate(boxes):
        for j, (beside, across) in enumerate(boxes):
            if across.start == columns.stop:
                found = _jump(image, mask, (rows, columns), (beside, across))
            elif beside.start == rows.stop:
                found = _jump(image.T, mask.T, (columns, rows), (across, beside))
            else:
                continue
            jump, weight = found
            normal[k, k] += weight
            normal[j, j] += weight
            normal[k, j] -= weight
            normal[j, k] -= weight
            right[j] += weight * jump
            right[k] -= weight * jump
    normal += 1e-9 * np.eye(n)  # amplifiers that share no edge stay at 0
    return np.asarray(np.linalg.solve(normal, right), np.float64)


def _jump(image: NDArray[np.float32], mask: NDArray[np.uint8], one: Box, other: Box) -> tuple[float, float]:
    """Jump from one box to the other, on its right, and its weight; both 0 where none can be measured.

    On either side two cells are continued to the edge along a line; what is curved there cancels.
    """
    start, stop = max(one[0].start, other[0].start), min(one[0].stop, other[0].stop)
    edge = one[1].stop
    size = min(_STRIP, (one[1].stop - one[1].start) // 2, (other[1].stop - other[1].start) // 2)
    if stop - start < size or size < _NARROWEST:
        return 0.0, 0.0
    place = slice(start, stop), slice(edge - 2 * size, edge + 2 * size)
    mesh = mesh_background(np.ascontiguousarray(image[place]), np.ascontiguousarray(mask[place]), size, filter=1)
    known = np.flatnonzero((mesh.shares >= LEAST).all(axis=1))
    if known.size < 3:
        return 0.0, 0.0
    jumps = mesh.values[known] @ np.array([0.5, -1.5, 1.5, -0.5])
    jump = float(np.median(jumps))
    error = 1.253 * 1.4826 * float(np.median(np.abs(jumps - jump))) / np.sqrt(known.size)
    return jump if abs(jump) > 3.0 * error else 0.0, 1.0 / max(error, 1e-6) ** 2


def unmix(measured: ArrayLike, shares: ArrayLike, rounds: int = 30) -> Float64:
    """Levels of frames from those of their differences: each frame had a mean of others subtracted.

    Parameters
    ----------
    measured : array_like, shape (n, k)
        Levels of each frame minus its sky, k amplifiers.
    shares : array_like, shape (n, n)
        Share of frame j in the sky of frame i; rows sum to 1 or are 0.
    rounds : int
        Iterations; each leaves 1/(frames in a sky) of the error.

    Returns
    -------
    ndarray of float64, shape (n, k)
        ``measured + shares @ levels``, solved by iteration; what is common to all frames stays unknown and is 0.
    """
    seen = np.asarray(measured, np.float64)
    mixed = np.asarray(shares, np.float64)
    levels = seen - seen.mean(axis=0)
    for _ in range(rounds):
        levels = seen + np.einsum("ij,jk->ik", mixed, levels)
        levels -= levels.mean(axis=0)
    return np.asarray(levels)
