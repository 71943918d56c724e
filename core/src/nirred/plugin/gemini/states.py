"""Properties of a Gemini frame read from its header: lamp, guiding, quality, exposure time, role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..frames import Detector, Role
from .values import LONGEST, coadds, number, stated, text

if TYPE_CHECKING:
    from ...headers import Headers

BANDS: Mapping[str, float] = {
    "u": 0.350,
    "g": 0.475,
    "r": 0.630,
    "i": 0.780,
    "Z": 0.900,
    "Y": 1.020,
    "X": 1.100,
    "J": 1.200,
    "H": 1.650,
    "K": 2.200,
    "L": 3.400,
    "M": 4.800,
    "N": 11.70,
    "Q": 18.30,
}
"""Centres of the observatory's wavelength bands, micron."""

_SENSORS = ("AOWFS_ST", "OIWFS_ST", "PWFS1_ST", "PWFS2_ST")
_CLOSED = ("blank", "block", "dark")


def is_prepared(tags: frozenset[str]) -> bool:
    """True if the file has been processed by a reduction: its keywords then override the instrument's tables."""
    return "PREPARED" in tags


def as_stated(detector: Detector, headers: Headers, tags: frozenset[str]) -> Detector:
    """The detector with gain, read noise and levels from the header if the file is PREPARED."""
    if not is_prepared(tags):
        return detector
    keys = {"gain": "GAIN", "read_noise": "RDNOISE", "saturation": "SATLEVEL", "non_linear": "NONLINEA"}
    stated: dict[str, Any] = {name: number(headers, key, 0.0) for name, key in keys.items()}
    return replace(detector, **{name: value for name, value in stated.items() if value is not None})


def exposure_time(headers: Headers, tags: frozenset[str]) -> float | None:
    """Total seconds of all coadds (Gemini's infrared cameras sum them); from the header as it is if PREPARED."""
    seconds = number(headers, "EXPTIME", 0.0, LONGEST)
    if seconds is None or is_prepared(tags):
        return seconds
    return round(min(seconds * coadds(headers), LONGEST), 6)


def is_ao(headers: Headers) -> bool:
    """True when the adaptive-optics fold mirror is in the beam."""
    return text(headers, "AOFOLD") == "IN"


def is_in_adu(headers: Headers) -> bool:
    """True unless the image header gives another unit."""
    return str(headers.get("BUNIT", "adu")).strip().lower() == "adu"


def gcal_lamp(headers: Headers) -> str | None:
    """Lamp of the calibration unit that reaches the camera; 'Off' behind a closed shutter."""
    lamp, shutter = text(headers, "GCALLAMP"), text(headers, "GCALSHUT")
    if lamp is None or shutter is None:
        return None
    closed = shutter == "CLOSED" and lamp in ("IRhigh", "IRlow")
    return "Off" if closed or lamp in ("", "No Value") else lamp


def wavefront_sensor(headers: Headers) -> str | None:
    """Names of the guiding sensors, joined by '&'; None: no guiding."""
    names = [k[:-3] for k in _SENSORS if text(headers, k) == "guiding"]
    if "GWFS1CFG" in headers.primary:
        names.append("GEMS")
    return "&".join(sorted(names)) or None


def guiding(headers: Headers) -> bool | None:
    """Whether any sensor guides; None if the header has no sensor states."""
    if not any(k in headers.primary for k in (*_SENSORS, "GWFS1CFG")):
        return None
    return wavefront_sensor(headers) is not None


def qa_state(headers: Headers) -> str | None:
    """The observatory's assessment: Pass, Usable, Fail, CHECK, Undefined."""
    wanted, gemini = text(headers, "RAWPIREQ"), text(headers, "RAWGEMQA")
    if wanted is None or gemini is None:
        return None
    pair = wanted.upper(), gemini.upper()
    if "UNKNOWN" in pair:
        return "Undefined"
    if pair == ("YES", "USABLE"):
        return "Pass"
    if pair == ("NO", "USABLE"):
        return "Usable"
    if pair[1] == "BAD":
        return "Fail"
    return "CHECK" if "CHECK" in pair else f"{wanted}:{gemini}"


def ao_seeing(headers: Headers) -> float | None:
    """Seeing in arcsec measured by the adaptive optics, or 0.98 lambda / r0 at 0.5 micron from r0 in cm."""
    seeing, r0 = number(headers, "AOSEEING"), number(headers, "RZEROVAL")
    if seeing is not None:
        return seeing
    return 206265.0 * 0.98 * 0.5e-6 / (r0 * 0.01) if r0 else None


def wavelength_band(micron: float | None) -> str | None:
    """The band whose centre is nearest."""
    if micron is None:
        return None
    return min(BANDS, key=lambda band: abs(BANDS[band] - micron))


def role(headers: Headers, tags: frozenset[str], filter_pretty: str | None) -> Role:
    """Role of a frame.

    A flat with unknown lamp state is ``other``: it could be either half of a pair. An OBJECT image without OBSCLASS is
    a standard in a calibration programme (GN-CAL...), otherwise science; one of class dayCal, parked at zenith in
    horizontal coordinates, or with a closed filter is ``other``.
    """
    found: Role = "other"
    if "BPM" in tags:
        found = "bpm"
    elif "DARK" in tags:
        found = "dark"
    elif tags & {"ARC", "PINHOLE", "SPECT", "THRUSLIT", "MASK"}:
        found = "other"
    elif "TWILIGHT" in tags or {"PROCESSED", "FLAT"} <= tags:
        found = "flat"
    elif "FLAT" in tags:
        found = _lamp_role(headers)
    elif "IMAGE" in tags and text(headers, "OBSTYPE") == "OBJECT" and not _closed(filter_pretty):
        found = _object_role(headers, tags)
    return found


def why_no_role(headers: Headers, tags: frozenset[str], filter_pretty: str | None) -> str:
    """Why a flat or an OBJECT image has the role ``other``, with the keywords that say so; empty: it has another."""
    if tags & {"PROCESSED", "PREPARED", "TWILIGHT"} or role(headers, tags, filter_pretty) != "other":
        return ""
    if "FLAT" in tags:
        found = ", ".join(f"{k} = {text(headers, k) or 'not stated'}" for k in ("GCALLAMP", "GCALSHUT"))
        return f"flat with no known lamp: {found}"
    if text(headers, "OBSTYPE") != "OBJECT":
        return ""
    if _closed(filter_pretty):
        return f"image through a closed filter wheel: {filter_pretty}"
    if "AZEL_TARGET" in tags:
        return "image with the telescope parked: FRAME = AZEL_TOPO"
    return f"OBJECT that is no target: OBSCLASS = {stated(headers, 'OBSCLASS')}"


def _closed(filter_pretty: str | None) -> bool:
    """Whether a wheel is closed; for GNIRS the name of the other wheel's filter may follow ('Dark&J')."""
    return any(word in (filter_pretty or "").lower() for word in _CLOSED)


def _lamp_role(headers: Headers) -> Role:
    """Lamp on or off; off behind a closed shutter. If a halogen lamp is lit all the same, the plan has to find out."""
    lamp = gcal_lamp(headers) or ""
    infrared, halogen = lamp in ("IRhigh", "IRlow"), lamp.startswith("QH")
    if lamp == "Off" or (halogen and text(headers, "GCALSHUT") == "CLOSED"):
        return "lamp_off"
    return "lamp_on" if infrared or halogen else "other"


def _object_role(headers: Headers, tags: frozenset[str]) -> Role:
    kind = stated(headers, "OBSCLASS")
    if kind is None:
        calibration = "-CAL" in (text(headers, "GEMPRGID") or "")
        return "standard" if calibration else "science"
    if kind in ("partnerCal", "progCal", "nightCal"):
        return "standard"
    if kind in ("acq", "acqCal"):
        return "acquisition"
    return "other" if kind == "dayCal" or "AZEL_TARGET" in tags else "science"
