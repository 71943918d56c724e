"""`run`: plan, execute every task, write run.json, report."""

from __future__ import annotations

import contextlib
import os
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ..config import merged
from ..errors import ConfigError, DataError, NirredError
from ..files import remove_parts, write_json
from ..fitness import refuse_unfit
from ..framepass import compiled
from ..group import Context
from ..inputs import expand_inputs
from ..plan.model import Plan
from ..plan.options import PlanOptions
from ..plan.planner import make_plan
from ..plane_memory import scratch_bytes
from ..plugin.instrument import Event
from ..plugin.recipes import Recipe
from ..recipes import own_recipe
from ..registry import Registry
from ..scratch import remove_scratch
from .ahead import loaded_ahead
from .executors import Crew, refuse_unknown
from .layout import intermediate_folder, log_path, own_folder, report_path, run_path, scratch_folder, task_folder
from .ledger import Ledger
from .limits import one_blas_thread, one_heap, processors, small_pages, within_limits
from .lock import output_lock
from .log import Log
from .outcome import circumstances, exit_code, run_record
from .records import recorded_tasks
from .requests import Journal, lay_out_results
from .schedule import Schedule
from .space import check_space
from .task import Job, TaskResult

__all__ = ["RunOptions", "RunResult", "run"]


@dataclass(frozen=True)
class RunOptions:
    """Options of a run, from the command line or the Python API.

    Parameters
    ----------
    plan : PlanOptions
        Options of the plan, among them the recipe and the parameters of steps.
    jobs : int
        Number of threads; 0: one per processor.
    memory : int
        Bytes for pixels.
    scratch : Path or None
        Directory of scratch files; default OUT/.nirred/scratch.
    executor : str
        serial, threads, processes or one provided by a plugin; '' for the default.
    fresh : bool
        Do not reuse products of an earlier run.
    keep_intermediates : bool
        Write calibrated and sky-subtracted frames to OUT/intermediate.
    on_event : callable or None
        Called with every event.
    register : bool
        Add the calibrations made to the plan's library, if it has one.
    report : bool
        Write OUT/report/index.html at the end. If False, that of an earlier run is removed unless all products are
        reused.
    """

    plan: PlanOptions = field(default_factory=PlanOptions)
    jobs: int = 0
    memory: int = 2_000_000_000
    scratch: Path | None = None
    executor: str = ""
    fresh: bool = False
    keep_intermediates: bool = False
    log_file: Path | None = None
    on_event: Callable[[Event], None] | None = None
    register: bool = True
    report: bool = True


@dataclass(frozen=True)
class RunResult:
    """The results of a run.

    Parameters
    ----------
    products : dict
        {task id: path}; other files written by a task are listed under their own names.
    outcomes : dict
        {task id: done, reused, blocked, failed or interrupted}.
    exit_code : int
        As the command line returns it.
    record : dict
        run.json.
    report : Path or None
        The report page; None if it was not wanted or could not be written.
    messages : tuple of str
        Errors and remarks of the tasks, each with the task's name.
    fault : str
        Why run.json could not be written.
    """

    products: dict[str, Path]
    outcomes: dict[str, str]
    exit_code: int
    record: dict[str, Any]
    messages: tuple[str, ...] = ()
    report: Path | None = None
    fault: str = ""

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
        Directory of the products; created if absent.
    options : RunOptions
        By default everything is automatic.
    registry : Registry
        Default: the installed plugins.

    Raises
    ------
    NirredError
        The inputs, options or plugins do not allow any reduction. Failed groups do not raise; they are in the result.
    """
    options = options or RunOptions()
    registry = registry or Registry.discover()
    refuse_unfit(registry)
    refuse_unknown(options.executor, registry)
    own = own_recipe(options.plan.recipe, registry)
    out = _prepare_output(Path(out), inputs, options.log_file)
    log = Log(options.log_file or log_path(out), registry, options.on_event)
    tell = Journal(log.tell) if options.plan.requests is not None else log.tell
    started = datetime.now(UTC)
    say = partial(_say, tell)

    with output_lock(own_folder(out), say):
        context = within_limits(_context(options, registry, out, tell), say)
        _clean(context)
        plan = make_plan(inputs, registry, replace(options.plan, out=out))
        ledger = Ledger(out)
        results, interrupted = _execute_all(plan, context, options, own, tell, ledger)
        plan = replace(plan, tasks=[r.task for r in results])  # as they were carried out
        plan.remarks += [said for said in registry.complaints() if said not in plan.remarks]  # observers'
        record = run_record(plan, results) | circumstances(registry, options.plan.settings, started)
        record["earlier"] = ledger.earlier
        if isinstance(tell, Journal):
            lay_out_results(plan, results, record["tasks"], tell, out)
            record["remarks"] = list(plan.remarks)
        if fault := ledger.finish(record):
            say(fault)
        page = _report(out, record, tell) if options.report and not fault else None
        if page is None and any(r.outcome != "reused" for r in results):
            _remove_report(out, say)
    if interrupted:
        raise KeyboardInterrupt
    return RunResult(
        products=_products(results),
        outcomes={r.task.id: r.outcome for r in results},
        exit_code=exit_code(plan, results, strict=options.plan.strict) or (DataError.exit_code if fault else 0),
        record=record,
        messages=tuple(f"{r.task.id}: {m}" for r in results for m in ([r.message] if r.message else []) + r.remarks),
        report=page,
        fault=fault,
    )


def _say(tell: Callable[[Event], None], text: str) -> None:
    tell(Event("message", message=text))


def _report(out: Path, record: dict[str, Any], tell: Callable[[Event], None]) -> Path | None:
    """Write the report; errors are reported and recorded but do not affect the products."""
    from ..report import write_report

    try:
        return write_report(out)
    except Exception as error:  # noqa: BLE001 - the reduction is finished: no fault of its report may undo it
        said = str(error) if isinstance(error, NirredError) else f"{type(error).__name__}: {error}"
        record["remarks"].append(f"no report: {said}")
        _say(tell, f"no report: {said}")
        if not isinstance(error, (NirredError, MemoryError)):
            _say(tell, "".join(traceback.format_exception(error)))
        with contextlib.suppress(DataError):  # the disk that is full for the report may be so for this
            write_json(run_path(out), record)
        return None


def _remove_report(out: Path, say: Callable[[str], None]) -> None:
    """Remove the report of an earlier run, which does not describe these products."""
    page = report_path(out)
    if not page.parent.is_dir():
        return
    try:
        page.unlink()
    except FileNotFoundError:
        return
    except OSError as error:
        say(f"{page} of an earlier run cannot be removed ({error.strerror}): it does not describe these products")
        return
    say(f"{page} of an earlier run is removed: it does not describe these products; `nirred report {out}` makes one")
    with contextlib.suppress(OSError):  # something else is in it
        page.parent.rmdir()


def _clean(context: Context) -> None:
    """Remove files left by killed runs; no other run works here while the lock is held."""
    out = context.out
    for folder in (out, own_folder(out), task_folder(out), report_path(out).parent):
        remove_parts(folder)
    for folder in intermediate_folder(out).glob("*"):
        remove_parts(folder)
    remove_scratch(context.scratch)


def _products(results: Sequence[TaskResult]) -> dict[str, Path]:
    found = {}
    for result in results:
        if result.product is not None:
            found[result.task.id] = result.product
            found |= {path.stem: path for path in result.others}
    return found


def _prepare_output(out: Path, inputs: Sequence[str | Path], log_file: Path | None) -> Path:
    """Create the directories of the products and of the log; nothing is created if an input is misspelt."""
    try:
        if inputs:
            expand_inputs(inputs, out=out)
        out.mkdir(parents=True, exist_ok=True)
        task_folder(out).mkdir(parents=True, exist_ok=True)
        if log_file is not None:
            log_file.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        where = getattr(error, "filename", None) or out
        fault = "it is a file" if isinstance(error, FileExistsError) else getattr(error, "strerror", "") or error
        raise ConfigError(f"{where}: {fault}", "another -o or --log-file" if log_file else "another -o") from None
    if not os.access(out, os.W_OK):
        raise ConfigError(f"{out} cannot be written", "another -o")
    return out


def _context(options: RunOptions, registry: Registry, out: Path, tell: Callable[[Event], None]) -> Context:
    return Context(
        registry,
        out,
        options.scratch or scratch_folder(out),
        memory=options.memory,
        threads=options.jobs or processors(),
        say=lambda task, message: tell(Event("progress", task, message)),
        keep=options.keep_intermediates,
    )


def _keeper(options: RunOptions, plan: Plan, tell: Callable[[Event], None]) -> Callable[[TaskResult], None]:
    """A function that adds each calibration to the library once it is made; errors become remarks."""
    library = options.plan.library if options.register else None

    def keep(result: TaskResult) -> None:
        if library is None or result.product is None or result.task.makes in ("", "image"):
            return
        said = library.register(result.product)
        if said:
            plan.remarks.append(said)
            tell(Event("progress", result.task.id, said))

    return keep


def _execute_all(
    plan: Plan,
    context: Context,
    options: RunOptions,
    own: Recipe | None,
    tell: Callable[[Event], None],
    ledger: Ledger,
) -> tuple[list[TaskResult], bool]:
    """Results of all tasks, and whether the run was interrupted; finished tasks count in any case."""
    jobs = [Job(t, merged(options.plan.settings, t.settings), {}, own, options.fresh) for t in plan.tasks]
    stop = threading.Event()
    filed = any(scratch_bytes(task, context.memory) for task in plan.tasks)
    crew = Crew(options.executor, replace(context, stopped=stop.is_set, filed=filed))
    schedule = Schedule(jobs, crew, tell, _keeper(options, plan, tell))
    try:
        scratch, memory = context.scratch, context.memory
        check_space(plan, context.out, scratch, memory, width=crew.width, keep=context.keep)
        if jobs and not compiled():
            tell(Event("message", message="kernels are compiled at their first use, once: up to a minute more"))
        ledger.begin(run_record(plan, schedule.ordered()))
        with one_heap(), one_blas_thread(), small_pages(), _ahead(plan, crew, fresh=options.fresh):
            return schedule.run(), False
    except KeyboardInterrupt:
        stop.set()
        return schedule.ordered(), True
    finally:
        stop.set()
        crew.close()


def _ahead(plan: Plan, crew: Crew, *, fresh: bool) -> contextlib.AbstractContextManager[None]:
    """Libraries and digests of inputs, unless every task has a record and will hardly need them."""
    finished = set() if fresh else recorded_tasks(crew.context.out)
    tasks = [task for task in plan.tasks if task.id not in finished]
    files = dict.fromkeys(info.path for task in tasks for info, _ in task.frames)
    return loaded_ahead(crew.context.threads if tasks and crew.local else 1, list(files))
