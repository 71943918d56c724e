"""Run tasks in an order that provides the products each one needs, in parallel where possible."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import BUG, NirredError, StepError
from ..plugin.instrument import Event
from .executors import Crew
from .task import Job, TaskResult, failure, interrupted_task

Tell = Callable[[Event], None]


@dataclass
class CpuMeter:
    """CPU seconds of this process, divided among its running tasks in proportion to their threads."""

    last: float = field(default_factory=time.process_time)
    spent: dict[str, float] = field(default_factory=dict)

    def advance(self, running: Mapping[str, int]) -> None:
        """Charge the time used since the last call; `running` is {task: threads}."""
        now = time.process_time()
        for task, threads in running.items():
            self.spent[task] = self.spent.get(task, 0.0) + (now - self.last) * threads / sum(running.values())
        self.last = now


@dataclass
class Schedule:
    """One execution of a plan's tasks.

    Parameters
    ----------
    jobs : list of Job
        In the plan's order; `made` is filled in here.
    crew : Crew
        Executor of the tasks.
    tell : callable
        Called with every event.
    keep : callable, optional
        Called with the result of each task that made a product.
    """

    jobs: list[Job]
    crew: Crew
    tell: Tell
    keep: Callable[[TaskResult], None] | None = None
    results: dict[str, TaskResult] = field(default_factory=dict)
    running: dict[Future[TaskResult], tuple[Job, int]] = field(default_factory=dict)
    suspects: list[Job] = field(default_factory=list)
    meter: CpuMeter = field(default_factory=CpuMeter)
    started: int = 0

    def run(self) -> list[TaskResult]:
        """Run all tasks; return the results in the plan's order."""
        waiting = list(self.jobs)
        while waiting or self.running or self.suspects:
            if self.suspects and not self.running:
                self._question()
            if not self.suspects:
                waiting = self._start(waiting)
            self._collect()
        return self.ordered()

    def ordered(self) -> list[TaskResult]:
        """The results so far; tasks without one count as interrupted."""
        return [self.results.get(j.task.id) or interrupted_task(j.task) for j in self.jobs]

    def _start(self, waiting: list[Job]) -> list[Job]:
        """Start tasks that are ready while jobs are free; the free threads are divided among them."""
        ready = [j for j in waiting if not (set(j.task.needs) & {w.task.id for w in waiting + self._at_work()})]
        while ready and len(self.running) < self.crew.width:
            free = self.crew.context.threads - sum(threads for _, threads in self.running.values())
            if free < 1:
                break
            slots = min(len(ready), self.crew.width - len(self.running))
            job = ready.pop(0)
            waiting = [w for w in waiting if w is not job]
            self._launch(job, max(1, free // slots))
            if self.suspects or self.crew.width == 1:
                break
        return waiting

    def _at_work(self) -> list[Job]:
        return [job for job, _ in self.running.values()]

    def _launch(self, job: Job, threads: int, *, again: bool = False) -> None:
        products = {n: r.product for n in job.task.needs if (r := self.results.get(n)) is not None}
        made: dict[str, Path] = {n: p for n, p in products.items() if p is not None}
        job = replace(job, task=job.task.given(made), made=made)
        task = job.task
        if not again:
            self.started += 1
            count = {"number": self.started, "of": len(self.jobs)}
            self.tell(Event("started", task.id, f"{task.recipe}: {task.id}", count))
        self._charge()
        try:
            future = self.crew.start(job, threads)
        except BrokenExecutor:
            self.suspects.append(job)
            return
        self.running[future] = job, threads

    def _charge(self) -> None:
        self.meter.advance({job.task.id: threads for job, threads in self.running.values()})

    def _collect(self) -> None:
        if not self.running:
            return
        done, _ = wait(self.running, return_when=FIRST_COMPLETED)
        self._charge()
        alone = len(self.running) == 1 and not self.suspects
        for future in [f for f in self.running if f in done]:
            job, _ = self.running.pop(future)
            self._settle(job, future, alone=alone)

    def _settle(self, job: Job, future: Future[TaskResult], *, alone: bool) -> None:
        try:
            result = future.result()
        except BrokenExecutor:
            if not alone:
                self.suspects.append(job)
                return
            self.crew.renew()
            what = f"{job.task.id}: its process died: killed, or out of memory"
            result = failure(job.task, what, "a smaller --memory, or fewer --jobs", StepError.exit_code)
        except NirredError as error:
            result = failure(job.task, error.message, error.hint, error.exit_code)
        except Exception as error:  # noqa: BLE001 - the task runner's guard: an executor's fault ends one group
            what = f"{job.task.id}: executor {self.crew.name!r}: {type(error).__name__}: {error}"
            result = failure(job.task, what, "another --executor", BUG)
        self._finish(job, result)

    def _question(self) -> None:
        """After a worker died while several tasks were running, run each alone, so that only the cause fails."""
        suspects, self.suspects = self.suspects, []
        self.crew.renew()
        for job in suspects:
            self._launch(job, self.crew.context.threads, again=True)
            self._collect()

    def _finish(self, job: Job, result: TaskResult) -> None:
        task = result.task = job.task
        if self.crew.local and self.crew.width > 1:
            result.cpu_s = self.meter.spent.get(task.id, result.cpu_s)
        self.results[task.id] = result
        if not self.crew.local:
            for text in result.remarks:
                self.tell(Event("progress", task.id, text))
        if result.product is not None:
            self.tell(Event("product", task.id, result.product.name))
            if self.keep is not None:
                self.keep(result)
        if result.bug:
            self.tell(Event("message", task.id, result.bug))
        kind = "finished" if result.good else "failed"
        self.tell(Event(kind, task.id, result.message, {"outcome": result.outcome, "hint": result.hint}))
