"""Exact areas that circles and ellipses share with pixels, as photutils computes them."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Lock
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

Edges = tuple[float, float, float, float]

_LOADING = Lock()


@cache
def _geometry() -> ModuleType:
    """photutils.geometry, compiled and needing numpy only, without what the package around it loads.

    That is astropy's units and tables, and the metadata of everything installed: 0.5 s of a night's 7 for two functions
    of which each import takes 2 ms. An empty package stands in for it meanwhile and is removed again: importing
    photutils later is as ever. Threads that come at the same time wait.
    """
    with _LOADING:
        package = find_spec("photutils")
        if "photutils" in sys.modules or package is None:
            return import_module("photutils.geometry")
        sys.modules["photutils"] = module_from_spec(package)
        try:
            return import_module("photutils.geometry")
        finally:
            for name in [n for n in sys.modules if n.partition(".")[0] == "photutils"]:
                del sys.modules[name]


def circle(edges: Edges, size: tuple[int, int], radius: float) -> NDArray[np.float64]:
    """Share of each pixel in a circle about the origin.

    Parameters
    ----------
    edges : (x0, x1, y0, y1)
        Of the grid, pixels.
    size : (nx, ny)
        Pixels of the grid.
    radius : float
        Pixels.

    Returns
    -------
    float64 (ny, nx)
    """
    return np.asarray(_geometry().circular_overlap_grid(*edges, *size, radius, 1, 1))


def ellipse(edges: Edges, size: tuple[int, int], axes: tuple[float, float], angle: float) -> NDArray[np.float64]:
    """As `circle`: semi-axes in pixels, angle (radian) from x to y."""
    return np.asarray(_geometry().elliptical_overlap_grid(*edges, *size, *axes, angle, 1, 1))
