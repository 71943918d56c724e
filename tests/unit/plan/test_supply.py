"""The calibration that is chosen for a task, or what is missing and what blocks it."""

from __future__ import annotations

from typing import Any

import pytest

from nirred.errors import ConfigError
from nirred.params import Setting
from nirred.plan.fates import foreseen_exit_code
from nirred.plan.options import check_kinds
from tests.unit.plan.nights import fates, served


def test_reasons_and_levels_of_a_chosen_dark(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.wait(6)
    night.darks(5)
    night.darks(2, 20.0, MODE="fast")
    (dark,) = [a for a in night.plan().task("c001_image").calibrations if a.kind == "dark"]
    assert dark.level == 0 and dark.reason == "20 s, 5 frames, 6.1 h later"
    chosen, lost = dark.candidates
    assert chosen.chosen and all(r.passed for r in chosen.rules)
    assert [(r.rule, r.wanted, r.found) for r in lost.rules if not r.passed] == [("read_mode", "slow", "fast")]


@pytest.mark.parametrize("count, level", [(1, 3), (2, 2), (3, 0)])
def test_few_darks_are_a_risk(night: Any, count: int, level: int) -> None:
    night.dither(3)
    night.lamps()
    night.darks(count)
    task = night.plan().task("c001_image")
    (dark,) = [a for a in task.calibrations if a.kind == "dark"]
    assert dark.level == level
    assert any(r.startswith("dark: ") for r in task.remarks) == (level >= 2)


def test_nearest_dark_in_time_and_window(night: Any) -> None:
    night.darks(3)
    night.wait(24 * 10)
    night.dither(3)
    night.lamps()
    night.wait(24 * 30)
    night.darks(3)
    plan = night.plan()
    assert served(plan, "c004_image")["dark"] == "c001_dark"
    (dark,) = [a for a in plan.task("c004_image").calibrations if a.kind == "dark"]
    assert dark.level == 1 and "10.0 d earlier" in dark.reason
    fate, reason = fates(plan)["c015.fits"]  # a dark of the exposure time that the task needs
    assert fate == "unneeded" and reason == "no task needs a dark of 20 s with its settings, or others are nearer"


def test_a_dark_beyond_the_window_is_the_nearest_miss(night: Any) -> None:
    night.darks(3)
    night.wait(24 * 200)
    night.dither(3)
    night.lamps()
    (missing, *_) = night.plan().task("c004_image").missing
    assert "within 180 d" in missing.reason or "180 d" in missing.reason
    assert "200.0 d earlier" in missing.reason


def test_the_dark_nearest_in_exposure_is_the_nearest_miss(night: Any) -> None:
    """And not the one nearest in time; what nobody can compare is farthest off."""
    night.darks(3, 18.0)
    night.wait(3)
    night.darks(3, 90.0)
    night.dither(3)
    night.lamps()
    night.darks(3, 2.0)
    (missing, *_) = night.plan().task("c007_image").missing
    assert missing.reason.startswith(
        "no dark; nearest is c001_dark.fits (exposure_time: wanted 20 within 0.01, found 18)"
    )
    assert [c.name for c in missing.candidates] == ["c001_dark.fits", "c004_dark.fits", "c018_dark.fits"]


def test_missing_flat_blocks_with_the_nearest_miss_and_the_remedy(night: Any) -> None:
    night.dither(3)
    night.lamps(FILTER="K")
    plan = night.plan()
    task = plan.task("c001_image")
    for words in ("no flat", "filter_name: wanted J, found K", "--user-cal flat:FILE", "--allow-missing flat"):
        assert words in task.blocked
    fate, reason = fates(plan)["c001.fits"]
    assert fate == "failed" and "no flat" in reason
    assert fates(plan)["c008.fits"] == (
        "unneeded",
        "no task needs a lamp-on in K with its settings, or others are nearer",
    )
    allowed = night.plan(allow_missing=("processed_flat",)).task("c001_image")
    assert not allowed.blocked and allowed.degraded


def test_strict_blocks_what_is_degraded(night: Any) -> None:
    night.dither(3)
    night.lamps()
    assert not night.plan().task("c001_image").blocked
    assert "no dark" in night.plan(strict=True).task("c001_image").blocked
    relaxed = night.plan(strict=True, allow_missing=("dark", "bpm"))
    assert not relaxed.task("c001_image").blocked and relaxed.task("c001_image").degraded
    assert foreseen_exit_code(relaxed, strict=True) == 0  # as the user has it


def test_a_dark_that_a_parameter_demands_is_indispensable(night: Any) -> None:
    night.dither(3)
    night.lamps()
    forced = (Setting("dark_correct", "do_cal", "force", "command line"),)
    task = night.plan(settings=forced).task("c001_image")
    assert "no dark" in task.blocked and "--user-cal dark:FILE" in task.blocked
    assert not night.plan(settings=forced, allow_missing=("dark",)).task("c001_image").blocked
    skipped = (*forced, Setting("dark_correct", "skip", True, "command line"))
    assert not night.plan(settings=skipped).task("c001_image").blocked


def test_a_parameter_that_no_task_uses_is_refused(night: Any) -> None:
    night.dither(3)
    night.lamps()
    unused = Setting("make_bpm", "dark_hi_thresh", 100, "command line")
    with pytest.raises(ConfigError, match=r"make_bpm:dark_hi_thresh \(command line\): unused parameter"):
        night.plan(settings=(unused,))
    assert not night.plan(settings=(unused,), exclude=("c0",)).tasks  # nothing is planned: the fates say why


def test_a_flat_of_lamps_alone_is_said_where_it_is_used(night: Any) -> None:
    night.dither(3)
    night.lamps(off=0)
    task = night.plan().task("c001_image")
    assert {a.kind: a.reason.split(", ")[-1] for a in task.calibrations}["flat"] == "without lamp-off frames"
    assert any(r.startswith("flat: ") and r.endswith("without lamp-off frames") for r in task.remarks)


def test_the_remedy_for_missing_lamp_off_frames_is_accepted(night: Any) -> None:
    night.dither(3)
    night.lamps(off=0)
    night.darks(5)
    blocked = night.plan(strict=True).task("c001_image").blocked
    assert "add raw ones to INPUT, or continue without it by --allow-missing lampoff_flat" in blocked
    assert "--user-cal lampoff_flat" not in blocked
    check_kinds(("lampoff_flat",), "allow_missing", night.registry)
    relaxed = night.plan(strict=True, allow_missing=("lampoff_flat", "bpm"))
    assert not relaxed.task("c001_image").blocked


def test_kinds_that_a_recipe_does_not_use_are_not_sought(night: Any) -> None:
    night.dither(3)
    (task,) = night.plan(recipe="prepare").tasks
    assert not task.blocked and not task.missing


def test_frames_of_another_detector_never_match(night: Any) -> None:
    night.dither(3, EPOCH="new")
    night.lamps(EPOCH="new")
    night.darks(3, EPOCH="old")
    (missing, *_) = [m for m in night.plan().task("c001_image").missing if m.kind == "dark"]
    assert "detector: wanted 16x16 new, found 16x16 old" in missing.reason


def test_a_measured_mask_has_its_window_though_static_ones_have_none(night: Any) -> None:
    night.frame("bpm", "static.fits")
    night.wait(24 * 300)
    night.dither(3)
    night.wait(24 * 300)
    night.lamps()
    night.darks(3, 1.0)
    task = night.plan(allow_missing=("flat",)).task("c002_image")
    assert [a.path for a in task.calibrations if a.kind == "bpm"] == [night.folder / "static.fits"]


def test_frame_without_a_time_finds_only_what_has_no_window(night: Any) -> None:
    night.frame("science", OBJECT="M1", UT="")
    night.lamps()
    task = night.plan().task("c001_image")
    assert "at an unknown time" in task.blocked
