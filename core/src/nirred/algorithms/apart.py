"""Light that moves with the sky told from light that stays on the detector, by images that see the sky elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel

Float64 = NDArray[np.float64]

#: Steps of conjugate gradients at most, and the share of the first gradient at which they end.
STEPS, SETTLED = 15, 1e-2
#: Places left so many sigma off hold something else; they are sought so often.
OFF, ROUNDS = 5.0, 4


@dataclass(frozen=True)
class Nodes:
    """Between which nodes of a grid positions lie, and how far: values there are linear between those of the nodes.

    Attributes
    ----------
    lit : bool (rows, columns)
        Nodes that may hold light; `number` of them.
    which : int64 (n, m, 4)
        The four round each position, of those that may hold light; `number` where there is none.
    weights : float64 (n, m, 4)
        Theirs.
    """

    lit: NDArray[np.bool_]
    which: NDArray[np.int64]
    weights: Float64

    @classmethod
    def of(cls, x: Float64, y: Float64, lit: NDArray[np.bool_]) -> Nodes:
        """Of positions, shape (n, m), in steps of the grid from its first node."""
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
        """Of nodes that may hold light."""
        return int(self.lit.sum())

    def at(self, light: Float64) -> Float64:
        """Light at the positions, (n, m), of that of the nodes, (number,)."""
        values = np.empty(self.which.shape[:2])
        _gather(np.append(light, 0.0), self.which, self.weights, values)
        return values

    def put(self, values: Float64) -> Float64:
        """The transpose: what values at the positions, (n, m), put on the nodes."""
        light = np.zeros(self.number + 1)
        _scatter(values, self.which, self.weights, light)
        return light[:-1]

    def reach(self, regions: NDArray[Any]) -> NDArray[Any]:
        """Highest number of a region, of those of the nodes, (rows, columns), round each position; 0: none."""
        return np.asarray(np.append(regions[self.lit], 0)[self.which].max(axis=-1))


@kernel
def _gather(light, which, weights, values):  # type: ignore[no-untyped-def]
    for k in range(which.shape[0]):
        for m in range(which.shape[1]):
            total = 0.0
            for c in range(4):
                total += weights[k, m, c] * light[which[k, m, c]]
            values[k, m] = total


@kernel
def _scatter(values, which, weights, light):  # type: ignore[no-untyped-def]
    for k in range(which.shape[0]):
        for m in range(which.shape[1]):
            for c in range(4):
                light[which[k, m, c]] += weights[k, m, c] * values[k, m]


@dataclass(frozen=True)
class Apart:
    """What images show, parted into what moves with the sky, what stays, and what each has of its own.

    Attributes
    ----------
    light : float64 (number of nodes,)
        Of the sky's nodes.
    pattern : float64 (m,)
        Of the detector's places; NaN where no image shows one.
    left : float64 (n, m)
        What is left of the images, 0 where they are not `seen`.
    seen : bool (n, m)
        Where images show something, and nothing else.
    """

    light: Float64
    pattern: Float64
    left: Float64
    seen: NDArray[np.bool_]


def part_light(values: Float64, nodes: Nodes, shapes: Float64) -> Apart:
    """Part what moves with the sky from what stays on the detector, by least squares.

    An image is the sum of a pattern of the detector, of light of the sky, and of shapes of its own: polynomials, levels
    of amplifiers. What hardly anything tells apart stays on the detector: the search starts from no light.

    Parameters
    ----------
    values : float64, shape (n, m)
        Of n images at m places of the detector; NaN where one shows nothing.
    nodes : Nodes
        Where these places lie on the sky in each image.
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
    """Robust rms of what is left; infinite of nothing."""
    return 1.4826 * float(np.median(np.abs(left))) if left.size else float("inf")


def _drawn(unknown: Float64, nodes: Nodes, shapes: Float64) -> Float64:
    own = unknown[nodes.number :].reshape(len(nodes.which), len(shapes))
    return nodes.at(unknown[: nodes.number]) + own @ shapes


def _solve(
    values: Float64, seen: NDArray[np.bool_], nodes: Nodes, shapes: Float64, start: Float64
) -> tuple[Float64, Float64]:
    """Light of nodes and sizes of shapes that leave the least, by conjugate gradients, and what they leave."""
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
    """How much better regions of light explain what images show than noise would: variance for each of their nodes.

    Parameters
    ----------
    values, parted, shapes
        As given to `part_light`, and what it made of them.
    reach : int (n, m)
        Number of the region whose light a place shows in an image; 0: none.
    sizes : int (regions + 1,)
        Nodes of each region.

    Returns
    -------
    float64 (regions + 1,)
        Over that of what is left, for each of its degrees of freedom: about 1 where there is no light, more where there
        is; 0 where the images do not tell.
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
