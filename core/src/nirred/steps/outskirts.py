"""Light of extended objects beyond their masks: measured in a stack of the frames, evaluated on each frame."""

from __future__ import annotations

import numpy as np

from ..algorithms.halos import find_halos, sunken_halos
from ..algorithms.mesh import Mesh
from ..algorithms.nested import LIGHT_STEP
from ..algorithms.objmask import BLOCK, block_means
from ..coadd import Layout
from ..group import Group
from ..parallel import each_frame

#: Side of the boxes in which halos are evaluated, pixels; beyond the masks halos are smooth on this scale.
BOX = 16


def record_halos(group: Group, layout: Layout, surface: np.ndarray, found: np.ndarray) -> None:
    """Record the light of extended objects on the frames of a stack, which is given in blocks.

    For frames that serve each other as sky, halos can be measured only once the sky was made with objects masked, and
    only inside these masks: outside, the sky contains as much of the objects' light as the frames do.
    """
    if all(group.frames[i].role != "both" for i, _ in layout.placements):
        halos = find_halos(surface, found)
    elif (mask := group.objects.masked.get(_key(layout))) is not None:
        halos = sunken_halos(surface, found, block_means(mask, np.zeros_like(mask)) > 0.5)
    else:
        halos = []
    drawn = [halo.on_pixels(BLOCK, layout.grid.x0, layout.grid.y0) for halo in halos]
    group.objects.halos.update({k: (drawn, placed) for k, placed in layout.placements.items()})


def remember_mask(group: Group, layout: Layout, mask: np.ndarray) -> None:
    """Keep a stack's object mask for the stack that is made after the next sky subtraction."""
    group.objects.masked[_key(layout)] = mask


def prefer_halos(group: Group, layout: Layout) -> None:
    """Use halos instead of the light measured in squares (`tell_light`): their profiles have less noise."""
    moving = group.objects.moving
    for i, p in layout.placements:
        if p in moving and group.objects.halos[i, p][0]:
            moving[p].light.pop(i, None)
    for p in [p for p, known in moving.items() if not known.light]:
        del moving[p]


def _key(layout: Layout) -> tuple[object, ...]:
    """Key of stacks of the same frames on the same grid."""
    return (*sorted(layout.placements), layout.grid)


def halo_light(group: Group, i: int, p: int) -> np.ndarray | None:
    """Light of halos on a target frame with offset sky, every `LIGHT_STEP` pixels; None if none is known."""
    if group.frames[i].role == "both":
        return None
    return _light(group, i, p, *(np.arange(0.0, n, LIGHT_STEP) for n in group.planes[p].shape))


def _light(group: Group, i: int, p: int, rows: np.ndarray, columns: np.ndarray) -> np.ndarray | None:
    halos, placement = group.objects.halos.get((i, p), ([], None))
    if not halos or placement is None:
        return None
    y, x = np.meshgrid(rows, columns, indexing="ij")
    places = placement.from_plane(x, y)
    return np.asarray(sum(halo.at(*places) for halo in halos))


def take_off_halos(group: Group, p: int) -> dict[int, Mesh]:
    """Subtract halos from frames that serve each other as sky, so that the sky does not contain them; return the halos.

    Not from frames of which all light that moves with the sky is measured (`tell_light`) and restored later.
    """
    measured = group.objects.moving[p].light if p in group.objects.moving else {}
    shape, lights = group.planes[p].shape, {}
    centres = [(np.arange(boxes := -(-n // BOX)) + 0.5) * n / boxes - 0.5 for n in shape]
    for i in group.indices("both"):
        light = None if i in measured else _light(group, i, p, *centres)
        if light is not None:
            lights[i] = Mesh(light, np.zeros_like(light), np.ones_like(light), shape)

    def one(i: int) -> None:
        light = lights[i]
        Mesh(-light.values, light.sigmas, light.shares, shape).add_to(group.planes[p].sci.frame_to_change(i))

    each_frame(group, list(lights), one)
    return lights


def put_back(group: Group, p: int, lights: dict[int, Mesh]) -> None:
    """Add the subtracted halos back to the frames, with and without their sky."""
    state = group.planes[p]

    def one(i: int) -> None:
        lights[i].add_to(state.sci.frame_to_change(i))
        lights[i].add_to(state.sub.frame_to_change(i))

    each_frame(group, list(lights), one)
