"""Send the events of a run to the log next to the products, the caller, and the plugins' observers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ..plugin.instrument import Event
from ..registry import Registry


class Log:
    """Sends events to all receivers, one at a time, from any thread.

    Parameters
    ----------
    path : Path
        JSON lines are appended to this file. A full disk ends the log, not the run.
    registry : Registry
        Its plugins' `nirred_event` hooks are called.
    on_event : callable, optional
        Called first.
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
        """Report an observer's failure to the log and the caller, but not to the observers."""
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
