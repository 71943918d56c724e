"""FLAMINGOS-2 for the simulator: f/16 camera, Y, one pair of reads."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import numpy as np

from nirred.plugin import Section
from nirred.plugin.gemini import simulated
from nirred.plugin.simulation import ExposureSettings, SimulatedDetector, SimulatedExposure, Simulation

from .detector import GAIN, LINEARITY, NON_LINEAR, READ_NOISE, SATURATION, SIZE
from .masks import CENTRE, RADIUS

FILTERS = {"Y": ("Y_G0811", 10200.0), "J": ("J_G0802", 12500.0), "H": ("H_G0803", 16500.0), "Ks": ("Ks_G0804", 21570.0)}
WARM = ("Ks",)  # bands in which the calibration unit itself glows
SCALE = 0.1792  # arcsec per pixel, of the headers' CD matrices
_EDGE = 305  # px along each axis from the array's corner to the rim of the disc, on the diagonal


def window(size: int) -> Section:
    """Square of `size` pixels near the array's corner with the same unlit fraction as the whole array."""
    low = max(0, round(_EDGE - 0.3 * size)) if size < SIZE else 0
    return Section(low, low + size, low, low + size)


def simulation(size: int = SIZE, filter_name: str = "Y") -> Simulation:
    """Simulation of the whole array, or of a window of `size` x `size` pixels across the rim of the lit disc.

    In Ks the flats are taken with the lamp off, and with darks of their own.
    """
    place = window(size)

    def lit(shape: tuple[int, int]) -> np.ndarray:
        x, y = (np.arange(size) + place.x1 - CENTRE[0]), (np.arange(size) + place.y1 - CENTRE[1])
        return np.asarray(x**2 + y[:, None] ** 2 <= RADIUS**2)

    assert not callable(LINEARITY.coefficients)
    detector = SimulatedDetector(
        shape=(size, size),
        gain=GAIN,
        read_noise=READ_NOISE[1],
        dark_current=0.3,
        saturation=float(SATURATION),
        non_linear=float(NON_LINEAR),
        linearity=LINEARITY.coefficients,
        illuminated=lit,
    )

    def settings(exposure_time: float) -> ExposureSettings:
        return ExposureSettings(exposure_time, 1, filter_name, "Bright")

    return Simulation(
        instrument="f2",
        detectors=(detector,),
        pixel_scale=SCALE,
        settings={
            "object": settings(120.0),
            "dark": settings(120.0),
            "short_dark": settings(2.0),
            "lamp_on": settings(20.0),
            "standard": settings(8.0),
        },
        headers=lambda exposure: headers(exposure, place),
        file_name=file_name,
        sky_rate=40.0,
        lamp_rate=2500.0,
        lamp_off_rate=20.0,
        lamp_off_kind="dark" if filter_name in WARM else "lamp_off",
        third_axis=True,
        angle=90.0,
        position_angle=30.0,
        resized=lambda other: simulation(other, filter_name),
    )


def file_name(exposure: SimulatedExposure) -> str:
    """File name from date and running number."""
    return simulated.file_name(exposure, simulated.SOUTH)


def headers(exposure: SimulatedExposure, place: Section) -> Sequence[dict[str, object]]:
    """Primary and extension keywords of a raw frame; the WCS has a third axis of one pixel."""
    primary = {"INSTRUME": "F2", **simulated.primary(exposure, simulated.SOUTH), **_instrument(exposure)}
    wcs = simulated.world(exposure.wcs[0])
    axes = {f"AXISLAB{i}": name for i, name in enumerate(("Xaxis", "Yaxis", "Extensions"), 1)}
    extension = {**axes, **wcs, "CD3_3": 1.0, "RADECSYS": "FK5", "MJD-OBS": primary["MJD-OBS"], "INHERIT": False}
    extension |= {"FRMNAME": " 1 of 1 ", "FRAMEID": "0", "DATATYP": "Intensity"}
    if place.shape != (SIZE, SIZE):
        extension["DETSEC"] = place.iraf
    return [primary, extension]


def _instrument(exposure: SimulatedExposure) -> dict[str, object]:
    settings = exposure.settings
    name, wavelength = FILTERS[settings.filter]
    dark = exposure.kind in simulated.DARKS
    name, second = ("Open", "DK_G0807") if dark else (name, "Open")
    ended = exposure.start + timedelta(seconds=settings.exposure_time + 5.0)
    return {
        "WAVELENG": wavelength,
        "COADDS": settings.coadds,
        "EXPTIME": settings.exposure_time,
        "LNRS": 1,
        "NREADS": 1,
        "READMODE": settings.read_mode,
        "GAIN": 4.44000005722046,
        "RDNOISE": 0.0,
        "PIXSCALE": 0.181240007281303,
        "INPORT": 5,
        "GRWLEN": 0.0,
        "GRORDER": 0,
        "DECKER": "Open",
        "DETGRADE": "Science",
        "DETID": "109",
        "DETTYPE": "Hawaii-2 2048",
        "FILTER": second if dark else name,
        "FILTER1": name,
        "FILTER2": second,
        "FOCUS": "f/16",
        "GRISM": "Open",
        "LYOT": "f/16_G5830",
        "MASKID": "00000000",
        "MASKNAME": "None",
        "MASKTYPE": "0",
        "MOSPOS": "Open",
        "TIMESYS": "UTC",
        "UTEND": simulated.clock(ended),
        "WINDOW": "Closed" if dark else "Open",
        **simulated.lamp(exposure),
        **({"GCALSHUT": "CLOSED"} if exposure.kind == "lamp_on" and settings.filter in WARM else {}),
    }
