"""EMIR for the simulator: F1230, ramps of 30 s, 7 positions, either detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from nirred.plugin.simulation import (
    ExposureSettings,
    SimulatedDetector,
    SimulatedExposure,
    SimulatedWcs,
    Simulation,
)

from .detector import GAIN, H2RG, HAWAII2, READ_NOISE, SATURATION, SIZE, Profile
from .tutorial import extras

SCALE = 3600 * 5.396445e-5  # arcsec per pixel, from the CD matrix
DISTORTION = ((1, 1.0), (3, 14584.8), (5, 1755295542.4))  # PV2_m of ZPN
REFERENCE = (1022.46, 1016.55)  # CRPIX
POSITIONS = 7
FIRST_NUMBER, STEP = 1877547, 6  # the observatory's running numbers increase by 4 to 6 per frame
FILTER, READ_MODE = "F1230", "RAMP"
TIMES = {"object": 29.99926, "dark": 29.99926, "short_dark": 1.99995, "lamp_on": 4.99988}
MODES = {"dark": "IMAGE_DARK", "short_dark": "IMAGE_DARK", "lamp_on": "IMAGE_FLAT", "sky": "IMAGE_SKY"}
YEARS = {HAWAII2: -8, H2RG: 0}  # simulated nights are dated 2026

# Channels and quadrants drift by this (e-) from frame to frame; the doughnut is a ring of stray light.
_PARTS = {HAWAII2: ((2, 2), 30.0), H2RG: ((1, 32), 50.0)}
DOUGHNUT = (0.05, 0.5, 0.16)


def simulation(profile: Profile = HAWAII2, size: int = SIZE) -> Simulation:
    """Simulation of EMIR with one of its detectors, or of a centred square of `size` pixels of it."""
    layout, drift = _PARTS[profile]
    if profile is H2RG:
        layout = (1, max(size // 64, 1))
    place = tuple(SCALE * ((SIZE + 1) / 2 - at) for at in REFERENCE)
    detector = SimulatedDetector(
        shape=(size, size),
        gain=GAIN,
        read_noise=READ_NOISE,
        dark_current=0.15,
        saturation=SATURATION,
        non_linear=SATURATION,
        bad_fraction=0.004,
        sky_position=(place[0], place[1]),
        amplifiers=layout,
        amplifier_drift=drift,
        stray_light=DOUGHNUT,
    )
    return Simulation(
        instrument="emir",
        detectors=(detector,),
        pixel_scale=SCALE,
        settings={kind: ExposureSettings(time, 1, FILTER, READ_MODE) for kind, time in TIMES.items()},
        headers=lambda exposure: headers(exposure, profile),
        file_name=lambda exposure: file_name(exposure, profile),
        sky_rate=250.0,
        lamp_rate=5000.0,
        lamp_off_kind="dark",
        bitpix=-32,
        parity=1,
        angle=180.055,
        fwhm=0.9,
        overhead=17.0,
        projection="ZPN",
        pv=DISTORTION,
        scenario="dither",
        frames=2 * POSITIONS,
        positions=POSITIONS,
        extras=lambda night: extras(night, profile),
        resized=lambda other: simulation(profile, other),
        variants={p.name.lower(): (lambda p=p: simulation(p, size)) for p in (HAWAII2, H2RG)},  # type: ignore[misc]
    )


def _dated(exposure: SimulatedExposure, profile: Profile) -> SimulatedExposure:
    """The exposure, moved to a year in which that detector was in use."""
    return replace(exposure, start=exposure.start.replace(year=exposure.start.year + YEARS[profile]))


def _mode(exposure: SimulatedExposure) -> str:
    return MODES.get(exposure.kind, "STARE_IMAGE")


def file_name(exposure: SimulatedExposure, profile: Profile = HAWAII2) -> str:
    """File name from running number, date of the evening and mode."""
    evening = _dated(exposure, profile).start - timedelta(hours=12)
    return f"{FIRST_NUMBER + STEP * exposure.number:010d}-{evening:%Y%m%d}-EMIR-{_mode(exposure)}.fits"


def headers(exposure: SimulatedExposure, profile: Profile = HAWAII2) -> Sequence[dict[str, object]]:
    """Keywords of a raw frame: a single header, that of the image."""
    exposure = _dated(exposure, profile)
    cards: dict[str, object] = {"INSTRUME": "EMIR", "TELESCOP": "GTC", "INSCONF": profile.uuid}
    cards |= _pattern(exposure) | _exposure(exposure) | _mechanisms()
    if _mode(exposure) in ("STARE_IMAGE", "IMAGE_SKY"):
        cards |= {"RA": _text(exposure.wcs[0].crval[0] / 15, ""), "DEC": _text(exposure.wcs[0].crval[1], "+")}
        cards |= _wcs(exposure.wcs[0])
    return [cards]


def _pattern(exposure: SimulatedExposure) -> dict[str, object]:
    n = (exposure.index - 1) // exposure.repeats
    return {
        "OBSMODE": _mode(exposure),
        "OBJECT": exposure.target or exposure.kind.replace("_", " "),
        "NOBSBLCK": exposure.group,
        "OBSBLOCK": n // POSITIONS + 1,
        "NIMGOBBL": POSITIONS,
        "IMGOBBL": n % POSITIONS + 1,
        "NEXP": exposure.repeats,
        "EXP": exposure.repeat,
        "UUID": f"00000000-0000-4000-8000-{exposure.start:%y%m%d}{exposure.number:06d}",
    }


def _exposure(exposure: SimulatedExposure) -> dict[str, object]:
    start, seconds = exposure.start, exposure.settings.exposure_time
    clock = start.replace(tzinfo=UTC).timestamp()
    return {
        "DATE-OBS": f"{start:%Y-%m-%dT%H:%M:%S}.{start.microsecond // 10000:02d}",
        "EXPTIME": seconds,
        "TSTAMP": clock,
        "TSUTC1": clock,
        "TSUTC2": clock + seconds,
        "READMODE": exposure.settings.read_mode,
        "FILTER": exposure.settings.filter,
        "GRISM": "OPEN",
        "AIRMASS": round(exposure.airmass, 4),
    }


def _mechanisms() -> dict[str, object]:
    cards: dict[str, object] = {}
    for axis, place in (("X", -205.7), ("Y", -24.4), ("Z", -463.8)):
        cards |= {f"{axis}DTU": place, f"{axis}DTU_F": 1.0, f"{axis}DTU_0": 0.0}
    return cards


def _text(value: float, sign: str) -> str:
    """Sexagesimal text."""
    ticks = round(abs(value) * 3600_000)
    lead = "-" if value < 0 else sign
    return f"{lead}{ticks // 3600_000:02d}:{ticks // 60_000 % 60:02d}:{ticks % 60_000 / 1000:06.3f}"


def _wcs(wcs: SimulatedWcs) -> dict[str, object]:
    cd1_1, cd1_2, cd2_1, cd2_2 = wcs.cd
    cards: dict[str, object] = {
        "RADESYS": "FK5",
        "CTYPE1": f"RA---{wcs.projection}",
        "CTYPE2": f"DEC--{wcs.projection}",
        "CRPIX1": wcs.crpix[0],
        "CRPIX2": wcs.crpix[1],
        "CRVAL1": wcs.crval[0],
        "CRVAL2": wcs.crval[1],
        "CD1_1": cd1_1,
        "CD1_2": cd1_2,
        "CD2_1": cd2_1,
        "CD2_2": cd2_2,
    }
    terms = dict(wcs.pv)
    return cards | {f"PV2_{m}": terms.get(m, 0.0) for m in range(1, 6 if terms else 1)}
