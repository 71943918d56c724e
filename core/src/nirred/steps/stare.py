"""Steps for frames that keep their sky: exposures of a single position, combined with rejection."""

from __future__ import annotations

import numpy as np

from ..algorithms.background import level
from ..algorithms.resample_kernels import CORRELATION_HALF_WIDTH
from ..algorithms.threads import run_blocks
from ..coadd import TILE
from ..dq import DQ
from ..frame import Plane
from ..group import Group
from ..params import Params
from ..plugin.recipes import StepCall
from ..results import require
from ..states import BAD
from ..step import GroupStep
from ..store import PlaneStack
from .calibrations import StackParams, stack_counted


class SetLevelAside(GroupStep):
    """Subtract each exposure's sky level: level differences between exposures are no reason to reject pixels."""

    name = "set_level_aside"
    doc = "subtract each frame's own sky level, to be restored after stacking; the sky's pattern stays"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        for p, state in enumerate(group.planes):
            state.sub = PlaneStack(state.sci.shape, np.float32, state.sub_scratch)
            for i in group.indices():
                measured = level(state.sci.frame(i), state.bad(i))
                state.sky[i], state.sky_err[i] = measured.value, measured.error
                if p == 0:
                    group.frames[i].sky = measured.value
                state.sub.put(i, state.sci.frame(i) - np.float32(measured.value))


class RestoreLevel(GroupStep):
    """Undo `set_level_aside` in the stack: add the mean sky level."""

    name = "restore_level"
    uses_frames = False
    doc = "add the frames' weighted mean sky level to their stack, times the pixels' areas if these were corrected"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames, made = group.targets, []
        for p, (plane, state) in enumerate(zip(group.streams[call.takes], group.planes, strict=True)):
            weights = np.array([state.weight.get(i, 1.0) for i in frames])
            mean = float(weights @ [state.sky.get(i, 0.0) for i in frames] / weights.sum())
            data = plane.data + _areas(group, frames[0], p) * np.float32(mean)
            made.append(Plane(data, plane.dq, plane.var))
            group.keywords["SKYLEVEL"] = (round(mean, 3), f"[{group.unit}] sky that is in SCI")
        group.streams[call.gives] = made


def _areas(group: Group, i: int, p: int) -> np.ndarray:
    """Area of each stack pixel in pixels of a frame's plane, float32; 1 if the stack keeps surface brightness."""
    if group.stack.area_power != 1:
        return np.ones((1, 1), np.float32)
    layout = require(group.stack.layouts, "layouts")[p]
    grid, placed = layout.grid, layout.placements[i, p]
    areas = np.empty(grid.shape, np.float32)
    x = np.arange(grid.shape[1], dtype=float) + grid.x0

    def block(start: int, stop: int) -> None:
        y = np.arange(start, stop, dtype=float) + grid.y0
        areas[start:stop] = placed.area_at(*np.meshgrid(x, y))

    run_blocks(block, grid.shape[0], group.context.threads, TILE)
    return areas


class CombineExposures(GroupStep):
    """Combine the exposures of one position on the detector's own pixels."""

    name = "combine_exposures"
    doc = "average the exposures of one position pixel by pixel, rejecting outliers; nothing is resampled"
    Params = StackParams

    def apply(self, group: Group, params: StackParams, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        made, counts = [], []
        for plane, count in stack_counted(group, frames, params.nsigma):
            lost = (plane.dq & BAD) != 0  # in every frame
            data, var = (np.where(lost, np.float32(np.nan), image) for image in (plane.data, np.asarray(plane.var)))
            made.append(Plane(data, np.where(lost, plane.dq | np.uint16(DQ.NO_DATA), plane.dq), var))
            counts.append(np.where(lost, np.uint16(0), count))
        group.streams[call.gives], group.stack.nexp = made, counts
        group.stack.noisecov = np.pad([[1.0]], CORRELATION_HALF_WIDTH)
        for i in frames:
            group.frames[i].weight = 1.0 / len(frames)
        group.keywords["NCOMBINE"] = len(frames)


STARE_STEPS = (SetLevelAside, RestoreLevel, CombineExposures)
