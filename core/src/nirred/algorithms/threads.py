"""Row blocks: the one place where kernels that release the GIL are spread over threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")
Other = TypeVar("Other")


def row_blocks(n_rows: int, block: int = 64) -> list[slice]:
    """Cut `n_rows` rows into consecutive slices of `block` rows; the last may be shorter.

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
    if threads <= 1 or len(blocks) <= 1:
        return [function(rows.start, rows.stop) for rows in blocks]
    with ThreadPoolExecutor(min(threads, len(blocks))) as pool:
        return list(pool.map(lambda rows: function(rows.start, rows.stop), blocks))


def both(first: Callable[[], Result], second: Callable[[], Other], threads: int = 1) -> tuple[Result, Other]:
    """Results of two functions that do not need each other, at the same time where there are threads for it."""
    if threads <= 1:
        return first(), second()
    with ThreadPoolExecutor(1) as pool:
        later = pool.submit(second)
        return first(), later.result()
