"""What a plugin says of one frame: claim, exposures, descriptors, detectors, world coordinates."""

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
"""What a frame is for, as far as its header tells. `sky`: known to be off target. `lamp_on`/`lamp_off`: halves of a
differenced flat; `flat`: a flat frame that needs no partner. `other`: arcs, focus frames, telemetry."""

Polygon = tuple[tuple[float, float], ...]
"""Corners on the sky: (right ascension, declination) in degrees, ICRS, in order round the outline."""


@dataclass(frozen=True)
class Claim:
    """Say that a frame is mine.

    Parameters
    ----------
    instrument : str
        Name of the instrument as registered through `nirred_instruments`.
    weight : int
        The highest weight owns the frame; a generic fallback uses -1. Equal weights make the frame ambiguous.
    unsupported : str
        Not empty: mine, but not to be reduced; the reason becomes the file's fate ("spectrum").
    """

    instrument: str
    weight: int = 0
    unsupported: str = ""


@dataclass(frozen=True)
class Exposure:
    """One exposure inside a file: its number and where its planes lie.

    Parameters
    ----------
    index : int
        Zero-based number within the file.
    hdus : tuple of int
        HDU of each plane (0 = primary); none: those that the detectors name, or all images of the file.
    plane : int or None
        Index along the slowest axis of a cube; None when the HDU is the plane.
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
        First column and the one behind the last; rows likewise.
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
    def iraf(self) -> str:
        """One-based inclusive text, '[1:1024,1:1024]'."""
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
        One curve; one each for even and odd rows of the detector (counted from 0, also in a part of it); one per pixel.
    time_delta : tuple of float
        Seconds of integration that the header leaves out, per row set (the mean is used); the corrected signal is
        multiplied by t / (t + time_delta), t the exposure of one coadd.
    valid_to : float
        Electrons per coadd up to which the curve was measured.
    """

    coefficients: tuple[tuple[float, ...], ...] | Callable[[], np.ndarray]
    per: Literal["whole", "row_parity", "pixel"] = "whole"
    time_delta: tuple[float, ...] = (0.0,)
    valid_to: float = math.inf


@dataclass(frozen=True)
class Amplifier:
    """Part of a detector read through one chain; it may drift in level on its own.

    Parameters
    ----------
    name : str
        For messages.
    section : Section
        Its pixels in the plane.
    """

    name: str
    section: Section


@dataclass(frozen=True)
class Detector:
    """One plane of a frame: the numbers that the calibration kernel is fed with.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane's pixels.
    gain : float or None
        e-/ADU. None: this mode is not known; the frame cannot be put in electrons and is refused by name.
    read_noise : float or None
        e- of one exposure, coadds included.
    saturation, non_linear : float or None
        ADU of one exposure, coadds included.
    coadds : int
        Number of summed coadds.
    name : str
        For messages, where there are several.
    hdu : int or None
        Number of the HDU that holds the plane; None: the images of the file, in order.
    section : Section or None
        Place on the physical detector; None = whole.
    epoch : str
        Which physical detector and controller: calibrations of another epoch never match.
    amplifiers : tuple of Amplifier
        Parts that drift in level on their own.
    crosstalk : tuple of (int, int, float)
        (from amplifier, to amplifier, coefficient); for a step of the plugin's own: no step of the core corrects it.
    linearity : Linearity or None
        Response curve; None: pixels stay as they are, and LINCORR says so.
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
    """World coordinates of one plane and how far they are to be trusted.

    Parameters
    ----------
    wcs : astropy.wcs.WCS or TangentWcs
        Celestial, two axes, ICRS or FK5 (J2000).
    sigma_arcsec : float
        1-sigma pointing error of one frame against its neighbours.
    origin : {"header", "pointing", "rebuilt"}
        The header's own; made from the telescope's pointing; or mended by the planner.
    """

    wcs: AnyWcs
    sigma_arcsec: float = 1.0
    origin: Literal["header", "pointing", "rebuilt"] = "header"

    def __reduce__(self) -> tuple[Any, ...]:
        """Send every bit of the WCS to another process; astropy's own way is through header cards, and rounds."""
        from .coordinates import wcs_from_state, wcs_state

        state = wcs_state(self.wcs)
        if state is None:
            return PlaneWcs, (self.wcs, self.sigma_arcsec, self.origin)
        return _plane_wcs, (wcs_from_state, state, self.sigma_arcsec, self.origin)


@dataclass(frozen=True)
class Descriptors:
    """A frame's header in the field's terms. None: the header does not say.

    Numbers that pixels are calibrated with are those of `Detector`; here they are for users' conditions and for rules.

    Parameters
    ----------
    instrument : str
        Name of the camera as registered.
    role : Role
        What the frame is for; the planner sorts frames by it.
    object : str
        Name of the target. Without target coordinates frames of one name are one target; what is called sky or blank
        near a target, in time and place, is its sky.
    observation_type, observation_class, observation_id, program_id, data_label : str
        As the observatory writes them; for users' conditions and messages.
    sequence_id : str
        Frames that the telescope took in one go: their coordinates are checked against each other.
    ut_datetime, ut_end : datetime
        Start and end of the exposure; without an end it is the start plus `exposure_time`.
    exposure_time : float
        Seconds of the whole exposure, all coadds together.
    coadds : int
        Number of summed coadds.
    filter_name, filter_pretty : str
        With all that makes a flat another one; and as people call it, for titles and the product's FILTER.
    band : str
        Photometric band: J, H, K ...
    camera : str
        Plate scale or optics in the beam.
    read_mode, well_depth_setting : str
        What dark and response depend on in the readout. Where a rule asks for one and it is not stated, nothing
        matches (`Match.or_unstated` apart).
    gain : float
        e-/ADU.
    read_noise : float
        e- of one exposure.
    saturation_level, non_linear_level : float
        ADU of one exposure.
    pixel_scale : float
        arcsec per pixel.
    position_angle : float
        Degrees of the y axis from north through east.
    airmass : float
        Of the middle of the exposure, or near it.
    ra, dec : float
        Where the frame points, degrees; for users' conditions: the planner goes by `nirred_wcs`.
    target_ra, target_dec : float
        Where the target is, without the telescope's offsets, degrees: by these frames are one target, and the pointing
        nearest to it is on target.
    detector_x_offset, detector_y_offset : float
        The telescope's offsets in pixels, positive when sources move towards higher x (y).
    guiding : bool
        False: not guided, hence a sky frame.
    qa_state : str
        The observatory's judgement; a calibration with "Fail" is never used.
    configuration : tuple of (str, value)
        All settings that frames of one group share: filter, camera, read mode ...
    extra : mapping
        What has no field here, by name. The planner knows `expected_ra` and `expected_dec` (degrees: where target and
        offsets put the WCS reference position), `wcs_check` (False: do not), `wcs_flipped` (bool: mirrored) and
        `master` (dark or flat, which the observatory's own software made).
    pretty : mapping
        The readable form of names that carry component ids. Both are reached by `get`, those of `extra` as attributes.
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
        """All names that `get` knows for this frame."""
        own = [n for n in FIELD_NAMES if n not in ("extra", "pretty", "configuration")]
        return own + sorted(n for n in self.extra if n not in own)


FIELD_NAMES: tuple[str, ...] = tuple(f.name for f in fields(Descriptors))
