"""A user's list of positions, held against the frames before anything is reduced."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ..errors import ConfigError, PluginError
from .model import ON_TARGET, FrameInfo, FrameRole, Task

if TYPE_CHECKING:
    from ..offsets import Positions
    from ..recipes import BoundCall


def refuse_misfit(calls: Iterable[BoundCall], frames: Iterable[tuple[FrameInfo, FrameRole]]) -> bool:
    """Whether a bound recipe is given a list of positions; it then has one for each frame on target, or pointing.

    Raises
    ------
    ConfigError
        It has not, or the list cannot be read.
    """
    told: list[Positions | None] = [getattr(c.params, "offsets", None) for c in calls]
    lists = [given for given in told if given]
    targets = [frame for frame, role in frames if role in ON_TARGET]
    if lists and targets:
        from ..offsets import shared_out  # loads numpy

        for given in lists:
            shared_out(given, targets)
    return bool(lists and targets)


def check_positions(tasks: Sequence[Task], bound: Callable[[Task], Iterable[BoundCall]]) -> list[Task]:
    """These tasks; those whose frames a list of positions does not fit are blocked.

    ``bound(task)`` is the recipe of a task as it will run on its frames.

    Raises
    ------
    ConfigError
        The list fits none of the tasks that it is given to.
    """
    fitting, faults = False, dict[str, ConfigError]()
    for task in tasks:
        try:
            fitting |= refuse_misfit(bound(task), task.frames)
        except PluginError:  # it fails its group when that runs, and says so there
            continue
        except ConfigError as error:
            faults[task.id] = error
    if faults and not fitting:
        raise next(iter(faults.values()))
    return [replace(t, blocked=t.blocked or str(faults[t.id])) if t.id in faults else t for t in tasks]
