"""``nirred simulate``: a raw night with known truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ..errors import ConfigError, PluginError
from .common import echo_json, registry
from .group import example

if TYPE_CHECKING:
    from ..plugin.simulation import Simulation

SCENARIOS = ("offset", "dither", "filling", "standard")


@example("nirred simulate niri -o night/ --scenario dither --frames 9 --seed 3", "nirred run night/raw -o reduced/")
@click.command()
@click.argument("instrument")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="DIR",
    help="Raw frames go to DIR/raw, the truth to DIR/truth; a night simulated there before is replaced.",
)
@click.option(
    "--scenario",
    type=click.Choice(SCENARIOS),
    multiple=True,
    help="May be repeated: several targets in one night. Default: the camera's usual one.",
)
@click.option(
    "--frames",
    type=click.IntRange(1),
    help="Science frames of the first scenario (offset, filling: half of them on the sky).",
)
@click.option("--variant", metavar="NAME", help="Variant of the camera, for example another detector.")
@click.option("--seed", type=int, default=1, show_default=True, help="Random seed of the night.")
@click.option("--size", type=click.IntRange(64), help="Side of a square sub-array, pixels; default: whole detector.")
@click.option("--json", "as_json", is_flag=True, help="Print where the night is, as JSON.")
def simulate(
    instrument: str,
    output: str,
    scenario: tuple[str, ...],
    frames: int | None,
    variant: str | None,
    seed: int,
    size: int | None,
    as_json: bool,
) -> None:
    """Write a raw night of INSTRUMENT with darks, flats and science frames, and its truth."""
    from ..testing.simulate import simulate_night

    if not output.strip():
        raise ConfigError("the output directory has no name", "write -o night/")
    camera = simulation(instrument, variant)
    names = scenario or (camera.scenario,)
    count = frames or (None if scenario else camera.frames)
    night = simulate_night(camera, output, scenario=names, frames=count, seed=seed, size=size)  # type: ignore[arg-type]
    if as_json:
        echo_json({"raw": str(night.raw_dir), "truth": str(night.truth_dir), "files": len(night.frames)})
        return
    click.echo(f"{len(night.frames)} raw frames of {camera.instrument} in {night.raw_dir}, truth in {night.truth_dir}")


def simulation(instrument: str | None, variant: str | None = None) -> Simulation:
    """The simulated camera of this name; without a name, the first of nirred's own, else the first available.

    Raises
    ------
    ConfigError
        No such camera, or it has no such variant; the nearest is suggested.
    PluginError
        No installed plugin has a simulated camera.
    """
    camera = _camera(instrument)
    if variant is None:
        return camera
    if variant.lower() not in camera.variants:
        known = f"known: {', '.join(sorted(camera.variants)) or 'none'}"
        raise ConfigError(f"the simulated {camera.instrument} has no variant {variant!r}", known)
    return camera.variants[variant.lower()]()


def _camera(instrument: str | None) -> Simulation:
    from ..packages import KNOWN_PACKAGES
    from ..params import nearest

    cameras = registry().simulations()
    if not cameras:
        raise PluginError("no installed plugin has a simulated camera", "see `nirred plugins`")
    by_name = {name.lower(): camera for name, camera in cameras.items()}
    if instrument is None:
        own = [name.lower() for name in KNOWN_PACKAGES]
        return by_name[min(by_name, key=lambda name: (own.index(name) if name in own else len(own), name))]
    if instrument.lower() not in by_name:
        hint = nearest(instrument, by_name) or f"known: {', '.join(sorted(by_name))}"
        raise ConfigError(f"no simulated camera {instrument!r}", hint)
    return by_name[instrument.lower()]
