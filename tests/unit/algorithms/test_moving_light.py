"""Separation of light that moves with the sky, light that stays on the detector, and the levels of each image."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.moving_light import Nodes, believed_light, explained, fit_terms, part_light

SIDE = 24
DITHER = ((0.0, 0.0), (3.5, 1.2), (-2.3, 4.1), (5.0, -3.7), (-4.2, -2.6))


def _night(noise: float = 0.0, light: float = 50.0, source: tuple[int, int] = (12, 11)):
    """Images of a detector's pattern, a source wider than their shifts, and a slope of each."""
    rng = np.random.default_rng(3)
    y, x = (p.ravel().astype(float) for p in np.mgrid[:SIDE, :SIDE])
    v, u = np.mgrid[:SIDE, :SIDE]
    radius = np.hypot(u - source[0], v - source[1])
    lit = radius < 9
    image = np.where(lit, light * np.exp(-radius / 3.0), 0.0)
    shapes = np.linalg.qr(np.stack([np.ones(x.size), x, y]).T)[0].T
    own = rng.normal(0.0, 40.0, (len(DITHER), 3))
    nodes = Nodes.of(np.array([x + dx for dx, _ in DITHER]), np.array([y + dy for _, dy in DITHER]), lit)
    pattern = rng.normal(0.0, 20.0, x.size)
    values = pattern + nodes.at(image[lit]) + own @ shapes + noise * rng.standard_normal((len(DITHER), x.size))
    return values, nodes, shapes, image[lit]


def test_light_pattern_and_shapes_are_parted() -> None:
    values, nodes, shapes, source = _night()
    parted = part_light(values, nodes, shapes)
    assert np.abs(parted.light - source).max() < 0.03 * source.max()
    assert abs((parted.light - source).mean()) < 0.01 * source.mean()
    assert np.std(parted.left) < 0.3


def test_places_that_hold_something_else_are_left_out() -> None:
    values, nodes, shapes, source = _night(noise=1.0)
    values[2, 37] += 400.0
    values[1, 300:320] = np.nan
    parted = part_light(values, nodes, shapes)
    assert not parted.seen[2, 37] and not parted.seen[1, 300:320].any()
    assert parted.seen.mean() > 0.98
    assert np.std(parted.light - source) < 2.0, "noise of 1 in each of five images"
    assert (parted.left[~parted.seen] == 0.0).all()


def test_a_place_that_no_image_shows_has_no_pattern() -> None:
    values, nodes, shapes, _ = _night(noise=1.0)
    values[:, 5] = np.nan
    parted = part_light(values, nodes, shapes)
    assert np.isnan(parted.pattern[5]) and np.isfinite(np.delete(parted.pattern, 5)).all()


@pytest.mark.parametrize("shown", [0, 1])
def test_one_image_or_none_tells_no_light(shown: int) -> None:
    values, nodes, shapes, _ = _night()
    values[shown:] = np.nan
    parted = part_light(values, nodes, shapes)
    assert (parted.light == 0.0).all()
    sizes = np.array([0, nodes.number])
    assert explained(values, parted, shapes, nodes.reach(nodes.lit.astype(int)), sizes)[1] == 0.0


def test_a_single_place_and_node() -> None:
    nodes = Nodes.of(np.zeros((2, 1)), np.zeros((2, 1)), np.ones((1, 1), bool))
    parted = part_light(np.array([[3.0], [5.0]]), nodes, np.zeros((0, 1)))
    assert parted.light[0] == 0.0 and parted.pattern[0] == 4.0, "the node lies on the same place in both"


def test_light_explains_more_than_noise_does() -> None:
    ratios = {}
    for light in (50.0, 0.0):
        values, nodes, shapes, _ = _night(noise=1.0, light=light)
        sizes = np.array([0, nodes.number])
        parted = part_light(values, nodes, shapes)
        ratios[light] = explained(values, parted, shapes, nodes.reach(nodes.lit.astype(int)), sizes)[1]
    assert ratios[50.0] > 20.0
    assert 0.5 < ratios[0.0] < 1.5


def test_values_between_nodes_are_linear_and_the_transpose_is_one() -> None:
    rng = np.random.default_rng(1)
    lit = rng.random((4, 5)) < 0.7
    nodes = Nodes.of(rng.uniform(-2, 6, (3, 20)), rng.uniform(-2, 5, (3, 20)), lit)
    light, values = rng.standard_normal(nodes.number), rng.standard_normal((3, 20))
    assert np.sum(nodes.at(light) * values) == pytest.approx(np.sum(light * nodes.put(values)))
    middle = Nodes.of(np.array([[0.25, np.nan]]), np.array([[0.5, 0.0]]), np.ones((2, 2), bool))
    np.testing.assert_allclose(middle.at(np.array([0.0, 4.0, 8.0, 12.0])), [[5.0, 0.0]])


@pytest.mark.parametrize(("light", "believed"), [(50.0, True), (0.0, False), (-50.0, False)])
def test_light_is_believed_if_it_explains_the_images_and_is_no_shadow(light: float, believed: bool) -> None:
    values, nodes, shapes, _ = _night(noise=1.0, light=light)
    parted = part_light(values, nodes, shapes)
    found = believed_light(values, parted, nodes, shapes)
    assert (found is not None) == believed
    if found is not None:
        np.testing.assert_array_equal(found, parted.light)


@pytest.mark.parametrize(("light", "inside", "cut"), [(50.0, True, True), (6.0, True, False), (0.0, False, False)])
def test_light_that_the_border_cuts_must_be_clearer(light: float, inside: bool, cut: bool) -> None:
    for source, believed in (((12, 11), inside), ((3, 20), cut)):
        values, nodes, shapes, _ = _night(noise=1.0, light=light, source=source)
        parted = part_light(values, nodes, shapes)
        assert (believed_light(values, parted, nodes, shapes) is not None) == believed


def test_terms_of_an_image_do_not_follow_outliers_and_need_enough_values() -> None:
    rng = np.random.default_rng(1)
    terms = np.stack([np.ones(200), np.linspace(-1, 1, 200)])
    values = np.array([3.0, 2.0]) @ terms + 0.1 * rng.standard_normal(200)
    values[7], values[50:60] = 500.0, np.nan
    assert fit_terms(terms, values) == pytest.approx([3.0, 2.0], abs=0.05)
    values[3:] = np.nan
    assert fit_terms(terms, values).tolist() == [0.0, 0.0]
