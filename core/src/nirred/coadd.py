"""Group-level coadding by tiles: frames of a group onto one grid, through `algorithms.coadd` and resampling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from .algorithms.coadd import Grid, frame_rows, nearest_rows, union_grid
from .algorithms.combine import combine
from .algorithms.resample_kernels import CORRELATION_HALF_WIDTH, Kernel, kernel_correlation
from .algorithms.resample_shift import bad_fraction_shift_rows, shift_rows
from .algorithms.threads import run_blocks
from .group import BAD, Group, PlaneState
from .plugin.coordinates import make_wcs

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from typing_extensions import TypeIs

#: Methods of the package reproject, which work on whole frames.
Reprojection: TypeAlias = Literal["interp", "adaptive", "exact"]

#: Rows of the output grid that are made at once.
TILE = 64


def shift_of(group: Group, i: int) -> tuple[float, float]:
    """(dx, dy) of a frame: position of a source in it minus in the reference."""
    return group.frames[i].dx, group.frames[i].dy


def resampled_rows(
    state: PlaneState, i: int, shift: tuple[float, float], grid: Grid, rows: tuple[int, int], kernel: Kernel
) -> np.ndarray:
    """Rows of the grid from one sky-subtracted frame, masked pixels left out; NaN without data."""
    assert state.sub is not None
    low, high = frame_rows(shift, grid, rows, state.shape[0])
    if high == low:
        return np.full((rows[1] - rows[0], grid.shape[1]), np.nan, np.float32)
    bad = (state.dq.rows(i, low, high) & BAD) != 0
    part = Grid(grid.x0, grid.y0 + rows[0] - low, (rows[1] - rows[0], grid.shape[1]))
    return shift_rows(
        state.sub.rows(i, low, high), bad.view(np.uint8), *shift, kernel=kernel, shape=part.shape, origin=part.origin
    )[0]


def median_model(group: Group, p: int, frames: list[int], kernel: Kernel) -> tuple[Grid, np.ndarray, np.ndarray]:
    """Median of sky-subtracted frames on their union grid.

    Returns
    -------
    grid : Grid
    model : float32 (ny, nx)
        NaN without data.
    count : float32 (ny, nx)
        Frames behind each pixel.
    """
    state = group.planes[p]
    grid = union_grid([shift_of(group, i) for i in frames], state.shape)
    model = np.empty(grid.shape, np.float32)
    count = np.empty(grid.shape, np.float32)

    def tile(start: int, stop: int) -> None:
        images = [resampled_rows(state, i, shift_of(group, i), grid, (start, stop), kernel) for i in frames]
        result = combine(images, method="median")
        model[start:stop], count[start:stop] = result.sci, result.n

    run_blocks(tile, grid.shape[0], group.context.threads, tile_rows(group, len(frames), grid.shape[1]))
    return grid, model, count


def tile_rows(group: Group, n: int, width: int) -> int:
    """Rows of n resampled frames that all threads together may hold in a quarter of the memory, 8 to `TILE`."""
    row = n * width * 8  # float32, and as much again for what they are made from
    return max(8, min(TILE, group.context.memory // (4 * group.context.threads * row)))


def blot(
    model: np.ndarray, count: np.ndarray, grid: Grid, shift: tuple[float, float], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The model and its counts at the pixels of one frame."""
    hidden = (~np.isfinite(model)).view(np.uint8)
    dx, dy = -shift[0], -shift[1]
    origin = (-grid.x0, -grid.y0)
    values = shift_rows(model, hidden, dx, dy, kernel="lanczos3", shape=shape, origin=origin)[0]
    back = Grid(-grid.x0, -grid.y0, shape)
    counts = nearest_rows(count, (dx, dy), back, (0, shape[0]), 0.0)
    return values, counts


def hidden_rows(bad: np.ndarray, shift: tuple[float, float], grid: Grid, rows: tuple[int, int], low: int) -> np.ndarray:
    """Share of each output pixel that masked pixels cover; `bad` starts at row `low` of the frame."""
    return bad_fraction_shift_rows(
        bad, *shift, shape=(rows[1] - rows[0], grid.shape[1]), origin=(grid.x0, grid.y0 + rows[0] - low)
    )


def is_reprojection(kernel: Kernel | Reprojection) -> TypeIs[Reprojection]:
    """True for a method of reproject."""
    return kernel in get_args(Reprojection)


def reprojected(
    image: np.ndarray,
    shift: tuple[float, float],
    origin: tuple[int, int],
    shape: tuple[int, int],
    method: Reprojection,
) -> tuple[np.ndarray, np.ndarray]:
    """Resample an image by a measured shift with the package reproject.

    Input and output share one tangent plane, so that the shift is the measured one whatever the headers say. Pixels
    are of equal area: surface brightness is conserved, and flux with it.

    Parameters
    ----------
    image : (ny, nx)
        Not finite where there is no data.
    shift : (dx, dy)
        As in `shift_of`.
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
        Share of each pixel that the image covers.
    """
    import reproject

    source, target = _tangent(*shift), _tangent(-origin[0], -origin[1])
    if method == "exact":
        values, footprint = reproject.reproject_exact((image, source), target, shape_out=shape)
    else:
        function = reproject.reproject_interp if method == "interp" else reproject.reproject_adaptive
        values, footprint = function((image, source), target, shape_out=shape, roundtrip_coords=False)
    return values.astype(np.float32), footprint.astype(np.float32)


def _tangent(x: float, y: float) -> WCS:
    """A tangent plane with one point of the sky at pixel (x, y), zero-based; 0.36 arcsec per pixel."""
    return make_wcs((x + 1, y + 1), (180.0, 0.0), ((-1e-4, 0.0), (0.0, 1e-4)))


def correlation_of(shift: tuple[float, float], kernel: Kernel | Reprojection) -> np.ndarray:
    """Noise covariance (7, 7) of unit white noise after a resampling by a shift.

    As `nirred.algorithms.resample_kernels.kernel_correlation`, which gives it for our own kernels; reproject's are seen
    in what they make of a single pixel.
    """
    if not is_reprojection(kernel):
        return kernel_correlation(*shift, kernel)
    from scipy.signal import correlate2d

    half, middle = CORRELATION_HALF_WIDTH, 8
    point = np.zeros((2 * middle + 1, 2 * middle + 1), np.float32)
    point[middle, middle] = 1.0
    part = (shift[0] - np.floor(shift[0]), shift[1] - np.floor(shift[1]))
    spread = np.nan_to_num(reprojected(point, part, (0, 0), point.shape, kernel)[0].astype(np.float64))
    lags = slice(2 * middle - half, 2 * middle + half + 1)
    return np.asarray(correlate2d(spread, spread)[lags, lags])
