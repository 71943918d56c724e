"""FLAMINGOS-2's calibration rules, and step parameters whose defaults differ for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import CalibrationRule, Descriptors, Match

_IMAGE = frozenset({"F2", "IMAGE"})
_LAMP = _IMAGE | {"FLAT"}
_MADE = frozenset({"PROCESSED"})
_DARK = (Match("read_mode"), Match("coadds"), Match("exposure_time", tol=0.01))
_OPTICS = (Match("disperser"), Match("lyot_stop"), Match("filter_name"), Match("focal_plane_mask"))


def _lamp_is_on(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """Only lamp-on frames need a partner. A named function, because rules are pickled for worker processes."""
    return descriptors.role == "lamp_on"


def _needs_no_lamp(tags: frozenset[str], descriptors: Descriptors) -> bool:
    """K-band flats, whose partner is a dark: their light is the thermal emission of the calibration unit."""
    return descriptors.role == "flat"


RULES: tuple[CalibrationRule, ...] = (
    # Standards often have no darks of their exposure time: they are then reduced without, and this is reported.
    CalibrationRule("dark", _IMAGE, _DARK, "90 d", 3, optional=True, not_tags=frozenset({"FLAT", "PROCESSED"})),
    CalibrationRule("dark", _LAMP, _DARK, "90 d", 3, optional=True, not_tags=_MADE, when=_needs_no_lamp),
    CalibrationRule("flat", _IMAGE, _OPTICS, "90 d", not_tags=frozenset({"FLAT", "PROCESSED"})),
    CalibrationRule("lampoff_flat", _LAMP, _OPTICS, "7 d", 3, optional=True, remark_beyond="1 d", when=_lamp_is_on),
    # The observatory has no static mask: one is made from flats and short darks. A user's mask is accepted.
    CalibrationRule(
        "bpm",
        frozenset({"F2"}),
        (Match("instrument"), Match("binning")),
        optional=True,
        before_only=True,
        not_tags=frozenset({"BPM"}),
    ),
    # Short darks for it: any exposure time and read mode; the planner takes the shortest.
    CalibrationRule("bpm_dark", _LAMP, (Match("binning"),), "90 d", 3, optional=True, not_tags=_MADE),
)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "make_bpm": {"dark_lo_thresh": -150.0, "dark_hi_thresh": 3050.0, "flat_lo_thresh": 0.68, "flat_hi_thresh": 1.28},
}
