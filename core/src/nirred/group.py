"""The working state of one task: frames and their measurements, planes in limited memory, combined results."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from .dq import NOT_SIGNAL
from .errors import StepError
from .frame import Plane
from .plan.model import ON_TARGET, FrameInfo, Task
from .results import (
    Calibration,
    GroupRecord,
    Handed,
    ObjectResults,
    RegistrationResults,
    SkyResults,
    StackResults,
    require,
)
from .store import PlaneStack

if TYPE_CHECKING:
    from .algorithms.response import CalibrationInputs
    from .algorithms.surface import Surface
    from .plugin.rules import MaskSpec
    from .registry import Registry

#: Bits of pixels that are not used for measuring or combining.
BAD = np.uint16(int(NOT_SIGNAL) & 0x3FFF)
#: Internal bits of the working planes, never written to a product: OBJECT, covered by an astronomical object; NOT_SKY,
#: differs from the other sky frames at this pixel (cosmic ray, unmasked source): not sky, but possibly signal.
OBJECT = np.uint16(0x8000)
NOT_SKY = np.uint16(0x4000)

Ending = Literal["used", "rejected", "failed", "unreadable"]
"""Final state of a frame in one task."""


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
        ``say(message)``: reports progress to the user.
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
    say: Callable[[str], None] = lambda message: None
    keep: bool = False
    stopped: Callable[[], bool] = lambda: False
    filed: bool = False
    lamp_stacks: dict[Hashable, tuple[list[Plane], list[np.ndarray]]] = field(default_factory=dict)


@dataclass
class FrameState:
    """One frame in a group: its measurements, and whether it is used.

    `dx`, `dy` are the position of a source in this frame minus that in frame number `refers`, in flat pixels at the
    middle of the first array. `turn` (radian, from x to y) is the measured correction to the header's orientation.
    `sky` and `noise_scale` are for the first plane, `weight` is the mean of all planes. `raised` is the factor by which
    the sky-subtracted pixels have been multiplied.
    """

    info: FrameInfo
    role: str
    dx: float = 0.0
    dy: float = 0.0
    dx_err: float = float("nan")
    dy_err: float = float("nan")
    turn: float = 0.0
    refers: int = -1
    sky: float = float("nan")
    fwhm: float = float("nan")
    transparency: float = 1.0
    noise_scale: float = 1.0
    raised: float = 1.0
    weight: float = 0.0
    state: Ending = "used"
    reason: str = ""

    @property
    def alive(self) -> bool:
        """True until a step leaves the frame out."""
        return self.state == "used"

    def reject(self, reason: str, state: Ending = "rejected") -> None:
        """Exclude the frame, with the reason for FRAMES and run.json; a leading frame name is removed from it."""
        for name in (self.info.name, self.info.path.name):
            reason = reason.removeprefix(f"{name}: ")
        self.state, self.reason = state, reason


@dataclass
class FrameSetup:
    """Settings of the combined per-frame pass; frame steps set the fields.

    The pass adds `bias` to `dark`, empties this and `masks`, which nothing else reads, and takes the variances off
    `flat`.
    """

    levels: bool = False
    masks: list[list[np.ndarray]] = field(default_factory=list)
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
    notes: dict[str, str] = field(default_factory=dict)


@dataclass
class PlaneState:
    """Working planes of one detector of all frames of a group; electron stands for their unit, see `Group.unit`.

    Parameters
    ----------
    sci : PlaneStack
        Calibrated frames, electron, float32.
    dq : PlaneStack
        Their flags, uint16; `OBJECT` marks pixels covered by objects.
    subtracted : PlaneStack or None
        Sky-subtracted frames; steps that need them ask for `sub`.
    mended : set of int
        Frames whose unusable pixels hold values, in `sub`, that may be interpolated into others.
    sub_scratch : Path or None
        Directory of their scratch file; None: they fit in memory.
    sky, noise_scale, weight, sky_variance : dict
        {frame index: value} for this detector, if measured; see `FrameState`. `sky_variance` is the relative increase
        of a pixel's variance caused by the subtracted sky.
    sky_err, blank : dict
        {frame index: value}: error of the frame's level, electron, and the fraction of its pixels not covered by
        objects.
    unshaped : set of int
        Frames with too little visible sky to measure its shape.
    filled : bool
        Whether a target fills the frames, whose sky level is then taken from the sky frames.
    light : (float, float)
        Light that a target adds to the level of its frames, measured against the sky frames, and its error, electron;
        NaN: unknown.
    sky_lasting : dict
        {frame index: value}: the part of `sky_variance` due to pattern that was not subtracted. It affects the same
        pixels in every frame, whichever frames its sky was made from.
    sky_wide : dict
        {frame index: value}: as `sky_variance`, the increase that the noise of the sky's shape causes in wide apertures
        only.
    constant, per_electron : float32 (ny, nx) or float
        Noise model of a calibrated pixel of smooth signal s: VAR = constant + s * per_electron.
    unseen : float32 (ny, nx) or None
        Variance of the residual sky pattern in pixels that no sky frame covers, electron squared.
    evened : dict
        {index of a sky frame: plane}: the surface, in electron, that matched the shape of its sky to the others.
    residual : dict
        {frame index: (surface, power)}: residual sky taken off `sub`, and the power expected of it by degree, if any.
    number : int
        Of the detector in its camera; the planes that are left may be fewer.
    """

    sci: PlaneStack
    dq: PlaneStack
    constant: np.ndarray | float = 0.0
    per_electron: np.ndarray | float = 1.0
    unseen: np.ndarray | None = None
    subtracted: PlaneStack | None = None
    mended: set[int] = field(default_factory=set)
    sub_scratch: Path | None = None
    inputs: CalibrationInputs | None = None
    sky_variance: dict[int, float] = field(default_factory=dict)
    sky_lasting: dict[int, float] = field(default_factory=dict)
    sky_wide: dict[int, float] = field(default_factory=dict)
    sky: dict[int, float] = field(default_factory=dict)
    sky_err: dict[int, float] = field(default_factory=dict)
    blank: dict[int, float] = field(default_factory=dict)
    unshaped: set[int] = field(default_factory=set)
    filled: bool = False
    light: tuple[float, float] = (float("nan"), float("nan"))
    noise_scale: dict[int, float] = field(default_factory=dict)
    weight: dict[int, float] = field(default_factory=dict)
    evened: dict[int, Surface] = field(default_factory=dict)
    residual: dict[int, tuple[Surface, tuple[float, ...]]] = field(default_factory=dict)
    number: int = 0

    @property
    def sub(self) -> PlaneStack:
        """Sky-subtracted frames.

        Raises
        ------
        Unmade
            No sky has been subtracted.
        """
        return require(self.subtracted, "sky-subtracted frames")

    @sub.setter
    def sub(self, frames: PlaneStack) -> None:
        self.subtracted = frames
        self.mended.clear()

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.sci.shape[1], self.sci.shape[2]

    @cached_property
    def typical_noise(self) -> tuple[float, float]:
        """Medians of (constant, per_electron) over a regular sample of pixels."""
        sampled = (np.asarray(a) for a in (self.constant, self.per_electron))
        constant, per_electron = (float(np.median(a[::5, ::5] if a.ndim == 2 else a)) for a in sampled)
        return constant, per_electron

    def expected_variance(self, sky: float) -> float:
        """Variance of a typical calibrated pixel of smooth signal `sky`, electron squared."""
        return self.typical_noise[0] + max(sky, 0.0) * self.typical_noise[1]

    def bad(self, i: int, extra: int = 0) -> np.ndarray:
        """uint8 (ny, nx): 1 where frame i has no signal or any bit of `extra` is set."""
        from .algorithms.flags import flagged

        return flagged(self.dq.frame(i), int(BAD) | extra)

    def covered(self, i: int) -> np.ndarray:
        """uint8 (ny, nx): 1 where frame i has no signal or an object covers the pixel."""
        return self.bad(i, int(OBJECT))

    def divide(self, response: np.ndarray) -> None:
        """Divide all calibrated frames and the noise model by a response, float32 (ny, nx)."""
        scale = np.asarray(1.0 / response, np.float32)
        for i in range(len(self.sci)):
            self.sci.put(i, self.sci.frame(i) * scale)
        self.constant = self.constant * scale**2
        self.per_electron = self.per_electron * scale
        self.__dict__.pop("typical_noise", None)


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
    masks: dict[str, list[list[np.ndarray]]] = field(default_factory=dict)
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
            why = "; ".join(f"{f.info.name}: {f.reason}" for f in self.frames if not f.alive)
            raise StepError(f"no {what} left" + (f" ({why})" if why else ""), "see FRAMES and the log")
        return indices

    def remark(self, text: str) -> None:
        """Add a remark for the observer, once; it is shown after the task's name."""
        if text not in self.remarks:
            self.remarks.append(text)
            self.context.say(f"{self.task.id}: {text}")

    def leave_out(self, i: int, reason: str, state: Ending = "rejected") -> None:
        """Exclude frame `i` and add a remark with the reason."""
        frame = self.frames[i]
        frame.reject(reason, state)
        self.remark(f"{frame.info.name} left out: {frame.reason}")

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
