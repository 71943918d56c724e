"""Small files that people write: lists and TOML. A device, a directory or a heap of data is refused, not read."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

from .errors import ConfigError

#: A list of 100,000 names has 5 MB.
MAX_BYTES = 10_000_000
#: Pipes that the shell hands over, as in ``nirred run @<(nirred select ...)``; other pipes could make us wait for ever.
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")


def read_text(path: str | Path, errors: str = "strict") -> str:
    """Read a small UTF-8 file.

    Parameters
    ----------
    path : str or Path
        The file.
    errors : str
        What to do with bytes that are no UTF-8, as of `bytes.decode`.

    Raises
    ------
    OSError
        It does not exist, is not an ordinary file, or is larger than 10 MB.
    UnicodeDecodeError
        It is no text.
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
        What to call the file in an error.
    hint : str
        What to do about it.

    Raises
    ------
    ConfigError
        It cannot be read, or is no TOML; with the line and column of the fault.
    """
    import tomli

    try:
        return tomli.loads(read_text(path))
    except RecursionError:
        raise ConfigError(f"{what}: nested too deeply", hint) from None
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}", hint) from None
    except ValueError as error:  # no UTF-8, no TOML, a name with NUL, a number of thousands of digits
        raise ConfigError(f"{what}: {error}", hint) from None
