"""Parameters of DRAGONS: their nirred counterparts, or why there are none.

Names are in nirred's spelling (`stack_frames` for ``stackFrames``). No parameter is silently ignored: one without
effect in nirred is an error, with the reason and the nearest alternative.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import ConfigError
from .params import Setting, brief, snake

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
    ("sky_correct", "dilation"): Counterpart("mask_objects", "dilation"),
    ("detect_sources", "detect_thresh"): Counterpart("detect_sources", "threshold"),
    ("stack_frames", "reject_method"): Counterpart(
        "flag_outliers", "skip", {"none": True, None: True}, others_are_ours=True
    ),
    ("resample_to_common_frame", "trim_data"): Counterpart(
        "resample_to_common_frame", "crop", {True: "common", False: "union"}, "it is True or False"
    ),
}

_DEBUG = "debug_pixel debug_old_normalization"
_CLIPPED = "operation reject_method hsigma lsigma nlow nhigh mclip max_iters memory"
_CALIBRATION = (
    (_CLIPPED, "calibrations are clipped means: set nsigma of this step"),
    ("scale zero statsec", "frames are brought to their mean level before they are combined"),
    (
        f"apply_dq separate_ext save_rejection_map {_DEBUG}",
        "planes are averaged one by one; add_dq decides what is flagged",
    ),
)
_FORCE = ("force", "any file can be used as a calibration with --user-cal KIND:FILE")
_MESH = "objects are found at several scales of smoothing: set detect_sources:threshold"
#: {step: (names, why)} of parameters without counterpart.
WITHOUT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "prepare": (
        ("require_wcs", "a frame without WCS is placed by its pointing, or by --offsets FILE"),
        ("debug_consistency_limit debug_max_deadtime", "the plan compares a WCS with the pointing's own error"),
        ("attach_mdf mdf", "masks of slits belong to spectra, which are not reduced"),
    ),
    "add_var": (("poisson_noise", "the noise model always has photon noise and read noise"),),
    "sky_correct": (
        ("operation reject_method nlow nhigh hsigma lsigma mclip max_iters", "the sky is a mean clipped at nsigma"),
        ("scale zero", "see scale_sky and offset_sky"),
        ("reset_sky", "the level subtracted from each frame is listed in FRAMES"),
        ("save_sky", "write_outputs=True leaves the sky-subtracted frames"),
        ("sky", "name the sky frames with --skies NAMES"),
        ("memory", "give --memory for the whole run"),
        (f"apply_dq statsec separate_ext save_rejection_map debug_threshold {_DEBUG}", "see nsigma and mask_objects"),
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
        (_DEBUG, "flag_outliers:write_outputs=True leaves the frames as they are stacked"),
    ),
    "clean_readout": (
        (
            "hsigma lsigma intraquad_smooth simple_thres pat_strength_thres sg_win_size debug_subtract_background "
            "debug_canny_sigma",
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
#: The same for parameters that every step has in DRAGONS.
EVERYWHERE = (("suffix", "a product is named after its first frame and its kind"),)
#: {step: why} of steps without counterpart.
GONE: Mapping[str, str] = {
    **dict.fromkeys(
        ("validate_data", "standardize_structure", "standardize_headers", "standardize_wcs"), "see prepare"
    ),
    **dict.fromkeys(("add_latency_to_dq", "add_illum_mask_to_dq"), "it is part of add_dq: set it there"),
    **dict.fromkeys(("stack_sky_frames", "subtract_sky", "make_sky"), "it is part of sky_correct"),
    **dict.fromkeys(("add_object_mask_to_dq", "transfer_attribute"), "it is part of mask_objects"),
    **dict.fromkeys(
        ("subtract_sky_background", "correct_background_to_reference"), "sky_correct and match_backgrounds do it"
    ),
    "scale_by_intensity": "see scale_counts_to_reference",
    "scale_by_exposure_time": "the frames of a stack have one exposure time",
    **dict.fromkeys(("apply_dqplane", "fix_pixels"), "flagged pixels are left out, not replaced"),
    **dict.fromkeys(
        (
            "flush_pixels",
            "clear_stream",
            "clear_all_streams",
            "copy_inputs",
            "append_stream",
            "add_to_list",
            "get_list",
        ),
        "frames are kept in --memory or on disk by themselves",
    ),
    **dict.fromkeys(
        ("select_from_inputs", "remove_from_inputs", "reject_inputs", "sort_inputs"),
        "choose frames with --only or --exclude",
    ),
    **dict.fromkeys(("measure_iq", "measure_bg", "measure_cc"), "FRAMES and the report hold what was measured"),
    **dict.fromkeys(
        ("determine_astrometric_solution", "add_reference_catalog"),
        "frames are registered to each other, without a catalogue",
    ),
    **dict.fromkeys(("display", "inspect"), "see `nirred view`"),
    "remove_first_frame": "a first frame is left out if it measures bad; --exclude NAMES leaves out any",
    "shift_images": "give the shifts with --offsets FILE",
    "clean_fftreadout": "see clean_readout",
    "set_calibration": "name the file with --user-cal KIND:FILE",
    "write_outputs": "STEP:write_outputs=True leaves the frames as they are after a step",
}


def translated(setting: Setting, own: Collection[str]) -> Setting:
    """Translate a setting to nirred's name and value; nirred's own settings are returned unchanged.

    Parameters
    ----------
    setting : Setting
        Its step is one of nirred's.
    own : collection of str
        The parameters of that step.

    Raises
    ------
    ConfigError
        The parameter or value exists in DRAGONS but has no effect in nirred; the message says why.
    """
    where = f"{setting.step}:{setting.name}"
    for names, why in (*WITHOUT.get(setting.step, ()), *EVERYWHERE):
        if setting.name in names.split() and setting.name not in own:
            raise ConfigError(f"{where} ({setting.origin}) has no effect here: {why}", "leave it out")
    ours = COUNTERPARTS.get((setting.step, setting.name))
    if ours is None:
        return setting
    value = setting.value
    if ours.values:
        word = value.strip().lower() if isinstance(value, str) else value
        if word not in list(ours.values):  # a list, for the word may be of any kind
            if ours.others_are_ours:
                return setting
            said = f"{where} = {brief(value)} (set by {setting.origin})"
            raise ConfigError(f"{said} has no effect here: {ours.otherwise}", f"known: {_known(ours)}")
        value = ours.values[word]
    return replace(setting, step=ours.step, name=ours.name, value=value)


def refuse_gone(setting: Setting) -> None:
    """Refuse a setting of a step that DRAGONS has and nirred does not.

    Raises
    ------
    ConfigError
        With the reason.
    """
    why = GONE.get(snake(setting.step))
    if why is not None:
        where = f"{setting.step}:{setting.name}"
        raise ConfigError(f"{where} ({setting.origin}) has no effect here: no such step: {why}", "leave it out")


def _known(ours: Counterpart) -> str:
    return ", ".join(str(v) for v in ours.values if v is not None)
