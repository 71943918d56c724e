"""Atomic writing of files, and removal of temporary files that a killed process left."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .algorithms.threads import both
from .errors import DataError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: Bytes written to a file at once. For more, the system allocates large pages from memory that has long been free,
#: which on a virtual machine takes ten times as long as the writing; small pages reuse recently freed memory.
PIECE = 1 << 18
#: Pattern of temporary names, which no product, record or raw frame matches.
PART = re.compile(r"\..+\.[0-9]+\.part")


class _InPieces(io.RawIOBase):
    """A file, opened for writing, that is written in pieces of at most `PIECE` bytes."""

    def __init__(self, file: io.FileIO) -> None:
        self._file = file
        self.name = str(file.name)  # astropy uses it if the disk is full

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def fileno(self) -> int:
        return self._file.fileno()

    def write(self, data: ReadableBuffer) -> int:
        return self._file.write(memoryview(data)[:PIECE])

    def close(self) -> None:
        self._file.close()
        super().close()


@contextlib.contextmanager
def replacing(path: Path, meanwhile: Callable[[Path], object] | None = None) -> Iterator[IO[bytes]]:
    """A stream to a temporary file next to `path`, flushed to disk and renamed to `path` at the end.

    Parameters
    ----------
    path : Path
        The file to write or replace.
    meanwhile : callable, optional
        Called with the temporary name once all is written, while the data are flushed to disk.

    Raises
    ------
    DataError
        The directory cannot be written or the disk is full; nothing is left behind, an older file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with io.BufferedWriter(_InPieces(temporary.open("wb", buffering=0))) as stream:
            yield stream
            stream.flush()
            flush = partial(os.fsync, stream.fileno())
            both(flush, partial(meanwhile, temporary), 2) if meanwhile else flush()
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError as error:
        what = error.strerror or f"the disk or a limit is full ({error})"
        raise DataError(f"{path}: cannot be written: {what}", "free space or another -o") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_directory(folder: Path) -> None:
    """Make a rename durable: without this a power failure may restore the old file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document atomically; values that JSON does not support are written as text.

    Raises
    ------
    DataError
        It cannot be written.
    """
    text = json.dumps(value, indent=1, default=str)
    with replacing(path) as stream:
        stream.write(text.encode())


def place_files(folder: Path, files: Mapping[str, bytes | Path | None]) -> None:
    """Write files below a directory, each atomically; remove those whose content is None.

    Parameters
    ----------
    folder : Path
        Created if missing, with its subdirectories.
    files : mapping
        {name below the folder: content, or a file that gets this second name, or None}; a name that ends in / is a
        directory.

    Raises
    ------
    DataError
        A name leaves the folder, or something cannot be written.
    """
    for name, content in files.items():
        path = folder / name
        if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder)):
            raise DataError(f"{name!r} would be written outside of {folder}", "report it to the plugin's authors")
        try:
            (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                _link(content, path)
            if content is None:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"{path}: {error.strerror}", "another -o") from error
        if isinstance(content, bytes) and not name.endswith("/"):
            with replacing(path) as stream:
                stream.write(content)


def _link(source: Path, path: Path) -> None:
    """Link a file to a second name, or copy it if the file system does not support links."""
    if path.exists() and path.samefile(source):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, path)


def take_space(descriptor: int, size: int, start: int = 0) -> None:
    """Allocate space for part of a new file, by writing zeros if the system has no call for it.

    Raises
    ------
    OSError
        Not enough space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, start, size)
        return
    zeros, stop = bytes(1 << 20), start + size
    while start < stop:
        start += os.pwrite(descriptor, zeros[: stop - start], start)


def give_cache_back(path: Path) -> None:
    """Tell the system that a file will not be read again soon, so that its cache can be freed; only a hint."""
    if not hasattr(os, "posix_fadvise"):
        return
    with contextlib.suppress(OSError), path.open("rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def remove_parts(folder: Path) -> list[str]:
    """Remove temporary files of dead processes; call it only if no other process writes here.

    Returns
    -------
    list of str
        The removed names.
    """
    removed = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)
                removed.append(path.name)
    return removed
