"""EMIR's own steps: amplifier levels, large-scale response and stray light, extinction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nirred.algorithms.amplifiers import amplifier_levels, edge_levels, take_levels_off, unmix
from nirred.algorithms.background import level
from nirred.algorithms.mesh import mesh_background
from nirred.algorithms.surface import Surface, surface_order
from nirred.algorithms.threads import run_blocks
from nirred.plugin import DQ, GroupStep, param
from nirred.plugin import Params as StepParams

from .illumination import RESPONDS, SIGNIFICANT, Structure, cells, large_scale, unresponsive
from .rings import Split, divide_rings

if TYPE_CHECKING:
    from nirred.plugin import StepCall

#: Peak to peak (2 to 98 %) below which a flat has only pixel-to-pixel structure: the observatory divides its flats by a
#: median of 11 pixels.
CARRIES = 0.01
#: Peak to peak of the sky's large-scale structure from which there is a remark.
NOTABLE = 0.01
#: Least response to the sky of a pixel that sees it: no vignetting is deeper.
DARKEST = 0.2
#: Least fraction of blank pixels in a box of an amplifier for a measurement of its background.
SHOWN = 0.75
#: Number of frames, spread over the sequence, used to find pixels that do not see the sky; and the fewest.
WITNESSES, FEWEST = 9, 3
#: Levels that differ by this many sigma of a pixel are subtracted before the first sky is made. It would reject part of
#: such an amplifier's pixels as outliers, more where the noise is low: slopes along the amplifier would remain.
FAR = 2.0
#: Of so many rows one is used to measure them.
THIN = 4
#: Number of frames, spread likewise, used to measure the sky structure left by a flat if it is only reported.
TELLING = 5


class LevelAmplifiers(GroupStep):
    """Subtract amplifier levels: quadrants (HAWAII-2) and channels (H2RG) drift from frame to frame."""

    name = "level_amplifiers"
    doc = (
        "subtract each frame's quadrant or channel levels, and where its sky is blank the surface fitted with them; "
        "before there is a sky: levels of more than 2 sigma of a pixel"
    )

    class Params(StepParams):
        """Parameters of `level_amplifiers`."""

        order: int = param(2, "degree of the smooth surface common to all amplifiers", ge=0, le=6)
        nside: int = param(
            0,
            "boxes per side of an amplifier whose background is subtracted too, if blank; 0: only its level",
            ge=0,
            le=64,
        )
        frames: bool = param(False, "correct the calibrated frames too, before the next sky is made of them")

    def apply(self, group: Any, params: Params, call: StepCall) -> None:  # noqa: D102
        unknown, largest = 0, 0.0
        for p, state in enumerate(group.planes):
            boxes = [a.section.pixels for a in group.frames[0].info.detectors[p].amplifiers]
            if len(boxes) < 2:
                continue
            if state.subtracted is None:
                _take_far_levels_off(group, state, boxes, params.order)
                continue
            living = group.indices()
            gain = state.electronic_gain(living[0])
            found = _levels(group, state, living, boxes, params.order, gain)
            measured = np.stack([levels for levels, _ in found])
            unknown += int((np.isnan(measured) & _living(state, living[0], boxes)).any(axis=1).sum())
            measured = np.nan_to_num(measured)
            own = unmix(measured, _sky_shares(group, living)) if params.frames else measured
            largest = max(largest, float(np.std(own)))
            for i, levels, differences, (_, surface) in zip(living, own, measured, found, strict=True):
                told = surface_order(state.blank.get(i, 1.0)) >= params.order
                take_levels_off(state.sub.frame_to_change(i), boxes, differences, surface if told else None, gain)
                if params.frames:
                    take_levels_off(state.sci.frame_to_change(i), boxes, levels, gain=gain)
                if params.nside:
                    _smooth(state, i, boxes, params.nside)
        group.keywords["AMPLEVEL"] = (round(largest, 3), f"[{group.unit}] rms of amplifier levels, last pass")
        if unknown:
            group.remark(f"{unknown} frames have amplifiers without blank sky, which are not levelled")


def _living(state: Any, i: int, boxes: list[tuple[slice, slice]]) -> np.ndarray:
    """Amplifiers with at least one good pixel."""
    bad = state.bad(i)
    return np.array([not bad[box].all() for box in boxes])


def _levels(
    group: Any,
    state: Any,
    frames: list[int],
    boxes: list[tuple[slice, slice]],
    order: int,
    gain: np.ndarray | None,
) -> list[tuple[np.ndarray, Surface]]:
    def one(k: int, _: int) -> tuple[np.ndarray, Surface]:
        i, data = frames[k], state.sub.frame(frames[k])
        if state.lit and group.frames[i].role == "object":  # a surface would be the target's, which no surface follows
            even = data if gain is None else data / gain
            return edge_levels(even, state.bad(i), boxes), Surface.zero(state.shape)
        return amplifier_levels(data, state.covered(i), boxes, order=order, gain=gain)

    return run_blocks(one, len(frames), group.context.threads, 1)


def _take_far_levels_off(group: Any, state: Any, boxes: list[tuple[slice, slice]], order: int) -> None:
    """Subtract levels from frames that contain their sky, if any is FAR from those of other frames and amplifiers."""
    living = group.indices()
    gain = state.electronic_gain(living[0])
    thin = slice(None, None, THIN)
    rows = [(slice(-(-y.start // THIN), -(-y.stop // THIN)), x) for y, x in boxes]
    total, skies = np.zeros(state.sci.frame(living[0])[thin].shape), {}
    for i in living:
        data = np.ascontiguousarray(state.sci.frame(i)[thin])
        skies[i] = level(data, np.ascontiguousarray(state.bad(i)[thin])).value
        total += data
    usual = float(np.mean(list(skies.values())))
    mean = (total / len(living)).astype(np.float32)

    def one(k: int, _: int) -> np.ndarray:
        i = living[k]
        rest = state.sci.frame(i)[thin] - mean * np.float32(skies[i] / usual if usual > 0 else 1.0)
        covered = np.ascontiguousarray(state.bad(i)[thin])
        return amplifier_levels(rest, covered, rows, order=order, gain=None if gain is None else gain[thin])[0]

    measured = np.stack(run_blocks(one, len(living), group.context.threads, 1))
    found = np.nan_to_num(measured)
    for axis in (1, 0):  # most amplifiers of a frame, and most frames, have not jumped
        found -= np.median(found, axis=axis, keepdims=True)
    found[np.isnan(measured)] = 0.0
    if np.abs(found).max() <= FAR * state.expected_variance(usual) ** 0.5:
        return
    if gain is not None:  # of large levels single pixels show how they respond
        own = np.asarray(state.per_electron, np.float32) / np.float32(state.typical_noise[1])
        gain = np.where(state.bad(living[0]) == 0, own, gain)
    for i, levels in zip(living, found, strict=True):
        take_levels_off(state.sci.frame_to_change(i), boxes, levels, gain=gain)


def _sky_shares(group: Any, living: list[int]) -> np.ndarray:
    """Weight of each frame in the sky of each other frame."""
    shares = np.zeros((len(living), len(living)))
    for n, i in enumerate(living):
        members = [j for j in group.skies.get(i, ()) if j in living]
        total = sum(group.frames[j].sky for j in members)
        for j in members:
            shares[n, living.index(j)] = group.frames[i].sky / total if total > 0 else 1.0 / len(members)
    sums = shares.sum(axis=1, keepdims=True)
    return np.asarray(shares / np.where(sums > 0, sums, 1.0))


def _smooth(state: Any, i: int, boxes: list[tuple[slice, slice]], nside: int) -> None:
    """Subtract the background of boxes left after levels and surface; boxes filled by objects are not changed."""
    data, covered = state.sub.frame(i), state.covered(i)
    for rows, columns in boxes:
        part = np.ascontiguousarray(data[rows, columns])
        mesh = mesh_background(part, covered[rows, columns], max((columns.stop - columns.start) // nside, 2))
        if np.isfinite(mesh.values).all():
            shown = np.where(mesh.shares >= SHOWN, mesh.values, 0.0)
            data[rows, columns] = part - replace(mesh, values=shown).evaluate()
    state.sub.put(i, data)


class CorrectIllumination(GroupStep):
    """Separate vignetting, which is divided out, from stray light, which is subtracted with the sky."""

    name = "correct_illumination"
    doc = (
        "divide by the large-scale response if the flat lacks it; stray light (the doughnut) is left in the sky; "
        "flag pixels that do not see the sky"
    )

    class Params(StepParams):
        """Parameters of `correct_illumination`."""

        response: Literal["auto", "flat", "sky"] = param(
            "auto", "source of the large-scale response: the flat; the sky; auto: the flat if it contains one"
        )
        fit_doughnut: bool = param(False, "split rings of stray light off the sky's structure before dividing by it")

    def apply(self, group: Any, params: Params, call: StepCall) -> None:  # noqa: D102
        for p, state in enumerate(group.planes):
            flat = group.setup.flat
            carried = large_scale(flat[p].data, flat[p].dq) if flat is not None else 0.0
            living = group.indices("sky", "both") or group.indices()
            _mask_unresponsive(group, state, living)
            if params.response == "flat" or (params.response == "auto" and carried >= CARRIES):
                left = _sky_of(group, state, _spread(living, TELLING)).span
                _say(group, "large-scale response from the flat", left, params.fit_doughnut)
                continue
            sky = _sky_of(group, state, living)
            split = divide_rings(sky) if params.fit_doughnut else Split(sky)
            response = split.response.evaluate()
            _flag(group, state, response < DARKEST)  # cells next to dead ones
            state.divide(np.maximum(response, DARKEST), group.indices())
            group.keywords["ILLUMCOR"] = (round(split.response.span, 4), "peak to peak of the response divided out")
            group.keywords["DOUGHNUT"] = (round(split.height, 5), "height of the ring of stray light, of sky")
            why = "asked for" if params.response == "sky" else "the flat carries none" if flat else "there is no flat"
            group.remark(f"large-scale response from the sky ({why}); {_assumed(split, params)}")


def _spread(frames: list[int], most: int) -> list[int]:
    """At most `most` of the frames, spread over the sequence."""
    return [frames[k * len(frames) // most] for k in range(most)] if len(frames) > most else frames


def _sky_of(group: Any, state: Any, frames: list[int]) -> Structure:
    return cells([(state.sci.frame(i), state.covered(i), group.frames[i].sky) for i in frames])


def _mask_unresponsive(group: Any, state: Any, frames: list[int]) -> None:
    """Flag bad pixels unknown to mask and flat, before they pass for dark sky: dead, or in a rim with a flat of 1."""
    levels = {i: group.frames[i].sky for i in frames}
    clear = [i for i in frames if (1 - RESPONDS) * levels[i] > SIGNIFICANT * state.expected_variance(levels[i]) ** 0.5]
    if len(clear) < FEWEST:
        return
    shown = _spread(clear, WITNESSES)
    blind = unresponsive(((state.sci.frame(i), levels[i]) for i in shown), _sky_of(group, state, shown[:1]).smoothed())
    blind &= state.bad(shown[0]) == 0
    if blind.any():
        _flag(group, state, blind)
        group.keywords["DEADPIX"] = (int(blind.sum()), "pixels flagged as they do not see the sky")


def _flag(group: Any, state: Any, blind: np.ndarray) -> None:
    """Flag pixels of a plane as bad in all frames."""
    rows = np.flatnonzero(blind.any(axis=1))
    if not rows.size:
        return
    for i in group.indices():
        flags = state.dq.rows(i, rows[0], rows[-1] + 1)  # a view
        flags[blind[rows[0] : rows[-1] + 1]] |= np.uint16(DQ.BAD_PIXEL)


def _assumed(split: Split, params: CorrectIllumination.Params) -> str:
    if not params.fit_doughnut:
        return "stray light, if any, is taken for response; correct_illumination:fit_doughnut=True separates a ring"
    if not split.rings:
        return "no ring of stray light was found beside it"
    rings = " and ".join(
        f"a ring of {100 * r.height:.2f} % and {r.radius:.0f} px radius round ({r.centre[0]:.0f}, {r.centre[1]:.0f})"
        for r in split.rings
    )
    return f"{rings} is taken for stray light, all else that is smooth for response"


def _say(group: Any, what: str, span: float, asked: bool) -> None:
    group.keywords["STRAYLT"] = (round(span, 4), "peak to peak of what the flat leaves of the sky")
    if span >= NOTABLE or asked:
        group.remark(f"{what}; the {100 * span:.1f} % of sky that it leaves are taken for stray light (additive)")


class CorrectExtinction(GroupStep):
    """Scale fluxes to those above the atmosphere."""

    name = "correct_extinction"
    doc = "multiply each frame by 10^(0.4 extinction airmass); off unless an extinction is given"

    class Params(StepParams):
        """Parameters of `correct_extinction`."""

        extinction: float = param(0.0, "of the filter", unit="mag/airmass", ge=0, le=5)

    def apply(self, group: Any, params: Params, call: StepCall) -> None:  # noqa: D102
        if params.extinction == 0:
            return
        for i in group.targets:
            airmass = group.frames[i].info.descriptors.airmass
            if airmass is None:
                group.leave_out(i, "no AIRMASS for correct_extinction")
                continue
            group.raise_frame(i, 10 ** (0.4 * params.extinction * airmass))
        group.keywords["EXTINCT"] = (params.extinction, "[mag/airmass] extinction corrected")


class AllowForSmoothing(GroupStep):
    """Raise the noise of positions that were resampled before: their pixels scatter less than their true noise."""

    name = "allow_for_smoothing"
    doc = "for frames that are earlier results, raise the noise to that of their pixels before resampling"

    def apply(self, group: Any, params: StepParams, call: StepCall) -> None:  # noqa: D102
        for i in group.indices():
            headers = group.frames[i].info.headers
            shown = headers.get("CORRFAC") if "NIRRED" in headers.primary else None
            if not isinstance(shown, float) or not 0.1 < shown <= 1.0:
                continue
            group.raise_noise(i, 1.0 / shown)


STEPS = (LevelAmplifiers, CorrectIllumination, CorrectExtinction, AllowForSmoothing)
