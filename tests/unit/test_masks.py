"""Masks provided by an instrument, of every scope."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nirred.errors import StepError
from nirred.group import Group
from nirred.masks import apply_late_masks, detector_mask, instrument_masks
from nirred.plugin import MaskSpec, hookimpl
from nirred.registry import Registry
from nirred.store import PlaneStack
from tests.unit.steps.conftest import make_group  # noqa: F401  (the fixture)

IMAGE = frozenset({"IMAGE"})


def disc(given, parameters):
    y, x = np.mgrid[: given.shape[0], : given.shape[1]]
    return (x - parameters["xshift"] - 4) ** 2 + (y - 4) ** 2 > 9


def bright(given, parameters):
    return np.mean(given.images, axis=0) > parameters["limit"]


def with_masks(group: Group, *specs: MaskSpec) -> Group:
    class Camera:
        NIRRED_API = (1, 0)

        @hookimpl
        def nirred_masks(self):
            return specs

    registry = Registry()
    registry.add(Camera(), "camera", "camera")
    object.__setattr__(group.context, "registry", registry)
    return group


def test_a_mask_of_the_detector_moves_with_the_users_shift(make_group):  # noqa: F811
    spec = MaskSpec("disc", 64, "detector", IMAGE, disc, parameters={"xshift": 0.0})
    group = with_masks(make_group(["both"], [np.zeros((9, 9), np.float32)], tags=IMAGE), spec)
    assert instrument_masks(group, "detector") == [spec]
    still, moved = (detector_mask(group, spec, {"xshift": s, "yshift": 5.0})[0] for s in (0.0, 2.0))
    assert set(np.unique(still)) == {0, 64}
    np.testing.assert_array_equal(moved[:, 2:], still[:, :-2])


def test_a_mask_is_for_its_tags_only(make_group):  # noqa: F811
    spec = MaskSpec("disc", 64, "detector", IMAGE, disc, not_tags=frozenset({"DARK"}))
    dark = with_masks(make_group(["dark"], [np.zeros((9, 9), np.float32)], tags=IMAGE | {"DARK"}), spec)
    assert instrument_masks(dark, "detector") == []


def test_masks_of_a_group_and_of_a_frame_see_calibrated_pixels(make_group):  # noqa: F811
    first, second = np.zeros((9, 9), np.float32), np.zeros((9, 9), np.float32)
    first[2, 3], second[2, 3], second[5, 5] = 10, 10, 12
    specs = [MaskSpec(s, bit, s, IMAGE, bright, parameters={"limit": 7.0}) for s, bit in (("group", 64), ("frame", 1))]
    group = with_masks(make_group(["both", "both"], [first, second], tags=IMAGE), *specs)
    group.setup.late_masks = [(spec, {"xshift": 1.0}) for spec in specs]
    apply_late_masks(group)
    one, two = (group.planes[0].dq.frame(i) for i in (0, 1))
    assert one[2, 3] == two[2, 3] == 65  # both frames and their mean are bright there
    assert (one[5, 5], two[5, 5]) == (0, 1)  # their mean is 6
    assert np.count_nonzero(one) == 1 and np.count_nonzero(two) == 2


def test_a_mask_of_another_shape_is_named(make_group):  # noqa: F811
    spec = MaskSpec("odd", 64, "frame", IMAGE, lambda given, parameters: np.zeros((2, 2)))
    group = with_masks(make_group(["both"], [np.zeros((9, 9), np.float32)], tags=IMAGE), spec)
    group.setup.late_masks = [(spec, {})]
    with pytest.raises(StepError, match="'odd'"):
        apply_late_masks(group)


def test_what_a_mask_of_a_frame_flags_is_told_once(make_group):  # noqa: F811
    dull, shining = np.zeros((10, 10), np.float32), np.zeros((10, 10), np.float32)
    shining[2, 3] = 10
    seen = []

    def compute(given, parameters):
        seen.append(given.flattened)
        return given.images[0] > 7

    spec = MaskSpec("glow", 64, "frame", IMAGE, compute, remark="glow of the lamp")
    group = with_masks(make_group(["both", "both", "both"], [dull, shining, dull], tags=IMAGE), spec)
    group.setup.late_masks, group.setup.flat = [(spec, {})], []
    apply_late_masks(group)
    (told,) = group.remarks
    assert told.startswith("glow of the lamp: flagged in 1 of 3 frames, up to 1.0 % of the pixels (")
    assert group.frames[1].info.name in told
    assert seen == [True] * 3


def test_a_mask_is_told_the_detector_s_number_when_another_one_is_gone(make_group):  # noqa: F811
    spec = MaskSpec("third", 64, "frame", IMAGE, lambda given, parameters: np.full(given.shape, given.plane == 2))
    group = with_masks(make_group(["both"], [np.zeros((9, 9), np.float32)], tags=IMAGE, planes=3), spec)
    group.planes = [replace(group.planes[0], number=p, dq=PlaneStack((1, 9, 9), np.uint16)) for p in range(3)]
    group.keep_planes([0, 2])
    group.setup.late_masks = [(spec, {})]
    apply_late_masks(group)
    assert [bool(state.dq.frame(0).all()) for state in group.planes] == [False, True]
