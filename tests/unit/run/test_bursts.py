"""Files of several exposures, as cubes or in HDUs of their own: each exposure is a frame with its own name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

import nirred
from nirred.errors import DataError
from nirred.opening import open_frames
from nirred.plan.scan import scan_file
from nirred.plugin import Claim, Descriptors, Detector, Exposure, Frame, Instrument, Plane, PlaneWcs, hookimpl
from nirred.plugin.coordinates import make_wcs
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.run.rerun import rerun

SHAPE, GAIN = (32, 40), 2.0
LEVELS = (100.0, 140.0, 180.0)  # ADU of the exposures in one file


class Burst:
    """A camera that takes darks; MODE says how a file holds its exposures."""

    NIRRED_API = (1, 0)

    @hookimpl
    def nirred_instruments(self) -> Any:
        return [Instrument("burst", "A burst camera")]

    @hookimpl
    def nirred_claim(self, headers: Any) -> Any:
        return Claim("burst") if headers.text("INSTRUME") == "BURST" else None

    @hookimpl
    def nirred_tags(self, headers: Any) -> Any:
        return {"BURST", "DARK"}

    @hookimpl
    def nirred_describe(self, headers: Any) -> Any:
        time = headers.time("DATE-OBS")
        return Descriptors("burst", "dark", ut_datetime=time, exposure_time=headers.number("EXPTIME"))

    @hookimpl
    def nirred_detectors(self, headers: Any) -> Any:
        return [Detector(SHAPE, GAIN, 5.0, 50000.0)]

    @hookimpl
    def nirred_exposures(self, headers: Any) -> Any:
        if headers.text("MODE") == "cube":
            return [Exposure(k, plane=k) for k in range(len(LEVELS))]
        hdus = [hdu for hdu, _ in headers.images]
        return [Exposure(k, hdus=(hdu,)) for k, hdu in enumerate(hdus)] if headers.text("MODE") == "hdus" else None


def registry_of(plugin: Any) -> Registry:
    registry = Registry()
    assert not registry.add(plugin, "burst", "nirred-burst").error
    return registry


def write(folder: Path, mode: str) -> Path:
    rng = np.random.default_rng(1)
    images = [np.rint(rng.normal(level, 2.5, SHAPE)).astype(np.int16) for level in LEVELS]
    header = fits.Header({"INSTRUME": "BURST", "MODE": mode, "EXPTIME": 10.0, "DATE-OBS": "2026-01-15T08:00:00"})
    path = folder / "b1.fits"
    if mode == "cube":
        fits.PrimaryHDU(np.array(images), header).writeto(path)
    else:
        fits.HDUList([fits.PrimaryHDU(header=header), *map(fits.ImageHDU, images)]).writeto(path)
    return path


@pytest.mark.parametrize("mode", ["cube", "hdus"])
def test_every_exposure_is_a_frame_of_its_own(mode: str, tmp_path: Path) -> None:
    registry, path = registry_of(Burst()), write(tmp_path, mode)
    result = run([path], tmp_path / "out", RunOptions(jobs=1, keep_intermediates=True), registry)
    assert result.exit_code == 0 and not result.record["remarks"], result.messages
    (task,) = result.record["tasks"]
    assert task["id"] == "b1-1_dark" and [entry["exposure"] for entry in task["inputs"]] == [0, 1, 2]
    product = tmp_path / "out" / "b1-1_dark.fits"
    with fits.open(product) as hdus:
        assert np.median(hdus["SCI"].data) == pytest.approx(GAIN * LEVELS[1], abs=3)
    again = rerun(product, [], tmp_path / "again", registry)
    assert (tmp_path / "again" / product.name).read_bytes() == product.read_bytes(), again
    kept = sorted(p.name for p in (tmp_path / "out" / "intermediate").rglob("*calibrated.fits"))
    assert kept == [f"b1-{k}_calibrated.fits" for k in (1, 2, 3)]


@pytest.mark.parametrize("mode", ["cube", "hdus"])
def test_a_file_gives_all_its_exposures(mode: str, tmp_path: Path) -> None:
    opened = nirred.open(write(tmp_path, mode), registry_of(Burst()))
    assert [round(float(np.median(f.planes[0].data))) for f in opened.frames] == list(LEVELS)
    with pytest.raises(DataError, match="3 exposures"):
        _ = opened.frame


def test_a_plane_that_the_file_does_not_have_is_the_file_s_fault(tmp_path: Path) -> None:
    class Longer(Burst):
        @hookimpl
        def nirred_exposures(self, headers: Any) -> Any:
            return [Exposure(k, plane=k) for k in range(4)]

    for mode in ("cube", "hdus"):
        folder = tmp_path / mode
        folder.mkdir()
        with pytest.raises(DataError, match=r"b1\.fits: no plane"):
            open_frames(write(folder, mode), registry_of(Longer()))


@pytest.mark.parametrize("hook", ["nirred_wcs", "nirred_exposures"])
def test_answers_about_another_number_of_planes_name_the_package(hook: str, tmp_path: Path) -> None:
    class Odd(Burst):
        @hookimpl
        def nirred_exposures(self, headers: Any) -> Any:
            return [Exposure(0, hdus=(1, 2) if hook == "nirred_exposures" else (1,))]

        @hookimpl
        def nirred_wcs(self, headers: Any) -> Any:
            plane = PlaneWcs(make_wcs((1, 1), (10, 10), ((-1e-4, 0), (0, 1e-4))))
            return [plane] * (2 if hook == "nirred_wcs" else 1)

    record = scan_file(write(tmp_path, "hdus"), registry_of(Odd()))
    assert record.verdict == "unreadable" and f"nirred-burst: {hook} names 2 planes" in record.reason
    assert "nirred_detectors 1" in record.reason


def test_an_exposure_time_below_zero_is_impossible(tmp_path: Path) -> None:
    path = write(tmp_path, "one")
    fits.setval(path, "EXPTIME", value=-5.0)
    record = scan_file(path, registry_of(Burst()))
    assert record.verdict == "unsupported" and "impossible" in record.reason


class Reader(Burst):
    """Its files are opened by the plugin, which knows a bad row and the gain."""

    unit = "adu"

    @hookimpl
    def nirred_detectors(self, headers: Any) -> Any:
        return [Detector(SHAPE, GAIN, 5.0, hdu=1)]

    @hookimpl
    def nirred_open(self, path: Any, exposure: Any, headers: Any) -> Any:
        data = np.full(SHAPE, 300.0, np.float32)
        dq = np.zeros(SHAPE, np.uint16)
        dq[3] = 1
        return Frame((Plane(data, dq),), unit=self.unit)


@pytest.mark.parametrize(("unit", "level"), [("adu", 600.0), ("electron", 300.0)])
def test_flags_and_unit_of_the_plugin_s_reader_count(unit: str, level: float, tmp_path: Path) -> None:
    plugin = Reader()
    plugin.unit = unit
    path = write(tmp_path, "one")
    result = run([path], tmp_path / "out", RunOptions(jobs=1), registry_of(plugin))
    assert result.exit_code == 0, result.messages
    with fits.open(tmp_path / "out" / "b1_dark.fits") as hdus:
        assert np.median(hdus["SCI"].data) == pytest.approx(level)
        assert np.unique(np.flatnonzero(hdus["DQ"].data) // SHAPE[1]).tolist() == [3]


def test_a_reader_that_opens_another_number_of_planes_is_named(tmp_path: Path) -> None:
    class Two(Reader):
        @hookimpl
        def nirred_detectors(self, headers: Any) -> Any:
            return [replace(Detector(SHAPE, GAIN, 5.0), hdu=hdu) for hdu in (1, 2)]

    result = run([write(tmp_path, "one")], tmp_path / "out", RunOptions(jobs=1), registry_of(Two()))
    assert any("nirred-burst: nirred_open returned 1 plane, nirred_detectors 2" in m for m in result.messages)
