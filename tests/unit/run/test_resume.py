"""A second run into the same directory: finished products are kept, changed ones redone, damaged ones not reused."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred import files
from nirred.errors import ConfigError, DataError
from nirred.files import replacing
from nirred.params import Setting
from nirred.plan.options import PlanOptions, with_parameters
from nirred.provenance import file_digest, read_table
from nirred.run.api import RunOptions, run
from nirred.run.lock import output_lock
from nirred.run.records import load_record, record_path
from nirred.run.rerun import rerun

IMAGE = "N20260115S0001_image"
FLAT = "N20260115S0010_flat"
BPM = "N20260115S0010_bpm"
DARK = "N20260115S0013_dark"


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.fits"))}


def stamps(folder: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in folder.glob("*.fits")}


@pytest.fixture
def out(reduced, tmp_path) -> Path:
    """The reduced night, to be damaged; modification times are kept."""
    return Path(shutil.copytree(reduced[1], tmp_path / "out"))


@pytest.fixture
def again(night, registry, out):
    def call(raw=None, plan=None, settings=(), **options):
        asked = with_parameters(plan or PlanOptions(), settings, registry)
        return run([raw or night.raw_dir], out, RunOptions(**{"jobs": 1, "plan": asked, **options}), registry)

    return call


def redone(result) -> set[str]:
    return {name for name, outcome in result.outcomes.items() if outcome == "done"}


def offsets(path: Path) -> tuple[Setting, ...]:
    return (Setting("adjust_wcs_to_reference", "offsets", str(path), "test"),)


# -- reuse of products -------------------------------------------------------------------------------------------------


def test_nothing_changed_nothing_is_made(reduced, again, out):
    before = stamps(out)
    result = again()
    assert set(result.outcomes.values()) == {"reused"} and result.exit_code == 0
    assert stamps(out) == before
    first = reduced[0].record
    for key in ("files", "schema", "degraded"):
        assert result.record[key] == first[key]
    for old, new in zip(first["tasks"], result.record["tasks"], strict=True):
        assert new["outcome"] == "reused" and new["cpu_s"] < max(old["cpu_s"], 0.5)
        assert {k: v for k, v in new.items() if k not in ("outcome", "cpu_s")} == {
            k: v for k, v in old.items() if k not in ("outcome", "cpu_s")
        }
    assert result.products.keys() == reduced[0].products.keys()


def test_a_later_setting_touches_only_what_uses_it(again, out, reduced):
    assert redone(again(settings=(Setting("sky_correct", "nsigma", 3.3, "-p"),))) == {IMAGE}
    assert redone(again()) == {IMAGE}  # and back: the product on disk was made with the other setting
    assert digests(out) == digests(reduced[1])


def test_an_early_setting_touches_all_behind_it(again):
    made = redone(again(settings=(Setting("make_lamp_flat", "nsigma", 3.3, "-p"),)))
    assert made >= {FLAT, IMAGE} and DARK not in made


def test_a_raw_frame_less_touches_what_it_was_in(again, raw, night):
    (raw / night.groups["offset"].objects[-1]).unlink()
    assert redone(again(raw)) == {IMAGE}


def test_an_unrelated_raw_frame_touches_nothing(again, raw, night):
    source = raw / night.groups["offset"].objects[0]
    with fits.open(source) as hdus:
        hdus[0].header.update(FILTER3="Kgrism_G5204", DATALAB="GN-1-1-901")
        hdus.writeto(raw / "spectrum.fits")
    assert redone(again(raw)) == set()


def test_a_raw_frame_with_other_pixels_is_another(again, raw, night):
    with fits.open(raw / night.groups["offset"].objects[0], mode="update") as hdus:
        hdus[1].data[7, 7] += 1
    assert redone(again(raw)) == {IMAGE}


def test_moved_or_compressed_raw_frames_are_the_same(again, raw, tmp_path):
    assert redone(again(raw.rename(tmp_path / "elsewhere"))) == set()


def test_fresh_makes_all_again(again, out, reduced):
    before = stamps(out)
    assert len(redone(again(fresh=True))) == 4
    assert all(stamps(out)[k] != t for k, t in before.items())
    assert digests(out) == digests(reduced[1])


def test_a_list_of_offsets_counts_by_its_content(again, out, tmp_path, registry):
    """Its name and SHA-256 are in PROVENANCE, its directory is not and does not matter."""
    path = tmp_path / "lists" / "mine.txt"
    path.parent.mkdir()
    path.write_text("100 100\n110 100\n105 95\n")
    assert redone(again(settings=offsets(path))) == {IMAGE}
    before = digests(out)
    rows = [r for r in read_table(out / f"{IMAGE}.fits") if "mine.txt" in r.name + r.value]
    named = [r for r in rows if r.item == "file"]
    assert {r.name for r in named} == {"mine.txt"} and {r.origin for r in named} == {file_digest(path)}
    assert {r.value for r in rows if r.item == "parameter"} == {"'mine.txt'"}
    moved = path.parent.rename(tmp_path / "elsewhere") / "mine.txt"
    assert redone(again(settings=offsets(moved))) == set()
    moved.write_text("100 100\n110 100\n105 96\n")
    assert redone(again(settings=offsets(moved))) == {IMAGE}
    with pytest.raises(DataError, match=r"mine\.txt is (another file|not where)"):
        moved.write_text("")
        rerun(out / f"{IMAGE}.fits", [], tmp_path / "anew", registry)
    moved.write_text("100 100\n110 100\n105 96\n")
    found = rerun(out / f"{IMAGE}.fits", [], tmp_path / "anew", registry)
    assert found.differences == () and digests(out) != before


# -- products that are not reused -------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [Path.unlink, flip, lambda p: p.write_bytes(p.read_bytes()[:-2880])])
def test_a_product_that_changed_is_made_again(again, out, reduced, spoil):
    spoil(out / f"{IMAGE}.fits")
    assert redone(again()) == {IMAGE}
    assert digests(out) == digests(reduced[1])


def test_a_touched_product_is_the_same(again, out):
    os.utime(out / f"{IMAGE}.fits")
    assert redone(again()) == set()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"schema": "nirred-task/1"}', '{"schema": "other/9"}', "\x00"]
)
def test_a_record_that_cannot_be_read_is_none(again, out, text):
    record_path(out, IMAGE).write_text(text)
    assert load_record(out, IMAGE) is None
    assert redone(again()) == {IMAGE}


@pytest.mark.parametrize("changed", [{"name": -1}, {"name": None, "size": float("inf")}, {"sha256": []}, {"size": "x"}])
def test_a_record_of_wrong_types_is_not_reused(again, out, changed):
    path = record_path(out, IMAGE)
    record = json.loads(path.read_text())
    record["products"][0] |= changed
    path.write_text(json.dumps(record))
    result = again()
    assert result.outcomes[IMAGE] in ("done", "reused") and not [o for o in result.outcomes.values() if o == "failed"]


def test_another_version_of_a_step_or_library_makes_all_again(again, monkeypatch):
    from nirred.run import keys

    monkeypatch.setattr(keys, "_version", lambda name: "0.0")
    assert len(redone(again())) == 4


def test_all_files_of_a_plugin_count(tmp_path, monkeypatch):
    """In a namespace that packages share, too, and the tables beside the sources; what is compiled does not."""
    from nirred.run import keys

    home = tmp_path / "acme_space" / "camera"
    (home / "tables").mkdir(parents=True)
    (home / "__init__.py").write_text("")
    (home / "plugin.py").write_text("GAIN = 4.0")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("acme_space.camera.plugin")
    assert keys._package("acme_space.camera.plugin") == "acme_space.camera"
    assert keys._package("nirred.run.keys") == "nirred" and keys._package("") == ""

    def digest():
        return keys._sources.__wrapped__("acme_space.camera")  # without its memory

    before = digest()
    assert before
    (home / "__pycache__").mkdir(exist_ok=True)
    (home / "__pycache__" / "plugin.nbi").write_text("compiled")
    (home / ".plugin.py.swp").write_text("an editor's")
    assert digest() == before
    (home / "tables" / "gain.txt").write_text("4.0")
    table = digest()
    (home / "plugin.py").write_text("GAIN = 5.0")
    assert len({before, table, digest()}) == 3
    for name in [n for n in sys.modules if n.partition(".")[0] == "acme_space"]:
        del sys.modules[name]


def test_remains_of_killed_runs_are_cleared_and_nothing_else(again, out, tmp_path):
    scratch = out / ".nirred" / "scratch"
    scratch.mkdir(exist_ok=True)
    ours = [out / f".{IMAGE}.fits.123.part", out / ".run.json.77.part", scratch / "nirred-abc.planes"]
    others = [out / "notes.part", out / ".hidden", scratch / "nirred-full.planes", out / ".a.fits.part"]
    for path in (*ours, *others):
        path.touch()
    others[2].write_bytes(b"in use by somebody")
    again()
    assert not any(p.exists() for p in ours)
    assert all(p.exists() for p in others)


def test_a_product_of_an_earlier_run_is_not_passed_off_as_new(again, out, raw, night):
    from nirred.run.verify import verify

    for name, frame in night.frames.items():
        if frame.kind in ("lamp_on", "lamp_off"):
            (raw / name).unlink()
    result = again(raw)
    assert result.outcomes[IMAGE] == "blocked" and IMAGE not in result.products
    assert any(f.file == f"{IMAGE}.fits" and f.state == "wrong" and "earlier" in f.text for f in verify(out))


# -- one run at a time ----------------------------------------------------------------------------------------------


def test_a_second_run_is_refused_politely(again, out):
    with output_lock(out / ".nirred", print), pytest.raises(ConfigError, match=f"in use by process {os.getpid()}"):
        again()
    assert redone(again()) == set()


def test_a_lock_file_of_a_dead_process_is_no_lock(again, out):
    (out / ".nirred" / "lock").write_text('{"pid": 1, "host": "x", "since": "2020"}')
    assert redone(again()) == set()


# -- interruption ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_an_interrupted_run_leaves_what_is_finished(night, registry, reduced, tmp_path, executor):
    def stop(event):
        if event.kind == "started" and event.task == FLAT:
            raise KeyboardInterrupt

    target = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        run([night.raw_dir], target, RunOptions(jobs=1, on_event=stop, executor=executor), registry)
    record = json.loads((target / "run.json").read_text())
    outcomes = {t["id"]: t["outcome"] for t in record["tasks"]}
    assert outcomes == {DARK: "done", BPM: "done", FLAT: "interrupted", IMAGE: "interrupted"}
    assert not list(target.glob(".*.part"))
    result = run([night.raw_dir], target, RunOptions(jobs=1), registry)
    assert redone(result) == {FLAT, IMAGE}
    assert digests(target) == digests(reduced[1])


# -- intermediate frames --------------------------------------------------------------------------------------------


def test_intermediate_frames_are_kept_on_request(again, out, reduced, night):
    result = again(keep_intermediates=True)
    assert len(redone(result)) == 4
    names = {p.name for p in (out / "intermediate" / IMAGE).iterdir()}
    science = [Path(n).stem for n, f in night.frames.items() if f.kind in ("object", "sky")]
    assert {f"{n}_calibrated.fits" for n in science} <= names
    targets = [Path(n).stem for n in night.groups["offset"].objects]
    assert {f"{n}_sky_correct.fits" for n in targets} <= names
    with fits.open(out / "intermediate" / IMAGE / f"{targets[0]}_sky_correct.fits") as hdus:
        assert abs(np.nanmedian(hdus["SCI"].data)) < 50 < np.nanmedian(hdus["VAR"].data)
    assert digests(out) == digests(reduced[1])
    assert redone(again(keep_intermediates=True)) == set()
    (out / "intermediate" / IMAGE / f"{targets[0]}_calibrated.fits").unlink()
    assert redone(again(keep_intermediates=True)) == {IMAGE}


def test_outputs_of_one_step(again, out, reduced):
    assert redone(again(settings=(Setting("stack_darks", "write_outputs", True, "-p"),))) >= {DARK}
    assert [p.name for p in (out / "intermediate" / DARK).iterdir()] == ["N20260115S0013_stack_darks.fits"]
    assert digests(out) == digests(reduced[1])


def test_frames_after_a_frame_step_are_as_it_leaves_them(again, out, reduced):
    """Although the steps are combined in one pass over the pixels."""
    wanted = ("add_dq", "dark_correct", "flat_correct")
    assert IMAGE in redone(again(settings=tuple(Setting(step, "write_outputs", True, "-p") for step in wanted)))
    assert digests(out) == digests(reduced[1])
    places = [next((out / "intermediate" / IMAGE).glob(f"*_{step}.fits")) for step in wanted]
    units = [fits.getheader(p, "SCI")["BUNIT"] for p in places]
    levels = [float(np.median(fits.getdata(p, "SCI"))) for p in places]
    assert units == ["adu", "electron", "electron"] and len(set(levels)) == 3


# -- files ----------------------------------------------------------------------------------------------------------


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as stream:
        stream.write(b"new")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path) as stream:
        stream.write(b"new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_in_pieces(tmp_path, monkeypatch):
    """Whatever it is given at once: numbers of an array, more bytes than a piece has, none at all."""
    monkeypatch.setattr(files, "PIECE", 1000)
    numbers, text = np.arange(30_000, dtype=">f4").reshape(300, 100), bytes(range(251)) * 70
    with files.replacing(tmp_path / "a") as stream:
        for part in (b"HEAD", numbers, b"", text, b"tail"):
            stream.write(part)
        assert stream.tell() == 8 + numbers.nbytes + len(text)
        stream.seek(0)  # as archives do
        stream.write(b"head")
    assert (tmp_path / "a").read_bytes() == b"head" + numbers.tobytes() + text + b"tail"


def test_no_piece_is_larger_than_it_may_be(tmp_path):
    with files._InPieces((tmp_path / "a").open("wb", buffering=0)) as raw:
        assert raw.write(bytes(3 * files.PIECE)) == files.PIECE and raw.write(b"end") == 3
        assert raw.writable() and raw.fileno() > 0
    assert (tmp_path / "a").stat().st_size == files.PIECE + 3
