"""NIRI's calibration rules, and step parameters whose defaults differ for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import CalibrationRule, Descriptors, Match

_IMAGE = frozenset({"NIRI", "IMAGE"})
_MADE = frozenset({"PROCESSED"})
_DARK = (
    Match("data_section"),
    Match("read_mode"),
    Match("well_depth_setting"),
    Match("coadds"),
    Match("exposure_time", tol=0.01),  # header values are slightly too large: 20.002 for 20 s
)
_OPTICS = (
    Match("data_section"),
    Match("well_depth_setting"),
    Match("filter_name"),
    Match("camera"),
    Match("disperser"),
)


def _lamp_is_on(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """Only lamp-on frames need a partner. A named function, because rules are pickled for worker processes."""
    return descriptors.role == "lamp_on"


def _glowing_lamp_is_on(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """From K on, dome and telescope glow as well, by an amount that changes with temperature during the night."""
    return descriptors.role == "lamp_on" and descriptors.band in ("K", "L", "M")


RULES: tuple[CalibrationRule, ...] = (
    # Standards often have no darks of their exposure time: they are then reduced without, and this is reported.
    CalibrationRule("dark", _IMAGE, _DARK, "180 d", 3, optional=True, not_tags=frozenset({"FLAT", "PROCESSED"})),
    CalibrationRule("dark", _IMAGE | {"TWILIGHT"}, _DARK, "180 d", 3, optional=True, not_tags=_MADE),
    CalibrationRule(
        "flat",
        _IMAGE,
        (*_OPTICS, Match("focal_plane_mask")),
        "180 d",
        not_tags=frozenset({"FLAT", "PROCESSED"}),
    ),
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
        frozenset({"NIRI"}),
        (Match("instrument"), Match("binning")),
        optional=True,
        before_only=True,
        not_tags=frozenset({"BPM"}),
    ),
    # Short darks for the bad-pixel mask: any exposure time; the planner takes the shortest.
    CalibrationRule(
        "bpm_dark",
        _IMAGE | {"FLAT"},
        (Match("data_section"), Match("well_depth_setting")),
        "180 d",
        3,
        optional=True,
        not_tags=_MADE,
    ),
)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "associate_sky": {"time": 900.0, "distance": 1.0},
    "add_dq": {"latency": True, "time": 120.0},
    "make_bpm": {"dark_lo_thresh": -20.0, "dark_hi_thresh": 1300.0, "flat_lo_thresh": 0.8, "flat_hi_thresh": 1.25},
}
