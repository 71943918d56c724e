"""Schedule of a simulated night: its exposures in order of time, with pointings and conditions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from nirred.plugin.simulation import ExposureKind, SimulatedDetector, SimulatedExposure, SimulatedWcs, Simulation
from nirred.testing.geometry import plane_wcs, point
from nirred.testing.night import Conditions

Scenario = Literal["offset", "dither", "filling", "standard"]

NIGHT = datetime(2026, 1, 15, 5, 30)
MORNING = datetime(2026, 1, 15, 16, 0)
ZENITH = (279.32, 19.84)
UNDISTURBED = Conditions()
GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))


@dataclass(frozen=True)
class Knobs:
    """Adjustable parameters of a night.

    Parameters
    ----------
    darks, short_darks, lamps_on, lamps_off : int
        Number of calibration frames.
    drift, gradient : float
        Relative change of the sky over a sequence; greatest peak-to-peak gradient of one frame.
    curvature : float
        Relative rms of the sky's curvature from frame to frame. Sky frames cannot know it, so that it sets a floor to
        extended flux: 1e-4 costs 0.4 % of the galaxy of "offset" (5 + 5 frames), 5e-4 five times as much.
    seeing_rms, transparency_rms : float
        Relative scatter per frame.
    pointing_rms : float
        Arcsec per axis, not in the header.
    cosmic_rate : float
        Events per megapixel and 20 s.
    persistence : float
        Share of a saturated pixel's charge that shows in the next exposure; it decays with 60 s.
    density : float or None
        Stars per (1024 pixel)^2; None = the camera's own.
    dither, sky_offset : float or None
        Arcsec: step of the dither pattern, and distance of the sky field; None = by camera, scenario and field of view.
    repeats : int
        Exposures at each position, between which the telescope stands still.
    sky_guiding : bool
        Whether sky frames are guided; unguided ones can be recognised as sky by their header.
    standard_darks : bool
        Whether darks are taken for the standard's exposure too.
    turn : float
        Degrees by which the position angle grows from frame to frame, as in the headers.
    turn_rms : float
        Error of the position angle, degrees, not in the header.
    """

    darks: int = 10
    short_darks: int = 10
    lamps_on: int = 10
    lamps_off: int = 10
    drift: float = 0.04
    gradient: float = 0.005
    curvature: float = 1e-4
    seeing_rms: float = 0.05
    transparency_rms: float = 0.008
    pointing_rms: float = 0.12
    cosmic_rate: float = 10.0
    persistence: float = 0.0
    density: float | None = None
    dither: float | None = None
    sky_offset: float | None = None
    repeats: int = 1
    sky_guiding: bool = False
    standard_darks: bool = False
    turn: float = 0.0
    turn_rms: float = 0.0


@dataclass(frozen=True)
class Target:
    """Pointings and target of one scenario, in fractions of the detector's side."""

    name: str
    ra: float
    dec: float
    content: str
    frames: tuple[int, int]
    dither: float
    sky_offset: float = 0.0


TARGETS: dict[str, Target] = {
    "offset": Target("NGC simulated", 150.1163, 2.2058, "galaxy", (5, 5), 0.04, 1.3),
    "dither": Target("Sparse field", 34.4071, -5.1614, "sparse", (9, 0), 0.06),
    "filling": Target("Nebula", 83.8221, 22.0145, "filling", (5, 5), 0.04, 4.0),
    "standard": Target("FS 17", 111.6254, 20.9471, "standard", (5, 0), 0.15),
}


@dataclass(frozen=True)
class Planned:
    """An exposure, its true world coordinates and its conditions."""

    exposure: SimulatedExposure
    scenario: str
    wcs: tuple[SimulatedWcs, ...]
    conditions: Conditions = UNDISTURBED


def side(simulation: Simulation) -> float:
    """Extent of the lit field of the first plane along x, arcsec."""
    plane = simulation.detectors[0].shape[1] * simulation.pixel_scale
    return plane if simulation.field is None else min(plane, simulation.field)


def span(simulation: Simulation) -> float:
    """Extent of all planes, arcsec."""
    return side(simulation) + 2 * max(max(map(abs, plane.sky_position)) for plane in simulation.detectors)


def science(
    simulation: Simulation,
    scenario: Scenario,
    counts: tuple[int, int],
    knobs: Knobs,
    place: tuple[int, int, datetime],
    rng: np.random.Generator,
) -> list[Planned]:
    """Exposures of one scenario. `place` = (first running number, group number, start).

    Draws: dither jitter of all frames; then of the whole sequence the drift, and per frame sky jitter, gradient,
    curvature, seeing, transparency, pointing error; then errors of the position angle, if any.
    """
    target = TARGETS[scenario]
    kinds = _order(scenario, counts)
    number, group, start = place
    offsets = _offsets(simulation, target, kinds, knobs, rng)
    settings = simulation.settings_for("standard" if scenario == "standard" else "object")
    conditions = _conditions(simulation, len(kinds), settings.exposure_time * settings.coadds, knobs, rng)
    stands = _stands(kinds, knobs.repeats)
    errors = [conditions[first].pointing_error for first in stands]
    planned = []
    for index, kind in enumerate(kinds):
        cadence = simulation.settings_for(kind).exposure_time * settings.coadds + simulation.overhead
        east, north = offsets[index]
        exposure = SimulatedExposure(
            kind=kind,
            number=number + index,
            start=start + timedelta(seconds=index * cadence),
            settings=settings,
            target=target.name,
            target_ra=target.ra,
            target_dec=target.dec,
            offset_east=east,
            offset_north=north,
            position_angle=simulation.position_angle + knobs.turn * index,
            guiding=kind != "sky" or knobs.sky_guiding,
            airmass=1.08 + 0.004 * index,
            observation_class="partnerCal" if kind == "standard" else "science",
            group=group,
            index=index + 1,
            repeat=index - stands[index] + 1,
            repeats=knobs.repeats,
        )
        error = knobs.turn_rms * float(rng.standard_normal()) if knobs.turn_rms else 0.0
        own = replace(conditions[index], pointing_error=errors[index])
        planned.append(_pointed(simulation, exposure, scenario, own, error))
    return planned


def _stands(kinds: Sequence[str], repeats: int) -> list[int]:
    """Of each frame, the number of the first exposure at its position, on target or on sky."""
    found: list[int] = []
    seen: dict[str, list[int]] = {"sky": [], "target": []}
    for index, kind in enumerate(kinds):
        mine = seen["sky" if kind == "sky" else "target"]
        found.append(mine[-(len(mine) % repeats)] if len(mine) % repeats else index)
        mine.append(index)
    return found


def _order(scenario: str, counts: tuple[int, int]) -> list[ExposureKind]:
    on, off = counts
    if scenario == "standard":
        return _repeat("standard", on)
    if scenario == "filling":  # an observer alternates where the target leaves no sky
        both = min(on, off)
        pairs: list[ExposureKind] = ["object", "sky"] * both
        return [*pairs, *_repeat("object", on - both), *_repeat("sky", off - both)]
    return [*_repeat("object", on), *_repeat("sky", off)]


def _repeat(kind: ExposureKind, count: int) -> list[ExposureKind]:
    return [kind] * count


def _offsets(
    simulation: Simulation,
    target: Target,
    kinds: Sequence[str],
    knobs: Knobs,
    rng: np.random.Generator,
) -> list[tuple[float, float]]:
    """Golden-angle spiral round the target and round the sky field, with a jitter of a few pixels."""
    field = side(simulation)
    usual = target.dither * field if simulation.dither is None else simulation.dither
    step = usual if knobs.dither is None else knobs.dither
    away = target.sky_offset * span(simulation) if knobs.sky_offset is None else knobs.sky_offset
    jitter = rng.uniform(-3, 3, (len(kinds), 2)) * simulation.pixel_scale
    found, seen = [], {"sky": 0, "target": 0}
    for kind, first in zip(kinds, _stands(kinds, knobs.repeats), strict=True):
        place = "sky" if kind == "sky" else "target"
        position = seen[place] // knobs.repeats % (simulation.positions or len(kinds))
        jitter_east, jitter_north = jitter[first]
        turn, radius = position * GOLDEN_ANGLE, step * math.sqrt(position)
        seen[place] += 1
        east = radius * math.cos(turn) + jitter_east + (away if place == "sky" else 0.0)
        found.append((float(east), float(radius * math.sin(turn) + jitter_north)))
    return found


def _conditions(
    simulation: Simulation, number: int, seconds: float, knobs: Knobs, rng: np.random.Generator
) -> list[Conditions]:
    sign, phase = rng.choice([-1.0, 1.0]), rng.uniform(0, 2 * math.pi)
    found = []
    for index in range(number):
        time = index / max(number - 1, 1) - 0.5
        drift = sign * knobs.drift * (time + 0.15 * math.sin(7 * time + phase))
        level = simulation.sky_rate * seconds * (1 + drift + 0.001 * rng.standard_normal())
        angle = rng.uniform(0, 2 * math.pi)
        slope = knobs.gradient * rng.uniform(0.2, 1.0) / 2 / math.sqrt(2)
        curvature = knobs.curvature * rng.standard_normal()
        fwhm = simulation.fwhm * (1 + knobs.seeing_rms * rng.standard_normal())
        transparency = 1 + knobs.transparency_rms * rng.standard_normal()
        error = knobs.pointing_rms * rng.standard_normal(2)
        drifts = tuple(_drifts(detector, rng) for detector in simulation.detectors)
        found.append(
            Conditions(
                sky=float(level),
                gradient=(slope * math.cos(angle), slope * math.sin(angle)),
                curvature=float(curvature),
                fwhm=float(fwhm),
                transparency=float(transparency),
                pointing_error=(float(error[0]), float(error[1])),
                amplifiers=drifts if any(drifts) else (),
            )
        )
    return found


def _drifts(detector: SimulatedDetector, rng: np.random.Generator) -> tuple[float, ...]:
    """Levels of a detector's sections in one frame, e-; nothing is drawn where they do not drift."""
    if not detector.amplifier_drift:
        return ()
    return tuple(float(v) for v in detector.amplifier_drift * rng.standard_normal(math.prod(detector.amplifiers)))


def _pointed(
    simulation: Simulation, exposure: SimulatedExposure, scenario: str, conditions: Conditions, turn: float = 0.0
) -> Planned:
    """Give an exposure its nominal world coordinates (header) and the true ones, turned by degrees."""
    nominal = point(exposure.target_ra, exposure.target_dec, exposure.offset_east, exposure.offset_north)
    true = point(*nominal, *conditions.pointing_error)
    planes = range(len(simulation.detectors))
    header = tuple(plane_wcs(simulation, plane, *nominal, exposure.position_angle) for plane in planes)
    truth = tuple(plane_wcs(simulation, plane, *true, exposure.position_angle + turn) for plane in planes)
    return Planned(replace(exposure, wcs=header), scenario, truth, conditions)


def calibrations(
    simulation: Simulation, knobs: Knobs, place: tuple[int, int, datetime], standard: bool
) -> Iterator[Planned]:
    """Lamp frames directly after the science, darks in the morning, of the camera's own day."""
    number, group, start = place
    off = knobs.lamps_off if simulation.lamp_off_kind == "lamp_off" else 0
    blocks: list[tuple[ExposureKind, int, str]] = [
        ("lamp_off", off, "lamp_off"),
        ("lamp_on", knobs.lamps_on, "lamp_on"),
    ]
    if simulation.lamp_off_kind == "dark":
        blocks.append(("dark", knobs.lamps_off, "lamp_on"))
    blocks.append(("dark", knobs.darks, "dark"))
    if standard and knobs.standard_darks:
        blocks.append(("dark", knobs.darks, "standard"))
    if simulation.has_short_darks:
        blocks.append(("short_dark", knobs.short_darks, "short_dark"))
    time = start
    for block, (kind, count, settings_of) in enumerate(blocks):
        if kind in ("dark", "short_dark"):
            time = max(time, MORNING)
        settings = simulation.settings_for(settings_of)
        early = timedelta(days=simulation.darks_before if kind in ("dark", "short_dark") else 0.0)
        for index in range(count):
            exposure = SimulatedExposure(
                kind, number, time - early, settings, target_ra=ZENITH[0], target_dec=ZENITH[1], guiding=False
            )
            exposure = replace(exposure, observation_class="dayCal", group=group + block, index=index + 1)
            yield _pointed(simulation, exposure, "", Conditions())
            number += 1
            time += timedelta(seconds=settings.exposure_time * settings.coadds + simulation.overhead)
