"""Files that the user gave and that a product would replace."""

from __future__ import annotations

from pathlib import Path

from ..errors import ConfigError
from ..inputs import place
from .model import FileRecord, Plan
from .scan import PRODUCT_KEY


def refuse_overwriting(plan: Plan, out: Path) -> None:
    """Refuse to write a product where an input lies, or a calibration that the user names.

    A product of an earlier run among the inputs is made again as ever.

    Raises
    ------
    ConfigError
        Naming the file.
    """
    given = {place(f.path) for f in plan.files if not _own(f)}
    named = (a.path for t in plan.tasks for a in t.calibrations if a.source == "user" and a.path is not None)
    given.update(map(place, named))
    for path in (out / f"{t.id}.fits" for t in plan.tasks):
        if place(path) in given:
            raise ConfigError(f"{path} is an input, and a product would be written over it", "another -o")


def _own(record: FileRecord) -> bool:
    return bool(record.frames) and PRODUCT_KEY in record.frames[0].headers.primary
