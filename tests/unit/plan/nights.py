"""A complete night, and short descriptions of its plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from nirred.plan.fates import summary
from nirred.plan.model import Plan


def roles(plan: Plan, task: str) -> dict[str, int]:
    return dict(Counter(role for _, role in plan.task(task).frames))


def fates(plan: Plan) -> dict[str, tuple[str, str]]:
    return {r.path.name: summary(r) for r in plan.files}


def ids(plan: Plan) -> list[str]:
    return [t.id for t in plan.tasks]


def served(plan: Plan, task: str) -> dict[str, str]:
    return {a.kind: a.task or Path(str(a.path)).name for a in plan.task(task).calibrations}


def full_night(night: Any) -> None:
    """001-005 science, 006-009 standard, 010-013 lamp-off, 014-017 lamp-on, 018-022 darks, 023-027 short darks."""
    night.dither(5)
    night.dither(4, at=(20.0, 5.0), role="standard", OBJECT="FS 17", EXPTIME=10.0)
    night.lamps()
    night.darks(5, 20.0)
    night.darks(5, 1.0)
