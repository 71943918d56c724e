"""Geometry on the sky, apparent places, choice of the WCS."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.plugin import gemini, wcs_from_pointing
from nirred.plugin.gemini import pointing
from nirred.testing.headers import headers_from_text

WHEN = datetime(2015, 6, 22, 0, 18, 35)
TAN = """\
CTYPE1  = 'RA---TAN'
CTYPE2  = 'DEC--TAN'
CRPIX1  = 10.0
CRPIX2  = 20.0
CRVAL1  = {ra}
CRVAL2  = {dec}
CD1_1   = {cd}
CD1_2   = 0.0
CD2_1   = 0.0
CD2_2   = 3E-05
"""
IMAGE = "--- ext ---\nXTENSION= 'IMAGE'\nNAXIS   = 2\nNAXIS1  = 32\nNAXIS2  = 32\n"


def tan(ra: float = 150.0, dec: float = 2.0, cd: str = "-3E-05") -> str:
    return TAN.format(ra=ra, dec=dec, cd=cd)


@settings(max_examples=25, deadline=None)
@given(ra=st.floats(0, 359.99), dec=st.floats(-89, 89), angle=st.floats(-360, 720), arcsec=st.floats(-2000, 2000))
def test_moved_and_separation_are_astropys(ra: float, dec: float, angle: float, arcsec: float) -> None:
    start = SkyCoord(ra, dec, unit="deg")
    wanted = start.directional_offset_by(angle * u.deg, arcsec * u.arcsec)
    there = gemini.moved((ra, dec), angle, arcsec)
    assert SkyCoord(*there, unit="deg").separation(wanted).arcsec < 1e-5
    assert gemini.separation((ra, dec), there) == pytest.approx(abs(arcsec), abs=1e-4)


# Real frames: PA, P, Q, CRVAL minus target (arcsec; the telescope points to within 2); GNIRS of port 1, F2 of port 5.
@pytest.mark.parametrize(
    ("pa", "p", "q", "east", "north"),
    [(0.0, -2.108, 3.600, -2.02, 3.40), (0.0, 15.0, 0.0, 15.97, -0.08), (180.0, -55.0, 90.0, 54.39, -90.13)],
)
def test_expected_position_is_offset_on_the_sky_whatever_the_port(
    pa: float, p: float, q: float, east: float, north: float
) -> None:
    found = gemini.expected((200.0, -40.0), (p, q), pa)
    assert found is not None
    assert (found[0] - 200.0) * 3600 * np.cos(np.radians(40.0)) == pytest.approx(east, abs=2.0)
    assert (found[1] + 40.0) * 3600 == pytest.approx(north, abs=2.0)


@pytest.mark.parametrize("angle", [0.0, 31.4, 200.0])
def test_expected_position_goes_along_the_position_angle(angle: float) -> None:
    scale, target = 0.1, (200.0, -40.0)
    wcs = wcs_from_pointing(*target, scale, angle, center=(500.0, 500.0))
    wanted = wcs.wcs_pix2world([[500.0 - 3.0 / scale, 500.0 - 2.0 / scale]], 0)[0]  # +x is west of +y
    found = gemini.expected(target, (3.0, -2.0), angle)
    assert found is not None and gemini.separation(found, (wanted[0], wanted[1])) < 1e-3


@pytest.mark.parametrize("missing", range(3))
def test_expected_position_needs_everything(missing: int) -> None:
    given_ = [(1.0, 2.0), (0.0, 0.0), 0.0]
    given_[missing] = None  # type: ignore[call-overload]
    assert gemini.expected(*given_) is None  # type: ignore[arg-type]


def test_proper_motion_is_in_seconds_of_time_and_arcsec_per_year() -> None:
    headers = headers_from_text(
        "RA      = 150.0\nDEC     = 60.0\nEPOCH   = 2000.0\nPMRA    = 0.01\nPMDEC   = -0.2\nFRAME   = 'FK5'"
    )
    found = gemini.target(headers, datetime(2010, 1, 1, 12))
    assert found is not None
    years = (datetime(2010, 1, 1, 12) - datetime(2000, 1, 1, 12)).days / 365.25
    assert found[0] == pytest.approx(150.0 + 15 * 0.01 * years / 3600, abs=1e-12)
    assert found[1] == pytest.approx(60.0 - 0.2 * years / 3600, abs=1e-12)


@pytest.mark.parametrize(
    ("ra", "dec", "known"),
    [("-9999.", "-9999.", False), ("10.0", "95.0", False), ("'10:30:00.0'", "5.0", True), ("'abc'", "5.0", False)],
)
def test_target_keywords(ra: str, dec: str, known: bool) -> None:
    found = gemini.target(headers_from_text(f"RA      = {ra}\nDEC     = {dec}"), WHEN)
    assert (found is not None) == known
    if known:
        assert found == pytest.approx((157.5, 5.0))


def test_apparent_place_against_astropy() -> None:
    """Through astropy's own chain: apparent place on the true equinox = GCRS precessed and nutated."""
    from astropy.coordinates import TETE
    from astropy.time import Time

    place = SkyCoord(266.0 * u.deg, -29.0 * u.deg, frame=TETE(obstime=Time(WHEN)))
    wanted = place.icrs
    found = pointing.apparent_to_icrs((266.0, -29.0), WHEN)
    assert SkyCoord(*found, unit="deg").separation(wanted).arcsec < 0.5
    assert pointing.apparent_to_icrs((266.0, -29.0), None) == (266.0, -29.0)


def test_apparent_frames_give_wcs_and_centre_in_icrs() -> None:
    headers = headers_from_text(f"FRAME   = 'APPT'\nTRKFRAME= 'APPT'\n{IMAGE}{tan(266.0, -29.0)}")
    planes = gemini.plane_wcs(headers, WHEN, 1.0)
    center = gemini.wcs_center(headers, WHEN)
    assert planes is not None and center is not None
    np.testing.assert_allclose(planes[0].wcs.wcs.crval, center)
    assert planes[0].wcs.wcs.radesys == "ICRS"
    assert gemini.separation(center, (266.0, -29.0)) > 500.0


@pytest.mark.parametrize(
    ("primary", "image", "ra"),
    [
        ("", tan(150.0), 150.0),
        (tan(140.0), tan(150.0), 150.0),
        (tan(140.0), "", 140.0),
        (tan(140.0), tan(150.0, cd="-3E-55"), 140.0),
        (tan(140.0), tan(150.0).replace("'RA---TAN'", "'?'"), 140.0),
        ("", tan(150.0, cd="0.0"), None),
        ("", tan(150.0).replace("'DEC--TAN'", "'LINEAR'"), None),
        ("", tan(150.0).replace("CRPIX1  = 10.0", ""), None),
        ("", "", None),
    ],
)
def test_wcs_of_the_extension_else_of_the_primary(primary: str, image: str, ra: float | None) -> None:
    headers = headers_from_text(f"OBJECT  = 'x'\n{primary}{IMAGE}{image}")
    planes = gemini.plane_wcs(headers, WHEN, 0.7)
    if ra is None:
        assert planes is None
        assert gemini.wcs_center(headers, WHEN) is None
        return
    assert planes is not None
    assert planes[0].wcs.wcs.crval[0] == ra
    assert (planes[0].sigma_arcsec, planes[0].origin) == (0.7, "header")
    assert gemini.wcs_pixel_scale(headers) == pytest.approx(3600 * 3e-5)


@pytest.mark.parametrize(
    ("nameless", "ra"), [(("RA---TAN",), 150.0), (("DEC--TAN",), 150.0), (("RA---TAN", "DEC--TAN"), None)]
)
def test_one_nameless_axis_is_the_one_that_the_other_leaves(nameless: tuple[str, ...], ra: float | None) -> None:
    card = tan(150.0)
    for name in nameless:
        card = card.replace(f"'{name}'", "'?'")
    for headers in (headers_from_text(f"OBJECT  = 'x'\n{IMAGE}{card}"), headers_from_text(f"{card}{IMAGE}")):
        planes = gemini.plane_wcs(headers, WHEN, 0.7)
        assert (None if planes is None else planes[0].wcs.wcs.crval[0]) == ra
        assert gemini.wcs_center(headers, WHEN) is None


def test_one_plane_without_wcs_leaves_the_frame_without() -> None:
    headers = headers_from_text(f"OBJECT  = 'x'\n{IMAGE}{tan()}{IMAGE}")
    images = [h for _, h in gemini.planes(headers)]
    assert len(images) == 2
    assert gemini.plane_wcs(headers, WHEN, 1.0, images) is None
    assert gemini.plane_wcs(headers, WHEN, 1.0) is not None


def test_separation_of_poles_and_antipodes() -> None:
    assert gemini.separation((0.0, 90.0), (123.0, 90.0)) == pytest.approx(0.0, abs=1e-6)
    assert gemini.separation((0.0, 0.0), (180.0, 0.0)) == pytest.approx(180 * 3600)
    assert math.isclose(gemini.separation((0.0, 0.0), (0.0, 1.0)), 3600.0)
