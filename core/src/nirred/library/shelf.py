"""The library for a run: read once, with checks that files are unchanged; its errors never stop the run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..errors import DataError, LibraryError, fault_of
from ..plan.associate import Source
from ..plan.model import FrameInfo
from ..plan.moments import stamp
from ..plugin.rules import seconds
from ..registry import Registry
from .candidates import unpack
from .catalogue import CalibrationLibrary, state_of
from .database import NONE, default_place

T = TypeVar("T")
#: Number of candidates outside a rule's window that are examined for the nearest miss.
BEYOND = 5
#: Number of candidates examined together.
SOME = 12
_FAULTS = {
    "missing": "the file is gone",
    "changed": "changed since it was added",
    "unreadable": "cannot be read any more",
}


def open_shelf(place: str | None, registry: Registry, say: Callable[[str], None] | None = None) -> Shelf | None:
    """The configured library; None for ``none``. An invalid location is an error.

    `say` is called from another thread with a message if the database keeps the caller waiting.

    Raises
    ------
    LibraryError
        A URL that is neither SQLite nor PostgreSQL.
    """
    if place is not None and place.strip().lower() in ("", NONE):
        return None
    if place is None and not default_place().exists():
        return Shelf(None, registry)
    return Shelf(CalibrationLibrary(place, registry, say=say))


@dataclass
class Shelf:
    """Candidates from one library for one plan.

    Errors of the library never stop a run: they are reported once, in `remarks`, and the run continues without it.

    Parameters
    ----------
    library : CalibrationLibrary or None
        None: the user's own library, which is still empty.
    registry : Registry, optional
        Required if `library` is None.
    """

    library: CalibrationLibrary | None
    registry: Registry | None = None
    remarks: list[str] = field(default_factory=list)
    _rows: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=dict, repr=False)
    _sources: dict[int, Source | None] = field(default_factory=dict, repr=False)
    _faults: dict[Path, str] = field(default_factory=dict, repr=False)
    _broken: bool = False

    def sources(
        self,
        kind: str,
        frame: FrameInfo,
        within: str | None,
        enough: Callable[[Source], bool] = lambda source: False,
    ) -> Sequence[Source]:
        """Candidate calibrations of a kind for a frame: all in the rule's window, and the nearest beyond it.

        They are examined in batches, nearest in time first, until one is `enough`. A file that is missing, or whose
        size or time has changed, is a source with a fault.
        """
        found: list[Source] = []
        rows = self._guarded(lambda: self._near(kind, frame, within)) or []
        for start in range(0, len(rows), SOME):
            some = rows[start : start + SOME]
            self._guarded(partial(self._describe, some))
            fresh = [s for s in (self._sources.get(r["id"]) for r in some) if s is not None]
            found += fresh
            if any(enough(s) for s in fresh):
                break
        return found

    def _near(self, kind: str, frame: FrameInfo, within: str | None) -> list[dict[str, Any]]:
        """Rows of a kind, the nearest in time first."""
        if self.library is None:
            return []
        key = (kind, frame.instrument)
        if key not in self._rows:
            self._rows[key] = self.library.rows(*key)
        here, window = stamp(frame), math.inf if within is None else seconds(within)

        def apart(row: dict[str, Any]) -> float:
            lag = math.inf if row["ut"] is None else abs(row["ut"] - here)
            return lag if math.isfinite(lag) else math.inf

        ordered = sorted(self._rows[key], key=lambda r: (apart(r), r["path"]))
        return ordered[: sum(apart(r) < window for r in ordered) + BEYOND]

    def _describe(self, rows: Sequence[dict[str, Any]]) -> None:
        assert self.library is not None
        fresh = [r for r in rows if r["id"] not in self._sources]
        packed = self.library.headers([r["id"] for r in fresh]) if fresh else {}
        for row in fresh:
            path, number = Path(row["path"]), row["id"]
            frame = unpack(packed[number], path, self.library.registry) if number in packed else None
            fault = _FAULTS.get(state_of(row), "")
            self._sources[number] = None
            if frame is not None:
                own = Source.finished(row["kind"], frame)
                self._sources[number] = replace(own, origin="library", checksum=row["checksum"], fault=fault)

    def fault(self, source: Source) -> str:
        """Read a chosen file and compare it with its checksum; return '' if it is unchanged."""
        path = source.path
        if path is not None and path not in self._faults:
            rows = self._rows.get((source.kind, source.frame.instrument), [])
            row = next((r for r in rows if Path(r["path"]) == path), None)
            self._faults[path] = _FAULTS.get(state_of(row, thorough=True), "") if row is not None else ""
        return self._faults[path] if path is not None else ""

    def register(self, path: Path) -> str:
        """Add a product of this run; return '' or an error message, which is given only once."""
        known = len(self.remarks)
        if self.library is None:
            self.library = CalibrationLibrary(None, self.registry)
        library = self.library
        try:
            self._guarded(lambda: library.add(path))
        except (DataError, OSError) as error:
            self.remarks.append(f"{path.name}: not registered: {fault_of(error)}")
        return "; ".join(self.remarks[known:])

    def _guarded(self, action: Callable[[], T]) -> T | None:
        if self._broken:
            return None
        try:
            return action()
        except LibraryError as error:
            self._broken = True
            self.remarks.append(f"calibration library {error}; going on without it")
            return None
