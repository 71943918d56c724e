"""The gnomonic WCS of simple headers, compared with astropy's."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from nirred.plugin import PlaneWcs, wcs_from_header, wcs_from_pointing
from nirred.plugin.coordinates import as_astropy, is_tangential, wcs_cards
from nirred.plugin.tangent import TangentWcs

PLACES = [(10.0, -5.0), (0.0, 0.0), (359.9999, 45.0), (123.4, 89.99), (200.0, -90.0), (360.0, 12.0)]
TURNED = [[-3.2e-5, 1.1e-6], [1.3e-6, 3.1e-5]]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("frame", ["", "ICRS", "FK5", "FK4"])
def test_positions_and_cards_are_those_of_astropy(place, frame):
    own = TangentWcs((512.25, 600.5), place, TURNED, frame)
    theirs = as_astropy(own)
    x, y = np.random.default_rng(1).uniform(-500, 1500, (2, 50))
    sky, wanted = own.wcs_pix2world(x, y, 0), theirs.wcs_pix2world(x, y, 0)
    turned = (np.asarray(sky[0]) - wanted[0] + 180.0) % 360.0 - 180.0
    assert np.abs(turned * np.cos(np.radians(place[1] + 0.05))).max() < 1e-12
    np.testing.assert_allclose(sky[1], wanted[1], rtol=0, atol=1e-12)
    assert np.all((sky[0] >= 0) & (sky[0] < 360))
    np.testing.assert_allclose(own.all_world2pix(*wanted, 1), theirs.wcs_world2pix(*wanted, 1), rtol=0, atol=1e-6)
    header = theirs.to_header()
    cards = wcs_cards(own)
    assert list(cards) == list(wcs_cards(theirs))
    for key, (value, comment) in cards.items():
        assert comment == header.comments[key]
        assert value == (header[key] if isinstance(value, str) else pytest.approx(header[key], rel=1e-11))


def test_answers_have_the_shape_of_the_question():
    own = TangentWcs((5, 5), (10, 20), TURNED)
    theirs = own.astropy()
    for asked in (([[3, 4], [5, 6], [7, 8]], 0), (3, 4, 1), (np.ones((2, 3)), np.ones(3), 0), (np.empty((0, 2)), 0)):
        a, b = own.wcs_pix2world(*asked), theirs.wcs_pix2world(*asked)
        assert type(a) is type(b)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)
        assert [np.shape(v) for v in a] == [np.shape(v) for v in b]


def test_the_far_side_of_the_sky_has_no_pixel():
    own = TangentWcs((5, 5), (10, 20), TURNED)
    points = [[190.0, -20.0], [10.0, -75.0], [10.0, 20.0]]
    found = own.wcs_world2pix(points, 0)
    assert np.isnan(found[:2]).all() and found[2] == pytest.approx([4, 4])
    np.testing.assert_array_equal(np.isnan(found), np.isnan(own.astropy().wcs_world2pix(points, 0)))


def test_numbers_can_be_changed_and_copies_are_their_own():
    own = TangentWcs((5, 5), (10, 20), TURNED, "FK5")
    other = own.deepcopy()
    other.wcs.crval = [11.0, 21.0]
    other.wcs.radesys = "ICRS"
    other.wcs.set()
    assert other.wcs_pix2world([[4, 4]], 0)[0] == pytest.approx([11, 21])
    assert own.wcs.crval.tolist() == [10, 20] and own.wcs.equinox == 2000 and np.isnan(other.wcs.equinox)
    plane = pickle.loads(pickle.dumps(PlaneWcs(own, 0.5, "rebuilt")))
    assert plane.wcs.wcs.given() == own.wcs.given() and plane.sigma_arcsec == 0.5


def test_it_stays_a_plain_projection():
    own = TangentWcs((5, 5), (10, 20), TURNED)
    assert is_tangential(own) and own.has_celestial  # the latter by astropy
    with pytest.raises(AttributeError):
        own.sip = object()
    with pytest.raises(AttributeError):
        own.wcs.ctype = ["RA---ZPN", "DEC--ZPN"]
    with pytest.raises(AttributeError):
        own.wcs.set_pv([(2, 1, 1.0)])


def test_headers_that_say_more_get_astropys():
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRPIX1": 5, "CRPIX2": 5, "CRVAL1": 10, "CRVAL2": 20}
    cards |= {"CD1_1": -1e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-5}
    assert isinstance(wcs_from_header(cards), TangentWcs)
    for more in ({"CRVAL1": -5.0}, {"CTYPE1": "RA---ZPN", "CTYPE2": "DEC--ZPN", "PV2_1": -1.0}, {"PV1_7": 1e-9}):
        found = wcs_from_header(cards | more)
        assert found is not None and not isinstance(found, TangentWcs)
    assert wcs_from_header(cards | {"CRVAL2": 95.0}) is None


def test_a_pointing_needs_no_astropy():
    code = """
import sys
from nirred.plugin import wcs_from_pointing
wcs = wcs_from_pointing(-10.0, 20.0, 0.1, 30.0, center=(511.5, 511.5))
assert abs(wcs.wcs_pix2world([[511.5, 511.5]], 0)[0] - (350.0, 20.0)).max() < 1e-12
assert not any(name.partition(".")[0] == "astropy" for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert wcs_from_pointing(10.0, 20.0, 0.1, 0.0, center=(5, 5)).wcs.cd[0, 0] < 0
