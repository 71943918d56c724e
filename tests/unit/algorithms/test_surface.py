from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.nested import fit_nested, shrink_nested
from nirred.algorithms.surface import FIELD_STEP, Surface, fit_points, unevenness, unlit_plane


def test_plane_recovers_a_gradient_within_its_errors() -> None:
    rng = np.random.default_rng(1)
    y, x = (v.ravel() for v in np.mgrid[32:512:64, 32:768:64].astype(float))
    values = 20.0 + 0.01 * x - 0.02 * y + rng.normal(0.0, 0.1, x.size)
    values[17] += 300.0
    plane = fit_points(x, y, values, (512, 768), 1)
    truth = np.array([[20.0 + 0.01 * 383.5 - 0.02 * 255.5, 3.84], [-5.12, 0.0]])
    errors = 0.1 * np.sqrt(np.array([[1, 3], [3, 0]]) / x.size)
    assert np.all(np.abs(plane.coefficients - truth) <= 4 * errors)
    assert (
        np.abs(plane.evaluate()[::64, ::64] - (20.0 + 0.01 * np.arange(0, 768, 64) - 0.02 * np.c_[0:512:64])).max()
        < 0.2
    )


def test_surface_of_order_two_and_its_rows() -> None:
    y, x = np.mgrid[:400, :400].astype(float)
    image = 3.0 + 1e-4 * (x - 200.0) ** 2
    surface = fit_points(x[::20, ::20].ravel(), y[::20, ::20].ravel(), image[::20, ::20].ravel(), (400, 400), 2)
    assert np.abs(surface.rows(100, 120) - image[100:120]).max() < 1e-9
    assert np.array_equal(surface.rows(100, 120), surface.evaluate()[100:120])


def test_surface_without_enough_points_says_so() -> None:
    two = np.array([0.0, 1.0])
    surface = fit_points(two, two, two, (2, 2), 1)
    assert np.isnan(surface.coefficients[0, 0])


def field(seed: int, curve: float, slope: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A strip of sky whose middle half is covered by an object; its image, object and dark surroundings."""
    y, x = np.mgrid[:256, :768]
    u = (x - 383.5) / 384.0
    image = slope * u + curve * u**2 + np.random.default_rng(seed).normal(0.0, 50.0, x.shape)
    unlit = np.abs(y - 128) > 40
    covered = np.abs(u) < 0.5
    image[covered] += 1000.0
    return image, unlit | covered, ~unlit[::FIELD_STEP, ::FIELD_STEP]


def middle_errors(curve: float, slope: float) -> tuple[float, float]:
    """Rms error in the middle, under the object, of shrunk and unshrunk parabolas."""
    fits = [fit_nested(*field(seed, curve, slope), 2) for seed in range(6)]
    assert all(fit is not None and len(fit.surfaces) == 3 for fit in fits)
    known = [fit for fit in fits if fit is not None]
    pairs = [(shrunk, fit.surfaces[2]) for shrunk, fit in zip(shrink_nested(known), known, strict=True)]
    values = np.array([[s.rows(128, 129)[0, 384] for s in pair] for pair in pairs])
    one, two = np.sqrt(np.mean(values**2, axis=0))
    return float(one), float(two)


def test_a_parabola_that_is_noise_is_not_extrapolated_under_an_object() -> None:
    shrunk, whole = middle_errors(0.0, 30.0)
    assert shrunk < 0.7 * whole


def test_a_curvature_above_noise_is_kept() -> None:
    shrunk, whole = middle_errors(200.0, 30.0)
    assert whole < 10.0 and shrunk < whole + 2.0


def test_nested_surfaces_add_up() -> None:
    fit = fit_nested(*field(1, 40.0, 30.0), 2)
    assert fit is not None and fit.gains[0] == fit.costs[0] == 0.0 < fit.costs[1]
    for factors, order in (((1, 0, 0), 0), ((1, 1, 0), 1), ((1, 1, 1), 2)):
        n = order + 1
        assert np.allclose(fit.shrunk(factors).coefficients[:n, :n], fit.surfaces[order].coefficients)
        assert np.count_nonzero(np.abs(fit.shrunk(factors).coefficients) > 1e-9) == n * (n + 1) // 2


def test_powers_that_are_sure_draw_all_of_an_addition_and_none_draw_nothing() -> None:
    fit = fit_nested(*field(1, 40.0, 30.0), 2)
    assert fit is not None
    variance = fit.chi2 / fit.freedom
    assert np.allclose(fit.drawn((1e9, 1e9), variance).coefficients, fit.surfaces[2].coefficients, atol=1e-3)
    level = fit.drawn((0.0, 0.0), variance).coefficients
    assert level[0, 0] == fit.surfaces[0].coefficients[0, 0] and np.count_nonzero(level) == 1
    plane = fit.drawn((1e9, 1e9), variance, (1.0, 0.0)).coefficients
    assert np.allclose(plane[:2, :2], fit.surfaces[1].coefficients, atol=1e-3)


def test_too_few_boxes_allow_a_lower_order_or_none() -> None:
    image = np.random.default_rng(3).normal(0.0, 1.0, (128, 300))
    lit = np.ones((8, 19), bool)
    fit = fit_nested(image, None, lit, 2)
    assert fit is not None and len(fit.surfaces) == 3
    bad = np.ones_like(image)
    bad[:, :70] = 0
    small = fit_nested(image, bad, bad[::FIELD_STEP, ::FIELD_STEP] == 0, 2)
    assert small is not None and len(small.surfaces) == 2
    assert fit_nested(image, np.ones_like(image), lit, 2) is None
    assert fit_nested(image, None, ~lit, 2) is None
    assert fit_nested(np.full((1, 1), np.nan), None, np.ones((1, 1)), 2) is None
    assert shrink_nested([]) == []


def test_rows_of_an_image_lose_the_surface_of_the_whole() -> None:
    image = np.random.default_rng(4).normal(0.0, 1.0, (90, 70)).astype(np.float32)
    y, x = np.indices(image.shape).reshape(2, -1).astype(float)
    surface = fit_points(x, y, image.ravel() + x, image.shape, 2).raised(5.0)
    expected = image - surface.evaluate()
    rows = np.array([3, 40, 89])
    some = image[rows]
    surface.take_off(some, rows)
    assert np.allclose(some, expected[rows], atol=1e-4)
    assert np.allclose(surface.taken_off(image), expected, atol=1e-4)
    assert np.array_equal(surface.taken_off(image)[rows], some)


def test_two_surfaces_are_never_farther_apart_than_their_coefficients_say() -> None:
    rng = np.random.default_rng(5)
    shape = (40, 60)
    one, other = (Surface(rng.normal(size=(3, 3)), shape) for _ in range(2))
    seen = np.abs(one.evaluate() - other.evaluate()).max()
    assert seen <= one.apart(other)
    assert one.apart(other) < 20.0 * seen
    assert one.apart(one) == 0.0
    plane = Surface(np.array([[1.0, 0.5], [-0.25, 0.0]]), one.shape)
    seen = float(np.abs(one.evaluate() - plane.evaluate()).max())
    assert seen <= one.apart(plane) == plane.apart(one)
    level = Surface(one.coefficients + np.eye(3)[:, :1] * np.eye(3)[:1] * 0.25, shape)
    assert one.apart(level) == pytest.approx(0.25)


def test_the_plane_on_which_a_field_lies_beside_what_light_raises() -> None:
    rng = np.random.default_rng(3)
    y, x = np.mgrid[32:1024:64, 32:1024:64].astype(float)
    boxes = 15.0 * (x / 512 - 1) - 8.0 * (y / 512 - 1) + rng.normal(0, 0.8, x.shape)
    galaxy = 300.0 * np.exp(-np.hypot(x - 600, y - 400) / 70)
    boxes[3, 3] = np.nan
    plane = unlit_plane(boxes + galaxy, (1024, 1024))
    assert plane is not None
    assert plane.coefficients[0, 1] == pytest.approx(15, abs=1) and plane.coefficients[1, 0] == pytest.approx(-8, abs=1)


def test_the_plane_under_a_nebula() -> None:
    """Clouds over 60 % of the field made the scatter so wide that no box was raised by light."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[32:1024:64, 32:1024:64].astype(float)
    boxes = 15.0 * (x / 512 - 1) - 60.0 * (y / 512 - 1) + rng.normal(0, 0.8, x.shape)
    for _ in range(6):
        x0, y0 = rng.uniform(0, 1024, 2)
        boxes += rng.uniform(50, 300) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / 2 / rng.uniform(30, 90) ** 2)
    plane = unlit_plane(boxes, (1024, 1024))
    assert plane is not None
    assert plane.coefficients[0, 1] == pytest.approx(15, abs=2) and plane.coefficients[1, 0] == pytest.approx(
        -60, abs=2
    )


@pytest.mark.parametrize("scale", [200.0, 400.0, 900.0])
@pytest.mark.parametrize("place", [(350, 420), (50, 20)])
def test_outskirts_of_what_fills_a_field_are_no_plane(scale: float, place: tuple[int, int]) -> None:
    y, x = np.mgrid[32:1024:64, 32:1024:64].astype(float)
    light = 900.0 * np.exp(-np.hypot(x - place[0], y - place[1]) / scale)
    assert unlit_plane(light + np.random.default_rng(4).normal(0, 1, x.shape), (1024, 1024)) is None


def test_a_raised_sky_is_even_and_light_that_fills_a_field_is_not() -> None:
    y, x = np.mgrid[32:1024:64, 32:1024:64].astype(float)
    noise = np.random.default_rng(4).normal(0, 1, x.shape)
    galaxy = 300.0 * np.exp(-np.hypot(x - 600, y - 400) / 70)
    assert unevenness(120.0 + 0.05 * x + galaxy + noise, (1024, 1024)) < 0.02
    for scale in (200.0, 400.0, 900.0):
        assert unevenness(900.0 * np.exp(-np.hypot(x - 350, y - 420) / scale) + noise, (1024, 1024)) > 0.1
    assert unevenness(np.full((16, 16), np.nan), (1024, 1024)) == np.inf


def test_no_plane_of_an_even_field_or_of_nothing() -> None:
    assert unlit_plane(np.random.default_rng(5).normal(0, 1, (16, 16)), (1024, 1024)) is None
    assert unlit_plane(np.full((16, 16), np.nan), (1024, 1024)) is None
    assert unlit_plane(np.ones((1, 1)), (1, 1)) is None
