"""Large-scale structure of the sky, measured on a few frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.mesh import Mesh, mesh_background

Float64 = NDArray[np.float64]

CELLS = 64  # per side: smaller structure is left to the sky
SMALLEST = 8  # pixels of a cell
LEAST = 0.25  # least fraction of blank pixels of a cell that counts
#: A pixel with less than this fraction of the sky around it does not respond, if the difference is SIGNIFICANT.
RESPONDS = 0.65
SIGNIFICANT = 5.0  # sigma


@dataclass(frozen=True)
class Structure:
    """Smooth structure relative to its median, in cells of a plane of `shape`."""

    values: Float64
    shape: tuple[int, int]

    @property
    def span(self) -> float:
        """Peak to peak between the 2nd and the 98th percentile."""
        low, high = np.percentile(self.values, (2.0, 98.0))
        return float(high - low)

    def smoothed(self) -> Structure:
        """The structure without single outlying cells: the median of 3 x 3."""
        rows, columns = self.values.shape
        wide = np.pad(self.values, 1, mode="reflect" if min(rows, columns) > 1 else "edge")
        near = [wide[j : j + rows, i : i + columns] for j in range(3) for i in range(3)]
        return Structure(np.median(near, axis=0), self.shape)

    def evaluate(self) -> NDArray[np.float32]:
        """Value at every pixel."""
        empty = np.zeros_like(self.values)
        return Mesh(self.values, empty, empty, self.shape).evaluate()


def large_scale(flat: NDArray[np.float32], dq: NDArray[np.uint16]) -> float:
    """Peak to peak of a flat's large-scale structure."""
    mesh = mesh_background(flat, dq != 0, 64)
    return relative(mesh.values, (flat.shape[0], flat.shape[1])).span if np.isfinite(mesh.values).all() else 0.0


def cells(frames: Sequence[tuple[NDArray[np.float32], NDArray[np.uint8], float]]) -> Structure:
    """Mean structure of frames, (data, covered, sky level) each; objects are left out and move between frames."""
    shape = frames[0][0].shape
    total, weights = np.zeros(()), np.zeros(())
    for data, covered, sky in frames:
        size = max(SMALLEST, max(shape) // CELLS)
        mesh = mesh_background(data, covered, size, filter=1, minimum=LEAST)
        good = np.where((mesh.shares >= LEAST) & np.isfinite(mesh.values), mesh.shares, 1e-6)
        total = total + good * np.where(np.isfinite(mesh.values), mesh.values, sky)
        weights = weights + good * sky
    return relative(np.asarray(total / weights, np.float64), (shape[0], shape[1]))


def unresponsive(frames: Iterable[tuple[NDArray[np.float32], float]], structure: Structure) -> NDArray[np.bool_]:
    """Pixels that do not see the sky: too faint in more than half of the frames, (data, sky level) each.

    Objects need no mask, because they only make a pixel brighter.
    """
    expected = structure.evaluate() * np.float32(RESPONDS)
    count, low = 0, np.zeros(structure.shape, np.uint8)
    for data, sky in frames:
        low += data < expected * np.float32(sky)
        count += 1
    return np.asarray(2 * low.astype(np.int16) > count)


def relative(values: Float64, shape: tuple[int, int]) -> Structure:
    """Structure of values relative to their median."""
    return Structure(values / np.median(values), shape)
