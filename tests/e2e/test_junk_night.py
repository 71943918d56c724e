"""A night among unusable files: good files are reduced, every other file is named with its fate, without crash."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits

from nirred.registry import Registry


def changed(source, target, **cards):
    """A copy of a raw frame with other keywords in its primary header."""
    with fits.open(source) as hdus:
        hdus[0].header.update(cards)
        hdus.writeto(target)


def with_rubbish(night, raw):
    """Copy the night and add unusable files; {name: (fate, part of the reason)} of these."""
    shutil.copytree(night.raw_dir, raw)
    good = raw / night.groups["dither"].objects[0]
    whole = good.read_bytes()
    packed = bytearray(gzip.compress(whole, 1))
    packed[len(packed) // 2 : len(packed) // 2 + 64] = bytes(64)
    (raw / "empty.fits").touch()
    (raw / "truncated.fits").write_bytes(whole[: len(whole) // 2])
    (raw / "headless.fits").write_bytes(whole[:2000])
    (raw / "corrupt.fits.gz").write_bytes(packed[:200] + bytes(200))
    (raw / "damaged.fits.gz").write_bytes(packed)
    (raw / "letter.fits").write_text("Dear observer,\nthis is no FITS file.\n")
    (raw / "copy.fits.gz").write_bytes(gzip.compress(whole, 1))
    changed(good, raw / "foreign.fits", INSTRUME="CAMERA9")
    changed(good, raw / "spectrum.fits", FILTER3="Kgrism_G5204", DATALAB="GN-1-1-901")
    changed(good, raw / "acquisition.fits", OBSCLASS="acq", DATALAB="GN-1-1-902")
    return {
        "empty.fits": ("unreadable", "empty"),
        "truncated.fits": ("unreadable", "truncated"),
        "headless.fits": ("unreadable", "truncated"),
        "corrupt.fits.gz": ("unreadable", "compression"),
        "letter.fits": ("unreadable", "not a FITS"),
        "copy.fits.gz": ("duplicate", good.name),
        "foreign.fits": ("unclaimed", "CAMERA9"),
        "spectrum.fits": ("unsupported", "spectrum"),
        "acquisition.fits": ("unsupported", "acquisition"),
    }


def blank_frame(night, raw):
    """The last frame on target without one finite pixel."""
    name = night.groups["dither"].objects[-1]
    with fits.open(raw / name) as hdus:
        hdus[1].data = np.full(hdus[1].data.shape, np.nan, np.float32)
        hdus.writeto(raw / name, overwrite=True)
    return name


@pytest.fixture(scope="module")
def junk(nirred_nights, tmp_path_factory):
    registry = Registry.discover(only=["niri"])
    reduced = nirred_nights.reduce("niri", registry)
    home = tmp_path_factory.mktemp("junk")
    raw, out = home / "raw", home / "reduced"
    fates = with_rubbish(reduced.night, raw)
    blank = blank_frame(reduced.night, raw)
    image = reduced.night.groups["dither"].product
    shutil.copy(reduced.out / image, raw / "before_image.fits")
    fates["before_image.fits"] = ("product", "image")
    command = [sys.executable, "-m", "nirred", "run", str(raw), "-o", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return reduced.night, out, fates, blank, done


def record(out):
    return json.loads((out / "run.json").read_text())


def test_runs_through(junk):
    _, _, _, _, done = junk
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_every_file_has_its_fate(junk):
    night, out, wanted, _, _ = junk
    files = {entry["file"].rsplit("/", 1)[-1]: entry for entry in record(out)["files"]}
    assert set(files) == set(night.frames) | set(wanted) | {"damaged.fits.gz"}
    for name, (fate, reason) in wanted.items():
        assert (name, files[name]["fate"]) == (name, fate)
        assert reason in files[name]["reason"]


def test_damage_in_the_pixels_is_told(junk):
    """A copy with damaged compressed pixels has a good header: detected only when its content is read."""
    _, out, _, _, _ = junk
    files = {entry["file"].rsplit("/", 1)[-1]: entry for entry in record(out)["files"]}
    assert files["damaged.fits.gz"]["fate"] in ("unreadable", "rejected")
    assert "damaged.fits.gz" in files["damaged.fits.gz"]["reason"]


def test_blank_frame_is_left_out_by_name(junk):
    night, out, _, blank, _ = junk
    files = {entry["file"].rsplit("/", 1)[-1]: entry for entry in record(out)["files"]}
    assert files[blank]["fate"] == "rejected"
    assert files[blank]["reason"]
    with fits.open(out / night.groups["dither"].product) as hdus:
        states = {row["file"].strip(): row["state"].strip() for row in hdus["FRAMES"].data}
    assert states == {n: "rejected" if n == blank else "used" for n in night.groups["dither"].objects}


def test_good_groups_are_reduced(junk):
    night, out, _, _, _ = junk
    for name in (*night.products.values(), night.groups["dither"].product):
        assert (out / name).is_file(), name
    with fits.open(out / night.groups["dither"].product) as hdus:
        inner = hdus["SCI"].data[hdus["NEXP"].data == hdus["NEXP"].data.max()]
        assert np.isfinite(inner).all()
    assert {task["outcome"] for task in record(out)["tasks"]} == {"done"}
