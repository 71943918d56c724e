from __future__ import annotations

from typing import Any

import pytest
from astropy.io import fits

from nirred.plan.describe import plan_json
from tests.unit.plan.nights import fates, full_night, ids, roles, served


def test_full_night_in_executable_order_with_product_names(night: Any) -> None:
    full_night(night)
    night.frame("acquisition")
    plan = night.plan()
    assert ids(plan) == ["c018_dark", "c014_bpm", "c014_flat", "c001_image", "c006_image"]
    assert roles(plan, "c014_flat") == {"lamp_on": 4, "lamp_off": 4}
    assert roles(plan, "c014_bpm") == {"lamp_on": 4, "lamp_off": 4, "bpm_dark": 5}
    assert roles(plan, "c001_image") == {"both": 5}
    assert served(plan, "c001_image") == {"dark": "c018_dark", "flat": "c014_flat", "bpm": "c014_bpm"}
    assert served(plan, "c014_flat") == {"bpm": "c014_bpm"}
    assert plan.task("c006_image").title.startswith("standard FS 17")
    (missing,) = plan.task("c006_image").missing
    assert missing.kind == "dark" and "wanted 10 within 0.01, found 20" in missing.reason
    assert plan.task("c006_image").degraded and not plan.task("c001_image").degraded
    made: set[str] = set()
    for task in plan.tasks:
        assert set(task.needs) <= made
        made.add(task.id)
    assert fates(plan)["c028.fits"] == ("unsupported", "acquisition")
    assert {f for f, _ in fates(plan).values()} == {"used", "unsupported"}


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
    assert not relaxed.task("c001_image").blocked


def test_what_is_not_made_is_missing_or_blocks_as_if_it_had_not_been_found(night: Any) -> None:
    full_night(night)
    image = night.plan().task("c001_image")
    assert image.given(set(image.needs)) == image
    bereft = image.given({"c018_dark", "c014_flat"})
    assert [(m.kind, m.reason) for m in bereft.missing] == [("bpm", "no bpm: c014_bpm was not made")]
    assert bereft.degraded and not bereft.blocked and set(bereft.needs) == {"c018_dark", "c014_flat"}
    assert bereft.given({"c018_dark", "c014_flat"}) == bereft
    reason = "no flat: c014_flat was not made: name one with --user-cal flat:FILE, or continue without it by"
    assert reason in image.given({"c018_dark", "c014_bpm"}).blocked
    assert "c018_dark" in night.plan(strict=True).task("c001_image").given({"c014_bpm", "c014_flat"}).blocked
    for options in ({"allow_missing": ("flat",)}, {"allow_missing": ("flat",), "strict": True}):
        allowed = night.plan(**options).task("c001_image").given({"c018_dark", "c014_bpm"})
        assert allowed.degraded and not allowed.blocked


def test_one_mask_of_two_is_enough(night: Any) -> None:
    full_night(night)
    night.frame("bpm", name="bpm.fits", UT="2020-01-01T00:00:00", EXPTIME=None)
    image = night.plan(strict=True, allow_missing=("dark",)).task("c001_image")
    alone = image.given(set(image.needs) - {"c014_bpm"})
    assert not alone.degraded and not alone.blocked and any("c014_bpm was not made" in r for r in alone.remarks)


def test_calibrations_alone_are_all_made(night: Any) -> None:
    night.darks(3, 20.0)
    night.darks(3, 5.0)
    night.lamps(FILTER="K")
    plan = night.plan()
    assert ids(plan) == ["c001_dark", "c004_dark", "c011_bpm", "c011_flat"]
    assert {f for f, _ in fates(plan).values()} == {"used"}
    assert {f.descriptors.exposure_time for f, r in plan.task("c011_bpm").frames if r == "bpm_dark"} == {5.0}


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


def test_a_flat_of_lamps_alone_is_said_where_it_is_used(night: Any) -> None:
    night.dither(3)
    night.lamps(off=0)
    task = night.plan().task("c001_image")
    assert {a.kind: a.reason.split(", ")[-1] for a in task.calibrations}["flat"] == "without lamp-off frames"
    assert any(r.startswith("flat: ") and r.endswith("without lamp-off frames") for r in task.remarks)


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


def test_failed_calibration_frames_are_left_out(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.darks(3, QA="Fail")
    night.wait(20)
    night.darks(3, QA="Pass")
    plan = night.plan()
    assert served(plan, "c001_image")["dark"] == "c015_dark"
    assert fates(plan)["c012.fits"] == ("unselected", "qa_state Fail: not used as a calibration")


def test_configurations_exposures_targets_and_nights_split(night: Any) -> None:
    night.dither(3)  # 1-3
    night.dither(3, FILTER="K")  # 4-6
    night.dither(3, EXPTIME=20.004)  # 7-9, the same setting as 1-3
    night.dither(3, EXPTIME=60.0)  # 10-12
    night.dither(3, at=(150.02, 0.0))  # 13-15, 72 arcsec away
    night.wait(7)
    night.dither(3)  # 16-18
    plan = night.plan(allow_missing=("flat",))
    assert ids(plan) == [f"c{n:03d}_image" for n in (1, 4, 10, 13, 16)]
    assert roles(plan, "c001_image") == {"both": 6}


def test_targets_without_coordinates_by_name_and_field(night: Any) -> None:
    night.dither(3, stated=False)
    night.dither(3, stated=False, at=(152.0, 0.0))
    night.dither(3, stated=False, OBJECT="M2")
    assert ids(night.plan(allow_missing=("flat",))) == ["c001_image", "c004_image", "c007_image"]


def test_sky_frames_join_their_science_group(night: Any) -> None:
    night.dither(3)
    for _ in range(3):
        night.sky(300, 0, "sky")
    night.dither(3, at=(150.1, 0.0), OBJECT="M1 sky")
    night.dither(3, at=(30.0, 0.0), OBJECT="blank field")
    night.sky(0, 0, "sky", FILTER="K")
    plan = night.plan(allow_missing=("flat",))
    assert ids(plan) == ["c001_image", "c010_image"]
    assert roles(plan, "c001_image") == {"object": 3, "sky": 6}
    assert fates(plan)["c013.fits"] == ("unneeded", "no science frames of its configuration")


def test_exclude_and_only(night: Any) -> None:
    night.dither(5)
    plan = night.plan(exclude=("c002", "nothing"), only=lambda d: d.exposure_time == 20.0, allow_missing=("flat",))
    assert fates(plan)["c002.fits"] == ("unselected", "--exclude c002")
    assert roles(plan, "c001_image") == {"both": 4}
    assert plan.remarks == ["--exclude nothing: matches no input file"]
    none = night.plan(only=lambda d: False)
    assert not none.tasks and {f for f, _ in fates(none).values()} == {"unselected"}


@pytest.mark.parametrize(
    "recipe, expected",
    [
        ("makeProcessedDark", ["c018_dark", "c023_dark"]),
        ("make_processed_bpm", ["c014_bpm"]),
        ("makeProcessedFlat", ["c014_bpm", "c014_flat"]),
        ("check_wcs", ["c001_check_wcs", "c006_check_wcs"]),
        ("ultradeep", ["c018_dark", "c014_bpm", "c014_flat", "c001_image", "c006_image"]),
        ("makeSkyFlat", ["c018_dark", "c014_bpm", "c001_skyflat", "c006_skyflat"]),
    ],
)
def test_recipe_by_name(night: Any, recipe: str, expected: list[str]) -> None:
    full_night(night)
    plan = night.plan(recipe=recipe)
    assert ids(plan) == expected


def test_kinds_that_a_recipe_does_not_use_are_not_sought(night: Any) -> None:
    night.dither(3)
    (task,) = night.plan(recipe="detect_sources", uses=frozenset()).tasks
    assert not task.blocked and not task.missing


def test_stacks_made_in_pieces_are_stacked(night: Any) -> None:
    own = {"NIRRED": "0.1.0", "NIRKIND": "image"}
    night.sky(0, 0, name="a_image.fits", **own)
    night.sky(1, 0, name="b_image.fits", **own)
    plan = night.plan(recipe="alignAndStack")
    assert ids(plan) == ["a_stack"] and roles(plan, "a_stack") == {"input": 2}


def test_frames_of_another_detector_never_match(night: Any) -> None:
    night.dither(3, EPOCH="new")
    night.lamps(EPOCH="new")
    night.darks(3, EPOCH="old")
    (missing, *_) = [m for m in night.plan().task("c001_image").missing if m.kind == "dark"]
    assert "detector: wanted 16x16 new, found 16x16 old" in missing.reason


def test_names_for_objects_that_match_nothing(night: Any) -> None:
    night.dither(3)
    assert "--objects zzz: matches no frame" in night.plan(objects=("zzz",)).remarks


def test_a_frame_without_a_time_is_the_last_of_its_sequence_and_named(night: Any) -> None:
    """The first one gives a product its name and date."""
    (first, *_) = night.dither(4)
    fits.delval(first, "UT")
    plan = night.plan()
    assert [frame.path.name for frame, _ in plan.task("c002_image").frames][-1] == "c001.fits"
    assert plan.remarks == ["c001.fits: its header states no time (date and UT); taken as the last of its sequence"]


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


def test_two_versions_of_one_frame_are_remarked_on(night: Any) -> None:
    night.sky(0, 0)
    (night.folder / "mended").mkdir()
    copy = bytearray((night.folder / "c001.fits").read_bytes())
    copy[-2800] = 7
    (night.folder / "mended" / "c001.fits").write_bytes(copy)
    assert any("c001.fits" in r and "different content" in r for r in night.plan().remarks)


def test_a_plugin_that_fails_to_claim_is_named(night: Any, rival: Any) -> None:
    night.registry.add(rival(broken=True), "rival", "nirred-rival")
    night.dither(3)
    plan = night.plan()
    assert ids(plan) == ["c001_image"]
    assert any("rival" in r and "boom" in r for r in plan.remarks)


def test_each_exposure_of_a_burst_is_a_frame(night: Any) -> None:
    night.sky(0, 0, NCUBE=3)
    plan = night.plan(allow_missing=("flat",))
    (task,) = plan.tasks
    assert task.id == "c001-1_image" and [f.name for f, _ in task.frames] == [f"c001-{i}.fits" for i in (1, 2, 3)]
    assert [i["exposure"] for i in plan_json(plan)["tasks"][0]["inputs"]] == [0, 1, 2]
    assert fates(plan)["c001.fits"][0] == "used"
