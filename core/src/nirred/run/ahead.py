"""Libraries that tasks need, loaded while other threads take the digests of the inputs."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from ..algorithms.flags import flagged
from ..algorithms.threads import run_blocks
from ..errors import Unreadable
from ..provenance import file_digest

#: Each takes a tenth of a second or more.
MODULES = ("astropy.io.fits", "scipy.ndimage")
#: Seconds after which the loading thread lets others have the interpreter: they need it only for an instant, each time
#: that they ask the system to read or to hash, and would wait fifty times as long by default.
TURN = 1e-4


@contextlib.contextmanager
def loaded_ahead(threads: int, files: Sequence[Path] = ()) -> Iterator[None]:
    """Load libraries on a thread of its own, where there are several, and take digests of files while that lasts.

    Loading needs the interpreter and leaves one processor at most at work; reading and hashing do not need it. The
    digests are those that the tasks ask for later. Files that cannot be read are left to these.
    """
    if threads < 2:
        yield
        return
    loader = threading.Thread(target=_load, name="nirred-ahead")
    loader.start()

    def digest(k: int, _: int) -> None:
        if loader.is_alive():
            with contextlib.suppress(Unreadable):
                file_digest(files[k])

    try:
        with _short_turns():
            run_blocks(digest, len(files), threads, 1)
        yield
    finally:
        loader.join()


@contextlib.contextmanager
def _short_turns() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _load() -> None:
    flagged(np.zeros((1, 1), np.uint16), 0)  # numba sets itself up for the first kernel: as long as 100 others take
    for name in MODULES:
        with contextlib.suppress(ImportError):  # whoever needs it says so
            import_module(name)
