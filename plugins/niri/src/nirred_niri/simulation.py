"""NIRI for the simulator: f/6 camera, K(short), medium background, shallow well."""

from __future__ import annotations

from collections.abc import Sequence

from nirred.plugin.gemini import simulated
from nirred.plugin.simulation import ExposureSettings, SimulatedDetector, SimulatedExposure, Simulation

from . import detector

MODE, WELL_DEPTH = "Medium Background", "Shallow"
FILTERS = {
    "K(short)": ("Kshort_G0205", "open", 21500.0),
    "J": ("J_G0202", "open", 12500.0),
    "H": ("H_G0203", "open", 16500.0),
}


def simulation(size: int = 1024, filter_name: str = "K(short)") -> Simulation:
    """Simulation of NIRI, or of a centred square subarray of `size` pixels (a multiple of 256)."""
    curve, full = detector.linearity(MODE, size, WELL_DEPTH), int(detector.WELL[WELL_DEPTH] / detector.GAIN)
    coefficients = curve.coefficients if curve is not None else ((1.0, 0.0, 0.0),)
    assert not callable(coefficients)
    truth = SimulatedDetector(
        shape=(size, size),
        gain=detector.GAIN,
        read_noise=detector.read_noise(MODE),
        dark_current=0.25,
        saturation=float(full),
        non_linear=float(int(detector.NON_LINEAR * full)),
        linearity=coefficients,
        time_delta=curve.time_delta if curve is not None else (0.0,),
    )

    def settings(exposure_time: float) -> ExposureSettings:
        return ExposureSettings(exposure_time, 1, filter_name, MODE)

    return Simulation(
        instrument="niri",
        detectors=(truth,),
        pixel_scale=0.1171,
        settings={
            "object": settings(20.002),
            "dark": settings(20.002),
            "short_dark": settings(1.001),
            "lamp_on": settings(7.001),
            "standard": settings(10.005),
        },
        headers=lambda exposure: headers(exposure, size),
        file_name=file_name,
        resized=lambda other: simulation(other, filter_name),
    )


def file_name(exposure: SimulatedExposure) -> str:
    """File name from date and running number."""
    return simulated.file_name(exposure, simulated.NORTH)


def headers(exposure: SimulatedExposure, size: int = 1024) -> Sequence[dict[str, object]]:
    """Primary and extension keywords of a raw NIRI frame."""
    wcs = simulated.world(exposure.wcs[0])
    primary = {"INSTRUME": "NIRI", **simulated.primary(exposure, simulated.NORTH), **_instrument(exposure), **wcs}
    low = 512 - size // 2
    extension: dict[str, object] = {
        **wcs,
        "MJD_OBS": primary["MJD-OBS"],
        "FRAME": primary["FRAME"],
        "DROINUM": 0,
        "LOWROW": low,
        "LOWCOL": low,
        "HIROW": low + size - 1,
        "HICOL": low + size - 1,
        "FRMNAME": file_name(exposure).removesuffix(".fits") + ":0",
        "FRAMEID": "0",
        "DATATYP": "",
    }
    return [primary, extension]


def _instrument(exposure: SimulatedExposure) -> dict[str, object]:
    settings = exposure.settings
    name, second, wavelength = FILTERS[settings.filter]
    dark = exposure.kind in simulated.DARKS
    return {
        "WAVELENG": wavelength,
        "ARRAYID": "47911",
        "ARRAYTYP": "ALADDIN_II",
        "CAMERA": "f6",
        "COADDS": settings.coadds,
        "EXPTIME": settings.exposure_time,
        "FILTER1": name,
        "FILTER2": "blank" if dark else second,
        "FILTER3": "pupil38_G5207",
        "FPMASK": "f6-cam_G5208",
        "BEAMSPLT": "f6",
        "WINDCOVR": "closed" if dark else "open",
        "INPORT": 3,
        "LNRS": 1,
        "NDAVGS": 16,
        "MODE": "STARE",
        "PVIEW": "out",
        "UCODENAM": "gnAII_1024xSU01_4u",
        "UCODETYP": "RDD",
        "TDETABS": 33.086,
        "VDDUC": -3.49,
        "VDET": -2.909,
        "A_TDETAB": 33.086,
        "A_VDDUC": -3.49,
        "A_VDET": -2.89,
        "INTEGRIT": "OK",
        "CRFOLLOW": "yes",
        "TIME": simulated.clock(exposure.start),
        "MJD_OBS": simulated.mjd(exposure.start),
        **simulated.lamp(exposure),
    }
