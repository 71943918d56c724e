"""Start-up of numba without scipy."""

from __future__ import annotations

import sys
from importlib import import_module
from threading import Lock
from typing import Any

_LOADING = Lock()


def defer_blas() -> None:
    """Load numba's array functions without the search for a BLAS that they begin with.

    That loads scipy.linalg, 0.2 s of a night's 6, for products of matrices, which no kernel of ours has. A kernel that
    has some (a plugin's) lets numba look for the BLAS when it is compiled or run, as ever.
    """
    with _LOADING:
        if "numba.np.arraymath" in sys.modules:
            return
        linalg: Any = import_module("numba.np.linalg")
        search = linalg.ensure_blas
        linalg.ensure_blas = lambda: None
        try:
            import_module("numba.np.arraymath")
        finally:
            linalg.ensure_blas = search
