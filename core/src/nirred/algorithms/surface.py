"""Low-order surfaces fitted to an image's background."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.least_squares import normal_equations, robust_solve

#: Rows and columns at which a surface is averaged over the field, pixels.
FIELD_STEP = 16
#: Most iterations that reject boxes raised by light, this many times the scatter above the plane, and fewest boxes that
#: determine one.
_CLIPS, _ABOVE, _FEWEST = 20, 2.5, 12
#: Least share of the boxes that lie on a plane, and largest scatter about it in units of its rise: on slopes under
#: nebulae 0.46 and 0.05 to 0.1; outskirts of a galaxy beside the field scatter by 0.26 and more.
_SHARE, _OF_RISE = 0.4, 0.2


@kernel
def _take_off(data: np.ndarray, along_y: np.ndarray, lines: np.ndarray, out: np.ndarray) -> None:
    """Write out = data minus the sum of separable terms along_y[y, j] * lines[j, x]; out may be data."""
    row = np.empty(lines.shape[1], np.float32)
    for y in range(out.shape[0]):
        row[:] = np.float32(0)
        for j in range(lines.shape[0]):
            factor, line = along_y[y, j], lines[j]
            for x in range(row.size):
                row[x] += factor * line[x]
        source, target = data[y], out[y]
        for x in range(row.size):
            row[x] = source[x] - row[x]
        for x in range(row.size):  # by way of `row`: where out is data the compiler makes no vectors of one loop
            target[x] = row[x]


@dataclass(frozen=True, slots=True)
class Surface:
    """Two-dimensional Legendre polynomial over an image.

    Attributes
    ----------
    coefficients : ndarray of float64, shape (order + 1, order + 1)
        Coefficient of ``P_j(v) P_i(u)`` at ``[j, i]``, zero where ``i + j > order``, in units of the data. `u` and `v`
        run from -1 to 1 along x and y, from outer pixel edge to outer pixel edge, so that ``coefficients[0, 1]`` is
        half the drop across the image along x.
    shape : tuple of int
        Shape of the image.
    """

    coefficients: NDArray[np.float64]
    shape: tuple[int, int]

    @classmethod
    def zero(cls, shape: tuple[int, int]) -> Surface:
        """The surface that is 0 everywhere."""
        return cls(np.zeros((1, 1)), shape)

    @classmethod
    def of_terms(cls, sizes: ArrayLike, order: int, shape: tuple[int, int]) -> Surface:
        """The surface of an order with these coefficients, in the order of `degrees`."""
        coefficients = np.zeros((order + 1, order + 1))
        rows, columns = zip(*degrees(order), strict=True)
        coefficients[rows, columns] = sizes
        return cls(coefficients, shape)

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
        """The image minus the surface, float32."""
        out = np.empty(self.shape, np.float32)
        self.take_off(data, out=out)
        return out

    def raised(self, by: float) -> Surface:
        """The surface plus a constant."""
        coefficients = self.coefficients.copy()
        coefficients[0, 0] += by
        return Surface(coefficients, self.shape)

    def times(self, factor: float) -> Surface:
        """The surface times a factor."""
        return Surface(self.coefficients * factor, self.shape)

    def plus(self, other: Surface) -> Surface:
        """The sum with a surface of the same order."""
        return Surface(self.coefficients + other.coefficients, self.shape)

    def at(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Surface at positions, pixels from 0, float64."""
        order = self.coefficients.shape[0] - 1
        along_x, along_y = (_legendre((p + 0.5) / n, order) for p, n in zip((x, y), self.shape[::-1], strict=True))
        return np.asarray(np.einsum("ji,...j,...i->...", self.coefficients, along_y, along_x))

    def apart(self, other: Surface) -> float:
        """Upper limit of the difference of two surfaces of any orders: no Legendre polynomial exceeds 1."""
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
        NaN if there are fewer values than terms.
    """
    ny, nx = shape
    terms = terms_at((y + 0.5) / ny, (x + 0.5) / nx, order)
    enough = values.size >= terms.shape[1]
    return Surface.of_terms(robust_solve(terms, values, np.ones(values.size))[0] if enough else np.nan, order, shape)


def unlit_plane(values: NDArray[np.float64], shape: tuple[int, int]) -> Surface | None:
    """Plane through the boxes of an image that are not raised by light; None if it is not a plane.

    Boxes above it are rejected until none is left: light only adds. The plane is accepted if 40 % of the boxes
    remain and scatter about it by less than a fifth of its rise: a galaxy's outskirts are not a plane.

    Parameters
    ----------
    values : float64 (rows, columns)
        Levels of boxes; NaN where there is none.
    shape : (int, int)
        Of the image, (ny, nx).
    """
    plane, scatter = _plane_below(values, shape)
    if plane is None:
        return None
    rise = float(np.sqrt((plane.coefficients[0, 1] ** 2 + plane.coefficients[1, 0] ** 2) / 3.0))
    return plane if scatter < _OF_RISE * rise else None


def unevenness(values: NDArray[np.float64], shape: tuple[int, int]) -> float:
    """Scatter of the boxes of an image about the plane below its light, over their mean level; infinite without one.

    Parameters are those of `unlit_plane`; the plane is found as there, whatever its rise.
    """
    plane, scatter = _plane_below(values, shape)
    return math.inf if plane is None else scatter / max(float(plane.coefficients[0, 0]), 1e-30)


def _plane_below(values: NDArray[np.float64], shape: tuple[int, int]) -> tuple[Surface | None, float]:
    """Plane on which many of the boxes lie, without those far above it, and their scatter; None if there is none."""
    rows, columns = np.nonzero(np.isfinite(values))
    known = values[rows, columns]
    y, x = ((k + 0.5) * n / m - 0.5 for k, n, m in zip((rows, columns), shape, values.shape, strict=True))
    use, plane, scatter = np.ones(known.size, bool), None, math.inf
    for _ in range(_CLIPS):
        if use.sum() < max(_SHARE * known.size, _FEWEST):
            return None, math.inf
        plane = fit_points(x[use], y[use], known[use], shape, 1)
        left = known - plane.at(x, y)
        scatter = 1.4826 * float(np.median(np.abs(left[use])))
        before, use = use, left <= _ABOVE * scatter
        if np.array_equal(before, use):
            break
    return plane, scatter


def field_products(lit: ArrayLike, shape: tuple[int, int], order: int) -> NDArray[np.float64]:
    """Means of products of a surface's terms (in the order of `degrees`) over a lit field as in `fit_nested`."""
    rows, columns = (FIELD_STEP * k + 0.5 for k in np.nonzero(np.asarray(lit)))
    field = terms_at(rows / shape[0], columns / shape[1], order)
    return np.asarray(normal_equations(field, np.zeros(rows.size), np.ones(rows.size))[0] / rows.size)


def degrees(order: int) -> list[tuple[int, int]]:
    """Degrees (along y, along x) of a surface's terms, by total degree."""
    return [(q, total - q) for total in range(order + 1) for q in range(total + 1)]


def terms_at(v: NDArray[np.float64], u: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Terms at fractions v of the height and u of the width, shape (n, terms)."""
    along_y, along_x = _legendre(v, order), _legendre(u, order)
    return np.stack([along_y[:, q] * along_x[:, p] for q, p in degrees(order)], axis=1)


def surface_order(blank: float) -> int:
    """Order of the residual surface that can be separated from objects with this share of blank pixels."""
    return 2 if blank >= 0.45 else 1 if blank >= 0.25 else 0
