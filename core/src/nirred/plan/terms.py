"""Terms of a calibration rule: descriptors of a frame compared with those of a calibration."""

from __future__ import annotations

import math
from typing import Any

from ..plugin.frames import FIELD_NAMES
from ..plugin.rules import CalibrationRule, Match
from .model import FrameInfo, RuleResult
from .moments import text

#: Values that plugins use for settings not listed in their tables.
UNKNOWN = ("Unknown", "Invalid")
#: Readout settings that affect dark and response: two unstated values do not count as equal.
SETTINGS = frozenset({"read_mode", "well_depth_setting"})


def term(match: Match, frame: FrameInfo, other: FrameInfo) -> RuleResult:
    """Compare one descriptor of a frame with that of a calibration."""
    name, tol = match.descriptor, match.tol
    wanted, found = frame.descriptors.get(name), other.descriptors.get(name)
    if name not in FIELD_NAMES and not any(name in f.descriptors.extra for f in (frame, other)):
        return RuleResult(name, "a descriptor of this name", "none: is it misspelt in the rule?", False)
    if match.or_unstated and found is None:
        return RuleResult(name, f"{text(wanted)} or not stated", "not stated", True)
    if tol is None:
        if _unknown(name, wanted):
            return RuleResult(name, f"{text(wanted)} (not known from its header: matches nothing)", text(found), False)
        passed = (wanted is None and found is None) or (wanted is not None and bool(wanted == found))
        return RuleResult(name, text(wanted), text(found), passed)
    if wanted is None:
        return RuleResult(name, "any", text(found), True)
    try:
        passed = found is not None and abs(float(wanted) - float(found)) < tol
    except (TypeError, ValueError):
        passed = bool(wanted == found)
    return RuleResult(name, f"{text(wanted)} within {text(float(tol))}", text(found), passed)


def scale_term(rule: CalibrationRule, frame: FrameInfo, other: FrameInfo) -> list[RuleResult]:
    """Fails if the calibration is to be scaled by a descriptor that the frame or the calibration does not give."""
    if not rule.scale_by or scale_of(rule, frame, other) is not None:
        return []
    wanted, found = (text(f.descriptors.get(rule.scale_by)) for f in (frame, other))
    return [RuleResult(rule.scale_by, f"values to scale by (the frame: {wanted})", found, False)]


def _unknown(name: str, value: Any) -> bool:
    """Whether a value is unknown: two frames that both have it need not be equal."""
    return (isinstance(value, str) and value in UNKNOWN) or (value is None and name in SETTINGS)


def scale_of(rule: CalibrationRule, frame: FrameInfo, calibration: FrameInfo) -> float | None:
    """Scale factor of the calibration from the rule's `scale_by`; 1 without one, None if a value is not known."""
    if not rule.scale_by:
        return 1.0
    mine, its = (f.descriptors.get(rule.scale_by) for f in (frame, calibration))
    try:
        scale = float(mine) / float(its)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return scale if math.isfinite(scale) and scale > 0 else None
