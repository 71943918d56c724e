"""Low-order surfaces fitted to an image's background: measures of gradients."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import Mesh, mesh_background
from nirred.algorithms.least_squares import inverse, normal_equations, robust_solve

#: Rows and columns at which a surface is averaged over the field, pixels.
FIELD_STEP = 16


@njit(nogil=True, cache=True, error_model="numpy")
def _take_off(data, along_y, lines, out):  # type: ignore[no-untyped-def]
    """Write out = data less the sum of separable terms along_y[y, j] * lines[j, x]; out may be data."""
    row = np.empty(lines.shape[1], np.float32)
    for y in range(out.shape[0]):
        row[:] = np.float32(0)
        for j in range(lines.shape[0]):
            factor, line = along_y[y, j], lines[j]
            for x in range(row.size):
                row[x] += factor * line[x]
        source, target = data[y], out[y]
        for x in range(row.size):
            target[x] = source[x] - row[x]


@dataclass(frozen=True, slots=True)
class Surface:
    """Two-dimensional Legendre polynomial over an image.

    Attributes
    ----------
    coefficients, errors : ndarray of float64, shape (order + 1, order + 1)
        Coefficient of ``P_j(v) P_i(u)`` at ``[j, i]``, zero where ``i + j > order``, and 1-sigma errors, in units of
        the data. `u` and `v` run from -1 to 1 along x and y, from outer pixel edge to outer pixel edge, so that
        ``coefficients[0, 1]`` is half the drop across the image along x.
    shape : tuple of int
        Shape of the image.
    """

    coefficients: NDArray[np.float64]
    errors: NDArray[np.float64]
    shape: tuple[int, int]

    def rows(self, start: int, stop: int) -> NDArray[np.float64]:
        """Surface on the image rows ``start:stop``, float64."""
        order = self.coefficients.shape[0] - 1
        along_y = _legendre((np.arange(start, stop) + 0.5) / self.shape[0], order)
        along_x = _legendre((np.arange(self.shape[1]) + 0.5) / self.shape[1], order)
        lines = np.einsum("ji,xi->jx", self.coefficients, along_x)
        out = np.zeros((stop - start, self.shape[1]))
        for j in range(order + 1):
            out += along_y[:, j, None] * lines[j]
        return out

    def take_off(
        self,
        data: NDArray[np.float32],
        rows: NDArray[np.int64] | None = None,
        levels: NDArray[np.float32] | None = None,
        out: NDArray[np.float32] | None = None,
    ) -> None:
        """Subtract the surface from an image or some of its rows, in place or into `out`; and levels of columns."""
        order = self.coefficients.shape[0] - 1
        chosen = np.arange(self.shape[0]) if rows is None else rows
        along_y = _legendre((chosen + 0.5) / self.shape[0], order).astype(np.float32)
        along_x = _legendre((np.arange(self.shape[1]) + 0.5) / self.shape[1], order)
        lines = np.einsum("ji,xi->jx", self.coefficients, along_x).astype(np.float32)
        if levels is not None:
            lines[0] += levels  # the first degree along y is 1
        _take_off(data, along_y, lines, data if out is None else out)

    def taken_off(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """The image less the surface, float32."""
        out = np.empty(self.shape, np.float32)
        self.take_off(data, out=out)
        return out

    def raised(self, by: float) -> Surface:
        """The surface and a constant."""
        coefficients = self.coefficients.copy()
        coefficients[0, 0] += by
        return Surface(coefficients, self.errors, self.shape)

    def times(self, factor: float) -> Surface:
        """The surface times a factor."""
        return Surface(self.coefficients * factor, self.errors * abs(factor), self.shape)

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Surface at positions, pixels from 0, float64."""
        order = self.coefficients.shape[0] - 1
        along_x, along_y = (_legendre((p + 0.5) / n, order) for p, n in zip((x, y), self.shape[::-1], strict=True))
        return np.asarray(np.einsum("ji,...j,...i->...", self.coefficients, along_y, along_x))

    def apart(self, other: Surface) -> float:
        """How far two surfaces, of whatever orders, may differ at most: no Legendre polynomial exceeds 1."""
        longest = max(len(self.coefficients), len(other.coefficients))
        mine, theirs = (np.pad(s.coefficients, (0, longest - len(s.coefficients))) for s in (self, other))
        return float(np.abs(mine - theirs).sum())

    def evaluate(self) -> NDArray[np.float64]:
        """Surface on the whole image, float64."""
        return self.rows(0, self.shape[0])


def _legendre(fraction: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Legendre polynomials 0 to `order` at ``2 fraction - 1``, shape (n, order + 1)."""
    return np.asarray(np.polynomial.legendre.legvander(2.0 * fraction - 1.0, order), np.float64)


def fit_points(
    x: NDArray[np.float64], y: NDArray[np.float64], values: NDArray[np.float64], shape: tuple[int, int], order: int
) -> Surface:
    """Fit a robust low-order surface to values at positions of an image.

    Parameters
    ----------
    x, y, values : float64 (n,)
        Positions in pixels from 0; outlying values are left out.
    shape : (int, int)
        Of the image, (ny, nx).
    order : int
        Highest total degree.

    Returns
    -------
    Surface
        All NaN with infinite errors where there are fewer values than terms.
    """
    ny, nx = shape
    terms = _terms((y + 0.5) / ny, (x + 0.5) / nx, order)
    coefficients = np.zeros((order + 1, order + 1))
    errors = np.zeros_like(coefficients)
    rows, columns = zip(*degrees(order), strict=True)
    if values.size < len(rows):
        coefficients[rows, columns], errors[rows, columns] = np.nan, np.inf
    else:
        coefficients[rows, columns], errors[rows, columns], _ = robust_solve(terms, values, np.ones(values.size))
    return Surface(coefficients, errors, shape)


@dataclass(frozen=True, slots=True)
class NestedSurfaces:
    """Surfaces of order 0 to some order through the same boxes, and what each order is worth.

    Attributes
    ----------
    surfaces : tuple of Surface
        Of order 0, 1 ..., fitted with the same weights.
    gains : tuple of float
        Mean over the lit field of the square of what each order adds to the one below; 0 for the first.
    costs : tuple of float
        The part of `gains` that noise alone makes, for boxes of variance 1 / share of good pixels.
    chi2 : float
        Sum of share times squared residual of the highest order; divided by `freedom` it is the boxes' variance.
    freedom : float
        Boxes less terms of the highest order.
    size : int
        Side of a box, pixels.
    """

    surfaces: tuple[Surface, ...]
    gains: tuple[float, ...]
    costs: tuple[float, ...]
    chi2: float
    freedom: float
    size: int

    def shrunk(self, factors: Sequence[float]) -> Surface:
        """The surface of order 0 plus each order's addition times its factor."""
        coefficients = np.zeros_like(self.surfaces[-1].coefficients)
        for order, (surface, factor) in enumerate(zip(self.surfaces, factors, strict=True)):
            coefficients[: order + 1, : order + 1] += factor * surface.coefficients
            if order:
                coefficients[:order, :order] -= factor * self.surfaces[order - 1].coefficients
        return Surface(coefficients, self.surfaces[-1].errors, self.surfaces[-1].shape)


def fit_nested(
    data: ArrayLike, bad: ArrayLike | None, lit: ArrayLike, order: int, mesh: Mesh | None = None, *, least: int = 32
) -> NestedSurfaces | None:
    """Fit surfaces of all orders up to one to the background of a field, much of which objects may cover.

    Parameters
    ----------
    data, bad
        As in `mesh_background`. Boxes are of 64 pixels, of 32 or `least` where fewer than 64 of those would be lit.
    lit : array_like, shape (h / FIELD_STEP, w / FIELD_STEP), rounded up
        Every so many pixels: non-zero ones are the field over which gains and costs are averaged, objects too.
    order : int
        Highest total degree. Less is fitted where boxes are not twice as many as terms, or too few in x or y.
    mesh : Mesh, optional
        Unfiltered boxes of 64 pixels, where these were measured before.
    least : int
        Side of the smallest boxes, pixels; those below 32 follow what is left of halos, where there are any.

    Returns
    -------
    NestedSurfaces or None
        None where not even a plane can be fitted.
    """
    number = np.count_nonzero(lit)
    size = next((side for side in (64, 32) if number * FIELD_STEP**2 >= 64 * side**2), least)
    if mesh is None or size != 64:
        mesh = mesh_background(data, bad, size, filter=1)
    j, i = np.nonzero((mesh.shares >= 0.25) & np.isfinite(mesh.values))
    order = min(order, np.unique(j).size - 1, np.unique(i).size - 1)
    while order > 0 and i.size < (order + 1) * (order + 2):
        order -= 1
    if order < 1 or number == 0:
        return None
    values, shares = mesh.values[j, i], mesh.shares[j, i]
    ny, nx = mesh.shares.shape
    boxes = _terms((j + 0.5) / ny, (i + 0.5) / nx, order)
    over = field_products(lit, mesh.shape, order)
    solution, _, robust = robust_solve(boxes, values, shares)
    residual = values - np.einsum("na,a->n", boxes, solution)
    normal, right = normal_equations(boxes, values, shares * robust)
    fits = [_part(normal, right, over, n) for n in _counts(order)]
    steps = [0.0, *(_mean_square(b[0] - a[0], over) for a, b in itertools.pairwise(fits))]
    costs = [0.0, *(max(b[1] - a[1], 0.0) for a, b in itertools.pairwise(fits))]
    return NestedSurfaces(
        tuple(_surface(fit[0][:n], k, mesh.shape) for k, (fit, n) in enumerate(zip(fits, _counts(order), strict=True))),
        tuple(steps),
        tuple(costs),
        float(np.sum(shares * robust * residual**2)),
        max(1.0, float(np.sum(robust > 0)) - boxes.shape[1]),
        size,
    )


def field_products(lit: ArrayLike, shape: tuple[int, int], order: int) -> NDArray[np.float64]:
    """Means of products of a surface's terms (in the order of `degrees`) over a lit field as of `fit_nested`."""
    rows, columns = (FIELD_STEP * k + 0.5 for k in np.nonzero(np.asarray(lit)))
    field = _terms(rows / shape[0], columns / shape[1], order)
    return np.asarray(normal_equations(field, np.zeros(rows.size), np.ones(rows.size))[0] / rows.size)


def _counts(order: int) -> list[int]:
    """Terms of the surfaces of order 0 to `order`."""
    return [(k + 1) * (k + 2) // 2 for k in range(order + 1)]


def degrees(order: int) -> list[tuple[int, int]]:
    """Degrees (along y, along x) of a surface's terms, by total degree."""
    return [(q, total - q) for total in range(order + 1) for q in range(total + 1)]


def _terms(v: NDArray[np.float64], u: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Terms at fractions v of the height and u of the width, shape (n, terms)."""
    along_y, along_x = _legendre(v, order), _legendre(u, order)
    return np.stack([along_y[:, q] * along_x[:, p] for q, p in degrees(order)], axis=1)


def _part(
    normal: NDArray[np.float64], right: NDArray[np.float64], over: NDArray[np.float64], number: int
) -> tuple[NDArray[np.float64], float]:
    """Least squares of the first terms, the others 0, and the solution's mean variance over a field.

    For values of variance 1 / weight; `over` are means of products of terms over the field.
    """
    covariance = inverse(normal[:number, :number])
    solution = np.zeros(right.size)
    solution[:number] = np.einsum("ab,b->a", covariance, right[:number])
    return solution, float(np.sum(covariance * over[:number, :number]))


def _mean_square(solution: NDArray[np.float64], over: NDArray[np.float64]) -> float:
    """Of a surface over a field."""
    return float(np.einsum("a,ab,b->", solution, over, solution))


def _surface(solution: NDArray[np.float64], order: int, shape: tuple[int, int]) -> Surface:
    coefficients = np.zeros((order + 1, order + 1))
    rows, columns = zip(*degrees(order), strict=True)
    coefficients[rows, columns] = solution
    return Surface(coefficients, np.zeros_like(coefficients), shape)


def shrink_nested(fits: Sequence[NestedSurfaces]) -> list[Surface]:
    """Shrink each order of many frames' surfaces by what is known of its power, so that little noise is taken off.

    What an order adds has a mean square, over the frames, of its power `P` and its noise `c`. Both are known: the
    noise from the residuals of the boxes and from where they lie, which tells how far a surface is extrapolated under
    an object. The least-squares weight is ``P / (P + c)``; a frame whose own addition `d^2` is well above noise keeps
    ``1 - 9 c / d^2`` of it if that is more.

    Parameters
    ----------
    fits : sequence of NestedSurfaces
        Of frames with one sky.

    Returns
    -------
    list of Surface
        One per frame.
    """
    if not fits:
        return []
    variance = sum(fit.chi2 for fit in fits) / sum(fit.freedom for fit in fits)
    factors = [[1.0] * len(fit.surfaces) for fit in fits]
    for order in range(1, max(len(fit.surfaces) for fit in fits)):
        having = [k for k, fit in enumerate(fits) if order < len(fit.surfaces)]
        gains = np.array([fits[k].gains[order] for k in having])
        costs = np.array([variance * fits[k].costs[order] for k in having])
        power = _power(gains, costs)
        for k, gain, cost in zip(having, gains, costs, strict=True):
            known = power / (power + cost) if power > 0 else 0.0
            own = 1.0 - 9.0 * cost / gain if gain > 0 else 0.0
            factors[k][order] = max(known, own, 0.0)
    return [fit.shrunk(factor) for fit, factor in zip(fits, factors, strict=True)]


def _power(gains: NDArray[np.float64], costs: NDArray[np.float64]) -> float:
    """Mean of gains less costs, frames weighted by how well they tell."""
    power = max(float(np.mean(gains - costs)), 0.0)
    for _ in range(10):
        weights = 1.0 / np.maximum(power + costs, 1e-30) ** 2
        power = max(float(np.sum(weights * (gains - costs)) / np.sum(weights)), 0.0)
    return power


def surface_order(blank: float) -> int:
    """Order of the residual surface that an image with this share of blank pixels can tell from its objects."""
    return 2 if blank >= 0.45 else 1 if blank >= 0.25 else 0
