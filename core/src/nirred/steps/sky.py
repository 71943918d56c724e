"""Make the sky of each frame and subtract it; in two passes, the second with objects masked."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np

from ..algorithms.background import SAMPLES, level
from ..algorithms.flags import flagged
from ..algorithms.objmask import blank_fraction
from ..algorithms.sky import levels_alike
from ..algorithms.surface import surface_order
from ..errors import StepError
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..results import SkyScale
from ..slabs import sample_rows, sampled
from ..states import BAD, OBJECT, Light, PlaneState
from ..step import GroupStep
from ..store import PlaneStack
from .drift import expected_shapes, level_lit, sky_levels
from .match import match_skies, unequally_shown
from .outskirts import put_back, take_off_halos
from .residual import level_frames
from .skymodel import MOST_SAMPLED, SkyModel, epochs, subtract_at_once, subtract_shrunk, time_of

#: Frames with less than this share of the usual sky were not exposed to it; from twilight to night it changes by less.
UNLIT = 0.03
#: The same relative to the frames before and after, and of these relative to a frame that other light reached: from
#: twilight to night the sky does not fall and rise again.
DIM = 0.2
#: Sky levels this many times the noise of a pixel below 0 are no sky's: the dark is not that of the frames.
NEGATIVE = 1.0
#: Slope differences between frames, over the noise of a pixel and the root of the frames' number, that are too small to
#: matter: steps next to objects are of their order, and average out over more dithers than the noise does.
SLIGHT = 0.007
#: Below this share of blank pixels a target fills the field: its zero level comes from the sky frames.
FILLED = 0.10


class SkyCorrect(GroupStep):
    """Subtract each frame's sky."""

    name = "sky_correct"
    doc = "subtract the sky: robust mean of the associated frames, scaled or shifted to each frame's own level"

    class Params(StepParams):
        """Parameters of `sky_correct`."""

        mask_objects: bool = param(True, "exclude pixels covered by objects from the sky")
        scale_sky: bool | None = param(
            None,
            "scale the sky to the level of the frame; False: keep the sky frames' level; default: decide from the data",
        )
        offset_sky: bool = param(False, "shift the sky to the frame's level instead of scaling it")
        nsigma: float = param(4.0, "reject pixels of a sky frame this many sigma from the others", gt=0)
        model: bool = param(True, "shrink the sky's small-scale pattern by the fraction of it that is noise")
        gradient: bool = param(True, "subtract a residual plane or parabola if enough of the field is blank")
        only_hidden: bool = param(
            False, "run only if, in a dither without sky frames, objects hide pixels in every frame or leave hollows"
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.offset_sky and params.scale_sky:
            raise StepError("sky_correct: scale_sky and offset_sky exclude each other", "set one")
        hidden = group.objects.enclosed
        if params.only_hidden and not hidden:
            return
        _forget_dead(group)
        if not any(group.skies.get(i) for i in group.indices()):
            raise StepError("no frame has a sky frame", _remedy(group))
        for i in group.targets:
            if not group.skies.get(i):
                group.leave_out(i, "no sky frame is far enough from it and near in time (associate_sky:distance, time)")
        alone = [i for i in group.indices() if not group.skies.get(i)]
        if alone:
            group.remark(
                f"objects on {group.named(alone, 'sky frames')} are not masked: no other sky frame is far enough away "
                "(associate_sky:distance)"
            )
        for p in range(len(group.planes)):
            _correct(group, p, params, hidden=hidden)


def _correct(group: Group, p: int, params: SkyCorrect.Params, *, hidden: bool) -> None:
    """Subtract the sky of plane `p` of every frame; `hidden`: objects amid sky cover part of it in all frames."""
    state = group.planes[p]
    state.unseen = None
    if state.subtracted is None:  # a frame without sky shows nothing
        whole = all(group.skies.get(i) for i in group.indices())
        state.sub = PlaneStack(state.sci.shape, np.float32, state.sub_scratch, zeros=not whole)
    state.mended.clear()
    state.residual.clear()
    lights = take_off_halos(group, p) if hidden and params.mask_objects else {}
    scale = measure_levels(group, p, params)
    targets = group.indices()
    with_sky = [i for i in targets if group.skies.get(i)]
    known = (hidden or not group.objects.hidden) if params.mask_objects else unequally_shown(group, state)
    if params.gradient and known:
        match_skies(group, state, scale, slight=0.0 if hidden else SLIGHT)
    model = SkyModel(group, state, scale.zero, scale.unit, params.nsigma)
    group.sky.scales[p] = scale
    if not params.mask_objects:
        for epoch in epochs(group, with_sky):
            subtract_at_once(model, epoch)
        level_lit(model, p, gradient=params.gradient)
        return
    with ExitStack() as uncovered:
        for shown in group.objects.shown.get(p, []):
            uncovered.enter_context(shown.uncovered(state))
        for epoch in epochs(group, with_sky):
            subtract_shrunk(model, epoch, p, shrink=params.model)
            if p in group.objects.moving:
                group.objects.moving[p].give_back(state, epoch, model.skies(epoch), model.unit)
    predicted = {i for i in targets if _from_sky_frames(group, state, i, params)}
    expected = expected_shapes(model, group.indices("object")) if params.gradient else {}
    level_frames(group, state, targets, predicted, expected, shape=params.gradient)
    put_back(group, p, lights)
    if params.gradient:
        covered = {i for i in targets if surface_order(state.blank.get(i, 1.0)) == 0}
        state.unshaped = predicted | covered


def _additive(group: Group, state: PlaneState, levels: np.ndarray, params: SkyCorrect.Params) -> bool:
    """True if the sky is to be shifted, not scaled.

    This is so if the user asks for it, if the dark pattern is still in the frames, or if the sky is no brighter than
    the noise, so that a factor is meaningless.

    Raises
    ------
    StepError
        Scaling is requested and a sky level is not positive.
    """
    if params.offset_sky:
        return True
    living = group.indices()
    lowest = float(np.min(levels[living]))
    if params.scale_sky is None:
        return group.setup.dark is None or lowest <= 3.0 * float(np.sqrt(state.typical_noise[0]))
    if lowest <= 0:
        name = group.frames[living[int(np.argmin(levels[living]))]].info.name
        raise StepError(
            f"{name}: its sky is {lowest:.1f} {group.units} and cannot be scaled", "sky_correct:offset_sky=True"
        )
    return False


def measure_levels(group: Group, p: int, params: SkyCorrect.Params) -> SkyScale:
    """Measure every frame's sky level into `FrameState.sky`; return the scale of the sky model of plane `p`."""
    state, alive = group.planes[p], group.indices()
    extra = int(OBJECT) if params.mask_objects else 0
    levels = np.zeros(len(group.frames))
    levels[alive] = each_frame(group, alive, lambda i: _measure_level(group, p, i, extra))
    if not params.mask_objects:
        group.sky.unmasked[p] = levels.copy()
    _leave_out_unlit(group, state, levels)
    filled = [i for i in group.indices("object") if _from_sky_frames(group, state, i, params)]
    _predict(group, p, levels, filled)
    if filled and params.mask_objects:
        state.filled = True
        where = "the field" if len(group.planes) == 1 else f"the field of plane {p + 1}"
        group.remark(f"the target fills {where}; its zero level comes from the sky frames")
    _tell_bright_dark(group, state, levels)
    additive = _additive(group, state, levels, params)
    if params.mask_objects:
        levels = _on_one_pattern(group, state, levels, filled, scaled=not additive)
    if additive:
        return SkyScale(levels, np.ones_like(levels))
    return SkyScale(np.zeros_like(levels), levels)


def _tell_bright_dark(group: Group, state: PlaneState, levels: np.ndarray) -> None:
    usual, noise = float(np.median(levels[group.indices()])), float(np.sqrt(state.typical_noise[0]))
    if group.setup.dark is not None and usual < -NEGATIVE * noise:
        name = group.keywords.get("DARKCOR", "the dark")
        group.remark(
            f"{name} is brighter than the frames: their sky is {usual:.0f} {group.units}, and its noise unknown"
        )


def _on_one_pattern(
    group: Group, state: PlaneState, levels: np.ndarray, filled: list[int], *, scaled: bool
) -> np.ndarray:
    """Levels measured against the common pattern of the sky frames, as objects mask other pixels in each frame.

    Those of frames that a target fills come from the sky frames.
    """
    living = group.indices()
    skies = sorted({j for i in living for j in group.skies.get(i, ())})
    if len(skies) < 2:
        return levels
    frames = skies + [i for i in living if i not in skies and i not in filled]
    rows = sample_rows(state.shape, min(SAMPLES, MOST_SAMPLED // len(frames)))
    data, dq = (sampled(stack, frames, rows) for stack in (state.sci, state.dq))
    bad = np.stack([flagged(plane, int(BAD | OBJECT)) for plane in dq])
    found, threads = levels.copy(), group.context.threads
    found[frames] = levels_alike(data, bad, levels[frames], scaled=scaled, skies=len(skies), threads=threads)
    return found


def _remedy(group: Group) -> str:
    """Remedy if no frame has a sky frame."""
    alone = group.indices()
    if len(alone) > 1:
        return "add sky frames, or set associate_sky:distance=0, or a larger associate_sky:time or min_skies"
    described = group.frames[alone[0]].info.descriptors
    time = "" if described.exposure_time is None else f"{described.exposure_time:g} s, "
    return (
        f"no other usable frame has its {time}configuration and pointing: add sky frames, leave it out (--exclude), "
        "or only calibrate it (-r separate_sky)"
    )


def _forget_dead(group: Group) -> None:
    """Remove frames that have been left out from the other frames' sky frames: their levels are no longer measured."""
    living = set(group.indices())
    group.skies = {i: tuple(j for j in skies if j in living) for i, skies in group.skies.items()}


def _leave_out_unlit(group: Group, state: PlaneState, levels: np.ndarray) -> None:
    """Leave out frames that no light reached, or other light than the sky's.

    A single dark one would make the lowest sky too faint for scaling, a single bright one outweigh the other skies.
    """
    living = group.indices()
    usual = float(np.median(levels[living]))
    constant, per_electron = state.typical_noise
    if len(living) < 3 or usual * per_electron < constant:  # a sky fainter than the read noise may well vanish
        return
    series = [group.indices(role) for role in ("object", "sky", "both")]
    dim = {i for frames in series for i in _dips(group, frames, levels)}
    bright = {i for frames in series for i in _dips(group, frames, 1.0 / np.maximum(levels, 1e-6))}
    for i in living:
        others = f"its sky is {levels[i]:.0f} {group.units}, that of the others {usual:.0f}"
        if levels[i] < UNLIT * usual or i in dim:
            group.leave_out(i, f"{others}: no light came in (shutter, cover or filter closed)")
        elif i in bright and DIM * levels[i] > usual:
            group.leave_out(i, f"{others}, before and after it: other light came in (lamp, dome)")
    _forget_dead(group)


def _dips(group: Group, frames: list[int], levels: np.ndarray) -> list[int]:
    """Frames with a much lower level than both the frame before and the frame after."""
    order = sorted(frames, key=lambda i: (time_of(group.frames[i]), i))
    seen = levels[order]
    return [order[k] for k in range(1, len(order) - 1) if seen[k] < DIM * min(seen[k - 1], seen[k + 1])]


def _measure_level(group: Group, p: int, i: int, extra: int) -> float:
    """Measure the sky level of plane `p` of frame `i`; record it with its error and the share of blank pixels."""
    state = group.planes[p]
    rows = sample_rows(state.shape, SAMPLES)
    data, dq = (sampled(stack, [i], rows)[0] for stack in (state.sci, state.dq))
    bad = flagged(dq, int(BAD) | extra)
    state.blank[i] = blank_fraction(bad, flagged(dq, int(BAD)))
    measured = level(data, bad, step=1)
    if measured.n < SAMPLES // 5:  # mostly masked: the rest deserves more pixels
        measured = level(state.sci.frame(i), state.bad(i, extra))
    if measured.n == 0:  # an object covers all that is lit
        measured = level(state.sci.frame(i), state.bad(i))
    state.sky[i], state.sky_err[i] = measured.value, measured.error
    if p == 0:
        group.frames[i].sky = measured.value
    return measured.value


def _from_sky_frames(group: Group, state: PlaneState, i: int, params: SkyCorrect.Params) -> bool:
    if not group.indices("sky"):
        return False
    if params.scale_sky is False and not params.offset_sky:
        return True
    return params.scale_sky is None and params.mask_objects and state.blank.get(i, 1.0) < FILLED


def _predict(group: Group, p: int, levels: np.ndarray, filled: list[int]) -> None:
    """Replace the levels of frames filled by a target; record the targets' light as measured with the sky frames."""
    state, targets = group.planes[p], group.indices("object")
    errors = np.array([state.sky_err.get(i, np.nan) for i in range(len(group.frames))])
    # from all pixels, as masks differ from frame to frame
    seen = group.sky.unmasked.get(p, levels)
    known = sky_levels(group, targets, levels, errors, seen)
    if known is None:
        return
    state.light = Light(known.light, known.light_err)
    group.sky.predicted[p] = dict(zip(targets, known.values.tolist(), strict=True))
    for i, value in zip(targets, known.values, strict=True):
        if i in filled:
            levels[i] = state.sky[i] = float(value)
            state.sky_err[i] = known.common
            if p == 0:
                group.frames[i].sky = float(value)


SKY_STEPS = (SkyCorrect,)
