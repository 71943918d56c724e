"""Settings of the whole process, made for some time by several threads at once."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import wraps


class _Shared(AbstractContextManager[None]):
    """A context that the first thread enters and the last one leaves."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self.make = make
        self.lock = threading.Lock()
        self.users = 0
        self.made: AbstractContextManager[None] = contextlib.nullcontext()

    def __enter__(self) -> None:
        with self.lock:
            if self.users == 0:
                self.made = self.make()
                self.made.__enter__()
            self.users += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users -= 1
            if self.users == 0:
                self.made.__exit__(None, None, None)


def shared(make: Callable[[], AbstractContextManager[None]]) -> Callable[[], AbstractContextManager[None]]:
    """Decorate a function that makes a context manager of a setting of the whole process.

    If each thread restored what it found, the first to finish would take the setting from the others, and the last
    would restore the setting itself, for good. Here the setting lasts until no thread is left that asked for it.
    """
    only = _Shared(make)
    return wraps(make)(lambda: only)


@shared
@contextlib.contextmanager
def no_warnings() -> Iterator[None]:
    """Let libraries warn of nothing: where nirred reports the fault itself, or where there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
