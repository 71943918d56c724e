"""Positions of a plane's pixels on a grid: a projective map between tangent planes, then the camera's distortion.

Maps close enough to a shift are resampled by separable filters, all others by gathering. In both cases rows of the grid
are interpolated from rows of the plane, and neither tiles nor threads change a bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms import gnomonic
from nirred.algorithms.coadd import Through
from nirred.algorithms.grids import Grid, frame_rows, nearest_rows
from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_gather import gather_rows, input_rows
from nirred.algorithms.resample_kernels import Kernel, kernel_correlation, mean_correlation
from nirred.algorithms.resample_shift import bad_fraction_shift_rows, shift_rows
from nirred.algorithms.survey import Survey, pick_rows, survey_rows
from nirred.algorithms.threads import row_blocks

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
UInt8 = NDArray[np.uint8]
Transform = Callable[[Float64, Float64], tuple[Float64, Float64]]
Bounds = tuple[float, float, float, float]

#: Spacing of the nodes of a map without distortion, pixels: maps between tangent planes are nearly linear.
_STEP = 64
#: The distortion is tabulated this far beyond the detector's edges, flat pixels.
_MARGIN = 8
#: Accuracy of a distortion's table, read linearly, pixels: a fifth of the position tolerance.
_TRUE = 2e-3
#: Pixels per axis at which a map's sub-pixel phases are sampled.
_SAMPLES = 20


@dataclass(frozen=True)
class Distortion:
    """A camera's distortion: between flat pixels (a tangent plane's) and those of the detector.

    Parameters
    ----------
    forward : PixelMap
        From flat pixels, counted from `origin`, to the detector.
    origin : (float, float)
        Flat pixel of the map's first node.
    inverse : PixelMap
        From the detector to flat pixels.
    """

    forward: PixelMap
    origin: tuple[float, float]
    inverse: PixelMap

    @classmethod
    def of(cls, to_detector: Transform, to_flat: Transform, shape: tuple[int, int]) -> Distortion | None:
        """Tabulate the distortion of a detector of this shape; None if it is below a hundredth of a pixel.

        Raises
        ------
        ValueError
            It is not smooth, or not defined.
        """
        inverse = PixelMap.from_function(to_flat, shape, _TRUE)
        if inverse.is_identity:
            return None
        x0, y0 = (float(np.floor(np.nanmin(v))) - _MARGIN for v in (inverse.x, inverse.y))
        x1, y1 = (float(np.ceil(np.nanmax(v))) + _MARGIN for v in (inverse.x, inverse.y))
        size = (int(y1 - y0) + 1, int(x1 - x0) + 1)
        forward = PixelMap.from_function(lambda x, y: to_detector(x + x0, y + y0), size, _TRUE)
        return cls(forward, (x0, y0), inverse)

    def to_detector(self, x: Float64, y: Float64) -> tuple[Float64, Float64, Float64]:
        """Detector positions of flat ones, and the detector's area per flat area there."""
        return self.forward.read(x - self.origin[0], y - self.origin[1])


class Patch(Protocol):
    """Rows of a grid interpolated from rows [low, high) of a plane."""

    @property
    def low(self) -> int:
        """First row of the plane that is used."""

    @property
    def high(self) -> int:
        """Row after the last one used."""

    def values(self, data: Float32, bad: UInt8 | None, kernel: Kernel, out: Float32 | None = None) -> Float32:
        """Interpolated values; NaN without data. `data` and `bad` are rows [low, high) of the plane, `out` a buffer."""

    def hidden(self, bad: UInt8) -> Float32:
        """Share of each pixel that masked pixels cover."""

    def through(self, electrons: bool, gain: float) -> Through | None:
        """The plane's pixels under those of the grid, and their factors; None: a mere shift by `offset`."""

    @property
    def offset(self) -> tuple[int, int] | None:
        """(x, y) in the plane's rows of the pixel nearest to pixel (0, 0), if all others follow from it."""


@dataclass(frozen=True)
class ShiftPatch:
    """Patch of a plane that is merely shifted."""

    shift: tuple[float, float]
    grid: Grid
    rows: tuple[int, int]
    low: int
    high: int

    def through(self, electrons: bool, gain: float) -> None:  # noqa: D102
        return None

    def values(  # noqa: D102
        self, data: Float32, bad: UInt8 | None, kernel: Kernel, out: Float32 | None = None
    ) -> Float32:
        if kernel == "nearest":
            image = data if bad is None else np.where(bad, np.float32(np.nan), data)
            grid = Grid(self.grid.x0, self.grid.y0 - self.low, self.grid.shape)
            return nearest_rows(image, self.shift, grid, self.rows, np.nan, out)
        shape, origin = self.shape, self.origin
        return shift_rows(data, bad, *self.shift, kernel=kernel, shape=shape, origin=origin, out=out, covered=False)[0]

    def hidden(self, bad: UInt8) -> Float32:  # noqa: D102
        return bad_fraction_shift_rows(bad, *self.shift, shape=self.shape, origin=self.origin)

    @property
    def offset(self) -> tuple[int, int]:  # noqa: D102
        dx, dy = self.shift
        return self.origin[0] + math.floor(dx + 0.5), self.origin[1] + math.floor(dy + 0.5)

    @property
    def shape(self) -> tuple[int, int]:
        """Of the rows."""
        return self.rows[1] - self.rows[0], self.grid.shape[1]

    @property
    def origin(self) -> tuple[int, int]:
        """Of the rows, counted in the plane's rows from `low`."""
        return self.grid.x0, self.grid.y0 + self.rows[0] - self.low


@dataclass(frozen=True)
class MapPatch:
    """Patch for any map; `rows` are counted from the map's first."""

    pixelmap: PixelMap
    rows: tuple[int, int]
    low: int
    high: int
    shape: tuple[int, int]
    offset: None = None

    def values(  # noqa: D102
        self, data: Float32, bad: UInt8 | None, kernel: Kernel, out: Float32 | None = None
    ) -> Float32:
        part = (self.low, self.shape[0])
        return gather_rows(
            data, bad, self.pixelmap, kernel=kernel, rows=self.rows, conserve=False, part=part, covered=False, out=out
        )[0]

    def hidden(self, bad: UInt8) -> Float32:  # noqa: D102
        return self._survey(bad).hidden

    def through(self, electrons: bool, gain: float) -> Through:  # noqa: D102
        return Through(self._under.index, self._under.area, electrons, gain)

    @cached_property
    def _under(self) -> Survey:
        return self._survey(None)

    def _survey(self, bad: UInt8 | None) -> Survey:
        found = survey_rows(bad, self.pixelmap, self.rows, (self.low, self.high), self.shape)
        self.__dict__["_under"] = found  # independent of the mask: reused for the other calls
        return found


@dataclass(frozen=True)
class Placement:
    """Positions of a plane's pixels on a target plane; grids consist of whole pixels of the target.

    Parameters
    ----------
    shape : (int, int)
        (ny, nx) of the plane.
    shift : (dx, dy) or None
        Position on the plane minus on the target, if that is (nearly) the same for all pixels.
    matrix : float64 (3, 3)
        Otherwise: projective map from target to flat pixels of the plane.
    distortion : Distortion, optional
        From flat pixels to the detector's.
    """

    shape: tuple[int, int]
    shift: tuple[float, float] | None
    matrix: Float64
    distortion: Distortion | None = None

    @classmethod
    def shifted(cls, dx: float, dy: float, shape: tuple[int, int]) -> Placement:
        """Placement by a mere shift."""
        return cls(shape, (dx, dy), gnomonic.motion(0.0, (0.0, 0.0), (dx, dy)))

    def to_plane(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Positions on the plane of positions on the target."""
        if self.shift is not None:
            return x + self.shift[0], y + self.shift[1]
        u, v = gnomonic.apply(self.matrix, x, y)
        return (u, v) if self.distortion is None else self.distortion.to_detector(u, v)[:2]

    def from_plane(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        """Inverse of `to_plane`."""
        if self.shift is not None:
            return x - self.shift[0], y - self.shift[1]
        u, v = (x, y) if self.distortion is None else self.distortion.inverse.at(x, y)
        return gnomonic.apply(self._back, u, v)

    @cached_property
    def _back(self) -> Float64:
        return np.asarray(np.linalg.inv(self.matrix))

    @cached_property
    def _ahead(self) -> Float64:
        """From the target to the pixels of the distortion's map."""
        assert self.distortion is not None
        return gnomonic.motion(0.0, self.distortion.origin, (0.0, 0.0)) @ self.matrix

    def area_at(self, x: Float64, y: Float64) -> Float64:
        """Plane's pixels per pixel of the target, at positions on the target."""
        if self.shift is not None:
            return np.ones(np.shape(x))
        area = gnomonic.area(self.matrix, x, y)
        if self.distortion is None:
            return area
        return np.asarray(area * self.distortion.to_detector(*gnomonic.apply(self.matrix, x, y))[2])

    @cached_property
    def bounds(self) -> Bounds:
        """(x0, y0, x1, y1) on the target that hold the centres of the plane's outermost pixels."""
        ny, nx = self.shape
        if self.shift is not None:
            dx, dy = self.shift
            return -dx, -dy, nx - 1 - dx, ny - 1 - dy
        along = np.linspace(0.0, 1.0, 65)
        x = np.concatenate([along, along, 0 * along, 0 * along + 1]) * (nx - 1)
        y = np.concatenate([0 * along, 0 * along + 1, along, along]) * (ny - 1)
        u, v = self.from_plane(x, y)
        return float(u.min()), float(v.min()), float(u.max()), float(v.max())

    def patch(self, grid: Grid, rows: tuple[int, int]) -> Patch | None:
        """Patch for rows [first, last) of a grid; None if the plane does not reach them."""
        if self.shift is not None:
            low, high = frame_rows(self.shift, grid, rows, self.shape[0])
            return ShiftPatch(self.shift, grid, rows, low, high) if high > low else None
        x0, y0, x1, y1 = self.bounds
        margin = 2
        if y1 + margin < grid.y0 + rows[0] or y0 - margin > grid.y0 + rows[1] - 1:
            return None
        if x1 + margin < grid.x0 or x0 - margin > grid.x0 + grid.shape[1] - 1:
            return None
        pixelmap, first = self.rows_of(grid, rows)
        mine = (rows[0] - first, rows[1] - first)
        low, high = input_rows(pixelmap, *mine, self.shape[0])
        return MapPatch(pixelmap, mine, low, high, self.shape) if high > low else None

    def rows_of(self, grid: Grid, rows: tuple[int, int]) -> tuple[PixelMap, int]:
        """Map of rows of a grid, and its first row in the grid: the nodes do not depend on the requested rows."""
        if self.distortion is not None:
            forward = self.distortion.forward
            first = rows[0] // forward.step * forward.step
            return forward.behind(self._ahead, (grid.x0, grid.y0 + first), (rows[1] - first, grid.shape[1])), first
        first = rows[0] // _STEP * _STEP
        shape = (rows[1] - first, grid.shape[1])
        u, v = np.meshgrid(*(np.arange(-(-n // _STEP) + 1) * float(_STEP) for n in shape[::-1]))
        u, v = u + grid.x0, v + (grid.y0 + first)
        return PixelMap(shape, _STEP, *gnomonic.apply(self.matrix, u, v), gnomonic.area(self.matrix, u, v)), first

    def blot(
        self, model: Float32, count: np.ndarray, grid: Grid, kernel: Kernel
    ) -> tuple[Float32, np.ndarray, tuple[int, int]]:
        """A grid's model at the pixels of the plane, NaN outside; its counts, and the plane's first pixel on these."""
        if self.shift is None:
            values, back = np.empty(self.shape, np.float32), self.onto(grid)
            for rows in row_blocks(self.shape[0]):
                low, high = input_rows(back, rows.start, rows.stop, grid.shape[0])
                patch = MapPatch(back, (rows.start, rows.stop), low, high, grid.shape)
                patch.values(model[low:high], None, kernel, values[rows])
            return values, self._picked(count, grid), (0, 0)
        dx, dy = -self.shift[0], -self.shift[1]
        x, y = -grid.x0, -grid.y0
        shape = self.shape
        values, _ = shift_rows(model, None, dx, dy, kernel=kernel, shape=shape, origin=(x, y), covered=False)
        return values, count, (x + math.floor(dx + 0.5), y + math.floor(dy + 0.5))

    def _picked(self, plane: np.ndarray, grid: Grid) -> np.ndarray:
        """Nearest values of a grid's plane at this plane's pixels, through the map; 0 outside."""
        out = np.empty(self.shape, plane.dtype)
        pick_rows(plane, None, self.onto(grid), (0, self.shape[0]), (0, grid.shape[0]), out, 0)
        return out

    def carry(self, mask: np.ndarray, grid: Grid) -> np.ndarray:
        """Nearest values of a grid's mask at the plane's pixels; 0 outside."""
        if self.shift is None:
            return self._picked(mask, grid)
        moved = Grid(-grid.x0 - round(self.shift[0]), -grid.y0 - round(self.shift[1]), self.shape)
        return nearest_rows(mask, (0.0, 0.0), moved, (0, self.shape[0]), 0)

    def onto(self, grid: Grid) -> PixelMap:
        """Map from the plane's pixels to a grid's, for a plane that is not merely shifted."""
        if self.distortion is not None:
            nodes = self.distortion.inverse
            x, y, area, step = nodes.x, nodes.y, nodes.area, nodes.step
        else:
            step = _STEP
            x, y = np.meshgrid(*(np.arange(-(-n // step) + 1) * float(step) for n in self.shape[::-1]))
            area = np.ones(x.shape)
        u, v = gnomonic.apply(self._back, x, y)
        area = area * gnomonic.area(self._back, x, y)
        return PixelMap(self.shape, step, u - grid.x0, v - grid.y0, area)

    def jacobian(self) -> Float64:
        """(2, 2) steps on the plane per step on the target, at the plane's centre."""
        ny, nx = self.shape
        x, y = self.from_plane(np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2]))
        half = np.array([0.5, -0.5, 0.0, 0.0])
        u, v = self.to_plane(x + 8 * half, y + 8 * half[::-1])
        return np.array([[u[0] - u[1], u[3] - u[2]], [v[0] - v[1], v[3] - v[2]]]) / 8

    def correlation(self, kernel: Kernel) -> Float64:
        """Noise covariance (7, 7) of unit white noise resampled onto a grid."""
        if self.shift is not None:
            return kernel_correlation(*self.shift, kernel)
        x0, y0, x1, y1 = self.bounds
        axes = (np.rint(np.linspace(a, b, _SAMPLES + 2)[1:-1]) for a, b in ((x0, x1), (y0, y1)))
        x, y = self.to_plane(*(v.ravel() for v in np.meshgrid(*axes)))
        return mean_correlation(x, y, self.jacobian(), kernel)

    def noise_gain(self, kernel: Kernel) -> float:
        """Variance of large apertures over that expected from pixel areas: with rotation, `nearest` repeats pixels."""
        if self.shift is not None or kernel != "nearest":
            return 1.0
        return float(self.correlation(kernel).sum() * abs(np.linalg.det(self.jacobian())))
