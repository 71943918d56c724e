"""Compiled kernels are updated when the sources of their subkernels and constants change."""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from nirred import algorithms
from nirred.algorithms.compiled import LIBRARIES, _changed, _source

HEAD = "from nirred.algorithms.compiled import kernel, subkernel\n"
CALLEE = HEAD + "WIDTH = {}\n@subkernel\ndef share():\n    return {}\n"
CALLER = HEAD + "from callee import share\n@kernel\ndef ask():\n    return share()\n"


def asked(folder: Path, module: str) -> tuple[int, int]:
    """Result of a kernel in a new process, and number of cache hits."""
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    script = f"from {module} import ask; print(ask(), sum(ask.stats.cache_hits.values()))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    value, hits = done.stdout.split()
    return int(value), int(hits)


def test_a_kernel_kept_in_the_cache_follows_a_subkernel_of_another_file(tmp_path):
    (tmp_path / "caller.py").write_text(CALLER)
    (tmp_path / "callee.py").write_text(CALLEE.format(0, 3))
    assert asked(tmp_path, "caller") == (3, 0)
    assert asked(tmp_path, "caller") == (3, 1)
    (tmp_path / "callee.py").write_text(CALLEE.format(0, 42))
    assert asked(tmp_path, "caller") == (42, 0)
    assert asked(tmp_path, "caller") == (42, 1)


def test_a_kernel_kept_in_the_cache_follows_a_constant_of_another_file(tmp_path):
    package = tmp_path / "camera"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "kernels.py").write_text(
        HEAD + "from .limits import TWICE\n@kernel\ndef ask():\n    return TWICE // 2\n"
    )
    (package / "limits.py").write_text("from .detector import LIMIT\nTWICE = 2 * LIMIT\n")
    (package / "detector.py").write_text("LIMIT = 3\n")
    assert asked(tmp_path, "camera.kernels") == (3, 0)
    assert asked(tmp_path, "camera.kernels") == (3, 1)
    (package / "detector.py").write_text("LIMIT = 42\n")
    assert asked(tmp_path, "camera.kernels") == (42, 0)
    assert asked(tmp_path, "camera.kernels") == (42, 1)


@pytest.mark.parametrize(
    "imported",
    [
        "from .limits import LIMIT",
        "from {0}.limits import (\n    OTHER,  # of (two)\n    LIMIT as MOST,\n)",
        "from {0} import limits as kinds",
        "from . import limits",
        "import math, {0}.limits as kinds",
        "import {0}.limits",
        '"""A module."""\nfrom .between import LIMIT',
    ],
)
def test_sources_behind_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: str) -> None:
    name = f"camera{abs(hash(imported))}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "limits.py").write_text("OTHER, LIMIT = 1, 2\n")
    (package / "between.py").write_text("from .limits import LIMIT\n")
    (package / "kernels.py").write_text(imported.format(name) + "\n")
    os.utime(package / "limits.py", (2e9, 2e9))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module(f"{name}.kernels")
    assert _changed(f"{name}.kernels") == 2e9
    assert _changed(name) < 2e9


def test_a_module_without_a_source_has_nothing_behind_it() -> None:
    assert _source("sys") == _source("camera.of.nobody") == (0.0, frozenset())


def test_all_imports_of_the_algorithms_are_seen() -> None:
    for found in pkgutil.iter_modules(algorithms.__path__, "nirred.algorithms."):
        loaded = importlib.import_module(found.name)
        assert loaded.__file__ is not None
        expected: set[str] = set()
        for node in ast.parse(Path(loaded.__file__).read_text("utf-8")).body:
            if isinstance(node, ast.Import):
                expected |= {a.name for a in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0
                expected |= {str(node.module), *(f"{node.module}.{a.name}" for a in node.names)}
        expected = {n for n in expected if n in sys.modules and n.partition(".")[0] not in LIBRARIES}
        assert _source(found.name)[1] >= expected, found.name
