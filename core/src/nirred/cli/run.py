"""``nirred run``: plan and reduce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .common import echo_json, ended_like_ctrl_c, registry
from .group import example
from .options import calibrations, check_recipe, planning


@example(
    "nirred run raw/ -o reduced/",
    "nirred run @science.lis calib/ -p skyCorrect:scale_sky=False darkCorrect:do_cal=skip",
    "nirred run raw/ --user-cal processed_dark:N20160102S0423_dark.fits --jobs 4 --memory 4GB",
)
@click.command()
@click.argument("inputs", nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    metavar="DIR",
    help="Directory of the products; default: reduced; with an observation file: its BASEDIR.",
)
@planning
@click.option(
    "--no-register", "register", flag_value=False, default=None, help="Do not add calibrations to the library."
)
@click.option("--jobs", type=click.IntRange(1), metavar="N", help="Threads; default: all usable processors.")
@click.option("--memory", metavar="SIZE", help="Memory limit for pixels, such as 2GB (the default).")
@click.option("--scratch", metavar="DIR", help="Directory of scratch files; default: inside the output.")
@click.option("--executor", metavar="NAME", help="serial (default), threads, processes, or one from a plugin.")
@click.option("--fresh", is_flag=True, default=None, help="Make everything again; do not reuse existing products.")
@click.option(
    "--keep-intermediates", is_flag=True, default=None, help="Keep calibrated and sky-subtracted frames, too."
)
@click.option(
    "--no-report",
    "report",
    flag_value=False,
    default=None,
    help="Write no report/index.html; an outdated one is removed.",
)
@click.option("--log-file", metavar="FILE", help="Log in JSON lines; default: nirred.log in the output.")
@click.option("--json", "as_json", is_flag=True, help="Print the run's record on stdout; everything else on stderr.")
@click.option("-q", "--quiet", count=True, help="Report only problems.")
@click.option("-v", "--verbose", count=True, help="Show messages of all steps and the fate of every file.")
@click.pass_context
def run(
    ctx: click.Context,
    /,
    inputs: Sequence[str],
    output: str | None,
    as_json: bool,
    quiet: int,
    verbose: int,
    **options: Any,
) -> None:
    """Reduce INPUTS: directories, FITS files (.fits .fit .fz .gz .bz2), @list files, observation files (.yaml).

    Files are sorted by their headers; calibrations are made and chosen; science is sky-subtracted, registered and
    stacked. Products of an earlier run into the same directory are reused if nothing they depend on has changed.

    Exit code: 0 all groups done, 1 some failed; when all failed for one reason: 3 plugin, 4 data, 5 calibration,
    6 step; 2 usage; 4 nothing to reduce; 70 a bug; 130 interrupted.
    """
    from ..arguments import given_from_command, run_options, with_requests
    from ..config import load_config
    from ..run.api import run as execute
    from ..selection import check_only
    from .progress import shown
    from .summary import lines

    plugins = registry()
    verbosity = verbose - quiet
    options["recipe"] = check_recipe(options["recipe"])
    options["user_cal"] = calibrations(options["user_cal"])
    with shown(verbosity) as observer:
        given = given_from_command(options | {"on_event": observer})
        others, given, usual = with_requests(inputs, given, plugins)
        out = usual if output is None else output
        asked = run_options(out, given, load_config(inputs), plugins)
        check_only(asked.plan.only, others, plugins)
        with ended_like_ctrl_c():
            result = execute(others, Path(out), asked, plugins)
    for line in lines(result, verbosity):
        click.echo(line, err=as_json)
    if as_json:
        echo_json(result.record)
    ctx.exit(result.exit_code)
