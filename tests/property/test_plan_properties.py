"""A plan depends on the files, not on their order on the command line, and includes every file."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nirred.plan.describe import plan_json
from nirred.plan.fates import summary
from nirred.plan.model import FATES
from nirred.plan.moments import by_exposure
from nirred.plan.scan import scan

SETTINGS = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
_SPEC = importlib.util.spec_from_file_location("plan_camera", Path(__file__).parents[1] / "unit" / "conftest.py")
assert _SPEC is not None and _SPEC.loader is not None
camera: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(camera)

FRAMES = st.lists(
    st.tuples(
        st.sampled_from(["science", "sky", "standard", "dark", "lamp_on", "lamp_off", "flat", "bpm", "acquisition"]),
        st.sampled_from(["J", "K"]),
        st.sampled_from([1.0, 20.0, 20.004]),
        st.sampled_from([0.0, 3.0, 200.0]),
        st.sampled_from([0.0, 5.0, 20.0]),
    ),
    min_size=1,
    max_size=14,
)


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Any:
    night = camera.NightBuilder(tmp_path_factory.mktemp("night") / "raw")
    night.dither(4)
    for east in (200, 202):
        night.sky(east, 0)
    night.dither(2, at=(20.0, 5.0), role="standard", EXPTIME=10.0)
    night.lamps()
    night.lamps(FILTER="K", on=2, off=0)
    night.darks(4)
    night.darks(3, 1.0)
    night.frame("bpm")
    shutil.copy(night.folder / "c001.fits", night.folder / "z_copy.fits")
    (night.folder / "broken.fits").write_bytes(b"rubbish")
    return night


@SETTINGS
@given(st.data())
def test_order_of_inputs_does_not_matter(night: Any, data: st.DataObject) -> None:
    files = sorted(night.folder.iterdir())
    shuffled = data.draw(st.permutations(files))
    assert json.dumps(plan_json(night.plan(*shuffled))) == json.dumps(plan_json(night.plan(*files)))


@SETTINGS
@given(FRAMES)
def test_no_file_disappears_and_tasks_follow_what_they_need(frames: list[tuple[str, str, float, float, float]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        night = camera.NightBuilder(Path(folder) / "raw")
        for role, band, seconds, east, hours in frames:
            night.sky(east, 0, role, FILTER=band, EXPTIME=seconds)
            night.wait(hours)
        plan = night.plan()
        assert len(plan.files) == len(frames)
        for record in plan.files:
            fate, reason = summary(record)
            assert fate in FATES and (fate == "used" or reason)
        made: set[str] = set()
        for task in plan.tasks:
            assert set(task.needs) <= made and task.id not in made
            assert len({(f.path, role) for f, role in task.frames}) == len(task.frames)
            made.add(task.id)


@SETTINGS
@given(st.lists(st.floats(0.1, 300.0), min_size=1, max_size=12))
def test_exposure_times_of_one_group_agree_and_none_is_lost(times: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        night = camera.NightBuilder(Path(folder) / "raw")
        for t in times:
            night.frame("dark", EXPTIME=round(t, 4))
        frames = [f for r in scan(list(night.folder.iterdir()), night.registry) for f in r.frames]
        groups = by_exposure(frames)
        assert sum(map(len, groups)) == len(times)
        for g in groups:
            seconds = [f.descriptors.exposure_time for f in g]
            assert max(seconds) - min(seconds) < 0.01
