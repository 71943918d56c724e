"""The zero level of a stack: measured, subtracted, and stated with its error."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from ..algorithms.dilation import dilate
from ..algorithms.evenness import AREA, Evenness, broad_noise, broadened, evenness
from ..algorithms.flags import flagged
from ..algorithms.objmask import find_objects
from ..algorithms.threads import both
from ..algorithms.typical import median
from ..algorithms.zero_level import deep_pixels, zero_level
from ..frame import Plane
from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..products import correlation_factor, drawn_planes
from ..results import require
from ..states import BAD
from ..step import GroupStep

#: Ratio of the scatter of blank areas to the prediction of VAR: above the first there is a remark, below the second the
#: sky counts as even.
UNEVEN, EVEN = 3.0, 1.5
#: Variances above this many times that of the sky are those of objects.
STARLIT = 1.5
#: Number of parts of an uneven field, such as quadrants, whose levels have independent errors.
PARTS = 4
#: Share of the detector hidden by objects in every frame from which there is a remark: of few frames, stars hide some.
WORTH_SAYING = 0.02


class LevelStack(GroupStep):
    """Measure the zero level of the stack on its blank pixels, subtract it, and state its error."""

    name = "level_stack"
    uses_frames = False
    doc = "measure the stack's zero level on its blank pixels, subtract it, and state its error"

    class Params(StepParams):
        """Parameters of `level_stack`."""

        threshold: float = param(3.0, "sigma at which pixels belong to objects", gt=0)
        dilation: float = param(4.0, "grow the objects by this radius", unit="pixel", ge=0)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        planes, counts = group.streams[call.takes], require(group.stack.nexp, "nexp")
        levelled = [
            _levelled(group, p, plane, count, params)
            for p, (plane, count) in enumerate(zip(planes, counts, strict=True))
        ]
        done = [known.plane for known in levelled]
        excess = [known.excess for known in levelled if known.excess is not None]
        if excess and min(excess) > 0:
            done = _state_broad_noise(group, done, float(np.mean(excess)))
        group.streams[call.gives] = done
        behind = group.sky.shape_behind if group.objects.hidden else 0.0
        error = max(float(np.hypot(known.error, behind)) for known in levelled)
        group.keywords["LEVELERR"] = (round(error, 4), f"[{group.unit}] 1-sigma error of the zero level")
        evenness = [known.evenness for known in levelled if known.evenness is not None]
        if evenness:
            _tell_uneven(group, max(evenness, key=lambda e: e.ratio))
        _tell_hidden(group, behind, error)


@dataclass(frozen=True)
class _Levelled:
    """A plane of the stack at its zero level.

    Attributes
    ----------
    plane : Plane
        The plane.
    error : float
        1-sigma error of its level, unit of the stack.
    evenness : Evenness or None
        Of its blank sky; None if the level was not measured here.
    excess : float or None
        Variance in apertures in excess of VAR, relative to VAR; likewise.
    """

    plane: Plane
    error: float
    evenness: Evenness | None = None
    excess: float | None = None


def _levelled(group: Group, p: int, plane: Plane, count: np.ndarray, params: LevelStack.Params) -> _Levelled:
    """Bring plane `p` of the stack to its zero level, unless that of its sky frames or pieces is more certain."""
    frames = group.targets
    weights = np.array([group.frames[i].weight for i in frames])
    filled = [state for d in drawn_planes(group, p) if (state := group.planes[d]).filled]
    if filled:  # levels predicted from the same sky frames have the same error
        return _Levelled(plane, max(float(weights @ [state.sky_err[i] for i in frames]) for state in filled))
    grown, objects = stack_objects(plane, params.threshold, group.context.threads)
    mask, sunk = dilate(grown, params.dilation), bool(group.objects.hidden) or group.objects.buried
    (value, error), (seen, excess) = both(
        partial(zero_level, plane.data, plane.dq & BAD, count, mask, objects, group.stack.noisecov, sunk=sunk),
        partial(_blank_noise, group, plane, count, mask),
        group.context.threads,
    )
    if (stated := _stated_by_pieces(group, p)) < error:  # their target may fill the field
        group.remark("the zero level is that of the stacks: it is less certain if measured again")
        return _Levelled(plane, stated)
    error = float(np.hypot(error, seen.beyond(EVEN) / np.sqrt(PARTS)))
    return _Levelled(Plane(plane.data - np.float32(value), plane.dq, plane.var), error, seen, excess)


def _tell_uneven(group: Group, rough: Evenness) -> None:
    """Remark and keyword on a blank sky that scatters by far more than VAR predicts."""
    if not rough.ratio > UNEVEN:
        return
    group.keywords["UNEVEN"] = (
        round(rough.excess, 3),
        f"[{group.unit}] rms of blank areas of {AREA} pixels beyond VAR",
    )
    group.remark(
        f"the stack's blank sky is uneven: areas of {AREA} pixels differ by {rough.excess:.3g} {group.unit} "
        f"(rms), {rough.ratio:.1f} times what VAR predicts, and so do fluxes in apertures of that size"
        f"{_advice(group)}"
    )


def _tell_hidden(group: Group, behind: float, error: float) -> None:
    """Remark on a sky that objects hide in every frame: its error `behind` them, and that of the zero level."""
    if group.objects.hidden > WORTH_SAYING:
        group.remark(
            f"objects cover {group.objects.hidden:.0%} of the detector in every frame: the sky behind them is "
            f"interpolated from around them, where it is even to {behind:.2g} {group.unit}, and may contain their "
            f"faint halos; the zero level, and slopes behind them, are uncertain by {error:.2g} {group.unit} "
            "(LEVELERR); separate sky frames or wider dithers would help"
        )


def _stated_by_pieces(group: Group, p: int) -> float:
    """Error of a plane's zero level as stated by the finished stacks that it is made of; infinity without one.

    The stacks have been brought to their mean. Their errors may have one cause: they are not taken for independent.
    """
    errors, frames = group.planes[p].sky_err, group.targets
    if group.stack.pieces is None or not all(i in errors for i in frames):
        return np.inf
    return float(np.average([errors[i] for i in frames], weights=[group.frames[i].weight for i in frames]))


def _advice(group: Group) -> str:
    """A remedy for an uneven sky: `clean_readout`, if the amplifiers read out quadrants."""
    for detector in group.frames[0].info.detectors:
        if any(tuple(2 * n for n in a.section.shape) != detector.shape for a in detector.amplifiers):
            return ""
    return "; if you see columns or quadrants in it, try `-p clean_readout:clean=default`"


def _blank_noise(group: Group, plane: Plane, count: np.ndarray, mask: np.ndarray) -> tuple[Evenness, float]:
    """Evenness of deep blank pixels; variance in apertures on them in excess of VAR, relative to VAR."""
    if plane.var is None:
        return Evenness(0.0, 0.0), 0.0
    blank = np.isfinite(plane.data) & np.isfinite(plane.var) & ((plane.dq & BAD) == 0) & (mask == 0)
    what = plane.data, plane.var, deep_pixels(count, blank)
    cov, width = group.stack.noisecov, group.registration.star_width
    return evenness(*what), 0.0 if cov is None else broad_noise(*what, cov, width)


def _state_broad_noise(group: Group, planes: list[Plane], excess: float) -> list[Plane]:
    """Add the sky's excess noise on the scale of apertures to VAR, and broaden NOISECOV accordingly.

    As it is noise of the sky, pixels of stars get no more of it than those of the sky next to them.
    """
    noisier = []
    for plane, count in zip(planes, require(group.stack.nexp, "nexp"), strict=True):
        seen, var = np.maximum(count, 1).astype(np.float32), np.asarray(plane.var)
        usual = median((var * seen)[np.isfinite(var) & (count > 0)])
        added = np.float32(excess) * np.minimum(var, np.float32(STARLIT * usual) / seen)
        noisier.append(Plane(plane.data, plane.dq, var + added))
    cov = broadened(require(group.stack.noisecov, "noisecov"), excess)
    group.stack.noisecov = cov
    group.keywords["CORRFAC"] = correlation_factor(cov)
    return noisier


def stack_objects(plane: Plane, threshold: float, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Object mask of a stack, and the blocks of pixels in which objects were detected."""
    noise = np.sqrt(plane.var if plane.var is not None else np.ones_like(plane.data))
    return find_objects(plane.data, flagged(plane.dq, int(BAD)), noise, threshold=threshold, threads=threads)


LEVEL_STEPS = (LevelStack,)
