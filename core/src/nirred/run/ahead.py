"""Load the libraries that tasks need while other threads compute the digests of the inputs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np

from ..algorithms.flags import flagged
from ..algorithms.threads import run_blocks, short_turns
from ..errors import Unreadable
from ..provenance import file_digest

#: Each takes a tenth of a second or more.
MODULES = ("astropy.io.fits", "scipy.ndimage")


@contextlib.contextmanager
def loaded_ahead(threads: int, files: Sequence[Path] = ()) -> Iterator[None]:
    """Load libraries on a separate thread, if there are several, and compute digests of files meanwhile.

    Loading needs the interpreter and uses at most one processor; reading and hashing do not need it. Tasks use the
    digests later. Files that cannot be read are reported by the tasks.
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
        with short_turns():
            run_blocks(digest, len(files), threads, 1)
        yield
    finally:
        loader.join()


def _load() -> None:
    flagged(np.zeros((1, 1), np.uint16), 0)  # numba's setup for the first kernel takes as long as 100 others
    for name in MODULES:
        with contextlib.suppress(ImportError):  # reported where it is needed
            import_module(name)
