"""The core's recipes as data, and the choice of a recipe from its name, the frame's tags and the plugins' patches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .config import check_settings
from .errors import ConfigError, PluginError
from .incumbent import STEPS_WITHOUT
from .params import Params, Setting, nearest, resolve, snake
from .plugin.recipes import Recipe, RecipePatch, S, StepCall
from .step import FrameStep, HeaderStep, Step, names_by_alias

if TYPE_CHECKING:
    from .plan.model import FrameInfo
    from .plugin.frames import Descriptors
    from .registry import Registry

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
        S("clean_readout", label="clean_readout_first", before_masks=True),
        S("detect_sources", label="detect_sources_first"),
        S("adjust_wcs_to_reference", label="adjust_wcs_first", final=False),
        S("mask_objects"),
        S("sky_correct", label="sky_correct_hidden", only_hidden=True),
        S("mask_objects", label="mask_objects_hidden", only_hidden=True),
        S("sky_correct"),
        S("clean_readout"),
        S("detect_sources"),
        S("adjust_wcs_to_reference"),
        S("scale_counts_to_reference"),
        S("match_backgrounds"),
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


def _position(step: str) -> int:
    return [call.name for call in REDUCE.steps].index(step)


CHECK_WCS = Recipe(
    "check_wcs",
    (S("check_wcs"),),
    doc="list frames whose WCS contradicts their pointing, with expected and actual values; writes nothing",
    aliases=("checkWCS",),
)
ALIGN_AND_STACK = Recipe(
    "align_and_stack",
    (
        S("read_pieces"),
        S("detect_sources"),
        S("adjust_wcs_to_reference"),
        S("scale_counts_to_reference"),
        S("stack_pieces"),
        S("level_stack"),
        S("make_catalogue"),
        S("store_processed_stack"),
    ),
    makes="image",
    doc="stack finished stacks: register, resample once, weight by depth and variance",
)
SKY_FLAT = Recipe(
    "make_sky_flat",
    (
        *_CALIBRATED,
        S("dark_correct"),
        S("make_sky_flat"),
        S("normalize_flat"),
        S("threshold_flatfield"),
        S("store_processed_flat"),
    ),
    makes="skyflat",
    doc="flat from dithered science frames, objects masked in a second pass, normalised to a median of 1",
    aliases=("makeSkyFlat",),
)
ULTRADEEP = Recipe(
    "ultradeep",
    (
        *REDUCE.steps[: _position("scale_counts_to_reference")],
        S("mask_objects", label="mask_objects_deep", threshold=2.5, dilation=3.0),
        S("sky_correct", label="sky_correct_deep"),
        S("clean_readout", label="clean_readout_deep"),
        S("detect_sources", label="detect_sources_deep"),
        *REDUCE.steps[_position("scale_counts_to_reference") :],
    ),
    makes="image",
    doc="as reduce, with a third sky pass that masks what only the stack of sky-subtracted frames shows",
    aliases=("ultradeep_part1", "ultradeep_part2", "ultradeep_part3"),
)
CORE = (DARK, BPM, FLAT, REDUCE, ULTRADEEP, SKY_FLAT, CHECK_WCS, ALIGN_AND_STACK)

#: The calibration that a step uses.
CALIBRATION_OF = {
    "add_dq": "bpm",
    "dark_correct": "dark",
    "make_lamp_flat": "dark",
    "flat_correct": "flat",
    "get_bpm": "bpm",
    "get_processed_dark": "dark",
    "get_processed_flat": "flat",
}

#: Frame steps whose tables, or the calibration that they use, are in electrons.
IN_ELECTRONS = ("nonlinearity_correct", "add_var", "dark_correct")


class Described(Protocol):
    """A frame, or a file of one, whose owner can be asked for the defaults of its steps."""

    @property
    def owner(self) -> str:
        """Name of its plugin."""

    @property
    def tags(self) -> frozenset[str]:
        """Its tags."""

    @property
    def descriptors(self) -> Descriptors:
        """Its metadata."""


@dataclass(frozen=True)
class BoundCall:
    """A step call with its step class and final parameters."""

    call: StepCall
    step: Step
    params: Params
    origins: dict[str, str]


def core_recipes() -> tuple[Recipe, ...]:
    """Recipes that are independent of the instrument."""
    return CORE


def all_recipes(registry: Registry) -> dict[str, Recipe]:
    """The core's and the plugins' recipes by name, unpatched.

    Raises
    ------
    PluginError
        Two packages provide a recipe with the same name.
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


def labels_of(recipes: Iterable[Recipe]) -> dict[str, str]:
    """{label: step} of the labelled calls of recipes."""
    return {call.label: call.step for recipe in recipes for call in recipe.steps if call.label}


def recipe_for(name: str, registry: Registry, tags: frozenset[str] = frozenset()) -> Recipe:
    """The recipe of that name with all patches for frames with these tags, applied in order of plugin name.

    Raises
    ------
    ConfigError
        No such recipe; the nearest name of a recipe or step is suggested.
    PluginError
        A patch does not fit the recipe.
    """
    recipes = all_recipes(registry)
    wanted = _named(name, recipes.values())
    if wanted is None:
        close = STEPS_WITHOUT.get(snake(name)) or nearest(snake(name), [*recipes, *step_types(registry)])
        raise ConfigError(f"no recipe or step {name!r}", close or f"known: {', '.join(recipes)}")
    for plugin, patch in registry.recipes():
        if isinstance(patch, RecipePatch) and patch.base == wanted.name and patch.for_tags <= tags:
            try:
                wanted = patch.apply(wanted, plugin)
            except ValueError as error:
                raise PluginError(f"{plugin}: {error}", "report it to the plugin's authors") from None
    return wanted


def _named(name: str, recipes: Iterable[Recipe]) -> Recipe | None:
    return next((r for r in recipes if name in (r.name, *r.aliases) or snake(name) in (r.name, *r.aliases)), None)


def own_recipe(name: str | None, registry: Registry) -> Recipe | None:
    """The recipe in a file (FILE.toml), or the one made from the name of a step. None for a registered recipe.

    A recipe from a file is not patched by plugins.

    Raises
    ------
    ConfigError
        No such file, no recipe in it, a step that does not exist, or one that cannot be run on its own.
    """
    if name is None or (not name.lower().endswith(".toml") and _named(name, all_recipes(registry).values())):
        return None
    if not name.lower().endswith(".toml"):
        return step_recipe(name, registry)
    from .recipe_files import read_recipe

    recipe = read_recipe(name)
    types = step_types(registry)
    for call in recipe.steps:
        if call.step not in types:
            hint = STEPS_WITHOUT.get(call.step) or nearest(call.step, types) or "`nirred recipes`"
            raise ConfigError(f"recipe {name}: no step {call.step!r}", hint)
        check_settings((Setting(call.step, key, value, f"recipe {name}") for key, value in call.params), types)
    return recipe


def step_recipe(name: str, registry: Registry) -> Recipe | None:
    """A recipe that runs one step; None: no step of that name.

    - A frame step runs with all others off, except the conversion to electrons if it needs electrons.
    - A step that uses headers only runs alone.
    - Any other step needs the steps before it: the first recipe that contains it runs up to there. Nothing is stored
      as a calibration or an image; `write_frames` writes the frames or combined planes as NAME_STEP.fits.

    Raises
    ------
    ConfigError
        No recipe contains the step, so the steps before it are unknown.
    """
    types = step_types(registry)
    step = names_by_alias(types).get(name, snake(name))
    if step not in types:
        return None
    doc = types[step].doc
    if issubclass(types[step], FrameStep):
        order = ("prepare", "adu_to_electrons") if step in IN_ELECTRONS else ("prepare",)
        single = (S(step),) if step in order else tuple(S(s) for s in (*order, step))
        return Recipe(step, (*single, S("write_frames", suffix=step)), doc=doc)
    if issubclass(types[step], HeaderStep) and step in CALIBRATION_OF:
        return Recipe(step, (S(step),), doc=doc)
    for recipe in (REDUCE, DARK, FLAT, *all_recipes(registry).values()):
        last = max((n for n, call in enumerate(recipe.steps) if call.step == step), default=-1)
        if last >= 0:
            calls = recipe.steps[: last + 1]
            end = () if step.startswith("store_") else (S("write_frames", calls[-1].gives, suffix=step),)
            return Recipe(step, (*calls, *end), recipe.makes, doc)
    raise ConfigError(f"step {name!r} is in no recipe, so the steps before it are unknown", "write a FILE.toml")


def recipe_of(name: str, own: Recipe | None, registry: Registry, tags: frozenset[str]) -> Recipe:
    """The recipe of a task: the user's `own` if it has that name, else the registered one for these tags."""
    return own if own is not None and own.name == name else recipe_for(name, registry, tags)


def lacking(own: Recipe | None, name: str, registry: Registry, tags: frozenset[str]) -> list[str]:
    """A remark if the user's `own` recipe lacks steps that plugins add, for these tags, to the recipe of its name."""
    recipes = all_recipes(registry)
    if own is None or own.name != name or name not in recipes:
        return []
    known = {call.step for recipe in (own, recipes[name]) for call in recipe.steps}
    added = dict.fromkeys(c.step for c in recipe_for(name, registry, tags).steps if c.step not in known)
    where = f"`nirred recipe show {name} FRAME --toml` has them"
    return [f"your recipe {name} lacks what this camera adds to it: {', '.join(added)} ({where})"] if added else []


def step_types(registry: Registry | None = None) -> dict[str, type[Step]]:
    """Step classes of the core and the plugins, by name.

    Raises
    ------
    PluginError
        Two packages provide a step with the same name.
    """
    from .steps import CORE_STEPS

    found: dict[str, type[Step]] = {s.name: s for s in CORE_STEPS}
    extra: Iterable[tuple[str, type[Step]]] = registry.steps() if registry else ()
    for plugin, step in extra:
        if step.name in found:
            raise PluginError(f"step {step.name!r} of {plugin} exists already", "rename it")
        found[step.name] = step
    return found


def usual_settings(call: StepCall, recipe: str, frame: Described, registry: Registry) -> list[Setting]:
    """Settings of a call of a recipe for a frame if the user sets nothing: the plugin's, then those of the recipe.

    What the owner's patches set is part of its recipe; what those of other packages set has their names.
    """
    own = registry.ask(
        frame.owner, "nirred_step_defaults", step=call.step, tags=frame.tags, descriptors=frame.descriptors
    )
    others = {k: f"patch of {recipe} by {plugin}" for k, plugin in call.set_by if plugin != frame.owner}
    return [
        *(Setting(call.step, k, v, f"plugin {frame.owner}") for k, v in (own or {}).items()),
        *(Setting(call.step, k, v, others.get(k, f"recipe {recipe}")) for k, v in call.params),
    ]


def bind(recipe: Recipe, frame: FrameInfo, settings: Sequence[Setting], registry: Registry) -> tuple[BoundCall, ...]:
    """Resolve the parameters of every call of a recipe for a group whose first frame is `frame`.

    Layers, lowest first: the step's defaults, the plugin's for this frame, the recipe's, then `settings` in order, as
    returned by `config.check_settings`. A setting may name a step (all its calls) or the label of a call.

    Raises
    ------
    ConfigError
        An unknown step, or a value that does not fit.
    """
    types = step_types(registry)
    bound = []
    for call in recipe.steps:
        if call.step not in types:
            raise ConfigError(f"recipe {recipe.name!r}: no step {call.step!r}", nearest(call.step, types))
        kind = types[call.step]
        layers = usual_settings(call, recipe.name, frame, registry)
        layers += [s for s in settings if s.step in (call.step, call.name)]
        params, origins = resolve(call.name, kind.Params, layers)
        bound.append(BoundCall(call, kind(), params, origins))
    return tuple(bound)


def unused_kinds(calls: Iterable[BoundCall]) -> frozenset[str]:
    """Kinds of calibration that a bound recipe does not use: their steps are absent, or a parameter skips them.

    A plugin's step may use any kind; if the recipe has one, only skipped steps count.
    """
    calls = list(calls)
    skipped = {c.call.step for c in calls if _declines(c.params)}
    named = {CALIBRATION_OF[c.call.step] for c in calls if c.call.step in CALIBRATION_OF}
    active = {CALIBRATION_OF[c.call.step] for c in calls if c.call.step in CALIBRATION_OF.keys() - skipped}
    foreign = {c.call.step for c in calls} - step_types().keys()
    return frozenset((named if foreign else set(CALIBRATION_OF.values())) - active)


def demanded_kinds(calls: Iterable[BoundCall]) -> frozenset[str]:
    """Kinds of calibration without which a parameter lets the bound recipe stop (`do_cal=force`)."""
    forced = (c for c in calls if getattr(c.params, "do_cal", "") == "force" and not c.params.skip)
    return frozenset(CALIBRATION_OF[c.call.step] for c in forced if c.call.step in CALIBRATION_OF)


def _declines(params: Params) -> bool:
    """Whether a parameter tells the step not to use its calibration."""
    without = getattr(params, "do_cal", "") == "skip" or getattr(params, "static_bpm", "default") is None
    return params.skip or without
