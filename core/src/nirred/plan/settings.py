"""Detect settings that the plan does not use."""

from __future__ import annotations

from collections.abc import Iterable

from ..config import GIVEN
from ..errors import ConfigError
from ..params import Setting
from ..plugin.recipes import Recipe


def refuse_unused(settings: Iterable[Setting], planned: Iterable[Recipe]) -> None:
    """Refuse a parameter of a step that is in no planned recipe, unless nothing is planned at all.

    A parameter given without a step applies to every step that has it: one of these in the plan is enough.

    Raises
    ------
    ConfigError
        The setting is unused; the message gives its origin and the steps of the plan.
    """
    names = {name for recipe in planned for call in recipe.steps for name in (call.step, call.name)}
    used = {(s.name, s.origin, str(s.value)) for s in settings if s.step in names}
    for s in settings if names else ():
        if s.origin in GIVEN and s.step not in names and (s.name, s.origin, str(s.value)) not in used:
            raise ConfigError(
                f"{s.step}:{s.name} ({s.origin}): unused parameter: no planned recipe has this step",
                f"steps of the plan: {', '.join(sorted(names))}",
            )
