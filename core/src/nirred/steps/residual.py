"""What a frame's own sky differs by from the sky that was subtracted: its level, and as far as known its shape."""

from __future__ import annotations

import numpy as np

from ..algorithms.background import level
from ..algorithms.sky import pixel_noise
from ..algorithms.surface import Surface, fit_nested, shrink_nested, surface_order
from ..group import OBJECT, Group, PlaneState


def level_frames(
    group: Group, state: PlaneState, frames: list[int], predicted: set[int], *, masked: bool, shape: bool
) -> None:
    """Take residual surface and level off sky-subtracted frames; measure their noise against the model.

    Parameters
    ----------
    group, state
        The group and one of its planes, whose `sub` is changed.
    frames : list of int
        Frames whose sky was subtracted.
    predicted : set of int
        Those of them whose level is that of the sky frames: nothing is taken off.
    masked : bool
        Objects are known and left out.
    shape : bool
        A surface is fitted where objects are known and enough of the field is blank.
    """
    fitted = [i for i in frames if i not in predicted] if masked and shape else []
    surfaces = _surfaces(group, state, fitted)
    for i in frames:
        scatter = float("nan") if i in predicted else _level(state, i, masked, surfaces.get(i))
        _compare_noise(group, state, i, scatter if masked else float("nan"))


def _surfaces(group: Group, state: PlaneState, frames: list[int]) -> dict[int, Surface]:
    """The sky's difference in shape in each frame that shows enough of it, as far as the frames together know."""
    assert state.sub is not None
    fits = {}
    for i in frames:
        order = surface_order(group.frames[i].blank)
        found = fit_nested(state.sub.frame(i), state.bad(i, int(OBJECT)), state.bad(i), order) if order else None
        if found is not None:
            fits[i] = found
    return dict(zip(fits, shrink_nested(list(fits.values())), strict=True))


def _level(state: PlaneState, i: int, masked: bool, surface: Surface | None) -> float:
    """Take surface and level off frame i; scatter of its blank pixels, NaN where it has none."""
    assert state.sub is not None
    data = state.sub.frame(i)
    data = data if surface is None else surface.taken_off(data)
    residual = level(data, state.bad(i, int(OBJECT) if masked else 0))
    if not residual.n:
        return float("nan")
    state.sub.put(i, data - np.float32(residual.value))
    return residual.sigma


def _compare_noise(group: Group, state: PlaneState, i: int, scatter: float) -> None:
    """Noise of frame i over that of the model; from differences of neighbours where no scatter is given."""
    assert state.sub is not None
    if np.isnan(scatter):
        scatter = pixel_noise(state.sub.frame(i), state.bad(i))
    expected = state.expected_variance(state.sky.get(i, group.frames[i].sky)) * (1.0 + state.sky_variance.get(i, 0.0))
    if expected > 0 and np.isfinite(scatter):
        state.noise_scale[i] = float(np.clip(scatter / np.sqrt(expected), 0.5, 3.0))
        if state is group.planes[0]:
            group.frames[i].noise_scale = state.noise_scale[i]
