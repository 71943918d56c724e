"""Digests of files, alone and many together."""

from __future__ import annotations

import bz2
import gzip
import hashlib

import numpy as np
import pytest

from nirred import digests
from nirred.digests import digest_ahead, file_digest
from nirred.errors import Unreadable

CONTENT = b"SIMPLE  =" + bytes(range(256)) * 12000


def test_compression_does_not_change_the_digest(tmp_path):
    files = {"a.fits": CONTENT, "b.fits.gz": gzip.compress(CONTENT), "c.fits.bz2": bz2.compress(CONTENT)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        assert file_digest(tmp_path / name) == hashlib.sha256(CONTENT).hexdigest()


def test_a_changed_file_has_another_digest(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(b"one")
    before = file_digest(path)
    path.write_bytes(b"three")
    assert file_digest(path) == hashlib.sha256(b"three").hexdigest() != before


def test_a_missing_or_damaged_file_is_unreadable(tmp_path):
    with pytest.raises(Unreadable, match=r"none\.fits"):
        file_digest(tmp_path / "none.fits")
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(CONTENT)[:-2000])
    with pytest.raises(Unreadable, match="fetch the file again"):
        file_digest(tmp_path / "a.fits.gz")


@pytest.mark.parametrize("size", [1, digests.CHUNK - 1, digests.CHUNK, 2 * digests.CHUNK + 2880])
def test_many_files_of_one_size(tmp_path, monkeypatch, size):
    """More than are taken at once, and some of another size beside them."""
    rng = np.random.default_rng(size)
    paths = [tmp_path / f"{k}.fits" for k in range(23)]
    for k, path in enumerate(paths):
        path.write_bytes(rng.bytes(size + 7 * (k == 20)))
    digest_ahead([*paths, tmp_path / "none.fits"])
    whole = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert {path: file_digest(path) for path in paths if path.name != "20.fits"} == {
        path: value for path, value in whole.items() if path.name != "20.fits"
    }
    paths[0].write_bytes(rng.bytes(size))
    monkeypatch.undo()
    assert file_digest(paths[0]) == hashlib.sha256(paths[0].read_bytes()).hexdigest()


def test_compressed_files_are_left_to_be_inflated(tmp_path):
    paths = [tmp_path / f"{k}.fits.gz" for k in range(6)]
    for path in paths:
        path.write_bytes(gzip.compress(CONTENT, mtime=0))
    digest_ahead(paths)
    assert file_digest(paths[0]) == hashlib.sha256(CONTENT).hexdigest()
