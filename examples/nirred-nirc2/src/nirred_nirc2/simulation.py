"""NIRC2 as the simulator sees it: wide camera, Ks, one plane in the primary, no world coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from nirred.plugin.simulation import ExposureSettings, SimulatedDetector, SimulatedExposure, Simulation

from . import GAIN, NON_LINEAR, PIXEL_SCALE, READ_NOISE, SATURATION

READS = 16


def simulation() -> Simulation:
    """The camera behind laser-guided adaptive optics in ordinary weather."""
    detector = SimulatedDetector(
        (1024, 1024), GAIN, READ_NOISE / READS**0.5, 0.1, saturation=SATURATION, non_linear=NON_LINEAR
    )
    return Simulation(
        instrument="nirc2",
        detectors=(detector,),
        pixel_scale=PIXEL_SCALE["wide"],
        settings={
            "object": ExposureSettings(80.0),
            "dark": ExposureSettings(80.0),
            "short_dark": ExposureSettings(2.0),
            "lamp_on": ExposureSettings(4.5),
        },
        headers=headers,
        file_name=lambda exposure: f"n{exposure.number:04d}.fits",
        sky_rate=280.0,
        lamp_rate=6000.0,
        fwhm=0.15,
    )


def headers(exposure: SimulatedExposure) -> Sequence[dict[str, object]]:
    """The one header of a raw frame; RA and DEC are the telescope's, offsets included."""
    ra, dec = exposure.wcs[0].crval
    time, end = exposure.start, exposure.start + timedelta(seconds=exposure.settings.exposure_time)
    lamp = exposure.kind == "lamp_on"
    names = {"dark": "dark", "short_dark": "dark", "lamp_on": "domeflat", "lamp_off": "domeflat"}
    return [
        {
            "CURRINST": "NIRC2",
            "TELESCOP": "Keck II",
            "OBJECT": names.get(exposure.kind, exposure.target),
            "IMAGETYP": "data",
            "ITIME": exposure.settings.exposure_time,
            "COADDS": exposure.settings.coadds,
            "SAMPMODE": 3,
            "MULTISAM": READS,
            "GAIN": 4,
            "DATE-OBS": f"{time:%Y-%m-%d}",
            "EXPSTART": f"{time:%H:%M:%S.%f}"[:-3],
            "EXPSTOP": f"{end:%H:%M:%S.%f}"[:-3],
            "CAMNAME": "wide",
            "FILTER": "Ks + clear",
            "GRSNAME": "clear",
            "SLITNAME": "none",
            "SHRNAME": "closed" if "dark" in exposure.kind else "open",
            "FLSPECTR": "on" if lamp else "off",
            "FLIMAGIN": "off",
            "AIRMASS": round(exposure.airmass, 5),
            "RA": ra,
            "DEC": dec,
            "RAOFF": ra - exposure.target_ra,
            "DECOFF": dec - exposure.target_dec,
            "ROTPOSN": 0.7 + exposure.position_angle,
            "INSTANGL": 0.7,
        }
    ]
