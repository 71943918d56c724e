"""What lies where in an output directory, besides the products."""

from __future__ import annotations

from pathlib import Path


def run_path(out: Path) -> Path:
    """The record of the last run: run.json."""
    return out / "run.json"


def log_path(out: Path) -> Path:
    """The log of all runs, unless the user names another file."""
    return out / "nirred.log"


def report_path(out: Path) -> Path:
    """The report of the last run."""
    return out / "report" / "index.html"


def intermediate_folder(out: Path) -> Path:
    """Directory of the intermediate frames of all tasks, each task's in its own."""
    return out / "intermediate"


def own_folder(out: Path) -> Path:
    """Directory of files that are not meant for users."""
    return out / ".nirred"


def task_folder(out: Path) -> Path:
    """Directory of the task records and keepsakes."""
    return own_folder(out) / "tasks"


def scratch_folder(out: Path) -> Path:
    """Directory of scratch files, unless the user names another one."""
    return own_folder(out) / "scratch"
