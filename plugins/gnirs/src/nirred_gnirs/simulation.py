"""The GNIRS keyhole for the simulator: short blue camera, J, faint-object reads, shallow well."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from nirred.plugin.gemini import simulated
from nirred.plugin.simulation import ExposureSettings, SimulatedDetector, SimulatedExposure, Simulation

from . import detector
from .headers import SCALES
from .keyhole import SHAPE, Keyhole, keyhole

if TYPE_CHECKING:
    from nirred.plugin import Section

ARRAY = "SN7638228.1.2"
CAMERAS = {"ShortBlue": "ShortBlue_G5540", "LongBlue": "LongBlue_G5542", "LongRed": "LongRed_G5543"}
# Wheel positions (FILTER1, FILTER2) and wavelength, Angstrom.
FILTERS = {
    "J": ("Open", "J_G0517", 12500.0),
    "K": ("Open", "K_G0515", 22200.0),
    "YPHOT": ("YPHOT_G0544", "Open", 11000.0),
}
BIAS = {detector.SHALLOW: -0.2788, detector.DEEP: -0.561339}  # V
READS = {detector.FAINT: (16, 16), detector.BRIGHT: (1, 16)}
FIELD = 98.0  # arcsec, length of the bar
DITHER = 2.2  # arcsec: the bar is 9.6 wide
DARKS_BEFORE = 15.0  # days


def simulation(
    camera: str = "ShortBlue", filter_name: str = "J", mode: str = detector.FAINT, size: int | None = None
) -> Simulation:
    """Simulation of GNIRS, or of `size` x `size` pixels round the centre of the keyhole."""
    found = keyhole(CAMERAS[camera], filter_name)
    if found is None:
        raise ValueError(f"no keyhole is known for {camera} with {filter_name}")
    scale, section = SCALES[camera], _section(found, size)
    # The telescope points at the centre of the keyhole.
    middle = (section.x1 + section.x2 - 1) / 2 - found.x, (section.y1 + section.y2 - 1) / 2 - found.y
    noise, well, share = detector.levels(ARRAY, mode, detector.SHALLOW) or (0.0, 0, 0.0)
    curve = detector.linearity(ARRAY, mode, detector.SHALLOW)
    full = int(well / detector.GAIN)
    truth = SimulatedDetector(
        shape=section.shape,
        gain=detector.GAIN,
        read_noise=noise,
        dark_current=0.15,
        saturation=float(full),
        non_linear=float(int(share * full)),
        linearity=_row_sets(curve.coefficients, section.y1) if curve else ((1.0,),),  # type: ignore[arg-type]
        time_delta=curve.time_delta if curve else (0.0,),
        illuminated=partial(_lit, found, section),
        sky_position=(middle[0] * scale, middle[1] * scale),
    )

    def settings(exposure_time: float) -> ExposureSettings:
        return ExposureSettings(exposure_time, 1, filter_name, mode)

    return Simulation(
        instrument="gnirs",
        detectors=(truth,),
        pixel_scale=scale,
        settings={
            "object": settings(60.0),
            "dark": settings(60.0),
            "lamp_on": settings(4.0),
            "standard": settings(10.0),
        },
        headers=partial(headers, camera=CAMERAS[camera], section=section),
        file_name=file_name,
        sky_rate=45.0 * (scale / SCALES["ShortBlue"]) ** 2,
        lamp_rate=5000.0,
        lamp_off_rate=40.0,
        bitpix=-32,
        parity=1,
        angle=90.0,
        field=FIELD,
        dither=DITHER,
        scenario="dither",
        frames=9,
        density=1000.0,
        darks_before=DARKS_BEFORE,
        resized=lambda other: simulation(camera, filter_name, mode, other),
    )


def _section(found: Keyhole, size: int | None) -> Section:
    """The whole array, or a square of it round the centre of the keyhole."""
    from nirred.plugin import Section

    ny, nx = SHAPE
    if size is None or size > ny:
        return Section(0, nx, 0, ny)
    x, y = min(max(round(found.x) - size // 2, 0), nx - size), min(max(round(found.y) - size // 2, 0), ny - size)
    return Section(x, x + size, y, y + size)


def _row_sets(curves: Sequence[tuple[float, ...]], first_row: int) -> tuple[tuple[float, ...], ...]:
    """Response curves in row order, starting with the first row of a section."""
    return tuple(curves[(first_row + i) % len(curves)] for i in range(len(curves)))


def _lit(found: Keyhole, section: Section, shape: tuple[int, int]) -> np.ndarray:
    """Illuminated pixels of the section."""
    return found.lit()[section.pixels]


def file_name(exposure: SimulatedExposure) -> str:
    """File name from date and running number."""
    return simulated.file_name(exposure, simulated.NORTH)


def headers(exposure: SimulatedExposure, camera: str, section: Section) -> Sequence[dict[str, object]]:
    """Primary and extension keywords of a raw GNIRS frame; only the primary has a WCS."""
    first = {
        "INSTRUME": "GNIRS",
        **simulated.primary(exposure, simulated.NORTH),
        **_instrument(exposure, camera),
        **simulated.world(exposure.wcs[0]),
    }
    second: dict[str, object] = {
        "DROINUM": 0,
        "LOWROW": 0,
        "LOWCOL": 0,
        "HIROW": 1023,
        "HICOL": 1023,
        "FRMNAME": file_name(exposure).removesuffix(".fits") + ":0",
        "FRAMEID": "0",
        "DATATYPE": "",
    }
    if section.shape != SHAPE:
        second["DETSEC"] = section.iraf
    return [first, second]


def _instrument(exposure: SimulatedExposure, camera: str) -> dict[str, object]:
    settings = exposure.settings
    first, second, wavelength = FILTERS[settings.filter]
    dark = exposure.kind in simulated.DARKS
    reads, averages = READS[settings.read_mode]
    return {
        "XOFFSET": -exposure.offset_q,
        "YOFFSET": exposure.offset_p,
        "WAVELENG": wavelength,
        "INPORT": 3,
        "ARRAYID": ARRAY,
        "ARRAYTYP": "ALADDIN_III_1024",
        "DETBIAS": BIAS[detector.SHALLOW],
        "FILTER1": "Dark_G0511" if dark else first,
        "FILTER2": second,
        "CAMERA": camera,
        "SLIT": "0.30arcsec_G5530" if dark else "Acq_G5530",
        "DECKER": "SCLong_G5531" if dark else "Acq_G5531",
        "GRATING": "32/mmSB_G5533",
        "GRATWAVE": wavelength / 1e4,
        "GRATORD": 5,
        "PRISM": "MIR_G5537",
        "ACQMIR": "Out" if dark else "In",
        "COVER": "Closed" if dark else "Open",
        "MJD_OBS": simulated.mjd(exposure.start),
        "UCODENAM": "gnAIII_1024xSU01_4u",
        "COADDS": settings.coadds,
        "EXPTIME": settings.exposure_time,
        "LNRS": reads,
        "NDAVGS": averages,
        **simulated.lamp(exposure),
    }
