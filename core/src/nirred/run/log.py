"""Events of a run: to the log beside the products, to the caller, and to the plugins that observe."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ..plugin.instrument import Event
from ..registry import Registry


class Log:
    """Tells everyone, one event at a time, from whichever thread.

    Parameters
    ----------
    path : Path
        JSON lines are added to this file. A disk that is full ends the log, not the run.
    registry : Registry
        Its plugins' `nirred_event` are told.
    on_event : callable, optional
        Told first.
    """

    def __init__(self, path: Path, registry: Registry, on_event: Callable[[Event], None] | None = None) -> None:
        self.path, self.registry, self.on_event = path, registry, on_event
        self.lock = threading.Lock()
        self.broken = False

    def tell(self, event: Event) -> None:
        """Pass an event on."""
        with self.lock:
            fault = self._write(event)
            for e in (event, *([fault] if fault is not None else [])):
                if self.on_event is not None:
                    self.on_event(e)
                said = self.registry.notify(e)
                if said:
                    self._report(Event("message", e.task, said))

    def _report(self, event: Event) -> None:
        """Tell the log and the caller what an observer did; the observers themselves are not told."""
        self._write(event)
        if self.on_event is not None:
            self.on_event(event)

    def _write(self, event: Event) -> Event | None:
        if self.broken:
            return None
        line = {"time": datetime.now(UTC).isoformat(), "kind": event.kind, "task": event.task, "message": event.message}
        try:
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as error:
            self.broken = True
            return Event("message", message=f"{self.path}: {error.strerror or error}: no more is logged")
        return None
