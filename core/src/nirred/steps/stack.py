"""Stacking: choice of the grid, the one resampling of the frames, and their weighted mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..algorithms.coadd import Accumulator, Entry, Under
from ..algorithms.combine import Rejection
from ..algorithms.combine_resampled import Combination
from ..algorithms.evenness import broadened
from ..algorithms.flags import flagged
from ..algorithms.noise import noise_covariance
from ..algorithms.placement import Patch
from ..algorithms.resample_kernels import CORRELATION_HALF_WIDTH, Kernel
from ..algorithms.threads import run_blocks
from ..coadd import (
    TILE,
    Layout,
    Reprojection,
    correlation_of,
    flags_of_stack,
    is_reprojection,
    lay_out,
    reproject_between,
    reprojected,
    tile_rows,
)
from ..errors import StepError
from ..frame import Plane
from ..geometry import geometry, targets_of
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..products import correlation_factor, grid_keywords
from ..results import require
from ..states import BAD, BRIGHT
from ..step import GroupStep
from .noisemodel import noise_factor, noise_of
from .outliers import mend_hidden
from .together import Together, frames_together
from .transparency import holds_brightness, weigh_frames

#: A stacked pixel takes a frame's value when no more than this share of it comes from masked pixels.
HIDDEN_LIMIT = 0.35


class Resample(GroupStep):
    """Choose grid and interpolant; frames are resampled while they are stacked."""

    name = "resample_to_common_frame"
    doc = "choose grid and interpolant of the single resampling, done tile by tile while stacking"

    class Params(StepParams):
        """Parameters of `resample_to_common_frame`."""

        interpolant: Literal["lanczos3", "bilinear", "nearest", "interp", "adaptive", "exact", "none"] = param(
            "lanczos3",
            "kernel of the single resampling; interp, exact and adaptive (which broadens stars) come from the package "
            "reproject, work on whole frames and are slow; none is nearest: shifts are rounded to whole pixels",
        )
        crop: Literal["union", "common"] = param("union", "keep pixels that any frame covers, or those that all do")
        mosaic: bool = param(True, "combine all detectors on one grid; False, or if one has no WCS: a stack of each")
        conserve: Literal["auto", "surface", "flux"] = param(
            "auto",
            "what distortion correction preserves: surface brightness (right with a flat of even brightness), or "
            "the sources' electrons (right without a flat, or without large scales in it); auto: decided by the stars "
            "if dithers move them far enough, else flux if there is no flat",
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        geometry(group).refer(group.reference)  # the one of the registration may have been left out since
        targets = targets_of(group, frames, mosaic=params.mosaic)
        try:
            layouts = [lay_out(group, frames, target, common=params.crop == "common") for target in targets]
        except ValueError as error:
            raise StepError(str(error), "--crop union") from None
        group.stack.layouts = layouts
        group.stack.kernel = "nearest" if params.interpolant == "none" else params.interpolant
        even = holds_brightness(group) if params.conserve == "auto" else params.conserve == "surface"
        group.stack.area_power = 0 if even else 1


class StackFrames(GroupStep):
    """Combine the registered frames, by default with a weighted mean."""

    name = "stack_frames"
    doc = "combine the frames, resampled once, by a weighted mean or otherwise, with VAR, DQ and NEXP"

    class Params(StepParams):
        """Parameters of `stack_frames`."""

        operation: Literal["wtmean", "mean", "median", "lmedian"] = param(
            "wtmean", "weight frames by their noise, or all alike; a median loses a fifth of the depth"
        )
        reject_method: Literal["detector", "sigclip", "varclip", "minmax"] = param(
            "detector",
            "detector: only outliers that flag_outliers has flagged; the others reject more among resampled values, by "
            "their own scatter, the noise model, or as the nlow lowest and nhigh highest; clipping damages star cores "
            "where the seeing varies; limits without a method imply sigclip or minmax",
        )
        hsigma: float | None = param(None, "limit of sigclip and varclip above the median; none: 3", unit="sigma", gt=0)
        lsigma: float | None = param(None, "limit of sigclip and varclip below the median; none: 3", unit="sigma", gt=0)
        nlow: int | None = param(None, "number of lowest values that minmax leaves out; none: 0", ge=0)
        nhigh: int | None = param(None, "number of highest values that minmax leaves out; none: 0", ge=0)
        hidden: float = param(
            HIDDEN_LIMIT, "leave a frame out of a pixel if more than this of it comes from masked pixels", ge=0, le=1
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        layouts = require(group.stack.layouts, "layouts")
        rejection = _rejection(params, len(frames))
        if not all(i in state.weight for state in group.planes for i in frames):  # scale_counts was skipped
            weigh_frames(group, frames)
        mend_hidden(group, frames)
        if params.operation != "wtmean":
            _weigh_alike(group, frames)
        made, counts = [], []
        for layout in layouts:
            how = None
            if rejection.rule != "none" or params.operation in ("median", "lmedian"):
                how = Combination(params.operation, rejection, *_usual_noise(group, layout, frames))
            plane, count = stack_frames(group, layout, frames, params.hidden, how)
            made.append(plane)
            counts.append(count)
        group.streams[call.gives] = made
        group.stack.nexp = counts
        cov = _covariance(group, layouts, frames)
        group.stack.noisecov = cov
        group.keywords["CORRFAC"] = correlation_factor(cov)
        group.keywords |= grid_keywords(layouts[0].grid)
        group.keywords["NCOMBINE"] = len(frames)


def _rejection(params: StackFrames.Params, n: int) -> Rejection:
    """Rejection of resampled values according to the parameters; limits without a method imply the method."""
    limits = {"hsigma": params.hsigma, "lsigma": params.lsigma}
    numbers = {"nlow": params.nlow, "nhigh": params.nhigh}
    method: str = params.reject_method
    if method == "detector":
        clipped, counted = (any(v is not None for v in given.values()) for given in (limits, numbers))
        method = "sigclip" if clipped else "minmax" if counted else "none"
    for name, value in (limits if method == "minmax" else numbers).items():
        if value is not None:
            fit = "minmax" if name in numbers else "sigclip or varclip"
            raise StepError(f"stack_frames:{name} has no effect with reject_method={method}", f"reject_method={fit}")
    low, high = params.nlow or 0, params.nhigh or 0
    if low + high >= n:
        raise StepError(f"minmax {low}+{high} leaves nothing of {n} frames", "smaller stack_frames:nlow and nhigh")
    return Rejection(method, params.lsigma or 3.0, params.hsigma or 3.0, low, high)


def _usual_noise(group: Group, layout: Layout, frames: list[int]) -> tuple[float, float]:
    """Mean variance of a resampled pixel of blank sky, and its increase per electron of signal."""
    kernel: Kernel | Reprojection = require(group.stack.kernel, "kernel")
    sky, electron = [], []
    for i in frames:
        for p, placed in layout.of(i):
            state, frame = group.planes[p], group.frames[i]
            scatter = float(correlation_of(placed, kernel)[CORRELATION_HALF_WIDTH, CORRELATION_HALF_WIDTH])
            variance = state.expected_variance(max(group.sky_level(state, i), 0.0)) * noise_factor(group, state, i)
            sky.append(scatter * variance / frame.transparency**2)
            electron.append(scatter * float(np.median(state.per_electron)) * frame.raised / frame.transparency)
    return float(np.mean(sky)), float(np.mean(electron))


def _weigh_alike(group: Group, frames: list[int]) -> None:
    for i in frames:
        group.frames[i].weight = 1.0 / len(frames)
        for state in group.planes:
            state.weight[i] = 1.0 / len(frames)


@dataclass(frozen=True)
class _Stacking:
    """What all rows of a stack have in common.

    Attributes
    ----------
    layout, kernel
        Grid and placements of the frames, and the interpolant.
    limit : float
        Largest share of a value that may come from masked pixels.
    noise : dict
        {plane: (constant, per_electron), float32 (ny, nx)}.
    gain : dict
        {(frame, plane): `Placement.noise_gain` of the kernel}; empty for the methods of reproject.
    together : dict
        {frame: number of frames that share its sky noise}.
    """

    layout: Layout
    kernel: Kernel | Reprojection
    limit: float
    noise: dict[int, tuple[np.ndarray, np.ndarray]]
    gain: dict[tuple[int, int], float]
    together: dict[int, Together]


@dataclass(frozen=True)
class _Rows:
    """Rows being summed; `images` holds the resampled planes if they are not combined by a weighted mean."""

    stacking: _Stacking
    rows: tuple[int, int]
    sums: Accumulator
    images: dict[tuple[int, int], np.ndarray]


def stack_frames(
    group: Group, layout: Layout, frames: list[int], limit: float, how: Combination | None = None
) -> tuple[Plane, np.ndarray]:
    """Stack frames on one grid: data, VAR, DQ, and number of frames per pixel; `how`: other than by a weighted mean."""
    kernel: Kernel | Reprojection = require(group.stack.kernel, "kernel")
    ny, nx = layout.grid.shape
    sci, var = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    dq, count = np.zeros((ny, nx), np.uint16), np.empty((ny, nx), np.uint16)
    noise = {p: noise_of(group.planes[p]) for p in layout.target.planes}
    gain = {} if is_reprojection(kernel) else {k: placed.noise_gain(kernel) for k, placed in layout.placements.items()}
    stacking = _Stacking(layout, kernel, limit, noise, gain, frames_together(group, frames))

    def tile(start: int, stop: int) -> None:
        sums = Accumulator.empty(stop - start, nx)
        images = (
            {} if how is None else dict.fromkeys(layout.placements, np.full((stop - start, nx), np.nan, np.float32))
        )
        part = _Rows(stacking, (start, stop), sums, images)
        for i in frames:
            for p in layout.target.planes:
                _add_plane(group, i, p, part)
        if how is None:
            (sci[start:stop], var[start:stop]), count[start:stop] = sums.result(), sums.count
        else:
            weights = [group.planes[p].weight[i] for i, p in images]
            sci[start:stop], factor, count[start:stop] = how.of(np.stack(list(images.values())), np.array(weights))
            var[start:stop] = sums.variance(sci[start:stop]) * factor
        used, lost = sums.seen
        dq[start:stop] = flags_of_stack(sums.count > 0, used, lost)

    rows = TILE if how is None else tile_rows(group, len(layout.placements), nx)
    run_blocks(tile, ny, group.context.threads, ny if is_reprojection(kernel) else rows)
    return Plane(sci, dq, var), count


def _add_plane(group: Group, i: int, p: int, part: _Rows) -> None:
    """Add one plane of a frame to rows of a stack."""
    stacking, state, frame = part.stacking, group.planes[p], group.frames[i]
    patch = stacking.layout.placements[i, p].patch(stacking.layout.grid, part.rows)
    if patch is None:
        return
    low, high = patch.low, patch.high
    flags = state.dq.rows(i, low, high)
    values, hidden = _drawn(group, i, p, patch, flagged(flags, int(BAD)), part)
    constant, per_electron = (plane[low:high] for plane in stacking.noise[p])
    if frame.raised != 1.0:  # the stack's own signal has been multiplied, too
        per_electron = per_electron * np.float32(frame.raised)
    planes = (flags, constant, per_electron)
    if patch.offset is not None:
        under = Under(*planes, patch.offset)
    else:
        under = Under(*planes, through=patch.through(group.stack.area_power == 1, stacking.gain.get((i, p), 1.0)))
    noisier = noise_factor(group, state, i, stacking.together[i].aperture, wide=True)
    sky = max(group.sky_level(state, i), 0.0) / frame.raised
    entry = Entry(state.weight[i], frame.transparency, sky, noisier)
    part.sums.add(values, hidden, under, entry, stacking.limit, (int(BRIGHT), int(BAD | BRIGHT)))
    if part.images:
        part.images[i, p] = _taken(values, hidden, under, frame.transparency, stacking.limit)


def _taken(values: np.ndarray, hidden: np.ndarray, under: Under, transparency: float, limit: float) -> np.ndarray:
    """Values of a frame that enter the sums, corrected for its transparency; NaN where none does."""
    taken = values / np.float32(transparency)
    if under.through is not None and under.through.electrons:
        taken *= under.through.area
    taken[~(hidden <= limit)] = np.nan
    return taken


def _drawn(group: Group, i: int, p: int, patch: Patch, bad: np.ndarray, part: _Rows) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated values of the pixels under a patch, and the share of each that comes from `bad` ones."""
    frames, layout, kernel = group.planes[p].sub, part.stacking.layout, part.stacking.kernel
    data, hidden = frames.rows(i, patch.low, patch.high), patch.hidden(bad)
    if not is_reprojection(kernel):
        return patch.values(data, None, kernel), hidden
    grid, shape = layout.grid, hidden.shape
    shift = layout.placements[i, p].shift
    if shift is not None:
        origin = (grid.x0, grid.y0 + part.rows[0] - patch.low)
        values, footprint = reprojected(data, shift, origin, shape, kernel)
    else:  # whole frames: one tile
        where = geometry(group)
        source, target = where.corrected_wcs(i, p, layout.target), where.target_wcs(layout.target)
        values, footprint = reproject_between(frames.frame(i), source, target, shape, kernel)
    return values, np.maximum(hidden, np.float32(1.0) - footprint)


def _covariance(group: Group, layouts: list[Layout], frames: list[int]) -> np.ndarray:
    """NOISECOV: correlation of the noise after resampling, weighted with each frame's contribution to the variance.

    If frames a few pixels apart share the noise of one sky, it is correlated over that distance, as is the noise of the
    sky's shape.
    """
    kernel: Kernel | Reprojection = require(group.stack.kernel, "kernel")
    kernels, weights, wide = [], [], []
    together = frames_together(group, frames)
    for layout in layouts:
        for i in frames:
            f = group.frames[i]
            for p, placed in layout.of(i):
                state = group.planes[p]
                kernels.append(correlation_of(placed, kernel))
                share = (state.weight[i] / f.transparency) ** 2
                share *= max(group.sky_level(state, i), 1.0)
                pixel = noise_factor(group, state, i, together[i].pixel)
                aperture = noise_factor(group, state, i, together[i].aperture, wide=True)
                weights.append(share * pixel)
                wide.append(share * (aperture - pixel))
    return broadened(noise_covariance(np.stack(kernels), np.array(weights)), sum(wide) / sum(weights))


STACK_STEPS = (Resample, StackFrames)
