"""Parameters under the names of other pipelines: each has an effect, or is an error with the reason."""

from __future__ import annotations

import pytest

from nirred.config import check_settings, parse_setting
from nirred.errors import ConfigError
from nirred.incumbent import COUNTERPARTS, WITHOUT
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
    ],
)
def test_what_cannot_act_says_why_and_who_asked(written, why):
    with pytest.raises(ConfigError, match="command line") as caught:
        checked(written)
    assert "no effect here" in caught.value.message and why in caught.value.message


def test_the_tables_speak_of_steps_and_parameters_that_are():
    for step, groups in WITHOUT.items():
        own = STEPS[step].Params.model_fields
        names = [name for group, _ in groups for name in group.split()]
        assert len(names) == len(set(names)) and not set(names) & set(own), step
    for (step, name), ours in COUNTERPARTS.items():
        assert step in STEPS and ours.name in STEPS[ours.step].Params.model_fields, (step, name)
        same = ours.others_are_ours or (ours.step, ours.name) == (step, name)
        assert same == (name in STEPS[step].Params.model_fields)
