"""Tangent planes as 3 x 3 matrices: pixels to sky directions, and from plane to plane without trigonometry.

Two gnomonic projections of one sky differ by a projective map, exactly: directions are linear in homogeneous pixel
coordinates (x, y, 1), so that maps between planes are products of matrices and their inverses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tangent:
    """A gnomonic projection.

    Parameters
    ----------
    x, y : float
        Zero-based pixel of the tangent point.
    ra, dec : float
        The tangent point on the sky, degrees.
    cd : float64 (2, 2)
        Degrees east and north per pixel of x and y.
    """

    x: float
    y: float
    ra: float
    dec: float
    cd: Float64

    @property
    def matrix(self) -> Float64:
        """(3, 3): homogeneous pixels to a direction, up to a factor."""
        linear = np.eye(3)
        linear[:2, :2] = np.radians(self.cd)
        linear[:2, 2] = -linear[:2, :2] @ (self.x, self.y)
        return np.asarray(np.column_stack(triad(self.ra, self.dec)) @ linear)


def triad(ra: float, dec: float) -> tuple[Float64, Float64, Float64]:
    """Unit vectors east, north and outward at a point of the sky, degrees."""
    a, d = np.radians(ra), np.radians(dec)
    east = np.array([-np.sin(a), np.cos(a), 0.0])
    north = np.array([-np.sin(d) * np.cos(a), -np.sin(d) * np.sin(a), np.cos(d)])
    outward = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    return east, north, outward


def direction_of(ra: Float64, dec: Float64) -> Float64:
    """Unit vectors to points of the sky (degrees), shape (3, ...)."""
    a, d = np.radians(ra), np.radians(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def project(ra: Float64, dec: Float64, ra0: float, dec0: float) -> tuple[Float64, Float64]:
    """Tangent-plane coordinates (east, north; degrees) of points (degrees) about (ra0, dec0)."""
    east, north, outward = triad(ra0, dec0)
    direction = direction_of(ra, dec)
    xi, eta, depth = (np.tensordot(v, direction, 1) for v in (east, north, outward))
    return np.degrees(xi / depth), np.degrees(eta / depth)


def apply(matrix: Float64, x: NDArray[Any], y: NDArray[Any]) -> tuple[Float64, Float64]:
    """Positions under a projective map."""
    m = matrix
    depth = m[2, 0] * x + m[2, 1] * y + m[2, 2]
    return (m[0, 0] * x + m[0, 1] * y + m[0, 2]) / depth, (m[1, 0] * x + m[1, 1] * y + m[1, 2]) / depth


def apply_point(matrix: Float64, point: tuple[float, float]) -> tuple[float, float]:
    """One position under a projective map."""
    u, v, depth = (float(value) for value in matrix @ (*point, 1.0))
    return u / depth, v / depth


def area(matrix: Float64, x: Float64, y: Float64) -> Float64:
    """Local area ratio of a projective map (after over before): the absolute value of det / depth^3."""
    depth = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2]
    return np.asarray(np.abs(np.linalg.det(matrix) / depth**3))


def motion(angle: float, about: tuple[float, float], to: tuple[float, float]) -> Float64:
    """(3, 3) of the rigid motion that turns by `angle` (radian, from x to y) and takes `about` to `to`."""
    c, s = np.cos(angle), np.sin(angle)
    out = np.eye(3)
    out[:2, :2] = [[c, -s], [s, c]]
    out[:2, 2] = np.asarray(to) - out[:2, :2] @ np.asarray(about)
    return out


def tangent_of(matrix: Float64, x: float, y: float) -> Tangent:
    """The projection of a matrix, with its tangent point at pixel (x, y)."""
    if np.linalg.det(matrix) == 0:
        raise ValueError("a singular matrix projects nothing")
    step = 1.0
    px = np.array([x, x + step, x - step, x, x])
    py = np.array([y, y, y, y + step, y - step])
    direction = matrix @ np.stack([px, py, np.ones(5)])
    direction = direction / np.linalg.norm(direction, axis=0)
    ra = np.degrees(np.arctan2(direction[1], direction[0])) % 360.0
    dec = np.degrees(np.arcsin(np.clip(direction[2], -1.0, 1.0)))
    xi, eta = project(ra, dec, float(ra[0]), float(dec[0]))
    cd = np.array([[xi[1] - xi[2], xi[3] - xi[4]], [eta[1] - eta[2], eta[3] - eta[4]]]) / (2 * step)
    return Tangent(x, y, float(ra[0]), float(dec[0]), cd)
