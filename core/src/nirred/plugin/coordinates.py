"""World coordinates made quickly from keywords, a pointing, or numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from astropy.wcs import WCS

Matrix = Sequence[Sequence[float]]


def make_wcs(
    crpix: Sequence[float],
    crval: Sequence[float],
    cd: Matrix,
    *,
    projection: str = "TAN",
    pv: Sequence[tuple[int, int, float]] = (),
    frame: str = "",
) -> WCS:
    """Build a celestial WCS from numbers.

    Parameters
    ----------
    crpix : (float, float)
        Reference pixel, one-based.
    crval : (float, float)
        Right ascension and declination there, degrees.
    cd : 2 x 2
        Degrees per pixel.
    projection : str
        Three letters (TAN, ZPN, ...).
    pv : sequence of (axis, number, value)
        Projection parameters.
    frame : str
        RADESYS; empty leaves it unset.
    """
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f"RA---{projection}", f"DEC--{projection}"]
    wcs.wcs.crpix = list(crpix)
    wcs.wcs.crval = list(crval)
    wcs.wcs.cd = [list(row) for row in cd]
    wcs.wcs.cunit = ["deg", "deg"]
    if pv:
        wcs.wcs.set_pv(list(pv))
    if frame:
        wcs.wcs.radesys = frame
    wcs.wcs.set()
    return wcs


#: What makes a WCS beside its matrix: in this order it is put back.
_STATE = ("crpix", "crval", "lonpole", "latpole", "radesys", "equinox", "dateobs", "mjdobs")


def wcs_state(wcs: WCS) -> dict[str, Any] | None:
    """Numbers and words of a celestial WCS without look-up tables; None for one that has these or is not 2-D."""
    inner = wcs.wcs
    if wcs.naxis != 2 or wcs.sip is not None or wcs.cpdis1 is not None or wcs.det2im1 is not None:
        return None
    found: dict[str, Any] = {k: getattr(inner, k) for k in _STATE}
    found |= {"crpix": inner.crpix.tolist(), "crval": inner.crval.tolist()}
    found |= {"ctype": list(inner.ctype), "cunit": [str(u) for u in inner.cunit], "pv": list(inner.get_pv())}
    if inner.has_cd():
        return found | {"cd": inner.cd.tolist()}
    return found | {"pc": inner.get_pc().tolist(), "cdelt": inner.get_cdelt().tolist()}


def wcs_from_state(state: Mapping[str, Any]) -> WCS:
    """The WCS that `wcs_state` took to pieces, to the last bit."""
    from astropy.wcs import WCS

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = state["ctype"], state["cunit"]
    for name in (*_STATE, *(k for k in ("cd", "pc", "cdelt") if k in state)):
        setattr(wcs.wcs, name, state[name])
    if state["pv"]:
        wcs.wcs.set_pv(state["pv"])
    wcs.wcs.set()
    return wcs


def wcs_from_header(header: Mapping[str, Any]) -> WCS | None:
    """Celestial WCS of an image header, or None when it has none that can be used.

    Reads CTYPE, CRPIX, CRVAL, PV and CD (or CDELT with PC or CROTA2); a third axis is ignored. A value that is missing,
    not a number or a singular matrix gives None.
    """
    try:
        ctype = [str(header["CTYPE1"]), str(header["CTYPE2"])]
        crpix = [float(header["CRPIX1"]), float(header["CRPIX2"])]
        crval = [float(header["CRVAL1"]), float(header["CRVAL2"])]
    except (KeyError, TypeError, ValueError):
        return None
    if not (ctype[0].startswith("RA-") and ctype[1].startswith("DEC-")):
        return None
    cd = _cd_matrix(header)
    numbers = [*crpix, *crval, *(cd[0] + cd[1] if cd else [math.nan])]
    if cd is None or not all(map(math.isfinite, numbers)) or cd[0][0] * cd[1][1] == cd[0][1] * cd[1][0]:
        return None
    pv = [(2, m, float(header[f"PV2_{m}"])) for m in range(20) if isinstance(header.get(f"PV2_{m}"), (int, float))]
    frame = header.get("RADESYS") or header.get("RADECSYS") or ""
    frame = frame if frame in ("FK5", "ICRS", "FK4") else ""
    try:
        return make_wcs(crpix, crval, cd, projection=ctype[0][-3:], pv=pv, frame=frame)
    except ValueError:  # astropy's WcsError is one: an unknown projection
        return None


def _cd_matrix(header: Mapping[str, Any]) -> list[list[float]] | None:
    """Degrees per pixel; elements that are not stated are 0 in CD, those of the unit matrix in PC (FITS 4.0, 8.1)."""
    names = ("1_1", "1_2", "2_1", "2_2")
    try:
        if any(f"CD{n}" in header for n in names):
            v = [float(header.get(f"CD{n}", 0.0)) for n in names]
            return [v[:2], v[2:]]
        if any(f"PC{n}" in header for n in names):
            v = [float(header.get(f"PC{n}", unit)) for n, unit in zip(names, (1.0, 0.0, 0.0, 1.0))]
            c1, c2 = float(header.get("CDELT1", 1.0)), float(header.get("CDELT2", 1.0))
            return [[c1 * v[0], c1 * v[1]], [c2 * v[2], c2 * v[3]]]
        c1, c2 = float(header["CDELT1"]), float(header["CDELT2"])
        rotation = math.radians(float(header.get("CROTA2", 0.0)))
    except (KeyError, TypeError, ValueError):
        return None
    cos, sin = math.cos(rotation), math.sin(rotation)
    return [[c1 * cos, -c2 * sin], [c1 * sin, c2 * cos]]


def wcs_from_pointing(
    ra: float,
    dec: float,
    pixel_scale: float,
    position_angle: float,
    *,
    center: tuple[float, float],
    flipped: bool = False,
) -> WCS:
    """TAN WCS of a frame that has only a pointing.

    Parameters
    ----------
    ra, dec : float
        Degrees at `center`.
    pixel_scale : float
        Arcsec per pixel.
    position_angle : float
        Degrees east of north of the detector's +y axis.
    center : (float, float)
        Zero-based pixel (x, y) of the pointing.
    flipped : bool
        False: east is to the left when north is up; True: mirrored.
    """
    s, pa = pixel_scale / 3600.0, math.radians(position_angle)
    cos, sin = math.cos(pa), math.sin(pa)
    x = s if flipped else -s  # along +x, 90 degrees west (flipped: east) of +y
    cd = [[x * cos, s * sin], [-x * sin, s * cos]]
    return make_wcs((center[0] + 1, center[1] + 1), (ra, dec), cd)
