"""Packages that affect a task in addition to the owner of its frames, and how."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..plugin.recipes import RecipePatch

if TYPE_CHECKING:
    from ..plan.model import Task
    from ..recipes import BoundCall
    from ..registry import Registry


def addons(task: Task, calls: Iterable[BoundCall], registry: Registry) -> dict[str, list[str]]:
    """{plugin: its contribution} for all plugins except the owner: recipe patches, steps, rules and masks.

    Parameters
    ----------
    task : Task
        The task.
    calls : iterable of BoundCall
        Its recipe, bound to parameters.
    registry : Registry
        The plugins.
    """
    first = task.first
    steps = {type(b.step) for b in calls}
    found: list[tuple[str, str]] = []
    for name, recipe in registry.recipes():
        if isinstance(recipe, RecipePatch):
            if recipe.base == task.recipe and recipe.for_tags <= first.tags:
                found.append((name, f"patch of {recipe.base}"))
        elif recipe.name == task.recipe:
            found.append((name, f"recipe {recipe.name}"))
    found += [(name, f"step {step.name}") for name, step in registry.steps() if step in steps]
    kinds = {a.kind for a in task.calibrations} | {m.kind for m in task.missing}
    used = {id(r) for r in _rules_used(task, registry)}
    found += [(n, f"rule {r.kind}") for n, r in registry.rules() if id(r) in used and r.kind in kinds]
    masks = [(n, m) for n, m in registry.masks() if m.for_tags <= first.tags and not m.not_tags & first.tags]
    found += [(name, f"mask {mask.name}") for name, mask in masks]
    brought: dict[str, list[str]] = {}
    for name, what in found:
        if name != first.owner:
            brought.setdefault(name, []).append(what)
    return brought


def _rules_used(task: Task, registry: Registry) -> Iterable[object]:
    from ..plan.associate import rules_for

    return rules_for(task.first, registry).values()
