"""Holes of saturated stars: regions that read low because the detector went past its well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel, subkernel
from nirred.algorithms.flags import SATURATED

MAX_HOLE = 10_000  # pixels; a larger region inside a saturated ring is sky, not the core of a star


def flag_holes(
    counts: NDArray[np.float32], non_linear: np.float32, seeds: NDArray[np.intp], dq: NDArray[np.uint16]
) -> None:
    """Flag the holes of saturated stars as saturated, where an infrared detector reads low.

    A hole is a 4-connected region of at most `MAX_HOLE` pixels below the non-linear level whose enclosing
    8-connected clump (pixels at or above that level) holds a saturated pixel with at least two neighbours
    in the clump. Hot pixels are single or in pairs and enclose nothing; most frames have no other
    saturated pixels and need no search. Only the bounding boxes of such clumps are searched: a clump's holes
    lie inside its box and never touch the box's edge. Hence a region that reaches the border of the array
    is not a hole, nor is the sky of a small sub-array (itself <= `MAX_HOLE` pixels).

    Parameters
    ----------
    counts : (ny, nx) float32
        Raw numbers, ADU.
    non_linear : float32
        ADU.
    seeds : (n,) array of int
        Flat indices of the saturated pixels.
    dq : (ny, nx) uint16
        Changed in place.
    """
    nx = counts.shape[1]
    around = [dy * nx + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    # At the edges this looks at a wrong pixel, which at worst keeps a seed that encloses nothing.
    high = [np.take(counts, seeds + step, mode="clip") >= non_linear for step in around]
    seeds = seeds[np.sum(high, axis=0) >= 2]
    if seeds.size:
        _flag_holes(counts, non_linear, seeds, np.zeros(counts.shape, np.int32), dq)


@kernel
def _flag_holes(counts: np.ndarray, level: np.float32, seeds: np.ndarray, mark: np.ndarray, dq: np.ndarray) -> None:
    """Flag the holes of every clump that contains a seed; `mark` (zeros) marks visited pixels.

    Clumps and the low regions searched inside them carry the clump's number, so that a region inside
    two nested boxes is judged once for each.
    """
    ny, nx = counts.shape
    origin = np.int64(0)  # no literal: numba compiles anew for each
    stack = np.empty(1024, np.int64)
    clump = 0
    for seed in seeds:
        if mark[seed // nx, seed % nx] != 0:
            continue
        clump += 1
        stack, _, box = _flood(
            counts, level, np.bool_(False), seed, (origin, ny - 1, origin, nx - 1), clump, mark, stack
        )
        top, bottom, left, right = box
        for y in range(top + 1, bottom):
            for x in range(left + 1, right):
                # In reading order a region's first pixel is below a pixel of the enclosing region.
                enclosed = mark[y - 1, x] == clump and counts[y, x] < level and not counts[y - 1, x] < level
                if not enclosed or mark[y, x] == clump:
                    continue
                stack, count, inner = _flood(counts, level, np.bool_(True), y * nx + x, box, clump, mark, stack)
                inside = inner[0] > top and inner[1] < bottom and inner[2] > left and inner[3] < right
                if inside and count <= MAX_HOLE:
                    for i in range(count):
                        dq[stack[i] // nx, stack[i] % nx] |= np.uint16(SATURATED)


@subkernel
def _flood(
    counts: np.ndarray,
    level: np.float32,
    low: bool,
    seed: int,
    limits: tuple[int, int, int, int],
    number: int,
    mark: np.ndarray,
    pixels: np.ndarray,
) -> tuple[np.ndarray, int, tuple[int, int, int, int]]:
    """Number the region below or from a level on round `seed` within `limits`: 4-connected if low, else 8-connected.

    Returns the region's flat indices (a queue, grown as needed), their count and the bounding box.
    """
    nx = counts.shape[1]
    top = bottom = seed // nx
    left = right = seed % nx
    pixels[0] = seed
    mark[top, left] = number
    count, done = 1, 0
    while done < count:
        y, x = pixels[done] // nx, pixels[done] % nx
        done += 1
        top, bottom, left, right = min(top, y), max(bottom, y), min(left, x), max(right, x)
        if count + 8 > pixels.size:
            pixels = np.concatenate((pixels, np.empty_like(pixels)))
        for yy in range(max(y - 1, limits[0]), min(y + 1, limits[1]) + 1):
            for xx in range(max(x - 1, limits[2]), min(x + 1, limits[3]) + 1):
                connected = not low or yy == y or xx == x
                if connected and mark[yy, xx] != number and (counts[yy, xx] < level) == low:
                    mark[yy, xx] = number
                    pixels[count] = yy * nx + xx
                    count += 1
    return pixels, count, (top, bottom, left, right)
