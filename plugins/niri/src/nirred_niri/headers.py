"""NIRI's headers: tags and names, filters, modes, offsets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nirred.plugin import Descriptors, TagRule, gemini, rule

from .detector import detectors, read_mode, roi, section, well_depth

if TYPE_CHECKING:
    from nirred.plugin import Headers

# Filters that are used in pairs, or whose usual name differs from the wheel's.
_PRETTY = {
    "PK50&Y": "Y",
    "Kprime": "K(prime)",
    "Lprime": "L(prime)",
    "Mprime": "M(prime)",
    "Kshort": "K(short)",
    "Ksort": "K order sort",
    "Lsort": "L order sort",
    "Msort": "M order sort",
    "Jsort": "J order sort",
    "Hsort&PK50": "H order sort",
    "Jcon1065&PK50": "Jcon(1065)",
    "Jcon(112)&PK50": "Jcon(112)",
    "Jcon(121)&PK50": "Jcon(121)",
    "Hcon(157)&PK50": "H-con(157)",
    "CH4short&PK50": "CH4(short)",
    "CH4long&PK50": "CH4(long)",
    "FeII&PK50": "FeII",
    "HeI(2p2s)&Kprime": "HeI(2p2s)",
    "HeI": "HeI",
    "H2v=2-1S1": "H2 2-1 S1",
    "H2v=1-0S1&K": "H2 1-0 S1",
    "PK50&Pabeta": "Pa(beta)",
    "PaGamma": "Pa(gamma)",
    "Bra": "Br(alpha)",
    "Bracont": "Br(alpha)Con",
    "Brgamma": "Br(gamma)",
    "H2Oice": "H2O ice",
    "H2Oice204": "H2Oice(2045)",
    "CH4ice227": "CH4ice(2275)",
    "COv=2-0bh": "CO 2-0 (bh)",
    "kcon(209)": "Kcon(209)",
    "kcon(227)": "Kcon(227)",
}

_MICRON: Mapping[str, float] = {
    "Jcon(1065)": 1.0650,
    "HeI": 1.0830,
    "Pa(gamma)": 1.0940,
    "Jcon(112)": 1.1220,
    "Jcon(121)": 1.2070,
    "Pa(beta)": 1.2820,
    "H-con(157)": 1.5700,
    "CH4(short)": 1.5800,
    "H": 1.6500,
    "CH4(long)": 1.6900,
    "H2Oice(2045)": 2.0450,
    "HeI(2p2s)": 2.0590,
    "Kcon(209)": 2.0975,
    "K(prime)": 2.1200,
    "H2 1-0 S1": 2.1239,
    "K(short)": 2.1500,
    "H2 2-1 S1": 2.2465,
    "Br(gamma)": 2.1686,
    "Kcon(227)": 2.2718,
    "CH4ice(2275)": 2.2750,
    "CO 2-0 (bh)": 2.2890,
    "H2Oice": 3.0500,
    "hydrocarb": 3.2950,
    "L(prime)": 3.7800,
    "Br(alpha)Con": 3.9900,
    "Br(alpha)": 4.0520,
    "M(prime)": 4.6800,
}

# Wavelength at the centre of the array for the f/6 grisms with the centred slits, micron.
_GRISM_MICRON = {"Jgrism": 1.233, "Kgrism": 2.263, "Mgrism": 5.14}

_ZERO_POINTS = {
    ("Y", "f6"): 22.99,
    ("J", "f6"): 23.97,
    ("J", "f32"): 23.33,
    ("H", "f6"): 24.05,
    ("H", "f32"): 23.62,
    ("K", "f6"): 23.43,
    ("K", "f32"): 22.99,
    ("K(short)", "f6"): 23.40,
    ("K(short)", "f32"): 22.95,
    ("K(prime)", "f6"): 23.68,
    ("K(prime)", "f32"): 23.60,
}
_ZERO_POINT_PER_ELECTRON = 2.72  # the table above is for 1 ADU/s


def _third(h: Headers) -> str:
    return gemini.text(h, "FILTER3", "") or ""


def _grism(h: Headers) -> bool:
    return "grism" in _third(h)


def _twilight(h: Headers) -> bool:
    return (gemini.text(h, "OBJECT", "") or "").upper() == "TWILIGHT"


_imaging = gemini.negation(_grism)

TAGS: tuple[TagRule, ...] = (
    rule(gemini.instrument("NIRI"), "NIRI"),
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="SPECT IMAGE"),
    rule(gemini.says("OBSTYPE", "ARC"), "ARC"),
    rule(gemini.says("OBSTYPE", "FLAT"), "CAL FLAT"),
    rule(_imaging, "IMAGE"),
    rule(gemini.both(_imaging, _twilight), "CAL FLAT TWILIGHT", if_present="IMAGE"),
    rule(_grism, "SPECT LS"),
)


def tags(headers: Headers) -> frozenset[str]:
    """Tags of a NIRI frame."""
    return gemini.frame_tags(TAGS, headers)


def filters(headers: Headers) -> tuple[str | None, str | None]:
    """Filter name with component ids, and the usual name: ('H_G0203', 'H').

    Open positions of the wheels, grisms and pupil masks are ignored; a blocked wheel overrides the others. PK50 blocks
    long wavelengths and is omitted in the usual name.
    """
    names = [n for n in (gemini.text(headers, f"FILTER{i}") for i in (1, 2, 3)) if n]
    if not names:
        return None, None
    used = sorted(n for n in names if not any(w in n.lower() for w in ("open", "grism", "pupil")))
    short = sorted(gemini.strip_id(n) or "" for n in used)
    if "blank" in map(str.lower, short):
        return "blank", "blank"
    if not used:
        return "open", "open"
    readable = "&".join(short)
    return "&".join(used), _PRETTY.get(readable, readable)


def shift(headers: Headers) -> tuple[float, float] | None:
    """Shift of sources on the array (arcsec), from the telescope's P and Q offsets.

    The bottom port mirrors the field, unless the adaptive optics mirror it back.
    """
    p, q = gemini.number(headers, "POFFSET"), gemini.number(headers, "QOFFSET")
    if p is None or q is None:
        return None
    return (-p if _mirrored(headers) else p), -q


def _mirrored(headers: Headers) -> bool:
    return gemini.number(headers, "INPORT") == 1 and not gemini.is_ao(headers)


def central_wavelength(headers: Headers) -> float | None:
    """Central wavelength (micron); None for images and for grisms not in the table."""
    centred = gemini.strip_id(gemini.text(headers, "FPMASK")) in ("f6-2pix", "f6-4pix", "f6-6pix")
    grism = gemini.strip_id(_third(headers)) or ""
    return _GRISM_MICRON.get(grism) if centred and gemini.text(headers, "CAMERA") == "f6" else None


def _group(headers: Headers, own_tags: frozenset[str], full: str | None, place: str) -> tuple[object, ...]:
    if "DARK" in own_tags:
        head: tuple[object, ...] = gemini.exposure_time(headers, own_tags), gemini.coadds(headers)
    else:
        head = gemini.text(headers, "OBSID"), full, gemini.text(headers, "CAMERA")
    kind: tuple[str, ...] = ()
    if {"IMAGE", "FLAT"} <= own_tags:
        kind = ("NIRI_IMAGE_TWILIGHT" if "TWILIGHT" in own_tags else "NIRI_IMAGE_FLAT",)
    return *head, read_mode(headers), well_depth(headers), place, *kind


def describe(headers: Headers) -> Descriptors:
    """Descriptors of a NIRI frame."""
    own_tags = tags(headers)
    full, readable = filters(headers)
    camera = gemini.text(headers, "CAMERA")
    third = _third(headers)
    place = section(headers)
    pupil = third if third.lower().startswith("pup") else "MIRROR"
    disperser = third if _grism(headers) else "MIRROR"
    zero = _ZERO_POINTS.get((readable or "", gemini.strip_id(camera) or ""))
    rotates = not (gemini.is_ao(headers) and gemini.text(headers, "CRFOLLOW") == "no")
    own = gemini.Own(
        detectors=detectors(headers, own_tags),
        filter_name=full,
        filter_pretty=readable,
        wavelengths=_MICRON,
        zero_point=None if zero is None else zero + _ZERO_POINT_PER_ELECTRON,
        central_wavelength=central_wavelength(headers),
        camera=camera,
        disperser=disperser,
        focal_plane_mask=gemini.text(headers, "FPMASK"),
        read_mode=read_mode(headers),
        well_depth_setting=well_depth(headers),
        roi=roi(headers),
        pixel_scale=gemini.wcs_pixel_scale(headers),
        shift=shift(headers),
        flipped=_mirrored(headers),
        wcs_check=rotates,
        group=_group(headers, own_tags, full, str(place)),
        configuration=(("pupil_mask", pupil),),
        extra={"pupil_mask": pupil, "lamp": gemini.gcal_lamp(headers)},
        pretty={"pupil_mask": gemini.strip_id(pupil)},
    )
    return gemini.describe(headers, own_tags, own)
