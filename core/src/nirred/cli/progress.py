"""A run's events on stderr: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from .common import safe

if TYPE_CHECKING:
    from ..plugin.instrument import Event

Observer = Callable[["Event"], None]


@contextmanager
def shown(verbosity: int) -> Iterator[Observer]:
    """Context with an observer that shows a run's events.

    Parameters
    ----------
    verbosity : int
        Below 0: failures only; 0: tasks; above 0: messages and products, too.
    """

    def tell(event: Event) -> None:
        _line(event, verbosity, lambda text: click.echo(text, err=True))

    if verbosity < 0:
        yield tell
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bars:
        board = _Board(bars, verbosity)
        yield board.show


def _line(event: Event, verbosity: int, write: Callable[[str], None]) -> None:
    """Write an event as one line if the verbosity includes it; the summary gives reasons of failures, with hints."""
    text = event.message
    match event.kind:
        case "started":
            count = f"[{event.data['number']}/{event.data['of']}] " if {"number", "of"} <= set(event.data) else ""
            least, text = 0, count + (text or event.task)
        case "failed":
            least, text = 0, f"{event.task}: {event.data.get('outcome', 'failed')}"
        case "message":
            least = 0 if not event.task else 1
        case _:
            least = 1
            text = ": ".join(p for p in (event.task, text or event.kind) if p)
    if verbosity >= least and text:
        write(safe(text))


class _Board:
    """One bar per running task, and lines for other events above the bars."""

    def __init__(self, bars: Any, verbosity: int) -> None:
        self.bars = bars
        self.verbosity = verbosity
        self.rows: dict[str, Any] = {}

    def show(self, event: Event) -> None:
        """Move bars and print lines."""
        if event.kind == "started":
            total = event.data.get("total")
            self.rows[event.task] = self.bars.add_task(safe(event.message or event.task), total=total)
            return
        if event.kind == "progress":
            self._move(event)
        elif event.kind in ("finished", "failed") and event.task in self.rows:
            self.bars.remove_task(self.rows.pop(event.task))
        _line(event, self.verbosity, lambda text: self.bars.console.print(text, markup=False, soft_wrap=True))

    def _move(self, event: Event) -> None:
        """Update the bar of the event's task."""
        if event.task not in self.rows:
            return
        values = {k: event.data[n] for k, n in (("completed", "done"), ("total", "total")) if n in event.data}
        self.bars.update(self.rows[event.task], description=safe(f"{event.task}  {event.message}".strip()), **values)
