from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import maximum_filter

from nirred.plugin import make_wcs
from nirred.testing.geometry import distort, flatten
from nirred.testing.oracle import common_grid, oracle_stack, places, true_scene
from nirred.testing.photometry import Apertures, aperture_sigma, blank_apertures, scatter
from nirred.testing.sampling import kernel, shift
from nirred.testing.simulate import load_night, simulate_night
from nirred_niri.simulation import simulation

FEW = {"darks": 1, "short_darks": 0, "lamps_on": 1, "lamps_off": 0}


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    return simulate_night(
        simulation(), tmp_path_factory.mktemp("n"), scenario="dither", size=256, seed=1, density=1500.0, **FEW
    )


@pytest.fixture(scope="module")
def stack(night):
    return oracle_stack(night, "dither")


def test_kernel_sums_to_one_and_is_exact_on_whole_pixels():
    for offset in [-2.3, 7.99, *np.linspace(0, 1, 41)]:
        first, weights = kernel(offset)
        distance = offset - first - np.arange(6)
        np.testing.assert_allclose([weights.sum(), weights @ distance, weights @ distance**2], [1, 0, 0], atol=1e-12)
        assert 0.6 < (weights**2).sum() < 1.01
    data = np.random.default_rng(0).normal(size=(20, 30))
    moved, inside = shift(data, (3.0, -2.0), (20, 30))
    np.testing.assert_allclose(moved[2:, :27], data[:18, 3:], atol=1e-12)
    assert inside[2:, :27].all() and not inside[:2].any() and not inside[:, 27:].any()


def test_shift_moves_a_gaussian_to_its_place():
    y, x = np.mgrid[:41, :41]
    blob = np.exp(-((x - 20) ** 2 + (y - 20) ** 2) / 2 / 2.0**2)
    moved, _ = shift(blob, (0.37, -0.61), (41, 41))
    expected = np.exp(-((x - 19.63) ** 2 + (y - 20.61) ** 2) / 2 / 2.0**2)
    assert np.abs(moved - expected).max() < 0.006
    assert moved.sum() == pytest.approx(blob.sum(), rel=1e-9)
    assert (moved * x).sum() / moved.sum() == pytest.approx(19.63, abs=1e-6)
    assert (moved * (x - 19.63) ** 2).sum() / moved.sum() == pytest.approx(4.0, abs=1e-4)


def test_offsets_place_the_sources_of_every_frame(night):
    first, second = night.groups["dither"].objects[0], night.groups["dither"].objects[4]
    dx, dy = night.offset(second, first)
    x0, y0 = night.positions(first)
    x1, y1 = night.positions(second)
    np.testing.assert_allclose(x1 - x0, dx, atol=1e-3)
    np.testing.assert_allclose(y1 - y0, dy, atol=1e-3)


def test_grid_covers_every_frame(night):
    grid = common_grid(night, "dither")
    for file in night.groups["dither"].objects:
        dx, dy = night.offset(file, grid.reference)
        assert grid.origin[0] - dx > -1 and grid.origin[1] - dy > -1
        assert grid.origin[0] - dx + 255 < grid.shape[1] and grid.origin[1] - dy + 255 < grid.shape[0]


def test_oracle_has_the_true_fluxes_and_the_predicted_noise(night, stack):
    scene = true_scene(night, "dither", stack.grid, dict(zip(stack.files, stack.weights)))
    residual = stack.sci - stack.scale * scene
    deep = stack.n >= 7
    sigma = np.sqrt(np.median(stack.var[deep]))
    quiet = deep & (scene < 0.5 * sigma)
    assert np.median(residual[quiet]) == pytest.approx(0.0, abs=4 * sigma * 1.3 / np.sqrt(quiet.sum() / 4))
    for radius in (2.0, 5.0):
        blanks = blank_apertures(quiet, radius)
        pulls = blanks.sums(residual) / blanks.sigmas(stack.var, stack.noisecov)
        assert scatter(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(2 * pulls.size))
    stars = np.array([s.flux if s.kind == "star" else 0 for s in night.groups["dither"].sources])
    x, y = night.positions(stack.grid.reference)
    bright = (stars > 3e4) & (stars < 4e5)
    apertures = Apertures(x[bright] + stack.grid.origin[0], y[bright] + stack.grid.origin[1], 8.0)
    light = apertures.sums(np.where(deep, scene, np.nan))
    error = apertures.sums(residual) / light
    noise = np.sqrt(light / 9 + 201 * sigma**2) / light
    assert np.isfinite(error).sum() >= 2
    assert np.nanmax(np.abs(error) / noise) < 4
    assert abs(np.nanmedian(error)) < 4 * np.nanmedian(noise)


def test_bad_and_struck_pixels_leave_no_trace(night, stack):
    scene = true_scene(night, "dither", stack.grid, dict(zip(stack.files, stack.weights)))
    pulls = (stack.sci - stack.scale * scene) / np.sqrt(stack.var * stack.noisecov[3, 3] + (0.05 * scene) ** 2 + scene)
    linear = maximum_filter(scene, size=21) < 1e5
    assert linear.mean() > 0.8
    assert np.nanmax(np.abs(pulls[(stack.n >= 3) & linear])) < 7


def test_aperture_sigma_of_white_noise_and_of_a_single_pixel():
    delta = np.zeros((7, 7))
    delta[3, 3] = 1.0
    assert aperture_sigma(np.full((5, 5), 4.0), np.ones((5, 5)), delta) == pytest.approx(10.0)
    assert aperture_sigma(np.array([[9.0]]), np.array([[1.0]]), delta * 0.5) == pytest.approx(3 * np.sqrt(0.5))


# -- distortion, rotation, several planes --------------------------------------------------------------------------

PV = ((1, 1.0), (3, 4e6))  # 8 px in the corners of 256 pixels


@pytest.fixture(scope="module")
def distorted(tmp_path_factory):
    camera = replace(simulation(256), projection="ZPN", pv=PV, parity=1)
    options = {"scenario": "dither", "seed": 1, "density": 1500.0, "frames": 4, "turn": 3.0}
    return simulate_night(camera, tmp_path_factory.mktemp("d"), **options, **FEW)


def test_truth_of_a_distorted_camera_is_astropy_s(distorted):
    file = distorted.groups["dither"].objects[2]
    own = distorted.frames[file].wcs[0]
    wcs = make_wcs(own.crpix, own.crval, np.reshape(own.cd, (2, 2)), projection="ZPN", pv=[(2, *term) for term in PV])
    sources = distorted.groups["dither"].sources
    expected = wcs.wcs_world2pix([s.ra for s in sources], [s.dec for s in sources], 0)
    found = distorted.positions(file)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(flatten(own, *found), distorted.flat_positions(file), atol=1e-6)
    corner = np.array(distort(own, np.array([0.0]), np.array([0.0])))
    assert 5 < np.hypot(*corner)[0] < 9 and load_night(distorted.directory) == distorted


def test_oracle_of_distorted_and_turned_frames_has_the_true_fluxes(distorted):
    stack = oracle_stack(distorted, "dither")
    scene = true_scene(distorted, "dither", stack.grid, dict(zip(stack.files, stack.weights)))
    residual = stack.sci - stack.scale * scene
    deep = (stack.n >= 3) & np.isfinite(stack.sci)
    sigma = np.sqrt(np.median(stack.var[deep]))
    blanks = blank_apertures(deep & (scene < 0.5 * sigma), 3.0)
    pulls = blanks.sums(residual) / blanks.sigmas(stack.var, stack.noisecov)
    assert scatter(pulls) == pytest.approx(1.0, abs=4 / np.sqrt(2 * pulls.size))
    stars = np.array([s.flux if s.kind == "star" else 0 for s in distorted.groups["dither"].sources])
    x, y = distorted.flat_positions(stack.grid.reference)
    bright = (stars > 3e4) & (stars < 4e5)
    apertures = Apertures(x[bright] + stack.grid.origin[0], y[bright] + stack.grid.origin[1], 8.0)
    light = apertures.sums(np.where(deep, scene, np.nan))
    error = apertures.sums(residual) / light / np.sqrt(light / 4 + 201 * sigma**2) * light
    assert np.isfinite(error).sum() >= 2 and np.nanmax(np.abs(error)) < 4


def test_planes_of_one_camera_share_one_grid(tmp_path):
    one = simulation(256).detectors[0]
    there = (-280 * 0.1171, 3.0)
    other = replace(one, sky_position=there, turn=1.0, magnification=1.03)
    single = simulation(256)
    camera = replace(single, detectors=(one, other), headers=lambda e: [*single.headers(e), {}])
    night = simulate_night(camera, tmp_path, scenario="dither", seed=1, frames=2, **FEW)
    grid = common_grid(night, "dither")
    assert grid.shape[1] > 256 + 280 and grid.shape[0] < 330
    file = night.groups["dither"].objects[1]
    x, y = (v + o for v, o in zip(night.flat_positions(grid.reference), grid.origin))
    for plane in (0, 1):
        place = places(night, file, plane, grid)
        px, py = night.positions(file, plane)
        on = (px > 2) & (px < 253) & (py > 2) & (py < 253)
        columns, _ = place.sample(np.mgrid[:256, :256][1].astype(float))
        near = columns[np.rint(y[on]).astype(int), np.rint(x[on]).astype(int)]
        assert on.any() and np.abs(near - px[on]).max() < 1.0


def test_pixels_that_are_not_square_hold_surface_brightness(tmp_path):
    """Stars of two planes, one of them with oblong, sheared pixels, have the same fluxes on one grid."""
    one, single = simulation(256).detectors[0], simulation(256)
    other = replace(one, sky_position=(-280 * 0.1171, 3.0), axes=(0.96, 0.03, 0.01, 1.01))
    camera = replace(single, detectors=(one, other), headers=lambda e: [*single.headers(e), {}])
    few = {"darks": 1, "short_darks": 1, "lamps_on": 1, "lamps_off": 1, "density": 800.0}
    night = simulate_night(camera, tmp_path, scenario="dither", seed=1, frames=2, **few)
    file = night.groups["dither"].objects[0]
    square, oblong = night.scene(file, 0), night.scene(file, 1)
    assert night.scale_of(1) == pytest.approx(0.1171 * np.sqrt(0.96 * 1.01 - 0.03 * 0.01))
    again = load_night(tmp_path)
    assert np.array_equal(again.scene(file, 1), oblong) and again.detectors[1].axes == (0.96, 0.03, 0.01, 1.01)
    grid = common_grid(night, "dither", reference=file)
    truth = true_scene(night, "dither", grid, {file: 1.0})
    for plane, scene in ((0, square), (1, oblong)):
        drawn, covered = places(night, file, plane, grid).sample(scene)
        assert np.abs(drawn - truth)[covered > 0.5].max() < 6e-3 * truth.max()  # by area it would be 3 %
