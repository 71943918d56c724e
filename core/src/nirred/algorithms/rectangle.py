"""The largest rectangle inside a region."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def largest_rectangle(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns of the largest rectangle that is True everywhere; empty slices if there is none.

    In each row, the lengths of the columns of True that end there form a histogram; its largest rectangle is found with
    a stack of rising bars.
    """
    best, found = 0, (slice(0, 0), slice(0, 0))
    heights = np.zeros(mask.shape[1] + 1, np.intp)  # the last bar has no height and closes all others
    for row in range(mask.shape[0]):
        heights[:-1] = np.where(mask[row], heights[:-1] + 1, 0)
        bars: list[tuple[int, int]] = []  # (first column, height), rising
        for column, height in enumerate(heights.tolist()):
            first = column
            while bars and bars[-1][1] >= height:
                first, tall = bars.pop()
                if tall * (column - first) > best:
                    best = tall * (column - first)
                    found = (slice(row + 1 - tall, row + 1), slice(first, column))
            bars.append((first, height))
    return found
