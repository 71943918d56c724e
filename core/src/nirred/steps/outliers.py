"""Flag outliers on the detector, before frames are resampled, and give unusable pixels usual values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..algorithms.outlier_fill import fill_from_around
from ..algorithms.outlier_kernels import OutlierLimits
from ..algorithms.outliers import (
    Expected,
    OnGrid,
    OnPlane,
    core_slope,
    fill_hidden,
    flag_outliers,
    flank_reach,
)
from ..algorithms.placement import Placement
from ..algorithms.resample_kernels import Kernel
from ..coadd import Layout, median_model
from ..dq import DQ
from ..geometry import geometry, targets_of
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..states import BAD, BRIGHT
from ..step import GroupStep
from .noisemodel import noise_factor, noise_of
from .noisy import leave_out_noisy, leave_out_unsteady

#: FWHM in pixels from which the bilinear kernel reproduces stars well enough to separate cosmic rays from them.
BROAD = 3.5
#: Number of frames in the model of a long sequence: its noise is then a fifth of a frame's.
DEEP = 32


class FlagOutliers(GroupStep):
    """Flag cosmic rays and transient defects in detector coordinates, before the one resampling."""

    name = "flag_outliers"
    doc = (
        "flag pixels that deviate from the median of the sequence, on the detector, before resampling; and in dithered "
        "frames pixels that their dark current makes noisy, and columns and rows whose level changes between frames"
    )

    class Params(StepParams):
        """Parameters of `flag_outliers`."""

        high: float = param(5.0, "sigma of the noise model", gt=0)
        low: float = param(3.0, "the same, for neighbours of an outlier", gt=0)
        slope: float = param(0.6, "additional tolerance, as a fraction of the local gradient", ge=0)
        least: int = param(3, "least number of frames that must overlap", ge=2)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.targets, "frames on target")
        leave_out_noisy(group, frames)
        leave_out_unsteady(group, frames)
        limits = _limits(group, frames, params)
        noise = [noise_of(state) for state in group.planes]
        total = 0
        kernel = _model_kernel(group, frames)
        for target in targets_of(group, frames):
            layout, *median = median_model(group, frames, target, kernel, DEEP)
            sequence = _Sequence(layout, OnGrid.of(*median), kernel, noise)

            def flag(i: int, sequence: _Sequence = sequence) -> int:
                return _flag(group, i, sequence, limits[i])

            total += sum(each_frame(group, frames, flag))
        group.say(f"{total / len(frames):.0f} outliers per frame")


def _limits(group: Group, frames: list[int], params: FlagOutliers.Params) -> dict[int, OutlierLimits]:
    """Limits of each frame: the slope tolerance allows for the difference of its seeing from the usual one."""
    width = group.registration.star_width
    reach = max(1, round(width / 2))
    widths = [group.frames[i].fwhm for i in frames if np.isfinite(group.frames[i].fwhm)]
    usual = float(np.median(widths)) if widths else float("nan")
    limits = {}
    for i in frames:
        slope = max(params.slope, core_slope(group.frames[i].fwhm, usual)) if params.slope > 0 else 0.0
        limits[i] = OutlierLimits(
            high=params.high,
            low=params.low,
            slope_high=slope,
            slope_low=slope * 2 / 3,
            least=params.least,
            reach=reach,
            near=min(reach, flank_reach(width, slope)),
            bright=int(BRIGHT),
            bad=int(BAD),
        )
    return limits


@dataclass(frozen=True)
class _Sequence:
    """What all frames have in common: their median on a grid and its interpolant; noise models by plane."""

    layout: Layout
    median: OnGrid
    kernel: Kernel
    noise: list[tuple[np.ndarray, np.ndarray]]

    def seen_by(self, placed: Placement) -> OnPlane | OnGrid:
        """The median on a plane's pixels: blotted, or interpolated on demand."""
        grid, median = self.layout.grid, self.median
        if placed.shift is None and self.kernel == "bilinear":
            return replace(median, back=placed.onto(grid))
        return OnPlane(*placed.blot(median.model, median.count, grid, self.kernel))


def _model_kernel(group: Group, frames: list[int]) -> Kernel:
    """Interpolant of the sequence's model: through a map Lanczos costs four times as much as the bilinear kernel.

    The bilinear kernel lowers the peak of a star of `BROAD` by 14 % there and back; the slope tolerance is 36 %.
    """
    broad = (group.registration.fwhm or 0.0) >= BROAD
    return "bilinear" if broad and not geometry(group).plain(frames) else "lanczos3"


def _flag(group: Group, i: int, sequence: _Sequence, limits: OutlierLimits) -> int:
    """Flag outliers on the planes of a frame against the blotted model; return their number.

    Unusable pixels are replaced by the sequence's median, so that interpolation next to them stays correct.
    """
    frame, total = group.frames[i], 0
    for p, placed in sequence.layout.of(i):
        state = group.planes[p]
        told = sequence.seen_by(placed)
        sky, excess = max(group.sky_level(state, i), 0.0), noise_factor(group, state, i)
        expected = Expected(told, *sequence.noise[p], frame.transparency, sky, excess)
        sub, dq = state.sub.frame_to_change(i), state.dq.frame_to_change(i)
        flags = flag_outliers(sub, dq, expected, limits)
        found, flat = np.flatnonzero(flags.view(np.bool_)), dq.reshape(-1)
        total += int(np.count_nonzero((flat[found] & BAD) == 0))
        flat[found] |= np.uint16(DQ.COSMIC_RAY)
        fill_hidden(sub, dq, int(BAD), told, frame.transparency)
        state.mended.add(i)
    return total


def mend_hidden(group: Group, frames: list[int]) -> None:
    """Give unusable pixels, which are interpolated with all others, usual values where `flag_outliers` has not."""

    def mend(i: int) -> None:
        for state in group.planes:
            if i not in state.mended:
                fill_from_around(state.sub.frame_to_change(i), state.dq.frame(i), int(BAD))
                state.mended.add(i)

    each_frame(group, frames, mend, 1)


OUTLIER_STEPS = (FlagOutliers,)
