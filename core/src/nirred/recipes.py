"""The core's recipes, as data, and how a name, a file's tags and the plugins' patches give the one that runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .errors import ConfigError, PluginError
from .params import nearest, snake
from .plugin.recipes import Recipe, RecipePatch, S

if TYPE_CHECKING:
    from .registry import Registry
    from .step import Step

_CALIBRATED = (S("prepare"), S("add_dq"), S("nonlinearity_correct"), S("adu_to_electrons"), S("add_var"))

DARK = Recipe(
    "make_processed_dark",
    (*_CALIBRATED, S("stack_darks"), S("store_processed_dark")),
    makes="dark",
    doc="linearised, clipped mean of darks of one exposure time",
    aliases=("makeProcessedDark",),
)
FLAT = Recipe(
    "make_processed_flat",
    (
        *_CALIBRATED,
        S("make_lamp_flat"),
        S("normalize_flat"),
        S("threshold_flatfield"),
        S("store_processed_flat"),
    ),
    makes="flat",
    doc="lamp on minus lamp off, normalised to a median of 1",
    aliases=("makeProcessedFlat",),
)
BPM = Recipe(
    "make_processed_bpm",
    (
        *_CALIBRATED,
        S("stack_darks", "darks"),
        S("make_lamp_flat"),
        S("normalize_flat"),
        S("make_bpm"),
        S("store_processed_bpm"),
    ),
    makes="bpm",
    doc="bad pixels from flats and short darks",
    aliases=("makeProcessedBPM",),
)
REDUCE = Recipe(
    "reduce",
    (
        *_CALIBRATED,
        S("dark_correct"),
        S("flat_correct"),
        S("separate_sky"),
        S("associate_sky"),
        S("sky_correct", label="sky_correct_first", mask_objects=False),
        S("detect_sources", label="detect_sources_first"),
        S("adjust_wcs_to_reference", label="adjust_wcs_first"),
        S("mask_objects"),
        S("sky_correct"),
        S("detect_sources"),
        S("adjust_wcs_to_reference"),
        S("scale_counts_to_reference"),
        S("flag_outliers"),
        S("resample_to_common_frame"),
        S("stack_frames"),
        S("level_stack"),
        S("make_catalogue"),
        S("store_processed_science"),
    ),
    makes="image",
    doc="calibrate, subtract the sky in two passes with object masks, register, resample once, stack",
)
CORE = (DARK, BPM, FLAT, REDUCE)


def core_recipes() -> tuple[Recipe, ...]:
    """Recipes that belong to no instrument."""
    return CORE


def all_recipes(registry: Registry) -> dict[str, Recipe]:
    """The core's and the plugins' recipes by name, unpatched.

    Raises
    ------
    PluginError
        Two packages bring a recipe of one name.
    """
    found = {r.name: r for r in CORE}
    origin = dict.fromkeys(found, "nirred")
    for plugin, recipe in registry.recipes():
        if isinstance(recipe, Recipe):
            if recipe.name in found:
                raise PluginError(
                    f"recipe {recipe.name!r} is brought by {origin[recipe.name]} and {plugin}", "uninstall one"
                )
            found[recipe.name], origin[recipe.name] = recipe, plugin
    return found


def recipe_for(name: str, registry: Registry, tags: frozenset[str] = frozenset()) -> Recipe:
    """The recipe of that name with every patch for frames of these tags, in order of the plugins' names.

    Raises
    ------
    ConfigError
        No such recipe; the nearest name is suggested.
    PluginError
        A patch does not fit.
    """
    recipes = all_recipes(registry)
    wanted = next((r for r in recipes.values() if name in (r.name, *r.aliases) or snake(name) == r.name), None)
    if wanted is None:
        raise ConfigError(f"no recipe {name!r}", nearest(snake(name), recipes) or f"known: {', '.join(recipes)}")
    for plugin, patch in registry.recipes():
        if isinstance(patch, RecipePatch) and patch.base == wanted.name and patch.for_tags <= tags:
            try:
                wanted = patch.apply(wanted)
            except ValueError as error:
                raise PluginError(f"{plugin}: {error}", "report it to the plugin's authors") from None
    return wanted


def step_types(registry: Registry | None = None) -> dict[str, type[Step]]:
    """Step classes by name: the core's and the plugins'.

    Raises
    ------
    PluginError
        Two packages bring a step of one name.
    """
    from .steps import CORE_STEPS

    found: dict[str, type[Step]] = {s.name: s for s in CORE_STEPS}
    extra: Iterable[tuple[str, type[Step]]] = registry.steps() if registry else ()
    for plugin, step in extra:
        if step.name in found:
            raise PluginError(f"step {step.name!r} of {plugin} exists already", "rename it")
        found[step.name] = step
    return found
