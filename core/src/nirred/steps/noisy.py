"""Pixels that are calibrated well but are so noisy, because of their dark current, that a stack is better without."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..algorithms.noise import noisy_pixels
from ..dq import DQ
from ..group import Group
from ..parallel import each_frame
from ..states import BAD, PlaneState

#: Pixels are left out if their dark current adds more than this times the variance of the pixels around them: of two
#: positions one alone is then as good as both, of more positions the others are better without.
NOISY = 2.0
#: Frames that all lie within less than this in x and in y, in pixels, are at one position.
APART = 4.0


def leave_out_noisy(group: Group, frames: list[int]) -> None:
    """Mark noisy pixels as bad in frames of two or more positions: each part of the sky is seen by other pixels too.

    All frames have equal weights in all pixels, and the dark shows the noise of a hot pixel that the mask of bad
    pixels, made from short darks, does not contain.
    """
    places = np.array([(group.frames[i].dx, group.frames[i].dy) for i in frames])
    if np.ptp(places, axis=0).max() < APART:
        return
    for p, state in enumerate(group.planes):
        sky = float(np.median([group.sky_level(state, i) for i in frames]))
        static = np.zeros(state.shape, np.uint16)
        if state.inputs is not None and state.inputs.static_dq is not None:
            static = np.broadcast_to(state.inputs.static_dq, state.shape)
        noisy = noisy_pixels(state.constant, state.per_electron, static & BAD, sky, NOISY)
        if noisy is not None:
            _mark(group, state, frames, noisy, static)
            group.say(f"{noisy.mean():.2%} of plane {p + 1} is noisy by its dark current")


def _mark(group: Group, state: PlaneState, frames: list[int], noisy: np.ndarray, static: np.ndarray) -> None:
    where, bit = np.nonzero(noisy), np.uint16(DQ.BAD_PIXEL)

    def flag(i: int) -> None:
        state.dq.frame_to_change(i)[where] |= bit

    each_frame(group, frames, flag)
    if state.inputs is not None:  # a bad pixel's noise is not in its interpolated value
        state.inputs = replace(state.inputs, static_dq=static | noisy * bit)
