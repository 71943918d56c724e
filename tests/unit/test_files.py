"""Files that are written whole, and what the system keeps of them."""

from __future__ import annotations

from nirred.files import give_cache_back


def test_a_file_whose_cache_is_given_back_is_as_it_was_and_an_absent_one_is_no_error(tmp_path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(b"x" * 10_000)
    give_cache_back(path)
    give_cache_back(tmp_path / "none.fits")
    assert path.read_bytes() == b"x" * 10_000
