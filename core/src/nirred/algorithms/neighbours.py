"""Nearest neighbours between lists of stars, by a sweep along x.

A star list has some hundred points in a field much larger than the search radius: a sweep examines few of them and
needs no tree.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]


@kernel
def _sweep(
    a: np.ndarray,
    b: np.ndarray,
    order: np.ndarray,
    radius: float,
    earlier: bool,
    distance: np.ndarray,
    nearest: np.ndarray,
) -> int:
    """Fill in the nearest point of b, sorted along x by `order`, for each of a; return the number of pairs."""
    pairs = 0
    for i in range(a.shape[0]):
        x, y = a[i]
        first, past = 0, order.size
        while first < past:
            middle = (first + past) // 2
            if b[order[middle], 0] < x - radius:
                first = middle + 1
            else:
                past = middle
        distance[i], nearest[i] = np.inf, b.shape[0]
        for k in range(first, order.size):
            j = order[k]
            if not b[j, 0] <= x + radius:
                break
            apart = np.hypot(b[j, 0] - x, b[j, 1] - y)
            if apart <= radius and (j < i or not earlier):
                pairs += 1
                if apart < distance[i]:
                    distance[i], nearest[i] = apart, j
    return pairs


def nearest(
    points: FloatArray, others: FloatArray, radius: float, *, earlier: bool = False
) -> tuple[FloatArray, IndexArray, int]:
    """Find the nearest of other points within a radius.

    Parameters
    ----------
    points, others : float64 array, shape (n, 2) and (m, 2)
        x and y, finite.
    radius : float
        Largest distance of a neighbour.
    earlier : bool
        Consider only points of lower index than the point's own, for two identical lists.

    Returns
    -------
    distance : float64 array, shape (n,)
        Infinite if none is within the radius.
    index : intp array, shape (n,)
        In `others`; m if none is within the radius.
    pairs : int
        Number of pairs within the radius.
    """
    distance, index = np.empty(len(points)), np.empty(len(points), np.intp)
    order = np.argsort(others[:, 0], kind="stable")
    pairs = _sweep(points, others, order, radius, earlier, distance, index)
    return distance, index, int(pairs)


def mutual(a: FloatArray, b: FloatArray, radius: float) -> tuple[IndexArray, IndexArray]:
    """Pairs of points, as indices, that are each other's nearest neighbours within a radius."""
    _, j, _ = nearest(a, b, radius)
    _, back, _ = nearest(b, a, radius)
    i = np.flatnonzero(j < len(b))
    i = i[back[j[i]] == i]
    return i, j[i]
