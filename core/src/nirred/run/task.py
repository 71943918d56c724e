"""One task: its recipe bound to parameters, its frames and calibrations loaded, its steps run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import __version__, provenance
from ..errors import CalibrationMissing, NirredError, StepError
from ..fitsio import read_calibration, read_mask
from ..frame import Plane
from ..framepass import calibrate_group
from ..group import Context, FrameState, Group
from ..params import Setting
from ..plan.model import Association, Task
from ..recipes import BoundCall, bind, recipe_of
from ..step import FrameStep, GroupStep
from ..steps.checkwcs import HeaderStep

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe


@dataclass
class TaskResult:
    """What became of a task.

    `outcome` is done, blocked or failed; `frames` holds (file, role, outcome, reason) of every input; `others` what was
    written besides `product`.
    """

    task: Task
    outcome: str
    message: str = ""
    hint: str = ""
    exit_code: int = 0
    product: Path | None = None
    cpu_s: float = 0.0
    remarks: list[str] = field(default_factory=list)
    frames: list[tuple[Path, str, str, str]] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def execute(
    task: Task,
    context: Context,
    settings: Sequence[Setting],
    made: Mapping[str, Path],
    own: Recipe | None = None,
) -> TaskResult:
    """Run one task.

    Parameters
    ----------
    task : Task
        From the plan.
    context : Context
        Shared by all tasks.
    settings : sequence of Setting
        The user's, low to high.
    made : mapping
        {task id: product} of the tasks that are done.
    own : Recipe, optional
        The user's own recipe; tasks that bear its name run it.

    Returns
    -------
    TaskResult
        Errors that a user can cause are in it, by name; a bug is raised.
    """
    blocked = task.blocked or _unmade(task, made)
    if blocked:
        return TaskResult(
            task,
            "blocked",
            blocked,
            exit_code=CalibrationMissing.exit_code,
            frames=_fates(task, None, "failed", blocked),
        )
    start = time.process_time()
    group = Group(task, context, [FrameState(info, role) for info, role in task.frames])
    try:
        _load_calibrations(group, made)
        recipe = recipe_of(task.recipe, own, context.registry, task.first.tags)
        run_recipe(group, recipe, bind(recipe, task.first, settings, context.registry))
    except NirredError as error:
        return TaskResult(
            task, "failed", error.message, error.hint, error.exit_code, None, time.process_time() - start,
            group.remarks, _fates(task, group, "failed", error.message),
        )  # fmt: skip
    except MemoryError:
        what = f"{task.id}: out of memory with {len(task.frames)} frames"
        return TaskResult(
            task, "failed", what, "a smaller --memory", 6, None, 0.0, group.remarks, _fates(task, group, "failed", what)
        )
    finally:
        group.close()
    fates = _fates(task, group, "used", "")
    others = list(group.extras.get("products", ()))[1:]
    spent = time.process_time() - start
    return TaskResult(task, "done", "", "", 0, group.product, spent, group.remarks, fates, others)


def run_recipe(group: Group, recipe: Recipe, calls: Sequence[BoundCall]) -> None:
    """Run a recipe's steps on a group: leading frame steps are fused into one pass over the pixels."""
    group.extras["provenance"] = lambda: provenance.table(_records(group, recipe, calls))
    fused = False
    for bound in calls:
        if isinstance(bound.step, FrameStep):
            if fused:
                raise StepError(
                    f"recipe {recipe.name}: frame step {bound.call.name!r} after a group step", "put it earlier"
                )
            bound.step.configure(group.setup, bound.params, group)
            continue
        if not fused and not isinstance(bound.step, HeaderStep):
            group.context.say(f"{group.task.id}: calibrating {len(group.indices())} frames")
            calibrate_group(group)
            fused = True
        if isinstance(bound.step, GroupStep) and not bound.params.skip:
            group.context.say(f"{group.task.id}: {bound.call.name}")
            bound.step.apply(group, bound.params, bound.call)
            fused = fused or bool(group.planes)


def _records(group: Group, recipe: Recipe, calls: Sequence[BoundCall]) -> list[provenance.Record]:
    registry = group.context.registry
    records = [provenance.Record("nirred", "nirred", __version__)]
    owner = group.task.first.owner
    info = registry.found.get(owner)
    if info is not None:
        records.append(provenance.Record("plugin", info.package, info.version, owner))
    records.append(provenance.Record("recipe", recipe.name))
    for b in calls:
        values = {k: getattr(b.params, k) for k in type(b.params).model_fields if k != "skip" or b.params.skip}
        shown = {k: (v.name if isinstance(v, Path) else v) for k, v in values.items()}
        records += provenance.parameter_records(b.call.name, b.step.version, shown, b.origins)
    files = [(f.info.path, "input", f.role) for f in group.frames if f.state != "failed"]
    files += [(path, "calibration", kind) for kind, path in group.extras.get("calibration_files", [])]
    return records + provenance.input_records(files)


def _unmade(task: Task, made: Mapping[str, Path]) -> str:
    for a in task.calibrations:
        required = a.kind == "flat"
        if a.task and a.task not in made and required:
            return f"{task.id}: its {a.kind} {a.task} was not made"
    return ""


def _load_calibrations(group: Group, made: Mapping[str, Path]) -> None:
    group.extras["calibration_files"] = []
    for a in group.task.calibrations:
        path = made.get(a.task) if a.task else a.path
        if path is None:
            group.remark(f"{group.task.id}: {a.kind} {a.task} was not made; going on without")
            continue
        planes = _planes(a, path)
        if a.kind == "user_bpm":
            group.masks[a.kind] = [p.dq for p in planes]
        elif a.kind == "bpm" and "bpm" in group.calibrations:
            group.calibrations["bpm"] = [
                Plane(x.data, x.dq | y.dq) for x, y in zip(group.calibrations["bpm"], planes, strict=True)
            ]
        else:
            group.calibrations[a.kind] = planes
            group.extras[f"{a.kind}_name"] = path.name
            group.extras[f"{a.kind}_scale"] = a.scale
        group.extras["calibration_files"].append((a.kind, path))


def _planes(a: Association, path: Path) -> list[Plane]:
    if a.kind in ("bpm", "user_bpm"):
        return [Plane(np.zeros(m.shape, np.float32), m) for m in read_mask(path)]
    return read_calibration(path)


def _fates(task: Task, group: Group | None, outcome: str, reason: str) -> list[tuple[Path, str, str, str]]:
    if group is None:
        return [(info.path, role, outcome, reason) for info, role in task.frames]
    rows = []
    for f in group.frames:
        own = (outcome, reason) if f.alive else (f.state, f.reason)
        rows.append((f.info.path, f.role, *own))
    return rows
