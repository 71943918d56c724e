"""Recipes other than `reduce`, the user's own recipes and single steps, on small simulated nights."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred
from nirred.errors import ConfigError
from nirred.testing.accuracy import measure
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night

pytest.importorskip("nirred_niri")
GAIN = 12.3
FRAMES = 8


@pytest.fixture(scope="module", autouse=True)
def no_configuration(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIRRED_CONFIG", os.devnull)
        yield


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    from nirred_niri.simulation import simulation

    return simulate_night(
        simulation(), tmp_path_factory.mktemp("night"), scenario="dither", frames=FRAMES, seed=3, size=256
    )


@pytest.fixture(scope="module")
def whole(night: Night, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The night reduced by default."""
    return nirred.run(night.raw_dir, out=tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="module")
def calibrations(whole: Any) -> dict[str, Path]:
    return {k: next(p for n, p in whole.products.items() if n.endswith(f"_{k}")) for k in ("dark", "flat", "bpm")}


def science(night: Night) -> list[Path]:
    return [night.raw_dir / name for name in night.groups["dither"].objects]


def product(result: Any, suffix: str) -> Path:
    assert result.exit_code == 0, result.messages
    return next(p for n, p in result.products.items() if n.endswith(suffix))


def task(result: Any, recipe: str) -> dict[str, Any]:
    return next(t for t in result.record["tasks"] if t["recipe"] == recipe)


def test_a_recipe_of_ones_own(night: Night, tmp_path: Path) -> None:
    """Steps dropped, a parameter set: the plan looks only for calibrations that the recipe uses, for any file name."""
    from nirred.recipe_files import recipe_toml
    from nirred.recipes import REDUCE

    kept = [c for c in REDUCE.steps if c.step not in ("flat_correct", "make_catalogue")]
    steps = tuple(replace(c, params=(("max_stars", 50),)) if c.step == "detect_sources" else c for c in kept)
    (tmp_path / "My.toml").write_text(recipe_toml(replace(REDUCE, steps=steps)))
    made = nirred.run(science(night), recipe=str(tmp_path / "My.toml"), out=tmp_path)
    with fits.open(product(made, "_image")) as hdus:
        assert "OBJCAT" not in hdus and "FLATCOR" not in hdus[0].header
        said = {row["name"]: (row["value"], row["origin"]) for row in hdus["PROVENANCE"].data}
    assert said["detect_sources:max_stars"] == ("50", "recipe reduce")
    assert {m["kind"] for m in task(made, "reduce")["missing"]} == {"dark", "bpm"}


def test_a_recipe_for_calibrations_takes_their_frames(night: Night, tmp_path: Path) -> None:
    text = 'name = "quick_dark"\nmakes = "dark"\n' + "".join(
        f'[[steps]]\nstep = "{s}"\n' for s in ("prepare", "adu_to_electrons", "stack_darks", "store_processed_dark")
    )
    (tmp_path / "quick.toml").write_text(text)
    made = nirred.run(night.raw_dir, recipe=str(tmp_path / "quick.toml"), out=tmp_path)
    assert {t["recipe"] for t in made.record["tasks"]} == {"quick_dark"} and len(made.products) == 2
    (tmp_path / "wrong.toml").write_text('[[steps]]\nstep = "stack_darkz"\n')
    with pytest.raises(ConfigError, match="stack_darks"):
        nirred.run(night.raw_dir, recipe=str(tmp_path / "wrong.toml"), out=tmp_path)


def test_a_skipped_calibration_is_not_missing(night: Night, calibrations: dict[str, Path], tmp_path: Path) -> None:
    cal = {k: calibrations[k] for k in ("flat", "bpm")}
    inputs, params = science(night), {"darkCorrect:do_cal": "skip"}
    made = nirred.run(inputs, params=params, user_cal=cal, out=tmp_path / "a", strict=True)
    assert not made.record["degraded"]
    assert fits.getval(product(made, "_image"), "DARKCOR") == "SKIPPED: by the user"
    assert nirred.run(inputs, user_cal=cal, out=tmp_path / "b", strict=True).exit_code == 5


def test_a_parameter_that_no_planned_step_has_is_refused(night: Night, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unused parameter"):
        nirred.run(night.raw_dir, "makeProcessedDark", params={"skyCorrect:scale_sky": False}, out=tmp_path)


def test_check_wcs_lists_what_it_finds_and_writes_nothing(night: Night, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for path in science(night):
        shutil.copy(path, raw)
    astray = science(night)[2].name
    with fits.open(raw / astray, mode="update") as hdus:
        for hdu in hdus:
            hdu.header["CRVAL1"] += 0.2
    made = nirred.run(raw, recipe="checkWCS", out=tmp_path / "out")
    found = task(made, "check_wcs")
    assert (made.exit_code, found["outcome"], found["products"]) == (0, "done", [])
    assert any(astray in r and "arcsec" in r for r in found["remarks"])
    assert any(f"{FRAMES - 1} of {FRAMES} frames" in r for r in found["remarks"])
    assert not list((tmp_path / "out").glob("*.fits"))


def test_pieces_stacked_are_one_stack_within_noise(
    night: Night, whole: Any, calibrations: dict[str, Path], tmp_path: Path
) -> None:
    frames, pieces = science(night), tmp_path / "pieces"
    pieces.mkdir()
    for half in (frames[:4], frames[4:]):
        made = nirred.run(half, user_cal=calibrations, out=tmp_path / half[0].stem)
        shutil.copy(product(made, "_image"), pieces)
    again = product(nirred.run(pieces, recipe="alignAndStack", out=tmp_path / "out"), "_stack")
    with fits.open(again) as b, fits.open(product(whole, "_image")) as a:
        assert b[0].header["NCOMBINE"] == FRAMES and b[0].header["EXPTIME"] == a[0].header["EXPTIME"]
        assert b[0].header["TEXPTIME"] == pytest.approx(a[0].header["TEXPTIME"])
        assert len(b["FRAMES"].data) == 2 and b["NEXP"].data.max() == FRAMES
        var = [np.median(h["VAR"].data[h["NEXP"].data == FRAMES]) for h in (a, b)]
        assert 0.98 < var[1] / var[0] < 1.10  # half as many sky frames each
        for h in (a, b):
            deep = (h["NEXP"].data == FRAMES) & (h["DQ"].data == 0)
            pull = h["SCI"].data[deep] / np.sqrt(h["VAR"].data[deep]) / h[0].header["CORRFAC"]
            low, high = np.percentile(pull, [16, 50])
            assert 0.85 < high - low < 1.15
        one, other = (h["OBJCAT"].data for h in (a, b))
        away = np.hypot(
            (one["X_WORLD"][:, None] - other["X_WORLD"]) * np.cos(np.radians(one["Y_WORLD"][:, None])),
            one["Y_WORLD"][:, None] - other["Y_WORLD"],
        )
        near = away.argmin(axis=1)
        same = (away.min(axis=1) < 0.3 / 3600) & (one["FLUX_AUTO"] > 30 * one["FLUXERR_AUTO"])
        assert same.sum() >= 3
        assert np.median(other["FLUX_AUTO"][near][same] / one["FLUX_AUTO"][same]) == pytest.approx(1.0, abs=0.01)


def test_pieces_of_another_program(whole: Any, tmp_path: Path) -> None:
    """SCI, VAR and DQ in electrons, PREPARE in the primary: accepted only by this recipe."""
    with fits.open(product(whole, "_image")) as own:
        keep = fits.HDUList([own[0].copy(), *(own[n].copy() for n in ("SCI", "VAR", "DQ"))])
        for key in ("NIRRED", "NIRKIND"):
            del keep[0].header[key]
        sci, rng = keep["SCI"].data.copy(), np.random.default_rng(5)
        keep["VAR"].data *= 26.0  # mostly independent noise: the same image twice would not average down
        for number in (1, 2):
            keep[0].header["DATALAB"] = f"x-{number}"
            keep["SCI"].data = sci + rng.normal(0, np.sqrt(keep["VAR"].data * 25 / 26)).astype(np.float32)
            keep.writeto(tmp_path / f"part{number}_image.fits")
    made = nirred.run(tmp_path, recipe="align_and_stack", out=tmp_path / "out")
    with fits.open(product(made, "_stack")) as hdus:
        assert np.nanmedian(hdus["VAR"].data / keep["VAR"].data) == pytest.approx(0.5, rel=0.02)
        assert hdus["NEXP"].data.max() == 2
    assert nirred.run(tmp_path, out=tmp_path / "none").exit_code == 4


def test_pieces_that_do_not_fit_are_named(whole: Any, tmp_path: Path) -> None:
    """Repeated frames are reported; a rotated stack is left out, and so is one in ADU."""
    source = product(whole, "_image")
    for number in range(4):
        with fits.open(source) as hdus:
            hdus[0].header["DATALAB"] = f"x-{number}"
            if number == 2:
                sci = hdus["SCI"].header
                scale = abs(sci.get("CD2_2", sci.get("PC2_2")))
                sci["CD1_2" if "CD2_2" in sci else "PC1_2"] = 0.02 * scale
                sci["CD2_1" if "CD2_2" in sci else "PC2_1"] = 0.02 * scale
            if number == 3:
                hdus["SCI"].header["BUNIT"] = "adu"
            hdus.writeto(tmp_path / f"part{number}_image.fits")
    made = nirred.run(tmp_path, recipe="align_and_stack", out=tmp_path / "out")
    remarks = " ".join(task(made, "align_and_stack")["remarks"])
    assert "same raw frames" in remarks and "part2_image.fits left out: turned" in remarks
    assert "part3_image.fits left out" in remarks
    fates = {Path(f["file"]).name: f["fate"] for f in made.record["files"]}
    assert fates == {"part0_image.fits": "used", "part1_image.fits": "used"} | {
        "part2_image.fits": "rejected",
        "part3_image.fits": "failed",
    }


def test_nothing_to_align_is_no_group(night: Night, tmp_path: Path) -> None:
    assert nirred.run(science(night), recipe="alignAndStack", out=tmp_path).exit_code == 4


def test_ultradeep_in_one_and_by_the_names_of_its_parts(
    night: Night, calibrations: dict[str, Path], tmp_path: Path
) -> None:
    made = nirred.run(science(night), recipe="ultradeep_part3", user_cal=calibrations, out=tmp_path)
    assert task(made, "ultradeep")["outcome"] == "done"
    assert measure(product(made, "_image"), night, "dither").depth.value > 0.85


def test_a_sky_flat_is_flat_and_serves_as_one(night: Night, calibrations: dict[str, Path], tmp_path: Path) -> None:
    cal = {k: calibrations[k] for k in ("dark", "bpm")}
    flat = product(nirred.run(science(night), recipe="makeSkyFlat", user_cal=cal, out=tmp_path), "_skyflat")
    with fits.open(flat) as sky, fits.open(calibrations["flat"]) as lamp:
        good = (sky["DQ"].data == 0) & (lamp["DQ"].data == 0)
        ratio = (sky["SCI"].data / lamp["SCI"].data)[good]
        error = np.median(np.sqrt(sky["VAR"].data[good]))
        assert np.median(sky["SCI"].data[good]) == pytest.approx(1.0, abs=0.01)
        low, _, high = np.percentile(ratio, [16, 50, 84])
        assert 0.5 * (high - low) < 1.5 * np.hypot(error, 0.005)
        assert good.mean() > 0.85
    shutil.copytree(night.raw_dir, tmp_path / "raw", ignore=lambda _, names: flats(night, names))
    shutil.copy(flat, tmp_path / "raw")
    made = nirred.run(tmp_path / "raw", out=tmp_path / "out")
    chosen = [c["file"] for c in task(made, "reduce")["calibrations"] if c["kind"] == "flat"]
    assert [Path(c).name for c in chosen] == [flat.name]
    assert fits.getval(product(made, "_image"), "FLATCOR") == flat.name


def flats(night: Night, names: list[str]) -> set[str]:
    return {n for n in names if fits.getval(night.raw_dir / n, "OBSTYPE") == "FLAT"}


def test_steps_by_themselves(night: Night, calibrations: dict[str, Path], tmp_path: Path) -> None:
    first = science(night)[0]
    made = nirred.run(first, recipe="darkCorrect", user_cal=calibrations, out=tmp_path / "dark")
    path = product(made, "_dark_correct")
    assert path.name == f"{first.stem}_dark_correct.fits"
    with fits.open(path) as hdus, fits.open(first) as raw, fits.open(calibrations["dark"]) as dark:
        assert hdus["SCI"].header["BUNIT"] == "electron"
        assert np.allclose(hdus["SCI"].data, raw[1].data * GAIN - dark["SCI"].data, atol=0.1)
    made = nirred.run(science(night), recipe="detectSources", user_cal=calibrations, out=tmp_path / "stars")
    assert len(made.products) == FRAMES
    with fits.open(product(made, "_detect_sources")) as hdus:
        assert len(hdus["OBJCAT"].data) > 3 and "VAR" in hdus and "CD1_1" in hdus["SCI"].header
    made = nirred.run(first, recipe="getBPM", user_cal=calibrations, out=tmp_path / "bpm")
    assert made.exit_code == 0 and not made.products
    assert any(calibrations["bpm"].name in m for m in made.messages)
    made = nirred.run(first, recipe="getBPM", user_bpm=calibrations["bpm"], out=tmp_path / "own")
    assert [m for m in made.messages if "user_bpm" in m and calibrations["bpm"].name in m]
    assert not any("no rule" in m for m in made.messages)
    with pytest.raises(ConfigError, match="detect_sources"):
        nirred.run(first, recipe="detectSurces", out=tmp_path)
    with pytest.raises(ConfigError, match="in no recipe"):
        nirred.run(first, recipe="write_frames", out=tmp_path)


def test_a_step_on_calibration_frames_alone(night: Night, tmp_path: Path) -> None:
    darks = [p for p in sorted(night.raw_dir.iterdir()) if fits.getval(p, "OBSTYPE") == "DARK"][:3]
    made = nirred.run(darks, recipe="ADUToElectrons", out=tmp_path)
    with fits.open(product(made, "_adu_to_electrons")) as hdus, fits.open(darks[0]) as raw:
        assert np.allclose(hdus["SCI"].data, raw[1].data * GAIN, rtol=1e-6)
    assert len(made.products) == 3


def test_readout_pattern_is_removed_when_asked(night: Night, calibrations: dict[str, Path], tmp_path: Path) -> None:
    """A pattern that changes sign from frame to frame, so that the sky does not contain it."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for number, path in enumerate(science(night)):
        with fits.open(path) as hdus:
            wave = np.sin(2 * np.pi * (np.arange(256) + 4 * (number % 2)) / 8.0)[None, :] * np.ones((256, 1))
            hdus[1].data = hdus[1].data + (8.0 * wave).astype(hdus[1].data.dtype)
            hdus.writeto(raw / path.name)
    scatter = {}
    for clean in ("skip", "default"):
        params = {"cleanReadout:clean": clean}
        made = nirred.run(raw, params=params, user_cal=calibrations, out=tmp_path / clean)
        with fits.open(product(made, "_image")) as hdus:
            deep = (hdus["NEXP"].data == FRAMES) & (hdus["DQ"].data == 0)
            low, high = np.percentile(hdus["SCI"].data[deep], [16, 50])
            scatter[clean] = high - low
            counted = hdus[0].header.get("READCLN")
    assert counted == FRAMES
    assert scatter["default"] < 0.8 * scatter["skip"]


def test_sub_arrays_take_the_middle_of_full_frame_calibrations(
    night: Night, calibrations: dict[str, Path], tmp_path: Path
) -> None:
    middle = np.s_[384:640, 384:640]
    cut = {}
    for kind in ("flat", "bpm"):
        with fits.open(calibrations[kind]) as hdus:
            for hdu in hdus[1:]:
                if hdu.name in ("SCI", "VAR", "DQ"):
                    full = np.full((1024, 1024), 7, hdu.data.dtype)
                    full[middle] = hdu.data
                    hdu.data = full
            hdus.writeto(tmp_path / f"full_{kind}.fits")
        cut[kind] = tmp_path / f"full_{kind}.fits"
    inputs, dark = science(night)[:4], {"dark": calibrations["dark"]}
    made = nirred.run(inputs, user_cal=cut | dark, out=tmp_path / "full")
    same = nirred.run(inputs, user_cal=calibrations, out=tmp_path / "small")
    with fits.open(product(made, "_image")) as a, fits.open(product(same, "_image")) as b:
        assert np.array_equal(a["SCI"].data, b["SCI"].data, equal_nan=True)
        assert np.array_equal(a["DQ"].data, b["DQ"].data)


def test_coadds_and_modes_without_a_linearity_curve(tmp_path: Path) -> None:
    """Three coadds of 20 s: levels, noise and exposure time are those of the sum; 512 x 512 has no curve."""
    from nirred_niri.simulation import simulation

    camera = simulation()
    settings = {k: replace(s, coadds=3) for k, s in camera.settings.items()}
    camera = replace(camera, settings=settings, resized=None)
    camera = replace(camera, resized=lambda size: replace(simulation().resized(size), settings=settings))
    night = simulate_night(camera, tmp_path / "night", scenario="dither", frames=5, seed=2, size=256)
    image = product(nirred.run(night.raw_dir, out=tmp_path / "out"), "_image")
    with fits.open(image) as hdus:
        header = hdus[0].header
        assert header["COADDS"] == 3 and header["EXPTIME"] == pytest.approx(3 * 20.002)
        assert header["TEXPTIME"] == pytest.approx(15 * 20.002)
        deep = (hdus["NEXP"].data == 5) & (hdus["DQ"].data == 0)
        pull = hdus["SCI"].data[deep] / np.sqrt(hdus["VAR"].data[deep]) / header["CORRFAC"]
        low, high = np.percentile(pull, [16, 50])
    assert 0.85 < high - low < 1.15
    assert abs(measure(image, night, "dither").flux_bias.value) < 1.0
