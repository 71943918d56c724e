"""Frames on a target that hides their own sky's slope: what they differ by, they can tell each other."""

from __future__ import annotations

import numpy as np

from ..algorithms.placement import Placement
from ..algorithms.surface import Surface, fit_plane
from ..coadd import Layout, drawn_rows, lay_out
from ..geometry import Target, targets_of
from ..group import Group
from ..params import Params
from ..plugin.recipes import StepCall
from ..step import GroupStep

#: Where not all frames overlap, their mean is not of all: planes are sought so often beside it.
ROUNDS = 2


class MatchBackgrounds(GroupStep):
    """Take off the planes by which the sky of frames differs whose target leaves too little of it blank."""

    name = "match_backgrounds"
    doc = "where a target covers most of the field: take off the planes by which frames differ from their mean"

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        frames = [i for i in group.targets if i in group.extras.get("unshaped", ())]
        if params.skip or len(frames) < 2:
            return
        for target in targets_of(group, frames):
            for _ in range(ROUNDS):
                _match(group, frames, target)


def _match(group: Group, frames: list[int], target: Target) -> None:
    """Bring frames to their mean by a plane each; the weighted mean of the planes, which the stack shows, stays."""
    layout = lay_out(group, frames, target)
    total, count = np.zeros(layout.grid.shape), np.zeros(layout.grid.shape)
    for i in frames:
        image = _drawn(group, layout, i)
        seen = np.isfinite(image)
        total += np.where(seen, image, 0.0)
        count += seen
    mean = np.where(count > 1, total / np.maximum(count, 1.0), np.nan).astype(np.float32)
    planes = {}
    for i in frames:
        found = fit_plane(_drawn(group, layout, i) - mean, None)
        if np.isfinite(found.coefficients).all():
            planes[i] = found
    if not planes:
        return
    weights = np.array([max(group.frames[i].weight, 1e-30) for i in planes])
    common = np.tensordot(weights / weights.sum(), np.array([plane.coefficients for plane in planes.values()]), 1)
    for i, plane in planes.items():
        own = Surface((plane.coefficients - common) * group.frames[i].transparency, plane.errors, plane.shape)
        for p, placed in layout.of(i):
            sub = group.planes[p].sub
            assert sub is not None
            data = sub.frame(i)
            on_plane(own, placed, (layout.grid.x0, layout.grid.y0)).take_off(data)
            if not sub.in_memory:
                sub.put(i, data)


def _drawn(group: Group, layout: Layout, i: int) -> np.ndarray:
    rows = (0, layout.grid.shape[0])
    return drawn_rows(group, layout, i, rows, "nearest") / np.float32(group.frames[i].transparency)


def on_plane(surface: Surface, placed: Placement, origin: tuple[int, int]) -> Surface:
    """A plane on a grid, as a plane on the pixels of a detector: through its values at three of its corners."""
    ny, nx = placed.shape
    x, y = placed.from_plane(np.array([-0.5, nx - 0.5, -0.5]), np.array([-0.5, -0.5, ny - 0.5]))
    height, width = surface.shape
    u, v = (2 * (x - origin[0] + 0.5) / width - 1, 2 * (y - origin[1] + 0.5) / height - 1)
    (constant, along_x), (along_y, _) = surface.coefficients
    corner, right, top = constant + along_x * u + along_y * v
    a, b = (right - corner) / 2, (top - corner) / 2
    return Surface(np.array([[corner + a + b, a], [b, 0.0]]), np.zeros((2, 2)), (ny, nx))
