"""Least squares with few terms."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.least_squares import inverse, normal_equations, robust_solve


def test_it_is_numpys_solution_and_outliers_do_not_count():
    rng = np.random.default_rng(1)
    terms, truth = rng.normal(size=(400, 4)), np.array([3.0, -1.0, 0.5, 100.0])
    weights = rng.uniform(0.5, 2.0, 400)
    values = terms @ truth + rng.normal(size=400) / np.sqrt(weights)
    values[:40] += 50.0
    solution, biweights = robust_solve(terms, values, weights)
    kept = weights * biweights
    root = np.sqrt(kept)
    expected = np.linalg.lstsq(root[:, None] * terms, root * values, rcond=None)[0]
    error = 1 / np.sqrt(450)  # of 360 values with a mean weight of 1.25
    assert np.allclose(solution, expected, atol=1e-3 * error) and (biweights[:40] < 0.01).all()
    assert (np.abs(solution - truth) < 4 * error).all()


def test_degenerate_terms_have_the_smallest_solution():
    one = np.ones((6, 1))
    normal, right = normal_equations(np.hstack([one, one]), np.full(6, 4.0), np.ones(6))
    assert np.allclose(inverse(normal) @ right, [2.0, 2.0])
    nearly = normal + np.diag([1e-12, 0.0])
    assert np.allclose(inverse(nearly), np.linalg.pinv(nearly, hermitian=True), rtol=1e-3)
    plain = np.array([[4.0, 1.0], [1.0, 3.0]])
    assert np.allclose(inverse(plain) @ plain, np.eye(2), atol=1e-15)
    assert np.array_equal(inverse(np.zeros((2, 2))), np.zeros((2, 2)))
