"""Frames of a group over threads: order, limits, errors."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest

from nirred.parallel import at_once, each_frame


def group(threads: int = 4, memory: int = 10**9, shape: tuple[int, int] = (10, 20), planes: int = 1):
    state = SimpleNamespace(shape=shape)
    return SimpleNamespace(planes=[state] * planes, context=SimpleNamespace(threads=threads, memory=memory))


def test_at_once_holds_a_quarter_of_the_memory() -> None:
    copies = 4
    one = 4 * copies * 200  # bytes of a frame of 10 x 20 pixels
    assert at_once(group(memory=4 * 3 * one), 99, copies) == 3
    assert at_once(group(memory=4 * 3 * one, planes=3), 99, copies) == 1
    assert at_once(group(memory=1), 99, copies) == 1  # one frame is always allowed
    assert at_once(group(threads=2), 99, copies) == 2
    assert at_once(group(threads=8), 5, copies) == 5
    assert at_once(group(), 0, copies) == 1


@pytest.mark.parametrize("threads", [1, 3])
def test_each_frame_keeps_the_order_of_the_frames(threads: int) -> None:
    assert each_frame(group(threads), [5, 2, 9, 2], lambda i: i * i) == [25, 4, 81, 4]
    assert each_frame(group(threads), [], lambda i: i) == []


def test_each_frame_works_at_as_many_as_there_are_threads() -> None:
    together = threading.Barrier(3, timeout=20)
    assert len(each_frame(group(3), range(3), lambda i: together.wait())) == 3  # breaks with fewer threads


@pytest.mark.parametrize("threads", [1, 2])
def test_a_fault_is_passed_on(threads: int) -> None:
    def work(i: int) -> int:
        if i == 1:
            raise ValueError("frame 1")
        return i

    with pytest.raises(ValueError, match="frame 1"):
        each_frame(group(threads), range(4), work)
