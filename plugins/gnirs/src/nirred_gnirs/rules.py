"""GNIRS's calibration rules, the keyhole mask, and step parameters whose defaults differ for GNIRS."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import DQ, CalibrationRule, Descriptors, MaskInput, MaskSpec, Match

_IMAGE = frozenset({"GNIRS", "IMAGE"})
_MADE = frozenset({"FLAT", "PROCESSED", "THRUSLIT"})
_DETECTOR = (Match("array_name"), Match("well_depth_setting"))
_OPTICS = (*_DETECTOR, Match("disperser"), Match("camera"), Match("filter_name"), Match("focal_plane_mask"))


def _lamp_is_on(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """Only lamp-on frames need a partner. A named function, because rules are pickled for worker processes."""
    return descriptors.role == "lamp_on"


def _glowing_lamp_is_on(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """From K on, the calibration unit and the telescope glow as well, by an amount that changes with temperature."""
    return descriptors.role == "lamp_on" and descriptors.band in ("K", "L", "M")


def _unlit(given: MaskInput, parameters: Mapping[str, Any]) -> Any:
    from .keyhole import unlit

    return unlit(given, parameters)


RULES: tuple[CalibrationRule, ...] = (
    # Keyhole images use darks like any other frame; the observatory's tables omit this. The optics do not matter to a
    # dark, whose filter keyword names the closed wheel.
    CalibrationRule(
        "dark",
        _IMAGE,
        (*_DETECTOR, Match("read_mode"), Match("coadds"), Match("exposure_time", tol=0.01), Match("data_section")),
        "90 d",
        3,
        optional=True,
        not_tags=_MADE,
    ),
    CalibrationRule("flat", _IMAGE, _OPTICS, "90 d", not_tags=_MADE),
    CalibrationRule("lampoff_flat", _IMAGE | {"FLAT"}, _OPTICS, "1 d", 3, optional=True, when=_glowing_lamp_is_on),
    CalibrationRule(
        "lampoff_flat",
        _IMAGE | {"FLAT"},
        _OPTICS,
        "7 d",
        3,
        optional=True,
        remark_beyond="1 d",
        when=_lamp_is_on,
    ),
    CalibrationRule(
        "bpm",
        frozenset({"GNIRS"}),
        (Match("instrument"), Match("binning"), Match("array_name")),
        optional=True,
        before_only=True,
        not_tags=frozenset({"BPM"}),
    ),
    # Darks for the bad-pixel mask: any exposure time and read mode; the planner takes the shortest.
    CalibrationRule(
        "bpm_dark",
        _IMAGE | {"FLAT"},
        (*_DETECTOR, Match("data_section")),
        "90 d",
        3,
        optional=True,
        not_tags=frozenset({"PROCESSED"}),
    ),
)

MASKS: tuple[MaskSpec, ...] = (
    MaskSpec(
        "gnirs_keyhole",
        int(DQ.UNILLUMINATED),
        "group",
        _IMAGE,
        _unlit,
        not_tags=frozenset({"THRUSLIT"}),
        parameters={"xshift": 0.0, "yshift": 0.0},
    ),
)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "associate_sky": {"time": 600.0, "distance": 1.0},
    "adjust_wcs_to_reference": {"first_pass": 2.0, "min_sources": 1},
    "make_bpm": {"dark_lo_thresh": -20.0, "dark_hi_thresh": 100.0, "flat_lo_thresh": 0.1, "flat_hi_thresh": 1.25},
}
