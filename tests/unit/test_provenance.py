"""Provenance records of products."""

from __future__ import annotations

import bz2
import gzip
import hashlib

import pytest

from nirred import __version__, provenance
from nirred.errors import Unreadable
from nirred.files import replacing
from nirred.provenance import Record, file_digest, input_records, parameter_records, table

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


def test_inputs_are_named_without_directory_and_compression(tmp_path):
    (tmp_path / "N1.fits.gz").write_bytes(gzip.compress(b"x"))
    (record,) = input_records([(tmp_path / "N1.fits.gz", "input", "dark")])
    assert record == Record("input", "N1.fits", "dark", hashlib.sha256(b"x").hexdigest())


def test_parameters_follow_their_step():
    records = parameter_records("sky_correct", 2, {"nsigma": 4.0, "names": None}, {"nsigma": "-p"})
    assert records == [
        Record("step", "sky_correct", "2", f"nirred {__version__}"),
        Record("parameter", "sky_correct:nsigma", "4.0", "-p"),
        Record("parameter", "sky_correct:names", "None", "default"),
    ]


def test_table_is_as_wide_as_its_longest_text_and_ascii():
    rows = table([Record("a", "b" * 300, "\u03b1", ""), Record("input", "c", "d", "e")])
    assert rows["name"][0] == b"b" * 300 and rows["value"][0] == b"\\u03b1" and rows["item"][1] == b"input"
    assert rows.dtype["origin"].itemsize == 1
    assert len(table([])) == 0


def test_the_digest_of_a_file_is_known_by_its_later_name(tmp_path, monkeypatch):
    path = tmp_path / "product.fits"
    with replacing(path, meanwhile=file_digest) as stream:
        stream.write(CONTENT)
    monkeypatch.setattr(provenance, "open_stream", lambda path: pytest.fail("it was read again"))
    assert file_digest(path) == hashlib.sha256(CONTENT).hexdigest()
