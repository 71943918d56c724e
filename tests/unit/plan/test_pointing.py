from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nirred.plan.model import Plan
from nirred.plan.pointing import FRACTION, area, clip, cluster
from nirred.plan.scan import scan
from nirred.plan.wcscheck import check_wcs
from nirred.steps.association import SeparateSky

SQUARE = [(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)]


def by_role(plan: Plan) -> dict[str, list[str]]:
    (task,) = plan.tasks
    out: dict[str, list[str]] = {}
    for frame, role in task.frames:
        out.setdefault(role, []).append(frame.root)
    return out


def plan(night: Any, **options: Any) -> dict[str, list[str]]:
    return by_role(night.plan(allow_missing=("flat",), **options))


def offset(night: Any, on: int = 3, off: int = 3, **cards: Any) -> None:
    for i in range(on):
        night.sky(2 * i, 0, **cards)
    for i in range(off):
        night.sky(200 + 2 * i, 0, **cards)


def test_one_pointing_is_object_and_sky(night: Any) -> None:
    night.dither(5)
    assert plan(night) == {"both": ["c001", "c002", "c003", "c004", "c005"]}


def test_two_pointings_nearest_to_the_target_is_the_object(night: Any) -> None:
    for east in (200, 202, 0, 2, 204):
        night.sky(east, 0)
    assert plan(night) == {"object": ["c003", "c004"], "sky": ["c001", "c002", "c005"]}


def test_two_pointings_without_target_the_larger_one_then_the_first(night: Any) -> None:
    offset(night, 2, 3, stated=False)
    assert plan(night) == {"object": ["c003", "c004", "c005"], "sky": ["c001", "c002"]}
    night.sky(4, 0, stated=False)
    assert plan(night)["object"] == ["c001", "c002", "c006"]


def test_more_pointings_by_distance_until_half_are_objects(night: Any) -> None:
    for east in (0, 100, 200, 300, 0, 100, 200, 300):
        night.sky(east, 0)
    assert plan(night) == {"object": ["c001", "c002", "c005", "c006"], "sky": ["c003", "c004", "c007", "c008"]}


def test_mosaic_without_target_is_all_both(night: Any) -> None:
    for east in (0, 100, 200, 300):
        night.sky(east, 0, stated=False)
    assert list(plan(night)) == ["both"]


def test_frames_link_through_a_chain(night: Any) -> None:
    for east in (0, 10, 20, 30):
        night.sky(east, 0)
    assert list(plan(night)) == ["both"]


def test_user_names_settle_it(night: Any) -> None:
    offset(night)
    assert plan(night, objects=("c004",))["object"] == ["c004", "c005", "c006"]
    assert plan(night, skies=("c001.fits",))["object"] == ["c004", "c005", "c006"]
    night.sky(500, 0)
    found = night.plan(allow_missing=("flat",), objects=("c001",), skies=("c004",))
    assert by_role(found) == {"object": ["c001", "c002", "c003"], "sky": ["c004", "c005", "c006"]}
    assert any("c007.fits" in r and "left out" in r for r in found.tasks[0].remarks)
    assert plan(night, objects=("c001",), skies=("c001",)) == {"both": ["c001", "c002", "c003"]}


def test_unguided_frame_in_a_dither_is_sky_only_and_said(night: Any) -> None:
    night.dither(4)
    night.sky(1, 1, GUIDED=False)
    found = night.plan(allow_missing=("flat",))
    assert by_role(found) == {"both": ["c001", "c002", "c003", "c004"], "sky": ["c005"]}
    assert any("not guided" in r and "c005" in r for r in found.tasks[0].remarks)
    assert "c005" in plan(night, objects=("c005",))["both"]


def test_where_nothing_guides_frames_are_a_dither_and_not_said_to_be_sky(night: Any) -> None:
    for east in range(3):
        night.sky(east, 0, GUIDED=False)
    found = night.plan(allow_missing=("flat",))
    assert by_role(found) == {"both": ["c001", "c002", "c003"]}
    assert not found.tasks[0].remarks


def test_unguided_offset_frames_are_the_sky(night: Any) -> None:
    night.dither(3)
    for i in range(3):
        night.sky(300 + i, 0, GUIDED=False)
    found = night.plan(allow_missing=("flat",))
    assert by_role(found) == {"object": ["c001", "c002", "c003"], "sky": ["c004", "c005", "c006"]}
    assert not found.tasks[0].remarks


def test_without_wcs_offsets_decide_and_without_those_all_is_one(night: Any) -> None:
    for dx in (0.0, 1.0, 400.0, 401.0):
        night.frame("science", OBJECT="M1", DX=dx, DY=0.0)
    assert plan(night) == {"object": ["c001", "c002"], "sky": ["c003", "c004"]}


def test_nothing_known_is_one_pointing(night: Any) -> None:
    for _ in range(3):
        night.frame("science", OBJECT="M1")
    assert list(plan(night)) == ["both"]


@pytest.mark.parametrize("east, together", [(14.0, True), (14.8, False)])
def test_overlap_is_nine_tenths_of_the_field(night: Any, east: float, together: bool) -> None:
    night.sky(0, 0)
    night.sky(east, 0)
    frames = check_wcs(f for r in scan(list(night.folder.iterdir()), night.registry) for f in r.frames)
    assert (len(cluster(frames, lambda f: None)) == 1) is together
    assert len(cluster(frames, lambda f: None, 0.95)) == 1
    assert len(cluster(frames, lambda f: None, 0.5)) == 2
    assert SeparateSky.Params().frac_fov == FRACTION


@pytest.mark.parametrize("diameter, together", [(None, True), (16.0, False), (18.0, True)])
def test_a_round_field_has_no_corners_that_overlap(night: Any, diameter: float | None, together: bool) -> None:
    """Fields of 16 px that are 11 px apart on both axes, 15.6 px in all."""
    night.sky(0, 0)
    night.sky(11, 11)
    frames = [f for r in scan(list(night.folder.iterdir()), night.registry) for f in r.frames]
    told = (replace(f.descriptors, extra={**f.descriptors.extra, "field_diameter": diameter}) for f in frames)
    frames = [replace(f, descriptors=d) for f, d in zip(frames, told, strict=True)]
    assert (len(cluster(frames, lambda f: None)) == 1) is together


@pytest.mark.parametrize("width, together", [(8.0, True), (3.0, False)])
def test_outlines_of_the_instrument_decide_by_area(night: Any, width: float, together: bool) -> None:
    """A narrow aperture: fields 7 px apart overlap by width - 7."""
    night.sky(0, 0, at=(359.9999, 10.0))
    night.sky(7, 0, at=(359.9999, 10.0))
    frames = check_wcs(f for r in scan(list(night.folder.iterdir()), night.registry) for f in r.frames)

    def outline(frame: Any) -> list[Any]:
        x, y = 7.5, 7.5
        corners = [[x - width / 2, y - 4], [x + width / 2, y - 4], [x + width / 2, y + 4], [x - width / 2, y + 4]]
        return [tuple(map(tuple, frame.wcs[0].wcs.wcs_pix2world(corners, 0)))]

    assert (len(cluster(frames, outline)) == 1) is together
    assert len(cluster(frames, outline, 0.5)) == 2


def test_polygon_clipping() -> None:
    shifted = [(x + 1, y + 1) for x, y in SQUARE]
    assert area(clip(SQUARE, shifted)) == pytest.approx(1.0)
    assert area(clip(SQUARE, SQUARE)) == pytest.approx(4.0)
    assert clip(SQUARE, [(x + 5, y) for x, y in SQUARE]) == []
    assert clip(SQUARE, []) == []
