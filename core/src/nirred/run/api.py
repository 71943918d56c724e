"""`run`: plan, execute every task, write run.json, report."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import ConfigError, DataError
from ..group import Context
from ..params import Setting
from ..plan.describe import plan_json
from ..plan.fates import files_json
from ..plan.model import Plan
from ..plan.options import PlanOptions, known_settings
from ..plan.planner import make_plan
from ..plugin.instrument import Event
from ..plugin.recipes import Recipe
from ..recipes import own_recipe, recipe_of
from ..registry import Registry
from .settings import refuse_unused
from .task import TaskResult, execute


@dataclass(frozen=True)
class RunOptions:
    """Options of a run; the command line's and the Python API's alike.

    Parameters
    ----------
    plan : PlanOptions
        What concerns the plan.
    settings : tuple of Setting
        Parameters of steps, low to high.
    jobs : int
        Threads; 0: as many as there are processors.
    memory : int
        Bytes for pixels.
    scratch : Path or None
        Directory of scratch files; default OUT/.nirred/scratch.
    on_event : callable or None
        Told of everything that happens.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    recipe: str | None = None
    settings: tuple[Setting, ...] = ()
    offsets: Path | None = None
    jobs: int = 0
    memory: int = 2_000_000_000
    scratch: Path | None = None
    strict: bool = False
    log_file: Path | None = None
    on_event: Callable[[Event], None] | None = None


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Parameters
    ----------
    products : dict
        {task id: path}; what a task wrote besides bears its own name.
    outcomes : dict
        {task id: done, blocked or failed}.
    exit_code : int
        As the command line returns it.
    record : dict
        run.json.
    """

    products: dict[str, Path]
    outcomes: dict[str, str]
    exit_code: int
    record: dict[str, Any]
    messages: tuple[str, ...] = ()

    @property
    def output_filenames(self) -> list[str]:
        """Names of all products, in the order in which they were made."""
        return [p.name for p in self.products.values()]


def run(
    inputs: Sequence[str | Path], out: Path, options: RunOptions | None = None, registry: Registry | None = None
) -> RunResult:
    """Plan and reduce.

    Parameters
    ----------
    inputs : sequence
        Directories, files, @lists.
    out : Path
        Directory of the products; made if absent.
    options : RunOptions
        Defaults: everything automatic.
    registry : Registry
        Default: the installed plugins.

    Raises
    ------
    NirredError
        The inputs, options or plugins do not allow any reduction. Groups that fail are in the result.
    """
    options = options or RunOptions()
    registry = registry or Registry.discover()
    options = _checked(options, registry)
    own = own_recipe(options.recipe, registry)
    out = _prepare_output(Path(out))
    plan = make_plan(inputs, registry, replace(options.plan, out=out, recipe=options.recipe))
    refuse_unused(options.settings, (recipe_of(t.recipe, own, registry, t.first.tags) for t in plan.tasks))
    tell = _teller(options, registry, out)
    results = _execute_all(plan, _context(options, registry, out, tell), options.settings, own, tell)
    record = _record(plan, results)
    _write_json(out / "run.json", record)
    return RunResult(
        _products(results),
        {r.task.id: r.outcome for r in results},
        exit_code(plan, results, strict=options.strict),
        record,
        tuple(m for r in results for m in ([r.message] if r.message else []) + r.remarks),
    )


def _products(results: Sequence[TaskResult]) -> dict[str, Path]:
    found = {}
    for result in results:
        if result.product is not None:
            found[result.task.id] = result.product
            found |= {path.stem: path for path in result.others}
    return found


def _prepare_output(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / ".nirred").mkdir(exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise ConfigError(f"{out}: {getattr(error, 'strerror', '') or error}", "another -o") from None
    if not os.access(out, os.W_OK):
        raise ConfigError(f"{out} cannot be written", "another -o")
    return out


def _checked(options: RunOptions, registry: Registry) -> RunOptions:
    """The options with every step and parameter known, and what they say of steps and plan told to these."""
    recipe = options.recipe or options.plan.recipe
    planned = [s for s in options.plan.settings if s not in options.settings]
    settings = known_settings((*planned, *options.settings), recipe, registry)
    if options.offsets is not None:
        settings += (Setting("adjust_wcs_to_reference", "offsets", str(options.offsets), "--offsets"),)
    return replace(options, recipe=recipe, settings=settings, plan=options.plan.with_settings(settings))


def _context(options: RunOptions, registry: Registry, out: Path, tell: Callable[[Event], None]) -> Context:
    return Context(
        registry,
        out,
        options.scratch or out / ".nirred" / "scratch",
        options.memory,
        options.jobs or os.cpu_count() or 1,
        lambda message: tell(Event("progress", message=message)),
    )


def _teller(options: RunOptions, registry: Registry, out: Path) -> Callable[[Event], None]:
    """Events go to the log beside the products, the caller, and the plugins that observe."""
    log = options.log_file or out / "nirred.log"

    def tell(event: Event) -> None:
        line = {"time": datetime.now(UTC).isoformat(), "kind": event.kind, "task": event.task, "message": event.message}
        with log.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        if options.on_event is not None:
            options.on_event(event)
        registry.notify(event)

    return tell


def _execute_all(
    plan: Plan,
    context: Context,
    settings: tuple[Setting, ...],
    own: Recipe | None,
    tell: Callable[[Event], None],
) -> list[TaskResult]:
    made: dict[str, Path] = {}
    results = []
    for number, task in enumerate(plan.tasks, 1):
        tell(Event("started", task.id, f"{task.recipe}: {task.id}", {"number": number, "of": len(plan.tasks)}))
        result = execute(task, context, settings, made, own)
        results.append(result)
        if result.product is not None:
            made[task.id] = result.product
            tell(Event("product", task.id, result.product.name))
        kind = "finished" if result.outcome == "done" else "failed"
        tell(Event(kind, task.id, result.message, {"outcome": result.outcome, "hint": result.hint}))
    return results


def _record(plan: Plan, results: list[TaskResult]) -> dict[str, Any]:
    """run.json: the plan with outcomes, and the fate of every file."""
    by_path = {r.path: r for r in plan.files}
    for f in plan.files:
        f.roles.clear()
    for result in results:
        for path, role, outcome, reason in result.frames:
            by_path[path].roles.append((result.task.id, role, outcome, reason))
        for a in result.task.calibrations:
            if a.path is not None and a.path in by_path and result.outcome == "done":
                by_path[a.path].roles.append((result.task.id, a.kind, "used", a.reason))
    record = plan_json(plan)
    record["nirred"] = __version__
    record["files"] = files_json(plan.files)
    for entry, result in zip(record["tasks"], results, strict=True):
        entry["outcome"] = result.outcome
        entry["products"] = [p.name for p in (result.product, *result.others) if p is not None]
        entry["cpu_s"] = round(result.cpu_s, 3)
        entry["remarks"] = [*entry.get("remarks", []), *result.remarks]
        if result.message:
            entry["error"] = {"message": result.message, "hint": result.hint}
    return record


def exit_code(plan: Plan, results: list[TaskResult], *, strict: bool) -> int:
    """0 all done; 1 some failed; the reason's own code when all failed for one; 4 nothing to do."""
    if not results:
        return DataError.exit_code
    failed = [r for r in results if r.outcome != "done"]
    if failed and len(failed) == len(results):
        codes = {r.exit_code for r in failed}
        return codes.pop() if len(codes) == 1 else 1
    if failed:
        return 1
    spoiled = {"unreadable", "unclaimed", "ambiguous", "unsupported"}
    if strict and (any(f.verdict in spoiled for f in plan.files) or any(t.degraded for t in plan.tasks)):
        return DataError.exit_code
    return 0


def _write_json(path: Path, record: dict[str, Any]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "w") as stream:
        json.dump(record, stream, indent=1, default=str)
        stream.flush()
        os.fsync(stream.fileno())
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)
