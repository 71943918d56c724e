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


def test_failed_calibration_frames_are_left_out(night: Any) -> None:
    night.dither(3)
    night.lamps()
    night.darks(3, QA="Fail")
    night.wait(20)
    night.darks(3, QA="Pass")
    plan = night.plan()
    assert served(plan, "c001_image")["dark"] == "c015_dark"
    assert fates(plan)["c012.fits"] == ("unselected", "qa_state Fail: not used as a calibration")
    (dark,) = [a for a in plan.task("c001_image").calibrations if a.kind == "dark"]
    assert [(c.name, c.why) for c in dark.candidates[1:]] == [("c012.fits", "qa_state: wanted not Fail, found Fail")]


def test_a_failed_calibration_is_the_nearest_miss(night: Any) -> None:
    night.dither(3)
    night.lamps(QA="Fail")
    night.wait(20)
    night.lamps(FILTER="K")
    (missing,) = [m for m in night.plan().task("c001_image").missing if m.kind == "flat"]
    assert missing.reason == "no flat; nearest is c008.fits (qa_state: wanted not Fail, found Fail)"


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


def test_stacks_made_in_pieces_are_stacked(night: Any) -> None:
    own = {"NIRRED": "0.1.0", "NIRKIND": "image"}
    night.sky(0, 0, name="a_image.fits", **own)
    night.sky(1, 0, name="b_image.fits", **own)
    plan = night.plan(recipe="alignAndStack")
    assert ids(plan) == ["a_stack"] and roles(plan, "a_stack") == {"input": 2}


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
    night.sky(0, 0, NCUBE=3, NAXIS=3, NAXIS3=3)
    plan = night.plan(allow_missing=("flat",))
    (task,) = plan.tasks
    assert task.id == "c001-1_image" and [f.name for f, _ in task.frames] == [f"c001-{i}.fits" for i in (1, 2, 3)]
    assert [i["exposure"] for i in plan_json(plan)["tasks"][0]["inputs"]] == [0, 1, 2]
    assert fates(plan)["c001.fits"][0] == "used"


def test_a_recipe_that_is_asked_for_says_what_it_lacks(night: Any) -> None:
    night.lamps(2, off=2)
    reasons = {reason for _, reason in fates(night.plan(recipe="makeProcessedBPM")).values()}
    assert reasons == {"no short darks with the settings of these flats, or other flats are nearer"}
    reasons = {reason for _, reason in fates(night.plan(recipe="makeProcessedDark")).values()}
    assert len(reasons) == 1 and reasons.pop().startswith("not a frame for make_processed_dark")
