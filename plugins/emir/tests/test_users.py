"""What users of the observatory's pipeline count on: distortion, masters of their own making, options, open files."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

import nirred
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_emir.commands import dithered
from nirred_emir.detector import H2RG
from nirred_emir.simulation import DISTORTION, REFERENCE, simulation

METHODS = ("none", "interp", "adaptive", "exact", "")


def block(name: str, mode: str, frames: Sequence[str], **requirements: Any) -> str:
    lines = [f"id: {name}", "instrument: EMIR", f"mode: {mode}", "frames:", *(f" - {f}" for f in frames)]
    lines += ["requirements:", *(f"  {k}: {v}" for k, v in requirements.items())] if requirements else []
    return "\n".join(lines) + "\n"


# -- G8, G3, G7: distortion ---------------------------------------------------------------------------------------
SIDE, FLUX, SKY, GAIN = 224, 20000.0, 300.0, 5.0


def corner(path: Path) -> tuple[WCS, np.ndarray]:
    """A frame of the field's upper right corner, ADU: a sky of even brightness, stars of one flux; and a flat.

    The flat is one of even brightness, as bright as pixels are large: by 11 % from corner to corner.
    """
    cards = fits.Header(
        {
            "INSTRUME": "EMIR",
            "INSCONF": H2RG.uuid,
            "OBSMODE": "STARE_IMAGE",
            "READMODE": "RAMP",
            "FILTER": "J",
            "GRISM": "OPEN",
            "OBJECT": "corner",
            "DATE-OBS": "2024-02-01T00:00:00",
            "EXPTIME": 10.0,
            "RA": "02:40:00",
            "DEC": "-01:30:00",
            "AIRMASS": 1.1,
            "CTYPE1": "RA---ZPN",
            "CTYPE2": "DEC--ZPN",
            "CRVAL1": 40.0,
            "CRVAL2": -1.5,
            "CD1_1": -5.396e-5,
            "CD1_2": 0.0,
            "CD2_1": 0.0,
            "CD2_2": -5.396e-5,
            "CRPIX1": REFERENCE[0] - (2048 - SIDE),
            "CRPIX2": REFERENCE[1] - (2048 - SIDE),
        }
    )
    cards.update({f"PV2_{m}": value for m, value in DISTORTION})
    wcs = WCS(cards)
    y, x = np.mgrid[:SIDE, :SIDE].astype(float)
    ra, dec = wcs.wcs_pix2world(x, y, 0)
    east = np.array(np.gradient(ra)) * np.cos(np.radians(-1.5))
    north = np.array(np.gradient(dec))
    area = np.abs(east[0] * north[1] - east[1] * north[0])
    area /= area[SIDE // 2, SIDE // 2]
    image = SKY * area
    places = np.array([(px, py) for px in (45, 112, 179) for py in (45, 112, 179)], float)
    for px, py in places:
        image += FLUX / (2 * np.pi * 2.5**2) * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * 2.5**2))
    fits.writeto(path, image.astype(np.float32), cards)
    fits.writeto(path.parent / "even.fits", area.astype(np.float32), cards[:2])
    return wcs, np.array(wcs.wcs_pix2world(places, 0))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    """The corner, reduced with every method, with a flat and, in `bare`, without."""
    home = tmp_path_factory.mktemp("corner")
    (home / "data").mkdir()
    _, places = corner(home / "data" / "corner.fits")
    for folder, flat in (("flat", {"master_flat": "even.fits"}), ("bare", {})):
        blocks = [block(m or "ours", "STARE_IMAGE", ["corner.fits"], **flat, **_asked(m)) for m in METHODS]
        (home / "all.yaml").write_text("---\n".join(blocks))
        options: dict[str, Any] = {"basedir": home, "library": None, "allow_missing": ("flat",), "report": False}
        result = nirred.run([home / "all.yaml"], out=home / folder, jobs=1, **options)
        assert result.exit_code == 0, result.messages
    return home, places


def _asked(method: str) -> dict[str, str]:
    return {"reprojection_method": method} if method else {}


@pytest.mark.parametrize("folder", ["flat", "bare"])
@pytest.mark.parametrize("method", METHODS)
def test_g7_g8_flux_and_sky_keep_through_the_distortion(
    drawn: tuple[Path, np.ndarray], method: str, folder: str
) -> None:
    """A star of the corner keeps its flux, its place and, without distortion, stands on an even sky."""
    home, places = drawn
    with fits.open(home / folder / f"obsid{method or 'ours'}_results" / "reduced_image.fits") as hdus:
        image, wcs = hdus["SCI"].data, WCS(hdus["SCI"].header)
    y, x = np.indices(image.shape)
    found = wcs.wcs_world2pix(places, 0)
    distances = [np.hypot(x - px, y - py) for px, py in found]
    blank = np.isfinite(image) & (np.min(distances, axis=0) > 22)
    terms = np.stack([np.ones(x.shape), x, y, x * x, x * y, y * y], axis=-1)
    left = image - terms @ np.linalg.lstsq(terms[blank], image[blank], rcond=None)[0]
    edges = [np.median(image[blank & (np.hypot(x - c, y - c) < 45)]) for c in (30, SIDE - 30)]
    if method == "none":
        assert (image.shape, wcs.wcs.ctype[0]) == ((SIDE, SIDE), "RA---ZPN")
        assert edges[1] / edges[0] == pytest.approx(1.0 if folder == "flat" else 0.96, abs=0.01)
    else:
        assert wcs.wcs.ctype[0][-3:] == "TAN"
        assert edges[1] / edges[0] == pytest.approx(1.0, abs=1e-3)
    sizes = np.ones(len(found))
    if method == "none" and folder == "flat":  # a pixel's brightness, where pixels differ in size
        sizes = fits.getdata(home / "data" / "even.fits")[tuple(np.round(found[:, ::-1]).astype(int).T)]
    fluxes = []
    for distance, (px, py) in zip(distances, found, strict=True):
        near = distance < 14
        flux = float(np.nansum(left[near]))
        fluxes.append(flux)
        at = [float(np.nansum(axis[near] * left[near]) / flux) for axis in (x, y)]
        assert at == pytest.approx([px, py], abs=0.02)
    assert fluxes * sizes / np.mean(fluxes * sizes) == pytest.approx(1.0, abs=0.004)


# -- A14: several exposures of a position -------------------------------------------------------------------------
def test_a14_exposures_of_a_position_share_the_skys_noise(tmp_path: Path) -> None:
    """Four positions, three exposures each, on a pattern that the sky must follow: VAR is what pixels scatter by."""
    rng, side = np.random.default_rng(3), 160
    pattern, lines = 7000.0 * (1 + 0.03 * rng.standard_normal((side, side))), []
    (tmp_path / "data").mkdir()
    for k, (dx, dy) in enumerate([(0, 0), (40, -30), (-35, 20), (25, 38)]):
        ra, dec = 40.0 + dx * 5.396e-5, -1.5 + dy * 5.396e-5
        cards = fits.Header(
            {
                "INSTRUME": "EMIR",
                "INSCONF": H2RG.uuid,
                "OBSMODE": "STARE_IMAGE",
                "READMODE": "RAMP",
                "FILTER": "J",
                "GRISM": "OPEN",
                "OBJECT": "blank",
                "EXPTIME": 10.0,
                "RA": ra,
                "DEC": dec,
                "CTYPE1": "RA---TAN",
                "CTYPE2": "DEC--TAN",
                "CRVAL1": ra,
                "CRVAL2": dec,
                "NEXP": 3,
                "CD1_1": -5.396e-5,
                "CD1_2": 0.0,
                "CD2_1": 0.0,
                "CD2_2": -5.396e-5,
                "CRPIX1": 80.5,
                "CRPIX2": 80.5,
            }
        )
        names = [f"{10 * k + e:010d}-20240201-EMIR-STARE_IMAGE.fits" for e in range(3)]
        for e, name in enumerate(names):
            cards["DATE-OBS"], cards["EXP"] = f"2024-02-01T00:{k:02d}:{15 * e:02d}", e + 1
            noise = np.sqrt(pattern + 28.45**2) * rng.standard_normal((side, side))
            fits.writeto(tmp_path / "data" / name, ((pattern + noise) / 5.0).astype(np.float32), cards)
        lines.append(block(f"p{k}", "STARE_IMAGE", names) + "enabled: False\n")
    wanted = {"iterations": 1, "sky_images": 6, "refine_offsets": False, "adhoc_sky_correction_h2rg": False}
    lines.append(dithered("stack", ["p0", "p1", "p2", "p3"], wanted) + "\n")
    (tmp_path / "obs.yaml").write_text("---\n".join(lines))
    options: dict[str, Any] = {"basedir": tmp_path, "library": None, "allow_missing": ("flat",), "report": False}
    result = nirred.run([tmp_path / "obs.yaml"], out=tmp_path, jobs=1, **options)
    assert result.exit_code == 0, result.messages
    with fits.open(result.products["stack_image"]) as hdus:
        whole = hdus["NEXP"].data == 12
        pulls = (hdus["SCI"].data / np.sqrt(hdus["VAR"].data))[whole]
        shown = hdus["SCI"].header["CORRFAC"]
    assert whole.sum() > 5000
    assert np.std(pulls) / shown == pytest.approx(1.0, abs=0.04)


# -- IMAGE_DARK, IMAGE_BIAS, IMAGE_FLAT, IMAGE_SKY ----------------------------------------------------------------
@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    few: dict[str, Any] = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}
    home = tmp_path_factory.mktemp("users")
    return simulate_night(simulation(H2RG, 128), home, scenario="dither", frames=5, seed=6, density=1500.0, **few)


def frames_of(night: Night, kind: str, seconds: int = 0) -> list[str]:
    return [f.file for f in night.frames.values() if f.kind == kind and seconds in (0, round(f.exposure_time))]


@pytest.fixture(scope="module")
def made(night: Night) -> Path:
    """Blocks that make masters, and a stack and a single position after them, without control file."""
    science = list(night.groups["dither"].objects)
    blocks = [
        block("stack", "FULL_DITHERED_IMAGE", science),
        block("one", "STARE_IMAGE", science[:1]),
        block("long", "IMAGE_DARK", frames_of(night, "dark", 30)),
        block("lampless", "IMAGE_DARK", frames_of(night, "dark", 5)),
        block("zero", "IMAGE_BIAS", frames_of(night, "short_dark")),
        block("even", "IMAGE_FLAT", frames_of(night, "lamp_on")),
        block("sky", "IMAGE_SKY", science),
    ]
    path, out = night.directory / "masters.yaml", night.directory / "made"
    path.write_text("---\n".join(blocks))
    result = nirred.run([path], out=out, datadir=night.raw_dir, library=None, jobs=1, report=False)
    assert result.exit_code == 0, result.messages
    return out


def test_masters_by_yaml_serve_the_other_blocks(night: Night, made: Path) -> None:
    """Each under the name that its users know, right to its noise; the dark of its exposure and the flat are used."""
    truth = night.detector_truth()
    dark, bias = (
        fits.getdata(made / f"obsid{name}_results" / file, "SCI")
        for name, file in (("long", "darkframe.fits"), ("zero", "biasframe.fits"))
    )
    good = ~truth.bad
    for image, seconds in ((dark, 30), (bias, 2)):
        wanted = truth.dark * seconds + truth.pattern
        assert np.median((image - wanted)[good]) == pytest.approx(0.0, abs=5.0)
    for name, file, limit in (("even", "master_flatframe.fits", 0.01), ("sky", "skyframe.fits", 0.05)):
        flat = fits.getdata(made / f"obsid{name}_results" / file, "SCI")
        ratio = flat / truth.flat
        assert np.nanstd((ratio / np.nanmedian(ratio))[good]) < limit
    tasks = {t["id"]: t for t in json.loads((made / "run.json").read_text())["tasks"]}
    for task in ("stack_image", "one_image"):
        used = {c["kind"]: c["task"] for c in tasks[task]["calibrations"]}
        assert used == {"dark": "long_dark", "flat": "even_flat"}
    assert {c["kind"]: c["task"] for c in tasks["even_flat"]["calibrations"]} == {"dark": "lampless_dark"}


def test_masters_of_earlier_runs_in_a_control_file(night: Night, made: Path, tmp_path: Path) -> None:
    """Copied beside the frames and named, they give the same stack; who named them is said."""
    data = tmp_path / "data"
    data.mkdir()
    for name in night.groups["dither"].objects:
        shutil.copy(night.raw_dir / name, data)
    shutil.copy(made / "obsidlong_results" / "darkframe.fits", data)
    shutil.copy(made / "obsideven_results" / "master_flatframe.fits", data)
    control = ["version: 1", "products:", "  EMIR:", f"    {H2RG.uuid}:"]
    control += ["    - {id: 1, type: MasterDark, tags: {}, content: darkframe.fits}"]
    (tmp_path / "control.yaml").write_text("\n".join(control) + "\n")
    flat = {"master_flat": "master_flatframe.fits"}
    text = block("stack", "FULL_DITHERED_IMAGE", night.groups["dither"].objects, **flat)
    (tmp_path / "obs.yaml").write_text(text)
    given: dict[str, Any] = {"basedir": tmp_path, "recipe": str(tmp_path / "control.yaml")}
    result = nirred.run([tmp_path / "obs.yaml"], out=tmp_path, library=None, jobs=1, report=False, **given)
    one, other = (fits.getdata(p / "stack_image.fits", "SCI") for p in (made, tmp_path))
    np.testing.assert_array_equal(one, other)
    inputs = json.loads((tmp_path / "obsidstack_results" / "task.json").read_text())["request_runinfo"]["inputs"]
    assert {k: v["source"] for k, v in inputs.items()} == {
        "master_dark": "control file",
        "master_flat": "observation block",
    }
    assert result.exit_code == 0


def simple_frame(mode: str, data: np.ndarray, minute: int) -> fits.PrimaryHDU:
    """A raw frame of a readout that contains the bias."""
    cards = {
        **{"INSTRUME": "EMIR", "INSCONF": H2RG.uuid, "OBSMODE": mode, "READMODE": "SIMPLE", "EXPTIME": 10.0},
        **{"FILTER": "J", "GRISM": "OPEN", "OBJECT": "even", "DATE-OBS": f"2024-02-01T00:{minute:02d}:00"},
        **{"RA": "02:40:00", "DEC": "-01:30:00", "AIRMASS": 1.1, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"},
        **{"CRVAL1": 40.0, "CRVAL2": -1.5, "CRPIX1": 64.0, "CRPIX2": 64.0},
        **{"CD1_1": -5.4e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": -5.4e-5},
    }
    return fits.PrimaryHDU(np.round(data).astype(np.float32), fits.Header(cards))


@pytest.mark.parametrize(("mode", "result"), [("IMAGE_FLAT", "master_flatframe"), ("IMAGE_SKY", "skyframe")])
def test_a_bias_is_subtracted_from_flats_too(tmp_path: Path, mode: str, result: str) -> None:
    """A bias of a third of the light, with a slope of its own, leaves none of it in the flat; nor does the dark."""
    rng, (y, x) = np.random.default_rng(5), np.mgrid[:128, :128] / 128.0
    truth, bias, dark = 1.0 + 0.2 * (y - 0.5), 3000.0 + 2000.0 * x, 20.0 * (1.0 + y)
    data = tmp_path / "data"
    data.mkdir()
    for k in range(4):
        light = rng.poisson(GAIN * (9000.0 + 100.0 * k) * truth + 10.0 * GAIN * dark) / GAIN
        simple_frame(mode, bias + light, k).writeto(data / f"raw{k}.fits")
    for name, image in (("bias", bias), ("dark", dark)):
        simple_frame("IMAGE_BIAS", image, 30).writeto(data / f"master_{name}.fits")
    masters = {f"master_{name}": f"master_{name}.fits" for name in ("bias", "dark")}
    (tmp_path / "obs.yaml").write_text(block("even", mode, [f"raw{k}.fits" for k in range(4)], **masters))
    done = nirred.run([tmp_path / "obs.yaml"], out=tmp_path, datadir=data, library=None, jobs=1, report=False)
    assert done.exit_code == 0, done.messages
    ratio = fits.getdata(tmp_path / "obsideven_results" / f"{result}.fits", "SCI") / truth
    assert ratio[:, :30].mean() / ratio[:, -30:].mean() == pytest.approx(1.0, abs=2e-3)
    assert ratio[:30].mean() / ratio[-30:].mean() == pytest.approx(1.0, abs=2e-3)


# -- G19, G22, G26: options and products --------------------------------------------------------------------------
def command(*words: str | Path, cwd: Path, files: int = 0) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))

    line = [sys.executable, "-m", "nirred", *map(str, words)]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=False, preexec_fn=limit)


def test_g19_g21_g22_g26_the_command_as_its_users_give_it(night: Night, tmp_path: Path) -> None:
    """From the directory of the YAML: results under BASEDIR, names below DATADIR; a picture of the product."""
    home, base = night.directory, tmp_path / "base"
    (first,) = frames_of(night, "object")[:1]
    ident = f"_{first[:10]}"
    options = ["--basedir", base, "--datadir", home / "data", "--link-files", "--library", "none", "--no-report"]
    done = command("run", "dithered_v0.yaml", "-r", "control.yaml", "-e", ident, *options, cwd=home)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--link-files and --copy-files have no effect") == 1
    for name in (ident, "_combined"):
        assert (base / f"obsid{name}_work").is_dir()
        assert (base / f"obsid{name}_results" / "result.json").is_file()
    assert not list(base.rglob("*.pkl"))
    product = base / "obsid_combined_results" / "reduced_image.fits"
    assert fits.getdata(product).shape[0] > 128, "the first image is the stack, for ds9 and getdata alike"
    with fits.open(product, checksum=True) as hdus:
        hdus.verify("exception")
        assert WCS(hdus["SCI"].header).has_celestial
    assert command("view", product, "-o", "stack.png", cwd=tmp_path).returncode == 0
    assert (tmp_path / "stack.png").read_bytes()[:4] == b"\x89PNG"


def test_g19_a_name_that_is_not_in_the_data_directory(night: Night, tmp_path: Path) -> None:
    """The file is named where it was sought, and the block that names it."""
    (tmp_path / "data").mkdir()
    shutil.copy(night.directory / "dithered_ini.yaml", tmp_path)
    done = command("run", "dithered_ini.yaml", "--library", "none", cwd=tmp_path)
    assert done.returncode == 4
    assert "dithered_ini.yaml, block 1" in done.stdout + done.stderr
    assert "data/" in done.stdout + done.stderr


@pytest.mark.slow
def test_g27_more_frames_than_files_may_be_open(tmp_path: Path) -> None:
    """Eighty children with forty open files."""
    few: dict[str, Any] = {"darks": 1, "lamps_on": 1}
    many = simulate_night(simulation(H2RG, 128), tmp_path, scenario="dither", frames=80, seed=6, density=1500.0, **few)
    options = ["--library", "none", "--no-report", "--jobs", "1"]
    done = command("run", "dithered_v4.yaml", "-r", "control.yaml", *options, cwd=many.directory, files=40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert fits.getval(many.directory / "obsid_combined_results" / "reduced_image.fits", "NCOMBINE") == 80
