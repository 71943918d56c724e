"""The step that makes a bad-pixel mask."""

from __future__ import annotations

import numpy as np

from ..algorithms.bad_pixels import bad_in_dark, bad_in_flat
from ..dq import DQ
from ..errors import StepError
from ..frame import Plane
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..step import GroupStep


class MakeBPM(GroupStep):
    """Flag pixels whose flat or short dark is out of range."""

    name = "make_bpm"
    uses_frames = False
    doc = "flag pixels whose flat or short dark is out of range"

    class Params(StepParams):
        """Parameters of `make_bpm`."""

        dark_lo_thresh: float | None = param(
            None,
            "lowest good dark (relative to the surroundings if these are lower); none: 20 times their scatter below",
            unit="electron",
        )
        dark_hi_thresh: float | None = param(
            None,
            "highest good dark (relative to the surroundings if these are higher); none: 20 times their scatter above",
            unit="electron",
        )
        flat_lo_thresh: float | None = param(0.65, "lowest good flat relative to its surroundings", le=1)
        flat_hi_thresh: float | None = param(1.35, "highest good flat relative to its surroundings", ge=1)
        keep_unilluminated: bool = param(False, "also flag unilluminated pixels in the mask")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        lo, hi = params.dark_lo_thresh, params.dark_hi_thresh
        if lo is not None and hi is not None and hi <= lo:
            raise StepError(f"make_bpm: dark_hi_thresh {hi} is not above dark_lo_thresh {lo}", "set both")
        darks = group.streams.get("darks")
        done: list[Plane] = []
        lit = 0
        for i, flat in enumerate(group.streams[call.takes]):
            bad = bad_in_flat(flat.data, _flagged(flat), params.flat_lo_thresh, params.flat_hi_thresh)
            if darks is not None:
                low, high = (None if limit is None else limit / group.electrons(i) for limit in (lo, hi))
                bad |= bad_in_dark(darks[i].data, darks[i].var, _flagged(darks[i]), low, high)
            outside = (flat.dq & np.uint16(DQ.UNILLUMINATED)) != 0
            lit += outside.size - int(np.count_nonzero(outside))
            dq = np.where(bad & ~outside, np.uint16(DQ.BAD_PIXEL), np.uint16(0))
            if params.keep_unilluminated:
                dq |= np.where(outside, np.uint16(DQ.UNILLUMINATED), np.uint16(0))
            done.append(Plane(np.zeros(flat.data.shape, np.float32), dq))
        fraction = sum(int(np.count_nonzero(p.dq & np.uint16(DQ.BAD_PIXEL))) for p in done) / max(lit, 1)
        group.keywords["BADFRAC"] = (round(fraction, 6), "fraction of illuminated pixels that are bad")
        group.streams[call.gives] = done


def _flagged(plane: Plane) -> np.ndarray:
    """uint8 (ny, nx): 1 where any flag is set."""
    return np.asarray(plane.dq != 0).view(np.uint8)


BPM_STEPS = (MakeBPM,)
