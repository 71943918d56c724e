"""Maps from output to input pixels, tabulated on a grid fine enough for linear interpolation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.compiled import kernel

FloatArray = NDArray[np.float64]
Transform = Callable[[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]

#: Maps that differ from a shift by less than this everywhere are resampled as shifts (px).
SHIFT_TOLERANCE = 0.01

#: Accuracy of a map with kinks, px.
_KINK = 5e-3

_COARSE_STEPS, _FINE_STEPS = (128, 64, 32, 16), (8, 4, 2, 1)


@dataclass(frozen=True)
class PixelMap:
    """Position of each output pixel in the input.

    Attributes
    ----------
    shape : tuple of int
        (ny, nx) of the output grid.
    step : int
        Distance of the nodes (px); node (j, i) is output pixel (j * step, i * step).
    x, y : float64 array, shape (nodes_y, nodes_x)
        Zero-based input positions of the nodes (px), NaN where there are none.
    area : float64 array, shape (nodes_y, nodes_x)
        Input area per output area (the Jacobian determinant's absolute value).
    """

    shape: tuple[int, int]
    step: int
    x: FloatArray
    y: FloatArray
    area: FloatArray

    @classmethod
    def from_shift(cls, dx: float, dy: float, shape: tuple[int, int]) -> PixelMap:
        """Map output (X, Y) to input (X + dx, Y + dy)."""
        return cls.from_affine(np.eye(2), np.array([dx, dy]), shape)

    @classmethod
    def from_affine(cls, matrix: FloatArray, offset: FloatArray, shape: tuple[int, int]) -> PixelMap:
        """Map output (X, Y) to input ``matrix @ (X, Y) + offset``; exact for any distance of nodes."""
        step = 64
        columns, rows = _nodes(shape, step)
        x = matrix[0, 0] * columns + matrix[0, 1] * rows + offset[0]
        y = matrix[1, 0] * columns + matrix[1, 1] * rows + offset[1]
        area = np.full(x.shape, abs(float(np.linalg.det(matrix))))
        return cls(shape, step, x, y, area)

    @classmethod
    def from_function(cls, transform: Transform, shape: tuple[int, int], tol: float = 1e-3) -> PixelMap:
        """Build a map from a function, calling it at few positions only.

        Nodes 128 pixels apart are interpolated by a bicubic spline to nodes 8 pixels apart.  Both distances are
        halved until the map, read linearly, is accurate to `tol` at check positions between the nodes. If no spline is,
        as for look-up tables with kinks, the function is called for all nodes, with an accuracy of 0.005 px or better.

        Parameters
        ----------
        transform : callable
            Takes output x and y (float64 arrays of one shape), returns input x and y.
        shape : tuple of int
            (ny, nx) of the output grid.
        tol : float
            Largest error allowed (px).

        Raises
        ------
        ValueError
            The function is not smooth enough for the finest grid, or not defined anywhere on it.
        """
        check_x, check_y = _check_positions(shape)
        true_x, true_y = transform(check_x, check_y)
        if not np.isfinite(true_x).any():
            raise ValueError("the pixel map has no finite position on the output grid")
        error = np.inf
        tried: list[tuple[Callable[..., PixelMap], tuple[int, int], float]]
        tried = [(cls._two_level, steps, tol) for steps in zip(_COARSE_STEPS, _FINE_STEPS)]
        tried += [(cls._kinked, (step, step), max(tol, _KINK)) for step in _FINE_STEPS]
        for make, steps, allowed in tried:
            candidate = make(transform, shape, *steps)
            x, y = candidate.at(check_x, check_y)
            error = float(np.nanmax(np.hypot(x - true_x, y - true_y)))
            if error <= allowed:
                return candidate
        raise ValueError(f"the pixel map is not smooth: error {error:.3g} px on the finest grid, {allowed:g} allowed")

    @classmethod
    def _two_level(cls, transform: Transform, shape: tuple[int, int], coarse: int, fine: int) -> PixelMap:
        # One node beyond each border, and never fewer than the four that a cubic needs.
        knots = [np.arange(-1, max(-(-n // coarse) + 2, 4)) * float(coarse) for n in shape]
        grid_x, grid_y = np.meshgrid(knots[1], knots[0])
        values = np.stack(transform(grid_x, grid_y))
        nodes = [np.arange(-(-n // fine) + 1) * float(fine) for n in shape]
        (up, steep_y), (across, steep_x) = (_cubic(n / coarse + 1, k.size) for n, k in zip(nodes, knots, strict=True))
        x, y = up @ values @ across.T
        (dxdx, dydx), (dxdy, dydy) = up @ values @ steep_x.T / coarse, steep_y @ values @ across.T / coarse
        return cls(shape, fine, x, y, np.abs(dxdx * dydy - dxdy * dydx))

    @classmethod
    def _kinked(cls, transform: Transform, shape: tuple[int, int], step: int, _: int) -> PixelMap:
        """Map with every node from the function itself: look-up tables have kinks, at which a spline overshoots."""
        x, y = transform(*_nodes(shape, step))
        (dxdy, dxdx), (dydy, dydx) = np.gradient(x, step), np.gradient(y, step)
        return cls(shape, step, x, y, np.abs(dxdx * dydy - dxdy * dydx))

    def at(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return input positions of output positions, interpolated as in the resampling."""
        found = self.read(x, y)
        return found[0], found[1]

    def read(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return input x, y and area at output positions; beyond the nodes the last cell is continued."""
        px, py = (np.ascontiguousarray(v, np.float64) for v in np.broadcast_arrays(x, y))
        out = np.empty((3, px.size))
        _read(px.ravel(), py.ravel(), self.nodes, self.step, out)
        return out[0].reshape(px.shape), out[1].reshape(px.shape), out[2].reshape(px.shape)

    def behind(self, matrix: FloatArray, origin: tuple[float, float], shape: tuple[int, int]) -> PixelMap:
        """Return the map composed of a projective map and this map, with the same spacing of nodes.

        Parameters
        ----------
        matrix : float64 array, shape (3, 3)
            From homogeneous output positions to this map's output pixels.
        origin : (x, y)
            Output position of the new map's pixel (0, 0).
        shape : tuple of int
            (ny, nx) of the new map.
        """
        nodes = np.empty((3, *(-(-n // self.step) + 1 for n in shape)))
        _behind(np.asarray(matrix, np.float64), origin, self.nodes, self.step, nodes)
        found = PixelMap(shape, self.step, *nodes)
        found.__dict__["nodes"] = nodes  # not to be stacked again
        return found

    @cached_property
    def nodes(self) -> FloatArray:
        """x, y and area of the nodes as one array, (3, nodes_y, nodes_x)."""
        return np.stack([self.x, self.y, self.area])

    def times_area(self, first: int, out: NDArray[np.float32]) -> None:
        """Multiply rows of the grid from `first` on, in place, by the areas at their pixels that `read` gives."""
        _times_area(self.nodes[2], self.step, first, out)

    @property
    def shift(self) -> tuple[float, float] | None:
        """The shift (dx, dy) that equals the map to 0.01 px everywhere, or None."""
        columns, rows = _nodes(self.shape, self.step)
        dx, dy = self.x - columns, self.y - rows
        middle = tuple(float((d.max() + d.min()) / 2) for d in (dx, dy))
        same = np.hypot(dx - middle[0], dy - middle[1]).max() <= SHIFT_TOLERANCE
        return (middle[0], middle[1]) if same else None

    @property
    def is_identity(self) -> bool:
        """Whether the map is the identity, to 0.01 px."""
        columns, rows = _nodes(self.shape, self.step)
        return bool(np.hypot(self.x - columns, self.y - rows).max() <= SHIFT_TOLERANCE)


def _cubic(at: FloatArray, n: int) -> tuple[FloatArray, FloatArray]:
    """Weights (positions, n) of a cubic spline's n samples at 0, 1, 2 ... at positions, and of its slope.

    Not-a-knot: the first two and the last two pieces are one cubic each, so that cubics are exact.
    """
    second = np.diff(np.eye(n), 2, axis=0)  # of the samples
    system = np.zeros((n, n))  # curvatures at the samples: continuous slope, then the two ends
    rows = np.arange(1, n - 1)
    system[rows, rows - 1], system[rows, rows], system[rows, rows + 1] = 1 / 6, 2 / 3, 1 / 6
    system[0, :3], system[-1, -3:] = (1, -2, 1), (1, -2, 1)
    curvature = np.linalg.solve(system, np.vstack([np.zeros(n), second, np.zeros(n)]))
    k = np.clip(np.floor(at).astype(np.intp), 0, n - 2)
    t = (at - k)[:, None]
    value, unit = np.eye(n), 1 - t
    low, high = curvature[k], curvature[k + 1]
    weights = unit * value[k] + t * value[k + 1] + ((unit**3 - unit) * low + (t**3 - t) * high) / 6
    slopes = value[k + 1] - value[k] + ((1 - 3 * unit**2) * low + (3 * t**2 - 1) * high) / 6
    return weights, slopes


@kernel
def _read(x: np.ndarray, y: np.ndarray, nodes: np.ndarray, step: int, out: np.ndarray) -> None:
    for n in range(x.size):
        i = min(max(int(np.floor(x[n] / step)), 0), nodes.shape[2] - 2)
        j = min(max(int(np.floor(y[n] / step)), 0), nodes.shape[1] - 2)
        tx, ty = x[n] / step - i, y[n] / step - j
        for k in range(3):
            upper = nodes[k, j, i] * (1 - tx) + nodes[k, j, i + 1] * tx
            lower = nodes[k, j + 1, i] * (1 - tx) + nodes[k, j + 1, i + 1] * tx
            out[k, n] = upper * (1 - ty) + lower * ty


@kernel
def _times_area(area: np.ndarray, step: int, first: int, out: np.ndarray) -> None:
    """Areas along one axis at a time: between two nodes of a row, then between two rows of them."""
    width, known = out.shape[1], -9
    upper, lower = np.empty(width), np.empty(width)
    for r in range(out.shape[0]):
        y = first + r
        j = min(y // step, area.shape[0] - 2)
        if j != known:
            for line, nodes in ((upper, area[j]), (lower, area[j + 1])):
                for x in range(width):
                    i = min(x // step, nodes.size - 2)
                    t = x / step - i
                    line[x] = nodes[i] * (1 - t) + nodes[i + 1] * t
            known = j
        t, row = y / step - j, out[r]
        for x in range(width):
            row[x] *= np.float32(upper[x] * (1 - t) + lower[x] * t)


@kernel
def _behind(m: np.ndarray, origin: tuple[int, int], nodes: np.ndarray, step: int, out: np.ndarray) -> None:
    determinant = abs(
        m[0, 0] * (m[1, 1] * m[2, 2] - m[1, 2] * m[2, 1])
        - m[0, 1] * (m[1, 0] * m[2, 2] - m[1, 2] * m[2, 0])
        + m[0, 2] * (m[1, 0] * m[2, 1] - m[1, 1] * m[2, 0])
    )
    for r in range(out.shape[1]):
        v = origin[1] + r * step
        for c in range(out.shape[2]):
            u = origin[0] + c * step
            depth = m[2, 0] * u + m[2, 1] * v + m[2, 2]
            x = (m[0, 0] * u + m[0, 1] * v + m[0, 2]) / depth / step
            y = (m[1, 0] * u + m[1, 1] * v + m[1, 2]) / depth / step
            i = min(max(int(np.floor(x)), 0), nodes.shape[2] - 2)
            j = min(max(int(np.floor(y)), 0), nodes.shape[1] - 2)
            tx, ty = x - i, y - j
            for k in range(3):
                upper = nodes[k, j, i] * (1 - tx) + nodes[k, j, i + 1] * tx
                lower = nodes[k, j + 1, i] * (1 - tx) + nodes[k, j + 1, i + 1] * tx
                out[k, r, c] = upper * (1 - ty) + lower * ty
            out[2, r, c] *= determinant / abs(depth) ** 3


def _nodes(shape: tuple[int, int], step: int) -> tuple[FloatArray, FloatArray]:
    """Columns and rows of the nodes; the last ones are at or beyond the border."""
    columns, rows = np.meshgrid(*(np.arange(-(-n // step) + 1) * float(step) for n in shape[::-1]))
    return columns, rows


def _check_positions(shape: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """Positions between nodes of any distance, about 32 per axis, borders among them."""
    axes = []
    for n in shape:
        inner = np.linspace(0, n - 1, 33)
        # Near the middle of 8-px cells, where the linear error is largest, in turn in the middle of 8, 4, 2 and 1 px.
        middle = np.floor(inner / 8) * 8 + 4 + np.resize([0.0, 2.0, 1.0, 0.5], inner.size)
        axes.append(np.unique(np.clip(np.concatenate([middle, [0.0, n - 1.0]]), 0, n - 1)))
    columns, rows = np.meshgrid(axes[1], axes[0])
    return columns, rows
