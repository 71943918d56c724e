"""Intermediate frames, written between steps for inspection: OUT/intermediate/TASK/NAME_STEP.fits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import DataError
from ..group import Group
from ..step import FrameStep
from ..steps.write import write_state
from .layout import intermediate_folder

if TYPE_CHECKING:
    from ..recipes import BoundCall

#: The step after whose last call --keep-intermediates writes the frames.
SKY = "sky_correct"


def folder(group: Group) -> Path:
    """Directory of a task's intermediate frames."""
    return intermediate_folder(group.context.out) / group.task.id


def clear(group: Group) -> None:
    """Remove a task's intermediate frames of an earlier run."""
    for path in folder(group).glob("*.fits"):
        path.unlink(missing_ok=True)


def own_passes(calls: Sequence[BoundCall]) -> list[int]:
    """Indices of the frame steps whose output is wanted and that other frame steps follow.

    The one pass over the pixels does not show their output: each needs a pass of its own.
    """
    steps = [n for n, b in enumerate(calls) if isinstance(b.step, FrameStep)]
    last = max((n for n in steps if not calls[n].params.skip), default=-1)
    return [n for n in steps if calls[n].params.write_outputs and n < last]


def write_frames(group: Group, step: str) -> None:
    """Write the calibrated frames as those after a step."""
    _write(group, step, "")


def keep_frames(group: Group, before: Sequence[BoundCall]) -> None:
    """Write the calibrated frames if the user keeps intermediates or wants the output of the last frame step."""
    earlier = own_passes(before)
    if group.context.keep:
        _write(group, "calibrated", "")
    for n, bound in enumerate(before):
        if bound.params.write_outputs and n not in earlier:
            _write(group, bound.call.name, "")


def written_after(group: Group, bound: BoundCall, later: Sequence[BoundCall]) -> None:
    """Write the frames or planes after a group step whose output is wanted, or after the last sky subtraction."""
    last_sky = bound.call.step == SKY and not any(b.call.step == SKY and not b.params.skip for b in later)
    if bound.params.write_outputs or (group.context.keep and last_sky):
        _write(group, bound.call.name, bound.call.gives)


def _write(group: Group, suffix: str, stream: str) -> None:
    place = folder(group)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{place}: {error.strerror}", "another -o") from error
    group.record.intermediates.extend(write_state(group, suffix, stream, place))
