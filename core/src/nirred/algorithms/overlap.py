"""Exact areas that circles and ellipses share with pixels, as photutils computes them."""

from __future__ import annotations

import math
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
    """As `circle`: semi-axes in pixels, angle (radian) from x to y.

    A rectangle of pixels that the ellipse covers is not asked for: half of those in its bounding box.
    """
    whole = _geometry().elliptical_overlap_grid
    (left, right, bottom, top), (nx, ny) = edges, size
    dx, dy = (right - left) / max(nx, 1), (top - bottom) / max(ny, 1)
    u, v = _inscribed(axes, angle)
    i, j = _between(-u - left, u - left, dx, nx), _between(-v - bottom, v - bottom, dy, ny)
    if i.start == i.stop or j.start == j.stop:
        return np.asarray(whole(*edges, *size, *axes, angle, 1, 1))
    share = np.ones((ny, nx))
    for rows, columns in (
        (slice(0, j.start), slice(0, nx)),
        (slice(j.stop, ny), slice(0, nx)),
        (j, slice(0, i.start)),
        (j, slice(i.stop, nx)),
    ):
        part = left + dx * columns.start, left + dx * columns.stop, bottom + dy * rows.start, bottom + dy * rows.stop
        number = columns.stop - columns.start, rows.stop - rows.start
        if min(number) > 0:
            share[rows, columns] = whole(*part, *number, *axes, angle, 1, 1)
    return share


def _inscribed(axes: tuple[float, float], angle: float) -> tuple[float, float]:
    """Half the sides of a rectangle within an ellipse, of the proportions of its bounding box."""
    (a, b), c, s = axes, math.cos(angle), math.sin(angle)
    u, v = math.hypot(a * c, b * s), math.hypot(a * s, b * c)
    farthest = max(math.hypot((u * c + w * s) / a, (w * c - u * s) / b) for w in (v, -v))
    return u / farthest, v / farthest


def _between(low: float, high: float, step: float, n: int) -> slice:
    """Pixels of a row of n that lie wholly between two places."""
    first = min(max(math.ceil(low / step), 0), n)
    return slice(first, max(first, min(math.floor(high / step), n)))
