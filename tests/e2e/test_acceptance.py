"""Acceptance list of features that users of other pipelines need, row by row, on one small night of NIRI.

Rows tested elsewhere, and those of plugins, are listed in tests/unit/test_acceptance_rows.py.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred
from nirred.cli import main
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night

pytest.importorskip("nirred_niri")
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """playdata/ with the raw frames, work/ as current directory."""
    home = tmp_path_factory.mktemp("acceptance")
    (home / "work").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIRRED_CONFIG", os.devnull)
        patch.chdir(home / "work")
        yield home


@pytest.fixture(scope="module")
def night(home: Path) -> Night:
    from nirred_niri.simulation import simulation

    few = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}
    made = simulate_night(
        simulation(), home / "night", scenario=("offset", "standard"), frames=6, seed=3, size=256, **few
    )
    made.raw_dir.rename(home / "playdata")
    return made


@pytest.fixture(scope="module")
def whole(home: Path, night: Night) -> tuple[Path, dict[str, Any]]:
    """The complete reduction by one command: directory and record."""
    out = home / "one"
    assert main(["run", str(home / "playdata"), "-o", str(out), "-q"]) == 0
    return out, json.loads((out / "run.json").read_text())


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], whole: Any) -> Call:
    def call(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main([str(w) for w in words])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def files(home: Path, night: Night) -> list[str]:
    return [f"../playdata/{p.name}" for p in sorted((home / "playdata").glob("*.fits"))]


def made(whole: tuple[Path, dict[str, Any]]) -> dict[str, str]:
    return {t["products"][0]: t["recipe"] for t in whole[1]["tasks"] if t["products"]}


def by_role(whole: tuple[Path, dict[str, Any]], role: str) -> list[str]:
    """Names of the frames that a run used in a role, sorted."""
    entries = whole[1]["files"]
    return sorted(Path(e["file"]).stem for e in entries if any(r["role"] == role for r in e["roles"]))


def first_of(cli: Call, *words: object) -> str:
    """Name of the first file of a selection, without suffix."""
    return Path(cli("select", "../playdata", *words)[1].split()[0]).stem


def test_a1_d1_one_command_makes_dark_mask_flat_science_and_standard(whole: Any) -> None:
    recipes = sorted(made(whole).values())
    assert recipes == ["make_processed_bpm", "make_processed_dark", "make_processed_flat", "reduce", "reduce"]


def test_d2_d3_d4_d18_products_are_named_after_their_first_frame(whole: Any, cli: Call) -> None:
    on = first_of(cli, "--tags", "LAMPON")
    assert first_of(cli, "--tags", "FLAT") < on  # lamp-off frames come first
    names = {
        first_of(cli, "--tags", "DARK", "--expr", "exposure_time==20") + "_dark.fits",
        f"{on}_flat.fits",
        f"{on}_bpm.fits",
        first_of(cli, "--expr", "observation_class=='science'") + "_image.fits",
        first_of(cli, "--expr", "object=='FS 17'") + "_image.fits",
    }
    assert set(made(whole)) == names == {p.name for p in whole[0].glob("*.fits")}


def test_a8_a7_d2_names_outside_in_a_list_that_select_wrote(home: Path, files: list[str], cli: Call) -> None:
    assert cli("select", *files, "--tags", "DARK", "--expr=exposure_time==20", "-o", "darks.lis")[0] == 0
    assert "\n../playdata/" in Path("darks.lis").read_text()
    assert cli("run", "@darks.lis", "-o", "lists")[0] == 0
    one = next(Path("lists").glob("*_dark.fits"))
    with fits.open(one) as here, fits.open(home / "one" / one.name) as there:
        assert np.array_equal(here["SCI"].data, there["SCI"].data)


def test_a9_d7_order_of_the_lists_does_not_choose_the_recipe(cli: Call, files: list[str]) -> None:
    cli("select", *files, "--tags", "FLAT", "-o", "flats.lis")
    cli("select", *files, "--tags", "DARK", "--expr", "exposure_time==1", "-o", "short.lis")
    found = []
    for number, words in enumerate((["@flats.lis", "@short.lis"], ["@short.lis", "@flats.lis"])):
        code, out, _ = cli("run", *words, "-r", "makeProcessedBPM", "-o", f"order{number}", "--fresh")
        assert code == 0 and out.split()[0].endswith("_bpm.fits")
        found.append(next(Path(f"order{number}").glob("*.fits")).read_bytes())
    assert found[0] == found[1]


def test_a10_a13_plan_organises_the_data(cli: Call) -> None:
    code, out, _ = cli("plan", "../playdata", "--json")
    plan = json.loads(out)
    assert code == 0 and len(plan["tasks"]) == 5
    assert all(f["fate"] for f in plan["files"])
    text = cli("plan", "../playdata")[1]
    assert "3 bpm_dark" in text and "3 lamp_on, 3 lamp_off" in text


def test_a11_e11_d19_excess_of_exposure_time_is_close_enough(whole: Any, cli: Call) -> None:
    dark = next(n for n, r in made(whole).items() if r == "make_processed_dark")
    (science,) = [t for t in whole[1]["tasks"] if t["recipe"] == "reduce" and not t["degraded"]]
    assert dark in [c["file"] for c in science["calibrations"]]
    rows = json.loads(cli("show", "../playdata", "-k", "EXPTIME", "--json")[1])
    assert {20.002, 1.001} <= {r["EXPTIME"] for r in rows}
    header = fits.getheader(whole[0] / science["products"][0])
    assert header["DARKCOR"] == dark or "SKIPPED" not in str(header["DARKCOR"])


def test_b2_b18_d3_flats_are_flat_and_image(cli: Call) -> None:
    images = cli("select", "../playdata", "--tags", "IMAGE")[1].split()
    flats = cli("select", "../playdata", "--tags", "FLAT")[1].split()
    rest = cli("select", "../playdata", "--tags", "IMAGE", "--xtags", "FLAT")[1].split()
    assert set(flats) < set(images) and set(rest) == set(images) - set(flats)


def test_b3_b4_select_as_in_the_tutorials(files: list[str], cli: Call) -> None:
    assert len(nirred.select(files, ["DARK"], [], "exposure_time==20")) == 3
    assert len(nirred.select(files, ["DARK"], [], "exposure_time==20", True)) == 0
    assert len(nirred.select(files, [], ["DARK", "FLAT"], 'object=="FS 17"')) == 5


def test_b12_b17_three_ways_to_the_science_frames(cli: Call) -> None:
    ways = (
        ["--expr", 'observation_class=="science"'],
        ["--tags", "IMAGE", "--xtags", "FLAT", "--expr", 'object!="FS 17"'],
        ["--expr", 'object=="NGC simulated" and (filter_name=="K(short)" and exposure_time==20)'],
    )
    found = [cli("select", "../playdata", *words)[1] for words in ways]
    assert len(found[0].split()) == 6 and found[0] == found[1] == found[2]


def test_b13_b14_a_selection_is_piped_into_a_table(cli: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    names = cli("select", "../playdata", "--tags", "DARK")[1]
    monkeypatch.setattr("sys.stdin", io.StringIO(names))
    code, out, _ = cli("show", "-d", "observation_class,exposure_time")
    lines = out.splitlines()
    assert code == 0 and lines[1].split() == ["filename", "observation_class", "exposure_time"]
    assert [line.split()[2] for line in lines[3:]] == ["20.002"] * 3 + ["1.001"] * 3


def test_b15_descriptors_without_pixels(files: list[str], tmp_path: Path, night: Night) -> None:
    head = tmp_path / "head.fits.gz"
    import gzip

    head.write_bytes(gzip.compress(Path(files[0]).read_bytes()[: 2880 * 12])[:-20])  # pixels are missing
    assert nirred.open(head).descriptors.exposure_time == nirred.open(files[0]).descriptors.exposure_time == 20.002


def test_b16_d20_c18_partner_calibrations_are_standards(whole: Any, cli: Call) -> None:
    roles = json.loads(cli("show", "../playdata", "-d", "role,observation_class", "--json")[1])
    assert {r["role"] for r in roles if r["observation_class"] == "partnerCal"} == {"standard"}
    (standard,) = [t for t in whole[1]["tasks"] if t["recipe"] == "reduce" and t["degraded"]]
    with fits.open(whole[0] / standard["products"][0]) as hdus:
        assert hdus[0].header["OBJECT"] == "FS 17"
        assert str(hdus[0].header["DARKCOR"]).startswith("SKIPPED")  # no dark of 10 s: reported, but not an error


def test_d6_names_are_printed_and_kept(cli: Call, files: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    darks = nirred.select(files, ["DARK"], [], "exposure_time==20")
    result = nirred.run(darks, out="api", log_file="mine.log")  # F2
    assert result.output_filenames == [p.name for p in result.products.values()]
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")  # F3: no output unless requested
    assert all(json.loads(line)["time"] for line in Path("mine.log").read_text().splitlines())
    assert not Path("api/nirred.log").exists()
    code, out, err = cli("run", *darks, "-o", "api2")
    assert code == 0 and out.splitlines()[0].startswith(str(Path("api2") / result.output_filenames[0]))
    assert Path("api2/nirred.log").is_file()  # F5
    assert len(set(out.splitlines())) == len(out.splitlines()) and out.count("_dark.fits") == 1


def test_d14_d15_d16_d17_the_stack(whole: Any) -> None:
    name = next(t["products"][0] for t in whole[1]["tasks"] if t["recipe"] == "reduce" and not t["degraded"])
    with fits.open(whole[0] / name) as hdus:
        assert [h.name for h in hdus[1:4]] == ["SCI", "VAR", "DQ"]
        assert hdus["SCI"].header["BUNIT"] == "electron"
        sci, var, exposures = (hdus[e].data for e in ("SCI", "VAR", "NEXP"))
    assert sci.shape[0] > 256 and sci.shape[1] > 256
    full, few = exposures == exposures.max(), exposures == 1
    assert few.sum() > 100 and full.sum() > 1000
    assert np.median(var[few & np.isfinite(var)]) > 1.5 * np.median(var[full])


def test_d10_a_flat_is_lamp_on_minus_lamp_off_with_a_median_of_1(whole: Any) -> None:
    name = next(n for n, r in made(whole).items() if r == "make_processed_flat")
    assert abs(np.nanmedian(fits.getdata(whole[0] / name, "SCI")) - 1.0) < 0.01


def test_d11_e14_mask_from_flats_and_short_darks_is_used_at_once(whole: Any) -> None:
    name = next(n for n, r in made(whole).items() if r == "make_processed_bpm")
    users = [t for t in whole[1]["tasks"] if t["recipe"] != "make_processed_bpm"]
    used = [t["recipe"] for t in users if name in [c["file"] for c in t["calibrations"]]]
    assert sorted(used) == ["make_processed_flat", "reduce", "reduce"]
    assert len(by_role(whole, "bpm_dark")) == 3


def test_e1_c13_e12_e13_lines_of_the_tutorial(whole: Any, cli: Call, files: list[str]) -> None:
    bpm, flat = (next(whole[0].glob(f"*_{kind}.fits")) for kind in ("bpm", "flat"))
    cli("select", *files, "--expr", 'object=="FS 17"', "-o", "std.lis")
    words = ["-p", f"addDQ:user_bpm={bpm}", "darkCorrect:do_cal=skip", "--user_cal", f"processed_flat:{flat}"]
    code, out, err = cli("run", "@std.lis", *words, "-o", "pasted")
    assert code == 0, err
    assert "degraded" not in out and "SKIPPED: by the user" in out
    name = out.split()[0]
    assert fits.getheader(name)["FLATCOR"] == flat.name


def test_e3_e7_params_are_those_of_the_file(cli: Call, files: list[str]) -> None:
    rows = {r["name"]: r for r in json.loads(cli("params", files[0], "associateSky", "--json")[1])}
    assert rows["time"]["value"] == 900.0 and rows["time"]["origin"] == "plugin niri"
    assert cli("params", files[0], "skyCorrect")[0] == 0


def test_e5_frames_on_and_off_target_are_told_apart(whole: Any, night: Night) -> None:
    group = night.groups["offset"]
    assert by_role(whole, "object") == sorted(Path(n).stem for n in group.objects)
    assert by_role(whole, "sky") == sorted(Path(n).stem for n in group.skies)


def test_e6_dithered_frames_are_sky_for_each_other(whole: Any, night: Night) -> None:
    assert by_role(whole, "both") == sorted(Path(n).stem for n in night.groups["standard"].objects)


def test_d8_d22_recipes_and_steps_by_name(cli: Call, files: list[str]) -> None:
    code, out, _ = cli("run", *files[:6], "-r", "checkWCS", "-o", "wcs")
    assert code == 0 and "agrees with the pointing" in out and not list(Path("wcs").glob("*.fits"))
    code, _, err = cli("run", *files[:6], "-r", "makeProcesedBPM", "-o", "wcs")
    assert code == 2 and "make_processed_bpm" in err


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (2, ["-p", "skyCorrect:scale_skies=False"]),
        (4, ["--only", 'observation_class=="nothing"']),
        (5, ["--only", 'observation_class=="science"']),
        (1, ["--only", 'observation_type!="FLAT"', "-p", "stackDarks:skip=False"]),
    ],
)
def test_exit_codes_of_runs(cli: Call, code: int, words: list[str]) -> None:
    found, _, err = cli("run", "../playdata", "-o", f"code{code}", "-q", *words)
    assert found == code, err


def test_exit_codes_of_files(cli: Call, tmp_path: Path, files: list[str]) -> None:
    junk = tmp_path / "junk"
    junk.mkdir()
    (junk / "a.fits").write_text("no FITS")
    (junk / "b.fits").write_bytes(b"")
    code, out, err = cli("run", junk, "-o", "junk")
    assert code == 4 and "unreadable" in out and "Traceback" not in err
    assert cli("run", tmp_path / "absent", "-o", "junk")[0] == 4
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name in nirred.select(files, ["DARK"], [], "exposure_time==20"):
        content = Path(name).read_bytes()
        (damaged / Path(name).name).write_bytes(content)
    (damaged / "x.fits").write_text("rubbish")
    assert cli("run", damaged, "-o", "mixed", "-q")[0] == 0
    assert cli("run", damaged, "-o", "mixed", "-q", "--strict")[0] == 4
    one = nirred.select(files, [], [], 'observation_class=="science"')[:1]
    words = ["--allow-missing", "flat", "--allow-missing", "dark", "-o", "alone", "-q"]
    assert cli("run", *one, *words)[0] == 6  # no sky


@pytest.mark.slow
def test_e4_a_target_that_fills_the_field_keeps_its_flux(tmp_path: Path) -> None:
    """By default and as chosen by the user: the level agrees with the truth within its stated error."""
    from nirred.testing.accuracy import measure
    from nirred_niri.simulation import simulation

    few = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}
    night = simulate_night(simulation(), tmp_path, scenario="filling", frames=(3, 3), seed=3, size=256, **few)
    levels = []
    for name, params in (("default", {}), ("given", {"skyCorrect:scale_sky": False})):
        result = nirred.run(night.raw_dir, out=tmp_path / name, params=params)
        assert result.exit_code == 0
        figures = measure(tmp_path / name / night.groups["filling"].product, night, "filling")
        assert abs(figures.level.value) < 2 * figures.level.error
        levels.append(figures.level.value)
    assert levels[0] == pytest.approx(levels[1], abs=1.0)
