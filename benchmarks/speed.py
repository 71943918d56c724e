"""Print CPU time and memory of complete reductions for every camera with a simulator; write JSON.

A chain is `nirred run` in a separate process, including start-up; the first run with an empty kernel cache gives the
time of compilation. CPU seconds are user and system time of that process, memory is its largest resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from nirred.registry import Registry
from nirred.testing.simulate import simulate_night

#: Bars of the cameras that have any: CPU seconds and bytes.
BARS = {"niri": (5.0, 1e9), "f2": (10.0, 1.2e9), "gnirs": (5.0, 1e9), "emir": (8.0, 1.5e9)}
#: Science frames of the chain that a bar is for, and of each kind of calibration; others have ten.
FRAMES = {"f2": 9, "gnirs": 9, "emir": 14}
CALIBRATIONS = {"f2": 6, "gnirs": 8}
#: Bar of the total compilation at first use, CPU seconds.
COMPILATION = 60.0


@dataclass(frozen=True)
class Chain:
    """One run: CPU and wall seconds, largest resident set in bytes, number of input files, exit code."""

    camera: str
    threads: int
    compiling: bool
    cpu: float
    wall: float
    memory: int
    files: int
    code: int


def chain(camera: str, raw: Path, out: Path, cache: Path, threads: int, *, compiling: bool = False) -> Chain:
    """Reduce a directory in a separate process."""
    command = [sys.executable, "-m", "nirred", "run", str(raw), "-o", str(out), "--quiet", "--jobs", str(threads)]
    command += ["--library", "none", "--no-report"]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=dict(os.environ) | {"NUMBA_CACHE_DIR": str(cache)})
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall, cpu = time.perf_counter() - start, usage.ru_utime + usage.ru_stime
    files = sum(1 for _ in raw.glob("*.fits"))
    return Chain(camera, threads, compiling, cpu, wall, usage.ru_maxrss * 1024, files, process.returncode)


def simulate(camera: str, directory: Path, size: int | None) -> None:
    """The night of a camera's bar."""
    simulation = Registry.discover().simulations()[camera]
    each = dict.fromkeys(("darks", "short_darks", "lamps_on", "lamps_off"), CALIBRATIONS.get(camera, 10))
    frames = FRAMES.get(camera, 10)
    simulate_night(simulation, directory, scenario=simulation.scenario, frames=frames, size=size, **each)


def chains(camera: str, directory: Path, size: int | None, turns: int) -> list[Chain]:
    """A camera's night with an empty kernel cache, then the best of several runs with 1 and 2 threads.

    The night is simulated in another process, because the memory of this one would count as that of its chains.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as simulator:
        simulator.submit(simulate, camera, directory / camera, size).result()
    night, cache = directory / camera, directory / f"{camera}-kernels"
    raw = next(d for d in (night / "data", night / "raw") if d.is_dir())  # finished masters where the camera has them
    done = [chain(camera, raw, directory / f"{camera}-cold", cache, 1, compiling=True)]
    for threads in (1, 2):
        runs = [chain(camera, raw, directory / f"{camera}-{threads}{k}", cache, threads) for k in range(turns)]
        done.append(min(runs, key=lambda run: run.cpu))
    return done


def verdicts(runs: Sequence[Chain]) -> dict[str, bool]:
    """Which bars hold."""
    held = {}
    for cold, warm in zip(runs[0::3], runs[1::3], strict=True):
        name = warm.camera
        held[f"{name}: exit code 0"] = warm.code == 0
        held[f"{name}: compilation <= {COMPILATION:g} s CPU"] = cold.cpu - warm.cpu <= COMPILATION
        if name in BARS:
            cpu, memory = BARS[name]
            held[f"{name}: <= {cpu:g} s CPU"] = warm.cpu <= cpu
            held[f"{name}: <= {memory / 1e9:g} GB"] = warm.memory <= memory
    return held


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 only with --strict, if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cameras", help="comma-separated; default: all that can be simulated here")
    parser.add_argument("--size", type=int, help="square sub-array, for a quick look; the bars are for whole frames")
    parser.add_argument("--turns", type=int, default=2, help="runs of which the best counts (default 2)")
    parser.add_argument("--directory", type=Path, help="keep nights and products here (default: temporary)")
    parser.add_argument("--json", type=Path, default=Path("speed.json"), help="where the figures go")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where a bar is missed")
    options = parser.parse_args(arguments)
    cameras = options.cameras.split(",") if options.cameras else sorted(Registry.discover().simulations())
    directory = options.directory or Path(tempfile.mkdtemp(prefix="nirred-speed-"))
    runs: list[Chain] = []
    print(f"{'camera':10}{'threads':>8}{'CPU s':>8}{'wall s':>8}{'MB':>7}{'files':>7}")
    try:
        for camera in cameras:
            for run in chains(camera, directory, options.size, options.turns):
                runs.append(run)
                numbers = f"{run.cpu:8.2f}{run.wall:8.2f}{run.memory / 1e6:7.0f}{run.files:7d}"
                print(f"{run.camera:10}{run.threads:8d}{numbers}{'  compiling' if run.compiling else ''}", flush=True)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    held = verdicts(runs)
    for bar, passed in held.items():
        print(f"{'ok' if passed else 'MISSED':8}{bar}")
    document = {"chains": [asdict(run) for run in runs], "bars": held}
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if options.strict and not all(held.values()) else 0


if __name__ == "__main__":
    raise SystemExit(main())
