"""Files that the library accepts, keeps and refuses, and changes that it detects."""

from __future__ import annotations

import gzip
import json
import multiprocessing
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from nirred.errors import ConfigError, DataError, LibraryError
from nirred.library import CalibrationLibrary, database
from nirred.library.database import VERSION, Database

Make = Callable[..., Path]


def test_add_list_remove(library: CalibrationLibrary, product: Make) -> None:
    assert library.list() == []
    dark, flat = product("dark", "a_dark.fits", QA="Pass"), product("flat", "a_flat.fits")
    (entry,) = library.add(dark)
    library.add(str(flat))
    assert (entry.kind, entry.instrument, entry.qa_state, entry.state) == ("dark", "cam", "Pass", "ok")
    assert entry.date == "2026-01-15 08:00:00" and entry.setting.startswith("20 s, slow")
    assert [e.path for e in library.list()] == [dark, flat]
    assert [e.path for e in library.list(kind="flat", instrument="cam")] == [flat]
    assert library.list(instrument="other") == []
    assert json.loads(json.dumps(entry.json()))["file"] == str(dark)
    assert [e.path for e in library.remove("a_dark")] == [dark]
    assert dark.is_file() and [e.path for e in library.list()] == [flat]


def test_a_path_that_no_database_can_hold_is_refused(library: CalibrationLibrary, product: Make) -> None:
    dark = product("dark", "a_dark.fits")
    with pytest.raises(DataError, match="no UTF-8"):
        library.add(dark.rename(dark.with_name("\udce9_dark.fits")))
    assert library.list() == []


def test_init_wipes_nothing(library: CalibrationLibrary, product: Make) -> None:
    library.init()
    library.add(product("dark", "a_dark.fits"))
    with pytest.raises(LibraryError, match="already"):
        library.init()
    assert len(library.list()) == 1


def test_a_file_that_is_added_again_replaces_its_row(library: CalibrationLibrary, product: Make) -> None:
    path = product("dark", "a_dark.fits")
    (before,) = library.add(path)
    path.unlink()
    product("dark", "a_dark.fits", EXPTIME=7.0)
    (after,) = library.add(path)
    assert [e.checksum for e in library.list()] == [after.checksum] != [before.checksum]
    assert after.setting.startswith("7 s")


def test_a_file_is_in_it_once_however_it_is_named(
    library: CalibrationLibrary, product: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`..` in a path makes no difference; a link to a directory may lead elsewhere and is not resolved."""
    path = product("dark", "a_dark.fits")
    (tmp_path / "work" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    for name in (path, "../masters/a_dark.fits", tmp_path / "work" / ".." / "masters" / path.name):
        library.add(name)
    assert [e.path for e in library.list()] == [path]
    (tmp_path / "link").symlink_to(tmp_path / "work" / "below")
    (tmp_path / "work" / path.name).write_bytes(path.read_bytes())
    (tmp_path / path.name).write_bytes(path.read_bytes())
    (entry,) = library.add(tmp_path / "link" / ".." / path.name)
    assert entry.path == tmp_path / "link" / ".." / path.name
    assert library.remove("../masters/a_dark.fits")[0].path == path
    assert [e.path for e in library.list()] == [entry.path] == [e.path for e in library.remove(entry.path)]


def test_a_relative_name_is_kept_whole(
    library: CalibrationLibrary, product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = product("dark", "a_dark.fits")
    monkeypatch.chdir(path.parent)
    assert library.add("a_dark.fits")[0].path == path
    assert library.remove("./a_dark.fits")


@pytest.mark.parametrize(
    ("cards", "words"),
    [
        ({"ROLE": "dark"}, "a raw dark"),
        ({"ROLE": "science"}, "a science frame"),
        ({"ROLE": "dark", "TAG": "PROCESSED"}, "unit none; BUNIT"),
        ({"ROLE": "dark", "TAG": "PROCESSED", "BUNIT": "adu"}, "unit adu"),
        ({"ROLE": "science", "TAG": "PROCESSED"}, "no dark, flat or mask"),
        ({"ROLE": "bpm", "UT": ""}, "no date"),
        ({"ROLE": "science", "NIRRED": "0.1.0", "NIRKIND": "image"}, "a reduced image"),
        ({"ROLE": "dark", "GRISM": True}, "spectrum"),
        ({"ROLE": "dark", "INSTRUME": "OTHER"}, "OTHER"),
    ],
)
def test_what_is_no_calibration_is_refused(
    library: CalibrationLibrary, night: Any, product: Make, cards: dict[str, Any], words: str
) -> None:
    good = product("dark", "a_dark.fits")
    values = dict(cards)
    path = night.frame(values.pop("ROLE"), "x.fits", **values)
    with pytest.raises(DataError, match=words):
        library.add(good, path)
    assert library.list() == []
    with pytest.raises(DataError):
        library.add(path.with_name("absent.fits"))


@pytest.mark.parametrize(
    ("cards", "kind"),
    [
        ({"ROLE": "dark", "TAG": "PROCESSED", "BUNIT": "electron"}, "dark"),
        ({"ROLE": "flat", "TAG": "PROCESSED"}, "flat"),
        ({"ROLE": "bpm"}, "static_bpm"),
        ({"ROLE": "flat", "NIRRED": "0.1.0", "NIRKIND": "skyflat"}, "flat"),
        ({"ROLE": "lamp_on", "NIRRED": "0.1.0", "NIRKIND": "bpm"}, "bpm"),
    ],
)
def test_calibrations_of_every_origin(
    library: CalibrationLibrary, night: Any, cards: dict[str, Any], kind: str
) -> None:
    values = dict(cards)
    assert library.add(night.frame(values.pop("ROLE"), "x.fits", **values))[0].kind == kind


def test_names_that_several_have_and_names_that_none_has(library: CalibrationLibrary, product: Make) -> None:
    path = product("dark", "a_dark.fits")
    twin = path.parent.parent / path.name
    twin.write_bytes(path.read_bytes())
    library.add(path, twin)
    with pytest.raises(DataError, match="2 files"):
        library.remove("a_dark.fits")
    with pytest.raises(DataError, match=r"a_darc.*a_dark"):
        library.remove("a_darc.fits", path)
    assert len(library.list()) == 2
    assert [e.path for e in library.remove(path)] == [path]


def test_files_that_change_are_noticed(library: CalibrationLibrary, product: Make) -> None:
    paths = [product("dark", f"{name}_dark.fits") for name in ("kept", "touched", "changed", "sly", "gone")]
    library.add(*paths)
    os.utime(paths[1], (1, 1))
    paths[2].write_bytes(paths[2].read_bytes() + bytes(2880))
    sly = paths[3].stat()
    paths[3].write_bytes(bytes([*paths[3].read_bytes()[:-1], 1]))
    os.utime(paths[3], ns=(sly.st_atime_ns, sly.st_mtime_ns))
    paths[4].unlink()
    quick = {e.path.name.partition("_")[0]: e.state for e in library.list()}
    assert quick == {"kept": "ok", "touched": "ok", "changed": "changed", "sly": "ok", "gone": "missing"}
    assert {e.path.name.partition("_")[0]: e.state for e in library.verify()} == quick | {"sly": "changed"}


def test_the_checksum_is_that_of_the_decompressed_file(library: CalibrationLibrary, product: Make) -> None:
    path = product("dark", "a_dark.fits")
    packed = path.with_name("b_dark.fits.gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    one, other = library.add(path, packed)
    assert one.checksum == other.checksum and one.size != other.size


# -- several processes ------------------------------------------------------------------------------------------------


def at_once(place: Any, registry: Any, paths: list[Path], processes: int = 8) -> list[int]:
    """Exit codes of processes that each add their share of files, one by one, starting together."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(processes)

    def work(share: list[Path]) -> None:
        start.wait()
        for path in share:
            CalibrationLibrary(place, registry, timeout=60).add(path)

    workers = [context.Process(target=work, args=(paths[i::processes],)) for i in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return [worker.exitcode or 0 for worker in workers]


def test_eight_processes_lose_nothing(tmp_path: Path, night: Any, product: Make) -> None:
    paths = [product("dark", f"{i:02d}_dark.fits") for i in range(32)]
    shared = product("flat", "all_flat.fits")
    place = tmp_path / "new" / "library.db"  # created by the first of them
    assert at_once(place, night.registry, [*paths, *[shared] * 8]) == [0] * 8
    assert {e.path for e in CalibrationLibrary(place, night.registry).list()} == {*paths, shared}


def test_a_locked_library_says_so(library: CalibrationLibrary, product: Make) -> None:
    library.add(product("dark", "a_dark.fits"))
    other = sqlite3.connect(library.name, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert len(library.list()) == 1  # reading still works
    with pytest.raises(LibraryError, match=r"library.db: locked by another process for more than 0.3 s"):
        library.add(product("dark", "b_dark.fits"))
    other.execute("ROLLBACK")
    assert library.add(product("dark", "c_dark.fits"))


def test_what_is_waited_for_is_said(
    library: CalibrationLibrary, product: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.add(product("dark", "a_dark.fits"))
    other = sqlite3.connect(library.name, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    said: list[str] = []
    with pytest.raises(LibraryError, match="locked"):
        CalibrationLibrary(library.name, library.registry, 0.5, said.append).list()
    assert said == [f"waiting for the calibration library {library.name}, up to 0.5 s"]
    other.execute("ROLLBACK")
    monkeypatch.undo()
    assert CalibrationLibrary(library.name, library.registry, 0.5, said.append).list() and len(said) == 1


# -- files that are not libraries ------------------------------------------------------------------------------------


def test_a_database_of_another_program(tmp_path: Path, product: Make, night: Any) -> None:
    path = tmp_path / "cal_manager.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE diskfile (x)")
    before = path.read_bytes()
    library = CalibrationLibrary(path, night.registry)
    for action in (library.list, library.init, lambda: library.add(product("dark", f"{os.urandom(4).hex()}.fits"))):
        with pytest.raises(LibraryError, match=r"cal_manager.db: a database of another program \(tables diskfile\)"):
            action()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "remedy"), [(VERSION + 1, "upgrade nirred"), (0, "cal add"), (None, "cal add")])
def test_a_library_of_another_version(library: CalibrationLibrary, version: int | None, remedy: str) -> None:
    library.init()
    with sqlite3.connect(library.name) as other:
        other.execute("DELETE FROM nirred_library")
        if version is not None:
            other.execute("INSERT INTO nirred_library VALUES (?)", (version,))
    with pytest.raises(LibraryError, match=f"version {version}, this nirred reads version {VERSION}") as caught:
        library.list()
    assert remedy in caught.value.hint and library.name in caught.value.message


def test_damage(library: CalibrationLibrary, product: Make) -> None:
    Path(library.name).write_bytes(b"hello " * 999)
    with pytest.raises(LibraryError, match="damaged, or no SQLite database"):
        library.list()
    Path(library.name).write_bytes(b"")
    assert library.add(product("dark", "a_dark.fits"))  # an empty file is an empty library


@pytest.mark.parametrize(
    "cell", ["ut = 'noon'", "ut = 1e300", "ut = 9e999", "tags = x'ff'", "size = 'big'", "path = '/a' || char(0)"]
)
def test_a_damaged_cell(library: CalibrationLibrary, product: Make, cell: str) -> None:
    library.add(product("dark", "a_dark.fits"))
    with closing(sqlite3.connect(library.name)) as rows, rows:
        rows.execute(f"UPDATE nirred_calibration SET {cell}")
    for action in (library.list, library.verify, lambda: library.remove("a_dark.fits")):
        with pytest.raises(LibraryError, match=r"damaged.*entry 1: .*(ut|tags|size|path)") as caught:
            action()
    assert "cal add" in caught.value.hint


def test_damaged_names_of_tables(library: CalibrationLibrary) -> None:
    library.init()
    place = Path(library.name)
    place.write_bytes(place.read_bytes().replace(b"CREATE TABLE", b"\xffREATE TABLE"))
    with pytest.raises(LibraryError, match="damaged, or no SQLite database"):
        library.list()


def test_a_pipe_in_place_of_a_calibration_is_not_read(library: CalibrationLibrary, product: Make) -> None:
    path = product("dark", "a_dark.fits")
    library.add(path)
    path.unlink()
    os.mkfifo(path)
    assert [e.state for e in library.list()] == [e.state for e in library.verify()] == ["missing"]


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Database("x.db").file == tmp_path / "x.db"
    assert Database(tmp_path).file == tmp_path / "library.db"
    assert Database(f"sqlite:///{tmp_path}/y.db").file == tmp_path / "y.db"
    server = Database("postgresql://me:secret@host/stars")
    assert server.file is None and "secret" not in server.name and "me" in server.name
    for wrong in ("mysql://me:secret@host/x", "sqlite://", "post gres://x:y:z/"):
        with pytest.raises(ConfigError) as caught:
            Database(wrong)
        assert "secret" not in str(caught.value)
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LibraryError, match="file"):
        CalibrationLibrary(blocked / "x.db").init()
