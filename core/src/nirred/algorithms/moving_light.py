"""Separate light that moves with the sky from light that stays on the detector, using images dithered on the sky."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel

Float64 = NDArray[np.float64]

#: Most steps of conjugate gradients, and the share of the first gradient at which they end.
STEPS, SETTLED = 15, 1e-2
#: Clipping limit of the residuals, sigma, and number of clipping rounds.
OFF, ROUNDS = 5.0, 4
#: How much better than noise light must explain the images (see `explained`) to be accepted, and the least ratio of its
#: sum to the sum of its absolute values: galaxies of 10 to 15 arcsec in EMIR's field 2.8 to 50, and 0.46 to 0.94;
#: variable glows 1.2 to 2.9, and -0.3 to -0.05.
BELIEVED, POSITIVE = 2.0, 0.4
#: The same for light that the border of the images cuts: glows in a corner 0.6 to 3.1; nebulae 120 to 165.
CUT = 10.0


@dataclass(frozen=True)
class Nodes:
    """Bilinear interpolation from the nodes of a grid to positions.

    Attributes
    ----------
    lit : bool (rows, columns)
        Nodes that may have light; `number` of them.
    which : int64 (n, m, 4)
        Indices of the four nodes around each position among those that may have light; `number` where there is none.
    weights : float64 (n, m, 4)
        Their weights.
    """

    lit: NDArray[np.bool_]
    which: NDArray[np.int64]
    weights: Float64

    @classmethod
    def of(cls, x: Float64, y: Float64, lit: NDArray[np.bool_]) -> Nodes:
        """For positions, shape (n, m), in steps of the grid from its first node."""
        numbers = np.full((lit.shape[0] + 2, lit.shape[1] + 2), int(lit.sum()))
        numbers[1:-1, 1:-1][lit] = np.arange(int(lit.sum()))
        sides = zip((x, y), lit.shape[::-1], strict=True)
        inside = [np.clip(np.nan_to_num(p, nan=-1.0), -1.0, n - 1e-9) + 1.0 for p, n in sides]
        i, j = (p.astype(np.int64) for p in inside)
        u, v = inside[0] - i, inside[1] - j
        corners = (0, 0, (1 - u) * (1 - v)), (0, 1, u * (1 - v)), (1, 0, (1 - u) * v), (1, 1, u * v)
        which = np.stack([numbers[j + dj, i + di] for dj, di, _ in corners], axis=-1)
        return cls(lit, which, np.stack([w for _, _, w in corners], axis=-1))

    @property
    def number(self) -> int:
        """Number of nodes that may have light."""
        return int(self.lit.sum())

    def at(self, light: Float64) -> Float64:
        """Light at the positions, (n, m), from that at the nodes, (number,)."""
        values = np.empty(self.which.shape[:2])
        _gather(np.append(light, 0.0), self.which, self.weights, values)
        return values

    def put(self, values: Float64) -> Float64:
        """The transpose: values at the positions, (n, m), added up on the nodes with the weights."""
        light = np.zeros(self.number + 1)
        _scatter(values, self.which, self.weights, light)
        return light[:-1]

    def reach(self, regions: NDArray[Any]) -> NDArray[Any]:
        """Highest region number among the nodes around each position, of numbers (rows, columns); 0: none."""
        return np.asarray(np.append(regions[self.lit], 0)[self.which].max(axis=-1))


@kernel
def _gather(light: np.ndarray, which: np.ndarray, weights: np.ndarray, values: np.ndarray) -> None:
    for k in range(which.shape[0]):
        for m in range(which.shape[1]):
            total = 0.0
            for c in range(4):
                total += weights[k, m, c] * light[which[k, m, c]]
            values[k, m] = total


@kernel
def _scatter(values: np.ndarray, which: np.ndarray, weights: np.ndarray, light: np.ndarray) -> None:
    for k in range(which.shape[0]):
        for m in range(which.shape[1]):
            for c in range(4):
                light[which[k, m, c]] += weights[k, m, c] * values[k, m]


@dataclass(frozen=True)
class Apart:
    """Images separated into a part that moves with the sky, a part fixed on the detector, and a part of each image.

    Attributes
    ----------
    light : float64 (number of nodes,)
        At the sky's nodes.
    pattern : float64 (m,)
        At the detector's positions; NaN where no image has data.
    left : float64 (n, m)
        Residuals of the images, 0 where they are not `seen`.
    seen : bool (n, m)
        Where images have data that were not clipped.
    """

    light: Float64
    pattern: Float64
    left: Float64
    seen: NDArray[np.bool_]


def part_light(values: Float64, nodes: Nodes, shapes: Float64) -> Apart:
    """Separate light that moves with the sky from light that stays on the detector, by least squares.

    An image is the sum of a pattern of the detector, light of the sky, and shapes of its own: polynomials, levels of
    amplifiers. What the data hardly constrain is left to the detector: the iteration starts from no light.

    Parameters
    ----------
    values : float64, shape (n, m)
        Of n images at m positions of the detector; NaN where an image has no data.
    nodes : Nodes
        Positions of these on the sky in each image.
    shapes : float64, shape (k, m)
        Orthonormal.
    """
    given = seen = np.isfinite(values)
    found = np.zeros(nodes.number + len(values) * len(shapes))
    for turn in range(ROUNDS):
        found, _ = _solve(np.where(seen, values, 0.0), seen, nodes, shapes, found)
        rest = values - _drawn(found, nodes, shapes)
        with np.errstate(invalid="ignore", divide="ignore"):
            pattern = np.where(seen, rest, 0.0).sum(axis=0) / seen.sum(axis=0)
        off = given & ~(np.abs(rest - pattern) <= OFF * _spread((rest - pattern)[seen]))
        if turn == ROUNDS - 1 or (off == (given & ~seen)).all():
            break
        seen = given & ~off
    return Apart(found[: nodes.number], pattern, np.where(seen, rest - pattern, 0.0), seen)


def _spread(left: Float64) -> float:
    """Robust rms of residuals; infinite without any."""
    return 1.4826 * float(np.median(np.abs(left))) if left.size else float("inf")


def _drawn(unknown: Float64, nodes: Nodes, shapes: Float64) -> Float64:
    own = unknown[nodes.number :].reshape(len(nodes.which), len(shapes))
    return nodes.at(unknown[: nodes.number]) + own @ shapes


def _solve(
    values: Float64, seen: NDArray[np.bool_], nodes: Nodes, shapes: Float64, start: Float64
) -> tuple[Float64, Float64]:
    """Least-squares light of nodes and sizes of shapes, by conjugate gradients; and their residuals."""
    count = np.maximum(seen.sum(axis=0), 1)

    def apart(images: Float64) -> Float64:
        known = np.where(seen, images, 0.0)
        return np.where(seen, known - known.sum(axis=0) / count, 0.0)

    def transposed(left: Float64) -> Float64:
        return np.concatenate([nodes.put(left), (left @ shapes.T).ravel()])

    found, left = start, apart(values - _drawn(start, nodes, shapes))
    gradient = transposed(left)
    direction, power = gradient, float(gradient @ gradient)
    limit = SETTLED**2 * power
    for _ in range(STEPS):
        if power <= limit:
            break
        change = apart(_drawn(direction, nodes, shapes))
        step = power / float((change**2).sum())
        found, left = found + step * direction, left - step * change
        gradient, before = transposed(left), power
        power = float(gradient @ gradient)
        direction = gradient + power / before * direction
    return found, left


def explained(values: Float64, parted: Apart, shapes: Float64, reach: NDArray[Any], sizes: NDArray[Any]) -> Float64:
    """Significance of regions of light: variance that each explains per node, relative to that of noise.

    Parameters
    ----------
    values, parted, shapes
        As given to `part_light`, and its result.
    reach : int (n, m)
        Number of the region whose light falls on a position in an image; 0: none.
    sizes : int (regions + 1,)
        Nodes of each region.

    Returns
    -------
    float64 (regions + 1,)
        Ratio to the residual variance per degree of freedom: about 1 where there is no light, more where there is; 0
        where the images do not determine it.
    """
    seen, nowhere = parted.seen, np.zeros((*values.shape, 4))
    dark = Nodes(np.zeros((1, 1), bool), nowhere.astype(np.int64), nowhere)
    _, without = _solve(np.where(seen, values, 0.0), seen, dark, shapes, np.zeros(len(values) * len(shapes)))
    degrees, ratios = np.maximum(seen.sum(axis=0) - 1.0, 0.0), np.zeros(sizes.size)
    for region in range(1, sizes.size):
        mine = (reach == region).any(axis=0)
        free = degrees[mine].sum() - sizes[region]
        if free > 0:
            before, after = ((a[:, mine] ** 2).sum() for a in (without, parted.left))
            ratios[region] = (before - after) / sizes[region] / max(after / free, 1e-300)
    return ratios


def believed_light(values: Float64, parted: Apart, nodes: Nodes, shapes: Float64) -> Float64 | None:
    """Light of the nodes, (number,), in those regions of it that are no accident, 0 elsewhere; None without any.

    Arguments as given to `part_light`, and its result. Regions that the border cuts continue where nothing is measured;
    glow that changes is at the border, too.
    """
    from scipy.ndimage import label

    regions, number = label(nodes.lit, np.ones((3, 3)))
    whose = regions[nodes.lit]
    sizes = np.bincount(whose, minlength=number + 1)
    ratios = explained(values, parted, shapes, nodes.reach(regions), sizes)
    total, size = (np.bincount(whose, light, number + 1) for light in (parted.light, np.abs(parted.light)))
    border = np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]])
    least = np.where(np.isin(range(number + 1), border), CUT, BELIEVED)
    believed = (ratios > least) & (total > POSITIVE * size)
    return np.where(believed[whose], parted.light, 0.0) if believed.any() else None


def fit_terms(terms: Float64, values: Float64) -> Float64:
    """Sizes (n,) of terms (n, m) in the finite ones of some values (m,), outliers clipped; 0 if these are too few."""
    good = np.isfinite(values)
    if good.sum() < 2 * len(terms):
        return np.zeros(len(terms))
    good &= np.abs(values) <= OFF * 1.4826 * np.median(np.abs(values[good]))
    return np.asarray(np.linalg.lstsq(terms[:, good].T, values[good], rcond=1e-8)[0])
