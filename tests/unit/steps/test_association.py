"""Which frames serve each frame as sky."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nirred.plugin import S
from nirred.steps.association import AssociateSky, choose_skies
from tests.unit.steps.conftest import make_info

CALL = S("any")


def associated(group, **params):
    AssociateSky().apply(group, AssociateSky.Params(**params), CALL)
    return {i: group.skies[i] for i in group.indices()}


def test_neighbours_in_time_far_enough_away(make_group):
    group = make_group(["both"] * 5, [np.zeros((8, 8))] * 5, step=10.0)
    assert associated(group, time="90 s", min_skies=1) == {0: (1,), 1: (0, 2), 2: (1, 3), 3: (2, 4), 4: (3,)}
    assert not group.remarks


def test_neighbours_in_time_are_so_when_clocks_change(make_group, in_london):
    group = make_group(["both"] * 5, [np.zeros((8, 8))] * 5, step=10.0)
    for frame, info in zip(group.frames, in_london([f.info for f in group.frames]), strict=True):
        frame.info = info
    assert associated(group, time="90 s", min_skies=1) == {0: (1,), 1: (0, 2), 2: (1, 3), 3: (2, 4), 4: (3,)}


def test_frames_at_one_place_are_no_sky_for_each_other(make_group):
    group = make_group(["both"] * 4, [np.zeros((8, 8))] * 4, step=2.0)
    assert associated(group, distance=3.0, min_skies=None) == {0: (2, 3), 1: (3,), 2: (0,), 3: (0, 1)}
    assert associated(group, distance=0.0, min_skies=None)[0] == (1, 2, 3)


def test_the_middle_of_a_small_dither_takes_nearer_skies(make_group):
    """Otherwise one frame of nine is lost in a grid with steps of two thirds of the distance."""
    places = [(1.9 * (k % 3), 1.9 * (k // 3)) for k in range(9)]
    infos = [make_info(Path(f"f{k}.fits"), (8, 8), k, at=place) for k, place in enumerate(places)]
    group = make_group(["both"] * 9, [np.zeros((8, 8))] * 9, infos=infos)
    found = associated(group)
    assert found[4] == (0, 2, 6, 8)
    assert found[1] == (6, 7, 8)  # the others' skies are as far as wanted
    assert group.remarks == [
        "no sky frame is 3 arcsec from f4.fits; those at more than 2 arcsec are used (associate_sky:distance)"
    ]


def test_frames_of_one_position_have_no_nearer_skies(make_group):
    group = make_group(["both"] * 4, [np.zeros((8, 8))] * 4, step=0.8)  # the ends are 2.4 arcsec apart
    assert not any(associated(group).values())
    assert not group.remarks


def test_fewest_and_most_skies(make_group):
    group = make_group(["both"] * 6, [np.zeros((8, 8))] * 6, step=10.0)
    assert associated(group, time=70, min_skies=3)[0] == (1, 2, 3)
    assert "later ones are used" in group.remarks[0]
    assert associated(group, time=600, max_skies=2)[3] == (2, 4)
    assert choose_skies(np.zeros(1), 0, np.empty(0, int), AssociateSky.Params()) == ((), False)


def test_one_frame_is_named_and_several_are_counted(make_group):
    group = make_group(["object", *["sky"] * 3], [np.zeros((8, 8))] * 4, step=10.0)
    associated(group, time=70)
    assert group.remarks == ["fewer than 3 sky frames within 70 s of f0.fits; earlier or later ones are used"]
    group = make_group(["both"] * 4, [np.zeros((8, 8))] * 4, step=10.0)
    associated(group, time=70)
    assert group.remarks == [
        "fewer than 3 sky frames within 70 s of 4 frames (f0.fits ...); earlier or later ones are used"
    ]


def test_of_equally_near_frames_the_first_ones_are_taken(make_group):
    group = make_group(["both"] * 5, [np.zeros((8, 8))] * 5, step=10.0)
    assert associated(group, time=1.0, min_skies=1)[2] == (1,)
    assert associated(group, time=1.0, min_skies=3)[2] == (0, 1, 3)


def test_most_skies_are_half_and_half(make_group):
    """Half before and half after, one-sided at the ends of the sequence."""
    group = make_group(["both"] * 14, [np.zeros((8, 8))] * 14, step=10.0)
    found = associated(group, time=600, max_skies=6)
    assert found[0] == (1, 2, 3, 4, 5, 6)
    assert found[7] == (4, 5, 6, 8, 9, 10)
    assert found[13] == (7, 8, 9, 10, 11, 12)


def test_sky_frames_serve_targets_and_each_other(make_group):
    group = make_group(["object", "sky", "sky"], [np.zeros((8, 8))] * 3, step=10.0)
    assert associated(group) == {0: (1, 2), 1: (2,), 2: (1,)}
    assert associated(group, use_all=True)[1] == (0, 2)
    group.frames[1].reject("bad")
    assert associated(group)[0] == (2,)
