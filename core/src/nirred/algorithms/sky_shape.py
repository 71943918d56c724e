"""The shape of the sky on scales between the largest and single pixels, each scale shrunk by its noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.amplifiers import Box, edge_levels
from nirred.algorithms.background import FIT_SCATTER
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.mesh import Mesh, fill_boxes, mesh_background
from nirred.algorithms.nested import fit_nested, shrink_nested
from nirred.algorithms.ranking import middle
from nirred.algorithms.sky import pattern_power
from nirred.algorithms.surface import FIELD_STEP
from nirred.algorithms.threads import run_blocks

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]

#: Side of the boxes of the mesh, pixels.
MESH = 64
#: Significance, in sigma, with which the scatter of boxes must exceed their noise for the mesh to be used.
SURE = 2.0
#: Side of the smallest cell, pixels.
CELL = 16
#: Sides of the scales, in cells, from coarse to fine. The filtered mesh flattens what is two of its boxes wide;
#: measured in cells of 64 first, this does not pass for structure of cells of 32, whose noise would then be kept.
SCALES = (4, 2, 1)
#: The scale at which the noise in the shape is stated, in cells: 32 pixels, about an aperture of radius 4 FWHM.
TOLD = 2
#: Variance of a box of the filtered mesh over that of the mean of its pixels: a mode of half of them, median of nine.
FILTERED = 0.7
#: Cells per side of an area that shares one measure of power.
TILE = 8
#: Least side of the areas in which the error of a continued shape is measured, samples.
AREA = 8
#: Cells of the coarsest scale with a smaller share of pixels in sky frames are filled from those around them.
LEAST = 0.25
#: Rows of cells that a thread works on at once.
ROWS = 16
#: A pixel this far from the large scale, in sigma, is hot or a source and is excluded from its cell.
OWN = 5.0


def sky_shape(
    whole: tuple[Float32, Float32],
    halves: Sequence[tuple[Float32, Float32]] = (),
    amplifiers: Sequence[Box] = (),
    threads: int = 1,
) -> tuple[Float32, float, float]:
    """Smooth part of a sky pattern, the amount of structure between the mesh and single pixels, and its share of noise.

    A parabola describes the largest scale. A mesh of 64 pixels, robust against sources, describes the next if its boxes
    scatter about the parabola by more than their noise, but it flattens curvature: a ring of stray light by some
    percent of its height. The loss is added scale by scale, each with the weight from `pattern_power`: whole where two
    halves of the frames agree on it, nothing where they show noise. A sky without such structure therefore has only
    the low noise of the parabola. Steps between amplifiers are not curvature: `edge_levels` measures them.

    Parameters
    ----------
    whole : (g, units), float32 (ny, nx)
        Pattern of all frames, NaN where none shows sky, and its sum of units.
    halves : sequence of (g, units), float64 (ny, nx)
        Of two disjoint halves of them; empty: the mesh alone.
    amplifiers : sequence of (slice, slice)
        Parts of the detector whose levels differ.
    threads : int
        Number of threads, for rows.

    Returns
    -------
    smooth : float32 (ny, nx)
        Defined everywhere.
    structure : float
        The rms of the structure added on scales below the mesh.
    carried : float
        The part of the pattern's noise that is in `smooth`: of the variance of areas of 32 pixels a side.
    """
    pattern, units = (np.asarray(a, np.float32) for a in whole)
    unknown = ~np.isfinite(pattern)
    steps = edge_levels(pattern, unknown, amplifiers).astype(np.float32) if len(amplifiers) > 1 else np.zeros(0)
    rest = pattern.copy() if steps.size else pattern
    for box, value in zip(amplifiers, steps, strict=False):
        rest[box] -= value
    boxes = mesh_background(rest, unknown, MESH, filter=1)
    mesh = boxes.filtered(3)
    if not np.isfinite(mesh.values).all():  # fewer pixels than a box needs
        return np.full(pattern.shape, np.median(pattern[~unknown]) if not unknown.all() else 0.0, np.float32), 0.0, 0.0
    base, weight = (
        _large_scale(boxes, mesh, rest, unknown, threads) if halves else (mesh.evaluate(threads=threads), 1.0)
    )
    del rest
    for box, value in zip(amplifiers, steps, strict=False):
        base[box] += value
    ny, nx = pattern.shape
    coarse = max(SCALES)
    cells = coarse * round(ny / (CELL * coarse)), coarse * round(nx / (CELL * coarse))
    if not halves or min(cells) == 0:
        return base, 0.0, 0.0
    limit = np.float32(OWN * float(np.median(mesh.sigmas)))
    found, seen, kept = _below_mesh((pattern, units), halves, base, limit, cells, threads)
    Mesh(found, found, found, (ny, nx)).add_to(base, threads)
    structure = float(np.sqrt(np.mean(found[seen] ** 2))) if seen.any() else 0.0
    return base, structure, _carried(FILTERED * weight**2, kept)


def _carried(noise: float, kept: Sequence[float]) -> float:
    """Share of the noise of areas of `TOLD` cells, from that of the mesh and those kept at each of the `SCALES`.

    What a scale keeps of a cell's noise it keeps whole. Of the rest, a quarter is that of a cell of twice the side.
    """
    for side, share in zip(SCALES, kept, strict=True):
        if side >= TOLD:
            coarser = noise if side == max(SCALES) else 0.25 * noise
            noise = share + (1.0 - share) * coarser
    return noise


def _below_mesh(
    whole: tuple[Float32, Float32],
    halves: Sequence[tuple[Float32, Float32]],
    base: Float32,
    limit: np.float32,
    cells: tuple[int, int],
    threads: int,
) -> tuple[Float64, NDArray[np.bool_], list[float]]:
    """Structure lost by the mesh, of all scales from coarse to fine, the cells with data, and the noise kept by each.

    The first two are (rows, columns).
    """
    parts = [np.asarray(a, np.float32) for half in halves for a in half]
    sums, weights, shown = np.zeros((3, *cells)), np.zeros((3, *cells)), np.zeros((1, *cells))
    planes = whole, (parts[0], parts[1]), (parts[2], parts[3])
    run_blocks(lambda a, b: _sum_cells(*planes, base, limit, (a, b), sums, weights, shown[0]), cells[0], threads, ROWS)
    found, kept = np.zeros(cells), []
    for side in SCALES:
        enough = _coarser(shown, side)[0] >= (LEAST * side**2 if side == max(SCALES) else 0.0)
        step, share = _one_scale(_coarser(sums, side), _coarser(weights, side), cells, side, enough)
        found += step
        sums -= weights * step
        kept.append(share)
    return found, weights[0] > 0, kept


def _large_scale(
    boxes: Mesh, mesh: Mesh, pattern: Float32, unknown: NDArray[np.bool_], threads: int
) -> tuple[Float32, float]:
    """A surface of order 2 at most through boxes, plus the significant part of their filtered mesh's deviation from it.

    The second value is this part. Each box of the mesh has its own noise, and in a narrow field with few boxes the
    deviation is noise throughout.
    """
    fit = fit_nested(pattern, unknown, ~unknown[::FIELD_STEP, ::FIELD_STEP], 2, boxes)
    if fit is None:
        return mesh.evaluate(threads=threads), 1.0
    (surface,) = shrink_nested([fit])
    # of tall boxes the mesh looks at every other row
    noise = 2.0 * (FIT_SCATTER * float(np.median(mesh.sigmas))) ** 2 / MESH**2
    limit = (1.0 + SURE * float(np.sqrt(2.0 / fit.freedom))) * noise * (MESH / fit.size) ** 2
    power = max(fit.chi2 / fit.freedom - limit, 0.0)
    weight = 1.0 if power > noise else power / max(power + noise, 1e-300)
    ny, nx = mesh.values.shape
    y, x = ((np.arange(n) + 0.5) * size / n - 0.5 for n, size in zip((ny, nx), mesh.shape, strict=True))
    expected = surface.at(*np.meshgrid(x, y))
    base = replace(mesh, values=weight * (mesh.values - expected)).evaluate(threads=threads)
    surface.times(-1.0).take_off(base)
    return base, weight


@subkernel
def _middles(
    g: np.ndarray, u: np.ndarray, base: np.ndarray, rows: tuple[int, int], nx: int, sample: np.ndarray, out: np.ndarray
) -> None:
    """Median of g - base, of every other pixel of every other row, of the cells of one row, along the row's pixels."""
    for i in range(nx):
        start, stop = i * g.shape[1] // nx, (i + 1) * g.shape[1] // nx
        n = 0
        for y in range(rows[0], rows[1], 2):
            for x in range(start + (y // 2) % 2, stop, 2):
                if u[y, x] > 0:
                    sample[n] = g[y, x] - base[y, x]
                    n += 1
        out[start:stop] = np.float32(middle(sample, n))


@kernel
def _sum_cells(
    whole: tuple[np.ndarray, np.ndarray],
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    base: np.ndarray,
    limit: np.float32,
    wanted: tuple[int, int],
    sums: np.ndarray,
    weights: np.ndarray,
    shown: np.ndarray,
) -> None:
    """Sums of units * (g - base), and of units, over pixels near the median of their cell, and the share of these.

    Of some rows of cells. Columns are summed first, over the rows of a cell. The halves are compared on pixels that
    both show.
    """
    g, u = whole
    (ga, ua), (gb, ub) = first, second
    ny, nx = sums.shape[1:]
    width = g.shape[1]
    sample = np.empty((g.shape[0] // ny + 1) * (width // nx + 2), np.float32)
    middle, columns = np.empty(width, np.float32), np.empty((7, width))
    zero = np.float32(0)
    for j in range(wanted[0], wanted[1]):
        rows = (j * g.shape[0] // ny, (j + 1) * g.shape[0] // ny)
        _middles(g, u, base, rows, nx, sample, middle)
        columns[:] = 0.0
        for y in range(rows[0], rows[1]):
            b = base[y]
            near = np.abs(g[y] - b - middle) < limit
            columns[6] += near
            both = near & (ua[y] > zero) & (ub[y] > zero)
            for k, (p, w) in enumerate(((g[y], u[y]), (ga[y], ua[y]), (gb[y], ub[y]))):
                total, count, use = columns[k], columns[3 + k], both if k else near
                for x in range(width):
                    total[x] += w[x] * (p[x] - b[x]) if use[x] else zero
                    count[x] += w[x] if use[x] else zero
        for i in range(nx):
            start, stop = i * width // nx, (i + 1) * width // nx
            for x in range(start, stop):
                for k in range(3):
                    sums[k, j, i] += columns[k, x]
                    weights[k, j, i] += columns[3 + k, x]
                shown[j, i] += columns[6, x]
            shown[j, i] /= (rows[1] - rows[0]) * (stop - start)


def _coarser(cells: Float64, side: int) -> Float64:
    """Sums over squares of `side` x `side` cells."""
    n, ny, nx = cells.shape
    return np.asarray(cells.reshape(n, ny // side, side, nx // side, side).sum(axis=(2, 4)))


def _one_scale(
    sums: Float64, units: Float64, cells: tuple[int, int], side: int, enough: NDArray[np.bool_]
) -> tuple[Float64, float]:
    """Significant structure of one scale, on the finest grid of cells, and the share of the cells' noise kept with it.

    Under a large object that covers the cells in every frame the sky is continued from around it: cells without
    `enough` data are filled.
    """
    known = units > 0
    means = np.where(known, sums / np.where(known, units, 1.0), np.nan)
    zero = np.zeros(units.shape[1:], np.float32)
    halves = (means[1].astype(np.float32), units[1]), (means[2].astype(np.float32), units[2])
    tiles = pattern_power(*halves, zero, TILE, robust=False)
    rows, columns = (np.arange(units.shape[k + 1]) * tiles[0].shape[k] // units.shape[k + 1] for k in (0, 1))
    power, noise = (t[np.ix_(rows, columns)] for t in tiles)
    variance = noise / np.where(known[0], units[0], np.inf)
    weight = np.where(power > variance, 1.0, power / np.maximum(power + variance, 1e-300))
    values = np.nan_to_num(means[0]) * weight
    valid = known[0] & enough
    if side == max(SCALES) and valid.any():
        fill_boxes(values, values.copy(), valid, np.argwhere(valid))
    drawn = Mesh(values, values, values, cells).evaluate().astype(np.float64)
    if side > 1:  # where it is curved, a surface drawn through the means of cells has less in them than they are
        lost = values - _coarser(drawn[None], side)[0] / side**2
        drawn += Mesh(lost, lost, lost, cells).evaluate()
    return np.asarray(drawn), float(np.mean(weight**2))


def continuation_error(shape: Float32, seen: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> float:
    """Error of the sky's shape where objects hide it in every frame and it is continued from around them.

    The continuation is correct for structure as smooth as an object is wide. The rest is measured where the sky is
    seen: the deviation from parabolas in areas twice as wide as the widest gap.

    Parameters
    ----------
    shape : float32 (ny, nx)
        The shape, sampled at equal distances; in any unit.
    seen, hidden : bool (ny, nx)
        Where some frame shows the sky; where objects are the reason that none does.

    Returns
    -------
    float
        Rms, in the unit of `shape`; 0 if nothing is hidden, or too little is seen.
    """
    from scipy.ndimage import distance_transform_edt

    if not hidden.any() or not seen.any():
        return 0.0
    gap = 2.0 * float(distance_transform_edt(~seen)[hidden].max())
    down, across = (max(1, int(n / max(2.0 * gap, AREA))) for n in shape.shape)
    squares = freedom = 0.0
    for rows in np.array_split(np.arange(shape.shape[0]), down):
        for columns in np.array_split(np.arange(shape.shape[1]), across):
            where = np.ix_(rows, columns)
            left, terms = _off_parabola(shape[where], seen[where])
            squares, freedom = squares + float(left @ left), freedom + max(left.size - terms, 0)
    return float(np.sqrt(squares / freedom)) if freedom else 0.0


def _off_parabola(shape: Float32, seen: NDArray[np.bool_]) -> tuple[Float64, int]:
    """Deviations of the seen part from its best parabola, and the number of its terms; none if it is too small."""
    v, u = np.meshgrid(*(np.linspace(-1.0, 1.0, n) for n in shape.shape), indexing="ij")
    u, v, g = u[seen], v[seen], shape[seen].astype(np.float64)
    terms = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    if len(terms) <= terms.shape[1]:
        return np.empty(0), 0
    return g - terms @ np.linalg.lstsq(terms, g, rcond=None)[0], terms.shape[1]
