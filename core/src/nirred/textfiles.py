"""Small files written by hand: lists and TOML. Devices, directories and large files are refused, not read."""

from __future__ import annotations

import errno
import os
import stat
from functools import cache
from pathlib import Path
from typing import Any

from .errors import ConfigError

#: Size limit; a list of 100,000 names has 5 MB.
MAX_BYTES = 10_000_000
#: Pipes from the shell, as in ``nirred run @<(nirred select ...)``; reading any other pipe could block forever.
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Read a small UTF-8 file.

    Parameters
    ----------
    path : str or Path
        The file.
    errors : str
        Handling of bytes that are not UTF-8, as in `bytes.decode`.

    Raises
    ------
    OSError
        It does not exist, is not an ordinary file, or is larger than 10 MB.
    UnicodeDecodeError
        It is not text.
    """
    found = os.stat(path)
    piped = stat.S_ISFIFO(found.st_mode) and str(path).startswith(_HANDED_OVER)
    if not (stat.S_ISREG(found.st_mode) or piped):
        what = "a directory, not a file" if stat.S_ISDIR(found.st_mode) else "not an ordinary file"
        raise OSError(errno.EINVAL, what)
    content = _piped(str(path), found.st_dev, found.st_ino) if piped else _content(path)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES // 1_000_000} MB, which nobody wrote by hand")
    return content.decode("utf-8-sig", errors)


def _content(path: str | Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(MAX_BYTES + 1)


@cache
def _piped(path: str, device: int, inode: int) -> bytes:
    """What a pipe holds; it can be read only once, but a run asks for its lists before the plan does."""
    return _content(path)


def read_toml(path: str | Path, what: str, hint: str) -> dict[str, Any]:
    """Read a TOML file.

    Parameters
    ----------
    path : str or Path
        The file.
    what : str
        Name for the file in an error.
    hint : str
        Hint of the error.

    Raises
    ------
    ConfigError
        It cannot be read, or is not TOML; with the line and column of the fault.
    """
    import tomli

    try:
        return tomli.loads(read_text(path))
    except RecursionError:
        raise ConfigError(f"{what}: nested too deeply", hint) from None
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}", hint) from None
    except ValueError as error:  # not UTF-8, not TOML, a name with NUL, a number of thousands of digits
        raise ConfigError(f"{what}: {error}", hint) from None
