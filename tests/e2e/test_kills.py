"""A run that is killed at any moment and started again gives the same result as an uninterrupted one."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nirred.files import PART
from nirred.registry import Registry
from nirred.run.verify import verify
from nirred.testing.simulate import simulate_night

FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
WAYS = ("serial", "threads", "processes")


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.fits"))}


def command(night, out, *options):
    return [sys.executable, "-m", "nirred", "run", str(night.raw_dir), "-o", str(out), "-q", *options]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Nights of all installed cameras, their results and run times; created on demand."""
    made = {}

    def give(camera):
        if camera not in made:
            home = tmp_path_factory.mktemp(camera)
            simulated = Registry.discover().simulations()[camera]
            size = 128 if camera == "niri" else 256
            night = simulate_night(simulated, home, scenario="dither", frames=4, size=size, seed=3, **FEW)
            start = time.monotonic()
            subprocess.run(command(night, home / "whole"), check=True, timeout=500, capture_output=True)
            made[camera] = night, digests(home / "whole"), time.monotonic() - start
        return made[camera]

    return give


def cameras():
    return sorted(set(Registry.discover().simulations()) & {"niri", "f2", "gnirs", "emir"})


def kill_after(seconds, night, out, executor):
    """Start a run and kill it, with all its child processes."""
    process = subprocess.Popen(
        command(night, out, "--executor", executor, "--jobs", "2"), start_new_session=True, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        if executor == "processes":
            process.kill()  # the workers must notice by themselves
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def check(undisturbed, camera, seed, tmp_path):
    night, expected, seconds = undisturbed(camera)
    chance = random.Random(seed)
    out = tmp_path / "out"
    for _ in range(chance.choice((1, 1, 2))):
        kill_after(chance.uniform(0.2, 1.0) * seconds, night, out, chance.choice(WAYS))
        for record in (out / ".nirred" / "tasks").glob("*.json") if out.exists() else ():
            assert json.loads(record.read_text())["products"]
    subprocess.run(command(night, out), check=True, timeout=500, capture_output=True)
    assert digests(out) == expected
    assert not [p for p in out.rglob("*") if PART.fullmatch(p.name)]
    assert {f.state for f in verify(out)} == {"ok"}


@pytest.mark.parametrize("seed", range(3))
def test_killed_and_started_again(undisturbed, tmp_path, seed):
    check(undisturbed, "niri", seed, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3, 30))
def test_killed_and_started_again_many_times(undisturbed, tmp_path, seed):
    check(undisturbed, cameras()[seed % len(cameras())], seed, tmp_path)


def attend():
    """Restore the handling of Ctrl-C, which a shell's background jobs ignore."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize("asked", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("executor", WAYS)
def test_ctrl_c(undisturbed, tmp_path, executor, asked):
    """Interrupted in the middle: code 130, a record, and a later run completes the rest."""
    night, expected, seconds = undisturbed("niri")
    out = tmp_path / "out"
    process = subprocess.Popen(
        command(night, out, "--executor", executor),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=attend,
    )
    deadline = time.monotonic() + 60 * max(seconds, 1)
    while not list(out.glob("*.fits")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, asked) if asked == signal.SIGTERM else os.killpg(process.pid, asked)
    said = process.communicate(timeout=200)[1]
    assert process.returncode == 130 and "interrupted" in said
    assert "Traceback" not in said and "Warning" not in said
    outcomes = [t["outcome"] for t in json.loads((out / "run.json").read_text())["tasks"]]
    assert "interrupted" in outcomes and set(outcomes) <= {"done", "interrupted"}
    subprocess.run(command(night, out), check=True, timeout=500, capture_output=True)
    assert digests(out) == expected
