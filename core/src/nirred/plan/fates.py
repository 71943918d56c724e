"""The fate of every input file, with its reason and a list of roles; the exit code of the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CalibrationMissing, DataError
from ..inputs import place
from .model import FATES, SCIENCE, Association, Fate, FileRecord, FileRole, FrameInfo, Plan, Task
from .moments import exposure, text

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe

#: Fate for each outcome of a role; "" before the run.
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
#: Verdicts on files that are not raw frames but may be calibrations.
_FINISHED = ("product", "unsupported")
#: Roles of the frames from which recipes for calibrations make them.
_LAMPS = ("lamp_on", "lamp_off", "flat")
_MADE_FROM = {"dark": ("dark",), "flat": (*_LAMPS, "dark", "bpm"), "bpm": (*_LAMPS, "dark")}
#: Fates that are errors with `strict`.
_SPOILED = ("unreadable", "unclaimed", "ambiguous", "unsupported")


def summary(record: FileRecord) -> tuple[Fate, str]:
    """One fate and its reason.

    A verdict of the scan takes precedence over later events, except that a product (of nirred, or of another program
    and in the library) that a task used counts as used. For several roles the first in the order of `FATES` counts.
    """
    if record.verdict is not None and not (record.verdict in _FINISHED and record.roles):
        return record.verdict, record.reason
    found = [(_OUTCOMES.get(r.outcome, "failed"), r.reason) for r in record.roles]
    if not found:
        return "unneeded", record.reason or "no task needs it"
    fate, reason = min(found, key=lambda f: FATES.index(f[0]))
    return fate, reason or (record.reason if record.verdict is None else "")


def record_roles(records: Sequence[FileRecord], tasks: Sequence[Task]) -> None:
    """Record for every file which tasks use it, and in which role."""
    by_path = {r.path: r for r in records}
    places = by_place(records)
    for task in tasks:
        outcome = ("blocked", task.blocked) if task.blocked else ("", "")
        for frame, role in task.frames:
            by_path[frame.path].roles.append(FileRole(task.id, role, *outcome))
        for record, association in calibrations_among(places, task):
            record.roles.append(FileRole(task.id, association.kind, *outcome))


def by_place(records: Iterable[FileRecord]) -> dict[Path, FileRecord]:
    """Records by resolved path: the user may give another path to a file than INPUT does."""
    return {place(r.path): r for r in records}


def calibrations_among(places: Mapping[Path, FileRecord], task: Task) -> list[tuple[FileRecord, Association]]:
    """The calibrations of a task that are in INPUT, each with its file's record."""
    found = [(places.get(place(a.path)), a) for a in task.calibrations if a.path is not None]
    return [(record, a) for record, a in found if record is not None]


def why_unneeded(frame: FrameInfo, asked: Recipe | None) -> str:
    """Why no task uses a frame; `asked` is the recipe given by the user."""
    role = frame.descriptors.role
    science = role in SCIENCE
    if asked is not None and (science or role not in _MADE_FROM.get(asked.makes, (role,))):
        return f"not a frame for {asked.name}" + (f" ({asked.doc})" if asked.doc else "")
    if asked is not None and asked.makes == "bpm" and role != "dark":
        return "no short darks with the settings of these flats, or other flats are nearer"
    if science:
        return "no science frames of its configuration" if role == "sky" else "neither object nor sky by name"
    return _why_left(frame)


def _why_left(frame: FrameInfo) -> str:
    """Why no task uses a calibration frame."""
    role, d = frame.descriptors.role, frame.descriptors
    unfit = "with its settings, or others are nearer"
    if role == "dark":
        return f"no task needs a dark of {text(exposure(frame))} s {unfit}"
    if role == "lamp_off":
        return "no lamp-on frames to pair with, or others are nearer"
    if role == "bpm":
        return "no task needs it, or a mask valid from a later date is used"
    return f"no task needs a {role.replace('_', '-')} in {text(d.get('filter_name', pretty=True))} {unfit}"


def files_json(records: Iterable[FileRecord]) -> list[dict[str, Any]]:
    """The `files` of run.json: file, fate, reason and roles, with their outcomes if known."""
    out = []
    for record in records:
        fate, reason = summary(record)
        roles = [_role_json(r) for r in record.roles]
        out.append({"file": str(record.path), "fate": fate, "reason": reason, "roles": roles})
    return out


def _role_json(r: FileRole) -> dict[str, str]:
    entry = {"task": r.task, "role": r.role, "reason": r.reason}
    return {**entry, "outcome": r.outcome} if r.outcome else entry


def exit_code(plan: Plan, ends: Sequence[int | None], *, strict: bool) -> int:
    """0 all done; 1 some failed or were refused; the code of the reason if all failed for one; 4 nothing to do.

    Parameters
    ----------
    plan : Plan
        The plan.
    ends : sequence of int or None
        For every task the exit code of its failure; None if it succeeded.
    strict : bool
        Unusable files are errors, too. (A missing calibration has blocked its task, unless the user allows that.)
    """
    if not ends:
        return DataError.exit_code
    failed = [e for e in ends if e is not None]
    if failed and len(failed) == len(ends):
        codes = {*failed} | ({DataError.exit_code} if plan.refused else set())
        return codes.pop() if len(codes) == 1 else 1
    if failed or plan.refused:
        return 1
    if strict and any(f.verdict in _SPOILED for f in plan.files):
        return DataError.exit_code
    return 0


def foreseen_exit_code(plan: Plan, *, strict: bool) -> int:
    """The exit code of a run of this plan if no further problem occurs."""
    return exit_code(plan, [CalibrationMissing.exit_code if t.blocked else None for t in plan.tasks], strict=strict)
