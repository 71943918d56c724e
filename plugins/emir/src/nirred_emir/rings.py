"""Separation of rings of stray light from the response, by shape alone.

The sky's structure is modelled as a surface of low degree, lumps of response, and rings. The power of the lumps on
each scale is unknown: it is estimated from the residuals of surface and rings, and must not increase with wavenumber.
Sets of rings are compared by the profile likelihood of a Gaussian random field: the better one leaves less power where
there was little.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .illumination import Structure, relative

Float64 = NDArray[np.float64]

ORDER = 6  # degree of the response's surface
#: Radii and widths (sigma) of trial rings, as fractions of the array's half side; fitted values stay between LIMITS of
#: (x and y of the centre, radius, width).
RADII = tuple(np.linspace(0.15, 0.95, 17))
WIDTHS = (0.06, 0.09, 0.13, 0.18, 0.25)
LIMITS = np.array([[-0.4, -0.4, 0.1, 0.03], [0.4, 0.4, 0.95, 0.4]])
HOLE = 1.5  # smallest radius of a ring, in widths: a disc is not a ring
MOST = 3  # rings
#: Least height of a ring, relative to the sky, and least gain in log-likelihood (ln) for the first ring and for further
#: ones. In 64 fields of lumps of 1 %, 8 to 30 cells wide, spurious rings gained 2 to 61; a real one of 1 % among lumps
#: of 12 cells or more gained 150 to 620. If stray light is an ellipse, further rings compensate for the difference in
#: shape, with heights that cancel.
HEIGHT, GAIN, FURTHER = 0.001, 60.0, 250.0
#: Degrees of polynomials, about the number of half waves across the array: degrees below the last one are compared, and
#: the lumps have one power per band.
BANDS = np.array([4.5, 6.0, 8.5, 12.0, 17.0, 24.0, 32.0])
NOTHING = 1e-14  # power of a structure without noise
ROUNDS, STEPS = 4, 15  # iterations of the powers; of the fit


@dataclass(frozen=True)
class Ring:
    """A ring of stray light: height (relative to the sky), centre, radius and width (px; sigma)."""

    height: float
    centre: tuple[float, float]
    radius: float
    width: float


@dataclass(frozen=True)
class Split:
    """Response (multiplicative) and rings of stray light, the highest first."""

    response: Structure
    rings: tuple[Ring, ...] = ()

    @property
    def height(self) -> float:
        """Height of the highest ring; 0 without any."""
        return max((ring.height for ring in self.rings), default=0.0)


def divide_rings(sky: Structure) -> Split:
    """Split a structure into a smooth response and rings of stray light.

    To a surface of degree `ORDER` and lumps of unknown power, rings are added one by one, as long as each increases the
    likelihood sufficiently. A ring has a Gaussian profile in the distance from its own centre, and may be brighter on
    one side. Centres, radii and widths of all rings are then fitted together. Residuals of surface and rings are left
    in the response.
    """
    model = _Rings(sky.values)
    places, power = np.zeros((0, 4)), model.powers(np.zeros((0, 4)), model.even)
    best, lights = model.likelihood(places, power), np.zeros((0, sky.values.size))
    while len(places) < MOST:
        # Lumps of known power can explain a ring, whose power is included in theirs before it is found: both are tried.
        tried = [model.with_another(places, start) for start in (model.even, power)]
        likelier, more, left = max(tried, key=lambda t: t[0])
        light = model.lights(more, left)
        heights = light.max(axis=1)
        if (
            likelier < best + (FURTHER if len(places) else GAIN)
            or heights.min() < HEIGHT
            or heights.max() > 2 * sky.span
        ):
            break
        best, places, power, lights = likelier, more, left, light
    total = np.clip(lights.sum(axis=0), 0.0, None).reshape(sky.values.shape)
    half = np.array(sky.shape[::-1]) / 2.0
    rings = [
        Ring(float(own.max()), (half[0] * (1 + x) - 0.5, half[1] * (1 + y) - 0.5), r * half.max(), w * half.max())
        for own, (x, y, r, w) in zip(lights, places.tolist(), strict=True)
    ]
    return Split(relative(sky.values - total, sky.shape), tuple(sorted(rings, key=lambda r: -r.height)))


class _Rings:
    """Fit of rings in the presence of a surface and lumps; places are rows of (x, y, radius, width) in half sides.

    Data and model are compared as amplitudes of products of Legendre polynomials, which are independent for a field of
    lumps and not affected by edges; those of low degree belong to the surface and are left out.
    """

    def __init__(self, values: Float64) -> None:
        along = [(np.arange(n) + 0.5) * 2.0 / n - 1.0 for n in values.shape]
        self._v, self._u = np.meshgrid(*along, indexing="ij")
        most = [min(int(BANDS[-1]), n) for n in values.shape]
        q, p = np.meshgrid(*(np.arange(n) for n in most), indexing="ij")
        degree = np.hypot(p, q).ravel()
        self._kept = np.flatnonzero((degree < BANDS[-1]) & ((p + q).ravel() > ORDER))
        self._bands = np.searchsorted(BANDS[:-1], degree[self._kept], side="right")
        self._counts = np.bincount(self._bands, minlength=len(BANDS))
        self.even: Float64 = np.ones(len(BANDS))
        #: Orthonormal on the cells, (degrees, cells) of each axis.
        self._basis = [
            np.linalg.qr(np.polynomial.legendre.legvander(x, n - 1))[0].T for x, n in zip(along, most, strict=True)
        ]
        self._data = self._seen_by(values[None])[0]
        self._known: dict[bytes, Float64] = {}
        self.weigh(self.even)

    def _seen_by(self, images: Float64) -> Float64:
        """Amplitudes of the polynomials for images (n, ny, nx)."""
        found = self._basis[0] @ images @ self._basis[1].T  # small: on one thread whatever BLAS may do with large ones
        return np.asarray(found.reshape(len(images), -1)[:, self._kept])

    def weigh(self, power: Float64) -> None:
        """Weight amplitudes by the power of the lumps in their band."""
        self._weights = 1.0 / np.sqrt(power[self._bands])
        self._target = self._data * self._weights

    def powers(self, places: Float64, power: Float64) -> Float64:
        """Power of the lumps in each band, given rings fitted with `power`; it does not increase with degree."""
        for _ in range(ROUNDS):
            self.weigh(power)
            left = self.residual(places) / self._weights
            mean = np.bincount(self._bands, left**2, minlength=len(BANDS)) / np.maximum(self._counts, 1)
            power = np.maximum.accumulate(np.maximum(mean, NOTHING)[::-1])[::-1]
        return np.asarray(power)

    def likelihood(self, places: Float64, power: Float64) -> float:
        """Logarithm of the likelihood of the structure with rings and lumps, up to a constant."""
        self.weigh(power)
        return -0.5 * float(np.sum(self.residual(places) ** 2) + np.sum(self._counts * np.log(power)))

    def with_another(self, places: Float64, power: Float64) -> tuple[float, Float64, Float64]:
        """Likelihood with one more ring, places of all, and remaining power; the search starts with `power`."""
        self.weigh(power)
        more = np.vstack([places, self._first_guess(self.residual(places))])
        for _ in range(ROUNDS):
            more = self._fitted(more)
            power = self.powers(more, power)
            self.weigh(power)
        return self.likelihood(more, power), more, power

    def lights(self, places: Float64, power: Float64) -> Float64:
        """Light of each ring, (rings, cells)."""
        self.weigh(power)
        own = [
            np.einsum("k,kyx->yx", a, self._shapes(p)) for a, p in zip(self._amplitudes(places), places, strict=True)
        ]
        return np.stack(own).reshape(len(places), -1)

    def residual(self, places: Float64) -> Float64:
        """Weighted residuals of the amplitudes after subtraction of the rings."""
        if len(places) == 0:
            return np.asarray(self._target)
        shapes = np.concatenate([self._seen(p) for p in places])
        light = np.einsum("a,an->n", self._amplitudes(places).ravel(), shapes)
        return np.asarray(self._target - light, np.float64)

    def _shapes(self, place: Float64) -> Float64:
        """A ring of height 1, and the same multiplied by cosine and sine of the azimuth."""
        x, y = self._u - place[0], self._v - place[1]
        radius = np.maximum(np.hypot(x, y), 1e-6)
        ring = np.exp(-0.5 * ((radius - place[2]) / place[3]) ** 2)
        return np.stack([ring, ring * x / radius, ring * y / radius])

    def _seen(self, place: Float64) -> Float64:
        """Weighted amplitudes of `_shapes`, (3, amplitudes)."""
        key = place.tobytes()
        if key not in self._known:
            self._known[key] = self._seen_by(self._shapes(place))
        return np.asarray(self._known[key] * self._weights)

    def _amplitudes(self, places: Float64) -> Float64:
        """Amplitudes (rings, 3) of the shapes of each ring, limited so that no part of a ring is negative."""
        seen = np.concatenate([self._seen(p) for p in places])
        normal = np.einsum("an,bn->ab", seen, seen)
        normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
        found = np.linalg.solve(normal, np.einsum("an,n->a", seen, self._target)).reshape(-1, 3)
        found[:, 0] = np.maximum(found[:, 0], 0.0)
        sides = np.hypot(found[:, 1], found[:, 2])
        found[:, 1:] *= np.minimum(1.0, found[:, 0] / np.maximum(sides, 1e-12))[:, None]
        return np.asarray(found)

    def _first_guess(self, left: Float64) -> Float64:
        """The ring round the array's centre that reduces the residuals most."""
        best, gain = np.array([0.0, 0.0, RADII[0], WIDTHS[0]]), 0.0
        for radius, width in product(RADII, WIDTHS):
            if radius < HOLE * width:
                continue
            place = np.array([0.0, 0.0, radius, width])
            ring = self._seen(place)[0]
            power, height = float(np.sum(ring * ring)), float(np.sum(ring * left))
            if height > 0 and power > 0 and height * height / power > gain:
                best, gain = place, height * height / power
        return best

    def _fitted(self, places: Float64) -> Float64:
        """Places fitted by least squares (Levenberg-Marquardt)."""
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
