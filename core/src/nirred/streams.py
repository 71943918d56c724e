"""Bytes of files as they are or, by gzip or bzip2, were: what cannot be read is said by name."""

from __future__ import annotations

import bz2
import gzip
import io
import zlib
from pathlib import Path

from .errors import Unreadable

#: What reading a file's bytes raises where they, or their compression, are damaged.
DAMAGE = (OSError, EOFError, zlib.error)
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZh"


def is_compressed(path: Path) -> bool:
    """True if the file starts with the magic bytes of gzip or bzip2, whatever its name."""
    with path.open("rb") as f:
        magic = f.read(3)
    return magic[:2] == _GZIP or magic == _BZIP2


def open_stream(path: Path) -> io.BufferedIOBase:
    """The file's decompressed bytes as a stream; gzip and bzip2 are recognised by their first bytes."""
    with path.open("rb") as f:
        magic = f.read(3)
    if magic[:2] == _GZIP:
        return gzip.GzipFile(path)
    if magic == _BZIP2:
        return bz2.BZ2File(path)
    return path.open("rb")


def damaged(path: Path, error: Exception) -> Unreadable:
    """The error for a file whose bytes cannot be decompressed; `error` is one of `DAMAGE`."""
    what = str(error).partition(" 0x")[0]  # without the checksums
    return Unreadable(f"{path.name}: damaged compression: {what}", "fetch the file again")


def open_input(path: Path) -> io.BufferedIOBase:
    """The stream of a file that may be missing or empty: `Unreadable` then."""
    try:
        if path.stat().st_size == 0:
            raise Unreadable(f"{path.name}: empty file", "fetch the file again")
        return open_stream(path)
    except OSError as error:
        raise Unreadable(f"{path.name}: {error.strerror or error}", "check the path and permissions") from error


def read_bytes(stream: io.BufferedIOBase, n: int, path: Path) -> bytes:
    """At most n bytes of a file; `Unreadable` where they are damaged."""
    try:
        return stream.read(n)
    except DAMAGE as error:
        raise damaged(path, error) from error


def skip_bytes(stream: io.BufferedIOBase, n: int, path: Path) -> None:
    """Go n bytes on, by reading where the stream is compressed."""
    if n <= 0:
        return
    if isinstance(stream, io.BufferedReader):
        stream.seek(n, io.SEEK_CUR)
        return
    while n > 0:
        chunk = read_bytes(stream, min(n, 1 << 20), path)
        if not chunk:
            raise EOFError
        n -= len(chunk)
