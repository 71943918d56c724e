"""Arrange the results of requests as expected by users of the program for which the requests were written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import NirredError, PluginError
from ..files import place_files
from ..plan.model import Plan
from ..plugin.instrument import Event, RequestOutcome
from .task import TaskResult

if TYPE_CHECKING:
    from ..plugin.instrument import Request


@dataclass
class Journal:
    """Messages of each task, passed on to `tell`."""

    tell: Callable[[Event], None]
    said: list[tuple[datetime, Event]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Store an event and pass it on."""
        self.said.append((datetime.now(UTC), event))
        self.tell(event)

    def of(self, task: str) -> tuple[tuple[datetime, str], ...]:
        """(time, text) of all events of a task."""
        mine = [(when, e) for when, e in self.said if e.task == task]
        return tuple((when, f"{e.kind}: {e.message}".rstrip(": ")) for when, e in mine)


def lay_out_results(
    plan: Plan, results: Sequence[TaskResult], entries: Sequence[Mapping[str, Any]], journal: Journal, out: Path
) -> None:
    """Write the plugin's result files to OUT for each request that was carried out or failed.

    A file that cannot be written gives a remark in the plan; the products are kept.
    """
    if plan.requests is None or plan.requests.results is None:
        return
    requests = {r.id: r for r in plan.requests.requests}
    lay_out = plan.requests.results
    for result, entry in zip(results, entries, strict=True):
        request = requests.get(result.task.request)
        if request is None or result.outcome == "interrupted":
            continue
        outcome = _outcome(request, result, entry, journal)
        try:
            place_files(out, _asked(lay_out, outcome))
        except NirredError as error:
            plan.remarks.append(f"{request.origin}: its results are in {out}, but not arranged as requested: {error}")


def _outcome(request: Request, result: TaskResult, entry: Mapping[str, Any], journal: Journal) -> RequestOutcome:
    product = result.product if result.good else None
    return RequestOutcome(request, product, result.outcome, result.message, entry, journal.of(result.task.id))


def _asked(
    lay_out: Callable[[RequestOutcome], Mapping[str, bytes | Path | None]], outcome: RequestOutcome
) -> Mapping[str, bytes | Path | None]:
    """The plugin's result files for a request.

    Raises
    ------
    PluginError
        The plugin failed.
    """
    try:
        return lay_out(outcome)
    except Exception as error:
        what = f"results of {outcome.request.id} could not be arranged as requested: {type(error).__name__}: {error}"
        raise PluginError(what, "report it to the plugin's authors") from error
