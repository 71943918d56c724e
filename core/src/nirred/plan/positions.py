"""Check a user's list of positions against the frames before anything is reduced."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConfigError, PluginError
from .model import ON_TARGET, FrameInfo, FrameRole, Task

if TYPE_CHECKING:
    from ..offsets import Positions
    from ..recipes import BoundCall

SHARED = "this position list is also applied to another group; restrict the input to one target"


def refuse_misfit(calls: Iterable[BoundCall], frames: Iterable[tuple[FrameInfo, FrameRole]]) -> set[Positions]:
    """Lists of positions in a bound recipe, checked to have one position for each frame on target, or pointing.

    Raises
    ------
    ConfigError
        A list has a different number of positions, or cannot be read.
    """
    told: set[Positions | None] = {getattr(c.params, "offsets", None) for c in calls}
    targets = [frame for frame, role in frames if role in ON_TARGET]
    lists = {given for given in told if given and targets}
    if lists:
        from ..offsets import shared_out  # loads numpy

        for given in lists:
            shared_out(given, targets)
    return lists


def check_positions(tasks: Sequence[Task], bound: Callable[[Task], Iterable[BoundCall]]) -> list[Task]:
    """Block tasks whose frames a list of positions does not fit; add a remark to tasks that share a list.

    ``bound(task)`` is the recipe of a task with its parameters for these frames.

    Raises
    ------
    ConfigError
        The list fits none of its tasks.
    """
    takers: dict[Positions, list[str]] = defaultdict(list)
    faults: dict[str, ConfigError] = {}
    for task in tasks:
        try:
            for given in refuse_misfit(bound(task), task.frames):
                takers[given].append(task.id)
        except PluginError:  # it fails its group when that runs, and says so there
            continue
        except ConfigError as error:
            faults[task.id] = error
    if faults and not takers:
        raise next(iter(faults.values()))
    shared = {name for names in takers.values() if len(names) > 1 for name in names}
    blocked = [replace(t, blocked=t.blocked or str(faults[t.id])) if t.id in faults else t for t in tasks]
    return [replace(t, remarks=(*t.remarks, SHARED)) if t.id in shared else t for t in blocked]
