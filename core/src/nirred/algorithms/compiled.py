"""How the kernels are compiled: one set of options for all.

A kernel is called from Python and kept in numba's cache. A subkernel is called from kernels alone: it has no way in
from Python, which would take longer to compile than many a subkernel, and lies in the cache within its callers. Calling
one from Python would end the process; a test sees to it that nobody does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from numba import njit

_compiled = partial(njit, nogil=True, error_model="numpy", no_cfunc_wrapper=True)

#: Decorator of what only kernels call.
subkernel = _compiled(no_cpython_wrapper=True)
#: The same, where a product and a sum may be one operation, rounded once.
contracting_subkernel = _compiled(no_cpython_wrapper=True, fastmath={"contract"})


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator of what Python calls.

    The cache knows of changes in the kernel's own file alone: what was compiled before one in the files of its
    subkernels, as a new version of the sources brings it, is taken out here.
    """
    made = _compiled(cache=True)(function)
    code = function.__code__
    others = set(_files_behind(function)) - {code.co_filename}
    if others:
        stem = code.co_filename.rpartition("/")[2].removesuffix(".py")
        name = f"{stem}.{function.__qualname__}-{code.co_firstlineno}.py{sys.version_info[0]}{sys.version_info[1]}.nbi"
        _forget_if_older(Path(made.stats.cache_path) / name, others)
    return made


def _files_behind(function: Callable[..., Any]) -> Iterator[str]:
    """Sources of the compiled functions that one calls, and those call."""
    for name in function.__code__.co_names:
        called = getattr(function.__globals__.get(name), "py_func", None)
        if called is not None and called is not function:
            yield called.__code__.co_filename
            yield from _files_behind(called)


def _forget_if_older(index: Path, sources: set[str]) -> None:
    """Remove an index of the cache that is older than one of the sources."""
    try:
        if index.stat().st_mtime < max(Path(source).stat().st_mtime for source in sources):
            index.unlink()
    except FileNotFoundError:  # never compiled, or sources in an archive, which do not change
        return
