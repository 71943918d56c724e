"""Masks as runs of pixels, and their dilation with a disc."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.compiled import kernel


@kernel
def find_runs(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of a mask's pixels that are 1, (first, one past last), and where each row's runs begin."""
    height, width = mask.shape
    runs = np.empty((4096, 2), np.int32)
    begins = np.empty(height + 1, np.int64)
    flags = np.zeros((width + 8) // 8 * 8, np.uint8)  # at least one 0 behind the last pixel ends its run
    words = flags.view(np.uint64)  # most hold nothing, or nothing but object: seen at once
    all_set, none_set = np.uint64(0x0101010101010101), np.uint64(0)
    n = 0
    for y in range(height):
        for x in range(width):
            flags[x] = mask[y, x]
        begins[y] = n
        if n + flags.size > runs.shape[0]:
            longer = np.empty((2 * runs.shape[0] + flags.size, 2), np.int32)
            for k in range(n):
                longer[k, 0], longer[k, 1] = runs[k, 0], runs[k, 1]
            runs = longer
        inside = np.uint8(0)
        for k in range(words.size):
            if words[k] == (all_set if inside else none_set):
                continue
            for x in range(8 * k, 8 * k + 8):
                if flags[x] != inside:
                    inside = flags[x]
                    runs[n, 1 - inside] = x
                    n += 1 - inside
    begins[height] = n
    return runs[:n], begins


@kernel
def _paint(runs: np.ndarray, begins: np.ndarray, half_widths: np.ndarray, out: np.ndarray) -> None:
    """Dilate runs by the element whose row dy reaches half_widths[dy + r] to each side, summing steps."""
    height, width = out.shape
    radius = half_widths.size // 2
    steps = np.zeros(width + 1, np.int32)
    for y in range(height):
        first, last = max(0, y - radius), min(height, y + radius + 1)
        row = out[y]
        if begins[first] == begins[last]:
            row[:] = 0
            continue
        steps[:] = 0
        for source in range(first, last):
            reach = half_widths[source - y + radius]
            for k in range(begins[source], begins[source + 1]):
                steps[max(runs[k, 0] - reach, 0)] += 1
                steps[min(runs[k, 1] + reach, width)] -= 1
        depth = 0
        for x in range(width):
            depth += steps[x]
            row[x] = depth > 0


def dilate(mask: ArrayLike, radius: float) -> NDArray[np.uint8]:
    """Dilate a mask with a disc.

    Parameters
    ----------
    mask : array_like, shape (h, w)
        Non-zero pixels are dilated.
    radius : float
        In pixels. The disc holds the integer offsets with ``dx**2 + dy**2 <= radius**2``; below 1 nothing changes.

    Returns
    -------
    ndarray of uint8
        New mask of 0 and 1.
    """
    source: NDArray[np.uint8] = (np.asarray(mask) != 0).view(np.uint8)
    if radius < 1:
        return source
    offsets = np.arange(-int(radius), int(radius) + 1)
    half_widths = np.floor(np.sqrt(radius * radius - offsets * offsets)).astype(np.int64)
    out: NDArray[np.uint8] = np.empty_like(source)
    runs, begins = find_runs(source)
    _paint(runs, begins, half_widths, out)
    return out
