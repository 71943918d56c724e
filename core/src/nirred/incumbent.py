"""Parameters of DRAGONS: their nirred counterparts, or why there are none.

Names are in nirred's spelling (`stack_frames` for ``stackFrames``). No parameter is silently ignored: one without
effect in nirred is an error, with the reason and the nearest alternative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import ConfigError
from .params import Setting, brief

Key = tuple[str, str]


@dataclass(frozen=True)
class Counterpart:
    """The equivalent nirred parameter.

    Parameters
    ----------
    step, name : str
        Step and name in nirred.
    values : Mapping
        {their value: nirred's value}, text in lower case; empty: the value is the same.
    otherwise : str
        Why another value has no counterpart, and what to do.
    others_are_ours : bool
        Other values are passed unchanged, under the same name.
    """

    step: str
    name: str
    values: Mapping[Any, Any] = field(default_factory=dict)
    otherwise: str = ""
    others_are_ours: bool = False


COUNTERPARTS: Mapping[Key, Counterpart] = {
    ("prepare", "bad_wcs"): Counterpart(
        "prepare",
        "bad_wcs",
        {"fix": "fix", "exit": "exit", "ignore": "ignore"},
        "a WCS is rebuilt if it contradicts the pointing, and otherwise kept",
    ),
    ("add_latency_to_dq", "time"): Counterpart("add_dq", "time"),
    ("add_latency_to_dq", "non_linear"): Counterpart("add_dq", "non_linear"),
    ("add_illum_mask_to_dq", "illum_mask"): Counterpart("add_dq", "illum_mask"),
    ("add_illum_mask_to_dq", "xshift"): Counterpart("add_dq", "xshift"),
    ("add_illum_mask_to_dq", "yshift"): Counterpart("add_dq", "yshift"),
    ("sky_correct", "dilation"): Counterpart("mask_objects", "dilation"),
    ("detect_sources", "detect_thresh"): Counterpart("detect_sources", "threshold"),
    ("stack_frames", "reject_method"): Counterpart(
        "flag_outliers", "skip", {"none": True, None: True}, others_are_ours=True
    ),
    ("resample_to_common_frame", "interpolant"): Counterpart(
        "resample_to_common_frame", "interpolant", {"linear": "bilinear"}, others_are_ours=True
    ),
    ("resample_to_common_frame", "trim_data"): Counterpart(
        "resample_to_common_frame", "crop", {True: "common", False: "union"}, "it is True or False"
    ),
}

_CLIPPED = "operation reject_method hsigma lsigma nlow nhigh mclip max_iters memory"
_CALIBRATION = (
    (_CLIPPED, "calibrations are clipped means: set nsigma of this step"),
    ("scale zero statsec", "frames are brought to their mean level before they are combined"),
    (
        "apply_dq separate_ext save_rejection_map",
        "planes are averaged one by one; add_dq decides what is flagged",
    ),
)
_FORCE = ("force", "any file can be used as a calibration with --user-cal KIND:FILE")
_MESH = "objects are found at several scales of smoothing: set detect_sources:threshold"
#: (names, why) of parameters that many of DRAGONS' steps have.
_ANYWHERE = (
    ("suffix", "products have fixed names, and other files are written by write_outputs"),
    ("debug_pixel debug_threshold debug_old_normalization debug_ignore_wcs", "it is for DRAGONS' developers"),
    ("debug_subtract_background debug_canny_sigma", "it is for DRAGONS' developers"),
    ("debug_consistency_limit debug_max_deadtime", "the limits of the check are fixed: 30 arcsec and 60 s"),
)
#: {step: (names, why)} of parameters without counterpart.
WITHOUT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "prepare": (
        ("require_wcs", "a frame without a usable WCS gets one from its pointing, or is left out"),
        ("attach_mdf mdf", "they are for spectra"),
    ),
    "add_var": (("poisson_noise", "the noise model always has read noise and photon noise"),),
    "mask_objects": (
        ("source interpolant dq_threshold", "the objects of the stack are masked in every frame"),
        ("repeat", "the masks are grown once, by `dilation`"),
    ),
    "sky_correct": (
        ("operation reject_method nlow nhigh hsigma lsigma mclip max_iters", "the sky is a mean clipped at nsigma"),
        ("scale zero", "see scale_sky and offset_sky"),
        ("reset_sky", "the level subtracted from each frame is listed in FRAMES"),
        ("save_sky", "write_outputs=True leaves the sky-subtracted frames"),
        ("sky", "name the sky frames with --skies NAMES"),
        ("memory", "give --memory for the whole run"),
        ("apply_dq", "flagged pixels are never stacked; add_dq decides what is flagged"),
        ("statsec separate_ext", "the level is measured on all blank pixels of each detector"),
        ("save_rejection_map", "write_outputs=True leaves the sky-subtracted frames with their flags"),
    ),
    "associate_sky": (("sky", "name the sky frames with --skies NAMES"),),
    "detect_sources": (
        ("mask replace_flags set_saturation", "flagged pixels are always left out"),
        ("detect_minarea analysis_thresh deblend_mincont phot_min_radius back_size back_filtersize", _MESH),
    ),
    "adjust_wcs_to_reference": (
        ("match_radius cull_sources", "stars are matched within their width and the error of their expected position"),
        ("debug_ignore_wcs", "a WCS that contradicts the pointing is replaced: see prepare:bad_wcs"),
        ("scale", "frames of one camera have one scale; what differs by distortion is in `distorted`"),
    ),
    "scale_counts_to_reference": (
        ("tolerance use_common radius", "transparencies come from all common stars; scale=False leaves them at 1"),
    ),
    "resample_to_common_frame": (
        ("clean_data dq_threshold", "flagged pixels take no part in the interpolation; see stack_frames:hidden"),
        ("force_affine", "the map between frames follows from their WCS, including distortion"),
        ("reference", "the best frame is the reference, and named in REFFRAME"),
    ),
    "stack_frames": (
        ("mclip max_iters", "values are clipped about the median until nothing changes"),
        ("apply_dq", "flagged pixels are never stacked; add_dq decides what is flagged"),
        ("scale zero statsec", "see scale_counts_to_reference and match_backgrounds"),
        ("separate_ext", "detectors are kept separate until resampling; see resample_to_common_frame:mosaic"),
        ("save_rejection_map", "flag_outliers:write_outputs=True leaves the frames with their flags"),
        ("memory", "give --memory for the whole run"),
    ),
    "clean_readout": (
        (
            "hsigma lsigma intraquad_smooth sg_win_size simple_thres pat_strength_thres",
            "the pattern's own error decides: `strength`",
        ),
    ),
    "normalize_flat": (
        ("scale scaling section separate_ext", "it is divided by the median of its good, illuminated pixels"),
    ),
    "stack_darks": _CALIBRATION,
    "make_lamp_flat": _CALIBRATION,
    "make_bpm": (("override_thresh", "a threshold that is given always holds"),),
    "store_processed_dark": (_FORCE,),
    "store_processed_flat": (_FORCE,),
}
_NO_LISTS = "a recipe names what each step takes and gives"
_NO_SITE = "measurements of the site's quality control are not made; the report has those of every frame"
_ONE_SKY = "skies are made and subtracted by sky_correct"
#: {step: why} of DRAGONS' steps that are not steps here. Some of their parameters are in `COUNTERPARTS`.
STEPS_WITHOUT: Mapping[str, str] = {
    "remove_first_frame": "a first frame is left out if its measurements show that it is bad; see --exclude NAMES",
    "add_latency_to_dq": "persistence is flagged by add_dq: set latency, non_linear and time there",
    "add_illum_mask_to_dq": "set add_illum_mask, illum_mask, xshift and yshift of add_dq",
    "add_object_mask_to_dq": "see mask_objects",
    "apply_dqplane": "flagged pixels take no part in anything, so they need no values",
    "clean_fftreadout": "see clean_readout",
    "stack_flats": "see make_lamp_flat",
    "stack_sky_frames": _ONE_SKY,
    "subtract_sky": _ONE_SKY,
    "subtract_sky_background": "see sky_correct:offset_sky and level_stack",
    "correct_background_to_reference": "see sky_correct and match_backgrounds",
    "scale_by_intensity": "make_sky_flat brings its frames to one level",
    "scale_by_exposure_time": "the frames of a group have one exposure time",
    "shift_images": "give --offsets FILE",
    "fix_pixels": "flag pixels with --user-bpm FILE",
    "flush_pixels": "write_outputs=True of a step leaves its frames, and --memory limits the memory",
    **dict.fromkeys(("transfer_attribute", "clear_stream", "copy_inputs", "append_stream"), _NO_LISTS),
    **dict.fromkeys(("add_to_list", "get_list"), _NO_LISTS),
    **dict.fromkeys(("select_from_inputs", "remove_from_inputs", "sort_inputs", "reject_inputs"), _NO_LISTS),
    "write_outputs": "set write_outputs=True of the step whose frames you want",
    **dict.fromkeys(("measure_iq", "measure_bg", "measure_cc"), _NO_SITE),
    **dict.fromkeys(("add_reference_catalog", "determine_astrometric_solution"), _NO_SITE),
}


def translated(setting: Setting) -> Setting:
    """Translate a setting to nirred's name and value; nirred's own settings are returned unchanged.

    Parameters
    ----------
    setting : Setting
        Its step is one of nirred's.

    Raises
    ------
    ConfigError
        The parameter or value exists in DRAGONS but has no effect in nirred; the message says why.
    """
    for names, why in WITHOUT.get(setting.step, ()):
        if setting.name in names.split():
            raise _without_effect(setting, why)
    ours = COUNTERPARTS.get((setting.step, setting.name))
    if ours is None:
        return setting
    value = setting.value
    if ours.values:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in list(ours.values):  # a list, for the word may be of any kind
            if ours.others_are_ours:
                return setting
            said = f"{setting.step}:{setting.name} = {brief(value)} (set by {setting.origin})"
            raise ConfigError(f"{said} has no effect here: {ours.otherwise}", f"known: {_known(ours)}")
        value = ours.values[word]
    return replace(setting, step=ours.step, name=ours.name, value=value)


def of_unknown_step(setting: Setting) -> Setting:
    """Translate a setting of a step that is not one here; of a step unknown in DRAGONS, too, it is returned unchanged.

    Raises
    ------
    ConfigError
        What the step does in DRAGONS is done otherwise here; the message says how.
    """
    if setting.step in STEPS_WITHOUT and (setting.step, setting.name) not in COUNTERPARTS:
        raise _without_effect(setting, STEPS_WITHOUT[setting.step])
    return translated(setting)


def check_unknown_name(setting: Setting) -> None:
    """Refuse, with the reason, a parameter that many of DRAGONS' steps have and none here.

    Raises
    ------
    ConfigError
        It is one of these.
    """
    for names, why in _ANYWHERE:
        if setting.name in names.split():
            raise _without_effect(setting, why)


def _without_effect(setting: Setting, why: str) -> ConfigError:
    where = f"{setting.step}:{setting.name}" if setting.step else setting.name
    return ConfigError(f"{where} ({setting.origin}) has no effect here: {why}", "leave it out")


def _known(ours: Counterpart) -> str:
    return ", ".join(str(v) for v in ours.values if v is not None)
