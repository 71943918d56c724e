"""Relative transparencies."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.apertures import aperture_fluxes
from nirred.algorithms.photometry import (
    NATURAL_GAIN,
    STAR_ERROR,
    WINGS,
    area_exponent,
    concentrations,
    relative_transparencies,
    seeing_loss,
    shrink,
    uneven_transparencies,
)


def test_transparencies_of_perfect_fluxes():
    true = np.array([0.9, 1.0, 1.1, 1.0])
    stars = np.array([1e4, 5e4, 2e5, 1e6])
    flux = true[:, None] * stars
    t, error = relative_transparencies(flux, np.broadcast_to(0.01 * stars, flux.shape))
    np.testing.assert_allclose(t, true, rtol=1e-8)  # their median is 1
    np.testing.assert_allclose(error, np.hypot(0.01, STAR_ERROR) / 2, rtol=1e-6)


def test_the_brightest_star_does_not_speak_for_all_others():
    """Errors from pixels lost in one frame are not in the star's noise."""
    stars = np.concatenate([[1e7], np.full(20, 1e5)])
    flux = np.ones((5, 1)) * stars
    flux[3, 0] *= 1.01
    t, _ = relative_transparencies(flux, np.broadcast_to(np.sqrt(stars), flux.shape))
    assert abs(t[3] - 1) < 0.002


def test_missing_stars_and_one_variable_do_not_matter():
    rng = np.random.default_rng(1)
    true, stars = np.array([0.8, 1.0, 1.2, 0.9, 1.1]), 10 ** rng.uniform(4, 6, 25)
    flux = true[:, None] * stars * (1 + 0.005 * rng.standard_normal((5, 25)))
    flux[rng.random(flux.shape) < 0.3] = np.nan
    flux[2, 3] *= 2.0
    t, error = relative_transparencies(flux, 0.005 * flux)
    assert np.all(np.abs(t - true) < 5 * error)
    assert np.all(error < 0.003)


@pytest.mark.parametrize("stars", [3, 4, 6])
def test_cosmic_rays_on_few_stars_do_not_matter(stars: int):
    """One star in five is hit by a cosmic ray, by a few percent or by as much as its own light."""
    rng = np.random.default_rng(stars)
    errors = []
    for _ in range(40):
        true = np.exp(0.01 * rng.standard_normal(9))
        flux = true[:, None] * 10 ** rng.uniform(5, 6, stars) * (1 + 0.005 * rng.standard_normal((9, stars)))
        struck = rng.random(flux.shape) < 0.2
        struck &= np.cumsum(struck, axis=1) <= (stars - 1) // 2
        flux[struck] *= 1 + 10 ** rng.uniform(-1.2, 0.2, struck.sum())
        errors.append(relative_transparencies(flux, 0.005 * flux)[0] / true * np.exp(np.log(true).mean()) - 1)
    assert np.std(errors) < 0.009
    assert np.max(np.abs(errors)) < 0.04


def test_errors_are_those_of_a_monte_carlo():
    rng = np.random.default_rng(2)
    stars = np.full(12, 1e5)
    pulls = []
    for _ in range(100):
        flux = stars * (1 + 0.02 * rng.standard_normal((6, 12)))
        t, error = relative_transparencies(flux, 0.02 * flux)
        pulls.append((t - 1) / error)
    assert np.std(pulls) == pytest.approx(np.sqrt(5 / 6), rel=0.12)  # the mean of six is subtracted


def test_one_star_is_enough_where_asked():
    flux = np.array([[1.0], [0.7], [1.0]]) * 1e5
    t, error = relative_transparencies(flux, 0.01 * flux, 1)
    np.testing.assert_allclose(t / t[0], [1.0, 0.7, 1.0])
    np.testing.assert_allclose(error, np.hypot(0.01, 0.02), rtol=0.1)  # the flat's error at the star's position
    np.testing.assert_allclose(shrink(t, error) / shrink(t, error)[0], [1.0, 0.7, 1.0], rtol=0.01)
    assert np.ptp(shrink(1 + 0.05 * (t - 1), error)) < 0.003


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_stars_or_frames(n):
    flux = np.full((n, 2), 1e5)
    t, error = relative_transparencies(flux, 0.01 * flux)
    assert t.tolist() == [1.0] * n and np.isinf(error).all()
    t, error = relative_transparencies(np.full((n, 5), np.nan), np.full((n, 5), np.nan))
    assert t.tolist() == [1.0] * n and np.isinf(error).all()


def test_a_frame_without_stars_keeps_one():
    flux = np.array([[0.9], [1.1], [1.0]]) * np.array([1e4, 1e5, 1e6, 1e5])
    flux[2, 1:] = np.nan
    t, error = relative_transparencies(flux, 0.001 * flux)
    assert t[2] == 1.0 and np.isinf(error[2])
    assert t[1] / t[0] == pytest.approx(1.1 / 0.9)
    assert t[0] * t[1] == pytest.approx(1.0)


def test_faint_stars_do_not_count():
    flux = np.full((3, 5), 100.0)
    t, error = relative_transparencies(flux, np.full((3, 5), 20.0))
    assert t.tolist() == [1.0] * 3 and np.isinf(error).all()


def test_shrink_takes_the_noise_out_of_the_scatter():
    rng = np.random.default_rng(3)
    true = 1 + 0.01 * rng.standard_normal(400)
    error = np.full(400, 0.01)
    seen = true + error * rng.standard_normal(400)
    better = shrink(seen, error)
    assert np.std(better - true) < 0.8 * np.std(seen - true)
    np.testing.assert_array_equal(shrink(np.array([1.0, 1.0]), np.array([0.1, 0.1])), 1.0)
    np.testing.assert_allclose(shrink(np.array([0.8, 1.2]), np.array([1e-6, 1e-6])), [0.8, 1.2])
    assert shrink(np.array([0.8, 1.2]), np.array([0.01, np.inf])).tolist() == [1.0, 1.0]


def test_a_cloud_is_told_whole_and_lends_its_scatter_to_no_other_frame():
    rng = np.random.default_rng(7)
    seen = 1 + 0.02 * rng.standard_normal(9)
    seen[4] = 0.7
    better = shrink(seen, np.full(9, 0.02))
    assert better[4] == pytest.approx(0.7, abs=0.003)
    others = np.delete(better, 4) - 1
    assert np.std(others) < 0.75 * np.std(np.delete(seen, 4))


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_fluxes_tell_whether_they_go_with_the_area(power):
    rng = np.random.default_rng(4)
    area = 1 + 0.1 * rng.random(30) + 0.003 * rng.standard_normal((14, 30))
    brightness, transparency = 10 ** rng.uniform(4, 6, 30), 1 + 0.02 * rng.standard_normal((14, 1))
    flux = brightness * transparency * area**power * (1 + 0.004 * rng.standard_normal(area.shape))
    flux[rng.random(flux.shape) < 0.2] = np.nan
    flux[3, 4] *= 1.5
    found, error = area_exponent(flux, 0.004 * flux, area)
    assert error < 0.12
    assert abs(found - power) < 4 * error


@pytest.mark.parametrize(("spread", "frames"), [(0.0, 9), (1e-5, 9), (0.01, 1)])
def test_equal_areas_tell_nothing(spread, frames):
    rng = np.random.default_rng(5)
    area = 1 + spread * rng.random((frames, 20))
    flux = 1e4 * np.ones((frames, 20)) * (1 + 0.01 * rng.standard_normal((frames, 20)))
    assert area_exponent(flux, 0.01 * flux, area)[1] > 1
    assert area_exponent(np.full_like(flux, np.nan), flux, area) == (0.0, np.inf)


def _drawn(places, fwhm, copies=((0.0, 0.0),)):
    y, x = np.mgrid[:200, :200]
    image = np.random.default_rng(4).normal(0, 1, x.shape)
    for px, py in places:
        for dx, dy in copies:
            r2 = (x - px - dx) ** 2 + (y - py - dy) ** 2
            image += 300.0 / len(copies) * (4.0 / fwhm) ** 2 * np.exp(-4 * np.log(2) * r2 / fwhm**2)
    return image.astype(np.float32)


def test_trailed_doubled_and_displaced_images_are_less_concentrated_than_seeing_makes_them():
    places = np.array([(40, 40), (100, 60), (60, 140), (150, 150), (140, 50)]) + 0.3
    trail = [(1.6 * k, 0.8 * k) for k in range(-5, 6)]
    frames = [_drawn(places, fwhm) for fwhm in (4.0, 3.7, 4.3, 4.0, 4.8)]
    frames += [_drawn(places, 4.0, trail), _drawn(places, 4.0, [(-3, 0), (3, 0)]), _drawn(np.add(places, (4, 2)), 4.0)]
    bad = np.zeros(frames[0].shape, np.uint8)
    fluxes = [aperture_fluxes(f, bad, *places.T, 4.0, radii=(0.75, 2.0))[0] for f in frames]
    core, whole = np.moveaxis(fluxes, 1, 0)
    found = concentrations(core, whole)
    assert (found[:5] > 0.8).all() and (found[5:] < 0.6).all()
    assert np.isnan(concentrations(core[:, :2], whole[:, :2])).all()
    assert np.isnan(concentrations(core * np.nan, whole)).all()


@pytest.mark.parametrize("index", [2.5, 3.0, 3.5])
def test_what_worse_seeing_carries_out_of_an_aperture(index):
    """Stars of wide and of narrow wings, in apertures of one size."""
    y, x = np.mgrid[:121, :121] - 60.0
    widths, fluxes = np.array([0.9, 0.95, 1.0, 1.05, 1.1]), []
    for width in widths:
        alpha = 2.5 * width / np.sqrt(2 ** (1 / index) - 1)
        star = 1e6 * (index - 1) / np.pi / alpha**2 * (1 + (x**2 + y**2) / alpha**2) ** -index
        here = np.array([60.0])
        flux, error = aperture_fluxes(
            star.astype(np.float32), np.zeros(x.shape, np.uint8), here, here, 5.0, radii=(2, 3)
        )
        fluxes.append([*flux[:, 0], error[1, 0]])
    narrow, wide, error = np.repeat(np.array(fluxes).T[:, :, None], 8, axis=2)
    found = seeing_loss(narrow, wide, error, widths)
    true = -np.polyfit(np.log(widths), np.log(narrow[:, 0]), 1)[0]
    assert found == pytest.approx(true, rel=0.1)


def test_a_width_that_light_does_not_follow_takes_nothing_from_a_star():
    rng, widths = np.random.default_rng(2), np.array([1.4, 1.0, 0.98, 1.1, 1.0, 1.05])
    stars = np.array([1e6, 4e5, 2e5])
    narrow, wide = (k * stars * rng.normal(1, 0.004, (6, 3)) for k in (1.0, 1.15))
    error = np.broadcast_to(0.004 * stars, narrow.shape)
    assert seeing_loss(narrow, wide, error, widths) < 0.02


def test_where_stars_do_not_tell_seeing_does_what_it_usually_does():
    """Fields of few faint stars, in which up to 2 % of the light was taken for transparency without a prior."""
    rng, widths = np.random.default_rng(3), np.array([0.95, 1.0, 1.1, 0.97, 1.02])
    stars, usual = np.array([3e4, 2e4, 1.5e4]), WINGS * NATURAL_GAIN**1.5
    narrow, wide = (stars * rng.normal(1, 0.05, (5, 3)) for _ in range(2))
    error = np.broadcast_to(0.05 * stars, narrow.shape)
    assert seeing_loss(narrow, wide, error, widths) == pytest.approx(usual, rel=0.3)
    nothing = np.full_like(wide, np.nan)
    for given in (
        (narrow, wide, error, np.full(5, np.nan)),
        (narrow, nothing, error, widths),
        (narrow, wide, error, np.ones(5)),
        (narrow[:1], wide[:1], error[:1], widths[:1]),
        (narrow, wide, error, 1 + 1e-4 * (widths - 1)),
    ):
        assert seeing_loss(*given) == pytest.approx(usual, rel=0.01)


def test_a_bright_star_seen_in_two_frames_does_not_take_both_with_it() -> None:
    """A cosmic ray on it in one of them: the other stars know the transparencies less well, but well enough."""
    rng = np.random.default_rng(6)
    bright, faint = 75000.0, np.array([26000.0, 21000.0, 19000.0, 15000.0, 14000.0, 12000.0, 10000.0])
    flux = np.tile(np.append(bright, faint), (9, 1)) + rng.normal(0, 1000, (9, 8))
    flux[:, 0] = np.where(np.isin(np.arange(9), (3, 4)), flux[:, 0], np.nan)
    clean, _ = relative_transparencies(flux, np.full_like(flux, 1000.0), 1)
    flux[3, 0] += 20000.0
    hit, error = relative_transparencies(flux, np.full_like(flux, 1000.0), 1)
    assert np.abs(clean - 1).max() < 0.05
    assert np.abs(hit - 1).max() < 0.06
    assert (error < 0.04).all()


@pytest.mark.parametrize("stars", [0, 1, 5])
def test_without_measured_stars_quarters_do_not_differ(stars):
    nothing = np.full((3, stars), np.nan)
    difference, sigma = uneven_transparencies(nothing, nothing, np.zeros((3, stars), np.intp))
    assert not difference.any() and np.isinf(sigma).all()


def test_a_quarter_in_which_stars_are_dimmer_is_measured():
    rng = np.random.default_rng(2)
    areas = np.tile(np.arange(40) % 4, (6, 1))
    flux = rng.uniform(1e4, 1e5, 40) * np.ones((6, 1))
    flux[2, areas[2] == 1] *= 0.9
    difference, sigma = uneven_transparencies(flux * (1 + 0.01 * rng.standard_normal(flux.shape)), 0.01 * flux, areas)
    assert abs(difference[2] - 0.105) < 4 * sigma[2] and sigma[2] < 0.01
    assert np.delete(difference, 2).max() < 0.03
