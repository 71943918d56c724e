"""Bicubic interpolation of a coarse grid to the pixels of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel


@kernel
def interpolate(
    grid: np.ndarray,
    first_y: np.ndarray,
    weight_y: np.ndarray,
    first_x: np.ndarray,
    weight_x: np.ndarray,
    out: np.ndarray,
) -> None:
    """Separable four-tap interpolation of a padded grid to the rows of `out`."""
    line = np.empty(grid.shape[1])
    for y in range(out.shape[0]):
        k = first_y[y]
        for i in range(line.size):
            line[i] = (weight_y[y, 0] * grid[k, i] + weight_y[y, 1] * grid[k + 1, i]) + (
                weight_y[y, 2] * grid[k + 2, i] + weight_y[y, 3] * grid[k + 3, i]
            )
        for x in range(out.shape[1]):
            i = first_x[x]
            out[y, x] = (weight_x[x, 0] * line[i] + weight_x[x, 1] * line[i + 1]) + (
                weight_x[x, 2] * line[i + 2] + weight_x[x, 3] * line[i + 3]
            )


def taps(pixels: NDArray[np.int64], size: int, boxes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """First node (of the grid padded by 2) and Catmull-Rom weights (Keys 1981, a = -1/2) of each pixel."""
    position = (pixels + 0.5) * boxes / size - 0.5
    node = np.floor(position)
    t = (position - node)[:, None]
    powers = np.concatenate([t**0, t, t**2, t**3], axis=1)
    basis = 0.5 * np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]], np.float64)
    return node.astype(np.int64) + 1, np.einsum("nk,km->nm", powers, basis)
