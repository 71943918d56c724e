"""``nirred demo``: simulate a night, reduce it, and compare the result with the known truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..errors import StepError
from .common import echo_json
from .group import example
from .progress import shown
from .simulate import simulation

if TYPE_CHECKING:
    from ..run.api import RunResult
    from ..testing.night import Night


#: How to read the table, whose required values are those of `benchmarks/accuracy.py`.
KEY = """ideal: a stack of the same frames with true calibrations and true shifts
pull: measured minus true flux, over the stated error
required: of the mean of several nights; one night deviates by its noise, a small field more"""


@example("nirred demo", "nirred demo niri -o /tmp/demo --size 1024")
@click.command()
@click.argument("instrument", required=False)
@click.option("-o", "--output", default="nirred-demo", show_default=True, metavar="DIR", help="Output directory.")
@click.option("--size", type=click.IntRange(128), default=512, show_default=True, help="Side of the frames, pixels.")
@click.option("--variant", metavar="NAME", help="Variant of the camera, for example another detector.")
@click.option("--seed", type=int, default=1, show_default=True, help="Random seed of the night.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON; everything else on stderr.")
def demo(
    instrument: str | None, output: str, size: int, variant: str | None, seed: int, quiet: bool, as_json: bool
) -> None:
    """Simulate a small typical night of the camera, reduce it, and compare the stack with the truth."""
    from ..drawing import stack_png
    from ..testing.accuracy import measure
    from ..testing.bars import summary, table
    from ..testing.simulate import simulate_night
    from .summary import lines

    camera = simulation(instrument, variant)
    home = Path(output)
    click.echo(f"simulating a night of {camera.instrument} in {home} ...", err=True)
    night = simulate_night(camera, home, scenario=camera.scenario, frames=camera.frames, seed=seed, size=size)
    result = _reduce(night, home / "reduced", -1 if quiet else 0)
    for line in lines(result):
        click.echo(line, err=as_json)
    group = night.groups[camera.scenario]
    stack = home / "reduced" / group.product
    if result.exit_code or not stack.is_file():
        raise StepError(f"the demonstration made no {group.product}", "the lines above say why")
    measured = [measure(stack, night, camera.scenario)]
    picture = stack_png(stack, home / (stack.stem + ".png"))
    if as_json:
        echo_json({"stack": str(stack), "picture": str(picture), "figures": summary(measured)})
    else:
        click.echo(f"\n{table(measured)}\n{KEY}\n\npicture: {picture}")


def _reduce(night: Night, out: Path, verbosity: int) -> RunResult:
    from ..arguments import Given, run_options
    from ..config import Config
    from ..described import installed_plugins
    from ..run.api import run as execute

    plugins = installed_plugins()
    with shown(verbosity) as observer:
        given = Given(options={"on_event": observer, "library": str(out.parent / "library.db")})
        return execute([str(night.raw_dir)], out, run_options(out, given, Config(), plugins), plugins)
