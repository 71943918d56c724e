"""Low-order surfaces fitted to an image's background: measures of gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.background import mesh_background


@njit(nogil=True, cache=True, error_model="numpy")
def _take_off(data, along_y, lines, out):  # type: ignore[no-untyped-def]
    """Write out = data less the sum of separable terms along_y[y, j] * lines[j, x]."""
    row = np.empty(lines.shape[1])
    for y in range(out.shape[0]):
        row[:] = 0.0
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

    def taken_off(self, data: NDArray[np.float32]) -> NDArray[np.float32]:
        """The image less the surface, float32."""
        order = self.coefficients.shape[0] - 1
        along_y = _legendre((np.arange(self.shape[0]) + 0.5) / self.shape[0], order)
        along_x = _legendre((np.arange(self.shape[1]) + 0.5) / self.shape[1], order)
        out = np.empty(self.shape, np.float32)
        _take_off(data, along_y, np.einsum("ji,xi->jx", self.coefficients, along_x), out)
        return out

    def evaluate(self) -> NDArray[np.float64]:
        """Surface on the whole image, float64."""
        return self.rows(0, self.shape[0])


def _legendre(fraction: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Legendre polynomials 0 to `order` at ``2 fraction - 1``, shape (n, order + 1)."""
    return np.asarray(np.polynomial.legendre.legvander(2.0 * fraction - 1.0, order), np.float64)


def _robust_solve(
    terms: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares with Tukey's biweight (c = 6 times the residuals' MAD sigma); solution and its errors."""
    robust = np.ones_like(values)
    for _ in range(15):
        both = weights * robust
        # plain sums, not a BLAS product: the same bits on any number of threads
        weighted = terms * both[:, None]
        normal = np.einsum("na,nb->ab", weighted, terms)
        inverse = np.linalg.pinv(normal, hermitian=True)
        solution = np.einsum("ab,b->a", inverse, np.einsum("nb,n->b", weighted, values))
        residual = values - np.einsum("na,a->n", terms, solution)
        scatter = 1.4826 * float(np.median(np.abs(residual)))
        if scatter <= 1e-12 * float(np.max(np.abs(values))):
            break
        robust = np.clip(1.0 - (residual / (6.0 * scatter)) ** 2, 0.0, None) ** 2
    freedom = max(1.0, float(np.sum(robust > 0)) - terms.shape[1])
    variance = float(np.sum(both * residual * residual)) / freedom
    errors: NDArray[np.float64] = np.sqrt(variance * np.clip(np.diag(inverse), 0.0, None))
    return solution, errors


def fit_surface(data: ArrayLike, bad: ArrayLike | None, order: int = 1, *, size: int = 64) -> Surface:
    """Fit a robust low-order surface to the background: a measure of gradients.

    Parameters
    ----------
    data, bad, size
        As in `mesh_background`; boxes weigh as their good pixels and outlying boxes are left out.
    order : int
        Highest total degree.

    Returns
    -------
    Surface
        All NaN with infinite errors where fewer boxes than terms are good.

    Raises
    ------
    ValueError
        If the shapes differ or `order` is negative.
    """
    if order < 0:
        raise ValueError(f"the order of a surface cannot be {order}")
    mesh = mesh_background(data, bad, size, filter=1)
    ny, nx = mesh.shares.shape
    j, i = np.nonzero((mesh.shares >= 0.25) & np.isfinite(mesh.values))
    degrees = [(q, p) for q in range(order + 1) for p in range(order + 1 - q)]
    coefficients = np.zeros((order + 1, order + 1))
    errors = np.zeros_like(coefficients)
    rows, columns = zip(*degrees, strict=True)
    if i.size < len(degrees):
        coefficients[rows, columns], errors[rows, columns] = np.nan, np.inf
        return Surface(coefficients, errors, mesh.shape)
    along_y, along_x = _legendre((j + 0.5) / ny, order), _legendre((i + 0.5) / nx, order)
    terms = np.stack([along_y[:, q] * along_x[:, p] for q, p in degrees], axis=1)
    coefficients[rows, columns], errors[rows, columns] = _robust_solve(terms, mesh.values[j, i], mesh.shares[j, i])
    return Surface(coefficients, errors, mesh.shape)


def fit_plane(data: ArrayLike, bad: ArrayLike | None, *, size: int = 64) -> Surface:
    """Fit a plane to the background: `fit_surface` of order 1."""
    return fit_surface(data, bad, 1, size=size)


def surface_order(blank: float) -> int:
    """Order of the residual surface that an image with this share of blank pixels can tell from its objects."""
    return 2 if blank >= 0.45 else 1 if blank >= 0.25 else 0
