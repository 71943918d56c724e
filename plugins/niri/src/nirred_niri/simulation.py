"""NIRI as the simulator sees it: f/6 camera, K(short), medium background, shallow well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from nirred.plugin.simulation import (
    ExposureSettings,
    SimulatedDetector,
    SimulatedExposure,
    SimulatedWcs,
    Simulation,
)

GAIN = 12.3
WELL = 200000.0
# (gamma, eta, time_delta) of Medium Background, Shallow, by array size; other sizes have no published curve.
LINEARITY = {
    1024: (2.787629143e-07, 3.178236042e-12, 0.09442515154),
    256: (5.540988347e-07, 1.404726339e-12, 0.01029262589),
}
FILTERS = {
    "K(short)": ("Kshort_G0205", "open", 21500.0),
    "J": ("J_G0202", "open", 12500.0),
    "H": ("H_G0203", "open", 16500.0),
}
SCIENCE_PROGRAM = "GN-2026A-Q-11"
BASE_PROGRAM = "GN-CAL20260115"


def simulation(size: int = 1024, filter_name: str = "K(short)") -> Simulation:
    """NIRI, or a centred square sub-array of `size` pixels (a multiple of 256)."""
    gamma, eta, time_delta = LINEARITY.get(size, (0.0, 0.0, 0.0))
    detector = SimulatedDetector(
        shape=(size, size),
        gain=GAIN,
        read_noise=35.0,
        dark_current=0.25,
        saturation=float(int(WELL / GAIN)),
        non_linear=float(int(0.7 * int(WELL / GAIN))),
        linearity=((1.0, gamma, eta),),
        time_delta=(time_delta,),
    )

    def settings(exposure_time: float) -> ExposureSettings:
        return ExposureSettings(exposure_time, 1, filter_name, "Medium Background")

    return Simulation(
        instrument="niri",
        detectors=(detector,),
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
    """Name by date and running number."""
    return f"N{exposure.start:%Y%m%d}S{exposure.number:04d}.fits"


def headers(exposure: SimulatedExposure, size: int = 1024) -> Sequence[dict[str, object]]:
    """Primary and extension keywords of a raw NIRI frame."""
    primary: dict[str, object] = {"INSTRUME": "NIRI"}
    primary.update(_identity(exposure))
    primary.update(_telescope(exposure))
    primary.update(_instrument(exposure))
    primary.update(_times(exposure))
    primary.update(_wcs(exposure.wcs[0]))
    low = 512 - size // 2
    extension: dict[str, object] = dict(_wcs(exposure.wcs[0]))
    extension.update(
        MJD_OBS=_mjd(exposure.start),
        FRAME=primary["FRAME"],
        DROINUM=0,
        LOWROW=low,
        LOWCOL=low,
        HIROW=low + size - 1,
        HICOL=low + size - 1,
        FRMNAME=file_name(exposure).removesuffix(".fits") + ":0",
        FRAMEID="0",
        DATATYP="",
    )
    return [primary, extension]


def _is_calibration(exposure: SimulatedExposure) -> bool:
    return exposure.kind in ("dark", "short_dark", "lamp_on", "lamp_off")


def _identity(exposure: SimulatedExposure) -> dict[str, object]:
    kind = exposure.kind
    program = BASE_PROGRAM if kind in ("dark", "short_dark") else SCIENCE_PROGRAM
    observation = f"{program}-{exposure.group}"
    names = {"dark": "Dark", "short_dark": "Dark", "lamp_on": "GCALflat", "lamp_off": "GCALflat"}
    types = {"dark": "DARK", "short_dark": "DARK", "lamp_on": "FLAT", "lamp_off": "FLAT"}
    good = ("UNKNOWN", "UNKNOWN") if _is_calibration(exposure) else ("YES", "USABLE")
    return {
        "OBJECT": names.get(kind, exposure.target),
        "OBSTYPE": types.get(kind, "OBJECT"),
        "OBSCLASS": exposure.observation_class,
        "GEMPRGID": program,
        "OBSID": observation,
        "DATALAB": f"{observation}-{exposure.index:03d}",
        "OBSERVER": "Simulator",
        "OBSERVAT": "Gemini-North",
        "TELESCOP": "Gemini-North",
        "SSA": "Simulator",
        "RAWIQ": "70-percentile",
        "RAWCC": "50-percentile",
        "RAWWV": "80-percentile",
        "RAWBG": "Any",
        "RAWPIREQ": good[0],
        "RAWGEMQA": good[1],
        "REQIQ": "70-percentile",
        "REQCC": "50-percentile",
        "REQWV": "Any",
        "REQBG": "Any",
        "RELEASE": f"{exposure.start.year + 1}-{exposure.start:%m}-15",
    }


def _telescope(exposure: SimulatedExposure) -> dict[str, object]:
    zenith = _is_calibration(exposure)
    p, q = exposure.offset_p, exposure.offset_q
    guide = "guiding" if exposure.guiding and not zenith else "parked"
    return {
        "PARALLAX": 0.0,
        "RADVEL": 0.0,
        "EPOCH": 2000.0,
        "EQUINOX": 0.0 if zenith else 2000.0,
        "TRKEQUIN": 2000.0,
        "RA": 22.0 if zenith else exposure.target_ra,
        "DEC": 89.97 if zenith else exposure.target_dec,
        "ELEVATIO": 89.9993 if zenith else 70.0,
        "AZIMUTH": 75.0 if zenith else 140.0,
        "CRPA": 12.5,
        "FRAME": "AZEL_TOPO" if zenith else "FK5",
        "TRKFRAME": "FK5",
        "DECTRACK": -0.022004885202 if zenith else 0.0,
        "RATRACK": 1.00274374465 if zenith else 0.0,
        "TRKEPOCH": 0.0,
        "PMDEC": 0.0,
        "PMRA": 0.0,
        "XOFFSET": -p,
        "YOFFSET": -q,
        "POFFSET": p,
        "QOFFSET": q,
        "RAOFFSET": exposure.offset_east,
        "DECOFFSE": exposure.offset_north,
        "RATRGOFF": 0.0,
        "DECTRGOF": 0.0,
        "PA": exposure.position_angle,
        "IAA": 90.0,
        "AOFOLD": "park-pos.",
        "PWFS1_ST": "parked",
        "PWFS2_ST": guide,
        "OIWFS_ST": "parked",
        "AOWFS_ST": "parked",
        "CRFOLLOW": "yes",
        "AIRMASS": 1.0 if zenith else round(exposure.airmass, 3),
        "AMSTART": 1.0 if zenith else round(exposure.airmass, 3),
        "AMEND": 1.0 if zenith else round(exposure.airmass + 0.001, 3),
    }


def _instrument(exposure: SimulatedExposure) -> dict[str, object]:
    settings = exposure.settings
    name, second, wavelength = FILTERS[settings.filter]
    dark = exposure.kind in ("dark", "short_dark")
    cards: dict[str, object] = {
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
    }
    if exposure.kind in ("lamp_on", "lamp_off"):
        cards.update(
            GCALLAMP="IRhigh",
            GCALFILT="ND2.0",
            GCALDIFF="IR",
            GCALSHUT="OPEN" if exposure.kind == "lamp_on" else "CLOSED",
        )
    return cards


def _times(exposure: SimulatedExposure) -> dict[str, object]:
    start = exposure.start
    end = start + timedelta(seconds=exposure.settings.exposure_time * exposure.settings.coadds + 2.0)
    clock = _clock(start)
    return {
        "DATE": f"{start:%Y-%m-%d}",
        "DATE-OBS": f"{start:%Y-%m-%d}",
        "TIME-OBS": clock,
        "TIME": clock,
        "UT": clock,
        "UTSTART": clock,
        "UTEND": _clock(end),
        "LT": _clock(start - timedelta(hours=10)),
        "MJD_OBS": _mjd(start),
        "MJD-OBS": _mjd(start),
        "OBSEPOCH": round(2000.0 + (_mjd(start) - 51544.5) / 365.25, 8),
    }


def _wcs(wcs: SimulatedWcs) -> dict[str, object]:
    cd1_1, cd1_2, cd2_1, cd2_2 = wcs.cd
    return {
        "CTYPE1": "RA---TAN",
        "CRPIX1": wcs.crpix[0],
        "CRVAL1": wcs.crval[0],
        "CTYPE2": "DEC--TAN",
        "CRPIX2": wcs.crpix[1],
        "CRVAL2": wcs.crval[1],
        "CD1_1": cd1_1,
        "CD1_2": cd1_2,
        "CD2_1": cd2_1,
        "CD2_2": cd2_2,
    }


def _clock(time: datetime) -> str:
    return f"{time:%H:%M:%S}.{time.microsecond // 100000}"


def _mjd(time: datetime) -> float:
    return (time - datetime(1858, 11, 17)) / timedelta(days=1)
