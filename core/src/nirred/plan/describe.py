"""A plan as JSON and as tables of text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from .. import __version__
from .fates import files_json, summary
from .model import ROLE_WORDS, Association, Candidate, FileRecord, FrameInfo, Missing, Plan, Task

SCHEMA = "nirred-run/1"
Table = tuple[str, tuple[str, ...], list[tuple[str, ...]]]
_BAD_WCS = ("stale", "rebuilt")
#: Number of candidates of one kind in the record, in order of preference; `nirred cal explain` shows all.
CANDIDATES = 6
#: Recipes whose result is their messages.
REPORTS = ("check_wcs", "get_bpm", "get_processed_dark", "get_processed_flat")


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan with the keys of run.json, without outcomes."""
    asked = {} if plan.requests is None else {"requests": _requests(plan)}
    return {
        "schema": SCHEMA,
        "nirred": __version__,
        "degraded": any(t.degraded for t in plan.tasks),
        "files": files_json(plan.files),
        "tasks": [task_json(t) for t in plan.tasks],
        "wcs": [
            {"file": str(f.path), "frame": f.name, "state": f.wcs_state, "note": f.wcs_note} for f in _doubtful(plan)
        ],
        "remarks": list(plan.remarks),
    } | asked


def _requests(plan: Plan) -> list[dict[str, Any]]:
    """Requests of a foreign file: the task of each, or why it is not carried out."""
    tasks = {t.request: t.id for t in plan.tasks if t.request}
    faults = {(r.id, r.origin): r for r in plan.refused}
    entries = []
    for r in plan.requests.requests if plan.requests is not None else ():
        fault = faults.get((r.id, r.origin))
        told = {"reason": fault.reason, "hint": fault.hint} if fault is not None else {"reason": "", "hint": ""}
        task = "" if fault is not None else tasks.get(r.id, "")
        entries.append({"id": r.id, "origin": r.origin, "enabled": r.enabled, "task": task, **told})
    return entries


def task_json(task: Task) -> dict[str, Any]:
    """One task with the keys of run.json, without outcome."""
    return {
        "id": task.id,
        "recipe": task.recipe,
        "title": task.title,
        "instrument": task.instrument,
        "degraded": task.degraded,
        "blocked": task.blocked,
        "inputs": [_input(f, role) for f, role in task.frames],
        "calibrations": [_calibration(a) for a in task.calibrations],
        "missing": [_missing(m) for m in task.missing],
        "products": _products(task),
        "remarks": list(task.remarks),
    }


def _products(task: Task) -> list[str]:
    """What a task will write; recipes that report write nothing."""
    return [] if not task.makes and task.recipe in REPORTS else [f"{task.id}.fits"]


def _input(frame: FrameInfo, role: str) -> dict[str, Any]:
    entry: dict[str, Any] = {"file": str(frame.path), "role": role}
    return entry if frame.number is None else {**entry, "exposure": frame.number}


def _calibration(a: Association) -> dict[str, Any]:
    return {
        "kind": a.kind,
        "file": f"{a.task}.fits" if a.task else str(a.path),
        "level": a.level,
        "reason": a.reason,
        "source": a.source,
        "task": a.task,
        "scale": a.scale,
        "candidates": candidates_json(a.candidates[:CANDIDATES]),
    }


def _missing(m: Missing) -> dict[str, Any]:
    nearest = candidates_json(m.candidates[:CANDIDATES])
    return {"kind": m.kind, "optional": m.optional, "reason": m.reason, "candidates": nearest}


def candidates_json(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Candidates with every term of the rule, as in `cal explain --json`."""
    return [
        {
            "file": c.name,
            "source": c.source,
            "chosen": c.chosen,
            "level": c.level,
            "why": c.why,
            "rules": [{"rule": r.rule, "wanted": r.wanted, "found": r.found, "passed": r.passed} for r in c.rules],
        }
        for c in candidates
    ]


def _doubtful(plan: Plan) -> list[FrameInfo]:
    return [f for r in plan.files for f in r.frames if f.wcs_note or f.wcs_state in _BAD_WCS]


def plan_tables(plan: Plan) -> list[Table]:
    """Tables shown to the user before a run: (title, columns, rows); empty tables are omitted."""
    tables: list[Table] = [
        ("Tasks", ("product", "what", "recipe", "frames", "state"), [_task_row(t) for t in plan.tasks]),
        (
            "Calibrations",
            ("for", "kind", "file", "level", "why"),
            [row for t in plan.tasks for row in _calibration_rows(t)],
        ),
        (
            "World coordinates",
            ("frames", "state", "why"),
            _by_cause((f.name, f.wcs_state, f.wcs_note) for f in _doubtful(plan)),
        ),
        (
            "Requests that cannot be carried out",
            ("where", "why", "remedy"),
            [(r.origin, r.reason, r.hint) for r in plan.refused],
        ),
        ("Not used", ("files", "fate", "reason"), _by_cause(map(_fate_row, plan.files))),
        ("Remarks", ("of", "remark"), _remark_rows(plan)),
    ]
    return [t for t in tables if t[2]]


def _by_cause(rows: Iterable[tuple[str, ...] | None]) -> list[tuple[str, ...]]:
    """One row for each series of rows that differ only in the name, their first cell; None ends a series."""
    joined: list[tuple[str, ...]] = []
    for cause, series in groupby(rows, key=lambda row: row and row[1:]):
        if cause is not None:
            names = [row[0] for row in series if row is not None]
            joined.append((", ".join(names) if len(names) < 3 else f"{names[0]} to {names[-1]} ({len(names)})", *cause))
    return joined


def _task_row(task: Task) -> tuple[str, ...]:
    roles = Counter(role for _, role in task.frames)
    frames = ", ".join(f"{n} {ROLE_WORDS.get(role, role)}" for role, n in roles.items())
    lacking = [m.kind for m in task.missing if not m.optional]  # why, and the remedy: in the table of calibrations
    stop = f"no {', '.join(lacking)}" if lacking else task.blocked
    state = f"BLOCKED: {stop}" if stop else ""
    return ", ".join(_products(task)) or "-", task.title, task.recipe, frames, state


def _remark_rows(plan: Plan) -> list[tuple[str, ...]]:
    """One row for each remark that is not in the table of world coordinates."""
    told = {f"{f.name}: {f.wcs_note}" for f in _doubtful(plan)}
    rows: list[tuple[str, ...]] = [("", r) for r in plan.remarks]
    return rows + [(t.id, r) for t in plan.tasks for r in t.remarks if r not in told]


def _calibration_rows(task: Task) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for a in task.calibrations:
        file = f"{a.task}.fits" if a.task else a.path.name if a.path else ""
        origin = "" if a.source == "input" else f" ({a.source})"
        rows.append((task.id, a.kind, file, str(a.level), a.reason + origin))
    return rows + [(task.id, m.kind, "-", "", f"missing: {m.reason if m.optional else m.demand}") for m in task.missing]


def _fate_row(record: FileRecord) -> tuple[str, ...] | None:
    """Name, fate and reason of a file that is not used; of a blocked task only the name, as its row has the reason."""
    fate, reason = summary(record)
    if fate == "used":
        return None
    blocked = [r.task for r in record.roles if r.outcome == "blocked" and r.reason == reason]
    name = record.path.name
    return name, fate, f"{blocked[0]} is blocked" if blocked else reason.removeprefix(f"{name}: ")
