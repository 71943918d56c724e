"""Frames of a group given to threads, as many at once as there is memory for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .algorithms.threads import run_blocks
from .group import Group

Result = TypeVar("Result")


def at_once(group: Group, frames: int, copies: int) -> int:
    """How many of so many frames may be worked on at once, each holding `copies` float32 copies of its pixels.

    All together they may hold a quarter of the memory; one frame always may.
    """
    pixels = sum(ny * nx for ny, nx in (state.shape for state in group.planes))
    room = group.context.memory // (4 * 4 * copies * max(pixels, 1))
    return max(1, min(group.context.threads, frames, room))


def each_frame(group: Group, frames: Sequence[int], work: Callable[[int], Result], copies: int = 4) -> list[Result]:
    """``work(i)`` for every frame i on the group's threads; results in the frames' order.

    Parameters
    ----------
    group : Group
        Gives threads and memory.
    frames : sequence of int
        Indices of the frames.
    work : callable
        Touches nothing but what belongs to its own frame. An exception is passed on.
    copies : int
        How many float32 copies of a frame's pixels it holds.
    """
    return run_blocks(lambda k, _: work(frames[k]), len(frames), at_once(group, len(frames), copies), 1)
