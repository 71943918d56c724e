from __future__ import annotations

import numpy as np
import pytest
from scipy.special import erf

from nirred.algorithms.stars import StarList, estimate_fwhm, find_stars
from nirred.algorithms.stars_mesh import background_mesh

NOISE = 20.0


def add_star(image: np.ndarray, x: float, y: float, fwhm: float, flux: float) -> None:
    def axis(n: int, centre: float) -> np.ndarray:
        return np.diff(erf((np.arange(n + 1) - 0.5 - centre) * 2.3548 / np.sqrt(2) / fwhm)) / 2

    image += flux * np.outer(axis(image.shape[0], y), axis(image.shape[1], x)).astype(np.float32)


def sky_flux(snr: float, fwhm: float) -> float:
    """Flux of a star of this signal-to-noise in sky noise alone: snr * noise * 2 sigma sqrt(pi)."""
    return snr * NOISE * 2 * fwhm / 2.3548 * np.sqrt(np.pi)


def grid_field(fwhm: float, snr: float, seed: int, size: int = 512) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.normal(0, NOISE, (size, size)).astype(np.float32)
    nodes = np.arange(50, size - 40, 75)
    x, y = (a.ravel() + rng.uniform(-0.5, 0.5, a.size) for a in np.meshgrid(nodes, nodes))
    for xs, ys in zip(x, y):
        add_star(image, xs, ys, fwhm, sky_flux(snr, fwhm))
    return image, x, y


def matched(stars: StarList, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    distance = np.hypot(stars.x[:, None] - x, stars.y[:, None] - y)
    nearest = distance.argmin(axis=1)
    assert distance.min(axis=1).max() < 2.0
    return nearest


@pytest.mark.parametrize("fwhm", [2.0, 4.0, 8.0])
@pytest.mark.parametrize("known", [True, False])
def test_positions_reach_the_noise_limit(fwhm: float, known: bool) -> None:
    image, x, y = grid_field(fwhm, 40.0, seed=int(fwhm))
    stars = find_stars(image, fwhm=np.hypot(fwhm, 0.68) if known else None, threshold=8.0, gain=np.inf)
    assert len(stars) == x.size
    i = matched(stars, x, y)
    error = np.concatenate([stars.x - x[i], stars.y - y[i]])
    limit = np.sqrt(2) * np.hypot(fwhm, 0.68) / 2.3548 / 40.0
    assert np.sqrt(np.mean(error**2)) < 1.2 * limit
    assert np.median(stars.position_error) == pytest.approx(limit, rel=0.1)
    assert abs(np.mean(error)) < 3 * limit / np.sqrt(error.size)
    assert np.median(stars.flux) == pytest.approx(sky_flux(40.0, fwhm), rel=0.03)
    assert estimate_fwhm(stars) == pytest.approx(np.hypot(fwhm, 0.68), rel=0.06)
    assert stars.noise == pytest.approx(NOISE, rel=0.05)
    assert (np.diff(stars.flux) <= 0).all()


def test_one_bright_star_tells_the_size_among_many_false_detections() -> None:
    image, _, _ = grid_field(16.0, 0.0, seed=3)
    add_star(image, 240.0, 260.0, 16.0, sky_flux(300.0, 16.0))
    stars = find_stars(image, fwhm=20.0, threshold=3.0)
    assert len(stars) > 5
    assert estimate_fwhm(stars, min_snr=10.0) == pytest.approx(16.0, rel=0.1)


def test_the_flat_top_of_a_broad_star_has_no_centre_in_the_first_window() -> None:
    for seed in range(8):
        image, _, _ = grid_field(16.0, 0.0, seed=seed)
        add_star(image, 240.0, 260.0, 18.0, sky_flux(500.0, 18.0))
        stars = find_stars(image)
        assert np.hypot(stars.x[0] - 240.0, stars.y[0] - 260.0) < 0.3
        assert stars.fwhm[0] == pytest.approx(18.0, rel=0.1)


def test_three_stars_among_many_cosmic_rays() -> None:
    rng = np.random.default_rng(8)
    image = rng.normal(0, NOISE, (512, 512)).astype(np.float32)
    places = [(100.3, 120.7), (300.1, 400.2), (450.6, 80.4)]
    for x, y in places:
        add_star(image, x, y, 4.0, sky_flux(60.0, 4.0))
    image[rng.integers(0, 512, 200), rng.integers(0, 512, 200)] += rng.uniform(300, 20000, 200).astype(np.float32)
    stars = find_stars(image)
    brightest = stars[stars.snr > 25]
    assert len(brightest) == 3
    matched(brightest, *np.array(places).T)


def test_noise_on_a_large_galaxy_does_not_tell_the_size() -> None:
    """Its many peaks, wide in every window, were taken for stars of 41 pixels, and real ones were left out."""
    for seed in range(4):
        image, _, _ = grid_field(4.5, 0.0, seed=seed)
        for x, y in ((40, 60), (470, 80), (60, 440), (450, 470), (250, 30), (480, 300)):
            add_star(image, x, y, 4.5, sky_flux(60.0, 4.5))
        v, u = np.mgrid[:512, :512]
        light = 1500.0 * np.exp(-np.hypot(u - 270, (v - 250) / 0.7) / 60.0)
        image += np.random.default_rng(seed).normal(light, np.sqrt(light)).astype(np.float32)
        assert estimate_fwhm(find_stars(image), min_snr=10.0) == pytest.approx(4.6, rel=0.1)


def test_galaxies_are_kept_and_show_by_their_size() -> None:
    image, _, _ = grid_field(3.0, 50.0, seed=4)
    add_star(image, 200.0, 12.0, 7.0, sky_flux(100.0, 7.0))
    stars = find_stars(image)
    galaxy = np.hypot(stars.x - 200, stars.y - 12) < 1.5
    assert galaxy.sum() == 1 and stars.fwhm[galaxy][0] > 1.5 * estimate_fwhm(stars)


def test_masked_pixels_do_not_pull_the_position() -> None:
    pulls = []
    for k in range(24):
        image = np.random.default_rng(k).normal(0, NOISE, (60, 60)).astype(np.float32)
        add_star(image, 30.2, 29.7, 5.0, sky_flux(100.0, 5.0))
        bad = np.zeros(image.shape, np.uint8)
        bad[30, 32] = bad[29, 32] = 1
        image[bad > 0] = 1e5
        stars = find_stars(image, bad, fwhm=5.0)
        pulls.append((stars.x[0] - 30.2) / stars.position_error[0])
    assert abs(np.mean(pulls)) < 3.5 / np.sqrt(24)


@pytest.mark.parametrize("fwhm", [4.0, 16.0])
def test_cosmic_rays_on_a_star_do_not_pull_the_position(fwhm: float) -> None:
    """The only bright star of a field moved by 0.8 pixel, ten times its error."""
    rng = np.random.default_rng(3)
    image = rng.normal(0, NOISE, (160, 160)).astype(np.float32)
    add_star(image, 80.3, 79.6, fwhm, sky_flux(200.0, fwhm))
    clean = find_stars(image, fwhm=fwhm, gain=np.inf)
    step = round(0.5 * fwhm)
    image[80 + step, 80 + step] += 9000.0
    for k in range(3):  # a track
        image[80 - step, 80 - step + k] += 6000.0
    struck = find_stars(image, fwhm=fwhm, gain=np.inf)
    assert np.hypot(struck.x[0] - clean.x[0], struck.y[0] - clean.y[0]) < 3 * clean.position_error[0]


def test_a_star_with_a_masked_core_is_dropped() -> None:
    image, x, y = grid_field(3.0, 50.0, seed=5)
    bad = np.zeros(image.shape, bool)
    bad[int(y[7]) - 1 : int(y[7]) + 3, int(x[7]) - 1 : int(x[7]) + 2] = True
    stars = find_stars(image, bad, threshold=8.0)
    assert np.hypot(stars.x - x[7], stars.y - y[7]).min() > 3 and len(stars) == x.size - 1


def test_smooth_background_and_nan_do_no_harm() -> None:
    image, x, y = grid_field(4.0, 50.0, seed=6)
    rows, columns = np.indices(image.shape)
    image += (60 * np.sin(columns / 150) + 0.05 * rows).astype(np.float32)
    image[100:104, 200:230] = np.nan
    stars = find_stars(image, threshold=8.0)
    assert len(stars) >= x.size - 2
    matched(stars, x, y)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (70, 9), (200, 200)])
def test_nothing_to_find(shape: tuple[int, int]) -> None:
    for image in (np.zeros(shape, np.float32), np.full(shape, np.nan, np.float32)):
        assert len(find_stars(image)) == 0
    noise = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    assert len(find_stars(noise, np.ones(shape, bool))) == 0
    assert len(find_stars(noise)) <= 1
    assert np.isnan(estimate_fwhm(find_stars(np.zeros(shape, np.float32))))


def test_mesh_follows_level_and_noise() -> None:
    rng = np.random.default_rng(2)
    image = rng.normal(50, 4, (300, 300)).astype(np.float32)
    image[:, 200:] += 100
    mesh = background_mesh(image)
    level, noise = mesh.at(np.array([30.0, 280.0]), np.array([100.0, 100.0]))
    np.testing.assert_allclose(level, [50, 150], atol=2)
    np.testing.assert_allclose(noise, 4, rtol=0.25)
