"""run.json: written at the start and the end of a run, with the products of earlier runs in the directory."""

from __future__ import annotations

import json
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import DataError
from ..files import take_space, write_json
from .layout import own_folder, run_path
from .records import load_record
from .schema import read_run

#: Bytes reserved beyond twice the first record, for reasons and remarks.
SPARE = 1_000_000


@dataclass
class Ledger:
    """run.json of one run.

    It is written before the first task, with every task marked as interrupted, so that a killed run has a record, and
    again at the end. Until then a file reserves space for it, in case the disk fills up.

    Parameters
    ----------
    out : Path
        Directory of the products.
    earlier : list of dict
        Recorded tasks of earlier runs whose products are unchanged.
    """

    out: Path
    earlier: list[dict[str, Any]] = field(default_factory=list)

    @property
    def _reserve(self) -> Path:
        return own_folder(self.out) / "reserve"

    def begin(self, record: dict[str, Any]) -> None:
        """Take over the records of earlier runs, and write the record of a run without results.

        Raises
        ------
        DataError
            It cannot be written.
        """
        self.earlier = _earlier(self.out, {t["id"] for t in record["tasks"]})
        write_json(run_path(self.out), record | {"earlier": self.earlier})
        try:
            with self._reserve.open("wb") as stream:
                take_space(stream.fileno(), SPARE + 2 * run_path(self.out).stat().st_size)
        except OSError as error:
            raise DataError(f"{self.out}: {error.strerror}", "free space or another -o") from error

    def finish(self, record: dict[str, Any]) -> str:
        """Write the record of the run; return '' or why it cannot be written."""
        try:
            self._reserve.unlink(missing_ok=True)
            write_json(run_path(self.out), record)
        except (DataError, OSError) as error:
            return str(error)
        return ""


def _earlier(out: Path, planned: Container[str]) -> list[dict[str, Any]]:
    """Latest entries of finished tasks that are not in this plan and whose products are intact."""
    try:
        read_run(run_path(out))
        found = json.loads(run_path(out).read_text(encoding="utf-8"))
    except (DataError, OSError, ValueError):
        return []
    entries = {t["id"]: t for t in (*found.get("earlier", []), *found["tasks"]) if t["id"] not in planned}
    return [t for t in entries.values() if t["outcome"] in ("done", "reused") and _intact(out, t["id"])]


def _intact(out: Path, task: str) -> bool:
    record = load_record(out, task)
    return record is not None and record.intact(out)
