"""Translation of the observing modes and requirements of the observatory's pipeline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

Settings = dict[str, Any]
Count = Annotated[int, Field(ge=0, le=1000)]
#: Longer than a night, s: selects all frames of a block.
ALWAYS = 1e6


@dataclass(frozen=True)
class Requirement:
    """One requirement: its values, its translation in words and as step parameters, and a remark on a value.

    `accepts` describes in words the values that `kind` takes.
    """

    kind: Any
    accepts: str
    becomes: str
    settings: Callable[[Any], Settings] = lambda value: {}
    remark: Callable[[Any], str] = lambda value: ""

    def takes(self, value: Any) -> bool:
        """Whether this value is allowed."""
        try:
            TypeAdapter(self.kind).validate_python(value, strict=True)
        except ValidationError:
            return False
        return True


_FILE, _SWITCH = "the name of a file below the data directory", "True or False"


def master(kind: str) -> Requirement:
    """Requirement that names a file to be used as calibration."""
    return Requirement(str, _FILE, f"the {kind} of the block's frames, as `--user-cal {kind}:FILE`")


@dataclass(frozen=True)
class Mode:
    """An observing mode: its recipe, the name of its result, and its requirements."""

    recipe: str
    result: str
    doc: str
    requirements: Mapping[str, Requirement] = field(default_factory=dict)


Reprojection = Literal["none", "interp", "adaptive", "exact"]
_BIAS = Requirement(
    str, _FILE, "nothing: the dark made here contains the bias", remark=lambda v: "the dark contains the bias"
)

CALIBRATIONS = {
    "master_bpm": master("bpm"),
    "master_dark": master("dark"),
    "master_flat": master("flat"),
    "master_bias": Requirement(
        str, _FILE, "the bias, where READMODE is SIMPLE, BIAS or SINGLE; subtracted with the dark"
    ),
}
#: Requirements that name a file, and its kind of calibration.
MASTERS = {"master_bpm": "bpm", "master_dark": "dark", "master_flat": "flat", "master_bias": "bias"}


def _iterations(value: int) -> Settings:
    return {"sky_correct:mask_objects": False} if value == 0 else {}


def _sky_images(value: int) -> Settings:
    if value == 0:
        return {"associate_sky:time": ALWAYS}
    return {"associate_sky:max_skies": value, "associate_sky:min_skies": min(value, 3)}


def _refine(value: bool) -> Settings:
    return {"adjust_wcs_to_reference:method": "sources" if value else "offsets"}


def _offsets(value: Any) -> Settings:
    return {"adjust_wcs_to_reference:offsets": value, "adjust_wcs_to_reference:distorted": False}


def _method(value: str) -> Settings:
    return {"flag_outliers:skip": True} if value == "mean" else {}


def _method_said(value: str) -> str:
    said = "method median: the weighted mean without outliers is used, which rejects as well and is less noisy"
    return said if value == "median" else ""


def _limits(value: Mapping[str, float]) -> Settings:
    return {"flag_outliers:high": max(value.values())} if value else {}


def _nside(value: int) -> Settings:
    return {"level_amplifiers:nside": value} if value else {"level_amplifiers:skip": True}


def _channels(value: bool) -> Settings:
    return {} if value else {"level_amplifiers:skip": True}


Limits = dict[Literal["low", "high"], Annotated[float, Field(gt=0, le=100)]]
_Number = Annotated[float, Field(allow_inf_nan=False)]
Positions = str | Annotated[list[Annotated[list[_Number], Field(min_length=2, max_length=2)]], Field(min_length=1)]
_DITHERED = {
    "iterations": Requirement(
        Count,
        "a whole number from 0 to 1000",
        "0: `sky_correct:mask_objects=False`; 1: the usual second pass with object masks; more: recipe `ultradeep`, "
        "a third pass",
        _iterations,
        lambda n: "iterations: three passes of the sky are the maximum" if n > 2 else "",
    ),
    "sky_images": Requirement(
        Count,
        "a whole number from 0 to 1000",
        "`associate_sky:max_skies`, nearest in time; 0: all frames (`associate_sky:time` of more than a night)",
        _sky_images,
    ),
    "sky_images_sep_time": Requirement(
        Annotated[float, Field(gt=0, le=10_000)],
        "minutes, more than 0, at most 10000",
        "`associate_sky:time`, in s instead of minutes",
        lambda minutes: {"associate_sky:time": 60.0 * minutes},
    ),
    "refine_offsets": Requirement(
        bool,
        _SWITCH,
        "True: `adjust_wcs_to_reference:method=sources`; False: `method=offsets`, those of the headers or of `offsets`",
        _refine,
        lambda v: "" if v else "refine_offsets False: offsets are not measured, only as good as headers or list",
    ),
    "offsets": Requirement(
        Positions,
        f"{_FILE}, with one x y per line, or a list of [x, y]",
        "`adjust_wcs_to_reference:offsets`: one x y per frame, or per child, on images corrected for distortion",
        _offsets,
    ),
    "method": Requirement(
        Literal["mean", "median", "sigmaclip"],
        "mean, median or sigmaclip",
        "mean: `flag_outliers:skip=True`; sigmaclip and median: the weighted mean with outliers flagged",
        _method,
        _method_said,
    ),
    "method_kwargs": Requirement(
        Limits,
        "{low: 3.0, high: 3.0}, each more than 0, at most 100",
        "`flag_outliers:high`, the larger of low and high, in sigma of the noise model, not of the few values",
        _limits,
    ),
    "extinction": Requirement(
        Annotated[float, Field(ge=0, le=5)],
        "magnitudes per airmass, from 0 to 5",
        "`correct_extinction:extinction`",
        lambda value: {"correct_extinction:extinction": value},
    ),
    "fit_doughnut": Requirement(
        bool,
        _SWITCH,
        "`correct_illumination:fit_doughnut`; it acts if the flat contains no large-scale response",
        lambda value: {"correct_illumination:fit_doughnut": value},
    ),
    "nside_adhoc_sky_correction": Requirement(
        Annotated[int, Field(ge=0, le=64)],
        "a whole number from 0 to 64",
        "`level_amplifiers:nside`; for the HAWAII-2 only. Quadrant levels are subtracted even without it; "
        "an explicit 0: `level_amplifiers:skip=True`",
        _nside,
        lambda v: "" if v else "nside_adhoc_sky_correction 0: levels of quadrants stay in the frames",
    ),
    "adhoc_sky_correction_h2rg": Requirement(
        bool,
        _SWITCH,
        "`level_amplifiers`, for the H2RG's channels, which is done even without it; an explicit False: "
        "`level_amplifiers:skip=True`",
        _channels,
        lambda v: "" if v else "adhoc_sky_correction_h2rg False: levels of channels stay in the frames",
    ),
}
_STARE = {
    "reprojection_method": Requirement(
        Reprojection,
        "none, interp, adaptive or exact",
        "for the block's own image: `resample_to_common_frame:interpolant`; none: recipe `stare_image_raw`, the "
        "detector's pixels. A combination resamples the calibrated frames once, whatever is given here",
        lambda value: {} if value == "none" else {"resample_to_common_frame:interpolant": value},
    )
}

MODES: Mapping[str, Mode] = {
    "STARE_IMAGE": Mode(
        "stare_image", "reduced_image", "one position: calibrated, several exposures combined", CALIBRATIONS | _STARE
    ),
    "FULL_DITHERED_IMAGE": Mode(
        "reduce", "reduced_image", "stack of the frames of its children", CALIBRATIONS | _DITHERED
    ),
    "IMAGE_DARK": Mode("make_processed_dark", "darkframe", "dark", {"master_bpm": master("bpm"), "master_bias": _BIAS}),
    "IMAGE_BIAS": Mode("make_processed_dark", "biasframe", "bias: a dark of its own exposure time"),
    "IMAGE_FLAT": Mode("make_processed_flat", "master_flatframe", "flat from evenly lit frames", dict(CALIBRATIONS)),
    "IMAGE_SKY": Mode("make_sky_flat", "skyframe", "flat of dithered frames of the sky", dict(CALIBRATIONS)),
}
RAW_STARE = "stare_image_raw"
#: Steps that are not repeated for calibrated images.
REDUCED: Settings = {
    **{f"{step}:skip": True for step in ("add_dq", "dark_correct", "flat_correct")},
    "correct_illumination:response": "flat",
}
DEEP = "ultradeep"


def recipe_of(mode: str, given: Mapping[str, Any]) -> str:
    """Name of the recipe for a block of that mode with these requirements."""
    if mode == "STARE_IMAGE" and given.get("reprojection_method") == "none":
        return RAW_STARE
    if mode == "FULL_DITHERED_IMAGE" and given.get("iterations", 0) > 1:
        return DEEP
    return MODES[mode].recipe


#: Requirements that apply to only one detector.
_OF_DETECTOR = {"nside_adhoc_sky_correction": "HAWAII-2", "adhoc_sky_correction_h2rg": "H2RG"}


def applicable(given: Mapping[str, Any], detector: str) -> dict[str, Any]:
    """Requirements that apply to the detector; all of them for ''."""
    return {k: v for k, v in given.items() if detector in ("", _OF_DETECTOR.get(k, detector))}


def settings_of(mode: str, given: Mapping[str, Any]) -> Settings:
    """{"step:parameter": value} of a block's requirements."""
    known = MODES[mode].requirements
    found: Settings = {}
    # sky_images 0 takes all frames, unless a time is also given
    for name in sorted(given, key=lambda n: n == "sky_images_sep_time"):
        found |= known[name].settings(given[name])
    return found


def contradiction(mode: str, given: Mapping[str, Any], detector: str) -> tuple[str, str]:
    """Why requirements contradict each other or the detector, and the remedy; ('', '') if they do not."""
    if mode != "FULL_DITHERED_IMAGE":
        return "", ""
    nside, channels = given.get("nside_adhoc_sky_correction", 0), given.get("adhoc_sky_correction_h2rg", False)
    if nside and channels:
        return "nside_adhoc_sky_correction and adhoc_sky_correction_h2rg exclude each other", "leave one out"
    if nside and detector == "H2RG":
        return "nside_adhoc_sky_correction is of the HAWAII-2; these frames are of the H2RG", "leave it out"
    if channels and detector == "HAWAII-2":
        return "adhoc_sky_correction_h2rg is of the H2RG; these frames are of the HAWAII-2", "leave it out"
    return "", ""


def doubts(mode: str, given: Mapping[str, Any]) -> list[str]:
    """Remarks on a block's requirements, each alone and in combination."""
    known = MODES[mode].requirements
    found = [text for name, value in given.items() if (text := known[name].remark(value))]
    number, skies = given.get("iterations"), given.get("sky_images")
    if number == 0 and skies:
        found.append(
            f"iterations 0 with sky_images {skies}: the sky is made of the {skies} frames nearest in time with their "
            "sources left in, which are then subtracted; iterations: 1 masks them"
        )
    if number and skies == 0:
        found.append(f"iterations {number} with sky_images 0: the sky is made of all frames, objects masked")
    return found


def table() -> str:
    """The documented table: every mode and requirement, and its translation."""
    lines = ["| mode | requirement | takes | becomes |", "|---|---|---|---|"]
    for name, mode in MODES.items():
        recipe = f"recipe `{mode.recipe}`: {mode.doc}; result `{mode.result}.fits`"
        lines.append(f"| `{name}` | | | {recipe} |")
        lines += [f"| | `{key}` | {r.accepts} | {r.becomes} |" for key, r in mode.requirements.items()]
    return "\n".join(lines) + "\n"
