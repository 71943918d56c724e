"""Offsets between frames from their star lists.

Convention: a source is found in the frame at ``reference + (dx, dy)``, turned by ``rotation`` about a centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

#: Positions are not trusted beyond this (px): pixel phase, distortion, colour.
POSITION_FLOOR = 0.005

#: Residuals beyond this many sigma are left out.
CLIP = 3.5

_BRIGHTEST = 150

#: The best measured stars, one of which the others are to agree with.
_CANDIDATES = 50


class PointSources(Protocol):
    """What registration asks of a star list: float64 arrays of one length."""

    @property
    def x(self) -> FloatArray:
        """Zero-based column (px)."""

    @property
    def y(self) -> FloatArray:
        """Zero-based row (px)."""

    @property
    def flux(self) -> FloatArray:
        """Flux (any unit), brightest first."""

    @property
    def position_error(self) -> FloatArray:
        """1-sigma error of x and of y (px)."""


@dataclass(frozen=True)
class Registration:
    """Where a frame lies with respect to the reference.

    Attributes
    ----------
    dx, dy : float
        Position in the frame minus position in the reference, at the centre of rotation (px).
    dx_err, dy_err : float
        1-sigma errors (px), from the positions' errors and the residuals, the larger.
    rotation : float
        Angle (radian, from x to y) by which the frame's positions are turned.
    scale : float
        Ratio of separations in the frame to those in the reference.
    n_matched : int
        Number of stars used.
    rms : float
        Scatter of the residuals per axis (px); 0 for a single star.
    method : str
        ``"stars"``, ``"triangles"``, ``"correlation"`` or ``"reference"``.
    """

    dx: float
    dy: float
    dx_err: float
    dy_err: float
    rotation: float = 0.0
    scale: float = 1.0
    n_matched: int = 0
    rms: float = 0.0
    method: str = "stars"


def match_offset(
    reference: PointSources,
    frame: PointSources,
    guess: tuple[float, float] = (0.0, 0.0),
    radius: float = 30.0,
    *,
    tolerance: float = 1.5,
    fit_rotation: bool = False,
    centre: tuple[float, float] = (0.0, 0.0),
    trust_guess: bool = True,
) -> Registration | None:
    """Find the offset between two star lists near a guess.

    Every pair of stars votes for the offset between them; the place with most votes within `radius` of the
    guess is verified by one-to-one matching and refined by a clipped mean with the positions' weights.

    Parameters
    ----------
    reference, frame : PointSources
        The lists, brightest first.
    guess : tuple of float
        Expected (dx, dy) in px.
    radius : float
        How far from the guess the offset may be (px).
    tolerance : float
        How far apart the stars of a pair may be once the offset is applied (px).
    fit_rotation : bool
        Fit a small rotation about `centre` too (three or more stars).
    centre : tuple of float
        (x, y) in the reference at which the offset holds and about which it turns (px).
    trust_guess : bool
        A single pair of similar brightness within the radius is enough.

    Returns
    -------
    Registration or None
        None where no offset stands out from chance.
    """
    a, b = _positions(reference), _positions(frame)
    if len(a) == 0 or len(b) == 0:
        return None
    light = (np.log(np.maximum(reference.flux, 1e-30)), np.log(np.maximum(frame.flux, 1e-30)))
    best = _best_pairs((a, b), light, guess, radius, tolerance)
    if best is None:
        return None
    i, j = best
    pairs = _pairs_within(a + guess, b, radius)
    if i.size == 1:
        alike = abs(light[1][j[0]] - light[0][i[0]]) < np.log(3.0)
        if not (trust_guess and alike and pairs == 1):
            return None
    elif not _significant(i.size, pairs, radius / tolerance, 0.2 if trust_guess else 0.02):
        return None
    return _refine(reference, frame, i, j, fit_rotation, np.array(centre), "stars")


def _best_pairs(
    places: tuple[FloatArray, FloatArray],
    light: tuple[FloatArray, FloatArray],
    guess: tuple[float, float],
    radius: float,
    tolerance: float,
) -> tuple[IndexArray, IndexArray] | None:
    """Pairs of like brightness at the offset that the votes and the brightnesses favour."""
    (a, b), best, chosen = places, -np.inf, None
    for offset in _vote(a[:_BRIGHTEST], b[:_BRIGHTEST], np.array(guess), radius, tolerance):
        i, j = _one_to_one(a + offset, b, tolerance)
        if i.size == 0:
            continue
        ratio = light[1][j] - light[0][i]
        similar = np.abs(ratio - np.median(ratio)) < np.log(2.5)
        # Pairs that agree in brightness count in full; nearness to the guess breaks ties.
        score = float(similar.sum() + 0.2 * (~similar).sum() - 0.5 * np.hypot(*(offset - guess)) / radius)
        if score > best:
            best, chosen = score, (i[similar], j[similar])
    return chosen


def _positions(stars: PointSources) -> FloatArray:
    return np.asarray(np.column_stack([stars.x, stars.y]), dtype=np.float64)


def _vote(a: FloatArray, b: FloatArray, guess: FloatArray, radius: float, tolerance: float) -> FloatArray:
    """Return up to eight candidate offsets: those with most pairs within the tolerance."""
    from scipy.spatial import cKDTree

    differences = (b[None, :, :] - a[:, None, :]).reshape(-1, 2)
    differences = differences[np.hypot(*(differences - guess).T) <= radius]
    if len(differences) == 0:
        return np.empty((0, 2))
    cells, votes = np.unique(np.floor(differences / tolerance).astype(np.int64), axis=0, return_counts=True)
    best = cells[np.argsort(-votes, kind="stable")[:24]]
    centres = (best + 0.5) * tolerance
    tree = cKDTree(differences)
    refined = []
    for centre in centres:
        near = tree.query_ball_point(centre, 1.5 * tolerance)
        median = np.median(differences[near], axis=0)
        core = tree.query_ball_point(median, tolerance)
        refined.append((len(core), *(np.mean(differences[core], axis=0) if core else median)))
    table = np.array(refined)
    return np.asarray(table[np.argsort(-table[:, 0], kind="stable")[:8], 1:])


def _one_to_one(a: FloatArray, b: FloatArray, tolerance: float) -> tuple[IndexArray, IndexArray]:
    """Pairs that are each other's nearest neighbours within the tolerance."""
    from scipy.spatial import cKDTree

    distance, j = cKDTree(b).query(a, distance_upper_bound=tolerance)
    _, back = cKDTree(a).query(b)
    i = np.flatnonzero(np.isfinite(distance))
    i = i[back[j[i]] == i]
    return i, np.asarray(j[i], dtype=np.intp)


def _pairs_within(a: FloatArray, b: FloatArray, radius: float) -> int:
    from scipy.spatial import cKDTree

    return int(cKDTree(a).count_neighbors(cKDTree(b), radius))


def _significant(n: int, pairs: int, radius: float, chance: float) -> bool:
    """Whether n pairs that agree are more than chance.

    Pairs within a radius, in units of the tolerance, fall at random on radius^2 places, so a place that
    holds one pair holds n or more with the Poisson probability of n - 1 or more at a mean of pairs / places.
    """
    from scipy.special import gammainc

    if n < 2:
        return False
    expected = pairs / max(radius**2, 1.0)
    return bool(pairs * gammainc(n - 1, expected) < chance)


def _refine(
    reference: PointSources,
    frame: PointSources,
    i: IndexArray,
    j: IndexArray,
    fit_rotation: bool,
    centre: FloatArray,
    method: str,
) -> Registration:
    """Weighted, clipped least squares for the offset and, if asked, a rotation, from matched stars."""
    a, b = _positions(reference)[i] - centre, _positions(frame)[j] - centre
    variance = reference.position_error[i] ** 2 + frame.position_error[j] ** 2 + POSITION_FLOOR**2
    turn = fit_rotation and i.size >= 3
    use = np.ones(i.size, dtype=bool) if turn else consensus(b - a, variance)
    angle, shift, residual = 0.0, np.zeros(2), np.zeros_like(a)
    for _ in range(10):
        w = np.where(use, 1.0 / variance, 0.0)
        if turn:
            angle = _angle(a, b, w)
        turned = a @ _rotation(angle).T
        shift = (w[:, None] * (b - turned)).sum(axis=0) / w.sum()
        residual = b - turned - shift
        distance = np.abs(residual).max(axis=1)
        # The errors may be too small (crowding, moving seeing): scale them by the residuals seen.
        excess = max(1.0, 1.4826 * float(np.median(np.abs(residual[use]) / np.sqrt(variance[use, None]))))
        kept = distance <= CLIP * excess * np.sqrt(variance)
        if kept.sum() < 1 or np.array_equal(kept, use):
            break
        use = kept
    n = int(use.sum())
    formal = float(np.sqrt(1.0 / w[use].sum())) if w[use].sum() > 0 else float("nan")
    chi2 = (w[:, None] * residual**2)[use].sum(axis=0) / max(n - 1, 1)
    error = formal * np.sqrt(np.maximum(chi2 if n > 2 else 1.0, 1.0)) * np.ones(2)
    rms = float(np.sqrt(np.mean(residual[use] ** 2))) if n > 1 else 0.0
    return Registration(float(shift[0]), float(shift[1]), float(error[0]), float(error[1]), angle, 1.0, n, rms, method)


def consensus(shifts: FloatArray, variance: FloatArray) -> NDArray[np.bool_]:
    """Stars that agree with the one that most of the others agree with.

    Its shift has the least sum of squared deviations in sigma, each capped. A weighted mean alone would follow the
    brightest star also where a cosmic ray in its wing has moved it.

    Parameters
    ----------
    shifts : float64 array, (n, 2)
        Shift of each star (px).
    variance : float64 array, (n,)
        Of each coordinate (px^2).

    Returns
    -------
    bool array, (n,)
        True for at least one star.
    """
    best = shifts[np.argsort(variance, kind="stable")[:_CANDIDATES]]
    deviation = ((shifts[None] - best[:, None]) ** 2).sum(axis=2)
    cost = np.minimum(deviation / variance, 2.0 * CLIP**2).sum(axis=1)
    near = np.abs(shifts - best[np.argmin(cost)]).max(axis=1) / np.sqrt(variance)
    # the larger of two normal deviates has a median of 1.05 sigma
    return np.asarray(near <= CLIP * max(1.0, float(np.median(near)) / 1.05))


def _angle(a: FloatArray, b: FloatArray, weight: FloatArray) -> float:
    """Angle of the rigid motion that takes a to b (least squares)."""
    total = weight.sum()
    a = a - (weight[:, None] * a).sum(axis=0) / total
    b = b - (weight[:, None] * b).sum(axis=0) / total
    cross = (weight * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])).sum()
    return float(np.arctan2(cross, (weight[:, None] * a * b).sum()))


def _rotation(angle: float) -> FloatArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def match_triangles(
    reference: PointSources,
    frame: PointSources,
    *,
    n_brightest: int = 20,
    tolerance: float = 1.5,
    max_rotation: float = np.pi,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Registration | None:
    """Find offset and rotation between two star lists without a guess.

    Triangles of the brightest stars are compared by the lengths of their sides (the scale is that of the
    camera, so lengths tell more than ratios); the motion that most stars confirm wins.

    Parameters
    ----------
    reference, frame : PointSources
        The lists, brightest first; three or more stars each.
    n_brightest : int
        Stars per list that form triangles.
    tolerance : float
        Agreement of sides and of positions (px).
    max_rotation : float
        Largest angle (radian).
    centre : tuple of float
        (x, y) in the reference at which the offset holds and about which it turns (px).

    Returns
    -------
    Registration or None
        None where fewer than three stars agree, or no more than chance allows.
    """
    from scipy.spatial import cKDTree

    origin = np.array(centre)
    a, b = _positions(reference) - origin, _positions(frame) - origin
    if len(a) < 3 or len(b) < 3:
        return None
    corners_a, sides_a = _triangles(a[:n_brightest])
    corners_b, sides_b = _triangles(b[:n_brightest])
    hits = cKDTree(sides_b).query_ball_point(sides_a, tolerance)
    first = np.repeat(np.arange(len(hits)), [len(h) for h in hits])
    if first.size == 0:
        return None
    second = np.concatenate([np.array(h, dtype=np.intp) for h in hits if h])
    motions = _triangle_motions(a[corners_a[first]], b[corners_b[second]], tolerance)
    motions = motions[np.abs(motions[:, 0]) <= max_rotation]
    found = _best_motion(a, b, motions, tolerance)
    if found is None:
        return None
    i, j = found
    expected = len(a) * len(b) * np.pi * tolerance**2 / max(float(np.prod(np.ptp(b, axis=0))), 1.0)
    if i.size < max(3.0, 2.0 + expected + 4.0 * np.sqrt(expected)):
        return None
    fitted = _refine(reference, frame, i, j, True, origin, "triangles")
    return fitted if abs(fitted.rotation) <= max_rotation else None


def _triangles(points: FloatArray) -> tuple[IndexArray, FloatArray]:
    """Corners, ordered by the side opposite (longest first), and lengths of the sides in that order."""
    from itertools import combinations

    corners = np.array(list(combinations(range(len(points)), 3)), dtype=np.intp)
    p = points[corners]
    sides = np.stack([np.hypot(*(p[:, (k + 1) % 3] - p[:, (k + 2) % 3]).T) for k in range(3)], axis=1)
    order = np.argsort(-sides, axis=1, kind="stable")
    return np.take_along_axis(corners, order, axis=1), np.take_along_axis(sides, order, axis=1)


def _triangle_motions(p: FloatArray, q: FloatArray, tolerance: float) -> FloatArray:
    """[angle, dx, dy] of the rigid motions between triangles that fit; mirrored ones do not."""
    pm, qm = p.mean(axis=1), q.mean(axis=1)
    u, v = p - pm[:, None], q - qm[:, None]
    cross = (u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]).sum(axis=1)
    angle = np.arctan2(cross, (u * v).sum(axis=(1, 2)))
    c, s = np.cos(angle), np.sin(angle)
    turned = np.stack(
        [c[:, None] * u[..., 0] - s[:, None] * u[..., 1], s[:, None] * u[..., 0] + c[:, None] * u[..., 1]], -1
    )
    fits = np.abs(turned - v).max(axis=(1, 2)) < tolerance
    shift = qm - np.stack([c * pm[:, 0] - s * pm[:, 1], s * pm[:, 0] + c * pm[:, 1]], axis=-1)
    return np.asarray(np.column_stack([angle, shift])[fits], dtype=np.float64)


def _best_motion(
    a: FloatArray, b: FloatArray, motions: FloatArray, tolerance: float
) -> tuple[IndexArray, IndexArray] | None:
    """Matched stars under the motion that most triangles agree on and most stars confirm."""
    if len(motions) == 0:
        return None
    cells = np.round(motions / np.array([0.01, 3.0 * tolerance, 3.0 * tolerance])).astype(np.int64)
    _, label, votes = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    best: tuple[IndexArray, IndexArray] | None = None
    for cell in np.argsort(-votes, kind="stable")[:30]:
        angle, dx, dy = np.median(motions[label.ravel() == cell], axis=0)
        i, j = _one_to_one(a @ _rotation(angle).T + (dx, dy), b, 2.0 * tolerance)
        if i.size and (best is None or i.size > best[0].size):
            best = (i, j)
    return best


def as_reference(n_stars: int) -> Registration:
    """Return the registration of the reference frame itself."""
    return replace(Registration(0.0, 0.0, 0.0, 0.0), n_matched=n_stars, method="reference")
