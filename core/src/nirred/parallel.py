"""Distribute the frames of a group over threads, as many at once as memory allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .algorithms.threads import run_blocks
from .group import Group

Result = TypeVar("Result")


def at_once(group: Group, frames: int, copies: int) -> int:
    """Number of frames that may be processed at once if each needs `copies` float32 copies of its pixels.

    Together they may use a quarter of the memory; one frame is always allowed.
    """
    pixels = sum(ny * nx for ny, nx in (state.shape for state in group.planes))
    room = group.context.memory // (4 * 4 * copies * max(pixels, 1))
    return max(1, min(group.context.threads, frames, room))


def each_frame(group: Group, frames: Sequence[int], work: Callable[[int], Result], copies: int = 4) -> list[Result]:
    """Call ``work(i)`` for every frame i on the group's threads; return the results in order.

    Parameters
    ----------
    group : Group
        Defines the number of threads and the memory.
    frames : sequence of int
        Indices of the frames.
    work : callable
        May change only data of its own frame. An exception is passed on.
    copies : int
        Number of float32 copies of a frame's pixels that it needs.
    """
    return run_blocks(lambda k, _: work(frames[k]), len(frames), at_once(group, len(frames), copies), 1)
