"""Relative levels of overlapping frames, with respect to the first one, from all their pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.combine import Planes, check_planes


@dataclass(frozen=True)
class PairwiseLevels:
    """Result of `pairwise_scales`.

    Attributes
    ----------
    factors : (N,) float64
        Scales or offsets that bring each frame to the first, which has 1 or 0.
    common : (N, N) int64
        Number of sampled pixels common to a pair; a frame with none in common with any other keeps 1 or 0.
    """

    factors: NDArray[np.float64]
    common: NDArray[np.int64]


def pairwise_scales(
    data: Planes, dq: Planes | None = None, *, kind: str = "scale", samples: int = 1 << 16, seed: int = 0
) -> PairwiseLevels:
    """Levels of N frames from the medians of all pairwise ratios or differences.

    With m_ij the median of d_j / d_i (scale; pixels positive in both) or of d_j - d_i (zero) over the w_ij
    pixels that are good in both, and o_ij = -ln m_ij or -m_ij, x minimises
    ``sum_{i<j} w_ij (o_ij + x_i - x_j)**2`` with x_0 = 0; the factors are exp(x) or x.

    Parameters
    ----------
    data : sequence of N (ny, nx) arrays
        Frames on one grid.
    dq : sequence of N (ny, nx) uint16, optional
        Only pixels with dq == 0 and finite values are used.
    kind : {"scale", "zero"}
        Factors or offsets.
    samples : int
        Approximate number of sampled pixels, one in each cell of a grid, at the same positions in all frames.
    seed : int
        Random seed of the positions within the cells.

    Raises
    ------
    ValueError
        For an unknown kind or planes that do not agree.
    """
    if kind not in ("scale", "zero"):
        raise ValueError(f"unknown {kind!r}: scale or zero")
    check_planes(data, dq, None)
    at = _sample(data[0].shape, samples, seed)
    values = np.array([plane[at] for plane in data], np.float64)
    good = np.isfinite(values)
    if dq is not None:
        good &= np.array([plane[at] == 0 for plane in dq])
    if kind == "scale":
        good &= values > 0
        values = np.log(np.where(good, values, 1.0))
    n = len(values)
    common = np.zeros((n, n), np.int64)
    rows, observed = [np.eye(n)[0]], [0.0]
    for i in range(n):
        for j in range(i + 1, n):
            both = good[i] & good[j]
            common[i, j] = common[j, i] = np.count_nonzero(both)
            if common[i, j]:
                weight = np.sqrt(common[i, j])
                rows.append(weight * (np.eye(n)[j] - np.eye(n)[i]))
                observed.append(-weight * float(np.median(values[j][both] - values[i][both])))
    # The shortest solution leaves frames that are linked to nothing at 0.
    x = np.linalg.lstsq(np.array(rows), np.array(observed), rcond=None)[0]
    x = np.where(np.arange(n) == 0, 0.0, x)
    return PairwiseLevels(np.exp(x) if kind == "scale" else x, common)


def _sample(shape: tuple[int, ...], samples: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One random pixel in each cell of a grid: even coverage, and no beating with the detector's columns."""
    ny, nx = shape
    cell = max(1, int(np.sqrt(ny * nx / samples)))
    y, x = np.meshgrid(np.arange(0, ny, cell), np.arange(0, nx, cell), indexing="ij")
    shift = np.random.default_rng(seed).integers(0, cell, (2, *y.shape))
    return np.minimum(y + shift[0], ny - 1).ravel(), np.minimum(x + shift[1], nx - 1).ravel()
