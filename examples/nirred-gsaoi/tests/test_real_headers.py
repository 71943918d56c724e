"""Two genuine headers: they are planned, and the simulated camera's arrays lie where the real ones do."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import nirred_gsaoi
from nirred.plan.planner import make_plan
from nirred.registry import Registry
from nirred.testing.geometry import plane_wcs

DATA = Path(__file__).parents[4] / "shared" / "data" / "headers"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real headers are not on this machine")


def parts(name: str) -> list[list[str]]:
    """Lines of each HDU's header."""
    body = (DATA / f"{name}.txt").read_text(encoding="latin-1").split("# ----\n", 1)[1]
    return [part.strip("\n").split("\n") for part in re.split(r"--- HDU \d ---\n", body)[1:]]


def raw_frame(name: str, path: Path, **changes: str) -> Path:
    """A FITS file of these headers; its pixels are zeros that take no space."""
    with path.open("wb") as file:
        for lines in parts(name):
            kept = [line.rstrip() for line in lines if line.strip() and not line.startswith("END")]
            cards = [
                f"{card[:8]}= {changes[card[:8].strip()]}" if card[:8].strip() in changes else card for card in kept
            ]
            text = "".join(f"{card:80.80}" for card in [*cards, "END"])
            file.write(text.ljust(-(-len(text) // 2880) * 2880).encode("latin-1"))
            if any(card.startswith("NAXIS1") for card in cards):
                file.truncate(file.tell() + -(-2048 * 2048 * 4 // 2880) * 2880)
                file.seek(0, 2)
    return path


def test_real_frames_are_planned(tmp_path: Path) -> None:
    image = raw_frame("gsaoi-01", tmp_path / "image.fits")
    raw_frame("gsaoi-02", tmp_path / "lamp.fits")
    registry = Registry.discover(only=["gsaoi"])
    (task,) = make_plan([tmp_path], registry).tasks
    assert "filter_name: wanted Kshort_G1105, found J_G1102" in task.blocked
    raw_frame("gsaoi-02", tmp_path / "lamp.fits", FILTER1="'Kshort_G1105'")
    plan = make_plan([tmp_path], registry)
    task = plan.task("image_image")
    assert not task.blocked and task.recipe == "reduce"
    assert [(a.kind, a.task) for a in task.calibrations] == [("flat", "lamp_flat")]
    assert [info.path for info, _ in task.frames] == [image]
    assert len(task.first.detectors) == len(task.first.wcs or ()) == 4
    assert {missing.kind for missing in task.missing} == {"dark", "bpm"}


def test_simulated_arrays_lie_where_the_real_ones_do() -> None:
    camera = nirred_gsaoi.nirred_simulation()
    for plane, lines in enumerate(parts("gsaoi-01")[1:]):
        told = dict(
            re.match(r"(\w+) *= *'?([^'/ ]+)", line).groups() for line in lines if re.match(r"\w+ *= *'?[^'/ ]", line)
        )
        wcs = plane_wcs(camera, plane, 78.5, -40.0, 0.0)
        real = np.array([float(told[key]) for key in ("CD1_1", "CD1_2", "CD2_1", "CD2_2")])
        assert np.abs(np.array(wcs.cd) - real).max() < 1e-4 * real.max()
        assert np.hypot(wcs.crpix[0] - float(told["CRPIX1"]), wcs.crpix[1] - float(told["CRPIX2"])) < 0.5
        assert camera.detectors[plane].gain == pytest.approx(float(told["GAIN"]), abs=1e-3)
        assert nirred_gsaoi.ARRAYS[plane][0] == told["ARRAYID"]
