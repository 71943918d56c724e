from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirred.params import Setting
from nirred.plan.model import FrameInfo, Plan
from nirred.plan.planner import PlanOptions, make_plan
from nirred.plugin.coordinates import separation


def frames(plan: Plan) -> list[FrameInfo]:
    return [f for r in plan.files for f in r.frames]


def position(frame: FrameInfo) -> tuple[float, float]:
    return float(frame.wcs[0].wcs.wcs.crval[0]), float(frame.wcs[0].wcs.wcs.crval[1])


def check(night: Any) -> list[FrameInfo]:
    return frames(night.plan(recipe="check_wcs"))


def test_good_frames_are_ok(night: Any) -> None:
    night.dither(5, step=20.0)
    assert [(f.wcs_state, f.wcs_note) for f in check(night)] == [("ok", "")] * 5


def test_first_frame_kept_from_the_previous_target_is_rebuilt_from_a_neighbour(night: Any) -> None:
    night.sky(0, 0, stale=(3000.0, 500.0))
    night.sky(20, 0)
    night.sky(0, 20)
    first, *others = check(night)
    assert first.wcs_state == "rebuilt" and first.wcs[0].origin == "rebuilt" and first.wcs[0].sigma_arcsec > 1.0
    assert "c002.fits" in first.wcs_note and "arcsec off" in first.wcs_note
    assert separation(position(first), (150.0, 0.0)) < 0.1
    assert {f.wcs_state for f in others} == {"ok"}


def test_first_frames_that_kept_a_neighbours_wcs_are_not_the_measure(night: Any) -> None:
    """Within the limit of their own pointing, but inconsistent with most of the others."""
    night.sky(0, 0)
    night.sky(0, 20, stale=(0.0, -20.0))  # the WCS of the frame before
    night.sky(20, 0, stale=(-20.0, 20.0))  # likewise
    for east, north in ((20, 20), (-10, 15), (5, -20), (-15, -5)):
        night.sky(east, north)
    night.sky(0, -8, stale=(0.0, 400.0))
    states = [f.wcs_state for f in check(night)]
    assert states == ["ok", "rebuilt", "rebuilt", "ok", "ok", "ok", "ok", "rebuilt"]


def test_a_frame_that_kept_another_wcs_is_not_the_measure_even_if_it_is_the_first(night: Any) -> None:
    night.sky(0, 0, stale=(-12.0, 20.0))
    for east, north in ((15, 10), (-15, 15), (5, -20)):
        night.sky(east, north)
    found = check(night)
    assert [f.wcs_state for f in found] == ["rebuilt", "ok", "ok", "ok"]
    assert separation(position(found[0]), (150.0, 0.0)) < 0.1


@pytest.mark.parametrize("dec", [0.0, 60.0])
def test_a_wcs_that_did_not_follow_an_offset(night: Any, dec: float) -> None:
    night.sky(0, 0, at=(150.0, dec))
    night.sky(0, 20, at=(150.0, dec), stale=(0.0, -20.0))
    night.sky(0, 10, at=(150.0, dec))
    found = check(night)
    assert [f.wcs_state for f in found] == ["ok", "rebuilt", "ok"]
    assert "offsets say" in found[1].wcs_note
    assert separation(position(found[1]), (150.0, dec + 20 / 3600)) < 0.1


def test_alone_it_is_rebuilt_from_the_pointing(night: Any) -> None:
    night.sky(0, 0, stale=(0.0, 400.0))
    (frame,) = check(night)
    assert frame.wcs_state == "rebuilt" and "from the pointing" in frame.wcs_note
    assert separation(position(frame), (150.0, 0.0)) < 1e-3


def test_wrong_target_coordinates_do_not_spoil_a_wcs_that_follows(night: Any) -> None:
    for east in (0, 20, 40):
        night.sky(east, 0, stale=(0.0, 100.0))
    found = check(night)
    assert {f.wcs_state for f in found} == {"ok"} and "kept" in found[0].wcs_note
    assert separation(position(found[0]), (150.0, 100 / 3600)) < 1e-3


def mirrored(night: Any, east: float, north: float, **cards: Any) -> None:
    """A frame of a port that mirrors the offsets on the sky, and those of sources on the array back."""
    night.sky(east, north, ERA=150.0 - east / 3600, **cards)


def test_a_port_may_mirror_the_offsets(night: Any) -> None:
    for east, north in ((0, 0), (20, 10), (400, -10), (-20, 15)):
        mirrored(night, east, north)
    assert [(f.wcs_state, f.wcs_note) for f in check(night)] == [("ok", "")] * 4


def test_a_stale_wcs_is_found_where_the_port_mirrors_the_offsets(night: Any) -> None:
    for east, north in ((0, 0), (20, 10), (-20, 15), (5, -20)):
        mirrored(night, east, north, stale=(40.0, 0.0) if east == -20 else (0.0, 0.0))
    found = check(night)
    assert [f.wcs_state for f in found] == ["ok", "ok", "rebuilt", "ok"]
    assert separation(position(found[2]), (150.0 - 20 / 3600, 15 / 3600)) < 0.1


def test_without_expected_position_the_neighbours_decide(night: Any) -> None:
    for east in (0, 20, 40, 60):
        night.sky(east, 0, stated=False, stale=(0.0, 0.0) if east else (900.0, 0.0))
    assert [f.wcs_state for f in check(night)] == ["rebuilt", "ok", "ok", "ok"]


def test_one_against_one_is_said_and_left(night: Any) -> None:
    night.sky(0, 0, stated=False)
    night.sky(20, 0, stated=False, stale=(-20.0, 0.0))
    one, two = check(night)
    assert (one.wcs_state, two.wcs_state) == ("ok", "ok")
    assert not one.wcs_note and two.wcs_note.endswith("kept") and "c001.fits" in two.wcs_note


def test_a_stale_wcs_does_not_change_the_grouping(night: Any) -> None:
    night.sky(0, 0, stale=(3000.0, 500.0))
    for i in range(4):
        night.sky(2 * i, 2)
    plan = night.plan(allow_missing=("flat",))
    (task,) = plan.tasks
    assert {role for _, role in task.frames} == {"both"} and len(task.frames) == 5
    assert any(r.startswith("c001.fits: WCS at") for r in task.remarks)


def test_a_pause_or_another_sequence_starts_anew(night: Any) -> None:
    night.sky(0, 0)
    night.wait(1)
    night.sky(0, 20, stated=False, stale=(0.0, -20.0))
    assert [f.wcs_state for f in check(night)] == ["ok", "ok"]


def test_a_wcs_that_the_user_trusts_is_used_as_it_is(night: Any) -> None:
    night.sky(0, 0, stale=(3000.0, 500.0))
    night.sky(20, 0)
    night.sky(0, 20)
    night.sky(0, 0, CTYPE1="PIXEL", CTYPE2="PIXEL")
    trusted = Setting("prepare", "bad_wcs", "ignore", "command line")
    options = PlanOptions(recipe="separate_sky").with_settings([trusted])
    first, *others, without = frames(make_plan([night.folder], night.registry, options))
    assert (first.wcs_state, first.wcs[0].origin) == ("ok", "header")
    assert "arcsec off" in first.wcs_note and first.wcs_note.endswith("; used as it is")
    assert separation(position(first), (150.0 + 3000 / 3600, 500 / 3600)) < 0.1
    assert [(f.wcs_state, f.wcs_note) for f in others] == [("ok", "")] * 2
    assert without.wcs_state == "rebuilt"


def test_a_plan_says_that_a_group_fails_where_the_user_wants_it_to(night: Any) -> None:
    night.sky(0, 0, stale=(3000.0, 500.0))
    night.sky(20, 0)
    night.sky(0, 20)
    strict = Setting("prepare", "bad_wcs", "exit", "command line")
    first, *others = frames(make_plan([night.folder], night.registry, PlanOptions().with_settings([strict])))
    assert "arcsec off" in first.wcs_note and first.wcs_note.endswith("; its group fails (prepare:bad_wcs=exit)")
    assert "rebuilt" not in first.wcs_note and [f.wcs_note for f in others] == ["", ""]


@pytest.mark.parametrize("kept", [True, False])
def test_a_wcs_kept_from_before_a_rotation_is_turned(night: Any, kept: bool) -> None:
    """North is up at position angle 0; at 90 degrees +y is east."""
    for east in (0, 20, 40):
        night.sky(east, 0)
    s = 1.0 / 3600
    turned = {} if kept else {"CD1_1": 0.0, "CD1_2": s, "CD2_1": s, "CD2_2": 0.0}
    night.sky(20, 0, PA=90.0, stale=(0.0, 400.0), **turned)
    *good, found = check(night)
    assert {f.wcs_state for f in good} == {"ok"}
    assert found.wcs_state == "rebuilt" and ("turned by 90.0 deg" in found.wcs_note) is kept
    east = found.wcs[0].wcs.wcs_world2pix([[150.0 + 30 / 3600, 0.0]], 0)[0] - 7.5
    assert np.argmax(np.abs(east)) == 1 and east[1] > 9.0 and abs(east[0]) < 0.1


NONE = {"CTYPE1": "PIXEL", "CTYPE2": "PIXEL"}


def test_a_frame_without_wcs_is_given_that_of_the_nearest_one_of_its_configuration(night: Any) -> None:
    night.sky(0, 0, FILTER="H")
    night.sky(20, 0, **NONE)
    night.sky(0, 30)
    _, found, _ = check(night)
    assert found.wcs_state == "rebuilt" == found.wcs[0].origin and "c003.fits" in found.wcs_note
    assert separation(position(found), (150.0 + 20 / 3600, 0.0)) < 1e-3
    assert found.wcs[0].sigma_arcsec > 1.0


@pytest.mark.parametrize("flip", [False, True])
def test_a_frame_without_wcs_and_neighbours_is_given_one_from_the_pointing(night: Any, flip: bool) -> None:
    night.sky(20, 0, SCALE=1.0, FLIP=flip, **NONE)
    (found,) = check(night)
    assert found.wcs_state == "rebuilt" == found.wcs[0].origin and "pointing" in found.wcs_note
    assert separation(position(found), (150.0 + 20 / 3600, 0.0)) < 1e-3
    wcs = found.wcs[0].wcs
    assert list(wcs.wcs.crpix) == [8.5, 8.5]
    east, north = wcs.wcs_world2pix([[150.0 + 30 / 3600, 0.0], [150.0 + 20 / 3600, 10 / 3600]], 0) - 7.5
    assert east == pytest.approx((10.0 if flip else -10.0, 0.0), abs=1e-3)
    assert north == pytest.approx((0.0, 10.0), abs=1e-3)


@pytest.mark.parametrize("cards", [{"SCALE": 1.0}, {"FLIP": False}, {"SCALE": 1.0, "FLIP": False, "stated": False}])
def test_without_scale_orientation_or_pointing_there_is_none(night: Any, cards: dict[str, Any]) -> None:
    night.sky(0, 0, **cards, **NONE)
    night.darks(1)
    assert [(f.wcs_state, f.wcs, f.wcs_note) for f in check(night)] == [("none", (), "")] * 2
