"""Gnomonic (TAN) projection and the simulator's pointing geometry, in plain numpy."""

from __future__ import annotations

import math

import numpy as np

from nirred.plugin.simulation import SimulatedWcs, Simulation

_ARCSEC = math.radians(1 / 3600)


def to_plane(ra: np.ndarray, dec: np.ndarray, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Tangent-plane coordinates (xi east, eta north; arcsec) about (ra0, dec0); all angles in degrees."""
    delta = np.radians(np.asarray(ra) - ra0)
    dec = np.radians(dec)
    centre = math.radians(dec0)
    cos_c = math.sin(centre) * np.sin(dec) + math.cos(centre) * np.cos(dec) * np.cos(delta)
    xi = np.cos(dec) * np.sin(delta) / cos_c
    eta = (math.cos(centre) * np.sin(dec) - math.sin(centre) * np.cos(dec) * np.cos(delta)) / cos_c
    return xi / _ARCSEC, eta / _ARCSEC


def from_plane(xi: np.ndarray, eta: np.ndarray, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `to_plane`: RA in [0, 360) and Dec, degrees."""
    x, y = np.asarray(xi) * _ARCSEC, np.asarray(eta) * _ARCSEC
    centre = math.radians(dec0)
    across = math.cos(centre) - y * math.sin(centre)
    ra = np.degrees(np.arctan2(x, across)) + ra0
    dec = np.degrees(np.arctan2(math.sin(centre) + y * math.cos(centre), np.hypot(x, across)))
    return np.mod(ra, 360.0), dec


def point(ra: float, dec: float, east: float, north: float) -> tuple[float, float]:
    """Position `east`, `north` arcsec from (ra, dec)."""
    moved = from_plane(np.array([east]), np.array([north]), ra, dec)
    return float(moved[0][0]), float(moved[1][0])


def plane_wcs(simulation: Simulation, plane: int, ra: float, dec: float, angle: float) -> SimulatedWcs:
    """World coordinates of one plane for a pointing at (ra, dec) and a position angle, degrees."""
    detector = simulation.detectors[plane]
    scale = simulation.pixel_scale
    ny, nx = detector.shape
    up = math.radians(angle + simulation.angle)
    right = up + simulation.parity * math.pi / 2
    step = scale / 3600
    cd = (math.sin(right) * step, math.sin(up) * step, math.cos(right) * step, math.cos(up) * step)
    crpix = (
        (nx + 1) / 2 - detector.sky_position[0] / scale,
        (ny + 1) / 2 - detector.sky_position[1] / scale,
    )
    return SimulatedWcs(crpix, (ra, dec), cd)


def to_pixels(wcs: SimulatedWcs, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based pixel positions of (ra, dec), degrees."""
    xi, eta = to_plane(ra, dec, *wcs.crval)
    matrix = np.linalg.inv(np.reshape(wcs.cd, (2, 2)) * 3600)
    x = matrix[0, 0] * xi + matrix[0, 1] * eta + wcs.crpix[0] - 1
    y = matrix[1, 0] * xi + matrix[1, 1] * eta + wcs.crpix[1] - 1
    return x, y
