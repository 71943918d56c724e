"""Faults found by `verify`, and products made again by `rerun`."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred.cli import main
from nirred.errors import ConfigError, DataError
from nirred.run.api import RunOptions, run
from nirred.run.differences import differences
from nirred.run.rerun import FileSearch, rerun
from nirred.run.schema import read_run
from nirred.run.verify import verify

IMAGE = "N20260115S0001_image.fits"
DARK = "N20260115S0013_dark.fits"
FLAT = "N20260115S0010_flat.fits"
BPM = "N20260115S0010_bpm.fits"


@pytest.fixture
def out(reduced, tmp_path) -> Path:
    return Path(shutil.copytree(reduced[1], tmp_path / "out"))


def wrong(out: Path) -> dict[str, str]:
    return {f.file: f.text for f in verify(out) if f.state == "wrong"}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_good_directory(out, capsys):
    assert {f.state for f in verify(out)} == {"ok"} and len(verify(out)) == 5
    assert main(["verify", str(out)]) == 0
    capsys.readouterr()
    assert main(["verify", str(out), "--json"]) == 0
    assert [f["state"] for f in json.loads(capsys.readouterr().out)] == ["ok"] * 5


def test_a_flipped_bit_is_found_twice(out):
    flip(out / IMAGE)
    assert "not the bytes that were written" in wrong(out)[IMAGE] and "DATASUM" in wrong(out)[IMAGE]
    assert main(["verify", str(out)]) == 4


def test_missing_cut_and_foreign(out):
    (out / IMAGE).unlink()
    (out / DARK).write_bytes((out / DARK).read_bytes()[:-2880])
    (out / "mine.fits").touch()
    found = wrong(out)
    assert found[IMAGE] == "missing" and "bytes, written" in found[DARK]
    assert {f.file: f.state for f in verify(out)}["mine.fits"] == "note"


def test_another_calibration_beside_a_product(out):
    with fits.open(out / DARK) as hdus:
        hdus["SCI"].data[0, 0] += 1
        hdus.writeto(out / DARK, overwrite=True, checksum=True)
    assert f"made with another {DARK}" in wrong(out)[IMAGE]


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "nirred-run/99"}', '{"schema": "nirred-run/1", "files": 3}'])
def test_a_record_that_is_none(out, text):
    (out / "run.json").write_text(text)
    assert list(wrong(out)) == ["run.json"] and len(verify(out)) == 5


def test_no_directory(tmp_path):
    with pytest.raises(ConfigError, match="no such directory"):
        verify(tmp_path / "none")


# -- rerun ----------------------------------------------------------------------------------------------------------


def test_an_image_is_made_again_from_moved_raw_frames(out, raw, registry, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(out / IMAGE, alone)
    with pytest.raises(DataError, match="not where it was"):
        rerun(alone / IMAGE, [], tmp_path / "again", registry)
    found = rerun(alone / IMAGE, [str(raw), str(out)], tmp_path / "again", registry)
    assert found.differences == () and found.path.read_bytes() == (out / IMAGE).read_bytes()


def test_a_product_is_made_again_from_another_directory(raw, registry, tmp_path, monkeypatch):
    """Names relative to the directory of the run, links and copies all refer to the same file."""
    monkeypatch.chdir(tmp_path)
    run(["raw"], Path("here"), RunOptions(jobs=1), registry)
    shutil.copytree("raw", "a copy")
    Path("link").symlink_to("raw")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    for more in ([], ["../a copy", "../link"]):
        found = rerun(tmp_path / "here" / IMAGE, more, Path(f"again{len(more)}"), registry)
        assert found.differences == ()


def test_twins_of_an_input_do_not_stand_for_it(raw, registry, tmp_path):
    """A copy is not used in the check of world coordinates: the frame made again must be that of the original."""
    shutil.copytree(raw, tmp_path / "b")
    shelf = FileSearch.of(tmp_path / "none.fits", [str(tmp_path / "b"), str(raw)], registry)
    assert {p.parent for p in shelf.paths} == {tmp_path / "b"}


def test_a_product_that_was_changed_differs(out, tmp_path, capsys):
    with fits.open(out / DARK, mode="update") as hdus:
        hdus["SCI"].data[3, 4] += 2.5
        hdus["SCI"].header["GAIN"] = 7.0
    assert main(["rerun", str(out / DARK), "-o", str(tmp_path / "again")]) == 1
    said = capsys.readouterr().out
    assert "differs" in said and "by up to 2.5" in said and "GAIN = 7.0" in said


def test_raw_frames_and_rubbish_are_no_products(night, registry, tmp_path):
    with pytest.raises(DataError, match="no PROVENANCE"):
        rerun(sorted(night.raw_dir.iterdir())[0], [], tmp_path / "again", registry)
    (tmp_path / "a.fits").write_text("x")
    with pytest.raises(DataError):
        rerun(tmp_path / "a.fits", [], tmp_path / "again", registry)


def test_never_over_the_product_itself(out, registry):
    with pytest.raises(ConfigError, match="holds the product"):
        rerun(out / IMAGE, [], out, registry)


def test_differences_in_words(tmp_path):
    plane = np.zeros((3, 4), np.float32)
    plane[0, 0] = np.nan
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane, name="SCI")]).writeto(tmp_path / "a.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane, name="SCI")]).writeto(tmp_path / "b.fits")
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(plane[:2], name="SCI")]).writeto(tmp_path / "c.fits")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "d.fits")
    assert not list(differences(tmp_path / "a.fits", tmp_path / "b.fits"))
    assert any(
        "now float32 (2, 4)" in t or "now >f4 (2, 4)" in t
        for t in differences(tmp_path / "a.fits", tmp_path / "c.fits")
    )
    assert list(differences(tmp_path / "a.fits", tmp_path / "d.fits")) == ["SCI [1]: only in the old file"]


# -- several runs in one directory ----------------------------------------------------------------------------------


def test_runs_before_the_last_one_are_kept_and_verified(out, raw, night, registry):
    """A second run, of darks only: run.json describes it and, in addition, the remaining products of the first run."""
    for name in (n for n, f in night.frames.items() if f.kind != "dark"):
        (raw / name).unlink()
    result = run([raw], out, RunOptions(jobs=1), registry)
    found = read_run(out / "run.json")
    assert [t.id for t in found.tasks] == [Path(DARK).stem]
    assert {f"{t.id}.fits" for t in found.earlier} == {IMAGE, FLAT, BPM}
    assert result.record["earlier"] == json.loads((out / "run.json").read_text())["earlier"]
    assert {f.file: f.state for f in verify(out)} == dict.fromkeys(("run.json", IMAGE, DARK, FLAT, BPM), "ok")
    flip(out / IMAGE)
    assert set(wrong(out)) == {IMAGE}
    run([raw], out, RunOptions(jobs=1), registry)
    assert {f"{t.id}.fits" for t in read_run(out / "run.json").earlier} == {FLAT, BPM}  # damaged: no longer listed
    assert set(wrong(out)) == {IMAGE}  # but reported
    run([night.raw_dir], out, RunOptions(jobs=1), registry)
    assert read_run(out / "run.json").earlier == [] and wrong(out) == {}


def test_products_are_checked_without_run_json(out):
    (out / "run.json").unlink()
    flip(out / FLAT)
    found = {f.file: f.state for f in verify(out)}
    assert found == {"run.json": "wrong", IMAGE: "ok", DARK: "ok", BPM: "ok", FLAT: "wrong"} | (
        {IMAGE: "wrong"} if "made with another" in wrong(out).get(IMAGE, "") else {}
    )


def cut(path):
    path.write_bytes(path.read_bytes()[:-2880])


def no_provenance(path):
    with fits.open(path) as hdus:
        fits.HDUList([h for h in hdus if h.name != "PROVENANCE"]).writeto(path, overwrite=True)


@pytest.mark.parametrize("spoil", [flip, cut, no_provenance, Path.unlink, lambda p: p.write_bytes(b"")])
@pytest.mark.parametrize("name", [DARK, BPM, FLAT, IMAGE])
def test_damage_of_every_kind_to_every_product(out, name, spoil):
    spoil(out / name)
    found = wrong(out)
    assert found[name] and "Error" not in found[name]
    assert all("made with another" in text for other, text in found.items() if other != name)


# -- rerun of every product -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [DARK, BPM, FLAT])
def test_calibrations_are_made_again(out, registry, tmp_path, name):
    found = rerun(out / name, [], tmp_path / "again", registry)
    assert found.differences == () and found.path.read_bytes() == (out / name).read_bytes()


def alone(out, name, tmp_path):
    """A product without its run.json."""
    (tmp_path / "alone").mkdir()
    return Path(shutil.copy(out / name, tmp_path / "alone"))


def test_raw_frames_compressed_since(out, raw, registry, tmp_path):
    for path in sorted(raw.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    found = rerun(alone(out, DARK, tmp_path), [str(raw)], tmp_path / "again", registry)
    assert found.differences == () and found.path.read_bytes() == (out / DARK).read_bytes()


def test_a_raw_frame_that_is_missing_or_another(out, raw, night, registry, tmp_path):
    product = alone(out, DARK, tmp_path)
    victim = raw / next(n for n, f in night.frames.items() if f.kind == "dark")
    with fits.open(victim, mode="update") as hdus:
        hdus[1].data[7, 7] += 1
    with pytest.raises(DataError, match=f"{victim.name} is another file now") as caught:
        rerun(product, [str(raw)], tmp_path / "again", registry)
    assert str(raw) in caught.value.message and "--raw" in caught.value.hint
    victim.unlink()
    with pytest.raises(DataError, match=f"{victim.name} is not where it was"):
        rerun(product, [str(raw)], tmp_path / "again", registry)


def test_another_version_is_said(out, registry, tmp_path, monkeypatch):
    monkeypatch.setattr("nirred.run.rerun.__version__", "99.0")
    found = rerun(out / DARK, [], tmp_path / "again", registry)
    assert any(t.startswith("made with nirred ") and t.endswith("now 99.0") for t in found.remarks)
