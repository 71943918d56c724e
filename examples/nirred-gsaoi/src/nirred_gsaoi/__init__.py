"""Gemini GSAOI imaging: four 2048 x 2048 arrays with gaps. An example of a third-party plugin for a mosaic camera."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import nirred.plugin as api
from nirred.plugin import Headers, Match, gemini, hookimpl, rule
from nirred.plugin.gemini import simulated
from nirred.plugin.simulation import ExposureSettings

NIRRED_API = (1, 0)
SCALE = 0.0197  # arcsec per pixel
POINTING_ERROR = 0.3  # arcsec between dithers
SATURATION, LINEAR_SHARE = 51_000.0, 0.96  # ADU per coadd: assumed, not in the header
TAGS = (
    rule(gemini.instrument("GSAOI"), "GSAOI"),
    rule(gemini.says("OBSTYPE", "DARK"), "DARK CAL", blocks="IMAGE"),
    rule(gemini.negation(gemini.says("OBSTYPE", "DARK")), "IMAGE"),
    rule(gemini.says("OBSTYPE", "FLAT"), "FLAT CAL"),
    rule(gemini.says("OBJECT", "Twilight", "TWILIGHT"), "TWILIGHT FLAT CAL"),
)
# array, gain (e-/ADU), read noise (e-); from the WCS of a real header: arcsec from the pointing to the array's centre
# along the camera's x and y, and the step of one pixel in x and in y there, in pixels of SCALE
ARRAYS = (
    ("H2RG-032-074", 2.434, 26.53, (21.99, -38.33), (0.98774, 0.00906, 0.00785, 1.00110)),
    ("H2RG-032-064", 2.010, 19.10, (-22.23, -38.53), (1.01694, 0.00942, 0.00781, 1.00094)),
    ("H2RG-032-071", 2.411, 27.24, (-21.29, 4.59), (1.01583, -0.02091, 0.01094, 1.00072)),
    ("H2RG-032-061", 2.644, 32.26, (22.72, 4.80), (0.98761, -0.01952, 0.00665, 0.99998)),
)
RAW: Mapping[str, Any] = {"INSTRUME": "GSAOI", "FILTER1": "Kshort_G1105", "FILTER2": "Clear", "INPORT": 1}
RAW = {**RAW, "READMODE": "FOWLER", "LNRS": 2, "NCCDS": 4, "COADDS": 1, "DETECTOR": "GSAOI"}


def positive(header: Mapping[str, Any], key: str) -> float | None:
    """Value of a keyword as a positive number, else None."""
    value = header.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0 < value < 1e6 else None


def filters(headers: Headers) -> tuple[str | None, str | None]:
    """Filter with and without component numbers."""
    names = [n for n in (gemini.text(headers, "FILTER1"), gemini.text(headers, "FILTER2")) if n]
    used = [n for n in names if n != "Clear"]
    readable = "&".join(gemini.strip_id(n) or "" for n in used) or "open"
    return ("&".join(used) or "open", readable) if names else (None, None)


def section(text: Any) -> api.Section | None:
    """Section in FITS notation, including amplifiers that are read backwards."""
    box = gemini.section(text)
    return api.Section(*box) if box else None


@hookimpl
def nirred_instruments() -> Iterable[api.Instrument]:
    """The one instrument: GSAOI."""
    return (api.Instrument("gsaoi", "Gemini GSAOI", "INSTRUME = GSAOI", (EXAMPLE,)),)


@hookimpl
def nirred_claim(headers: Headers) -> api.Claim | None:
    """Claim by INSTRUME."""
    if (gemini.text(headers, "INSTRUME") or "").upper() != "GSAOI":
        return None
    return api.Claim("gsaoi", unsupported=gemini.unsupported(nirred_tags(headers), headers))


@hookimpl
def nirred_tags(headers: Headers) -> frozenset[str]:
    """Tags by the rules above and those common to Gemini."""
    return gemini.frame_tags(TAGS, headers)


@hookimpl
def nirred_detectors(headers: Headers) -> Sequence[api.Detector]:
    """One detector per image, with its own gain, read noise and position."""
    found, coadds = [], gemini.coadds(headers)
    for hdu, image in gemini.planes(headers):
        amplifiers = tuple(
            api.Amplifier(str(k), box) for k in range(1, 5) if (box := section(image.get(f"AMPSEC{k}"))) is not None
        )
        detector = api.Detector(
            shape=(image.shape[-2], image.shape[-1]),
            gain=positive(image, "GAIN"),
            read_noise=positive(image, "RDNOISE"),
            saturation=SATURATION * coadds,
            non_linear=LINEAR_SHARE * SATURATION * coadds,
            coadds=coadds,
            name=str(image.get("CCDNAME", "")),
            hdu=hdu,
            epoch=str(image.get("ARRAYID", "")),
            amplifiers=amplifiers,
        )
        found.append(detector)
    return tuple(found)


@hookimpl
def nirred_wcs(headers: Headers) -> Sequence[api.PlaneWcs] | None:
    """One WCS per array."""
    if "DARK" in nirred_tags(headers):
        return None
    images = [image for _, image in gemini.planes(headers)]
    return gemini.plane_wcs(headers, gemini.ut_datetime(headers), POINTING_ERROR, images) if images else None


@hookimpl
def nirred_describe(headers: Headers) -> api.Descriptors:
    """Descriptors from the header."""
    full, readable = filters(headers)
    own = gemini.Own(
        detectors=nirred_detectors(headers),
        filter_name=full,
        filter_pretty=readable,
        wavelengths={"Kshort": 2.15, "Kprime": 2.12, "H": 1.635},
        camera="GSAOI",
        disperser="MIRROR",
        read_mode=gemini.text(headers, "READMODE"),
        pixel_scale=gemini.wcs_pixel_scale(headers, [image for _, image in gemini.planes(headers)]) or SCALE,
        flipped=gemini.number(headers, "INPORT") == 1,
        wcs_check=False,
    )
    return gemini.describe(headers, nirred_tags(headers), own)


@hookimpl
def nirred_calibration_rules() -> Iterable[api.CalibrationRule]:
    """Darks by exposure time, flats by filter, one mask for all; only the flat is required."""
    image, flat, made = frozenset({"GSAOI", "IMAGE"}), frozenset({"FLAT"}), frozenset({"PROCESSED"})
    dark = (Match("exposure_time", tol=0.01), Match("coadds"), Match("read_mode"))
    return (
        api.CalibrationRule("dark", image, dark, "180 d", 3, optional=True, not_tags=made | flat),
        api.CalibrationRule("flat", image, (Match("filter_name"),), "180 d", not_tags=made | flat),
        api.CalibrationRule("lampoff_flat", image | flat, (Match("filter_name"),), "7 d", 3, optional=True),
        api.CalibrationRule("bpm", image, (Match("instrument"),), optional=True, before_only=True),
        api.CalibrationRule("bpm_dark", image | flat, (), "180 d", 3, optional=True, not_tags=made),
    )


@hookimpl
def nirred_step_defaults(step: str) -> Mapping[str, Any]:
    """Images are sharp and the fields are small: dithers of an arcsec are enough for the sky."""
    return {"distance": 0.5} if step == "associate_sky" else {}


def raw_headers(exposure: api.SimulatedExposure) -> Sequence[dict[str, object]]:
    """The primary header and one header per array."""
    settings = exposure.settings
    primary = {**simulated.primary(exposure, simulated.SOUTH), **RAW, **simulated.lamp(exposure)}
    found: list[dict[str, object]] = [{**primary, "EXPTIME": settings.exposure_time, "COADDS": settings.coadds}]
    for wcs, (name, gain, noise, *_) in zip(exposure.wcs, ARRAYS, strict=True):
        found.append({"ARRAYID": name, "GAIN": gain, "RDNOISE": noise, **simulated.world(wcs)})
    return found


def simulation(size: int = 2048) -> api.Simulation:
    """Kshort with adaptive optics; smaller arrays lie closer together."""
    detectors = tuple(
        api.SimulatedDetector(
            (size, size), gain, noise, saturation=SATURATION, non_linear=LINEAR_SHARE * SATURATION,
            sky_position=(x * size / 2048, y * size / 2048), axes=axes,
        )
        for _, gain, noise, (x, y), axes in ARRAYS
    )  # fmt: skip
    times = {"object": 30.0, "dark": 30.0, "short_dark": 6.0, "lamp_on": 6.0}
    return api.Simulation(
        instrument="gsaoi",
        detectors=detectors,
        pixel_scale=SCALE,
        settings={kind: ExposureSettings(time) for kind, time in times.items()},
        headers=raw_headers,
        file_name=lambda exposure: simulated.file_name(exposure, simulated.SOUTH),
        sky_rate=120.0,
        lamp_rate=4000.0,
        bitpix=-32,
        parity=1,
        fwhm=0.09,
        dither=0.9,
        resized=simulation,
    )


@hookimpl
def nirred_simulation() -> api.Simulation:
    """Four arrays of full size."""
    return simulation()


CARDS = {"BITPIX": 16, "NAXIS": 0, **RAW, "OBSTYPE": "OBJECT", "OBJECT": "NGC 1851", "EXPTIME": 5.5}
EXAMPLE = "\n".join(f"{key:<8}= {value!r}" for key, value in CARDS.items())
