"""Protection of the user's files from being overwritten by products."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError, Unreadable
from ..headers import Headers
from ..inputs import place
from .model import FileRecord, Plan
from .scan import PRODUCT_KEY


def refuse_overwriting(plan: Plan, out: Path) -> None:
    """Refuse to write a product over an input, a calibration given by the user, or a file of another program.

    A product of an earlier run may be overwritten, also where it is an input or can no longer be read.

    Raises
    ------
    ConfigError
        A product would overwrite such a file; the message names it.
    """
    given = {place(f.path) for f in plan.files if not _own(f)}
    named = (a.path for t in plan.tasks for a in t.calibrations if a.source == "user" and a.path is not None)
    given.update(map(place, named))
    for path in (out / f"{t.id}.fits" for t in plan.tasks):
        if place(path) in given:
            raise ConfigError(f"{path} is an input, and a product would be written over it", "another -o")
        if _foreign(path):
            raise ConfigError(f"{path} was not made by nirred, and a product would be written over it", "another -o")


def _own(record: FileRecord) -> bool:
    return bool(record.frames) and PRODUCT_KEY in record.frames[0].headers.primary


def _foreign(path: Path) -> bool:
    try:
        return path.exists() and PRODUCT_KEY not in Headers.read(path).primary
    except (Unreadable, OSError):
        return False
