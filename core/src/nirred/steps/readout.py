"""Optional subtraction of the readout's pattern noise from sky-subtracted frames."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..algorithms.readout import clean_readout, level_quadrants
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..states import PlaneState
from ..step import GroupStep
from .residual import level_frames, put_back_residuals


class CleanReadout(GroupStep):
    """Subtract the readout's periodic pattern and the steps between quadrants."""

    name = "clean_readout"
    doc = "subtract the periodic pattern of each quadrant and the steps between quadrants; off by default"

    class Params(StepParams):
        """Parameters of `clean_readout`."""

        clean: Literal["skip", "default", "force"] = param(
            "skip", "default: quadrants that show a pattern; force: every quadrant"
        )
        pattern_x_size: int = param(16, "columns of one period", unit="pixel", ge=2)
        pattern_y_size: int = param(4, "rows of one period", unit="pixel", ge=1)
        strength: float = param(5.0, "weakest pattern that is subtracted, in sigma of its error", gt=0)
        level_bias_offset: bool = param(True, "remove the steps between quadrants of all frames if one was cleaned")
        smoothing_extent: int = param(
            5, "rows and columns at the quadrants' edges that measure a step, at first and where little is blank", ge=1
        )
        before_masks: bool = param(
            False, "correct the calibrated frames, too, so that masks and skies are made of clean ones"
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.clean == "skip":
            return
        frames, before = group.indices(), int(group.keywords.get("READCLN", (0,))[0])
        removed = np.array([max(_clean(state, params, i) for state in group.planes) for i in frames])
        cleaned = [i for i, rms in zip(frames, removed, strict=True) if rms]
        group.keywords["READCLN"] = (max(len(cleaned), before), "frames of which readout pattern was removed")
        if len(cleaned) > before:
            worst = f"{removed.max():.3g} {group.unit} (rms)"
            group.remark(f"readout pattern of up to {worst} removed from {group.named(cleaned)}")
        if params.level_bias_offset and (cleaned or before):  # all frames: their sky contains the steps of others
            for state in group.planes:
                _level(group, state, frames, params)


def _clean(state: PlaneState, params: CleanReadout.Params, i: int) -> float:
    """Subtract the patterns of a frame; the largest one's standard deviation."""
    data = state.sub.frame(i)
    done, found = clean_readout(
        data,
        state.covered(i) != 0,
        period=(params.pattern_y_size, params.pattern_x_size),
        least=params.strength,
        force=params.clean == "force",
        gain=state.electronic_gain(i),
    )
    _replace(state, i, done, before_masks=params.before_masks)
    return max(found)


def _level(group: Group, state: PlaneState, frames: list[int], params: CleanReadout.Params) -> None:
    """Level the quadrants of frames; fit their residual skies anew, because a surface follows steps in part."""
    shown = [i for i in frames if i in state.residual]
    expected = put_back_residuals(state)
    for i in frames:
        done, bad = state.sub.frame(i).copy(), state.covered(i) != 0
        level_quadrants(done, bad, params.smoothing_extent, state.electronic_gain(i), masked=not params.before_masks)
        _replace(state, i, done, before_masks=params.before_masks)
    if shown:
        level_frames(group, state, shown, set(), expected, shape=True)


def _replace(state: PlaneState, i: int, done: NDArray[np.float32], *, before_masks: bool) -> None:
    """Replace a sky-subtracted frame; `before_masks`: subtract the difference from the calibrated frame, too."""
    if before_masks:
        calibrated = state.sci.frame_to_change(i)
        calibrated -= state.sub.frame(i) - done
    state.sub.put(i, done)


READOUT_STEPS = (CleanReadout,)
