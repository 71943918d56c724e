"""Frames that their own pixels exclude from a group: blind, saturated or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .algorithms.damage import damaged, row_noise
from .dq import DQ
from .group import Group
from .plan.model import SKYLESS
from .slabs import sample_rows
from .spread import each_frame
from .states import BAD, PlaneState
from .store import PlaneStack

#: Pixels of a plane that are looked at to tell whether it is saturated.
SAMPLED = 20_000
#: Rows of a plane that are looked at to tell whether it is damaged.
ROWS = 32
#: Share of damaged rows from which the others are not trusted either.
DAMAGED = 0.2


def leave_out_blind(group: Group) -> None:
    """Exclude frames in which a plane has no usable pixel: sky level, offset and weight cannot be measured on it.

    A detector that is dead in every frame does not exclude frames: the image is made from the other detectors.
    Calibrations keep a dead detector, because their planes must correspond to those of the frames that use them.
    """
    blind = {i: {p for p, state in enumerate(group.planes) if not _usable(state.dq, i)} for i in group.indices()}
    dead = set.intersection(*blind.values()) if len(group.planes) > 1 and blind else set()
    if len(dead) == len(group.planes):
        dead = set()
    for i, planes in blind.items():
        for p in sorted(planes - dead)[:1]:
            group.leave_out(i, "not one usable pixel" + (f" in plane {p + 1}" if len(group.planes) > 1 else ""))
    if dead and group.task.makes not in SKYLESS:
        numbers = ", ".join(str(p + 1) for p in sorted(dead))
        group.remark(f"plane {numbers} without one usable pixel in any frame: the image is made from the others")
        group.keep_planes([p for p in range(len(group.planes)) if p not in dead])


def leave_out_saturated(group: Group) -> None:
    """Exclude frames of which most pixels are saturated: a clipped level measures neither sky nor lamp.

    Elsewhere saturated pixels count as signal, since they are the cores of bright stars. The persistence of such a
    frame is not flagged: it is everywhere in the next frames, and nothing of them would be left.
    """
    later = "; persistence from it is not flagged" if group.setup.latency > 0 else ""
    for p, state in enumerate(group.planes):
        rows = sample_rows(state.shape, SAMPLED)
        for i in group.indices():
            flags = state.dq.frame(i)[rows]
            lit = flags[(flags & BAD) == 0]
            share = float(np.mean((lit & np.uint16(DQ.SATURATED)) != 0)) if lit.size else 0.0
            if share > 0.5:
                level = group.frames[i].info.detectors[p].saturation
                group.leave_out(i, f"{share:.0%} of its pixels are saturated (above {level:g} ADU){later}")


def part_with_gaps(group: Group) -> None:
    """Flag empty rows, where a file has gaps, and exclude frames full of them.

    Rows that are empty in most frames are the detector's, such as a rim of reference pixels.
    """
    for state in group.planes:
        frames = group.need(group.indices(), "usable frames")
        empty = np.array([state.empty.get(i, np.zeros(state.shape[0], np.bool_)) for i in frames])
        for i, gaps in zip(frames, empty & (np.mean(empty, axis=0) <= 0.5), strict=True):
            _part_with_rows(group, state, i, gaps, "are empty: the file has a gap")


def part_with_damage(group: Group) -> None:
    """Flag rows whose noise is not that of their signal, and exclude frames full of them.

    A byte too few or too many shifts all numbers behind it. Not tested in lamps and darks, whose noise is also that of
    the pixels' response.
    """
    if not group.setup.variance or group.task.makes in SKYLESS:
        return
    for state in group.planes:
        frames = group.need(group.indices(), "usable frames")
        some = np.unique(np.linspace(0, state.shape[0] - 1, ROWS + 2).astype(int)[1:-1])

        def look(i: int, state: PlaneState = state, some: np.ndarray = some) -> Rows:
            return _look(state, i, some)

        for i, rows in zip(frames, _damaged(each_frame(group, frames, look)), strict=True):
            if 0.0 < np.mean(rows) <= DAMAGED:  # how many, and which?
                (rows,) = _damaged([_look(state, i, np.arange(state.shape[0]))])
            _part_with_rows(group, state, i, rows, "are damaged: their noise is not that of their signal")


def _part_with_rows(group: Group, state: PlaneState, i: int, rows: np.ndarray, fault: str) -> None:
    """Flag damaged rows of a frame; exclude it if these are many, of a sample or of all."""
    share = float(np.mean(rows))
    if share > DAMAGED:
        group.leave_out(i, f"{share:.0%} of its rows {fault}")
    elif share > 0.0:
        # rows next to damaged ones may be so in part
        state.dq.frame_to_change(i)[np.convolve(rows, np.ones(3), "same") > 0] |= np.uint16(DQ.BAD_PIXEL)
        group.remark(f"{share:.1%} of the rows of {group.frames[i].info.name} {fault}; they are not used")


class Rows(NamedTuple):
    """What is seen of some rows of a frame, (rows,)."""

    noise: np.ndarray
    expected: np.ndarray
    saturated: np.ndarray


def _look(state: PlaneState, i: int, rows: np.ndarray) -> Rows:
    """Noise of some rows, expected noise, and whether most of their pixels are saturated."""
    flags = state.dq.frame(i)[rows]
    level, noise = row_noise(state.sci.frame(i)[rows], (flags & BAD) != 0)
    constant, per_electron = (
        float(np.median(a)) if a.ndim == 0 or a.shape[0] == 1 else np.median(a[rows], axis=1)
        for a in map(np.asarray, (state.constant, state.per_electron))
    )
    expected = np.sqrt(np.maximum(constant + per_electron * np.maximum(level, 0.0), 0.0))
    return Rows(noise, expected, np.mean((flags & np.uint16(DQ.SATURATED)) != 0, axis=1) > 0.5)


def _damaged(seen: Sequence[Rows]) -> np.ndarray:
    return damaged(*(np.stack(each) for each in zip(*seen, strict=True)))


def _usable(flags: PlaneStack, i: int) -> bool:
    """Whether a frame has any pixel with signal; usually the first rows suffice."""
    ny = flags.shape[1]
    return any(bool(((flags.rows(i, y, min(y + 64, ny)) & BAD) == 0).any()) for y in range(0, ny, 64))
