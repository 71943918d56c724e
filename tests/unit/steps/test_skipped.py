"""Steps of the fused pass skipped by the user."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.frame import Plane
from nirred.group import FrameSetup
from nirred.plugin import Linearity
from nirred.plugin.recipes import Recipe, StepCall
from nirred.recipes import BoundCall
from nirred.results import Calibration, StaticMask
from nirred.run.task import run_recipe
from nirred.steps.frames import FRAME_STEPS

USER = "SKIPPED: by the user"
SAID = {"nonlinearity_correct": {"LINCORR": USER}, "dark_correct": {"DARKCOR": USER}, "flat_correct": {"FLATCOR": USER}}
#: Parameters that have an effect even if a step has nothing to do.
OWN = {"adu_to_electrons": {"gain": 5.0}, "add_var": {"read_noise": 5.0}, "add_dq": {"saturation": 5.0}}


def run(group, step, **given):
    params = step.Params(**OWN.get(step.name, {}), **given)
    bound = BoundCall(StepCall(step.name), step(), params, {})
    run_recipe(group, Recipe("r", (bound.call,)), [bound])


@pytest.mark.parametrize("step", FRAME_STEPS, ids=lambda step: step.name)
def test_a_skipped_step_does_nothing_but_say_so(make_group, step):
    def night():
        detector = {"linearity": Linearity(((1.0,),))}
        group = make_group(["both"] * 2, [np.zeros((6, 8))] * 2, detector=detector, wcs_state="stale")
        plane = Plane(np.ones((6, 8), np.float32), np.ones((6, 8), np.uint16))
        group.masks.update(bpm=[StaticMask("m", [plane.dq])], user_bpm=[StaticMask("m", [plane.dq])])
        group.calibrations.update({kind: Calibration([plane]) for kind in ("dark", "flat", "bias")})
        return group

    def told(group):
        return group.setup, [f.state for f in group.frames], [f.info.detectors for f in group.frames]

    done, left = night(), night()
    before = told(left)
    run(done, step)
    run(left, step, skip=True)
    assert told(left) == before and left.setup == FrameSetup()
    assert told(done) != before
    assert left.keywords == SAID.get(step.name, {})
