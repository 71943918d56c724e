"""How the kernels are compiled: one set of options for all.

A kernel is called from Python and kept in numba's cache. A subkernel is called from kernels alone: it has no way in
from Python, which would take longer to compile than many a subkernel, and lies in the cache within its callers. Calling
one from Python would end the process; a test sees to it that nobody does.
"""

from __future__ import annotations

from functools import partial

from numba import njit

_compiled = partial(njit, nogil=True, error_model="numpy", no_cfunc_wrapper=True)

#: Decorator of what Python calls.
kernel = _compiled(cache=True)
#: Decorator of what only kernels call.
subkernel = _compiled(no_cpython_wrapper=True)
#: The same, where a product and a sum may be one operation, rounded once.
contracting_subkernel = _compiled(no_cpython_wrapper=True, fastmath={"contract"})
