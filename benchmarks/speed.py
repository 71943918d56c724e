"""Print CPU time and memory of whole chains and of single kernels; write JSON.

A chain is `nirred run` in a process of its own, start-up included; the first run of a fresh kernel cache gives the time
that compilation takes. CPU seconds are user and system time of that process, memory is its largest resident set.
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from nirred.algorithms.calibrate import CalibrationInputs, LinearityCurve, calibrate
from nirred.algorithms.combine import NoiseModel, Rejection, combine
from nirred.algorithms.objmask import object_mask
from nirred.algorithms.resample_shift import shift_rows
from nirred.algorithms.stars import find_stars

#: Bars of the NIRI night of 10 + 10 darks, 20 flats and 10 science frames: CPU seconds and bytes.
CHAIN_CPU, CHAIN_MEMORY = 5.0, 1e9
#: Bar of all first-use compilation together, CPU seconds.
COMPILATION = 60.0
#: Bar of memory where only a few frames fit: the bound given to `--memory` and what the process itself takes.
SMALL_MEMORY, PROCESS_MEMORY = 100e6, 700e6
#: The last third of a long night may take this many times what the second third takes.
LINEAR = 1.4


@dataclass(frozen=True)
class Chain:
    """One run: CPU and wall seconds, largest resident set in bytes, and how many files it was given."""

    name: str
    cpu: float
    wall: float
    memory: int
    files: int


def chain(name: str, raw: Path, out: Path, *options: str, cache: Path | None = None) -> Chain:
    """Reduce a directory in a process of its own."""
    environment = dict(os.environ) | {"NIRRED_LIBRARY": str(out.with_suffix(".library"))}
    environment |= {"NUMBA_CACHE_DIR": str(cache)} if cache else {}
    command = [sys.executable, "-m", "nirred", "run", str(raw), "-o", str(out), "--quiet", *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return Chain(name, cpu, time.perf_counter() - start, usage.ru_maxrss * 1024, len(list(raw.glob("*.fits"))))


def simulate(scenario: str, frames: int, directory: Path) -> Path:
    """Raw frames of a simulated NIRI night."""
    command = [sys.executable, "-m", "nirred", "simulate", "niri", "-o", str(directory)]
    subprocess.run([*command, "--scenario", scenario, "--frames", str(frames)], check=True, stdout=subprocess.DEVNULL)
    return directory / "raw"


def chains(directory: Path, long: int) -> list[Chain]:
    """The NIRI night with a fresh cache, then warm with 1 and 2 threads; a long night in little memory."""
    night = simulate("offset", 10, directory / "night")
    cache = directory / "cache"
    done = [chain("niri, kernels compiled", night, directory / "cold", "--jobs", "1", cache=cache)]
    for threads in ("1", "2"):
        runs = [
            chain(f"niri, {threads} threads", night, directory / f"warm{threads}{k}", "--jobs", threads, cache=cache)
            for k in range(3)
        ]
        done.append(min(runs, key=lambda run: run.cpu))
    for frames in (long // 3, 2 * long // 3, long) if long else ():
        raw = simulate("dither", frames, directory / f"long{frames}")
        out = directory / f"small{frames}"
        done.append(chain(f"dither of {frames}, 100 MB", raw, out, "--jobs", "1", "--memory", "100MB", cache=cache))
    return done


def kernels(size: int = 1024, frames: int = 10) -> dict[str, float]:
    """Least CPU milliseconds of each kernel on `frames` planes, or one plane, of `size` squared."""
    random = np.random.default_rng(1)
    shape = (size, size)
    data = [random.normal(1000.0, 33.0, shape).astype(np.float32) for _ in range(frames)]
    dq = [(random.random(shape) < 0.01).astype(np.uint16) for _ in range(frames)]
    plane = np.ones(shape, np.float32)
    model = NoiseModel(100.0 * plane, plane)
    curve = LinearityCurve(np.array([[1.0, 1e-7, 1e-13]]), valid_to=1e5)
    inputs = CalibrationInputs(10.0, 1, 10.0, curve, 1e5, 9e4, plane, None, plane, dq[0])
    made = np.empty(shape, np.float32), np.empty(shape, np.uint16)
    image = data[0] - np.float32(1000.0)
    bad = (dq[0] != 0).view(np.uint8)
    return {
        "calibrate": _least(lambda: calibrate(data[0], inputs, made)),
        f"median of {frames}": _least(lambda: combine(data, dq, method="median")),
        f"clipped mean of {frames}": _least(lambda: combine(data, dq, noise=model, rejection=Rejection("noise", 4, 4))),
        "star list": _least(lambda: find_stars(image, bad, fwhm=4.0)),
        "object mask": _least(lambda: object_mask(image, bad, 33.0)),
        "shift, Lanczos-3": _least(lambda: shift_rows(image, bad, 3.3, -2.7, kernel="lanczos3")),
    }


def _least(function: Callable[[], object], times: int = 7) -> float:
    function()  # loads or compiles
    spent = []
    for _ in range(times):
        start = time.process_time()
        function()
        spent.append(time.process_time() - start)
    return 1e3 * min(spent)


def verdicts(runs: Sequence[Chain]) -> dict[str, bool]:
    """Which bars hold."""
    cold, warm = runs[0], runs[1]
    held = {
        f"night <= {CHAIN_CPU:g} s CPU": warm.cpu <= CHAIN_CPU,
        f"night <= {CHAIN_MEMORY / 1e9:g} GB": warm.memory <= CHAIN_MEMORY,
        f"compilation <= {COMPILATION:g} s CPU": cold.cpu - warm.cpu <= COMPILATION,
    }
    if len(runs) > 3:
        few, more, most = runs[-3:]
        held["CPU linear in the number of frames"] = most.cpu - more.cpu <= LINEAR * (more.cpu - few.cpu)
        held["memory bounded"] = most.memory <= PROCESS_MEMORY + SMALL_MEMORY
    return held


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 when every bar is reached, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=60, help="frames of the night in little memory; 0: none")
    parser.add_argument("--directory", type=Path, help="keep nights and products here (default: temporary)")
    parser.add_argument("--json", type=Path, default=Path("speed.json"), help="where the figures go")
    options = parser.parse_args(arguments)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="nirred-speed-"))
    try:
        runs = chains(directory, options.long)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    times, held = kernels(), verdicts(runs)
    print(f"{'chain':28}{'CPU s':>8}{'wall s':>8}{'MB':>7}{'files':>7}")
    for run in runs:
        print(f"{run.name:28}{run.cpu:8.2f}{run.wall:8.2f}{run.memory / 1e6:7.0f}{run.files:7d}")
    print(f"\n{'kernel, 1024 x 1024':28}{'CPU ms':>8}")
    for name, spent in times.items():
        print(f"{name:28}{spent:8.1f}")
    print()
    for bar, passed in held.items():
        print(f"{'ok' if passed else 'MISSED':8}{bar}")
    document = {"chains": [asdict(run) for run in runs], "kernels_ms": times, "bars": held}
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
