"""Residual sky of sky-subtracted frames: its level, and its shape as far as it can be measured."""

from __future__ import annotations

import numpy as np

from ..algorithms.background import SAMPLES, level
from ..algorithms.drift import drawn_surface
from ..algorithms.flags import flagged
from ..algorithms.nested import NestedSurfaces, fit_nested, shrink_nested
from ..algorithms.sky import NOISE_STEP, pixel_noise
from ..algorithms.surface import FIELD_STEP, Surface, surface_order
from ..group import Group
from ..parallel import each_frame
from ..slabs import sample_rows, sampled
from ..states import BAD, OBJECT, PlaneState, SkyShape
from ..store import PlaneStack
from .outskirts import halo_light

#: Sides of the boxes in which small fields are fitted, pixels: the larger does not follow residual halos, the smaller
#: is used where sky frames limit the expected residual.
BOXES, SMALL_BOXES = 32, 16
#: From this blank share on, a frame's own pixels determine its sky's shape, whatever the sky frames predict.
SURE = 0.6


def level_frames(
    group: Group,
    state: PlaneState,
    frames: list[int],
    predicted: set[int],
    expected: dict[int, SkyShape],
    *,
    shape: bool,
) -> None:
    """Subtract residual surface and level from sky-subtracted frames with masked objects; compare noise with the model.

    Parameters
    ----------
    group, state
        The group and one of its planes, whose `sub` is changed.
    frames : list of int
        Frames whose sky was subtracted.
    predicted : set of int
        Frames whose level comes from the sky frames: only the expected shape is subtracted.
    expected : dict
        Shapes predicted from the sky frames, for some of the frames.
    shape : bool
        Fit a surface where enough of the field is blank.
    """
    for i, known in expected.items():
        take_off(state.sub, i, known.surface)
    shaped = [i for i in frames if i not in predicted] if shape else []
    surfaces = _surfaces(group, state, shaped, expected)
    state.residual.clear()

    def one(i: int) -> None:
        power = expected[i].power if i in expected else ()
        scatter = float("nan") if i in predicted else _level(state, i, surfaces.get(i), power)
        light = 0.0
        if np.isnan(scatter):  # no blank pixels: the scatter includes the target's photon noise
            data, bad = state.sub.frame(i), state.bad(i)
            scatter, seen = pixel_noise(data, bad), data[::NOISE_STEP][bad[::NOISE_STEP] == 0]
            light = max(float(np.median(seen)), 0.0) if seen.size else 0.0
        compare_noise(group, state, i, scatter, light)

    each_frame(group, frames, one)


def put_back_residuals(state: PlaneState) -> dict[int, SkyShape]:
    """Add to frames what `level_frames` took off them; return what it was to expect, the shape apart."""
    expected = {}
    for i, taken in state.residual.items():
        take_off(state.sub, i, taken.surface.times(-1.0))
        if taken.power:
            expected[i] = SkyShape(Surface.zero(state.shape), taken.power)
    return expected


def take_off(stack: PlaneStack, i: int, surface: Surface) -> None:
    """Subtract a surface from frame i."""
    surface.take_off(stack.frame_to_change(i))


def _surfaces(group: Group, state: PlaneState, frames: list[int], expected: dict[int, SkyShape]) -> dict[int, Surface]:
    """Residual surface of each frame that shows enough sky, shrunk by its power over its noise in all frames."""
    p = next(p for p, plane in enumerate(group.planes) if plane is state)

    def one(i: int) -> NestedSurfaces | None:
        order = surface_order(state.blank.get(i, 1.0))
        if not order:
            return None
        dq = state.dq.frame(i)
        lit = (dq[::FIELD_STEP, ::FIELD_STEP] & BAD) == 0
        least, bad = SMALL_BOXES if i in expected else BOXES, flagged(dq, int(BAD | OBJECT))
        return fit_nested(state.sub.frame(i), bad, lit, order, least=least, light=halo_light(group, i, p))

    found = each_frame(group, frames, one)
    fits = {i: fit for i, fit in zip(frames, found, strict=True) if fit is not None}
    alone = [i for i in fits if i not in expected]
    surfaces = dict(zip(alone, shrink_nested([fits[i] for i in alone]), strict=True))
    for i in expected.keys() & fits.keys():
        surfaces[i] = drawn_surface(fits[i], expected[i].power, sure=state.blank.get(i, 1.0) >= SURE)
    return surfaces


def _level(state: PlaneState, i: int, surface: Surface | None, power: tuple[float, ...]) -> float:
    """Subtract surface and level from frame i; return the scatter of its blank pixels, NaN without any."""
    if surface is None:
        surface = Surface.zero(state.shape)
    rows = sample_rows(state.shape, SAMPLES)
    data, dq = (sampled(stack, [i], rows)[0] for stack in (state.sub, state.dq))
    surface.take_off(data, rows)
    residual = level(data, flagged(dq, int(BAD | OBJECT)), step=1)
    if residual.n < SAMPLES // 5:  # mostly masked: the rest deserves more pixels
        residual = level(surface.taken_off(state.sub.frame(i)), state.covered(i))
    if not residual.n:
        return float("nan")
    state.residual[i] = SkyShape(surface.raised(residual.value), power)
    take_off(state.sub, i, state.residual[i].surface)
    return residual.sigma


def compare_noise(group: Group, state: PlaneState, i: int, scatter: float, light: float = 0.0) -> None:
    """Record the noise of frame i over that of the model, from the scatter of its pixels; `light` adds photon noise."""
    expected = state.expected_variance(group.sky_level(state, i)) * (1.0 + state.sky_variance.get(i, 0.0))
    expected += light * state.typical_noise[1]
    if expected > 0 and np.isfinite(scatter):
        state.noise_scale[i] = float(np.clip(scatter / np.sqrt(expected), 0.5, 3.0))
        if state is group.planes[0]:
            group.frames[i].noise_scale = state.noise_scale[i]
