from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.surface import fit_plane, fit_surface


def test_plane_recovers_a_gradient_within_its_errors() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:512, :768]
    image = 20.0 + 0.01 * x - 0.02 * y + rng.normal(0.0, 5.0, x.shape)
    image[100:140, 100:140] += 300.0
    plane = fit_plane(image, None)
    truth = np.array([[20.0 + 0.01 * 383.5 - 0.02 * 255.5, 3.84], [-5.12, 0.0]])
    errors = np.where(plane.errors > 0, plane.errors, 1.0)
    assert np.all(np.abs(plane.coefficients - truth) < 4 * errors)
    assert plane.errors[0, 1] < 0.1 and plane.coefficients[1, 1] == 0.0
    assert np.abs(plane.evaluate() - (20.0 + 0.01 * x - 0.02 * y)).max() < 0.5


def test_surface_of_order_two_and_its_rows() -> None:
    x = np.mgrid[:400, :400][1]
    image = 3.0 + 1e-4 * (x - 200.0) ** 2 + np.random.default_rng(2).normal(0.0, 0.5, x.shape)
    surface = fit_surface(image, None, 2)
    assert np.abs(surface.rows(100, 120) - (3.0 + 1e-4 * (x[100:120] - 200.0) ** 2)).max() < 0.1
    assert np.array_equal(surface.rows(100, 120), surface.evaluate()[100:120])


def test_surface_without_enough_boxes_says_so() -> None:
    surface = fit_surface(np.full((300, 300), np.nan), None, 1)
    assert np.isnan(surface.coefficients[0, 0]) and np.isinf(surface.errors[0, 0])
    assert np.isnan(fit_plane(np.ones((1, 1)), None).coefficients[0, 0])


def test_surface_rejects_a_negative_order() -> None:
    with pytest.raises(ValueError, match="order"):
        fit_surface(np.ones((9, 9)), None, -1)
