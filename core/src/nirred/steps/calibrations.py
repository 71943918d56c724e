"""Steps that stack calibration frames, and make darks and flats."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import replace
from functools import partial, reduce

import numpy as np

from ..algorithms.combine import NoiseModel, Rejection, combine
from ..algorithms.threads import run_blocks
from ..algorithms.typical import median, sampled_median
from ..darks import without_light
from ..dq import DQ
from ..errors import StepError, Unreadable
from ..frame import Plane
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..provenance import file_digest
from ..states import BAD, WRITTEN, PlaneState
from ..step import GroupStep

#: A dark whose level differs from the median of the others by this many times their scatter, and by this many times the
#: noise of a pixel, is no dark.
STRAY_SCATTER, STRAY_NOISE = 10.0, 10.0
#: Share of a lamp's usual light below which a lamp-on frame is wrong (a lamp that warms up changes by less), and above
#: which a lamp-off frame is, unless these drift, as thermal light does.
LIT, DARK = 0.2, 0.05
#: Ratio of the brightest flat to the faintest beyond which they differ by more than a lamp does: a sky that brightens.
UNEVEN = 1.2
#: Share of saturated pixels of a flat, those that are bad anyway apart, from which there is a remark.
FULL = 0.01
#: Step of the pixels sampled for levels that are only compared, in rows and columns.
COARSE = 9


class StackParams(Params):
    """Parameters of steps that stack calibration frames."""

    nsigma: float = param(4.0, "reject a pixel this many sigma of the noise model from the median", gt=0)


def stack_planes(
    group: Group,
    frames: list[int],
    nsigma: float,
    *,
    scaled: bool = False,
    levels: list[np.ndarray] | None = None,
) -> list[Plane]:
    """Mean of calibrated frames, outliers rejected against the noise model; VAR is the variance of the mean.

    Frames are first brought to their mean level, by a factor (`scaled`: lamps) or a constant; a frame's level is the
    median of its good pixels, unless `levels` of the frames are given, one array for each plane. The variance of a
    value is taken at the median's signal, not at its own counts: bright pixels are not biased. Pixels flagged alike in
    every frame are stacked like all others and flagged in the result. The stack therefore does not depend on the mask,
    and a flat can reuse the stack of lamps from which its bad-pixel mask was made. Only pixels that objects cover in
    every frame have no value: 0, flagged as without data. Flats whose levels differ by more than a lamp's do, such as
    those of a twilight, are weighted by their levels.
    """
    return _flagged(*_stacked(group, frames, nsigma, scaled=scaled, levels=levels)[:2])


def stack_counted(group: Group, frames: list[int], nsigma: float) -> list[tuple[Plane, np.ndarray]]:
    """As `stack_planes`, and the number of frames combined in each pixel, uint16 (ny, nx)."""
    made, common, counts = _stacked(group, frames, nsigma, scaled=False)
    return list(zip(_flagged(made, common), counts, strict=True))


def _stack_lamps(group: Group, frames: list[int], nsigma: float, *, scaled: bool) -> list[Plane]:
    """As `stack_planes`; the task of the bad-pixel mask keeps its stack for the flat made from the same frames."""
    key, shared = _lamps(group, frames, nsigma, scaled=scaled), group.context.lamp_stacks
    if key in shared:
        made, common = shared.pop(key)
        known = (None if state.inputs is None else state.inputs.static_dq for state in group.planes)
        return _flagged(made, [c if k is None else c | k for c, k in zip(common, known, strict=True)])
    stacked = _stacked(group, frames, nsigma, scaled=scaled)[:2]
    if group.task.makes == "bpm" and key is not None:
        shared[key] = stacked
    return _flagged(*stacked)


def _lamps(group: Group, frames: list[int], nsigma: float, *, scaled: bool) -> Hashable | None:
    """Key of a stack of lamps; None with a dark or flat, which differ from task to task, or an unreadable file."""
    setup = group.setup
    if setup.dark is not None or setup.flat is not None:
        return None
    infos = [group.frames[i].info for i in (group.indices()[0], *frames)]  # the first one gives the noise model
    known = group.record.contents  # what they were as the task began: a file that changed since has no other stack
    try:
        files = tuple((i.path, known.get(i.path) or file_digest(i.path), i.exposure) for i in infos)
        taken = tuple(file_digest(path) for kind, path in group.record.calibrations if kind in ("dark", "bias"))
    except Unreadable:
        return None
    scales = tuple(group.calibrations[kind].scale for kind in ("dark", "bias") if kind in group.calibrations)
    return repr(replace(setup, masks=[])), nsigma, scaled, files, taken, scales


def _stacked(
    group: Group, frames: list[int], nsigma: float, *, scaled: bool, levels: list[np.ndarray] | None = None
) -> tuple[list[Plane], list[np.ndarray], list[np.ndarray]]:
    """Stack of each plane, the flags common to all its frames, and the number of frames combined in each pixel."""
    common = [reduce(np.bitwise_and, (state.dq.frame(i) for i in frames)) & WRITTEN for state in group.planes]
    if levels is None:
        levels = [np.array(each_frame(group, frames, partial(_level, state), 1)) for state in group.planes]
    made = [
        _stack_plane(group, state, frames, nsigma, (flags, own), scaled=scaled)
        for state, flags, own in zip(group.planes, common, levels, strict=True)
    ]
    return [plane for plane, _ in made], common, [count for _, count in made]


def _flagged(planes: list[Plane], common: list[np.ndarray]) -> list[Plane]:
    return [Plane(p.data, p.dq | c, p.var) for p, c in zip(planes, common, strict=True)]


def _stack_plane(
    group: Group,
    state: PlaneState,
    frames: list[int],
    nsigma: float,
    known: tuple[np.ndarray, np.ndarray],
    *,
    scaled: bool,
) -> tuple[Plane, np.ndarray]:
    """Stack of a plane, and the number of frames combined; `known`: flags common to the frames, and their levels."""
    common, levels = known
    mean = float(levels.mean())
    factors, shifts = (mean / levels, None) if scaled and np.all(levels > 0) else (None, mean - levels)
    uneven = factors is not None and levels.max() > UNEVEN * levels.min()
    noise = NoiseModel(state.constant, state.per_electron)
    rejection = Rejection("noise" if len(frames) > 2 else "none", lsigma=nsigma, hsigma=nsigma)
    done = combine(
        state.sci.planes(frames), state.dq.planes(frames), noise=noise, rejection=rejection, scale=factors,
        zero=shifts, ignored=common, threads=group.context.threads,
        method="wtmean" if uneven else "mean", weights=levels / mean if uneven else None,
    )  # fmt: skip
    done.dq[...] &= WRITTEN
    return Plane(_finite(done.sci), done.dq, _finite(done.var)), done.n


def _without_strays(group: Group, frames: list[int]) -> list[int]:
    """The darks, less those whose level is not that of the others, which are left out.

    All are brought to their mean level before they are combined: a single one with light in it would raise it, and none
    of its pixels would stand out. Of two that differ neither is known to be wrong, and more than a quarter of all are
    no accident: these are used, with a remark.
    """
    for state in group.planes:
        levels = np.array(each_frame(group, frames, partial(_level, state, step=COARSE), 1))
        usual = float(np.median(levels))
        off = np.abs(levels - usual)
        room = STRAY_NOISE * math.sqrt(state.expected_variance(usual))
        stray = np.flatnonzero(off > max(room, STRAY_SCATTER * 1.4826 * float(np.median(off))))
        if stray.size > max(1, len(frames) // 4) or (len(frames) == 2 and off[0] > room):
            name, span = group.frames[frames[0]].info.name, f"{levels.min():.0f} to {levels.max():.0f} {group.units}"
            group.remark(f"the levels of the {len(frames)} darks from {name} on differ: {span}")
            continue
        for k in stray:
            if group.frames[frames[k]].alive:
                said = f"its level is {levels[k]:.0f} {group.units}, that of the others {usual:.0f}"
                group.leave_out(frames[k], f"{said}: no dark, or the shutter failed")
    return [i for i in frames if group.frames[i].alive]


def _finite(plane: np.ndarray) -> np.ndarray:
    """The plane, with NaN replaced by 0."""
    return plane if np.isfinite(plane).all() else np.nan_to_num(plane, copy=False)


def _level(state: PlaneState, i: int, step: int = 3) -> float:
    """Median of every `step`-th pixel both ways, of those that are good or flagged only by the static mask."""
    known = None if state.inputs is None else state.inputs.static_dq
    return sampled_median(state.sci.frame(i), state.dq.frame(i), known, step)


class StackDarks(GroupStep):
    """Mean of darks."""

    name = "stack_darks"
    doc = "mean of darks of one exposure time, outliers rejected against the noise model"
    Params = StackParams

    def apply(self, group: Group, params: StackParams, call: StepCall) -> None:  # noqa: D102
        role = "bpm_dark" if group.indices("bpm_dark") else "dark"
        frames = group.need(group.indices(role), "darks")
        times = {round(group.frames[i].info.descriptors.exposure_time or 0.0, 2) for i in frames}
        if max(times) - min(times) > 0.01 + 1e-9:
            raise StepError(f"darks of different exposure times ({sorted(times)} s)", "split the list")
        frames = _without_strays(group, frames)
        group.streams[call.gives] = stack_planes(group, frames, params.nsigma)
        group.keywords["NCOMBINE"] = len(frames)


class MakeLampFlat(GroupStep):
    """Lamp on minus lamp off; of flats without lamp-off partners dark and bias are subtracted, if there are any."""

    name = "make_lamp_flat"
    doc = "mean of lamp-on frames minus mean of lamp-off frames; without these, mean of the flats minus dark and bias"
    Params = StackParams

    def needs_frames(self, group: Group, params: StackParams) -> bool:
        """False if the task of the bad-pixel mask kept the stacks of these lamps."""
        wanted = {True: group.indices("lamp_on", "flat"), False: group.indices("lamp_off")}
        keys = [_lamps(group, frames, params.nsigma, scaled=on) for on, frames in wanted.items() if frames]
        return not keys or not all(key in group.context.lamp_stacks for key in keys)

    def apply(self, group: Group, params: StackParams, call: StepCall) -> None:  # noqa: D102
        unlit = None if group.indices("lamp_off") else without_light(group)
        if self.needs_frames(group, params):
            _leave_out_failed(group, group.indices("lamp_on"), group.indices("lamp_off"))
            if unlit is not None:
                _take_off(group, group.indices("lamp_on", "flat"), unlit)
        on = group.need(group.indices("lamp_on", "flat"), "flat frames")
        off = group.indices("lamp_off")
        planes = _stack_lamps(group, on, params.nsigma, scaled=True)
        if off:
            planes = _subtract(group, planes, _stack_lamps(group, off, params.nsigma, scaled=False))
        elif unlit is not None:
            planes = [_less_sure(lit, dark) for lit, dark in zip(planes, unlit, strict=True)]
        elif group.indices("lamp_on"):
            group.remark("no lamp-off frames; the flat keeps the thermal background")
        if group.indices("lamp_on"):
            group.keywords["NLAMPOFF"] = (len(off), "lamp-off frames subtracted")
        group.streams[call.gives] = planes
        group.keywords["NCOMBINE"] = len(on)


def _take_off(group: Group, frames: list[int], unlit: list[Plane]) -> None:
    """Subtract dark and bias from the frames, before these are scaled: they do not brighten with the light.

    The noise of their photons stays.
    """
    for state, plane in zip(group.planes, unlit, strict=True):
        state.constant = state.constant + state.per_electron * np.fmax(plane.data, np.float32(0))

        def subtract(i: int, state: PlaneState = state, values: np.ndarray = plane.data) -> None:
            state.sci.put(i, state.sci.frame(i) - values)

        each_frame(group, frames, subtract, 1)


def _less_sure(lit: Plane, dark: Plane) -> Plane:
    """A plane whose frames had the dark subtracted, with the dark's flags and, if it has any, its variance added."""
    var = lit.var if lit.var is None or dark.var is None else lit.var + dark.var
    return Plane(lit.data, lit.dq | dark.dq, var)


def _leave_out_failed(group: Group, on: list[int], off: list[int]) -> None:
    """Leave out lamp-on frames without the lamp's light, and lamp-off frames with it.

    A lamp-on frame without light would be scaled to the level of the others, and be noise in a flat that looks right.
    The usual light is that of the brighter lamp-on frames above the fainter lamp-off frames, as some of each may fail.
    """
    if not on:
        return
    levels = {i: float(np.mean([_level(state, i, COARSE) for state in group.planes])) for i in (*on, *off)}
    unlit = np.array([levels[i] for i in off])
    dark = float(np.percentile(unlit, 25)) if off else 0.0
    usual = float(np.percentile([levels[i] for i in on], 75)) - dark
    noise = math.sqrt(max(state.expected_variance(dark) for state in group.planes) / len(on))
    if usual <= noise:
        return  # most pixels are not lit: `normalize_flat` says so
    drift = 1.4826 * float(np.median(np.abs(unlit - np.median(unlit)))) if len(off) > 2 else 0.0
    least, most = LIT * usual, max(DARK * usual, STRAY_SCATTER * drift)
    for i in (*on, *off):
        light = levels[i] - dark
        if light < least if i in on else light > most:
            what = f"{light:.0f} {group.units} of the lamp's light, usual are {usual:.0f}"
            group.leave_out(i, f"{what}: lamp or shutter failed" if i in on else f"{what}: the lamp was not off")


def _subtract(group: Group, lit: list[Plane], dark: list[Plane]) -> list[Plane]:
    """Lit planes minus dark ones, on the group's threads."""
    return [_difference(a, b, group.context.threads) for a, b in zip(lit, dark, strict=True)]


def _difference(a: Plane, b: Plane, threads: int) -> Plane:
    """One plane minus another; a dark of another program may have no variance: that of the lamps is known anyway."""
    made = [(np.subtract, a.data, b.data), (np.bitwise_or, a.dq, b.dq)]
    if a.var is not None and b.var is not None:
        made.append((np.add, a.var, b.var))
    out = [np.empty_like(lit) for _, lit, _ in made]

    def rows(start: int, stop: int) -> None:
        for (operation, lit, dark), result in zip(made, out, strict=True):
            operation(lit[start:stop], dark[start:stop], out=result[start:stop])

    run_blocks(rows, len(a.data), threads)
    data, dq, *var = out
    return Plane(data, dq, var[0] if var else a.var)


class NormalizeFlat(GroupStep):
    """Divide by the median of the good pixels of all planes."""

    name = "normalize_flat"
    uses_frames = False
    doc = "scale to a median of 1 over the good pixels; one scale for all planes keeps their relative sensitivity"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        planes = group.streams[call.takes]
        good = np.concatenate([p.data[(p.dq == 0) & np.isfinite(p.data)] for p in planes])
        level = median(good) if good.size else 0.0
        if not good.size:
            full = np.mean([np.mean((p.dq & DQ.SATURATED) != 0) for p in planes])
            what = f"no pixel of the flat is good: {full:.0%} are saturated, others dark or bad"
            raise StepError(what, "use lamp frames that are not saturated, or --allow-missing flat")
        noise = math.sqrt(max(0.0 if p.var is None else sampled_median(p.var, p.dq, None, COARSE) for p in planes))
        if not level > noise:
            what = f"the flat's median is {level:.3g} {group.units}, the noise of its pixels {noise:.3g}"
            raise StepError(what, "check the lamp frames, and whether unlit parts are masked (add_dq:add_illum_mask)")
        _tell_saturated(group, planes)
        group.keywords["FLATLEV"] = (round(level, 3), f"[{group.unit}] median before normalisation")
        group.streams[call.gives] = [
            Plane(p.data / np.float32(level), p.dq, None if p.var is None else p.var / np.float32(level**2))
            for p in planes
        ]


def _tell_saturated(group: Group, planes: list[Plane]) -> None:
    """Remark that a flat has many saturated pixels: their response is unknown, and frames lose them."""
    share = float(np.mean([np.mean((p.dq & (BAD | np.uint16(DQ.SATURATED))) == DQ.SATURATED) for p in planes]))
    if share > FULL:
        group.remark(f"{share:.1%} of the flat's pixels are saturated and count as bad; use shorter exposures")


class ThresholdFlatfield(GroupStep):
    """Flag pixels where the flat is out of range and set them to 1."""

    name = "threshold_flatfield"
    uses_frames = False
    doc = "flag as unilluminated where the flat is out of range, and set 1 there"

    class Params(StepParams):
        """Parameters of `threshold_flatfield`."""

        upper: float = param(10.0, "largest value of a flat", gt=0)
        lower: float = param(0.01, "smallest value of a flat")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        done = []
        for p in group.streams[call.takes]:
            out = ~((p.data >= params.lower) & (p.data <= params.upper))
            known = (p.dq & np.uint16(DQ.BAD_PIXEL | DQ.NO_DATA)) != 0  # out of range for another reason
            dq = p.dq | np.where(out & ~known, np.uint16(DQ.UNILLUMINATED), np.uint16(0))
            blank = out | ((dq & np.uint16(DQ.UNILLUMINATED)) != 0)
            done.append(Plane(np.where(blank, np.float32(1), p.data), dq, p.var))
        group.streams[call.gives] = done


CALIBRATION_STEPS = (StackDarks, MakeLampFlat, NormalizeFlat, ThresholdFlatfield)
