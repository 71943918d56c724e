"""Task records: the inputs and products of finished tasks, so that a later run can reuse them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..files import write_json
from ..provenance import file_digest
from .layout import task_folder

SCHEMA = "nirred-task/1"


@dataclass(frozen=True)
class Written:
    """One file of a task: name below OUT, size, time of change (ns) and SHA-256."""

    name: str
    size: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, out: Path, path: Path) -> Written:
        """The state of a file just written."""
        status = path.stat()
        return cls(str(path.relative_to(out)), status.st_size, status.st_mtime_ns, file_digest(path))

    def intact(self, out: Path) -> bool:
        """Whether the file is unchanged; it is read only if its modification time differs."""
        path = out / self.name
        try:
            status = path.stat()
            if status.st_size != self.size or not path.is_file():
                return False
            return status.st_mtime_ns == self.mtime_ns or sha256(path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True)
class TaskRecord:
    """A finished task.

    Parameters
    ----------
    key : str
        SHA-256 of everything that the products depend on (`keys.task_key`).
    frames : tuple of (name, outcome, reason)
        One for every input, in the task's order.
    products : tuple of Written
        The main product first.
    """

    key: str
    task: str
    recipe: str
    frames: tuple[tuple[str, str, str], ...]
    remarks: tuple[str, ...]
    products: tuple[Written, ...]
    schema: str = SCHEMA

    def save(self, out: Path) -> None:
        """Write the record, after its products.

        Raises
        ------
        DataError
            It cannot be written.
        """
        write_json(record_path(out, self.task), asdict(self))

    def intact(self, out: Path) -> bool:
        """Whether all products are unchanged."""
        return bool(self.products) and all(p.intact(out) for p in self.products)


def record_path(out: Path, task: str) -> Path:
    """Path of a task's record."""
    return task_folder(out) / f"{task}.json"


def recorded_tasks(out: Path) -> set[str]:
    """Names of the tasks that have a record."""
    return {p.stem for p in task_folder(out).glob("*.json")}


def load_record(out: Path, task: str) -> TaskRecord | None:
    """The record of a task; None if there is none, or an invalid one."""
    try:
        found = json.loads(record_path(out, task).read_text(encoding="utf-8"))
        return _record(found) if found["schema"] == SCHEMA else None
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _record(found: dict[str, Any]) -> TaskRecord:
    fields = found | {
        "frames": tuple((str(n), str(o), str(r)) for n, o, r in found["frames"]),
        "remarks": tuple(map(str, found["remarks"])),
        "products": tuple(
            Written(str(p["name"]), int(p["size"]), int(p["mtime_ns"]), str(p["sha256"])) for p in found["products"]
        ),
    }
    return TaskRecord(**fields)


def save_record(out: Path, key: str, task: str, recipe: str, paths: Sequence[Path], **fields: Any) -> None:
    """Record a finished task and the state of the files that it wrote.

    Raises
    ------
    DataError
        The record cannot be written; the products are kept, but a later run makes them again.
    """
    TaskRecord(key, task, recipe, products=tuple(Written.of(out, p) for p in paths), **fields).save(out)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
