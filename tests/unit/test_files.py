"""Files written completely or not at all, and their pages in the system's cache."""

from __future__ import annotations

from pathlib import Path

import pytest

from nirred.errors import Unreadable
from nirred.files import give_cache_back, replacing


def test_a_file_whose_cache_is_given_back_is_as_it_was_and_an_absent_one_is_no_error(tmp_path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(b"x" * 10_000)
    give_cache_back(path)
    give_cache_back(tmp_path / "none.fits")
    assert path.read_bytes() == b"x" * 10_000


def test_nothing_is_left_where_what_goes_on_beside_the_disk_fails(tmp_path) -> None:
    path = tmp_path / "product"
    path.write_bytes(b"before")

    def fail(temporary: Path) -> None:
        assert temporary.read_bytes() == b"after"
        raise Unreadable("it is gone")

    with pytest.raises(Unreadable), replacing(path, meanwhile=fail) as stream:
        stream.write(b"after")
    assert [p.name for p in tmp_path.iterdir()] == ["product"]
    assert path.read_bytes() == b"before"
