"""Fluxes in apertures."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.apertures import aperture_fluxes


def star(x, y, flux, fwhm=4.0, size=64):
    yy, xx = np.indices((size, size), float)
    sigma = fwhm / 2.3548
    return flux / (2 * np.pi * sigma**2) * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))


def measure(image, x=(31.3,), y=(30.6,), bad=None, fwhm=4.0):
    hidden = np.zeros(image.shape, np.uint8) if bad is None else bad
    flux, error = aperture_fluxes(image.astype(np.float32), hidden, np.array(x, float), np.array(y, float), fwhm)
    return flux[0], error[0]


def test_flux_of_a_star_on_a_level():
    flux, error = measure(star(31.3, 30.6, 1e5) + 50.0)
    assert flux[0] == pytest.approx(1e5, rel=0.002)
    assert error[0] >= np.sqrt(flux[0])


def test_seeing_hardly_matters():
    sharp, soft = (measure(star(31.3, 30.6, 1e5, fwhm=w), fwhm=4.0)[0][0] for w in (3.8, 4.2))
    assert soft / sharp == pytest.approx(1.0, abs=0.002)


def test_error_is_that_of_a_monte_carlo():
    rng = np.random.default_rng(4)
    truth, pulls = star(31.3, 30.6, 2e4), []
    for _ in range(150):
        noise = rng.normal(0, 10.0, truth.shape) + np.sqrt(truth) * rng.standard_normal(truth.shape)
        flux, error = measure(truth + noise)
        pulls.append((flux[0] - 2e4) / error[0])
    assert abs(np.mean(pulls)) < 0.3
    assert np.std(pulls) == pytest.approx(1.0, abs=0.2)


def test_a_bad_pixel_is_mirrored_or_spoils_the_star():
    image, bad = star(32.0, 32.0, 1e5), np.zeros((64, 64), np.uint8)
    image[32, 37], bad[32, 37] = 1e7, 1
    assert measure(image, [32.0], [32.0], bad)[0][0] == pytest.approx(1e5, rel=0.002)
    bad[32, 27] = 1  # its mirror image too
    assert np.isnan(measure(image, [32.0], [32.0], bad)[0][0])
    centre = np.zeros((64, 64), np.uint8)
    centre[33, 32] = 1
    assert np.isnan(measure(star(32.0, 32.0, 1e5), [32.0], [32.0], centre)[0][0])


def test_a_wide_star_bears_holes():
    bad = np.zeros((128, 128), np.uint8)
    bad[60:62, 66] = 1
    image = star(62.6, 63.4, 1e6, fwhm=12.0, size=128)
    assert measure(np.where(bad, 1e6, image), [62.6], [63.4], bad, 12.0)[0][0] == pytest.approx(1e6, rel=0.004)
    bad[58:66, 60:68] = 1
    assert np.isnan(measure(image, [62.6], [63.4], bad, 12.0)[0][0])


@pytest.mark.parametrize("fwhm", [2.5, 4.0, 8.0])
def test_spikes_are_no_light_of_a_star(fwhm):
    """Cosmic rays in the aperture: a star hit in the core is unusable; a star without hits keeps every pixel."""
    rng = np.random.default_rng(6)
    at, size = (48.3, 47.6), 96

    def flux(image):
        bad = np.zeros(image.shape, np.uint8)
        return aperture_fluxes(image, bad, *np.array(at)[:, None], fwhm, spikes=True)[0][0, 0]

    for _ in range(20):
        light = star(*at, 2e5, fwhm, size)
        noisy = light + rng.normal(0, 20.0, light.shape) + np.sqrt(light) * rng.standard_normal(light.shape)
        whole = measure(noisy, *[[v] for v in at], fwhm=fwhm)[0][0]
        assert flux(noisy.astype(np.float32)) == pytest.approx(whole, rel=0.002)
        struck, turn = noisy.astype(np.float32), rng.uniform(0, 2 * np.pi)
        r = rng.uniform(0.9, 1.8) * fwhm
        row, column = round(at[1] + r * np.sin(turn)), round(at[0] + r * np.cos(turn))
        struck[row : row + 2, column] += 4e4
        assert flux(struck) == pytest.approx(whole, rel=0.01 if fwhm > 3 else 0.06)  # of 40 %
    noisy[48, 48] += 2e5
    assert np.isnan(flux(noisy.astype(np.float32))) or fwhm > 7


def test_spikes_are_the_same_in_any_unit():
    rng = np.random.default_rng(1)
    light = star(48.3, 47.6, 2e5, 8.0, 96)
    image = light + rng.normal(0, 20.0, light.shape) + np.sqrt(light) * rng.standard_normal(light.shape)
    for hit in (300.0, 600.0, 1000.0):
        image[44:46, 52] += hit
        fluxes = [
            aperture_fluxes(
                (image / gain).astype(np.float32), np.zeros(image.shape, np.uint8), *np.array([[48.3], [47.6]]), 8.0,
                spikes=True, gain=gain,
            )[0][0, 0] * gain
            for gain in (1.0, 12.0)
        ]  # fmt: skip
        assert fluxes[1] == pytest.approx(fluxes[0], rel=1e-6)
        image[44:46, 52] -= hit


def test_what_cannot_be_measured_is_nan():
    image = star(31.3, 30.6, 1e5)
    flux, error = measure(image, [np.nan, 2.0, 62.0, 31.3], [30.0, 30.0, 30.0, 30.6])
    assert np.isnan(flux[:3]).all() and np.isnan(error[:3]).all() and np.isfinite(flux[3])
    assert np.isnan(measure(image, bad=np.ones((64, 64), np.uint8))[0]).all()
    assert np.isnan(measure(np.ones((1, 1)), [0.0], [0.0])[0]).all()
    assert measure(image, [], [])[0].size == 0


def test_pixels_that_are_not_finite_are_bad_ones():
    image, bad = star(31.3, 30.6, 1e5) + np.random.default_rng(2).normal(0, 5.0, (64, 64)), np.zeros((64, 64), np.uint8)
    holes = [(30, 36), (20, 20), (45, 33)]
    for hole in holes:
        bad[hole] = 1
    for wrong in (np.nan, np.inf, 1e6):
        broken = image.copy()
        broken[tuple(np.transpose(holes))] = wrong
        flagged = np.zeros_like(bad) if not np.isfinite(wrong) else bad
        for spikes in (False, True):
            found = aperture_fluxes(broken.astype(np.float32), flagged, *np.array([[31.3], [30.6]]), 4.0, spikes=spikes)
            assert found[0][0, 0] == pytest.approx(1e5, rel=0.003)


def test_it_is_the_sum_of_the_pixels_that_an_aperture_covers():
    """Compared with sums in numpy; no result without the ring's outermost pixels."""
    rng = np.random.default_rng(5)
    image = star(31.3, 30.6, 3e4) + rng.normal(20.0, 5.0, (64, 64))
    y, x = np.indices(image.shape)
    r = np.hypot(x - 31.3, y - 30.6)
    window = np.maximum(abs(x - 31), abs(y - 31)) <= 18
    ring = image.astype(np.float32)[(r > 12.0) & window].astype(float)
    level = np.median(ring)
    for radius in (0.75, 2.0):
        inside = np.clip(radius * 4.0 + 0.5 - r, 0, 1)
        flux, error = aperture_fluxes(
            image.astype(np.float32), np.zeros(image.shape, np.uint8), *np.array([[31.3], [30.6]]), 4.0, radii=(radius,)
        )
        expected = np.sum(inside * (image.astype(np.float32) - level))
        noise = inside.sum() * (1.4826 * np.median(abs(ring - level))) ** 2 * (1 + 1.6 * inside.sum() / ring.size)
        assert flux[0, 0] == pytest.approx(expected, rel=1e-12)
        assert error[0, 0] == pytest.approx(np.sqrt(noise + expected), rel=1e-12)
