"""Print the accuracy of nights that are simulated, reduced by `nirred run` and measured; write JSON.

For every camera with a simulator. Each mean has its standard error over the nights, and a floor: the error due to the
noise of the measurement itself (for left-over objects: their number in the oracle stack).
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nirred.plugin.simulation import Simulation
from nirred.registry import Registry
from nirred.testing.accuracy import Accuracy
from nirred.testing.bars import summary, table
from nirred.testing.campaign import Reducer, ReductionError, accuracies, run_command


def main(arguments: Sequence[str] | None = None, reducer: Reducer = run_command) -> int:
    """Run the benchmark; 1 if a night could not be reduced or, with --strict, if a bar is missed."""
    options = _options(arguments)
    simulations = Registry.discover().simulations()
    cameras = options.cameras.split(",") if options.cameras else sorted(simulations)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="nirred-accuracy-"))
    document: dict[str, Any] = {}
    missed = failed = False
    try:
        for camera in cameras:
            found, problems = campaign(camera, simulations[camera], directory / camera, options, reducer)
            rows = summary(found)
            document[camera] = {"summary": rows, "nights": [asdict(item) for item in found], "failed": problems}
            missed, failed = missed or not all(row["passed"] for row in rows), failed or bool(problems)
            print(f"\n{camera}\n{table(found)}", *problems, sep="\n", flush=True)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if failed or (options.strict and missed) else 0


def campaign(
    camera: str, simulation: Simulation, directory: Path, options: argparse.Namespace, reducer: Reducer
) -> tuple[list[Accuracy], list[str]]:
    """Accuracy of all nights of a camera, and the errors of missing ones."""
    found: list[Accuracy] = []
    problems: list[str] = []
    start = time.perf_counter()
    for scenario in options.scenarios.split(","):
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            try:
                found += accuracies(simulation, directory, [scenario], [seed], reducer=reducer, size=options.size)
                print(f"{camera} {scenario} seed {seed}: measured, {time.perf_counter() - start:.0f} s", flush=True)
            except ReductionError as error:
                problems.append(f"{camera} {scenario} seed {seed}: {error}")
            if options.directory is None:
                shutil.rmtree(directory, ignore_errors=True)
    return found, problems


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", help="comma-separated; default: all that can be simulated here")
    parser.add_argument("--seeds", type=int, default=2, help="nights per scenario (default 2)")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--size", type=int, help="square sub-array, for a quick look")
    parser.add_argument("--scenarios", default="dither,offset", help="of dither,offset,filling,standard")
    parser.add_argument("--directory", type=Path, help="keep nights and products here (default: temporary)")
    parser.add_argument("--json", type=Path, default=Path("accuracy.json"), help="where the figures go")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where a bar is missed")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
