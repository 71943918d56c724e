"""``nirred report``: the HTML report of a run, from its output directory."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import ConfigError
from .common import echo_json
from .group import example


@example("nirred report reduced/")
@click.command()
@click.argument("output", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="Print where the report is, as JSON.")
def report(output: str, as_json: bool) -> None:
    """Write OUT/report/index.html again, from OUT alone: raw files are not needed.

    It is one page without external links: it can be mailed and opened offline.
    """
    from ..report import write_report

    out = Path(output)
    if not out.is_dir():
        raise ConfigError(f"{out}: no such directory", "name the output of a run")
    page = write_report(out)
    if as_json:
        echo_json({"report": str(page)})
    else:
        click.echo(page)
