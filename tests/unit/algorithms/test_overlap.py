"""Overlap areas of circles and ellipses with pixels."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms import overlap

GRID = ((-5.2, 5.8, -6.1, 4.9), (11, 11))


def test_the_shares_add_up_to_the_area():
    assert overlap.circle(*GRID, 4.3).sum() == pytest.approx(math.pi * 4.3**2, rel=1e-9)
    assert overlap.ellipse(*GRID, (4.3, 1.7), 0.4).sum() == pytest.approx(math.pi * 4.3 * 1.7, rel=1e-9)


def test_a_grid_cuts_a_circle():
    assert overlap.circle((0.0, 5.0, -5.0, 5.0), (5, 10), 4.0).sum() == pytest.approx(math.pi * 8.0, rel=1e-9)
    assert overlap.circle((7.0, 8.0, 7.0, 8.0), (1, 1), 4.0).sum() == 0.0


def test_a_disc_lies_beside_the_middle_of_its_window():
    for radius, dx, dy in ((0.3, 0.0, 0.0), (3.3, 0.25, -0.4), (3.7, -0.31, 0.12), (4.0, 0.5, -0.5)):
        share = overlap.disc(radius, dx, dy)
        size = len(share)
        assert share.sum() == pytest.approx(math.pi * radius**2, rel=1e-12)
        fine = (np.arange(200 * size) + 0.5) / 200 - size / 2
        counted = (fine - dx) ** 2 + (fine[:, None] - dy) ** 2 <= radius**2
        np.testing.assert_allclose(share, counted.reshape(size, 200, size, 200).mean(axis=(1, 3)), atol=5e-3)


def test_an_ellipse_is_turned_from_x_to_y():
    share = overlap.ellipse((-5.5, 5.5, -5.5, 5.5), (11, 11), (5.0, 1.0), math.pi / 4)
    y, x = np.mgrid[-5:6, -5:6]
    assert (share * x * y).sum() > 0
    np.testing.assert_allclose(share, share.T, atol=1e-12)


def test_photutils_own_start_is_neither_needed_nor_spoilt():
    code = """
import sys
from nirred.algorithms import overlap
mine = overlap.circle((-2.5, 2.5, -2.5, 2.5), (5, 5), 2.0)
assert not any(name.partition(".")[0] in ("photutils", "astropy") for name in sys.modules)
from photutils.aperture import CircularAperture
theirs = CircularAperture((2, 2), 2.0).to_mask(method="exact").data
assert (mine == theirs).all()
assert (overlap.circle((-2.5, 2.5, -2.5, 2.5), (5, 5), 2.0) == mine).all()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


PLACES = st.floats(-9.0, 9.0)


@settings(deadline=None)
@given(
    corner=st.tuples(PLACES, PLACES),
    pixel=st.tuples(st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.5, 1.0])),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    axes=st.tuples(st.floats(0.05, 12.0), st.floats(0.05, 12.0)),
    angle=st.floats(-7.0, 7.0) | st.sampled_from([0.0, math.pi / 4, math.pi / 2]),
)
def test_ellipses_are_those_of_photutils_wherever_the_grid_lies(corner, pixel, size, axes, angle):
    from photutils.geometry import elliptical_overlap_grid

    edges = corner[0], corner[0] + size[0] * pixel[0], corner[1], corner[1] + size[1] * pixel[1]
    theirs = elliptical_overlap_grid(*edges, *size, *axes, angle, 1, 1)
    np.testing.assert_allclose(overlap.ellipse(edges, size, axes, angle), theirs, rtol=0, atol=1e-12)


def test_an_ellipse_whose_middle_is_a_corner_touches_pixels_and_passes_between():
    share = overlap.ellipse((-2.0, 2.0, -2.0, 2.0), (4, 4), (1.0, 1.0), 0.3)
    np.testing.assert_allclose(share[1:3, 1:3], math.pi / 4, atol=1e-14)
    np.testing.assert_allclose([share[0], share[:, 0]], 0.0, atol=1e-15)
    within = overlap.ellipse((-0.5, 0.5, -0.5, 0.5), (1, 1), (0.3, 0.1), 1.0)
    np.testing.assert_allclose(within, [[math.pi * 0.03]], atol=1e-15)
    assert overlap.ellipse((0.0, 0.0, 0.0, 3.0), (0, 3), (2.0, 1.0), 0.0).shape == (3, 0)
