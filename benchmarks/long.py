"""Print CPU time, memory and scratch space of dithered sequences of 10 to 300 frames of 2048 x 2048; write JSON.

At most thirty frames are simulated; longer sequences repeat them with later times, so that simulating takes no longer
than reducing. Repeated frames have the same noise: catalogues of such stacks contain more noise peaks than others.
Every run has 64 open files and 2 GB of `--memory`; scratch space is the largest size of its unlinked files, sampled
ten times a second (Linux). Start-up is the wall time of `nirred plan` for the same files; the time after it is
compared between one thread and two. The faster of two runs of each counts, because the first one after a pause has cold
memory; the longest sequences run once. A sequence for which the disk is too small is skipped, and reported.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from astropy.io import fits

#: Largest number of simulated frames; a longer sequence repeats them.
CYCLE = 30
#: Bars: CPU seconds per additional frame, resident bytes, open files.
PER_FRAME, MEMORY, FILES = 0.170, 2e9, 64
#: Bar for the time of a frame in the longest sequence, relative to a shorter one.
LINEAR = 1.25
#: Bar for two threads: number of frames from which it applies, and the speed relative to one thread.
SHARED, TWO_THREADS = 30, 1.7
#: Sequences longer than this run once, on one thread.
LONG = 100
#: Bytes on disk of each pixel: 4 of its file, 10 of planes in scratch files, and some for the calibrations.
PIXEL_BYTES = 15


@dataclass(frozen=True)
class Run:
    """One sequence: CPU seconds, largest resident set and scratch space in bytes; seconds of start-up on the wall."""

    frames: int
    threads: int
    cpu: float
    wall: float
    startup: float
    memory: int
    scratch: int


def cycle(camera: str, frames: int, size: int, directory: Path) -> tuple[list[Path], list[Path]]:
    """Science frames and calibrations of a simulated night."""
    command = [sys.executable, "-m", "nirred", "simulate", camera, "-o", str(directory), "--scenario", "dither"]
    subprocess.run([*command, "--frames", str(frames), "--size", str(size)], check=True, stdout=subprocess.DEVNULL)
    paths = sorted((directory / "raw").glob("*.fits"))
    science = [p for p in paths if fits.getheader(p).get("OBSTYPE", fits.getheader(p).get("OBSMODE")) == "OBJECT"]
    dither = [p for p in science if fits.getheader(p).get("OBSCLASS", "science") == "science"]
    return dither, [p for p in paths if p not in science]


def sequence(dither: Sequence[Path], others: Sequence[Path], frames: int, directory: Path) -> Path:
    """A night of `frames` science frames: those given, repeated in cycles of increasing time."""
    directory.mkdir(parents=True)
    for path in others:
        os.link(path, directory / path.name)
    first, last = (_start(p) for p in (dither[0], dither[-1]))
    period = (last - first) * len(dither) / max(len(dither) - 1, 1)
    for k in range(frames):
        turn, source = k // len(dither), dither[k % len(dither)]
        target = directory / (source.name if turn == 0 else f"{source.stem}x{turn:03d}.fits")
        shutil.copyfile(source, target)
        if turn:
            when = _start(source) + turn * period
            with fits.open(target, mode="update") as hdus:
                header = hdus[0].header
                header["DATE-OBS"] = when.date().isoformat()
                for key in ("UT", "TIME-OBS", "TIME", "UTSTART", "UTEND"):
                    if key in header:
                        header[key] = when.time().isoformat(timespec="milliseconds")
                for key in ("MJD-OBS", "MJD_OBS"):
                    if key in header:
                        header[key] += turn * period / timedelta(days=1)
    return directory


def _start(path: Path) -> datetime:
    header = fits.getheader(path)
    clock = next(header[key] for key in ("UT", "TIME-OBS", "UTSTART") if key in header)
    return datetime.fromisoformat(f"{header['DATE-OBS'][:10]}T{str(clock).split('.')[0]}")


def unlinked(pid: int) -> int:
    """Bytes on disk of the files that a process holds open without a name."""
    sizes = {}  # by file: a mapped one has two descriptors
    for entry in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            found = entry.stat()
        except OSError:
            continue  # closed meanwhile
        if found.st_nlink == 0:
            sizes[found.st_dev, found.st_ino] = found.st_blocks * 512
    return sum(sizes.values())


def reduce(raw: Path, out: Path, frames: int, threads: int) -> Run:
    """`nirred run` in a separate process with few open files."""
    scratch = out.with_name(out.name + "-scratch")
    scratch.mkdir()
    command = [sys.executable, "-m", "nirred", "run", str(raw), "-o", str(out), "--quiet", "--memory", "2GB"]
    command += ["--jobs", str(threads), "--scratch", str(scratch), "--library", "none", "--no-report"]

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, FILES))

    most, done = [0], threading.Event()
    plan = [sys.executable, "-m", "nirred", "plan", str(raw), "--library", "none"]
    started = time.perf_counter()
    subprocess.run(plan, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    startup = time.perf_counter() - started
    started = time.perf_counter()
    process = subprocess.Popen(command, preexec_fn=few_files)

    def watch() -> None:
        while not done.wait(0.1):
            most[0] = max(most[0], unlinked(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {process.returncode}")
    wall = time.perf_counter() - started
    return Run(frames, threads, usage.ru_utime + usage.ru_stime, wall, startup, usage.ru_maxrss * 1024, most[0])


def fastest(raw: Path, directory: Path, frames: int) -> list[Run]:
    """A sequence with one thread and, if long enough, with two: the faster of two alternating runs of each."""
    threads, turns = (1, 2) if SHARED <= frames <= LONG else (1,), 2 if frames <= LONG else 1
    done = [reduce(raw, directory / f"out{frames}-{n}{turn}", frames, n) for turn in range(turns) for n in threads]
    return [min((run for run in done if run.threads == n), key=lambda run: run.wall) for n in threads]


def verdicts(runs: Sequence[Run]) -> dict[str, bool]:
    """Whether each bar is met, including the CPU time per additional frame between successive lengths."""
    single = [run for run in runs if run.threads == 1]
    rates = marginal(single)
    held = {f"resident <= {MEMORY / 1e9:g} GB": all(run.memory <= MEMORY for run in runs)}
    if rates:
        held[f"a further frame <= {1e3 * PER_FRAME:g} ms CPU"] = rates[-1] <= PER_FRAME
    if len(rates) > 1:
        held["linear in the number of frames"] = rates[-1] <= LINEAR * rates[-2]
    for frames, ratio in gains(runs).items():
        held[f"two threads >= {TWO_THREADS:g} times as fast after start-up, {frames} frames"] = ratio >= TWO_THREADS
    return held


def gains(runs: Sequence[Run]) -> dict[int, float]:
    """How much faster two threads are than one after start-up, by the number of frames."""
    after = {(run.frames, run.threads): run.wall - run.startup for run in runs}
    both = [n for n, threads in after if threads == 2 and (n, 1) in after and n >= SHARED]
    return {n: after[n, 1] / after[n, 2] for n in both}


def marginal(runs: Sequence[Run]) -> list[float]:
    """CPU seconds per additional frame, from each length to the next."""
    return [(b.cpu - a.cpu) / (b.frames - a.frames) for a, b in pairwise(runs) if b.frames > a.frames]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 only with --strict, if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--camera", default="niri")
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--directory", type=Path, help="keep nights and products here (default: temporary)")
    parser.add_argument("--json", type=Path, default=Path("long.json"), help="where the figures go")
    parser.add_argument("--strict", action="store_true", help="exit code 1 where a bar is missed")
    options = parser.parse_args(arguments)
    directory = options.directory or Path(tempfile.mkdtemp(prefix="nirred-long-"))
    runs: list[Run] = []
    try:
        dither, others = cycle(options.camera, min(max(options.frames), CYCLE), options.size, directory / "night")
        for frames in options.frames:
            need, free = frames * options.size**2 * PIXEL_BYTES, shutil.disk_usage(directory).free
            if need > free:
                print(f"{frames:5d} frames: left out, {free / 1e9:.1f} of {need / 1e9:.1f} GB are free in {directory}")
                continue
            raw = sequence(dither, others, frames, directory / f"raw{frames}")
            for run in fastest(raw, directory, frames):
                runs.append(run)
                print(_line(run), flush=True)
            shutil.rmtree(raw)
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)
    rates, held = marginal([run for run in runs if run.threads == 1]), verdicts(runs)
    print("CPU ms of a further frame: " + ", ".join(f"{1e3 * rate:.0f}" for rate in rates))
    for frames, ratio in gains(runs).items():
        print(f"two threads after start-up, {frames} frames: {ratio:.2f} times as fast")
    for bar, passed in held.items():
        print(f"{'ok' if passed else 'MISSED':8}{bar}")
    document = {
        "runs": [asdict(run) for run in runs],
        "cpu_s_per_frame": rates,
        "two_threads": gains(runs),
        "bars": held,
    }
    options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 1 if options.strict and not all(held.values()) else 0


def _line(run: Run) -> str:
    return (
        f"{run.frames:5d} frames, {run.threads} threads: {run.cpu:7.1f} s CPU, {run.wall:7.1f} s wall, "
        f"{run.memory / 1e6:6.0f} MB, scratch {run.scratch / 1e6:6.0f} MB"
    )


if __name__ == "__main__":
    raise SystemExit(main())
