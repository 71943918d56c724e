"""Exact overlap areas of circles and ellipses with pixels."""

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

from nirred.algorithms.compiled import kernel, subkernel

Edges = tuple[float, float, float, float]

_LOADING = Lock()


@cache
def _geometry() -> ModuleType:
    """photutils.geometry, compiled and needing numpy only, without loading the rest of its package.

    The package loads astropy's units and tables, and the metadata of all installed packages: 0.5 s of a night's 7 for
    one function whose import takes 2 ms. An empty package replaces it during the import and is then removed: photutils
    can be imported normally later. Concurrent threads wait.
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
    """Fraction of each pixel inside a circle around the origin.

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


def disc(radius: float, dx: float = 0.0, dy: float = 0.0) -> NDArray[np.float64]:
    """Fraction of each pixel inside a circle, in the smallest window with a middle pixel that holds it.

    Parameters
    ----------
    radius : float
        Pixels.
    dx, dy : float
        Offset of the circle's centre from that of the middle pixel, at most half a pixel.

    Returns
    -------
    float64 (2 half + 1, 2 half + 1)
    """
    half = math.ceil(radius + 0.5)
    reach, size = half + 0.5, 2 * half + 1
    return circle((-reach - dx, reach - dx, -reach - dy, reach - dy), (size, size), radius)


def ellipse(edges: Edges, size: tuple[int, int], axes: tuple[float, float], angle: float) -> NDArray[np.float64]:
    """As `circle`: semi-axes in pixels, angle (radian) from x to y.

    Computed as the overlap of a polygon with a disc, edge by edge: sectors of the disc for the parts of an edge outside
    it, triangles for those inside. photutils takes ten times as long and holds the interpreter lock.
    """
    share = np.empty((size[1], size[0]))
    _fill_ellipse(np.array(edges, np.float64), float(axes[0]), float(axes[1]), float(angle), share)
    return share


@kernel
def _fill_ellipse(edges: np.ndarray, major: float, minor: float, angle: float, share: np.ndarray) -> None:
    """Fill in the fraction of each pixel, with its corners transformed so that the ellipse is the unit disc."""
    ny, nx = share.shape
    c, s = np.cos(angle), np.sin(angle)
    dx, dy = (edges[1] - edges[0]) / nx, (edges[3] - edges[2]) / ny
    across, along = (dx * c / major, -dx * s / minor), (dy * s / major, dy * c / minor)
    pixel = dx * dy / (major * minor)
    reach = 1.0 + 0.5 * max(
        np.hypot(across[0] + along[0], across[1] + along[1]), np.hypot(across[0] - along[0], across[1] - along[1])
    )
    u0, v0 = (edges[0] * c + edges[2] * s) / major, (edges[2] * c - edges[0] * s) / minor
    for j in range(ny):
        for i in range(nx):
            u, v = u0 + i * across[0] + j * along[0], v0 + i * across[1] + j * along[1]
            middle = u + 0.5 * (across[0] + along[0]), v + 0.5 * (across[1] + along[1])
            if middle[0] ** 2 + middle[1] ** 2 >= reach**2:
                share[j, i] = 0.0
                continue
            second = u + across[0], v + across[1]
            third, fourth = (second[0] + along[0], second[1] + along[1]), (u + along[0], v + along[1])
            if max(u**2 + v**2, _square(second), _square(third), _square(fourth)) <= 1.0:
                share[j, i] = 1.0
                continue
            first = u, v
            area = _beside(first, second) + _beside(second, third) + _beside(third, fourth) + _beside(fourth, first)
            share[j, i] = min(max(area / pixel, 0.0), 1.0)


@subkernel
def _square(p: tuple[float, float]) -> float:
    return p[0] * p[0] + p[1] * p[1]


@subkernel
def _sector(p: tuple[float, float], q: tuple[float, float]) -> float:
    """Area of the unit disc between the directions of two points, positive from x to y."""
    return 0.5 * np.arctan2(p[0] * q[1] - p[1] * q[0], p[0] * q[0] + p[1] * q[1])


@subkernel
def _beside(p: tuple[float, float], q: tuple[float, float]) -> float:
    """Overlap of the unit disc with the triangle of the origin and an edge from p to q, signed as in `_sector`."""
    d = q[0] - p[0], q[1] - p[1]
    length, half = _square(d), p[0] * d[0] + p[1] * d[1]
    inside = half * half - length * (_square(p) - 1.0)
    if inside <= 0.0:
        return _sector(p, q)
    root = np.sqrt(inside)
    enters, leaves = (-half - root) / length, (-half + root) / length
    if leaves <= 0.0 or enters >= 1.0:
        return _sector(p, q)
    area, a, b = 0.0, p, q
    if enters > 0.0:
        a = p[0] + enters * d[0], p[1] + enters * d[1]
        area += _sector(p, a)
    if leaves < 1.0:
        b = p[0] + leaves * d[0], p[1] + leaves * d[1]
        area += _sector(b, q)
    return area + 0.5 * (a[0] * b[1] - a[1] * b[0])
