from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import gammaincinv

from nirred.algorithms.dilation import dilate
from nirred.algorithms.objmask import blank_fraction, find_objects, object_mask


def sersic(index: float, brightness: float, ratio: float = 1.0, size: int = 768, radius: float = 20.0) -> np.ndarray:
    """Galaxy of given effective radius and mean brightness within it."""
    y, x = np.mgrid[:size, :size]
    distance = np.maximum(np.hypot(x - size / 2 - 0.3, (y - size / 2 + 0.2) / ratio), 0.3)
    image = np.exp(-gammaincinv(2.0 * index, 0.5) * ((distance / radius) ** (1.0 / index) - 1.0))
    return image * brightness / image[distance < radius].mean()


@pytest.mark.parametrize(("index", "outside"), [(1.0, 0.005), (4.0, 0.03)])
@pytest.mark.parametrize("brightness", [1.0, 10.0])
@pytest.mark.parametrize("ratio", [1.0, 0.6])
def test_mask_holds_nearly_all_light_of_a_galaxy(index: float, outside: float, brightness: float, ratio: float) -> None:
    galaxy = sersic(index, brightness, ratio, 1024)
    mask = object_mask(galaxy + np.random.default_rng(1).normal(0.0, 1.0, galaxy.shape), None, 1.0)
    assert galaxy[mask == 0].sum() < outside * galaxy.sum()
    assert mask.mean() < 0.3


def test_mask_reaches_beyond_the_hollow_that_a_galaxy_dithered_over_its_own_sky_makes() -> None:
    galaxy = sersic(1.0, 20.0, size=768, radius=40.0)
    moves = [(110, 30), (-60, 100), (-90, -70), (50, -105)]
    sunk = galaxy - sum(np.roll(galaxy, move, (0, 1)) for move in moves) / 4
    image = sunk + np.random.default_rng(4).normal(0.0, 1.0, galaxy.shape)
    outside = {flag: galaxy[object_mask(image, None, 1.0, sunk=flag) == 0].sum() for flag in (True, False)}
    assert outside[True] < 0.05 * galaxy.sum()
    assert outside[False] > 2 * outside[True]


def test_clouds_of_a_nebula_are_masked_one_by_one() -> None:
    """The profile along one ellipse around all of them is much wider than they are."""
    v, u = np.mgrid[:512, :512]
    image = np.random.default_rng(4).normal(0.0, 16.0, (512, 512))
    clouds = np.zeros_like(image)
    for x, y, height, size in (
        (60, 45, 150, 26), (175, 150, 350, 22), (250, 45, 330, 32), (290, 20, 200, 32), (350, 160, 200, 18),
        (400, 225, 120, 10), (460, 120, 300, 21),
    ):  # fmt: skip
        clouds += height * np.exp(-((u - x) ** 2 + (v - y) ** 2) / 2 / size**2)
    mask = object_mask(image + clouds, None, 40.0)
    assert mask[clouds > 3.0].mean() > 0.99
    assert mask.mean() < 0.45  # of which 0.29 are brighter than 3; one ellipse: 0.54


def test_mask_of_pure_noise_is_nearly_empty() -> None:
    noise = np.random.default_rng(2).normal(0.0, 3.0, (1024, 1024))
    assert object_mask(noise, None, 3.0, grow=0.0).mean() < 0.005
    assert object_mask(noise, None, 3.0).mean() < 0.02


def test_mask_measures_correlated_noise_by_itself() -> None:
    noise = np.random.default_rng(3).normal(0.0, 1.0, (768, 768))
    correlated = sum(np.roll(noise, (j, i), (0, 1)) for j in (0, 1) for i in (0, 1)) / 4.0
    assert object_mask(correlated, None, 0.1).mean() < 0.02


def test_mask_finds_faint_stars_where_the_noise_varies() -> None:
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:600, :600]
    noise = 1.0 + 3.0 * (x > 300)
    image, width = rng.normal(0.0, noise), 4.0 / 2.355
    places = [(60 + 120 * j, 60 + 120 * i) for j in range(5) for i in range(5)]
    for j, i in places:
        star = np.exp(-0.5 * ((y - j) ** 2 + (x - i) ** 2) / width**2) / (2.0 * math.pi * width**2)
        image += 8.0 * noise[j, i] * 2.0 * math.sqrt(math.pi) * width * star
    mask = object_mask(image, None, noise)
    assert sum(int(mask[j, i]) for j, i in places) >= 24
    assert mask.mean() < 0.06


def test_mask_ignores_bad_pixels_and_a_constant_background() -> None:
    image = np.random.default_rng(5).normal(500.0, 1.0, (200, 210))
    bad = np.zeros(image.shape, bool)
    bad[50:60, 50:60], bad[100] = True, True
    image[50:60, 50:60], image[100] = 1e5, np.nan
    assert object_mask(image, bad, 1.0).mean() < 0.03


def test_mask_of_degenerate_images() -> None:
    assert not object_mask(np.full((20, 30), np.nan), None, 1.0).any()
    assert not object_mask(np.ones((1, 1)), None, 1.0).any()
    assert not object_mask(np.zeros((33, 47)), None, 1.0).any()
    assert not object_mask(np.ones((40, 40)), np.ones((40, 40)), 1.0).any()


def test_mask_refuses_unfit_arguments() -> None:
    with pytest.raises(ValueError, match="noise"):
        object_mask(np.ones((9, 9)), None, np.ones((9, 8)))
    with pytest.raises(ValueError, match="ascend"):
        object_mask(np.ones((9, 9)), None, 1.0, scales=(3.0, 0.0))


def test_dilation_below_one_pixel_does_nothing() -> None:
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert np.array_equal(dilate(mask, 0.9), mask)
    assert dilate(mask, 1.0).sum() == 5 and dilate(mask, 1.5).sum() == 9
    assert dilate(np.ones((1, 1)), 3.0).sum() == 1


def test_blank_fraction_counts_good_pixels_only() -> None:
    mask, bad = np.zeros((10, 10)), np.zeros((10, 10))
    mask[:3], bad[:2], bad[9] = 1, 1, 1
    assert blank_fraction(mask, bad) == pytest.approx(6 / 7)
    assert math.isnan(blank_fraction(mask, np.ones((10, 10))))


@pytest.mark.parametrize("shape", [(517, 300), (128, 40), (1, 1)])
def test_threads_make_no_difference(shape):
    rng = np.random.default_rng(4)
    image, bad = rng.normal(0.0, 1.0, shape), rng.random(shape) < 0.05
    y, x = np.indices(shape)
    image += 30 * np.exp(-0.5 * ((x - 0.4 * shape[1]) ** 2 + (y - 0.5 * shape[0]) ** 2) / 15**2)
    noise = 1.0 + 0.2 * (y > 200)
    alone, together = (find_objects(image, bad, noise, threads=n) for n in (1, 3))
    assert alone[0].any() or image.size == 1
    for a, b in zip(alone, together, strict=True):
        assert np.array_equal(a, b)


def test_what_no_frame_shows_round_an_image_costs_nothing_and_changes_little() -> None:
    """A galaxy at the image's corner is masked as if the image continued beyond it."""
    rng = np.random.default_rng(9)
    image = np.roll(sersic(1.0, 20.0, size=512), (-200, -200), (0, 1)) + rng.normal(0.0, 1.0, (512, 512))
    wide, bad = np.full((700, 900), np.nan), np.ones((700, 900), np.uint8)
    wide[110:622, 205:717], bad[110:622, 205:717] = image, 0
    mask, found = find_objects(wide, bad, 1.0)
    alone = object_mask(image, None, 1.0)
    assert mask.shape == wide.shape and found.shape == (175, 225)
    assert np.mean(mask[110:622, 205:717] != alone) < 0.02 < alone.mean()
    assert mask[90:110, 240:300].any() and mask[130:180, 190:205].any()
    assert not mask[:60].any() and not mask[:, 780:].any() and not found[:, 195:].any()
    noise = np.where(bad, np.nan, 1.0)
    assert np.array_equal(find_objects(wide, bad, noise)[0], mask)
