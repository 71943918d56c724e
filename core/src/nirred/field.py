"""Frames of one field for registration: star lists and images in common coordinates, and the measured offsets.

Frames that differ only by shifts are compared in their own pixels. All others (with distortion, rotation or several
planes) are transformed with their headers to the flat pixels of the first frame and compared there: the measurement
then gives the correction to the headers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Protocol

import numpy as np

from .algorithms import gnomonic
from .algorithms.placement import Placement
from .algorithms.register import Registration
from .algorithms.stars import StarList
from .coadd import drawn_rows, lay_out
from .geometry import Geometry, Target, geometry
from .group import Group
from .offsets import Positions, guess_offsets, read_offsets, read_positions
from .results import require

Image = tuple[np.ndarray, np.ndarray]


def join(lists: list[StarList]) -> StarList:
    """Join the star lists of several planes, brightest first; the noise is that of the first list."""
    if len(lists) == 1:
        return lists[0]
    columns = {
        f.name: np.concatenate([getattr(s, f.name) for s in lists]) for f in fields(StarList) if f.name != "noise"
    }
    return StarList(**columns, noise=lists[0].noise)[np.argsort(-columns["flux"], kind="stable")]


class Field(Protocol):
    """Frames of one field.

    Attributes
    ----------
    guesses : list of (x, y)
        Expected position of one object in each frame, up to a constant.
    sigma : float
        Their 1-sigma error, pixels.
    centre : (float, float)
        Position to which offsets refer and about which frames are rotated.
    """

    guesses: list[tuple[float, float]]
    sigma: float
    centre: tuple[float, float]

    def stars(self, i: int) -> StarList:
        """Stars of frame i in the field's coordinates."""

    def image(self, i: int) -> Image:
        """Sky-subtracted pixels of frame i in the field's coordinates, and their bad pixels."""

    def put(self, k: int, reference: int, found: Registration | None) -> None:
        """Record the position of the k-th frame; None: its expected position."""


def field_of(group: Group, cluster: list[int], offsets: Positions | None, *, distorted: bool = True) -> Field:
    """The field of these frames; `offsets` is a user's list of positions on `distorted` or on corrected frames."""
    where = geometry(group)
    return (
        _Shifted(group, cluster, offsets)
        if where.plain(cluster)
        else _General(group, cluster, offsets, where, distorted)
    )


class _Shifted:
    """Frames that differ by shifts."""

    def __init__(self, group: Group, cluster: list[int], offsets: Positions | None) -> None:
        self.group, self.cluster = group, cluster
        self.guesses, self.sigma = guess_offsets(group, cluster)
        if offsets is not None:
            self.guesses = read_offsets(offsets, group, cluster)
        self.centre = geometry(group).centre(0)

    def stars(self, i: int) -> StarList:
        return require(self.group.registration.stars, "stars")[i][0]

    def image(self, i: int) -> Image:
        state = self.group.planes[0]
        return state.sub.frame(i), state.bad(i)

    def put(self, k: int, reference: int, found: Registration | None) -> None:
        frame = self.group.frames[self.cluster[k]]
        frame.refers, frame.turn = self.cluster[reference], 0.0
        if found is not None:
            frame.dx, frame.dy, frame.dx_err, frame.dy_err = found.dx, found.dy, found.dx_err, found.dy_err
            if found.rotation != 0:  # rotation not given by the header
                frame.turn = found.rotation - geometry(self.group).header_turn(frame.refers, self.cluster[k])
            return
        (dx, dy), (rx, ry) = self.guesses[k], self.guesses[reference]
        frame.dx, frame.dy, frame.dx_err, frame.dy_err = dx - rx, dy - ry, self.sigma, self.sigma


@dataclass
class _General:
    """Frames transformed with their headers to the flat pixels of the first."""

    group: Group
    cluster: list[int]
    offsets: Positions | None
    where: Geometry
    distorted: bool = True

    def __post_init__(self) -> None:
        self.centre = self.where.centre(0)
        first = self.group.frames[self.cluster[0]].info
        scale = first.descriptors.pixel_scale or 1.0
        self.sigma = max(self.group.frames[i].info.wcs[0].sigma_arcsec for i in self.cluster) / scale
        self.guesses = [(0.0, 0.0)] * len(self.cluster)
        if self.offsets is not None:
            self.guesses = self._named(read_positions(self.offsets, self.group))

    def _named(self, positions: dict[int, tuple[float, float]]) -> list[tuple[float, float]]:
        first = self.cluster[0]
        found = []
        for i in self.cluster:
            x, y = (np.array([v]) for v in positions.get(i, self.centre))
            if self.distorted:
                u, v = self.where.flat_positions(i, 0, first, x, y)
            else:
                u, v = gnomonic.apply(self.where.by_header(i, first), x, y)
            found.append((float(u[0]), float(v[0])) if i in positions else (np.nan, np.nan))
        known = next((p for p in found if np.isfinite(p[0])), (0.0, 0.0))
        return [(x - known[0], y - known[1]) if np.isfinite(x) else (0.0, 0.0) for x, y in found]

    def stars(self, i: int) -> StarList:
        lists = []
        for p, stars in enumerate(require(self.group.registration.stars, "stars")[i]):
            x, y = self.where.flat_positions(i, p, self.cluster[0], stars.x, stars.y)
            lists.append(replace(stars, x=x, y=y))
        return join(lists)

    def image(self, i: int) -> Image:
        """The first plane, placed according to its header."""
        first = self.cluster[0]
        placed = Placement(self.where.shape(0), None, self.where.by_header(first, i), self.where.distortion(i, 0))
        layout = replace(lay_out(self.group, [first], Target(first, 0, (0,))), placements={(i, 0): placed})
        values = drawn_rows(self.group, layout, i, (0, layout.grid.shape[0]), "bilinear")
        bad = ~np.isfinite(values)
        return np.where(bad, np.float32(0), values), bad.view(np.uint8)

    def put(self, k: int, reference: int, found: Registration | None) -> None:
        """Convert the measured offset, at the reference's centre, to the frame's own flat pixels and record it."""
        first, i, r = self.cluster[0], self.cluster[k], self.cluster[reference]
        frame = self.group.frames[i]
        frame.refers = r
        if i == r:
            frame.dx = frame.dy = frame.turn = 0.0
            frame.dx_err = frame.dy_err = 0.0 if found is not None else self.sigma
            return
        cx, cy = self.centre
        middle = gnomonic.apply_point(self.where.by_header(r, first), self.centre)
        moved, turn, errors = self._measured(k, reference, found)
        spot = gnomonic.apply_point(gnomonic.motion(turn, self.centre, (cx + moved[0], cy + moved[1])), middle)
        to_frame = self.where.by_header(first, i)
        x, y = gnomonic.apply_point(to_frame, spot)
        frame.dx, frame.dy = x - cx, y - cy
        linear = to_frame[:2, :2] / to_frame[2, 2]
        frame.turn = float(turn * np.sign(np.linalg.det(linear)))
        frame.dx_err, frame.dy_err = (float(v) for v in np.hypot(*(linear * errors).T))

    def _measured(
        self, k: int, reference: int, found: Registration | None
    ) -> tuple[tuple[float, float], float, tuple[float, float]]:
        if found is not None:
            return (found.dx, found.dy), found.rotation, (found.dx_err, found.dy_err)
        (dx, dy), (rx, ry) = self.guesses[k], self.guesses[reference]
        return (dx - rx, dy - ry), 0.0, (self.sigma, self.sigma)
