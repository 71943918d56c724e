from __future__ import annotations

import os
from pathlib import Path

import pytest

from nirred.errors import ConfigError
from nirred.textfiles import read_text, read_toml


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"a = \xff", "utf-8"),
        (b"a = ", "end of document"),
        (b"a = 1\x00", "line 1"),
    ],
)
def test_what_is_no_toml_is_named(tmp_path: Path, content: bytes, fault: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"the recipe: .*{fault}") as caught:
        read_toml(path, "the recipe", "mend it")
    assert caught.value.hint == "mend it"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the recipe: No such file"):
        read_toml(tmp_path / "absent.toml", "the recipe", "mend it")


def test_a_list_from_a_pipe_is_read_as_often_as_asked() -> None:
    """As in ``nirred run @<(nirred select ...)``: the run checks its inputs before the plan reads them."""
    for names in ("a.fits\nb.fits\n", "c.fits\n"):
        read, write = os.pipe()
        os.write(write, names.encode())
        os.close(write)
        assert [read_text(f"/dev/fd/{read}") for _ in range(2)] == [names] * 2
        os.close(read)
