"""Frames whose stars are doubled: the telescope moved in mid-exposure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.stars import StarList, estimate_fwhm

FloatArray = NDArray[np.float64]

#: Least S/N of the stars used, and their numbers: as first images, as starting points among these, as second images.
_SNR, _FIRST, _STARTS, _SECOND = 15.0, 12, 3, 400
#: Second images have at least this share of the first one's light; ghosts and persistence have less.
_LEAST_LIGHT = 0.1
#: Second images agree in place to this (px) and in their share of the light to this (natural logarithm).
_SAME_PLACE, _SAME_LIGHT = 1.0, 0.3
#: Least number of doubled stars, and their least part of those whose second image should be visible.
_LEAST, _MOST = 5, 0.6
#: Images closer than this, in FWHM, are one elongated image.
_APART = 1.5


@dataclass(frozen=True)
class Doubling:
    """Second images of a frame's stars.

    Attributes
    ----------
    dx, dy : float
        Second position minus the first (px).
    light : float
        Flux of the second images over that of the first.
    doubled, expected : int
        Stars with a second image, and stars that should have one.
    """

    dx: float
    dy: float
    light: float
    doubled: int
    expected: int


def find_doubling(stars: StarList) -> Doubling | None:
    """Return the vector at which a frame's stars appear again with the same share of their light, or None.

    The vectors from the brightest stars to all others vote. In a field of a hundred stars on 1024 x 1024 pixels one
    pair in a thousand agrees with another by chance; five agreeing pairs are not chance.

    Parameters
    ----------
    stars : StarList
        All stars of the frame, brightest first.

    Returns
    -------
    Doubling or None
    """
    seen = stars[stars.snr > _SNR][:_SECOND]
    size = estimate_fwhm(seen) if len(seen) >= 2 * _LEAST else np.nan
    if not np.isfinite(size):
        return None
    place, light = np.column_stack([seen.x, seen.y]), np.log(seen.flux)
    n = min(_FIRST, len(seen))
    apart = place[None, :, :] - place[:n, None, :]
    ratio = light[None, :] - light[:n, None]
    # Either image may be the brighter where they share the light alike.
    possible = (np.hypot(apart[..., 0], apart[..., 1]) > _APART * size) & (np.log(_LEAST_LIGHT) < ratio)
    first, second = np.nonzero(possible & (ratio < _SAME_LIGHT))
    pairs = np.column_stack([apart[first, second] / _SAME_PLACE, ratio[first, second] / _SAME_LIGHT])
    starts = pairs[first < _STARTS]
    if not len(starts):
        return None
    best = starts[np.argmax(_votes(pairs, starts))]
    alike = np.abs(pairs - best).max(axis=1) < 1.0
    return _judged(seen, n, (first[alike], second[alike]), np.median(pairs[alike], axis=0))


def _votes(pairs: FloatArray, starts: FloatArray) -> NDArray[np.intp]:
    """Number of pairs in the unit cell of each start and in the 26 cells around it."""
    steps = np.array(list(product((-1, 0, 1), repeat=3)))
    cells, counts = np.unique(_cell(np.rint(pairs)), return_counts=True)
    asked = _cell(np.rint(starts)[:, None, :] + steps)
    at = np.minimum(np.searchsorted(cells, asked), cells.size - 1)
    return np.asarray(np.where(cells[at] == asked, counts[at], 0).sum(axis=1))


def _cell(place: FloatArray) -> NDArray[np.int64]:
    """Number of the cell with these three coordinates."""
    x, y, z = np.moveaxis(place.astype(np.int64), -1, 0)
    return np.asarray((x * 65536 + y) * 65536 + z)


def _judged(
    seen: StarList, n: int, pairs: tuple[NDArray[np.intp], NDArray[np.intp]], vector: FloatArray
) -> Doubling | None:
    """The doubling measured by these pairs, if they are most of the pairs that it should produce."""
    dx, dy, share = vector[0] * _SAME_PLACE, vector[1] * _SAME_PLACE, np.exp(vector[2] * _SAME_LIGHT)
    x, y = seen.x[:n] + dx, seen.y[:n] + dy
    inside = (x > seen.x.min()) & (x < seen.x.max()) & (y > seen.y.min()) & (y < seen.y.max())
    # What is a second image itself has none, and one too faint is not seen.
    one = np.arange(n)
    expected = inside & ~np.isin(one, pairs[1]) & (seen.snr[:n] * share > 2 * _SNR) | np.isin(one, pairs[0])
    doubled, wanted = int(np.unique(pairs[0]).size), int(expected.sum())
    if doubled < _LEAST or doubled < _MOST * wanted:
        return None
    return Doubling(float(dx), float(dy), float(share), doubled, wanted)
