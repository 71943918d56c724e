"""The schema of run.json, for programs that read it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import DataError
from ..plan.describe import SCHEMA
from ..plan.model import Fate


class _Open(BaseModel):
    """Keys that are not named here may be there, too: a later version adds, it does not change."""

    model_config = ConfigDict(extra="allow")


class RoleEntry(_Open):
    """What a file did in one task."""

    task: str
    role: str
    reason: str
    outcome: str = ""


class FileEntry(_Open):
    """One input file."""

    file: str
    fate: Fate
    reason: str
    roles: list[RoleEntry]


class CandidateEntry(_Open):
    """A calibration that was considered, and why it was taken or not."""

    file: str
    why: str = ""


class CalibrationEntry(_Open):
    """One calibration of a task."""

    kind: str
    file: str
    level: int
    reason: str
    source: str = ""


class MissingEntry(_Open):
    """A calibration that was not found; the first candidate missed by least."""

    kind: str
    reason: str
    candidates: list[CandidateEntry] = Field(default_factory=list)


class WcsEntry(_Open):
    """A frame whose world coordinates are not those of its header, or doubtful."""

    frame: str
    state: str
    note: str = ""


class PluginEntry(_Open):
    """An installed plugin."""

    name: str
    package: str
    version: str


class SettingEntry(_Open):
    """A parameter that the user set."""

    step: str
    name: str
    value: Any
    origin: str


class ErrorEntry(_Open):
    """Why a task made nothing."""

    message: str
    hint: str


class TaskEntry(_Open):
    """One task."""

    id: str
    recipe: str
    title: str = ""
    instrument: str = ""
    outcome: Literal["done", "reused", "nothing-to-do", "blocked", "failed", "interrupted"]
    degraded: bool
    inputs: list[dict[str, Any]]
    calibrations: list[CalibrationEntry]
    missing: list[MissingEntry] = Field(default_factory=list)
    products: list[str]
    intermediates: list[str] = Field(default_factory=list)
    remarks: list[str]
    cpu_s: float
    error: ErrorEntry | None = None


class RunFile(_Open):
    """run.json as a whole."""

    schema_: str = Field(alias="schema")
    nirred: str
    degraded: bool
    files: list[FileEntry]
    tasks: list[TaskEntry]
    wcs: list[WcsEntry] = Field(default_factory=list)
    remarks: list[str] = Field(default_factory=list)
    started: str = ""
    finished: str = ""
    directory: str = ""
    plugins: list[PluginEntry] = Field(default_factory=list)
    settings: list[SettingEntry] = Field(default_factory=list)
    earlier: list[TaskEntry] = Field(default_factory=list)


def read_run(path: Path) -> RunFile:
    """Read and check a run.json.

    Raises
    ------
    DataError
        It is missing, no JSON, of another schema, or lacks something; the message says what.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path.parent}: no run.json in it", "name the output directory of a run") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: {getattr(error, 'strerror', '') or error}", "run again") from None
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise DataError(f"{path}: schema {schema!r}, this nirred knows {SCHEMA!r}", "use the nirred that wrote it")
    try:
        return RunFile.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg']}", "run again") from None
