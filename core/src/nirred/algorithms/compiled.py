"""How the kernels are compiled: one set of options for all.

A kernel is called from Python and kept in numba's cache. A subkernel is called only from kernels: it has no Python
wrapper, which would take longer to compile than many subkernels, and is cached within its callers. Calling one from
Python would end the process; a test ensures that no code does.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache, partial
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

from numba import njit

#: What kernels are made with, and what is not followed in search of what lies behind one.
LIBRARIES = sys.stdlib_module_names | {"numpy", "numba"}
#: An import at the top level of a module: from what, and which names.
_IMPORT = re.compile(r"\n(?:from +([.\w]+) +)?import +(\([^)]*\)|[^\n]*)")
_NAME = re.compile(r"[.\w]+")

_compiled = partial(njit, nogil=True, error_model="numpy", no_cfunc_wrapper=True)

#: Decorator of what only kernels call.
subkernel = _compiled(no_cpython_wrapper=True)
#: The same, where a product and a sum may be one operation, rounded once.
contracting_subkernel = _compiled(no_cpython_wrapper=True, fastmath={"contract"})


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator of what Python calls.

    The cache knows of changes in the kernel's own file alone. What was compiled before one in the modules behind it, of
    which it holds subkernels, constants and the fields of tuples, is taken out here.
    """
    made = _compiled(cache=True)(function)
    code = function.__code__
    stem = code.co_filename.rpartition("/")[2].removesuffix(".py")
    name = f"{stem}.{function.__qualname__}-{code.co_firstlineno}.py{sys.version_info[0]}{sys.version_info[1]}.nbi"
    index = Path(made.stats.cache_path) / name
    try:
        if index.stat().st_mtime < _changed(function.__module__):
            index.unlink()
    except FileNotFoundError:  # never compiled
        pass
    return made


@cache
def _changed(module: str) -> float:
    """When the newest source of a module and of all that it imports, and those import, was written."""
    found: set[str] = set()
    new = {module}
    while new:
        found |= new
        new = set().union(*(_source(name)[1] for name in new)) - found
    return max(_source(name)[0] for name in found)


@cache
def _source(module: str) -> tuple[float, frozenset[str]]:
    """When a module's source was written, and the modules that it imports; 0 and none without one that may change."""
    path = str(getattr(sys.modules.get(module), "__file__", None))
    if not path.endswith(".py"):
        return 0.0, frozenset()
    try:
        written, text = Path(path).stat().st_mtime, Path(path).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):  # in an archive
        return 0.0, frozenset()
    named: set[str] = set()
    for base, names in _IMPORT.findall("\n" + text):
        if base.partition(".")[0] not in LIBRARIES:
            start = f"{resolve_name(base, sys.modules[module].__package__)}." if base else ""
            named |= {start[:-1], *(start + word for word in _NAME.findall(names))}
    return written, frozenset(n for n in named if n in sys.modules and n.partition(".")[0] not in LIBRARIES)
