"""The sky of each frame from its neighbours in time; epochs share estimates that need many frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..algorithms.background import SAMPLES, level
from ..algorithms.flags import flagged
from ..algorithms.sky import join_halves, pattern_power, pixel_noise, shrinkage
from ..algorithms.sky_fine import OWN, WORTH, FineSky, FrameCells, fine_power, frame_cells
from ..algorithms.sky_rows import SkyFrames, Targets, subtract, subtract_around_medians, survey
from ..algorithms.sky_shape import continuation_error, sky_shape
from ..algorithms.threads import run_blocks
from ..group import Group
from ..parallel import each_frame
from ..plan.moments import stamp
from ..slabs import Slab, Slabs, sample_rows, sampled, slabs_alike
from ..states import BAD, BRIGHT, NOT_SKY, OBJECT, FrameState, PlaneState
from .residual import compare_noise

#: Frames that share one estimate of the large-scale sky and of the pattern's power.
EPOCH = 32
#: With fewer sky frames, real sky structure between its large scale and single pixels cannot be separated from noise.
SURE = 4
#: Such structure, rms over the noise of a pixel of the pattern, above which so few frames' pattern is subtracted whole.
STRUCTURE = 0.04
#: Rows processed at once (fewer if many frames would need more), and the fraction 1 / n of the memory for them.
BLOCK, MEMORY_PART = 64, 16
#: Pixels of all frames of an epoch from which levels are measured before the sky is subtracted.
MOST_SAMPLED = 20_000_000
#: Sampling step for the smoothness of a smooth sky, pixels.
SHAPE_STEP = 16
#: Bytes per pixel and frame in a block: calibrated, flags, sky-subtracted.
BYTES = 10


@dataclass(frozen=True)
class SkyModel:
    """Model of the frames' sky with the parts known before the fit: F_j = zero_j + unit_j * g(x, y) + noise.

    Parameters
    ----------
    group, state
        The group and one of its planes, whose `sub` receives the sky-subtracted frames.
    zero, unit : float64 (n,)
        As in the model, of every frame of the group.
    nsigma : float
        Pixels of a sky frame this far from the others are not sky.
    """

    group: Group
    state: PlaneState
    zero: np.ndarray
    unit: np.ndarray
    nsigma: float

    def skies(self, epoch: list[int]) -> list[int]:
        """Sky frames of an epoch, in order of time."""
        found = {j for i in epoch for j in self.group.skies[i]}
        return sorted(found, key=lambda j: (time_of(self.group.frames[j]), j))

    def frames(self, slabs: tuple[Slab, Slab], read: list[int], skies: list[int]) -> SkyFrames:
        """Rows of an epoch's sky frames, from slabs that hold the frames `read`."""
        data, dq = slabs
        places = [data.places[read.index(j)] for j in skies]
        levels = self.unit[skies] if not self.zero.any() else self.zero[skies]
        scales = [self.group.noise_scale(self.state, j) for j in skies]
        return SkyFrames(
            data.array, dq.array, places, data.top, self.zero[skies], self.unit[skies], np.maximum(levels, 0.0), scales
        )

    def targets(self, places: list[int], epoch: list[int], skies: list[int], offset: np.ndarray) -> Targets:
        """The epoch's frames, at `places` in the slab."""
        rank = {j: k for k, j in enumerate(skies)}
        members = [[rank[j] for j in self.group.skies[i]] for i in epoch]
        return Targets(places, self.zero[epoch], self.unit[epoch], offset, members)

    def noise(self, rows: slice | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Noise model of some rows."""
        planes = (np.asarray(a, np.float32) for a in (self.state.constant, self.state.per_electron))
        constant, per_electron = (a if a.ndim == 0 or a.shape[0] == 1 else a[rows] for a in planes)
        return constant, per_electron


def time_of(frame: FrameState) -> float:
    """Start of an exposure, s since 1970 UT; 0 if it is unknown."""
    began = stamp(frame.info)
    return began if math.isfinite(began) else 0.0


def epochs(group: Group, frames: list[int]) -> list[list[int]]:
    """Runs of consecutive frames with about `EPOCH` sky frames in all, or twice as many as one frame has."""
    found: list[list[int]] = []
    union: set[int] = set()
    for i in sorted(frames, key=lambda i: (time_of(group.frames[i]), i)):
        grown = union | set(group.skies[i])
        if found and (len(grown) <= EPOCH or len(found[-1]) < len(group.skies[i])):
            found[-1].append(i)
            union = grown
        else:
            found.append([i])
            union = set(group.skies[i])
    return found


def _useless(*, masked: bool) -> int:
    return int(BAD | BRIGHT | (OBJECT if masked else np.uint16(0)))


def subtract_at_once(model: SkyModel, epoch: list[int]) -> None:
    """Subtract the sky of an epoch's frames without object masks, with its full pattern, in one sweep over the pixels.

    Each frame's level relative to its sky, and its noise, are measured before on a sample of rows.
    """
    group, state, skies = model.group, model.state, model.skies(epoch)
    read = sorted({*skies, *epoch})
    offset = _sample_levels(model, epoch, skies, read)
    rows = _block_rows(model, len(read))
    sci, dq = slabs_alike((state.sci, state.dq), read, rows)
    sub = Slabs(state.sub, epoch, rows)

    def block(start: int, stop: int) -> None:
        with (
            sci.open(start, stop) as data,
            dq.open(start, stop) as flags,
            sub.open(start, stop, read=False, write=True) as out,
        ):
            frames = model.frames((data, flags), read, skies)
            targets = model.targets([data.places[read.index(i)] for i in epoch], epoch, skies, offset)
            _subtract_rows(model, frames, targets, slice(start, stop), (out.array, out.places, out.top))

    run_blocks(block, state.shape[0], group.context.threads, rows)
    for i in epoch:
        state.sky_variance[i] = 1.0 / max(len(group.skies[i]), 1)


def _subtract_rows(
    model: SkyModel,
    frames: SkyFrames,
    targets: Targets,
    rows: slice | np.ndarray,
    out: tuple[np.ndarray, Sequence[int], int],
) -> None:
    """Subtract from rows of frames the sky, averaged around its median."""
    shape = rows.stop - rows.start if isinstance(rows, slice) else rows.size, model.state.shape[1]
    subtract_around_medians(frames, targets, model.noise(rows), shape, _useless(masked=False), model.nsigma, out)


def _sample_levels(model: SkyModel, epoch: list[int], skies: list[int], read: list[int]) -> np.ndarray:
    """Levels that the sky leaves in an epoch's frames, from a sample of rows; records their noise over the model's."""
    state = model.state
    rows = sample_rows(state.shape, min(SAMPLES, MOST_SAMPLED // len(read)))
    data, dq = (sampled(stack, read, rows) for stack in (state.sci, state.dq))
    places = list(range(len(read)))
    frames = model.frames((Slab(data, places, 0), Slab(dq, places, 0)), read, skies)
    mine = [read.index(i) for i in epoch]
    out = np.empty((len(epoch), *data.shape[1:]), np.float32)
    targets = model.targets(mine, epoch, skies, np.zeros(len(epoch)))
    _subtract_rows(model, frames, targets, rows, (out, range(len(epoch)), 0))

    def measure(k: int) -> float:
        i, bad = epoch[k], flagged(dq[mine[k]], int(BAD))
        left = level(out[k], bad, step=1)
        state.sky_variance[i] = 1.0 / max(len(model.group.skies[i]), 1)
        compare_noise(model.group, state, i, pixel_noise(out[k], bad, step=1))
        return left.value if left.n else 0.0

    return np.array(each_frame(model.group, range(len(epoch)), measure))


def _block_rows(model: SkyModel, frames: int) -> int:
    context = model.group.context
    row = frames * model.state.shape[1] * BYTES * max(context.threads, 1)
    return max(1, min(BLOCK, context.memory // MEMORY_PART // row))


def subtract_shrunk(model: SkyModel, epoch: list[int], p: int, *, shrink: bool) -> None:
    """Subtract the sky of an epoch's frames with objects masked, in two sweeps: estimate its real part, then subtract.

    With `shrink` the noise of the pattern is shrunk; `p` is the number of the plane.
    """
    group, state, skies = model.group, model.state, model.skies(epoch)
    read = sorted({*skies, *epoch})
    rows = _block_rows(model, len(read))
    halves = _survey_epoch(model, skies, rows)
    whole = join_halves(halves)
    first, second = (halves[0], halves[1]), (halves[2], halves[3])
    amplifiers = [a.section.pixels for a in group.frames[0].info.detectors[p].amplifiers]
    shrink = shrink and len(skies) > 1
    smooth, structure, carried = sky_shape(whole, (first, second) if shrink else (), amplifiers, group.context.threads)
    tiles = pattern_power(first, second, smooth, threads=group.context.threads) if shrink else None
    if group.objects.hidden and tiles is not None:
        _record_unseen(model, epoch, tiles[0], whole[1] > 0)
        _record_shape(model, epoch, smooth, whole[1] > 0)
    fine = _fine_sky(model, skies, (first, second), smooth, tiles) if tiles is not None else None
    if fine is not None:
        smooth += fine.draw(fine.of(range(len(skies))))
        tiles = pattern_power(first, second, smooth, threads=group.context.threads)
    del halves, first, second
    power = None if tiles is None else shrinkage(*tiles, whole[1])
    if power is not None and len(skies) < SURE and structure > STRUCTURE * _pixel_sigma(power[1], whole[1]):
        (smooth, *_), power = sky_shape(whole, (), amplifiers), None
    _record_sky_noise(model, epoch, power, whole[1], carried)
    del whole
    sci, dq = slabs_alike((state.sci, state.dq), read, rows)
    sub, useless = Slabs(state.sub, epoch, rows), _useless(masked=True) | int(NOT_SKY)

    def block(start: int, stop: int) -> None:
        part = slice(start, stop)
        with (
            sci.open(start, stop) as data,
            dq.open(start, stop) as flags,
            sub.open(start, stop, read=False, write=True) as out,
        ):
            frames = model.frames((data, flags), read, skies)
            places = [data.places[read.index(i)] for i in epoch]
            targets = model.targets(places, epoch, skies, np.zeros(len(epoch)))
            known = None if power is None else (power[0][part], power[1][part])
            subtract(frames, targets, useless, smooth[part], known, (out.array, out.places, out.top))

    run_blocks(block, state.shape[0], group.context.threads, rows)
    if fine is not None:
        _part_with_own(model, epoch, skies, fine)


def _fine_sky(
    model: SkyModel,
    skies: list[int],
    halves: tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]],
    smooth: np.ndarray,
    tiles: tuple[np.ndarray, np.ndarray],
) -> FineSky | None:
    """Structure a few pixels wide common to the sky frames; None if it is negligible or there are too few frames."""
    units = float(np.median(halves[0][1][::8, ::8] + halves[1][1][::8, ::8]))
    if len(skies) < SURE or units <= 0:
        return None
    sigma = float(np.sqrt(np.median(tiles[0]) + np.median(tiles[1]) / units))
    white = float(np.median(tiles[0]) * units / max(np.median(tiles[1]), 1e-300))
    if fine_power(*halves, smooth, OWN * np.sqrt(2.0) * sigma) < white + WORTH:
        return None
    g, behind = join_halves(np.stack([*halves[0], *halves[1]]))
    known = np.where((behind > 0) & (np.abs(g - smooth) < OWN * sigma), smooth, np.float32(np.nan))
    state, useless = model.state, _useless(masked=True) | int(NOT_SKY)

    def cells(j: int) -> FrameCells:
        scale = float(model.zero[j]), float(model.unit[j])
        return frame_cells(state.sci.frame(j), state.dq.frame(j), known, scale, useless)

    return FineSky(each_frame(model.group, skies, cells), state.shape)


def _part_with_own(model: SkyModel, epoch: list[int], skies: list[int], fine: FineSky) -> None:
    """Replace the fine structure subtracted from each frame by that of its own sky frames, which exclude the frame."""
    rank, common = {j: k for k, j in enumerate(skies)}, fine.of(range(len(skies)))

    def change(i: int) -> None:
        own = fine.of([rank[j] for j in model.group.skies[i]])
        data = model.state.sub.frame_to_change(i)
        data += np.float32(model.unit[i]) * fine.draw(common - own)

    each_frame(model.group, epoch, change)


def _pixel_sigma(noise: np.ndarray, units: np.ndarray) -> float:
    """Typical noise of a pixel of the pattern, from its variance times the sum of its units."""
    some, behind = noise[::4, ::4], units[::4, ::4]
    known = behind > 0
    return float(np.sqrt(np.median(some[known] / behind[known]))) if known.any() else 0.0


def _survey_epoch(model: SkyModel, skies: list[int], rows: int) -> np.ndarray:
    """Flag outliers in an epoch's sky frames; return the patterns of two halves of them, (g, units, g, units)."""
    state = model.state
    halves = np.empty((4, *state.shape), np.float32)
    sci, dq = slabs_alike((state.sci, state.dq), skies, rows)

    def block(start: int, stop: int) -> None:
        with sci.open(start, stop) as data, dq.open(start, stop, write=True) as flags:
            frames = model.frames((data, flags), skies, skies)
            bits = _useless(masked=True), int(NOT_SKY)
            survey(frames, model.noise(slice(start, stop)), bits, model.nsigma, halves=halves[:, start:stop])

    run_blocks(block, state.shape[0], model.group.context.threads, rows)
    return halves


def _record_sky_noise(
    model: SkyModel, epoch: list[int], shrink: tuple[np.ndarray, np.ndarray] | None, units: np.ndarray, carried: float
) -> None:
    """Record the variance that the subtracted sky adds to a frame's pixels, over the frame's own noise model.

    If a pattern of power P and noise v is shrunk by P / (P + v), a variance P v / (P + v) remains: v / (P + v) of it is
    pattern, the rest noise. In wide areas, the sky's shape has added the part `carried` of v. Not where the frame is
    one of those that the shape was made of: there this has taken away as much of the frame's own noise. Pixels that no
    sky frame shows do not count: a mask may hide most of the detector.
    """
    group, state, unit = model.group, model.state, model.unit
    total = float(np.sum(unit[model.skies(epoch)]))
    state.sky_lasting.update(dict.fromkeys(epoch, 0.0))
    state.sky_wide.update(dict.fromkeys(epoch, 0.0))
    lit = np.flatnonzero(units[::8, ::8] > 0)
    if shrink is None or not lit.size or not shrink[1].any():
        state.sky_variance.update({i: 1.0 / max(len(group.skies[i]), 1) for i in epoch})
        return
    power, noise, known = (a[::8, ::8].ravel()[lit].astype(np.float64) for a in (*shrink, units))
    own_sky = set(model.skies(epoch))

    def record(i: int) -> None:
        own = float(np.sum(unit[list(group.skies[i])]))
        v = noise / np.maximum(known * own / max(total, 1e-30), 1e-30)
        added = np.where(power + v > 0, power * v / np.maximum(power + v, 1e-30), 0.0)
        state.sky_lasting[i] = float(np.median(v / np.maximum(power + v, 1e-30)))
        variance = state.expected_variance(group.sky_level(state, i))
        relative = float(unit[i]) ** 2 / variance
        state.sky_variance[i] = float(np.median(added)) * relative
        if i not in own_sky:
            state.sky_wide[i] = carried * float(np.median(v)) * relative

    each_frame(group, epoch, record, 1)


def _record_unseen(model: SkyModel, epoch: list[int], power: np.ndarray, seen: np.ndarray) -> None:
    """Add the pattern's variance where no sky frame of an epoch shows it: it remains in the frames and their mean."""
    state = model.state
    if state.unseen is None:
        state.unseen = np.zeros(state.shape, np.float32)
    rows, columns = (np.arange(n) * k // n for n, k in zip(state.shape, power.shape, strict=True))
    share = float(np.sum(model.unit[epoch] ** 2)) / len(model.group.indices())
    state.unseen += np.where(seen, 0.0, share * power[np.ix_(rows, columns)]).astype(np.float32)


def _record_shape(model: SkyModel, epoch: list[int], smooth: np.ndarray, seen: np.ndarray) -> None:
    """Record the error of the sky's shape behind objects that hide it in every frame, electron."""
    flags = model.state.dq.frame(epoch[0])[::SHAPE_STEP, ::SHAPE_STEP]
    sampled_shape, known = smooth[::SHAPE_STEP, ::SHAPE_STEP], seen[::SHAPE_STEP, ::SHAPE_STEP]
    error = continuation_error(sampled_shape, known, ~known & (flags & OBJECT != 0))
    found = error * float(np.median(model.unit[epoch]))
    model.group.sky.shape_behind = max(found, model.group.sky.shape_behind)
