"""GTC EMIR by its headers alone: the seed of nirred-emir."""

from __future__ import annotations

from datetime import datetime, timedelta

from nirred.plugin import (
    Amplifier,
    Claim,
    Descriptors,
    Detector,
    Instrument,
    PlaneWcs,
    Section,
    gemini,
    hookimpl,
    wcs_from_header,
)

NIRRED_API = (1, 0)

SIZE = 2048
GAIN = 5.0  # e-/ADU, as the instrument's software states it
READ_NOISE = 5.69 * GAIN  # stated in ADU
SATURATION = 55000.0
SCALE = 0.1944  # arcsec per pixel
RETIRED, REPLACED = datetime(2023, 3, 10, 12), datetime(2023, 7, 1, 12)
ROLES = {
    **{"IMAGE_DARK": "dark", "IMAGE_BIAS": "bias", "IMAGE_FLAT": "flat", "IMAGE_SKY": "sky", "FLAT": "flat"},
    **{"STARE_IMAGE": "science", "DITHERED_IMAGE": "science", "FULL_DITHERED_IMAGE": "science"},
}
BANDS = {"Y": "Y", "J": "J", "H": "H", "K": "K", "KSPEC": "K", "F1230": "J"}


def epoch(h):
    """Name of the detector at the frame's date; None in the months between the two."""
    when = gemini.ut_datetime(h)
    if when is None or RETIRED <= when < REPLACED:
        return None
    return "HAWAII-2" if when < RETIRED else "H2RG"


def mode(h):
    return (gemini.text(h, "OBSMODE") or "STARE_IMAGE").upper()


def degrees(value, unit):
    """Sexagesimal text or a number to degrees; `unit` is 15 for hours."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    parts = value.split(":") if isinstance(value, str) else ()
    try:
        size = sum(abs(float(p)) / 60.0**i for i, p in enumerate(parts)) * unit
    except ValueError:
        return None
    return None if len(parts) != 3 else -size if parts[0].strip().startswith("-") else size


def amplifiers(name):
    """The H2RG has 32 channels of 64 columns; of the HAWAII-2 the quadrants matter in imaging."""
    if name == "H2RG":
        return tuple(Amplifier(f"{j + 1}", Section(64 * j, 64 * j + 64, 0, SIZE)) for j in range(32))
    half = SIZE // 2
    return tuple(
        Amplifier(f"Q{2 * j + i + 1}", Section(half * i, half * (i + 1), half * j, half * (j + 1)))
        for j in (0, 1)
        for i in (0, 1)
    )


@hookimpl
def nirred_instruments():
    return (Instrument("emir", "GTC EMIR", "INSTRUME = EMIR"),)


@hookimpl
def nirred_claim(headers):
    if (gemini.text(headers, "INSTRUME") or "").upper() != "EMIR":
        return None
    reason = ""
    if epoch(headers) is None:
        known = gemini.ut_datetime(headers) is not None
        reason = f"no detector between {RETIRED:%Y-%m-%d} and {REPLACED:%Y-%m-%d}" if known else "no DATE-OBS"
    elif (gemini.text(headers, "GRISM") or "OPEN").upper() != "OPEN":
        reason = "spectrum"
    return Claim("emir", unsupported=reason)


@hookimpl
def nirred_tags(headers):
    kind = ROLES.get(mode(headers), "other")
    own = {"dark": "DARK CAL", "bias": "BIAS CAL", "flat": "IMAGE FLAT CAL"}.get(kind, "IMAGE")
    if (gemini.text(headers, "GRISM") or "OPEN").upper() != "OPEN":
        own = own.replace("IMAGE", "SPECT")
    return frozenset(["EMIR", "RAW", *own.split()])


@hookimpl
def nirred_detectors(headers):
    if headers.image is None:
        return ()
    name = epoch(headers)
    return (
        Detector(
            shape=headers.image.shape[-2:],
            gain=GAIN if name else None,
            read_noise=READ_NOISE if name else None,
            saturation=SATURATION,
            name=name or "",
            section=Section(0, SIZE, 0, SIZE),
            epoch=name or "",
            amplifiers=amplifiers(name),
        ),
    )


@hookimpl
def nirred_wcs(headers):
    """Zenithal polynomial with its PV terms; the mirrored parity is in the CD matrix."""
    header = gemini.wcs_header(headers)
    wcs = wcs_from_header(header) if header is not None else None
    return None if wcs is None else (PlaneWcs(wcs, sigma_arcsec=1.0),)


@hookimpl
def nirred_describe(headers):
    h = headers
    when, seconds = gemini.ut_datetime(h), gemini.number(h, "EXPTIME", 0.0, 1e6)
    name, block = gemini.text(h, "FILTER"), gemini.integer(h, "NOBSBLCK")
    read_mode = (gemini.text(h, "READMODE") or "").upper() or None
    where = degrees(h.get("RA"), 15.0), degrees(h.get("DEC"), 1.0)
    return Descriptors(
        instrument="EMIR",
        role=ROLES.get(mode(h), "other") if (gemini.text(h, "GRISM") or "OPEN").upper() == "OPEN" else "other",
        object=gemini.text(h, "OBJECT"),
        observation_type=mode(h),
        sequence_id=None if block is None else str(block),
        ut_datetime=when,
        ut_end=when and when + timedelta(seconds=seconds or 0.0),
        exposure_time=seconds,
        filter_name=name,
        filter_pretty=name,
        band=BANDS.get(name),
        read_mode=read_mode,
        gain=GAIN if epoch(h) else None,
        read_noise=READ_NOISE if epoch(h) else None,
        saturation_level=SATURATION,
        pixel_scale=gemini.wcs_pixel_scale(h) or SCALE,
        airmass=gemini.number(h, "AIRMASS", 1.0),
        ra=where[0],
        dec=where[1],
        target_ra=where[0],
        target_dec=where[1],
        configuration=(("epoch", epoch(h)), ("filter_name", name), ("read_mode", read_mode)),
        extra={
            "repetition": gemini.integer(h, "OBSBLOCK"),
            "position": gemini.integer(h, "IMGOBBL"),
            "positions": gemini.integer(h, "NIMGOBBL"),
            "exposure": gemini.integer(h, "EXP"),
            "tstamp": gemini.number(h, "TSTAMP"),
            "wcs_check": False,
        },
    )
