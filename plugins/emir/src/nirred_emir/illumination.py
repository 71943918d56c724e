"""The sky's large-scale structure, and rings of stray light in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.background import Mesh, mesh_background

Float64 = NDArray[np.float64]

CELLS = 64  # per side: what is smaller is left to the sky
SMALLEST = 8  # pixels of a cell
ORDER = 6  # degree of the response's surface where rings are sought beside it
LEAST = 0.25  # share of blank pixels from which a cell counts
#: Radii and widths (sigma) of rings that are tried, as shares of the array's half side; fitted ones stay between LIMITS
#: of (x and y of the centre, radius, width).
RADII = tuple(np.linspace(0.15, 0.95, 17))
WIDTHS = (0.06, 0.09, 0.13, 0.18, 0.25)
LIMITS = np.array([[-0.4, -0.4, 0.1, 0.03], [0.4, 0.4, 0.95, 0.4]])
HOLE = 1.5  # widths that a ring's radius has at least: a disc is no ring
MOST = 3  # rings
#: A ring counts that is at least this high, of the sky, and takes this share off the squares of what is left.
HEIGHT, GAIN = 0.001, 0.5
STEPS = 15  # of the fit
#: A pixel sees less than this share of the sky around it: it does not respond. Sky is known where that is SIGNIFICANT.
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
        """Without single cells that stray: the median of 3 x 3."""
        rows, columns = self.values.shape
        wide = np.pad(self.values, 1, mode="reflect" if min(rows, columns) > 1 else "edge")
        near = [wide[j : j + rows, i : i + columns] for j in range(3) for i in range(3)]
        return Structure(np.median(near, axis=0), self.shape)

    def evaluate(self) -> NDArray[np.float32]:
        """At every pixel."""
        empty = np.zeros_like(self.values)
        return Mesh(self.values, empty, empty, self.shape).evaluate()


@dataclass(frozen=True)
class Ring:
    """A ring of stray light: height (of sky), centre, radius and width (px; sigma)."""

    height: float
    centre: tuple[float, float]
    radius: float
    width: float


@dataclass(frozen=True)
class Split:
    """Response (multiplicative), and the rings of stray light found beside it, the highest first."""

    response: Structure
    rings: tuple[Ring, ...] = ()

    @property
    def height(self) -> float:
        """Of the highest ring; 0 without any."""
        return max((ring.height for ring in self.rings), default=0.0)


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


def unresponsive(frames: Iterable[tuple[NDArray[np.float32], float]], structure: Structure) -> NDArray[np.bool_]:
    """Pixels that do not see the sky: in more than half of the frames, (data, sky level) each, they fall short of it.

    Objects only add to a pixel, whatever they cover.
    """
    expected = structure.evaluate() * np.float32(RESPONDS)
    count, low = 0, np.zeros(structure.shape, np.uint8)
    for data, sky in frames:
        low += data < expected * np.float32(sky)
        count += 1
    return np.asarray(2 * low.astype(np.int16) > count)


def _relative(values: Float64, shape: tuple[int, int]) -> Structure:
    return Structure(values / np.median(values), shape)


def divide_rings(sky: Structure) -> Split:
    """Split a structure into a smooth response and rings of stray light.

    Beside a surface of degree `ORDER` rings are added one by one, as long as each explains `GAIN` of what is left; a
    ring is a Gaussian of the distance from its own centre, brighter on one side where that fits better. Centres, radii
    and widths of all are then fitted together. What neither surface nor rings fit is left in the response.
    """
    model = _Rings(sky.values)
    places = np.zeros((0, 4))
    left = model.residual(places)
    while len(places) < MOST:
        more = model.fitted(np.vstack([places, model.first_guess(left)]))
        rest = model.residual(more)
        heights = model.columns(more, model.amplitudes(more)).max(axis=1)
        if heights.min() < HEIGHT or heights.max() > 2 * sky.span or np.sum(rest**2) > (1 - GAIN) * np.sum(left**2):
            break
        places, left = more, rest
    lights = model.columns(places, model.amplitudes(places))
    light = np.clip(lights.sum(axis=0), 0.0, None).reshape(sky.values.shape)
    half = np.array(sky.shape[::-1]) / 2.0
    rings = [
        Ring(float(own.max()), (half[0] * (1 + x) - 0.5, half[1] * (1 + y) - 0.5), r * half.max(), w * half.max())
        for own, (x, y, r, w) in zip(lights, places.tolist(), strict=True)
    ]
    return Split(_relative(sky.values - light, sky.shape), tuple(sorted(rings, key=lambda r: -r.height)))


class _Rings:
    """Least squares of rings beside a smooth surface; places are rows of (x, y, radius, width) in half sides.

    Plain sums, no BLAS products: the same bits on any number of threads.
    """

    def __init__(self, values: Float64) -> None:
        v, u = np.meshgrid(*((np.arange(n) + 0.5) * 2.0 / n - 1.0 for n in values.shape), indexing="ij")
        self._u, self._v = u.ravel(), v.ravel()
        along = [np.polynomial.legendre.legvander(w, ORDER).T for w in (self._v, self._u)]
        surface = [along[0][q] * along[1][p] for q in range(ORDER + 1) for p in range(ORDER + 1 - q)]
        self._smooth = np.linalg.qr(np.stack(surface).T)[0].T
        self._target = self._beside(values.ravel())

    def _beside(self, values: Float64) -> Float64:
        """Without what the surface fits."""
        shares = np.einsum("kn,...n->...k", self._smooth, values)
        return np.asarray(values - np.einsum("...k,kn->...n", shares, self._smooth))

    def _shapes(self, place: Float64) -> Float64:
        """A ring of height 1, and the same times cosine and sine of the angle."""
        x, y = self._u - place[0], self._v - place[1]
        radius = np.maximum(np.hypot(x, y), 1e-6)
        ring = np.exp(-0.5 * ((radius - place[2]) / place[3]) ** 2)
        return np.stack([ring, ring * x / radius, ring * y / radius])

    def amplitudes(self, places: Float64) -> Float64:
        """(rings, 3) of the shapes of each: never dark, and never darker than nothing on one side."""
        if len(places) == 0:
            return np.zeros((0, 3))
        seen = self._beside(np.concatenate([self._shapes(p) for p in places]))
        normal = np.einsum("an,bn->ab", seen, seen) + 1e-9 * np.eye(len(seen)) * seen.shape[1]
        found = np.linalg.solve(normal, np.einsum("an,n->a", seen, self._target)).reshape(-1, 3)
        found[:, 0] = np.maximum(found[:, 0], 0.0)
        sides = np.hypot(found[:, 1], found[:, 2])
        found[:, 1:] *= np.minimum(1.0, found[:, 0] / np.maximum(sides, 1e-12))[:, None]
        return np.asarray(found)

    def columns(self, places: Float64, amplitudes: Float64) -> Float64:
        """Light of each ring, (rings, cells)."""
        own = [np.einsum("k,kn->n", a, self._shapes(p)) for a, p in zip(amplitudes, places, strict=True)]
        return np.stack(own) if own else np.zeros((0, self._u.size))

    def residual(self, places: Float64) -> Float64:
        """What surface and rings leave."""
        light = self.columns(places, self.amplitudes(places)).sum(axis=0)
        return np.asarray(self._target - self._beside(light))

    def first_guess(self, left: Float64) -> Float64:
        """The ring round the array's centre that takes most off what is left."""
        best, gain = np.array([0.0, 0.0, RADII[0], WIDTHS[0]]), 0.0
        for radius, width in product(RADII, WIDTHS):
            if radius < HOLE * width:
                continue
            place = np.array([0.0, 0.0, radius, width])
            ring = self._beside(self._shapes(place)[0])
            power, height = float(np.sum(ring * ring)), float(np.sum(ring * left))
            if height > 0 and power > 0 and height * height / power > gain:
                best, gain = place, height * height / power
        return best

    def fitted(self, places: Float64) -> Float64:
        """Places of least squares, by Levenberg and Marquardt's method."""
        damping, left = 1e-2, self.residual(places)
        for _ in range(STEPS):
            steps = 1e-4 * np.eye(places.size).reshape(-1, *places.shape)
            slopes = np.stack([(self.residual(places + step) - left) / 1e-4 for step in steps])
            normal = np.einsum("an,bn->ab", slopes, slopes)
            move = np.linalg.solve(
                normal + damping * np.diag(np.diag(normal) + 1e-9), -np.einsum("an,n->a", slopes, left)
            )
            tried = np.clip(places + move.reshape(places.shape), *LIMITS)
            tried[:, 3] = np.minimum(tried[:, 3], tried[:, 2] / HOLE)
            rest = self.residual(tried)
            if np.sum(rest**2) >= np.sum(left**2):
                damping *= 10
                if damping > 1e6:
                    break
                continue
            better = 1 - float(np.sum(rest**2) / np.sum(left**2))
            places, left, damping = tried, rest, damping / 10
            if better < 1e-3:
                break
        return places
