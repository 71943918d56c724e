"""Real Keck NIRC2 frames through the example plugin: one deep stack without a ring around its bright star.

Needs the frames in ../shared/data and the package examples/nirred-nirc2; skips without.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from nirred.headers import Headers
from nirred.plan.options import PlanOptions
from nirred.registry import Registry
from nirred.run.api import RunOptions, run

DATA = Path(__file__).parents[3] / "shared" / "data" / "nirc2-cosmos"
MASTERS = {"dark": DATA / "drk_80_1_16_11apr.fits.gz", "flat": DATA / "flat_Ks_W_11apr.fits.gz"}
BRIGHT = (314.0, 243.0)  # zero-based position in n0031 of the star, and of two sources that are not saturated
OTHERS = ((301.5, 784.3), (449.3, 668.3))
SCALE = 0.039686  # arcsec per pixel

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the real frames are not here"),
    pytest.mark.filterwarnings("ignore"),
]


def reduce(out, exclude=()):
    registry = Registry.discover(only=["nirc2"])
    if "nirc2" not in registry.names:
        pytest.skip("pip install -e examples/nirred-nirc2")
    plan = PlanOptions(user_cal=MASTERS, user_bpm=DATA / "badpix_12oct.fits.gz", exclude=exclude)
    result = run(sorted(DATA.glob("n00*.fits.gz")), out, RunOptions(jobs=1, plan=plan), registry)
    assert result.exit_code == 0, result.messages
    return Stack(out / "n0031_image.fits", result)


class Stack:
    """A product's planes and tables."""

    def __init__(self, path, result):
        self.result = result
        with fits.open(path) as hdus:
            self.sci, self.nexp, self.var = (hdus[n].data.copy() for n in ("SCI", "NEXP", "VAR"))
            self.frames, self.catalogue = hdus["FRAMES"].data.copy(), hdus["OBJCAT"].data.copy()
            header = hdus["SCI"].header
        self.corrfac, self.origin = header["CORRFAC"], (header["REFX0"], header["REFY0"])
        self.deep = self.nexp == self.nexp.max()

    def offset(self, name):
        row = next(r for r in self.frames if r["file"].strip().startswith(name))
        return float(row["xoff"]), float(row["yoff"])

    def place(self, x, y):
        """Position of a pixel of n0031 in the stack."""
        dx, dy = self.offset("n0031")
        return x - dx + self.origin[0], y - dy + self.origin[1]

    def noise(self):
        """Median of the scatter in boxes of 32 pixels, so that residual structure of the sky does not count."""
        found = []
        for y in range(0, self.sci.shape[0] - 32, 32):
            for x in range(0, self.sci.shape[1] - 32, 32):
                box = np.s_[y : y + 32, x : x + 32]
                if self.deep[box].mean() > 0.9:
                    values = self.sci[box][self.deep[box]]
                    found.append(1.4826 * np.median(np.abs(values - np.median(values))))
        return float(np.median(found))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    return reduce(tmp_path_factory.mktemp("all"))


@pytest.fixture(scope="module")
def fewer(tmp_path_factory):
    """Stacks of the first 4 and 9 frames."""
    names = [f"n{number:04d}" for number in range(31, 44)]
    return {n: reduce(tmp_path_factory.mktemp(f"first{n}"), tuple(names[n:])) for n in (4, 9)}


def test_all_frames_are_used(stack):
    fates = {entry["file"]: (entry["fate"], entry["reason"]) for entry in stack.result.record["files"]}
    assert len(fates) == 13
    assert all(fate == "used" or (fate == "rejected" and reason) for fate, reason in fates.values())
    assert sum(fate == "used" for fate, _ in fates.values()) >= 12


def test_sources_are_found(stack):
    with np.errstate(invalid="ignore"):
        assert np.count_nonzero(stack.catalogue["FLUX_APER"] > 10 * stack.catalogue["FLUXERR_APER"]) >= 12


def test_offsets_agree_with_centroids(stack):
    """Centroids of two sources on raw frames less their median, by another program, against FRAMES.

    The camera distorts: what these two sources show beyond the stated errors is in proportion to the dither.
    """
    offsets = np.array([stack.offset(f"n{n:04d}") for n in range(31, 44)])
    difference = offsets - offsets[0] - centroids()
    difference -= difference.mean(axis=0)
    assert np.sqrt((difference**2).mean(axis=0)).max() < 0.1
    dither = offsets - offsets.mean(axis=0)
    linear, *_ = np.linalg.lstsq(dither, difference, rcond=None)
    assert np.abs(linear).max() < 0.005
    rest = difference - dither @ linear
    assert np.sqrt((rest**2).sum() / (rest.size - linear.size)) < 0.05
    assert np.abs(rest).max() < 0.2


def centroids():
    """Positions less those in n0031, (13, 2) px."""
    from photutils.centroids import centroid_2dg

    files = sorted(DATA.glob("n00*.fits.gz"))
    headers = [Headers.read(f) for f in files]
    raw = np.array([fits.getdata(f, ignore_missing_end=True) for f in files], float)
    level = np.median(raw, axis=(1, 2))[:, None, None]
    clean = raw - level * np.median(raw / level, axis=0)
    ra, dec = (np.array([h.get(k) for h in headers]) for k in ("RA", "DEC"))
    dx = (ra - ra[0]) * math.cos(math.radians(dec[0])) * 3600 / SCALE
    dy = -(dec - dec[0]) * 3600 / SCALE
    found = np.empty((len(OTHERS), len(files), 2))
    for s, (x, y) in enumerate(OTHERS):
        for k in range(len(files)):
            x0, y0 = round(x + dx[k]) - 8, round(y + dy[k]) - 8
            box = clean[k, y0 : y0 + 17, x0 : x0 + 17]
            found[s, k] = np.add(centroid_2dg(box - np.median(box)), (x0, y0))
    return (found - found[:, :1]).mean(axis=0)


def test_noise_falls_with_the_number_of_frames(stack, fewer):
    """Corrected for smoothing by the resampling, scatter times sqrt(N used) is constant and agrees with VAR."""
    stacks = {**fewer, 13: stack}
    assert all(s.nexp.max() >= n - 1 for n, s in stacks.items())
    unit = {n: s.noise() / s.corrfac * math.sqrt(s.nexp.max()) for n, s in stacks.items()}
    assert unit[9] == pytest.approx(unit[4], rel=0.1)
    assert unit[13] == pytest.approx(unit[4], rel=0.1)
    for s in stacks.values():
        assert s.noise() / s.corrfac == pytest.approx(math.sqrt(np.median(s.var[s.deep])), rel=0.05)


def test_bright_star_has_wings_and_no_ring(stack):
    x, y = stack.place(*BRIGHT)
    rows, columns = np.indices(stack.sci.shape)
    radius = np.hypot(columns - x, rows - y)
    for inner in range(0, 40, 10):
        part = (radius >= inner) & (radius < inner + 10)
        assert np.median(stack.sci[part]) > stack.noise(), inner
    ring = (radius >= 20) & (radius < 140) & stack.deep
    assert stack.sci[ring].mean() > -0.25 * stack.noise()
    for inner in range(20, 140, 20):
        part = ring & (radius >= inner) & (radius < inner + 20)
        assert np.median(stack.sci[part]) > -0.25 * stack.noise(), inner


def test_a_glow_on_the_detector_is_no_object(stack, fewer):
    """A variable glow of a third of the sky in one corner: when it was masked, it remained in stacks of few frames."""
    for s in (*fewer.values(), stack):
        x, y = (int(v) for v in s.place(62, 64))
        boxes = [np.s_[j : j + 32, i : i + 32] for j in range(y, y + 236, 32) for i in range(x, x + 890, 32)]
        levels = np.array([np.median(s.sci[box]) for box in boxes if s.deep[box].mean() > 0.8])
        assert np.mean(np.abs(levels) > s.noise()) < 0.07  # boxes on stars; 0.10 with the glow


def test_blank_sky_is_level(stack):
    """No pedestal outside the star's halo: shrinking the strong, skewed pattern like noise left 0.3 sigma there."""
    x, y = stack.place(*BRIGHT)
    rows, columns = np.indices(stack.sci.shape)
    radius = np.hypot(columns - x, rows - y)
    around = (radius >= 140) & (radius < 240) & stack.deep
    assert abs(np.median(stack.sci[around])) < 0.1 * stack.noise()
