"""The recipe for a name, the calibrations that it uses, and its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.errors import ConfigError
from nirred.params import Params, Setting, param
from nirred.plugin.recipes import Recipe, S, StepCall
from nirred.recipe_files import read_recipe
from nirred.recipes import REDUCE, ULTRADEEP, BoundCall, own_recipe, recipe_for, step_recipe, step_types, unused_kinds
from nirred.registry import Registry
from nirred.run.settings import refuse_unused


def names(recipe: Recipe | None) -> list[str]:
    assert recipe is not None
    return [call.name for call in recipe.steps]


def test_every_step_of_every_core_recipe_exists() -> None:
    from nirred.recipes import core_recipes

    types = step_types()
    assert {c.step for r in core_recipes() for c in r.steps} <= types.keys()
    for recipe in core_recipes():
        labels = [c.name for c in recipe.steps]
        assert len(labels) == len(set(labels))


def test_a_frame_step_runs_with_the_others_off() -> None:
    registry = Registry()
    assert names(step_recipe("flatCorrect", registry)) == ["prepare", "flat_correct", "write_frames"]
    assert names(step_recipe("addDQ", registry)) == ["prepare", "add_dq", "write_frames"]
    needs = ["prepare", "adu_to_electrons", "nonlinearity_correct", "write_frames"]
    assert names(step_recipe("nonlinearityCorrect", registry)) == needs
    assert names(step_recipe("ADUToElectrons", registry)) == ["prepare", "adu_to_electrons", "write_frames"]


def test_a_group_step_runs_what_comes_before_it_and_stores_nothing() -> None:
    found = step_recipe("skyCorrect", Registry())
    before = names(found)[:-1]
    assert before == [c.name for c in REDUCE.steps][: len(before)] and before[-1] == "sky_correct"
    assert names(found)[-1] == "write_frames" and found is not None and found.makes == "image"
    dark = step_recipe("stackDarks", Registry())
    assert dark is not None and dark.makes == "dark" and not any(n.startswith("store") for n in names(dark))
    assert names(step_recipe("getBPM", Registry())) == ["get_bpm"]
    assert step_recipe("nothing", Registry()) is None


def test_recipes_come_before_steps_of_their_name() -> None:
    registry = Registry()
    assert own_recipe("checkWCS", registry) is None and own_recipe(None, registry) is None
    assert recipe_for("ultradeep_part1", registry) == recipe_for("ultradeepPart2", registry) == ULTRADEEP
    assert recipe_for("makeSkyFlat", registry).makes == "skyflat"
    with pytest.raises(ConfigError, match="sky_correct"):
        recipe_for("skyCorect", registry)


def test_a_product_that_nobody_makes(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('makes = "imag"\n[[steps]]\nstep = "prepare"\n')
    with pytest.raises(ConfigError, match="image"):
        read_recipe(tmp_path / "r.toml")


class _Dark(Params):
    do_cal: str = param("procmode", "x")


def bound(*calls: tuple[str, Any]) -> list[BoundCall]:
    types = step_types()
    return [BoundCall(StepCall(name), types.get(name, types["prepare"])(), params, {}) for name, params in calls]


def test_calibrations_of_absent_and_skipped_steps_are_not_sought() -> None:
    dark, flat, mask = ("dark_correct", _Dark()), ("flat_correct", _Dark()), ("add_dq", Params())
    assert unused_kinds(bound(dark, flat, mask)) == set()
    assert unused_kinds(bound(dark, mask)) == {"flat"}
    assert unused_kinds(bound(("dark_correct", _Dark(do_cal="skip")), flat, mask)) == {"dark"}
    assert unused_kinds(bound(("dark_correct", _Dark(skip=True)), flat, ("add_dq", Params(skip=True)))) == {
        "dark",
        "bpm",
    }
    # A plugin's step may use any calibration, unless the core's step for it is skipped by name.
    strange = ("their_own_step", Params())
    assert unused_kinds(bound(strange, mask)) == set()
    assert unused_kinds(bound(strange, ("dark_correct", _Dark(do_cal="skip")))) == {"dark"}


def test_settings_without_a_step_need_one_taker() -> None:
    planned = [Recipe("r", (S("add_dq"), S("sky_correct", label="sky_correct_first")))]
    used = [
        Setting("add_dq", "time", 3, "command line"),
        Setting("associate_sky", "time", 3, "command line"),  # from `-p time=3`, with the one above
        Setting("sky_correct_first", "nsigma", 3, "command line"),
        Setting("make_bpm", "dark_lo_thresh", 0, "nirred.toml"),  # a file applies to all runs
    ]
    refuse_unused(used, planned)
    with pytest.raises(ConfigError, match="unused parameter"):
        refuse_unused([*used, Setting("make_bpm", "dark_lo_thresh", 0, "nirred.run()")], planned)
