"""Objects of a first-pass stack with slopes, bright edges and halos."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from nirred.algorithms.firststack import compact_objects, first_objects, lit_boxes, sky_between
from nirred.algorithms.objmask import find_objects

SHAPE = (512, 512)
STARS = ((120, 130), (400, 90), (250, 300), (90, 420), (430, 410))


def test_what_is_seen_at_the_edges_of_a_stack_is_not_extended_over_its_middle() -> None:
    """The edge of a cloud was extended along a profile over two thirds of the field."""
    rng = np.random.default_rng(6)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    edge = np.minimum.reduce([u, v, SHAPE[1] - 1 - u, SHAPE[0] - 1 - v]) < 80
    model = rng.normal(0, 30, SHAPE) + 400 * np.exp(-((u - 300) ** 2 + (v - 10) ** 2) / 2 / 120**2)
    stars = (30, 200), (480, 300), (70, 500)
    for x, y in stars:
        model += 3000 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / 2.0**2)
    mask = compact_objects(model, (~edge).view(np.uint8), np.ones(SHAPE, np.float32), find_objects)
    assert all(mask[y, x] for x, y in stars)
    assert mask[~edge].mean() < 0.01


@pytest.mark.parametrize(("lit", "masked"), [(False, (0.1, 0.5)), (True, (0.7, 1.0))])
def test_a_steep_slope_beside_a_wide_galaxy_is_no_halo(lit: bool, masked: tuple[float, float]) -> None:
    """Its bright side masked most of the field, so that the slope could not be measured and remained in the stack."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    model = 60.0 * (v / 256 - 1) + 400 * np.exp(-np.hypot(u - 290, v - 240) / 25)
    model = (model + np.random.default_rng(3).normal(0, 15, SHAPE)).astype(np.float32)

    def seek(image: np.ndarray, bad: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smooth = uniform_filter(image, 32)
        mask = (smooth > np.percentile(smooth, 10) + 10.0).view(np.uint8)
        return mask, mask

    mask, _, _ = first_objects(model, np.zeros(SHAPE, np.uint8), np.ones(SHAPE, np.float32), seek, lit)
    assert mask[240, 290] and masked[0] < mask.mean() < masked[1]


@pytest.mark.parametrize(("width", "masked"), [(20.0, (0.0, 0.0)), (400.0, (0.6, 1.0))])
def test_a_sky_that_changed_after_the_target_frames_is_not_the_light_of_a_target(
    width: float, masked: tuple[float, float]
) -> None:
    """The sky fell by 1.4 % at the nod: the field was taken for filled, and its zero level was wrong by that much."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = 3000.0 * np.exp(-np.hypot(u - 290, v - 240) / width)
    sky = 120.0 + 60.0 * (u / 256 - 1) if width < 100 else 0.0
    model = (sky + light + np.random.default_rng(3).normal(0, 40, SHAPE)).astype(np.float32)
    mask = (light > (5.0 if width < 100 else 2000.0)).view(np.uint8)
    lit = lit_boxes(model, np.zeros(SHAPE, np.uint8), mask, 28.0)
    assert masked[0] <= lit.mean() <= masked[1]


def test_profiles_of_many_clouds_do_not_cover_the_sky_between_them() -> None:
    """On a slope left in the stack most of the field was an object, as if a target filled it."""
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    clouds = sum(300.0 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / 20**2) for x, y in STARS)
    model = 60.0 * (v / 256 - 1) + clouds + np.random.default_rng(3).normal(0, 15, SHAPE)

    def seek(
        image: np.ndarray, bad: np.ndarray, noise: np.ndarray, extended: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        smooth = uniform_filter(image, 32)
        mask = (smooth > np.percentile(smooth, 10) + (-10.0 if extended else 20.0)).view(np.uint8)
        return mask, mask

    none = np.zeros(SHAPE, np.uint8)
    mask, flat, _ = first_objects(model.astype(np.float32), none, np.ones(SHAPE, np.float32), seek, lit=False)
    assert 0.05 < mask.mean() < 0.7 and all(mask[y, x] for x, y in STARS)
    assert abs(np.median(flat[:20]) - np.median(flat[-20:])) < 20.0


def test_a_surface_that_makes_most_of_the_field_an_object_is_not_used() -> None:
    """Extrapolated beneath what was masked at the end of a strip, it lifted that end above the rest."""
    u = np.arange(SHAPE[1])
    bad = np.ones(SHAPE, np.uint8)
    bad[230:290] = 0
    model = (np.random.default_rng(4).normal(0, 3, SHAPE) + 10.0 * ((u - 300.0) / 256) ** 2).astype(np.float32)

    def seek(image: np.ndarray, bad: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        wide = 120 if image is model else 450
        mask = np.broadcast_to(u < wide, image.shape).view(np.uint8).copy()
        return mask, mask

    mask, _, _ = first_objects(model, bad, np.ones(SHAPE, np.float32), seek, False)
    assert mask[bad == 0].mean() == pytest.approx(120 / SHAPE[1])


def test_halos_at_the_ends_of_a_strip_are_no_parabola_under_its_middle() -> None:
    rng = np.random.default_rng(5)
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    model = (rng.normal(0, 10, SHAPE) + 1200 * np.exp(-np.hypot(u - 230, v - 256) / 45)).astype(np.float32)
    bad = (np.abs(v - 256) > 40).view(np.uint8)
    mask = (np.abs(u - 230) < 120).view(np.uint8)
    surface = sky_between(model, bad, mask)
    assert surface is not None
    assert np.ptp(surface.evaluate()[(bad == 0) & (mask != 0)]) < 5.0
