"""Light of extended objects beyond their detected extent."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.halos import FAR, Halo, _Likely, find_halos, light_between, sunken_halos
from nirred.algorithms.nested import LIGHT_STEP, fit_nested
from nirred.algorithms.surface import FIELD_STEP

SHAPE = (160, 160)


def galaxy(index: float, size: float = 14.0, bright: float = 20.0) -> np.ndarray:
    """A Sersic profile in the middle of an image of blocks, float64, with an axis ratio of 0.8."""
    from scipy.special import gammaincinv

    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80.0
    radius = np.hypot(x, y / 0.8) / size
    return bright * np.exp(-gammaincinv(2.0 * index, 0.5) * (radius ** (1 / index) - 1.0))


def seen(index: float, bend: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image with noise and a curved sky, the detected area of its galaxy, and the galaxy's light alone."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / 80.0 - 1.0
    light = galaxy(index)
    image = light + bend * (x * x + y * y) + np.random.default_rng(5).normal(0, 1, SHAPE)
    return image.astype(np.float32), (light > 3.0).view(np.uint8), light


@pytest.mark.parametrize("index", [1.0, 4.0])
@pytest.mark.parametrize("bend", [0.0, 0.2, -0.2])
def test_light_on_blank_pixels_is_told_beside_a_bent_sky(index: float, bend: float) -> None:
    """The fit includes a curvature: residuals of a parabola through the blank pixels are not taken for light."""
    image, found, light = seen(index, bend)
    blank = (light < 1.0) * 16.0
    told, error = light_between(image, found, blank)
    true = light[blank > 0].mean()
    assert abs(told - true) < 0.6 * true
    assert abs(told - true) < 3 * error
    assert light_between(image, found, 0 * blank) == (0.0, 0.0)


def test_stars_on_a_galaxy_do_not_change_its_profile() -> None:
    """They belong to its detected area, and may be much brighter than the galaxy where it is faint."""
    image, found, light = seen(1.0, 0.0)
    draw = np.random.default_rng(8)
    inside = np.argwhere(found)
    for y, x in inside[draw.choice(len(inside), 25, replace=False)]:
        image[y - 1 : y + 2, x - 1 : x + 2] += draw.uniform(20, 2000)
    blank = (light < 1.0) * 16.0
    true = light[blank > 0].mean()
    told, error = light_between(image, found, blank)
    assert abs(told - true) < min(0.6 * true, 3 * error)


def test_a_halo_is_where_its_object_is() -> None:
    image, found, light = seen(1.0, 1.0)
    (halo,) = find_halos(image, found)
    for x, y in ((80.0, 121.0), (37.0, 80.0), (115.0, 105.0)):
        assert halo.at(x, y) == pytest.approx(light[int(y), int(x)], rel=0.4)
    finer = halo.on_pixels(4, 100.0, -30.0)
    assert finer.at(4 * 37 + 1.5 + 100, 4 * 80 + 1.5 - 30) == pytest.approx(halo.at(37.0, 80.0), rel=1e-12)


def sunk(index: float, disturb: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A galaxy visible inside a mask, minus most of its light at the edge; its blocks, the mask, its light alone."""
    light = galaxy(index)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80.0
    radius = np.hypot(x, y / 0.8)
    mask = radius < 38.0
    edge = float(light[(radius > 38.0) & (radius < 39.0)].mean())
    arms = 1.0 + disturb * np.cos(2.0 * np.arctan2(y, x) - radius / 5.0)
    image = np.where(mask, light * arms - 0.6 * edge, 0.0) + np.random.default_rng(5).normal(0, 0.5, SHAPE)
    return image.astype(np.float32), (mask & (light > 3.0)).view(np.uint8), mask, light


@pytest.mark.parametrize(("index", "disturb"), [(1.0, 0.0), (2.0, 0.0), (4.0, 0.0), (1.0, 0.3), (4.0, 0.3)])
def test_light_that_went_with_the_sky_is_told_by_what_was_masked(index: float, disturb: float) -> None:
    image, found, mask, light = sunk(index, disturb)
    (halo,) = sunken_halos(image, found, mask)
    for x, y in ((80.0, 123.0), (31.0, 80.0), (80.0, 25.0)):
        assert halo.at(x, y) == pytest.approx(light[int(y), int(x)], rel=0.5)


def test_a_star_on_a_galaxy_is_no_halo() -> None:
    """It raised one annulus, and the best fit was a flat profile above a low level: a halo 50 times too bright."""
    image, found, mask, light = sunk(2.0)
    image[92:95, 70:73] += 4000.0
    for halo in sunken_halos(image, found, mask):
        assert halo.at(80.0, 123.0) < 2.0 * light[123, 80]


def test_no_sunken_halo_where_too_little_was_masked() -> None:
    image, found, mask, _ = sunk(4.0)
    assert sunken_halos(image, found, np.zeros_like(mask)) == []
    assert sunken_halos(np.full(SHAPE, np.nan, np.float32), found, mask) == []
    assert sunken_halos(image[:1, :1], found[:1, :1], mask[:1, :1]) == []


def test_what_is_no_profile_goes_on_as_none() -> None:
    """Rings and arms in a disc led to a profile that was too steep: twice the light beyond the mask."""
    image, found, mask, light = sunk(1.0)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] - 80.0
    ringed = image + np.where(mask, 0.3 * light * np.cos(np.hypot(x, y / 0.8) / 3.0), 0.0)
    assert sunken_halos(ringed.astype(np.float32), found, mask) == []
    blob = np.where(mask, 40.0 * np.clip(np.hypot(x, y / 0.8) / 20.0, 0.0, 2.0 - np.hypot(x, y / 0.8) / 20.0), 0.0)
    assert sunken_halos((image - light * mask + blob).astype(np.float32), found, mask) == []  # detector glow
    assert sunken_halos(image, found, np.ones_like(mask)) == []


def test_no_halo_without_an_extended_object() -> None:
    image, found, _ = seen(1.0, 0.0)
    assert find_halos(image, 0 * found) == []
    assert find_halos(np.full(SHAPE, np.nan, np.float32), found) == []
    assert find_halos(image[:1, :1], found[:1, :1]) == []
    assert light_between(image, 0 * found, np.ones(SHAPE)) == (0.0, 0.0)


def test_light_within_the_innermost_annulus_is_no_more_than_seen_there() -> None:
    """If masks cover the whole field, all of its pixels count as blank, including the centres of objects."""
    radius = np.array([1.4, 1.88, 2.39, 3.13, 3.59])
    means, errors = np.array([60.0, 34.0, 16.0, 23.0, 46.0]), np.array([27.0, 46.0, 21.0, 24.0, 25.0])
    inside = (FAR[1:] < radius[0]) * 1.0
    light, error = _Likely.of((radius, means, errors), 1.0).over(inside / inside.sum())
    assert 0.0 <= light < 120.0
    assert 0.0 <= error < 150.0


def test_a_surface_beside_a_halo_is_that_of_the_sky() -> None:
    """A halo known on the blank pixels does not bend the parabola through them; where it is not known it does."""
    y, x = np.mgrid[:640, :640].astype(float)
    sky = 2.0 * (x / 320 - 1) + 3.0 * (y / 320 - 1)
    halo = Halo((320.0, 320.0, 100.0, 0.9, 0.4), 30.0 * np.exp(-np.sqrt(FAR[1:] * FAR[:-1])))
    image = sky + halo.at(x, y) + np.random.default_rng(1).normal(0, 10, sky.shape)
    bad = (np.hypot(x - 320, y - 320) < 150).view(np.uint8)
    lit = np.ones_like(bad)[::FIELD_STEP, ::FIELD_STEP]
    light = halo.at(x[::LIGHT_STEP, ::LIGHT_STEP], y[::LIGHT_STEP, ::LIGHT_STEP])
    blind, knowing = (fit_nested(image, bad, lit, 2, light=known) for known in (None, light))
    assert blind.surfaces[2].coefficients[2, 0] < -1.0
    np.testing.assert_allclose(knowing.surfaces[2].coefficients[[0, 1, 2], [1, 0, 0]], [2.0, 3.0, 0.0], atol=0.35)
    unmasked = fit_nested(image, None, lit, 2, light=light)
    np.testing.assert_allclose(unmasked.surfaces[2].coefficients[[0, 1], [1, 0]], [2.0, 3.0], atol=0.35)
