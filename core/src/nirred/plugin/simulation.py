"""A plugin's description of its camera for the simulator: true detector properties, exposures, realistic headers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as _field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

ExposureKind = Literal["dark", "short_dark", "lamp_on", "lamp_off", "object", "sky", "standard", "acquisition"]
"""`short_dark`: darks for a bad-pixel mask. `sky`: off target. `standard`: a photometric standard."""


@dataclass(frozen=True)
class FlatCharacter:
    """Non-uniformity of a detector's response (all relative).

    Parameters
    ----------
    pixel_scatter : float
        Pixel-to-pixel rms.
    vignetting : float
        Loss in the corners relative to the centre.
    dust_spots : int
        Number per 1024 x 1024 pixels.
    dust_depth : float
        Largest loss in a spot.
    """

    pixel_scatter: float = 0.02
    vignetting: float = 0.12
    dust_spots: int = 5
    dust_depth: float = 0.04


@dataclass(frozen=True)
class SimulatedDetector:
    """True properties of one plane. Levels are for one coadd.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx).
    gain : float
        e-/ADU.
    read_noise : float
        e-.
    dark_current : float
        e-/s.
    saturation, non_linear : float
        ADU; raw pixels are clipped at `saturation`.
    linearity : tuple of tuple of float
        Terms of corrected = c1 x + c2 x^2 + ..., x and corrected in electrons of one coadd; one tuple per row set
        (row r uses set r modulo their number). The simulator inverts this.
    time_delta : tuple of float
        Integration time in seconds that the header does not include, per row set; the mean is used.
    bad_fraction, hot_fraction : float
        Fraction of unusable pixels (dead, very hot, noisy), and of hot pixels that a dark corrects.
    illuminated : callable or None
        shape -> boolean array, True where light falls.
    sky_position : (float, float)
        Position of the plane's centre in the focal plane, arcsec along the camera's +x and +y from the pointing.
    turn, magnification : float
        Rotation of the plane's axes relative to the camera's, degrees from x to y, and relative size of its pixels.
    axes : (float, float, float, float) or None
        Replaces both for non-square pixels: (xx, xy, yx, yy), where one pixel in x and one in y correspond to
        (xx, xy) along the camera's x and (yx, yy) along its y, in units of the camera's pixel scale.
    amplifiers : (int, int)
        Numbers of rows and columns of readout sections; each has its own zero level.
    amplifier_rms : float
        Scatter of the sections' zero levels, e-.
    amplifier_drift : float
        Scatter of each section's level between science frames, e-.
    stray_light : (float, float, float)
        Ring of stray light that bypasses the optics: height as a fraction of the sky level, radius and width (sigma)
        as fractions of half the longer side. It does not appear in flats.
    pattern_rms : float
        Fixed pattern in every frame, independent of exposure time, e-.
    flat : FlatCharacter
        Non-uniformity of the response.
    """

    shape: tuple[int, int]
    gain: float
    read_noise: float
    dark_current: float = 0.1
    saturation: float = 60000.0
    non_linear: float = 45000.0
    linearity: tuple[tuple[float, ...], ...] = ((1.0,),)
    time_delta: tuple[float, ...] = (0.0,)
    bad_fraction: float = 0.007
    hot_fraction: float = 0.003
    illuminated: Callable[[tuple[int, int]], np.ndarray] | None = None
    sky_position: tuple[float, float] = (0.0, 0.0)
    turn: float = 0.0
    magnification: float = 1.0
    axes: tuple[float, float, float, float] | None = None
    amplifiers: tuple[int, int] = (2, 2)
    amplifier_rms: float = 3.0
    amplifier_drift: float = 0.0
    stray_light: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pattern_rms: float = 4.0
    flat: FlatCharacter = FlatCharacter()


@dataclass(frozen=True)
class ExposureSettings:
    """Exposure settings of frames of one kind.

    Parameters
    ----------
    exposure_time : float
        Seconds of one coadd, exactly as in the header.
    coadds : int
        Number of coadds that are summed, or averaged (`Simulation.averaged`).
    filter, read_mode : str
        As the camera's headers name them.
    """

    exposure_time: float
    coadds: int = 1
    filter: str = ""
    read_mode: str = ""


@dataclass(frozen=True)
class SimulatedWcs:
    """World coordinates of one plane as given in its header.

    Parameters
    ----------
    crpix : tuple of float
        Reference pixel, one-based.
    crval : tuple of float
        Right ascension and declination there, degrees.
    cd : tuple of float
        cd1_1, cd1_2, cd2_1, cd2_2, degrees per pixel.
    projection : str
        TAN, or ZPN with `pv`.
    pv : tuple of pairs
        (m, PV2_m): PV2_1 = 1, and PV2_3, PV2_5 ... are the radial distortion.
    """

    crpix: tuple[float, float]
    crval: tuple[float, float]
    cd: tuple[float, float, float, float]
    projection: str = "TAN"
    pv: tuple[tuple[int, float], ...] = ()

    @property
    def cards(self) -> dict[str, object]:
        """The FITS keywords, with a CD matrix."""
        found: dict[str, object] = {}
        for axis, kind in enumerate((f"RA---{self.projection}", f"DEC--{self.projection}")):
            place = {f"CRPIX{axis + 1}": self.crpix[axis], f"CRVAL{axis + 1}": self.crval[axis]}
            found |= {f"CTYPE{axis + 1}": kind, **place}
        found |= {f"PV2_{m}": value for m, value in self.pv}
        return found | dict(zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), self.cd, strict=True))


@dataclass(frozen=True)
class SimulatedExposure:
    """One raw frame to be written, with all the information for its header.

    Parameters
    ----------
    kind : str
        dark, short_dark (for a bad-pixel mask), lamp_on, lamp_off, object, sky (off target), standard (photometric) or
        acquisition.
    number : int
        Running number in the night, from 1.
    start : datetime
        UT.
    settings : ExposureSettings
    target : str
        Object's name.
    target_ra, target_dec : float
        Degrees, without offsets.
    offset_east, offset_north : float
        Arcsec from the target to the nominal pointing.
    wcs : tuple of SimulatedWcs
        One per plane, from the *nominal* pointing; the true one differs by the pointing error.
    position_angle : float
        Degrees.
    guiding : bool
    airmass : float
    observation_class : str
        science, partnerCal, dayCal, acq.
    group : int
        Number of the observation within the night; becomes an observation identifier.
    index : int
        Number of the frame within its observation, from 1.
    repeat, repeats : int
        Number of the exposure at its position, from 1, and the total number there.
    """

    kind: ExposureKind
    number: int
    start: datetime
    settings: ExposureSettings
    target: str = ""
    target_ra: float = 0.0
    target_dec: float = 0.0
    offset_east: float = 0.0
    offset_north: float = 0.0
    wcs: tuple[SimulatedWcs, ...] = ()
    position_angle: float = 0.0
    guiding: bool = True
    airmass: float = 1.0
    observation_class: str = "science"
    group: int = 1
    index: int = 1
    repeat: int = 1
    repeats: int = 1

    @property
    def offset_p(self) -> float:
        """Offset in arcsec along the position angle + 90 degrees."""
        angle = math.radians(self.position_angle)
        return self.offset_east * math.cos(angle) - self.offset_north * math.sin(angle)

    @property
    def offset_q(self) -> float:
        """Offset in arcsec along the position angle."""
        angle = math.radians(self.position_angle)
        return self.offset_east * math.sin(angle) + self.offset_north * math.cos(angle)


@dataclass(frozen=True)
class Simulation:
    """A camera to be simulated.

    Parameters
    ----------
    instrument : str
        Registered name.
    detectors : tuple of SimulatedDetector
        One per plane.
    pixel_scale : float
        Arcsec per pixel.
    settings : mapping of kind to ExposureSettings
        "dark", "lamp_on" and "object" at least. "sky" and "acquisition" fall back to "object", "lamp_off" to
        "lamp_on", "standard" to "object"; without "short_dark" no short darks are taken.
    headers : callable
        SimulatedExposure -> the keywords of the primary, then of each extension, as in the instrument's raw files
        (a value, or a tuple of value and comment). A single mapping: the only plane is in the primary.
    file_name : callable
        SimulatedExposure -> name of the raw file.
    sky_rate, lamp_rate, lamp_off_rate : float
        e-/s per pixel: the night sky, and the light on the detector with lamp on and off.
    lamp_off_kind : {"lamp_off", "dark", "none"}
        What is subtracted from lamp-on frames: shutter-closed frames, darks of the same exposure, or nothing.
    averaged : bool
        Raw pixels are the mean of the coadds, as with ESO's NDIT; False: their sum.
    bitpix : {16, 32, -32}
    third_axis : bool
        Planes are stored with an additional axis of length one.
    parity : {-1, 1}
        Sign of the WCS determinant: -1 = east left of north.
    angle : float
        Direction of +y east of north at position angle 0, degrees.
    position_angle : float
        Position angle of the simulated observations, degrees.
    fwhm : float
        Median seeing, arcsec.
    overhead : float
        Seconds between exposures.
    field : float or None
        Extent of the illuminated field along x, arcsec, to which scenarios are scaled; None: that of the first plane.
    dither : float or None
        Usual step of the dither pattern, arcsec; None: depends on scenario and field.
    density : float
        Stars per (1024 pixel)^2.
    darks_before : float
        Number of days before the night on which darks are taken; 0: the morning after it.
    projection, pv
        Distortion of the camera, as in `SimulatedWcs`.
    scenario, frames, positions
        Scenario of `nirred demo`, its number of science frames (None: that of the scenario), and the number of
        positions after which the dither pattern repeats (0: never).
    variants : mapping of str to callable
        Names of other versions of the camera (another detector), and functions that return their Simulation.
    extras : callable or None
        Night (of `nirred.testing`) -> {name below the night's directory: content, or file to link there}: other files
        that users of the camera have with their frames, made from the truth.
    resized : callable or None
        size -> the Simulation of a square sub-array as the instrument would read it; None: detectors are cropped.
    """

    instrument: str
    detectors: tuple[SimulatedDetector, ...]
    pixel_scale: float
    settings: Mapping[str, ExposureSettings]
    headers: Callable[[SimulatedExposure], Sequence[Mapping[str, object]]]
    file_name: Callable[[SimulatedExposure], str]
    sky_rate: float = 300.0
    lamp_rate: float = 10000.0
    lamp_off_rate: float = 200.0
    lamp_off_kind: Literal["lamp_off", "dark", "none"] = "lamp_off"
    bitpix: Literal[16, 32, -32] = 32
    third_axis: bool = False
    parity: Literal[-1, 1] = -1
    angle: float = 0.0
    position_angle: float = 0.0
    fwhm: float = 0.55
    overhead: float = 12.0
    field: float | None = None
    dither: float | None = None
    density: float = 330.0
    darks_before: float = 0.0
    projection: str = "TAN"
    pv: tuple[tuple[int, float], ...] = ()
    scenario: Literal["offset", "dither", "filling", "standard"] = "offset"
    frames: int | None = None
    positions: int = 0
    variants: Mapping[str, Callable[[], Simulation]] = _field(default_factory=dict)
    extras: Callable[[Any], Mapping[str, bytes | Path]] | None = None
    resized: Callable[[int], Simulation] | None = None
    averaged: bool = False

    @property
    def has_short_darks(self) -> bool:
        """Whether short darks for bad-pixel masks are taken."""
        return "short_dark" in self.settings

    def settings_for(self, kind: str) -> ExposureSettings:
        """Settings of a kind, with the fallbacks described above."""
        fallback = {"lamp_off": "lamp_on", "short_dark": "dark"}.get(kind, "object")
        return self.settings[kind] if kind in self.settings else self.settings[fallback]
