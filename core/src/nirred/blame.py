"""Attribute exceptions in a plugin's code to its package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import NirredError, PluginError


@contextmanager
def blamed(package: str, what: str, hint: str = "report it to its authors") -> Iterator[None]:
    """Context in which to run a plugin's code: a step, a mask, a simulated camera.

    Parameters
    ----------
    package : str
        The plugin's package; '' for the core.
    what : str
        What was being done, for the message.
    hint : str
        What the user can do about it.

    Raises
    ------
    PluginError
        An exception in a plugin's code that is not a `NirredError`; those of the core are bugs and passed on.
    """
    try:
        yield
    except (NirredError, MemoryError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        if not package:
            raise
        raise PluginError(f"{package}: {what} failed: {type(error).__name__}: {error}", hint) from error
