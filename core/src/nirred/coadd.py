"""Coadding of a group's frames on one grid, by tiles, with `algorithms.placement`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from .algorithms.flags import flagged
from .algorithms.grids import Grid, common_grid, enclosing_grid
from .algorithms.medians import medians, shifted_medians
from .algorithms.placement import Placement
from .algorithms.rectangle import largest_rectangle
from .algorithms.resample_kernels import CORRELATION_HALF_WIDTH, Kernel
from .algorithms.sky_rows import spread_order
from .algorithms.threads import row_blocks, run_blocks
from .dq import DQ
from .geometry import Target, geometry
from .group import Group
from .plugin.coordinates import AnyWcs, as_astropy, make_wcs
from .states import BAD

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from typing_extensions import TypeIs

#: Methods of the package reproject, which work on whole frames.
Reprojection: TypeAlias = Literal["interp", "adaptive", "exact"]

#: Rows of the output grid that are computed at once.
TILE = 64
#: Spacing of the points at which the area common to all frames is determined, pixels.
_COARSE = 4
#: Choice of frames for a model: rows of a band with the same frames; spacing in pixels of the points at which frames
#: are counted; smallest number of frames, for a median that is robust to outliers.
_CELL, _STEP, _LEAST = 64, 16, 7


@dataclass(frozen=True)
class Layout:
    """A target with its grid, and the placements of each frame's planes on it."""

    target: Target
    placements: dict[tuple[int, int], Placement]

    @property
    def grid(self) -> Grid:
        """The target's pixels."""
        return self.target.grid

    def of(self, i: int) -> list[tuple[int, Placement]]:
        """The planes of a frame and their placements."""
        return [(p, self.placements[i, p]) for p in self.target.planes]

    def carry(self, mask: np.ndarray, i: int, p: int) -> np.ndarray:
        """A mask on the grid, uint8, as it lies on a plane of frame `i`, uint8 (ny, nx)."""
        return self.placements[i, p].carry(mask, self.grid)


def lay_out(group: Group, frames: list[int], target: Target, *, common: bool = False) -> Layout:
    """Place frames on a target, and set its grid to their union, or with `common` to their intersection.

    Raises
    ------
    ValueError
        The frames have no area in common.
    """
    placements = {(i, p): geometry(group).place(i, p, target) for i in frames for p in target.planes}
    grid = enclosing_grid([placed.bounds for placed in placements.values()])
    if common:
        shifts = [placed.shift for placed in placements.values() if placed.shift is not None]
        single = len(target.planes) == 1 and len(shifts) == len(frames)
        grid = (
            common_grid(shifts, group.planes[target.planes[0]].shape)
            if single
            else _covered(frames, target, grid, placements)
        )
    return Layout(replace(target, grid=grid), placements)


def _covered(frames: list[int], target: Target, grid: Grid, placements: dict[tuple[int, int], Placement]) -> Grid:
    """Largest rectangle of a grid that is covered by a plane of every frame."""
    x, y = np.meshgrid(*(np.arange(0, n, _COARSE, dtype=float) for n in grid.shape[::-1]))
    every = np.ones(x.shape, bool)
    for i in frames:
        mine = np.zeros(x.shape, bool)
        for p in target.planes:
            placed = placements[i, p]
            u, v = placed.to_plane(x + grid.x0, y + grid.y0)
            mine |= (u >= 0) & (u <= placed.shape[1] - 1) & (v >= 0) & (v <= placed.shape[0] - 1)
        every &= mine
    rows, columns = largest_rectangle(every)
    if rows.stop == rows.start:
        raise ValueError("the frames have no area in common")
    shape = ((rows.stop - rows.start - 1) * _COARSE + 1, (columns.stop - columns.start - 1) * _COARSE + 1)
    return Grid(grid.x0 + columns.start * _COARSE, grid.y0 + rows.start * _COARSE, shape)


def drawn_rows(group: Group, layout: Layout, i: int, rows: tuple[int, int], kernel: Kernel) -> np.ndarray:
    """Rows of the grid resampled from one sky-subtracted frame without masked pixels; NaN without data."""
    out = np.empty((rows[1] - rows[0], layout.grid.shape[1]), np.float32)
    if not _draw(group, layout, i, rows, kernel, out):
        out[:] = np.nan
    return out


def _draw(group: Group, layout: Layout, i: int, rows: tuple[int, int], kernel: Kernel, out: np.ndarray) -> bool:
    """Fill `out` as in `drawn_rows`; return False, and fill nothing, if the frame does not cover these rows."""
    found = False
    for p, placed in layout.of(i):
        state = group.planes[p]
        patch = placed.patch(layout.grid, rows)
        if patch is None:
            continue
        bad = flagged(state.dq.rows(i, patch.low, patch.high), int(BAD))
        data = state.sub.rows(i, patch.low, patch.high)
        if found:
            np.copyto(out, patch.values(data, bad, kernel), where=np.isnan(out))
        else:
            patch.values(data, bad, kernel, out)
        found = True
    return found


def median_model(
    group: Group, frames: list[int], target: Target, kernel: Kernel, most: int = 64
) -> tuple[Layout, np.ndarray, np.ndarray]:
    """Median of sky-subtracted frames on their union grid; for a long sequence, of about `most` frames at each point.

    If two frames differ as by a cosmic ray, the value closer to the sky replaces their mean, which would contaminate
    the surrounding pixels through interpolation.

    Returns
    -------
    layout : Layout
        Of all frames.
    model : float32 (ny, nx)
        NaN without data.
    count : uint16 (ny, nx)
        Number of frames at each pixel.
    """
    layout = lay_out(group, frames, target)
    grid, bands = layout.grid, _as_deep(layout, frames, most)
    model = np.empty(grid.shape, np.float32)
    count = np.empty(grid.shape, np.uint16)

    sigma = max(math.sqrt(s.expected_variance(s.sky.get(i, 0.0))) for s in group.planes for i in frames)
    shifted = kernel == "nearest" and _are_shifted(layout, frames)
    rows = tile_rows(group, max(len(chosen) for chosen in bands), grid.shape[1])

    def tile(chosen: list[int], start: int, stop: int) -> None:
        if (
            shifted
            and chosen
            and _medians_by_shifts(group, layout, chosen, start, 7.0 * sigma, (model[start:stop], count[start:stop]))
        ):
            return
        images, seen = np.empty((len(chosen), stop - start, grid.shape[1]), np.float32), 0
        for i in chosen:
            seen += _draw(group, layout, i, (start, stop), kernel, images[seen])
        model[start:stop], count[start:stop] = medians(images[:seen], 7.0 * sigma)

    def band(start: int, stop: int) -> None:
        for part in row_blocks(stop - start, rows):
            tile(bands[start // _CELL], start + part.start, start + part.stop)

    run_blocks(band, grid.shape[0], group.context.threads, _CELL)
    return layout, model, count


def _are_shifted(layout: Layout, frames: list[int]) -> bool:
    """Whether frames of one plane are placed on a grid by shifts only."""
    return len(layout.target.planes) == 1 and all(p.shift is not None for i in frames for _, p in layout.of(i))


def _medians_by_shifts(
    group: Group, layout: Layout, frames: list[int], start: int, apart: float, out: tuple[np.ndarray, np.ndarray]
) -> bool:
    """Medians of the nearest pixels for rows of the grid, without resampling; False if planes are not in one array."""
    state, rows = group.planes[layout.target.planes[0]], len(out[0])
    data, dq = (stack.lend(len(frames), rows) for stack in (state.sub, state.dq))
    if data is None or dq is None:
        return False
    first = layout.grid.x0, layout.grid.y0 + start
    columns, lines = (
        np.array([first[k] + math.floor(shift[k] + 0.5) for i in frames for _, p in layout.of(i) if (shift := p.shift)])
        for k in (0, 1)
    )
    shifted_medians(data, dq, (np.array(frames), lines, columns), int(BAD), apart, out)
    return True


def deep_frames(group: Group, frames: list[int], target: Target, most: int) -> list[int]:
    """The frames that `median_model` uses anywhere."""
    return sorted(set().union(*_as_deep(lay_out(group, frames, target), frames, most)))


def _as_deep(layout: Layout, frames: list[int], most: int) -> list[list[int]]:
    """About `most` frames, in order, for every band of `_CELL` rows: frames are dropped evenly everywhere.

    At least `_LEAST` are kept: near the edges, which few frames cover, all of them are used, but only there.
    """
    grid = layout.grid
    if len(frames) <= most:
        return [frames] * -(-grid.shape[0] // _CELL)
    boxes = np.array([(k, *placed.bounds) for k, i in enumerate(frames) for _, placed in layout.of(i)])
    rank = np.argsort(spread_order(len(frames)))
    x = grid.x0 + np.arange(0, grid.shape[1] + _STEP, _STEP)
    bands = []
    for first in range(grid.y0, grid.y0 + grid.shape[0], _CELL):
        y = first + np.arange(0, _CELL + 1, _STEP)
        reach = boxes[(boxes[:, 2] <= y[-1]) & (boxes[:, 4] >= y[0])]
        reach = reach[np.argsort(rank[reach[:, 0].astype(int)], kind="stable")]
        bands.append(sorted({frames[k] for k in _of_band(reach, y, x, (most, len(frames)))}))
    return bands


def _of_band(boxes: np.ndarray, y: np.ndarray, x: np.ndarray, part: tuple[int, int]) -> list[int]:
    """Frames of the first planes (frame, x0, y0, x1, y1) that cover each point by the fraction `part` of all planes."""
    _, x0, y0, x1, y1 = boxes.T[:, :, None]
    covers = ((y >= y0) & (y <= y1))[:, :, None] & ((x >= x0) & (x <= x1))[:, None, :]
    total = covers.sum(axis=0)
    needed = np.minimum(total, np.maximum(_LEAST, part[0] * total // part[1]))
    depth, chosen = np.zeros(total.shape, np.int32), []
    for k, mine in enumerate(covers):
        if (mine & (depth < needed)).any():
            depth += mine
            chosen.append(int(boxes[k, 0]))
    return chosen


def tile_rows(group: Group, n: int, width: int, most: int = TILE) -> int:
    """Number of rows of n resampled frames for which all threads need a quarter of the memory, 8 to `most`."""
    row = n * width * 8  # float32, and as much again for the input pixels
    return max(8, min(most, group.context.memory // (4 * group.context.threads * row)))


def flags_of_stack(taken: np.ndarray, used: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Flags of a stack's pixels: of the values used; of those left out where none is.

    Parameters
    ----------
    taken : bool (ny, nx)
        Pixels with a value.
    used, lost : uint16 (ny, nx)
        Flags of the pixels that were used, and of those that were left out.

    Returns
    -------
    uint16 (ny, nx)
        A pixel without a value has a flag that says so: bit 16 is added if no lost one is bad, as next to bad pixels.
    """
    return np.where(taken, used, np.where((lost & BAD) != 0, lost, lost | np.uint16(DQ.NO_DATA)))


def is_reprojection(kernel: Kernel | Reprojection) -> TypeIs[Reprojection]:
    """Whether this is a method of the package reproject."""
    return kernel in get_args(Reprojection)


def reprojected(
    image: np.ndarray,
    shift: tuple[float, float],
    origin: tuple[int, int],
    shape: tuple[int, int],
    method: Reprojection,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image by a measured shift with the package reproject.

    Input and output share one tangent plane, so the shift is the measured one regardless of the headers. Pixels have
    equal area: surface brightness, and with it flux, is conserved.

    Parameters
    ----------
    image : (ny, nx)
        Not finite where there is no data.
    shift : (dx, dy)
        Position of a source in it minus that in the reference frame.
    origin : (int, int)
        (x, y) of output pixel (0, 0) in the reference frame.
    shape : (int, int)
        (ny, nx) of the output.
    method : {"interp", "adaptive", "exact"}
        Bilinear; DeForest's (2004) anti-aliasing Gaussian kernel; overlap of pixels on the sphere.

    Returns
    -------
    values : float32 (ny, nx)
        NaN without data.
    footprint : float32 (ny, nx)
        Fraction of each pixel covered by the image.
    """
    return reproject_between(image, _tangent(*shift), _tangent(-origin[0], -origin[1]), shape, method)


def reproject_between(
    image: np.ndarray, before: AnyWcs, after: AnyWcs, shape: tuple[int, int], method: Reprojection
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image of surface brightness from one WCS to another, as `reprojected`."""
    import reproject

    source, target = as_astropy(before), as_astropy(after)
    if method == "exact":
        values, footprint = reproject.reproject_exact((image, source), target, shape_out=shape)
    else:
        function = reproject.reproject_interp if method == "interp" else reproject.reproject_adaptive
        values, footprint = function((image, source), target, shape_out=shape, roundtrip_coords=False)
    return values.astype(np.float32), footprint.astype(np.float32)


def _tangent(x: float, y: float) -> WCS:
    """A tangent plane with one point of the sky at pixel (x, y), zero-based; 0.36 arcsec per pixel."""
    return make_wcs((x + 1, y + 1), (180.0, 0.0), ((-1e-4, 0.0), (0.0, 1e-4)))


def correlation_of(placed: Placement, kernel: Kernel | Reprojection) -> np.ndarray:
    """Noise covariance (7, 7) of unit white noise after a resampling.

    For nirred's own kernels, `nirred.algorithms.resample_kernels.kernel_correlation`. For methods of reproject, it is
    derived from the response to a single pixel, at the phase of the shift or, for other maps, averaged over phases.
    """
    if not is_reprojection(kernel):
        return placed.correlation(kernel)
    if placed.shift is not None:
        return _point_correlation(placed.shift, kernel)
    if kernel != "adaptive":  # bilinear, or the overlap of pixels, which is the same apart from rotation
        return placed.correlation("bilinear")
    phases = (0.125, 0.375, 0.625, 0.875)
    return np.asarray(np.mean([_point_correlation((a, b), kernel) for a in phases for b in phases], axis=0))


def _point_correlation(shift: tuple[float, float], kernel: Reprojection) -> np.ndarray:
    from scipy.signal import correlate2d

    half, middle = CORRELATION_HALF_WIDTH, 8
    point = np.zeros((2 * middle + 1, 2 * middle + 1), np.float32)
    point[middle, middle] = 1.0
    part = (shift[0] - np.floor(shift[0]), shift[1] - np.floor(shift[1]))
    spread = np.nan_to_num(reprojected(point, part, (0, 0), point.shape, kernel)[0].astype(np.float64))
    lags = slice(2 * middle - half, 2 * middle + half + 1)
    return np.asarray(correlate2d(spread, spread)[lags, lags])
