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


def has_tables(wcs: WCS) -> bool:
    """Whether a look-up table is part of a WCS."""
    return any(t is not None for t in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2))


def projection_cards(wcs: WCS) -> tuple[str, ...]:
    """Cards that say which projection and distortion a WCS has: wcslib shows TPV as TAN, its terms nowhere else."""
    text = wcs.wcs.to_header()
    cards = (text[start : start + 80].split("/")[0].rstrip() for start in range(0, len(text), 80))
    return tuple(card for card in cards if card.startswith(("CTYPE", "PV", "DP", "DQ")))


def is_tangential(wcs: WCS) -> bool:
    """Whether a WCS is a plain gnomonic projection."""
    said = projection_cards(wcs)
    plain = len(said) == 2 and all("--TAN" in card for card in said)
    return plain and wcs.sip is None and not has_tables(wcs)


def wcs_state(wcs: WCS) -> dict[str, Any] | None:
    """Numbers and words of a celestial WCS; None for one that has tables, hidden terms (TPV), or is not 2-D."""
    inner = wcs.wcs
    if wcs.naxis != 2 or has_tables(wcs) or not all(inner.ctype[i] in projection_cards(wcs)[i] for i in (0, 1)):
        return None
    found: dict[str, Any] = {k: getattr(inner, k) for k in _STATE}
    found |= {"crpix": inner.crpix.tolist(), "crval": inner.crval.tolist()}
    found |= {"ctype": list(inner.ctype), "cunit": [str(u) for u in inner.cunit], "pv": list(inner.get_pv())}
    if wcs.sip is not None:
        found["sip"] = (wcs.sip.a, wcs.sip.b, wcs.sip.ap, wcs.sip.bp, wcs.sip.crpix)
    if inner.has_cd():
        return found | {"cd": inner.cd.tolist()}
    return found | {"pc": inner.get_pc().tolist(), "cdelt": inner.get_cdelt().tolist()}


def wcs_from_state(state: Mapping[str, Any]) -> WCS:
    """The WCS that `wcs_state` took to pieces, to the last bit."""
    from astropy.wcs import WCS, Sip

    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.cunit = state["ctype"], state["cunit"]
    if "sip" in state:
        wcs.sip = Sip(*state["sip"])
    for name in (*_STATE, *(k for k in ("cd", "pc", "cdelt") if k in state)):
        setattr(wcs.wcs, name, state[name])
    if state["pv"]:
        wcs.wcs.set_pv(state["pv"])
    wcs.wcs.set()
    return wcs


def wcs_from_header(header: Mapping[str, Any]) -> WCS | None:
    """Celestial WCS of an image header, or None when it has none that can be used.

    Reads CTYPE, CRPIX, CRVAL, CD (or CDELT with PC or CROTA2), PV, and SIP's polynomials; a third axis is ignored. A
    value that is missing, not a number or a singular matrix gives None, and so does a distortion by a look-up table
    (CPDIS, D2IM), whose pixels no header holds: a plugin that reads them hands over astropy's WCS itself.
    """
    try:
        ctype = [str(header["CTYPE1"]).strip(), str(header["CTYPE2"]).strip()]
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
    if any(header.get(f"{key}{axis}") is not None for key in ("CPDIS", "D2IMDIS", "CQDIS") for axis in (1, 2)):
        return None
    frame = header.get("RADESYS") or header.get("RADECSYS") or ""
    frame = frame if frame in ("FK5", "ICRS", "FK4") else ""
    projection, terms = _projection(header, ctype[0].removesuffix("-SIP")[-3:])
    try:
        wcs = make_wcs(crpix, crval, cd, projection=projection, pv=terms, frame=frame)
        if ctype[0].endswith("-SIP"):
            _add_sip(wcs, header, crpix)
    except ValueError:  # astropy's WcsError is one: an unknown projection, a polynomial that is none
        return None
    # terms that wcslib hides travel to other processes as text: the same bits there as here
    return type(wcs)(wcs.to_header(relax=True)) if projection == "TPV" else wcs


def _number(header: Mapping[str, Any], key: str) -> float | None:
    value = header.get(key)
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if usable and value is not None else None


def _projection(header: Mapping[str, Any], said: str) -> tuple[str, list[tuple[int, int, float]]]:
    """Projection and its terms: PV2, both axes for TPV, which SCAMP writes as TAN."""
    every = ((axis, m, _number(header, f"PV{axis}_{m}")) for axis in (1, 2) for m in range(40))
    terms = [(axis, m, value) for axis, m, value in every if value is not None]
    if said == "TPV" or (said == "TAN" and any(m > 4 for _, m, _ in terms)):
        return "TPV", terms
    return said, [term for term in terms if term[0] == 2 and said != "TAN"]


def _add_sip(wcs: WCS, header: Mapping[str, Any], crpix: Sequence[float]) -> None:
    """Put SIP's polynomials into a WCS (Shupe et al. 2005); the inverse is solved for, not read.

    Raises
    ------
    ValueError
        An order is missing or not between 1 and 9.
    """
    import numpy as np
    from astropy.wcs import Sip

    planes = []
    for name in "AB":
        order = _number(header, f"{name}_ORDER")
        if order is None or not 1 <= order <= 9:
            raise ValueError(f"{name}_ORDER is {order}")
        n = int(order) + 1
        planes.append(np.array([[_number(header, f"{name}_{i}_{j}") or 0.0 for j in range(n)] for i in range(n)]))
    wcs.wcs.ctype = [f"{c}-SIP" for c in wcs.wcs.ctype]
    wcs.sip = Sip(*planes, None, None, np.asarray(crpix, float))
    wcs.wcs.set()


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
