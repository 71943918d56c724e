"""The zenithal polynomial WCS of headers, compared with astropy's."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from nirred.plugin import PlaneWcs, wcs_from_header
from nirred.plugin.coordinates import as_astropy, is_tangential, projection_cards, wcs_cards
from nirred.plugin.tangent import TangentWcs
from nirred.plugin.zenithal import ZenithalWcs

EMIR = ((2, 1, 1.0), (2, 2, 0.0), (2, 3, 14584.8), (2, 4, 0.0), (2, 5, 1755295542.4))
TERMS = [EMIR, ((2, 1, 1.0),), ((2, 1, 0.9), (2, 2, 30.0), (2, 4, 5.0))]
PLACES = [(39.97524, -1.57598), (0.0, 0.0), (359.9999, 60.0), (123.4, 89.99), (200.0, -90.0)]
TURNED = [[5.2e-5, 1.1e-6], [1.3e-6, -5.4e-5]]
CARDS = {
    "CTYPE1": "RA---ZPN",
    "CTYPE2": "DEC--ZPN",
    "CRPIX1": 5.0,
    "CRPIX2": 6.0,
    "CRVAL1": 10.0,
    "CRVAL2": 20.0,
    "CD1_1": -1e-5,
    "CD1_2": 0.0,
    "CD2_1": 0.0,
    "CD2_2": 1e-5,
    "PV2_1": 1.0,
    "PV2_3": 100.0,
}


@pytest.mark.parametrize("terms", TERMS)
@pytest.mark.parametrize("place", PLACES)
def test_positions_are_those_of_astropy(place, terms):
    own = ZenithalWcs((1022.46, 1016.55), place, TURNED, "FK5", terms)
    theirs = as_astropy(own)
    x, y = np.random.default_rng(1).uniform(-100, 2150, (2, 60))
    x[0], y[0] = 1021.46, 1015.55  # the reference point itself
    sky, wanted = own.all_pix2world(x, y, 0), theirs.all_pix2world(x, y, 0)
    turned = (np.asarray(sky[0]) - wanted[0] + 180.0) % 360.0 - 180.0
    assert np.abs(turned * np.cos(np.radians(wanted[1]))).max() < 1e-11
    np.testing.assert_allclose(sky[1], wanted[1], rtol=0, atol=1e-11)
    assert np.all((sky[0] >= 0) & (sky[0] < 360))
    np.testing.assert_allclose(own.all_world2pix(*wanted, 1), theirs.all_world2pix(*wanted, 1), rtol=0, atol=1e-6)
    np.testing.assert_allclose(own.all_world2pix(*sky, 0), (x, y), rtol=0, atol=1e-6)


def test_cards_and_copies_are_those_of_astropy():
    own = ZenithalWcs((5, 5), (10, 20), TURNED, "FK5", EMIR)
    assert not is_tangential(own) and own.wcs.get_pv() == own.astropy().wcs.get_pv() == list(EMIR)
    assert wcs_cards(own) == wcs_cards(own.astropy())
    assert len(projection_cards(own)) == 2 + len(EMIR)
    other = own.deepcopy()
    other.wcs.crval = [11.0, 21.0]
    other.wcs.set()
    assert other.wcs_pix2world([[4, 4]], 0)[0] == pytest.approx([11, 21])
    assert own.wcs.crval.tolist() == [10, 20]
    plane = pickle.loads(pickle.dumps(PlaneWcs(own, 0.5, "rebuilt")))
    assert type(plane.wcs) is ZenithalWcs and (plane.wcs.wcs.given(), plane.wcs.wcs.pv) == (own.wcs.given(), EMIR)
    with pytest.raises(AttributeError):
        own.wcs.pv = ()


def test_what_is_farther_than_the_far_side_is_nowhere():
    own = ZenithalWcs((1, 1), (10, 20), [[1.0, 0.0], [0.0, 1.0]], "", ((2, 1, 1.0),))
    ra, dec = own.wcs_pix2world([179.0, 181.0], [0.0, 0.0], 0)
    assert np.isfinite(ra[0]) and np.isnan(ra[1]) and np.isnan(dec[1])


@pytest.mark.parametrize("more", [{"PV2_3": -1.0}, {"PV2_0": 0.1}, {"CRVAL1": -5.0}, {"CTYPE1": "RA---ARC"}])
def test_other_headers_get_astropys(more):
    assert isinstance(wcs_from_header(CARDS), ZenithalWcs)
    if "CTYPE1" in more:
        more = more | {"CTYPE2": "DEC--ARC"}
    found = wcs_from_header(CARDS | more)
    assert found is not None and not isinstance(found, TangentWcs)


def test_a_header_needs_no_astropy():
    code = f"""
import sys
from nirred.plugin import wcs_from_header
wcs = wcs_from_header({CARDS!r})
assert abs(wcs.wcs_pix2world([[4, 5]], 0)[0] - (10.0, 20.0)).max() < 1e-12
assert not any(name.partition(".")[0] == "astropy" for name in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
