from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.mesh import mesh_background


def test_mesh_follows_a_smooth_background_under_sources() -> None:
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:500, :620]
    truth = 1000.0 + 0.1 * x + 40.0 * np.sin(y / 200.0)
    image = truth + rng.normal(0.0, 10.0, truth.shape)
    image[200:240, 300:350] += 500.0
    fitted = mesh_background(image, None).evaluate()
    assert fitted.shape == truth.shape and fitted.dtype == np.float32
    assert np.abs(fitted - truth).max() < 3.0
    assert np.std(fitted - truth) < 0.7


def test_mesh_fills_masked_boxes_and_measures_the_noise() -> None:
    image = np.random.default_rng(6).normal(50.0, 3.0, (256, 256))
    image[:100, :100] = np.nan
    mesh = mesh_background(image, None)
    assert mesh.shares[0, 0] == 0.0
    assert mesh.values[0, 0] == pytest.approx(50.0, abs=0.5)
    assert np.median(mesh.sigmas) == pytest.approx(3.0, rel=0.05)


def test_mesh_rows_are_those_of_the_whole() -> None:
    image = np.random.default_rng(7).normal(0.0, 1.0, (300, 200))
    mesh = mesh_background(image, None)
    assert np.array_equal(np.vstack([mesh.rows(0, 17), mesh.rows(17, 300)]), mesh.evaluate())
    added = image.astype(np.float32)
    mesh.add_to(added, threads=2)
    assert np.array_equal(added, image.astype(np.float32) + mesh.evaluate())


def test_mesh_of_nothing_is_nan_and_of_one_pixel_that_pixel() -> None:
    assert np.isnan(mesh_background(np.full((100, 100), np.nan), None).evaluate()).all()
    assert np.isnan(mesh_background(np.ones((1, 1)), np.ones((1, 1))).evaluate()).all()
    assert np.allclose(mesh_background(np.full((70, 9), 4.0), None).evaluate(), 4.0)


def test_mesh_needs_an_image() -> None:
    with pytest.raises(ValueError, match="two-dimensional"):
        mesh_background(np.ones(5), None)
