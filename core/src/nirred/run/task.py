"""Run one task: bind its recipe to parameters, load frames and calibrations, run the steps, record the result."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import provenance
from ..blame import blamed
from ..dq import NOT_SIGNAL
from ..errors import (
    BUG,
    INTERRUPTED,
    CalibrationMissing,
    DataError,
    NirredError,
    PluginError,
    StepError,
    Unmade,
    fault_of,
)
from ..fitsio import read_calibration, read_mask
from ..frame import Frame, Plane
from ..framepass import calibrate_group
from ..group import Context, Group
from ..headers import Headers
from ..params import Setting
from ..plan.model import Association, Task
from ..recipes import BoundCall, bind, recipe_of
from ..results import Calibration, StaticMask
from ..states import FrameState
from ..step import FrameStep, GroupStep, HeaderStep
from . import history
from .intermediates import clear, keep_frames, own_passes, write_frames, written_after
from .keepsake import keep_glimpse, take_glimpse
from .keys import task_key
from .records import load_record, save_record

if TYPE_CHECKING:
    from ..plugin.recipes import Recipe

#: Kinds of calibration that are masks; there may be several of each, a static and a measured one.
MASKS = ("bpm", "user_bpm")
#: System errors for lack of memory: for a thread, and for a library.
_NO_MEMORY = ("start new thread", "failed to map segment", "annot allocate memory")


@dataclass(frozen=True)
class Job:
    """A task and its settings; it can be sent to another process.

    Parameters
    ----------
    task : Task
        From the plan, with the available calibrations (see `Task.given`).
    settings : tuple of Setting
        The user's settings, lowest precedence first.
    made : mapping
        {task id: product} of the tasks whose products it needs.
    own : Recipe, optional
        The user's own recipe, run by tasks with its name.
    fresh : bool
        Do not reuse products of an earlier run.
    """

    task: Task
    settings: tuple[Setting, ...] = ()
    made: Mapping[str, Path] = field(default_factory=dict)
    own: Recipe | None = None
    fresh: bool = False


@dataclass(frozen=True)
class FrameEnd:
    """What became of one input of a task: its file, its role, and its outcome with the reason, as in run.json."""

    path: Path
    role: str
    outcome: str
    reason: str


@dataclass
class TaskResult:
    """The result of a task; workers in other processes return only the names in `task`.

    `outcome` is done, reused, blocked, failed or interrupted; `frames` has every input, in the task's order; `others`
    are files written in addition to `product`, `intermediates` those in OUT/intermediate; `bug` is the traceback of an
    internal error.
    """

    task: Task
    outcome: str
    message: str = ""
    hint: str = ""
    exit_code: int = 0
    product: Path | None = None
    cpu_s: float = 0.0
    remarks: list[str] = field(default_factory=list)
    frames: list[FrameEnd] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    intermediates: list[Path] = field(default_factory=list)
    bug: str = ""

    @property
    def good(self) -> bool:
        """True if the products exist."""
        return self.outcome in ("done", "reused")


def execute(job: Job, context: Context) -> TaskResult:
    """Run one task, or reuse the products of an earlier run with the same key.

    Returns
    -------
    TaskResult
        Includes any error: a group that fails must not stop the others.
    """
    task = job.task
    if task.blocked:
        return failure(task, task.blocked, exit_code=CalibrationMissing.exit_code, outcome="blocked")
    start = time.process_time()
    group = Group(task, context, [FrameState(info, role) for info, role in task.frames])
    try:
        recipe = recipe_of(task.recipe, job.own, context.registry, task.first.tags)
        calls = bind(recipe, task.first, job.settings, context.registry)
        key, group.record.contents = task_key(
            task, calls, job.made, context.registry, keep=context.keep, threads=context.threads
        )
        result = None if job.fresh else _reuse(task, key, context.out)
        result = result or _make(group, recipe, calls, job.made, key)
    except NirredError as error:
        result = failure(task, error.message, error.hint, error.exit_code, group)
        if isinstance(error, PluginError) and error.__cause__ is not None:
            result.bug = "".join(traceback.format_exception(error.__cause__))
    except OSError as error:  # a file or directory that was there when the plan was made
        result = failure(task, fault_of(error), "restore it and run again", DataError.exit_code, group)
    except MemoryError:
        result = failure(task, *_out_of_memory(task), StepError.exit_code, group)
    except Exception as error:  # noqa: BLE001 - the task runner's guard: a bug ends its group, not the night
        result = _broken(task, error, group)
    finally:
        group.close()
    result.cpu_s = time.process_time() - start
    return result


def _out_of_memory(task: Task) -> tuple[str, str]:
    return f"out of memory with {len(task.frames)} frames", "a smaller --memory, or fewer --jobs"


def _broken(task: Task, error: Exception, group: Group) -> TaskResult:
    if isinstance(error, RuntimeError | ImportError) and any(t in str(error) for t in _NO_MEMORY):
        return failure(task, *_out_of_memory(task), StepError.exit_code, group)
    what = f"a bug in nirred or a plugin: {type(error).__name__}: {error}"
    result = failure(task, what, "please report it with the traceback in nirred.log", BUG, group)
    result.bug = "".join(traceback.format_exception(error))
    return result


def failure(
    task: Task, message: str, hint: str = "", exit_code: int = 0, group: Group | None = None, *, outcome: str = "failed"
) -> TaskResult:
    """The result of a task without a product."""
    if group is None:
        frames = [FrameEnd(info.path, role, "failed", message) for info, role in task.frames]
        return TaskResult(task, outcome, message, hint, exit_code, frames=frames)
    frames = _ends(group, "failed", message)
    return TaskResult(task, outcome, message, hint, exit_code, remarks=group.remarks, frames=frames)


def interrupted_task(task: Task) -> TaskResult:
    """The result of a task that was not started or not finished."""
    return failure(task, "interrupted", "run again", INTERRUPTED, outcome="interrupted")


def _reuse(task: Task, key: str, out: Path) -> TaskResult | None:
    """The result of an earlier run, if its key is the same and its files are unchanged."""
    record = load_record(out, task.id)
    names = [info.name for info, _ in task.frames]
    if record is None or record.key != key or [n for n, _, _ in record.frames] != names or not record.intact(out):
        return None
    ends = zip(task.frames, record.frames, strict=True)
    frames = [FrameEnd(info.path, role, outcome, reason) for (info, role), (_, outcome, reason) in ends]
    paths = [out / p.name for p in record.products]
    kept = [p for p in paths if p.parent != out]
    main = [p for p in paths if p.parent == out]
    return TaskResult(
        task,
        "reused",
        product=main[0],
        remarks=list(record.remarks),
        frames=frames,
        others=main[1:],
        intermediates=kept,
    )


def _make(group: Group, recipe: Recipe, calls: Sequence[BoundCall], made: Mapping[str, Path], key: str) -> TaskResult:
    """Run the recipe, and record its products so that a later run can reuse them; `made` as in `Job`."""
    _load_calibrations(group, made)
    clear(group)
    _write_between(group, recipe, calls, made)
    run_recipe(group, recipe, calls)
    task, out = group.task, group.context.out
    if group.product is None and task.makes:
        group.remark(f"no product: recipe {recipe.name} has no step that stores one, or it is skipped")
    result = TaskResult(
        task,
        "done",
        product=group.product,
        remarks=group.remarks,
        frames=_ends(group, "used", ""),
        others=group.record.products[1:],
        intermediates=group.record.intermediates,
    )
    if group.product is None:
        return result
    files = [group.product, *result.others, *result.intermediates]
    ends = zip(task.frames, result.frames, strict=True)
    frames = tuple((info.name, end.outcome, end.reason) for (info, _), end in ends)
    try:
        keep_glimpse(group)
        save_record(out, key, task.id, recipe.name, files, frames=frames, remarks=tuple(group.remarks))
    except (DataError, OSError) as error:
        group.remark(f"not recorded, so that the next run makes it again: {error}")
    return result


def _write_between(group: Group, recipe: Recipe, calls: Sequence[BoundCall], made: Mapping[str, Path]) -> None:
    """Write the frames after each frame step whose output is wanted before the next one acts."""
    for number in own_passes(calls):
        part = Group(group.task, group.context, [FrameState(info, role) for info, role in group.task.frames])
        part.record.contents = group.record.contents
        steps = [b for b in calls[: number + 1] if isinstance(b.step, FrameStep)]
        try:
            _load_calibrations(part, made)
            run_recipe(part, recipe, steps)
            calibrate_group(part)
            write_frames(part, calls[number].call.name)
        finally:
            part.close()
        group.record.intermediates.extend(part.record.intermediates)


def run_recipe(group: Group, recipe: Recipe, calls: Sequence[BoundCall]) -> None:
    """Run a recipe's steps on a group; leading frame steps are combined in one pass over the pixels."""
    group.record.provenance = lambda: provenance.table(history.records(group, recipe, calls))
    fused = False
    for number, bound in enumerate(calls):
        if group.context.stopped():
            raise KeyboardInterrupt
        if isinstance(bound.step, FrameStep):
            if fused:
                raise StepError(
                    f"recipe {recipe.name}: frame step {bound.call.name!r} after a group step", "put it earlier"
                )
            with _blamed(bound, group):
                if bound.params.skip:
                    bound.step.skipped(group)
                else:
                    bound.step.configure(group.setup, bound.params, group)
            continue
        if not fused and not isinstance(bound.step, HeaderStep):
            read = group.context.keep or _frames_needed(group, calls[number:])
            what = f"calibrating {len(group.indices())} frames" if read else "reading what an earlier task stacked"
            group.say(what)
            calibrate_group(group, read=read)
            fused = True
            keep_frames(group, calls[:number])
        if isinstance(bound.step, GroupStep) and not bound.params.skip:
            group.say(bound.call.name)
            with _blamed(bound, group):
                _apply(bound, group, recipe)
            fused = fused or bool(group.planes)
            written_after(group, bound, calls[number + 1 :])
            _give_up_frames(group, calls[number + 1 :])


def _blamed(bound: BoundCall, group: Group) -> AbstractContextManager[None]:
    """Context of a step: exceptions in a plugin's are attributed to its package."""
    package = group.context.registry.origin(type(bound.step))
    return blamed(package, f"step {bound.call.name!r} of {group.task.id}")


def _apply(bound: BoundCall, group: Group, recipe: Recipe) -> None:
    """Run a group step; a missing input is a fault of the recipe, or due to a skipped step."""
    assert isinstance(bound.step, GroupStep)
    try:
        bound.step.apply(group, bound.params, bound.call)
    except Unmade as error:
        raise StepError(
            f"recipe {recipe.name}: {bound.call.name} needs what no earlier step has made: {error.message}",
            "a step is skipped, missing or too late; `nirred recipe show reduce` has them in order",
        ) from None


def _frames_needed(group: Group, calls: Sequence[BoundCall]) -> bool:
    """Whether one of the steps uses the frames; if none does, an earlier step has used them."""
    steps = [(c.step, c.params) for c in calls if isinstance(c.step, GroupStep) and not c.params.skip]
    using = [(step, params) for step, params in steps if step.uses_frames]
    return not using or any(step.needs_frames(group, params) for step, params in using)


def _give_up_frames(group: Group, later: Sequence[BoundCall]) -> None:
    """Free the frames that no later step uses; the report's picture is made before the last are freed."""
    using = any(isinstance(c.step, GroupStep) and c.step.uses_frames for c in later)
    if not using and not group.record.given_up:
        take_glimpse(group)
        group.give_up_frames()
        group.record.given_up = True


def _load_calibrations(group: Group, made: Mapping[str, Path]) -> None:
    for a in group.task.calibrations:
        path = made[a.task] if a.task else a.path
        assert path is not None
        if a.checksum and provenance.file_digest(path) != a.checksum:
            raise CalibrationMissing(f"{path}: changed since the plan was made", "run again")
        master = _master(a, path, group)
        if a.kind in MASKS:
            group.masks.setdefault(a.kind, []).append(StaticMask(path.name, [p.dq for p in master.planes]))
        else:
            group.calibrations[a.kind] = master
        group.record.calibrations.append((a.kind, path))


def _master(a: Association, path: Path, group: Group) -> Calibration:
    """A calibration as read by the plugin of the frames, where it knows the layout, else by the core's reader."""
    first, headers = group.task.first, Headers.read(path)
    master = group.context.registry.ask(
        first.owner,
        "nirred_read_calibration",
        path=path,
        kind=a.kind,
        headers=headers,
        descriptors=first.descriptors,
    )
    if isinstance(master, Frame):
        return Calibration(list(master.planes), path.name, a.scale, master.unit, holds_bias=master.unit != "adu")
    if a.kind in MASKS:
        return Calibration([Plane(np.zeros(m.shape, np.float32), m) for m in read_mask(path)], path.name)
    unit = _unit_of(group, path, headers) if a.kind in ("dark", "bias") else "electron"
    planes = read_calibration(path)
    if all((p.dq & np.uint16(NOT_SIGNAL)).all() for p in planes):
        raise DataError(f"{path.name}: no usable pixel", "see its SCI, VAR and DQ; make it again, or name another")
    return Calibration(planes, path.name, a.scale, unit)


def _unit_of(group: Group, path: Path, headers: Headers) -> str:
    """Unit of a dark's pixels: electron or adu. Nirred's own darks state it, those of other programs may not."""
    stated = headers.text("BUNIT").lower()
    if not stated:
        group.remark(f"{path.name}: no BUNIT; its pixels are taken for electrons (counts need BUNIT = 'adu')")
    elif stated in ("adu", "dn", "count", "counts", "ct"):
        return "adu"
    elif stated not in ("electron", "electrons", "e-"):
        raise DataError(f"{path.name}: BUNIT = {stated!r} is neither electron nor adu", "convert it, or name another")
    return "electron"


def _ends(group: Group, outcome: str, reason: str) -> list[FrameEnd]:
    """The frames' own ends; those still in use share the given one."""
    ends = []
    for f in group.frames:
        own = (outcome, reason) if f.alive else (f.state, f.reason)
        ends.append(FrameEnd(f.info.path, f.role, *own))
    return ends
