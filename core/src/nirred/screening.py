"""Frames that their own pixels exclude from a group: blind, saturated or damaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np

from .algorithms.damage import AREAS, area_levels, damaged, foreign, pattern_left, row_noise, unevenly_lit
from .dq import DQ
from .group import Group
from .parallel import each_frame
from .plan.model import SKYLESS
from .slabs import sample_rows
from .states import BAD, PlaneState
from .store import PlaneStack

#: Pixels of a plane that are looked at to tell whether it is saturated.
SAMPLED = 20_000
#: Rows of a plane that are looked at to tell whether it is damaged.
ROWS = 32
#: Share of damaged rows from which the others are not trusted either.
DAMAGED = 0.2
#: Part of a flat's pattern that is not in the frames from which there is a remark, and the largest error of one area.
UNFIT, SURE = 0.5, 0.1
#: Mean deviation from the shape of the sky in the other frames, relative to the sky and to the usual deviation, beyond
#: which a frame is left out: shapes of skies agree to 0.005, but dithers move large galaxies. If a larger share of the
#: frames deviates, it is due to such a target.
UNEVEN, UNUSUAL, ALONE = {"sky": 0.02, "object": 0.04, "both": 0.04}, 5.0, 0.25


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
                above = "" if level is None else f" (above {level:g} ADU)"  # flagged by a plugin or in the file
                group.leave_out(i, f"{share:.0%} of its pixels are saturated{above}{later}")


def part_with_gaps(group: Group) -> None:
    """Flag empty rows, where a file has gaps, and exclude frames full of them.

    Rows that are empty in most frames are the detector's, such as a rim of reference pixels.
    """
    for state in group.planes:
        frames = group.need(group.indices(), "usable frames")
        empty = np.array([state.empty.get(i, np.zeros(state.shape[0], np.bool_)) for i in frames])
        for i, gaps in zip(frames, empty & (np.mean(empty, axis=0) <= 0.5), strict=True):
            _part_with_lines(group, state, i, gaps, "are empty: the file has a gap")


def part_with_damage(group: Group) -> None:
    """Flag rows whose noise is not that of their signal, and exclude frames full of them, or otherwise no exposures.

    A byte too few or too many shifts all numbers behind it. Not tested in lamps and darks, whose noise is also that of
    the pixels' response, and which are combined pixel by pixel.
    """
    if not group.setup.variance or group.task.makes in SKYLESS:
        return
    for state in group.planes:
        frames = group.need(group.indices(), "usable frames")
        some = np.unique(np.linspace(0, state.shape[0] - 1, ROWS + 2).astype(int)[1:-1])

        def look(i: int, state: PlaneState = state, some: np.ndarray = some) -> Seen:
            return _see(state, i, some)

        seen = dict(zip(frames, each_frame(group, frames, look), strict=True))
        for i, rows in zip(frames, _damaged([s.rows for s in seen.values()]), strict=True):
            if 0.0 < np.mean(rows) <= DAMAGED:  # how many, and which?
                (rows,) = _damaged([_look(state, i, np.arange(state.shape[0]))])
            _part_with_lines(group, state, i, rows, "are damaged: their noise is not that of their signal")
        _part_with_saturated(group, state, seen)
        _tell_copies(group, {i: s.contents for i, s in seen.items()})
        _leave_out_foreign(group, seen)
        _leave_out_unevenly_lit(group, state, seen)


def _part_with_lines(group: Group, state: PlaneState, i: int, lines: np.ndarray, fault: str, axis: int = 0) -> None:
    """Flag damaged rows (axis 0) or columns of a frame; exclude it if these are many, of a sample or of all."""
    share, kind = float(np.mean(lines)), ("rows", "columns")[axis]
    if share > DAMAGED:
        group.leave_out(i, f"{share:.0%} of its {kind} {fault}")
    elif share > 0.0:
        # lines next to damaged ones may be so in part
        wide = np.convolve(lines, np.ones(3), "same") > 0
        state.dq.frame_to_change(i)[(wide, np.s_[:, wide])[axis]] |= np.uint16(DQ.BAD_PIXEL)
        group.remark(f"{share:.1%} of the {kind} of {group.frames[i].info.name} {fault}; they are not used")


def _part_with_saturated(group: Group, state: PlaneState, seen: dict[int, Seen]) -> None:
    """Flag rows and columns that are saturated from end to end, and not in most frames: no star is like that."""
    for axis in (0, 1):
        frames = group.indices()
        full = np.array([seen[i].full[axis] for i in frames])
        for i, lines in zip(frames, full & (np.mean(full, axis=0) <= 0.5) if frames else (), strict=True):
            _part_with_lines(group, state, i, lines, "are saturated from end to end", axis)


def _tell_copies(group: Group, contents: dict[int, int]) -> None:
    """Remark that frames have the pixels of earlier ones: read out once, stored twice, perhaps on purpose."""
    first: dict[int, int] = {}
    again = [i for i in group.indices() if contents[i] and first.setdefault(contents[i], i) != i]
    if again:
        one, other = (group.frames[i].info.name for i in (again[0], first[contents[again[0]]]))
        more = f", and so on for {len(again)} frames" if len(again) > 1 else ""
        told = f"the pixels of {one} are those of {other}{more}: the same light counts twice, and VAR is too small"
        group.remark(f"{told}; leave copies out with --exclude")


def _leave_out_foreign(group: Group, seen: dict[int, Seen]) -> None:
    """Exclude frames in which the pixels are not where they are in the flat."""
    frames = group.indices()
    if not frames:
        return
    left, error = (np.stack([seen[i][column] for i in frames]) for column in (1, 2))
    shares = foreign(left, error)
    sure = left[error < SURE]
    usual = min(float(np.median(sure)), 1.0) if sure.size else 0.0
    if usual > UNFIT and "flat" in group.calibrations:
        name = group.calibrations["flat"].name
        group.remark(f"{usual:.0%} of the pattern of {name} is not in the frames: it is noise, or that of other pixels")
    for i, share in zip(frames, shares, strict=True):
        if share > DAMAGED:
            part = "" if share > 0.9 else f" in {share:.0%} of its area"
            group.leave_out(i, f"the flat's pattern is not in it{part}: mirrored, displaced or no exposure")


def _leave_out_unevenly_lit(group: Group, state: PlaneState, seen: dict[int, Seen]) -> None:
    """Exclude frames on a part of which other light fell, or from which a part of the sky was hidden."""
    constant, per_electron = state.typical_noise
    for role, least in UNEVEN.items():
        frames = group.indices(role)
        levels = np.array([seen[i].levels for i in frames])
        known = levels[np.isfinite(levels)]
        if not known.size or np.median(known) * per_electron < constant:  # a sky fainter than the read noise
            continue
        apart = unevenly_lit(levels)
        odd = apart > max(least, UNUSUAL * float(np.median(apart)))
        for k in np.flatnonzero(odd) if odd.sum() <= max(1.0, ALONE * len(frames)) else ():
            why = f"its sky differs by {apart[k]:.0%} (mean) from the shape of the others"
            group.leave_out(frames[k], f"{why}: stray light, or an obstacle")


class Seen(NamedTuple):
    """What is seen of a sample of a frame's rows.

    `left`, `error`: see `pattern_left`; `levels`: see `area_levels`; `contents`: a checksum, 0 if they are constant;
    `full`: rows and columns of which most pixels are saturated.
    """

    rows: Rows
    left: np.ndarray
    error: np.ndarray
    levels: np.ndarray
    contents: int
    full: tuple[np.ndarray, np.ndarray]


class Rows(NamedTuple):
    """What is seen of some rows of a frame, (rows,)."""

    noise: np.ndarray
    expected: np.ndarray
    saturated: np.ndarray


def _see(state: PlaneState, i: int, some: np.ndarray) -> Seen:
    """Look at some rows of a frame."""
    flags, data = state.dq.frame(i), state.sci.frame(i)[some]
    bad, step = (flags[some] & BAD) != 0, max(state.shape[1] // ROWS, 1)
    full = _mostly_saturated(flags[:, step // 2 :: step], 1), _mostly_saturated(flags[some], 0)
    unknown = np.full(AREAS**2, np.nan)
    response = np.asarray(state.per_electron, np.float32)
    left, error = unknown, unknown
    if response.shape == state.shape:  # there is a flat
        left, error = pattern_left(data, bad, response[some] / np.float32(state.typical_noise[1]))
    contents = crc32(data.tobytes()) if (data != data[0, 0]).any() else 0
    return Seen(_look(state, i, some), left, error, area_levels(data, bad), contents, full)


def _look(state: PlaneState, i: int, rows: np.ndarray) -> Rows:
    """Noise of some rows, expected noise, and whether most of their pixels are saturated."""
    flags = state.dq.frame(i)[rows]
    level, noise = row_noise(state.sci.frame(i)[rows], (flags & BAD) != 0)
    constant, per_electron = (
        float(np.median(a)) if a.ndim == 0 or a.shape[0] == 1 else np.median(a[rows], axis=1)
        for a in map(np.asarray, (state.constant, state.per_electron))
    )
    expected = np.sqrt(np.maximum(constant + per_electron * np.maximum(level, 0.0), 0.0))
    return Rows(noise, expected, _mostly_saturated(flags, 1))


def _mostly_saturated(flags: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(np.mean((flags & np.uint16(DQ.SATURATED)) != 0, axis=axis) > 0.5)


def _damaged(seen: Sequence[Rows]) -> np.ndarray:
    return damaged(*(np.stack(each) for each in zip(*seen, strict=True)))


def _usable(flags: PlaneStack, i: int) -> bool:
    """Whether a frame has any pixel with signal; usually the first rows suffice."""
    ny = flags.shape[1]
    return any(bool(((flags.rows(i, y, min(y + 64, ny)) & BAD) == 0).any()) for y in range(0, ny, 64))
