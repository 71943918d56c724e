"""One run at a time in one output directory."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ConfigError

#: Error numbers of a file system that does not support locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)


@contextmanager
def output_lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock of an output directory.

    The lock belongs to the open file: the system frees it whenever the process ends, so a lock is never stale and a
    reused process number does no harm. The text in the file only tells users who holds the lock.

    Parameters
    ----------
    folder : Path
        OUT/.nirred.
    say : callable
        Called if the file system does not support locks.

    Raises
    ------
    ConfigError
        Another run holds it, or the directory cannot be written.
    """
    path = folder / "lock"
    try:
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "another -o") from None
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder.parent} is in use by {_holder(path)}", "wait for it, or another -o") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise ConfigError(f"{path}: {error.strerror}", "another -o") from None
            say(f"{folder.parent} cannot be locked ({error.strerror}): start no second run in it")
        stream.truncate(0)
        stream.write(json.dumps(_self()))
        stream.flush()
        yield


def _self() -> dict[str, str | int]:
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {who['pid']} on {who['host']} since {who['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
