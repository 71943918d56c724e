"""EMIR's calibration rules, and step parameters whose defaults differ for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirred.plugin import CalibrationRule, Match, Recipe, S

_IMAGE = frozenset({"EMIR", "IMAGE"})
_MADE = frozenset({"PROCESSED"})

# The observatory's masters do not state the readout settings, and one dark, per second, serves all exposure times:
# values that they lack need not match. Masters of another detector never match. The masters come with a dark of zeros,
# a mask of zeros and a flat of ones: the flat is used only if the user names it, the others only without better ones.
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
    # Short darks for the bad-pixel mask: any exposure time; the planner takes the shortest.
    CalibrationRule("bpm_dark", _IMAGE | {"FLAT"}, (), "180 d", 3, optional=True, not_tags=_MADE),
)

#: A pixel of a flat is good if its ratio to its surroundings is between these limits.
FLAT_LIMITS = (0.65, 1.35)

STEP_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "add_dq": {"latency": True, "time": 120.0},
    "make_bpm": {
        "dark_lo_thresh": -200.0,
        "dark_hi_thresh": 1500.0,
        "flat_lo_thresh": FLAT_LIMITS[0],
        "flat_hi_thresh": FLAT_LIMITS[1],
    },
}

_CALIBRATED = tuple(
    S(step)
    for step in (
        *("prepare", "add_dq", "nonlinearity_correct", "adu_to_electrons", "add_var"),
        *("dark_correct", "flat_correct", "separate_sky"),
    )
)
#: A single position with its sky: without distortion, or on the pixels of the detector.
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
