"""Libraries are loaded while the inputs are hashed."""

import subprocess
import sys
import threading
import time

import pytest

from nirred.provenance import file_digest
from nirred.run import ahead

SCRIPT = """
import sys
from nirred.run.ahead import MODULES, loaded_ahead
before = [name in sys.modules for name in MODULES]
with loaded_ahead({threads}):
    pass
print(any(before), *(name in sys.modules for name in MODULES))
"""


@pytest.mark.parametrize(("threads", "loaded"), [(1, False), (2, True)])
def test_loads_what_the_end_needs_only_where_there_is_a_thread_for_it(threads, loaded):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(threads=threads)], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.split() == ["False", *(str(loaded) for _ in ahead.MODULES)], done.stderr


def test_what_is_missing_is_left_to_whoever_needs_it(monkeypatch):
    monkeypatch.setattr(ahead, "MODULES", ("nirred.no_such_module", "json"))
    with ahead.loaded_ahead(2):
        done = True
    assert done


def test_the_fault_of_a_task_is_passed_on():
    with pytest.raises(ZeroDivisionError), ahead.loaded_ahead(2):
        raise ZeroDivisionError


def test_digests_are_taken_while_libraries_are_loaded(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    files, at_work = [tmp_path / "a", tmp_path / "missing", tmp_path / "b"], threading.Event()
    taken = []
    monkeypatch.setattr(ahead, "_load", lambda: at_work.wait(10))
    monkeypatch.setattr(ahead, "file_digest", lambda path: taken.append(path) or file_digest(path))
    before = sys.getswitchinterval()
    with ahead.loaded_ahead(2, files):
        assert sorted(taken) == sorted(files)
        at_work.set()
    assert sys.getswitchinterval() == before


def test_tasks_do_not_wait_for_digests_once_libraries_are_there(tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr(ahead, "_load", lambda: None)
    monkeypatch.setattr(ahead, "file_digest", lambda path: (taken.append(path), time.sleep(0.001)))
    with ahead.loaded_ahead(2, [tmp_path] * 10_000):
        assert len(taken) < 10_000
