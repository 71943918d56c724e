"""Less memory or address space than requested: less is used, or a clear error before the run starts."""

from __future__ import annotations

import ctypes
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info

from nirred.errors import ConfigError
from nirred.group import Context
from nirred.run import limits
from nirred.run.ledger import Ledger
from nirred.testing.simulate import simulate_night


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def limited(monkeypatch, said):
    """`within_limits` on a mock system with the given properties."""

    def call(addresses=resource.RLIM_INFINITY, physical=64_000_000_000, **options):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (addresses, addresses))
        monkeypatch.setattr(limits, "_addresses", lambda: 400_000_000)
        monkeypatch.setattr(limits, "_physical", lambda: physical)
        found = limits.within_limits(Context(None, Path(), Path(), **options), said.append)
        return found.threads, found.memory

    return call


def test_enough_changes_nothing(limited, said):
    assert limited(threads=64) == (64, 2_000_000_000) and said == []


def test_few_addresses_mean_fewer_threads_then_less_memory(limited, said):
    assert limited(4_000_000_000, threads=4) == (4, 2_000_000_000) and said == []
    assert limited(2_000_000_000, threads=4) == (4, 2_000_000_000 - 750_000_000 - 4 * limits.PER_THREAD)
    assert limited(1_300_000_000, threads=4) == (2, 550_000_000 - 2 * limits.PER_THREAD)
    assert limited(900_000_000, threads=4) == (1, 20_000_000)
    assert said[-1] == "system limits: 20 MB for pixels and 1 thread, less than asked for"


def test_too_few_addresses_are_refused_with_the_remedy(limited):
    with pytest.raises(ConfigError, match=r"limited to 700 MB; at least 880 MB are needed \(ulimit -v 859375"):
        limited(700_000_000)


def test_a_small_machine_or_container(limited, said):
    assert limited(physical=1_000_000_000, threads=2) == (2, 650_000_000)
    assert said == ["system limits: 650 MB for pixels, less than asked for"]  # threads are not limited
    assert limited(physical=100_000_000)[1] == 1


def test_this_machine_is_measured():
    assert limits._addresses() > 10_000_000 and limits._physical() > 100_000_000


def test_a_run_in_a_small_address_space(night, tmp_path):
    """No run is started if native libraries would abort, hang or interrupt the process."""

    def small():
        resource.setrlimit(resource.RLIMIT_AS, (700_000_000, 700_000_000))

    command = [sys.executable, "-m", "nirred", "run", str(night.raw_dir), "-o", str(tmp_path / "out"), "-q"]
    done = subprocess.run(command, preexec_fn=small, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2 and "ulimit -v" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["serial", "threads", "processes"])
def test_more_frames_than_files_may_be_open(registry, tmp_path, executor):
    """80 frames, their planes in scratch files, and 64 descriptors for all."""
    few = {"darks": 3, "short_darks": 3, "lamps_on": 3, "lamps_off": 3, "density": 12000.0}
    camera = registry.simulations()["niri"]
    night = simulate_night(camera, tmp_path, scenario="dither", frames=80, size=64, seed=3, **few)
    script = (
        "import sys\nfrom pathlib import Path\nfrom nirred.run.api import RunOptions, run\n"
        "if __name__ == '__main__':\n"
        f"    options = RunOptions(jobs=4, memory=1, executor={executor!r})\n"
        "    sys.exit(run([Path('raw')], Path('out'), options).exit_code)\n"
    )
    (tmp_path / "reduce.py").write_text(script)

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    words = [sys.executable, "reduce.py"]
    done = subprocess.run(words, cwd=tmp_path, preexec_fn=few_files, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / night.groups["dither"].product).is_file()


def test_linear_algebra_has_one_thread_meanwhile():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    with limits.one_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library")
@pytest.mark.parametrize(("within", "heaps"), [("limits.one_heap()", 1), ("contextlib.nullcontext()", 4)])
def test_threads_share_one_heap(within, heaps):
    """Of several threads that hold memory at once, each has a heap of its own but for this."""
    script = (
        "import contextlib, ctypes, threading\n"
        "from nirred.run import limits\n"
        "libc, meet = ctypes.CDLL(None), threading.Barrier(4)\n"
        "libc.malloc.restype = ctypes.c_void_p\n"
        "def work():\n"
        "    libc.malloc(100_000)\n"
        "    meet.wait()\n"
        f"with {within}:\n"
        "    threads = [threading.Thread(target=work) for _ in range(4)]\n"
        "    [t.start() for t in threads]\n"
        "    [t.join() for t in threads]\n"
        "    libc.fdopen.restype = ctypes.c_void_p\n"
        "    stream = ctypes.c_void_p(libc.fdopen(1, b'w'))\n"
        "    libc.malloc_info(0, stream)\n"
        "    libc.fflush(stream)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    found = done.stdout.count("<heap nr=")
    assert found == 1 if heaps == 1 else found >= heaps, done.stderr


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "prctl"), reason="another system")
@pytest.mark.parametrize("before", [0, 1])
def test_arrays_lie_in_small_pages_meanwhile(before):
    prctl = ctypes.CDLL(None).prctl
    try:
        prctl(41, before, 0, 0, 0)
        with limits.small_pages():
            assert prctl(42, 0, 0, 0, 0) == 1
        assert prctl(42, 0, 0, 0, 0) == before
    finally:
        prctl(41, 0, 0, 0, 0)


@pytest.mark.parametrize("setting", [limits.one_blas_thread, limits.small_pages])
def test_runs_side_by_side_leave_the_process_as_it_was(setting):
    """Two runs in threads of one program: the second begins after the first and ends after it."""

    def state():
        pages = ctypes.CDLL(None).prctl(42, 0, 0, 0, 0) if hasattr(ctypes.CDLL(None), "prctl") else 0
        return pages, [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    first_ended, second_began = threading.Event(), threading.Event()
    found = []

    def second():
        with setting():
            second_began.set()
            assert first_ended.wait(30)
            found.append(state())

    thread = threading.Thread(target=second)
    before = state()
    with setting():
        during = state()
        thread.start()
        assert second_began.wait(30)
    first_ended.set()
    thread.join()
    assert found == [during]
    assert state() == before


def test_a_system_without_pages_of_two_sizes(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    with limits.small_pages(), limits.one_heap():
        pass


def test_a_system_that_tells_and_gives_less(tmp_path, monkeypatch):
    """As macOS: it counts processors for all, and files get their space by being written."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert limits.processors() == 3
    (tmp_path / ".nirred").mkdir()
    ledger = Ledger(tmp_path)
    ledger.begin({"tasks": []})
    assert (tmp_path / ".nirred" / "reserve").stat().st_size > 1_000_000
    assert ledger.finish({"tasks": []}) == "" and not (tmp_path / ".nirred" / "reserve").exists()
