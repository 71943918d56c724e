"""A camera that stores all non-destructive reads: its plugin opens ramps, the core turns them into frames."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

from nirred.errors import Unreadable
from nirred.frame import Ramp
from nirred.framepass import read_raw
from nirred.headers import Headers
from nirred.opening import open_frames
from nirred.plugin import Claim, Descriptors, Detector, Exposure, Instrument, hookimpl
from nirred.registry import Registry

DETECTOR = Detector((4, 5), gain=2.0, read_noise=8.0, saturation=50000.0)


class RampCamera:
    NIRRED_API = (1, 0)

    @hookimpl
    def nirred_instruments(self):
        return [Instrument("ramps", "Reads up the ramp")]

    @hookimpl
    def nirred_claim(self, headers):
        return Claim("ramps") if headers.get("INSTRUME") == "RAMPS" else None

    @hookimpl
    def nirred_tags(self, headers):
        return frozenset({"RAMPS"})

    @hookimpl
    def nirred_describe(self, headers):
        return Descriptors(instrument="ramps", exposure_time=headers.get("EXPTIME"))

    @hookimpl
    def nirred_detectors(self, headers):
        return [DETECTOR]

    @hookimpl
    def nirred_open(self, path, exposure, headers):
        times = np.arange(1, headers.get("NREADS") + 1) * 2.0
        return Ramp(fits.getdata(path).astype(np.float32), times, path.name)


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    assert not found.add(RampCamera(), "ramps").error
    return found


def exposure(path: Path, reads: int = 6) -> Path:
    cube = 1000.0 + 40.0 * np.arange(6)[:, None, None] * np.ones((4, 5))
    cube[3:, 2, 1] += 3000.0  # a cosmic ray
    fits.PrimaryHDU(
        cube.astype(np.float32), fits.Header({"INSTRUME": "RAMPS", "EXPTIME": 10.0, "NREADS": reads})
    ).writeto(path)
    return path


def test_open_frame_fits_the_ramp(tmp_path: Path, registry: Registry) -> None:
    (frame,) = open_frames(exposure(tmp_path / "a.fits"), registry)
    assert frame.planes[0].data == pytest.approx(np.full((4, 5), 200.0))


def test_the_fused_pass_reads_the_same(tmp_path: Path, registry: Registry) -> None:
    path = exposure(tmp_path / "a.fits")
    info = SimpleNamespace(
        owner="ramps", path=path, exposure=Exposure(), headers=Headers.read(path), detectors=(DETECTOR,), name=path.name
    )
    setup = SimpleNamespace(electrons=True)
    ((raw, flags),) = read_raw(SimpleNamespace(context=SimpleNamespace(registry=registry), setup=setup), info)
    assert flags is None
    assert raw == pytest.approx(np.full((4, 5), 200.0))


def test_reads_without_their_times_are_said(tmp_path: Path, registry: Registry) -> None:
    with pytest.raises(Unreadable, match=r"a\.fits: a ramp needs"):
        open_frames(exposure(tmp_path / "a.fits", reads=5), registry)
