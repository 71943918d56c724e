"""Libraries that the end of a task needs, loaded beside its pixels."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from importlib import import_module

#: Each takes a tenth of a second or more; nothing else of a run does while one thread is at work.
MODULES = ("astropy.io.fits", "scipy.ndimage")


@contextlib.contextmanager
def loaded_ahead(threads: int) -> Iterator[None]:
    """Load them on a thread of its own, where there are several: kernels leave the interpreter to it."""
    if threads < 2:
        yield
        return
    thread = threading.Thread(target=_load, name="nirred-ahead")
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _load() -> None:
    for name in MODULES:
        with contextlib.suppress(ImportError):  # whoever needs it says so
            import_module(name)
