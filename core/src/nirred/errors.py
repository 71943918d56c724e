"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

from pathlib import Path

#: Exit codes besides those of the errors below: a bug, and an interruption.
BUG, INTERRUPTED = 70, 130


class NirredError(Exception):
    """Base class of errors that a user can cause or fix.

    Parameters
    ----------
    message : str
        What is wrong, with the file, the keyword or rule, and the origin of its value.
    hint : str
        What to do about it.
    """

    exit_code = BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


def fault_of(error: NirredError | OSError) -> str:
    """What is wrong in words, the file first: the system's errors, too, which name it last or not at all."""
    if isinstance(error, NirredError):
        return error.message
    where = f"{Path(error.filename).name}: " if isinstance(error.filename, str) and error.filename else ""
    return where + (error.strerror or str(error) or type(error).__name__)


class ConfigError(NirredError):
    """A wrong option, parameter, recipe or configuration file."""

    exit_code = 2


class LibraryError(ConfigError):
    """The calibration library cannot be used: not a library, another version, locked, damaged."""


class PluginError(NirredError):
    """A plugin is missing, broken, or in conflict with another."""

    exit_code = 3


class DataError(NirredError):
    """An input file cannot be used."""

    exit_code = 4


class Unreadable(DataError):
    """Not FITS, empty, truncated or corrupt."""


class Unclaimed(DataError):
    """No installed plugin claims this frame."""


class Ambiguous(DataError):
    """Two plugins claim this frame with equal weight."""


class CalibrationMissing(NirredError):
    """A calibration that the recipe needs was not found."""

    exit_code = 5


class StepError(NirredError):
    """A step failed on these frames."""

    exit_code = 6


class Unmade(StepError):
    """A step needs a result that no earlier step has made: the recipe is out of order, or a step was skipped."""
