"""EMIR's calibration rules and the parameters in which its data differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import CalibrationRule, Match

_IMAGE = frozenset({"EMIR", "IMAGE"})
_MADE = frozenset({"PROCESSED"})

# The observatory's masters bear no setting of the read-out, and a dark is one for all exposures, per second: what they
# do not state need not match. Another detector's never match, whatever the rule says.
RULES: tuple[CalibrationRule, ...] = (
    CalibrationRule(
        "dark",
        _IMAGE,
        (Match("read_mode", or_unstated=True), Match("exposure_time", tol=0.01, or_unstated=True)),
        minimum=3,
        optional=True,
        not_tags=_MADE,
        remark_beyond="180 d",
    ),
    CalibrationRule(
        "flat",
        _IMAGE,
        (Match("filter_name", or_unstated=True),),
        not_tags=_MADE | {"FLAT"},
        remark_beyond="180 d",
    ),
    CalibrationRule("bpm", frozenset({"EMIR"}), (Match("epoch"),), optional=True, not_tags=frozenset({"BPM"})),
    # Short darks for the bad-pixel mask: any exposure; the planner takes the shortest.
    CalibrationRule("bpm_dark", _IMAGE | {"FLAT"}, (), "180 d", 3, optional=True, not_tags=_MADE),
)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "add_dq": {"latency": True, "time": 120.0},
    "make_bpm": {"dark_lo_thresh": -200.0, "dark_hi_thresh": 1500.0, "flat_lo_thresh": 0.65, "flat_hi_thresh": 1.35},
}
