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

#: Modules in which changes are not looked for: the standard library, numpy and numba.
LIBRARIES = sys.stdlib_module_names | {"numpy", "numba"}
#: An import at the top level of a module: (module, names).
_IMPORT = re.compile(r"\n(?:from +([.\w]+) +)?import +(\([^)]*\)|[^\n]*)")
_NAME = re.compile(r"[.\w]+")

_compiled = partial(njit, nogil=True, error_model="numpy", no_cfunc_wrapper=True)

#: Decorator of functions called only by kernels.
subkernel = _compiled(no_cpython_wrapper=True)
#: The same, for functions in which a product and a sum may be fused and rounded once.
contracting_subkernel = _compiled(no_cpython_wrapper=True, fastmath={"contract"})


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator of functions called from Python.

    numba's cache detects changes only in the kernel's own file. An entry older than the modules that it imports is
    removed here, because it contains their subkernels, constants and fields of tuples.
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
    """Modification time of the newest source among a module and all that it imports, directly or not."""
    found: set[str] = set()
    new = {module}
    while new:
        found |= new
        new = set().union(*(_source(name)[1] for name in new)) - found
    return max(_source(name)[0] for name in found)


@cache
def _source(module: str) -> tuple[float, frozenset[str]]:
    """Modification time of a module's source, and the modules that it imports; 0 and none without a source file."""
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
