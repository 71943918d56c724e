"""The working state of one task: its resources and settings, its frames and planes, and what steps made of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .errors import StepError
from .frame import Plane
from .plan.model import ON_TARGET, Task
from .results import (
    Calibration,
    GroupRecord,
    Handed,
    ObjectResults,
    RegistrationResults,
    SkyResults,
    StackResults,
    StaticMask,
)
from .states import Ending, FrameState, PlaneState

if TYPE_CHECKING:
    from .plugin.rules import MaskSpec
    from .registry import Registry


@dataclass(frozen=True)
class Context:
    """Resources and settings shared by all tasks of a run.

    Parameters
    ----------
    registry : Registry
        The plugins.
    out : Path
        Directory of the products.
    scratch : Path
        Directory of scratch files.
    memory : int
        Bytes that pixels may take.
    threads : int
        Threads of one kernel.
    say : callable
        ``say(task, message)``: reports the progress of a task to the user.
    keep : bool
        Leave intermediate frames in OUT/intermediate.
    stopped : callable
        Returns True once the run should end; called between steps.
    filed : bool
        Whether any task of the run puts planes in scratch files; the system's cache of raw files is then released.
    lamp_stacks : dict
        Stacks of lamp frames made for a bad-pixel mask, with their common flags, for reuse in the flat of the same
        frames; each is used once.
    """

    registry: Registry
    out: Path
    scratch: Path
    memory: int = 2_000_000_000
    threads: int = 1
    say: Callable[[str, str], None] = lambda task, message: None
    keep: bool = False
    stopped: Callable[[], bool] = lambda: False
    filed: bool = False
    lamp_stacks: dict[Hashable, tuple[list[Plane], list[np.ndarray]]] = field(default_factory=dict)


@dataclass
class FrameSetup:
    """Settings of the combined per-frame pass; frame steps set the fields.

    The pass adds `bias` to `dark`, empties this and `masks`, which nothing else reads, and takes the variances off
    `flat`.
    """

    levels: bool = False
    masks: list[StaticMask] = field(default_factory=list)
    late_masks: list[tuple[MaskSpec, dict[str, float]]] = field(default_factory=list)
    linearity: bool = False
    electrons: bool = False
    variance: bool = False
    dark: list[Plane] | None = None
    dark_scale: float = 1.0
    bias: list[Plane] | None = None
    flat: list[Plane] | None = None
    latency: float = 0.0
    latency_non_linear: bool = False


@dataclass
class Group:
    """Everything that the steps of one task share.

    `registration`, `objects`, `sky`, `stack` and `record` are what steps of the core pass on, see `nirred.results`;
    `extras` is for results that the steps of a plugin pass on, by name.
    """

    task: Task
    context: Context
    frames: list[FrameState]
    setup: FrameSetup = field(default_factory=FrameSetup)
    planes: list[PlaneState] = field(default_factory=list)
    streams: dict[str, list[Plane]] = field(default_factory=Handed)
    keywords: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, list[np.ndarray]] = field(default_factory=dict)
    table_keywords: dict[str, dict[str, Any]] = field(default_factory=dict)
    registration: RegistrationResults = field(default_factory=RegistrationResults)
    objects: ObjectResults = field(default_factory=ObjectResults)
    sky: SkyResults = field(default_factory=SkyResults)
    stack: StackResults = field(default_factory=StackResults)
    record: GroupRecord = field(default_factory=GroupRecord)
    extras: dict[str, Any] = field(default_factory=Handed)
    skies: dict[int, tuple[int, ...]] = field(default_factory=dict)
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    masks: dict[str, list[StaticMask]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    product: Path | None = None

    def indices(self, *roles: str) -> list[int]:
        """Indices of the frames still in use that have one of the roles; of all roles if none is given."""
        return [i for i, f in enumerate(self.frames) if f.alive and (not roles or f.role in roles)]

    @property
    def targets(self) -> list[int]:
        """Frames on target."""
        return self.indices(*ON_TARGET)

    @property
    def reference(self) -> int:
        """The frame that gives the product its header and grid: the first on target that is still in use."""
        chosen = self.registration.reference
        if chosen is not None and self.frames[chosen].alive:
            return chosen
        return self.need(self.targets, "frames on target")[0]

    @property
    def unit(self) -> Literal["electron", "adu"]:
        """Of the calibrated frames, and of all that is made of them."""
        stated = str(self.task.first.headers.get("BUNIT", "")).strip().lower()
        return "electron" if self.setup.electrons or stated.startswith("electron") else "adu"

    @property
    def units(self) -> str:
        """The unit as text has it."""
        return "electrons" if self.unit == "electron" else "ADU"

    def electrons(self, p: int) -> float:
        """Electrons per unit of plane `p`; `StepError` where that is ADU and the gain is not known."""
        return 1.0 if self.unit == "electron" else self.frames[0].info.gain(p)

    def override(self, **numbers: Any) -> None:
        """Set fields of every frame's detectors (gain, read_noise, saturation) to the user's values."""
        for frame in self.frames:
            detectors = tuple(replace(d, **numbers) for d in frame.info.detectors)
            frame.info = replace(frame.info, detectors=detectors)

    def keep_planes(self, kept: list[int]) -> None:
        """Keep only some planes of a mosaic, in all attributes that refer to planes."""
        self.planes = [self.planes[p] for p in kept]
        if self.setup.flat is not None:
            self.setup.flat = [self.setup.flat[p] for p in kept if p < len(self.setup.flat)]
        for frame in self.frames:
            info = frame.info
            wcs = tuple(info.wcs[p] for p in kept if p < len(info.wcs))
            frame.info = replace(info, detectors=tuple(info.detectors[p] for p in kept), wcs=wcs)

    def need(self, indices: list[int], what: str) -> list[int]:
        """Return `indices`; raise an error if there are none."""
        if not indices:
            out: dict[str, list[int]] = {}
            for i, f in enumerate(self.frames):
                if not f.alive:
                    out.setdefault(f.reason, []).append(i)
            why = "; ".join(f"{self.named(frames)}: {reason}" for reason, frames in out.items())
            raise StepError(f"no {what} left" + (f": {why}" if why else ""), "run.json tells of every frame")
        return indices

    def remark(self, text: str) -> None:
        """Add a remark for the observer, once; it is shown after the task's name."""
        if text not in self.remarks:
            self.remarks.append(text)
            self.say(text)

    def say(self, text: str) -> None:
        """Report the progress of this task to the user."""
        self.context.say(self.task.id, text)

    def named(self, frames: Sequence[int], what: str = "frames") -> str:
        """Frames in words: a single one by its name, several by their number, what they are, and the first name."""
        name = self.frames[frames[0]].info.name
        return name if len(frames) == 1 else f"{len(frames)} {what} ({name} ...)"

    def leave_out(self, i: int, reason: str, state: Ending = "rejected") -> None:
        """Exclude frame `i` and add a remark with the reason."""
        frame = self.frames[i]
        frame.reject(reason, state)
        self.remark(f"{frame.info.name} left out: {frame.reason}")

    def sky_level(self, state: PlaneState, i: int) -> float:
        """Sky level of frame `i` on a plane, electron; that of its first plane where none was measured on this one."""
        return state.sky.get(i, self.frames[i].sky)

    def noise_scale(self, state: PlaneState, i: int) -> float:
        """Noise of frame `i` on a plane over that of the model; of its first plane where it was not measured here."""
        return state.noise_scale.get(i, self.frames[i].noise_scale)

    def raise_noise(self, i: int, factor: float) -> None:
        """Multiply the estimated noise of frame `i` in all its planes."""
        self.frames[i].noise_scale *= factor
        for state in self.planes:
            if i in state.noise_scale:
                state.noise_scale[i] *= factor

    def raise_frame(self, i: int, factor: float) -> None:
        """Multiply the sky-subtracted pixels of frame `i` and the estimates of their errors."""
        for state in self.planes:
            state.sub.put(i, state.sub.frame(i) * np.float32(factor))
            if i in state.sky_err:
                state.sky_err[i] *= factor
        self.frames[i].raised *= factor
        self.raise_noise(i, factor)

    def give_up_frames(self) -> None:
        """Free the pixels of the frames; keep their measurements and the noise model of the planes."""
        for p in self.planes:
            for stack in (p.sci, p.dq, p.subtracted):
                if stack is not None:
                    stack.close()

    def close(self) -> None:
        """Free all pixels, and what refers to the group, which would keep them until garbage collection."""
        self.give_up_frames()
        self.setup = FrameSetup()
        self.registration, self.objects, self.sky = RegistrationResults(), ObjectResults(), SkyResults()
        self.stack, self.record = StackResults(), GroupRecord()
        for pixels in (self.planes, self.streams, self.calibrations, self.masks, self.extras):
            pixels.clear()
