"""Images of the same sky are matched to their mean: differences are removed, common structure remains."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.mutual import add_shown, mutual_surfaces, square_means, strays
from nirred.algorithms.surface import Surface

SHAPE = (300, 260)


def _seen(shifts, order, noise=0.5, seed=2):
    """Values of a sky with a bright nebula at positions in shifted images, each with its own surface."""
    rng = np.random.default_rng(seed)
    x, y = (a.ravel() for a in np.meshgrid(np.arange(0, 420, 6.0), np.arange(0, 420, 6.0)))
    nebula = 500 * np.exp(-((x - 150) ** 2 + (y - 150) ** 2) / 2 / 50**2)
    own, values, positions = [], [], []
    for dx, dy in shifts:
        u, v = x - dx, y - dy
        c = np.where(np.add.outer(range(3), range(3)) <= order, rng.normal(0, 20, (3, 3)), 0)
        surface = Surface(c, SHAPE)
        inside = (u >= 0) & (u <= SHAPE[1] - 1) & (v >= 0) & (v <= SHAPE[0] - 1)
        values.append(np.where(inside, nebula + surface.at(u, v) + rng.normal(0, noise, x.size), np.nan))
        positions.append((u, v))
        own.append(surface)
    some = np.isfinite(values).any(axis=0)
    places = tuple(np.array(p)[:, some] for p in zip(*positions, strict=True))
    return np.array(values)[:, some], places, own, nebula[some]


def test_an_image_strays_by_what_is_wide_and_not_by_stars() -> None:
    values = np.random.default_rng(4).normal(0, 1.0, (5, 40, 36))
    values[:, ::5, ::5] += 500.0 * np.arange(5)[:, None, None]  # stars, in better and worse seeing
    values[1, :20, :18] -= 20.0
    values[4, 30:] = np.nan
    found = strays(values)
    assert found[1] == pytest.approx(20.0 / 4, rel=0.3)
    assert np.delete(found, 1).max() < 0.6
    values[2:] = np.nan
    assert not strays(values).any(), "of two, either may be the odd one"


@pytest.mark.parametrize("order", [0, 1, 2])
def test_differences_go_and_the_nebula_stays(order) -> None:
    values, places, _, _ = _seen([(0, 0), (12, -9), (25, 14), (-8, 20), (5, 5)], order)
    found = mutual_surfaces(values, places, [SHAPE] * 5, np.ones(5), order)
    left = np.array([row - s.at(x, y) for row, s, x, y in zip(values, found, *places, strict=True)])
    difference = left - np.nanmean(left, axis=0)
    assert np.nanstd(values - np.nanmean(values, axis=0)) > 5
    assert np.nanstd(difference) < 0.7  # the noise is 0.5
    common = sum(s.coefficients for s in found)
    assert np.abs(common).max() < 1e-9


def test_dithered_images_of_different_slopes_agree_on_the_sky() -> None:
    """A gradient of the sky turned during the sequence: the images' common part must not be unlike on the sky."""
    shifts = [(dx, dy) for dx in (20, 0, -20) for dy in (20, 0, -20)]
    values, places, _, _ = _seen(shifts, -1)
    for k, angle in enumerate(np.linspace(0.0, 3.0, 9)):
        steep = 500 * np.array([[0, np.cos(angle)], [np.sin(angle), 0]])
        values[k] += Surface(steep, SHAPE).at(places[0][k], places[1][k])
    found = mutual_surfaces(values, places, [SHAPE] * 9, np.ones(9), 2)
    left = np.array([row - s.at(x, y) for row, s, x, y in zip(values, found, *places, strict=True)])
    apart = left - np.nanmean(left, axis=0)
    slopes = [np.polyfit(x[use], d[use], 1)[0] for d, x in zip(apart, places[0]) if (use := np.isfinite(d)).any()]
    assert np.abs(slopes).max() * SHAPE[1] < 3.0  # from edge to edge, of 1000


def test_equal_images_stay_as_they_are() -> None:
    values, places, _, _ = _seen([(0, 0)] * 3, -1, noise=0.0)
    for surface in mutual_surfaces(values, places, [SHAPE] * 3, np.ones(3), 2):
        assert np.abs(surface.coefficients).max() < 1e-9


def test_an_image_that_no_other_sees_is_left_alone_and_a_narrow_strip_tells_a_level_only() -> None:
    values, places, _, _ = _seen([(0, 0), (2, 2), (0, 240), (5, 1)], 2)
    alone = values.copy()
    alone[2, np.isfinite(alone[[0, 1, 3]]).any(axis=0)] = np.nan
    assert not mutual_surfaces(alone, places, [SHAPE] * 4, np.ones(4), 2)[2].coefficients.any()
    strip = mutual_surfaces(values, places, [SHAPE] * 4, np.ones(4), 2)[2]
    slopes = strip.coefficients - mutual_surfaces(alone, places, [SHAPE] * 4, np.ones(4), 2)[2].coefficients
    assert np.isfinite(slopes).all()
    assert np.abs(strip.coefficients).max() < 200


def test_outliers_and_few_places() -> None:
    values, places, own, _ = _seen([(0, 0), (3, 3), (6, -2)], 1)
    spoilt = values.copy()
    rng = np.random.default_rng(5)
    spoilt[1, rng.choice(values.shape[1], 300, replace=False)] += 5000
    clean, dirty = (mutual_surfaces(v, places, [SHAPE] * 3, np.ones(3), 1) for v in (values, spoilt))
    worst = max(np.abs(a.coefficients - b.coefficients).max() for a, b in zip(clean, dirty, strict=True))
    assert worst < 3.0 < np.abs(own[1].coefficients).max()
    few = np.full_like(values, np.nan)
    few[:, 2000:2010] = values[:, 2000:2010]
    assert all(not s.coefficients.any() for s in mutual_surfaces(few, places, [SHAPE] * 3, np.ones(3), 2))


def test_square_means() -> None:
    data = np.arange(48, dtype=np.float32).reshape(6, 8)
    bad = np.zeros((6, 8), np.uint8)
    x, y = np.array([3.5, 0.5, 7.5, 3.5]), np.array([2.5, 0.5, 2.5, 4.5])
    np.testing.assert_allclose(square_means(data, bad, x, y, 2)[[0, 1, 3]], [23.5, 4.5, 39.5])
    assert np.isnan(square_means(data, bad, x, y, 2)[2])  # beyond the edge
    bad[2, 3] = 1
    np.testing.assert_allclose(square_means(data, bad, x[:1], y[:1], 2), (20 + 27 + 28) / 3)
    bad[2:4, 3:5] = 1
    assert np.isnan(square_means(data, bad, x[:1], y[:1], 2)).all()
    assert square_means(np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint8), np.zeros(1), np.zeros(1), 1)[0] == 1


def test_light_of_squares_is_added_up_where_an_image_shows_it() -> None:
    dq = np.zeros((6, 8), np.uint16)
    dq[3, 4], dq[0, 0] = 5, 8
    total, units = np.zeros(dq.shape, np.float32), np.zeros(dq.shape, np.float32)
    light = np.add.outer(10.0 * np.arange(5), np.arange(6)).astype(np.float32)
    add_shown(dq, 4, light, 4, (4, 8), 2.0, total, units)
    y, x = np.mgrid[4:10, 8:16]
    expected = 10.0 * (y - 1.5) / 4 + (x - 1.5) / 4
    np.testing.assert_allclose(np.delete(total, 3 * 8 + 4), np.delete(expected, 3 * 8 + 4), rtol=1e-6)
    assert total[3, 4] == units[3, 4] == 0.0 and units[0, 0] == 2.0
    add_shown(dq, 4, light[:1, :1], 4, (400, 0), 1.0, total, units)
    np.testing.assert_allclose(total[1, 1], expected[1, 1], rtol=1e-6)
