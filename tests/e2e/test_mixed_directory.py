"""A directory with frames of several cameras, with all of their plugins or only some."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nirred.plan.planner import PlanOptions, make_plan
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.simulate import simulate_night

CAMERAS = ("niri", "f2", "gnirs")
FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Names of the files of each camera; all are in the directory of the key `raw`."""
    home = tmp_path_factory.mktemp("mixed")
    simulations = Registry.discover(only=CAMERAS).simulations()
    (home / "raw").mkdir()
    names: dict[str, set[str]] = {"raw": {str(home / "raw")}}
    for seed, camera in enumerate(CAMERAS, 1):
        night = simulate_night(
            simulations[camera], home / camera, scenario="dither", frames=5, seed=seed, size=256, **FEW
        )
        names[camera] = {f"{camera}-{name}" for name in night.frames}
        for name in night.frames:
            shutil.move(night.raw_dir / name, home / "raw" / f"{camera}-{name}")
    return names


def raw(mixed: dict[str, set[str]]) -> Path:
    return Path(next(iter(mixed["raw"])))


def test_every_camera_has_its_own_tasks_and_calibrations(mixed: dict[str, set[str]]) -> None:
    plan = make_plan([raw(mixed)], Registry.discover(only=CAMERAS), PlanOptions())
    made = sorted((task.first.instrument, task.makes) for task in plan.tasks)
    assert made == sorted((camera, kind) for camera in CAMERAS for kind in ("dark", "bpm", "flat", "image"))
    by_id = {task.id: task for task in plan.tasks}
    for task in plan.tasks:
        camera = task.first.instrument
        assert {info.path.name for info, _ in task.frames} <= mixed[camera]
        assert {by_id[a.task].first.instrument for a in task.calibrations if a.task} <= {camera}


@pytest.mark.parametrize("present", [("niri",), ("f2",), ("gnirs", "niri")])
def test_frames_of_absent_plugins_are_unclaimed_with_the_package_named(
    mixed: dict[str, set[str]], present: tuple[str, ...]
) -> None:
    plan = make_plan([raw(mixed)], Registry.discover(only=present), PlanOptions())
    assert {task.first.instrument for task in plan.tasks} == set(present)
    left = {report.path.name: report for report in plan.files if report.verdict == "unclaimed"}
    assert set(left) == set().union(*(mixed[camera] for camera in CAMERAS if camera not in present))
    for camera in set(CAMERAS) - set(present):
        assert all(f"pip install nirred-{camera}" in left[name].reason for name in mixed[camera])


@pytest.mark.slow
def test_one_run_reduces_them_all(mixed: dict[str, set[str]], tmp_path: Path) -> None:
    result = run([raw(mixed)], tmp_path / "out", RunOptions(jobs=1), Registry.discover(only=CAMERAS))
    assert result.exit_code == 0
    assert len(list((tmp_path / "out").glob("*_image.fits"))) == len(CAMERAS)
    fates = {entry["file"].rsplit("/", 1)[-1]: entry["fate"] for entry in result.record["files"]}
    science = {name for name, fate in fates.items() if fate == "used"}
    assert all(science & mixed[camera] for camera in CAMERAS)
