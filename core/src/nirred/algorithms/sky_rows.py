"""Selection of sky pixels in rows of many frames, the running sky, and its subtraction.

Model of a calibrated sky frame j: F_j = zero_j + unit_j * g(x, y) + noise, with either zero = 0 and unit = the frame's
sky level (the pattern g is what the flat left over, it scales with the sky), or zero = the level and unit = 1 (the
pattern is additive, as an uncorrected dark). The estimate of g from a set S of frames is
sum(F_j - zero_j) / sum(unit_j) over the pixels that no object, outlier or bad pixel covers: for Poisson noise that is
the weighting of least variance.

Sums are taken of the frames' differences from a known pattern (their median, or the smooth sky), in float32: these are
noise, not sky, so that no precision is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nirred.algorithms.networks import median_network
from nirred.algorithms.sky_kernels import sky_rows
from nirred.algorithms.sky_tables import Asked, Rule, Table

Float32 = NDArray[np.float32]
UInt16 = NDArray[np.uint16]
Index = NDArray[np.int64]

#: A median of more frames than this is not worth its time: the noise of one frame is well above its own.
MOST_IN_MEDIAN = 17


@dataclass(frozen=True)
class SkyFrames:
    """Rows of frames and the model of their sky.

    Parameters
    ----------
    data : float32 (m, h, nx)
        Calibrated, electron; finite.
    dq : uint16 (m, h, nx)
        Flags.
    places : sequence of int (n,)
        Which of the m are the sky frames, in order of time.
    top : int
        Their row `top` is the first one to be worked on.
    zero, unit : float64 (n,)
        As in the module's model; units are positive.
    level, noise_scale : float64 (n,)
        Sky level (electron) and measured over predicted noise (sigma): for the noise model.
    """

    data: Float32
    dq: UInt16
    places: Sequence[int]
    top: int
    zero: ArrayLike
    unit: ArrayLike
    level: ArrayLike
    noise_scale: ArrayLike

    @cached_property
    def table(self) -> Table:
        """Parameters of each frame for the kernels."""
        columns = self.zero, self.unit, self.level, np.square(np.asarray(self.noise_scale, np.float64))
        zero, unit, level, scale = (np.asarray(c, np.float32) for c in columns)
        return Table(np.asarray(self.places, np.int64), zero, unit, level, scale)


def spread_order(n: int) -> Index:
    """Numbers 0 to n - 1 in an order whose first ones are spread over all and favour no cycle of a dither.

    They are sorted by their multiples of the golden ratio, modulo 1.
    """
    return np.argsort((np.arange(n) * (np.sqrt(5.0) - 1.0) / 2.0) % 1.0, kind="stable")


@lru_cache(maxsize=64)
def _sample(n: int) -> tuple[Index, Index]:
    """Frames whose median is taken, spread over all without a period of their own, and the network that sorts them."""
    chosen = np.sort(spread_order(n)[:MOST_IN_MEDIAN])
    return chosen, median_network(chosen.size)


def survey(
    frames: SkyFrames,
    noise: tuple[ArrayLike, ArrayLike],
    bits: tuple[int, int],
    nsigma: float,
    centres: Float32 | None = None,
    halves: Float32 | None = None,
) -> None:
    """Flag outliers in rows of sky frames, and estimate the frames' pattern.

    A pixel without any bit of ``bits[0]`` is an outlier, and flagged with ``bits[1]``, in place, if it differs from the
    median of the frames (of at most `MOST_IN_MEDIAN` of them, unless few of those show sky) by more than `nsigma`
    of the noise; with fewer than 3 frames there are none.

    Parameters
    ----------
    frames : SkyFrames
        The frames; their `dq` is changed.
    noise : (constant, per_electron), (h, nx) or what broadcasts to it
        Noise model of a calibrated pixel: VAR = constant + signal * per_electron.
    bits : (int, int)
        Flags of pixels that are not sky; the flag of outliers, set or cleared.
    nsigma : float
        Limit.
    centres : float32 (h, nx), optional
        Receives the median g; where no frame shows sky, the mean of the row's neighbours, or 1 if g scales, else 0.
    halves : float32 (4, h, nx), optional
        Receives the means g and the sums of units of every other frame, from the first and from the second on; NaN and
        0 where none shows sky.
    """
    given = centres if centres is not None else halves[0] if halves is not None else None
    shape = frames.data.shape[1:] if given is None else given.shape
    none = np.empty((0, 0), np.float32)
    sky_rows(
        *_arguments(frames, bits, nsigma),
        frames.top,
        _planes(noise, shape),
        none,
        none if centres is None else centres,
        (none,) * 4 if halves is None else tuple(halves),
        _nobody(),
    )


def _planes(noise: tuple[ArrayLike, ArrayLike], shape: tuple[int, ...]) -> tuple[Float32, ...]:
    """Noise model of each pixel, read-only: one type, hence one compilation."""
    planes = tuple(np.ascontiguousarray(np.broadcast_to(np.asarray(n, np.float32), shape)).view() for n in noise)
    for plane in planes:
        plane.flags.writeable = False
    return planes


def _arguments(
    frames: SkyFrames, bits: tuple[int, int], nsigma: float
) -> tuple[Float32, UInt16, Table, Rule, Index, Index]:
    """The first arguments of the kernel."""
    table = frames.table
    rule = Rule(
        np.uint16(bits[0]),
        np.uint16(bits[1]),
        table.place.size >= 3,
        np.float32(min(nsigma, 1e18) ** 2),  # float32 holds no larger square
        np.float32(np.mean(np.asarray(frames.level))),
        np.float32(np.mean(np.asarray(frames.unit))),
        np.float32(0 if np.any(table.zero) else 1),
    )
    sample, network = _sample(table.place.size)
    return frames.data, frames.dq, table, rule, network, sample


@dataclass(frozen=True)
class Targets:
    """Frames whose sky is to be subtracted; their rows are among those of `SkyFrames`.

    Parameters
    ----------
    places : sequence of int (k,)
        Which of the m frames.
    zero, unit : float64 (k,)
        As in the module's model.
    offset : float64 (k,)
        Additional constant to subtract, electron.
    skies : sequence of sequences of int
        The sky frames of each, as places in `SkyFrames.places`.
    """

    places: Sequence[int]
    zero: ArrayLike
    unit: ArrayLike
    offset: ArrayLike
    skies: Sequence[Sequence[int]]


def moves(sets: Sequence[Iterable[int]]) -> tuple[Index, Index, Float32]:
    """Changes from one set of numbers to the next: index of each set's first change, the numbers (-1: all), the signs.

    A set that has nothing in common with the one before starts from zero.
    """
    begins, who, sign = [0], [], []
    here: set[int] = set()
    for members in sets:
        wanted = set(members)
        if not here & wanted:
            who.append(-1)
            sign.append(0.0)
            here = set()
        gone, new = sorted(here - wanted), sorted(wanted - here)
        who += [*gone, *new]
        sign += [*(-1.0 for _ in gone), *(1.0 for _ in new)]
        begins.append(len(who))
        here = wanted
    return np.array(begins), np.array(who, np.int64), np.array(sign, np.float32)


def _with_themselves(skies: Sequence[Sequence[int]], own: Index, none: int) -> tuple[list[set[int]], Index]:
    """Sky frames of each frame, plus the frame itself if its neighbours use it; the frame to exclude again, or `none`.

    `own` are the frames' indices among the sky frames, or -1. A sequence whose frames all serve each other as sky has a
    single such set, which never changes.
    """
    sets = [set(members) for members in skies]
    without = np.full(len(sets), none)
    whole = [set(members) for members in sets]
    for e, place in enumerate(own.tolist()):
        beside = sets[max(e - 1, 0)] | sets[min(e + 1, len(sets) - 1)]
        if place not in sets[e] and place in beside:
            whole[e].add(place)
            without[e] = place
    return whole, without


def subtract(
    frames: SkyFrames,
    targets: Targets,
    useless: int,
    smooth: Float32,
    shrink: tuple[Float32, Float32] | None,
    out: tuple[Float32, Sequence[int], int],
) -> None:
    """Subtract zero + unit * (smooth + w * (g - smooth)) from rows of frames.

    w = P / (P + v) is the least-squares weight of a pixel's own pattern: P is the variance of the true pattern, v
    that of the noise of g. Deviations t beyond 3 sigma of P + v are real and are kept: w -> 1 - 9/t^2 v/(P + v).
    Without shrinkage the full pattern is subtracted. Where no frame shows sky only the smooth part is.

    Parameters
    ----------
    frames : SkyFrames
        The sky frames, outliers flagged.
    targets : Targets
        Frames to subtract from, in order of time: each sky is updated from the one before by the frames that differ.
    useless : int
        Flags of pixels that are not sky, outliers included.
    smooth : float32 (h, nx)
        Large-scale part of g, defined everywhere.
    shrink : (P, V), float32 (h, nx), optional
        Variance of the true small-scale pattern, and noise variance of g times the sum of units.
    out : (float32 (any, h', nx), places, top)
        Output array, the frames' indices in it, and its row for the first of the rows.
    """
    none = np.empty((0, 0), np.float32)
    asked = _asked(frames, targets, shrink or (none, none), out)
    sky_rows(
        *_arguments(frames, (useless, 0), 0.0),
        frames.top,
        _planes((0.0, 0.0), none.shape),
        smooth,
        none,
        (none,) * 4,
        asked,
    )


def subtract_around_medians(
    frames: SkyFrames,
    targets: Targets,
    noise: tuple[ArrayLike, ArrayLike],
    shape: tuple[int, int],
    useless: int,
    nsigma: float,
    out: tuple[Float32, Sequence[int], int],
) -> None:
    """Subtract the full pattern without outliers from the frames' median: `survey` and `subtract` in one sweep.

    Outliers are not flagged. The parameters are those of these two functions, and the shape of the rows.
    """
    none = np.empty((0, 0), np.float32)
    asked = _asked(frames, targets, (none, none), out)
    arguments = _arguments(frames, (useless, 0), nsigma)
    sky_rows(*arguments, frames.top, _planes(noise, shape), none, none, (none,) * 4, asked)


def _asked(
    frames: SkyFrames,
    targets: Targets,
    shrink: tuple[Float32, Float32],
    out: tuple[Float32, Sequence[int], int],
) -> Asked:
    """Parameters, for the kernel, of the frames to subtract from."""
    zero, unit = (np.asarray(c, np.float32) for c in (targets.zero, targets.unit))
    unused, table = np.ones(len(targets.places), np.float32), frames.table
    rank = {place: k for k, place in enumerate(frames.places)}
    own = np.array([rank.get(place, -1) for place in targets.places], np.int64)
    same = (own >= 0) & (table.zero[own] == zero) & (table.unit[own] == unit)
    whole, without = _with_themselves(targets.skies, own, len(rank))
    array, places, top = out
    return Asked(
        Table(np.asarray(targets.places, np.int64), zero, unit, unused, unused),
        *moves(whole),
        without,
        np.where(same, own, -1),
        np.float32(1e-3 * float(np.min(np.asarray(frames.unit)))),  # what rounding leaves of frames taken away
        np.asarray(targets.offset, np.float32),
        *shrink,
        array,
        np.array([*places, top], np.int64),
    )


def _nobody() -> Asked:
    """Parameters for the kernel without frames to subtract from."""
    nothing, nobody = np.empty(0, np.float32), np.empty(0, np.int64)
    none = np.empty((0, 0), np.float32)
    table, array = Table(nobody, nothing, nothing, nothing, nothing), np.empty((0, 0, 0), np.float32)
    least = np.float32(0)
    return Asked(table, nobody, nobody, nothing, nobody, nobody, least, nothing, none, none, array, nobody)
