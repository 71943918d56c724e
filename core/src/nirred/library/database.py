"""The library's tables, and connections with clear error messages."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import LibraryError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData
    from sqlalchemy.engine import URL

#: Version of the tables; a database of another one is refused.
VERSION = 1
#: Name of the file in a directory that is given in place of a file.
FILE_NAME = "library.db"
#: Name that means "no library".
NONE = "none"
VERSION_TABLE, ENTRY_TABLE = "nirred_library", "nirred_calibration"
#: Seconds to wait for another process that writes.
TIMEOUT = 20.0
#: Seconds of waiting after which the user is told the reason.
PATIENCE = 2.0
#: Any number, the same in every process: only one at a time makes the tables of a PostgreSQL database.
_CREATING = 7_130_042


def default_place() -> Path:
    """The user's own library: library.db in the platform's directory for data."""
    from platformdirs import user_data_dir

    return Path(user_data_dir("nirred")) / FILE_NAME


def tables() -> MetaData:
    """The schema: one row with the version, one row for each calibration."""
    from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, String, Table

    metadata = MetaData()
    Table(VERSION_TABLE, metadata, Column("version", Integer, nullable=False))
    Table(
        ENTRY_TABLE,
        metadata,
        Column("id", Integer, primary_key=True),
        Column("path", String, nullable=False, unique=True),
        Column("checksum", String(64), nullable=False),
        Column("size", BigInteger, nullable=False),
        Column("mtime_ns", BigInteger, nullable=False),
        Column("kind", String(40), nullable=False, index=True),
        Column("instrument", String(40), nullable=False, index=True),
        Column("plugin", String(40), nullable=False),
        Column("tags", String, nullable=False),
        Column("ut", Float),
        Column("setting", String, nullable=False),
        Column("qa_state", String(40)),
        Column("registered", String(40), nullable=False),
        Column("headers", LargeBinary, nullable=False),
    )
    return metadata


@dataclass
class Database:
    """One library, by URL.

    Parameters
    ----------
    place : str or Path
        File of an SQLite database, a directory (library.db in it), ``sqlite:///FILE`` or
        ``postgresql://USER@HOST/NAME``.
    timeout : float, optional
        Seconds to wait for another process that writes; default `TIMEOUT`.
    say : callable, optional
        Called from another thread with a message if the database keeps the caller waiting.

    Raises
    ------
    LibraryError
        No such kind of database, or its driver is not installed.
    """

    place: str | Path
    timeout: float | None = None
    say: Callable[[str], None] | None = None
    url: URL = field(init=False)

    def __post_init__(self) -> None:
        self.url = _url(self.place)
        self.wait = TIMEOUT if self.timeout is None else self.timeout

    @property
    def name(self) -> str:
        """The file, or the URL without password: for messages."""
        return str(self.file) if self.file is not None else self.url.render_as_string(hide_password=True)

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database."""
        return Path(self.url.database or "") if self.url.get_backend_name() == "sqlite" else None

    @property
    def exists(self) -> bool:
        """False for a file that is absent or empty; servers are checked in `read`."""
        return self.file is None or (self.file.is_file() and self.file.stat().st_size > 0)

    @cached_property
    def metadata(self) -> MetaData:
        """The schema."""
        return tables()

    @property
    def entries(self) -> Any:
        """The table of calibrations."""
        return self.metadata.tables[ENTRY_TABLE]

    @cached_property
    def _engine(self) -> Engine:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import NullPool

        sqlite = self.file is not None
        arguments = {"timeout": self.wait} if sqlite else {"connect_timeout": max(2, round(self.wait))}
        try:
            engine = create_engine(self.url, connect_args=arguments, poolclass=NullPool)
        except ModuleNotFoundError as error:
            raise LibraryError(
                f"{self.name}: {error.name} is not installed", "pip install 'nirred[cluster]'"
            ) from error
        if sqlite:
            # The driver would begin a transaction only at the first change, after the reads on which that depends.
            event.listen(engine, "connect", lambda raw, _: setattr(raw, "isolation_level", None))
            event.listen(engine, "begin", _begin)
        return engine

    @contextmanager
    def read(self) -> Iterator[Connection | None]:
        """A connection for reading; None if there is no library yet."""
        if not self.exists:
            yield None
            return
        with self._plainly(), self._engine.connect() as connection:
            yield connection if self._present(connection) else None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction for writing, exclusive on SQLite; creates the tables of a new library."""
        if self.file is not None:
            try:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise LibraryError(f"{self.name}: {error.strerror}", "name another with --library") from error
        with self._plainly(), self._engine.connect().execution_options(writes=True) as connection:
            with connection.begin():
                if self.file is None:
                    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_CREATING})")
                if not self._present(connection):
                    self._create(connection)
                yield connection

    def _create(self, connection: Connection) -> None:
        self.metadata.create_all(connection)
        connection.execute(self.metadata.tables[VERSION_TABLE].insert().values(version=VERSION))

    def _present(self, connection: Connection) -> bool:
        """Whether the library's tables exist.

        Raises
        ------
        LibraryError
            Tables of another version, or a database that is not a library.
        """
        from sqlalchemy import inspect, select

        names = set(inspect(connection).get_table_names())
        if VERSION_TABLE not in names:
            if names and self.file is not None:  # a server's database may be shared with others
                raise LibraryError(
                    f"{self.name}: a database of another program (tables {', '.join(sorted(names)[:4])})",
                    "name another file with --library; add calibrations to it with `nirred cal add`",
                )
            return False
        found = connection.execute(select(self.metadata.tables[VERSION_TABLE].c.version)).scalar()
        if found != VERSION:
            newer = isinstance(found, int) and found > VERSION
            remedy = "upgrade nirred" if newer else "`nirred cal add` the calibrations to a new one (--library FILE)"
            raise LibraryError(f"{self.name}: library of version {found}, this nirred reads version {VERSION}", remedy)
        return True

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Convert database errors to `LibraryError`, and report long waits."""
        from sqlalchemy.exc import SQLAlchemyError

        waiting = f"waiting for the calibration library {self.name}, up to {self.wait:g} s"
        timer = threading.Timer(PATIENCE, self.say or (lambda text: None), (waiting,))
        timer.daemon = True
        timer.start()
        try:
            yield
        except UnicodeDecodeError as error:  # from the driver, in a message that quotes the damaged bytes
            raise self.damaged(f"{error.reason} in its tables") from error
        except SQLAlchemyError as error:
            raise self._error(str(getattr(error, "orig", None) or error)) from error
        finally:
            timer.cancel()

    def damaged(self, told: str) -> LibraryError:
        """The error of a library whose contents cannot be those that were written."""
        return LibraryError(
            f"{self.name}: damaged, or no SQLite database ({told})",
            "move it away and `nirred cal add` the calibrations to a new one, or name another with --library",
        )

    def _error(self, said: str) -> LibraryError:
        told = said.strip().splitlines()[0] if said.strip() else "unknown error"
        if self.file is None:
            return LibraryError(f"{self.name}: {told}", "check the URL and the server")
        if "locked" in told:
            return LibraryError(
                f"{self.name}: locked by another process for more than {self.wait:g} s", "try again when it is done"
            )
        if "not a database" in told or "malformed" in told:
            return self.damaged(told)
        return LibraryError(f"{self.name}: {told}", "check the path and its permissions, or name another (--library)")


def _begin(connection: Connection) -> None:
    """Begin a transaction so that writers wait for each other at its start; later they cannot wait."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _url(place: str | Path) -> URL:
    from sqlalchemy.engine import URL, make_url
    from sqlalchemy.exc import ArgumentError

    text = str(place)
    if "://" not in text:
        path = Path(text).expanduser()
        return URL.create("sqlite", database=str((path / FILE_NAME if path.is_dir() else path).absolute()))
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise LibraryError(f"{text.partition('://')[0]}://...: no URL of a database", _FORMS) from None
    if url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:"):
        return url.set(drivername="sqlite", database=str(Path(url.database or "").absolute()))
    if url.get_backend_name() in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    raise LibraryError(f"{url.render_as_string(hide_password=True)}: no library can be kept there", _FORMS)


_FORMS = "write a file's name, sqlite:////path/library.db or postgresql://USER@HOST/NAME"
