"""``nirred recipes`` and ``nirred recipe show``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from .common import echo_json, echo_table, registry
from .group import example

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe


@example("nirred recipes", "nirred recipes raw/N20160102S0270.fits")
@click.command()
@click.argument("file", required=False)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def recipes(file: str | None, as_json: bool) -> None:
    """List all recipes; with FILE, print the one that would reduce it."""
    from ..recipes import all_recipes, core_recipes

    found = registry(needed=file is not None)
    if file is not None:
        _for_file(file, as_json)
        return
    core = {r.name for r in core_recipes()}
    rows = [(r.name, r.makes, "core" if r.name in core else "plugin", r.doc) for r in all_recipes(found).values()]
    if as_json:
        echo_json([dict(zip(("name", "makes", "origin", "doc"), row)) for row in rows])
    else:
        echo_table("", ("recipe", "makes", "from", "does"), rows)


def _for_file(file: str, as_json: bool) -> None:
    from ..described import File
    from ..recipe_files import FOR_ROLE
    from ..recipes import recipe_for

    found = registry()
    frame = File(file, found)
    tags, role = frame.tags, frame.descriptors.role
    name = FOR_ROLE.get(role) if not frame.unsupported else None
    recipe = recipe_for(name, found, tags) if name else None
    if as_json:
        echo_json({"file": file, "tags": tags, "role": role, "recipe": _as_json(recipe) if recipe else None})
        return
    click.echo(f"{file}\ntags: {' '.join(sorted(tags))}\nrole: {role}")
    if recipe is None:
        click.echo(f"no recipe: {frame.unsupported or f'frames of this role ({role}) are not reduced'}")
    else:
        click.echo(recipe_text(recipe))


def recipe_text(recipe: Recipe) -> str:
    """A recipe as readable text: one call per line."""
    lines = [f"{recipe.name}: {recipe.doc}"]
    for call in recipe.steps:
        arguments = ", ".join(f"{k}={v!r}" for k, v in call.params)
        streams = "" if call.takes == call.gives == "main" else f"  [{call.takes} -> {call.gives}]"
        label = f"  as {call.label}" if call.label else ""
        lines.append(f"  {call.step}({arguments}){label}{streams}")
    return "\n".join(lines)


def _as_json(recipe: Recipe) -> dict[str, Any]:
    steps = [
        {"step": c.step, "label": c.label, "takes": c.takes, "gives": c.gives, "params": dict(c.params)}
        for c in recipe.steps
    ]
    return {"name": recipe.name, "makes": recipe.makes, "doc": recipe.doc, "steps": steps}


@click.group()
def recipe() -> None:
    """Print one recipe."""


@example(
    "nirred recipe show reduce",
    "nirred recipe show reduce raw/N20160102S0270.fits --toml > mine.toml; nirred run raw/ -r mine.toml",
)
@recipe.command(name="show")
@click.argument("name")
@click.argument("file", required=False)
@click.option("--toml", "as_toml", is_flag=True, help="Print a file that `run -r FILE.toml` takes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def recipe_show(name: str, file: str | None, as_toml: bool, as_json: bool) -> None:
    """Print the steps of recipe NAME.

    NAME may be a TOML file, or a step to be run by itself. With FILE, a frame, plugins may vary the recipe for its
    camera. Steps take and give streams of planes.
    """
    from ..described import File
    from ..recipe_files import recipe_toml
    from ..recipes import own_recipe, recipe_for

    found = registry(needed=file is not None)
    tags = File(file, found).tags if file is not None else frozenset()
    chosen = own_recipe(name, found) or recipe_for(name, found, tags)
    if as_toml:
        click.echo(recipe_toml(chosen), nl=False)
    elif as_json:
        echo_json(_as_json(chosen))
    else:
        click.echo(recipe_text(chosen))
