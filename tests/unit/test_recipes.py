"""Recipes by name, alias and other pipelines' spelling, patched by plugins."""

from __future__ import annotations

import pytest

from nirred.errors import ConfigError, PluginError
from nirred.plugin import Recipe, RecipePatch, S, hookimpl
from nirred.recipes import CORE, all_recipes, recipe_for, step_types
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
