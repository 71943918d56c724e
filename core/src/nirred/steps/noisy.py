"""Pixels that are calibrated well but are so noisy, or so unsteady, that a stack is better without them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..algorithms.noise import noisy_pixels
from ..algorithms.unsteady import AROUND, PARTS, line_levels, lit, sampled, unsteady_lines
from ..dq import DQ
from ..group import Group
from ..parallel import each_frame
from ..states import BAD, OBJECT, PlaneState
from .noisemodel import noise_factor

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
        static = _static(state)
        noisy = noisy_pixels(state.constant, state.per_electron, static & BAD, sky, NOISY)
        if noisy is not None:
            _mark(group, state, frames, noisy, static)
            group.say(f"{noisy.mean():.2%} of plane {p + 1} is noisy by its dark current")


def leave_out_unsteady(group: Group, frames: list[int]) -> None:
    """Mark columns and rows as bad whose level changes, in dithered frames: other lines see the same sky.

    Such a line is neither in the dark nor in the sky of the other frames. Its pixels deviate by too little to be
    outliers, but all alike.
    """
    offsets = np.array([(group.frames[i].dx, group.frames[i].dy) for i in frames])
    if np.ptp(offsets, axis=0).max() < APART:
        return
    across = np.rint(offsets.T / APART)
    for p, state in enumerate(group.planes):
        field = lit(state.bad(frames[0]) == 0)
        size = [lines.stop - lines.start for lines in field]
        if min(size) < PARTS * AROUND:
            continue
        measured = zip(_line_levels(group, state, frames, field), across, strict=True)
        found = [unsteady_lines(levels, errors, places) for (levels, errors), places in measured]
        unsteady = np.zeros(state.shape, np.bool_)
        for plane, parts, n in zip((unsteady[field], unsteady[field].T), found, size, strict=True):
            plane |= parts[np.arange(n) * PARTS // n]
        if unsteady.any():
            _mark(group, state, frames, unsteady, _static(state))
            numbers = [int(np.count_nonzero(parts.any(axis=0))) for parts in found]
            lines = " and ".join(
                f"{n} {name}{'s' * (n > 1)}" for n, name in zip(numbers, ("column", "row"), strict=True) if n
            )
            of = f" of plane {p + 1}" if len(group.planes) > 1 else ""
            group.remark(f"{lines}{of} left out, in part or whole: unsteady from frame to frame")


def _line_levels(
    group: Group, state: PlaneState, frames: list[int], field: tuple[slice, slice]
) -> tuple[np.ndarray, np.ndarray]:
    """Levels and errors of parts of columns and of rows in the lit field, float64 (2, frames, PARTS, lines) each."""
    (lower, left), (rows, columns) = field, map(sampled, field)

    def one(i: int) -> list[tuple[np.ndarray, np.ndarray]]:
        sub, dq = state.sub.frame(i), state.dq.frame(i)
        sigma = np.sqrt(state.expected_variance(group.sky_level(state, i)) * noise_factor(group, state, i))
        down, along = (sub[rows, left], dq[rows, left]), (sub[lower, columns].T, dq[lower, columns].T)
        return [
            line_levels(data, (flags & (BAD | OBJECT)) != 0, max(float(sigma), 1e-6)) for data, flags in (down, along)
        ]

    down, along = zip(*each_frame(group, frames, one, 1), strict=True)
    return np.stack(down, axis=1), np.stack(along, axis=1)


def _static(state: PlaneState) -> np.ndarray:
    """The static mask of a plane, uint16 (ny, nx); read only."""
    if state.inputs is None or state.inputs.static_dq is None:
        return np.zeros(state.shape, np.uint16)
    return np.broadcast_to(state.inputs.static_dq, state.shape)


def _mark(group: Group, state: PlaneState, frames: list[int], noisy: np.ndarray, static: np.ndarray) -> None:
    where, bit = np.nonzero(noisy), np.uint16(DQ.BAD_PIXEL)

    def flag(i: int) -> None:
        state.dq.frame_to_change(i)[where] |= bit

    each_frame(group, frames, flag)
    if state.inputs is not None:  # a bad pixel's noise is not in its interpolated value
        state.inputs = replace(state.inputs, static_dq=static | noisy * bit)
