"""Offset and rotation between star lists without a guess, from triangles of their stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.neighbours import mutual
from nirred.algorithms.pairs import TOLERANCE, PointSources, positions_of
from nirred.algorithms.register import Registration, refine, rotation_matrix

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

#: Stars of each list that form triangles.
_BRIGHTEST = 20


def match_triangles(
    reference: PointSources,
    frame: PointSources,
    *,
    max_rotation: float = np.pi,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Registration | None:
    """Find offset and rotation between two star lists without a guess.

    Triangles of the brightest stars are compared by the lengths of their sides (both lists have the same scale, so
    lengths are more specific than ratios); the motion with most matching stars is chosen.

    Parameters
    ----------
    reference, frame : PointSources
        The lists, brightest first; three or more stars each.
    max_rotation : float
        Largest angle (radian).
    centre : tuple of float
        (x, y) in the reference to which the offset refers, the centre of rotation (px).

    Returns
    -------
    Registration or None
        None if fewer than three stars agree, or no more than expected by chance.
    """
    from scipy.spatial import cKDTree

    origin = np.array(centre)
    a, b = positions_of(reference) - origin, positions_of(frame) - origin
    if len(a) < 3 or len(b) < 3:
        return None
    corners_a, sides_a = _triangles(a[:_BRIGHTEST])
    corners_b, sides_b = _triangles(b[:_BRIGHTEST])
    hits = cKDTree(sides_b).query_ball_point(sides_a, TOLERANCE)
    first = np.repeat(np.arange(len(hits)), [len(h) for h in hits])
    if first.size == 0:
        return None
    second = np.concatenate([np.array(h, dtype=np.intp) for h in hits if h])
    motions = _triangle_motions(a[corners_a[first]], b[corners_b[second]])
    motions = motions[np.abs(motions[:, 0]) <= max_rotation]
    found = _best_motion(a, b, motions)
    if found is None:
        return None
    i, j = found
    expected = len(a) * len(b) * np.pi * TOLERANCE**2 / max(float(np.prod(np.ptp(b, axis=0))), 1.0)
    if i.size < max(3.0, 2.0 + expected + 4.0 * np.sqrt(expected)):
        return None
    fitted = refine(reference, frame, i, j, True, origin, "triangles")
    return fitted if abs(fitted.rotation) <= max_rotation else None


def _triangles(points: FloatArray) -> tuple[IndexArray, FloatArray]:
    """Corners, ordered by the side opposite (longest first), and lengths of the sides in that order."""
    from itertools import combinations

    corners = np.array(list(combinations(range(len(points)), 3)), dtype=np.intp)
    p = points[corners]
    sides = np.stack([np.hypot(*(p[:, (k + 1) % 3] - p[:, (k + 2) % 3]).T) for k in range(3)], axis=1)
    order = np.argsort(-sides, axis=1, kind="stable")
    return np.take_along_axis(corners, order, axis=1), np.take_along_axis(sides, order, axis=1)


def _triangle_motions(p: FloatArray, q: FloatArray) -> FloatArray:
    """[angle, dx, dy] of the rigid motions between matching triangles; mirror images do not match."""
    pm, qm = p.mean(axis=1), q.mean(axis=1)
    u, v = p - pm[:, None], q - qm[:, None]
    cross = (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).sum(axis=1)
    angle = np.arctan2(cross, (u * v).sum(axis=(1, 2)))
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack(
        [c[:, None] * u[..., 0] - s[:, None] * u[..., 1], s[:, None] * u[..., 0] + c[:, None] * u[..., 1]], -1
    )
    fits = np.abs(turned - v).max(axis=(1, 2)) < TOLERANCE
    shift = qm - np.stack([c * pm[:, 0] - s * pm[:, 1], s * pm[:, 0] + c * pm[:, 1]], axis=-1)
    return np.asarray(np.column_stack([angle, shift])[fits], dtype=np.float64)


def _best_motion(a: FloatArray, b: FloatArray, motions: FloatArray) -> tuple[IndexArray, IndexArray] | None:
    """Stars matched by the best motion: of those that most triangles agree on, the one that matches most stars."""
    if len(motions) == 0:
        return None
    cells = np.round(motions / np.array([0.01, 3.0 * TOLERANCE, 3.0 * TOLERANCE])).astype(np.int64)
    _, label, votes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    best: tuple[IndexArray, IndexArray] | None = None
    for cell in np.argsort(-votes, kind="stable")[:30]:
        angle, dx, dy = np.median(motions[label.ravel() == cell], axis=0)
        i, j = mutual(a @ rotation_matrix(angle).T + (dx, dy), b, 2.0 * TOLERANCE)
        if i.size and (best is None or i.size > best[0].size):
            best = (i, j)
    return best
