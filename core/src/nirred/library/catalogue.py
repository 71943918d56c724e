"""`CalibrationLibrary`: add, list, remove, verify and explain finished calibrations."""

from __future__ import annotations

import builtins
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import DataError, LibraryError
from ..params import nearest
from ..plan.model import file_root
from ..plan.moments import stamp
from ..provenance import content_digest, file_digest
from ..streams import DAMAGE
from .database import Database, default_place

if TYPE_CHECKING:
    from ..registry import Registry

#: Limits of dates: the years 1 and 10000.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_800.0
State = Literal["ok", "changed", "missing", "unreadable"]


@dataclass(frozen=True)
class Entry:
    """One calibration of the library.

    Parameters
    ----------
    path : Path
        Absolute.
    kind : str
        dark, flat, bpm (measured) or static_bpm (valid from its date on), or a plugin's own.
    instrument : str
        The camera.
    plugin : str
        Name of the plugin that supports it.
    ut : float or None
        Start of its first frame, s since 1970 UT; for a static mask the date from which it is valid.
    setting : str
        Its configuration in words.
    qa_state : str or None
        The observatory's assessment; Fail is never used.
    checksum : str
        SHA-256 of the decompressed bytes.
    size, mtime_ns : int
        Size in bytes and modification time in ns of the file when it was added.
    registered : str
        When it was added, ISO, UT.
    tags : frozenset of str
        Those of its header.
    state : {"ok", "changed", "missing", "unreadable"}
        Current state of the file.
    """

    path: Path
    kind: str
    instrument: str
    plugin: str
    ut: float | None
    setting: str
    qa_state: str | None
    checksum: str
    size: int
    mtime_ns: int
    registered: str
    tags: frozenset[str] = frozenset()
    state: State = "ok"

    @property
    def date(self) -> str:
        """`ut` as ISO text; empty when unknown."""
        return "" if self.ut is None else datetime.fromtimestamp(self.ut, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def json(self) -> dict[str, Any]:
        """All fields, for JSON; `file` is the path."""
        fields = asdict(self) | {"ut": self.date, "tags": sorted(self.tags)}
        return {"file": str(fields.pop("path")), **fields}


class CalibrationLibrary:
    """Finished calibrations, registered by path with their headers and checksum; the files are not moved.

    Parameters
    ----------
    place : str or Path, optional
        SQLite file, directory, or URL of an SQLite or PostgreSQL database; default the user's own library. It is
        created when the first calibration is added.
    registry : Registry, optional
        The plugins; default all that are installed.
    timeout : float, optional
        Seconds to wait for another process that writes; default 20.
    say : callable, optional
        Called from another thread with a message if the database keeps the caller waiting.

    Raises
    ------
    LibraryError
        From every method: the database is locked, damaged, not a library, or of another version.

    Examples
    --------
    >>> nirred.CalibrationLibrary("masters.db").add("N20160102S0423_dark.fits")  # doctest: +SKIP
    """

    def __init__(
        self,
        place: str | Path | None = None,
        registry: Registry | None = None,
        timeout: float | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self.database = Database(default_place() if place is None else place, timeout, say)
        self._registry = registry

    def __repr__(self) -> str:
        return f"CalibrationLibrary({self.name!r})"

    @property
    def name(self) -> str:
        """Its file, or its URL without password."""
        return self.database.name

    @cached_property
    def registry(self) -> Registry:
        """The plugins that describe the files."""
        from ..registry import Registry

        return self._registry if self._registry is not None else Registry.discover()

    def init(self) -> None:
        """Create an empty library; `add` does so automatically.

        Raises
        ------
        LibraryError
            The library exists already; nothing is ever deleted.
        """
        with self.database.read() as connection:
            there = connection is not None
        if there:
            raise LibraryError(f"{self.name}: already a library, not touched", "`nirred cal list` shows what is in it")
        with self.database.write():
            pass

    def add(self, *files: str | Path) -> builtins.list[Entry]:
        """Add finished calibrations to the library; existing entries are updated.

        Parameters
        ----------
        *files : str or Path
            nirred's own products, static masks, processed darks and flats of another program; see `examine`.

        Returns
        -------
        list of Entry

        Raises
        ------
        DataError
            A file is not a calibration; the message says why, and none of `files` is added.
        """
        from .candidates import examine, pack, setting

        rows = []
        for name in files:
            path = _storable(_without_detours(Path(name).expanduser().absolute()))
            kind, frame = examine(path, self.registry)
            status = path.stat()
            rows.append(
                {
                    "path": str(path),
                    "checksum": file_digest(path),
                    "size": status.st_size,
                    "mtime_ns": status.st_mtime_ns,
                    "kind": kind,
                    "instrument": frame.instrument,
                    "plugin": frame.owner,
                    "tags": " ".join(sorted(frame.tags)),
                    "ut": stamp(frame),
                    "setting": setting(kind, frame),
                    "qa_state": frame.descriptors.qa_state,
                    "registered": datetime.now(UTC).isoformat(timespec="seconds"),
                    "headers": pack(frame.headers),
                }
            )
        if rows:
            self._store(rows)
        return [_entry(r, "ok") for r in rows]

    def _store(self, rows: Sequence[dict[str, Any]]) -> None:
        from sqlalchemy.dialects import postgresql, sqlite

        insert = sqlite.insert if self.database.file is not None else postgresql.insert
        statement = insert(self.database.entries)
        fresh = {c.name: c for c in statement.excluded if c.name not in ("id", "path")}
        with self.database.write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=["path"], set_=fresh), rows)

    def list(self, kind: str | None = None, instrument: str | None = None) -> builtins.list[Entry]:
        """List the library by instrument, kind and date; a file is read only if its size or time has changed.

        Parameters
        ----------
        kind, instrument : str, optional
            Only these.
        """
        return [_entry(r, state_of(r)) for r in self._rows(kind, instrument)]

    def verify(self) -> builtins.list[Entry]:
        """List the library after reading every file and comparing it with its checksum."""
        return [_entry(r, state_of(r, thorough=True)) for r in self._rows()]

    def remove(self, *names: str | Path) -> builtins.list[Entry]:
        """Remove calibrations from the library, by path or file name. The files are not touched.

        Raises
        ------
        DataError
            A name is not in the library, or belongs to several files; then nothing is removed.
        """
        rows = self._rows()
        gone = [_named(rows, Path(n), self.name) for n in names]
        with self.database.write() as connection:
            table = self.database.entries
            connection.execute(table.delete().where(table.c.path.in_([r["path"] for r in gone])))
        return [_entry(r, state_of(r)) for r in gone]

    def explain(self, file: str | Path, inputs: Iterable[str | Path] = ()) -> builtins.list[dict[str, Any]]:
        """All candidates of every kind that a frame needs, with each term of the rule, and why they were not chosen.

        Parameters
        ----------
        file : str or Path
            The frame to explain.
        inputs : iterable of paths, optional
            Other inputs: calibrations are made from them or found among them, as in a run.

        Returns
        -------
        list of dict
            ``{file, kind, reason, candidates: [{file, source, chosen, level, why, rules: [{rule, wanted, found,
            passed}]}]}``, candidates in order of preference. Levels: 0 as the calibration plan, 1 good, 2 probably
            acceptable, 3 risk.

        Raises
        ------
        DataError
            The file is not a frame of an installed camera.
        """
        from ..plan.explain import explain
        from ..plan.options import PlanOptions
        from .shelf import Shelf

        return explain(Path(file), inputs, self.registry, PlanOptions(library=Shelf(self)))

    # -- for plans --------------------------------------------------------------------------------------------------
    def rows(self, kind: str, instrument: str) -> builtins.list[dict[str, Any]]:
        """Rows of one kind without their headers; see `headers`."""
        return self._rows(kind, instrument)

    def headers(self, numbers: Sequence[int]) -> dict[int, bytes]:
        """Packed headers of rows by id."""
        from sqlalchemy import select

        with self.database.read() as connection:
            if connection is None:
                return {}
            table = self.database.entries
            found: dict[int, bytes] = {}
            for start in range(0, len(numbers), 500):  # databases limit the number of values in one query
                query = select(table.c.id, table.c.headers).where(table.c.id.in_(numbers[start : start + 500]))
                found |= {row.id: row.headers for row in connection.execute(query)}
            return found

    def _rows(self, kind: str | None = None, instrument: str | None = None) -> builtins.list[dict[str, Any]]:
        from sqlalchemy import select

        table = self.database.entries
        query = select(*(c for c in table.c if c.name != "headers"))
        query = query.where(table.c.kind == kind) if kind else query
        query = query.where(table.c.instrument == instrument) if instrument else query
        with self.database.read() as connection:
            if connection is None:
                return []
            ordered = query.order_by(table.c.instrument, table.c.kind, table.c.ut, table.c.path)
            rows = [dict(r) for r in connection.execute(ordered).mappings()]
        types = {c.name: (c.type.python_type, *([type(None)] if c.nullable else [])) for c in query.selected_columns}
        for row in rows:
            wrong = [name for name, value in row.items() if not isinstance(value, types[name])]  # SQLite stores any
            wrong += [] if wrong or _possible(row) else ["path or ut"]
            if wrong:
                raise self.database.damaged(f"entry {row['id']}: {', '.join(wrong)} as no nirred writes it")
        return rows


def _possible(row: dict[str, Any]) -> bool:
    """Whether a row's path and date can be used."""
    return "\0" not in row["path"] and (row["ut"] is None or _FIRST < row["ut"] < _LAST)


def state_of(row: dict[str, Any], *, thorough: bool = False) -> State:
    """Current state of a row's file; it is read if its size or time differ from those stored, or if `thorough`.

    The cache of digests is not used: the file is read again each time.
    """
    path = Path(row["path"])
    try:
        status = path.stat()
    except OSError:
        return "missing"
    if not stat.S_ISREG(status.st_mode):  # a device or pipe may have no end
        return "missing"
    if not thorough and (status.st_size, status.st_mtime_ns) == (row["size"], row["mtime_ns"]):
        return "ok"
    try:
        return "ok" if content_digest(path) == row["checksum"] else "changed"
    except DAMAGE:
        return "unreadable"


def _without_detours(path: Path) -> Path:
    """An absolute path without `a/..`, if that is the same file; links are kept. It identifies a file."""
    short = Path(os.path.abspath(path))
    return short if short.exists() and path.exists() and short.samefile(path) else path


def _storable(path: Path) -> Path:
    """The path, if a database can hold it.

    Raises
    ------
    DataError
        It is not valid UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise DataError(f"{path.name}: its path {str(path)!r} is no UTF-8 text", "rename what is not") from None
    return path


def _entry(row: dict[str, Any], state: State) -> Entry:
    names = Entry.__dataclass_fields__.keys() - {"path", "tags", "state"}
    return Entry(path=Path(row["path"]), tags=frozenset(row["tags"].split()), state=state, **{n: row[n] for n in names})


def _named(rows: Sequence[dict[str, Any]], name: Path, library: str) -> dict[str, Any]:
    """The one row that a name refers to: its path, or its file name with or without suffix."""
    whole = str(name.expanduser().absolute())
    exact = [r for r in rows if r["path"] == whole] or [r for r in rows if r["path"] == os.path.abspath(whole)]
    alike = exact or [r for r in rows if len(name.parts) == 1 and file_root(Path(r["path"])) == file_root(name)]
    if len(alike) == 1:
        return alike[0]
    if alike:
        listed = ", ".join(r["path"] for r in alike)
        raise DataError(f"{name}: {len(alike)} files of that name in {library}", f"name one of {listed}")
    close = nearest(str(name), [Path(r["path"]).name for r in rows])
    raise DataError(f"{name}: not in {library}", close or "`nirred cal list` shows what is")
