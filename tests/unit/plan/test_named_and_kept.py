"""Calibrations named by the user, found in INPUT, or kept in a library."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nirred.errors import ConfigError
from nirred.params import Setting
from nirred.plan import options
from nirred.plan.associate import Source
from nirred.plan.options import PlanOptions, with_recipe
from nirred.plan.planner import make_plan
from nirred.plan.scan import scan_file
from tests.unit.plan.nights import fates, full_night, ids, served


def test_user_calibration_wins_wherever_it_lies(night: Any, tmp_path: Path) -> None:
    full_night(night)
    given = night.frame("dark", "z_master.fits", EXPTIME=99.0)
    plan = night.plan(user_cal={"processed_dark": given})
    (dark,) = [a for a in plan.task("c001_image").calibrations if a.kind == "dark"]
    assert (dark.path, dark.source, dark.level) == (given, "user", 3)
    assert "exposure_time 99, not 20 within 0.01" in dark.reason
    assert "c018_dark" not in ids(plan)
    assert fates(plan)["z_master.fits"] == ("used", "named by --user-cal dark")
    unknown = tmp_path / "plain.fits"
    unknown.write_bytes(b"whatever")
    (flat,) = [a for a in night.plan(user_cal={"flat": unknown}).task("c001_image").calibrations if a.kind == "flat"]
    assert flat.level == 1 and "not checked" in flat.reason


def test_parameters_of_steps_that_act_on_the_plan(night: Any, tmp_path: Path) -> None:
    """Named by the user or in the user's own recipe; --user-cal and similar options precede the recipe."""
    full_night(night)
    dark, other = night.frame("dark", "z_master.fits", EXPTIME=20.0), night.frame("dark", "z_other.fits", EXPTIME=20.0)
    said = [Setting("dark_correct", "dark", str(dark), "command line"), Setting("separate_sky", "frac_fov", 0.5, "-p")]
    asked = PlanOptions().with_settings(said)
    assert (asked.user_cal, asked.frac_fov) == ({"dark": dark}, 0.5)
    assert served(make_plan([night.folder], night.registry, asked), "c001_image")["dark"] == "z_master.fits"

    own = tmp_path / "own.toml"
    own.write_text(
        'name = "own"\nmakes = "image"\n'
        f'[[steps]]\nstep = "dark_correct"\nparams = {{dark = "{dark}"}}\n'
        '[[steps]]\nstep = "separate_sky"\nparams = {ref_obj = "c001", frac_fov = 0.4}\n'
    )
    told = with_recipe(PlanOptions(recipe=str(own), objects=("c002",)), night.registry)
    assert (told.user_cal, told.objects, told.frac_fov) == ({"dark": dark}, ("c002",), 0.4)
    assert with_recipe(PlanOptions(recipe=str(own), user_cal={"dark": other}), night.registry).user_cal["dark"] == other


def test_what_was_named_before_is_taken_back(night: Any, tmp_path: Path) -> None:
    """None, or "none" as in a file, in a higher layer: configured before given, a recipe below both."""
    full_night(night)
    mask = night.frame("dark", "z_mask.fits", EXPTIME=99.0)
    before = [
        Setting("add_dq", "user_bpm", str(mask), "nirred.toml"),
        Setting("dark_correct", "dark", str(mask), "nirred.toml"),
        Setting("separate_sky", "ref_obj", "c001", "nirred.toml"),
    ]
    own = tmp_path / "own.toml"
    own.write_text(
        f'[[steps]]\nstep = "add_dq"\nparams = {{user_bpm = "{mask}"}}\n'
        f'[[steps]]\nstep = "dark_correct"\nparams = {{dark = "{mask}"}}\n'
        '[[steps]]\nstep = "separate_sky"\nparams = {ref_obj = "c001", frac_fov = 0.4}\n'
    )
    for nothing in (None, "none", " None "):
        after = [Setting(s.step, s.name, nothing, "command line") for s in before]
        usual = Setting("separate_sky", "frac_fov", 0.9, "command line")
        named = PlanOptions(user_cal={"processed_dark": mask, "flat": mask}, objects=("c002",), recipe=str(own))
        taken = with_recipe(named.with_settings([*before, *after, usual]), night.registry)
        assert (taken.user_bpm, taken.objects, taken.user_cal) == (None, (), {"flat": mask})
        assert taken.frac_fov == 0.9
        assert PlanOptions().with_settings([*after, *before]).user_bpm == mask


def test_user_mask_goes_to_every_task(night: Any, tmp_path: Path) -> None:
    full_night(night)
    mask = tmp_path / "mask.fits"
    mask.write_bytes(b"x")
    plan = night.plan(user_bpm=mask)
    assert all("user_bpm" in served(plan, t.id) for t in plan.tasks)


def test_what_the_user_names_of_another_instrument_serves_none_of_these_frames_and_is_said(
    night: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full_night(night)
    foreign = tmp_path / "foreign.fits"
    foreign.write_bytes(b"x")
    info = night.plan().task("c001_image").first
    monkeypatch.setattr(options, "described", lambda path, registry: replace(info, path=path, instrument="other"))
    plan = night.plan(user_cal={"flat": foreign}, user_bpm=foreign)
    assert served(plan, "c001_image") == {"dark": "c018_dark", "flat": "c014_flat", "bpm": "c014_bpm"}
    assert [r for r in plan.remarks if "no task uses foreign.fits" in r] == [
        f"{option}: no task uses foreign.fits: not needed, or of another instrument"
        for option in ("--user-cal flat", "--user-bpm")
    ]
    assert not any("no task uses" in r for r in night.plan().remarks)


def test_a_link_to_itself_is_unreadable_and_no_more(night: Any) -> None:
    """Wherever files are compared by path: as input, named by the user, as a calibration."""
    full_night(night)
    (night.folder / "loop.fits").symlink_to("loop.fits")
    plan = night.plan(user_cal={"dark": night.frame("dark", "z_master.fits")})
    fate, reason = fates(plan)["loop.fits"]
    assert fate == "unreadable" and "symbolic links" in reason and fates(plan)["z_master.fits"][0] == "used"


def test_a_product_is_not_written_over_what_the_user_gave(night: Any, tmp_path: Path) -> None:
    """Neither over a raw frame of that name nor over a named calibration; an own product in OUT is made again."""
    listed = [*night.dither(3), *night.lamps(), *night.darks(3)]
    raw = night.frame("science", "c001_image.fits", EXPTIME=99.0)
    (tmp_path / "link").symlink_to(night.folder)
    for out in (night.folder, tmp_path / "link"):
        with pytest.raises(ConfigError, match=r"c001_image\.fits is an input"):
            night.plan(*listed, raw, out=out)
    assert "c001_image" in ids(night.plan(*listed, raw, out=tmp_path / "out"))
    raw.unlink()
    own = {"NIRRED": "0.1.0", "TAG": "PROCESSED"}
    dark = night.frame("dark", "c012_dark.fits", NIRKIND="dark", **own)
    assert "c012_dark" in ids(night.plan(*listed, dark, out=night.folder))
    mask = night.frame("bpm", "c008_bpm.fits", NIRKIND="bpm", **own)
    with pytest.raises(ConfigError, match=r"c008_bpm\.fits is an input"):
        night.plan(*listed, out=night.folder, user_bpm=mask)


def test_a_product_is_not_written_over_what_another_program_made(night: Any) -> None:
    """Though nobody named it: DRAGONS calls its darks alike. What nirred made is made again, readable or not."""
    listed = [*night.dither(3), *night.lamps(), *night.darks(3)]
    there = night.frame("dark", "c012_dark.fits", PROCDARK="")
    with pytest.raises(ConfigError, match=r"c012_dark\.fits was not made by nirred"):
        night.plan(*listed, out=night.folder)
    there.write_bytes(there.read_bytes()[:2000])
    assert "c012_dark" in ids(night.plan(*listed, out=night.folder))


def test_user_calibration_errors(night: Any, tmp_path: Path) -> None:
    night.dither(3)
    there = night.frame("dark")
    with pytest.raises(ConfigError, match="not used in imaging"):
        night.plan(user_cal={"processed_arc": there})
    with pytest.raises(ConfigError, match="no such file"):
        night.plan(user_cal={"dark": tmp_path / "none.fits"})
    flat = night.frame("lamp_on", "z_flat.fits", NIRRED="0.1.0", NIRKIND="flat")
    with pytest.raises(ConfigError, match=r"z_flat.fits: it is a finished flat"):
        night.plan(user_cal={"dark": flat})
    assert night.plan(user_cal={"flat": flat}).tasks


def test_a_raw_frame_of_another_role_is_taken_as_named_but_said(night: Any) -> None:
    """Masters from elsewhere may have any header, but a probable mistake must be reported."""
    full_night(night)
    (science,), (lamp,) = (list(night.folder.glob(f"c{n}.fits")) for n in ("001", "014"))
    (task,) = [t for t in night.plan(user_cal={"dark": science, "flat": lamp}).tasks if t.id == "c002_image"]
    levels = {a.kind: a.level for a in task.calibrations}
    assert (levels["dark"], levels["flat"]) == (3, 0)
    assert [r for r in task.remarks if "raw frame" in r] == [
        "dark: named by the user, but its header is that of a raw frame (science)"
    ]


def test_static_mask_by_its_date_beside_a_fresh_one(night: Any) -> None:
    night.frame("bpm", "old.fits")
    night.wait(24)
    night.frame("bpm", "new.fits")
    night.wait(24)
    night.dither(3)
    night.lamps()
    night.darks(3, 1.0)
    night.wait(24)
    night.frame("bpm", "future.fits")
    plan = night.plan()
    masks = [a.task or Path(str(a.path)).name for a in plan.task("c003_image").calibrations if a.kind == "bpm"]
    assert masks == ["new.fits", "c010_bpm"]
    assert fates(plan)["old.fits"][0] == fates(plan)["future.fits"][0] == "unneeded"


def test_products_in_input_serve_by_their_rules(night: Any) -> None:
    night.dither(3)
    night.lamps()
    own = {"NIRRED": "0.1.0", "TAG": "PROCESSED", "NCOMBINE": 10}
    night.frame("dark", "a_dark.fits", NIRKIND="dark", **own)
    night.frame("dark", "b_dark.fits", NIRKIND="dark", EXPTIME=5.0, **own)
    plan = night.plan()
    (dark,) = [a for a in plan.task("c001_image").calibrations if a.kind == "dark"]
    assert dark.path is not None and dark.path.name == "a_dark.fits" and "10 frames" in dark.reason
    assert fates(plan)["a_dark.fits"][0] == "used"
    assert fates(plan)["b_dark.fits"][0] == "product"


class Kept:
    """A library of darks; the file of the first one has changed."""

    def __init__(self, *frames: Any) -> None:
        self.frames = frames
        self.remarks: list[str] = []
        self.asked: list[str] = []

    def sources(self, kind: str, frame: Any, within: str | None, enough: Any) -> list[Source]:
        darks = [Source("dark", f, 10, path=f.path, origin="library") for f in self.frames]
        return darks if kind == "dark" else []

    def fault(self, source: Source) -> str:
        self.asked.append(source.name)
        return "changed" if source.path == self.frames[0].path else ""

    def register(self, path: Path) -> str:
        return ""


def test_library_comes_after_input(night: Any) -> None:
    stored = [scan_file(night.frame("dark", f"lib{i}.fits"), night.registry).frames[0] for i in range(2)]
    for frame in stored:
        frame.path.rename(night.folder.parent / frame.path.name)
    night.dither(3)
    night.lamps()
    library = Kept(stored[1], stored[0])
    plan = night.plan(library=library)
    (dark,) = [a for a in plan.task("c003_image").calibrations if a.kind == "dark"]
    assert (dark.source, dark.path) == ("library", stored[0].path)
    changed = next(c for c in dark.candidates if c.name == "lib1.fits")
    assert not changed.chosen and changed.level == 3 and "changed" in changed.why
    assert library.asked == ["lib1.fits", "lib0.fits"]
    assert [m.kind for m in night.plan(library=library, exclude=("lib",)).task("c003_image").missing if m.kind != "bpm"]
    night.wait(10)
    night.darks(3)
    plan = night.plan(library=library)
    (dark,) = [a for a in plan.task("c003_image").calibrations if a.kind == "dark"]
    assert dark.source == "input"
    assert {c.why.rpartition("; ")[2] for c in dark.candidates if not c.chosen} == {"INPUT comes before the library"}
