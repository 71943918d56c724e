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
    ("sky_correct", "dilation"): Counterpart("mask_objects", "dilation"),
    ("detect_sources", "detect_thresh"): Counterpart("detect_sources", "threshold"),
    ("stack_frames", "reject_method"): Counterpart(
        "flag_outliers", "skip", {"none": True, None: True}, others_are_ours=True
    ),
    ("resample_to_common_frame", "trim_data"): Counterpart(
        "resample_to_common_frame", "crop", {True: "common", False: "union"}, "it is True or False"
    ),
}

_CLIPPED = "operation reject_method hsigma lsigma nlow nhigh mclip max_iters memory"
_CLIPPED_MEAN = "calibrations are clipped means: set nsigma of this step"
_MESH = "objects are found at several scales of smoothing: set detect_sources:threshold"
#: {step: (names, why)} of parameters without counterpart.
WITHOUT: Mapping[str, tuple[tuple[str, str], ...]] = {
    "sky_correct": (
        ("operation reject_method nlow nhigh hsigma lsigma mclip max_iters", "the sky is a mean clipped at nsigma"),
        ("scale zero", "see scale_sky and offset_sky"),
        ("reset_sky", "the level subtracted from each frame is listed in FRAMES"),
        ("save_sky", "write_outputs=True leaves the sky-subtracted frames"),
        ("sky", "name the sky frames with --skies NAMES"),
        ("memory", "give --memory for the whole run"),
    ),
    "associate_sky": (("sky", "name the sky frames with --skies NAMES"),),
    "detect_sources": (
        ("mask replace_flags set_saturation", "flagged pixels are always left out"),
        ("detect_minarea analysis_thresh deblend_mincont phot_min_radius back_size back_filtersize", _MESH),
    ),
    "adjust_wcs_to_reference": (
        ("match_radius cull_sources", "stars are matched within their width and the error of their expected position"),
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
            "hsigma lsigma intraquad_smooth simple_thres pat_strength_thres",
            "the pattern's own error decides: `strength`",
        ),
    ),
    "normalize_flat": (
        ("scaling section separate_ext", "it is divided by the median of its good, illuminated pixels"),
    ),
    "stack_darks": ((_CLIPPED, _CLIPPED_MEAN),),
    "make_lamp_flat": ((_CLIPPED, _CLIPPED_MEAN),),
}


def translated(setting: Setting) -> Setting:
    """Translate a setting to nirred's name and value; nirred's own settings are returned unchanged.

    Raises
    ------
    ConfigError
        The parameter or value exists in DRAGONS but has no effect in nirred; the message says why.
    """
    where = f"{setting.step}:{setting.name}"
    for names, why in WITHOUT.get(setting.step, ()):
        if setting.name in names.split():
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


def _known(ours: Counterpart) -> str:
    return ", ".join(str(v) for v in ours.values if v is not None)
