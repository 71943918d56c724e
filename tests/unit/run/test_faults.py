"""System failures during a run: a clear error, no partial product, no lost record; a later run completes it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from astropy.io import fits

from nirred import files
from nirred.errors import ConfigError
from nirred.library.catalogue import CalibrationLibrary
from nirred.library.shelf import Shelf
from nirred.plan.options import PlanOptions
from nirred.run.api import RunOptions, run
from nirred.run.records import load_record
from nirred.run.verify import verify

IMAGE = "N20260115S0001_image"
FLAT = "N20260115S0010_flat"
BPM = "N20260115S0010_bpm"
DARK = "N20260115S0013_dark"


@pytest.fixture
def struck(night, registry, tmp_path, reduced):
    """Reduce a night with a fault at the start of a task; return the result."""

    def call(strike, out=None, at=FLAT, **options):
        out, told = out or tmp_path / "out", []

        def watch(event):
            told.append(event)
            if event.kind == "started" and event.task == at:
                strike(out)

        result = run([night.raw_dir], out, RunOptions(**{"jobs": 1, "on_event": watch, **options}), registry)
        assert not any(e.kind == "message" and "Traceback" in e.message for e in told)
        assert not any("bug" in m for m in result.messages)
        assert not [p for p in out.rglob("*.part")]
        return result

    return call


def mended(night, registry, out, reduced, redone):
    """A run without the fault makes the missing products, and all equal those of an undisturbed night."""
    result = run([night.raw_dir], out, RunOptions(jobs=1), registry)
    assert result.exit_code == 0 and {n for n, o in result.outcomes.items() if o == "done"} == redone
    assert all((out / p.name).read_bytes() == p.read_bytes() for p in reduced[1].glob("*.fits"))
    assert {f.state for f in verify(out)} == {"ok"}


def outcomes(out):
    return {t["id"]: t["outcome"] for t in json.loads((out / "run.json").read_text())["tasks"]}


def tiny_disk(folder: Path, size: str) -> None:
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    if done.returncode:
        pytest.skip("no file system may be mounted here")


@pytest.fixture
def disk(tmp_path):
    """A file system of 60 MB."""
    folder = tmp_path / "disk"
    tiny_disk(folder, "60m")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(out: Path) -> None:
    with (out.parent / "filler").open("wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b"0" * 4096)
        except OSError as error:
            assert error.errno == errno.ENOSPC


def test_a_disk_that_fills_up(struck, disk, night, registry, reduced):
    out = disk / "out"
    result = struck(fill, out)
    assert result.outcomes == {DARK: "done", BPM: "done", FLAT: "failed", IMAGE: "blocked"} == outcomes(out)
    assert result.exit_code == 1 and "No space left" in result.messages[0] and not (out / f"{FLAT}.fits").exists()
    (disk / "filler").unlink()
    mended(night, registry, out, reduced, {FLAT, IMAGE})


def test_a_disk_that_is_read_only(disk, night, registry):
    (disk / "out").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    for out in (disk / "out", disk / "new"):
        with pytest.raises(ConfigError, match="Read-only file system"):
            run([night.raw_dir], out, RunOptions(jobs=1), registry)


def test_an_output_that_turns_read_only(struck, disk, night, registry, reduced):
    """Finished products remain, those that could not be written are reported, and run.json is that of the start."""
    out = disk / "out"

    def turn(out):
        subprocess.run(["mount", "--bind", out, out], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", out], check=True)

    try:
        result = struck(turn, out)
    finally:
        subprocess.run(["umount", "-l", out], check=True)
    assert result.outcomes == {DARK: "done", BPM: "done", FLAT: "failed", IMAGE: "blocked"}
    assert result.exit_code == 1 and "Read-only file system" in result.messages[0]
    assert "Read-only file system" in result.fault and set(outcomes(out).values()) == {"interrupted"}
    assert load_record(out, DARK) is not None and load_record(out, BPM) is not None
    mended(night, registry, out, reduced, {FLAT, IMAGE})


@pytest.mark.parametrize("count", [1, 4, 6])
def test_any_write_may_be_the_last_that_fits(night, registry, tmp_path, reduced, monkeypatch, count):
    """The disk is full from the n-th written file on, run.json and records included."""
    written, flush = [], os.fsync

    def full(descriptor):
        written.append(descriptor)
        if len(written) > 2 * count:  # each file, and its directory
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(files.os, "fsync", full)
    result = run([night.raw_dir], tmp_path / "out", RunOptions(jobs=1), registry)
    monkeypatch.undo()
    assert result.exit_code != 0 and "No space left" in result.fault
    assert "interrupted" in outcomes(tmp_path / "out").values()
    recorded = {t for t in result.outcomes if load_record(tmp_path / "out", t) is not None}
    mended(night, registry, tmp_path / "out", reduced, set(result.outcomes) - recorded)


def test_an_output_that_vanishes(struck, night, registry, tmp_path, reduced):
    result = struck(shutil.rmtree)
    assert result.outcomes[FLAT] == "failed" and result.outcomes[IMAGE] == "blocked" and result.exit_code == 1
    assert "No such file" in result.messages[0]
    mended(night, registry, tmp_path / "out", reduced, {DARK, BPM, FLAT, IMAGE})


def test_records_that_vanish(struck, night, registry, tmp_path, reduced):
    result = struck(lambda out: shutil.rmtree(out / ".nirred"))
    assert set(result.outcomes.values()) == {"done"} and any("not recorded" in m for m in result.messages)
    mended(night, registry, tmp_path / "out", reduced, {DARK, BPM, FLAT, IMAGE})


def test_raw_frames_that_vanish(night, registry, raw, tmp_path):
    """Two missing lamp frames are left out and named; without any the flat fails; neither is a bug."""
    lamps = [n for n, f in night.frames.items() if f.kind == "lamp_on"]

    def strike(event):
        if event.kind == "started" and event.task == FLAT:
            for name in lamps[:gone]:
                (raw / name).unlink(missing_ok=True)

    for gone, outcome in ((1, "done"), (3, "failed")):
        result = run([raw], tmp_path / "out", RunOptions(jobs=1, on_event=strike, fresh=True), registry)
        assert result.outcomes[FLAT] == outcome and result.outcomes[DARK] == "done"
        assert any(lamps[0] in m and "No such file" in m for m in result.messages)
        assert not any("bug" in m for m in result.messages)
        if gone == 1:
            shutil.copy(night.raw_dir / lamps[0], raw)


def test_raw_frames_that_are_replaced(night, registry, raw, tmp_path):
    """Before it is read, a frame with another header is left out; after that, the task does not know what it used."""
    dark, lamp = (next(n for n, f in night.frames.items() if f.kind == kind) for kind in ("dark", "lamp_on"))

    def lengthen(event):
        if event.kind == "started" and event.task == DARK:
            fits.setval(raw / dark, "EXPTIME", value=99.0)

    def shorten(event):
        if event.kind == "progress" and event.task == FLAT and event.message.startswith("make"):
            os.truncate(raw / lamp, 40_000)

    result = run([raw], tmp_path / "one", RunOptions(jobs=1, on_event=lengthen), registry)
    assert result.outcomes[DARK] == "done"
    assert any(f"{dark} left out: replaced since its header was read" in m for m in result.messages)
    result = run([raw], tmp_path / "two", RunOptions(jobs=1, on_event=shorten), registry)
    assert result.outcomes[FLAT] == "failed" and not (tmp_path / "two" / f"{FLAT}.fits").exists()
    assert any(f"{lamp}: changed while it was used" in m for m in result.messages)


def test_scratch_that_vanishes_or_is_full(struck, disk, night, registry, reduced, tmp_path):
    scratch = disk / "scratch"
    result = struck(lambda out: shutil.rmtree(scratch), memory=1, scratch=scratch)
    assert set(result.outcomes.values()) == {"done"}  # it is made again
    result = struck(lambda out: fill(scratch), at=BPM, memory=1, scratch=scratch, fresh=True)
    assert result.outcomes[FLAT] == "failed" and "scratch file: No space left" in result.messages[0]
    (disk / "filler").unlink()
    mended(night, registry, tmp_path / "out", reduced, set())  # the products of the first run still exist


def test_a_clock_that_goes_backwards(struck, night, registry, tmp_path, reduced, monkeypatch):
    def back(out):
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now - 1e8)
        for path in out.glob("*.fits"):
            os.utime(path, (now + 1e8, now + 1e8))

    result = struck(back)
    assert set(result.outcomes.values()) == {"done"}
    monkeypatch.undo()
    mended(night, registry, tmp_path / "out", reduced, set())


def test_a_frame_whose_clock_was_wrong(night, raw, reduce):
    name = night.groups["offset"].objects[1]
    with fits.open(raw / name, mode="update") as hdus:
        hdus[0].header["DATE-OBS"] = "1970-01-01"
    result = reduce(raw)
    assert set(result.outcomes) >= {DARK, FLAT} and not any("bug" in m for m in result.messages)
    assert any(f["fate"] and f["file"].endswith(name) for f in result.record["files"])
    assert result.outcomes[DARK] == result.outcomes[FLAT] == "done"


@pytest.mark.parametrize("spoil", ["corrupt", "folder", "locked"])
def test_a_library_that_cannot_be_used(night, registry, tmp_path, reduced, spoil):
    """The night is reduced without it, and this is reported."""
    place = tmp_path / "library.db"
    library = CalibrationLibrary(place, registry, timeout=0.2)
    library.init()
    holder = None
    if spoil == "corrupt":
        place.write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    elif spoil == "folder":
        place.unlink()
        place.mkdir()
        (place / "calibrations.db").mkdir()
    else:
        import sqlite3

        holder = sqlite3.connect(place)
        holder.execute("BEGIN EXCLUSIVE")
    options = RunOptions(jobs=1, plan=PlanOptions(library=Shelf(library)))
    result = run([night.raw_dir], tmp_path / "out", options, registry)
    if holder is not None:
        holder.close()
    assert result.exit_code == 0 and set(result.outcomes.values()) == {"done"}
    assert any("calibration library" in r and "going on without" in r for r in result.record["remarks"])
    assert all((tmp_path / "out" / p.name).read_bytes() == p.read_bytes() for p in reduced[1].glob("*.fits"))


def test_files_and_directories_without_permission(night, raw, tmp_path):
    """An unreadable frame gets its fate, an unwritable directory is refused; root drops its privileges for this."""
    drop = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if drop and shutil.which(drop[0]) is None:
        pytest.skip("root may do everything here")
    victim = night.groups["offset"].objects[1]
    (raw / victim).chmod(0)
    (tmp_path / "closed").mkdir(mode=0o555)
    (raw / "lost+found").mkdir(mode=0)

    def call(*words):
        command = [*drop, sys.executable, "-m", "nirred", *words]
        return subprocess.run(command, text=True, capture_output=True, timeout=200)

    done = call("run", str(raw), "-o", str(tmp_path / "closed" / "out"), "-q")
    assert done.returncode == 2 and "Permission denied" in done.stderr and "Traceback" not in done.stderr
    done = call("plan", str(raw), "--json")
    fates = {Path(f["file"]).name: (f["fate"], f["reason"]) for f in json.loads(done.stdout)["files"]}
    assert fates[victim][0] == "unreadable" and "Permission denied" in fates[victim][1]
    assert fates["lost+found"][0] == "unreadable" and "Permission denied" in fates["lost+found"][1]
    assert "Traceback" not in done.stderr
    done = call("plan", str(raw / "lost+found"))
    assert done.returncode == 4 and "Permission denied" in done.stderr
