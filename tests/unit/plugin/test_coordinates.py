"""World coordinates from header cards, as astropy reads them, and their transfer to other processes."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from nirred.plugin import PlaneWcs, wcs_from_header
from nirred.plugin.coordinates import is_tangential

PLACE = {"CRPIX1": 80.5, "CRPIX2": 80.5, "CRVAL1": 150.0, "CRVAL2": 20.0}
PLACE |= {"CD1_1": -5.5e-5, "CD1_2": 1e-7, "CD2_1": 2e-7, "CD2_2": 5.5e-5}
TERMS = {"PV1_0": 0.0, "PV1_1": 1.0, "PV1_4": 3.0, "PV2_0": 0.0, "PV2_1": 1.0, "PV2_5": -2.0}


def header(ctype, **cards):
    return PLACE | {"CTYPE1": f"RA---{ctype}", "CTYPE2": f"DEC--{ctype}"} | cards


SIP = header("TAN-SIP", A_ORDER=3, B_ORDER=2, A_2_0=2e-4, A_0_3=1e-6, B_1_1=-1e-4)
HEADERS = {
    "TAN": header("TAN"),
    "ZPN": header("ZPN", PV2_1=1.0, PV2_3=14584.8),
    "TPV": header("TPV", **TERMS),
    "SIP": SIP,
}
X, Y = np.array([0.0, 30.0, 159.0]), np.array([5.0, 150.0, 80.0])


@pytest.mark.parametrize("name", HEADERS)
def test_positions_are_astropy_s_here_and_in_other_processes(name):
    wcs = wcs_from_header(HEADERS[name])
    expected = np.array(WCS(fits.Header(HEADERS[name])).all_pix2world(X, Y, 0))
    found = np.array(wcs.all_pix2world(X, Y, 0))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
    sent = pickle.loads(pickle.dumps(PlaneWcs(wcs))).wcs
    np.testing.assert_array_equal(np.array(sent.all_pix2world(X, Y, 0)), found)
    assert is_tangential(wcs) is (name == "TAN")


def test_scamp_s_tan_with_terms_is_tpv():
    np.testing.assert_array_equal(
        wcs_from_header(header("TAN", **TERMS)).all_pix2world(X, Y, 0),
        wcs_from_header(HEADERS["TPV"]).all_pix2world(X, Y, 0),
    )


@pytest.mark.parametrize("cards", [{"A_ORDER": None}, {"B_ORDER": 99}, {"CPDIS1": "LOOKUP"}, {"CRPIX1": "x"}])
def test_what_cannot_be_used_is_none(cards):
    assert wcs_from_header(SIP | cards) is None
