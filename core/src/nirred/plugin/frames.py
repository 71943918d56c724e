"""Dataclasses that describe one frame: claim, exposures, descriptors, detectors, world coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from .coordinates import AnyWcs

Role = Literal[
    "science", "sky", "standard", "acquisition", "dark", "bias", "lamp_on", "lamp_off", "flat", "bpm", "other"
]
"""Purpose of a frame according to its header. `sky`: known to be off target. `lamp_on`/`lamp_off`: the two kinds of
frame in a differenced flat; `flat`: a flat that needs no lamp-off frame. `other`: arcs, focus frames, telemetry."""

Polygon = tuple[tuple[float, float], ...]
"""Corners on the sky: (right ascension, declination) in degrees, ICRS, in order along the outline."""


@dataclass(frozen=True)
class Claim:
    """A plugin's claim to own a frame.

    Parameters
    ----------
    instrument : str
        Name of the instrument as registered through `nirred_instruments`.
    weight : int
        The plugin with the highest weight owns the frame; a generic fallback uses -1. If two weights are equal the
        frame is ambiguous.
    unsupported : str
        If not empty: the plugin recognises the frame but cannot reduce it, for this reason ("spectrum").
    """

    instrument: str
    weight: int = 0
    unsupported: str = ""


@dataclass(frozen=True)
class Exposure:
    """One exposure in a file: its number and the location of its planes.

    Parameters
    ----------
    index : int
        Zero-based number within the file.
    hdus : tuple of int
        HDU of each plane (0 = primary); empty: those given by the detectors, or all images of the file.
    plane : int or None
        Index along the slowest axis of a cube; None if the HDU is a single plane.
    """

    index: int = 0
    hdus: tuple[int, ...] = ()
    plane: int | None = None


@dataclass(frozen=True)
class Section:
    """Rectangle of pixels ``[y1:y2, x1:x2]``: zero-based, half-open.

    Parameters
    ----------
    x1, x2, y1, y2 : int
        First column and one past the last; likewise for rows.
    """

    x1: int
    x2: int
    y1: int
    y2: int

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.y2 - self.y1, self.x2 - self.x1

    @property
    def pixels(self) -> tuple[slice, slice]:
        """Index of its pixels in an array: (rows, columns)."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)

    @property
    def iraf(self) -> str:
        """IRAF notation, one-based and inclusive: '[1:1024,1:1024]'."""
        return f"[{self.x1 + 1}:{self.x2},{self.y1 + 1}:{self.y2}]"

    def __str__(self) -> str:
        return f"Section(x1={self.x1}, x2={self.x2}, y1={self.y1}, y2={self.y2})"


@dataclass(frozen=True)
class Linearity:
    """Response curve of a detector, in electrons per coadd.

    Parameters
    ----------
    coefficients : tuple of tuple of float, or callable returning an array
        Terms of corrected = c1 x + c2 x^2 + c3 x^3 ..., one tuple per row set. For ``per="pixel"`` a callable that
        returns float32 (terms, ny, nx).
    per : {"whole", "row_parity", "pixel"}
        One curve; one each for even and odd detector rows (counted from 0 on the whole detector); one per pixel.
    time_delta : tuple of float
        Integration time in seconds that the header does not include, of each row set or of all. The corrected signal
        is multiplied by t / (t + time_delta), where t is the exposure time of one coadd.
    valid_to : float
        Highest signal, in electrons per coadd, for which the curve was measured.
    """

    coefficients: tuple[tuple[float, ...], ...] | Callable[[], np.ndarray]
    per: Literal["whole", "row_parity", "pixel"] = "whole"
    time_delta: tuple[float, ...] = (0.0,)
    valid_to: float = math.inf


@dataclass(frozen=True)
class Amplifier:
    """Part of a detector with its own readout chain, whose level may drift independently.

    Parameters
    ----------
    name : str
        Used in messages.
    section : Section
        Its pixels in the plane.
    """

    name: str
    section: Section


@dataclass(frozen=True)
class Detector:
    """Properties of one plane of a frame, used to calibrate its pixels.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane's pixels.
    gain : float or None
        e-/ADU. None: unknown for this mode; the frame cannot be converted to electrons and is rejected with a message.
        If the file holds the mean of the coadds (ESO's NDIT), the gain of one coadd times their number: electrons are
        those of the whole exposure.
    read_noise : float or None
        e- of one exposure, with all its coadds: grows as the root of their number, summed or averaged.
    saturation, non_linear : float or None
        Levels in ADU, as the file holds them: of all coadds if they are summed, of one if they are averaged.
    coadds : int
        Number of coadds, summed or averaged.
    name : str
        Used in messages if there are several detectors.
    hdu : int or None
        Number of the HDU that holds the plane; None: planes are the images of the file, in order.
    section : Section or None
        Position on the physical detector; None: the whole detector.
    epoch : str
        Identifies the physical detector and controller; calibrations of another epoch never match.
    amplifiers : tuple of Amplifier
        Parts whose levels drift independently.
    crosstalk : tuple of (int, int, float)
        (from amplifier, to amplifier, coefficient). Only for steps of the plugin; no core step corrects crosstalk.
    linearity : Linearity or None
        Response curve; None: no correction, which is recorded in LINCORR.
    """

    shape: tuple[int, int]
    gain: float | None
    read_noise: float | None
    saturation: float | None = None
    non_linear: float | None = None
    coadds: int = 1
    name: str = ""
    hdu: int | None = None
    section: Section | None = None
    epoch: str = ""
    amplifiers: tuple[Amplifier, ...] = ()
    crosstalk: tuple[tuple[int, int, float], ...] = ()
    linearity: Linearity | None = None


def _plane_wcs(make: Any, state: dict[str, Any], sigma: float, origin: Any) -> PlaneWcs:
    return PlaneWcs(make(state), sigma, origin)


@dataclass(frozen=True)
class PlaneWcs:
    """World coordinates of one plane and their expected error.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or TangentWcs
        Celestial, two axes, ICRS or FK5 (J2000).
    sigma_arcsec : float
        1-sigma pointing error of one frame relative to its neighbours.
    origin : {"header", "pointing", "rebuilt"}
        Read from the header; made from the telescope's pointing; or rebuilt by the planner.
    """

    wcs: AnyWcs
    sigma_arcsec: float = 1.0
    origin: Literal["header", "pointing", "rebuilt"] = "header"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the WCS without loss; astropy pickles it as header cards, which are rounded."""
        from .coordinates import wcs_from_state, wcs_state

        state = wcs_state(self.wcs)
        if state is None:
            return PlaneWcs, (self.wcs, self.sigma_arcsec, self.origin)
        return _plane_wcs, (wcs_from_state, state, self.sigma_arcsec, self.origin)


@dataclass(frozen=True)
class Descriptors:
    """Metadata of a frame under nirred's common names. None: the header does not give the value.

    Pixels are calibrated with the numbers of `Detector`; those given here serve users' conditions and rules.

    Parameters
    ----------
    instrument : str
        Name of the camera as users write it in conditions ("F2"). Calibrations are matched by that of the `Claim`.
    role : Role
        Purpose of the frame; the planner sorts frames by it.
    object : str
        Name of the target. Without target coordinates, frames with the same name form one target. Frames called sky
        or blank that are close to a target in time and position are used as its sky.
    observation_type, observation_class, observation_id, program_id, data_label : str
        As written by the observatory; for users' conditions and messages.
    sequence_id : str
        Identifies frames taken in one sequence; their coordinates are checked against each other.
    ut_datetime, ut_end : datetime
        Start and end of the exposure; if the end is missing, `exposure_time` after the start.
    exposure_time : float
        Total exposure time of all coadds in seconds, whether they are summed or averaged.
    coadds : int
        Number of coadds, summed or averaged.
    filter_name, filter_pretty : str
        Full name, which differs whenever frames need different flats; and the common name, for titles and FILTER.
    band : str
        Photometric band: J, H, K ...
    camera : str
        Plate scale or optics in the beam.
    read_mode, well_depth_setting : str
        Readout settings that affect dark and response. If a rule compares one and the frame does not give it, nothing
        matches (except with `Match.or_unstated`).
    gain : float
        e-/ADU.
    read_noise : float
        e- of one exposure.
    saturation_level, non_linear_level : float
        ADU of one exposure.
    pixel_scale : float
        arcsec per pixel.
    position_angle : float
        Angle of the y axis from north through east, degrees.
    airmass : float
        At or near the middle of the exposure.
    ra, dec : float
        Pointing of the frame, degrees; for users' conditions (the planner uses `nirred_wcs`).
    target_ra, target_dec : float
        Position of the target, without the telescope's offsets, degrees. Frames that share it have the same target;
        the pointing nearest to it is on target.
    detector_x_offset, detector_y_offset : float
        Telescope offsets in pixels, positive if sources move towards higher x (y).
    guiding : bool
        False: unguided, hence a sky frame.
    qa_state : str
        The observatory's quality assessment; a calibration with "Fail" is never used.
    configuration : tuple of (str, value)
        All settings that frames of one group must share: filter, camera, read mode ...
    extra : mapping
        Other values, by name. The planner uses `expected_ra` and `expected_dec` (degrees: the WCS reference position
        computed from target and offsets), `wcs_check` (False: do not check), `wcs_flipped` (bool: mirrored),
        `field_diameter` (pixels, if the lit field is a disc) and `master` (dark or flat, if the file is a master made
        by the observatory's own software).
    pretty : mapping
        Readable forms of names that include component ids. `get` reads both mappings; values of `extra` are also
        attributes.
    """

    instrument: str = ""
    role: Role = "other"
    object: str | None = None
    observation_type: str | None = None
    observation_class: str | None = None
    observation_id: str | None = None
    program_id: str | None = None
    data_label: str | None = None
    sequence_id: str | None = None
    ut_datetime: datetime | None = None
    ut_end: datetime | None = None
    exposure_time: float | None = None
    coadds: int = 1
    filter_name: str | None = None
    filter_pretty: str | None = None
    band: str | None = None
    camera: str | None = None
    read_mode: str | None = None
    well_depth_setting: str | None = None
    gain: float | None = None
    read_noise: float | None = None
    saturation_level: float | None = None
    non_linear_level: float | None = None
    pixel_scale: float | None = None
    position_angle: float | None = None
    airmass: float | None = None
    ra: float | None = None
    dec: float | None = None
    target_ra: float | None = None
    target_dec: float | None = None
    detector_x_offset: float | None = None
    detector_y_offset: float | None = None
    guiding: bool | None = None
    qa_state: str | None = None
    configuration: tuple[tuple[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    pretty: Mapping[str, Any] = field(default_factory=dict)

    def get(self, name: str, default: Any = None, *, pretty: bool = False) -> Any:
        """Value of a descriptor by name, from the fields or `extra`; `pretty` prefers the readable form."""
        if pretty and name in self.pretty:
            return self.pretty[name]
        if name in FIELD_NAMES:
            return getattr(self, name)
        return self.extra.get(name, default)

    def __getattr__(self, name: str) -> Any:
        extra = self.__dict__.get("extra") or {}
        if name in extra:
            return extra[name]
        raise AttributeError(f"no descriptor {name!r}")

    def names(self) -> list[str]:
        """All names that `get` accepts for this frame."""
        own = [n for n in FIELD_NAMES if n not in ("extra", "pretty", "configuration")]
        return own + sorted(n for n in self.extra if n not in own)


FIELD_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Descriptors))
