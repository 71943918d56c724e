"""EMIR's calibration rules and the parameters in which its data differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import CalibrationRule, Match, Recipe, S

_IMAGE = frozenset({"EMIR", "IMAGE"})
_MADE = frozenset({"PROCESSED"})

# The observatory's masters bear no setting of the read-out, and a dark is one for all exposures, per second: what they
# do not state need not match. Another detector's never match, whatever the rule says. Beside its masters lie a dark of
# zeros, a mask of zeros and a flat of ones: a flat of ones is none unless named, the others give way to better ones.
RULES: tuple[CalibrationRule, ...] = (
    CalibrationRule(
        "dark",
        _IMAGE,
        (Match("read_mode", or_unstated=True), Match("exposure_time", tol=0.01, or_unstated=True)),
        minimum=3,
        optional=True,
        rank=("placeholder",),
        not_tags=_MADE,
        remark_beyond="180 d",
    ),
    CalibrationRule(
        "flat",
        _IMAGE,
        (Match("filter_name", or_unstated=True), Match("placeholder")),
        not_tags=_MADE | {"FLAT"},
        remark_beyond="180 d",
    ),
    CalibrationRule(
        "bpm",
        frozenset({"EMIR"}),
        (Match("epoch"),),
        optional=True,
        rank=("placeholder",),
        not_tags=frozenset({"BPM"}),
    ),
    # Short darks for the bad-pixel mask: any exposure; the planner takes the shortest.
    CalibrationRule("bpm_dark", _IMAGE | {"FLAT"}, (), "180 d", 3, optional=True, not_tags=_MADE),
)

#: Shares of its surroundings between which a pixel of a flat is good.
FLAT_LIMITS = (0.65, 1.35)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "add_dq": {"latency": True, "time": 120.0},
    "make_bpm": {
        **{"dark_lo_thresh": -200.0, "dark_hi_thresh": 1500.0},
        **{"flat_lo_thresh": FLAT_LIMITS[0], "flat_hi_thresh": FLAT_LIMITS[1]},
    },
}

_CALIBRATED = tuple(
    S(step)
    for step in (
        *("prepare", "add_dq", "nonlinearity_correct", "adu_to_electrons", "add_var"),
        *("dark_correct", "flat_correct", "separate_sky"),
    )
)
#: One position alone, its sky kept: without distortion, or on the detector's own pixels.
STARE = (
    Recipe(
        "stare_image",
        (
            *_CALIBRATED,
            S("set_level_aside"),
            S("adjust_wcs_to_reference", method="offsets"),
            S("scale_counts_to_reference", scale=False),
            S("flag_outliers"),
            S("resample_to_common_frame"),
            S("stack_frames"),
            S("restore_level"),
            S("store_processed_science"),
        ),
        makes="image",
        doc="exposures of one position of EMIR: calibrated, combined, free of distortion, with their sky",
    ),
    Recipe(
        "stare_image_raw",
        (*_CALIBRATED, S("combine_exposures"), S("store_processed_science")),
        makes="image",
        doc="exposures of one position of EMIR: calibrated, combined on the detector's own pixels, with their sky",
    ),
)
