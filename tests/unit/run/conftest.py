"""One small simulated NIRI night, and runs of it, for all tests in this directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nirred.params import Setting
from nirred.plan.options import PlanOptions, with_parameters
from nirred.registry import Registry
from nirred.run.api import RunOptions, RunResult, run
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_niri.simulation import simulation

FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="session")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    """Three frames on target, three on sky, and few calibrations; 256 x 256 pixels."""
    folder = tmp_path_factory.mktemp("night")
    return simulate_night(simulation(), folder, scenario="offset", frames=(3, 3), size=256, seed=3, **FEW)


@pytest.fixture(scope="session")
def reduced(night: Night, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunResult, Path]:
    """The night as it is reduced by default, on one thread, and the directory of its products."""
    out = tmp_path_factory.mktemp("reduced")
    return run([night.raw_dir], out, RunOptions(jobs=1), registry), out


@pytest.fixture
def raw(night: Night, tmp_path: Path) -> Path:
    """A copy of the raw files, to be damaged."""
    return Path(shutil.copytree(night.raw_dir, tmp_path / "raw"))


@pytest.fixture
def reduce(registry: Registry, tmp_path: Path) -> Callable[..., RunResult]:
    """Reduce inputs into `tmp_path`/out with options."""

    def call(
        *inputs: Path,
        out: str = "out",
        plan: PlanOptions | None = None,
        settings: Sequence[Setting] = (),
        **options: Any,
    ) -> RunResult:
        asked = with_parameters(plan or PlanOptions(), settings, registry)
        return run(list(inputs), tmp_path / out, RunOptions(**{"jobs": 1, "plan": asked, **options}), registry)

    return call
