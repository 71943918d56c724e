"""Files that are written whole or not at all, and what a killed process may have left of them."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from .errors import DataError

#: Temporary names, which no product, record or raw frame has.
PART = re.compile(r"\..+\.[0-9]+\.part")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A stream to a temporary name beside `path`, flushed to disk and renamed to it at the end.

    Raises
    ------
    DataError
        The directory cannot be written or the disk is full; nothing is left behind, an older file stays as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
        _flush_directory(path.parent)
    except OSError as error:
        what = error.strerror or f"the disk or a limit is full ({error})"
        raise DataError(f"{path}: cannot be written: {what}", "free space or another -o") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _flush_directory(folder: Path) -> None:
    """Make a rename durable: without this a power cut may bring the old file back."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document whole or not at all; what JSON does not know is written as text.

    Raises
    ------
    DataError
        It cannot be written.
    """
    text = json.dumps(value, indent=1, default=str)
    with replacing(path) as stream:
        stream.write(text.encode())


def remove_parts(folder: Path) -> list[str]:
    """Remove temporary files of dead processes; call it only where no other process writes.

    Returns
    -------
    list of str
        The names that were removed.
    """
    removed = []
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                path.unlink(missing_ok=True)
                removed.append(path.name)
    return removed
