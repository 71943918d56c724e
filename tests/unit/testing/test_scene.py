import numpy as np
import pytest

from nirred.plugin.simulation import SimulatedDetector, Simulation
from nirred.testing.geometry import from_plane, plane_wcs, to_pixels, to_plane
from nirred.testing.scene import Source, moffat, render, sersic
from nirred_niri.simulation import simulation


def test_star_conserves_flux_and_position_at_any_subpixel_place():
    star = Source("star", 0.0, 0.0, 1000.0)
    for x0, y0 in [(60.0, 60.0), (60.3, 59.5), (60.499, 60.25)]:
        image = render([star], np.array([x0]), np.array([y0]), (121, 121), 0.5, 0.117)
        y, x = np.mgrid[:121, :121]
        assert image.sum() == pytest.approx(1000.0, rel=2e-3)
        near = image[40:81, 40:81]
        assert (near * x[40:81, 40:81]).sum() / near.sum() == pytest.approx(x0, abs=2e-3)
        assert (near * y[40:81, 40:81]).sum() / near.sum() == pytest.approx(y0, abs=2e-3)


def test_point_spread_function_has_the_stated_width():
    radii = np.array([1e-6, 0.5])
    value = sum(c / s**2 * np.exp(-0.5 * (radii / s) ** 2) for s, c in moffat())
    assert value[1] / value[0] == pytest.approx(0.5, abs=1e-3)
    assert sum(c for _, c in moffat()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("index", [1.0, 4.0])
def test_sersic_has_half_its_light_inside_the_half_light_radius(index):
    inside = sum(c * (1 - np.exp(-0.5 / s**2)) for s, c in sersic(index))
    assert inside == pytest.approx(0.5, abs=0.05 if index == 4 else 0.01)  # cut at 8 half-light radii


def test_source_outside_the_frame_leaves_nothing():
    star = Source("star", 0.0, 0.0, 1e5)
    assert not render([star], np.array([-900.0]), np.array([5.0]), (64, 64), 0.5, 0.117).any()
    assert render([star], np.array([0.0]), np.array([0.0]), (1, 1), 0.5, 0.117).shape == (1, 1)


def test_projection_round_trips_and_agrees_with_astropy():
    from astropy.wcs import WCS

    plane = plane_wcs(simulation(), 0, 83.8, 21.9, 33.0)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crpix, wcs.wcs.crval, wcs.wcs.cd = plane.crpix, plane.crval, np.reshape(plane.cd, (2, 2))
    ra, dec = from_plane(np.array([40.0, -55.0]), np.array([-30.0, 61.0]), 83.8, 21.9)
    np.testing.assert_allclose(to_plane(ra, dec, 83.8, 21.9), [[40.0, -55.0], [-30.0, 61.0]], atol=1e-8)
    np.testing.assert_allclose(to_pixels(plane, ra, dec), wcs.all_world2pix(ra, dec, 0), atol=1e-6)


def test_orientation_follows_parity_and_angle():
    camera = simulation()
    emir = Simulation(
        "emir", (SimulatedDetector((64, 64), 5.0, 28.0),), 0.1944, camera.settings, camera.headers,
        camera.file_name, parity=1, angle=180.0,
    )  # fmt: skip
    cd = np.array(plane_wcs(emir, 0, 10.0, 10.0, 0.0).cd) / (0.1944 / 3600)
    np.testing.assert_allclose(cd, [-1, 0, 0, -1], atol=1e-12)
    cd = np.array(plane_wcs(camera, 0, 10.0, 10.0, 333.84).cd)  # within 2 % of a real f/6 header
    np.testing.assert_allclose(cd, [-2.92e-5, -1.43e-5, -1.43e-5, 2.92e-5], atol=5e-7)
