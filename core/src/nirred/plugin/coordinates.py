"""Fast creation of world coordinates from keywords, a pointing, or numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from .tangent import TangentWcs
from .zenithal import ZenithalWcs, is_convex

if TYPE_CHECKING:
    from astropy.wcs import WCS

Matrix = Sequence[Sequence[float]]
Position: TypeAlias = tuple[float, float]
"""(right ascension, declination), degrees."""
#: World coordinates of a plane: astropy's WCS, or nirred's replacement for it.
AnyWcs: TypeAlias = Union["WCS", TangentWcs]
#: Of astropy's keywords: the matrix, which is written as CD, and the time, which the primary has.
_NOT_SAID = re.compile(r"DATE-OBS|MJD-OBS|MJDREF|WCSAXES|CDELT\d|(PC|CD)\d_\d")


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


#: Attributes that define a WCS in addition to its matrix, in the order in which they are restored.
_STATE = ("crpix", "crval", "lonpole", "latpole", "radesys", "equinox", "dateobs", "mjdobs")


def has_tables(wcs: AnyWcs) -> bool:
    """Whether a look-up table is part of a WCS."""
    return any(t is not None for t in (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2))


def projection_cards(wcs: AnyWcs) -> tuple[str, ...]:
    """Cards with the projection and distortion of a WCS: wcslib reports TPV as TAN and its terms only in the cards."""
    if isinstance(wcs, TangentWcs):
        axes = tuple(f"CTYPE{i}  = '{name}'" for i, name in enumerate(wcs.wcs.ctype, 1))
        return axes + tuple(f"PV{axis}_{m}   = {value!r}" for axis, m, value in wcs.wcs.get_pv())
    text = wcs.wcs.to_header()
    cards = (text[start : start + 80].split("/")[0].rstrip() for start in range(0, len(text), 80))
    return tuple(card for card in cards if card.startswith(("CTYPE", "PV", "DP", "DQ")))


def wcs_cards(wcs: AnyWcs) -> dict[str, tuple[Any, str]]:
    """{keyword: (value, comment)} of a header with this WCS, except for the matrix."""
    if isinstance(wcs, TangentWcs) and wcs.plain:
        return wcs.wcs.cards()
    header = as_astropy(wcs).to_header()
    return {k: (header[k], header.comments[k]) for k in header if not _NOT_SAID.fullmatch(k)}


def as_astropy(wcs: AnyWcs) -> WCS:
    """The equivalent `astropy.wcs.WCS`, for packages that require it."""
    return wcs.astropy() if isinstance(wcs, TangentWcs) else wcs


def is_tangential(wcs: AnyWcs) -> bool:
    """Whether a WCS is a plain gnomonic projection."""
    if isinstance(wcs, TangentWcs):
        return wcs.plain
    said = projection_cards(wcs)
    plain = len(said) == 2 and all("--TAN" in card for card in said)
    return plain and wcs.sip is None and not has_tables(wcs)


def wcs_state(wcs: AnyWcs) -> dict[str, Any] | None:
    """State of astropy's celestial WCS; None if it has tables or hidden terms (TPV), or not exactly 2 axes."""
    if isinstance(wcs, TangentWcs):
        return None
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
    """Restore a WCS exactly from the result of `wcs_state`."""
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


def wcs_from_header(header: Mapping[str, Any]) -> AnyWcs | None:
    """Celestial WCS of an image header, or None if it has no usable one.

    Reads CTYPE, CRPIX, CRVAL, CD (or CDELT with PC or CROTA2), PV, and SIP polynomials; a third axis is ignored. The
    result is None if a value is missing or not a number, if the matrix is singular, or if the distortion is a look-up
    table (CPDIS, D2IM), which is not in the header: a plugin that reads the table must return astropy's WCS. A gnomonic
    projection without distortion is returned as `TangentWcs`, a zenithal polynomial without negative terms as
    `ZenithalWcs`; they behave like astropy's WCS, and `astropy()` returns it.
    """
    try:
        ctype = [str(header["CTYPE1"]).strip(), str(header["CTYPE2"]).strip()]
        crpix = [float(header["CRPIX1"]), float(header["CRPIX2"])]
        crval = [float(header["CRVAL1"]), float(header["CRVAL2"])]
    except (KeyError, TypeError, ValueError):
        return None
    tables = any(header.get(f"{key}{axis}") is not None for key in ("CPDIS", "D2IMDIS", "CQDIS") for axis in (1, 2))
    if tables or not (ctype[0].startswith("RA-") and ctype[1].startswith("DEC-")):
        return None
    cd = _cd_matrix(header)
    numbers = [*crpix, *crval, *(cd[0] + cd[1] if cd else [math.nan])]
    if cd is None or not all(map(math.isfinite, numbers)) or cd[0][0] * cd[1][1] == cd[0][1] * cd[1][0]:
        return None
    frame = header.get("RADESYS") or header.get("RADECSYS") or ""
    frame = frame if frame in ("FK5", "ICRS", "FK4") else ""
    try:
        return _wcs_of(ctype, (crpix, crval, cd, frame), header)
    except ValueError:  # astropy's WcsError is one: an unknown projection, a polynomial that is none
        return None


def _wcs_of(
    ctype: list[str], numbers: tuple[list[float], list[float], list[list[float]], str], header: Mapping[str, Any]
) -> AnyWcs:
    """A WCS from CTYPE, (CRPIX, CRVAL, CD, RADESYS), and the terms in a header, of nirred's own class if possible.

    Raises
    ------
    ValueError
        Unknown projection, or invalid terms.
    """
    crpix, crval, cd, frame = numbers
    projection, terms = _projection(header, ctype[0].removesuffix("-SIP")[-3:])
    if ctype == [f"RA---{projection}", f"DEC--{projection}"]:
        if projection == "TAN":
            return plain_wcs(crpix, crval, cd, frame)
        if projection == "ZPN" and is_convex(terms) and _in_range(crval):
            return ZenithalWcs(crpix, crval, cd, frame, terms)
    wcs = make_wcs(crpix, crval, cd, projection=projection, pv=terms, frame=frame)
    if ctype[0].endswith("-SIP"):
        _add_sip(wcs, header, crpix)
    # terms that wcslib hides travel to other processes as text: the same bits there as here
    return type(wcs)(wcs.to_header(relax=True)) if projection == "TPV" else wcs


def _in_range(crval: Sequence[float]) -> bool:
    """Whether a reference point is a valid sky position and not the pole, where LONPOLE has another default."""
    return 0 <= crval[0] <= 360 and -90 <= crval[1] < 90


def plain_wcs(crpix: Sequence[float], crval: Sequence[float], cd: Matrix, frame: str = "") -> AnyWcs:
    """A gnomonic WCS; coordinates out of range, and the pole, are left to astropy.

    Raises
    ------
    ValueError
        A declination beyond the poles.
    """
    if _in_range(crval):
        return TangentWcs(crpix, crval, cd, frame)
    return make_wcs(crpix, crval, cd, frame=frame)


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
    """Add SIP polynomials to a WCS (Shupe et al. 2005); the inverse is computed by iteration, not read.

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
    """Degrees per pixel; missing elements are 0 in CD, and those of the unit matrix in PC (FITS 4.0, 8.1)."""
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
) -> AnyWcs:
    """TAN WCS of a frame with only a pointing.

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
    return plain_wcs((center[0] + 1, center[1] + 1), (ra % 360.0, dec), cd)


def separation(a: Position, b: Position) -> float:
    """Angle between two positions, arcsec (haversine)."""
    (ra1, dec1), (ra2, dec2) = (tuple(map(math.radians, p)) for p in (a, b))
    h = math.sin((dec2 - dec1) / 2) ** 2 + math.cos(dec1) * math.cos(dec2) * math.sin((ra2 - ra1) / 2) ** 2
    return 3600.0 * math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))
