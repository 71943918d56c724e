"""EMIR's headers: modes, tags, the observatory's masters, dither pattern and pointing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from nirred.plugin import Descriptors, gemini

from .detector import GAIN, PIXEL_SCALE, READ_NOISE, SATURATION, Profile, profile, started

if TYPE_CHECKING:
    from nirred.plugin import Headers, Role

ROLES: Mapping[str, Role] = {
    "STARE_IMAGE": "science",
    "DITHERED_IMAGE": "science",
    "FULL_DITHERED_IMAGE": "science",
    "NODDED_BEAM_SWITCHED_IMAGE": "science",
    "MICRODITHERED_IMAGE": "science",
    "IMAGE_SKY": "sky",
    "IMAGE_DARK": "dark",
    "IMAGE_BIAS": "bias",
    "IMAGE_FLAT": "flat",
    "FLAT": "flat",
    "IMG_ACQ": "acquisition",
    "BAR_POS": "acquisition",
    "FINE_CENTERING": "acquisition",
}
BANDS = {"Y": "Y", "J": "J", "H": "H", "K": "K", "KS": "K", "KSPEC": "K", "F1230": "J", "F123M": "J", "FEII": "H"}

#: Kind of a file made by the observatory's pipeline, by the recipe that made it.
MASTERS = {
    "BiasRecipe": "bias",
    "DarkRecipe": "dark",
    "IntensityFlatRecipe": "flat",
    "IntensityFlatRecipe2": "flat",
    "MultiTwilightFlatRecipe": "flat",
    "SimpleSkyFlatRecipe": "flat",
    "CosmeticsRecipe": "bpm",
}
_MODE_IN_NAME = re.compile(r"EMIR-([A-Z_]+)")
_MASTER_NAME = re.compile(r"master_?(bpm|bias|dark|flat)", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"_(ones|zeros)\b", re.IGNORECASE)
_WROTE = ("NUMRNAM", "NUMDRP", "NUMXVER")


def mode(headers: Headers) -> str:
    """Observing mode: OBSMODE, else from the file name, else that of a plain image."""
    stated = gemini.stated(headers, "OBSMODE")
    if stated is None and headers.path is not None:
        found = _MODE_IN_NAME.search(headers.path.name)
        stated = found[1].rstrip("_") if found else None
    return (stated or "STARE_IMAGE").upper()


def processed(headers: Headers) -> bool:
    """True if another program has processed the pixels: the observatory's pipeline leaves its keyword."""
    return any(key in headers.primary for key in _WROTE)


def master(headers: Headers) -> str:
    """Kind of a master calibration of the observatory: bias, dark, flat, bpm; '' for anything else.

    From the recipe that made it, or from the file name if the header lacks that (master_bpm.fits). Files with nirred's
    keyword are not the observatory's.
    """
    if "NIRRED" in headers.primary:
        return ""
    recipe = gemini.stated(headers, "NUMRNAM")
    if recipe is not None:
        return MASTERS.get(recipe.rpartition(".")[2], "")
    found = _MASTER_NAME.match(headers.path.name) if headers.path is not None else None
    return found[1].lower() if found else ""


def placeholder(headers: Headers) -> bool:
    """True for a master without information, by its name: master_flat_ones.fits, master_dark_zeros.fits."""
    return bool(master(headers) and headers.path is not None and _PLACEHOLDER.search(headers.path.name))


def dispersed(headers: Headers) -> bool:
    """True for spectra, from the grism wheel or the mode."""
    return (gemini.stated(headers, "GRISM") or "OPEN").upper() != "OPEN" or "SPECTR" in mode(headers)


def role(headers: Headers) -> Role:
    """Role of a frame."""
    kind: Role = ROLES.get(mode(headers), "other")
    if master(headers) == "bpm":
        return "bpm"
    if master(headers):
        return {"dark": "dark", "flat": "flat"}.get(master(headers), "bias")  # type: ignore[return-value]
    return "other" if dispersed(headers) and kind not in ("dark", "bias") else kind


def unsupported(headers: Headers) -> str:
    """Why a frame is not reduced; '' if it is."""
    if role(headers) in ("dark", "bias", "bpm") or master(headers) or not dispersed(headers):
        found = profile(headers)
        return "" if isinstance(found, Profile) else found
    return "spectrum"


def tags(headers: Headers) -> frozenset[str]:
    """Tags of an EMIR frame."""
    kinds = {"dark": "DARK CAL", "bias": "BIAS CAL", "flat": "IMAGE FLAT CAL", "bpm": "BPM CAL", "other": ""}
    words = kinds.get(role(headers), "IMAGE").split()
    if dispersed(headers) and not master(headers):
        words = ["SPECT", *(w for w in words if w != "IMAGE")]
    state = "PROCESSED" if processed(headers) or master(headers) else "RAW"
    return frozenset(["EMIR", state, *words])


def angle(headers: Headers, key: str, unit: float, low: float, high: float) -> float | None:
    """Position keyword in degrees, from a number or from sexagesimal text in units of `unit` degrees (15: hours)."""
    value = headers.get(key)
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([+-]?)(\d{1,3}):(\d{1,2}):(\d{1,2}(?:\.\d*)?)\s*", value)
        if not found:
            return None
        size = (int(found[2]) + int(found[3]) / 60.0 + float(found[4]) / 3600.0) * unit
        value = -size if found[1] == "-" else size
        return value if low <= value <= high else None
    return gemini.number(headers, key, low, high)


def band(name: str | None) -> str | None:
    """Photometric band of a filter."""
    return BANDS.get((name or "").upper().partition("_")[0])


def _position_angle(headers: Headers) -> float | None:
    """Position angle of the array's +y axis, degrees east of north, from the CD matrix."""
    import math

    header = gemini.wcs_header(headers)
    if header is None:
        return None
    return math.degrees(math.atan2(float(header["CD1_2"]), float(header["CD2_2"]))) % 360.0


def describe(headers: Headers) -> Descriptors:
    """Descriptors of an EMIR frame.

    RA and DEC are those of the telescope, offsets included: the WCS reference must lie there. The header does not give
    the position of the target, so frames are grouped by name and field.
    """
    h, what, own = headers, role(headers), profile(headers)
    made, known = master(h), isinstance(own, Profile)
    when = started(h)
    seconds = gemini.number(h, "EXPTIME", 0.0, 1e5)
    if seconds is None:
        seconds = gemini.number(h, "EXPOSED", 0.0, 1e5)
    name = gemini.stated(h, "FILTER")
    read_mode = (gemini.stated(h, "READMODE") or "").upper() or None
    ra, dec = angle(h, "RA", 15.0, 0.0, 360.0), angle(h, "DEC", 1.0, -90.0, 90.0)
    block = gemini.integer(h, "NOBSBLCK")
    epoch = own.name if isinstance(own, Profile) else None
    return Descriptors(
        instrument="EMIR",
        role=what,
        object=gemini.stated(h, "OBJECT"),
        observation_type=mode(h),
        sequence_id=None if block is None else str(block),
        ut_datetime=when,
        ut_end=when and when + timedelta(seconds=seconds or 0.0),
        exposure_time=None if made else seconds,
        filter_name=name,
        filter_pretty=name,
        band=band(name),
        read_mode=None if made else read_mode,
        gain=GAIN if known else None,
        read_noise=READ_NOISE if known else None,
        saturation_level=SATURATION if known else None,
        pixel_scale=gemini.wcs_pixel_scale(h) or PIXEL_SCALE,
        position_angle=_position_angle(h),
        airmass=gemini.number(h, "AIRMASS", 1.0, 50.0),
        ra=ra,
        dec=dec,
        configuration=(("epoch", epoch), ("filter_name", name), ("read_mode", read_mode)),
        extra={
            "placeholder": placeholder(h),
            "epoch": epoch,
            "master": made,
            "disperser": gemini.stated(h, "GRISM"),
            "array_id": epoch,
            "repetition": gemini.integer(h, "OBSBLOCK"),
            "position": gemini.integer(h, "IMGOBBL"),
            "positions": gemini.integer(h, "NIMGOBBL"),
            "exposure": gemini.integer(h, "EXP"),
            "exposures": gemini.integer(h, "NEXP"),
            "tstamp": gemini.number(h, "TSTAMP"),
            "dark_time": gemini.number(h, "DARKTIME", 0.0, 1e5),
            "uuid": gemini.stated(h, "UUID") or gemini.stated(h, "EMIRUUID"),
            "expected_ra": ra,
            "expected_dec": dec,
            "wcs_flipped": True,
        },
    )
