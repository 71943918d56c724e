"""The readout pattern: found, scaled by row, removed; images without one are unchanged."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.readout import clean_readout, find_pattern, level_quadrants, quadrants

SHAPE = (512, 512)
BOX = 12.0 * np.sin(2 * np.pi * np.arange(16) / 8.0)[None, :] * np.array([1.0, 0.6, -0.4, 0.8])[:, None]


def scene(seed: int = 1, noise: float = 12.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(noise with stars, positions of the stars, mask of the stars)."""
    rng = np.random.default_rng(seed)
    y, x = np.indices(SHAPE)
    data = rng.normal(0.0, noise, SHAPE)
    places = rng.uniform(20, 490, (24, 2))
    mask = np.zeros(SHAPE, bool)
    for cy, cx in places:
        data += 6000.0 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 8.0)
        mask |= (y - cy) ** 2 + (x - cx) ** 2 < 100.0
    return data.astype(np.float32), places, mask


def pattern(rows: tuple[int, int] = (0, 256)) -> np.ndarray:
    """Pattern in rows counted from the outer edge of the quadrants, in three of them."""
    quarter = np.tile(BOX, (64, 16))
    quarter[: rows[0]] = 0.0
    quarter[rows[1] :] = 0.0
    image = np.zeros(SHAPE)
    for part, factor in zip(quadrants(SHAPE), (1.0, 0.0, 1.5, 0.7), strict=True):
        image[part] = factor * (quarter[::-1] if part[0].start else quarter)
    return image.astype(np.float32)


def fluxes(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    y, x = np.indices(SHAPE)
    return np.array([data[(y - cy) ** 2 + (x - cx) ** 2 < 64.0].sum() for cy, cx in places])


@pytest.mark.parametrize("rows", [(0, 256), (40, 200)])
def test_the_pattern_goes_and_the_stars_stay(rows: tuple[int, int]) -> None:
    clean, places, mask = scene()
    added = pattern(rows)
    done, strengths = clean_readout(clean + added, mask)
    left = done - clean
    assert np.mean(left**2) < 0.1**2 * np.mean(added**2)  # more than 90 % of it
    assert np.max(np.abs(fluxes(done, places) / fluxes(clean, places) - 1.0)) < 1e-3
    assert strengths[1] == 0.0 and min(strengths[0], strengths[2], strengths[3]) > 2.5


def test_nothing_is_changed_where_there_is_no_pattern() -> None:
    clean, _, mask = scene(5)
    done, strengths = clean_readout(clean, mask)
    assert np.array_equal(done, clean) and strengths == (0.0, 0.0, 0.0, 0.0)


def test_stars_that_are_not_masked_do_no_harm() -> None:
    clean, places, mask = scene(2)
    done, _ = clean_readout(clean + pattern(), np.zeros_like(mask))
    assert np.mean((done - clean) ** 2) < 0.1**2 * np.mean(pattern() ** 2)
    assert np.max(np.abs(fluxes(done, places) / fluxes(clean, places) - 1.0)) < 1e-3


def test_quadrants_are_levelled() -> None:
    clean, _, mask = scene(3, noise=5.0)
    raised = clean + pattern()
    for part, offset in zip(quadrants(SHAPE), (30.0, -10.0, 5.0, 0.0), strict=True):
        raised[part] += np.float32(offset)
    done, _ = clean_readout(raised, mask)
    level_quadrants(done, mask)
    medians = [float(np.median(done[part][~mask[part]])) for part in quadrants(SHAPE)]
    assert max(medians) - min(medians) < 1.5
    assert abs(np.mean(medians) - 6.25) < 1.0  # the mean level is kept


@pytest.mark.parametrize(("covered", "error"), [(0.0, 0.3), (0.7, 5.0)])
def test_levels_are_measured_on_all_of_a_blank_sky_that_is_not_even(covered: float, error: float) -> None:
    """Where little is blank, they are measured next to the lines where quadrants meet, with fewer pixels."""
    clean, _, mask = scene(3)
    y, x = np.indices(SHAPE) / 511.0 - 0.5
    sky = (30.0 * x - 20.0 * y + 40.0 * (x**2 - x * y)).astype(np.float32)
    gain = (1.0 + 0.1 * x).astype(np.float32)
    added = pattern()
    for part, offset in zip(quadrants(SHAPE), (30.0, -10.0, 5.0, -25.0), strict=True):
        added[part] += np.float32(offset)
    mask |= (abs(x) > 0.5 - 0.5 * covered) & (abs(y) > 0.05)
    done, _ = clean_readout(clean + sky + added * gain, mask, gain=gain)
    level_quadrants(done, mask, gain=gain)
    left = [float(np.median((done - clean - sky)[part])) for part in quadrants(SHAPE)]
    assert np.std(left) < error


def test_force_cleans_every_quadrant() -> None:
    clean, _, mask = scene(4)
    _, strengths = clean_readout(clean, mask, force=True)
    assert all(0.0 < s < 1.0 for s in strengths)


def test_amplitude_is_that_of_each_band() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(np.where(np.arange(32) < 12, 2.0, 0.5), 4)[:, None]
    data = (np.tile(BOX, (32, 16)) * rows + rng.normal(0, 5.0, (128, 256))).astype(np.float32)
    found = find_pattern(data, np.zeros(data.shape, bool))
    size = found.box.std() / BOX.std()
    assert found.strength > 20
    assert np.allclose(found.amplitude[:10] * size, 2.0, atol=0.15)
    assert np.allclose(found.amplitude[15:] * size, 0.5, atol=0.15)


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (16, 16), (31, 200)])
def test_small_arrays_stay_as_they_are(shape: tuple[int, int]) -> None:
    data = np.ones(shape, np.float32)
    done, strengths = clean_readout(data, np.zeros(shape, bool), force=True)
    assert np.array_equal(done, data) and max(strengths) == 0.0


def test_bad_pixels_and_nan_are_no_pattern() -> None:
    clean, _, mask = scene()
    done, strengths = clean_readout(clean, np.ones_like(mask), force=True)
    assert np.array_equal(done, clean) and max(strengths) == 0.0
    holes = clean + pattern()
    holes[::7, ::5] = np.nan
    done, _ = clean_readout(holes, mask)
    good = np.isfinite(done)
    assert np.array_equal(good, np.isfinite(holes))
    assert np.mean((done - clean)[good] ** 2) < 0.12**2 * np.mean(pattern() ** 2)
