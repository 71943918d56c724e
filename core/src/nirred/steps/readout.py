"""Optional subtraction of the readout's pattern noise from sky-subtracted frames."""

from __future__ import annotations

from typing import Literal

from ..algorithms.readout import clean_readout
from ..group import OBJECT, Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..step import GroupStep
from .residual import SURE, level_frames


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
        level_bias_offset: bool = param(True, "remove the steps between quadrants if one was cleaned")
        smoothing_extent: int = param(5, "rows and columns at the quadrants' edges that measure a step", ge=1)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.clean == "skip":
            return
        cleaned: dict[int, float] = {}
        for i in group.indices():
            removed = [0.0]
            for state in group.planes:
                done, found = clean_readout(
                    state.sub.frame(i),
                    state.bad(i, int(OBJECT)) != 0,
                    period=(params.pattern_y_size, params.pattern_x_size),
                    least=params.strength,
                    force=params.clean == "force",
                    levels=params.level_bias_offset,
                    reach=params.smoothing_extent,
                )
                state.sub.put(i, done)
                removed += found
            if max(removed) > 0:
                cleaned[i] = max(removed)
        _level_again(group, list(cleaned))
        group.keywords["READCLN"] = (len(cleaned), "frames of which readout pattern was removed")
        if cleaned:
            group.remark(
                f"readout pattern of up to {max(cleaned.values()):.3g} {group.unit} (rms) "
                f"removed from {len(cleaned)} frames"
            )


def _level_again(group: Group, cleaned: list[int]) -> None:
    """Subtract what surfaces fitted through quadrant steps left in frames, if their own sky determines it."""
    for state in group.planes:
        sure = [i for i in cleaned if group.frames[i].role != "object" or state.blank.get(i, 1.0) >= SURE]
        frames = [i for i in sure if i not in state.unshaped]
        level_frames(group, state, frames, set(), {}, shape=True)


READOUT_STEPS = (CleanReadout,)
