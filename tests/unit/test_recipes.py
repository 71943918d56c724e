"""Recipes by name, alias and other pipelines' spelling, patched, or of one step; the calibrations that they use."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nirred.errors import ConfigError, PluginError
from nirred.params import Params, param
from nirred.plugin import Recipe, RecipePatch, S, hookimpl
from nirred.plugin.recipes import StepCall
from nirred.recipes import (
    CORE,
    REDUCE,
    ULTRADEEP,
    BoundCall,
    all_recipes,
    core_recipes,
    own_recipe,
    recipe_for,
    step_recipe,
    step_types,
    unused_kinds,
    usual_settings,
)
from nirred.registry import Registry
from nirred.step import FrameStep


def registry_of(**plugins):
    registry = Registry()
    for name, parts in plugins.items():

        class Plugin:
            NIRRED_API = (1, 0)
            found = tuple(parts)

            @hookimpl
            def nirred_recipes(self):
                return [p for p in self.found if isinstance(p, Recipe | RecipePatch)]

            @hookimpl
            def nirred_steps(self):
                return [p for p in self.found if isinstance(p, type)]

        assert not registry.add(Plugin(), name, name).error
    return registry


@pytest.mark.parametrize("recipe", CORE, ids=lambda r: r.name)
def test_core_recipes_are_found_under_every_name(recipe):
    registry = Registry()
    assert all(recipe_for(name, registry) == recipe for name in (recipe.name, *recipe.aliases))


def test_the_last_registration_of_a_recipe_is_the_final_one():
    for recipe in CORE:
        calls = [dict(call.params) for call in recipe.steps if call.step == "adjust_wcs_to_reference"]
        assert [c.get("final", True) for c in calls] == [False] * (len(calls) - 1) + [True] * bool(calls), recipe.name


def test_an_unknown_recipe_suggests_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'reduce'"):
        recipe_for("redcue", Registry())
    with pytest.raises(ConfigError, match="known: "):
        recipe_for("qqqqq", Registry())
    with pytest.raises(ConfigError, match="--exclude NAMES"):  # a step of DRAGONS that is none here
        recipe_for("removeFirstFrame", Registry())


def test_patches_hold_for_their_tags_only_and_never_change_the_base():
    tags = frozenset({"NIRI", "L"})
    patch = RecipePatch(
        "reduce",
        frozenset({"NIRI"}),
        insert=(("dark_correct", S("extra")),),
        drop=("flag_outliers",),
        set={"sky_correct": {"nsigma": 5.0}},
    )
    registry = registry_of(niri=[patch])
    base, varied = recipe_for("reduce", registry), recipe_for("reduce", registry, tags)
    names = [c.name for c in varied.steps]
    assert names[names.index("dark_correct") + 1] == "extra" and "flag_outliers" not in names
    assert dict(next(c for c in varied.steps if c.name == "sky_correct").params) == {"nsigma": 5.0}
    assert dict(next(c for c in varied.steps if c.name == "sky_correct_first").params) == {"mask_objects": False}
    assert base == next(r for r in CORE if r.name == "reduce")


def test_values_of_patches_have_the_name_of_another_package_as_their_origin():
    """What a camera's own plugin changes in a recipe is the camera's recipe."""
    patch = RecipePatch(
        "reduce",
        frozenset({"A"}),
        insert=(("level_stack", S("write_frames", suffix="end")),),
        set={"sky_correct": {"nsigma": 6.0, "model": False}, "sky_correct_first": {"nsigma": 6.0}},
    )
    later = RecipePatch("reduce", frozenset({"A"}), set={"sky_correct": {"nsigma": 7.0}})
    registry = registry_of(site=[patch], team=[later])

    def origins(owner: str) -> dict[tuple[str, str], tuple[Any, str]]:
        frame = SimpleNamespace(owner=owner, tags=frozenset({"A"}), descriptors=None)
        calls = recipe_for("reduce", registry, frame.tags).steps
        given = [(c.name, s) for c in calls for s in usual_settings(c, "reduce", frame, registry)]
        return {(name, s.name): (s.value, s.origin) for name, s in given}

    found = origins("team")
    assert found["sky_correct", "model"] == (False, "patch of reduce by site")
    assert found["write_frames", "suffix"] == ("end", "patch of reduce by site")
    assert found["sky_correct_first", "nsigma"] == (6.0, "patch of reduce by site")
    assert found["sky_correct_first", "mask_objects"] == (False, "recipe reduce")
    assert found["sky_correct", "nsigma"] == (7.0, "recipe reduce")
    assert origins("site")["sky_correct", "nsigma"] == (7.0, "patch of reduce by team")


def test_a_patch_that_does_not_fit_names_its_plugin():
    registry = registry_of(odd=[RecipePatch("reduce", frozenset(), drop=("fly",))])
    with pytest.raises(PluginError, match=r"odd: .*fly"):
        recipe_for("reduce", registry)


def test_recipes_of_one_name_are_refused_naming_both():
    recipe = Recipe("mine", (S("prepare"),))
    with pytest.raises(PluginError, match="'mine' is brought by one and two"):
        all_recipes(registry_of(one=[recipe], two=[recipe]))
    with pytest.raises(PluginError, match="nirred and one"):
        all_recipes(registry_of(one=[Recipe("reduce", ())]))
    assert recipe_for("mine", registry_of(one=[recipe])) == recipe


def test_steps_of_plugins_join_and_may_not_replace():
    class Polish(FrameStep):
        name = "polish"
        doc = "polish"

        def configure(self, setup, params, group):
            raise NotImplementedError

    class Prepare(Polish):
        name = "prepare"

    assert step_types(registry_of(one=[Polish]))["polish"] is Polish
    with pytest.raises(PluginError, match="'prepare' of one exists"):
        step_types(registry_of(one=[Prepare]))


def names(recipe: Recipe | None) -> list[str]:
    assert recipe is not None
    return [call.name for call in recipe.steps]


def test_every_step_of_every_core_recipe_exists() -> None:
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


def test_a_file_with_a_step_that_only_dragons_has(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('[[steps]]\nstep = "removeFirstFrame"\n')
    with pytest.raises(ConfigError, match="no step 'remove_first_frame'") as caught:
        own_recipe(str(tmp_path / "r.toml"), Registry())
    assert "--exclude" in caught.value.hint


def test_what_a_frame_without_sky_is_told_to_run_calibrates_it_in_full() -> None:
    calibration = ["add_dq", "nonlinearity_correct", "adu_to_electrons", "add_var", "dark_correct", "flat_correct"]
    assert names(step_recipe("separate_sky", Registry())) == ["prepare", *calibration, "separate_sky", "write_frames"]


def test_recipes_come_before_steps_of_their_name() -> None:
    registry = Registry()
    assert own_recipe("checkWCS", registry) is None and own_recipe(None, registry) is None
    assert recipe_for("ultradeep_part1", registry) == recipe_for("ultradeepPart2", registry) == ULTRADEEP
    assert recipe_for("makeSkyFlat", registry).makes == "skyflat"
    with pytest.raises(ConfigError, match="sky_correct"):
        recipe_for("skyCorect", registry)


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
