"""All executors give the same bytes; a worker that dies fails only its own group."""

from __future__ import annotations

import hashlib
import json
import pickle
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from nirred.errors import ConfigError, DataError, StepError
from nirred.plan.planner import make_plan
from nirred.plugin import API_VERSION, ExecutorSpec, hookimpl
from nirred.recipes import step_types
from nirred.registry import Registry
from nirred.run.api import RunOptions, run
from nirred.run.executors import Place, work
from nirred.run.schedule import Schedule
from nirred.run.task import Job, TaskResult


def digests(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob("*.fits"))}


class Brings:
    """A plugin with an executor, and another one that cannot be created."""

    NIRRED_API = API_VERSION

    def __init__(self) -> None:
        self.jobs: list[int] = []

    @hookimpl
    def nirred_executors(self):
        return (ExecutorSpec("pool", self.make), ExecutorSpec("broken", self.fail))

    def make(self, jobs):
        self.jobs.append(jobs)
        return ThreadPoolExecutor(jobs)

    def fail(self, jobs):
        raise OSError("no scheduler answers")


@pytest.fixture
def with_executor():
    registry, plugin = Registry.discover(only=["niri"]), Brings()
    registry.add(plugin, "brings")
    return registry, plugin


@pytest.mark.parametrize(
    "options",
    [
        {"executor": "threads", "jobs": 4},
        {"executor": "threads", "jobs": 2, "memory": 1},
        pytest.param({"executor": "processes", "jobs": 2}, marks=pytest.mark.slow),
        pytest.param({"executor": "processes", "jobs": 4, "memory": 3_000_000}, marks=pytest.mark.slow),
        pytest.param({"executor": "processes", "jobs": 1}, marks=pytest.mark.slow),
        pytest.param({"executor": "serial", "jobs": 4, "memory": 3_000_000}, marks=pytest.mark.slow),
        pytest.param({"executor": "threads", "jobs": 1}, marks=pytest.mark.slow),
    ],
)
def test_the_same_bytes_and_the_same_record(reduced, night, reduce, tmp_path, options):
    result = reduce(night.raw_dir, **options)
    assert digests(tmp_path / "out") == digests(reduced[1])
    first = reduced[0].record
    assert result.record["files"] == first["files"]
    assert list(result.outcomes.items()) == list(reduced[0].outcomes.items())
    for old, new in zip(first["tasks"], result.record["tasks"], strict=True):
        assert {k: v for k, v in new.items() if k != "cpu_s"} == {k: v for k, v in old.items() if k != "cpu_s"}


def test_a_plugin_s_executor_runs_the_tasks(with_executor, night, reduced, tmp_path):
    registry, plugin = with_executor
    names = tuple(n for n in registry.names if n != "brings")
    assert names == ("niri",)
    registry.manager.unregister(name="brings")  # a worker loads only installed plugins
    registry.executors = lambda: [("brings", ExecutorSpec("pool", plugin.make))]
    result = run([night.raw_dir], tmp_path, RunOptions(jobs=2, executor="pool"), registry)
    assert plugin.jobs == [2] and result.exit_code == 0
    assert digests(tmp_path) == digests(reduced[1])


def test_a_worker_without_the_plugins_says_so(with_executor, night, tmp_path):
    result = run([night.raw_dir], tmp_path, RunOptions(jobs=1, executor="pool"), with_executor[0])
    assert result.exit_code == 3 and "brings" in result.messages[0] and "other plugins" in result.messages[0]


def test_unknown_and_broken_executors(with_executor, night, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'threads'"):
        run([night.raw_dir], tmp_path, RunOptions(executor="thread"), with_executor[0])
    with pytest.raises(Exception, match="no scheduler answers"):
        run([night.raw_dir], tmp_path, RunOptions(executor="broken"), with_executor[0])


# -- the schedule ---------------------------------------------------------------------------------------------------


@dataclass
class FakeTask:
    id: str
    needs: tuple[str, ...] = ()
    recipe: str = "reduce"
    frames: tuple = ()

    def given(self, made):
        return self


@dataclass
class FakeContext:
    threads: int


@dataclass
class FakeCrew:
    """Runs `work` in threads; `deadly` tasks break the pool, and with it all running tasks."""

    threads: int
    deadly: set[str] = field(default_factory=set)
    faults: dict[str, Exception] = field(default_factory=dict)
    log: list[tuple[str, int]] = field(default_factory=list)
    futures: dict[str, Future] = field(default_factory=dict)
    renewed: int = 0
    broken: bool = False
    name: str = "fake"
    local: bool = True

    @property
    def width(self):
        return self.threads

    @property
    def context(self):
        return FakeContext(self.threads)

    def start(self, job, threads):
        if self.broken:
            raise BrokenProcessPool("dead")
        self.log.append((job.task.id, threads))
        future: Future = Future()
        name = job.task.id
        self.futures[name] = future
        if name in self.deadly:
            self.broken = True
            for f in self.futures.values():
                if not f.done():
                    f.set_exception(BrokenProcessPool("a worker died"))
        elif name in self.faults:
            future.set_exception(self.faults[name])
        elif name.startswith("slow") and self.deadly and not self.renewed:
            pass  # ends when the pool breaks
        else:
            future.set_result(TaskResult(job.task, "done", product=Path(f"{name}.fits")))
        return future

    def renew(self):
        self.renewed += 1
        self.broken = False
        self.futures = {}


def schedule(tasks, crew):
    told = []
    done = Schedule([Job(t) for t in tasks], crew, told.append).run()
    assert [r.task.id for r in done] == [t.id for t in tasks]
    return {r.task.id: r for r in done}, told


def test_jobs_are_shared_among_tasks_that_run_side_by_side():
    crew = FakeCrew(4)
    tasks = [FakeTask("a"), FakeTask("b"), FakeTask("c", ("a", "b"))]
    results, told = schedule(tasks, crew)
    assert all(r.outcome == "done" for r in results.values())
    assert crew.log[0] == ("a", 2) and sum(n for _, n in crew.log[:2]) <= 4
    assert crew.log[-1] == ("c", 4)
    assert [e.data["number"] for e in told if e.kind == "started"] == [1, 2, 3]


@pytest.mark.parametrize("threads", [2, 3, 8])
def test_a_task_that_kills_its_worker_fails_alone(threads):
    crew = FakeCrew(threads, deadly={"killer"})
    results, _ = schedule([FakeTask("slow1"), FakeTask("killer"), FakeTask("slow2"), FakeTask("later")], crew)
    assert results["killer"].outcome == "failed" and "process died" in results["killer"].message
    assert results["killer"].exit_code == StepError.exit_code
    assert [results[n].outcome for n in ("slow1", "slow2", "later")] == ["done"] * 3
    assert crew.renewed >= 1


def test_two_killers_and_what_depends_on_them():
    crew = FakeCrew(3, deadly={"one", "two"})
    results, _ = schedule([FakeTask("one"), FakeTask("two"), FakeTask("three"), FakeTask("four", ("one",))], crew)
    assert [results[n].outcome for n in ("one", "two", "three", "four")] == ["failed", "failed", "done", "done"]


def test_an_executor_s_own_fault_ends_one_task():
    crew = FakeCrew(2, faults={"a": DataError("no disk", "buy one"), "b": TypeError("cannot pickle")})
    results, _ = schedule([FakeTask("a"), FakeTask("b"), FakeTask("c")], crew)
    assert (results["a"].message, results["a"].exit_code) == ("no disk", 4)
    assert "cannot pickle" in results["b"].message and results["b"].exit_code == 70
    assert results["c"].outcome == "done"


# -- faults of steps ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said", "code"),
    [
        (MemoryError(), "out of memory", 6),
        (RuntimeError("can't start new thread"), "out of memory", 6),
        (ZeroDivisionError("division by zero"), "a bug in nirred or a plugin: ZeroDivisionError", 70),
    ],
)
def test_a_step_that_fails_takes_its_group_only(night, reduce, tmp_path, monkeypatch, fault, said, code):
    def fail(*_):
        raise fault

    monkeypatch.setattr(step_types()["make_bpm"], "apply", fail)
    result = reduce(night.raw_dir)
    bpm = next(t for t in result.record["tasks"] if t["id"].endswith("_bpm"))
    assert bpm["outcome"] == "failed" and said in bpm["error"]["message"]
    assert sorted(result.outcomes.values()) == ["done", "done", "done", "failed"] and result.exit_code == 1
    log = [json.loads(line) for line in (tmp_path / "out" / "nirred.log").read_text().splitlines()]
    assert any("Traceback" in line["message"] for line in log) == (code == 70)


@pytest.mark.slow
def test_a_killed_worker(night, registry, reduced, tmp_path):
    """The system's out-of-memory killer ends a worker: its group fails or is redone, and the run ends normally."""
    import os
    import signal
    import subprocess
    import threading

    killed = []

    def kill(event):
        if event.kind == "started" and event.task.endswith("_image") and not killed:
            threading.Thread(target=strike, daemon=True).start()

    def strike():
        time.sleep(0.3)
        children = subprocess.run(
            ["pgrep", "-P", str(os.getpid()), "-f", "spawn_main"], capture_output=True, text=True
        ).stdout.split()
        killed.extend(children)
        for child in children:
            os.kill(int(child), signal.SIGKILL)

    options = RunOptions(jobs=2, executor="processes", on_event=kill)
    result = run([night.raw_dir], tmp_path, options, registry)
    assert killed
    image = next(t for t in result.record["tasks"] if t["id"].endswith("_image"))
    assert image["outcome"] == "failed" and "process died" in image["error"]["message"] and result.exit_code == 1
    again = run([night.raw_dir], tmp_path, RunOptions(jobs=1), registry)
    assert set(again.outcomes.values()) == {"reused", "done"}
    assert digests(tmp_path) == digests(reduced[1])


def test_a_worker_that_dies_before_it_has_read_its_job_is_not_waited_for(tmp_path):
    code = (
        "import multiprocessing, os, signal, time\n"
        "from pathlib import Path\n"
        "from nirred.group import Context\n"
        "from nirred.run.executors import Crew\n"
        "if __name__ == '__main__':\n"
        "    crew = Crew('processes', Context(None, Path(), Path(), threads=1))\n"
        "    job = crew.executor.submit(len, bytes(1_000_000))\n"
        "    (worker,) = multiprocessing.active_children()\n"
        "    os.kill(worker.pid, signal.SIGKILL)\n"
        "    print(type(job.exception()).__name__, flush=True)\n"
        "    crew.close()\n"
        "    print('closed')\n"
    )
    (tmp_path / "dies.py").write_text(code)
    done = subprocess.run([sys.executable, "dies.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert (done.stdout.split(), done.stderr) == (["BrokenProcessPool", "closed"], "")


def test_a_worker_ends_in_a_task_not_in_a_result():
    """Between tasks a worker may be sending a result, so it ends only in the next task that it starts."""
    code = (
        "import threading, time\n"
        "from nirred.run import executors\n"
        "duty = executors._Duty()\n"
        "threading.Thread(target=duty.end, daemon=True).start()\n"
        "time.sleep(0.5)\n"
        "print('sent', flush=True)\n"
        "with duty:\n"
        "    time.sleep(60)\n"
        "print('finished', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50)
    assert (done.stdout, done.returncode) == ("sent\n", 1)


def test_a_result_travels_in_one_piece(night, tmp_path):
    """Above 16 kB it is written in two parts, above 64 kB the pipe blocks: a killed worker may have sent only half."""
    registry = Registry.discover(only=["niri"])
    plugins = tuple((n, registry.found[n].version) for n in registry.names)
    place = Place(tmp_path, tmp_path, 10**9, 1, False, False, plugins)
    for task in make_plan([night.raw_dir], registry).tasks:
        result = work(Job(replace(task, blocked="for once")), place)
        assert len(result.frames) == len(task.frames) and result.message == "for once"
        assert len(pickle.dumps(result)) < 16_000
