"""A small night driven by the observatory's YAML, as a user drives it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits

import nirred
from nirred.plugin import RequestContext
from nirred.run.api import RunResult
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_emir.commands import emir
from nirred_emir.detector import H2RG
from nirred_emir.requests import read
from nirred_emir.simulation import simulation

FRAMES, SIZE = 6, 128
FEW: dict[str, Any] = {"darks": 1, "lamps_on": 1}


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    home = tmp_path_factory.mktemp("yaml")
    return simulate_night(simulation(H2RG, SIZE), home, scenario="dither", frames=FRAMES, seed=2, density=3000.0, **FEW)


def go(night: Night, name: str, out: Path, **options: Any) -> RunResult:
    home = night.directory
    options = {"recipe": str(home / "control.yaml"), "library": None, "jobs": 1, "basedir": home} | options
    return nirred.run([home / name], out=out, **options)


@pytest.fixture(scope="module")
def stacked(night: Night) -> RunResult:
    return go(night, "dithered_v4.yaml", night.directory / "v4")


def test_g1_g20_g23_stares(night: Night, tmp_path: Path) -> None:
    """Two enabled blocks: directories, files, levels; inputs stay as they are."""
    before = {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in (night.directory / "data").iterdir()}
    text = (night.directory / "dithered_v0.yaml").read_text()
    names = [yaml.safe_load(b)["id"] for b in text.split("\n---\n")][:2]
    raw = text.replace("reprojection_method: interp", "reprojection_method: none", 1)
    (night.directory / "some.yaml").write_text(raw.rpartition("\n---\n")[0])
    result = go(night, "some.yaml", tmp_path, enable=names)
    assert result.exit_code == 0, result.messages
    assert result.outcomes == {f"{n}_image": "done" for n in names}
    for name, projection in zip(names, ("ZPN", "TAN"), strict=True):
        folder = tmp_path / f"obsid{name}_results"
        assert (tmp_path / f"obsid{name}_work").is_dir()
        assert sorted(p.name for p in folder.iterdir()) == [
            "processing.log", "reduced_image.fits", "result.json", "task.json",
        ]  # fmt: skip
        assert json.loads((folder / "result.json").read_text())["values"] == {"reduced_image": "reduced_image.fits"}
        assert json.loads((folder / "task.json").read_text())["state"] == 2
        assert " - nirred - INFO - started" in (folder / "processing.log").read_text()
        header = fits.getheader(folder / "reduced_image.fits", "SCI")
        assert (header["BUNIT"], header["CTYPE1"][-3:]) == ("electron", projection)
        sky = float(np.nanmedian(fits.getdata(folder / "reduced_image.fits", "SCI")))
        assert sky == pytest.approx(7500, rel=0.1)
    assert not list(tmp_path.rglob("*.pkl"))
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_size) for p in (night.directory / "data").iterdir()}
    again = go(night, "some.yaml", tmp_path, enable=names)
    assert set(again.outcomes.values()) == {"reused"}


def test_g4_g5_children_are_stacked_from_raw(night: Night, stacked: RunResult) -> None:
    """Disabled children are not run; calibrations are theirs."""
    assert stacked.outcomes == {"_combined_image": "done"}
    (task,) = stacked.record["tasks"]
    assert {c["kind"]: Path(c["file"]).name for c in task["calibrations"]} == {
        k: f"master_{k}.fits" for k in ("bpm", "dark", "flat")
    }
    assert {c["reason"] for c in task["calibrations"]} == {"named by control.yaml"}
    assert len(task["inputs"]) == FRAMES
    entries = stacked.record["requests"]
    assert [(e["id"], e["outcome"]) for e in entries][-2:] == [(entries[-2]["id"], "unneeded"), ("_combined", "done")]
    table = fits.getdata(night.directory / "v4" / "obsid_combined_results" / "reduced_image.fits", "FRAMES")
    reference = fits.getval(stacked.products["_combined_image"], "REFFRAME")
    for row in table:
        truth = night.offset(row["file"], reference)
        assert (row["xoff"], row["yoff"]) == pytest.approx(truth, abs=0.2)


def test_g5_disabled_children_locate_their_earlier_results(night: Night, stacked: RunResult, tmp_path: Path) -> None:
    """Without raw frames: what the blocks have left is stacked, and that is said; what has left nothing is named."""
    made = go(night, "dithered_ini.yaml", tmp_path, report=False)
    assert made.exit_code == 0
    (tmp_path / "data").mkdir()
    for path in (night.directory / "data").glob("master*"):
        (tmp_path / "data" / path.name).symlink_to(path)
    result = go(night, "dithered_v4.yaml", tmp_path, basedir=tmp_path, report=False)
    assert result.outcomes == {"_combined_image": "done"}
    assert any("earlier results of its children" in text for text in result.record["remarks"])
    with fits.open(result.products["_combined_image"]) as own, fits.open(stacked.products["_combined_image"]) as raw:
        reference = own[0].header["REFFRAME"]
        assert reference.endswith("_image.fits")
        assert [own[0].header[key] for key in ("DARKCOR", "FLATCOR")] == ["master_dark.fits", "master_flat.fits"]
        frames = {f"_{name[:10]}_image.fits": name for name in night.groups["dither"].objects}
        for row in own["FRAMES"].data:
            truth = night.offset(frames[row["file"]], frames[reference])
            assert (row["xoff"], row["yoff"]) == pytest.approx(truth, abs=0.2)
        total = [float(np.nansum(np.clip(h["SCI"].data[30:-30, 30:-30], 300, None) - 300)) for h in (own, raw)]
        assert total[0] == pytest.approx(total[1], rel=0.05)
        noise = [float(np.nanmedian(h["VAR"].data[30:-30, 30:-30])) for h in (own, raw)]
        assert noise[0] == pytest.approx(noise[1], rel=0.2)
    (next(tmp_path.glob("obsid_0*_results")) / "result.json").unlink()
    lost = go(night, "dithered_v0.yaml", tmp_path, basedir=tmp_path, report=False)
    assert lost.exit_code == 4
    reason = next(e["reason"] for e in lost.record["requests"] if e["id"] == "_combined")
    assert "children: no file" in reason
    assert "no earlier result in" in reason


def test_equal_to_a_run_on_the_directory(night: Night, tmp_path: Path) -> None:
    """Without requirements: the same bytes, whichever way it is driven."""
    text = (night.directory / "dithered_v0.yaml").read_text()
    plain = text.rpartition("requirements:")[0]
    (night.directory / "plain.yaml").write_text(plain)
    by_yaml = go(night, "plain.yaml", tmp_path / "yaml")
    data = night.directory / "data"
    masters = {k: data / f"master_{k}.fits" for k in ("bpm", "dark", "flat")}
    frames = [data / name for name in night.groups["dither"].objects]
    by_files = nirred.run(frames, out=tmp_path / "files", library=None, jobs=1, user_cal=masters)
    one, other = (fits.getdata(next(iter(r.products.values())), "SCI") for r in (by_yaml, by_files))
    np.testing.assert_array_equal(one, other)


def test_g2_a_bad_block_loses_nothing_else(night: Night, tmp_path: Path) -> None:
    """Six blocks: one bad, one without its file; exit code 1, and the combination that needs them is refused."""
    text = (night.directory / "dithered_ini.yaml").read_text()
    blocks = text.split("\n---\n")[:3]
    blocks[1] = blocks[1].replace("mode:", "mood:")
    combined = (night.directory / "dithered_v0.yaml").read_text().rpartition("\n---\n")[2]
    (night.directory / "bad.yaml").write_text("\n---\n".join([*blocks, combined]))
    result = go(night, "bad.yaml", tmp_path)
    assert result.exit_code == 1
    assert sorted(result.outcomes.values()) == ["done", "done"]
    reasons = {e["id"]: e["reason"] for e in result.record["requests"] if e["reason"]}
    assert len(reasons) == 2
    assert "bad.yaml, block 2" in " ".join(reasons.values())
    assert "'mood'" in " ".join(reasons.values())
    assert "block 4 (_combined)" in reasons["_combined"]


def test_g6_exposures_of_a_block_are_combined_with_rejection(night: Night, tmp_path: Path) -> None:
    """Four times the same position, one with a cosmic ray that no header knows of."""
    data, name = night.directory / "data", night.groups["dither"].objects[0]
    files, noise = [], np.random.default_rng(1)
    with fits.open(data / name) as hdus:
        for k in range(4):
            copy = fits.PrimaryHDU(hdus[0].data + noise.normal(0, 12, hdus[0].shape).astype(np.float32), hdus[0].header)
            copy.data[60:62, 60] += 5000.0 if k == 2 else 0.0
            copy.header["DATE-OBS"] = f"2026-01-14T00:0{k}:00"
            copy.writeto(data / f"{k}{name}", overwrite=True)
            files.append(f"{k}{name}")
    try:
        listed = "".join(f" - {f}\n" for f in files)
        for method in ("exact", "none"):
            block = f"id: 1\ninstrument: EMIR\nmode: STARE_IMAGE\nframes:\n{listed}"
            text = f"{block}requirements:\n  reprojection_method: {method}\n"
            (night.directory / "four.yaml").write_text(text)
            result = go(night, "four.yaml", tmp_path / method)
            assert result.exit_code == 0
            image = fits.getdata(tmp_path / method / "obsid1_results" / "reduced_image.fits", "SCI")
            assert np.nanmax(image[55:66, 55:66]) < np.nanmedian(image) + 2000
            assert fits.getval(result.products["1_image"], "NCOMBINE") == 4
    finally:
        for f in files:
            os.remove(data / f)


def test_g17_frames_between_the_detectors(night: Night, tmp_path: Path) -> None:
    name = night.groups["dither"].objects[0]
    (tmp_path / "data").mkdir()
    with fits.open(night.raw_dir / name) as hdus:
        hdus[0].header["DATE-OBS"] = "2023-05-01T00:00:00"
        del hdus[0].header["INSCONF"]
        hdus.writeto(tmp_path / "data" / name)
    (tmp_path / "gap.yaml").write_text(f"id: 1\ninstrument: EMIR\nmode: STARE_IMAGE\nframes: [{name}]\n")
    result = nirred.run([tmp_path / "gap.yaml"], out=tmp_path / "out", basedir=tmp_path, library=None)
    assert result.exit_code == 4
    assert "line 4: " in result.record["requests"][0]["reason"]
    assert "no detector between 2023-03-10 and 2023-07-01" in result.record["requests"][0]["reason"]


def test_g24_g25_obsyaml(tmp_path: Path) -> None:
    """Ids from the first ten characters; names without directory; comments left out; nothing is overwritten."""
    from click.testing import CliRunner

    names = [f"000187{n}-20181217-EMIR-STARE_IMAGE.fits" for n in (7553, 7559, 7564, 7570)]
    (tmp_path / "list.txt").write_text("# comment\n@ too\n" + "".join(f"some/where/{n}\n" for n in names))
    words = ["obsyaml", str(tmp_path / "list.txt"), "--repeat", "2", "--obsid_combined", "stack"]
    for step, enabled in (("0", True), ("1", False)):
        out = tmp_path / f"{step}.yaml"
        asked = [*words, "--step", step, "--outfile", str(out), "--reprojection", "exact"]
        assert CliRunner().invoke(emir, asked).exit_code == 0
        blocks = list(yaml.safe_load_all(out.read_text()))
        assert blocks[0] == {
            "id": "_0001877553",
            "instrument": "EMIR",
            "mode": "STARE_IMAGE",
            "frames": names[:2],
            "enabled": enabled,
            "requirements": {"reprojection_method": "exact"},
        }
        assert len(blocks) == 2 + int(step)
        assert CliRunner().invoke(emir, asked).exit_code != 0
    assert blocks[2] == {
        "id": "_stack",
        "instrument": "EMIR",
        "mode": "FULL_DITHERED_IMAGE",
        "children": ["_0001877553", "_0001877564"],
        "enabled": True,
        "requirements": {"iterations": 0, "sky_images": 0, "refine_offsets": False},
    }


def test_masters_of_a_request(night: Night, tmp_path: Path) -> None:
    """IMAGE_DARK makes a dark, under the name that its users know."""
    frame = next(f.file for f in night.frames.values() if f.kind == "dark")
    (tmp_path / "dark.yaml").write_text(f"id: d\ninstrument: EMIR\nmode: IMAGE_DARK\nframes: [{frame}]\n")
    result = nirred.run([tmp_path / "dark.yaml"], out=tmp_path, datadir=night.raw_dir, library=None)
    assert result.exit_code == 0
    assert fits.getval(tmp_path / "obsidd_results" / "darkframe.fits", "NIRKIND") == "dark"


@pytest.mark.parametrize("method", ["interp", "adaptive"])
def test_g3_g7_reprojection(night: Night, tmp_path: Path, method: str) -> None:
    """Each of the methods that the other tests do not run: the whole field is drawn, with its sky."""
    text = (night.directory / "dithered_v0.yaml").read_text()
    first = text.partition("\n---\n")[0].replace("interp", method)
    (night.directory / "one.yaml").write_text(first)
    name = f"_{night.groups['dither'].objects[0][:10]}"
    result = go(night, "one.yaml", tmp_path, enable=[name])
    image = fits.getdata(tmp_path / f"obsid{name}_results" / "reduced_image.fits", "SCI")
    assert result.exit_code == 0
    assert np.isfinite(image[8:-8, 8:-8]).mean() > 0.98
    assert float(np.nanmedian(image)) == pytest.approx(7500, rel=0.1)


def test_a_failed_block_leaves_no_image_of_an_earlier_run(night: Night, tmp_path: Path) -> None:
    """result.json says that there is none; the product of the earlier run stays under its own name."""
    name = f"_{night.groups['dither'].objects[0][:10]}"
    stare = (night.directory / "dithered_v0.yaml").read_text().partition("\n---\n")[0]
    (night.directory / "block.yaml").write_text(stare)
    assert go(night, "block.yaml", tmp_path, enable=[name], report=False).exit_code == 0
    folder = tmp_path / f"obsid{name}_results"
    assert (folder / "reduced_image.fits").is_file()
    lacking = go(night, "block.yaml", tmp_path, enable=[name], report=False, recipe=None)
    assert lacking.exit_code == 5
    assert json.loads((folder / "result.json").read_text())["values"] == {"reduced_image": None}
    assert not (folder / "reduced_image.fits").exists()
    assert (tmp_path / f"{name}_image.fits").is_file()


@pytest.mark.parametrize(("method", "again"), [("none", False), ("interp", True)])
def test_g5_earlier_results_are_said_to_be_resampled_if_they_were(
    night: Night, tmp_path: Path, method: str, again: bool
) -> None:
    stare = (night.directory / "dithered_v0.yaml").read_text().partition("\n---\n")[0].replace("interp", method)
    name = f"_{night.groups['dither'].objects[0][:10]}"
    stack = f"id: s\ninstrument: EMIR\nmode: FULL_DITHERED_IMAGE\nchildren: [{name}]\n"
    (night.directory / "few.yaml").write_text(f"{stare}\n---\n{stack}enabled: False\n")
    assert go(night, "few.yaml", tmp_path, enable=[name], report=False).exit_code == 0
    (tmp_path / "few.yaml").write_text(f"{stare}\n---\n{stack}")
    found = read([tmp_path / "few.yaml"], RequestContext(base_dir=tmp_path))
    assert found is not None
    (remark,) = found.remarks
    assert "earlier results" in remark
    assert ("resampled a second time" in remark) == again


@pytest.mark.parametrize("version", ["v2", "v3", "v6"])
def test_g12_to_g15_variants(night: Night, tmp_path: Path, version: str) -> None:
    """Offsets of a list, alone and as a first guess; stray light asked for."""
    result = go(night, f"dithered_{version}.yaml", tmp_path)
    assert result.exit_code == 0, result.messages
    product = result.products["_combined_image"]
    table, reference = fits.getdata(product, "FRAMES"), fits.getval(product, "REFFRAME")
    apart = np.array([np.subtract((r["xoff"], r["yoff"]), night.offset(r["file"], reference)) for r in table])
    assert np.abs(apart).max() < 0.25
    if version != "v2":
        assert np.abs(apart).max() < 0.15
