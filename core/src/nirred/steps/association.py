"""Tell target frames from sky frames, and choose the sky frames of each frame."""

from __future__ import annotations

import numpy as np

from ..group import Group
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..states import FrameState
from ..step import GroupStep
from .skymodel import time_of

#: In the middle of a dither of small steps, sky frames need only be at this share of the wanted distance.
NEARER = 2 / 3


class SeparateSky(GroupStep):
    """Separate target and sky frames, as the plan classified them."""

    name = "separate_sky"
    doc = "tell target frames from sky frames by pointing, guiding and names; with one pointing, all are both"

    class Params(StepParams):
        """Parameters of `separate_sky`; they act when the plan is made (`PlanOptions.with_settings`)."""

        ref_obj: str | None = param(None, "names of frames on target, comma-separated")
        ref_sky: str | None = param(None, "names of frames on sky, comma-separated")
        frac_fov: float = param(0.9, "pointings differ if this far apart, in fields of view", ge=0.3, lt=1)

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        group.need(group.targets, "frames on target")
        on, off = len(group.indices("object", "both")), len(group.indices("sky"))
        group.say(f"{on} frames on target, {off} on sky")


class AssociateSky(GroupStep):
    """Choose the sky frames of each frame, nearest in time."""

    name = "associate_sky"
    doc = "choose sky frames for each frame: far enough away on the sky, near enough in time"

    class Params(StepParams):
        """Parameters of `associate_sky`."""

        time: float = param(600.0, "largest difference in time", unit="s", gt=0)
        distance: float = param(3.0, "smallest distance of the field centres", unit="arcsec", ge=0)
        min_skies: int | None = param(3, "least number of sky frames, whatever the time", ge=1)
        max_skies: int | None = param(None, "largest number of sky frames", ge=1)
        use_all: bool = param(False, "use every frame that is far enough away, target or sky")

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        pool = np.array(group.indices() if params.use_all else group.indices("sky", "both"), int)
        times = np.array([time_of(frame) for frame in group.frames])
        fields = np.array([_centre(frame) for frame in group.frames])
        far = {i: _far_enough(fields, i, pool, params.distance) for i in group.indices()}
        near = {i: _far_enough(fields, i, pool, NEARER * params.distance) for i, found in far.items() if not found.size}
        if len(near) < len(far):  # none for any frame: not a dither
            far |= near
            _tell_nearer(group, [i for i, found in near.items() if found.size], params.distance)
        late = []
        for i, found in far.items():
            chosen, widened = choose_skies(times, i, found, params)
            group.skies[i] = chosen
            if widened and group.frames[i].role != "sky":
                late.append(i)
        if late:
            group.remark(
                f"fewer than {params.min_skies} sky frames within {params.time:g} s of {group.named(late)}; "
                "earlier or later ones are used"
            )


def _far_enough(fields: np.ndarray, i: int, pool: np.ndarray, distance: float) -> np.ndarray:
    """Frames of `pool` whose fields are more than `distance` (arcsec) from that of frame i."""
    others = pool[pool != i]
    return np.asarray(others[_separations(fields[i], fields[others]) > distance] if distance > 0 else others)


def _tell_nearer(group: Group, frames: list[int], distance: float) -> None:
    """Remark that `frames` have sky frames at less than `distance` (arcsec) only."""
    if frames:
        group.remark(
            f"no sky frame is {distance:g} arcsec from {', '.join(group.frames[i].info.name for i in frames)}; "
            f"those at more than {NEARER * distance:.2g} arcsec are used (associate_sky:distance)"
        )


def choose_skies(
    times: np.ndarray, i: int, pool: np.ndarray, params: AssociateSky.Params
) -> tuple[tuple[int, ...], bool]:
    """Sky frames of frame i.

    Parameters
    ----------
    times : float64 (n,)
        Time of each frame, seconds.
    i : int
        The frame.
    pool : int (m,)
        Frames that may be its sky frames.
    params
        Wanted number of sky frames and span of time.

    Returns
    -------
    chosen : tuple of int
        In order of time.
    widened : bool
        Whether some are outside the wanted span of time.
    """
    apart = np.abs(times[pool] - times[i])
    inside = int((apart <= params.time).sum())
    number = max(params.min_skies or 0, inside)
    if params.max_skies is not None:
        number = min(number, params.max_skies)
    chosen = pool[np.lexsort((pool, apart))][:number]
    return tuple(chosen[np.lexsort((chosen, times[chosen]))].tolist()), inside < chosen.size


def _separations(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Distances of field centres (right ascension, declination; degrees), arcsec; infinite if one is unknown."""
    ra = (others[:, 0] - one[0] + 180.0) % 360.0 - 180.0
    apart = 3600.0 * np.hypot(ra * np.cos(np.radians(one[1])), others[:, 1] - one[1])
    return np.asarray(np.nan_to_num(apart, nan=np.inf))


def _centre(frame: FrameState) -> tuple[float, float]:
    """Right ascension and declination (degrees) of the first plane's centre; NaN without coordinates."""
    if not frame.info.wcs:
        return float("nan"), float("nan")
    ny, nx = frame.info.detectors[0].shape
    ra, dec = frame.info.wcs[0].wcs.wcs_pix2world((nx - 1) / 2, (ny - 1) / 2, 0)
    return float(ra), float(dec)


ASSOCIATION_STEPS = (SeparateSky, AssociateSky)
