"""What became of every input file, as one fate with its reason and as a list of roles; what the whole came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CalibrationMissing, DataError
from ..inputs import place
from .model import FATES, Association, Fate, FileRecord, FrameInfo, Plan, Task
from .moments import exposure, text

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe

#: Outcomes of a role and the fate that they stand for; "" before the run.
_OUTCOMES: dict[str, Fate] = {
    "": "used",
    "used": "used",
    "done": "used",
    "reused": "used",
    "unreadable": "unreadable",
    "failed": "failed",
    "blocked": "failed",
    "rejected": "rejected",
    "nothing-to-do": "unneeded",
    "unneeded": "unneeded",
}
#: Verdicts on files that are no raw frames but may be calibrations.
_FINISHED = ("product", "unsupported")
#: Fates that `strict` does not let pass.
_SPOILED = ("unreadable", "unclaimed", "ambiguous", "unsupported")


def summary(record: FileRecord) -> tuple[Fate, str]:
    """One fate and its reason.

    A verdict of the scan counts before anything that happened later, except that a product, or another program's that
    the library knows, which a task used is used. Among several roles the first fate in the order of `FATES` counts.
    """
    if record.verdict is not None and not (record.verdict in _FINISHED and record.roles):
        return record.verdict, record.reason
    found = [(_OUTCOMES.get(outcome, "failed"), reason) for _, _, outcome, reason in record.roles]
    if not found:
        return "unneeded", record.reason or "no task needs it"
    fate, reason = min(found, key=lambda f: FATES.index(f[0]))
    return fate, reason or (record.reason if record.verdict is None else "")


def record_roles(records: Sequence[FileRecord], tasks: Sequence[Task]) -> None:
    """Note in every file's record which tasks use it, and as what."""
    by_path = {r.path: r for r in records}
    places = by_place(records)
    for task in tasks:
        outcome = ("blocked", task.blocked) if task.blocked else ("", "")
        for frame, role in task.frames:
            by_path[frame.path].roles.append((task.id, role, *outcome))
        for record, association in calibrations_among(places, task):
            record.roles.append((task.id, association.kind, *outcome))


def by_place(records: Iterable[FileRecord]) -> dict[Path, FileRecord]:
    """Records of files by where these are, for the user may name a file otherwise than INPUT does."""
    return {place(r.path): r for r in records}


def calibrations_among(places: Mapping[Path, FileRecord], task: Task) -> list[tuple[FileRecord, Association]]:
    """The calibrations of a task that lie in INPUT, each with its file's record."""
    found = [(places.get(place(a.path)), a) for a in task.calibrations if a.path is not None]
    return [(record, a) for record, a in found if record is not None]


def why_unneeded(frame: FrameInfo, asked: Recipe | None) -> str:
    """Why no task uses a frame; `asked` is the recipe that the user names."""
    role, d = frame.descriptors.role, frame.descriptors
    if role in ("science", "standard", "sky"):
        if asked is not None:
            return f"not a frame for {asked.name}" + (f" ({asked.doc})" if asked.doc else "")
        return "no science frames of its configuration" if role == "sky" else "neither object nor sky by name"
    if role == "dark":
        return f"no task needs a dark of {text(exposure(frame))} s"
    if role == "lamp_off":
        return "no lamp-on frames to pair with, or others are nearer"
    if role == "bpm":
        return "no task needs it, or a mask valid from a later date is used"
    return f"no task needs a {role.replace('_', '-')} in {text(d.get('filter_name', pretty=True))}"


def files_json(records: Iterable[FileRecord]) -> list[dict[str, Any]]:
    """The `files` of run.json: file, fate, reason and roles; a role has an outcome once there is one."""
    out = []
    for record in records:
        fate, reason = summary(record)
        roles = [_role(*role) for role in record.roles]
        out.append({"file": str(record.path), "fate": fate, "reason": reason, "roles": roles})
    return out


def _role(task: str, role: str, outcome: str, reason: str) -> dict[str, str]:
    entry = {"task": task, "role": role, "reason": reason}
    return {**entry, "outcome": outcome} if outcome else entry


def exit_code(plan: Plan, ends: Sequence[int | None], *, strict: bool) -> int:
    """0 all done; 1 some failed or were refused; the reason's own code when all failed for one; 4 nothing to do.

    Parameters
    ----------
    plan : Plan
        What was planned.
    ends : sequence of int or None
        Of every task: the code of what it failed for; None: it did not.
    strict : bool
        Files that cannot be used, and calibrations that are missing, are an error, too.
    """
    if not ends:
        return DataError.exit_code
    failed = [e for e in ends if e is not None]
    if failed and len(failed) == len(ends):
        codes = {*failed} | ({DataError.exit_code} if plan.refused else set())
        return codes.pop() if len(codes) == 1 else 1
    if failed or plan.refused:
        return 1
    if strict and (any(f.verdict in _SPOILED for f in plan.files) or any(t.degraded for t in plan.tasks)):
        return DataError.exit_code
    return 0


def foreseen_exit_code(plan: Plan, *, strict: bool) -> int:
    """The exit code of a run of this plan in which nothing fails that the plan does not know of."""
    return exit_code(plan, [CalibrationMissing.exit_code if t.blocked else None for t in plan.tasks], strict=strict)
