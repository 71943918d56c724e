"""Gnomonic (TAN) projection, radial distortion (ZPN) and the simulator's pointing geometry, in plain numpy.

The *flat* pixels of a plane are those that it would have without distortion: TAN with the same CRPIX, CRVAL and CD.
"""

from __future__ import annotations

import math

import numpy as np

from nirred.plugin.simulation import SimulatedDetector, SimulatedWcs, Simulation

_ARCSEC = math.radians(1 / 3600)
_NEWTON_STEPS = 8


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


def _camera_matrix(simulation: Simulation, angle: float) -> np.ndarray:
    """(xi, eta) arcsec of a step of one pixel along the camera's x and y, as columns."""
    up = math.radians(angle + simulation.angle)
    right = up + simulation.parity * math.pi / 2
    scale = simulation.pixel_scale
    return scale * np.array([[math.sin(right), math.sin(up)], [math.cos(right), math.cos(up)]])


def plane_axes(detector: SimulatedDetector) -> np.ndarray:
    """Steps of one pixel in x and y (columns) along the camera's axes, in units of its pixel scale."""
    if detector.axes is not None:
        return np.reshape(detector.axes, (2, 2))
    turn = math.radians(detector.turn)
    return detector.magnification * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


def plane_wcs(simulation: Simulation, plane: int, ra: float, dec: float, angle: float) -> SimulatedWcs:
    """World coordinates of one plane for a pointing at (ra, dec) and a position angle, degrees."""
    detector = simulation.detectors[plane]
    ny, nx = detector.shape
    own = plane_axes(detector)
    centre = np.linalg.solve(own, np.array(detector.sky_position) / simulation.pixel_scale)
    (a, b), (c, d) = (_camera_matrix(simulation, angle) @ own / 3600).tolist()
    crpix = ((nx + 1) / 2 - float(centre[0]), (ny + 1) / 2 - float(centre[1]))
    return SimulatedWcs(crpix, (ra, dec), (a, b, c, d), simulation.projection, simulation.pv)


def plane_place(simulation: Simulation, plane: int, angle: float) -> tuple[float, float]:
    """Arcsec east and north from the pointing to a plane's centre."""
    place = np.array(simulation.detectors[plane].sky_position) / simulation.pixel_scale
    east, north = _camera_matrix(simulation, angle) @ place
    return float(east), float(north)


def to_flat(wcs: SimulatedWcs, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based flat pixel positions of (ra, dec), degrees."""
    xi, eta = to_plane(ra, dec, *wcs.crval)
    matrix = np.linalg.inv(np.reshape(wcs.cd, (2, 2)) * 3600)
    x = matrix[0, 0] * xi + matrix[0, 1] * eta + wcs.crpix[0] - 1
    y = matrix[1, 0] * xi + matrix[1, 1] * eta + wcs.crpix[1] - 1
    return x, y


def from_flat(wcs: SimulatedWcs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `to_flat`: RA and Dec in degrees."""
    u, v = np.asarray(x) + 1 - wcs.crpix[0], np.asarray(y) + 1 - wcs.crpix[1]
    c = np.multiply(wcs.cd, 3600)
    return from_plane(c[0] * u + c[1] * v, c[2] * u + c[3] * v, *wcs.crval)


def to_pixels(wcs: SimulatedWcs, ra: np.ndarray, dec: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zero-based pixel positions on the detector of (ra, dec), degrees."""
    return distort(wcs, *to_flat(wcs, ra, dec))


def distort(wcs: SimulatedWcs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions on the detector of flat ones (both zero-based pixels)."""
    if not wcs.pv:
        return x, y
    flat = _radius(wcs, x, y)
    angle = np.arctan(flat)
    return _stretch(wcs, x, y, _ratio(_polynomial(wcs, angle)[0], flat))


def flatten(wcs: SimulatedWcs, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of `distort`, by Newton's method."""
    if not wcs.pv:
        return x, y
    radius = _radius(wcs, x, y)
    angle = radius.copy()
    for _ in range(_NEWTON_STEPS):
        value, slope = _polynomial(wcs, angle)
        angle -= (value - radius) / slope
    return _stretch(wcs, x, y, _ratio(np.tan(angle), radius))


def _radius(wcs: SimulatedWcs, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance from CRPIX in the projection plane, radian."""
    u, v = np.asarray(x, np.float64) + 1 - wcs.crpix[0], np.asarray(y, np.float64) + 1 - wcs.crpix[1]
    c = np.radians(wcs.cd)
    return np.asarray(np.hypot(c[0] * u + c[1] * v, c[2] * u + c[3] * v))


def _polynomial(wcs: SimulatedWcs, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ZPN's radius and its slope at angles from the pole, radian."""
    value, slope = np.zeros_like(angle), np.zeros_like(angle)
    for m, c in wcs.pv:
        value += c * angle**m
        slope += m * c * angle ** max(m - 1, 0)
    return value, slope


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(np.divide(a, b, out=np.ones_like(a), where=b > 1e-12))


def _stretch(wcs: SimulatedWcs, x: np.ndarray, y: np.ndarray, by: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x0, y0 = wcs.crpix[0] - 1, wcs.crpix[1] - 1
    return x0 + (x - x0) * by, y0 + (y - y0) * by
