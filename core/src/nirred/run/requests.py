"""Results of requests, laid out as the users of the program that the request was written for expect them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, PluginError
from ..files import replacing
from ..plan.model import Plan
from ..plugin.instrument import Event, RequestOutcome
from .task import TaskResult

if TYPE_CHECKING:
    from ..plugin.instrument import Request


@dataclass
class Journal:
    """What was said of each task, passed on to `tell`.

    Messages of steps bear no task: those that begin with its id are its own.
    """

    tell: Callable[[Event], None]
    said: list[tuple[datetime, Event]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Note an event and pass it on."""
        self.said.append((datetime.now(UTC), event))
        self.tell(event)

    def of(self, task: str) -> tuple[tuple[datetime, str], ...]:
        """(time, text) of everything that concerns a task."""
        mine = [(when, e) for when, e in self.said if e.task == task or e.message.startswith(f"{task}: ")]
        return tuple((when, f"{e.kind}: {e.message}".rstrip(": ")) for when, e in mine)


def lay_out_results(
    plan: Plan, results: Sequence[TaskResult], entries: Sequence[Mapping[str, Any]], journal: Journal, out: Path
) -> None:
    """Write what the plugin wants to lie in OUT for each request that was carried out, or failed.

    A file that cannot be written is a remark of the plan; the products stand.
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
            for name, content in lay_out(outcome).items():
                _write(out, name, content)
        except (DataError, PluginError) as error:
            plan.remarks.append(f"{request.origin}: its results are in {out}, but not laid out: {error}")


def _outcome(request: Request, result: TaskResult, entry: Mapping[str, Any], journal: Journal) -> RequestOutcome:
    product = result.product if result.good else None
    return RequestOutcome(request, product, result.outcome, result.message, entry, journal.of(result.task.id))


def _write(out: Path, name: str, content: bytes | Path) -> None:
    path = out / name
    if not Path(os.path.abspath(path)).is_relative_to(os.path.abspath(out)):
        raise PluginError(f"a result would be written to {path}", "report it to the plugin's authors")
    try:
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if isinstance(content, Path):
            _link(content, path)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "another -o") from error
    if isinstance(content, bytes) and not name.endswith("/"):
        with replacing(path) as stream:
            stream.write(content)


def _link(source: Path, path: Path) -> None:
    """Give a product a second name, or a copy where the file system knows no links."""
    if path.exists() and path.samefile(source):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    os.replace(temporary, path)
