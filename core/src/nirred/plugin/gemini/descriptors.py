"""Descriptors common to all Gemini near-infrared cameras; an `Own` holds those specific to an instrument."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..coordinates import Position
from ..frames import Descriptors, Detector, Section
from . import pointing
from .states import (
    ao_seeing,
    exposure_time,
    gcal_lamp,
    guiding,
    is_ao,
    is_in_adu,
    qa_state,
    role,
    wavefront_sensor,
    wavelength_band,
)
from .values import (
    clock,
    coadds,
    integer,
    number,
    percentile,
    stated,
    strip_id,
    text,
    ut_datetime,
    ut_span,
)

if TYPE_CHECKING:
    from datetime import datetime

    from ...headers import Headers

WAVELENGTHS: Mapping[str, float] = {
    "u": 0.3500,
    "g": 0.4750,
    "r": 0.6300,
    "i": 0.7800,
    "z": 0.9250,
    "Y": 1.0200,
    "J": 1.2500,
    "H": 1.6350,
    "K": 2.2000,
    "FeII": 1.6440,
}
"""Filter wavelengths unless the instrument gives others, micron."""

UNCHECKED = frozenset({"ARC", "BIAS", "DARK", "FLAT", "PINHOLE"})
"""Frames whose pointing means nothing."""


@dataclass(frozen=True)
class Own:
    """Values that depend on the instrument.

    Parameters
    ----------
    detectors : sequence of Detector
        One per plane.
    filter_name, filter_pretty : str or None
        With component ids, and in its common form.
    wavelengths : Mapping
        {pretty filter: micron}, which override `WAVELENGTHS`.
    zero_point : float or None
        Magnitude of 1 e-/s.
    central_wavelength : float or None
        Micron.
    pixel_scale : float or None
        Arcsec per pixel.
    shift : (float, float) or None
        Arcsec on the detector, positive if sources move towards higher x (y).
    flipped : bool
        True when +x is east of north-up +y.
    turn : float
        Added to PA to give the position angle of +y, degrees.
    rotation_centre : (float, float) or None
        Zero-based pixel about which the instrument rotates.
    wcs_check : bool
        False: the pointing of this frame must not be checked.
    trust_end : bool
        False: UTEND is known to be wrong.
    position : (float, float) or None
        Overrides the WCS centre.
    group : tuple
        Values that make up `group_id`.
    configuration : tuple of (str, Any)
        Terms of the configuration in addition to the common ones.
    """

    detectors: Sequence[Detector]
    filter_name: str | None = None
    filter_pretty: str | None = None
    wavelengths: Mapping[str, float] = field(default_factory=dict)
    zero_point: float | None = None
    central_wavelength: float | None = None
    camera: str | None = None
    disperser: str | None = None
    focal_plane_mask: str | None = None
    read_mode: str | None = None
    well_depth_setting: str | None = None
    roi: str | None = "Fixed"
    pixel_scale: float | None = None
    shift: tuple[float, float] | None = None
    flipped: bool = False
    turn: float = 0.0
    rotation_centre: tuple[float, float] | None = None
    wcs_check: bool = True
    trust_end: bool = True
    position: Position | None = None
    group: tuple[Any, ...] = ()
    configuration: tuple[tuple[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    pretty: Mapping[str, Any] = field(default_factory=dict)


def effective_wavelength(tags: frozenset[str], own: Own) -> float | None:
    """Wavelength in micron: that of the filter for an image, of the disperser for everything else."""
    if "IMAGE" not in tags:
        return own.central_wavelength
    name = own.filter_pretty or ""
    return own.wavelengths.get(name, WAVELENGTHS.get(name))


def describe(headers: Headers, tags: frozenset[str], own: Own) -> Descriptors:
    """All descriptors of a frame.

    Parameters
    ----------
    headers : Headers
        Of the file.
    tags : frozenset of str
        Its tags.
    own : Own
        The instrument's part.
    """
    when = ut_datetime(headers)
    seconds = exposure_time(headers, tags)
    _, end = ut_span(headers, when, seconds, trust_end=own.trust_end)
    aim = pointing.target(headers, when)
    here = own.position or pointing.wcs_center(headers, when) or aim or (None, None)
    if "AZEL_TARGET" in tags:  # parked in horizontal coordinates: no sky position
        here = None, None
    scale = own.pixel_scale
    dx, dy = (v / scale for v in own.shift) if own.shift is not None and scale else (None, None)
    pa = number(headers, "PA", -720.0, 720.0)
    first = own.detectors[0] if own.detectors else Detector((0, 0), None, None)
    return Descriptors(
        role=role(headers, tags, own.filter_pretty),
        **_identity(headers),
        ut_datetime=when,
        ut_end=end,
        exposure_time=seconds,
        coadds=coadds(headers),
        filter_name=own.filter_name,
        filter_pretty=own.filter_pretty,
        band=wavelength_band(effective_wavelength(tags, own)),
        camera=own.camera,
        read_mode=own.read_mode,
        well_depth_setting=own.well_depth_setting,
        gain=first.gain,
        read_noise=first.read_noise,
        saturation_level=first.saturation,
        non_linear_level=first.non_linear,
        pixel_scale=scale,
        position_angle=None if pa is None else (pa + own.turn) % 360.0 if own.turn else pa,
        airmass=number(headers, "AIRMASS", 1.0),
        ra=here[0],
        dec=here[1],
        target_ra=aim[0] if aim else None,
        target_dec=aim[1] if aim else None,
        detector_x_offset=dx,
        detector_y_offset=dy,
        guiding=guiding(headers),
        qa_state=qa_state(headers),
        configuration=_configuration(headers, own),
        extra={
            **_keywords(headers),
            **_optics(headers, tags, own),
            **_pointing(headers, tags, own, when, pa),
            **own.extra,
        },
        pretty=_pretty(headers, own),
    )


def _identity(headers: Headers) -> dict[str, Any]:
    """Identification of a frame's observation."""
    observation = text(headers, "OBSID")
    return {
        "instrument": (text(headers, "INSTRUME") or "").upper(),
        "object": text(headers, "OBJECT"),
        "observation_type": text(headers, "OBSTYPE"),
        "observation_class": stated(headers, "OBSCLASS"),
        "observation_id": observation,
        "program_id": text(headers, "GEMPRGID"),
        "data_label": text(headers, "DATALAB"),
        "sequence_id": observation,
    }


def data_section(own: Own) -> Any:
    """Whole array: a Section, or a tuple of them for several planes."""
    sections = tuple(Section(0, d.shape[1], 0, d.shape[0]) for d in own.detectors)
    return sections[0] if len(sections) == 1 else sections


def detector_section(own: Own) -> Any:
    """Place on the detector: a Section or None, or a tuple of them for several planes."""
    sections = tuple(d.section for d in own.detectors)
    return sections[0] if len(sections) == 1 else sections


def _configuration(headers: Headers, own: Own) -> tuple[tuple[str, Any], ...]:
    """Settings that must be equal among the frames of a group and its skies.

    They exclude the exposure time and the central wavelength, which for images is that of the filter, or the angle of
    an unused grating.
    """
    gains = tuple(d.gain for d in own.detectors)
    return (
        ("data_section", str(data_section(own))),
        ("detector_roi_setting", own.roi),
        ("read_mode", own.read_mode),
        ("well_depth_setting", own.well_depth_setting),
        ("gain", gains),
        ("binning", _binning(headers)),
        ("coadds", coadds(headers)),
        ("camera", own.camera),
        ("filter_name", own.filter_name),
        ("focal_plane_mask", own.focal_plane_mask),
        ("decker", stated(headers, "DECKER")),
        ("disperser", own.disperser),
        *own.configuration,
    )


def _binning(headers: Headers) -> str:
    return f"{integer(headers, 'XBIN', 1)}x{integer(headers, 'YBIN', 1)}"


def _keywords(headers: Headers) -> dict[str, Any]:
    """Descriptors that are one keyword."""
    label = text(headers, "DATALAB")
    rotator = number(headers, "CRPA", -360.0, 360.0)
    return {
        "azimuth": number(headers, "AZIMUTH"),
        "elevation": number(headers, "ELEVATIO"),
        "cass_rotator_pa": rotator,
        "calibration_key": label.replace("_stack", "") if label else None,
        "decker": stated(headers, "DECKER"),
        "slit": stated(headers, "SLIT"),
        "telescope": text(headers, "TELESCOP"),
        "observation_epoch": number(headers, "OBSEPOCH"),
        "local_time": clock(headers.get("LT")),
        "telescope_x_offset": number(headers, "XOFFSET"),
        "telescope_y_offset": number(headers, "YOFFSET"),
        "binning": _binning(headers),
        "detector_x_bin": integer(headers, "XBIN", 1),
        "detector_y_bin": integer(headers, "YBIN", 1),
        "gcal_lamp": gcal_lamp(headers),
        "wavefront_sensor": wavefront_sensor(headers),
        "ao_seeing": ao_seeing(headers),
        "is_ao": is_ao(headers),
        "is_coadds_summed": True,
        "is_in_adu": is_in_adu(headers),
        **{f"raw_{k}": percentile(headers, f"RAW{k.upper()}") for k in ("iq", "cc", "wv", "bg")},
        **{f"requested_{k}": percentile(headers, f"REQ{k.upper()}") for k in ("iq", "cc", "wv", "bg")},
    }


def _optics(headers: Headers, tags: frozenset[str], own: Own) -> dict[str, Any]:
    """Wavelengths, sections and settings of the optics."""
    effective = effective_wavelength(tags, own)
    airmass = number(headers, "AIRMASS", 1.0)
    zero, gain = own.zero_point, own.detectors[0].gain if own.detectors else None
    if zero is not None and is_in_adu(headers):
        zero = zero - 2.5 * math.log10(gain) if gain else None
    return {
        "disperser": own.disperser,
        "focal_plane_mask": own.focal_plane_mask,
        "detector_roi_setting": own.roi,
        "central_wavelength": _metres(own.central_wavelength),
        "effective_wavelength": _metres(effective),
        "wavelength_band": wavelength_band(effective),
        # The observatory gives extinction for u, g, r, i and z only; it is zero in the near infrared.
        "nominal_atmospheric_extinction": None if airmass is None else 0.0,
        "nominal_photometric_zeropoint": zero,
        "data_section": data_section(own),
        "array_section": detector_section(own),
        "detector_section": detector_section(own),
        "group_id": "_".join(str(v) for v in own.group) or text(headers, "OBSID"),
    }


def _metres(micron: float | None) -> float | None:
    """Metres, to the seven digits of a float32."""
    return None if micron is None else float(f"{micron * 1e-6:.7g}")


def _pointing(
    headers: Headers, tags: frozenset[str], own: Own, when: datetime | None, pa: float | None
) -> dict[str, Any]:
    """Values for the planner's check of the world coordinates."""
    center = pointing.wcs_center(headers, when) or (None, None)
    aim = pointing.target(headers, when)
    should = pointing.expected(aim, _telescope_offset(headers), pa) or (None, None)
    start, _ = ut_span(headers, when, None)
    return {
        "wcs_ra": center[0],
        "wcs_dec": center[1],
        "expected_ra": should[0],
        "expected_dec": should[1],
        "wcs_flipped": own.flipped,
        "wcs_check": own.wcs_check and not tags & UNCHECKED,
        "rotation_centre": own.rotation_centre,
        "ut_start": start,
        "ut_date": when.date() if when else None,
        "ut_time": when.time() if when else None,
    }


def _telescope_offset(headers: Headers) -> tuple[float, float] | None:
    p, q = number(headers, "POFFSET"), number(headers, "QOFFSET")
    return None if p is None or q is None else (p, q)


def _pretty(headers: Headers, own: Own) -> dict[str, Any]:
    names = {
        "camera": own.camera,
        "disperser": own.disperser,
        "focal_plane_mask": own.focal_plane_mask,
        "decker": stated(headers, "DECKER"),
        "slit": stated(headers, "SLIT"),
    }
    sections = {"data_section": data_section(own), "detector_section": detector_section(own)}
    iraf = {
        k: tuple(s.iraf if s else None for s in v) if isinstance(v, tuple) else v.iraf if v else None
        for k, v in {**sections, "array_section": sections["detector_section"]}.items()
    }
    return {
        **{k: strip_id(v) for k, v in names.items()},
        "filter_name": own.filter_pretty,
        **iraf,
        **own.pretty,
    }
