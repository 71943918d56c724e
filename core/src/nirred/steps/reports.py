"""Steps that report what the plan found: doubtful coordinates, the chosen calibrations. Their results are remarks."""

from __future__ import annotations

from typing import ClassVar

from ..group import Group
from ..params import Params
from ..plugin.recipes import StepCall
from ..step import HeaderStep


class CheckWcs(HeaderStep):
    """Report the result of the WCS checks made with the plan."""

    name = "check_wcs"
    doc = "list frames whose WCS contradicts the pointing, with expected and actual coordinates"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        doubtful = [f.info for f in group.frames if f.info.wcs_note or f.info.wcs_state in ("stale", "rebuilt")]
        for info in doubtful:
            if not info.wcs_note:  # notes are the plan's remarks already
                group.remark(f"{info.name}: WCS {info.wcs_state}: contradicts the pointing")
        bare = [i for i, f in enumerate(group.frames) if f.info.wcs_state == "none"]
        if bare:
            group.remark(f"without WCS: {group.named(bare)}")
        sound = len(group.frames) - len(doubtful) - len(bare)
        group.remark(f"the WCS of {sound} of {len(group.frames)} frames agrees with the pointing")


class _GetCalibration(HeaderStep):
    """Report which calibration the plan chose for the group, and why."""

    kind: ClassVar[str]

    def apply(self, group: Group, params: Params, call: StepCall) -> None:
        chosen = [a for a in group.task.calibrations if a.kind in (self.kind, f"user_{self.kind}")]
        for a in chosen:
            name = f"{a.task}.fits" if a.task else str(a.path)
            group.remark(f"{group.task.first.name}: {a.kind} {name} (level {a.level}: {a.reason})")
        for m in group.task.missing:
            if m.kind == self.kind:
                group.remark(f"{group.task.first.name}: {m.reason}")
        if not chosen and not any(m.kind == self.kind for m in group.task.missing):
            group.remark(f"{group.task.first.name}: no rule asks for a {self.kind}")


class GetProcessedDark(_GetCalibration):
    """Report the dark."""

    name = "get_processed_dark"
    doc = "say which dark is used for the frames, and why"
    kind = "dark"


class GetProcessedFlat(_GetCalibration):
    """Report the flat."""

    name = "get_processed_flat"
    doc = "say which flat is used for the frames, and why"
    kind = "flat"


class GetBpm(_GetCalibration):
    """Report the bad-pixel masks."""

    name = "get_bpm"
    doc = "say which bad-pixel masks are used for the frames, and why"
    aliases = ("getBPM",)
    kind = "bpm"


REPORT_STEPS = (CheckWcs, GetProcessedDark, GetProcessedFlat, GetBpm)
