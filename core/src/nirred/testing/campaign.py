"""Simulate nights, have them reduced, measure the products: the accuracy table from beginning to end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nirred.plugin.simulation import Simulation
from nirred.testing.accuracy import Accuracy, measure
from nirred.testing.night import Night
from nirred.testing.schedule import Scenario
from nirred.testing.simulate import simulate_night

Reducer = Callable[[Night, Path], None]
"""Reduces a night's raw directory into a directory, products named as the night expects."""


class ReductionError(RuntimeError):
    """The command failed, or the expected product is not there."""


def run_command(night: Night, out: Path) -> None:
    """`python -m nirred run RAW -o OUT` in a process of its own.

    Raises
    ------
    ReductionError
        Its exit code was not 0; the message contains the end of its output.
    """
    command = [sys.executable, "-m", "nirred", "run", str(night.raw_dir), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ReductionError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")


def accuracies(
    simulation: Simulation,
    directory: Path,
    scenarios: Iterable[Scenario],
    seeds: Iterable[int],
    *,
    reducer: Reducer = run_command,
    size: int | None = None,
    **knobs: Any,
) -> Iterator[Accuracy]:
    """Accuracy of every scenario and seed, one after the other.

    Parameters
    ----------
    simulation : Simulation
        The camera.
    directory : Path
        Nights go to directory/SCENARIO-SEED, products to its subdirectory `reduced`.
    scenarios, seeds : iterable
        All combinations are made.
    reducer : callable
        What reduces a night.
    size : int, optional
        Square sub-array.
    **knobs
        Fields of `Knobs`.

    Raises
    ------
    ReductionError
        The expected product was not made.
    """
    seeds = list(seeds)
    for scenario in scenarios:
        for seed in seeds:
            place = directory / f"{scenario}-{seed}"
            night = simulate_night(simulation, place, scenario=scenario, seed=seed, size=size, **knobs)
            out = place / "reduced"
            out.mkdir(exist_ok=True)
            reducer(night, out)
            product = out / night.groups[scenario].product
            if not product.exists():
                raise ReductionError(f"{product} was not made; {out} holds {[p.name for p in out.iterdir()]}")
            yield measure(product, night, scenario)
