"""Linear least squares of few terms, weighted and robust."""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.typical import median

#: A fit has converged if it changes by less than this part of the values' scatter, about 0.5 % of its error.
SETTLED = 1e-4
#: Normal equations of a smaller condition number (of the 1-norm) are simply inverted.
WELL_CONDITIONED = 1e10


@kernel
def normal_equations(terms: np.ndarray, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sums of products of terms (n, m), shape (m, m), and of terms with values (n,), shape (m,).

    Plain sums, not a BLAS product: the same bits on any number of threads.
    """
    number = terms.shape[1]
    normal, right = np.zeros((number, number)), np.zeros(number)
    for k in range(values.size):
        for a in range(number):
            weighted = weights[k] * terms[k, a]
            right[a] += weighted * values[k]
            for b in range(a + 1):
                normal[a, b] += weighted * terms[k, b]
    for a in range(number):
        for b in range(a):
            normal[b, a] = normal[a, b]
    return normal, right


def inverse(normal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Inverse of normal equations (m, m); if degenerate, their pseudo-inverse, which takes thirty times as long."""
    with contextlib.suppress(np.linalg.LinAlgError):
        found = np.linalg.inv(normal)
        if np.abs(normal).sum(axis=0).max() * np.abs(found).sum(axis=0).max() < WELL_CONDITIONED:
            return np.asarray(found)
    return np.asarray(np.linalg.pinv(normal, hermitian=True))


def robust_solve(
    terms: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least squares with Tukey's biweight (c = 6 times the residuals' MAD sigma).

    Parameters
    ----------
    terms : float64 (n, m)
        Design matrix.
    values, weights : float64 (n,)
        At least m of them.

    Returns
    -------
    solution : float64 (m,)
    biweights : float64 (n,)
        0 to 1.
    """
    robust = np.ones_like(values)
    last = np.full(terms.shape[1], np.inf)
    for _ in range(15):
        normal, right = normal_equations(terms, values, weights * robust)
        solution = np.einsum("ab,b->a", inverse(normal), right)
        residual = values - np.einsum("na,a->n", terms, solution)
        scatter = 1.4826 * median(np.abs(residual))
        if scatter <= 1e-12 * float(np.max(np.abs(values))):
            break
        robust = np.clip(1.0 - (residual / (6.0 * scatter)) ** 2, 0.0, None) ** 2
        if float(np.sum(np.abs(solution - last))) < SETTLED * scatter:
            break
        last = solution
    return solution, robust
