"""Input pixels under the pixels of an output grid: nearest pixels, masked shares, areas."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.pixelmap import PixelMap


@dataclass(frozen=True)
class Survey:
    """Input under the pixels of rows of an output grid, each array of shape (rows, nx).

    Parameters
    ----------
    index : int32
        Nearest pixel, as an index into the ravelled input rows; -1 outside the input.
    hidden : float32
        Share of masked pixels in a bilinear interpolation, 0 to 1; 1 outside the input.
    area : float32
        Input area per output area.
    """

    index: NDArray[np.int32]
    hidden: NDArray[np.float32]
    area: NDArray[np.float32]


def survey_rows(
    bad: NDArray[np.uint8] | None,
    pixelmap: PixelMap,
    rows: tuple[int, int],
    part: tuple[int, int],
    shape: tuple[int, int],
) -> Survey:
    """Find nearest pixels, masked shares and areas under rows of the output grid.

    Parameters
    ----------
    bad : uint8 (high - low, nx), or None
        Not zero where a pixel of rows [low, high) of the input is masked.
    pixelmap : PixelMap
        From output to input.
    rows : (int, int)
        Rows [first, last) of the output grid.
    part : (int, int)
        Available rows [low, high) of the input.
    shape : (int, int)
        (ny, nx) of the whole input.
    """
    size = (rows[1] - rows[0], pixelmap.shape[1])
    found = Survey(np.empty(size, np.int32), np.empty(size, np.float32), np.empty(size, np.float32))
    how, extent = (pixelmap.step, rows[0]), (*part, *shape)
    _survey(pixelmap.nodes, how, extent, found.index, found.area, found.hidden)
    if bad is not None and bad.any():
        _hide(pixelmap.nodes, how, extent, bad, _round(bad), found.index, found.hidden)
    return found


def pick_rows(
    plane: np.ndarray,
    bad: NDArray[np.uint8] | None,
    pixelmap: PixelMap,
    rows: tuple[int, int],
    part: tuple[int, int],
    out: np.ndarray,
    fill: float,
) -> None:
    """Take the nearest pixels of a plane under rows of the output grid, `fill` where none is good.

    Parameters
    ----------
    plane : (high - low, nx)
        Rows [low, high) of the input, of any dtype.
    bad, pixelmap, rows
        As in `survey_rows`.
    part : (int, int)
        `low`, and rows of the whole input.
    out : (last - first, width)
        Receives the values; of the dtype of `plane`.
    fill : float
        A value of that dtype.
    """
    extent = (part[0], part[0] + plane.shape[0], part[1], plane.shape[1])
    mask = np.empty(0, np.uint8) if bad is None else bad.reshape(-1)
    how, value = (pixelmap.step, rows[0]), plane.dtype.type(fill)
    _pick(pixelmap.nodes, how, extent, np.ascontiguousarray(plane).reshape(-1), mask, value, out)


def _round(bad: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Not zero where a pixel or one of its eight neighbours is."""
    rows = bad.copy()
    rows[1:] |= bad[:-1]
    rows[:-1] |= bad[1:]
    both = rows.copy()
    both[:, 1:] |= rows[:, :-1]
    both[:, :-1] |= rows[:, 1:]
    return both


@subkernel
def _hidden(bad: np.ndarray, low: int, ny: int, x: float, y: float) -> float:
    """Masked share of the four pixels around a position, without those beyond the edge."""
    ix, iy = int(x + 1.0) - 1, int(y + 1.0) - 1
    masked, weight = 0.0, 0.0
    for j in range(2):
        across = y - iy if j else 1.0 + iy - y
        for i in range(2):
            share = across * (x - ix if i else 1.0 + ix - x)
            if 0 <= iy + j < ny and 0 <= ix + i < bad.shape[1]:
                weight += share
                masked += share * (bad[iy + j - low, ix + i] != 0)
    return masked / weight


@subkernel
def _spread(nodes: np.ndarray, step: int, out: np.ndarray) -> None:
    """Values in a row of nodes at all pixels, linear between nodes."""
    part = 1.0 / step  # a power of two
    for axis in range(out.shape[0]):
        line, places = nodes[axis], out[axis]
        for i in range(line.size - 1):
            start, slope = line[i], (line[i + 1] - line[i]) * part
            for k in range(min(step, places.size - i * step)):
                places[np.uint64(i * step + k)] = start + k * slope


@subkernel
def _nodes_round(
    nodes: np.ndarray, how: tuple[int, int], r: int, known: int, above: np.ndarray, below: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, float]:
    """Rows of nodes above and below a row of the output, at all pixels, and which these are; `known` were before."""
    step, first = how
    j = (first + r) // step
    if j != known:
        above, below = below, above
        if j != known + 1:
            _spread(nodes[:, j], step, above)
        _spread(nodes[:, j + 1], step, below)
    return above, below, j, (first + r - j * step) / step


@subkernel
def _places(
    above: np.ndarray, below: np.ndarray, down: float, extent: tuple[int, int, int, int], places: np.ndarray
) -> None:
    """Nearest pixels of a row, -1 outside; one long loop for the vector unit."""
    low, high, _, nx = extent
    top, bottom, width = np.float64(low) - 0.5, np.float64(high) - 0.5, np.float64(nx)
    right, x0, y0, x1, y1 = width - 0.5, above[0], above[1], below[0], below[1]
    for c in range(places.size):
        x, y = x0[c] + down * (x1[c] - x0[c]), y0[c] + down * (y1[c] - y0[c])
        inside = (x >= -0.5) & (x < right) & (y >= top) & (y < bottom)
        place = np.floor(y - top) * width + np.floor(x + 0.5)  # exact: far below 2^53
        places[c] = np.int32(place if inside else -1.0)


@kernel
def _survey(
    nodes: np.ndarray,
    how: tuple[int, int],
    extent: tuple[int, int, int, int],
    index: np.ndarray,
    area: np.ndarray,
    hidden: np.ndarray,
) -> None:
    """Nearest pixels, areas and pixels outside, by rows of nodes."""
    shape, zero, one = (3, index.shape[1]), np.float32(0), np.float32(1)
    above, below, known = np.empty(shape), np.empty(shape), -9
    for r in range(index.shape[0]):
        above, below, known, down = _nodes_round(nodes, how, r, known, above, below)
        places, sizes, outside, area0, area1 = index[r], area[r], hidden[r], above[2], below[2]
        _places(above, below, down, extent, places)
        for c in range(places.size):
            sizes[c] = area0[c] + down * (area1[c] - area0[c])
            outside[c] = one if places[c] < 0 else zero


@kernel
def _pick(
    nodes: np.ndarray,
    how: tuple[int, int],
    extent: tuple[int, int, int, int],
    flat: np.ndarray,
    bad: np.ndarray,
    fill: np.float32,
    out: np.ndarray,
) -> None:
    """Nearest pixels of the ravelled input, those that are masked or not finite left out."""
    shape, places = (2, out.shape[1]), np.empty(out.shape[1], np.int32)
    above, below, known = np.empty(shape), np.empty(shape), -9
    for r in range(out.shape[0]):
        above, below, known, down = _nodes_round(nodes[:2], how, r, known, above, below)
        _places(above, below, down, extent, places)
        row = out[r]
        if bad.size:
            for c in range(places.size):
                k = np.uint64(places[c] if places[c] >= 0 else 0)
                row[c] = flat[k] if (places[c] >= 0) & (bad[k] == 0) else fill
        else:
            for c in range(places.size):
                k = np.uint64(places[c] if places[c] >= 0 else 0)
                row[c] = flat[k] if (places[c] >= 0) else fill


@subkernel
def _between(rows: np.ndarray, i: int, tx: float, ty: float) -> float:
    left = rows[0, i] * (1.0 - ty) + rows[1, i] * ty
    right = rows[0, i + 1] * (1.0 - ty) + rows[1, i + 1] * ty
    return left * (1.0 - tx) + right * tx


@kernel
def _hide(
    nodes: np.ndarray,
    how: tuple[int, int],
    extent: tuple[int, int, int, int],
    bad: np.ndarray,
    near: np.ndarray,
    index: np.ndarray,
    hidden: np.ndarray,
) -> None:
    """Masked shares of the pixels that have one masked pixel nearby, which are few."""
    (step, first), (low, _, ny, _) = how, extent
    flat = near.ravel()
    for r in range(index.shape[0]):
        j = (first + r) // step
        ty = (first + r - j * step) / step
        for c in range(index.shape[1]):
            if index[r, c] >= 0 and flat[index[r, c]]:
                i = c // step
                tx = (c - i * step) / step
                x, y = _between(nodes[0, j : j + 2], i, tx, ty), _between(nodes[1, j : j + 2], i, tx, ty)
                hidden[r, c] = _hidden(bad, low, ny, x, y)
