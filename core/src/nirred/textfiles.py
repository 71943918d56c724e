"""Small files written by hand: lists and TOML. Devices, directories and large files are refused, not read."""

from __future__ import annotations

import errno
import os
import stat
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
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or (stat.S_ISFIFO(mode) and str(path).startswith(_HANDED_OVER))):
        raise OSError(errno.EINVAL, "a directory, not a file" if stat.S_ISDIR(mode) else "not an ordinary file")
    with open(path, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"more than {MAX_BYTES // 1_000_000} MB, which nobody wrote by hand")
    return content.decode("utf-8-sig", errors)


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
