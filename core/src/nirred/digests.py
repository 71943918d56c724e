"""SHA-256 of files, each worked out once."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from .errors import Unreadable, fault_of
from .headers import is_compressed, open_stream

if TYPE_CHECKING:
    from io import BufferedReader

#: Fewer files than this are not faster together.
TOGETHER = 5
#: Bytes of each file that are in memory at a time.
CHUNK = 1 << 16

#: A file as it is now: its path, inode, size and time of change.
State = tuple[Path, int, int, int]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's decompressed bytes, so that compression changes nothing.

    Raises
    ------
    Unreadable
        The file vanished or its compression is damaged.
    """
    known, state = _known(), _state(path)
    if state not in known:
        try:
            with open_stream(path) as stream:
                known[state] = hashlib.file_digest(cast("BufferedReader", stream), "sha256").hexdigest()
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(f"{path.name}: {error}", "fetch the file again") from error
    return known[state]


def digest_ahead(paths: Iterable[Path]) -> None:
    """Work out what `file_digest` will be asked for, of many files of one size together; it does what is left."""
    from .algorithms.sha256 import LANES

    known, states = _known(), []
    for path in dict.fromkeys(paths):
        with contextlib.suppress(Unreadable, OSError):
            state = _state(path)
            if state not in known and not is_compressed(path):
                states.append(state)
    for size, some in groupby(sorted(states, key=lambda state: state[2]), lambda state: state[2]):
        alike = list(some)
        for batch in (alike[k : k + LANES] for k in range(0, len(alike), LANES)):
            if len(batch) >= TOGETHER:
                with contextlib.suppress(OSError):
                    known.update(zip(batch, _digests([state[0] for state in batch], size), strict=False))


@cache
def _known() -> dict[State, str]:
    """Digests by file: several tasks of a run take the same flats, and reading is not free."""
    return {}


def _state(path: Path) -> State:
    try:
        status = path.stat()
    except OSError as error:
        raise Unreadable(fault_of(error), "fetch the file again") from error
    return path, status.st_ino, status.st_size, status.st_mtime_ns


def _digests(paths: Sequence[Path], size: int) -> list[str]:
    """Digests of up to `LANES` files of one size.

    Raises
    ------
    OSError
        One of them cannot be read, or has become shorter.
    """
    from .algorithms.sha256 import LANES, sha256_together

    def chunks(streams: Sequence[BinaryIO]) -> Iterator[np.ndarray]:
        buffer = np.zeros((LANES, CHUNK), np.uint8)
        for at in range(0, size, CHUNK):
            part = buffer[:, : size - at]
            for stream, line in zip(streams, part, strict=False):
                if stream.readinto(line) < line.size:  # type: ignore[attr-defined]
                    raise OSError("truncated")
            yield part

    with contextlib.ExitStack() as opened:
        return sha256_together(chunks([opened.enter_context(path.open("rb")) for path in paths]))
