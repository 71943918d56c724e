from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


def test_report_is_written_from_the_output_alone(tmp_path: Path, nirred: Call) -> None:
    record = {"schema": "nirred-run/1", "nirred": "0.1.0", "degraded": False, "files": [], "tasks": []}
    (tmp_path / "run.json").write_text(json.dumps(record))
    page = tmp_path / "report" / "index.html"
    assert nirred("report", tmp_path) == (0, f"{page}\n", "")
    assert page.is_file()


def test_report_of_what_is_no_output(tmp_path: Path, nirred: Call) -> None:
    code, _, err = nirred("report", tmp_path / "absent")
    assert code == 2 and "no such directory" in err
    code, _, err = nirred("report", tmp_path)
    assert code == 4 and "run.json" in err and "Traceback" not in err


def test_option_and_configuration(night: Path, nirred: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--no-report" in nirred("run", "--help")[1]
    (tmp_path / "mine.toml").write_text("[run]\nreport = false\n")
    monkeypatch.setenv("NIRRED_CONFIG", str(tmp_path / "mine.toml"))
    found = json.loads(nirred("config", "show", "--json")[1])["run"]["report"]
    assert found == {"value": False, "origin": str(tmp_path / "mine.toml")}
