"""``nirred plan``: what a run would do, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from .common import echo_json, echo_table, registry
from .group import example
from .options import calibrations, check_recipe, planning


@example("nirred plan raw/", "nirred plan raw/ --only 'filter_name==\"K(short)\"' --json")
@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option("-o", "--output", metavar="DIR", help="Directory of the products; skipped where it lies in INPUTS.")
@planning
@click.option("--json", "as_json", is_flag=True, help="The plan as JSON: run.json without outcomes.")
def plan(inputs: Sequence[str], output: str | None, as_json: bool, **options: Any) -> None:
    """Show groups, their calibrations with reason, world coordinates and the fate of every file; no pixel is read."""
    from ..api import check_only, given_from_command, plan_options, take_requests
    from ..config import load_config
    from ..plan.describe import plan_json, plan_tables
    from ..plan.planner import make_plan

    plugins = registry()
    options["recipe"] = check_recipe(options["recipe"])
    options["user_cal"] = calibrations(options["user_cal"])
    others, given, _ = take_requests(inputs, given_from_command(options), plugins)
    asked = plan_options(output, given, load_config(inputs), plugins)
    check_only(asked.only, others, plugins)
    made = make_plan(others, plugins, asked)
    if as_json:
        echo_json(plan_json(made))
        return
    for title, columns, rows in plan_tables(made):
        echo_table(title, columns, rows)
