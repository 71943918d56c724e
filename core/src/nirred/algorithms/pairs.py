"""Match the stars of two lists: pairs at the offset with most votes."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel
from nirred.algorithms.neighbours import mutual, nearest
from nirred.algorithms.ranking import middle

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]
Pairs = tuple[IndexArray, IndexArray]
"""Indices of the stars of a first and of a second list."""

#: Stars of a pair agree in place within this once the offset is applied, and sides of triangles in length (px).
TOLERANCE = 1.5

_BRIGHTEST = 150
#: Offsets with a smaller fraction of the largest number of pairs (minus a few) are not candidates.
_WEAK, _FEW = 0.3, 8

#: Fewer pairs than this must include most of the stars that are as bright as theirs, or half as bright.
_MANY, _AS_BRIGHT = 6, 0.5

#: The stars of a single pair differ by at most this factor; all others have less than this fraction of their flux.
_ALIKE, _STRAY = 3.0, 0.2


class PointSources(Protocol):
    """Attributes of a star list that registration needs: float64 arrays of one length."""

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


def voted_pairs(
    lists: tuple[PointSources, PointSources],
    guess: tuple[float, float],
    radius: float,
    *,
    trust_guess: bool,
) -> Pairs | None:
    """Pairs at the offset with most votes; None if these may be due to chance.

    Parameters
    ----------
    lists : (PointSources, PointSources)
        Both lists, not empty, brightest first.
    guess, radius, trust_guess
        As in `match_offset`.

    Returns
    -------
    (i, j) or None
    """
    a, b = map(positions_of, lists)
    light = (np.log(np.maximum(lists[0].flux, 1e-30)), np.log(np.maximum(lists[1].flux, 1e-30)))
    best = _best_pairs((a, b), light, guess, radius)
    if best is None:
        return None
    i, j = best
    if i.size < _MANY and 2 * i.size <= min(_rivals(lists, (i, j)), _rivals(lists[::-1], (j, i))):
        return None
    pairs = nearest(a + guess, b, radius)[2]
    if i.size == 1:
        alike = abs(light[1][j[0]] - light[0][i[0]]) < np.log(_ALIKE)
        return best if trust_guess and alike and pairs == 1 else None
    return best if _significant(i.size, pairs, radius / TOLERANCE, 0.2 if trust_guess else 0.02) else None


def outshining_pair(
    lists: tuple[PointSources, PointSources], guess: tuple[float, float], radius: float
) -> Pairs | None:
    """The one pair of bright stars near the guess, for lists with many chance pairs of faint objects or noise.

    It is the brightest pair near the guess, its stars are of similar brightness, no two others near it are nearly as
    bright, and neither list lacks a star that its brightness and place would lead one to expect.

    Parameters
    ----------
    lists : (PointSources, PointSources)
        Both lists, not empty.
    guess, radius
        As in `match_offset`.

    Returns
    -------
    (i, j) or None
        One index each.
    """
    (a, b), (first, second) = map(positions_of, lists), (stars.flux for stars in lists)
    apart = b[None, :, :] - a[:, None, :] - guess
    near = np.hypot(apart[..., 0], apart[..., 1]) <= radius
    fainter = np.where(near, np.minimum.outer(first, second), -np.inf)
    i, j = np.unravel_index(int(np.argmax(fainter)), fainter.shape)
    light = first[i], second[j]
    if not near[i, j] or max(light) > _ALIKE * min(light):
        return None
    rivals = near & np.logical_and.outer(first > _STRAY * first[i], second > _STRAY * second[j])
    pair = np.array([i]), np.array([j])
    expected = max(_rivals(lists, pair), _rivals(lists[::-1], pair[::-1]))
    return pair if np.count_nonzero(rivals) == 1 and expected == 1 else None


def _rivals(lists: tuple[PointSources, PointSources], pairs: Pairs) -> int:
    """Number of stars of the first list that the second should contain if it contains the faintest matched one.

    They are about as bright and, shifted like the pairs, within the field of both lists. A few matches among many such
    stars are due to chance.
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
) -> Pairs | None:
    """Pairs of similar brightness at the offset with most votes, in which pairs that agree in brightness count more."""
    (a, b), best, chosen = places, -np.inf, None
    for offset in _vote(a[:_BRIGHTEST], b[:_BRIGHTEST], np.array(guess), radius):
        i, j = mutual(a + offset, b, TOLERANCE)
        if i.size == 0:
            continue
        ratio = light[1][j] - light[0][i]
        similar = np.abs(ratio - np.median(ratio)) < np.log(2.5)
        if not similar.any():  # two pairs that contradict each other
            continue
        # Pairs that agree in brightness count fully; ties are broken by the distance from the guess.
        score = float(similar.sum() + 0.2 * (~similar).sum() - 0.5 * np.hypot(*(offset - guess)) / radius)
        if score > best:
            best, chosen = score, (i[similar], j[similar])
    return chosen


def positions_of(stars: PointSources) -> FloatArray:
    """(n, 2): x and y."""
    return np.asarray(np.column_stack([stars.x, stars.y]), dtype=np.float64)


def _vote(a: FloatArray, b: FloatArray, guess: FloatArray, radius: float) -> FloatArray:
    """Return up to eight candidate offsets: those with most pairs within the tolerance, without much weaker ones."""
    differences = np.empty((len(a) * len(b), 2))
    differences = differences[: _differences(a, b, guess, radius, differences)]
    if len(differences) == 0:
        return np.empty((0, 2))
    cells = np.floor(differences / TOLERANCE).astype(np.int64)
    first = cells.min(axis=0)
    height = int(cells[:, 1].max() - first[1]) + 1
    keys, votes = np.unique((cells[:, 0] - first[0]) * height + cells[:, 1] - first[1], return_counts=True)
    best = keys[np.argsort(-votes, kind="stable")[:24]]
    centres = (np.stack([best // height, best % height], axis=1) + first + 0.5) * TOLERANCE
    table = np.empty((len(centres), 3))
    _gather(differences, centres, table)
    table = table[np.argsort(-table[:, 0], kind="stable")[:8]]
    return np.asarray(table[table[:, 0] >= _WEAK * max(table[0, 0] - _FEW, 0.0), 1:])


@kernel
def _differences(a: np.ndarray, b: np.ndarray, guess: np.ndarray, radius: float, out: np.ndarray) -> int:
    """Fill in b - a of all pairs within a radius of the guess; return their number."""
    n = 0
    for i in range(a.shape[0]):
        for j in range(b.shape[0]):
            x, y = b[j, 0] - a[i, 0], b[j, 1] - a[i, 1]
            if (x - guess[0]) ** 2 + (y - guess[1]) ** 2 <= radius**2:
                out[n, 0], out[n, 1] = x, y
                n += 1
    return n


@kernel
def _gather(differences: np.ndarray, centres: np.ndarray, table: np.ndarray) -> None:
    """Number and mean of the differences within the tolerance of the median of those around each centre."""
    near = np.empty((2, differences.shape[0]))
    for k in range(centres.shape[0]):
        x, y = centres[k, 0], centres[k, 1]
        n = 0
        for i in range(differences.shape[0]):
            u, v = differences[i, 0], differences[i, 1]
            if (u - x) ** 2 + (v - y) ** 2 <= (1.5 * TOLERANCE) ** 2:
                near[0, n], near[1, n] = u, v
                n += 1
        x, y = middle(near[0], n), middle(near[1], n)
        count, total_x, total_y = 0, 0.0, 0.0
        for i in range(differences.shape[0]):
            u, v = differences[i, 0], differences[i, 1]
            if (u - x) ** 2 + (v - y) ** 2 <= TOLERANCE**2:
                count += 1
                total_x += u
                total_y += v
        table[k, 0] = count
        table[k, 1], table[k, 2] = (total_x / count, total_y / count) if count > 0 else (x, y)


def _significant(n: int, pairs: int, radius: float, chance: float) -> bool:
    """Whether n pairs that agree are more than chance.

    Random pairs within `radius`, in units of the tolerance, are distributed over radius^2 cells, so a cell with one
    pair has n or more with the Poisson probability of n - 1 or more at a mean of pairs / cells.
    """
    from scipy.special import gammainc

    if n < 2:
        return False
    expected = pairs / max(radius**2, 1.0)
    return bool(pairs * gammainc(n - 1, expected) < chance)
