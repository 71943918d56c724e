"""Attribute exceptions in a plugin's code to its package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import NirredError, PluginError

if TYPE_CHECKING:
    from .registry import Registry


@contextmanager
def blamed(registry: Registry, thing: Any, what: str, hint: str = "report it to its authors") -> Iterator[None]:
    """Context in which to run a plugin's step or mask, or read one of its frames.

    Parameters
    ----------
    registry : Registry
        The plugins.
    thing : MaskSpec, type or str
        The mask, the class of the step, or the plugin's name, which identifies the package.
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
        package = _package(registry, thing)
        if not package:
            raise
        raise PluginError(f"{package}: {what} failed: {type(error).__name__}: {error}", hint) from error


def _package(registry: Registry, thing: Any) -> str:
    names = [n for n, item in (*registry.masks(), *registry.steps()) if item is thing] or [thing]
    info = registry.found.get(names[0]) if isinstance(names[0], str) else None
    return info.package if info is not None else ""
