"""Offsets between frames from their star lists.

Convention: a source is found in the frame at ``reference + (dx, dy)``, turned by ``rotation`` about a centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nirred.algorithms.neighbours import mutual, nearest

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

#: Positions are not trusted beyond this (px): pixel phase, distortion, colour.
POSITION_FLOOR = 0.005

#: Residuals beyond this many sigma are left out.
CLIP = 3.5

#: A turn is measured from at least so many stars, and told where it exceeds so many sigma.
STARS_OF_TURN, SURE_OF_TURN = 6, 5.0

_BRIGHTEST = 150
#: Offsets with a smaller share of the most pairs, beyond a few, are no candidates beside it.
_WEAK, _FEW = 0.3, 8

#: Fewer pairs than this are to be most of the stars that are as bright as theirs, or half as bright.
_MANY, _AS_BRIGHT = 6, 0.5

_CANDIDATES = 50  # the best measured stars, one of which the others are to agree with


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
    rotation_err : float
        Its 1-sigma error, NaN where none was fitted.
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
    rotation_err: float = float("nan")


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
    a, b = positions_of(reference), positions_of(frame)
    if len(a) == 0 or len(b) == 0:
        return None
    light = (np.log(np.maximum(reference.flux, 1e-30)), np.log(np.maximum(frame.flux, 1e-30)))
    best = _best_pairs((a, b), light, guess, radius, tolerance)
    if best is None:
        return None
    i, j = best
    if i.size < _MANY and 2 * i.size <= min(_rivals((reference, frame), (i, j)), _rivals((frame, reference), (j, i))):
        return None
    pairs = nearest(a + guess, b, radius)[2]
    if i.size == 1:
        alike = abs(light[1][j[0]] - light[0][i[0]]) < np.log(3.0)
        if not (trust_guess and alike and pairs == 1):
            return None
    elif not _significant(i.size, pairs, radius / tolerance, 0.2 if trust_guess else 0.02):
        return None
    return refine(reference, frame, i, j, fit_rotation, np.array(centre), "stars")


def _rivals(lists: tuple[PointSources, PointSources], pairs: tuple[IndexArray, IndexArray]) -> int:
    """Stars of the first list that the second should show before the faintest of those matched.

    They are as bright and, moved as the pairs are, within the field that both lists span. Few among many are chance.
    """
    (here, there), (i, j), flux = map(positions_of, lists), pairs, lists[0].flux
    both, moved = np.concatenate([here, there]), here + np.median(there[j] - here[i], axis=0)
    inside = ((moved >= both.min(axis=0)) & (moved <= both.max(axis=0))).all(axis=1)
    return int(np.count_nonzero(inside & (flux >= _AS_BRIGHT * float(np.min(flux[i])))))


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
        i, j = mutual(a + offset, b, tolerance)
        if i.size == 0:
            continue
        ratio = light[1][j] - light[0][i]
        similar = np.abs(ratio - np.median(ratio)) < np.log(2.5)
        # Pairs that agree in brightness count in full; nearness to the guess breaks ties.
        score = float(similar.sum() + 0.2 * (~similar).sum() - 0.5 * np.hypot(*(offset - guess)) / radius)
        if score > best:
            best, chosen = score, (i[similar], j[similar])
    return chosen


def positions_of(stars: PointSources) -> FloatArray:
    """(n, 2): x and y."""
    return np.asarray(np.column_stack([stars.x, stars.y]), dtype=np.float64)


def _vote(a: FloatArray, b: FloatArray, guess: FloatArray, radius: float, tolerance: float) -> FloatArray:
    """Return up to eight candidate offsets: those with most pairs within the tolerance, none far behind many."""
    differences = np.empty((len(a) * len(b), 2))
    differences = differences[: _differences(a, b, guess, radius, differences)]
    if len(differences) == 0:
        return np.empty((0, 2))
    cells = np.floor(differences / tolerance).astype(np.int64)
    first = cells.min(axis=0)
    height = int(cells[:, 1].max() - first[1]) + 1
    keys, votes = np.unique((cells[:, 0] - first[0]) * height + cells[:, 1] - first[1], return_counts=True)
    best = keys[np.argsort(-votes, kind="stable")[:24]]
    centres = (np.stack([best // height, best % height], axis=1) + first + 0.5) * tolerance
    table = np.empty((len(centres), 3))
    _gather(differences, centres, tolerance, table)
    table = table[np.argsort(-table[:, 0], kind="stable")[:8]]
    return np.asarray(table[table[:, 0] >= _WEAK * max(table[0, 0] - _FEW, 0.0), 1:])


@njit(nogil=True, cache=True, error_model="numpy")
def _differences(a, b, guess, radius, out):  # type: ignore[no-untyped-def]
    """Fill in b - a of all pairs within a radius of the guess; return how many there are."""
    n = 0
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            x, y = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1]
            if (x - guess[0]) ** 2 + (y - guess[1]) ** 2 <= radius**2:
                out[n, 0], out[n, 1] = x, y
                n += 1
    return n


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(differences, centres, tolerance, table):  # type: ignore[no-untyped-def]
    """Number and mean of the differences within the tolerance of the median of those around each centre."""
    near = np.empty((2, differences.shape[0]))
    for k in range(centres.shape[0]):
        x, y = centres[k, 0], centres[k, 1]
        n = 0
        for i in range(differences.shape[0]):
            u, v = differences[i, 0], differences[i, 1]
            if (u - x) ** 2 + (v - y) ** 2 <= (1.5 * tolerance) ** 2:
                near[0, n], near[1, n] = u, v
                n += 1
        x, y = np.median(near[0, :n]), np.median(near[1, :n])
        count, total_x, total_y = 0, 0.0, 0.0
        for i in range(differences.shape[0]):
            u, v = differences[i, 0], differences[i, 1]
            if (u - x) ** 2 + (v - y) ** 2 <= tolerance**2:
                count += 1
                total_x += u
                total_y += v
        table[k, 0] = count
        table[k, 1], table[k, 2] = (total_x / count, total_y / count) if count > 0 else (x, y)


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


def refine(
    reference: PointSources,
    frame: PointSources,
    i: IndexArray,
    j: IndexArray,
    fit_rotation: bool,
    centre: FloatArray,
    method: str,
) -> Registration:
    """Weighted, clipped least squares for the offset and, if asked, a rotation, from matched stars."""
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


@njit(nogil=True, cache=True, error_model="numpy")
def _most_agreed(candidates, shifts, weights, most):  # type: ignore[no-untyped-def]
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
    chosen = best[_most_agreed(best, shifts, 1.0 / variance, 2.0 * CLIP**2)]
    near = np.abs(shifts - chosen).max(axis=1) / np.sqrt(variance)
    # the larger of two normal deviates has a median of 1.05 sigma
    return np.asarray(near <= CLIP * max(1.0, float(np.median(near)) / 1.05))


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
    tolerance: float = 1.5,
) -> Registration:
    """Registration of a frame with its turn where its stars show one, without where they do not.

    Parameters
    ----------
    reference, frame : PointSources
        The lists.
    known : Registration
        Of the frame.
    centre : tuple of float
        (x, y) in the reference at which the offset holds and about which it turns (px).
    least : float
        Smaller turns (radian) are none, nor are those within `SURE_OF_TURN` sigma.
    tolerance : float
        How far apart the stars of a pair may be (px).

    Returns
    -------
    Registration
        That which is known, where fewer than `STARS_OF_TURN` stars are common to both.
    """
    origin, found = np.array(centre), known
    a, b = positions_of(reference), positions_of(frame)
    for _ in range(2):
        carried = (a - origin) @ rotation_matrix(found.rotation).T + origin + (found.dx, found.dy)
        i, j = mutual(carried, b, tolerance)
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
