"""``nirred config show``: configured values and their origins."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .common import echo_json, echo_table, registry
from .group import example

if TYPE_CHECKING:
    from ..config import Config

#: Files in which users of DRAGONS configure their calibrations.
_FOREIGN = ("~/.geminidr/rsys.cfg", "~/.dragons/dragonsrc")


@click.group()
def config() -> None:
    """Show the effective configuration."""


@example("nirred config show raw/ --json", "NIRRED_SKY_CORRECT__SCALE_SKY=false nirred config show")
@config.command(name="show")
@click.argument("inputs", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of tables.")
def config_show(inputs: Sequence[str], as_json: bool) -> None:
    """Print the configured values for INPUTS, and where each was set.

    Layers, low to high: a step's default, the plugin, the recipe, the user's file, nirred.toml next to the data,
    NIRRED_* in the environment, the command line. The configuration files of other pipelines (~/.geminidr/rsys.cfg,
    ~/.dragons/dragonsrc) are not read: the calibration library is set by `library` in [run], NIRRED_LIBRARY or
    --library.
    """
    from ..config import OPTIONS, check_settings, load_config, user_file
    from ..recipes import all_recipes, labels_of, step_types

    plugins = registry(needed=False)
    found = load_config(inputs)
    settings = check_settings(found.settings, step_types(plugins), labels_of(all_recipes(plugins).values()))
    last = {(s.step, s.name): s for s in settings}
    options = [(n, _value(n, found), found.options[n].origin if n in found.options else "default") for n in OPTIONS]
    foreign = [name for name in _FOREIGN if Path(name).expanduser().is_file()]
    steps = [(s.step, s.name, s.value, s.origin) for s in last.values()]
    if as_json:
        echo_json(
            {
                "user_file": str(user_file(os.environ)),
                "files": [str(p) for p in found.files],
                "not_read": foreign,
                "run": {n: {"value": v, "origin": o} for n, v, o in options},
                "steps": [dict(zip(("step", "name", "value", "origin"), row)) for row in steps],
            }
        )
        return
    click.echo(f"user file: {user_file(os.environ)}")
    click.echo(f"read: {', '.join(map(str, found.files)) or 'no file'}")
    for name in foreign:
        click.echo(f"not read: {name} (the library is set by `library` in [run], NIRRED_LIBRARY or --library)")
    echo_table("[run]", ("option", "value", "origin"), [(n, "" if v is None else v, o) for n, v, o in options])
    if steps:
        echo_table("[steps]", ("step", "parameter", "value", "origin"), steps)


def _value(name: str, found: Config) -> object:
    """Value of an option; for the library its full path or URL, with any password hidden."""
    value = found.value(name)
    if name != "library":
        return _usual().get(name) if value is None else value
    if value == "none":
        return value
    from ..library.database import Database, default_place

    return str(default_place()) if value is None else Database(value).name


def _usual() -> dict[str, object]:
    """Default values of options."""
    from ..run.limits import processors

    switches = {"keep_intermediates": False, "strict": False, "register": True, "report": True}
    return {"jobs": processors(), "memory": "2GB", "executor": "serial", **switches}
