"""The FWHM that a stack states."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.dq import DQ
from nirred.frame import Plane
from nirred.steps.catalogue import star_width

NOISE, FWHM = 10.0, 5.0


def plane(stars, galaxies, size=300):
    """Noise with round Gaussian sources of 4000 electrons a peak at (x, y): stars, and galaxies three times as wide."""
    rows, columns = np.mgrid[:size, :size]
    image = np.random.default_rng(1).normal(0, NOISE, (size, size))
    for width, places in ((FWHM, stars), (3 * FWHM, galaxies)):
        for x, y in places:
            image += 4000 * np.exp(-4 * np.log(2) * ((rows - y) ** 2 + (columns - x) ** 2) / width**2)
    return Plane(image.astype(np.float32), np.zeros((size, size), np.uint16))


GALAXIES = [(60, 60), (60, 150), (60, 240), (150, 60), (240, 60)]


def test_galaxies_do_not_widen_the_stars_of_a_stack():
    assert star_width(plane([(150, 150), (240, 240)], GALAXIES), FWHM) == pytest.approx(FWHM, rel=0.01)


def test_a_width_that_no_frame_told_is_measured():
    assert star_width(plane([(150, 150), (240, 240)], []), None) == pytest.approx(FWHM, rel=0.01)


def test_saturated_stars_are_not_measured():
    image = plane([(150, 150), (240, 240)], [])
    full = image.data > 1000
    full[200:] = False
    image.data[full], image.dq[full] = 1000, DQ.SATURATED
    assert star_width(image, FWHM) == pytest.approx(FWHM, rel=0.01)


def test_without_a_star_there_is_no_width():
    assert np.isnan(star_width(plane([], []), FWHM))
    nothing = np.full((1, 1), np.nan, np.float32)
    assert np.isnan(star_width(Plane(nothing, np.ones((1, 1), np.uint16)), FWHM))
