"""A flat from dithered science frames."""

from __future__ import annotations

from functools import partial

import numpy as np

from ..algorithms.background import level
from ..algorithms.dilation import dilate
from ..algorithms.objmask import object_mask
from ..calibration_inputs import FLAT_FLOOR
from ..dq import DQ
from ..errors import StepError
from ..frame import Plane
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..states import OBJECT, PlaneState
from ..step import GroupStep
from .calibrations import stack_planes


class MakeSkyFlat(GroupStep):
    """Mean of the frames scaled to one level; repeated without the objects found with the first mean as flat.

    Pixels that objects cover in every frame have no flat and are flagged as without data.
    """

    name = "make_sky_flat"
    doc = "mean of dithered frames scaled to one level, objects masked in a second pass"

    class Params(StepParams):
        """Parameters of `make_sky_flat`."""

        nsigma: float = param(4.0, "reject a pixel this many sigma of the noise model from the median", gt=0)
        threshold: float = param(3.0, "sigma of a flattened frame at which pixels belong to objects", gt=0)
        dilation: float = param(10.0, "grow the objects by this radius", unit="pixel", ge=0)
        min_frames: int = param(3, "least number of frames: fewer cannot tell the flat from objects", ge=2)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = group.need(group.indices(), "frames")
        if len(frames) < params.min_frames:
            few = f"only {group.named(frames)}; a sky flat is made of at least {params.min_frames}"
            raise StepError(few, "add frames, or lower make_sky_flat:min_frames")
        if group.setup.dark is None:
            group.remark("no dark is subtracted; the sky flat keeps the dark's pattern")
        first = stack_planes(group, frames, params.nsigma, scaled=True)
        levels = [
            np.array(each_frame(group, frames, partial(_mask, state, _relative(plane), params)))
            for plane, state in zip(first, group.planes, strict=True)
        ]
        made = stack_planes(group, frames, params.nsigma, scaled=True, levels=levels)
        hidden = float(np.mean([np.mean((plane.dq & np.uint16(DQ.NO_DATA)) != 0) for plane in made]))
        if hidden:
            group.remark(f"objects cover {hidden:.2%} of the detector in every frame: no flat there; use wider dithers")
        group.streams[call.gives] = made
        group.keywords["NCOMBINE"] = len(frames)
        group.keywords["FLATTYPE"] = ("sky", "made from frames of the sky")


def _relative(flat: Plane) -> np.ndarray:
    """The first flat, of median 1, float32 (ny, nx); NaN where it is of no use."""
    good = flat.data[np.isfinite(flat.data) & (flat.data > 0) & (flat.dq == 0)]
    if not good.size:
        raise StepError("no usable pixel in the first pass of the sky flat", "check the bad-pixel masks")
    relative = flat.data / np.float32(np.median(good))
    return np.where((relative > FLAT_FLOOR) & (flat.dq == 0), relative, np.float32(np.nan))


def _mask(state: PlaneState, relative: np.ndarray, params: MakeSkyFlat.Params, i: int) -> float:
    """Mark the objects of one frame, found after division by the first flat; return the level of the sky between them.

    The flattened level does not depend on which part of an uneven field the objects cover.
    """
    dq, bad = state.dq.frame(i), state.bad(i) | np.isnan(relative)
    shape = np.where(bad, np.float32(1), relative)
    flattened = np.where(bad, np.float32(0), state.sci.frame(i) / shape)
    sky = level(flattened, bad).value
    variance = np.asarray(state.constant) + max(sky, 0.0) * shape * np.asarray(state.per_electron)
    noise = np.sqrt(np.maximum(variance, 1e-6)) / shape
    found = object_mask(flattened - np.float32(sky), bad, noise.astype(np.float32), threshold=params.threshold)
    covered = dilate(found, params.dilation) != 0
    state.dq.put(i, np.where(covered, dq | OBJECT, dq & ~OBJECT))
    between = level(flattened, bad | covered)
    return between.value if between.n else sky


SKYFLAT_STEPS = (MakeSkyFlat,)
