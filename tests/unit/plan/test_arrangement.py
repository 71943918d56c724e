"""Detectors that by their WCS lie on each other, far away, or move between frames are told of."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nirred.headers import Header, Headers
from nirred.plan.arrangement import doubts
from nirred.plan.model import FrameInfo
from nirred.plugin import Descriptors, Detector, Exposure, PlaneWcs
from nirred.plugin.coordinates import make_wcs

SIDE, STEP = 100, 1e-4  # pixels; degrees per pixel
PLACES = ((0.0, 0.0), (110.0, 0.0), (0.0, 110.0), (110.0, 110.0))  # pixels: where each plane begins


def frame(number: int, *moved: tuple[float, float], turn: bool = False) -> FrameInfo:
    """A dithered exposure of four detectors, or as many as `moved` has, with each plane moved by so many pixels."""
    shifts = moved or ((0.0, 0.0),) * 4
    cd = ((-STEP, 0.0), (0.0, STEP))
    planes = []
    for p, ((x, y), (dx, dy)) in enumerate(zip(PLACES, shifts)):
        own = ((STEP, 0.0), (0.0, -STEP)) if turn and p == 3 else cd
        wcs = make_wcs((110.0 - x - dx, 110.0 - y - dy), (359.999 + 0.002 * number, 40.0), own)
        planes.append(PlaneWcs(wcs))
    detectors = (Detector((SIDE, SIDE), 2.0, 8.0),) * len(planes)
    fields: Any = (Path(f"f{number}.fits"), Exposure(), "o", "cam", frozenset(), Descriptors(), detectors)
    return FrameInfo(*fields, Headers(Header("")), tuple(planes), "ok")


def test_a_camera_in_order_gives_no_remark() -> None:
    assert doubts([frame(k) for k in range(4)]) == []
    still = (0.0, 0.0)
    assert doubts([frame(k, still, still, still, (1.0, -1.0)) for k in range(4)]) == []
    bare = replace(frame(0), wcs=(), wcs_state="none")
    assert doubts([bare]) == doubts([]) == []
    assert doubts([replace(frame(0), wcs=frame(0).wcs[:1], detectors=frame(0).detectors[:1])]) == []


@pytest.mark.parametrize(
    ("frames", "said"),
    [
        ([frame(k, turn=True) for k in range(3)], r"planes 1 and 4 share \d+% of their field \(f0\.fits\)"),
        ([frame(k, (0, 0), (-100, 0), (0, 0), (0, 0)) for k in range(3)], "planes 1 and 2 share 90%"),
        ([frame(k, (0, 0), (0, 0), (-900, 0), (0, 0)) for k in range(3)], "plane 3 lies 6.4 of its diagonals"),
        (
            [frame(k, (0, 0), (0, 0), (0, 0), (5.0 * (k == 1), 0)) for k in range(3)],
            "plane 4 moves by up to 5.0 pixels",
        ),
        (
            [frame(k, (5.0 * (k == 1), 0), (0, 0), (0, 0), (0, 0)) for k in range(3)],
            "plane 1 moves by up to 5.0 pixels",
        ),
    ],
)
def test_a_detector_out_of_place_is_named_with_a_remedy(frames: list[FrameInfo], said: str) -> None:
    (remark,) = doubts(frames)
    assert re.search(said, remark), remark
    assert remark.endswith("mosaic=False for a stack of each")
