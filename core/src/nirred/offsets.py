"""Initial offsets of frames: from header coordinates or a user's list; frames grouped by pointing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .dq import DQ
from .errors import ConfigError
from .group import Group
from .plan.model import ON_TARGET, FrameInfo
from .textfiles import read_text

#: A file with one position per line, or the positions.
Positions = Path | tuple[tuple[float, float], ...]


def guess_offsets(group: Group, frames: list[int]) -> tuple[list[tuple[float, float]], float]:
    """`header_offsets` of these frames of a group."""
    return header_offsets([group.frames[i].info for i in frames])


def header_offsets(frames: Sequence[FrameInfo]) -> tuple[list[tuple[float, float]], float]:
    """Offsets (dx, dy) of frames from the first one according to their WCS, and their error in pixels.

    The point of the sky at the first frame's centre is located in each frame. Frames without WCS have offset 0 and an
    error of half a field.
    """
    first = frames[0]
    ny, nx = first.detectors[0].shape
    centre = np.array([(nx - 1) / 2, (ny - 1) / 2])
    if any(not frame.wcs for frame in frames):
        return [(0.0, 0.0)] * len(frames), max(nx, ny) / 2
    sky = first.wcs[0].wcs.wcs_pix2world(*centre, 0)
    guesses = []
    for frame in frames:
        x, y = frame.wcs[0].wcs.wcs_world2pix(*sky, 0)
        guesses.append((float(x) - centre[0], float(y) - centre[1]))
    scale = first.descriptors.pixel_scale or 1.0
    return guesses, max(frame.wcs[0].sigma_arcsec for frame in frames) / scale


def pointing_clusters(group: Group, frames: list[int], overlap: float = 0.9) -> list[list[int]]:
    """Group frames by field: chains in which neighbours are closer than `overlap` of the lit field's sides.

    In a round field (descriptor `field_diameter`) they are closer than `overlap` of its diameter.
    """
    if not frames:
        return []
    guesses, _ = guess_offsets(group, frames)
    ny, nx = lit_sides(group, frames[0])
    diameter = group.frames[frames[0]].info.descriptors.get("field_diameter") or math.inf
    left, clusters = list(range(len(frames))), []
    while left:
        cluster, left = [left[0]], left[1:]
        for k in cluster:
            near = [
                j
                for j in left
                if abs(guesses[j][0] - guesses[k][0]) < overlap * nx
                and abs(guesses[j][1] - guesses[k][1]) < overlap * ny
                and math.dist(guesses[j], guesses[k]) < overlap * diameter
            ]
            cluster += near
            left = [j for j in left if j not in near]
        clusters.append(sorted(frames[k] for k in cluster))
    return clusters


def lit_sides(group: Group, i: int) -> tuple[int, int]:
    """Height and width in pixels of the part of the first plane that a frame's mask leaves lit, such as a keyhole."""
    lit = (group.planes[0].dq.frame(i) & DQ.UNILLUMINATED) == 0
    rows, columns = (np.flatnonzero(lit.any(axis=axis)) for axis in (1, 0))
    return (int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1) if rows.size else group.planes[0].shape


def read_offsets(given: Positions, group: Group, frames: list[int]) -> list[tuple[float, float]]:
    """Offsets from the first of `frames`, from a list of positions (see `read_positions`); 0 for frames off target."""
    where = read_positions(given, group)
    origin = where.get(frames[0], next(iter(where.values())))
    return [(where[i][0] - origin[0], where[i][1] - origin[1]) if i in where else (0.0, 0.0) for i in frames]


def read_positions(given: Positions, group: Group) -> dict[int, tuple[float, float]]:
    """Pixel position (x, y) of one object in each frame on target, including frames excluded later.

    Raises
    ------
    ConfigError
        As in `shared_out`.
    """
    targets = [i for i, frame in enumerate(group.frames) if frame.role in ON_TARGET]
    return dict(zip(targets, shared_out(given, [group.frames[i].info for i in targets]), strict=True))


def shared_out(given: Positions, frames: Sequence[FrameInfo]) -> list[tuple[float, float]]:
    """One position for each of a group's frames on target, from a text file or list in frame order.

    If there are fewer positions than frames, each is that of a pointing, with the same number of frames for all.

    Raises
    ------
    ConfigError
        The file is missing, contains no numbers, or its number of lines is not that of frames or pointings; or a frame
        would not overlap any other.
    """
    positions, name = _positions(given)
    repeat = len(frames) // max(len(positions), 1)
    if len(positions) * repeat != len(frames) or not _still(frames, repeat):
        raise ConfigError(
            f"{name}: {len(positions)} positions for {len(frames)} frames", "one line per frame on target, or pointing"
        )
    each = [position for position in positions for _ in range(repeat)]
    _refuse_apart(each, frames, name)
    return each


def _refuse_apart(positions: Sequence[tuple[float, float]], frames: Sequence[FrameInfo], name: str) -> None:
    """Refuse positions that put a frame outside the field of all others: according to the headers they overlap."""
    where, (ny, nx) = np.array(positions, np.float64), frames[0].detectors[0].shape
    for k, info in enumerate(frames):
        others = np.abs(np.delete(where, k, axis=0) - where[k])
        if len(others) and not (others < (nx, ny)).all(axis=1).any():
            raise ConfigError(
                f"{name}: the position of {info.name}, ({where[k, 0]:g}, {where[k, 1]:g}), puts it outside the "
                f"field of every other frame ({nx} x {ny} pixels)",
                "correct it: pixels of one object in each frame, in frame order; or leave the frame out with --exclude",
            )


def _positions(given: Positions) -> tuple[list[tuple[float, float]], str]:
    if not isinstance(given, Path):
        return list(given), "offsets"
    try:
        lines = [line.split("#")[0].replace(",", " ").split() for line in read_text(given).splitlines()]
        found = [(float(a), float(b)) for a, b in (line[-2:] for line in lines if line)]
    except OSError as error:
        raise ConfigError(f"{given}: {error.strerror}", "name a file with one x y per line") from None
    except ValueError:
        found = [(np.nan, np.nan)]
    if not np.isfinite(found).all():
        raise ConfigError(f"{given}: not a list of x y positions", "write one x y per line, in frame order")
    return found, str(given)


def _still(frames: Sequence[FrameInfo], repeat: int) -> bool:
    """Whether, according to the headers, the telescope does not move during the `repeat` exposures of a position."""
    if repeat <= 1:
        return True
    guesses, sigma = header_offsets(frames)
    runs = np.reshape(guesses, (-1, repeat, 2))
    return bool(np.all(np.ptp(runs, axis=1) <= 2 * sigma))
