"""Four arrays make one mosaic without seams, or a stack of each; both say what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits

import nirred_gsaoi
from nirred.params import Setting
from nirred.plan.options import PlanOptions, with_parameters
from nirred.run.api import RunOptions, run
from nirred.testing.comparison import read_product
from nirred.testing.oracle import places, true_scene

NOISES = [array[2] for array in nirred_gsaoi.ARRAYS]
GAINS = [array[1] for array in nirred_gsaoi.ARRAYS]


@pytest.fixture(scope="class")
def mosaic(nirred_reduced):
    return nirred_reduced.out / nirred_reduced.night.groups["dither"].product


@pytest.fixture(scope="class")
def apart(nirred_reduced, nirred_registry, tmp_path_factory):
    """The same night with a stack of each array."""
    out, night = tmp_path_factory.mktemp("apart"), nirred_reduced.night
    each = (Setting("resample_to_common_frame", "mosaic", False, "test"),)
    plan = with_parameters(PlanOptions(), each, nirred_registry)
    done = run([night.raw_dir], out, RunOptions(plan, jobs=1, report=False), nirred_registry)
    assert done.exit_code == 0, done.messages
    return out / night.groups["dither"].product


@pytest.fixture(scope="class")
def crippled(nirred_reduced, nirred_registry, tmp_path_factory):
    """The same night after the second array has died: its pixels are zeros in every file."""
    raw, night = tmp_path_factory.mktemp("crippled"), nirred_reduced.night
    for path in night.raw_dir.glob("*.fits"):
        with fits.open(path) as hdus:
            hdus[2].data[:] = 0
            hdus.writeto(raw / path.name)
    done = run([raw], raw / "out", RunOptions(jobs=1, report=False), nirred_registry)
    assert done.exit_code == 0, done.messages
    assert any("plane 2 without one usable pixel" in message for message in done.messages)
    return raw / "out" / night.groups["dither"].product


class TestMosaic:
    plugin = "gsaoi"

    def test_noise_and_levels_are_those_of_the_detectors(self, mosaic, apart):
        header = fits.getheader(mosaic, "SCI")
        assert header["RDNOISE"] == pytest.approx(math.sqrt(np.mean(np.square(NOISES))))
        assert header["SATLEVEL"] == pytest.approx(51_000 * min(GAINS), rel=1e-6)
        assert "4 arrays" in header.comments["RDNOISE"]
        for k in range(4):
            header = fits.getheader(apart, ("SCI", k + 1))
            assert (header["RDNOISE"], header["SATLEVEL"]) == pytest.approx((NOISES[k], 51_000 * GAINS[k]))

    def test_each_stack_has_its_catalogue(self, mosaic, apart):
        with fits.open(mosaic) as hdus:
            assert [hdu.ver for hdu in hdus if hdu.name == "OBJCAT"] == [1]
            whole = hdus["OBJCAT"].data
            bright = whole[whole["SNR"] > 30]
        with fits.open(apart) as hdus:
            tables = [hdu.data for hdu in hdus if hdu.name == "OBJCAT"]
        assert len(tables) == 4 and all(len(table) > 3 for table in tables)
        every = np.concatenate(tables)
        at, other = (SkyCoord(t["X_WORLD"], t["Y_WORLD"], unit="deg") for t in (bright, every))
        _, apart_by, _ = at.match_to_catalog_sky(other)
        assert np.median(apart_by.arcsec) < 0.1 * nirred_gsaoi.SCALE
        assert (apart_by.arcsec < nirred_gsaoi.SCALE).mean() > 0.9

    def test_no_seams(self, nirred_reduced, mosaic):
        """In the footprint of each array blank pixels lie at the truth's level."""
        night = nirred_reduced.night
        product = read_product(mosaic)
        scene, first = true_scene(night, "dither", product.grid), night.groups["dither"].objects[0]
        sigma = np.sqrt(product.var)
        blank = (product.nexp >= 3) & (scene < 0.5 * sigma)
        for plane in range(4):
            _, on = places(night, first, plane, product.grid).sample(np.zeros(night.detectors[plane].shape))
            values = ((product.sci - scene) / sigma)[(on > 0.5) & blank]
            assert values.size > 0.3 * on.sum()
            assert abs(np.median(values)) < 0.1, f"array {plane}: {np.median(values):.3f} sigma of a pixel"

    def test_a_dead_array_leaves_the_others(self, nirred_reduced, crippled):
        night = nirred_reduced.night
        product = read_product(crippled)
        first = night.groups["dither"].objects[0]
        scene = true_scene(night, "dither", product.grid)
        for plane in range(4):
            _, on = places(night, first, plane, product.grid).sample(np.zeros(night.detectors[plane].shape))
            values = (product.sci - scene)[(on > 0.5) & (product.nexp >= 3)]
            if plane == 1:
                assert values.size < 0.5 * on.sum()  # what its neighbours have seen, dithered
            else:
                assert values.size > 0.5 * on.sum() and abs(np.nanmedian(values)) < 0.2 * np.nanstd(values)
