"""Acceptance list, calibration library and configuration: rows C1 to C20."""

from __future__ import annotations

import filecmp
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred
from nirred.cli import main
from nirred.errors import ConfigError
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night

pytest.importorskip("nirred_niri")
KNOBS = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def no_configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIRRED_CONFIG", os.devnull)
        yield


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    from nirred_niri.simulation import simulation

    home = tmp_path_factory.mktemp("night")
    return simulate_night(simulation(), home, scenario="dither", frames=4, seed=7, size=256, **KNOBS)


@pytest.fixture(scope="module")
def whole(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The night reduced with its own library, library.db next to the products."""
    out = tmp_path_factory.mktemp("whole")
    return nirred.run(night.raw_dir, out=out, library=str(out / "library.db"))


@pytest.fixture(scope="module")
def masters(whole: Any) -> dict[str, Path]:
    return {k: next(p for n, p in whole.products.items() if n.endswith(f"_{k}")) for k in ("dark", "flat", "bpm")}


@pytest.fixture(scope="module")
def library(masters: dict[str, Path]) -> Path:
    return masters["dark"].parent / "library.db"


@pytest.fixture
def call(capfd: pytest.CaptureFixture[str]) -> Call:
    def run(*words: Any) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(w) for w in words])
        return code, *capfd.readouterr()

    return run


def science(night: Night) -> list[Path]:
    return [night.raw_dir / name for name in night.groups["dither"].objects]


def calibrations(record: dict[str, Any], kind: str) -> list[tuple[str, str]]:
    (task,) = [t for t in record["tasks"] if t["recipe"] == "reduce"]
    return [(c["source"], Path(c["file"]).name) for c in task["calibrations"] if c["kind"] == kind]


def edited(source: Path, target: Path, **cards: Any) -> Path:
    """A copy with other values of primary keywords; None deletes one."""
    shutil.copy(source, target)
    with fits.open(target, mode="update") as hdus:
        for key, value in cards.items():
            if value is None:
                hdus[0].header.remove(key, ignore_missing=True)
            else:
                hdus[0].header[key] = value
    return target


def static_mask(path: Path, date: str, pixel: tuple[int, int], size: int = 256) -> Path:
    """A mask as the observatory distributes them: one bit in one extension, valid from a date."""
    primary = fits.PrimaryHDU()
    cards = {"INSTRUME": "NIRI", "TELESCOP": "Gemini-North", "OBSTYPE": "BPM", "BPMASK": "made by hand"}
    primary.header.update(cards | {"DATE-OBS": date, "CAMERA": "f6"})
    data = np.zeros((size, size), np.uint16)
    data[pixel] = 1
    fits.HDUList([primary, fits.ImageHDU(data, name="DQ")]).writeto(path)
    return path


def explained(call: Call, library: Path, frame: Path, *inputs: Path) -> dict[str, dict[str, Any]]:
    code, out, err = call("cal", "explain", frame, *inputs, "--library", library, "--json")
    assert code == 0, err
    return {e["kind"]: e for e in json.loads(out)}


def test_c1_other_pipelines_configuration_is_not_read(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".geminidr").mkdir()
    (tmp_path / ".geminidr" / "rsys.cfg").write_text("[calibs]\nstandalone = True\ndatabase_dir = /data\n")
    monkeypatch.setenv("NIRRED_LIBRARY", str(tmp_path / "mine.db"))
    code, out, _ = call("config", "show")
    assert code == 0 and "not read: ~/.geminidr/rsys.cfg" in out and "mine.db" in out
    shown = json.loads(call("config", "show", "--json")[1])
    assert shown["run"]["library"] == {"value": str(tmp_path / "mine.db"), "origin": "environment NIRRED_LIBRARY"}
    assert shown["not_read"] == ["~/.geminidr/rsys.cfg"] and "rsys.cfg" in call("config", "show", "--help")[1]
    monkeypatch.delenv("NIRRED_LIBRARY")
    assert json.loads(call("config", "show", "--json")[1])["run"]["library"]["value"].endswith("library.db")


def test_c2_calibrations_are_registered_by_themselves(masters: dict[str, Path], library: Path, call: Call) -> None:
    kept = nirred.CalibrationLibrary(library).list()
    assert {(e.kind, e.path, e.state) for e in kept} == {(k, p.absolute(), "ok") for k, p in masters.items()}


def test_c3_inspect_first_then_add(night: Night, tmp_path: Path, call: Call) -> None:
    darks = [p for p in sorted(night.raw_dir.iterdir()) if fits.getval(p, "OBSTYPE") == "DARK"][:3]
    place = tmp_path / "library.db"
    code, _, _ = call("run", *darks, "-o", tmp_path / "out", "--library", place, "--no-register", "-q")
    assert code == 0 and not place.exists()
    (dark,) = (tmp_path / "out").glob("*_dark.fits")
    assert call("cal", "add", dark, "--library", place)[0] == 0
    assert len(nirred.CalibrationLibrary(place).list("dark")) == 1
    (tmp_path / "own.toml").write_text("[run]\nregister = false\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIRRED_CONFIG", str(tmp_path / "own.toml"))
        nirred.run(darks, out=tmp_path / "out", library=str(tmp_path / "other.db"))
    assert not (tmp_path / "other.db").exists()


def test_c4_c5_init_add_list_remove(masters: dict[str, Path], tmp_path: Path, call: Call) -> None:
    place = ("--library", tmp_path / "x.db")
    assert call("cal", "init", *place)[0] == 0
    code, out, _ = call("cal", "add", *masters.values(), *place)
    assert code == 0 and len(out.splitlines()) == 3
    code, _, err = call("cal", "init", *place)
    assert code == 2 and "already" in err
    code, out, _ = call("cal", "list", *place)
    assert code == 0 and all(p.name in out for p in masters.values()) and "K(short)" in out
    code, out, _ = call("cal", "remove", masters["flat"].name, *place)
    assert code == 0 and masters["flat"].is_file()
    assert {e["kind"] for e in json.loads(call("cal", "list", "--json", *place)[1])} == {"bpm", "dark"}
    code, _, err = call("cal", "remove", masters["flat"].name, *place)
    assert code == 4 and "not in" in err
    assert call("cal", "verify", *place)[0] == 0


def test_what_is_no_calibration_is_named(night: Night, masters: dict[str, Path], tmp_path: Path, call: Call) -> None:
    place = ("--library", tmp_path / "x.db")
    raw = science(night)[0]
    code, out, err = call("cal", "add", raw, tmp_path / "absent.fits", masters["dark"], *place)
    assert code == 4 and masters["dark"].name in out
    assert f"{raw.name}: a science frame" in err and "absent.fits" in err
    code, out, err = call("cal", "add", masters["dark"].parent, *place)
    assert code == 0 and len(out.splitlines()) == 3 and "1 of 4 files" in err
    assert call("cal", "list", "--library", raw)[0] == 2  # not a database
    assert call("cal", "list", "--library", "none")[0] == 2


def test_c6_from_python(masters: dict[str, Path], tmp_path: Path) -> None:
    (entry,) = nirred.CalibrationLibrary(tmp_path / "x.db").add(masters["dark"])
    assert entry.kind == "dark"


DARK = [
    ({}, ""),
    ({"EXPTIME": 20.02}, "exposure_time"),
    ({"EXPTIME": 19.995}, ""),
    ({"COADDS": 2}, "coadds"),
    ({"LNRS": 1, "NDAVGS": 1}, "read_mode"),
    ({"A_VDDUC": -3.49, "A_VDET": -2.59}, "well_depth_setting"),
    ({"DATE-OBS": "2025-07-01"}, "ut_datetime"),
    ({"DATE-OBS": "2025-08-01"}, ""),
    ({"RAWPIREQ": "NO", "RAWGEMQA": "BAD"}, "qa_state"),
]
FLAT = [
    ({}, ""),
    ({"FILTER1": "J_G0202", "FILTER2": "open"}, "filter_name"),
    ({"CAMERA": "f14"}, "camera"),
    ({"FPMASK": "f6-2pix_G5211"}, "focal_plane_mask"),
    ({"LNRS": 1, "NDAVGS": 1}, ""),
    ({"GCALLAMP": "Off"}, ""),
    ({"DATE-OBS": "2026-07-20"}, "ut_datetime"),
]


@pytest.mark.parametrize(("kind", "cards", "rule"), [*(("dark", *d) for d in DARK), *(("flat", *f) for f in FLAT)])
def test_c7_the_observatory_s_rules(
    night: Night, masters: dict[str, Path], tmp_path: Path, kind: str, cards: dict[str, Any], rule: str
) -> None:
    """Each term of the rule excludes, nothing else does; a processed flat's lamp keywords are no term (a known gap)."""
    library = nirred.CalibrationLibrary(tmp_path / "x.db")
    library.add(edited(masters[kind], tmp_path / "edited.fits", **cards))
    (entry,) = [e for e in library.explain(science(night)[0]) if e["kind"] == kind]
    (candidate,) = entry["candidates"]
    assert [r["rule"] for r in candidate["rules"] if not r["passed"]] == ([rule] if rule else [])
    assert candidate["chosen"] is not bool(rule) and candidate["level"] == (3 if rule else candidate["level"])


def test_c8_calibrations_from_the_library_give_the_same_image(
    night: Night, whole: Any, library: Path, tmp_path: Path
) -> None:
    made = nirred.run(science(night), out=tmp_path, library=str(library))
    assert made.exit_code == 0
    for kind in ("dark", "flat", "bpm"):
        assert [source for source, _ in calibrations(made.record, kind)] == ["library"]
        assert [source for source, _ in calibrations(whole.record, kind)] == ["input"]
    (image,) = made.products.values()
    assert filecmp.cmp(image, next(p for n, p in whole.products.items() if n.endswith("_image")), shallow=False)
    (task,) = made.record["tasks"]
    rules = {r["rule"] for c in task["calibrations"] for cand in c["candidates"] for r in cand["rules"]}
    assert {"exposure_time", "filter_name", "ut_datetime"} <= rules


def test_processed_calibrations_of_another_program(
    night: Night, masters: dict[str, Path], tmp_path: Path, call: Call
) -> None:
    """Marked as processed in the header, as by other pipelines: accepted by the library, used, and reported as used."""
    foreign = {
        k: edited(masters[k], tmp_path / f"{k}.fits", NIRRED=None, NIRKIND=None, ORIGNAME=None, NLAMPOFF=None)
        for k in ("dark", "flat")
    }
    place = tmp_path / "x.db"
    code, out, err = call("cal", "add", *foreign.values(), "--library", place)
    assert code == 0 and len(out.splitlines()) == 2, err
    inputs = [*science(night), foreign["dark"]]
    record = json.loads(call("plan", *inputs, "--library", place, "--json")[1])
    assert calibrations(record, "dark") == [("library", "dark.fits")]
    assert calibrations(record, "flat") == [("library", "flat.fits")]
    fates = {Path(f["file"]).name: f["fate"] for f in record["files"]}
    assert fates["dark.fits"] == "used"
    alone = json.loads(call("plan", *inputs, "--json")[1])
    (reason,) = [f["reason"] for f in alone["files"] if f["file"].endswith("dark.fits")]
    assert "another program" in reason and "nirred cal add" in reason


def test_c9_static_masks_by_their_date(night: Night, library: Path, tmp_path: Path, call: Call) -> None:
    first = science(night)[0]
    masks = [static_mask(tmp_path / f"bpm_{d}.fits", d, (5, 5)) for d in ("2001-03-17", "2010-01-01", "2027-01-01")]
    place = tmp_path / "x.db"
    assert call("cal", "add", *masks, "--library", place)[0] == 0
    found = explained(call, place, first)["static_bpm"]["candidates"]
    assert [(c["file"], c["chosen"]) for c in found] == [
        ("bpm_2010-01-01.fits", True),
        ("bpm_2001-03-17.fits", False),
        ("bpm_2027-01-01.fits", False),
    ]
    assert "not later" in found[2]["why"] and found[0]["level"] == 0  # no limit of age
    found = explained(call, library, first, *masks)["static_bpm"]["candidates"]
    assert found[0]["source"] == "input" and found[0]["file"] == "bpm_2010-01-01.fits"


def test_c10_no_static_mask_is_shipped_and_this_is_said(night: Night, tmp_path: Path, call: Call) -> None:
    assert not list(Path(nirred.__file__).parent.rglob("*.fits"))
    assert "no static_bpm at all" in explained(call, tmp_path / "empty.db", science(night)[0])["static_bpm"]["reason"]
    record = json.loads(call("plan", *science(night), "--json")[1])
    (task,) = record["tasks"]
    assert "no bpm" in next(m["reason"] for m in task["missing"] if m["kind"] == "bpm")


def test_c11_c12_user_static_and_fresh_masks_are_combined(
    night: Night, masters: dict[str, Path], tmp_path: Path
) -> None:
    first = science(night)[0]
    with fits.open(masters["bpm"]) as hdus:
        fresh = hdus["DQ"].data.astype(bool)
    spots = [tuple(p) for p in np.argwhere(~fresh)[[1000, 2000]]]
    static = static_mask(tmp_path / "static.fits", "2001-03-17", spots[0])
    user = static_mask(tmp_path / "user.fits", "2001-03-17", spots[1])
    place = tmp_path / "x.db"
    nirred.CalibrationLibrary(place).add(static, masters["bpm"])

    def flagged(out: str, **options: Any) -> np.ndarray:
        made = nirred.run(first, recipe="addDQ", out=tmp_path / out, library=str(place), **options)
        (path,) = made.products.values()
        with fits.open(path) as hdus:
            return (hdus["DQ"].data & 1).astype(bool)

    both = flagged("a", user_bpm=user)
    assert both[fresh].all() and all(both[s] for s in spots)
    again = flagged("b")  # the user's mask applies only to the run that names it
    assert again[fresh].all() and again[spots[0]] and not again[spots[1]]


@pytest.mark.parametrize("option", ["--user_cal", "--user-cal"])
def test_c13_several_user_calibrations(
    night: Night, masters: dict[str, Path], call: Call, option: str, tmp_path: Path
) -> None:
    """A calibration named by the user precedes INPUT and library, even against the rules."""
    wrong = edited(masters["dark"], tmp_path / "wrong.fits", EXPTIME=7.0)
    words = [f"processed_dark:{wrong}", f"processed_flat:{masters['flat']}"]
    code, out, err = call("plan", night.raw_dir, option, *words, "--json")
    assert code == 0, err
    record = json.loads(out)
    assert calibrations(record, "dark") == [("user", "wrong.fits")]
    assert calibrations(record, "flat") == [("user", masters["flat"].name)]
    (task,) = [t for t in record["tasks"] if t["recipe"] == "reduce"]
    (dark,) = [c for c in task["calibrations"] if c["kind"] == "dark"]
    assert dark["level"] == 3 and "against the rule" in dark["reason"]


@pytest.mark.parametrize("kind", ["arc", "bias", "fringe", "standard"])
def test_c14_kinds_that_imaging_does_not_use(
    night: Night, masters: dict[str, Path], call: Call, kind: str, tmp_path: Path
) -> None:
    code, _, err = call("plan", night.raw_dir, "--user-cal", f"processed_{kind}:{masters['dark']}")
    assert code == 2 and "not used in imaging" in err
    with pytest.raises(ConfigError, match="not used in imaging"):
        nirred.run(night.raw_dir, user_cal={kind: masters["dark"]}, out=tmp_path)


def test_c15_user_calibrations_from_python(night: Night, masters: dict[str, Path], tmp_path: Path) -> None:
    frames = science(night)[0]
    made = nirred.run(frames, recipe="darkCorrect", user_cal={"processed_dark": masters["dark"]}, out=tmp_path)
    assert made.record["tasks"][0]["calibrations"][0]["source"] == "user"


@pytest.mark.parametrize("place", ["none", "rubbish", "locked"])
def test_c16_no_library_at_all(night: Night, masters: dict[str, Path], tmp_path: Path, place: str, call: Call) -> None:
    """A broken library does not stop the run; it is reported once."""
    import sqlite3

    library = tmp_path / "broken.db"
    if place == "rubbish":
        library.write_bytes(b"rubbish" * 1000)
    if place == "locked":
        nirred.CalibrationLibrary(library).init()
        other = sqlite3.connect(library, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
    darks = [p for p in sorted(night.raw_dir.iterdir()) if fits.getval(p, "OBSTYPE") == "DARK"][:3]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nirred.library.database.TIMEOUT", 0.2)
        named = "none" if place == "none" else library
        code, out, err = call("run", *darks, "-o", tmp_path / "out", "--library", named)
    assert code == 0 and list((tmp_path / "out").glob("*_dark.fits"))
    said = (out + err).count("going on without it")
    assert said == (0 if place == "none" else 1), out + err
    assert place == "none" or "broken.db" in out + err


def test_c18_standards_without_darks(night: Night, masters: dict[str, Path], tmp_path: Path) -> None:
    """No dark of its exposure time: reduced without, as stated in header, plan and record; or skipped by the user."""
    raw = [edited(p, tmp_path / p.name, OBSCLASS="partnerCal", EXPTIME=3.0) for p in science(night)[:3]]
    place = tmp_path / "x.db"
    nirred.CalibrationLibrary(place).add(*masters.values())
    made = nirred.run(raw, out=tmp_path / "a", library=str(place))
    (image,) = made.products.values()
    assert made.exit_code == 0 and made.record["degraded"]
    assert fits.getval(image, "DARKCOR").startswith("SKIPPED")
    (task,) = made.record["tasks"]
    (missing,) = [m for m in task["missing"] if m["kind"] == "dark"]
    assert "exposure_time: wanted 3 within 0.01, found 20.002" in missing["reason"]
    assert missing["candidates"][0]["file"] == masters["dark"].name
    params = {"darkCorrect:do_cal": "skip"}
    made = nirred.run(raw, out=tmp_path / "b", library=str(place), params=params)
    (image,) = made.products.values()
    assert not made.record["degraded"] and fits.getval(image, "DARKCOR") == "SKIPPED: by the user"


def test_c19_the_library_is_a_file_or_a_server(masters: dict[str, Path], tmp_path: Path, call: Call) -> None:
    """One file at any path; or a server, for which a driver must be installed."""
    place = f"sqlite:///{tmp_path}/deep/x.db"
    assert call("cal", "add", masters["dark"], "--library", place)[0] == 0
    assert (tmp_path / "deep" / "x.db").is_file()
    code, _, err = call("cal", "list", "--library", "postgresql://me:secret@localhost:1/x")
    assert code == 2 and "secret" not in err and "postgresql" in err


def test_c20_a_library_for_each_project(
    night: Night, masters: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    """By option, environment or the user's configuration; a file next to the data cannot choose it."""
    (tmp_path / "own.toml").write_text('[run]\nlibrary = "project.db"\n')
    nirred.CalibrationLibrary(tmp_path / "project.db").add(*masters.values())
    first = science(night)[0]
    monkeypatch.delenv("NIRRED_LIBRARY")
    monkeypatch.setenv("NIRRED_CONFIG", str(tmp_path / "own.toml"))

    def sources(*words: Any) -> list[tuple[str, str]]:
        return calibrations(json.loads(call("plan", first, "--json", *words)[1]), "dark")

    assert [s for s, _ in sources()] == ["library"]
    assert sources("--library", "none") == []
    monkeypatch.setenv("NIRRED_LIBRARY", "none")
    assert sources() == []
    assert [s for s, _ in sources("--library", tmp_path / "project.db")] == ["library"]
    raw = tmp_path / "raw"
    raw.mkdir()
    shutil.copy(first, raw)
    (raw / "nirred.toml").write_text('[run]\nlibrary = "project.db"\n')
    code, _, err = call("plan", raw)
    assert code == 2 and "library cannot be set beside the data" in err
