from __future__ import annotations

from pathlib import Path

import pytest

from nirred.errors import DataError
from nirred.inputs import expand_inputs


def touch(*paths: Path) -> None:
    for p in paths:
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_bytes(b"x")


def names(paths: list[Path]) -> list[str]:
    return [p.name for p in paths]


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw"
    touch(raw / "b.fits", raw / "a.fit", raw / "sub/c.fits.gz", raw / "d.FITS.BZ2", raw / "e.fits.fz")
    touch(raw / ".hidden.fits", raw / ".dir/h.fits", raw / "notes.txt", raw / "reduced/p_dark.fits")
    return raw


def test_directory_recursive_without_hidden_and_out(raw: Path) -> None:
    assert names(expand_inputs([raw], out=raw / "reduced")) == [
        "a.fit",
        "b.fits",
        "c.fits.gz",
        "d.FITS.BZ2",
        "e.fits.fz",
    ]
    assert "p_dark.fits" in names(expand_inputs([raw]))
    with pytest.raises(DataError, match="raw is the output, too"):
        expand_inputs([raw], out=raw)


def test_each_file_once_and_links_followed_once(raw: Path) -> None:
    (raw / "loop").symlink_to(raw)
    (raw / "twin.fits").symlink_to(raw / "b.fits")
    found = expand_inputs([raw, raw / "b.fits", "raw/./b.fits"], out=raw / "reduced")
    assert names(found).count("b.fits") == 1
    assert "twin.fits" not in names(found)


def test_links_that_lead_nowhere_are_named_not_followed(raw: Path) -> None:
    """A file that cannot be opened has its fate in the plan; an output or a list that is one is the user's slip."""
    (raw / "nowhere.fits").symlink_to("absent")
    (raw / "itself.fits").symlink_to("itself.fits")
    (raw / "notes").symlink_to("notes")
    found = names(expand_inputs([raw]))
    assert {"nowhere.fits", "itself.fits"} <= set(found) and "notes" not in found
    assert names(expand_inputs([raw], out=raw / "itself.fits")) == found
    with pytest.raises(DataError, match="too many levels"):
        expand_inputs([raw / "itself.fits"])
    with pytest.raises(DataError, match=r"list .*notes.*: Too many levels"):
        expand_inputs([f"@{raw / 'notes'}"])


def test_order_of_inputs_does_not_matter(raw: Path) -> None:
    one = expand_inputs(["raw/b.fits", "raw/a.fit"])
    assert one == expand_inputs(["raw/a.fit", "raw/b.fits"])


def test_named_file_is_taken_whatever_its_suffix(raw: Path) -> None:
    assert names(expand_inputs(["raw/notes.txt"])) == ["notes.txt"]


def test_missing_name_and_nothing(raw: Path) -> None:
    with pytest.raises(DataError, match=r"nope\.fits.*does not exist"):
        expand_inputs(["raw/nope.fits"])
    with pytest.raises(DataError, match="no input files"):
        expand_inputs([])
    for nothing in ("", " "):
        with pytest.raises(DataError, match="an input has no name"):
            expand_inputs([raw, nothing])
    (raw / "empty").mkdir()
    with pytest.raises(DataError, match=r"no input files.*empty"):
        expand_inputs([raw / "empty"])


def test_list_with_comments_quotes_and_several_names(raw: Path, tmp_path: Path) -> None:
    touch(raw / "two words.fits", raw / "x#1.fits")
    (tmp_path / "all.lis").write_text(
        "# a comment\n\nraw/b.fits raw/a.fit # trailing raw/none.fits\n"
        "  'raw/two words.fits'\n\"raw/x#1.fits\" raw/x#1.fits\n"
    )
    assert names(expand_inputs(["@all.lis"])) == ["a.fit", "b.fits", "two words.fits", "x#1.fits"]


def test_several_lists_mixed_with_names(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("raw/a.fit")
    (tmp_path / "b").write_text("raw/b.fits\nraw/a.fit")
    assert names(expand_inputs(["@a", "@b", "raw/e.fits.fz"])) == ["a.fit", "b.fits", "e.fits.fz"]


def test_list_names_outside_and_relative_to_the_list(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "l.lis").write_text("../raw/b.fits")
    monkeypatch.chdir(work)
    assert names(expand_inputs(["@l.lis"])) == ["b.fits"]
    monkeypatch.chdir("/")
    assert names(expand_inputs([f"@{work}/l.lis"])) == ["b.fits"]


def test_nested_lists_relative_to_their_list_and_kept_below(raw: Path, tmp_path: Path) -> None:
    (raw / "inner.lis").write_text("b.fits\n@sub/deep.lis")
    (raw / "sub/deep.lis").write_text("c.fits.gz")
    (raw / "outer.lis").write_text("@inner.lis raw/a.fit")
    assert names(expand_inputs(["@raw/outer.lis"])) == ["a.fit", "b.fits", "c.fits.gz"]
    (raw / "inner.lis").write_text("../other.fits")
    touch(tmp_path / "other.fits")
    with pytest.raises(DataError, match=r"inner\.lis, line 1: .*leaves"):
        expand_inputs(["@raw/outer.lis"])
    (raw / "outer.lis").write_text("@../elsewhere.lis")
    (tmp_path / "elsewhere.lis").write_text("raw/a.fit")
    with pytest.raises(DataError, match="leaves"):
        expand_inputs(["@raw/outer.lis"])


def test_cycle_missing_list_and_line_number(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("@two")
    (tmp_path / "two").write_text("@one")
    with pytest.raises(DataError, match="includes itself"):
        expand_inputs(["@one"])
    with pytest.raises(DataError, match=r"none\.lis"):
        expand_inputs(["@none.lis"])
    (tmp_path / "one").write_text("raw/b.fits\nraw/missing.fits")
    with pytest.raises(DataError, match=r"one, line 2: .*missing\.fits"):
        expand_inputs(["@one"])


def test_directory_in_a_list_and_a_dead_link(raw: Path, tmp_path: Path) -> None:
    (raw / "dead.fits").symlink_to(raw / "gone.fits")
    (tmp_path / "l").write_text("raw")
    assert "dead.fits" in names(expand_inputs(["@l"]))  # the scan reports it
    with pytest.raises(DataError, match="does not exist"):
        expand_inputs(["raw/dead.fits"])


def test_a_name_with_blanks_in_a_list_needs_quotes(raw: Path) -> None:
    touch(raw / "my night" / "x.fits")
    (raw / "l.lis").write_text("raw/my night/x.fits\n")
    with pytest.raises(DataError, match=r"l\.lis, line 1: 'raw/my' does not exist") as caught:
        expand_inputs(["@raw/l.lis"])
    assert "a name with blanks needs quotes" in caught.value.hint
    (raw / "l.lis").write_text("'raw/my night/x.fits'\n")
    assert names(expand_inputs(["@raw/l.lis"])) == ["x.fits"]
