"""One night with every executor, number of jobs and memory limit: the same bytes and the same record."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.simulate import simulate_night

FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
CAMERAS = ("niri", "f2", "gnirs", "emir")
WAYS = ("serial", "threads", "processes")
JOBS = (1, 2, 4)
#: Memory limits for which all, some or no planes are on disk.
MEMORY = (1, 12_000_000, 2_000_000_000)
#: Each executor with each number of jobs, each of these with one limit, so that every executor has all limits.
SQUARE = [(way, jobs, MEMORY[(i + k) % 3]) for i, way in enumerate(WAYS) for k, jobs in enumerate(JOBS)]


def digests(out: Path) -> dict[str, str]:
    """SHA-256 of all products."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(out.glob("*.fits"))}


def outcome(result: Any, out: Path) -> tuple[dict[str, str], Any, Any]:
    """Digests of all products, fates of all files, and tasks without their cost."""
    tasks = [{k: v for k, v in t.items() if k != "cpu_s"} for t in result.record["tasks"]]
    return digests(out), result.record["files"], tasks


@pytest.fixture(scope="module")
def nights(tmp_path_factory):
    """(raw directory, registry, result of a default run) of a camera, created on demand."""
    made = {}

    def give(camera):
        if camera not in made:
            home = tmp_path_factory.mktemp(camera)
            registry = Registry.discover()
            night = simulate_night(
                registry.simulations()[camera], home, scenario="dither", frames=4, size=256, seed=3, **FEW
            )
            result = run([night.raw_dir], home / "out", RunOptions(), registry)
            assert result.exit_code == 0, result.messages
            made[camera] = night.raw_dir, registry, outcome(result, home / "out")
        return made[camera]

    return give


def check(nights, camera, tmp_path, way, jobs, memory):
    raw, registry, expected = nights(camera)
    result = run([raw], tmp_path, RunOptions(executor=way, jobs=jobs, memory=memory, report=False), registry)
    assert outcome(result, tmp_path) == expected
    assert len(expected[0]) >= 4


@pytest.mark.parametrize("camera", ["f2", "emir"])
def test_the_same_bytes(nights, tmp_path, camera):
    check(nights, camera, tmp_path, "threads", 4, 1)


@pytest.mark.slow
@pytest.mark.parametrize(("way", "jobs", "memory"), SQUARE)
@pytest.mark.parametrize("camera", CAMERAS)
def test_the_same_bytes_every_way(nights, tmp_path, camera, way, jobs, memory):
    check(nights, camera, tmp_path, way, jobs, memory)


@pytest.mark.slow
@pytest.mark.parametrize("camera", CAMERAS)
def test_nothing_depends_on_what_memory_held(nights, tmp_path, camera):
    """The C library fills allocated and freed memory with arbitrary bytes."""
    raw, _, expected = nights(camera)
    command = [sys.executable, "-m", "nirred", "run", str(raw), "-o", str(tmp_path), "--quiet", "--no-report"]
    subprocess.run(command, env=dict(os.environ) | {"MALLOC_PERTURB_": "165"}, check=True)
    assert digests(tmp_path) == expected[0]
