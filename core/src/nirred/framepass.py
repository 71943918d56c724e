"""The combined per-frame pass: read every frame of a group once and calibrate it in one pass over its pixels."""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .algorithms.calibrate import calibrate, calibrate_rows
from .algorithms.combine import MAX_FRAMES
from .algorithms.damage import empty_rows
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
from .parallel import at_once, each_frame
from .plan.model import FrameInfo
from .plan.moments import stamp
from .plane_memory import frame_bytes, in_memory, scratch_bytes
from .screening import leave_out_blind, leave_out_saturated, part_with_damage, part_with_gaps
from .states import PlaneState
from .store import PlaneStack, give_heap_back

#: Memory to read and calibrate a frame, in float32 copies of its pixels: the file's bytes, counts, result and flags.
COPIES = 4


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
        leave_out_blind(group)
        group.need(group.indices(), "readable frames")
        part_with_gaps(group)
        apply_late_masks(group)
        leave_out_saturated(group)
        part_with_damage(group)
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
        group.say(f"{n} frames need {need / 1e9:.2f} GB; {rest / 1e9:.2f} GB of it in scratch files")
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
            state.empty[i] = empty_rows(raw)
            if flags is not None:
                dq |= flags & np.uint16(KNOWN_BITS)
    return None


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
    return raw_planes(registry, info, counts=counts)


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
