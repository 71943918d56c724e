"""A night from raw frames to products: the same bytes for every way to run it, correct records, named failures."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import ConfigError, DataError
from nirred.params import Setting
from nirred.plan.options import PlanOptions
from nirred.recipes import recipe_for, step_types

IMAGE = "N20260115S0001_image"
FLAT = "N20260115S0010_flat"
DARK = "N20260115S0013_dark"
ALL = {DARK, "N20260115S0010_bpm", FLAT, IMAGE}


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.fits"))}


def files_of(night, kind):
    return [name for name, frame in night.frames.items() if frame.kind == kind]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20000])


# -- the same bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"jobs": 2}, {"memory": 1}, {"memory": 1, "jobs": 2}])
def test_threads_and_memory_change_no_byte(reduced, night, reduce, tmp_path, options):
    reduce(night.raw_dir, **options)
    assert digests(tmp_path / "out") == digests(reduced[1])
    assert len(digests(tmp_path / "out")) == 4


@pytest.mark.parametrize("filed", [(), ("image",)])
def test_all_raw_files_make_room_where_planes_of_one_task_go_to_scratch_files(night, reduce, monkeypatch, filed):
    given: set[str] = set()
    monkeypatch.setattr("nirred.framepass.give_cache_back", lambda path: given.add(path.name))
    monkeypatch.setattr("nirred.run.api.scratch_bytes", lambda task, memory: int(task.makes in filed))
    reduce(night.raw_dir)
    assert given == ({path.name for path in night.raw_dir.glob("*.fits")} if filed else set())


def test_memory_of_nothing_works_from_a_scratch_file_and_leaves_none(night, reduce, tmp_path):
    said = []
    scratch = tmp_path / "scratch"
    reduce(night.raw_dir, memory=1, scratch=scratch, on_event=lambda e: said.append(e.message))
    assert sum("of it in scratch files" in m for m in said) >= 4
    assert not [p for p in scratch.rglob("*") if p.is_file()]


def test_order_and_compression_of_the_input_change_no_byte(reduced, night, reduce, raw, tmp_path):
    for path in sorted(raw.iterdir())[::2]:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    reduce(*sorted(raw.iterdir(), reverse=True))
    assert digests(tmp_path / "out") == digests(reduced[1])


def test_tile_sizes_change_no_byte(reduced, night, reduce, tmp_path, monkeypatch):
    import nirred.coadd
    import nirred.steps.skymodel
    import nirred.steps.stack

    monkeypatch.setattr(nirred.coadd, "TILE", 16)
    monkeypatch.setattr(nirred.steps.stack, "TILE", 40)
    monkeypatch.setattr(nirred.steps.skymodel, "BLOCK", 5)
    reduce(night.raw_dir)
    assert digests(tmp_path / "out") == digests(reduced[1])


# -- products -----------------------------------------------------------------------------------------------------


def test_names_beyond_ascii_change_no_pixel(reduced, raw, reduce, tmp_path, registry):
    """Names with accents, quotes and undecodable bytes, in a directory with such a name, with a library."""
    from nirred.library import Shelf
    from nirred.library.catalogue import CalibrationLibrary
    from nirred.run.rerun import rerun

    folder = raw.rename(raw.with_name("nuit d'\xe9t\xe9 \udce9"))
    others = {"N20260115S0001": "\xd1 1", "N20260115S0010": "fl\udce9t 10", "N20260115S0013": 'd"<b>13'}
    for old, new in others.items():
        (folder / f"{old}.fits").rename(folder / f"{new}.fits")
    library = Shelf(CalibrationLibrary(tmp_path / "library.db", registry))
    result = reduce(folder, out="\udce9", plan=PlanOptions(library=library))
    again = rerun(result.products["\xd1 1_image"], [], tmp_path / "again", registry)
    assert again.differences == () and again.path.name == "\xd1 1_image.fits"
    assert result.exit_code == 0 and result.report is not None, result.messages
    assert "../fl%E9t%2010_flat.fits" in result.report.read_text()
    assert result.output_filenames == [
        'd"<b>13_dark.fits',
        "fl\udce9t 10_bpm.fits",
        "fl\udce9t 10_flat.fits",
        "\xd1 1_image.fits",
    ]
    assert len(library.remarks) == 3 and all("no UTF-8" in r for r in library.remarks)
    with (
        fits.open(result.products["\xd1 1_image"], checksum=True) as new,
        fits.open(reduced[1] / f"{IMAGE}.fits") as old,
    ):
        assert all(np.array_equal(new[n].data, old[n].data, equal_nan=True) for n in ("SCI", "VAR", "DQ", "NEXP"))
        assert new[0].header["ORIGNAME"] == r"\xd1 1.fits" and r"\xd1 1.fits" in new["FRAMES"].data["file"]


def test_everything_is_made(reduced):
    result, out = reduced
    assert result.exit_code == 0
    assert set(result.outcomes) == ALL == set(result.products)
    assert set(result.outcomes.values()) == {"done"}
    assert sorted(result.output_filenames) == sorted(p.name for p in out.glob("*.fits"))
    assert not list(out.glob(".*.part")) and not list(out.glob(".run.json*"))


@pytest.mark.parametrize("name", sorted(ALL))
def test_products_are_valid_fits(reduced, name):
    path = reduced[1] / f"{name}.fits"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert path.stat().st_size % 2880 == 0
            for hdu in hdus:
                assert hdu.header.comments["CHECKSUM"] == "HDU checksum"
                assert hdu.header.comments["DATASUM"] == "data unit checksum"
                assert hdu.ver == 1
            names = [h.name for h in hdus]
            kind = name.rpartition("_")[2]
            pixels = {"bpm": ["DQ"], "image": ["SCI", "VAR", "DQ", "NEXP", "NOISECOV"]}.get(kind, ["SCI", "VAR", "DQ"])
            assert names[1 : len(pixels) + 1] == pixels
            assert names[-1] == "PROVENANCE"
            assert hdus["DQ"].data.dtype == np.uint16 and not (hdus["DQ"].data & 0xFF80).any()
            assert hdus[0].header["NIRKIND"] == kind


def test_stack_says_what_it_is(reduced, night):
    with fits.open(reduced[1] / f"{IMAGE}.fits") as hdus:
        sci, cov = hdus["SCI"].header, hdus["NOISECOV"].data
        used = int((hdus["FRAMES"].data["state"] == "used").sum())
        assert sci["BUNIT"] == "electron" and hdus["VAR"].header["BUNIT"] == "electron2"
        assert sci["NCOMBINE"] == used == hdus["NEXP"].data.max()
        assert sci["GAIN"] == used
        assert sci["TEXPTIME"] == pytest.approx(used * sci["EXPTIME"])
        assert cov.shape == (7, 7) and cov.sum() == pytest.approx(1.0)
        assert cov[3, 3] == pytest.approx(sci["CORRFAC"] ** 2)
        assert 0 < sci["LEVELERR"] < 10
        assert sci["DARKCOR"] == f"{DARK}.fits" and sci["FLATCOR"] == f"{FLAT}.fits"
        assert sci["WCSSTAT"] == "registered"
        assert hdus["FRAMES"].data["state"].tolist() == ["used"] * 3 + ["sky"] * 3
        reference = hdus["FRAMES"].data["file"] == sci["REFFRAME"]
        assert hdus["FRAMES"].data["xoff"][reference] == 0 == hdus["FRAMES"].data["yoff"][reference]
        skies = hdus["FRAMES"].data[3:]
        assert all(np.isnan(skies[name]).all() for name in ("xoff", "yoff", "xoff_err", "yoff_err", "transparency"))
        assert (skies["sky"] > 1000).all() and not skies["weight"].any()
        assert [hdus["FRAMES"].columns[name].unit for name in ("xoff", "fwhm", "weight")] == ["pix", "pix", None]
        assert [hdus["OBJCAT"].columns[name].unit for name in ("X_IMAGE", "X_WORLD", "SNR")] == ["pix", "deg", None]
        empty = hdus["NEXP"].data == 0
        assert np.isnan(hdus["SCI"].data[empty]).all() and (hdus["DQ"].data[empty] != 0).all()


def test_flat_says_how_many_electrons_made_it(reduced):
    with fits.open(reduced[1] / f"{FLAT}.fits") as hdus:
        sci = hdus["SCI"].header
        assert sci["BUNIT"] == "" == hdus["VAR"].header["BUNIT"]
        assert sci["GAIN"] == pytest.approx(sci["NCOMBINE"] * sci["FLATLEV"])


def test_a_night_that_stays_in_adu_is_the_one_in_electrons_by_the_gain(reduced, night, reduce):
    """Pixels, noise and the header's keywords for them; a dark in electrons can be used, too."""
    dark = reduced[1] / f"{DARK}.fits"
    counted = (Setting("adu_to_electrons", "skip", True, "-p"),)
    made = reduce(night.raw_dir, settings=counted, plan=PlanOptions(user_cal={"dark": dark}))
    with fits.open(reduced[1] / f"{IMAGE}.fits") as hdus, fits.open(made.products[IMAGE]) as counts:
        one, other = hdus["SCI"].header, counts["SCI"].header
        assert other["BUNIT"] == "adu" and counts["VAR"].header["BUNIT"] == "adu2"
        assert other["DARKCOR"] == one["DARKCOR"] and other["RDNOISE"] == one["RDNOISE"]
        gain = other["GAIN"] / one["GAIN"]
        assert gain == pytest.approx(12.3)
        # LEVELERR is measured in areas: the rounding of other units can bring one in or out
        for key, share in (("SATLEVEL", 0.01), ("NONLINEA", 0.01), ("LEVELERR", 0.1)):
            assert gain * other[key] == pytest.approx(one[key], rel=share)
            assert other.comments[key].startswith("[adu]") and one.comments[key].startswith("[electron]")
        noise = np.sqrt(hdus["VAR"].data)
        apart = np.abs(gain * counts["SCI"].data - hdus["SCI"].data) / noise
        noisier = np.abs(gain * np.sqrt(counts["VAR"].data) / noise - 1)
        differ = counts["DQ"].data != hdus["DQ"].data
        # a pixel within rounding of a limit may be an outlier in one unit only: a handful, on some processors
        assert np.nanmedian(apart) < 0.002 and np.nanmedian(noisier) < 1e-3
        assert np.mean(apart > 0.02) < 1e-3 and np.mean(noisier > 1e-3) < 1e-3 and differ.mean() < 1e-3
        np.testing.assert_allclose(gain * counts["FRAMES"].data["sky"], hdus["FRAMES"].data["sky"], rtol=1e-4)
        assert counts["OBJCAT"].columns["FLUX_AUTO"].unit == "adu" == counts["FRAMES"].columns["sky"].unit


def test_dark_and_flat_say_what_they_are(reduced):
    with fits.open(reduced[1] / f"{DARK}.fits") as hdus:
        assert hdus["SCI"].header["BUNIT"] == "electron" and "PROCDARK" in hdus[0].header
        good = hdus["DQ"].data == 0
        values = hdus["SCI"].data[good]
        scatter = values[np.abs(values - np.median(values)) < 100].std()  # no hot pixels
        assert np.sqrt(np.median(hdus["VAR"].data[good])) == pytest.approx(scatter, rel=0.1)
    with fits.open(reduced[1] / f"{FLAT}.fits") as hdus:
        assert np.median(hdus["SCI"].data[hdus["DQ"].data == 0]) == pytest.approx(1.0, abs=1e-4)
        assert hdus["SCI"].header["NCOMBINE"] == 3


def test_stars_lie_where_the_truth_has_them(reduced, night):
    """The brightest catalogued source is at a star of the truth; header WCS error is 0.12 arcsec per axis."""
    with fits.open(reduced[1] / f"{IMAGE}.fits") as hdus:
        rows = hdus["OBJCAT"].data
        assert 2 < hdus["SCI"].header["FWHM"] < 12
        best = rows[np.argmax(rows["FLUX_AUTO"] * (rows["ELLIPTICITY"] < 0.2))]
    distance = [
        3600 * np.hypot((s.ra - best["X_WORLD"]) * np.cos(np.radians(s.dec)), s.dec - best["Y_WORLD"])
        for s in night.groups["offset"].sources
    ]
    assert min(distance) < 0.6


# -- provenance ---------------------------------------------------------------------------------------------------


def test_provenance_names_every_parameter_and_hashes_every_input(reduced, night, registry):
    rows = fits.getdata(reduced[1] / f"{IMAGE}.fits", "PROVENANCE")
    steps = step_types(registry)
    recipe = recipe_for("reduce", registry, frozenset({"NIRI", "IMAGE"}))
    silent = {"skip", "write_outputs"}  # a skip that is not set says nothing
    known = {f"{c.name}:{k}" for c in recipe.steps for k in steps[c.step].Params.model_fields if k not in silent}
    parameters = {r["name"]: r for r in rows if r["item"] == "parameter"}
    assert known <= set(parameters)
    assert all(r["origin"] for r in parameters.values())
    assert parameters["sky_correct_first:mask_objects"]["origin"] == "recipe reduce"
    assert parameters["sky_correct_first:mask_objects"]["value"] == "False"
    assert parameters["associate_sky:time"]["origin"] == "plugin niri"
    assert parameters["stack_frames:hidden"]["origin"] == "default"
    inputs = {r["name"]: r["origin"] for r in rows if r["item"] == "input"}
    science = [n for n, f in night.frames.items() if f.kind in ("object", "sky")]
    assert inputs == {n: hashlib.sha256((night.raw_dir / n).read_bytes()).hexdigest() for n in science}
    used = {r["name"]: r["origin"] for r in rows if r["item"] == "calibration"}
    assert used[f"{FLAT}.fits"] == hashlib.sha256((reduced[1] / f"{FLAT}.fits").read_bytes()).hexdigest()
    assert {r["item"] for r in rows} >= {"nirred", "plugin", "recipe", "step", "parameter", "input", "calibration"}


def test_a_user_s_value_and_its_origin_are_recorded(night, reduce, tmp_path):
    settings = (Setting("sky_correct", "nsigma", "5", "-p"),)
    assert reduce(night.raw_dir, settings=settings).exit_code == 0
    rows = fits.getdata(tmp_path / "out" / f"{IMAGE}.fits", "PROVENANCE")
    mine = [tuple(r)[2:] for r in rows if r["name"] in ("sky_correct:nsigma", "sky_correct_first:nsigma")]
    assert mine == [("5.0", "-p")] * 2


def test_a_mask_of_another_camera_is_left_out_as_a_parameter_too(night, raw, reduce, registry, tmp_path, monkeypatch):
    """Only the plan decides to which frames a mask applies; no step does."""
    from nirred.plan import options

    for name in (n for n, f in night.frames.items() if f.kind != "dark"):
        (raw / name).unlink()
    mask = tmp_path / "mask.fits"
    fits.PrimaryHDU(np.eye(8, dtype=np.uint8)).writeto(mask)
    settings = (Setting("addDQ", "user_bpm", str(mask), "command line"),)
    result = reduce(raw, settings=settings)
    assert result.outcomes == {DARK: "failed"} and "8 x 8" in result.messages[0]
    known = options.described(raw / files_of(night, "dark")[0], registry)
    monkeypatch.setattr(options, "described", lambda path, registry: dataclasses.replace(known, instrument="other"))
    assert reduce(raw, settings=settings).exit_code == 0


# -- run.json -----------------------------------------------------------------------------------------------------


def test_run_json_has_the_agreed_keys(reduced, night):
    result, out = reduced
    record = json.loads((out / "run.json").read_text())
    assert record == json.loads(json.dumps(result.record, default=str))
    assert set(record) >= {"schema", "nirred", "degraded", "files", "tasks"}
    assert {Path(f["file"]).name for f in record["files"]} == {p.name for p in night.raw_dir.iterdir()}
    for f in record["files"]:
        assert set(f) >= {"file", "fate", "reason", "roles"}
        assert f["fate"] in ("used", "rejected")
        assert f["roles"] and all(set(r) == {"task", "role", "outcome", "reason"} for r in f["roles"])
    assert [t["id"] for t in record["tasks"]] == list(result.outcomes)
    for t in record["tasks"]:
        assert set(t) >= {"id", "recipe", "outcome", "degraded", "inputs", "calibrations", "products", "cpu_s"}
        assert t["products"] == [f"{t['id']}.fits"] and t["cpu_s"] >= 0
        assert all(set(c) >= {"kind", "file", "level", "reason"} for c in t["calibrations"])


def test_rejected_frames_are_told_everywhere_alike(reduced):
    result, out = reduced
    rows = fits.getdata(out / f"{IMAGE}.fits", "FRAMES")
    fates = {Path(f["file"]).name: (f["fate"], f["reason"]) for f in result.record["files"]}
    for row in rows:
        assert fates[row["file"]][0] == ("used" if row["state"] == "sky" else row["state"])
        assert (row["weight"] > 0) == (row["state"] == "used")
        if row["state"] == "rejected":
            assert row["reason"] and any(row["file"] in m and row["reason"] in m for m in result.messages)
    assert rows["weight"].sum() == pytest.approx(1.0, rel=1e-5)


# -- failures -----------------------------------------------------------------------------------------------------


def fate(result, name):
    return next(f for f in result.record["files"] if Path(f["file"]).name == name)


def test_a_flat_that_fails_blocks_science_and_nothing_else(night, raw, reduce, tmp_path):
    from nirred.fitsio import Headers

    for name in files_of(night, "lamp_on"):  # lamps as faint as the lamp-off frames: no signal in the flat
        with fits.open(raw / files_of(night, "lamp_off")[0]) as off, fits.open(raw / name, mode="update") as on:
            on[1].data[:] = np.minimum(off[1].data, 1)
    assert Headers.read(raw / files_of(night, "lamp_on")[0]).images
    result = reduce(raw)
    assert result.outcomes[DARK] == "done" and result.outcomes[FLAT] == "failed" and result.outcomes[IMAGE] == "blocked"
    assert result.exit_code == 1
    assert not (tmp_path / "out" / f"{IMAGE}.fits").exists()
    entry = next(t for t in result.record["tasks"] if t["id"] == IMAGE)
    assert FLAT in entry["error"]["message"]
    assert fate(result, night.groups["offset"].objects[0])["fate"] == "failed"


@pytest.mark.parametrize(("strict", "allowed"), [(False, ()), (True, ()), (True, ("dark", "bpm"))])
def test_a_dark_that_fails_degrades_what_counts_on_it_and_strict_stops_that(night, raw, reduce, strict, allowed):
    for path in (raw / name for name in files_of(night, "dark")):  # the headers are intact, so the plan uses them
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes())[:-5000])
        path.unlink()
    result = reduce(raw, plan=PlanOptions(strict=strict, allow_missing=allowed))
    stopped = strict and not allowed
    assert result.outcomes[DARK] == "failed" and result.outcomes[FLAT] == "done" and result.exit_code == 1
    assert result.outcomes[IMAGE] == ("blocked" if stopped else "done")
    entry = next(t for t in result.record["tasks"] if t["id"] == IMAGE)
    assert entry["degraded"] and result.record["degraded"]
    assert [(m["kind"], m["reason"]) for m in entry["missing"]] == [("dark", f"no dark: {DARK} was not made")]
    assert "dark" not in {c["kind"] for c in entry["calibrations"]}
    assert stopped == ("--allow-missing dark" in entry["blocked"])
    if stopped:
        assert entry["blocked"] == entry["error"]["message"]
    else:
        assert fits.getval(result.products[IMAGE], "DARKCOR").startswith("SKIPPED")
        rows = fits.getdata(result.products[IMAGE], "PROVENANCE")
        assert ("missing", "dark") in {(r["item"], r["name"]) for r in rows}


def test_without_lamps_science_is_blocked_with_the_code_of_calibrations(night, raw, reduce):
    for kind in ("lamp_on", "lamp_off"):
        for name in files_of(night, kind):
            (raw / name).unlink()
    result = reduce(raw)
    assert result.outcomes[IMAGE] == "blocked"
    assert result.exit_code in (1, 5) and (result.exit_code == 5) == ("done" not in result.outcomes.values())


@pytest.mark.parametrize("spoilt", [False, True])
def test_a_calibration_has_its_role_however_it_is_named_and_whatever_became_of_its_task(
    reduced, night, raw, reduce, tmp_path, monkeypatch, spoilt
):
    for name in (n for n, f in night.frames.items() if f.kind == "dark"):
        (raw / name).unlink()
    shutil.copy(reduced[1] / f"{DARK}.fits", raw / "m.fits")
    if spoilt:
        for name in files_of(night, "lamp_on"):
            (raw / name).unlink()
    monkeypatch.chdir(tmp_path)
    result = reduce(raw, plan=PlanOptions(user_cal={"dark": Path("raw", "m.fits")}))
    assert result.outcomes[IMAGE] == ("blocked" if spoilt else "done")
    entry = fate(result, "m.fits")
    assert entry["fate"] == ("failed" if spoilt else "used")
    ((task, role, outcome),) = [(r["task"], r["role"], r["outcome"]) for r in entry["roles"]]
    assert (task, role, outcome) == (IMAGE, "dark", entry["fate"])
    assert entry["reason"].startswith("no flat" if spoilt else "named by")


@pytest.mark.parametrize(
    ("unit", "taken"), [("DN", "adu"), ("e-", "electron"), ("electron/s", "fails"), (None, "electron, with a remark")]
)
def test_the_unit_of_a_dark_of_another_program_is_not_guessed_in_silence(reduced, night, raw, reduce, unit, taken):
    dark, gain = raw.parent / "master.fits", 12.3
    with fits.open(reduced[1] / f"{DARK}.fits") as hdus:
        header = fits.Header() if unit is None else fits.Header({"BUNIT": unit})
        fits.PrimaryHDU(hdus["SCI"].data / (gain if taken == "adu" else 1), header).writeto(dark)
    result = reduce(raw, plan=PlanOptions(user_cal={"dark": dark}))
    assert (result.outcomes[IMAGE] == "failed") == (taken == "fails")
    told = any("master.fits: no BUNIT; its pixels are taken for electrons" in m for m in result.messages)
    assert told == (unit is None)
    if taken == "fails":
        assert any("BUNIT = 'electron/s' is neither electron nor adu" in m for m in result.messages)
        return
    with fits.open(result.products[IMAGE]) as hdus, fits.open(reduced[1] / f"{IMAGE}.fits") as usual:
        np.testing.assert_allclose(hdus["FRAMES"].data["sky"], usual["FRAMES"].data["sky"], atol=0.5)


def test_one_damaged_frame_is_left_out_by_name(night, raw, reduce):
    victim = night.groups["offset"].objects[1]
    truncate(raw / victim)
    result = reduce(raw)
    assert result.outcomes[IMAGE] == "done" and result.exit_code == 0
    assert fate(result, victim)["fate"] in ("unreadable", "failed") and fate(result, victim)["reason"]


def test_one_frame_on_target_with_sky_frames(night, raw, reduce, tmp_path):
    for name in night.groups["offset"].objects[1:]:
        (raw / name).unlink()
    result = reduce(raw)
    assert result.exit_code == 0
    with fits.open(tmp_path / "out" / f"{IMAGE}.fits") as hdus:
        assert hdus["SCI"].header["NCOMBINE"] == 1 and hdus["SCI"].header["WCSSTAT"] == "ok"
        assert (hdus["NEXP"].data == 1).mean() > 0.7  # its bad pixels are not filled
        level = np.nanmedian(hdus["SCI"].data[hdus["DQ"].data == 0])
        assert abs(level) < 30  # of a sky of 6000


def test_one_frame_alone_is_an_error_that_says_so(night, raw, reduce, tmp_path):
    groups = night.groups["offset"]
    for name in (*groups.objects[1:], *groups.skies):
        (raw / name).unlink()
    result = reduce(raw)
    assert result.outcomes[IMAGE] == "failed" and result.exit_code == 1
    assert any("sky frame" in m for m in result.messages)
    assert not (tmp_path / "out" / f"{IMAGE}.fits").exists()


def test_no_frame_at_all_is_a_data_error(reduce, tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "notes.fits").write_text("no FITS")
    result = reduce(tmp_path / "raw")
    assert result.exit_code == 4 and result.outcomes == {}
    assert fate(result, "notes.fits")["fate"] == "unreadable"


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        (("skyCorect", "nsigma", "4"), "sky_correct"),
        (("sky_correct", "nsgma", "4"), "nsigma"),
        (("", "nsgma", "4"), "nsigma"),
        (("sky_correct", "nsigma", "-4"), ""),
        (("associate_sky", "time", "5 parsec"), "arcsec|min|known"),
    ],
)
def test_a_wrong_setting_stops_before_any_work(night, reduce, tmp_path, setting, hint):
    result = None
    with pytest.raises(ConfigError) as caught:
        result = reduce(night.raw_dir, settings=(Setting(*setting, "-p"),))
    assert result is None and "-p" in caught.value.message
    if hint:
        assert any(word in str(caught.value) for word in hint.split("|"))
    assert not list((tmp_path / "out").glob("*.fits"))


def test_the_incumbents_spellings_in_python(night, reduce, raw, tmp_path):
    for name in (n for n, f in night.frames.items() if f.kind in ("sky", "object")):
        (raw / name).unlink()
    settings = (Setting("addDQ", "skip_primitive", True, "nirred.run()"), Setting("stackDarks", "nsigma", 4, "-p"))
    assert reduce(raw, settings=settings).exit_code == 0
    rows = fits.getdata(tmp_path / "out" / f"{DARK}.fits", "PROVENANCE")
    said = {r["name"]: (r["value"], r["origin"]) for r in rows if r["item"] == "parameter"}
    assert said["add_dq:skip"] == ("True", "nirred.run()")
    assert said["stack_darks:nsigma"] == ("4.0", "-p")


def test_a_recipe_that_stores_nothing_says_so(night, reduce, raw):
    darks = [raw / name for name in files_of(night, "dark")]
    result = reduce(*darks, settings=(Setting("store_processed_dark", "skip", True, "-p"),))
    assert not result.products and result.exit_code == 0
    assert any("no product: recipe make_processed_dark has no step" in m for m in result.messages)


def test_a_misspelt_executor_leaves_nothing_behind(night, reduce, tmp_path):
    with pytest.raises(ConfigError, match="no executor 'thread'") as caught:
        reduce(night.raw_dir, executor="thread")
    assert "threads" in caught.value.hint and not (tmp_path / "out").exists()


def test_a_misspelt_input_leaves_nothing_behind(reduce, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        reduce(tmp_path / "rwa")
    assert not (tmp_path / "out").exists()


def test_an_output_that_is_a_file_is_refused(night, reduce, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(ConfigError, match="another -o"):
        reduce(night.raw_dir)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_log_is_json_lines_and_events_are_told(night, reduce, raw, tmp_path, elsewhere):
    for name in (n for n, f in night.frames.items() if f.kind != "dark"):
        (raw / name).unlink()
    told, path = [], tmp_path / "logs" / "a" / "night.log" if elsewhere else None
    result = reduce(raw, on_event=told.append, log_file=path)
    assert result.outcomes == {DARK: "done"} and result.exit_code == 0
    lines = [json.loads(line) for line in (path or tmp_path / "out" / "nirred.log").read_text().splitlines()]
    assert [(e.kind, e.message) for e in told] == [(x["kind"], x["message"]) for x in lines]
    kinds = [e.kind for e in told if e.kind != "progress" and "compiled" not in e.message]
    assert kinds == ["started", "product", "finished"]
    progress = [e for e in told if e.kind == "progress"]
    assert {e.task for e in progress} == {DARK} and not any(e.message.startswith(DARK) for e in progress)
    assert "stack_darks" in [e.message for e in progress]


@pytest.mark.parametrize("known", [True, False])
def test_a_first_run_says_that_kernels_are_compiled(night, reduce, raw, monkeypatch, known):
    for name in (n for n, f in night.frames.items() if f.kind != "dark"):
        (raw / name).unlink()
    monkeypatch.setattr("nirred.run.api.compiled", lambda: known)
    told = []
    reduce(raw, on_event=told.append)
    said = [e.kind == "message" and "compiled at their first use" in e.message for e in told]
    assert said == [not known] + [False] * (len(said) - 1)


def test_strict_counts_foreign_files(night, reduce, raw):
    for name in (n for n, f in night.frames.items() if f.kind != "dark"):
        (raw / name).unlink()
    shutil.copy(Path(__file__), raw / "foreign.fits")
    assert reduce(raw, out="a").exit_code == 0
    assert reduce(raw, out="b", plan=PlanOptions(strict=True)).exit_code == 4
