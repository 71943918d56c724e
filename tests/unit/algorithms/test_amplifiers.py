"""Levels of amplifiers: exact for levels alone, unaffected by surfaces and sources, measured only on blank sky."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.amplifiers import amplifier_levels, edge_levels, take_levels_off, unmix
from nirred.algorithms.surface import Surface, fit_points

N = 256
CHANNELS = [(slice(0, N), slice(32 * k, 32 * k + 32)) for k in range(8)]
QUADRANTS = [(slice(a, a + 128), slice(b, b + 128)) for a in (0, 128) for b in (0, 128)]


def stepped(boxes: list[tuple[slice, slice]], levels: np.ndarray, noise: float = 0.0) -> np.ndarray:
    image = np.zeros((N, N), np.float32)
    for box, value in zip(boxes, levels, strict=True):
        image[box] += np.float32(value)
    return image + np.float32(noise) * np.random.default_rng(1).standard_normal((N, N)).astype(np.float32)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_channels(order: int) -> None:
    true = 20 * np.random.default_rng(2).standard_normal(8)
    found, _ = amplifier_levels(stepped(CHANNELS, true, 5.0), np.zeros((N, N)), CHANNELS, order=order, size=32)
    assert found.mean() == pytest.approx(0.0, abs=1e-9)
    # a slope through all of them is measured only from the slopes inside each: with 8 times the error
    assert np.abs(np.diff(found - true)).max() < 1.0 + 0.5 * order


def test_quadrants_on_a_surface_with_a_source() -> None:
    true = np.array([30.0, -10.0, 5.0, -25.0])
    y, x = np.mgrid[:N, :N] / N - 0.5
    image = stepped(QUADRANTS, true, 2.0) + 100 * x - 60 * y * x + 40 * y**2
    halo = 3000 * np.exp(-(((x - 0.1) ** 2 + (y - 0.1) ** 2) / 0.1**2))
    covered = np.hypot(x - 0.1, y - 0.1) < 0.2
    found, _ = amplifier_levels((image + halo).astype(np.float32), covered, QUADRANTS, size=32)
    np.testing.assert_allclose(found, true - true.mean(), atol=1.5)


@pytest.mark.parametrize("boxes", [CHANNELS, QUADRANTS], ids=["channels", "quadrants"])
def test_levels_that_a_flat_made_uneven(boxes: list[tuple[slice, slice]]) -> None:
    """Levels come from the electronics: division by the flat changes them, but not the sky."""
    rng = np.random.default_rng(11)
    true = rng.normal(0.0, 50.0, len(boxes))
    y, x = np.mgrid[:N, :N] / N - 0.5
    gain = (1.0 + 0.4 * (x**2 + y**2) + 0.05 * y).astype(np.float32)
    sky = 30.0 * x - 20.0 * y**2
    image = (stepped(boxes, true) * gain + sky + rng.normal(0.0, 2.0, (N, N))).astype(np.float32)
    for given, allowed in ((gain, 0.15), (None, np.inf)):
        levels, surface = amplifier_levels(image, np.zeros((N, N)), boxes, size=32, gain=given)
        left = image.copy()
        take_levels_off(left, boxes, levels, surface, given)
        areas = left.reshape(8, 32, 8, 32).mean(axis=(1, 3))
        assert np.std(areas) < allowed
    assert np.std(areas) > 0.5  # uncorrected: treated as even


def test_what_has_no_blank_sky_is_not_known() -> None:
    image, covered = stepped(CHANNELS, np.arange(8.0)), np.zeros((N, N), bool)
    covered[:, :64] = True
    found, _ = amplifier_levels(image, covered, CHANNELS, order=0, size=32)
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2:], np.arange(6.0) - 2.5, atol=1e-3)
    nothing, _ = amplifier_levels(image, np.ones((N, N)), CHANNELS)
    assert np.isnan(nothing).all()
    np.testing.assert_array_equal(
        amplifier_levels(np.full((1, 1), np.nan), [[0]], [(slice(0, 1), slice(0, 1))])[0], [np.nan]
    )


def test_nan_pixels_and_one_amplifier() -> None:
    image = stepped(CHANNELS, np.zeros(8), 1.0)
    image[::3] = np.nan
    np.testing.assert_allclose(amplifier_levels(image, np.zeros((N, N)), CHANNELS, size=32)[0], 0.0, atol=0.3)
    assert amplifier_levels(image, np.zeros((N, N)), [(slice(0, N), slice(0, N))])[0].tolist() == [0.0]


def test_negative_order() -> None:
    with pytest.raises(ValueError, match="order"):
        amplifier_levels(np.zeros((8, 8)), np.zeros((8, 8)), CHANNELS, order=-1)


@pytest.mark.parametrize("own_sky", [True, False])
def test_levels_from_differences(own_sky: bool) -> None:
    """Dithered frames are each other's sky, or two frames have three others as sky."""
    true = np.random.default_rng(3).standard_normal((5, 4))
    shares = (1 - np.eye(5)) / 4
    if not own_sky:
        shares[:2] = np.array([0, 0, 1, 1, 1]) / 3
        shares[2:] = np.array([[0, 0, 0, 1, 1], [0, 0, 1, 0, 1], [0, 0, 1, 1, 0]]) / 2
    found = unmix(true - shares @ true, shares)
    np.testing.assert_allclose(found, true - true.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("layout", [(1, 8), (2, 2)])
def test_steps_beside_a_ring_by_the_jumps_at_edges(layout):
    """A ring 15 times as high as the noise of a pixel; the smooth part of the levels is arbitrary."""
    rng = np.random.default_rng(5)
    ny = nx = 512
    y, x = np.mgrid[:ny, :nx] - 255.5
    image = 150.0 * np.exp(-0.5 * ((np.hypot(x, y) - 128.0) / 41.0) ** 2) + 10.0 * rng.standard_normal((ny, nx))
    h, w = ny // layout[0], nx // layout[1]
    boxes = [(slice(h * j, h * j + h), slice(w * i, w * i + w)) for j in range(layout[0]) for i in range(layout[1])]
    levels = rng.normal(0.0, 13.0, len(boxes))
    for box, value in zip(boxes, levels, strict=True):
        image[box] += value
    bad = rng.random((ny, nx)) < 0.01
    image[bad] = 5000.0
    found = edge_levels(image, bad, boxes)
    beside = [(0, 1), (2, 3), (0, 2), (1, 3)] if layout[0] == 2 else [(k, k + 1) for k in range(7)]
    off = [found[j] - found[i] - levels[j] + levels[i] for i, j in beside]
    assert np.abs(off).max() < 2.0, off


def test_jumps_of_noise_alone_are_none():
    image = 10.0 * np.random.default_rng(6).standard_normal((256, 256))
    boxes = [(slice(0, 256), slice(64 * k, 64 * k + 64)) for k in range(4)]
    assert np.abs(edge_levels(image, np.zeros((256, 256)), boxes)).max() < 1e-6
    apart = edge_levels(image, np.ones((256, 256)), [*boxes[:1], (slice(0, 3), slice(100, 103))])
    np.testing.assert_array_equal(apart, 0.0)


@pytest.mark.parametrize("noise", [1e-3, 1.0, 50.0])
def test_a_dead_amplifier_cuts_the_chain(noise):
    """Each side keeps its own steps; the difference between the sides is not invented."""
    rng = np.random.default_rng(8)
    boxes = [(slice(0, 512), slice(64 * k, 64 * k + 64)) for k in range(8)]
    levels = rng.normal(0.0, 300.0, 8)
    image = noise * rng.standard_normal((512, 512)) + np.repeat(levels, 64)
    bad = np.zeros((512, 512), bool)
    bad[boxes[3]] = True
    found = edge_levels(image, bad, boxes)
    assert abs(found[3]) < 1e-3
    for part in (slice(0, 3), slice(4, 8)):
        wanted = levels[part] - levels[part].mean()
        np.testing.assert_allclose(found[part], wanted, atol=0.01 + noise)


def parabola(image: np.ndarray) -> Surface:
    """Through each fourth pixel of each fourth row."""
    some = image[::4, ::4]
    y, x = 4.0 * np.indices(some.shape).reshape(2, -1)
    return fit_points(x, y, some.ravel(), image.shape, 2)


def test_a_surface_taken_off_before_leaves_no_slopes():
    """A parabola through levels that rise like one leaves a slope in every channel: levels and surface undo it."""
    rng = np.random.default_rng(7)
    image = stepped(CHANNELS, np.array([-60.0, -20.0, 30.0, 90.0, 60.0, -10.0, -70.0, 20.0]), 5.0)
    image = parabola(image).taken_off(image) + rng.normal(0.0, 1e-3, image.shape).astype(np.float32)
    levels, surface = amplifier_levels(image, np.zeros((N, N)), CHANNELS)
    for box, value in zip(CHANNELS, levels, strict=True):
        image[box] -= np.float32(value)
    columns = surface.taken_off(image).mean(axis=0)
    assert np.std(columns) < 1.15 * 5.0 / np.sqrt(N)
    assert abs(np.mean(columns)) < 0.1


@pytest.mark.parametrize(
    "boxes", [CHANNELS, QUADRANTS, [(slice(3, 90), slice(5, 77)), (slice(90, 250), slice(60, 61))]]
)
def test_taking_levels_off(boxes):
    """Amplifiers of any layout, and pixels in none."""
    rng = np.random.default_rng(8)
    levels = rng.normal(0.0, 30.0, len(boxes))
    noise = rng.normal(0.0, 3.0, (N, N)).astype(np.float32)
    surface = parabola(noise + np.linspace(0, 20, N))
    image = stepped(boxes, levels) + noise + surface.evaluate().astype(np.float32)
    take_levels_off(image, boxes, levels, surface)
    np.testing.assert_allclose(image, noise, atol=1e-4)
    take_levels_off(image, boxes, np.zeros(len(boxes)))
    np.testing.assert_allclose(image, noise, atol=1e-4)


def test_levels_are_as_good_as_their_pixels_allow():
    """Half of the pixels covered, some bright ones not: error of 1.2 sigma over the root of the number left."""
    rng, off = np.random.default_rng(9), []
    covered = rng.random((N, N)) < 0.5
    for _ in range(12):
        image = rng.normal(0.0, 10.0, (N, N)).astype(np.float32)
        image[rng.random((N, N)) < 0.005] += 500.0
        off.append(amplifier_levels(image, covered, CHANNELS, order=0)[0])
    expected = 1.2 * 10.0 / np.sqrt(0.5 * 32 * N) * np.sqrt(1 - 1 / 8)
    assert 0.8 * expected < np.std(off) < 1.3 * expected
