"""Zero level of a stack, and its error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirred.algorithms.objmask import find_objects
from nirred.algorithms.resample_kernels import kernel_correlation
from nirred.algorithms.resample_shift import shift_rows
from nirred.algorithms.zero_level import zero_level

SHAPE = (200, 400)


def level_of(data: np.ndarray, *known: Any, **how: bool) -> tuple[float, float]:
    """Zero level and error of an image without bad pixels."""
    return zero_level(data, np.zeros(data.shape, np.uint16), *known, **how)


def objects_of(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mask, and blocks with objects, of an image with noise of 1."""
    return find_objects(data, np.zeros(data.shape, np.uint8), np.ones_like(data), threshold=3.0)


def stack(deep: int, shallow: float, faint: float) -> np.ndarray:
    """Noise of variance 1 in the first columns, of five times that in the others, where faint light is left."""
    rng = np.random.default_rng(1)
    var = np.ones(SHAPE, np.float32)
    var[:, deep:] = shallow
    data = np.sqrt(var) * rng.standard_normal(SHAPE) + 10.0
    data[:, deep:] += faint
    return data.astype(np.float32)


def exposures(deep: int, shallow: int) -> np.ndarray:
    """Fifty in the first columns, so many in the others."""
    count = np.full(SHAPE, 50, np.uint16)
    count[:, deep:] = shallow
    return count


def test_level_is_that_of_blank_pixels() -> None:
    data = stack(400, 1.0, 0.0)
    mask = np.zeros(SHAPE, np.uint8)
    mask[:50], data[:50] = 1, 1000.0
    data[50, 0] = np.nan
    value, error = level_of(data, exposures(400, 50), mask)
    assert value == pytest.approx(10.0, abs=4 * error) and 0.003 < error < 0.02


def test_level_is_taken_where_the_stack_is_deep() -> None:
    value, error = level_of(stack(200, 5.0, 0.5), exposures(200, 10), np.zeros(SHAPE, np.uint8))
    assert value == pytest.approx(10.0, abs=0.03) and error < 0.3


def test_pixels_of_half_the_depth_are_not_chosen_by_their_own_noise() -> None:
    """VAR rises slightly with a pixel's value: if it decided, of the pixels at the limit only low ones would count."""
    data = stack(200, 2.0, 0.0)
    for shallow in (24, 25):
        value, _ = level_of(data, exposures(200, shallow), np.zeros(SHAPE, np.uint8))
        assert value == pytest.approx(10.0, abs=0.02)


def test_a_small_deep_part_does_not_decide() -> None:
    value, _ = level_of(stack(50, 5.0, 0.5), exposures(50, 10), np.zeros(SHAPE, np.uint8))
    assert value > 10.3


def test_no_blank_pixel_at_all() -> None:
    data = np.full(SHAPE, np.nan, np.float32)
    assert level_of(data, np.zeros(SHAPE, np.uint16), np.zeros(SHAPE, np.uint8)) == (0.0, float("inf"))


@pytest.mark.parametrize(("kernel", "shift"), [("nearest", 0.0), ("lanczos3", 0.4), ("bilinear", 0.5)])
def test_the_level_of_resampled_pixels_scatters_as_its_error_says(kernel: str, shift: float) -> None:
    """Interpolated pixels scatter by less than predicted by `VAR`, down to half, and are not independent."""
    rng = np.random.default_rng(9)
    shape, found = (120, 120), []
    even = np.full(shape, 5, np.uint16)
    for _ in range(200):
        noise = rng.standard_normal((128, 128), np.float32)
        drawn, _ = shift_rows(noise, None, shift, shift, kernel=kernel, shape=shape, origin=(4, 4))
        cov = kernel_correlation(shift, shift, kernel)
        found.append(level_of(drawn, even, np.zeros(shape, np.uint8), None, cov))
    levels, errors = np.transpose(found)
    assert np.median(errors) == pytest.approx(levels.std(), rel=0.12)
    if kernel == "nearest":
        assert level_of(drawn, even, np.zeros(shape, np.uint8)) == found[-1]


def test_the_outskirts_of_a_galaxy_are_taken_off_the_level() -> None:
    """An exponential disc whose light reaches beyond every mask, on a sky of 3."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:384, :384]
    disc = 20.0 * np.exp(-np.hypot(x - 200.0, (y - 180.0) / 0.7) / 45.0)
    image = (3.0 + disc + rng.normal(0, 1, disc.shape)).astype(np.float32)
    mask, objects = objects_of(image)
    even = np.full(disc.shape, 5, np.uint16)
    lit, stated = level_of(image, even, mask)
    told, error = level_of(image, even, mask, objects)
    beyond = float(disc[mask == 0].mean())
    assert beyond > 0.004
    assert abs(told - 3.0) < 3 * error < 0.2
    assert 0.5 * beyond < lit - told < 2.5 * beyond
    assert error >= stated


def test_sources_too_faint_to_be_found_are_part_of_the_error() -> None:
    """Sources whose number is proportional to flux^-0.75: the faintest contribute to the level."""
    rng = np.random.default_rng(7)
    image = rng.normal(0, 1, (512, 512))
    flux = 3.0 * rng.random(1300) ** (-1 / 0.75)
    light = np.zeros_like(image)
    y, x = np.mgrid[-12:13, -12:13]
    star = np.exp(-(x * x + y * y) / 8.0) / (8.0 * np.pi)
    for f, (j, i) in zip(np.minimum(flux, 1e5), rng.integers(12, 500, (1300, 2)), strict=True):
        light[j - 12 : j + 13, i - 12 : i + 13] += f * star
    image = (image + light).astype(np.float32)
    mask, objects = objects_of(image)
    even = np.full(image.shape, 5, np.uint16)
    _, error = level_of(image, even, mask, objects)
    _, blind = level_of(image, even, mask)
    assert blind < 0.5 * error
    assert 0.7 * error < light[mask == 0].mean() < 2.0 * error


def test_a_wide_dither_does_not_make_the_level_uncertain() -> None:
    """Blank pixels of all depths have no single mode: the deep ones show the effect of sources too faint to mask."""
    rng = np.random.default_rng(8)
    count = np.repeat(np.arange(1, 10), 40)[:, None] * np.ones((1, 360), int)
    image = (rng.standard_normal(count.shape) / np.sqrt(count)).astype(np.float32)
    value, error = level_of(image, count.astype(np.uint16), np.zeros(count.shape, np.uint8))
    assert abs(value) < 3 * error
    assert error < 0.004


def test_without_extended_objects_the_level_is_that_of_the_blank_pixels() -> None:
    rng = np.random.default_rng(6)
    image = rng.normal(3, 1, (256, 256)).astype(np.float32)
    image[100:106, 100:106] += 50
    mask, objects = objects_of(image)
    even = np.full(image.shape, 5, np.uint16)
    assert level_of(image, even, mask, objects) == level_of(image, even, mask)


@pytest.mark.parametrize("sunk", [True, False])
def test_a_hollow_round_a_wide_object_is_part_of_the_error(sunk: bool) -> None:
    rng = np.random.default_rng(2)
    v, u = np.mgrid[:400, :400]
    r = np.hypot(u - 200, v - 200)
    light = 20.0 * np.exp(-r / 25) - 0.5 * np.exp(-(((r - 140) / 25) ** 2))
    data = (light + rng.standard_normal(r.shape)).astype(np.float32)
    mask, objects = objects_of(data)
    _, error = level_of(data, np.ones(r.shape, np.uint16), mask, objects, sunk=sunk)
    assert (error > 0.5) is sunk and error < 2.0
