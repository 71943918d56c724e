"""With what the pixels of a frame are calibrated: response, dark, flat and static mask, cut to what was read out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .algorithms.response import CalibrationInputs, LinearityCurve
from .blame import blamed
from .dq import DQ
from .errors import StepError
from .frame import Plane
from .group import FrameSetup, Group
from .plan.model import FrameInfo
from .states import BAD

if TYPE_CHECKING:
    from .plugin.frames import Detector, Linearity
    from .results import StaticMask

#: A flat below this is invalid: the pixel is not illuminated.
FLAT_FLOOR = 0.01


def calibration_inputs(group: Group, info: FrameInfo, p: int, shape: tuple[int, int]) -> CalibrationInputs:
    """Collect the inputs of the fused pass for plane `p` of a frame, according to the frame steps' settings.

    Parameters
    ----------
    group : Group
        Its `setup` is complete.
    info : FrameInfo
        The frame.
    p : int
        Number of the plane.
    shape : (ny, nx)
        Of the frame's plane.

    Raises
    ------
    StepError
        A dark, flat or mask does not fit the frame, or its linearity curve needs an exposure time.
    PluginError
        The plugin's linearity curve cannot be used.
    """
    setup, detector, in_adu = group.setup, info.detectors[p], group.unit == "adu"
    curve = detector.linearity if setup.linearity else None
    needed = setup.electrons or (in_adu and (setup.variance or curve is not None))
    gain = info.gain(p) if needed else 1.0
    seconds = info.descriptors.exposure_time or 0.0
    if (
        curve is not None
        and any(curve.time_delta)
        and seconds / max(detector.coadds, 1) + min(*curve.time_delta, 0) <= 0
    ):
        what = f"{info.name}: its linearity curve needs an exposure time; the header says {seconds:g} s"
        raise StepError(what, "correct the header, leave it out (--exclude), or -p nonlinearity_correct:skip=True")
    response = _curve(group, info, detector, curve) if curve else None
    if response is not None and in_adu:
        response = _of_counts(response, gain)
    dark = _fitting(group, setup.dark, p, shape, "dark")
    flat = _fitting(group, setup.flat, p, shape, "flat")
    return CalibrationInputs(
        gain=gain if setup.electrons else 1.0,
        coadds=detector.coadds,
        exposure_per_coadd=seconds / max(detector.coadds, 1),
        linearity=response,
        saturation=detector.saturation if setup.levels else None,
        non_linear=detector.non_linear if setup.levels else None,
        dark=None if dark is None else dark.data,
        dark_variance=None if dark is None else dark.var,
        dark_scale=setup.dark_scale,
        flat_reciprocal=None if flat is None else reciprocal(flat),
        static_dq=_static_dq(setup, p, shape, dark, flat, detector),
        electrons=gain if in_adu else 1.0,
    )


def _fitting(group: Group, planes: list[Plane] | None, p: int, shape: tuple[int, int], kind: str) -> Plane | None:
    if planes is None:
        return None
    named = f"the {kind} {group.calibrations[kind].name}" if kind in group.calibrations else f"the {kind}"
    if p >= len(planes):
        raise StepError(
            f"{named} has {len(planes)} plane{'s' * (len(planes) > 1)}, the frames have more",
            f"give another --user-cal {kind}:FILE",
        )
    plane = planes[p]
    if plane.data.shape == shape:
        return plane
    cut = _part_read(group.frames[0].info.detectors[p], shape, plane.data.shape)
    if cut is not None:
        return Plane(plane.data[cut], plane.dq[cut], None if plane.var is None else plane.var[cut])
    raise StepError(
        f"{named} is {plane.data.shape[1]} x {plane.data.shape[0]}, the frames {shape[1]} x {shape[0]}",
        f"give another --user-cal {kind}:FILE",
    )


def _part_read(detector: Detector, shape: tuple[int, ...], whole: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Where in a calibration of the whole array the section lies that frames have; None: it is not known to hold it."""
    section = detector.section
    if section is None or section.shape != shape or whole[0] < section.y2 or whole[1] < section.x2:
        return None
    return section.pixels


def _curve(group: Group, info: FrameInfo, detector: Detector, linearity: Linearity) -> LinearityCurve:
    with blamed(group.context.registry.package(info.owner), f"linearity of {info.name}"):
        found = linearity.coefficients() if callable(linearity.coefficients) else linearity.coefficients
        terms = np.asarray(found, np.float64)
        if linearity.per == "pixel" and terms.shape[1:] != detector.shape:
            raise ValueError(
                f"coefficients of shape {terms.shape}, wanted: (terms, {', '.join(map(str, detector.shape))})"
            )
        deltas = np.asarray(linearity.time_delta, np.float64)
        if linearity.per == "row_parity" and detector.section is not None:  # even and odd on the whole detector
            terms, deltas = (np.roll(sets, -detector.section.y1, axis=0) for sets in (terms, deltas))
        return LinearityCurve(terms, tuple(deltas.tolist()), linearity.valid_to)


def _of_counts(curve: LinearityCurve, gain: float) -> LinearityCurve:
    """The same curve from ADU per coadd to ADU per coadd, of `gain` electrons each."""
    powers = gain ** np.arange(curve.coefficients.shape[0 if curve.per_pixel else 1])
    terms = curve.coefficients * (powers[:, None, None] if curve.per_pixel else powers)
    return LinearityCurve(terms, curve.time_delta, curve.valid_to / gain)


def flat_fault(flat: Plane) -> np.ndarray:
    """Bool (ny, nx): True where the flat is invalid."""
    with np.errstate(invalid="ignore"):
        return ~(flat.data > FLAT_FLOOR)


def reciprocal(flat: Plane) -> np.ndarray:
    """float32 (ny, nx): 1/flat, 0 where the flat is invalid."""
    out = np.zeros(flat.data.shape, np.float32)
    np.divide(1.0, flat.data, out=out, where=~flat_fault(flat))
    return out


def _static_dq(
    setup: FrameSetup, p: int, shape: tuple[int, int], dark: Plane | None, flat: Plane | None, detector: Detector
) -> np.ndarray | None:
    merged = np.zeros(shape, np.uint16)
    for mask in setup.masks:
        if p >= len(mask.planes):
            has = f"{len(mask.planes)} plane{'s' * (len(mask.planes) > 1)}"
            raise StepError(f"the mask {mask.name} has {has}, the frames have more", "give one for each plane")
        merged |= _cut_mask(mask, p, shape, detector)
    keep = np.uint16(BAD)
    for plane in (dark, flat):
        if plane is not None:  # more dark, or lamp, than a well holds: nothing is known of the rest, or of the response
            full = (plane.dq & np.uint16(DQ.SATURATED)) != 0
            merged |= np.where(full, plane.dq & keep | np.uint16(DQ.BAD_PIXEL), plane.dq & keep)
    if flat is not None:
        merged |= np.where(flat_fault(flat), np.uint16(DQ.UNILLUMINATED), np.uint16(0))
    # a curve with a time for each set of rows needs a plane that tells how many rows there are
    several = detector.linearity is not None and len(detector.linearity.time_delta) > 1
    return merged if several or merged.any() else None


def _cut_mask(mask: StaticMask, p: int, shape: tuple[int, int], detector: Detector) -> np.ndarray:
    flags = mask.planes[p]
    if flags.shape == shape:
        return flags
    cut = _part_read(detector, shape, flags.shape)
    if cut is not None:
        return flags[cut]
    raise StepError(
        f"the mask {mask.name} is {flags.shape[1]} x {flags.shape[0]}, the frames {shape[1]} x {shape[0]}",
        "give a mask of that size",
    )
