"""Separate the frames of a science group into target and sky, by clusters of overlapping fields."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..plugin.coordinates import separation
from .scan import names_file

if TYPE_CHECKING:
    import numpy as np

    from ..plugin.frames import Polygon
    from .model import FrameInfo, FrameRole

FRACTION = 0.9  # of the field's width: closer centres overlap; so do outlines that share more than the remainder
Point = tuple[float, float]


@dataclass
class Pointings:
    """Roles of a group's frames.

    Attributes
    ----------
    roles : list of FrameRole or None
        Per frame, in the order given; None: in neither set (only if the user named both).
    clusters : list of list of int
        Indices of the frames of each pointing.
    remarks : list of str
    """

    roles: list[FrameRole | None]
    clusters: list[list[int]]
    remarks: list[str] = field(default_factory=list)


def separate(
    frames: Sequence[FrameInfo],
    *,
    forced_sky: frozenset[int] = frozenset(),
    objects: Sequence[str] = (),
    skies: Sequence[str] = (),
    footprint: Callable[[FrameInfo], Sequence[Polygon] | None] = lambda frame: None,
    fraction: float = FRACTION,
) -> Pointings:
    """Separate object frames from sky frames.

    Parameters
    ----------
    frames : sequence of FrameInfo
        One science group in time order.
    forced_sky : frozenset of int
        Indices of frames known to be sky (by role, or because their target is called sky).
    objects, skies : sequence of str
        The user's choice, as parts of file names; it applies to the whole pointing of a named frame. Frames named in
        both are both.
    footprint : callable
        Illuminated outlines of a frame on the sky, or None for the planes' full width.
    fraction : float
        Fields whose centres are separated by this fraction of their width are different pointings.

    Notes
    -----
    Unguided frames are sky unless named. If nothing is named: with one pointing every frame is both; with two, the one
    nearest to the target of the first frame is the object; with more, pointings are objects in order of distance until
    they hold at least half of the frames. Equal distances: most frames first, then first in time. With many pointings
    and no target coordinates all frames are both.
    """
    clusters = cluster(frames, footprint, fraction)
    named_objects, named_skies = _named(frames, objects), _named(frames, skies)
    on = {i for c in clusters if named_objects & set(c) for i in c} - (named_skies - named_objects)
    off = {i for c in clusters if named_skies & set(c) for i in c} - (named_objects - named_skies)
    unguided = {i for i, f in enumerate(frames) if f.descriptors.guiding is False}
    extra = (forced_sky | unguided) - named_objects
    off, on = off | extra, on - extra
    result = Pointings([None] * len(frames), clusters)
    if named_objects or named_skies:
        _complete(on, off, [i for i in range(len(frames)) if i not in on | off])
    else:
        _divide(frames, clusters, on, off, flagged=bool(forced_sky))
    for i in range(len(frames)):
        result.roles[i] = "both" if i in on & off else "object" if i in on else "sky" if i in off else None
    _remark(result, frames, unguided - named_objects)
    return result


def _named(frames: Sequence[FrameInfo], names: Sequence[str]) -> set[int]:
    return {i for i, f in enumerate(frames) for n in names if names_file(n, f.path)}


def _complete(on: set[int], off: set[int], rest: list[int]) -> None:
    """If the user named only one of the sets, the other gets the remaining frames, or the same ones."""
    if not on:
        on |= set(rest) or off
    elif not off:
        off |= set(rest) or on


def _divide(
    frames: Sequence[FrameInfo], clusters: Sequence[list[int]], on: set[int], off: set[int], *, flagged: bool
) -> None:
    """Without the user's choice: divide by the pointings' distances from the target."""
    rest = [i for i in range(len(frames)) if i not in on | off]
    # Known sky that is a pointing of its own, or flagged as sky by the observer: the rest need not serve as sky.
    apart = flagged or any(set(c) <= off for c in clusters)
    open_clusters = [[i for i in c if i in rest] for c in clusters]
    open_clusters = [c for c in open_clusters if c]
    if not open_clusters:
        on |= off  # only sky frames: treat them as a dither
        return
    aim = target(frames[rest[0]])
    mosaic = len(open_clusters) > 2 and aim is None
    if len(open_clusters) == 1 or mosaic:
        on |= set(rest)
        off |= set() if apart and not mosaic else set(rest)
        return
    ranked = sorted(open_clusters, key=lambda c: _distance(frames, c, aim))
    chosen: set[int] = set()
    for members in ranked:
        if chosen and (len(open_clusters) == 2 or 2 * len(chosen) >= len(rest)):
            break
        chosen |= set(members)
    on |= chosen
    off |= (set(rest) - chosen) or chosen


def _remark(result: Pointings, frames: Sequence[FrameInfo], unguided: set[int]) -> None:
    on_target = {i for c in result.clusters if any(result.roles[k] in ("object", "both") for k in c) for i in c}
    lost = sorted(i for i in unguided & on_target if result.roles[i] == "sky")
    if lost:
        result.remarks.append("not guided, used as sky only: " + ", ".join(frames[i].name for i in lost))
    dropped = [frames[i].name for i, r in enumerate(result.roles) if r is None]
    if dropped:
        result.remarks.append("neither object nor sky by name, left out: " + ", ".join(dropped))
    if len(frames) > 1 and not all(f.wcs for f in frames):
        result.remarks.append("frames without WCS: pointings from the header's offsets, or one for all")


def target(frame: FrameInfo) -> Point | None:
    """Target coordinates in degrees, or None."""
    ra, dec = frame.descriptors.target_ra, frame.descriptors.target_dec
    return (ra, dec) if ra is not None and dec is not None and math.isfinite(ra + dec) else None


def _distance(frames: Sequence[FrameInfo], members: Sequence[int], aim: Point | None) -> tuple[int, int, int]:
    """Sort key of a pointing: whole arcsec from the target, most frames, first in time."""
    centers = [c for c in (field_center(frames[i]) for i in members) if c is not None]
    if aim is None or not centers:
        return (0, -len(members), members[0])
    distance = sum(separation(c, aim) for c in centers) / len(centers)
    return (round(distance), -len(members), members[0])


# -- overlap ------------------------------------------------------------------------------------------------------
def cluster(
    frames: Sequence[FrameInfo], footprint: Callable[[FrameInfo], Sequence[Polygon] | None], fraction: float = FRACTION
) -> list[list[int]]:
    """Group frames by pointing: a frame joins if it overlaps any member. In order of the first member."""
    sets = _Sets(len(frames))
    if all(f.wcs and f.wcs_state != "stale" for f in frames):
        outlines = [footprint(f) if f.wcs_state == "ok" else None for f in frames]
        if len(frames[0].wcs) > 1 or all(outlines):
            _join_by_area([o or plane_outlines(f) for o, f in zip(outlines, frames)], 1 - fraction, sets)
        else:
            sets.join_all(_near_by_center(frames, fraction))
    elif all(_offset(f) for f in frames):
        sets.join_all(_near_by_offsets(frames, fraction))
    else:
        sets.join_all([(0, i) for i in range(1, len(frames))])
    return sets.groups()


class _Sets:
    """Disjoint sets of 0..n-1, merged pair by pair."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def root(self, i: int) -> int:
        while self._parent[i] != i:
            self._parent[i] = self._parent[self._parent[i]]
            i = self._parent[i]
        return i

    def join_all(self, pairs: Iterable[tuple[int, int]]) -> None:
        for a, b in pairs:
            low, high = sorted((self.root(a), self.root(b)))
            self._parent[high] = low

    def groups(self) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for i in range(len(self._parent)):
            found.setdefault(self.root(i), []).append(i)
        return sorted(found.values())


def _offset(frame: FrameInfo) -> Point | None:
    d = frame.descriptors
    if d.detector_x_offset is None or d.detector_y_offset is None:
        return None
    return d.detector_x_offset, d.detector_y_offset


def _near_by_offsets(frames: Sequence[FrameInfo], fraction: float) -> list[tuple[int, int]]:
    import numpy as np

    xy = np.array([_offset(f) for f in frames], dtype=float)
    return _pairs(_near(xy[:, None] - xy[None], frames[0], fraction))


def _near(offsets: np.ndarray, frame: FrameInfo, fraction: float) -> np.ndarray:
    """Whether offsets (..., 2) in pixels are within the fraction of the field, on both axes if it is not round."""
    import numpy as np

    diameter = frame.descriptors.get("field_diameter")
    if diameter is not None:
        return np.asarray(np.hypot(offsets[..., 0], offsets[..., 1]) < fraction * diameter)
    sides = np.array(frame.detectors[0].shape[::-1], dtype=float)
    return np.asarray(np.all(np.abs(offsets) < fraction * sides, axis=-1))


def _near_by_center(frames: Sequence[FrameInfo], fraction: float) -> list[tuple[int, int]]:
    """Pairs of frames whose field centres differ by less than the fraction of the field (`_near`)."""
    import numpy as np

    n = len(frames)
    sky, inverse = np.empty((n, 2)), np.empty((n, 2, 2))
    for i, frame in enumerate(frames):
        ny, nx = frame.detectors[0].shape
        x, y = (nx - 1) / 2, (ny - 1) / 2
        points = frame.wcs[0].wcs.wcs_pix2world([[x, y], [x + 1, y], [x, y + 1]], 0)
        sky[i] = points[0]
        steps = _tangent(points[1:], points[0])
        inverse[i] = np.linalg.inv(steps.T)
    near = np.zeros((n, n), dtype=bool)
    for i in range(n):
        pixels = _tangent(sky, sky[i]) @ inverse[i].T
        near[i] = _near(pixels, frames[0], fraction)
    return _pairs(near | near.T)


def _pairs(near: np.ndarray) -> list[tuple[int, int]]:
    import numpy as np

    a, b = np.nonzero(np.triu(near, 1))
    return list(zip(a.tolist(), b.tolist()))


def _tangent(points: Any, at: Any) -> np.ndarray:
    """Gnomonic projection, degrees; points 90 degrees or more away become infinite."""
    import numpy as np

    ra, dec = np.radians(points).T
    ra0, dec0 = np.radians(at)
    cosine = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(ra - ra0)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = np.where(cosine > 1e-3, np.degrees(1.0) / cosine, np.inf)
        xi = np.cos(dec) * np.sin(ra - ra0) * scale
        eta = (np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(ra - ra0)) * scale
    return np.column_stack([np.nan_to_num(xi, nan=np.inf), np.nan_to_num(eta, nan=np.inf)])


def field_center(frame: FrameInfo) -> Point | None:
    """Sky position (degrees) of the centre of the frame's planes; None without a reliable WCS."""
    if not frame.wcs or frame.wcs_state == "stale":
        return None
    centers = []
    for plane, detector in zip(frame.wcs, frame.detectors):
        ny, nx = detector.shape
        centers.append(plane.wcs.wcs_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0])
    ra0, dec0 = centers[0]
    ra = ra0 + sum((c[0] - ra0 + 180.0) % 360.0 - 180.0 for c in centers) / len(centers)
    return float(ra % 360.0), float(dec0 + sum(c[1] - dec0 for c in centers) / len(centers))


def plane_outlines(frame: FrameInfo) -> list[Polygon]:
    """Corners of each plane on the sky, from its WCS."""
    out = []
    for plane, detector in zip(frame.wcs, frame.detectors):
        ny, nx = detector.shape
        corners = [[-0.5, -0.5], [nx - 0.5, -0.5], [nx - 0.5, ny - 0.5], [-0.5, ny - 0.5]]
        out.append(tuple((float(a), float(b)) for a, b in plane.wcs.wcs_pix2world(corners, 0)))
    return out


def _join_by_area(outlines: Sequence[Sequence[Polygon]], least: float, sets: _Sets) -> None:
    """Join frames that share more than the fraction `least`; pairs already joined or far apart are not computed."""
    import numpy as np

    for a, mine in enumerate(outlines):
        at = mine[0][0]
        here = [on_tangent_plane(p, at) for p in mine]
        radius = max((math.hypot(*v) for p in here for v in p), default=0.0)
        for b in range(a + 1, len(outlines)):
            if sets.root(a) == sets.root(b):
                continue
            corner = _tangent(np.array([outlines[b][0][0]]), at)[0]
            if math.hypot(*corner) > 2.5 * radius:  # outlines of one configuration have the same size
                continue
            there = [on_tangent_plane(p, at) for p in outlines[b]]
            common = sum(area(clip(p, q)) for p in here for q in there)
            if common > least * min(sum(map(area, here)), sum(map(area, there))):
                sets.join_all([(a, b)])


def on_tangent_plane(polygon: Polygon, at: Any) -> list[Point]:
    """A polygon on the sky as an anticlockwise one, degrees on the tangent plane at `at`; [] if it reaches beyond."""
    import numpy as np

    points = [(float(x), float(y)) for x, y in _tangent(np.asarray(polygon, dtype=float), at)]
    if not all(map(math.isfinite, (v for p in points for v in p))):
        return []
    return points if _signed_area(points) >= 0 else points[::-1]


def _signed_area(polygon: Sequence[Point]) -> float:
    return 0.5 * sum(a[0] * b[1] - b[0] * a[1] for a, b in zip(polygon, [*polygon[1:], *polygon[:1]]))


def area(polygon: Sequence[Point]) -> float:
    """Area of a simple polygon."""
    return abs(_signed_area(polygon))


def clip(subject: Sequence[Point], window: Sequence[Point]) -> list[Point]:
    """Intersection of two polygons, both anticlockwise, `window` convex (Sutherland and Hodgman 1974)."""
    output = list(subject)
    if not window:
        return []
    for a, b in zip(window, [*window[1:], window[0]]):
        points, output = output, []
        sides = [(b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0]) for p in points]
        for i, (p, s) in enumerate(zip(points, sides)):
            q, r = points[i - 1], sides[i - 1]
            if (s >= 0) != (r >= 0):
                t = r / (r - s)
                output.append((q[0] + t * (p[0] - q[0]), q[1] + t * (p[1] - q[1])))
            if s >= 0:
                output.append(p)
    return output
