"""Relative transparencies and weights of frames, from their stars and their noise."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..algorithms.apertures import aperture_fluxes
from ..algorithms.photometry import (
    area_exponent,
    concentrations,
    relative_transparencies,
    seeing_loss,
    shrink,
    uneven_transparencies,
)
from ..algorithms.placement import Placement
from ..coadd import lay_out
from ..dq import DQ
from ..geometry import Target
from ..group import Group
from ..parallel import each_frame
from ..params import Params, param
from ..params import Params as StepParams
from ..plugin.recipes import StepCall
from ..results import require
from ..states import PlaneState
from ..step import GroupStep
from .noisemodel import noise_factor
from .register import all_stars

#: Largest error of the area's power (0 or 1) with which the stars decide it.
SURE_OF_AREAS = 0.12
#: With fewer stars, a frame's FWHM may be that of cosmic rays.
SIZED_BY = 3
#: Number of stars that measure the concentration of a frame's images, and the aperture's radius in FWHM.
SHARP_BY, CORE = 12, 0.75
#: Radii of the apertures that measure transparencies, and the light lost from them by seeing, FWHM.
APERTURES = (2.0, 3.0)
#: Least S/N of a star in the reference frame, and least part of its flux with which a frame is taken to show it.
SURELY, SEEN = 20.0, 0.2
#: Factor by which stars and sky of a frame may differ from those of the others, and the part of it to which both agree
#: in a frame that was exposed for another time: clouds dim stars, and brighten the sky.
LONGER, ALIKE = 1.5, 0.1
#: Difference of transparencies between the quarters of a frame from which there is a remark, in errors and absolutely.
SURE, UNEVEN = 4.0, 0.04


class ScaleCounts(GroupStep):
    """Measure relative transparencies and weights of the frames."""

    name = "scale_counts_to_reference"
    doc = "relative transparency of each frame from its stars (weighted mean 1), and one weight per frame"
    aliases = ("scaleCountsToReference",)

    class Params(StepParams):
        """Parameters of `scale_counts_to_reference`."""

        scale: bool = param(True, "divide each frame by its relative transparency")
        min_stars: int = param(1, "with fewer stars all transparencies are 1", ge=1)
        max_fwhm: float = param(1.5, "leave out frames whose FWHM is this many times the median", gt=1)
        min_transparency: float = param(
            0.5, "leave out frames with less than this transparency; the weighted mean of those kept is 1", ge=0, lt=1
        )
        min_concentration: float = param(
            0.6, "leave out frames with less than this times the usual share of starlight within 0.75 FWHM", ge=0, lt=1
        )

    def apply(self, group: Group, params: Params, call: StepCall) -> None:  # noqa: D102
        self._gate_seeing(group, params)
        self._gate_shapes(group, params)
        frames = group.need(group.targets, "frames on target")
        if params.scale and len(frames) > 1:
            measured, errors = _transparencies(group, frames, params.min_stars)
            kept = _gate_exposures(group, frames, measured)
            frames, measured, errors = group.targets, measured[kept], errors[kept]
            for i, t in zip(frames, shrink(measured, errors), strict=True):
                group.frames[i].transparency = float(t)
        weigh_frames(group, frames)
        while dim := [i for i in group.targets if group.frames[i].transparency < params.min_transparency]:
            for i in dim:
                t = group.frames[i].transparency
                group.leave_out(i, f"transparency {t:.2f}, limit {params.min_transparency:g}")
            weigh_frames(group, group.targets)

    def _gate_seeing(self, group: Group, params: Params) -> None:
        known = {i: group.frames[i].fwhm for i in group.targets if np.isfinite(group.frames[i].fwhm)}
        if len(known) < 3:
            return
        usual = float(np.median(list(known.values())))
        for i, fwhm in known.items():
            enough = np.count_nonzero(all_stars(group, i).snr > 10) >= SIZED_BY
            if enough and fwhm > params.max_fwhm * usual:
                group.leave_out(i, f"FWHM {fwhm:.1f} px, limit {params.max_fwhm * usual:.1f} px")

    def _gate_shapes(self, group: Group, params: Params) -> None:
        frames, reference = group.targets, group.reference
        if len(frames) < 3 or not params.min_concentration or group.registration.stars is None:
            return
        parts = [_plane_cores(group, p, frames) for p in range(len(group.planes))]
        core, whole, error = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
        first = frames.index(reference)
        seen, looked = whole > SEEN * whole[first], np.isfinite(whole)
        usual = (seen.sum(axis=0) > 2) & (2 * seen.sum(axis=0) > looked.sum(axis=0))  # what few frames show is no star
        stars = (whole[first] > SURELY * error[first]) & usual
        for k, (i, share) in enumerate(zip(frames, concentrations(core, whole), strict=True)):
            expected = stars & looked[k]
            if expected.sum() >= SIZED_BY and not seen[k, expected].any():
                name = group.frames[reference].info.name
                group.leave_out(
                    i, f"of {expected.sum()} bright stars of {name} none is where its offset says: displaced, or clouds"
                )
            elif share < params.min_concentration:
                group.leave_out(
                    i,
                    f"{share:.2f} of the usual share of starlight lies within {CORE} FWHM of where stars should be, "
                    f"limit {params.min_concentration:g}: elongated, doubled or displaced images",
                )


def _gate_exposures(group: Group, frames: list[int], measured: np.ndarray) -> np.ndarray:
    """Leave out frames that were not exposed for the time in their header; return those kept, bool (frames,)."""
    sky, kept = np.array([group.frames[i].sky for i in frames]), np.ones(len(frames), np.bool_)
    if len(frames) < 3 or not np.median(sky) > 0:
        return kept
    stars, sky = measured / np.median(measured), sky / np.median(sky)
    for k, i in enumerate(frames):
        if not 1 / LONGER < stars[k] < LONGER and abs(sky[k] / stars[k] - 1.0) < ALIKE:
            kept[k] = False
            why = f"its stars and its sky are {stars[k]:.2f} times as bright as those of the others"
            group.leave_out(i, f"{why}: another exposure time, number of coadds or gain than its header has")
    return kept


def _tell_uneven(group: Group, frames: list[int], difference: np.ndarray, sigma: np.ndarray) -> None:
    """Remark on frames with a quarter in which stars are dimmer than elsewhere; they are used.

    Their pixels are in the sky of the other frames, too: without them alone, the sky would be worse.
    """
    uneven = np.flatnonzero((difference > UNEVEN) & (difference > SURE * sigma))
    if uneven.size:
        k = int(uneven[np.argmax(difference[uneven])])
        worst = f"most by {difference[k]:.0%} +- {sigma[k]:.0%} in {group.frames[frames[k]].info.name}"
        what = f"transparencies differ between quarters of the detector in {uneven.size} of {len(frames)} frames"
        group.remark(f"{what}, {worst}: patchy clouds, a shadow, or the gain of an amplifier")


def weigh_frames(group: Group, frames: list[int]) -> None:
    """Set weights of frames and planes by noise and transparency; the weighted mean of transparencies becomes 1."""
    for state in group.planes:
        state.weight = {i: _weight(group, state, i) for i in frames}
    for i in frames:
        group.frames[i].weight = float(np.mean([state.weight[i] for state in group.planes]))
    total = sum(group.frames[i].weight for i in frames)
    mean = sum(group.frames[i].weight * group.frames[i].transparency for i in frames) / total
    for i in frames:
        group.frames[i].weight /= total
        group.frames[i].transparency /= mean
        for state in group.planes:
            state.weight[i] /= total


def _weight(group: Group, state: PlaneState, i: int) -> float:
    frame = group.frames[i]
    variance = state.expected_variance(group.sky_level(state, i)) * noise_factor(group, state, i)
    return frame.transparency**2 / variance if variance > 0 else 1.0


def _transparencies(group: Group, frames: list[int], min_stars: int) -> tuple[np.ndarray, np.ndarray]:
    """Relative transparencies and their errors from the stars of the reference frame, each on its plane."""
    parts = [_plane_fluxes(group, p, frames) for p in range(len(group.planes))]
    together = (np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True))
    flux, error, wide, wide_error, area, quarter = together
    widths = _relative_widths(group, frames)
    regained = np.nan_to_num(widths, nan=1.0)[:, None] ** seeing_loss(flux, wide, wide_error, widths)
    flux, error = flux * regained, error * regained
    _weigh_areas(group, *area_exponent(flux, error, area))
    _tell_uneven(group, frames, *uneven_transparencies(flux, error, quarter.astype(np.intp)))
    if holds_brightness(group):
        flux, error = flux / area, error / area
    return relative_transparencies(flux, error, min_stars)


def holds_brightness(group: Group) -> bool:
    """Whether pixel values are surface brightness: as decided by the stars if possible, else if there is a flat."""
    told = group.stack.brightness
    return group.setup.flat is not None if told is None else told


def _weigh_areas(group: Group, power: float, sigma: float) -> None:
    """Decide what pixel values measure, from stars that dithers move to pixels of other area."""
    if sigma > SURE_OF_AREAS:
        return
    assumed, group.stack.brightness = holds_brightness(group), power > 0.5
    if holds_brightness(group) != assumed:
        kept = "surface brightness" if power > 0.5 else "the electrons of stars"
        why = f"fluxes scale with the pixels' area to the power {power:.2f} +- {sigma:.2f}"
        group.remark(f"pixels hold {kept}, as shown by the stars ({why}); resampled accordingly")


def _plane_fluxes(group: Group, p: int, frames: list[int]) -> tuple[np.ndarray, ...]:
    """Fluxes and errors in a narrow aperture, in a wide one, pixel areas and quarters of a plane, (frames, stars)."""
    state, fwhm = group.planes[p], group.registration.star_width
    placements, where = _common_stars(group, p, frames, 40)
    measured, gain = np.full((4, len(frames), where[0].size), np.nan), group.electrons(p)
    area, quarter = np.ones_like(measured[0]), np.zeros_like(measured[0])
    middle = state.shape[1] / 2, state.shape[0] / 2

    def measure(k: int) -> None:
        i, placed = frames[k], placements[k]
        x, y = placed.to_plane(*where)
        quarter[k] = 4 * p + 2 * (y > middle[1]) + (x > middle[0])
        image = state.sub.frame(i), state.bad(i, DQ.SATURATED), x, y, fwhm
        fluxes, errors = aperture_fluxes(*image, spikes=True, radii=APERTURES, gain=gain)
        measured[:, k] = fluxes[0], errors[0], fluxes[1], errors[1]
        if placed.shift is None:
            area[k] = placed.area_at(*where)

    each_frame(group, range(len(frames)), measure)
    return *measured, area, quarter


def _relative_widths(group: Group, frames: list[int]) -> np.ndarray:
    """FWHM of frames over the usual one; NaN if it is unknown or measured from too few stars."""

    def told(i: int) -> bool:
        known = bool(np.isfinite(group.frames[i].fwhm))
        return known and bool(np.count_nonzero(all_stars(group, i).snr > 10) >= SIZED_BY)

    usual = group.registration.fwhm or float("nan")
    return np.array([group.frames[i].fwhm / usual if told(i) else np.nan for i in frames])


def _plane_cores(group: Group, p: int, frames: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fluxes of the brightest stars on one plane, (frames, stars): within `CORE` FWHM, within 2 FWHM, and its error."""
    state, fwhm = group.planes[p], group.registration.star_width
    placements, where = _common_stars(group, p, frames, SHARP_BY)
    (core, whole, error), gain = np.empty((3, len(frames), where[0].size)), group.electrons(p)

    def measure(k: int) -> None:
        i, placed = frames[k], placements[k]
        image = state.sub.frame(i), state.bad(i, DQ.SATURATED), *placed.to_plane(*where), fwhm
        (core[k], whole[k]), (_, error[k]) = aperture_fluxes(*image, spikes=True, radii=(CORE, 2.0), gain=gain)

    each_frame(group, range(len(frames)), measure)
    return core, whole, error


def _common_stars(group: Group, p: int, frames: list[int], most: int) -> tuple[list[Placement], tuple[Any, Any]]:
    """Placements of frames, and the positions of the reference frame's brightest stars on their grid."""
    lists, every = require(group.registration.stars, "stars"), sorted({*frames, group.reference})
    stars = lists[group.reference][p]
    bright = np.flatnonzero(stars.snr > 20)[:most]
    layout = lay_out(group, every, Target(group.frames[group.reference].refers, p, (p,)))
    where = layout.placements[group.reference, p].from_plane(stars.x[bright], stars.y[bright])
    return [layout.placements[i, p] for i in frames], where


TRANSPARENCY_STEPS = (ScaleCounts,)
