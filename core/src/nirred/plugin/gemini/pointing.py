"""Pointing of a Gemini frame: its WCS, its target, and the position expected from the offsets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..coordinates import Position, wcs_from_header
from ..frames import PlaneWcs
from .values import ABSURD, number, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...headers import Headers
    from ..coordinates import AnyWcs

Matrix = tuple[float, float, float, float]
"""(CD1_1, CD1_2, CD2_1, CD2_2), degrees per pixel."""


def cd_matrix(header: Mapping[str, Any]) -> Matrix | None:
    """CD matrix of an image header, or None if it is missing or implausible.

    Pixels that are not square within a factor of two mean a damaged header (a NIRI frame has CD1_1 = -3.25E-55).
    """
    values = [header.get(k) for k in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")]
    if not all(isinstance(v, (int, float)) and abs(v) < 1.0 for v in values):
        return None
    a, b, c, d = (float(v) for v in values if v is not None)
    x, y = math.hypot(a, c), math.hypot(b, d)
    square = 0.5 * max(x, y) ** 2 < abs(a * d - b * c) and min(x, y) > 0.5 * max(x, y)
    return (a, b, c, d) if square else None


def celestial_header(header: Mapping[str, Any]) -> bool:
    """True if a header has a usable WCS."""
    numbers = [header.get(k) for k in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2")]
    named = str(header.get("CTYPE1")).startswith("RA-") and str(header.get("CTYPE2")).startswith("DEC-")
    return (
        named
        and all(isinstance(v, (int, float)) and abs(v) < ABSURD for v in numbers)
        and cd_matrix(header) is not None
    )


def wcs_header(headers: Headers, image: Mapping[str, Any] | None = None) -> Mapping[str, Any] | None:
    """The header with a frame's WCS: the image's, else the primary (needed for GNIRS); None: neither."""
    image = headers.image if image is None else image
    for header in (image, headers.primary):
        if header is not None and celestial_header(header):
            return header
    return None


def wcs_pixel_scale(headers: Headers, images: Sequence[Mapping[str, Any] | None] | None = None) -> float | None:
    """Arcsec per pixel from the CD matrices, averaged over the planes; default: the first image alone."""
    scales = []
    for image in (headers.image,) if images is None else images:
        for header in (image, headers.primary):
            cd = None if header is None else cd_matrix(header)
            if cd is not None:
                scales.append(3600.0 * math.sqrt(abs(cd[0] * cd[3] - cd[1] * cd[2])))
                break
    return sum(scales) / len(scales) if scales else None


def is_apparent(headers: Headers) -> bool:
    """True when target and WCS are in apparent coordinates (non-sidereal tracking)."""
    return "APPT" in (text(headers, "TRKFRAME"), text(headers, "FRAME"))


def apparent_to_icrs(position: Position, when: datetime | None) -> Position:
    """Geocentric apparent place to ICRS: CIRS once the equation of the origins is added to the right ascension.

    Without a date the position is returned as it is.
    """
    if when is None:
        return position
    import erfa

    jd, day = 2451544.5, (when - datetime(2000, 1, 1)).total_seconds() / 86400.0
    origins = erfa.apci13(jd, day)[1]
    ra, dec, _ = erfa.atic13(math.radians(position[0]) + origins, math.radians(position[1]), jd, day)
    return math.degrees(ra) % 360.0, math.degrees(dec)


def wcs_center(headers: Headers, when: datetime | None) -> Position | None:
    """Projection centre of the first plane's WCS, ICRS degrees."""
    header = wcs_header(headers)
    if header is None:
        return None
    center = float(header["CRVAL1"]) % 360.0, float(header["CRVAL2"])
    return apparent_to_icrs(center, when) if is_apparent(headers) else center


def target(headers: Headers, when: datetime | None) -> Position | None:
    """Target coordinates with proper motion up to `when`, without offsets, degrees.

    PMRA is in seconds of time per year (not reduced by cos dec), PMDEC in arcsec per year, both from EPOCH.
    """
    ra, dec = _ra_keyword(headers), number(headers, "DEC", -90.0, 90.0)
    if ra is None or dec is None:
        return None
    if is_apparent(headers):
        return apparent_to_icrs((ra, dec), when)
    epoch = number(headers, "EPOCH", 1800.0, 2200.0)
    if when is not None and epoch is not None:
        years = 2000.0 + (when - datetime(2000, 1, 1, 12)).total_seconds() / (365.25 * 86400.0) - epoch
        ra += 15.0 * (number(headers, "PMRA") or 0.0) * years / 3600.0
        dec += (number(headers, "PMDEC") or 0.0) * years / 3600.0
    return (ra % 360.0, dec) if -90.0 <= dec <= 90.0 else None


def _ra_keyword(headers: Headers) -> float | None:
    ra = number(headers, "RA", 0.0, 360.0)
    value = headers.get("RA")
    if ra is None and isinstance(value, str):
        parts = value.split(":")
        try:
            hours = sum(float(p) / 60.0**i for i, p in enumerate(parts)) if len(parts) == 3 else math.nan
        except ValueError:
            return None
        ra = 15.0 * hours if 0.0 <= hours < 24.0 else None
    return ra


def moved(position: Position, angle: float, arcsec: float) -> Position:
    """The position `arcsec` away in the direction `angle` (degrees east of north), along a great circle."""
    ra, dec = map(math.radians, position)
    theta, r = math.radians(angle), math.radians(arcsec / 3600.0)
    sine = math.sin(dec) * math.cos(r) + math.cos(dec) * math.sin(r) * math.cos(theta)
    there = math.asin(max(-1.0, min(1.0, sine)))
    turn = math.atan2(math.sin(theta) * math.sin(r) * math.cos(dec), math.cos(r) - math.sin(dec) * math.sin(there))
    return math.degrees(ra + turn) % 360.0, math.degrees(there)


def expected(aim: Position | None, offset: tuple[float, float] | None, pa: float | None) -> Position | None:
    """Expected position of the projection centre: the target moved by the telescope's offsets.

    On the sky these offsets are the same on every port; they are mirrored only on the detector, on some ports. GNIRS
    and F2 frames from ports 1, 3 and 5 show this; the observatory's own check uses the detector and mirrors on port 1.

    Parameters
    ----------
    aim : (float, float) or None
        Target, degrees.
    offset : (float, float) or None
        P and Q of the telescope, arcsec: Q is along `pa`, P 90 degrees east of it.
    pa : float or None
        The header's PA, degrees east of north.
    """
    if aim is None or offset is None or pa is None:
        return None
    return moved(moved(aim, pa, offset[1]), pa + 90.0, offset[0])


def plane_wcs(
    headers: Headers,
    when: datetime | None,
    sigma: float,
    images: Sequence[Mapping[str, Any]] | None = None,
) -> Sequence[PlaneWcs] | None:
    """World coordinates of every plane, or None if any plane has no usable ones.

    Only the two celestial axes are read; apparent places are converted to ICRS. If one of the two has no name (F2
    frames of 2022 have CTYPE2 or CTYPE1 '?', and numbers correct to an arcsec), it is inferred from the other; the WCS
    is checked against the pointing like any other.

    Parameters
    ----------
    headers : Headers
        Of the file.
    when : datetime or None
        Start of the exposure, UT: needed for apparent places.
    sigma : float
        1-sigma pointing error of a frame against its neighbours, arcsec.
    images : sequence of header, optional
        The planes; default the first image alone.
    """
    found = []
    for image in (headers.image,) if images is None else images:
        wcs = _wcs(wcs_header(headers, image) or _named(image) or _named(headers.primary))
        if wcs is None:
            return None
        if is_apparent(headers):
            ra, dec = (float(v) for v in wcs.wcs.crval)
            wcs.wcs.crval = apparent_to_icrs((ra, dec), when)
            wcs.wcs.radesys = "ICRS"
            wcs.wcs.set()
        found.append(PlaneWcs(wcs, sigma))
    return found or None


def _named(header: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A header with an unnamed axis, its name inferred from the other axis; None if that gives no WCS."""
    if header is None:
        return None
    x, y = (str(header.get(key)).strip() for key in ("CTYPE1", "CTYPE2"))
    completed = {("?", "DEC--TAN"): "CTYPE1", ("RA---TAN", "?"): "CTYPE2"}.get((x, y))
    if completed is None:
        return None
    named = {**header, completed: "RA---TAN" if completed == "CTYPE1" else "DEC--TAN"}
    return named if celestial_header(named) else None


def _wcs(header: Mapping[str, Any] | None) -> AnyWcs | None:
    return None if header is None else wcs_from_header(header)
