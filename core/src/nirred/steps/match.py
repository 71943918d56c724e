"""Match frames whose skies differ in slope, by comparing them with each other."""

from __future__ import annotations

import numpy as np

from ..algorithms.flags import flagged
from ..algorithms.mutual import PLACES, Squares, mutual_surfaces, square_means
from ..algorithms.surface import Surface, surface_order
from ..coadd import lay_out
from ..geometry import Target, targets_of
from ..group import Group
from ..parallel import each_frame
from ..params import Params
from ..plugin.recipes import StepCall
from ..results import SkyScale
from ..states import BAD, PlaneState
from ..step import GroupStep
from .residual import take_off

#: Number of frames of a long sequence that are compared to see whether skies differ in slope.
COMPARED = 9
#: Share of the detector that is usable only in some frames, above which differing slopes cause steps there.
UNEQUAL = 0.005


class MatchBackgrounds(GroupStep):
    """Subtract the planes by which frames differ if their target leaves too little of the field blank."""

    name = "match_backgrounds"
    doc = "where a target covers most of the field: subtract the planes by which frames differ from their mean"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = [i for i in group.targets if any(i in state.unshaped for state in group.planes)]
        if frames:
            for target in targets_of(group, frames):
                parts = [(i, p) for i in frames for p in target.planes if i in group.planes[p].unshaped]
                match_frames(group, parts, target, order=1)


def match_frames(group: Group, parts: list[tuple[int, int]], target: Target, *, order: int) -> np.ndarray:
    """Bring parts (frame, plane) to their mean by one surface each; the surfaces' mean, which a stack shows, stays.

    Parts are compared at the same positions on the sky, where all contain the same objects. Returns what they contain
    there, (parts, rows, columns), NaN where they have no data.
    """
    frames = sorted({i for i, _ in parts})
    if len(frames) < 2:
        return np.full((len(parts), 1, 1), np.nan)
    layout = lay_out(group, frames, target)
    step = max(-(-max(layout.grid.shape) // PLACES), 4)
    x, y = layout.grid.places(step)
    members = [(i, p, layout.placements[i, p]) for i, p in parts]
    places = [placed.to_plane(x, y) for _, _, placed in members]
    size = max(step // 4, 1)

    def means(k: int) -> np.ndarray:
        i, p, _ = members[k]
        bad = flagged(group.planes[p].dq.frame(i), int(BAD))
        return square_means(group.planes[p].sub.frame(i), bad, *places[k], size) / group.frames[i].transparency

    numbers = range(len(members))
    values = np.array(each_frame(group, numbers, means))
    surfaces = mutual_surfaces(
        values,
        (np.array([u for u, _ in places]), np.array([v for _, v in places])),
        [placed.shape for _, _, placed in members],
        np.array([max(group.frames[i].weight, 1e-30) for i, _, _ in members]),
        order,
        group.context.threads,
        [p for _, p, _ in members],
    )

    def match(k: int) -> None:
        i, p, _ = members[k]
        take_off(group.planes[p].sub, i, surfaces[k].times(group.frames[i].transparency))
        values[k] -= surfaces[k].at(*places[k])

    each_frame(group, numbers, match)
    return values.reshape(len(parts), np.unique(y).size, -1)


def match_skies(group: Group, state: PlaneState, scale: SkyScale, *, slight: float = 0.0) -> None:
    """Bring the frames of which a sky is made to one shape, as far as their unmasked pixels determine it.

    Behind an object the sky is measured in the frames in which the object lay elsewhere: few frames behind a wide one.
    If these have other slopes than the rest, or other levels, measured on other pixels, their mean has steps. Frames
    are compared at the same positions on the detector, by planes: a parabola next to a wide object follows its halo
    (three galaxies of 0.06 to 0.15 of the field: noise at 4 FWHM 1.0 to 2.5 times the stated noise, 1.0 to 5.5 with
    parabolas). What the frames have in common stays in them; what is subtracted from sky frames is recorded in
    `PlaneState.evened`, because it measures how the sky's shape drifts.

    Parameters
    ----------
    group, state
        The group and one of its planes, whose `sci` and `evened` are changed.
    scale : SkyScale
        Of the sky model.
    slight : float
        Frames are left as they are if their slopes, rms over the field, are below this fraction of the noise of a
        pixel, times the root of the number of frames; or if one of them shows too little sky. 0: no such exception.
    """
    frames = group.indices("both", "sky")
    if len(frames) < 2 or (slight and min(surface_order(state.blank.get(i, 1.0)) for i in frames) == 0):
        return
    squares, zero, unit = Squares.of(state.shape), scale.zero, scale.unit

    def means(i: int) -> np.ndarray:
        return (squares.means(state.sci.frame(i), state.covered(i)).ravel() - float(zero[i])) / float(unit[i])

    def planes(some: list[int]) -> list[Surface]:
        values = np.array(each_frame(group, some, means))
        places = np.broadcast_to(squares.x.ravel(), values.shape), np.broadcast_to(squares.y.ravel(), values.shape)
        return mutual_surfaces(values, places, [state.shape] * len(some), unit[some], 1, group.context.threads)

    some = frames[:: -(-len(frames) // COMPARED)] if slight else frames
    surfaces = planes(some)
    if slight:
        usual, sky = float(np.median(unit[frames])), float(np.median((zero + unit)[frames]))
        limit = slight * np.sqrt(len(frames) * state.expected_variance(sky))
        if usual * _slope(surfaces) < limit:
            return
    surfaces = planes(frames) if len(some) < len(frames) else surfaces
    off = {i: surface.times(float(unit[i])) for i, surface in zip(frames, surfaces, strict=True)}
    each_frame(group, frames, lambda i: take_off(state.sci, i, off[i]))
    for i in group.indices("sky"):
        state.evened[i] = off[i].plus(state.evened[i]) if i in state.evened else off[i]


def unequally_shown(group: Group, state: PlaneState) -> bool:
    """Whether parts of the detector are unusable in only some of a sky's frames, e.g. behind a guide probe."""
    squares, frames = Squares.of(state.shape), group.indices("both", "sky")
    shown = np.array([squares.picked(state.dq.frame(i)) & BAD == 0 for i in frames])
    return len(frames) > 1 and float(np.mean(shown.any(axis=0) & ~shown.all(axis=0))) > UNEQUAL


def _slope(surfaces: list[Surface]) -> float:
    """Root mean square of planes minus their levels; that of a Legendre polynomial of degree 1 is 1 / sqrt(3)."""
    return float(np.sqrt(np.mean([(s.coefficients**2).sum() - s.coefficients[0, 0] ** 2 for s in surfaces]) / 3.0))


MATCH_STEPS = (MatchBackgrounds,)
