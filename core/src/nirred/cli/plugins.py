"""``nirred plugins``: instruments that are installed, and plugins that were refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import click

from .common import echo_json, echo_table, no_instrument_hint, registry
from .group import example


@example("nirred plugins", "nirred plugins --json")
@click.command()
@click.option("--json", "as_json", is_flag=True, help="A list of objects.")
def plugins(as_json: bool) -> None:
    """List installed plugins with their instruments; a refused one with the reason."""
    from ..registry import plugins as ordered

    found = registry(needed=False)
    titles = {i.name: i.title for _, i in found.instruments()}
    rows = [
        {
            "name": info.name,
            "package": info.package,
            "version": info.version,
            "state": "refused" if info.error else "loaded",
            "reason": info.error or found.faults.get(info.name, ""),
            "instruments": list(info.instruments),
        }
        for info in ordered(list(found.found.values()))
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
        click.echo(f"No instrument is installed: {no_instrument_hint()}.")


def _titles(names: Iterable[str], titles: Mapping[str, str]) -> str:
    return ", ".join(titles.get(name, name) for name in names)
