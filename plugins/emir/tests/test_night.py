"""Small nights of both detectors: the observatory's masters, the user's numbers, levels, stray light, extinction."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred
from nirred.plan.planner import PlanOptions, make_plan
from nirred.plugin import Simulation
from nirred.recipe_files import recipe_toml
from nirred.recipes import recipe_for
from nirred.registry import Registry
from nirred.run.api import RunResult
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_emir.detector import H2RG, HAWAII2
from nirred_emir.simulation import simulation

SIZE, FRAMES, SECONDS = 256, 7, 29.99926
CALIBRATIONS: dict[str, Any] = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}


def night_of(camera: Simulation, home: Path) -> Night:
    return simulate_night(camera, home, scenario="dither", frames=FRAMES, seed=4, size=None, **CALIBRATIONS)


def reduce(night: Night, out: Path, raw: Path | None = None, **options: Any) -> RunResult:
    return nirred.run([raw or night.raw_dir], out=out, jobs=1, library=None, **options)


def product(result: RunResult, kind: str) -> Path:
    return next(p for p in result.products.values() if p.name.endswith(f"_{kind}.fits"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Night:
    return night_of(simulation(H2RG, SIZE), tmp_path_factory.mktemp("emir"))


@pytest.fixture(scope="module")
def reduced(night: Night) -> RunResult:
    return reduce(night, night.directory / "reduced")


@pytest.fixture(scope="module")
def masters(night: Night, reduced: RunResult) -> Path:
    """Frames with masters as the observatory's pipeline leaves them, instead of raw calibrations."""
    home = night.directory / "masters"
    home.mkdir()
    for name in night.groups["dither"].objects:
        shutil.copy(night.raw_dir / name, home)
    darks = [p for p in reduced.products.values() if p.name.endswith("_dark.fits")]
    long = next(p for p in darks if fits.getval(p, "EXPTIME") > 20)
    pixels = {
        "dark": fits.getdata(long, "SCI") / 5.0 / SECONDS,
        "flat": fits.getdata(product(reduced, "flat"), "SCI"),
        "bpm": (fits.getdata(product(reduced, "bpm"), "DQ") != 0).astype(np.float32),
    }
    for kind, data in pixels.items():
        cards = {"INSTRUME": "EMIR", "INSCONF": H2RG.uuid, "DATE-OBS": "2024-02-01T00:00:00"}
        fits.writeto(home / f"master_{kind}.fits", data.astype(np.float32), fits.Header(cards))
    return home


def steps_in_columns(stack: Path) -> float:
    """Scatter of a stack's columns beside a slow trend, electrons."""
    columns = np.nanmedian(fits.getdata(stack, "SCI"), axis=0)[60:-60]
    places = np.arange(columns.size)
    return float(np.std(columns - np.polyval(np.polyfit(places, columns, 3), places)))


def test_levels_of_channels_are_taken_off(night: Night, reduced: RunResult) -> None:
    """They scatter by 50 e- from frame to frame."""
    left = reduce(night, night.directory / "unlevelled", params={"level_amplifiers:skip": True})
    assert fits.getval(product(reduced, "image"), "AMPLEVEL") < 5
    found = [steps_in_columns(product(r, "image")) for r in (reduced, left)]
    assert found[0] < 0.5 * found[1], found


def test_masters_serve_as_they_are(night: Night, reduced: RunResult, masters: Path) -> None:
    """ADU of one second become electrons of the frame; the same stack comes of it."""
    result = reduce(night, night.directory / "by-masters", masters)
    (task,) = result.record["tasks"]
    used = {c["kind"]: Path(c["file"]).name for c in task["calibrations"]}
    assert used == {k: f"master_{k}.fits" for k in ("dark", "flat", "bpm")}
    assert {f["fate"] for f in result.record["files"]} == {"used", "product"} or result.record["degraded"] is False
    one, other = (fits.getdata(product(r, "image"), "SCI") for r in (reduced, result))
    assert one.shape == other.shape
    apart = np.abs(one - other)
    assert float(np.nanmedian(apart)) < 0.5
    named = reduce(night, night.directory / "named", night.raw_dir, user_cal={"dark": masters / "master_dark.fits"})
    third = fits.getdata(product(named, "image"), "SCI")
    # the mask is another one, so that stars near its pixels count for transparencies or not
    noise = np.sqrt(fits.getdata(product(reduced, "image"), "VAR"))
    assert float(np.nanmedian(np.abs(one - third) / noise)) < 0.05


def test_a_plan_says_that_an_own_recipe_lacks_the_cameras_steps(night: Night, tmp_path: Path) -> None:
    registry = Registry.discover()
    for name, tags in (("plain", frozenset()), ("emir", frozenset({"EMIR", "IMAGE"}))):
        (tmp_path / f"{name}.toml").write_text(recipe_toml(recipe_for("reduce", registry, tags)))
    plain, emir = (
        [r for t in make_plan([night.raw_dir], registry, PlanOptions(recipe=str(file))).tasks for r in t.remarks]
        for file in (tmp_path / "plain.toml", tmp_path / "emir.toml")
    )
    assert any("lacks what this camera adds to it: level_amplifiers, correct_illumination" in r for r in plain)
    assert not any("lacks" in r for r in emir)


def test_numbers_of_the_user(night: Night, reduced: RunResult) -> None:
    numbers = {"adu_to_electrons:gain": 2.5, "add_var:read_noise": 20.0, "add_dq:saturation": 50000.0}
    stack = product(reduce(night, night.directory / "numbers", params=numbers), "image")
    before, after = (fits.getdata(p, "FRAMES")["sky"] for p in (product(reduced, "image"), stack))
    np.testing.assert_allclose(np.median(after / before), 0.5, atol=0.002)
    header = fits.getheader(stack, "SCI")
    assert (header["RDNOISE"], header["SATLEVEL"]) == (20.0, 125000.0)


@pytest.mark.parametrize("recipe", [None, "ultradeep"])
def test_extinction(night: Night, reduced: RunResult, recipe: str | None) -> None:
    """Fluxes and their errors, of sky and of stars, are raised alike."""
    lifted = reduce(
        night, night.directory / f"extinct-{recipe}", recipe=recipe, params={"correct_extinction:extinction": 0.5}
    )
    usual = reduced if recipe is None else reduce(night, night.directory / f"{recipe}", recipe=recipe)
    stacks, factor = [product(r, "image") for r in (usual, lifted)], 10 ** (0.4 * 0.5 * 1.092)
    before, after = (fits.getdata(p, "OBJCAT") for p in stacks)
    brightest = [t[np.argmax(t["FLUX_AUTO"])] for t in (before, after)]
    for column in ("FLUX_AUTO", "FLUXERR_AUTO"):
        assert brightest[1][column] / brightest[0][column] == pytest.approx(factor, rel=0.01), column
    sky, raised = (fits.getdata(p, "VAR") for p in stacks)
    assert np.nanmedian(raised / sky) == pytest.approx(factor**2, rel=0.01)
    assert fits.getval(stacks[1], "EXTINCT") == 0.5


@pytest.mark.parametrize(("height", "asked"), [(0.05, True), (0.0, False)])
def test_response_from_the_sky(tmp_path: Path, height: float, asked: bool) -> None:
    """A flat of pixels alone: the response comes from the sky, a ring is told from it, and both are said.

    A blind rim that no mask names is no dark sky.
    """
    camera = simulation(HAWAII2, SIZE)
    detector = replace(camera.detectors[0], stray_light=(height, 0.5, 0.16), amplifier_drift=0.0)
    home = night_of(replace(camera, detectors=(detector,)), tmp_path)
    flat = home.detector_truth().flat
    rim = np.ones((SIZE, SIZE), bool)
    rim[4:-4, 4:-4] = False
    for name in home.groups["dither"].objects:  # blind, as the H2RG's; the flat says 1 there
        with fits.open(home.raw_dir / name, mode="update") as hdus:
            hdus[0].data[rim] = 0
    y, x = (np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2) * 2 / SIZE
    smooth = 1 - 0.5 * detector.flat.vignetting * ((x - 0.1) ** 2 + (y + 0.05) ** 2)
    cards = fits.Header({"INSTRUME": "EMIR", "DATE-OBS": "2018-01-14T00:00:00"})
    fits.writeto(tmp_path / "pixels.fits", np.where(rim, 1, flat / smooth).astype(np.float32), cards)
    given: dict[str, Any] = {"user_cal": {"flat": tmp_path / "pixels.fits"}}
    result = reduce(home, tmp_path / "out", params={"correct_illumination:fit_doughnut": asked}, **given)
    stack = product(result, "image")
    told = " ".join(result.messages)
    assert "large-scale response from the sky (the flat carries none)" in told
    assert fits.getval(stack, "DOUGHNUT") == pytest.approx(height, rel=0.2, abs=1e-5)
    span = np.subtract(*np.percentile(smooth / np.median(smooth), (98, 2)))
    assert fits.getval(stack, "DEADPIX") >= 0.9 * rim.sum()
    assert fits.getval(stack, "ILLUMCOR") == pytest.approx(span, rel=0.15)
