"""Row blocks: distribution of kernels that release the GIL over threads.

The calling thread takes part; others come from a pool that lives as long as the process, because starting a thread
takes as long as many kernels. The caller never waits for a thread that has not started: blocks may call recursively.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Generic, TypeVar, cast

from nirred.algorithms.shared import shared

Result = TypeVar("Result")
Other = TypeVar("Other")

#: Upper limit of pool threads; most are never started: only as many are busy as callers request.
_POOL = ThreadPoolExecutor(256, "nirred-block")
#: Switch interval of the interpreter in `short_turns`, seconds: a fiftieth of the default.
TURN = 1e-4


def row_blocks(n_rows: int, block: int = 64) -> list[slice]:
    """Split `n_rows` rows into consecutive slices of `block` rows; the last may be shorter.

    Raises
    ------
    ValueError
        If `block` is not positive.
    """
    if block < 1:
        raise ValueError(f"a block of {block} rows: at least 1 is needed")
    return [slice(start, min(start + block, n_rows)) for start in range(0, n_rows, block)]


def run_blocks(function: Callable[[int, int], Result], n_rows: int, threads: int = 1, block: int = 64) -> list[Result]:
    """Call ``function(row_start, row_stop)`` for every row block and return the results in row order.

    The blocks do not depend on `threads`, so a function that treats its rows independently gives the
    same bits whatever the number of threads. An exception of the function is passed on.
    """
    blocks = row_blocks(n_rows, block)
    return _side_by_side([partial(function, rows.start, rows.stop) for rows in blocks], threads)


def both(first: Callable[[], Result], second: Callable[[], Other], threads: int = 1) -> tuple[Result, Other]:
    """Results of two independent functions, run at the same time if there are threads for it."""
    calls: list[Callable[[], Any]] = [first, second]
    return cast("tuple[Result, Other]", tuple(_side_by_side(calls, threads)))


@shared
@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let threads wait for the interpreter only briefly, where one needs it all the time and others now and then."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


class _Calls(Generic[Result]):
    """Calls shared among several threads, each taking the next one left."""

    def __init__(self, calls: list[Callable[[], Result]]) -> None:
        self.calls = calls
        self.left = iter(range(len(calls)))  # yields each index once, to any thread
        self.results: dict[int, Result] = {}
        self.errors: dict[int, BaseException] = {}

    def work(self) -> None:
        """Make the remaining calls; none after one that failed."""
        for k in self.left:
            try:
                self.results[k] = self.calls[k]()
            except BaseException as error:  # noqa: BLE001 - raised again by the thread that asked
                self.errors[k] = error
            if self.errors:
                return


def _side_by_side(calls: list[Callable[[], Result]], threads: int) -> list[Result]:
    """Results of calls in order; if several fail, the first exception is raised."""
    if threads <= 1 or len(calls) <= 1:
        return [call() for call in calls]
    shared = _Calls(calls)
    helpers = [_POOL.submit(shared.work) for _ in range(min(threads, len(calls)) - 1)]
    try:
        shared.work()
    finally:
        wait([helper for helper in helpers if not helper.cancel()])
    if shared.errors:
        raise shared.errors[min(shared.errors)]
    return [shared.results[k] for k in range(len(calls))]
