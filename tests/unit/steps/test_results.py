"""Results that steps pass on to later steps."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import numpy as np
import pytest

from nirred.errors import StepError, Unmade
from nirred.frame import Plane
from nirred.geometry import geometry
from nirred.plugin import GroupStep
from nirred.plugin.recipes import Recipe, S
from nirred.recipes import BoundCall
from nirred.results import Calibration
from nirred.run.task import run_recipe
from nirred.steps.catalogue import MakeCatalogue
from nirred.steps.level import LevelStack
from nirred.steps.pieces import StackPieces
from nirred.steps.register import AdjustWcs
from nirred.steps.stack import StackFrames


class Weigh(GroupStep):
    name = "weigh"

    def apply(self, group, params, call):
        group.extras["scales weights"] = [2.0, 3.0]


class Report(GroupStep):
    name = "report"

    def apply(self, group, params, call):
        group.keywords["WEIGHT"] = sum(group.extras["scales weights"])


def run(group, *steps):
    calls = [BoundCall(S(step.name), step(), step.Params(), {}) for step in steps]
    run_recipe(group, Recipe("r", tuple(bound.call for bound in calls)), calls)


def night(make_group, write_raw):
    infos = write_raw([[np.full((40, 40), 100.0 + k)] for k in range(3)])
    return make_group(["both"] * 3, infos=infos)


@pytest.mark.parametrize(
    ("step", "lacking"),
    [
        (AdjustWcs, "stars"),
        (StackFrames, "layouts"),
        (StackPieces, "piece_noise"),
        (LevelStack, "main"),
        (MakeCatalogue, "main"),
        (Report, "scales weights"),
    ],
)
def test_a_recipe_out_of_order_is_told_what_lacks(make_group, write_raw, step, lacking):
    with pytest.raises(StepError) as told:
        run(night(make_group, write_raw), step)
    assert told.value.message == f"recipe r: {step.name} needs what no earlier step has made: {lacking}"


@pytest.mark.parametrize(("step", "lacking"), [(LevelStack, "nexp"), (MakeCatalogue, "noisecov")])
def test_planes_that_no_step_stacked_lack_what_stacks_have(make_group, step, lacking):
    group = make_group(["both"] * 2, [np.ones((20, 20))] * 2)
    group.streams["main"] = [Plane(np.ones((20, 20), np.float32), np.zeros((20, 20), np.uint16))]
    with pytest.raises(Unmade, match=f"^{lacking}$"):
        step().apply(group, step.Params(), S(step.name))


def test_steps_of_a_plugin_pass_on_results_of_their_own(make_group, write_raw):
    group = night(make_group, write_raw)
    run(group, Weigh, Report)
    assert group.keywords["WEIGHT"] == 5.0


def test_a_closed_group_leaves_nothing_to_be_collected(make_group):
    group, pixels = make_group(["both"] * 2, [np.ones((8, 8))] * 2), np.ones((8, 8), np.uint16)
    group.registration.geometry = geometry(group)
    group.objects.masked["first",] = group.sky.unmasked[0] = group.extras["own"] = pixels
    group.stack.nexp, group.record.glimpse = [pixels], {"sub_1": pixels}
    group.record.provenance = partial(str, group)
    group.calibrations["dark"] = Calibration([Plane(pixels, pixels)])
    left = [weakref.ref(thing) for thing in (pixels, group)]
    del pixels
    gc.disable()
    try:
        group.close()
        assert left[0]() is None
        del group
        assert left[1]() is None
    finally:
        gc.enable()
