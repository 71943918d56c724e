"""The bad-pixel masks of a night: their origin and the coding of their values make no difference."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.io import fits

from nirred.params import Setting
from nirred.plan.options import PlanOptions

BPM, FLAT = "N20260115S0010_bpm", "N20260115S0010_flat"
WHOLE, SIDE = 1024, 256  # pixels: of the detector, and of its central part in this night


@pytest.fixture
def lamps(night, raw):
    """The raw frames for a mask and a flat."""
    for name, frame in night.frames.items():
        if frame.kind not in ("lamp_on", "lamp_off", "short_dark"):
            (raw / name).unlink()
    return raw


@pytest.fixture
def mask(tmp_path):
    """A manual mask of the whole detector, valid before the night: hot pixels 2, dead ones 4, others 16384."""
    values = np.zeros((WHOLE, WHOLE), np.int32)
    corner = (WHOLE - SIDE) // 2
    values[corner + 100, corner + 20 : corner + 23] = 2, 4, 16384
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "NIRI", "TELESCOP": "Gemini-North", "OBSTYPE": "BPM", "CAMERA": "f6"})
    primary.header["DATE-OBS"] = "2010-01-01"
    path = tmp_path / "mask.fits"
    fits.HDUList([primary, fits.ImageHDU(values)]).writeto(path)
    return path


def bad(result, name=FLAT):
    assert result.exit_code == 0, result.messages
    return (fits.getdata(result.products[name], "DQ") & 1).astype(bool)


def test_every_source_of_a_mask_is_read_alike(lamps, mask, reduce):
    marked = (100, slice(20, 23))
    plain = reduce(lamps, out="plain")
    assert not bad(plain)[marked].any()
    given = {
        "static": reduce(lamps, mask, out="static"),
        "calibration": reduce(lamps, out="cal", plan=PlanOptions(user_cal={"bpm": mask})),
        "own": reduce(lamps, out="own", plan=PlanOptions(user_bpm=mask)),
        "parameter": reduce(lamps, out="parameter", settings=(Setting("add_dq", "static_bpm", str(mask), "-p"),)),
    }
    for source, result in given.items():
        assert bad(result)[marked].all(), source
    fresh = bad(plain, BPM)
    assert bad(given["static"])[fresh].all() and bad(given["own"])[fresh].all()
