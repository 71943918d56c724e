"""Prediction of a drifting sky between its measurements, with realistic errors, and of the light that a target adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.nested import NestedSurfaces, standing_out
from nirred.algorithms.surface import Surface, degrees, field_products

Float64 = NDArray[np.float64]

#: Possible amplitudes of the drift about a straight line, over the whole time, as fractions of the scale: of a random
#: walk, and of the integral of one, which is smooth (Wahba 1978: the posterior of a smoothing spline).
AMPLITUDES = np.geomspace(2e-5, 0.1, 8)
#: Possible changes of the sky from exposure to exposure (airglow varies within minutes, haze faster), as fractions.
ALONE = (0.0, 3e-4, 2e-3, 1.5e-2)
#: Errors besides the stated ones, as fractions of the scale: of a sky measurement, and possible ones of a target's.
SKY_ERROR, TARGET_ERRORS = 5e-5, (1e-4, 1e-3, 1e-2)
#: Widths of the priors as fractions of the scale: level, slope over the whole time, light of the target.
PRIOR = (1.0, 0.1, 3.0)
#: The first of these for measurements from which a mean level was subtracted.
DIFFERENT = 0.02
#: A frame's own sky shape more than this many sigma from the expected one is partly its target's light.
UNLIKELY = 3.0
#: Scale with which the drift of a shape is predicted, in units of the rms difference in shape between sky frames: over
#: the whole time it may change by a tenth of this scale, linearly or at random.
DRIFT = 20.0
#: Fractions of that scale by which the sky's shape may vary independently from exposure to exposure.
SHAPE_ALONE = (0.0, 0.5 / DRIFT, 1.0 / DRIFT)
#: Number of frames whose sky is predicted at once, and of sky measurements used on either side of them.
AT_ONCE, AROUND = 12, 6


@dataclass(frozen=True)
class Sky:
    """The sky at some times.

    Attributes
    ----------
    values : float64, shape (m,)
        Most probable levels.
    errors : float64, shape (m,)
        1-sigma errors.
    common : float
        1-sigma error of the levels' mean.
    light, light_err : float
        Excess of the levels of `seen` over the sky, and its 1-sigma error; NaN without them.
    """

    values: Float64
    errors: Float64
    common: float
    light: float
    light_err: float


def predict_sky(
    times: ArrayLike,
    levels: ArrayLike,
    errors: ArrayLike,
    when: ArrayLike,
    seen: ArrayLike | None = None,
    scale: float | None = None,
    own: tuple[float, ...] = ALONE,
    *,
    different: bool = False,
) -> Sky:
    """Most probable sky at some times from measurements at others: a random walk, a smooth curve and a part of its own.

    Gaussian processes for all pairs of `AMPLITUDES` and all changes of single exposures are averaged with weights
    given by the measurements: the error depends on how smoothly this sky drifts. Target frames drift with the sky,
    too: their levels, minus one unknown constant, measure the drift as well as those of the sky frames.

    Parameters
    ----------
    times, levels, errors : (n,)
        Seconds, level, 1-sigma error of each measurement of the sky.
    when : (m,)
        Seconds.
    seen : (m,), optional
        Levels measured at these times, on a target that adds the same constant to all of them.
    scale : float, optional
        What drifts are compared with; the mean level without it.
    own : tuple of float
        Fractions of the scale by which single exposures may deviate independently.
    different : bool
        The measurements are deviations of exposures from the mean of the sky exposures.

    Returns
    -------
    Sky
        NaN with infinite errors if there is no measurement.
    """
    t, y, e = (np.asarray(a, float) for a in (times, levels, errors))
    asked = np.asarray(when, float)
    order = np.argsort(t, kind="stable")
    t, y, e = t[order], y[order], e[order]
    on = None if seen is None else np.asarray(seen, float)
    if t.size == 0 or asked.size == 0:
        return Sky(np.full(asked.shape, np.nan), np.full(asked.shape, np.inf), np.inf, np.nan, np.nan)
    unit = max(abs(float(np.mean(y))) if scale is None else abs(scale), 1e-30)
    values, found, parts = np.empty(asked.shape), np.empty(asked.shape), []
    for here, near in _runs(t, asked):
        mine = None if on is None else on[here] / unit
        part = _at_once((t[near], y[near] / unit, e[near] / unit), asked[here], mine, own, different)
        values[here], found[here] = part.values * unit, part.errors * unit
        parts.append((here.size, part))
    sizes = np.array([n for n, _ in parts], float) / asked.size
    common, light, light_err = (
        float(sizes @ [getattr(part, name) for _, part in parts]) * unit for name in ("common", "light", "light_err")
    )
    return Sky(values, found, common, light, light_err)


def _runs(t: Float64, asked: Float64) -> Iterator[tuple[NDArray[np.intp], slice]]:
    """Runs of requested times, and the measurements in and around each."""
    order = np.argsort(asked, kind="stable")
    for first in range(0, order.size, AT_ONCE):
        here = order[first : first + AT_ONCE]
        low, high = np.searchsorted(t, asked[here[[0, -1]]], side="left")
        stop = min(max(int(high) + AROUND, 2 * AROUND), t.size)
        yield here, slice(max(min(int(low) - AROUND, stop - 2 * AROUND), 0), stop)


def _at_once(
    sky: tuple[Float64, Float64, Float64],
    asked: Float64,
    seen: Float64 | None,
    own: tuple[float, ...],
    different: bool,
) -> Sky:
    """`predict_sky` in units of the scale, all times together."""
    t, y, e = sky
    on = np.zeros(0) if seen is None else seen
    every = np.concatenate([t, asked])
    span = max(float(np.ptp(every)), 1e-9)
    u = (every - every.min()) / span
    data, known = np.concatenate([y, on]), np.arange(t.size + on.size)
    target = np.arange(u.size) >= t.size
    level, slope = PRIOR[:2]
    middle, origin, centre = float(np.mean(y)), 0.0, 0.5
    if different:
        level, middle, origin = level * DIFFERENT, 0.0, float(np.mean(u[: t.size]))
        centre = origin
    lines = np.stack([np.full(u.size, level), slope * (u - centre)])
    smooth = lines.T @ lines
    away = u - origin
    together = np.outer(away, away) >= 0
    early, late = (np.where(together, f.outer(abs(away), abs(away)), 0.0) for f in (np.minimum, np.maximum))
    walk, curve = early, 12.0 * early**2 * (3.0 * late - early) / 6.0
    squares = AMPLITUDES**2
    part = np.ix_(known, known)
    prior = (smooth + squares[:, None, None, None] * walk + squares[:, None, None] * curve).reshape(-1, *walk.shape)
    prior = np.concatenate([prior + alone**2 * np.eye(u.size) for alone in own])
    lit = target[known].astype(float)
    wide = np.outer(lit, lit) * PRIOR[2] ** 2
    extra = [np.diag(np.append(e**2 + SKY_ERROR**2, np.full(on.size, more**2))) for more in TARGET_ERRORS]
    extra = extra if on.size else extra[:1]
    noise = np.repeat(np.array([wide + more for more in extra]), len(prior), axis=0)
    prior = np.tile(prior, (len(extra), 1, 1))
    return _averaged(prior, prior[:, part[0], part[1]] + noise, data - middle, (target, lit), middle)


def _averaged(
    prior: Float64, covariance: Float64, data: Float64, kinds: tuple[NDArray[np.bool_], Float64], middle: float
) -> Sky:
    """Posterior means and errors, averaged over models: `prior` of the sky at all times, `covariance` of the data."""
    target, lit = kinds
    cross = prior[:, target, : data.size]  # of the sky asked for with the data
    wanted = np.concatenate(
        [cross, cross.mean(axis=1, keepdims=True), np.tile(PRIOR[2] ** 2 * lit, (len(prior), 1, 1))], axis=1
    )
    solved = np.linalg.solve(covariance, np.swapaxes(wanted, 1, 2))
    means = np.einsum("kin,i->kn", solved, data)
    asked = prior[:, target][:, :, target]
    before = np.concatenate(
        [
            np.einsum("kii->ki", asked),
            asked.mean(axis=(1, 2))[:, None],
            np.full((len(prior), 1), PRIOR[2] ** 2),
        ],
        axis=1,
    )
    variances = np.maximum(before - np.einsum("kni,kin->kn", wanted, solved), 0.0)
    residual = np.linalg.solve(covariance, np.broadcast_to(data[:, None], (len(prior), data.size, 1)))[..., 0]
    evidence = -0.5 * (residual @ data) - 0.5 * np.linalg.slogdet(covariance)[1]
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()
    mean = weights @ means
    error = np.sqrt(weights @ (variances + (means - mean) ** 2))
    told = bool(lit.any())
    return Sky(
        mean[:-2] + middle,
        error[:-2],
        float(error[-2]),
        float(mean[-1]) if told else float("nan"),
        float(error[-1]) if told else float("nan"),
    )


@dataclass(frozen=True)
class FieldBasis:
    """Polynomials by degree that are orthonormal over a lit field, so that their noise is nearly independent.

    Over a narrow strip of a detector Legendre polynomials are nearly degenerate: a fit has large coefficients of
    opposite sign, which must not be smoothed or shrunk one by one.

    Attributes
    ----------
    upper : float64, shape (terms, terms)
        Upper triangular; converts coefficients of Legendre terms to those of the orthonormal ones.
    """

    upper: Float64

    @classmethod
    def of(cls, lit: ArrayLike, shape: tuple[int, int], order: int) -> FieldBasis:
        """Basis for surfaces of an order over a field as in `fit_nested`."""
        products = field_products(lit, shape, order)
        return cls(np.asarray(np.linalg.cholesky(products + 1e-12 * np.eye(len(products))).T, np.float64))

    def amplitudes(self, coefficients: Float64) -> Float64:
        """Amplitudes of a surface, in the order of `degrees`; their squares sum to its mean square over the field."""
        rows, columns = zip(*degrees(len(coefficients) - 1), strict=True)
        return np.asarray(np.einsum("ab,b->a", self.upper, coefficients[rows, columns]))

    def isotropic(self, degree: int) -> Float64:
        """Variances of the amplitudes of one degree if its coefficients have a variance of 1 each.

        A sky's slopes along and across a strip are equally likely; over the strip the latter has a smaller amplitude.
        """
        order = int(np.sqrt(2 * len(self.upper))) - 1
        own = [k for k, (q, p) in enumerate(degrees(order)) if q + p == degree]
        return np.asarray((self.upper[np.ix_(own, own)] ** 2).sum(axis=1))

    def coefficients(self, amplitudes: Float64) -> Float64:
        """Coefficients, as in `Surface`, of the surface with these amplitudes."""
        from scipy.linalg import solve_triangular

        order = int(np.sqrt(2 * amplitudes.size)) - 1
        rows, columns = zip(*degrees(order), strict=True)
        found = np.zeros((order + 1, order + 1))
        found[rows, columns] = solve_triangular(self.upper, amplitudes)
        return found


def predict_shapes(
    basis: FieldBasis, times: ArrayLike, shapes: Float64, costs: Float64, when: ArrayLike, level: float
) -> tuple[Float64, Float64]:
    """Most probable large-scale shapes of the sky at some times, from parabolas measured at others, degree by degree.

    Slopes and curvatures drift by an amount that follows from the scatter of the measured ones beyond their noise; it
    is the same in all directions.

    Parameters
    ----------
    basis : FieldBasis
        Of order 2.
    times : (n,)
        Seconds, of the measurements.
    shapes : float64 (n, 6)
        Amplitudes of the measured surfaces in the basis.
    costs : float64 (n, 3)
        Mean square over the field of the noise of their terms of degree 0, 1 and 2.
    when : (m,)
        Seconds, of the wanted shapes.
    level : float
        Sky level, with which the drift of degree 0 is compared, in the unit of the amplitudes.

    Returns
    -------
    values : float64 (m, 6)
        Amplitudes.
    power : float64 (m, 3)
        Mean square over the field of the error of the terms of each degree.
    """
    asked = np.asarray(when, float)
    values, power = np.zeros((asked.size, shapes.shape[1])), np.zeros((asked.size, 3))
    for degree in range(3):
        terms = [k for k, (q, p) in enumerate(degrees(2)) if q + p == degree]
        errors = np.sqrt(costs[:, degree] / len(terms))
        scales = np.full(1, level)
        if degree:
            alike, noise = basis.isotropic(degree), np.mean(errors**2)
            real = max((np.mean(shapes[:, terms] ** 2, axis=0) - noise) @ alike, 0.1 * noise * alike.sum())
            scales = DRIFT * np.sqrt(real / (alike @ alike) * alike)
        own = SHAPE_ALONE if degree else (0.0,)
        for k, size in zip(terms, scales, strict=True):
            known = predict_sky(times, shapes[:, k], errors, asked, scale=float(size), own=own, different=degree > 0)
            values[:, k] = known.values
            power[:, degree] += known.errors**2
    return values, power


def drawn_surface(fit: NestedSurfaces, power: tuple[float, ...], *, sure: bool) -> Surface:
    """Deviation of a frame's surface from the expected one, each order shrunk by the expected power of the deviation.

    The least-squares weight of a measurement with noise `c` of a quantity with prior variance `P` is ``P / (P + c)``.
    A deviation of more than `UNLIKELY` sigma of both is not sky: it is limited to that.

    Parameters
    ----------
    fit : NestedSurfaces
        Of the frame minus the expected surface.
    power : tuple of float
        Expected mean square deviation, over the field, of each order.
    sure : bool
        The frame is blank: its surface is certainly sky.
    """
    variance = fit.chi2 / fit.freedom
    powers, factors = [], []
    for degree, gain, cost, known in zip(fit.degrees, fit.gains[1:], fit.costs[1:], power[1:], strict=False):
        noise, each = variance * cost, known / float(np.trace(degree.field))
        powers.append(max(each, standing_out(*degree.told(variance)[:2])) if sure else each)
        likely = float(np.sqrt((known + noise) / gain)) if gain > 0 and not sure else np.inf
        factors.append(min(1.0, UNLIKELY * likely))
    return fit.drawn(powers, variance, factors)
