"""Keck NIRC2 imaging: one 1024 x 1024 Aladdin array behind three cameras. An example of a third-party plugin."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import nirred.plugin as api
from nirred.plugin import Headers, Match, hookimpl
from nirred.plugin.simulation import ExposureSettings

NIRRED_API = (1, 0)
PIXEL_SCALE = {"narrow": 0.009952, "medium": 0.019829, "wide": 0.039686}  # arcsec
GAIN = 4.0  # e-/ADU
READ_NOISE, READ_NOISE_FLOOR = 60.0, 10.0  # e-: assumed, not in the header; for one pair of reads, for many
SATURATION, NON_LINEAR = 18_000.0, 10_000.0  # ADU per coadd: assumed
POINTING_ERROR = 0.3  # arcsec between dithers: RA and DEC are written to 0.04
FLAT_LAMPS = ("FLSPECTR", "FLIMAGIN", "LAMPPWR")
ROLES: Mapping[str, api.Role] = {"dark": "dark", "flatlamp": "lamp_on", "flatlampoff": "lamp_off", "bias": "bias"}
RAW: Mapping[str, Any] = (  # header of an image, abridged
    {"BITPIX": 32, "NAXIS": 2, "NAXIS1": 1024, "NAXIS2": 1024, "CURRINST": "NIRC2", "CAMNAME": "wide"}
    | {"FILTER": "Ks + clear", "GRSNAME": "clear", "SLITNAME": "none", "SHRNAME": "open", "FLSPECTR": "off"}
    | {"OBJECT": "COSMOS01", "IMAGETYP": "data", "ITIME": 80.0, "COADDS": 1, "MULTISAM": 16, "AIRMASS": 1.11431}
    | {"DATE-OBS": "2011-04-13", "EXPSTART": "05:37:44.336", "RA": 150.43402, "DEC": 2.95156}
    | {"RAOFF": -0.0016, "DECOFF": 0.00266, "ROTPOSN": 0.7, "INSTANGL": 0.7}
)
EXAMPLE = "\n".join(f"{key:<8}= {value!r}" for key, value in RAW.items())


def text(headers: Headers, key: str) -> str:
    """Value of a keyword as text; empty if the header lacks it."""
    return str(headers.get(key, "")).strip()


def number(headers: Headers, key: str, low: float = -1e6, high: float = 1e6) -> float | None:
    """Value of a keyword as a number from `low` to `high`, else None."""
    value = headers.get(key)
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if plain and low <= value <= high else None


def count(headers: Headers, key: str) -> int:
    """Value of a keyword as a count; 1 if the header lacks it."""
    return int(number(headers, key, 1) or 1)


def role(headers: Headers) -> api.Role:
    """Role of a frame, from its type, the shutter and the dome lamps."""
    if text(headers, "IMAGETYP").lower() in ROLES:
        return ROLES[text(headers, "IMAGETYP").lower()]
    if text(headers, "SHRNAME") == "closed":
        return "dark"
    if any(text(headers, lamp) not in ("", "off", "0") for lamp in FLAT_LAMPS):
        return "lamp_on"
    return "lamp_off" if "flat" in text(headers, "OBJECT").lower() else "science"


def started(headers: Headers) -> datetime | None:
    """Start of the exposure, UT."""
    time = text(headers, "EXPSTART") or text(headers, "UTC")
    try:
        return datetime.fromisoformat(f"{text(headers, 'DATE-OBS')}T{time}").replace(tzinfo=None)
    except ValueError:
        return None


@hookimpl
def nirred_instruments() -> Iterable[api.Instrument]:
    """The one instrument: NIRC2."""
    return (api.Instrument("nirc2", "Keck NIRC2", "CURRINST = NIRC2", (EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> api.Claim | None:
    """Claim by CURRINST: many older frames have no INSTRUME."""
    if text(headers, "CURRINST") != "NIRC2":
        return None
    spectrum = text(headers, "GRSNAME") not in ("", "clear") or text(headers, "SLITNAME") not in ("", "none")
    return api.Claim("nirc2", unsupported="spectrum" if spectrum else "")


@hookimpl
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Raw frames are integers; only files written by other programs have BITPIX -32."""
    lamp = {"IMAGE", "FLAT", "CAL"}
    kinds = {"dark": {"DARK", "CAL"}, "bias": {"BIAS", "CAL"}, "lamp_on": lamp, "lamp_off": lamp}
    made = {"PROCESSED"} if number(headers, "BITPIX") in (-32, -64) else set()
    return frozenset({"NIRC2"} | kinds.get(role(headers), {"IMAGE"}) | made)


@hookimpl
def nirred_describe(headers: Headers) -> api.Descriptors:
    """Descriptors from the header. RA and DEC include the offsets RAOFF and DECOFF."""
    time, filters, camera = number(headers, "ITIME", 0), text(headers, "FILTER") or None, text(headers, "CAMNAME")
    ra, dec = number(headers, "RA", 0, 360), number(headers, "DEC", -90, 90)
    angle, zero = number(headers, "ROTPOSN"), number(headers, "INSTANGL") or 0.0
    return api.Descriptors(
        instrument="nirc2",
        role=role(headers),
        object=text(headers, "OBJECT") or None,
        observation_type=text(headers, "IMAGETYP") or None,
        ut_datetime=started(headers),
        exposure_time=None if time is None else time * count(headers, "COADDS"),
        coadds=count(headers, "COADDS"),
        filter_name=filters,
        filter_pretty=filters and "&".join(part for part in filters.split(" + ") if part != "clear"),
        camera=camera or None,
        gain=GAIN,
        read_mode=f"{count(headers, 'MULTISAM')} reads",
        pixel_scale=PIXEL_SCALE.get(camera),
        position_angle=None if angle is None else angle - zero,
        airmass=number(headers, "AIRMASS", 1, 50),
        ra=ra,
        dec=dec,
        target_ra=None if ra is None else ra - (number(headers, "RAOFF", -1, 1) or 0.0),
        target_dec=None if dec is None else dec - (number(headers, "DECOFF", -1, 1) or 0.0),
        configuration=(("filter", filters), ("camera", camera)),
    )


@hookimpl
def nirred_detectors(headers: Headers) -> Sequence[api.Detector]:
    """One plane. Multiple reads reduce the read noise, coadds increase it."""
    if headers.image is None:
        return ()
    coadds, reads = count(headers, "COADDS"), count(headers, "MULTISAM")
    noise = max(READ_NOISE / math.sqrt(reads), READ_NOISE_FLOOR) * math.sqrt(coadds)
    ny, nx = headers.image.shape[-2:]
    return (api.Detector((ny, nx), GAIN, noise, SATURATION * coadds, NON_LINEAR * coadds, coadds, "aladdin"),)


@hookimpl
def nirred_wcs(headers: Headers) -> Sequence[api.PlaneWcs] | None:
    """WCS from the pointing: the headers have none. At angle 0 north is up and east is left."""
    told = nirred_describe(headers)
    if told.role != "science" or headers.image is None:
        return None
    if told.ra is None or told.dec is None or told.pixel_scale is None or told.position_angle is None:
        return None
    ny, nx = headers.image.shape[-2:]
    center = (nx - 1) / 2, (ny - 1) / 2
    wcs = api.wcs_from_pointing(told.ra, told.dec, told.pixel_scale, told.position_angle, center=center)
    return (api.PlaneWcs(wcs, POINTING_ERROR, "pointing"),)


@hookimpl
def nirred_calibration_rules() -> Iterable[api.CalibrationRule]:
    """Darks by exposure time, flats by optics, one mask for all; only the flat is required."""
    image, flat, made = frozenset({"NIRC2", "IMAGE"}), frozenset({"FLAT"}), frozenset({"PROCESSED"})
    exposure = (Match("exposure_time", tol=0.01), Match("coadds"), Match("read_mode"))
    optics = (Match("filter_name"), Match("camera"))
    return (
        api.CalibrationRule("dark", image, exposure, "180 d", 3, optional=True, not_tags=made | flat),
        api.CalibrationRule("flat", image, optics, "180 d", not_tags=made | flat),
        api.CalibrationRule("lampoff_flat", image | flat, optics, "7 d", 3, optional=True, remark_beyond="1 d"),
        api.CalibrationRule("bpm", image, (Match("instrument"),), optional=True, before_only=True),
        api.CalibrationRule("bpm_dark", image | flat, (), "180 d", 3, optional=True, not_tags=made),
    )


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Images are sharp and the field is small: dithers of an arcsec are enough for the sky."""
    return {"distance": 0.5} if step == "associate_sky" else {}


def raw_headers(exposure: api.SimulatedExposure) -> Sequence[dict[str, object]]:
    """The header of a simulated raw frame; RA and DEC are those of the telescope, offsets included."""
    (ra, dec), kind, start = exposure.wcs[0].crval, exposure.kind, exposure.start
    what = {"OBJECT": "domeflat" if "lamp" in kind else exposure.target, "ITIME": exposure.settings.exposure_time}
    light = {"SHRNAME": "closed" if "dark" in kind else "open", "FLSPECTR": "on" if kind == "lamp_on" else "off"}
    when = {"DATE-OBS": f"{start:%Y-%m-%d}", "EXPSTART": f"{start:%H:%M:%S.%f}", "AIRMASS": exposure.airmass}
    where = {"RA": ra, "DEC": dec, "RAOFF": ra - exposure.target_ra, "DECOFF": dec - exposure.target_dec}
    return [{**RAW, **what, **light, **when, **where}]


@hookimpl
def nirred_simulation() -> api.Simulation:
    """The wide camera in Ks with laser guide star adaptive optics in average conditions."""
    noise = READ_NOISE / math.sqrt(RAW["MULTISAM"])
    detector = api.SimulatedDetector((1024, 1024), GAIN, noise, saturation=SATURATION, non_linear=NON_LINEAR)
    times = {"object": 80.0, "dark": 80.0, "short_dark": 2.0, "lamp_on": 4.5}
    return api.Simulation(
        instrument="nirc2",
        detectors=(detector,),
        pixel_scale=PIXEL_SCALE["wide"],
        settings={kind: ExposureSettings(time) for kind, time in times.items()},
        headers=raw_headers,
        file_name=lambda exposure: f"n{exposure.number:04d}.fits",
        sky_rate=280.0,
        lamp_rate=6000.0,
        fwhm=0.15,
    )
