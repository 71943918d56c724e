"""The working state of a frame, and of the planes of one detector, while a task runs; the bits of the planes' flags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from .dq import DQ, NOT_SIGNAL
from .plan.model import FrameInfo
from .results import require
from .store import PlaneStack

if TYPE_CHECKING:
    from .algorithms.response import CalibrationInputs
    from .algorithms.surface import Surface

#: Internal bits of the working planes, never written to a product: OBJECT, covered by an astronomical object; NOT_SKY,
#: differs from the other sky frames at this pixel (cosmic ray, unmasked source): not sky, but possibly signal.
OBJECT = np.uint16(0x8000)
NOT_SKY = np.uint16(0x4000)
#: The bits that products have.
WRITTEN = ~(OBJECT | NOT_SKY)
#: Bits of pixels that are not used for measuring or combining.
BAD = np.uint16(NOT_SIGNAL) & WRITTEN
#: Bits of pixels that are too bright to be linear: signal, but not sky.
BRIGHT = np.uint16(DQ.NON_LINEAR | DQ.SATURATED)
#: The mode of target frames is not sky if it exceeds the level predicted from the sky frames by this many sigma.
LIT = 3.0

Ending = Literal["used", "rejected", "failed", "unreadable"]
"""Final state of a frame in one task."""


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


class Light(NamedTuple):
    """Light that a target adds to the level of its frames, measured against the sky frames, electron; NaN: unknown."""

    level: float = float("nan")
    error: float = float("nan")


@dataclass(frozen=True)
class SkyShape:
    """Shape of the sky that is left in a sky-subtracted frame, as measured or as expected.

    Parameters
    ----------
    surface : Surface
        Electron.
    power : tuple of float
        Mean square over the field of the expected error of its terms of degree 0, 1 and 2, electron squared; empty if
        nothing was expected of it.
    """

    surface: Surface
    power: tuple[float, ...]


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
    empty : dict
        {frame index: rows of equal counts, bool (ny,)}.
    unshaped : set of int
        Frames with too little visible sky to measure its shape.
    filled : bool
        Whether a target fills the frames, whose sky level is then taken from the sky frames.
    light : Light
        That a target adds to its frames.
    sky_lasting : dict
        {frame index: value}: the part of `sky_variance` due to pattern that was not subtracted. It affects the same
        pixels in every frame, whichever frames its sky was made from.
    sky_wide : dict
        {frame index: value}: as `sky_variance`, the increase that the noise of the sky's shape causes in wide apertures
        only.
    inputs : CalibrationInputs or None
        With which the frames were calibrated.
    constant, per_electron : float32 (ny, nx) or float
        Noise model of a calibrated pixel of smooth signal s: VAR = constant + s * per_electron.
    unseen : float32 (ny, nx) or None
        Variance of the residual sky pattern in pixels that no sky frame covers, electron squared.
    evened : dict
        {index of a sky frame: plane}: the surface, in electron, that matched the shape of its sky to the others.
    residual : dict
        {frame index: SkyShape}: residual sky taken off `sub`.
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
    empty: dict[int, np.ndarray] = field(default_factory=dict)
    unshaped: set[int] = field(default_factory=set)
    filled: bool = False
    light: Light = field(default_factory=Light)
    noise_scale: dict[int, float] = field(default_factory=dict)
    weight: dict[int, float] = field(default_factory=dict)
    evened: dict[int, Surface] = field(default_factory=dict)
    residual: dict[int, SkyShape] = field(default_factory=dict)
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
    def lit(self) -> bool:
        """Whether a target's light covers most of its frames' field, judged by the sky frames."""
        return self.light.level > LIT * self.light.error

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.sci.shape[1], self.sci.shape[2]

    @cached_property
    def typical_noise(self) -> tuple[float, float]:
        """Medians of (constant, per_electron) over a regular sample of pixels."""
        sampled = [a[::5, ::5] if a.ndim == 2 else a for a in map(np.asarray, (self.constant, self.per_electron))]
        constant, per_electron = (float(np.median(a)) for a in sampled)
        if per_electron == 0.0 and sampled[1].any():  # the flat is invalid in most pixels
            seeing = sampled[1] > 0
            constant, per_electron = (float(np.median(np.broadcast_to(a, seeing.shape)[seeing])) for a in sampled)
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

    def electronic_gain(self, i: int) -> np.ndarray | None:
        """Factor by which division by the flat changed what the electronics of frame i add; None without a flat.

        float32 (ny, nx); levels of amplifiers are not light, and were even before.
        """
        from .algorithms.amplifiers import gain_of_levels

        per_electron = np.asarray(self.per_electron, np.float32)
        if per_electron.shape != self.shape:
            return None
        return gain_of_levels(per_electron / np.float32(self.typical_noise[1]), self.bad(i))

    def divide(self, response: np.ndarray, frames: Sequence[int]) -> None:
        """Divide calibrated frames and the noise model by a response, float32 (ny, nx)."""
        scale = np.asarray(1.0 / response, np.float32)
        for i in frames:
            self.sci.put(i, self.sci.frame(i) * scale)
        self.constant = self.constant * scale**2
        self.per_electron = self.per_electron * scale
        self.__dict__.pop("typical_noise", None)
