"""Check every answer of a hook before the core uses it, so that errors are attributed to the plugin."""

from __future__ import annotations

from typing import Any

from . import contributions, frames
from .terms import WrongAnswer

__all__ = ["WrongAnswer", "checked"]

_CHECKS = frames.CHECKS | contributions.CHECKS


def checked(hook: str, answer: Any) -> Any:
    """Check one hook's answer.

    Parameters
    ----------
    hook : str
        Its name.
    answer : object
        The value returned by the plugin, or a generator of values.

    Returns
    -------
    object
        Tags as a frozenset, sequences as tuples, everything else unchanged.

    Raises
    ------
    WrongAnswer
        The answer is of a wrong kind, not finite, or longer than any camera needs.
    Exception
        Whatever a generator raises when it is drained.
    """
    return _CHECKS[hook](answer) if hook in _CHECKS else answer
