"""Groups of calibration frames, and the names of products."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nirred.plan.drafts import Draft, mask_dark_wish
from nirred.plan.scan import scan_file
from nirred.plugin import CalibrationRule, Match, hookimpl
from tests.unit.plan.nights import fates, ids, roles


def two_nights(night: Any, *folders: str) -> None:
    """Darks of one exposure time, numbered from 1 in each directory."""
    for folder in folders:
        (night.folder / folder).mkdir(parents=True)
        for number in (1, 2, 3):
            night.frame("dark", f"{folder}/c{number:03}.fits")
        night.wait(24.0)


def test_numbers_that_restart_in_another_directory(night: Any) -> None:
    two_nights(night, "night1", "night 2")
    plan = night.plan()
    assert [t.id for t in plan.tasks] == ["c001_dark", "c001-night_2_dark"]
    assert [len(t.frames) for t in plan.tasks] == [3, 3]
    assert any("another product is called c001_dark.fits" in r for r in plan.tasks[1].remarks)
    assert plan.tasks[0].remarks == ()
    assert [t.id for t in night.plan(recipe="make_processed_dark").tasks] == ["c001_dark", "c001-night_2_dark"]


def test_directories_of_one_name_are_numbered(night: Any) -> None:
    two_nights(night, "a/raw", "b/raw", "c/raw")
    assert [t.id for t in night.plan().tasks] == ["c001_dark", "c001-raw_dark", "c001-raw-2_dark"]


def test_names_that_differ_by_case_alone(night: Any) -> None:
    for name, mode in (("c001.fits", "slow"), ("C001.fits", "fast")):
        night.frame("dark", name, MODE=mode)
    assert [t.id for t in night.plan().tasks] == ["c001_dark", "C001-raw_dark"]


@pytest.mark.parametrize("recipe", [None, "ultradeep"])
def test_science_of_two_nights_with_their_lamps(night: Any, recipe: str | None) -> None:
    for folder in ("n1", "n2"):
        (night.folder / folder).mkdir()
        for number in range(1, 4):
            night.sky(2.0 * number, 0.0, name=f"{folder}/c{number:03}.fits")
        for role, first in (("lamp_off", 10), ("lamp_on", 20)):
            for number in range(first, first + 4):
                night.frame(role, f"{folder}/c{number:03}.fits", EXPTIME=7.0)
        for number in (30, 31, 32):
            night.frame("dark", f"{folder}/c{number:03}.fits", EXPTIME=1.0)
        night.wait(24.0)
    plan = night.plan(recipe=recipe)
    assert {"c020_bpm", "c020-n2_bpm"} <= {t.id for t in plan.tasks}
    assert {"c001_image", "c001-n2_image", "c020_flat", "c020-n2_flat"} <= {t.id for t in plan.tasks}
    later = plan.task("c001-n2_image")
    assert [a.task for a in later.calibrations if a.kind == "flat"] == ["c020-n2_flat"]
    for task in plan.tasks:  # lamp-off frames and darks of the same night, although both nights use the same file names
        assert len({f.path.parent for f, _ in task.frames}) == 1


@pytest.mark.parametrize(("tag", "groups"), [("OTHER", [6]), ("CAM", [3, 3])])
def test_rules_for_another_camera_split_no_group(night: Any, tag: str, groups: list[int]) -> None:
    """Rules of an add-on package for this camera apply."""

    class Addon:
        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_calibration_rules(self) -> list[CalibrationRule]:
            return [CalibrationRule("dark", frozenset({tag, "IMAGE"}), (Match("sequence_id"),), optional=True)]

    assert not night.registry.add(Addon(), "addon").error
    night.darks(3, SEQ="s1")
    night.darks(3, SEQ="s2")
    assert [len(t.frames) for t in night.plan().tasks] == groups


def test_another_instruments_short_darks_are_not_for_a_mask(night: Any) -> None:
    """Two cameras may have frames of one size in one directory."""
    rule = next(r for _, r in night.registry.rules() if r.kind == "bpm_dark")
    flat = scan_file(night.lamps(1, 0)[0], night.registry).frames[0]
    own, foreign = (
        Draft(f"d{seconds:g}", "make_processed_dark", "dark", tuple((f, "dark") for f in frames))
        for seconds in (20.0, 1.0)
        for frames in [[scan_file(p, night.registry).frames[0] for p in night.darks(3, seconds)]]
    )
    foreign = replace(foreign, frames=tuple((replace(f, instrument="other"), role) for f, role in foreign.frames))
    wish, sources = mask_dark_wish(flat, rule, [own, foreign])
    assert wish.prefer == own.source().made_of
    assert [s.task for s in sources] == ["d20"]


def test_mask_from_long_darks_says_so(night: Any) -> None:
    night.lamps()
    night.darks(3, 60.0)
    (bpm,) = [t for t in night.plan().tasks if t.makes == "bpm"]
    assert any("darks of 60 s" in r for r in bpm.remarks)


def test_lamp_pairs_nearest_in_time_with_remarks(night: Any) -> None:
    night.lamps(on=0, off=3)
    night.wait(72)
    night.lamps(on=3, off=0)
    night.wait(240)
    night.lamps(on=0, off=3)
    plan = night.plan()
    (task,) = plan.tasks
    assert task.id == "c004_flat" and next(f.name for f, r in task.frames if r == "lamp_off") == "c001.fits"
    assert any("3.0 d earlier" in r and "more than 1 d apart" in r for r in task.remarks)
    assert fates(plan)["c007.fits"][0] == "unneeded"


def test_lamp_on_alone_is_degraded_and_lowers_the_level(night: Any) -> None:
    night.dither(3)
    night.lamps(on=3, off=0)
    plan = night.plan()
    assert plan.task("c004_flat").degraded
    assert [a.level for a in plan.task("c001_image").calibrations if a.kind == "flat"] == [2]


def test_lamp_off_of_equal_exposure_is_preferred_else_said(night: Any) -> None:
    night.lamps(on=0, off=3, EXPTIME=3.0)
    night.lamps(on=3, off=0)
    assert any("3 s" in r and "7 s" in r for r in night.plan().tasks[0].remarks)
    night.lamps(on=0, off=3)
    task = night.plan().tasks[0]
    assert {f.descriptors.exposure_time for f, _ in task.frames} == {7.0}


@pytest.mark.parametrize("lamp", ["QH", "Off"])
def test_a_burning_lamp_behind_a_shutter_is_lit_if_there_are_no_other_flats(night: Any, lamp: str) -> None:
    night.lamps(on=0, off=4, LAMP=lamp)
    night.lamps(on=3, off=4, LAMP="QH", FILTER="H")
    night.dither(5)
    night.dither(5, FILTER="H")
    plan = night.plan()
    assert roles(plan, "c009_flat") == {"lamp_on": 3, "lamp_off": 4}
    made = [t.id for t in plan.tasks if t.id.endswith("_flat")]
    assert made == (["c001_flat", "c009_flat"] if lamp == "QH" else ["c009_flat"])
    if lamp == "QH":
        assert roles(plan, "c001_flat") == {"lamp_on": 4}


def test_lamp_flats_of_other_exposure_or_night_are_groups_of_their_own(night: Any) -> None:
    night.lamps(on=3, off=0)
    night.lamps(on=3, off=0, EXPTIME=30.0)
    night.wait(13)
    night.lamps(on=3, off=0)
    assert ids(night.plan()) == ["c001_flat", "c004_flat", "c007_flat"]


def test_plain_flats_need_no_partner(night: Any) -> None:
    night.dither(3)
    for _ in range(3):
        night.frame("flat", EXPTIME=4.0)
    plan = night.plan()
    assert roles(plan, "c004_flat") == {"flat": 3}
    assert [m.kind for m in plan.task("c004_flat").missing] == ["bpm"]
