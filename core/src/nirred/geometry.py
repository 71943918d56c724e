"""Positions of a group's frames on the sky and relative to each other: headers, measured offsets, distortion.

Every plane of every frame has *flat* pixels: those of a tangent plane with the scale, orientation and parity that its
header gives at CRPIX. The camera's distortion maps them to detector pixels. Offsets are in flat pixels of the first
plane. A header's coordinates are used except for the pointing, which is corrected by a measured offset and a measured
rotation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .algorithms import gnomonic
from .algorithms.gnomonic import Tangent
from .algorithms.grids import Grid
from .algorithms.placement import Distortion, Placement
from .errors import StepError
from .group import Group
from .plugin.coordinates import is_tangential, plain_wcs, projection_cards

if TYPE_CHECKING:
    from .plugin.coordinates import AnyWcs

#: Undistorted frames that a shift places everywhere to within this are resampled with separable filters, px.
#: Decision 8: stars in the corners widen by less than 0.1 %, and headers do not give a dither's rotation any better.
NEARLY_A_SHIFT = 0.15


NO_GRID = Grid(0, 0, (0, 0))


@dataclass(frozen=True)
class Target:
    """Output grid of whole flat pixels of one plane of the reference frame, and the planes resampled to it.

    Parameters
    ----------
    reference : int
        Index of the frame.
    plane : int
        Plane whose flat pixels define the grid.
    planes : tuple of int
        Planes that are resampled to it.
    grid : Grid
        Its pixels; empty until they are known.
    """

    reference: int
    plane: int
    planes: tuple[int, ...]
    grid: Grid = NO_GRID


class Geometry:
    """Geometry of one group; quantities independent of measured offsets are computed once."""

    def __init__(self, group: Group) -> None:
        self._group = group
        self._shapes = [state.shape for state in group.planes]  # the planes are freed before the product is written
        self._tangents: dict[tuple[int, int], tuple[object, Tangent]] = {}
        self._distortions: dict[tuple[Any, ...], Distortion | None] = {}

    def has_wcs(self, frames: list[int]) -> bool:
        """Whether every plane of these frames has world coordinates."""
        planes = len(self._shapes)
        return all(len(self._group.frames[i].info.wcs) >= planes for i in frames)

    def shape(self, p: int) -> tuple[int, int]:
        """(ny, nx) of a plane."""
        return self._shapes[p]

    def centre(self, p: int) -> tuple[float, float]:
        """Centre of a plane's array."""
        ny, nx = self.shape(p)
        return (nx - 1) / 2, (ny - 1) / 2

    def wcs(self, i: int, p: int) -> AnyWcs:
        """World coordinates of a plane according to its header."""
        return self._group.frames[i].info.wcs[p].wcs

    def tangent(self, i: int, p: int) -> Tangent:
        """The flat pixels of a plane."""
        wcs = self.wcs(i, p)
        if (i, p) not in self._tangents or self._tangents[i, p][0] is not wcs:
            self._tangents[i, p] = (wcs, flat_tangent(wcs, self.shape(p)))
        return self._tangents[i, p][1]

    def distortion(self, i: int, p: int) -> Distortion | None:
        """Map from flat to detector pixels, shared by all frames whose headers differ only in pointing."""
        wcs = self.wcs(i, p)
        if is_tangential(wcs):
            return None
        key = (_kind(wcs), self.shape(p))
        if key not in self._distortions:
            self._distortions[key] = self._tabulate(wcs, p, i)
        return self._distortions[key]

    def _tabulate(self, wcs: AnyWcs, p: int, i: int) -> Distortion | None:
        tangent = self.tangent(i, p)

        def to_flat(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            ra, dec = wcs.all_pix2world(x, y, 0)
            xi, eta = gnomonic.project(ra, dec, tangent.ra, tangent.dec)
            u, v = np.tensordot(np.linalg.inv(tangent.cd), np.stack([xi, eta]), 1)
            return u + tangent.x, v + tangent.y

        def to_detector(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            direction = np.tensordot(tangent.matrix, np.stack([x, y, np.ones_like(x)]), 1)
            direction /= np.linalg.norm(direction, axis=0)
            ra, dec = np.degrees(np.arctan2(direction[1], direction[0])), np.degrees(np.arcsin(direction[2]))
            found = wcs.all_world2pix(ra, dec, 0)
            return found[0], found[1]

        try:
            return Distortion.of(to_detector, to_flat, self.shape(p))
        except (ValueError, RuntimeError, _no_convergence()) as error:
            name, why = self._group.frames[i].info.name, str(error).partition("\n")[0]
            raise StepError(f"{name}: its distortion cannot be tabulated: {why}", "prepare:bad_wcs=ignore") from None

    def by_header(self, i: int, j: int, p: int = 0) -> np.ndarray:
        """Matrix (3, 3) from flat pixels of a plane of frame i to those of frame j, according to their headers."""
        return np.asarray(np.linalg.solve(self.tangent(j, p).matrix, self.tangent(i, p).matrix))

    def header_turn(self, i: int, j: int) -> float:
        """Rotation (radian, from x to y) of frame j relative to frame i by their headers; 0 without a WCS."""
        if not self.has_wcs([i, j]):
            return 0.0
        (a, b), (c, d) = self.by_header(i, j)[:2, :2]
        return float(np.arctan2(c - b, a + d))

    def place(self, i: int, p: int, target: Target) -> Placement:
        """Position of a frame's plane on a target, including the measured offset."""
        frame, shape = self._group.frames[i], self.shape(p)
        centre = self.centre(0)
        there = (centre[0] + frame.dx, centre[1] + frame.dy)
        if not self.has_wcs([i, target.reference]):
            moved = gnomonic.motion(frame.turn, centre, there)
            return self._as_shift(Placement(shape, None, moved), i, 0, replace(target, plane=0))
        own, sky = self.tangent(i, 0).matrix, self.tangent(target.reference, target.plane).matrix
        here = gnomonic.apply_point(self.by_header(target.reference, i), centre)
        moved = gnomonic.motion(frame.turn, here, there)
        chain = np.linalg.solve(self.tangent(i, p).matrix, own) @ moved @ np.linalg.solve(own, sky)
        placed = Placement(shape, None, chain, self.distortion(i, p))
        return self._as_shift(placed, i, p, target)

    def _as_shift(self, placed: Placement, i: int, p: int, target: Target) -> Placement:
        """Replace a placement by a pure shift if that is accurate enough."""
        if placed.distortion is not None:
            return placed
        far, shift = beyond_shift(placed)
        if far > NEARLY_A_SHIFT:
            return placed
        if p == target.plane == 0:
            frame = self._group.frames[i]
            return replace(placed, shift=(frame.dx, frame.dy))
        return replace(placed, shift=shift)

    def plain(self, frames: list[int]) -> bool:
        """Whether, by their headers, these frames differ only by shifts: one plane, no distortion."""
        if len(self._shapes) > 1 and self.has_wcs(frames):
            return False
        if not self.has_wcs(frames):
            return True
        first = frames[0]
        if any(self.distortion(i, 0) is not None for i in frames):
            return False
        for i in frames[1:]:
            placed = Placement(self.shape(0), None, self.by_header(first, i))
            if self._as_shift(placed, i, 0, Target(first, 0, (0,))).shift is None:
                return False
        return True

    def tangent_positions(self, i: int, p: int, ra: float, dec: float) -> tuple[float, float]:
        """Flat pixel of a position on the sky (degrees), according to the header."""
        t = self.tangent(i, p)
        xi, eta = gnomonic.project(np.array([ra]), np.array([dec]), t.ra, t.dec)
        u, v = np.linalg.solve(t.cd, np.stack([xi, eta]))
        return float(u[0]) + t.x, float(v[0]) + t.y

    def flat_positions(self, i: int, p: int, first: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Detector positions on a plane of frame i as flat pixels of the first plane of frame `first`, by headers."""
        distortion = self.distortion(i, p)
        u, v = (x, y) if distortion is None else distortion.inverse.at(x, y)
        matrix = np.asarray(np.linalg.solve(self.tangent(first, 0).matrix, self.tangent(i, p).matrix), np.float64)
        return gnomonic.apply(matrix, u, v)

    def refer(self, reference: int) -> None:
        """Make all offsets relative to another frame."""
        frames = self._group.frames
        new = frames[reference]
        used = self._group.indices()
        if not self.has_wcs(used) or (self.plain(used) and not any(frames[i].turn for i in used)):
            dx, dy, turn = new.dx, new.dy, new.turn
            for frame in frames:
                frame.turn -= turn
                c, s = np.cos(frame.turn), np.sin(frame.turn)
                frame.dx, frame.dy = frame.dx - float(c * dx - s * dy), frame.dy - float(s * dx + c * dy)
        elif new.refers >= 0 and new.refers != reference:
            old = Target(new.refers, 0, (0,))
            cx, cy = self.centre(0)
            spot = _flat(self.place(reference, 0, old)).from_plane(np.array([cx]), np.array([cy]))
            for i, frame in enumerate(frames):
                if frame.refers == new.refers and frame.info.wcs and i != reference:
                    x, y = _flat(self.place(i, 0, old)).to_plane(*spot)
                    frame.dx, frame.dy = float(x[0]) - cx, float(y[0]) - cy
                    frame.turn -= new.turn
            new.dx, new.dy, new.turn = 0.0, 0.0, 0.0
        if new.refers >= 0:  # these two know of each other as before, and of the others about as well
            last = frames[new.refers]
            last.dx_err, new.dx_err = new.dx_err, last.dx_err
            last.dy_err, new.dy_err = new.dy_err, last.dy_err
        for frame in frames:
            frame.refers = reference

    def corrected_wcs(self, i: int, p: int, target: Target) -> AnyWcs:
        """World coordinates of a plane, corrected by the measured offset to agree with those of the target."""
        placed, sky = self.place(i, p, target), self.tangent(target.reference, target.plane).matrix
        wcs, flat = self.wcs(i, p).deepcopy(), self.tangent(i, p)
        matrix = placed.matrix if placed.shift is None else gnomonic.motion(0.0, (0.0, 0.0), placed.shift)
        spot = self.tangent_positions(i, p, *map(float, wcs.wcs.crval))  # far outside if CRPIX lies off the array
        there = gnomonic.tangent_of(sky @ np.linalg.inv(matrix), *spot)
        linear = there.cd @ np.linalg.solve(gnomonic.tangent_of(flat.matrix, *spot).cd, wcs.pixel_scale_matrix)
        if wcs.wcs.has_cd():
            wcs.wcs.cd = linear
        else:
            wcs.wcs.pc, wcs.wcs.cdelt = linear, [1.0, 1.0]
        wcs.wcs.crval = [there.ra, there.dec]
        wcs.wcs.set()
        return wcs

    def target_wcs(self, target: Target) -> AnyWcs | None:
        """World coordinates of a target's grid; None if there are none."""
        i, p = target.reference, target.plane
        if len(self._group.frames[i].info.wcs) <= p:
            return None
        wcs, grid = self.wcs(i, p), target.grid
        if self.distortion(i, p) is None:
            moved = wcs.deepcopy()
            moved.wcs.crpix = np.asarray(wcs.wcs.crpix) - grid.origin
            return moved
        t = self.tangent(i, p)
        crpix = (t.x + 1 - grid.x0, t.y + 1 - grid.y0)
        return plain_wcs(crpix, (t.ra, t.dec), t.cd.tolist(), str(wcs.wcs.radesys or ""))


def targets_of(group: Group, frames: list[int], *, mosaic: bool = True) -> list[Target]:
    """Targets of these frames: one for all planes if their relative positions are known, else one for each."""
    reference = group.frames[frames[0]].refers
    reference = group.reference if reference < 0 else reference
    planes = tuple(range(len(group.planes)))
    if mosaic and len(planes) > 1 and geometry(group).has_wcs([*frames, reference]):
        return [Target(reference, 0, planes)]
    return [Target(reference, p, (p,)) for p in planes]


def beyond_shift(placed: Placement) -> tuple[float, tuple[float, float]]:
    """Largest error (px) at a plane's corners of the shift that is exact at its centre; that shift."""
    ny, nx = placed.shape
    u, v = np.array([0.0, nx - 1, 0, nx - 1, (nx - 1) / 2]), np.array([0.0, 0, ny - 1, ny - 1, (ny - 1) / 2])
    x, y = placed.from_plane(u, v)
    dx, dy = u - x, v - y
    return float(np.hypot(dx - dx[-1], dy - dy[-1]).max()), (float(dx[-1]), float(dy[-1]))


def _flat(placed: Placement) -> Placement:
    """The placement without distortion, to flat pixels."""
    return replace(placed, distortion=None)


def geometry(group: Group) -> Geometry:
    """The group's geometry, created on first use."""
    if group.registration.geometry is None:
        group.registration.geometry = Geometry(group)
    return group.registration.geometry


def _no_convergence() -> type[Exception]:
    """What astropy raises for a distortion without an inverse.

    Asked for only once something was raised: astropy.wcs is slow to load, and the coordinates may not be astropy's.
    """
    from astropy.wcs import NoConvergence

    raised: type[Exception] = NoConvergence
    return raised


def _kind(wcs: AnyWcs) -> tuple[Any, ...]:
    """Key of a distortion: everything in a WCS except the pointing."""
    cards = projection_cards(wcs)
    sip = () if wcs.sip is None else tuple(a.tobytes() for a in (wcs.sip.a, wcs.sip.b) if a is not None)
    found = (wcs.cpdis1, wcs.cpdis2, wcs.det2im1, wcs.det2im2)
    tables = tuple((t.data.tobytes(), *t.crpix, *t.crval, *t.cdelt) for t in found if t is not None)
    cd = wcs.pixel_scale_matrix
    size = float(np.sqrt(np.abs(np.linalg.det(cd))))
    # rotating the camera changes nothing, unless terms depend on the direction in the projection plane (TPV)
    axial = any(card.startswith("PV1") for card in cards)
    linear = (cd / size if axial else cd.T @ cd / size**2).round(6).ravel().tolist()
    return cards, tuple(wcs.wcs.crpix), float(f"{size:.6e}"), tuple(linear), sip, tables


def flat_tangent(wcs: AnyWcs, shape: tuple[int, int]) -> Tangent:
    """The tangent plane of a WCS at CRPIX, or at the centre of the array if CRPIX lies outside it."""
    x, y = (float(v) - 1 for v in wcs.wcs.crpix)
    ny, nx = shape
    if not is_tangential(wcs) and not (0 <= x <= nx - 1 and 0 <= y <= ny - 1):
        x, y = (nx - 1) / 2, (ny - 1) / 2
    step = 0.5
    px = np.array([x, x + step, x - step, x, x])
    py = np.array([y, y, y, y + step, y - step])
    ra, dec = wcs.all_pix2world(px, py, 0)
    xi, eta = gnomonic.project(ra, dec, float(ra[0]), float(dec[0]))
    cd = np.array([[xi[1] - xi[2], xi[3] - xi[4]], [eta[1] - eta[2], eta[3] - eta[4]]]) / (2 * step)
    return Tangent(x, y, float(ra[0]), float(dec[0]), cd)
