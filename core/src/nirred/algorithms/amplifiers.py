"""Levels of a detector's amplifiers: parts that drift on their own, apart from the smooth sky and from sources.

The level of an amplifier is what its blank pixels have beyond a low-order surface that runs through all of them. What
changes slowly over the field - a residual gradient, the halo of an extended source - is left to the surface, and so
is the part of the levels themselves that looks like one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask, mesh_background

Float64 = NDArray[np.float64]
Box = tuple[slice, slice]

#: Share of good pixels from which a cell counts.
LEAST = 0.25
#: Weight of "no offset" beside that of one cell: decides only what the data leave open.
_PRIOR = 1e-4


def amplifier_levels(
    data: ArrayLike, covered: ArrayLike, boxes: Sequence[Box], *, order: int = 2, size: int = 64
) -> Float64:
    """Measure the levels of an image's amplifiers.

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
        Side of the cells in which the background is measured, in pixels.

    Returns
    -------
    ndarray of float64, shape (n_boxes,)
        Levels in the data's unit, mean 0 over those known; NaN for an amplifier without blank cells.

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
    if known.size < 2:
        levels[known] = 0.0
        return levels
    degrees = [(q, p) for q in range(order + 1) for p in range(order + 1 - q)]
    along = np.polynomial.legendre.legvander(place, order)  # (cell, axis, degree)
    surface = np.stack([along[:, 0, q] * along[:, 1, p] for q, p in degrees], axis=1)
    parts = (owner[:, None] == known).astype(np.float64)
    found = _solve(np.concatenate([surface, parts], axis=1), value, weight, len(degrees))
    levels[known] = found - found.mean()
    return levels


def _cells(
    image: NDArray[np.float32], mask: NDArray[np.uint8], boxes: Sequence[Box], size: int
) -> tuple[NDArray[np.intp], Float64, Float64, Float64]:
    """Cells with enough blank pixels: number of their box, place (y, x) from -1 to 1, level, share of blank pixels."""
    numbers, places, values, shares = [], [], [], []
    for k, (rows, columns) in enumerate(boxes):
        mesh = mesh_background(image[rows, columns], mask[rows, columns], size, filter=1, minimum=LEAST)
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
    """Coefficients beyond the first `free` by least squares with Tukey's biweight (c = 6 sigma)."""
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
    return np.asarray(solution[free:], np.float64)


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
