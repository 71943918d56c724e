"""Frames written as a step leaves them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits

from nirred.steps.write import write_state
from tests.unit.steps.conftest import make_info


def test_frames_state_the_exposure_of_all_their_coadds(make_group, tmp_path: Path) -> None:
    """They are marked as processed, and EXPTIME then counts as it is."""
    cards = "EXPTIME =                 10.0".ljust(80) + "COADDS  =                    2".ljust(80)
    info = make_info(tmp_path / "f.fits", (8, 8), cards=cards)
    group = make_group(["both"], [np.ones((8, 8))], infos=[info])
    (path,) = write_state(group, "frame", "", tmp_path)
    header = fits.getheader(path)
    assert header["EXPTIME"] == fits.getheader(path, "SCI")["EXPTIME"] == 20.0 and "PREPARE" in header


def test_the_variance_of_each_plane_is_that_of_its_own_sky(make_group, tmp_path: Path) -> None:
    info = make_info(tmp_path / "f.fits", (8, 8), planes=2)
    group = make_group(["both"], [np.ones((8, 8))], infos=[info])
    group.setup.variance, group.frames[0].sky = True, 100.0
    group.planes = [replace(group.planes[0], constant=25.0, sky={0: sky}) for sky in (100.0, 900.0)]
    (path,) = write_state(group, "frame", "", tmp_path)
    assert [fits.getdata(path, ("VAR", p)).mean() for p in (1, 2)] == [125.0, 925.0]
