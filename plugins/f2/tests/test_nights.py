"""Small nights through the whole reduction: what only FLAMINGOS-2 has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from nirred.params import Setting
from nirred.plan.options import PlanOptions, with_parameters
from nirred.plan.planner import make_plan
from nirred.plugin.simulation import Simulation
from nirred.registry import Registry
from nirred.run.api import RunOptions, RunResult, run
from nirred.testing.night import Night
from nirred.testing.simulate import simulate_night
from nirred_f2.simulation import simulation

FEW = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3}
SIZE = 256


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover(only=["f2"])


def take(home: Path, camera: Simulation, **knobs: Any) -> Night:
    return simulate_night(camera, home, **{"scenario": "dither", "frames": 5, "size": None, "seed": 2, **FEW, **knobs})


def reduce(
    night: Night, registry: Registry, recipe: str | None = None, settings: Sequence[Setting] = (), **options: Any
) -> RunResult:
    plan = with_parameters(PlanOptions(recipe=recipe), settings, registry)
    return run(
        [night.raw_dir], night.directory / "reduced", RunOptions(**{"jobs": 1, "plan": plan, **options}), registry
    )


def edit(night: Night, kind: str, change: Callable[[int, fits.HDUList], None]) -> None:
    """Change all raw frames of a kind."""
    for number, (name, frame) in enumerate(sorted(night.frames.items())):
        if frame.kind == kind:
            with fits.open(night.raw_dir / name, mode="update", memmap=False) as hdus:
                change(number, hdus)


def earlier(days: int) -> Callable[[int, fits.HDUList], None]:
    def change(number: int, hdus: fits.HDUList) -> None:
        header = hdus[0].header
        day = datetime.fromisoformat(header["DATE-OBS"]) - timedelta(days=days)
        header["DATE-OBS"] = header["DATE"] = f"{day:%Y-%m-%d}"

    return change


def messages(result: RunResult) -> str:
    return "\n".join([*result.messages, *(r for t in result.record["tasks"] for r in t.get("remarks", ()))])


def test_a2_lamp_off_frames_of_three_days_before(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, simulation(SIZE))
    edit(night, "lamp_off", earlier(3))
    plan = make_plan([night.raw_dir], registry, PlanOptions())
    flat = next(t for t in plan.tasks if t.makes == "flat")
    assert {role for _, role in flat.frames} == {"lamp_on", "lamp_off"}
    assert f"{flat.id}.fits" == night.products["flat"]
    assert any("3.0 d earlier" in r and "more than 1 d apart" in r for r in flat.remarks)
    edit(night, "lamp_off", earlier(5))
    plan = make_plan([night.raw_dir], registry, PlanOptions())
    flat = next(t for t in plan.tasks if t.makes == "flat")
    assert {role for _, role in flat.frames} == {"lamp_on"} and flat.missing


def test_d13_no_static_mask_is_said_and_no_failure(tmp_path: Path, registry: Registry) -> None:
    """Without darks there is no fresh mask either: frames are planned, and why there is none is told."""
    night = take(tmp_path, simulation(SIZE))
    for name, frame in night.frames.items():
        if frame.kind in ("dark", "short_dark"):
            (night.raw_dir / name).unlink()
    plan = make_plan([night.raw_dir], registry, PlanOptions())
    assert {t.makes for t in plan.tasks} == {"flat", "image"}
    for task in plan.tasks:
        (why,) = [m.reason for m in task.missing if m.kind == "bpm"]
        assert "no bpm at all" in why and "flats and short darks" in why


def test_k_band_flats_are_lamp_off_minus_dark_with_the_disc_flagged(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, simulation(SIZE, "Ks"))
    result = reduce(night, registry)
    assert result.exit_code == 0, result.messages
    flat = next(t for t in result.record["tasks"] if t["id"] + ".fits" == night.products["flat"])
    assert [c["kind"] for c in flat["calibrations"]].count("dark") == 1
    with fits.open(tmp_path / "reduced" / night.products["flat"]) as hdus:
        made, dq = hdus["SCI"].data, hdus["DQ"].data
    with fits.open(tmp_path / "reduced" / night.products["dark"]) as hdus:
        assert not (hdus["DQ"].data & 64).any()
    truth = night.detector_truth()
    assert ((dq[truth.flat == 0] & 64) != 0).all()
    good = (dq == 0) & ~truth.bad
    assert good.mean() > 0.75
    ratio = made[good] / truth.flat[good]
    assert np.std(ratio / np.median(ratio)) < 0.005


def four_reads(size: int) -> Simulation:
    """The camera with four summed pairs of reads: less noise, and four times the counts."""
    camera = simulation(size)
    (one,) = camera.detectors
    detector = replace(one, gain=1.11, read_noise=6.0, saturation=140000.0, non_linear=100800.0)

    def headers(exposure: Any) -> Any:
        primary, extension = camera.headers(exposure)
        return [{**primary, "LNRS": 4, "NREADS": 4, "READMODE": "Medium"}, extension]

    return replace(camera, detectors=(detector,), headers=headers, resized=None, position_angle=217.0)


def test_four_reads_turned_field(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, four_reads(SIZE))
    result = reduce(night, registry)
    assert result.exit_code == 0, result.messages
    with fits.open(tmp_path / "reduced" / night.groups["dither"].product) as hdus:
        rows = {r["file"].strip(): r for r in hdus["FRAMES"].data}
    reference = next(n for n, r in rows.items() if r["xoff"] == r["yoff"] == 0)
    for name, row in rows.items():
        x, y = night.offset(name, reference)
        assert np.hypot(row["xoff"] - x, row["yoff"] - y) < 0.1
        assert row["sky"] == pytest.approx(night.frames[name].conditions.sky, rel=0.02)


def test_modes_that_were_never_measured_are_named(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, simulation(SIZE))

    def two_reads(number: int, hdus: fits.HDUList) -> None:
        hdus[0].header["LNRS"] = 2

    edit(night, "object", two_reads)
    plan = make_plan([night.raw_dir], registry, PlanOptions())
    (reason,) = {r.reason for r in plan.files if r.verdict == "unsupported"}
    assert reason == "2 read pairs (LNRS): gain and noise are known for 1, 4, 6, 8"


def test_a_wcs_kept_from_the_frame_before_is_rebuilt(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, simulation(512), dither=12.0)
    third, fourth = night.groups["dither"].objects[2:4]
    with fits.open(night.raw_dir / third) as hdus:
        kept = {k: hdus[1].header[k] for k in ("CRVAL1", "CRVAL2")}
    with fits.open(night.raw_dir / fourth, mode="update") as hdus:
        hdus[1].header.update(kept)
    checked = reduce(night, registry, recipe="checkWCS")
    told = messages(checked)
    assert fourth in told and third not in told.replace("rebuilt from " + third, "")
    result = reduce(night, registry)
    assert result.exit_code == 0
    with fits.open(tmp_path / "reduced" / night.groups["dither"].product) as hdus:
        rows = {r["file"].strip(): r for r in hdus["FRAMES"].data}
        assert hdus[0].header["WCSSTAT"] == "registered"
    assert len(rows) == 5 and {r["state"].strip() for r in rows.values()} == {"used"}
    reference = next(n for n, r in rows.items() if r["xoff"] == r["yoff"] == 0)
    x, y = night.offset(fourth, reference)
    assert np.hypot(rows[fourth]["xoff"] - x, rows[fourth]["yoff"] - y) < 0.1


def test_e9_the_probes_shadow_is_flagged_and_said(tmp_path: Path, registry: Registry) -> None:
    night = take(tmp_path, simulation(512))
    y, x = np.mgrid[:512, :512]
    light = 1 - 0.5 / (1 + np.exp(-(np.minimum(x - 330, 300 - y)) / 8.0))  # from the lower right
    truth = night.detector_truth()

    def shade(number: int, hdus: fits.HDUList) -> None:
        data = hdus[1].data
        dark = truth.dark * 120.0 / 4.44
        hdus[1].data = np.rint((data - dark) * light + dark).astype(np.int32)

    edit(night, "object", shade)
    result = reduce(night, registry)
    assert result.exit_code == 0
    assert "shadow of the guide probe: flagged in 5 of 5 frames" in messages(result)
    with fits.open(tmp_path / "reduced" / night.groups["dither"].product) as hdus:
        nexp = hdus["NEXP"].data
    ny, nx = nexp.shape
    assert nexp[ny // 5, -nx // 6] == 0
    assert nexp[ny * 3 // 4, nx // 2] == 5
    quiet = reduce(night, registry, settings=(Setting("add_dq", "add_illum_mask", False, "test"),))
    assert "shadow" not in messages(quiet)
