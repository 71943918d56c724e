"""``nirred params``: the parameters that apply to one file, and their origins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .common import echo_json, echo_table, registry
from .group import example

if TYPE_CHECKING:
    from ..described import File
    from ..plugin.recipes import StepCall
    from ..registry import Registry
    from ..step import Step


@example("nirred params raw/N20160102S0270.fits sky_correct", "nirred params raw/N20160102S0270.fits associateSky")
@click.command()
@click.argument("file")
@click.argument("step", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
def params(file: str, step: str | None, as_json: bool) -> None:
    """Print the parameters of STEP (or of all steps of the file's recipe) for FILE: default, plugin's, recipe's or
    configured value, and its origin.
    """
    from ..described import File

    found = registry()
    rows = list(_rows(File(file, found), step, found))
    if as_json:
        echo_json(rows)
        return
    by_call: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_call.setdefault(row["step"], []).append(row)
    for call, own in by_call.items():
        cells = [(r["name"], r["value"], r["unit"], r["origin"], r["doc"]) for r in own]
        echo_table(call, ("parameter", "value", "unit", "origin", "what it does"), cells)


def _rows(frame: File, step: str | None, plugins: Registry) -> Iterator[dict[str, Any]]:
    from ..config import check_settings, load_config
    from ..params import resolve
    from ..recipes import all_recipes, labels_of, step_types, usual_settings

    types = step_types(plugins)
    recipe, calls = _calls(frame, step, plugins, types)
    configured = load_config([frame.path])
    # settings for a label of another recipe do not apply to this file; a misspelt label is an error: check all recipes
    labels = labels_of(all_recipes(plugins).values()) | {c.label: c.step for c in calls if c.label}
    settings = check_settings(configured.settings, types, labels)
    for call in calls:
        kind = types[call.step].Params
        layers = usual_settings(call, recipe, frame, plugins)
        layers += [s for s in settings if s.step in (call.step, call.name)]
        values, origins = resolve(call.step, kind, layers)
        for name, field in kind.model_fields.items():
            yield {
                "step": call.name,
                "name": name,
                "value": getattr(values, name),
                "unit": kind.unit(name),
                "origin": origins[name],
                "doc": field.description or "",
            }


def _calls(
    frame: File, step: str | None, plugins: Registry, types: dict[str, type[Step]]
) -> tuple[str, list[StepCall]]:
    """Name of the file's recipe, and its calls of the step (a call without parameters if there is none)."""
    from ..params import nearest, snake
    from ..plugin.recipes import StepCall
    from ..recipe_files import FOR_ROLE
    from ..recipes import recipe_for
    from ..step import names_by_alias

    name = FOR_ROLE.get(frame.descriptors.role, "")
    calls = list(recipe_for(name, plugins, frame.tags).steps) if name else []
    if step is None:
        if not calls:
            role = frame.descriptors.role
            raise ConfigError(f"{frame.path.name}: frames of role {role!r} have no recipe", "name a step")
        return name, calls
    wanted = names_by_alias(types).get(step, snake(step))
    own = [c for c in calls if wanted in (c.step, c.name)]
    if not own and wanted not in types:
        raise ConfigError(f"no step {step!r}", nearest(wanted, types) or f"known: {', '.join(sorted(types))}")
    return name, own or [StepCall(wanted)]
