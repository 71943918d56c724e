"""Noise of calibrated frames: of their pixels by the model, and by how much a frame's own exceeds it."""

from __future__ import annotations

import numpy as np

from ..algorithms.flags import flagged
from ..group import Group
from ..states import BAD, PlaneState


def noise_factor(group: Group, state: PlaneState, i: int, together: float = 1.0, *, wide: bool = False) -> float:
    """Factor on a frame's modelled variance: the noise of its subtracted sky, and the measured ratio to the model.

    `together`: number of frames in whose mean the sky's noise does not average out, see `frames_together`. `wide`: in
    apertures, which also see the noise of the sky's shape.
    """
    sky = state.sky_variance.get(i, 0.0) + (state.sky_wide.get(i, 0.0) if wide else 0.0)
    return (1.0 + together * sky) * group.noise_scale(state, i) ** 2


def noise_of(state: PlaneState) -> tuple[np.ndarray, np.ndarray]:
    """(constant, per_electron) of the noise model as full planes, with typical values at bad pixels of the detector.

    Bad pixels are interpolated from their neighbours: the noise of a hot pixel is not in their values.
    """
    constant = state.constant if state.unseen is None else state.constant + state.unseen
    static = None if state.inputs is None else state.inputs.static_dq
    bad = None if static is None else np.flatnonzero(flagged(static, int(BAD)).view(np.bool_))
    planes = []
    for values, usual in zip((constant, state.per_electron), state.typical_noise, strict=True):
        plane = np.broadcast_to(np.asarray(values, np.float32), state.shape)
        if bad is not None:
            plane = plane.copy()
            plane.reshape(-1)[bad] = usual
        planes.append(np.ascontiguousarray(plane))
    return planes[0], planes[1]
