"""Answers of a plugin that look right and are not: each is refused by what it says, before it is used."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nirred.answers import WrongAnswer, checked
from nirred.plugin import (
    CalibrationRule,
    Descriptors,
    Detector,
    Exposure,
    Frame,
    Instrument,
    Linearity,
    MaskSpec,
    Match,
    Plane,
    PlaneWcs,
    Ramp,
    RecipePatch,
    S,
)
from nirred.plugin.coordinates import make_wcs

DETECTOR = Detector((4, 5), 2.0, 8.0)
TAGS = frozenset({"CAM"})
RULE = CalibrationRule("dark", TAGS)
WCS = PlaneWcs(make_wcs((1, 1), (10, 10), ((-1e-4, 0), (0, 1e-4))))


def curve(*coefficients: Any, **fields: Any) -> Detector:
    return replace(DETECTOR, linearity=Linearity(coefficients, **fields))


def patch(**fields: Any) -> list[RecipePatch]:
    return [RecipePatch("reduce", TAGS, **fields)]


WRONG: dict[str, tuple[str, Any, str]] = {
    "curve that is a word": ("nirred_detectors", [replace(DETECTOR, linearity="cubic")], "linearity is a str"),
    "no curve": ("nirred_detectors", [curve()], "coefficients of 0 curves"),
    "curve without its tuple": ("nirred_detectors", [curve(1.0, 1e-6)], "coefficients is a float"),
    "curve per what": ("nirred_detectors", [curve((1.0,), per="row")], "per = 'row'"),
    "one curve for two": ("nirred_detectors", [curve((1.0,), per="row_parity")], "do not fit 'row_parity'"),
    "curves of unequal length": ("nirred_detectors", [curve((1.0,), (1.0, 2.0), per="row_parity")], "1, 2"),
    "curve of nothing": ("nirred_detectors", [curve((float("nan"),))], "nan"),
    "curve to nowhere": ("nirred_detectors", [curve((1.0,), valid_to=None)], "valid_to = None"),
    "times of other rows": ("nirred_detectors", [curve((1.0,), time_delta=(0.0, 1.0, 2.0))], "time_delta"),
    "section as numbers": ("nirred_detectors", [replace(DETECTOR, section=(0, 5, 0, 4))], "section"),
    "no amplifiers": ("nirred_detectors", [replace(DETECTOR, amplifiers=None)], "amplifiers = None"),
    "amplifier by name": ("nirred_detectors", [replace(DETECTOR, amplifiers=("a",))], "amplifiers has a str"),
    "HDU by name": ("nirred_detectors", [replace(DETECTOR, hdu="SCI")], "hdu = 'SCI'"),
    "no epoch": ("nirred_detectors", [replace(DETECTOR, epoch=None)], "epoch = None"),
    "no time, in single precision": ("nirred_describe", Descriptors(exposure_time=np.float32("nan")), "exposure_time"),  # type: ignore[arg-type]
    "configuration as text": ("nirred_describe", Descriptors(configuration="Ks"), "configuration"),  # type: ignore[arg-type]
    "configuration as names": ("nirred_describe", Descriptors(configuration=(("Ks",),)), "name, value"),  # type: ignore[arg-type]
    "exposures alike": ("nirred_exposures", [Exposure(0), Exposure(0)], "same index"),
    "exposure by name": ("nirred_exposures", [Exposure("a")], "index = 'a'"),  # type: ignore[arg-type]
    "exposure before the first": ("nirred_exposures", [Exposure(0, plane=-1)], "plane = -1"),
    "exposure's HDUs as text": ("nirred_exposures", [Exposure(0, hdus="12")], "hdus is a str"),  # type: ignore[arg-type]
    "WCS from elsewhere": ("nirred_wcs", [replace(WCS, origin="sky")], "origin = 'sky'"),
    "ramp without times": ("nirred_open", Ramp(np.zeros((3, 4, 5)), None), "arrays of numbers"),  # type: ignore[arg-type]
    "ramp of one read": ("nirred_open", Ramp(np.zeros((4, 5)), np.zeros(1)), "reads"),
    "pixels in photons": (
        "nirred_open",
        Frame((Plane(np.zeros((4, 5)), np.zeros((4, 5), np.uint16)),), unit="photon"),
        "unit = 'photon'",
    ),
    "examples as one text": ("nirred_instruments", [Instrument("cam", "Cam", examples="END")], "examples is a str"),  # type: ignore[arg-type]
    "rule of names": (
        "nirred_calibration_rules",
        [replace(RULE, match=("filter_name",))],
        "rule dark: match has a str",
    ),
    "rule of words": ("nirred_calibration_rules", [replace(RULE, minimum="3")], "minimum = '3'"),
    "rank by a word": ("nirred_calibration_rules", [replace(RULE, rank="filter_name")], "rank is a str"),
    "scale by nothing": ("nirred_calibration_rules", [replace(RULE, scale_by=None)], "scale_by = None"),
    "term of text": ("nirred_calibration_rules", [replace(RULE, match=(Match("a", tol="1"),))], "tol of a"),  # type: ignore[arg-type]
    "insert without place": ("nirred_recipes", patch(insert=("prepare", S("add_dq"))), "insert has a str"),
    "insert of a name": ("nirred_recipes", patch(insert=(("prepare", "add_dq"),)), "insert"),
    "drop of one name": ("nirred_recipes", patch(drop="dark_correct"), "drop is a str"),
    "set of names": ("nirred_recipes", patch(set=(("sky_correct",),)), "set"),
    "set of a value": ("nirred_recipes", patch(set={"sky_correct": 5.0}), "set is a float"),
    "mask's parameters": ("nirred_masks", [MaskSpec("m", 1, "frame", TAGS, print, parameters=("x",))], "parameters"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_what_only_looks_right_is_refused(case: str) -> None:
    hook, answer, said = WRONG[case]
    with pytest.raises(WrongAnswer, match=said):
        checked(hook, answer)


def test_what_is_right_passes() -> None:
    parity = curve((1.0, 2.0), (1.0, 3.0), per="row_parity", time_delta=(0.0, 1.0))
    pixels = replace(DETECTOR, linearity=Linearity(lambda: np.ones((2, 4, 5)), "pixel"), hdu=3)
    checked("nirred_detectors", [curve((1.0, 2e-6)), curve(np.array([1.0, 2e-6], np.float32)), parity, pixels])
    checked("nirred_exposures", [Exposure(0, hdus=(1, 2)), Exposure(1, plane=np.int64(3))])
    checked("nirred_describe", Descriptors(configuration=(("filter", None), ("mode", 3))))
    checked("nirred_recipes", patch(insert=(("", S("add_dq")),), drop=("a",), set={"sky_correct": {"nsigma": 5.0}}))
    checked("nirred_recipes", patch(set=(("sky_correct", (("nsigma", 5.0),)),)))
    checked("nirred_calibration_rules", [replace(RULE, match=(Match("a", tol=0.1),), rank=("b",), scale_by="c")])
    checked("nirred_open", Ramp(np.zeros((3, 4, 5), np.uint16), np.arange(3)))
    checked("nirred_wcs", [WCS])
