"""Steps from registered frames to the stack: outliers, photometric scale and weights, resampling, sums."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..algorithms.coadd import (
    Accumulator,
    Grid,
    OutlierLimits,
    common_grid,
    core_slope,
    flag_outliers,
    frame_rows,
    nearest_rows,
    patch_hidden,
    union_grid,
)
from ..algorithms.noise import noise_covariance
from ..algorithms.photometry import aperture_fluxes, relative_transparencies, shrink
from ..algorithms.resample_kernels import Kernel
from ..algorithms.resample_shift import shift_rows
from ..algorithms.threads import run_blocks
from ..coadd import (
    TILE,
    Reprojection,
    blot,
    correlation_of,
    hidden_rows,
    is_reprojection,
    median_model,
    reprojected,
    shift_of,
)
from ..dq import DQ
from ..errors import StepError
from ..frame import Plane
from ..group import BAD, Group, PlaneState
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..step import GroupStep
from .register import refer_to

#: A stacked pixel takes a frame's value when no more than this share of it comes from masked pixels.
HIDDEN_LIMIT = 0.35


def noise_factor(group: Group, state: PlaneState, i: int) -> float:
    """Factor on a frame's modelled variance: the noise of its sky, and what was measured against the model."""
    return (1.0 + state.sky_variance.get(i, 0.0)) * group.frames[i].noise_scale ** 2


def noise_of(state: PlaneState) -> tuple[np.ndarray, np.ndarray]:
    """(constant, per_electron) of the noise model as full planes."""
    shape = state.shape
    return (
        np.ascontiguousarray(np.broadcast_to(np.asarray(state.constant, np.float32), shape)),
        np.ascontiguousarray(np.broadcast_to(np.asarray(state.per_electron, np.float32), shape)),
    )


class FlagOutliers(GroupStep):
    """Cosmic rays and passing defects, on the detector frame, before the one resampling."""

    name = "flag_outliers"
    doc = "flag pixels that the median of the sequence does not explain, on the detector, before resampling"

    class Params(StepParams):
        """Parameters of `flag_outliers`."""

        high: float = param(5.0, "sigma of the noise model", gt=0)
        low: float = param(3.0, "the same for neighbours of an outlier", gt=0)
        slope: float = param(0.6, "share of the local steepness that is allowed besides", ge=0)
        least: int = param(3, "frames that must overlap", ge=2)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        reach = max(1, round((group.extras.get("fwhm") or 4.0) / 2))
        widths = [group.frames[i].fwhm for i in frames if np.isfinite(group.frames[i].fwhm)]
        usual = float(np.median(widths)) if widths else float("nan")
        total = 0
        for p, state in enumerate(group.planes):
            assert state.sub is not None
            grid, model, count = median_model(group, p, frames, kernel="lanczos3")
            planes = noise_of(state)
            for i in frames:
                frame = group.frames[i]
                values, counts = blot(model, count, grid, shift_of(group, i), state.shape)
                scale = (frame.transparency, max(frame.sky, 0.0), noise_factor(group, state, i))
                slope = max(params.slope, core_slope(frame.fwhm, usual)) if params.slope > 0 else 0.0
                limits = OutlierLimits(params.high, params.low, slope, slope * 2 / 3, params.least, reach)
                dq = state.dq.frame(i)
                bright = ((dq & np.uint16(DQ.SATURATED | DQ.NON_LINEAR)) != 0).view(np.uint8)
                flags = flag_outliers(state.sub.frame(i), bright, (values, counts), planes, scale, limits)
                total += int(np.count_nonzero(flags & ((dq & BAD) == 0)))
                state.dq.put(i, dq | np.where(flags != 0, np.uint16(DQ.COSMIC_RAY), np.uint16(0)))
                _fill(state, i, values * np.float32(frame.transparency))
        group.context.say(f"{group.task.id}: {total / len(frames):.0f} outliers per frame")


def _fill(state: PlaneState, i: int, values: np.ndarray) -> None:
    """Put the sequence's own value where a frame has none, so that interpolation beside it stays right."""
    assert state.sub is not None
    state.sub.put(i, patch_hidden(state.sub.frame(i), state.bad(i), values))


class ScaleCounts(GroupStep):
    """Relative transparencies and weights of the frames."""

    name = "scale_counts_to_reference"
    doc = "relative transparency of each frame from its stars (weighted mean 1), and one weight per frame"
    aliases = ("scaleCountsToReference",)

    class Params(StepParams):
        """Parameters of `scale_counts_to_reference`."""

        scale: bool = param(True, "divide each frame by its relative transparency")
        min_stars: int = param(3, "with fewer stars all transparencies are 1", ge=1)
        max_fwhm: float = param(1.5, "leave out frames whose FWHM is this many times the median", gt=1)
        min_transparency: float = param(0.5, "leave out frames with less than this transparency", ge=0)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        self._gate_seeing(group, params)
        frames = group.need(group.targets, "frames on target")
        if params.scale and len(frames) > 1:
            measured, errors = _transparencies(group, frames, params.min_stars)
            for i, t in zip(frames, shrink(measured, errors), strict=True):
                group.frames[i].transparency = float(t)
            for i, t in zip(frames, measured, strict=True):
                if t < params.min_transparency:
                    group.frames[i].reject(f"transparency {t:.2f}, limit {params.min_transparency:g}")
                    group.remark(f"{group.frames[i].info.name} left out: {group.frames[i].reason}")
        frames = group.need(group.targets, "frames on target")
        state = group.planes[0]
        for i in frames:
            frame = group.frames[i]
            variance = state.expected_variance(frame.sky) * noise_factor(group, state, i)
            frame.weight = frame.transparency**2 / variance if variance > 0 else 1.0
        total = sum(group.frames[i].weight for i in frames)
        mean = sum(group.frames[i].weight * group.frames[i].transparency for i in frames) / total
        for i in frames:
            group.frames[i].weight /= total
            group.frames[i].transparency /= mean

    def _gate_seeing(self, group: Group, params: Params) -> None:
        known = {i: group.frames[i].fwhm for i in group.targets if np.isfinite(group.frames[i].fwhm)}
        if len(known) < 3:
            return
        usual = float(np.median(list(known.values())))
        for i, fwhm in known.items():
            enough = np.count_nonzero(group.extras["stars"][i][0].snr > 10) >= params.min_stars
            if enough and fwhm > params.max_fwhm * usual:
                group.frames[i].reject(f"FWHM {fwhm:.1f} px, limit {params.max_fwhm * usual:.1f} px")
                group.remark(f"{group.frames[i].info.name} left out: {group.frames[i].reason}")


def _transparencies(group: Group, frames: list[int], min_stars: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative transparencies and their errors from the stars that the reference frame shows."""
    stars = group.extras["stars"][group.reference][0]
    reference = group.frames[group.reference]
    bright = np.flatnonzero(stars.snr > 20)[:40]
    flux = np.full((len(frames), bright.size), np.nan)
    error = np.full_like(flux, np.nan)
    state = group.planes[0]
    assert state.sub is not None
    fwhm = group.extras.get("fwhm") or 4.0
    for k, i in enumerate(frames):
        f = group.frames[i]
        x = stars.x[bright] - reference.dx + f.dx
        y = stars.y[bright] - reference.dy + f.dy
        flux[k], error[k] = aperture_fluxes(state.sub.frame(i), state.bad(i, DQ.SATURATED), x, y, fwhm)
    return relative_transparencies(flux, error, min_stars)


class Resample(GroupStep):
    """Chooses grid and interpolant; the resampling itself is done in the stack."""

    name = "resample_to_common_frame"
    doc = "grid and interpolant of the one resampling; done tile by tile while stacking"

    class Params(StepParams):
        """Parameters of `resample_to_common_frame`."""

        interpolant: Literal["lanczos3", "bilinear", "nearest", "interp", "adaptive", "exact", "none"] = param(
            "lanczos3",
            "kernel of the one resampling; interp, exact and adaptive (which widens stars) are those of the package "
            "reproject, on whole frames and slow; none is nearest: shifts are rounded to whole pixels",
        )
        crop: Literal["union", "common"] = param("union", "keep every pixel that any frame covers, or those of all")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        refer_to(group, group.reference)  # the one of the registration may have been left out since
        shifts = [shift_of(group, i) for i in frames]
        shape = group.planes[0].shape
        try:
            group.extras["grid"] = common_grid(shifts, shape) if params.crop == "common" else union_grid(shifts, shape)
        except ValueError as error:
            raise StepError(f"{group.task.id}: {error}", "--crop union") from None
        group.extras["kernel"] = "nearest" if params.interpolant == "none" else params.interpolant


class StackFrames(GroupStep):
    """Weighted mean of the registered frames."""

    name = "stack_frames"
    doc = "weighted mean by output tiles, resampled once, with VAR, DQ and NEXP"

    class Params(StepParams):
        """Parameters of `stack_frames`."""

        hidden: float = param(
            HIDDEN_LIMIT, "leave a frame out of a pixel that comes from masked pixels by more", ge=0, le=1
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        grid: Grid = group.extras["grid"]
        made, counts = [], []
        for p in range(len(group.planes)):
            plane, count = stack_plane(group, p, frames, params.hidden)
            made.append(plane)
            counts.append(count)
        group.streams[call.gives] = made
        group.extras["nexp"] = counts
        cov = _covariance(group, frames)
        group.extras["noisecov"] = cov
        group.keywords["CORRFAC"] = (float(np.sqrt(cov[3, 3])), "pixel scatter / sqrt(VAR)")
        group.keywords["REFX0"] = (-grid.x0, "x (from 0) of pixel (0,0) of REFFRAME")
        group.keywords["REFY0"] = (-grid.y0, "y (from 0) of pixel (0,0) of REFFRAME")
        group.keywords["NCOMBINE"] = len(frames)


def stack_plane(group: Group, p: int, frames: list[int], limit: float) -> tuple[Plane, np.ndarray]:
    """Stack one plane: data, VAR, DQ, and the frames behind each pixel."""
    state, grid, kernel = group.planes[p], group.extras["grid"], group.extras["kernel"]
    ny, nx = grid.shape
    sci, var = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    dq, count = np.zeros((ny, nx), np.uint16), np.empty((ny, nx), np.uint16)
    noise = noise_of(state)

    def tile(start: int, stop: int) -> None:
        rows = (start, stop)
        sums = Accumulator.empty(stop - start, nx)
        used = np.zeros((stop - start, nx), np.uint16)
        lost = np.zeros((stop - start, nx), np.uint16)
        for i in frames:
            _add_frame(group, state, i, (grid, rows, kernel, limit), (sums, noise, used, lost))
        sci[start:stop], var[start:stop] = sums.result()
        count[start:stop] = sums.count
        dq[start:stop] = np.where(sums.count > 0, used, np.where(lost != 0, lost, np.uint16(DQ.NO_DATA)))

    run_blocks(tile, ny, group.context.threads, ny if is_reprojection(kernel) else TILE)
    return Plane(sci, dq, var), count


def _add_frame(
    group: Group,
    state: PlaneState,
    i: int,
    target: tuple[Grid, tuple[int, int], Kernel | Reprojection, float],
    into: tuple[Accumulator, tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray],
) -> None:
    """Add one frame's rows to a tile."""
    grid, rows, kernel, limit = target
    sums, noise, used, lost = into
    frame, shift = group.frames[i], shift_of(group, i)
    low, high = frame_rows(shift, grid, rows, state.shape[0])
    if high == low:
        return
    assert state.sub is not None
    flags = state.dq.rows(i, low, high)
    bad = ((flags & BAD & np.uint16(0xFFF9)) != 0).view(np.uint8)
    data = state.sub.rows(i, low, high)
    shape, origin = (rows[1] - rows[0], grid.shape[1]), (grid.x0, grid.y0 + rows[0] - low)
    hidden = hidden_rows(bad, shift, grid, rows, low)
    if is_reprojection(kernel):
        values, footprint = reprojected(data, shift, origin, shape, kernel)
        hidden = np.maximum(hidden, np.float32(1.0) - footprint)
    else:
        values = shift_rows(data, None, *shift, kernel=kernel, shape=shape, origin=origin)[0]
    part = Grid(grid.x0, grid.y0 - low, grid.shape)
    flag = nearest_rows(flags & np.uint16(BAD | 6), shift, part, rows, 0)
    here = [nearest_rows(n[low:high], shift, part, rows, 1.0) for n in noise]
    extra = noise_factor(group, state, i)
    sums.add(values, hidden, (here[0], here[1]), (frame.weight, frame.transparency, max(frame.sky, 0.0), extra), limit)
    taken = (hidden <= limit) & np.isfinite(values)
    used |= np.where(taken, flag & np.uint16(6), np.uint16(0))
    lost |= np.where(taken, np.uint16(0), flag)


def _covariance(group: Group, frames: list[int]) -> np.ndarray:
    """NOISECOV: the frames' own noise correlation after resampling, weighted as their noise is in the stack."""
    kernels = np.stack([correlation_of(shift_of(group, i), group.extras["kernel"]) for i in frames])
    weights = []
    for i in frames:
        f = group.frames[i]
        weights.append((f.weight / f.transparency) ** 2 * max(f.sky, 1.0) * noise_factor(group, group.planes[0], i))
    return noise_covariance(kernels, np.array(weights))


STACK_STEPS = (FlagOutliers, ScaleCounts, Resample, StackFrames)
