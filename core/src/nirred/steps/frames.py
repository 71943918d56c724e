"""Frame steps: each configures a part of the one fused pass over the pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from ..algorithms.damage import coarse_step
from ..dq import DQ
from ..errors import CalibrationMissing, StepError
from ..fitsio import read_mask
from ..frame import Plane
from ..group import FrameSetup, Group
from ..masks import detector_mask, instrument_masks
from ..params import Params, param
from ..params import Params as StepParams
from ..results import Calibration, StaticMask
from ..slabs import sample_rows
from ..step import FrameStep

#: A flat with a median above this is in counts: a normalised one is about 1, whatever it was divided by.
COUNTS = 10.0
#: Pixels of a flat that are looked at to tell whether its values are rounded.
SAMPLED = 20_000


class Prepare(FrameStep):
    """Check the world coordinates as the plan left them."""

    name = "prepare"
    doc = "take frames with a usable WCS; a frame is left out if the plan could not correct its stale WCS"

    class Params(StepParams):
        """Parameters of `prepare`."""

        bad_wcs: Literal["fix", "exit", "ignore"] = param(
            "fix", "if a WCS contradicts the pointing: correct it or leave the frame out, stop, or use it as it is"
        )

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        if group.task.makes not in ("image", ""):
            return
        for i, frame in enumerate(group.frames):
            if frame.info.wcs_state == "stale" and params.bad_wcs == "fix":
                group.leave_out(i, f"stale WCS that could not be mended: {frame.info.wcs_note}")
            elif frame.info.wcs_state in ("stale", "rebuilt") and params.bad_wcs == "exit":
                found = frame.info.wcs_note.split("; ")[0]  # without how it was mended
                raise StepError(f"{frame.info.name}: {found}", "-p prepare:bad_wcs=fix, or leave it out")


class AddDQ(FrameStep):
    """Set flags from levels, bad-pixel masks and the instrument's own masks."""

    name = "add_dq"
    doc = "flag saturated, non-linear and bad pixels, unilluminated areas and persistence"

    class Params(StepParams):
        """Parameters of `add_dq`; `user_bpm` acts when the plan is made."""

        static_bpm: Path | Literal["default"] | None = param(
            "default", "bad-pixel mask to use instead of those that the plan chose; none: no mask"
        )
        user_bpm: Path | None = param(None, "a mask of your own, OR-ed in, as --user-bpm does; nonzero is bad")
        saturation: float | None = param(
            None, "saturation level of one exposure, for every detector; default: the instrument's", unit="ADU", gt=0
        )
        add_illum_mask: bool = param(True, "apply the instrument's masks (F2 disc, GNIRS keyhole)")
        illum_mask: Path | None = param(None, "a mask of your own instead of these; nonzero is not illuminated")
        xshift: float = param(0.0, "moves the instrument's mask in x", unit="pixel", ge=-100, le=100)
        yshift: float = param(0.0, "moves the instrument's mask in y", unit="pixel", ge=-100, le=100)
        latency: bool = param(False, "flag pixels that were saturated in a frame shortly before")
        non_linear: bool = param(False, "assume that non-linear pixels leave persistence, too")
        time: float = param(120.0, "how long persistence lasts", unit="s", ge=0)

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        setup.levels = True
        if params.saturation is not None:
            group.override(saturation=params.saturation)
        setup.latency = params.time if params.latency else 0.0
        setup.latency_non_linear = params.non_linear
        if isinstance(params.static_bpm, Path):
            setup.masks.append(StaticMask(params.static_bpm.name, read_mask(params.static_bpm)))
        elif params.static_bpm is not None:
            setup.masks += group.masks.get("bpm", [])
        setup.masks += group.masks.get("user_bpm", [])
        if params.add_illum_mask and params.illum_mask is not None:
            dark = [np.where(m != 0, np.uint16(DQ.UNILLUMINATED), np.uint16(0)) for m in read_mask(params.illum_mask)]
            setup.masks.append(StaticMask(params.illum_mask.name, dark))
        elif params.add_illum_mask:
            shift = {"xshift": params.xshift, "yshift": params.yshift}
            specs = instrument_masks(group, "detector")
            setup.masks += [StaticMask(spec.name, detector_mask(group, spec, shift)) for spec in specs]
            setup.late_masks = [(m, shift) for scope in ("group", "frame") for m in instrument_masks(group, scope)]


class NonlinearityCorrect(FrameStep):
    """Linearise per coadd with the detector's curve."""

    name = "nonlinearity_correct"
    doc = "correct the detector's non-linearity, per coadd; modes without a curve are left as they are and reported"

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        detectors = group.task.first.detectors
        without = [str(p) for p, d in enumerate(detectors, 1) if d.linearity is None]
        setup.linearity = True
        some = f"polynomial; SKIPPED: no curve for plane {', '.join(without)}" if without else "polynomial"
        group.keywords["LINCORR"] = some if len(without) < len(detectors) else "SKIPPED: no curve for this mode"

    def skipped(self, group: Group) -> None:  # noqa: D102
        group.keywords["LINCORR"] = "SKIPPED: by the user"


class ADUToElectrons(FrameStep):
    """Multiply by the gain."""

    name = "adu_to_electrons"
    doc = "multiply by the gain of each detector; skipped, frames and all that is made of them stay in ADU"

    class Params(StepParams):
        """Parameters of `adu_to_electrons`."""

        gain: float | None = param(None, "gain of every detector; default: the instrument's", unit="electron/ADU", gt=0)

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        setup.electrons = True
        if params.gain is not None:
            group.override(gain=params.gain)


class AddVar(FrameStep):
    """Prepare the noise model: read noise, dark, Poisson noise of a smooth signal."""

    name = "add_var"
    doc = "noise model of every pixel: read noise and photon noise of the smooth signal, not of a pixel's own counts"

    class Params(StepParams):
        """Parameters of `add_var`."""

        read_noise: float | None = param(
            None, "read noise of one exposure, for every detector; default: the instrument's", unit="electron", ge=0
        )

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        setup.variance = True
        if params.read_noise is not None:
            group.override(read_noise=params.read_noise)


class _UseCalibration(FrameStep):
    """Common part of dark and flat: the associated master, or None if it is skipped or there is none."""

    kind: ClassVar[str]
    keyword: ClassVar[str]

    class Params(StepParams):
        """Common parameters of `dark_correct` and `flat_correct`."""

        do_cal: Literal["procmode", "force", "skip"] = param("procmode", "skip: no correction; force: stop without one")

    def planes(self, params: Params, group: Group) -> list[Plane] | None:
        """The master's planes; None when there is none or it is skipped, with the reason in a keyword."""
        found = group.calibrations.get(self.kind)
        if params.do_cal == "skip":
            self.skipped(group)
            return None
        if found is None:
            if params.do_cal == "force" and all(m.kind != self.kind for m in group.task.missing):  # none was looked for
                raise CalibrationMissing(f"{self.name}:do_cal=force: no {self.kind}", f"--user-cal {self.kind}:FILE")
            group.keywords[self.keyword] = f"SKIPPED: no {self.kind} found"
            return None
        group.keywords[self.keyword] = found.name
        return found.planes

    def skipped(self, group: Group) -> None:
        group.keywords[self.keyword] = _said_before(group, self.keyword) or "SKIPPED: by the user"


def _said_before(group: Group, keyword: str) -> str:
    """Header value of a correction's keyword if the frames are products; '' for raw frames."""
    headers = group.frames[group.indices()[0]].info.headers
    return str(headers.get(keyword) or "") if "NIRRED" in headers.primary else ""


class DarkCorrect(_UseCalibration):
    """Subtract the associated dark."""

    name = "dark_correct"
    doc = "subtract the dark of the same exposure time, and a bias if one is given that the dark does not contain"
    kind = "dark"
    keyword = "DARKCOR"

    class Params(_UseCalibration.Params):
        """Parameters of `dark_correct`; `dark` acts when the plan is made."""

        dark: Path | None = param(None, "use this one, as --user-cal dark:FILE does")

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        setup.dark = self.planes(params, group)
        dark, bias = group.calibrations.get("dark"), group.calibrations.get("bias")
        setup.dark_scale = 1.0 if dark is None else dark.scale
        if bias is None or params.do_cal == "skip":
            return
        if dark is not None and dark.holds_bias:
            group.keywords["BIASCOR"] = "SKIPPED: the dark holds it"
            return
        group.keywords["BIASCOR"] = bias.name
        setup.bias = bias.planes


class FlatCorrect(_UseCalibration):
    """Divide by the associated flat."""

    name = "flat_correct"
    doc = "divide by the flat of the same filter"
    kind = "flat"
    keyword = "FLATCOR"

    class Params(_UseCalibration.Params):
        """Parameters of `flat_correct`; `flat` acts when the plan is made."""

        flat: Path | None = param(None, "use this one, as --user-cal flat:FILE does")

    def configure(self, setup: FrameSetup, params: Params, group: Group) -> None:  # noqa: D102
        found = self.planes(params, group)
        if found is not None:
            _tell_rounded(group.calibrations["flat"], group)
            setup.flat = _relative(group.calibrations["flat"], group)


def _tell_rounded(flat: Calibration, group: Group) -> None:
    """Remark that a flat was saved with steps coarser than its noise, such as a normalised one as integers."""
    for plane in flat.planes:
        rows = sample_rows(plane.data.shape, SAMPLED)
        data = plane.data[rows]
        if step := coarse_step(data, (plane.dq[rows] != 0) | ~np.isfinite(data)):
            what = f"{flat.name} has values in steps of {step:g}, coarser than its noise"
            group.remark(f"{what}: the response of most pixels is lost; was a normalised flat saved as integers?")
            return


def _relative(flat: Calibration, group: Group) -> list[Plane]:
    """The flat; divided by its median if it is in counts, like a raw frame or a flat that was never normalised."""
    good = np.concatenate([p.data[::5, ::5][(p.dq[::5, ::5] == 0) & (p.data[::5, ::5] > 0)] for p in flat.planes])
    level = float(np.median(good)) if good.size else 1.0
    if level <= COUNTS:
        return flat.planes
    group.remark(f"{flat.name} is in counts: divided by its median, {level:.6g}")
    scale = np.float32(level)
    return [replace(p, data=p.data / scale, var=None if p.var is None else p.var / scale**2) for p in flat.planes]


FRAME_STEPS = (Prepare, AddDQ, NonlinearityCorrect, ADUToElectrons, AddVar, DarkCorrect, FlatCorrect)
