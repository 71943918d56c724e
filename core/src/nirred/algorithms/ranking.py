"""Medians within kernels: numba's own implementation takes ten times as long to compile."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.compiled import subkernel


@subkernel
def _ranked(values: np.ndarray, n: int, k: int) -> float:
    """The k-th smallest of the first n values, moved to index k, with no larger values before it (Hoare 1961)."""
    low, high = 0, n - 1
    while low < high:
        pivot, i, j = values[(low + high) // 2], low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]


@subkernel
def middle(values: np.ndarray, n: int) -> float:
    """Median of the first n values, without NaN, as numpy's; NaN if n is 0. The values are reordered."""
    if n == 0:
        return np.nan
    half = n // 2
    above = _ranked(values, n, half)
    below = above
    if n % 2 == 0:
        below = values[0]
        for i in range(1, half):
            below = max(below, values[i])
    return (below + above) / 2
