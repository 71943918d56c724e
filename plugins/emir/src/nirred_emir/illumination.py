"""The sky's large-scale structure, and a ring of stray light in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.background import Mesh, mesh_background

Float64 = NDArray[np.float64]

CELLS = 64  # per side: what is smaller is left to the sky
SMALLEST = 8  # pixels of a cell
ORDER = 4  # degree of the response's surface where a ring is sought beside it
LEAST = 0.25  # share of blank pixels from which a cell counts
#: Radii and widths (sigma) of rings that are tried, as shares of the array's half side.
RADII = tuple(np.linspace(0.15, 1.05, 19))
WIDTHS = (0.06, 0.09, 0.13, 0.18, 0.25)


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

    def evaluate(self) -> NDArray[np.float32]:
        """At every pixel."""
        empty = np.zeros_like(self.values)
        return Mesh(self.values, empty, empty, self.shape).evaluate()


@dataclass(frozen=True)
class Split:
    """Response (multiplicative), and the ring of stray light found beside it: height, radius and width (px, sigma)."""

    response: Structure
    height: float
    radius: float
    width: float


def large_scale(flat: NDArray[np.float32], dq: NDArray[np.uint16]) -> float:
    """Peak to peak of a flat's large-scale structure."""
    mesh = mesh_background(flat, dq != 0, 64)
    return _relative(mesh.values, (flat.shape[0], flat.shape[1])).span if np.isfinite(mesh.values).all() else 0.0


def cells(frames: Sequence[tuple[NDArray[np.float32], NDArray[np.uint8], float]]) -> Structure:
    """Mean structure of frames, (data, covered, sky level) each: objects move over it and are left out."""
    shape = frames[0][0].shape
    total, weights = np.zeros(()), np.zeros(())
    for data, covered, sky in frames:
        size = max(SMALLEST, max(shape) // CELLS)
        mesh = mesh_background(data, covered, size, filter=1, minimum=LEAST)
        good = np.where((mesh.shares >= LEAST) & np.isfinite(mesh.values), mesh.shares, 1e-6)
        total = total + good * np.where(np.isfinite(mesh.values), mesh.values, sky)
        weights = weights + good * sky
    return _relative(np.asarray(total / weights, np.float64), (shape[0], shape[1]))


def _relative(values: Float64, shape: tuple[int, int]) -> Structure:
    return Structure(values / np.median(values), shape)


def divide_ring(sky: Structure) -> Split:
    """Split a structure into a smooth response and a ring round the array's centre.

    The ring is a Gaussian of the radius, `height * exp(-(r - radius)^2 / (2 width^2))`, never negative, that together
    with a surface of degree `ORDER` fits the structure best. What neither fits is left in the response.
    """
    ny, nx = sky.values.shape
    v, u = np.meshgrid(*((np.arange(n) + 0.5) * 2.0 / n - 1.0 for n in (ny, nx)), indexing="ij")
    surface = [
        np.polynomial.legendre.legval(v, np.eye(ORDER + 1)[q]) * np.polynomial.legendre.legval(u, np.eye(ORDER + 1)[p])
        for q in range(ORDER + 1)
        for p in range(ORDER + 1 - q)
    ]
    basis = np.stack(surface).reshape(len(surface), -1)
    orthonormal = np.linalg.qr(basis.T)[0].T
    target = _without(sky.values.ravel(), orthonormal)
    radius = np.hypot(u, v).ravel()
    best = (0.0, 0.0, 0.0, 0.0)  # gain, height, radius, width
    for centre, width in product(RADII, WIDTHS):
        ring = _without(np.exp(-0.5 * ((radius - centre) / width) ** 2), orthonormal)
        power = float(np.sum(ring * ring))
        height = float(np.sum(ring * target)) / power if power > 0 else 0.0
        if height > 0 and height * height * power > best[0]:
            best = (height * height * power, height, float(centre), width)
    _, height, centre, width = best
    light = height * np.exp(-0.5 * ((np.hypot(u, v) - centre) / max(width, 1e-6)) ** 2)
    half = max(sky.shape) / 2.0
    return Split(_relative(sky.values - light, sky.shape), height, centre * half, width * half)


def _without(values: Float64, orthonormal: Float64) -> Float64:
    for row in orthonormal:
        values = values - row * float(np.sum(row * values))
    return values
