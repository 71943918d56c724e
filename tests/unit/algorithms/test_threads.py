"""Calls distributed over threads."""

from __future__ import annotations

import sys
import threading

import pytest

from nirred.algorithms.threads import TURN, both, row_blocks, run_blocks, short_turns


@pytest.mark.parametrize("threads", [0, 1, 2, 5, 300])
def test_results_come_in_row_order_whatever_the_threads(threads: int) -> None:
    assert run_blocks(lambda a, b: (a, b), 10, threads, 4) == [(0, 4), (4, 8), (8, 10)]
    assert run_blocks(lambda a, b: a, 0, threads) == []
    assert both(lambda: "a", lambda: 2, threads) == ("a", 2)


def test_a_block_of_no_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        row_blocks(5, 0)


def test_blocks_run_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=30)  # fails unless three threads wait at the same time
    assert len(run_blocks(lambda _a, _b: meeting.wait(), 3, 3, 1)) == 3


def test_no_more_threads_are_at_work_than_asked_for() -> None:
    lock, at_work, most = threading.Lock(), 0, 0

    def work(_start: int, _stop: int) -> None:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.002)
        with lock:
            at_work -= 1

    run_blocks(work, 40, 3, 1)
    assert 1 <= most <= 3


def test_blocks_may_ask_for_blocks() -> None:
    def inner(start: int, _stop: int) -> int:
        return sum(run_blocks(lambda a, _b: a, 8, 4, 1)) + start

    for _ in range(20):
        assert run_blocks(inner, 6, 4, 1) == [28 + k for k in range(6)]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_first_of_several_errors_is_passed_on_when_all_have_ended(threads: int) -> None:
    at_work: set[int] = set()

    def work(start: int, _stop: int) -> int:
        at_work.add(start)
        try:
            if start >= 2:
                raise KeyError(start)
            return start
        finally:
            at_work.discard(start)

    for _ in range(50):
        with pytest.raises(KeyError, match="2"):
            run_blocks(work, 9, threads, 1)
        assert not at_work
    with pytest.raises(KeyboardInterrupt):
        both(lambda: 1, _interrupted, threads)


def _interrupted() -> int:
    raise KeyboardInterrupt


def test_turns_are_short_until_the_last_thread_that_asks_has_finished() -> None:
    usual, inside, outside = sys.getswitchinterval(), threading.Event(), threading.Event()

    def other() -> None:
        with short_turns():
            inside.set()
            assert outside.wait(30)

    thread = threading.Thread(target=other)
    with short_turns():
        thread.start()
        assert inside.wait(30)
    assert sys.getswitchinterval() == pytest.approx(TURN)
    outside.set()
    thread.join()
    assert sys.getswitchinterval() == usual != pytest.approx(TURN)


def test_row_blocks_cover_all_rows():
    assert row_blocks(0) == [] and row_blocks(5, 2)[-1] == slice(4, 5)
    assert run_blocks(lambda a, b: (a, b), 5, threads=2, block=2) == [(0, 2), (2, 4), (4, 5)]
    with pytest.raises(ValueError):
        row_blocks(5, 0)
    with pytest.raises(ZeroDivisionError):
        run_blocks(lambda a, b: 1 // 0, 5, threads=2, block=1)


@pytest.mark.parametrize("threads", [1, 2])
def test_two_functions_at_once(threads: int) -> None:
    assert both(lambda: 1, lambda: "b", threads) == (1, "b")
    for first, second in ((lambda: 1 // 0, lambda: 2), (lambda: 1, lambda: 2 // 0)):
        with pytest.raises(ZeroDivisionError):
            both(first, second, threads)
