"""``nirred plugins``: list installed and refused plugins, write a new one, check one with the conformance kit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import PluginError
from .common import echo_json, echo_table, no_instrument_hint, registry
from .group import example

if TYPE_CHECKING:
    from ..registry import PluginInfo, Registry


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List installed plugins with their instruments, and refused ones with the reason."""
    if ctx.invoked_subcommand is None:
        _list(as_json)


def _list(as_json: bool) -> None:
    from ..fitness import refuse_unfit
    from ..registry import in_order

    found = registry(needed=False)
    refuse_unfit(found)
    titles = {i.name: i.title for _, i in found.instruments()}
    rows = [
        {
            "name": info.name,
            "package": info.package,
            "version": info.version,
            "state": "refused" if info.error else "loaded",
            "reason": info.error or "; ".join(_doubts(info, found)),
            "instruments": list(info.instruments),
        }
        for info in in_order(found.found.values())
    ]
    if as_json:
        echo_json(rows)
        return
    if rows:
        cells = [
            (*(r[k] for k in ("name", "package", "version", "state")), _titles(r["instruments"], titles), r["reason"])
            for r in rows
        ]
        echo_table("", ("name", "package", "version", "state", "instruments", "reason"), cells)
    if not titles:
        refused = "the plugins here were refused; repair them, or " if rows else ""
        click.echo(f"No instrument is installed: {refused}{no_instrument_hint()}.")


def _doubts(info: PluginInfo, found: Registry) -> list[str]:
    """What is wrong with a plugin that is used nevertheless."""
    fault = found.faults.get(info.name)
    return [*([fault.text] if fault is not None else []), *info.remarks]


def _titles(names: Iterable[str], titles: Mapping[str, str]) -> str:
    return ", ".join(titles.get(name, name) for name in names)


@example("nirred plugins new mycam", "nirred plugins new mycam -o ~/src/nirred-mycam")
@plugins.command()
@click.argument("name")
@click.option("-o", "--output", metavar="DIR", help="Directory of the new package; default nirred-NAME.")
@click.option("--json", "as_json", is_flag=True, help="Print the files as a list.")
def new(name: str, output: str | None, as_json: bool) -> None:
    """Write a plugin for the camera NAME.

    It is a working package, to be adapted to your camera.
    """
    from ..testing.scaffold import new_plugin

    home = Path(output or f"nirred-{name}")
    written = [str(path) for path in new_plugin(name, home, registry(needed=False))]
    if as_json:
        echo_json(written)
    for path in [] if as_json else written:
        click.echo(path)
    click.echo(f"next: `nirred plugins check {home}`, then `pip install -e {home}`", err=True)


@example("nirred plugins check mycam", "nirred plugins check ./nirred-mycam --full")
@plugins.command()
@click.argument("name", metavar="NAME|DIR")
@click.option("--full", is_flag=True, help="Also test the accuracy of a full-size night; takes minutes.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.pass_context
def check(ctx: click.Context, name: str, full: bool, as_json: bool) -> None:
    """Run the conformance kit on a plugin.

    NAME is an installed plugin, or the directory of a package. Exit code 3 if it fails.
    """
    from ..testing.checks import check_plugin

    click.echo(f"checking {name}: its hooks, then a simulated night; the first time kernels are compiled", err=True)
    found = check_plugin(name, full=full)
    if as_json:
        echo_json([vars(c) for c in found])
    else:
        echo_table(
            "", ("check", "outcome", "found", "wanted"), [(c.name, c.outcome, c.message, c.wanted) for c in found]
        )
        failed = sum(c.outcome == "failed" for c in found)
        click.echo(f"{len(found)} checks, {failed} failed")
    ctx.exit(PluginError.exit_code if any(c.outcome == "failed" for c in found) else 0)
