"""The outcome of a run: run.json and the exit code."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..params import Setting
from ..plan import fates
from ..plan.describe import plan_json
from ..plan.model import FileRole, Plan
from ..registry import Registry
from .task import TaskResult


def run_record(plan: Plan, results: Sequence[TaskResult]) -> dict[str, Any]:
    """run.json: the plan with outcomes, and the fate of every file."""
    by_path = {r.path: r for r in plan.files}
    places = fates.by_place(plan.files)
    for file in plan.files:
        file.roles.clear()
    for result in results:
        for f in result.frames:
            by_path[f.path].roles.append(FileRole(result.task.id, f.role, f.outcome, f.reason))
        for file, a in fates.calibrations_among(places, result.task):
            end = ("used", a.reason) if result.good else ("failed", result.message)
            file.roles.append(FileRole(result.task.id, a.kind, *end))
    record = plan_json(plan)
    ended = {}
    for entry, result in zip(record["tasks"], results, strict=True):
        entry |= _ending(result)
        entry["remarks"] = [*entry.get("remarks", []), *result.remarks]
        ended[entry["id"]] = result.outcome
    for asked in record.get("requests", ()):
        asked["outcome"] = ended.get(asked["task"], "failed" if asked["reason"] else "unneeded")
    return record


def circumstances(registry: Registry, settings: Sequence[Setting], started: datetime) -> dict[str, Any]:
    """Entries of run.json about the run apart from the plan: time, directory, plugins and the user's settings."""
    plugins = [i for i in registry.found.values() if not i.error]
    return {
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "directory": os.getcwd(),
        "plugins": [{"name": i.name, "package": i.package, "version": i.version} for i in plugins],
        "settings": [{"step": s.step, "name": s.name, "value": s.value, "origin": s.origin} for s in settings],
    }


def _ending(result: TaskResult) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "outcome": result.outcome,
        "products": [p.name for p in (result.product, *result.others) if p is not None],
        "cpu_s": round(result.cpu_s, 3),
    }
    if result.intermediates:
        entry["intermediates"] = [f"intermediate/{result.task.id}/{p.name}" for p in result.intermediates]
    if result.message:
        entry["error"] = {"message": result.message, "hint": result.hint}
    return entry


def exit_code(plan: Plan, results: Sequence[TaskResult], *, strict: bool) -> int:
    """Exit code of a run; see `fates.exit_code`."""
    return fates.exit_code(plan, [None if r.good else r.exit_code for r in results], strict=strict)
