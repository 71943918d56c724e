"""The library as used by a plan."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nirred.library import CalibrationLibrary, Shelf, open_shelf
from nirred.plan.scan import scan_file
from nirred.plugin import CalibrationRule, Match

Make = Callable[..., Path]


def chosen(plan: Any, kind: str) -> list[tuple[str, str]]:
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    return [(a.source, a.path.name) for a in task.calibrations if a.kind == kind]


def missing(plan: Any, kind: str) -> str:
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    return next(m.reason for m in task.missing if m.kind == kind)


def test_a_stored_header_is_the_file_s(library: CalibrationLibrary, product: Make, night: Any) -> None:
    """A calibration is judged in the same way without its file."""
    path = product("dark", "a_dark.fits", ORIGNAME="c007.fits", COADDS=2)
    library.add(path)
    asking = scan_file(night.sky(0, 0), night.registry).frames[0]
    (source,) = Shelf(library).sources("dark", asking, "180 d")
    own = scan_file(path, night.registry).frames[0]
    assert source.frame == own and source.frame.descriptors == own.descriptors
    assert (source.count, source.made_of, source.origin) == (5, frozenset({"c007.fits"}), "library")
    path.unlink()
    (source,) = Shelf(library).sources("dark", asking, "180 d")
    assert source.fault == "the file is gone" and source.frame == own


def test_the_nearest_that_is_what_it_was(library: CalibrationLibrary, product: Make, night: Any) -> None:
    early = product("dark", "early_dark.fits")
    night.wait(48)
    near = [product("dark", f"near{i}_dark.fits") for i in range(3)]
    library.add(early, *near)
    night.dither(3)
    night.lamps()
    near[0].unlink()
    times = near[1].stat()
    near[1].write_bytes(bytes([*near[1].read_bytes()[:-1], 1]))  # changed within one tick of the clock
    os.utime(near[1], ns=(times.st_atime_ns, times.st_mtime_ns))
    near[2].write_bytes(b"")
    plan = night.plan(library=Shelf(library))
    assert chosen(plan, "dark") == [("library", "early_dark.fits")]
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    (dark,) = [a for a in task.calibrations if a.kind == "dark"]
    why = {c.name: c.why for c in dark.candidates}
    assert "the file is gone" in why["near0_dark.fits"] and "changed" in why["near1_dark.fits"]
    assert "found " in why["near2_dark.fits"]
    assert dark.checksum == next(e.checksum for e in library.list() if e.path == early)
    early.unlink()
    assert missing(night.plan(library=Shelf(library)), "dark").startswith("no dark; nearest is")


def test_qa_state_fail_is_never_used(library: CalibrationLibrary, product: Make, night: Any) -> None:
    library.add(product("dark", "a_dark.fits", QA="Fail"))
    night.dither(3)
    plan = night.plan(library=Shelf(library), allow_missing=("flat",))
    assert "qa_state: wanted not Fail, found Fail" in missing(plan, "dark")


def test_another_camera_s_calibrations_are_no_candidates(
    library: CalibrationLibrary, product: Make, night: Any
) -> None:
    library.add(product("dark", "a_dark.fits"))
    frame = scan_file(night.sky(0, 0), night.registry).frames[0]
    assert not Shelf(library).sources("dark", replace(frame, instrument="other"), None)
    assert not Shelf(library).sources("flat", frame, None)


def test_only_the_nearest_beyond_the_window_are_looked_at(
    library: CalibrationLibrary, product: Make, night: Any
) -> None:
    paths = []
    for i in range(12):
        paths.append(product("dark", f"{i:02d}_dark.fits"))
        night.wait(24)
    library.add(*paths)
    frame = scan_file(night.sky(0, 0), night.registry).frames[0]
    names = [s.name for s in Shelf(library).sources("dark", frame, "3 d")]
    assert names == [f"{i:02d}_dark.fits" for i in (11, 10, 9, 8, 7, 6, 5)]
    assert len(Shelf(library).sources("dark", frame, None)) == 12


def test_no_farther_than_needed_and_the_same_is_taken(library: CalibrationLibrary, product: Make, night: Any) -> None:
    paths = []
    for i in range(30):
        paths.append(product("dark", f"{i:02d}_dark.fits", EXPTIME=20.0 if i in (2, 3) else 5.0))
        night.wait(1)
    library.add(*paths)
    night.dither(3)
    kept = Shelf(library)
    plan = night.plan(library=kept, allow_missing=("flat",))
    assert chosen(plan, "dark") == [("library", "03_dark.fits")]
    night.lamps()
    night.darks(5)
    kept = Shelf(library)
    assert chosen_tasks(night.plan(library=kept))
    assert len(kept._sources) < len(paths)  # INPUT is sufficient: only a few are looked up, for the record
    entries = {e["kind"]: e["candidates"] for e in library.explain(night.folder / "c031.fits", [night.folder])}
    assert len(entries["dark"]) == len(paths) + 1


def chosen_tasks(plan: Any) -> list[str]:
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    return [a.task for a in task.calibrations if a.kind == "dark" and a.source == "input"]


def test_a_file_in_input_is_one_candidate(library: CalibrationLibrary, product: Make, night: Any) -> None:
    path = product("dark", "a_dark.fits")
    library.add(path)
    night.dither(3)
    night.lamps()
    plan = night.plan(night.folder, path, library=Shelf(library))
    assert chosen(plan, "dark") == [("input", "a_dark.fits")]
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    (dark,) = [a for a in task.calibrations if a.kind == "dark"]
    assert len(dark.candidates) == 1


def test_a_flat_s_own_mask_comes_first(library: CalibrationLibrary, product: Make, night: Any) -> None:
    flat = product("flat", "a_flat.fits", ORIGNAME="f1.fits", NLAMPOFF=4)
    own = product("bpm", "a_bpm.fits", ORIGNAME="f1.fits")
    night.wait(1)
    nearer = product("bpm", "b_bpm.fits", ORIGNAME="f2.fits")
    library.add(flat, own, nearer)
    night.dither(3)
    plan = night.plan(library=Shelf(library))
    assert chosen(plan, "bpm") == [("library", "a_bpm.fits")]
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    (mask,) = [a for a in task.calibrations if a.kind == "bpm"]
    assert "flat's own frames" in next(c.why for c in mask.candidates if not c.chosen)


@pytest.mark.parametrize(("cards", "level"), [({"NLAMPOFF": 0}, 2), ({"NCOMBINE": 1}, 3), ({}, 0)])
def test_levels(library: CalibrationLibrary, product: Make, night: Any, cards: dict[str, int], level: int) -> None:
    library.add(product("flat", "a_flat.fits", **cards))
    night.dither(3)
    plan = night.plan(library=Shelf(library))
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    assert [a.level for a in task.calibrations if a.kind == "flat"] == [level]


def test_trouble_is_said_once_and_stops_nothing(library: CalibrationLibrary, product: Make, night: Any) -> None:
    path = product("dark", "a_dark.fits")
    Path(library.name).write_bytes(b"hello " * 999)
    night.dither(3)
    night.lamps()
    kept = Shelf(library)
    plan = night.plan(library=kept)
    assert not chosen(plan, "dark")
    assert [r for r in plan.remarks if "going on without it" in r] == kept.remarks and len(kept.remarks) == 1
    assert library.name in kept.remarks[0]
    assert kept.register(path) == ""  # reported already


def test_a_row_of_damaged_headers_is_no_candidate(library: CalibrationLibrary, product: Make, night: Any) -> None:
    library.add(product("dark", "a_dark.fits"))
    with closing(sqlite3.connect(library.name)) as rows, rows:
        rows.execute("UPDATE nirred_calibration SET headers = 7, ut = 'noon'")
    asking = scan_file(night.sky(0, 0), night.registry).frames[0]
    assert not Shelf(library).sources("dark", asking, "180 d")


def test_registering(library: CalibrationLibrary, product: Make, night: Any) -> None:
    kept = Shelf(library)
    assert kept.register(product("flat", "a_flat.fits")) == ""
    assert "not registered" in kept.register(night.frame("dark"))
    assert [e.path.name for e in library.list()] == ["a_flat.fits"]


def test_the_users_own_is_made_when_it_is_needed(
    product: Make, night: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nirred.library.shelf.default_place", lambda: tmp_path / "own.db")
    monkeypatch.setattr("nirred.library.catalogue.default_place", lambda: tmp_path / "own.db")
    kept = open_shelf(None, night.registry)
    assert kept is not None and kept.library is None
    night.dither(3)
    assert not night.plan(library=kept).remarks and not (tmp_path / "own.db").exists()
    assert kept.register(product("dark", "a_dark.fits")) == ""
    again = open_shelf(None, night.registry)
    assert again is not None and again.library is not None and len(again.library.list()) == 1
    assert open_shelf("none", night.registry) is None and open_shelf("", night.registry) is None


def test_static_masks_by_the_date_from_which_they_are_valid(
    library: CalibrationLibrary, product: Make, night: Any
) -> None:
    masks = []
    for name in ("old", "new"):
        masks.append(night.frame("bpm", f"{name}.fits").rename(night.folder.parent / f"{name}.fits"))
        night.wait(24)
    night.dither(3)
    night.lamps()
    night.wait(24)
    masks.append(night.frame("bpm", "late.fits").rename(night.folder.parent / "late.fits"))
    library.add(*masks)
    assert chosen(night.plan(library=Shelf(library)), "bpm") == [("library", "new.fits")]


def test_explain(library: CalibrationLibrary, product: Make, night: Any) -> None:
    library.add(product("dark", "wrong_dark.fits", EXPTIME=7.0), product("dark", "right_dark.fits"))
    asking = night.dither(3)[0]
    night.lamps()
    night.darks(5)
    entries = {e["kind"]: e for e in library.explain(asking, [night.folder])}
    assert set(entries) == {"dark", "flat", "bpm", "static_bpm"}
    dark = entries["dark"]
    assert dark["file"] == str(asking) and dark["reason"] == "20 s, 5 frames, 3.8 min later"
    assert [(c["source"], c["chosen"], c["level"]) for c in dark["candidates"]] == [
        ("input", True, 0),
        ("library", False, 0),
        ("library", False, 3),
    ]
    assert dark["candidates"][1]["why"].endswith("INPUT comes before the library")
    failed = [r for r in dark["candidates"][2]["rules"] if not r["passed"]]
    assert failed == [{"rule": "exposure_time", "wanted": "20 within 0.01", "found": "7", "passed": False}]
    assert entries["static_bpm"]["candidates"] == [] and "no static_bpm" in entries["static_bpm"]["reason"]


def test_explain_of_a_dark_offers_no_mask_made_from_darks(library: CalibrationLibrary, night: Any) -> None:
    """As the plan does."""
    night.darks(5, 1.0)
    dark = night.darks(5, 20.0)[0]
    night.lamps()
    assert {e["kind"] for e in library.explain(dark, [night.folder])} == {"static_bpm"}
    (task,) = [t for t in night.plan().tasks if dark.name in [f.name for f, _ in t.frames]]
    assert not task.calibrations


def test_explain_pairs_and_mask_darks(library: CalibrationLibrary, night: Any) -> None:
    night.darks(5, 1.0)
    night.darks(5, 20.0)
    lamps = night.lamps()
    night.wait(1)
    night.lamps(on=0, off=4, EXPTIME=3.0)
    found = {e["kind"]: e["candidates"] for e in library.explain(lamps[-1], [night.folder])}
    assert [c["chosen"] for c in found["lampoff_flat"]] == [True, False]
    assert "exposure time" in found["lampoff_flat"][1]["why"]
    assert "shorter exposure" in found["bpm_dark"][1]["why"]


def test_rules_of_other_kinds_can_be_kept(night: Any, tmp_path: Path) -> None:
    """A kind defined only by a plugin: its product is used because a rule needs it."""

    class Glow:
        NIRRED_API = (1, 0)

        from nirred.plugin import hookimpl

        @hookimpl
        def nirred_calibration_rules(self) -> list[CalibrationRule]:
            return [CalibrationRule("glow", frozenset({"CAM"}), (Match("read_mode"),))]

    assert not night.registry.add(Glow(), "glow").error
    library = CalibrationLibrary(tmp_path / "x.db", night.registry)
    assert library.add(night.frame("dark", NIRRED="0.1.0", NIRKIND="glow"))[0].kind == "glow"
