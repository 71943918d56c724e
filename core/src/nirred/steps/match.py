"""Frames on one target that differ by the slopes of their skies: what they differ by, they can tell each other."""

from __future__ import annotations

import numpy as np

from ..algorithms.flags import flagged
from ..algorithms.mutual import block_means, mutual_surfaces
from ..coadd import lay_out
from ..geometry import Target, targets_of
from ..group import BAD, Group
from ..params import Params
from ..plugin.recipes import StepCall
from ..step import GroupStep

#: Frames are compared at this many places along the longer side of the grid that holds them.
_PLACES = 80


class MatchBackgrounds(GroupStep):
    """Take off the planes by which the sky of frames differs whose target leaves too little of it blank."""

    name = "match_backgrounds"
    doc = "where a target covers most of the field: take off the planes by which frames differ from their mean"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = [i for i in group.targets if i in group.extras.get("unshaped", ())]
        if frames and not params.skip:
            for target in targets_of(group, frames):
                match_frames(group, frames, target, order=1)


def match_frames(group: Group, frames: list[int], target: Target, *, order: int) -> None:
    """Bring frames to their mean by a surface each; the weighted mean of the surfaces, which a stack shows, stays.

    They are compared at places of the sky, where objects are the same in all of them.
    """
    if len(frames) < 2:
        return
    layout = lay_out(group, frames, target)
    grid = layout.grid
    step = max(-(-max(grid.shape) // _PLACES), 4)
    x, y = np.meshgrid(
        *(first + np.arange(step / 2, n, step) for first, n in zip((grid.x0, grid.y0), grid.shape[::-1]))
    )
    members = [(i, *found) for i in frames for found in layout.of(i)]
    places = [placed.to_plane(x.ravel(), y.ravel()) for _, _, placed in members]
    values = np.empty((len(members), x.size))
    for row, (i, p, _), (u, v) in zip(values, members, places, strict=True):
        sub = group.planes[p].sub
        assert sub is not None
        bad = flagged(group.planes[p].dq.frame(i), int(BAD))
        row[:] = block_means(sub.frame(i), bad, u, v, max(step // 4, 1)) / group.frames[i].transparency
    surfaces = mutual_surfaces(
        values,
        (np.array([u for u, _ in places]), np.array([v for _, v in places])),
        [placed.shape for _, _, placed in members],
        np.array([max(group.frames[i].weight, 1e-30) for i, _, _ in members]),
        order,
    )
    for (i, p, _), surface in zip(members, surfaces, strict=True):
        sub = group.planes[p].sub
        assert sub is not None
        data = sub.frame(i)
        surface.times(group.frames[i].transparency).take_off(data)
        if not sub.in_memory:
            sub.put(i, data)
