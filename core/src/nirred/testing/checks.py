"""Run the conformance kit on a plugin and collect what each of its tests says; behind `nirred plugins check`."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..errors import ConfigError, PluginError
from ..registry import GROUP
from ..textfiles import read_toml

_SUITE = """from nirred.testing.conformance import PluginConformance


class TestPlugin(PluginConformance):
    plugin = "{name}"
"""


@dataclass(frozen=True)
class Check:
    """One test of the kit: `outcome` passed, failed or skipped, `wanted` the requirement, `message` the finding."""

    name: str
    outcome: str
    wanted: str
    message: str


def check_plugin(name: str, *, full: bool = False) -> list[Check]:
    """Run the kit on an installed plugin, or on the package in a directory.

    Parameters
    ----------
    name : str
        As in the entry-point group `nirred.plugins`, or a directory with a pyproject.toml.
    full : bool
        The slow tests, too.

    Raises
    ------
    ConfigError
        No such plugin; the directory does not contain a plugin's package; pytest is not installed.
    """
    if Path(name).is_dir():
        with in_directory(Path(name)) as plugin:
            return _run(plugin, full)
    known = sorted({p.name for p in entry_points(group=GROUP)})
    if name not in known:
        raise ConfigError(f"no installed plugin {name!r}, no directory either", f"installed: {', '.join(known) or '-'}")
    return _run(name, full)


@contextmanager
def in_directory(home: Path) -> Iterator[str]:
    """Make the plugin in a directory known to this process and its children without installing it; give its name.

    Raises
    ------
    ConfigError
        No pyproject.toml there, or no plugin in it.
    """
    path = home / "pyproject.toml"
    project = read_toml(path, "package", "name a package's folder").get("project", {}) if path.is_file() else {}
    points = project.get("entry-points", {}).get(GROUP, {})
    if not points:
        raise ConfigError(f'{home}: no pyproject.toml with [project.entry-points."{GROUP}"]', "name a package's folder")
    source = home / "src" if (home / "src").is_dir() else home
    with tempfile.TemporaryDirectory() as folder:
        distribution = str(project.get("name", home.name))
        info = Path(folder) / f"{distribution.replace('-', '_')}-{project.get('version', '0')}.dist-info"
        info.mkdir()
        version = project.get("version", "0")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{key} = {value}\n" for key, value in points.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        added = [folder, str(source.resolve())]
        before = os.environ.get("PYTHONPATH")
        sys.path[:0] = added
        os.environ["PYTHONPATH"] = os.pathsep.join([*added, *([before] if before else [])])
        try:
            yield next(iter(points))
        finally:
            sys.path[:] = [p for p in sys.path if p not in added]
            os.environ.pop("PYTHONPATH")
            os.environ.update({"PYTHONPATH": before} if before else {})


class _Collector:
    """A pytest plugin that keeps the reports."""

    def __init__(self) -> None:
        self.found: dict[str, Check] = {}
        self.wanted: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        self.wanted = {item.nodeid: (item.obj.__doc__ or "").strip().split("\n")[0] for item in items}

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        name = report.nodeid.split("::")[-1].removeprefix("test_").replace("_", " ")
        message = ""
        if report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            message = str(crash.message if crash is not None else report.longrepr)
        elif report.outcome == "skipped":
            message = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        message = message.split("\n")[0].removeprefix("AssertionError: ").removeprefix("Skipped: ")
        self.found[name] = Check(name, report.outcome, self.wanted.get(report.nodeid, ""), message)


def _run(plugin: str, full: bool) -> list[Check]:
    try:
        import pytest
    except ImportError:
        raise ConfigError("the conformance kit needs pytest", "pip install pytest") from None
    collector = _Collector()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder) / "test_plugin.py"
        suite.write_text(_SUITE.format(name=plugin))
        words = ["-p", "no:terminal", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder, str(suite)]
        pytest.main([*words, *([] if full else ["-m", "not slow"])], plugins=[collector])
    if not collector.found:
        raise PluginError(f"{plugin}: the conformance kit could not be run", "pip install nirred anew")
    return list(collector.found.values())
