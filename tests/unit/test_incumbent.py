"""Parameters under the names of other pipelines: each has an effect, or is an error with the reason."""

from __future__ import annotations

import pytest

from nirred.config import check_settings, parse_setting
from nirred.errors import ConfigError
from nirred.incumbent import COUNTERPARTS, STEPS_WITHOUT, WITHOUT
from nirred.recipes import step_types

STEPS = step_types()


def checked(text: str) -> list[tuple[str, str, object]]:
    return [(s.step, s.name, s.value) for s in check_settings([parse_setting(text, "command line")], STEPS)]


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("separateSky:frac_FOV=0.5", ("separate_sky", "frac_fov", 0.5)),
        ("skyCorrect:dilation=3", ("mask_objects", "dilation", 3)),
        ("detectSources:detect_thresh=4", ("detect_sources", "threshold", 4)),
        ("stackFrames:hsigma=4", ("stack_frames", "hsigma", 4)),
        ("stackFrames:lsigma=4", ("stack_frames", "lsigma", 4)),
        ("stackFrames:nlow=1", ("stack_frames", "nlow", 1)),
        ("stackFrames:reject_method=none", ("flag_outliers", "skip", True)),
        ("stackFrames:reject_method=varclip", ("stack_frames", "reject_method", "varclip")),
        ("stackFrames:operation=median", ("stack_frames", "operation", "median")),
        ("resampleToCommonFrame:trim_data=True", ("resample_to_common_frame", "crop", "common")),
        ("stackFrames:skip_primitive=True", ("stack_frames", "skip", True)),
        ("addDQ:static_bpm=None", ("add_dq", "static_bpm", None)),
        ("prepare:bad_wcs=exit", ("prepare", "bad_wcs", "exit")),
        ("addLatencyToDQ:time=60", ("add_dq", "time", 60)),
        ("addIllumMaskToDQ:xshift=-3", ("add_dq", "xshift", -3)),
        ("resampleToCommonFrame:interpolant=linear", ("resample_to_common_frame", "interpolant", "bilinear")),
    ],
)
def test_what_acts_under_another_name(written, means):
    assert checked(written) == [means]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("stackFrames:max_iters=3", "nothing changes"),
        ("stackFrames:memory=1", "--memory"),
        ("skyCorrect:operation=median", "nsigma"),
        ("adjustWCSToReference:match_radius=1", "matched within"),
        ("scaleCountsToReference:tolerance=0.1", "scale=False"),
        ("resampleToCommonFrame:trim_data=2", "True or False"),
        ("makeBPM:override_thresh=True", "always holds"),
        ("normalizeFlat:scale=mean", "median"),
        ("darkCorrect:suffix=_dark", "fixed names"),
        ("removeFirstFrame:remove_first=False", "--exclude"),
        ("stackSkyFrames:operation=median", "sky_correct"),
        ("prepare:bad_wcs=new", "contradicts the pointing"),
        ("prepare:suffix=_x", "fixed names"),
        ("stackFrames:debug_pixel=3", "developers"),
        ("addVAR:poisson_noise=True", "photon noise"),
        ("removeFirstFrame:remove_first=False", "--exclude"),
        ("applyDQPlane:replace_value=median", "no values"),
        ("cleanFFTReadout:clean=default", "clean_readout"),
        ("addIllumMaskToDQ:skip_primitive=True", "add_illum_mask"),
    ],
)
def test_what_cannot_act_says_why_and_who_asked(written, why):
    with pytest.raises(ConfigError, match="command line") as caught:
        checked(written)
    assert "no effect here" in caught.value.message and why in caught.value.message


THEIRS = """
prepare: require_wcs attach_mdf mdf bad_wcs debug_consistency_limit debug_max_deadtime
addDQ: static_bpm user_bpm add_illum_mask illum_mask xshift yshift latency non_linear time
addLatencyToDQ: time non_linear
addVAR: read_noise poisson_noise
darkCorrect: dark do_cal
flatCorrect: flat do_cal
stackDarks: operation reject_method hsigma lsigma mclip max_iters nlow nhigh memory scale zero statsec apply_dq
makeLampFlat: operation reject_method hsigma lsigma mclip max_iters nlow nhigh memory scale zero separate_ext
normalizeFlat: scale separate_ext
thresholdFlatfield: upper lower
makeBPM: override_thresh dark_lo_thresh dark_hi_thresh flat_lo_thresh flat_hi_thresh keep_unilluminated
storeProcessedDark: force
stackFrames: apply_dq statsec operation reject_method hsigma lsigma mclip max_iters nlow nhigh memory separate_ext scale
stackFrames: zero save_rejection_map debug_pixel
scaleCountsToReference: tolerance use_common radius
separateSky: ref_obj ref_sky frac_FOV
associateSky: time distance min_skies max_skies use_all sky
skyCorrect: sky scale_sky offset_sky mask_objects dilation operation reject_method nlow nhigh reset_sky save_sky
removeFirstFrame: remove_first remove_files
detectSources: mask replace_flags set_saturation detect_minarea detect_thresh analysis_thresh deblend_mincont back_size
adjustWCSToReference: method fallback first_pass match_radius min_sources cull_sources rotate scale debug_ignore_wcs
resampleToCommonFrame: interpolant trim_data clean_data conserve force_affine reference dq_threshold
shiftImages: shifts
measureIQ: display
cleanReadout: clean hsigma lsigma pattern_x_size level_bias_offset smoothing_extent sg_win_size simple_thres
transferObjectMask: dilation
dilateObjectMask: dilation
"""


def test_every_parameter_of_theirs_is_known():
    for line in THEIRS.split("\n")[1:-1]:
        step, names = line.split(":")
        for name in (*names.split(), "skip_primitive", "write_outputs", "suffix"):
            try:
                checked(f"{step}:{name}=1")
            except ConfigError as error:
                told = "no effect here" in error.message or f"{name.lower()} = 1" in error.message
                assert told, error.message


@pytest.mark.parametrize(
    ("misspelt", "meant"), [("detectSources:detect_tresh", "detect_thresh"), ("skyCorrect:dilaton", "dilation")]
)
def test_a_misspelt_parameter_of_theirs_suggests_theirs(misspelt: str, meant: str) -> None:
    with pytest.raises(ConfigError, match=f"did you mean '{meant}'"):
        checked(f"{misspelt}=3")


def test_a_plugin_s_own_step_is_not_taken_for_one_of_dragons() -> None:
    class Own(STEPS["write_frames"]):
        name = "subtract_sky"

    given = [parse_setting("subtractSky:suffix=_x", "command line")]
    (found,) = check_settings(given, {**STEPS, "subtract_sky": Own})
    assert (found.step, found.name, found.value) == ("subtract_sky", "suffix", "_x")


def test_the_tables_speak_of_steps_and_parameters_that_are():
    for step, groups in WITHOUT.items():
        own = STEPS[step].Params.model_fields
        names = [name for group, _ in groups for name in group.split()]
        assert len(names) == len(set(names)) and not set(names) & set(own), step
    assert not set(STEPS_WITHOUT) & set(STEPS)
    for (step, name), ours in COUNTERPARTS.items():
        assert ours.name in STEPS[ours.step].Params.model_fields, (step, name)
        if step not in STEPS_WITHOUT:
            same = ours.others_are_ours or (ours.step, ours.name) == (step, name)
            assert same == (name in STEPS[step].Params.model_fields)
