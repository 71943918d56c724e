"""``nirred plan``: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from .common import echo_json, echo_table, registry, safe
from .group import example
from .options import calibrations, check_recipe, planning


@example("nirred plan raw/", "nirred plan raw/ --only 'filter_name==\"K(short)\"' --json")
@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output", metavar="DIR", help="Directory of the products; not searched if inside INPUTS.")
@planning
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON: run.json without outcomes.")
@click.pass_context
def plan(ctx: click.Context, /, inputs: Sequence[str], output: str | None, as_json: bool, **options: Any) -> None:
    """Show groups, calibrations with reasons, world coordinates and the fate of every file, without reading pixels.

    Exit code, that of a run without further problems: 0; 1 some groups are blocked; 5 all are; 4 nothing to reduce;
    2 usage.
    """
    from ..arguments import given_from_command, plan_options, with_requests
    from ..config import load_config
    from ..plan.describe import plan_json, plan_tables
    from ..plan.fates import foreseen_exit_code
    from ..plan.planner import make_plan
    from ..selection import check_only

    plugins = registry()
    options["recipe"] = check_recipe(options["recipe"])
    options["user_cal"] = calibrations(options["user_cal"])
    told = {"on_event": lambda event: click.echo(safe(event.message), err=True)}
    others, given, _ = with_requests(inputs, given_from_command(options | told), plugins)
    asked = plan_options(output, given, load_config(inputs), plugins)
    check_only(asked.only, others, plugins)
    made = make_plan(others, plugins, asked)
    if as_json:
        echo_json(plan_json(made))
    else:
        for title, columns, rows in plan_tables(made):
            echo_table(title, columns, rows)
        if not made.tasks:
            click.echo("nothing to reduce")
    ctx.exit(foreseen_exit_code(made, strict=asked.strict))
