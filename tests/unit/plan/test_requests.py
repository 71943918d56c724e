"""Requests in another pipeline's file: the frames that they refer to, however these are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nirred.plan.model import Plan
from nirred.plugin import Request, RequestSet


def asked(night: Any, *requests: tuple[str, list[Path]], **more: Any) -> Plan:
    wishes = [Request(name, "make_processed_dark", tuple(frames), origin=name) for name, frames in requests]
    plan: Plan = night.plan(night.folder, requests=RequestSet((*wishes, *more.pop("others", ()))), **more)
    return plan


@pytest.fixture
def twin(night: Any) -> Path:
    """A second name of the first of three darks."""
    first, *_ = night.darks(3)
    link = night.folder.parent / "twin.fits"
    link.symlink_to(first)
    return Path(link)


def test_a_frame_under_two_names_is_one(night: Any, twin: Path) -> None:
    first, *rest = sorted(night.folder.iterdir())
    longer = night.folder / ".." / night.folder.name / first.name
    plan = asked(night, ("one", [first, *rest]), ("two", [twin, *rest]), ("three", [longer, first, twin]))
    assert plan.refused == []
    assert {t.request: len(t.frames) for t in plan.tasks} == {"one": 3, "two": 3, "three": 1}
    assert len(plan.files) == 3 and all(len(f.roles) >= 2 for f in plan.files)


def test_a_calibration_of_another_kind_is_refused(night: Any) -> None:
    """As --user-cal refuses it; the other requests are carried out."""
    (frame,) = night.dither(1)
    flat = night.frame("flat", "x_flat.fits", NIRRED="0.1.0", NIRKIND="flat", TAG="PROCESSED")
    wishes = [
        Request(kind, "reduce", (frame,), calibrations={kind: flat}, named_by={kind: "c.yaml"}, origin=kind)
        for kind in ("dark", "flat")
    ]
    plan = asked(night, others=wishes)
    (refusal,) = plan.refused
    assert refusal.reason == "dark: x_flat.fits, named as dark by c.yaml, is a finished flat"
    assert [t.request for t in plan.tasks] == ["flat"]


def test_frames_of_a_refused_request_say_so(night: Any) -> None:
    (frame,) = night.dither(1)
    mask = night.frame("flat", "x_flat.fits", NIRRED="0.1.0", NIRKIND="bpm", TAG="PROCESSED")
    wish = Request("one", "reduce", (frame,), calibrations={"flat": mask}, origin="o.yaml, block 1")
    plan = asked(night, others=(wish,))
    assert [r.reason for r in plan.refused] == [
        "o.yaml, block 1: x_flat.fits, named as flat by o.yaml, block 1, is a finished bpm"
    ]
    (record,) = [f for f in plan.files if f.path == frame]
    assert record.reason == "o.yaml, block 1 cannot be carried out"


def test_children_that_name_one_calibration_by_two_names_agree(night: Any, twin: Path) -> None:
    frames, lamps = night.dither(2), night.lamps()
    first = next(p for p in sorted(night.folder.iterdir()))
    children = [
        Request(f"c{n}", "reduce", (frame,), enabled=False, calibrations={"dark": dark}, origin=f"c{n}")
        for n, (frame, dark) in enumerate(zip(frames, (first, twin), strict=True))
    ]
    stack = Request("all", "reduce", children=("c0", "c1"), origin="all")
    plan = asked(night, others=(*children, stack), allow_missing=("flat",))
    assert plan.refused == [] and lamps
    (task,) = [t for t in plan.tasks if t.request == "all"]
    assert [a.path for a in task.calibrations if a.kind == "dark"] == [first]
