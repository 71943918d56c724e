"""The order of the arguments and compression of the inputs do not change a byte of the products."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import random

import pytest
from astropy.io import fits

from nirred.registry import Registry
from nirred.run.api import RunOptions, run


def digests(directory):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.iterdir()) if p.is_file()}


def products(out):
    return {name: digest for name, digest in digests(out).items() if name.endswith(".fits")}


@pytest.fixture(scope="module")
def forms(nirred_nights, tmp_path_factory):
    """The unchanged night, and the night shuffled in three kinds of file."""
    registry = Registry.discover(only=["niri"])
    night = nirred_nights.night("niri", registry)
    before = digests(night.raw_dir)
    plain = nirred_nights.reduce("niri", registry)
    home = tmp_path_factory.mktemp("forms")
    files = []
    for number, path in enumerate(sorted(night.raw_dir.glob("*.fits"))):
        pack, suffix = ((bytes, ""), (lambda b: gzip.compress(b, 1), ".gz"), (bz2.compress, ".bz2"))[number % 3]
        files.append(home / f"{path.name}{suffix}")
        files[-1].write_bytes(pack(path.read_bytes()))
    random.Random(7).shuffle(files)
    mixed = run(files, home / "mixed", RunOptions(jobs=2), registry)
    return plain, mixed, home / "mixed", before


def test_products_are_the_same_bytes(forms):
    plain, mixed, out, _ = forms
    assert mixed.exit_code == plain.result.exit_code == 0
    assert products(out) == products(plain.out)


def test_inputs_are_untouched(forms):
    plain, _, _, before = forms
    assert digests(plain.night.raw_dir) == before


def test_products_are_valid_fits(forms):
    plain, _, out, _ = forms
    names = {plain.night.groups["dither"].product, *plain.night.products.values()}
    assert set(products(out)) == names
    for name in names:
        with fits.open(out / name, checksum=True) as hdus:
            hdus.verify("exception")
            assert all({"CHECKSUM", "DATASUM"} <= set(hdu.header) for hdu in hdus)
            assert all(hdu.verify_checksum() == 1 and hdu.verify_datasum() == 1 for hdu in hdus)


def test_stack_says_what_it_is(forms):
    plain, _, out, _ = forms
    with fits.open(out / plain.night.groups["dither"].product) as hdus:
        names = [hdu.name for hdu in hdus[1:]]
        assert names[:4] == ["SCI", "VAR", "DQ", "NEXP"]
        assert {"OBJCAT", "PROVENANCE", "FRAMES"} <= set(names)
        assert hdus["SCI"].header["BUNIT"] == "electron"
        assert hdus["VAR"].header["BUNIT"] == "electron2"
        assert hdus["SCI"].data.shape == hdus["VAR"].data.shape == hdus["DQ"].data.shape == hdus["NEXP"].data.shape
