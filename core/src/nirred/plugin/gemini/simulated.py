"""Keywords of every raw Gemini frame, for the simulations of the cameras; each camera adds its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..simulation import SimulatedExposure, SimulatedWcs

Cards = dict[str, object]

DARKS = ("dark", "short_dark")
LAMPS = ("lamp_on", "lamp_off")


@dataclass(frozen=True)
class Site:
    """One of the two telescopes: its name in headers, the letter in file names, and its time difference in hours."""

    telescope: str
    letter: str
    behind_utc: int

    @property
    def code(self) -> str:
        """GN or GS, the prefix of programme ids."""
        return f"G{self.letter}"


NORTH = Site("Gemini-North", "N", 10)
SOUTH = Site("Gemini-South", "S", 4)


def file_name(exposure: SimulatedExposure, site: Site) -> str:
    """File name from date and running number."""
    return f"{site.letter}{exposure.start:%Y%m%d}S{exposure.number:04d}.fits"


def primary(exposure: SimulatedExposure, site: Site) -> Cards:
    """Observation, telescope and times of a raw frame; darks and lamp frames are taken at zenith."""
    return {**_identity(exposure, site), **_telescope(exposure), **_times(exposure, site)}


def lamp(exposure: SimulatedExposure) -> Cards:
    """Keywords of the calibration unit for lamp frames."""
    if exposure.kind not in LAMPS:
        return {}
    shutter = "OPEN" if exposure.kind == "lamp_on" else "CLOSED"
    return {"GCALLAMP": "IRhigh", "GCALFILT": "ND2.0", "GCALDIFF": "IR", "GCALSHUT": shutter}


def world(wcs: SimulatedWcs) -> Cards:
    """The keywords of a projection with a CD matrix."""
    return wcs.cards


def clock(time: datetime) -> str:
    """Time of day to a tenth of a second."""
    return f"{time:%H:%M:%S}.{time.microsecond // 100000}"


def mjd(time: datetime) -> float:
    """Modified Julian date."""
    return (time - datetime(1858, 11, 17)) / timedelta(days=1)


def _identity(exposure: SimulatedExposure, site: Site) -> Cards:
    kind = exposure.kind
    night = f"{site.code}-CAL{exposure.start:%Y%m%d}"
    program = night if kind in DARKS else f"{site.code}-{exposure.start.year}A-Q-11"
    observation = f"{program}-{exposure.group}"
    names = {**dict.fromkeys(DARKS, "Dark"), **dict.fromkeys(LAMPS, "GCALflat")}
    types = {**dict.fromkeys(DARKS, "DARK"), **dict.fromkeys(LAMPS, "FLAT")}
    good = ("UNKNOWN", "UNKNOWN") if kind in (*DARKS, *LAMPS) else ("YES", "USABLE")
    return {
        "OBJECT": names.get(kind, exposure.target),
        "OBSTYPE": types.get(kind, "OBJECT"),
        "OBSCLASS": exposure.observation_class,
        "GEMPRGID": program,
        "OBSID": observation,
        "DATALAB": f"{observation}-{exposure.index:03d}",
        "OBSERVER": "Simulator",
        "OBSERVAT": site.telescope,
        "TELESCOP": site.telescope,
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


def _telescope(exposure: SimulatedExposure) -> Cards:
    zenith = exposure.kind in (*DARKS, *LAMPS)
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
        "AIRMASS": 1.0 if zenith else round(exposure.airmass, 3),
        "AMSTART": 1.0 if zenith else round(exposure.airmass, 3),
        "AMEND": 1.0 if zenith else round(exposure.airmass + 0.001, 3),
    }


def _times(exposure: SimulatedExposure, site: Site) -> Cards:
    start = exposure.start
    end = start + timedelta(seconds=exposure.settings.exposure_time * exposure.settings.coadds + 2.0)
    return {
        "DATE": f"{start:%Y-%m-%d}",
        "DATE-OBS": f"{start:%Y-%m-%d}",
        "TIME-OBS": clock(start),
        "UT": clock(start),
        "UTSTART": clock(start),
        "UTEND": clock(end),
        "LT": clock(start - timedelta(hours=site.behind_utc)),
        "MJD-OBS": mjd(start),
        "OBSEPOCH": round(2000.0 + (mjd(start) - 51544.5) / 365.25, 8),
    }
