"""Nested surfaces: the power and noise of each order of a fit to a background, and how much of each order is used."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.least_squares import inverse, normal_equations, robust_solve
from nirred.algorithms.mesh import Mesh, mesh_background
from nirred.algorithms.surface import FIELD_STEP, Surface, field_products, terms_at

#: Sampling step for the light of objects, pixels; smaller than any box.
LIGHT_STEP = 8


@dataclass(frozen=True, slots=True)
class Degree:
    """Terms of one degree, fitted together with those below.

    Attributes
    ----------
    own : ndarray of float64, shape (m,)
        Their coefficients.
    spread : ndarray of float64, shape (m, m)
        Covariance of these, for boxes of variance 1 / share of good pixels.
    brings : ndarray of float64, shape (n, m)
        What each of them adds to all terms up to this degree: itself, and the resulting change of the terms below.
    field : ndarray of float64, shape (m, m)
        Mean products of these additions over the lit field.
    """

    own: NDArray[np.float64]
    spread: NDArray[np.float64]
    brings: NDArray[np.float64]
    field: NDArray[np.float64]

    def told(self, variance: float) -> tuple[float, float, float]:
        """Mean square of the coefficients, weighted towards well-measured directions, and the part of it due to noise.

        Third, the effective number of such directions. `variance` is that of a box, times its share of good pixels.
        """
        precision = inverse(self.spread)
        trace, total = float(np.trace(precision)), max(float(np.sum(precision * precision)), 1e-300)
        return float(np.sum((precision @ self.own) ** 2)) / total, variance * trace / total, trace**2 / total

    def drawn(self, power: float, variance: float) -> NDArray[np.float64]:
        """Most probable additions (n,) if slopes and curvatures of the sky are equally likely along x and y.

        In a narrow strip the boxes determine the slope along it well and the one across it badly: the latter has less
        weight.

        Parameters
        ----------
        power : float
            Expected mean square of each coefficient.
        variance : float
            Of a box, times its share of good pixels.
        """
        if not power > 0:
            return np.zeros(len(self.brings))
        prior = power * np.eye(self.own.size)
        weight = np.linalg.solve(prior + variance * self.spread, prior).T
        return np.asarray(np.einsum("nm,mk,k->n", self.brings, weight, self.own))


@dataclass(frozen=True, slots=True)
class NestedSurfaces:
    """Surfaces of order 0 to some order through the same boxes, and the power and noise of each order.

    Attributes
    ----------
    surfaces : tuple of Surface
        Of order 0, 1 ..., fitted with the same weights.
    degrees : tuple of Degree
        Terms of degree 1, 2 ...
    gains : tuple of float
        Mean square difference of each order from the next lower one over the illuminated field; 0 for the first.
    costs : tuple of float
        The part of `gains` due to noise alone, for boxes of variance 1 / share of good pixels.
    chi2 : float
        Sum of share times squared residual of the highest order; divided by `freedom` it is the boxes' variance.
    freedom : float
        Number of boxes minus terms of the highest order.
    size : int
        Side of a box, pixels.
    """

    surfaces: tuple[Surface, ...]
    degrees: tuple[Degree, ...]
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
        return Surface(coefficients, self.surfaces[-1].shape)

    def drawn(self, powers: Sequence[float], variance: float, factors: Sequence[float] | None = None) -> Surface:
        """The surface of order 0 plus the most probable part of each order's addition, times a factor.

        Parameters
        ----------
        powers : sequence of float
            Expected mean square of each coefficient of degree 1, 2 ...
        variance : float
            Of a box, times its share of good pixels.
        factors : sequence of float, optional
            Of the orders from 1 on; default 1.
        """
        highest = self.surfaces[-1]
        solution = np.zeros(_counts(len(highest.coefficients) - 1)[-1])
        solution[0] = self.surfaces[0].coefficients[0, 0]
        for degree, power, factor in zip(self.degrees, powers, factors or [1.0] * len(self.degrees), strict=True):
            solution[: len(degree.brings)] += factor * degree.drawn(power, variance)
        return Surface.of_terms(solution, len(highest.coefficients) - 1, highest.shape)


def fit_nested(
    data: ArrayLike,
    bad: ArrayLike | None,
    lit: ArrayLike,
    order: int,
    mesh: Mesh | None = None,
    *,
    least: int = 32,
    light: ArrayLike | None = None,
) -> NestedSurfaces | None:
    """Fit surfaces of order 0 to `order` to the background of a field, even if objects cover much of it.

    Parameters
    ----------
    data, bad
        As in `mesh_background`. Boxes have 64 pixels a side, or 32 or `least` if fewer than 64 boxes would be lit.
    lit : array_like, shape (h / FIELD_STEP, w / FIELD_STEP), rounded up
        Sampled field: non-zero over the area in which gains and costs are averaged, objects included.
    order : int
        Highest total degree. It is lowered if boxes are fewer than twice the terms, or too few in x or y.
    mesh : Mesh, optional
        Unfiltered boxes of 64 pixels, if these were measured before.
    least : int
        Side of the smallest boxes, pixels; boxes below 32 follow residual halos, if there are any.
    light : array_like, shape (h / LIGHT_STEP, w / LIGHT_STEP), rounded up, optional
        Sampled light of objects on blank pixels, which is not background.

    Returns
    -------
    NestedSurfaces or None
        None if not even a plane can be fitted.
    """
    number = np.count_nonzero(lit)
    size = next((side for side in (64, 32) if number * FIELD_STEP**2 >= 64 * side**2), least)
    if mesh is None or size != 64:
        mesh = mesh_background(data, bad, size, filter=1)
    if light is not None:
        mesh = replace(mesh, values=mesh.values - _in_boxes(np.asarray(light), bad, mesh))
    j, i = np.nonzero((mesh.shares >= 0.25) & np.isfinite(mesh.values))
    order = _supported(order, j, i)
    if order < 1 or number == 0:
        return None
    values, shares = mesh.values[j, i], mesh.shares[j, i]
    boxes = terms_at((j + 0.5) / mesh.shares.shape[0], (i + 0.5) / mesh.shares.shape[1], order)
    over = field_products(lit, mesh.shape, order)
    solution, robust = robust_solve(boxes, values, shares)
    residual = values - np.einsum("na,a->n", boxes, solution)
    normal, right = normal_equations(boxes, values, shares * robust)
    fits = [_part(normal, right, over, n) for n in _counts(order)]
    steps = [0.0, *(_mean_square(b[0] - a[0], over) for a, b in itertools.pairwise(fits))]
    costs = [0.0, *(max(b[1] - a[1], 0.0) for a, b in itertools.pairwise(fits))]
    terms = enumerate(zip(fits, _counts(order), strict=True))
    return NestedSurfaces(
        tuple(Surface.of_terms(fit[0][:n], k, mesh.shape) for k, (fit, n) in terms),
        tuple(_degree(normal, fits[k][0], over, _counts(k)[-2:]) for k in range(1, order + 1)),
        tuple(steps),
        tuple(costs),
        float(np.sum(shares * robust * residual**2)),
        max(1.0, float(np.sum(robust > 0)) - boxes.shape[1]),
        size,
    )


def _supported(order: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> int:
    """Highest order, up to `order`, that boxes in these rows and columns determine."""
    order = min(order, np.unique(rows).size - 1, np.unique(columns).size - 1)
    while order > 0 and rows.size < (order + 1) * (order + 2):
        order -= 1
    return order


def _in_boxes(light: NDArray[np.float64], bad: ArrayLike | None, mesh: Mesh) -> NDArray[np.float64]:
    """Mean light on the good pixels of each box of a mesh."""
    good = np.ones(light.shape) if bad is None else (np.asarray(bad)[::LIGHT_STEP, ::LIGHT_STEP] == 0) + 1e-6
    edges = [np.arange(n) * size // n for n, size in zip(mesh.values.shape, mesh.shape, strict=True)]
    firsts = [-(-first // LIGHT_STEP) for first in edges]

    def sums(samples: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.add.reduceat(np.add.reduceat(samples, firsts[0], axis=0), firsts[1], axis=1))

    return np.asarray(sums(light * good) / sums(good))


def _counts(order: int) -> list[int]:
    """Terms of the surfaces of order 0 to `order`."""
    return [(k + 1) * (k + 2) // 2 for k in range(order + 1)]


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


def _degree(
    normal: NDArray[np.float64], solution: NDArray[np.float64], over: NDArray[np.float64], counts: list[int]
) -> Degree:
    """Terms from counts[0] to counts[1] of least squares of the terms below counts[1], as `_part` solves them."""
    below, all_of_them = counts
    own = slice(below, all_of_them)
    given_way = np.einsum("ab,bm->am", inverse(normal[:below, :below]), normal[:below, own])
    brings = np.concatenate([-given_way, np.eye(all_of_them - below)])
    field = np.einsum("am,ab,bk->mk", brings, over[:all_of_them, :all_of_them], brings)
    return Degree(solution[own], inverse(normal[:all_of_them, :all_of_them])[own, own], brings, field)


def _mean_square(solution: NDArray[np.float64], over: NDArray[np.float64]) -> float:
    """Of a surface over a field."""
    return float(np.einsum("a,ab,b->", solution, over, solution))


def shrink_nested(fits: Sequence[NestedSurfaces]) -> list[Surface]:
    """Shrink each order of many frames' surfaces by its power over its noise, so that little noise is subtracted.

    The mean square of an order's addition, over the frames, is the sum of its power `P` and its noise `c`. The noise
    follows from the residuals of the boxes and their positions, which determine how far a surface is extrapolated under
    an object. The least-squares weight is ``P / (P + c)``, with each direction's own noise; for a frame whose own
    addition `d^2` is well above noise, `P` is ``d^2 / 9 - c`` if that is larger.

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
    powers = [[0.0] * len(fit.degrees) for fit in fits]
    for k in range(max(len(fit.degrees) for fit in fits)):
        having = [i for i, fit in enumerate(fits) if k < len(fit.degrees)]
        seen, noise, freedom = np.transpose([fits[i].degrees[k].told(variance) for i in having])
        power = _power(seen, noise, float(freedom.sum()))
        for i, own, part in zip(having, seen, noise, strict=True):
            powers[i][k] = max(power, standing_out(own, part))
    return [fit.drawn(power, variance) for fit, power in zip(fits, powers, strict=True)]


def standing_out(gain: float, cost: float) -> float:
    """Power estimated from a single mean square `gain`, of which `cost` is noise: 1 - 9 cost / gain of it is kept."""
    return max(gain / 9.0 - cost, 0.0)


def _power(gains: NDArray[np.float64], costs: NDArray[np.float64], freedom: float) -> float:
    """Mean of gains minus costs and minus the scatter of these, frames weighted by how well they determine it."""
    least = (1.0 + float(np.sqrt(2.0 / freedom))) * costs
    power = max(float(np.mean(gains - least)), 0.0)
    for _ in range(10):
        weights = 1.0 / np.maximum(power + costs, 1e-30) ** 2
        power = max(float(np.sum(weights * (gains - least)) / np.sum(weights)), 0.0)
    return power
