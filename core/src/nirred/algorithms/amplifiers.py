"""Levels of a detector's amplifiers, which drift independently, separated from the smooth sky and from sources.

Levels are measured together with a low-order surface that runs through all amplifiers. Both must be subtracted: a
surface that was fitted to a detector with steps has followed them in part and left slopes inside the amplifiers, and
only levels and surface together undo that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import as_mask
from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.surface import Surface
from nirred.algorithms.typical import median

Float64 = NDArray[np.float64]
Box = tuple[slice, slice]

#: Side of the boxes in which a flat's large scale is measured, pixels.
GAIN_MESH = 32
#: Least share of good pixels of a cell that is used.
LEAST = 0.25
#: Weight of "no offset" relative to that of one cell: decides only what the data leave undetermined.
_PRIOR = 1e-4
#: Pixels this many sigma from a cell's level are left out of its mean.
_CLIP = np.float32(2.0)
#: Iterations for levels that vary inside an amplifier: each leaves their relative variation times the error.
_ROUNDS = 3
#: Iterations that part frames' levels from those of their skies: each leaves 1/(frames in a sky) of the error.
_UNMIXED = 30
#: Width of the cells next to an edge, in pixels, and the smallest useful one.
_STRIP, _NARROWEST = 16, 4


def amplifier_levels(
    data: ArrayLike,
    covered: ArrayLike,
    boxes: Sequence[Box],
    *,
    order: int = 2,
    size: int = 64,
    gain: NDArray[np.float32] | None = None,
) -> tuple[Float64, Surface]:
    """Measure the levels of an image's amplifiers, and the surface that runs through all of them.

    The slope inside the amplifiers separates a surface from levels that rise like one: cells are at most a quarter of
    an amplifier wide. Where levels and surface are degenerate, their sum is well determined, their shares are not.

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
        Largest side of the cells in which the background is measured, in pixels.
    gain : float32 (ny, nx), optional
        Factor on the levels, about 1 and smooth: the reciprocal of a flat that was divided out.

    Returns
    -------
    levels : ndarray of float64, shape (n_boxes,)
        In the data's unit, mean 0 over the measured ones; NaN for an amplifier without blank cells. Their error is 1.2
        sigma of a pixel over the root of the amplifier's number of blank pixels, apart from what the surface can share.
    surface : Surface
        Fitted to the rest; its mean is the image's level.

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
    degrees = [(q, p) for q in range(order + 1) for p in range(order + 1 - q)]
    coefficients = np.zeros((order + 1, order + 1))
    if known.size < 2:
        levels[known] = 0.0
        return levels, Surface(coefficients, (image.shape[0], image.shape[1]))
    along = np.polynomial.legendre.legvander(place, order)  # (cell, axis, degree)
    surface = np.stack([along[:, 0, q] * along[:, 1, p] for q, p in degrees], axis=1)
    uneven = _unevenness(gain, place, image.shape)
    shape, levels[known] = _levels_and_shape(surface, np.searchsorted(known, owner), value, weight, uneven)
    rows, columns = zip(*degrees, strict=True)
    coefficients[rows, columns] = shape
    return levels, Surface(coefficients, (image.shape[0], image.shape[1]))


def _unevenness(gain: NDArray[np.float32] | None, place: Float64, shape: tuple[int, ...]) -> Float64:
    """Factor on the levels at the cells, minus 1."""
    if gain is None:
        return np.zeros(len(place))
    y, x = ((0.5 * (place[:, k] + 1.0) * shape[k]).astype(np.intp) for k in (0, 1))
    return np.asarray(gain[y, x] - 1.0)


def _levels_and_shape(
    surface: Float64, owner: NDArray[np.intp], value: Float64, weight: Float64, uneven: Float64
) -> tuple[Float64, Float64]:
    """Coefficients of the surface, and levels of mean 0, which are multiplied by 1 + `uneven` in the cells."""
    beyond = np.zeros(value.size)
    for _ in range(_ROUNDS if uneven.any() else 1):
        shape, found = _solve(surface, owner, value - beyond, weight)
        levels = found - found.mean()
        beyond = levels[owner] * uneven
    shape[0] += found.mean()
    return shape, levels


def gain_of_levels(per_electron: NDArray[np.float32], bad: NDArray[np.uint8]) -> NDArray[np.float32] | None:
    """Smooth factor by which division by the flat, meant for light, changed the electronic levels of amplifiers.

    Parameters
    ----------
    per_electron : float32 (ny, nx)
        The noise model's, over its usual value: 1 / flat.
    bad : uint8 (ny, nx)
        Non-zero where unusable.

    Returns
    -------
    float32 (ny, nx) or None
        None if too few pixels are good.
    """
    mesh = mesh_background(per_electron, bad, GAIN_MESH, filter=1)
    return mesh.evaluate() if np.isfinite(mesh.values).all() else None


def take_levels_off(
    data: NDArray[np.float32],
    boxes: Sequence[Box],
    levels: ArrayLike,
    surface: Surface | None = None,
    gain: NDArray[np.float32] | None = None,
) -> None:
    """Subtract levels of amplifiers, times `gain` (ny, nx), and a surface from an image, in place."""
    values = np.asarray(levels, np.float32)
    surface = surface or Surface.zero((data.shape[0], data.shape[1]))
    cuts = sorted({0, data.shape[0], *(edge for rows, _ in boxes for edge in (rows.start, rows.stop))})
    for start, stop in pairwise(cuts):
        columns = np.zeros(data.shape[1], np.float32)
        for value, (rows, span) in zip(values, boxes, strict=True):
            if rows.start <= start < rows.stop:
                columns[span] = value
        if gain is not None:
            _take_uneven(data[start:stop], columns, gain[start:stop])
            columns[:] = 0
        surface.take_off(data[start:stop], np.arange(start, stop), columns)


@kernel
def _take_uneven(data: np.ndarray, columns: np.ndarray, gain: np.ndarray) -> None:
    """Subtract levels of columns times a gain."""
    for y in range(data.shape[0]):
        line, factor = data[y], gain[y]
        for x in range(columns.size):
            line[x] -= columns[x] * factor[x]


def _bands(boxes: Sequence[Box]) -> dict[tuple[int, int], list[int]]:
    """Boxes by the rows that they share: {(first row, row after the last): their numbers}."""
    bands: dict[tuple[int, int], list[int]] = {}
    for k, (rows, _) in enumerate(boxes):
        bands.setdefault((rows.start, rows.stop), []).append(k)
    return bands


def _cells(
    image: NDArray[np.float32], mask: NDArray[np.uint8], boxes: Sequence[Box], size: int
) -> tuple[NDArray[np.intp], Float64, Float64, Float64]:
    """Cells with enough blank pixels: number of their box, position (y, x) from -1 to 1, level, blank share."""
    numbers, places, values, shares = [], [], [], []
    for (start, stop), members in _bands(boxes).items():
        height = min(size, max((stop - start) // 4, 1))
        rows = np.linspace(start, stop, max(1, round((stop - start) / height)) + 1).astype(np.intp)
        columns, owners = _columns([boxes[k][1] for k in members], size)
        level, share = np.empty((2, rows.size - 1, owners.size))
        _cell_levels(image, mask, rows, columns, level, share)
        j, i = np.nonzero(share >= LEAST)
        numbers.append(np.asarray(members)[owners[i]])
        middle = (rows[j] + rows[j + 1]) / image.shape[0], columns.sum(axis=1)[i] / image.shape[1]
        places.append(np.stack(middle, axis=1) - 1.0)
        values.append(level[j, i])
        shares.append(share[j, i])
    return np.concatenate(numbers), np.concatenate(places), np.concatenate(values), np.concatenate(shares)


def _columns(spans: Sequence[slice], size: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First column and column after the last of each cell, and the index of its span."""
    cells, owners = [], []
    for k, span in enumerate(spans):
        width = span.stop - span.start
        n = max(1, round(width / min(size, max(width // 4, 1))))
        edges = np.linspace(span.start, span.stop, n + 1).astype(np.intp)
        cells.append(np.stack([edges[:-1], edges[1:]], axis=1))
        owners.append(np.full(n, k))
    return np.concatenate(cells), np.concatenate(owners)


@subkernel
def _first_level(
    image: np.ndarray, bad: np.ndarray, top: int, end: int, first: int, last: int, sample: np.ndarray
) -> tuple[np.float32, np.float32]:
    """Median and half the central 68 % of some 32 pixels; -1 for the latter where fewer than 4 are good."""
    down, along = max(1, (end - top) // 8), max(1, (last - first) // 4)
    n = 0
    for y in range(top + down // 2, end, down):
        for x in range(first + (along // 2 + y) % along, last, along):
            value = image[y, x]
            if n < sample.size and bad[y, x] == 0 and abs(value) < np.inf:
                k = n
                while k > 0 and sample[k - 1] > value:
                    sample[k] = sample[k - 1]
                    k -= 1
                sample[k] = value
                n += 1
    if n < 4:
        return np.float32(0), np.float32(-1)
    return sample[n // 2], np.float32(0.5) * (sample[(84 * n) // 100] - sample[(16 * n) // 100])


@kernel
def _cell_levels(
    image: np.ndarray, bad: np.ndarray, rows: np.ndarray, columns: np.ndarray, levels: np.ndarray, shares: np.ndarray
) -> None:
    """Clipped mean of each cell and its share of the cell's pixels; columns are summed first, many at a time."""
    sample, width = np.empty(96, np.float32), image.shape[1]
    centre, room = np.zeros(width, np.float32), np.full(width, np.float32(-1))
    count, total = np.empty(width, np.int32), np.empty(width, np.float32)
    for j in range(rows.size - 1):
        top, end = rows[j], rows[j + 1]
        for i in range(columns.shape[0]):
            first, last = columns[i]
            guess, spread = _first_level(image, bad, top, end, first, last, sample)
            centre[first:last], room[first:last] = guess, _CLIP * spread
        for step in (4, 1):  # the mean of every fourth row, and about that one the mean of all
            count[:], total[:] = 0, 0
            for y in range(top, end, step):
                line, flags = image[y], bad[y]
                for x in range(width):
                    rest = line[x] - centre[x]
                    inside = (abs(rest) <= room[x]) & (flags[x] == 0)
                    count[x] += np.int32(inside)
                    total[x] += rest if inside else np.float32(0)
            for i in range(columns.shape[0]):
                first, last = columns[i]
                n = count[first:last].sum()
                if n > 0:
                    centre[first:last] = centre[first] + total[first:last].sum() / n
                levels[j, i], shares[j, i] = centre[first], n / ((end - top) * (last - first))


def _solve(terms: Float64, owner: NDArray[np.intp], values: Float64, weights: Float64) -> tuple[Float64, Float64]:
    """Coefficients of terms (cell, term) and level of each owner, weakly drawn to 0, by least squares.

    Robust by Tukey's biweight (6 sigma). The owners' part of the normal equations is diagonal: they are eliminated.
    """
    robust = np.ones_like(values)
    free = 1e-12 * np.eye(terms.shape[1])
    for _ in range(8):
        both = weights * robust
        weighted = terms * both[:, None]
        # plain sums, not BLAS products: the same bits on any number of threads
        own = np.bincount(owner, both) + _PRIOR
        mixed = np.stack([np.bincount(owner, column) for column in weighted.T], axis=1) / own[:, None]
        mean = np.bincount(owner, both * values) / own
        beside = terms - mixed[owner]
        normal = np.einsum("na,nb->ab", weighted, beside) + free
        solution = np.linalg.solve(normal, np.einsum("na,n->a", weighted, values - mean[owner]))
        levels = mean - np.einsum("ka,a->k", mixed, solution)
        residual = values - np.einsum("na,a->n", terms, solution) - levels[owner]
        scatter = 1.4826 * median(np.abs(residual))
        if scatter <= 1e-12 * float(np.max(np.abs(values), initial=0.0)):
            break
        robust = np.clip(1.0 - (residual / (6.0 * scatter)) ** 2, 0.0, None) ** 2
    return np.asarray(solution, np.float64), levels


def edge_levels(data: ArrayLike, bad: ArrayLike, boxes: Sequence[Box]) -> Float64:
    """Levels of amplifiers from the jumps at their common edges.

    Light continues across an edge; only a level ends there. This measures the steps of a deep image with structure of
    its own, such as a sky pattern with stray light, which no low-order surface can follow. Errors of the jumps add up
    over the detector: the smooth part of the levels is poorly determined.

    Parameters
    ----------
    data : array_like, shape (ny, nx)
        Image.
    bad : array_like, shape (ny, nx)
        Non-zero where a pixel is not to be used.
    boxes : sequence of (slice, slice)
        Rows and columns of each amplifier.

    Returns
    -------
    ndarray of float64, shape (n_boxes,)
        Levels in the data's unit; a jump of less than 3 times its error counts as none. Their mean is 0, also in each
        part that a dead amplifier cuts off: the difference between such parts cannot be measured.
    """
    image = np.asarray(data, np.float32)
    mask = as_mask(bad, image.shape)
    n = len(boxes)
    normal, right = np.full((n, n), 1.0), np.zeros(n)  # the sum of the levels is 0
    for k, (rows, columns) in enumerate(boxes):
        for j, (beside, across) in enumerate(boxes):
            if across.start == columns.stop:
                found = _jump(image, mask, (rows, columns), (beside, across))
            elif beside.start == rows.stop:
                found = _jump(image.T, mask.T, (columns, rows), (across, beside))
            else:
                continue
            jump, weight = found
            normal[k, k] += weight
            normal[j, j] += weight
            normal[k, j] -= weight
            normal[j, k] -= weight
            right[j] += weight * jump
            right[k] -= weight * jump
    linked = normal != 1.0
    for _ in range(n.bit_length()):
        linked |= linked @ linked
    normal[~(linked | np.eye(n, dtype=bool))] = 0.0
    normal += 1e-9 * np.eye(n)
    return np.asarray(np.linalg.solve(normal, right), np.float64)


def _jump(image: NDArray[np.float32], mask: NDArray[np.uint8], one: Box, other: Box) -> tuple[float, float]:
    """Jump from one box to the other, on its right, and its weight; both 0 if it cannot be measured.

    On either side two cells are extrapolated linearly to the edge; curvature cancels.
    """
    start, stop = max(one[0].start, other[0].start), min(one[0].stop, other[0].stop)
    edge = one[1].stop
    size = min(_STRIP, (one[1].stop - one[1].start) // 2, (other[1].stop - other[1].start) // 2)
    if stop - start < size or size < _NARROWEST:
        return 0.0, 0.0
    place = slice(start, stop), slice(edge - 2 * size, edge + 2 * size)
    mesh = mesh_background(np.ascontiguousarray(image[place]), np.ascontiguousarray(mask[place]), size, filter=1)
    known = np.flatnonzero((mesh.shares >= LEAST).all(axis=1))
    if known.size < 3:
        return 0.0, 0.0
    jumps = mesh.values[known] @ np.array([0.5, -1.5, 1.5, -0.5])
    jump = float(np.median(jumps))
    error = 1.253 * 1.4826 * float(np.median(np.abs(jumps - jump))) / np.sqrt(known.size)
    return jump if abs(jump) > 3.0 * error else 0.0, 1.0 / max(error, 1e-6) ** 2


def unmix(measured: ArrayLike, shares: ArrayLike) -> Float64:
    """Levels of frames from those measured after sky subtraction, where each had a mean of others subtracted.

    Parameters
    ----------
    measured : array_like, shape (n, k)
        Levels of each frame minus its sky, k amplifiers.
    shares : array_like, shape (n, n)
        Share of frame j in the sky of frame i; rows sum to 1 or are 0.

    Returns
    -------
    ndarray of float64, shape (n, k)
        ``measured + shares @ levels``, solved by iteration; the part common to all frames is unknown and set to 0.
    """
    seen = np.asarray(measured, np.float64)
    mixed = np.asarray(shares, np.float64)
    levels = seen - seen.mean(axis=0)
    for _ in range(_UNMIXED):
        levels = seen + np.einsum("ij,jk->ik", mixed, levels)
        levels -= levels.mean(axis=0)
    return np.asarray(levels)
