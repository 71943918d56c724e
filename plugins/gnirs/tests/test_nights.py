"""Nights of the keyhole: what is planned, flagged and said; darks by rule, by name, by configuration, or none."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred_gnirs
from nirred.arguments import Given, plan_options
from nirred.cli import main
from nirred.config import load_config
from nirred.plan.planner import PlanOptions, make_plan
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.testing.night import Night
from nirred.testing.pytest_plugin import ReducedNight
from nirred.testing.simulate import simulate_night
from nirred_gnirs.simulation import simulation

FEW = {"darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 3000.0}


@pytest.fixture
def raw(tmp_path: Path, nirred_night: Night) -> Path:
    """A copy of the night's raw frames, to be changed."""
    return Path(shutil.copytree(nirred_night.raw_dir, tmp_path / "raw"))


def change(path: Path, **cards: Any) -> None:
    with fits.open(path, mode="update") as hdus:
        for key, value in cards.items():
            hdus[0].header[key] = value


def image(plan: Any) -> Any:
    (task,) = [t for t in plan.tasks if t.makes == "image"]
    return task


def chosen(plan: Any, kind: str) -> Any:
    return next((a for a in image(plan).calibrations if a.kind == kind), None)


class TestNight:
    """The conformance kit's small night, once more."""

    plugin = "gnirs"

    def test_a3_c17_dark_of_another_day_is_found(self, nirred_night: Night, nirred_registry: Registry) -> None:
        dark = chosen(make_plan([nirred_night.raw_dir], nirred_registry, PlanOptions()), "dark")
        assert dark.task + ".fits" == nirred_night.products["dark"]
        assert dark.reason.startswith("60 s, 3 frames, 14.")

    def test_a12_failed_darks_are_not_used(self, raw: Path, nirred_registry: Registry) -> None:
        for path in raw.glob("N2025*.fits"):
            change(path, RAWPIREQ="NO", RAWGEMQA="BAD")
        plan = make_plan([raw], nirred_registry, PlanOptions())
        assert chosen(plan, "dark") is None
        assert [m.kind for m in image(plan).missing if m.kind == "dark"] == ["dark"]

    def test_c17_a_dark_that_the_user_names(self, raw: Path, nirred_reduced: ReducedNight) -> None:
        named = nirred_reduced.out / nirred_reduced.night.products["dark"]
        registry = Registry.discover(only=["gnirs", "niri"])
        plan = make_plan([raw], registry, PlanOptions(user_cal={"processed_dark": named}))
        assert (chosen(plan, "dark").path, chosen(plan, "dark").source) == (named, "user")

    def test_c17_a_dark_that_is_configured(
        self, raw: Path, nirred_reduced: ReducedNight, nirred_registry: Registry
    ) -> None:
        shutil.copy(nirred_reduced.out / nirred_reduced.night.products["dark"], raw.parent / "master.fits")
        (raw / "nirred.toml").write_text('[run.user_cal]\ndark = "../master.fits"\n')
        options = plan_options(None, Given(None, (), {}, {}, "test"), load_config([raw], {}), nirred_registry)
        dark = chosen(make_plan([raw], nirred_registry, options), "dark")
        assert (dark.path.resolve(), dark.source) == ((raw.parent / "master.fits").resolve(), "user")

    def test_another_cameras_dark_is_not_for_these_frames(self, raw: Path, nirred_registry: Registry) -> None:
        """A master of one camera may be named while frames of another lie beside it."""
        import nirred_niri

        registry = Registry.discover(only=["gnirs", "niri"])
        example = nirred_niri.nirred_instruments()[0].examples[0].split("---")[0]  # type: ignore[index]
        header = fits.Header.fromstring(example, sep="\n")
        header.update({"OBSTYPE": "DARK", "NIRRED": "0.1", "NIRKIND": "dark"})
        master = raw.parent / "niri_dark.fits"
        fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.zeros((8, 8), np.float32))]).writeto(master)
        plan = make_plan([raw], registry, PlanOptions(user_cal={"dark": master}))
        assert chosen(plan, "dark").source != "user"

    def test_a3_darks_of_the_mask_are_named(self, nirred_reduced: ReducedNight) -> None:
        bpm = next(t for t in nirred_reduced.result.record["tasks"] if t["recipe"] == "make_processed_bpm")
        (said,) = [r for r in bpm["remarks"] if "no short darks" in r]
        assert "3 darks of 60 s, N20251231S00" in said
        assert sum("N2025" in str(f) for f in bpm["inputs"]) == 3

    def test_a3_no_darks_no_mask(self, raw: Path, nirred_registry: Registry) -> None:
        for path in raw.glob("N2025*.fits"):
            path.unlink()
        plan = make_plan([raw], nirred_registry, PlanOptions())
        assert {t.makes for t in plan.tasks} == {"flat", "image"}
        missing = {m.kind: m.reason for m in image(plan).missing}
        assert set(missing) == {"dark", "bpm"}
        assert "flats and short darks" in missing["bpm"]

    def test_only_the_keyhole_is_lit(self, nirred_reduced: ReducedNight) -> None:
        night = nirred_reduced.night
        with fits.open(nirred_reduced.out / night.products["flat"]) as hdus:
            dark = (hdus["DQ"].data & 64) != 0
        unlit = night.detector_truth().flat == 0
        assert np.count_nonzero(dark != unlit) < 0.03 * np.count_nonzero(~unlit)
        with fits.open(nirred_reduced.out / night.groups["dither"].product) as hdus:
            seen = hdus["NEXP"].data > 0
            assert np.isfinite(hdus["SCI"].data[seen]).all()
            assert (hdus["DQ"].data[~seen] != 0).all()
        assert np.count_nonzero(~unlit) < np.count_nonzero(seen) < 2.5 * np.count_nonzero(~unlit)

    def test_stale_coordinates_are_mended_not_fatal(self, raw: Path, nirred_registry: Registry) -> None:
        """A frame that kept the coordinates of another field."""
        change(raw / "N20260115S0003.fits", CRVAL1=120.0, CRVAL2=-40.0)
        plan = make_plan([raw], nirred_registry, PlanOptions())
        frames = {f.name: f for f, _ in image(plan).frames}
        assert len(frames) == 5
        mended = frames["N20260115S0003.fits"]
        assert mended.wcs_state == "rebuilt"
        there = mended.wcs[0].wcs.wcs_world2pix([[34.4071, -5.1614]], 0)[0]
        first = frames["N20260115S0001.fits"].wcs[0].wcs.wcs_world2pix([[34.4071, -5.1614]], 0)[0]
        assert np.hypot(*(there - first)) < 60

    def test_the_bottom_port_does_not_mirror_the_sky(self, raw: Path, nirred_registry: Registry) -> None:
        """Frames of that port have the WCS of others: offsets that move sources the other way do not contradict it."""
        for path in raw.glob("N20260115S000*.fits"):
            change(path, INPORT=1)
        frames = [f for f, _ in image(make_plan([raw], nirred_registry, PlanOptions())).frames]
        assert [f.wcs_note for f in frames] == [""] * 5
        assert max(abs(f.descriptors.detector_x_offset or 0.0) for f in frames) > 2.0

    def test_e7_sky_frames_are_of_ten_minutes(
        self, raw: Path, nirred_registry: Registry, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """The window is shown, and it acts: a frame taken 20 minutes later has no sky in it."""
        first, last = raw / "N20260115S0001.fits", raw / "N20260115S0005.fits"
        assert main(["params", str(first), "associate_sky"]) == 0
        (line,) = [x for x in capsys.readouterr().out.splitlines() if x.split()[:1] == ["time"]]
        assert "600" in line and "gnirs" in line
        taken = datetime.fromisoformat(f"2026-01-15T{fits.getval(last, 'UT')}") + timedelta(minutes=20)
        change(last, **dict.fromkeys(("UT", "UTSTART", "TIME-OBS"), f"{taken:%H:%M:%S.%f}"[:-5]))
        result = run([raw], raw.parent / "out", RunOptions(jobs=1), nirred_registry)
        said = [r for t in result.record["tasks"] for r in t.get("remarks", ())]
        assert any(f"fewer than 3 sky frames within 600 s of {last.name}" in r for r in said)

    def test_d21_the_report_tells_how_good_the_data_are(self, nirred_reduced: ReducedNight) -> None:
        """Numbers of flat, mask and stack: keyhole data depend on their flats."""
        assert main(["report", str(nirred_reduced.out)]) == 0
        page = (nirred_reduced.out / "report" / "index.html").read_text(encoding="utf-8")
        for figure in ("Level before normalisation", "Noise per pixel", "unilluminated", "FWHM", "% bad"):
            assert figure in page, figure

    def test_without_the_plugin_its_package_is_named(self, raw: Path) -> None:
        plan = make_plan([raw], Registry.discover(only=["niri"]), PlanOptions())
        assert {(r.verdict, "pip install nirred-gnirs" in r.reason) for r in plan.files} == {("unclaimed", True)}


def test_long_camera_and_photometric_filter(tmp_path: Path) -> None:
    """Another keyhole: no wings, 0.05 arcsec per pixel."""
    night = simulate_night(
        simulation("LongBlue", "YPHOT"), tmp_path, scenario="dither", frames=3, size=128, seed=1, **FEW
    )
    registry = Registry()
    registry.add(nirred_gnirs, "gnirs")
    plan = make_plan([night.raw_dir], registry, PlanOptions())
    assert {t.makes for t in plan.tasks} == {"dark", "bpm", "flat", "image"}
    assert image(plan).frames[0][0].descriptors.get("filter_name", pretty=True) == "YPHOT"


def test_the_target_stands_in_the_keyhole_not_at_the_arrays_centre(tmp_path: Path) -> None:
    """The array's centre is dark, 8 arcsec from where the telescope points."""
    night = simulate_night(simulation(), tmp_path, frames=1, scenario="dither", seed=1, **{**FEW, "density": 10.0})
    (file,) = night.groups["dither"].objects
    x, y = (round(float(v[0])) for v in night.positions(file))
    lit = night.detector_truth().flat > 0.1
    assert lit[y - 20 : y + 20, x - 20 : x + 20].mean() > 0.97 and not lit[505:517, 505:517].any()
