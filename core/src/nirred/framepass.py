"""The combined per-frame pass: read every frame of a group once and calibrate it in one pass over its pixels."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .algorithms.calibrate import calibrate, calibrate_rows
from .algorithms.combine import MAX_FRAMES
from .algorithms.flags import flagged
from .algorithms.response import CalibrationInputs, noise_planes
from .calibration_inputs import calibration_inputs
from .darks import settle_dark
from .dq import DQ
from .errors import NirredError, StepError, Unreadable, fault_of
from .files import give_cache_back
from .fitsio import KNOWN_BITS
from .group import Group
from .masks import apply_late_masks
from .opening import RawPlane, raw_planes
from .plan.model import FrameInfo
from .plan.moments import stamp
from .room import SKYLESS, frame_bytes, in_memory, scratch_bytes
from .slabs import sample_rows
from .spread import at_once, each_frame
from .states import BAD, PlaneState
from .store import PlaneStack, give_heap_back

if TYPE_CHECKING:
    pass

#: Memory to read and calibrate a frame, in float32 copies of its pixels: the file's bytes, counts, result and flags.
COPIES = 4
#: Pixels of a plane that are looked at to tell whether it is saturated.
SAMPLED = 20_000


@dataclass
class _Inputs:
    """Inputs shared by frames of one configuration, made by the first thread that needs them.

    `passing` are files that are read only once. The system's cache of these is released to make room for scratch
    files: it is a third of the cache that a long sequence uses.
    """

    made: dict[tuple[Any, ...], CalibrationInputs] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    passing: frozenset[Path] = frozenset()


def calibrate_group(group: Group, *, read: bool = True) -> None:
    """Read and calibrate every frame of the group into `group.planes`.

    A frame that cannot be read is excluded with a remark; if no frame is left, this is an error. Without `read` the
    planes stay empty: no step uses them.

    Raises
    ------
    StepError
        No frame could be read, there are too many to combine, or planes and calibrations differ in shape.
    """
    frames = group.need(group.indices(), "readable frames")
    if len(frames) > MAX_FRAMES:
        raise StepError(f"{len(frames)} frames: {MAX_FRAMES} can be combined", "name fewer, or choose some with --only")
    first = group.frames[frames[0]].info
    settle_dark(group)
    group.planes = _allocate(group, [d.shape for d in first.detectors])
    cache = _Inputs(passing=_passing(group))
    for p, state in enumerate(group.planes):
        state.inputs = _inputs_of(group, first, p, state, cache)
        read_noise = first.detectors[p].read_noise
        if group.setup.variance and read_noise is not None:
            state.constant, state.per_electron = noise_planes(state.inputs, read_noise, group.context.threads)
    if read:
        _calibrate_frames(group, cache)
        _part_with_blind_planes(group)
        group.need(group.indices(), "readable frames")
        apply_late_masks(group)
        _part_with_saturated(group)
        group.need(group.indices(), "usable frames")
        if group.setup.latency > 0:
            flag_latency(group)
    _release(group)


def _release(group: Group) -> None:
    """Free the calibrations used by the pass: 100 MB for a 2048 x 2048 frame."""
    setup = group.setup
    for state in group.planes:
        if state.inputs is not None:
            state.inputs = replace(state.inputs, dark=None, dark_variance=None, flat_reciprocal=None)
    for kind, used in (("dark", setup.dark), ("bias", setup.dark), ("flat", setup.flat)):
        if used:
            group.calibrations.pop(kind, None)
    if setup.dark is not None:
        setup.dark = []
    if setup.flat is not None:
        setup.flat = [replace(plane, var=None) for plane in setup.flat]
    setup.masks.clear()
    group.masks.clear()


def compiled() -> bool:
    """Whether numba's cache holds the first kernel of every run; if not, the other kernels are missing too."""
    return any(Path(calibrate_rows.stats.cache_path).glob("calibrate.calibrate_rows-*.nbi"))


def _allocate(group: Group, shapes: list[tuple[int, int]]) -> list[PlaneState]:
    n, context, sizes = len(group.frames), group.context, frame_bytes(group.task)
    kept = in_memory(sizes, context.memory)
    filed = sizes.keys() - kept
    if filed:
        context.scratch.mkdir(parents=True, exist_ok=True)
        need, rest = sum(sizes.values()), sum(sizes[kind] for kind in filed)
        context.say(f"{group.task.id}: {n} frames need {need / 1e9:.2f} GB; {rest / 1e9:.2f} GB of it in scratch files")
    sci, dq, sub = (context.scratch if kind in filed else None for kind in ("sci", "dq", "sub"))

    def planes(shape: tuple[int, int], kind: type[np.number], scratch: Path | None) -> PlaneStack:
        return PlaneStack((n, *shape), kind, scratch, zeros=False)

    made = [
        PlaneState(planes(s, np.float32, sci), planes(s, np.uint16, dq), sub_scratch=sub, number=p)
        for p, s in enumerate(shapes)
    ]
    if filed:  # what an earlier task has left of the heap, but for what these planes and those to come fit into
        to_come = [np.empty((n, *s), np.float32) for s in shapes] if "sub" in kept else []
        give_heap_back()
        del to_come
    return made


def _passing(group: Group) -> frozenset[Path]:
    """Files with a single frame, if this task or another one of the run uses scratch files; else none."""
    if not (group.context.filed or scratch_bytes(group.task, group.context.memory)):
        return frozenset()
    files = Counter(f.info.path for f in group.frames)
    return frozenset(path for path, frames in files.items() if frames == 1)


def _calibrate_frames(group: Group, cache: _Inputs) -> None:
    frames = group.indices()
    threads = max(1, group.context.threads // at_once(group, len(frames), COPIES))
    faults = each_frame(group, frames, lambda i: _calibrate_frame(group, i, cache, threads), COPIES)
    for i, error in zip(frames, faults, strict=True):
        if error is not None:
            unread = isinstance(error, Unreadable | OSError)
            group.leave_out(i, fault_of(error), "unreadable" if unread else "failed")


def _calibrate_frame(group: Group, i: int, cache: _Inputs, threads: int) -> NirredError | OSError | None:
    """Read and calibrate one frame; return the error that prevents its use, if any."""
    frame = group.frames[i]
    try:
        opened = read_raw(group, frame.info)
        raws = [raw for raw, _ in opened]
        _check_shapes(group, frame.info, raws)
        inputs = [_inputs_of(group, frame.info, p, state, cache) for p, state in enumerate(group.planes)]
    except (NirredError, OSError) as error:
        return error
    if frame.info.path in cache.passing:
        give_cache_back(frame.info.path)
    for (raw, flags), state, given in zip(opened, group.planes, inputs, strict=True):
        with state.sci.filling(i) as sci, state.dq.filling(i) as dq:
            calibrate(raw, given, (sci, dq), threads)
            if flags is not None:
                dq |= flags & np.uint16(KNOWN_BITS)
    return None


def _part_with_blind_planes(group: Group) -> None:
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


def _part_with_saturated(group: Group) -> None:
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


def _usable(flags: PlaneStack, i: int) -> bool:
    """Whether a frame has any pixel with signal; usually the first rows suffice."""
    ny = flags.shape[1]
    return any(bool(((flags.rows(i, y, min(y + 64, ny)) & BAD) == 0).any()) for y in range(0, ny, 64))


def _check_shapes(group: Group, info: FrameInfo, raws: list[np.ndarray]) -> None:
    if len(raws) != len(group.planes):
        what = f"{info.name}: {len(raws)} planes, the other frames have {len(group.planes)}"
        raise StepError(what, "fetch the file again, or leave it out (--exclude)")
    for p, (raw, state) in enumerate(zip(raws, group.planes, strict=True), 1):
        if raw.shape != state.shape:
            what = f"{info.name}: plane {p} is {raw.shape[::-1]}, expected: {state.shape[::-1]} pixels (x, y)"
            raise StepError(what, "fetch the file again, or leave it out (--exclude)")


def read_raw(group: Group, info: FrameInfo) -> list[RawPlane]:
    """Read the planes of one frame, in ADU unless its pixels are electrons already and no step converts them.

    Raises
    ------
    NirredError
        They cannot be read.
    """
    counts, registry = group.setup.electrons or group.unit == "adu", group.context.registry
    return raw_planes(registry, info.owner, info.path, info.exposure, info.headers, info.detectors, counts=counts)


def _inputs_of(group: Group, info: FrameInfo, p: int, state: PlaneState, cache: _Inputs) -> CalibrationInputs:
    """Calibration inputs of a frame, shared within a configuration; lamps and darks may differ in time and levels."""
    d = info.detectors[p]
    key = (p, d.gain, d.coadds, d.saturation, d.non_linear, info.descriptors.exposure_time, d.section, d.linearity)
    with cache.lock:
        if key not in cache.made:
            cache.made[key] = calibration_inputs(group, info, p, state.shape)
        return cache.made[key]


def flag_latency(group: Group) -> None:
    """Flag persistence: pixels saturated in a frame up to `setup.latency` seconds earlier get the cosmic-ray bit."""
    setup = group.setup
    known = {i: began for i in group.indices() if math.isfinite(began := stamp(group.frames[i].info))}
    source = np.uint16(DQ.SATURATED | (DQ.NON_LINEAR if setup.latency_non_linear else 0))
    for state in group.planes:
        _flag_latency(group, state, list(known), np.array(list(known.values())), source)


def _flag_latency(group: Group, state: PlaneState, frames: list[int], times: np.ndarray, source: np.uint16) -> None:
    def sources(i: int) -> np.ndarray:
        return np.flatnonzero(flagged(state.dq.frame(i), int(source)).view(np.bool_)).astype(np.int32)

    hot = each_frame(group, frames, sources, 1)

    def flag(k: int) -> None:
        elapsed = times[k] - times
        earlier = [hot[j] for j in np.flatnonzero((elapsed > 0) & (elapsed < group.setup.latency)) if hot[j].size]
        if earlier:
            state.dq.frame_to_change(frames[k]).reshape(-1)[np.concatenate(earlier)] |= np.uint16(DQ.COSMIC_RAY)

    each_frame(group, range(len(frames)), flag, 1)
