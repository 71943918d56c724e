"""``nirred verify``: whether products agree with their records."""

from __future__ import annotations

from pathlib import Path

import click

from ..errors import DataError
from .common import echo_json, echo_table
from .group import example


@example("nirred verify reduced/", "nirred verify reduced/ --json")
@click.command()
@click.argument("output", metavar="OUT")
@click.option("--json", "as_json", is_flag=True, help="Print all findings as a list of {file, state, text}.")
@click.pass_context
def verify(ctx: click.Context, output: str, as_json: bool) -> None:
    """Check the products in OUT: checksums, records, calibrations, and run.json itself.

    Exit code: 0 no fault, 4 a fault.
    """
    from dataclasses import asdict

    from ..run.verify import verify as check

    found = check(Path(output))
    if as_json:
        echo_json([asdict(f) for f in found])
    else:
        echo_table("", ("file", "state", "what"), [(f.file, f.state, f.text) for f in found])
    ctx.exit(DataError.exit_code if any(f.state == "wrong" for f in found) else 0)
