"""Which value every parameter of every step call has, and who set it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..params import Params, Setting, nearest, resolve, snake
from ..plugin.recipes import Recipe, StepCall
from ..recipes import step_types

if TYPE_CHECKING:
    from ..plan.model import FrameInfo
    from ..registry import Registry
    from ..step import Step


@dataclass(frozen=True)
class BoundCall:
    """A step call with its step and its parameters as they will be used."""

    call: StepCall
    step: Step
    params: Params
    origins: dict[str, str]


def check_settings(settings: Iterable[Setting], registry: Registry) -> None:
    """Refuse a setting whose step or parameter no recipe could use.

    Raises
    ------
    ConfigError
        Naming the setting, who made it, and the nearest name.
    """
    types = step_types(registry)
    labels = {name: name for name in types}
    for s in settings:
        name = snake(s.step)
        base = _base_name(name, types)
        if s.step and base is None:
            raise ConfigError(
                f"{s.step}:{s.name} ({s.origin}): no such step", nearest(name, labels) or "see nirred recipes"
            )
        owners = [types[base]] if base else list(types.values())
        if not any(snake(s.name) in t.Params.model_fields or _legacy(s.name) for t in owners):
            known = {k for t in owners for k in t.Params.model_fields}
            hint = nearest(snake(s.name), known) or f"known: {', '.join(sorted(known))}"
            raise ConfigError(f"{s.step or 'any step'}:{s.name} ({s.origin}): no such parameter", hint)


def _legacy(name: str) -> bool:
    return name in ("skip_primitive",)


def _base_name(name: str, types: dict[str, type[Step]]) -> str | None:
    """Step type that a step's name, alias or a recipe's label stands for."""
    if name in types:
        return name
    for own, kind in types.items():
        if name in kind.aliases or name in [snake(a) for a in kind.aliases]:
            return own
    label = name.removesuffix("_first")
    return label if label != name and label in types else None


def bind(recipe: Recipe, frame: FrameInfo, settings: Sequence[Setting], registry: Registry) -> tuple[BoundCall, ...]:
    """Resolve every call of a recipe for a group whose first frame is `frame`.

    Layers, low to high: the step's defaults, the plugin's for this frame, the recipe's, then `settings` in order. A
    setting may name a step (all its calls), a call's label, or no step (every step that has the parameter).

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
        own = registry.ask(
            frame.owner, "nirred_step_defaults", step=call.step, tags=frame.tags, descriptors=frame.descriptors
        )
        layers = [Setting(call.step, k, v, f"plugin {frame.owner}") for k, v in (own or {}).items()]
        layers += [Setting(call.step, k, v, f"recipe {recipe.name}") for k, v in call.params]
        layers += [_named(s) for s in settings if _concerns(s, call, kind, types)]
        params, origins = resolve(call.name, kind.Params, layers)
        bound.append(BoundCall(call, kind(), params, origins))
    return tuple(bound)


def _named(s: Setting) -> Setting:
    return Setting(s.step, "skip" if s.name == "skip_primitive" else s.name, s.value, s.origin)


def _concerns(s: Setting, call: StepCall, kind: type[Step], types: dict[str, type[Step]]) -> bool:
    if not s.step:
        return snake(s.name) in kind.Params.model_fields
    name = snake(s.step)
    return name == call.name or (
        name != call.name and _base_name(name, types) == call.step and not name.endswith("_first")
    )
