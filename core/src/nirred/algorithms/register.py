"""Offsets between frames from their star lists.

Convention: a source is found in the frame at ``reference + (dx, dy)``, turned by ``rotation`` about a centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.neighbours import mutual
from nirred.algorithms.pairs import TOLERANCE, PointSources, outshining_pair, positions_of, voted_pairs

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

#: Least error of positions (px): pixel phase, distortion, colour.
POSITION_FLOOR = 0.005

#: Residuals beyond this many sigma are left out.
CLIP = 3.5

#: Least number of stars that measure a rotation, and its least significance in sigma.
STARS_OF_TURN, SURE_OF_TURN = 6, 5.0

_CANDIDATES = 50  # the best measured stars, of which one must agree with the others


@dataclass(frozen=True)
class Registration:
    """Position of a frame relative to the reference.

    Attributes
    ----------
    dx, dy : float
        Position in the frame minus position in the reference, at the centre of rotation (px).
    dx_err, dy_err : float
        1-sigma errors (px), from the positions' errors and the residuals, the larger.
    rotation : float
        Angle (radian, from x to y) by which the frame's positions are rotated.
    rotation_err : float
        Its 1-sigma error, NaN if no rotation was fitted.
    scale : float
        Ratio of separations in the frame to those in the reference.
    n_matched : int
        Number of stars used.
    rms : float
        Scatter of the residuals per axis (px); 0 for a single star.
    method : str
        ``"stars"``, ``"triangles"``, ``"correlation"``, ``"reference"``, or ``"header"``: see `islands`.
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
    rotation_err: float = float("nan")


def match_offset(
    reference: PointSources,
    frame: PointSources,
    guess: tuple[float, float] = (0.0, 0.0),
    radius: float = 30.0,
    *,
    fit_rotation: bool = False,
    centre: tuple[float, float] = (0.0, 0.0),
    trust_guess: bool = True,
) -> Registration | None:
    """Find the offset between two star lists near a guess.

    Every pair of stars votes for the offset between them; the offset with most votes within `radius` of the
    guess is verified by one-to-one matching and refined by a clipped mean with the positions' weights.

    Parameters
    ----------
    reference, frame : PointSources
        The lists, brightest first.
    guess : tuple of float
        Expected (dx, dy) in px.
    radius : float
        How far from the guess the offset may be (px).
    fit_rotation : bool
        Fit a small rotation about `centre` too (three or more stars).
    centre : tuple of float
        (x, y) in the reference at which the offset holds and about which it turns (px).
    trust_guess : bool
        A single pair of similar brightness within the radius is enough.

    Returns
    -------
    Registration or None
        None if no offset is significant.
    """
    a, b = positions_of(reference), positions_of(frame)
    if len(a) == 0 or len(b) == 0:
        return None
    pairs = voted_pairs((reference, frame), guess, radius, trust_guess=trust_guess)
    if pairs is None and trust_guess:
        pairs = outshining_pair((reference, frame), guess, radius)
    return None if pairs is None else refine(reference, frame, *pairs, fit_rotation, np.array(centre), "stars")


def refine(
    reference: PointSources,
    frame: PointSources,
    i: IndexArray,
    j: IndexArray,
    fit_rotation: bool,
    centre: FloatArray,
    method: str,
) -> Registration:
    """Weighted, clipped least squares for the offset and, if requested, a rotation, from matched stars."""
    a, b = positions_of(reference)[i] - centre, positions_of(frame)[j] - centre
    variance = reference.position_error[i] ** 2 + frame.position_error[j] ** 2 + POSITION_FLOOR**2
    turn = fit_rotation and i.size >= 3
    use = np.ones(i.size, dtype=bool) if turn else consensus(b - a, variance)
    angle, shift, residual = 0.0, np.zeros(2), np.zeros_like(a)
    for _ in range(10):
        w = np.where(use, 1.0 / variance, 0.0)
        if turn:
            angle = _angle(a, b, w)
        turned = a @ rotation_matrix(angle).T
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
    place = (float(shift[0]), float(shift[1]), float(error[0]), float(error[1]))
    lever = float((w[:, None] * (a - np.average(a, axis=0, weights=w)) ** 2)[use].sum()) if turn else 0.0
    angle_error = float(error.max() / formal / np.sqrt(lever)) if lever > 0 else float("nan")
    return Registration(*place, angle, 1.0, n, rms, method, angle_error)


@kernel
def _most_agreed(candidates: np.ndarray, shifts: np.ndarray, weights: np.ndarray, most: float) -> int:
    """Which candidate has the least sum of weighted squared distances to all shifts, each capped."""
    best, least = 0, np.inf
    for k in range(candidates.shape[0]):
        x, y = candidates[k]
        cost = 0.0
        for i in range(weights.size):
            squared = (shifts[i, 0] - x) ** 2 + (shifts[i, 1] - y) ** 2
            cost += min(squared * weights[i], most)
        if cost < least:
            best, least = k, cost
    return best


def consensus(shifts: FloatArray, variance: FloatArray) -> NDArray[np.bool_]:
    """Stars that agree with the star with which most others agree.

    Its shift has the least sum of squared deviations in sigma, each capped. A weighted mean alone would follow the
    brightest star even if a cosmic ray in its wing has moved it.

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
    chosen = best[_most_agreed(best, shifts, 1.0 / variance, 2.0 * CLIP**2)]
    near = np.abs(shifts - chosen).max(axis=1) / np.sqrt(variance)
    # The larger of two normal deviates has a median of 1.05 sigma. Of two stars that disagree, one is wrong.
    typical = np.partition(near, (near.size - 1) // 2)[(near.size - 1) // 2]
    return np.asarray(near <= CLIP * max(1.0, float(typical) / 1.05))


def _angle(a: FloatArray, b: FloatArray, weight: FloatArray) -> float:
    """Angle of the rigid motion that takes a to b (least squares)."""
    total = weight.sum()
    a = a - (weight[:, None] * a).sum(axis=0) / total
    b = b - (weight[:, None] * b).sum(axis=0) / total
    cross = (weight * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])).sum()
    return float(np.arctan2(cross, (weight[:, None] * a * b).sum()))


def rotation_matrix(angle: float) -> FloatArray:
    """(2, 2), from x to y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def with_turn(
    reference: PointSources,
    frame: PointSources,
    known: Registration,
    centre: tuple[float, float],
    least: float,
) -> Registration:
    """Registration of a frame, with a rotation if its stars show a significant one.

    Parameters
    ----------
    reference, frame : PointSources
        The lists.
    known : Registration
        Registration of the frame without a rotation.
    centre : tuple of float
        (x, y) in the reference at which the offset holds and about which it turns (px).
    least : float
        Rotations (radian) that are smaller, or within `SURE_OF_TURN` sigma, are neglected.

    Returns
    -------
    Registration
        `known` if fewer than `STARS_OF_TURN` stars are common to both.
    """
    origin, found = np.array(centre), known
    a, b = positions_of(reference), positions_of(frame)
    for _ in range(2):
        carried = (a - origin) @ rotation_matrix(found.rotation).T + origin + (found.dx, found.dy)
        i, j = mutual(carried, b, TOLERANCE)
        if i.size < STARS_OF_TURN:
            return known
        found = refine(reference, frame, i, j, True, origin, known.method)
    if found.n_matched < STARS_OF_TURN:
        return known
    if abs(found.rotation) > max(least, SURE_OF_TURN * found.rotation_err):
        return found
    return known if known.rotation == 0 else refine(reference, frame, i, j, False, origin, known.method)


def as_reference(n_stars: int) -> Registration:
    """Return the registration of the reference frame itself."""
    return replace(Registration(0.0, 0.0, 0.0, 0.0), n_matched=n_stars, method="reference")
