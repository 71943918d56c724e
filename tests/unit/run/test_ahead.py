"""Libraries that are loaded beside the pixels."""

import subprocess
import sys

import pytest

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
