"""Recipes as data: tuples of step calls that can be printed, planned, hashed and patched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class StepCall:
    """One call of a step in a recipe.

    Parameters
    ----------
    step : str
        Name of the step.
    takes, gives : str
        Names of its input and output streams of planes.
    params : tuple of (str, value)
        Parameters set by the recipe; they override the defaults of the step and the plugin.
    label : str
        Name of this call if a recipe calls the step twice.
    set_by : tuple of (str, str)
        (parameter, plugin) of the parameters set by a `RecipePatch`, for messages and provenance.
    """

    step: str
    takes: str = "main"
    gives: str = "main"
    params: tuple[tuple[str, Any], ...] = ()
    label: str = ""
    set_by: tuple[tuple[str, str], ...] = field(default=(), compare=False)

    @property
    def name(self) -> str:
        """The label if there is one, else the name of the step."""
        return self.label or self.step


def S(step: str, takes: str = "main", gives: str | None = None, label: str = "", **params: Any) -> StepCall:
    """Shorthand for a `StepCall`: ``S("sky_correct", "sky", "skysub", mask_objects=False)``."""
    return StepCall(step, takes, takes if gives is None else gives, tuple(sorted(params.items())), label)


@dataclass(frozen=True)
class Recipe:
    """A named sequence of steps.

    Parameters
    ----------
    name : str
        snake_case; unique.
    steps : tuple of StepCall
        In order.
    makes : str
        Kind of product: dark, bpm, flat, image, skyflat; empty for checks without a product.
    doc : str
        One line for `nirred recipes`.
    aliases : tuple of str
        Other names that -r accepts.
    """

    name: str
    steps: tuple[StepCall, ...]
    makes: str = ""
    doc: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class RecipePatch:
    """Changes to a recipe for some frames, without a copy of it.

    Parameters
    ----------
    base : str
        Name of the recipe.
    for_tags : frozenset of str
        Tags that the frames must have.
    insert : tuple of (str, StepCall)
        (name of the step call after which to insert, or "" for the start; the call).
    drop : tuple of str
        Names of step calls to leave out.
    set : Mapping
        {step call name: {parameter: value}}.
    """

    base: str
    for_tags: frozenset[str]
    insert: tuple[tuple[str, StepCall], ...] = ()
    drop: tuple[str, ...] = ()
    set: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] | Mapping[str, Mapping[str, Any]] = ()

    def apply(self, recipe: Recipe, by: str = "") -> Recipe:
        """Return the recipe with this patch, of plugin `by`, applied.

        Raises
        ------
        ValueError
            The patch names a step that the recipe does not have.
        """
        settings = {k: dict(v) for k, v in (self.set.items() if isinstance(self.set, Mapping) else self.set)}
        names = {call.name for call in recipe.steps}
        wanted = [*self.drop, *settings, *(after for after, _ in self.insert if after)]
        missing = sorted(set(wanted) - names)
        if missing:
            raise ValueError(f"recipe {recipe.name!r} has no step {', '.join(missing)} to patch")
        own = [(after, replace(call, set_by=tuple((k, by) for k, _ in call.params))) for after, call in self.insert]
        steps = [call for after, call in own if not after]
        for call in recipe.steps:
            if call.name not in self.drop:
                changed = settings.get(call.name, {})
                merged, set_by = dict(call.params) | changed, dict(call.set_by) | dict.fromkeys(changed, by)
                steps.append(replace(call, params=tuple(sorted(merged.items())), set_by=tuple(set_by.items())))
            steps += [new for after, new in own if after == call.name]
        return replace(recipe, steps=tuple(steps))
