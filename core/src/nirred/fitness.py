"""Check that plugins are consistent: names are unique, and recipes and patches call existing steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .errors import ConfigError
from .params import Setting, nearest, resolve
from .plugin.recipes import Recipe, RecipePatch, StepCall
from .recipes import core_recipes, step_types

if TYPE_CHECKING:
    from .registry import Registry
    from .step import Step

#: Hooks that are asked once: if one of them fails, a plugin's contributions are not known.
_ONCE = ("nirred_steps", "nirred_recipes", "nirred_calibration_rules", "nirred_masks", "nirred_executors")
#: Ways to run tasks that the core brings.
EXECUTORS = ("serial", "threads", "processes")


def refuse_unfit(registry: Registry) -> None:
    """Refuse every plugin with contributions that cannot be used; the others stay in use.

    If two packages use the same name, the later in order of name is refused, with both named. A plugin is refused as a
    whole.

    Parameters
    ----------
    registry : Registry
        Changed in place. A second call changes nothing.
    """
    for find in (_taken_name, _hook_fault, _unfit_recipe):
        for name in registry.names:
            error = find(name, registry)
            if error:
                registry.refuse(name, error)


def _own(pairs: Iterable[tuple[str, Any]], name: str) -> list[Any]:
    return [item for plugin, item in pairs if plugin == name]


def _hook_fault(name: str, registry: Registry) -> str:
    """Error of a registered-once hook; the fault is then the reason of the refusal and no longer one of its own."""
    registry.rules()  # asks, if nobody did; `_taken_name` has asked the other hooks
    fault = registry.faults.get(name)
    return registry.faults.pop(name).text if fault is not None and fault.hook in _ONCE else ""


def _taken_name(name: str, registry: Registry) -> str:
    core = core_recipes()
    kinds: Mapping[str, tuple[Iterable[str], list[tuple[str, Any]]]] = {
        "step": (step_types(), registry.steps()),
        "recipe": ((n for r in core for n in (r.name, *r.aliases)), _whole(registry)),
        "mask": ((), registry.masks()),
        "executor": (EXECUTORS, registry.executors()),
    }
    for what, (taken, pairs) in kinds.items():
        owners = dict.fromkeys(taken, "nirred")
        for plugin, item in pairs:
            if item.name in owners and plugin == name:
                return f"{what} {item.name!r} is already brought by {owners[item.name]}"
            owners.setdefault(item.name, registry.found[plugin].package)
    return ""


def _whole(registry: Registry) -> list[tuple[str, Any]]:
    return [(plugin, r) for plugin, r in registry.recipes() if isinstance(r, Recipe)]


def _unfit_recipe(name: str, registry: Registry) -> str:
    types = step_types(registry)
    recipes = {r.name: r for r in (*core_recipes(), *(r for _, r in _whole(registry)))}
    patches = [p for _, p in registry.recipes() if isinstance(p, RecipePatch)]
    for item in _own(registry.recipes(), name):
        if isinstance(item, Recipe):
            calls, what = list(item.steps), f"recipe {item.name!r}"
        elif item.base not in recipes:
            return f"patch of recipe {item.base!r}: {nearest(item.base, recipes) or 'there is no such recipe'}"
        else:
            inserted = {c.name: c.step for p in patches if p.base == item.base for _, c in p.insert}
            known = {c.name: c.step for c in recipes[item.base].steps} | inserted
            missing = sorted({*item.drop, *_sets(item), *(after for after, _ in item.insert if after)} - known.keys())
            if missing:
                return f"patch of recipe {item.base!r}: it has no step {missing[0]!r} to patch"
            changed = (StepCall(known[k], params=tuple(v.items())) for k, v in _sets(item).items())
            calls, what = [c for _, c in item.insert] + list(changed), f"patch of recipe {item.base!r}"
        fault = next(_call_faults(calls, types), "")
        if fault:
            return f"{what}: {fault}"
    return ""


def _sets(patch: RecipePatch) -> dict[str, dict[str, Any]]:
    return {k: dict(v) for k, v in (patch.set.items() if isinstance(patch.set, Mapping) else patch.set)}


def _call_faults(calls: Iterable[StepCall], types: Mapping[str, type[Step]]) -> Iterator[str]:
    for call in calls:
        if not isinstance(call, StepCall):
            yield f"a {type(call).__name__} is no step call; write S(...)"
        elif call.step not in types:
            yield f"there is no step {call.step!r}; {nearest(call.step, types)}".removesuffix("; ")
        else:
            try:
                resolve(call.name, types[call.step].Params, [Setting(call.step, k, v, "it") for k, v in call.params])
            except ConfigError as error:
                yield str(error)
