from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nirred
from nirred.api import named_files
from nirred.errors import ConfigError, DataError
from nirred.registry import Registry


def test_the_interface_is_lazy_and_complete() -> None:
    for name in nirred.__all__:
        assert getattr(nirred, name)
    with pytest.raises(AttributeError, match="absent"):
        nirred.absent  # noqa: B018


def test_run_stays_a_function_beside_its_package() -> None:
    code = """
import nirred, nirred.run.api as api
from nirred.run.api import RunOptions
import nirred.run
assert nirred.run.api is api
try:
    nirred.run(["absent"], jobs=1, nonsense=2)
except nirred.errors.ConfigError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "nonsense" in done.stdout


def test_run_hands_over_inputs_options_and_plugins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Any] = []
    api = importlib.import_module("nirred.run.api")
    monkeypatch.setattr(api, "run", lambda *arguments: seen.append(arguments))
    monkeypatch.setenv("NIRRED_CONFIG", os.devnull)
    nirred.run(tmp_path, out=tmp_path / "o", jobs=3)
    inputs, out, asked, registry = seen[0]
    assert (inputs, out, asked.jobs) == ([tmp_path], tmp_path / "o", 3)
    assert isinstance(registry, Registry)


def test_names_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("b.fits", "a.fits", "c[1].fits"):
        (tmp_path / name).write_text("x")
    (tmp_path / "l.lis").write_text("# list\nb.fits\n")
    assert named_files(["b.fits", "a.fits", "b.fits"]) == ["b.fits", "a.fits"]
    assert named_files("?.fits") == ["a.fits", "b.fits"]
    assert named_files("c[1].fits") == ["c[1].fits"]
    assert named_files(["@l.lis"]) == ["b.fits"]
    with pytest.raises(DataError, match=r"z\*\.fits"):
        named_files(["z*.fits"])


def test_a_misspelt_descriptor_is_refused_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIRRED_CONFIG", os.devnull)
    (tmp_path / "a.fits").write_text("x")
    with pytest.raises(ConfigError, match="exposure_time"):
        nirred.run(tmp_path, out=tmp_path / "o", only="exposure_tim == 20")
    assert not (tmp_path / "o").exists()


def test_calibrations_in_a_list_are_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match="user_cal is a list") as caught:
        nirred.run("raw", user_cal=["processed_dark:d.fits"])  # type: ignore[arg-type]
    assert '{"dark": FILE}' in caught.value.hint
