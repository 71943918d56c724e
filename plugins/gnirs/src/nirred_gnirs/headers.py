"""GNIRS's headers: tags and names, filters, slits, offsets, and the illuminated field on the sky."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from nirred.plugin import Descriptors, TagRule, gemini, rule

from .detector import array_name, detectors, read_mode, well_depth

if TYPE_CHECKING:
    from nirred.plugin import Headers, PlaneWcs, Polygon

POINTING_ERROR = 1.0  # arcsec, 1 sigma between frames of a dither sequence
SCALES: Mapping[str, float] = {"ShortBlue": 0.15170, "ShortRed": 0.15, "LongBlue": 0.05071, "LongRed": 0.05095}
"""Arcsec per pixel by camera."""
FAR = 1000.0  # arcsec; a WCS further from the target is left over from another frame

_MICRON: Mapping[str, float] = {
    "YPHOT": 1.03,
    "X": 1.1,
    "X_(order_6)": 1.1,
    "JPHOT": 1.25,
    "J_(order_5)": 1.27,
    "H": 1.63,
    "H_(order_4)": 1.63,
    "H2": 2.125,
    "K_(order_3)": 2.195,
    "KPHOT": 2.22,
    "PAH": 3.295,
    "L": 3.5,
    "L_(order_2)": 3.5,
    "M": 5.1,
    "M_(order_1)": 5.1,
}


def slit(headers: Headers) -> str:
    """SLIT without blanks; the 1 arcsec slit with two decimals, like the others."""
    name = gemini.text(headers, "SLIT", "") or ""
    return re.sub(r"^1\.0arcsec", "1.00arcsec", name.replace(" ", ""))


def _mirror(state: str) -> Callable[[Headers], bool]:
    return gemini.says("ACQMIR", state)


def _prism(word: str) -> Callable[[Headers], bool]:
    return lambda h: word in (gemini.text(h, "PRISM", "") or "")


def _past_slit(headers: Headers) -> bool:
    return "Acq" not in slit(headers)


def _long_slit(headers: Headers) -> bool:
    grating = gemini.text(headers, "GRATING", "") or ""
    return any(w in slit(headers).lower() for w in ("arcsec", "pin")) and "mm" in grating


def _ifu(headers: Headers) -> bool:
    return "ifu" in slit(headers).lower()


def _pinholes(headers: Headers) -> bool:
    return "Pinholes" in slit(headers)


_through = gemini.both(_mirror("In"), _past_slit)
_dispersed = gemini.both(_mirror("Out"), _long_slit)

TAGS: tuple[TagRule, ...] = (
    rule(gemini.instrument("GNIRS"), "GNIRS"),
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="IMAGE SPECT"),
    rule(gemini.says("OBSTYPE", "ARC"), "ARC CAL"),
    rule(_mirror("In"), "IMAGE"),
    rule(_mirror("Out"), "SPECT"),
    rule(_through, "THRUSLIT", if_present="IMAGE"),
    rule(gemini.both(_through, _prism("MIR")), "THRUSLIT LS", if_present="IMAGE"),
    rule(gemini.both(_through, _prism("XD")), "THRUSLIT XD", if_present="IMAGE"),
    rule(gemini.both(_mirror("Out"), _ifu), "IFU", if_present="SPECT"),
    rule(gemini.both(_dispersed, _prism("MIR")), "LS", if_present="SPECT"),
    rule(gemini.both(_dispersed, _prism("XD")), "XD", if_present="SPECT"),
    rule(
        gemini.both(gemini.says("OBSTYPE", "FLAT", "PINHOLE"), _pinholes),
        "PINHOLE CAL",
        remove="GCALFLAT",
        blocks="FLAT",
    ),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.has("PROCSTND"), "STANDARD CAL"),
)


def tags(headers: Headers) -> frozenset[str]:
    """Tags of a GNIRS frame."""
    return gemini.frame_tags(TAGS, headers)


def filters(headers: Headers) -> tuple[str | None, str | None]:
    """Names of both wheels joined ('Open&J_G0517'), and the usual name ('J').

    In the usual name, open and clear positions and neutral densities are omitted; a closed wheel is added to it.
    """
    names = [n for n in (gemini.text(headers, "FILTER1"), gemini.text(headers, "FILTER2")) if n]
    if not names:
        return None, None
    short = [gemini.strip_id(n) or "" for n in names]
    used = [n for n in short if not ("open" in n.lower() or "Clear" in n or n.lower().startswith("nd"))] or ["open"]
    if any("Block" in n or "Dark" in n for n in short):
        used.append("blank")
    if any("DK" in n for n in short):
        used.append("dark")
    return "&".join(names), "&".join(used[:2])


def mask_names(headers: Headers) -> tuple[str, str]:
    """Slit and decker in full, and their usual name: 'Acq', '0.30arcsec', '0.30arcsecXD'."""
    opening = slit(headers)
    decker = (gemini.text(headers, "DECKER", "") or "").replace("Acquisition", "Acq")
    short = gemini.strip_id(opening) or ""
    if "Acq" in opening and "Acq" in decker:
        readable = "Acq"
    elif "Long" in decker:
        readable = short
    else:
        readable = f"{short}XD" if "XD" in decker else f"{short}&{gemini.strip_id(decker)}"
    return f"{opening}&{decker}", readable


def dispersers(headers: Headers) -> tuple[str, str]:
    """Grating, with the prism if that cross-disperses; MIRROR if the acquisition mirror is in."""
    if gemini.text(headers, "ACQMIR") == "In":
        return "MIRROR", "MIRROR"
    grating, prism = gemini.text(headers, "GRATING", "") or "", gemini.text(headers, "PRISM", "") or ""
    lines = re.match(r"\d+/mm", grating)
    short = lines[0] if lines else gemini.strip_id(grating) or ""
    if prism.startswith("MIR"):
        return grating, short
    cross = re.match(r"[LBSR]*\+*([A-Z]*XD)", prism)
    return f"{grating}&{prism}", f"{short}&{cross[1] if cross else gemini.strip_id(prism)}"


def shift(headers: Headers) -> tuple[float, float] | None:
    """Shift of sources on the array (arcsec), from the telescope's P and Q offsets.

    The bottom port mirrors the field, unless the adaptive optics mirror it back.
    """
    p, q = gemini.number(headers, "POFFSET"), gemini.number(headers, "QOFFSET")
    if p is None or q is None:
        return None
    mirrored = gemini.number(headers, "INPORT") == 1 and not gemini.is_ao(headers)
    return (-q if mirrored else q), -p


def _position(headers: Headers) -> tuple[float, float] | None:
    """Centre of the WCS; if it is far from the target, the target with its offsets."""
    when = gemini.ut_datetime(headers)
    here, aim = gemini.wcs_center(headers, when), gemini.target(headers, when)
    return aim if here and aim and gemini.separation(here, aim) > FAR else here


def wcs(headers: Headers) -> Sequence[PlaneWcs] | None:
    """WCS, usually found only in the primary header; None for darks."""
    if "DARK" in tags(headers):
        return None
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), POINTING_ERROR)


def _group(headers: Headers, own_tags: frozenset[str], full: str | None, mask: str) -> tuple[object, ...]:
    mode, place = read_mode(headers), headers.get("DETSEC")
    if "DARK" in own_tags:
        head: tuple[object, ...] = mode, gemini.exposure_time(headers, own_tags), gemini.coadds(headers)
    else:
        head = gemini.text(headers, "OBSID"), full, gemini.text(headers, "CAMERA"), mode
    kind = ("GNIRS_IMAGE_FLAT",) if {"IMAGE", "FLAT"} <= own_tags else ()
    return *head, well_depth(headers), place, dispersers(headers)[0], mask, *kind


def describe(headers: Headers) -> Descriptors:
    """Descriptors of a GNIRS frame."""
    own_tags = tags(headers)
    full, readable = filters(headers)
    mask, mask_pretty = mask_names(headers)
    disperser, disperser_pretty = dispersers(headers)
    camera, array = gemini.text(headers, "CAMERA"), array_name(headers)
    own = gemini.Own(
        detectors=detectors(headers, own_tags),
        filter_name=full,
        filter_pretty=readable,
        wavelengths=_MICRON,
        central_wavelength=gemini.number(headers, "GRATWAVE", 0.1, 100.0),
        camera=camera,
        disperser=disperser,
        focal_plane_mask=mask,
        read_mode=read_mode(headers),
        well_depth_setting=well_depth(headers),
        pixel_scale=SCALES.get(gemini.strip_id(camera) or ""),
        shift=shift(headers),
        flipped=True,
        turn=90.0,
        rotation_centre=(629.0, 519.0),
        position=_position(headers),
        group=_group(headers, own_tags, full, mask),
        configuration=(("array_name", array),),
        extra={"array_name": array, "slit": slit(headers), "lamp": gemini.gcal_lamp(headers)},
        pretty={"focal_plane_mask": mask_pretty, "disperser": disperser_pretty},
    )
    found = gemini.describe(headers, own_tags, own)
    return replace(found, observation_type="PINHOLE") if "PINHOLE" in own_tags else found


def footprint(headers: Headers) -> Sequence[Polygon] | None:
    """Outlines of the bar and the disc on the sky; None without coordinates, known keyhole or place in the array."""
    from .keyhole import SHAPE, keyhole

    planes = wcs(headers)
    known = keyhole(gemini.text(headers, "CAMERA"), filters(headers)[1])
    if not planes or known is None or headers.image is None:
        return None
    x0, x1, y0, y1 = gemini.section(headers.get("DETSEC")) or (0, SHAPE[1], 0, SHAPE[0])
    if headers.image.shape[-2:] != (y1 - y0, x1 - x0):
        return None
    return [
        tuple((float(a), float(b)) for a, b in planes[0].wcs.wcs_pix2world([(x - x0, y - y0) for x, y in outline], 0))
        for outline in known.corners()
    ]
