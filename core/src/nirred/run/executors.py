"""One interface to run tasks in this thread, in threads, in processes, or with a plugin's executor."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PluginError
from ..fitness import refuse_unfit
from ..group import Context
from ..params import nearest
from ..plan.model import Task
from ..registry import Registry
from .limits import one_blas_thread, one_heap, small_pages
from .task import Job, TaskResult, execute

#: The core's executors by name, and whether tasks run in parallel.
OWN = ("serial", "threads", "processes")
DEFAULT = "serial"
#: Seconds that an idle worker waits for its results to be sent after the parent has closed the connection.
GRACE = 5.0


def refuse_unknown(name: str, registry: Registry) -> None:
    """Refuse an executor that neither the core nor a plugin provides; '' is the default.

    Raises
    ------
    ConfigError
        The nearest is suggested.
    """
    known = (*OWN, *(spec.name for _, spec in registry.executors()))
    if name and name not in known:
        raise ConfigError(f"no executor {name!r}", nearest(name, known) or f"known: {', '.join(known)}")


class SerialExecutor(Executor):
    """An executor that runs each call immediately in the submitting thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call `fn`; an interruption is raised, not stored in the future."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - an executor's duty: the future carries the exception
            future.set_exception(error)
        return future


@dataclass(frozen=True)
class Place:
    """A `Context` that can be sent to another process, with the plugins given by name and version."""

    out: Path
    scratch: Path
    memory: int
    threads: int
    keep: bool
    filed: bool
    plugins: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, context: Context) -> Place:
        """What another process needs to know of a context."""
        plugins = _versions(context.registry)
        return cls(context.out, context.scratch, context.memory, context.threads, context.keep, context.filed, plugins)

    def context(self) -> Context:
        """The context in this process.

        Raises
        ------
        PluginError
            The plugins installed here differ from those where the run was started.
        """
        registry = _registry(tuple(name for name, _ in self.plugins))
        here = _versions(registry)
        if here != self.plugins:
            what = f"a worker has other plugins: {here}, expected: {self.plugins}"
            raise PluginError(what, "install the same there")
        return Context(
            registry,
            self.out,
            self.scratch,
            memory=self.memory,
            threads=self.threads,
            keep=self.keep,
            filed=self.filed,
        )


class Crew:
    """An executor and the context that tasks need to run on it.

    Parameters
    ----------
    name : str
        serial, threads, processes, or the name of a plugin's `ExecutorSpec`; '' for the default.
    context : Context
        Context of the run: `threads` is the number of jobs, `memory` the limit for all tasks together.
    """

    def __init__(self, name: str, context: Context) -> None:
        self.name = name or DEFAULT
        self.context = context
        self.lifeline: Connection | None = None
        self.executor = self._make()

    @property
    def width(self) -> int:
        """Number of tasks that may run in parallel."""
        return 1 if self.name == "serial" else self.context.threads

    @property
    def local(self) -> bool:
        """True if tasks run in this process."""
        return self.name in ("serial", "threads")

    def start(self, job: Job, threads: int) -> Future[TaskResult]:
        """Run a task with `threads` of the jobs and the same fraction of the memory."""
        memory = self.context.memory * threads // self.context.threads
        context = replace(self.context, threads=threads, memory=memory)
        if self.local:
            return self.executor.submit(execute, job, context)
        with _deaf():
            return self.executor.submit(work, job, Place.of(context))

    def renew(self) -> None:
        """Replace an executor whose workers died."""
        self.close()
        self.executor = self._make()

    def close(self) -> None:
        """End the workers and abandon their current tasks."""
        if self.lifeline is not None:
            self.lifeline.close()
            self.lifeline = None
        _read_no_jobs(self.executor)
        self.executor.shutdown(wait=True, cancel_futures=True)

    def _make(self) -> Executor:
        jobs = self.context.threads
        if self.name == "serial":
            return SerialExecutor()
        if self.name == "threads":
            return ThreadPoolExecutor(jobs, "nirred-task")
        if self.name == "processes":
            return self._processes(jobs)
        refuse_unknown(self.name, self.context.registry)
        plugin, spec = next((p, s) for p, s in self.context.registry.executors() if s.name == self.name)
        try:
            return spec.make(jobs)
        except Exception as error:
            raise PluginError(
                f"{plugin}: executor {self.name!r} cannot be made: {type(error).__name__}: {error}",
                "another --executor",
            ) from error

    def _processes(self, jobs: int) -> Executor:
        """Start new interpreters, because a fork of a process with threads may hang."""
        spawn = multiprocessing.get_context("spawn")
        theirs, self.lifeline = spawn.Pipe(duplex=False)
        return ProcessPoolExecutor(jobs, spawn, _begin, (theirs,))


def _read_no_jobs(executor: Executor) -> None:
    """Close this process's reading end of the pipe to its workers.

    A job is larger than the pipe's buffer: if the last worker dies before it has read the job, the rest would wait for
    a reader for ever, and `Executor.shutdown` for the rest. Later versions of Python do this by themselves.
    """
    jobs = getattr(executor, "_call_queue", None)
    if jobs is not None:
        jobs._reader.close()


@contextmanager
def _deaf() -> Iterator[None]:
    """Block Ctrl-C: workers started here inherit that, before they can ignore the signal themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Duty:
    """State of a worker process, which may be ended during a task but not while it sends a result.

    After half a message the parent would wait forever, because it also holds the writing end of that pipe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work = False

    def __enter__(self) -> None:
        with self._lock:
            self._at_work = True

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._at_work = False

    def end(self) -> None:
        """End the process: at once if a task is running, else after allowing time to send results."""
        deadline = time.monotonic() + GRACE
        while time.monotonic() < deadline:
            with self._lock:
                if self._at_work:
                    os._exit(1)
            time.sleep(0.05)
        os._exit(1)


_DUTY = _Duty()


def _begin(lifeline: Connection) -> None:
    """Initialise a worker process: ignore Ctrl-C, and end when the parent closes the connection or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        try:
            lifeline.recv_bytes()
        except (EOFError, OSError):
            _DUTY.end()

    threading.Thread(target=watch, name="nirred-lifeline", daemon=True).start()


def work(job: Job, place: Place) -> TaskResult:
    """Run one task in a new worker process.

    The result is returned without the frames' headers, which the parent has, so that it fits into the pipe's buffer. If
    a worker were killed while waiting for space, the parent would read half a result and wait forever for the rest.

    Raises
    ------
    PluginError
        As `Place.context`.
    """
    with _DUTY:
        context = place.context()
        bare = Task(job.task.id, job.task.recipe, job.task.makes, job.task.instrument, ())
        with one_heap(), one_blas_thread(), small_pages():
            return replace(execute(job, context), task=bare)


def _versions(registry: Registry) -> tuple[tuple[str, str], ...]:
    """Name and version of each loaded plugin."""
    return tuple((n, registry.found[n].version if n in registry.found else "") for n in registry.names)


@cache
def _registry(names: tuple[str, ...]) -> Registry:
    found = Registry.discover(only=names)
    refuse_unfit(found)
    return found
