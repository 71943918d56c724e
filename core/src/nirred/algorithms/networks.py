"""Sorting networks: the values of many lanes (pixels) are sorted side by side, each lane over its rows (frames).

Loops over lanes have no branches, and a network's comparators are data: another number of frames needs no compilation.

For a median, values that are missing are +inf and -inf in turn, which keeps it on the middle wires. The first is +inf,
so an odd number of them leaves one more above: the median is half a wire lower.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import subkernel


@lru_cache(maxsize=64)
def sorting_network(n: int, wires: tuple[int, ...] = ()) -> NDArray[np.int64]:
    """Comparators (low wire, high wire) of Batcher's merge exchange sort of `n` values.

    Knuth, The Art of Computer Programming 3, section 5.2.2, algorithm M. With `wires` only the comparators that
    these outputs need are kept.

    Returns
    -------
    network : (n_comparators, 2) int64
    """
    pairs: list[tuple[int, int]] = []
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
    needed = set(wires or range(n))
    kept = []
    for low, high in reversed(pairs):
        if low in needed or high in needed:
            kept.append((low, high))
            needed |= {low, high}
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2)


def median_network(n: int) -> NDArray[np.int64]:
    """Comparators that bring the two middle ones of `n` values to the middle wires."""
    return sorting_network(n, (max(n // 2 - 1, 0), n // 2))


@subkernel
def sort_lanes(values: np.ndarray, network: np.ndarray, m: int) -> None:
    """Sort rows of values, without NaN, in each of the first m lanes."""
    for c in range(network.shape[0]):
        a, b = values[network[c, 0]], values[network[c, 1]]
        for j in range(m):
            x, y = a[j], b[j]
            a[j] = x if x < y else y
            b[j] = x if x > y else y


@subkernel
def middle_pair(
    below: np.float32, above: np.float32, even: bool, infinity: np.float32
) -> tuple[np.float32, np.float32]:
    """The two values whose mean is the median, from those on the middle wires of an even or odd number of rows.

    `infinity` is what the next missing value of the lane would be: -inf after an odd number of them.
    """
    odd_missing = infinity < np.float32(0)
    return below if odd_missing | even else above, below if odd_missing & even else above
