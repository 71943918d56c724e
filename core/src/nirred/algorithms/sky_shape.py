"""The shape of the sky between its large scale and its pixels: of each scale as much as is real."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nirred.algorithms.amplifiers import Box, edge_levels
from nirred.algorithms.background import Mesh, mesh_background
from nirred.algorithms.sky import pattern_power

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Side of the smallest cell, pixels.
CELL = 16
#: Sides of the scales, in cells, from coarse to fine: what a mesh of 64 pixels loses is sought at 32, then at 16.
SCALES = (2, 1)
#: Cells per side of an area that shares one measure of power.
TILE = 8
#: A pixel this far from the large scale, in sigma, is its own (hot, or a source): no part of a cell.
OWN = 5.0


def sky_shape(
    whole: tuple[Float64, Float64],
    halves: Sequence[tuple[Float64, Float64]] = (),
    amplifiers: Sequence[Box] = (),
) -> Float32:
    """Smooth part of a sky pattern.

    A mesh of 64 pixels, robust against sources, has the large scale but flattens what is curved: a ring of stray light
    by some percent of its height. What it loses is added scale by scale, each with the weight of `pattern_power`: whole
    where two halves of the frames agree on it, nothing where they show noise. So a sky without such structure keeps
    the little noise of the mesh alone. Steps between amplifiers are no curvature: they are taken by `edge_levels`.

    Parameters
    ----------
    whole : (g, units), float64 (ny, nx)
        Pattern of all frames, NaN where none shows sky, and the sum of units behind it.
    halves : sequence of (g, units), float64 (ny, nx)
        Of two disjoint halves of them; empty: the mesh alone.
    amplifiers : sequence of (slice, slice)
        Parts of the detector whose levels differ.

    Returns
    -------
    float32 (ny, nx)
        Defined everywhere.
    """
    pattern = np.asarray(whole[0], np.float32)
    unknown = ~np.isfinite(pattern)
    steps = np.zeros(pattern.shape, np.float32)
    if len(amplifiers) > 1:
        for box, value in zip(amplifiers, edge_levels(pattern, unknown, amplifiers), strict=True):
            steps[box] = value
    mesh = mesh_background(pattern - steps, unknown)
    base = mesh.evaluate() + steps
    ny, nx = pattern.shape
    coarse = max(SCALES)
    cells = coarse * round(ny / (CELL * coarse)), coarse * round(nx / (CELL * coarse))
    if not halves or min(cells) == 0 or not np.isfinite(base).all():
        return base
    sums, units = np.zeros((3, *cells)), np.zeros((3, *cells))
    limit = OWN * float(np.median(mesh.sigmas))
    _sum_cells(whole, halves[0], halves[1], base, limit, sums, units)
    found = np.zeros(cells)
    for side in SCALES:
        step = _one_scale(_coarser(sums, side), _coarser(units, side), cells)
        found += step
        sums -= units * step
    return base + Mesh(found, found, found, (ny, nx)).evaluate()


@njit(nogil=True, cache=True, error_model="numpy")
def _sum_cells(whole, first, second, base, limit, sums, weights):  # type: ignore[no-untyped-def]
    """Sums of units * (g - base), and of units, over pixels near the median of their cell in all three patterns."""
    g, u = whole
    (ga, ua), (gb, ub) = first, second
    ny, nx = sums.shape[1:]
    sample = np.empty((g.shape[0] // ny + 1) * (g.shape[1] // nx + 2))
    for j in range(ny):
        rows = range(j * g.shape[0] // ny, (j + 1) * g.shape[0] // ny)
        for i in range(nx):
            start, stop = i * g.shape[1] // nx, (i + 1) * g.shape[1] // nx
            n = 0
            for y in rows:
                for x in range(start + y % 2, stop, 2):
                    if u[y, x] > 0:
                        sample[n] = g[y, x] - base[y, x]
                        n += 1
            if n == 0:
                continue
            middle = np.median(sample[:n])
            for y in rows:
                for x in range(start, stop):
                    b = np.float64(base[y, x])
                    if (ua[y, x] > 0) & (ub[y, x] > 0) & (abs(g[y, x] - b - middle) < limit):
                        sums[0, j, i] += u[y, x] * (g[y, x] - b)
                        sums[1, j, i] += ua[y, x] * (ga[y, x] - b)
                        sums[2, j, i] += ub[y, x] * (gb[y, x] - b)
                        weights[0, j, i] += u[y, x]
                        weights[1, j, i] += ua[y, x]
                        weights[2, j, i] += ub[y, x]


def _coarser(cells: Float64, side: int) -> Float64:
    """Sums over squares of `side` x `side` cells."""
    n, ny, nx = cells.shape
    return np.asarray(cells.reshape(n, ny // side, side, nx // side, side).sum(axis=(2, 4)))


def _one_scale(sums: Float64, units: Float64, cells: tuple[int, int]) -> Float64:
    """What is real of one scale, on the finest grid of cells."""
    known = units > 0
    means = np.where(known, sums / np.where(known, units, 1.0), np.nan)
    zero = np.zeros(units.shape[1:], np.float32)
    power, noise = pattern_power((means[1], units[1]), (means[2], units[2]), zero, TILE, robust=False)
    variance = noise / np.where(known[0], units[0], np.inf)
    weight = np.where(power > variance, 1.0, power / np.maximum(power + variance, 1e-300))
    values = np.nan_to_num(means[0]) * weight
    return np.asarray(Mesh(values, values, values, cells).evaluate(), np.float64)
