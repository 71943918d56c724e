"""Frames onto one grid: its choice, the one resampling, and the weighted mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..algorithms.coadd import Accumulator, Under
from ..algorithms.noise import noise_covariance
from ..algorithms.placement import Patch, Placement
from ..algorithms.resample_kernels import Kernel
from ..algorithms.threads import run_blocks
from ..coadd import TILE, Layout, Reprojection, correlation_of, is_reprojection, lay_out, reproject_between, reprojected
from ..dq import DQ
from ..errors import StepError
from ..frame import Plane
from ..geometry import geometry, targets_of
from ..group import BAD, Group, PlaneState
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..step import GroupStep
from .match import MatchBackgrounds
from .scale import SCALE_STEPS, FlagOutliers, ScaleCounts, holds_brightness, noise_factor, noise_of, sky_of
from .together import frames_together

#: A stacked pixel takes a frame's value when no more than this share of it comes from masked pixels.
HIDDEN_LIMIT = 0.35
#: Bits that make a pixel useless in a stack, and those that are told of pixels that are taken.
_HIDING, _TOLD = BAD & np.uint16(0xFFF9), int(DQ.NON_LINEAR | DQ.SATURATED)


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
        mosaic: bool = param(True, "draw all detectors onto one grid; False, or where one has no WCS: a stack of each")
        conserve: Literal["auto", "surface", "flux"] = param(
            "auto",
            "what the correction of a distortion keeps: surface brightness, which a flat of even brightness makes of "
            "the pixels, or the electrons of sources, without a flat of the large scales; auto: as the stars say, "
            "where dithers carry them far enough, else flux without a flat",
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        geometry(group).refer(group.reference)  # the one of the registration may have been left out since
        targets = targets_of(group, frames, mosaic=params.mosaic)
        try:
            layouts = [lay_out(group, frames, target, common=params.crop == "common") for target in targets]
        except ValueError as error:
            raise StepError(str(error), "--crop union") from None
        group.extras["layouts"], group.extras["grid"] = layouts, layouts[0].grid
        group.extras["kernel"] = "nearest" if params.interpolant == "none" else params.interpolant
        even = holds_brightness(group) if params.conserve == "auto" else params.conserve == "surface"
        group.extras["area_power"] = 0 if even else 1


class StackFrames(GroupStep):
    """Weighted mean of the registered frames."""

    name = "stack_frames"
    doc = "weighted mean by output tiles, resampled once, with VAR, DQ and NEXP"

    class Params(StepParams):
        """Parameters of `stack_frames`."""

        operation: Literal["wtmean", "mean"] = param("wtmean", "weigh frames by their noise, or all alike")
        hidden: float = param(
            HIDDEN_LIMIT, "leave a frame out of a pixel that comes from masked pixels by more", ge=0, le=1
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        layouts: list[Layout] = group.extras["layouts"]
        if params.operation == "mean":
            _weigh_alike(group, frames)
        made, counts = [], []
        for layout in layouts:
            plane, count = stack_frames(group, layout, frames, params.hidden)
            made.append(plane)
            counts.append(count)
        group.streams[call.gives] = made
        group.extras["nexp"] = counts
        cov = _covariance(group, layouts, frames)
        group.extras["noisecov"] = cov
        grid = layouts[0].grid
        group.keywords["CORRFAC"] = (float(np.sqrt(cov[3, 3])), "pixel scatter / sqrt(VAR)")
        group.keywords["REFX0"] = (-grid.x0, "x (from 0) of pixel (0,0) of REFFRAME")
        group.keywords["REFY0"] = (-grid.y0, "y (from 0) of pixel (0,0) of REFFRAME")
        group.keywords["NCOMBINE"] = len(frames)


def _weigh_alike(group: Group, frames: list[int]) -> None:
    for i in frames:
        group.frames[i].weight = 1.0 / len(frames)
        for state in group.planes:
            state.weight[i] = 1.0 / len(frames)


@dataclass(frozen=True)
class _Rows:
    """Rows of a stack in the making."""

    layout: Layout
    rows: tuple[int, int]
    kernel: Kernel | Reprojection
    limit: float
    sums: Accumulator
    together: Mapping[int, float]


def stack_frames(group: Group, layout: Layout, frames: list[int], limit: float) -> tuple[Plane, np.ndarray]:
    """Stack frames on one grid: data, VAR, DQ, and the frames behind each pixel."""
    kernel = group.extras["kernel"]
    ny, nx = layout.grid.shape
    sci, var = np.empty((ny, nx), np.float32), np.empty((ny, nx), np.float32)
    dq, count = np.zeros((ny, nx), np.uint16), np.empty((ny, nx), np.uint16)
    noise = {p: noise_of(group.planes[p]) for p in layout.target.planes}
    together = frames_together(group, frames)
    gain = {} if is_reprojection(kernel) else {k: placed.noise_gain(kernel) for k, placed in layout.placements.items()}

    def tile(start: int, stop: int) -> None:
        sums = Accumulator.empty(stop - start, nx)
        part = _Rows(layout, (start, stop), kernel, limit, sums, together)
        for i in frames:
            for p, placed in layout.of(i):
                _add_plane(group, i, p, (placed, noise[p], gain.get((i, p), 1.0)), part)
        sci[start:stop], var[start:stop] = sums.result()
        count[start:stop] = sums.count
        used, lost = sums.seen
        dq[start:stop] = np.where(sums.count > 0, used, np.where(lost != 0, lost, np.uint16(DQ.NO_DATA)))

    run_blocks(tile, ny, group.context.threads, ny if is_reprojection(kernel) else TILE)
    return Plane(sci, dq, var), count


def _add_plane(
    group: Group, i: int, p: int, what: tuple[Placement, tuple[np.ndarray, np.ndarray], float], part: _Rows
) -> None:
    """Add one plane of a frame to rows of a stack."""
    (placed, noise, gain), state, frame = what, group.planes[p], group.frames[i]
    patch = placed.patch(part.layout.grid, part.rows)
    if patch is None:
        return
    assert state.sub is not None
    low, high = patch.low, patch.high
    flags = state.dq.rows(i, low, high)
    values, hidden = _drawn(group, state, i, p, (placed, patch, ((flags & _HIDING) != 0).view(np.uint8)), part)
    planes = (flags, noise[0][low:high], noise[1][low:high])
    if patch.offset is not None:
        under = Under(*planes, patch.offset)
    else:
        under = Under(*planes, through=patch.through(group.extras["area_power"] == 1, gain))
    noisier = noise_factor(group, state, i, part.together[i])
    own = (state.weight[i], frame.transparency, max(sky_of(group, state, i), 0.0), noisier)
    part.sums.add(values, hidden, under, own, part.limit, (_TOLD, int(BAD) | _TOLD))


def _drawn(
    group: Group, state: PlaneState, i: int, p: int, what: tuple[Placement, Patch, np.ndarray], part: _Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolated values, and the share of each that masked pixels cover."""
    placed, patch, bad = what
    assert state.sub is not None
    data, hidden, kernel = state.sub.rows(i, patch.low, patch.high), patch.hidden(bad), part.kernel
    if not is_reprojection(kernel):
        return patch.values(data, None, kernel), hidden
    grid, shape = part.layout.grid, hidden.shape
    if placed.shift is not None:
        origin = (grid.x0, grid.y0 + part.rows[0] - patch.low)
        values, footprint = reprojected(data, placed.shift, origin, shape, kernel)
    else:  # whole frames: one tile
        where = geometry(group)
        source, target = where.corrected_wcs(i, p, part.layout.target), where.target_wcs(part.layout.target)
        values, footprint = reproject_between(state.sub.frame(i), source, target, shape, kernel)
    return values, np.maximum(hidden, np.float32(1.0) - footprint)


def _covariance(group: Group, layouts: list[Layout], frames: list[int]) -> np.ndarray:
    """NOISECOV: the frames' own noise correlation after resampling, weighted as their noise is in the stack."""
    kernels, weights = [], []
    for layout in layouts:
        for i in frames:
            f = group.frames[i]
            for p, placed in layout.of(i):
                state = group.planes[p]
                kernels.append(correlation_of(placed, group.extras["kernel"]))
                share = (state.weight[i] / f.transparency) ** 2
                weights.append(share * max(sky_of(group, state, i), 1.0) * noise_factor(group, state, i))
    return noise_covariance(np.stack(kernels), np.array(weights))


__all__ = ["STACK_STEPS", "FlagOutliers", "Resample", "ScaleCounts", "StackFrames"]

STACK_STEPS = (*SCALE_STEPS, MatchBackgrounds, Resample, StackFrames)
