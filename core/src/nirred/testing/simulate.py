"""Simulate a raw night with known truth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nirred.errors import ConfigError, PluginError
from nirred.files import place_files
from nirred.plugin.simulation import SimulatedDetector, SimulatedExposure, Simulation
from nirred.testing.detector_sim import (
    Cosmics,
    DetectorTruth,
    cosmic_rays,
    expose,
    make_truth,
    save_truth,
)
from nirred.testing.geometry import plane_place, point
from nirred.testing.night import FrameTruth, GroupTruth, Night, load_night, save_night
from nirred.testing.scene import FieldSpec, Source, populate
from nirred.testing.schedule import (
    NIGHT,
    TARGETS,
    Knobs,
    Planned,
    Scenario,
    calibrations,
    science,
    side,
)

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = ["Knobs", "Night", "Scenario", "load_night", "simulate_night"]

PERSISTENCE_TIME = 60.0  # s, of the exponential decay
ELSEWHERE = "write to another directory"


def simulate_night(
    simulation: Simulation,
    out_dir: Path | str,
    *,
    scenario: Scenario | Sequence[Scenario] = "offset",
    frames: int | tuple[int, int] | None = None,
    seed: int = 1,
    size: int | None = None,
    **knobs: Any,
) -> Night:
    """Write raw frames to `out_dir`/raw and the truth to `out_dir`/truth.

    Parameters
    ----------
    simulation : Simulation
        The camera.
    out_dir : Path or str
        Created if missing; frames of an earlier simulated night are replaced.
    scenario : {"offset", "dither", "filling", "standard"} or a sequence of them
        Extended galaxy with sky frames a field away; sparse field; target that fills the field with sky frames far
        away; one bright standard, 5 frames without matching darks.
    frames : int or (int, int), optional
        Science frames, half of them on the sky where the scenario has sky frames; or (on target, on sky). Of the first
        scenario; the others keep their defaults.
    seed : int
        Same seed, same night.
    size : int, optional
        Square sub-array, for quick tests.
    **knobs
        Fields of `Knobs`; an unknown one is a TypeError.

    Raises
    ------
    ValueError
        Unknown scenario.
    ConfigError
        `out_dir`/raw holds frames that were not simulated, or its truth cannot be read.

    Notes
    -----
    One random generator, drawn from in this order: detectors plane by plane; per scenario its schedule and conditions,
    then the sources of its fields; then frame by frame in order of time, plane by plane: lamp variation, cosmic rays,
    Poisson noise, read noise. Poisson noise is exact.
    """
    names = (scenario,) if isinstance(scenario, str) else tuple(scenario)
    for name in names:
        if name not in TARGETS:
            raise ValueError(f"unknown scenario {name!r}: choose from {', '.join(TARGETS)}")
    turned = Knobs(**knobs)
    simulation = _resize(simulation, size)
    rng = np.random.default_rng(seed)
    truths = tuple(make_truth(detector, rng) for detector in simulation.detectors)
    planned, sources = _plan(simulation, names, frames, turned, rng)
    night = _describe(simulation, Path(out_dir), seed, planned, sources)
    _make_directories(night)
    _save_truths(night, truths)
    _Camera(simulation, night, truths, turned, rng).take(planned)
    save_night(night)
    if simulation.extras is not None:
        place_files(night.directory, simulation.extras(night))
    return night


def _make_directories(night: Night) -> None:
    """Make the directories, without frames of an earlier night: a run would mix them with those of this one."""
    if night.raw_dir.is_dir() and any(night.raw_dir.iterdir()):
        try:
            earlier = load_night(night.directory).frames
        except FileNotFoundError:
            raise ConfigError(f"{night.raw_dir} holds files that were not simulated", ELSEWHERE) from None
        except (ValueError, KeyError, TypeError) as e:
            raise ConfigError(f"{night.truth_file}: cannot be read: {e}", ELSEWHERE) from e
        for file in night.raw_dir.iterdir():
            if file.name in earlier:
                file.unlink()
    for directory in (night.raw_dir, night.truth_dir):
        directory.mkdir(parents=True, exist_ok=True)


def _save_truths(night: Night, truths: Sequence[DetectorTruth]) -> None:
    for index, truth in enumerate(truths):
        save_truth(truth, night.truth_dir / f"detector{index}.npz")


def _resize(simulation: Simulation, size: int | None) -> Simulation:
    if size is None:
        return simulation
    if simulation.resized is not None:
        return simulation.resized(size)
    detectors = tuple(replace(detector, shape=(size, size)) for detector in simulation.detectors)
    return replace(simulation, detectors=detectors)


def _plan(
    simulation: Simulation,
    names: Sequence[Scenario],
    frames: int | tuple[int, int] | None,
    knobs: Knobs,
    rng: np.random.Generator,
) -> tuple[list[Planned], dict[str, tuple[Source, ...]]]:
    planned: list[Planned] = []
    sources: dict[str, tuple[Source, ...]] = {}
    time = NIGHT
    for index, name in enumerate(names):
        counts = _counts(name, frames if index == 0 else None)
        place = (len(planned) + 1, index + 1, time)
        block = science(simulation, name, counts, knobs, place, rng)
        sources[name] = _sources(simulation, name, block, knobs, rng)
        planned += block
        time = _after(planned[-1], minutes=5)
    place = (len(planned) + 1, len(names) + 1, time)
    planned += calibrations(simulation, knobs, place, "standard" in names)
    return planned, sources


def _counts(name: str, frames: int | tuple[int, int] | None) -> tuple[int, int]:
    if frames is None:
        return TARGETS[name].frames
    if isinstance(frames, tuple):
        return frames
    return (frames - frames // 2, frames // 2) if TARGETS[name].frames[1] else (frames, 0)


def _after(planned: Planned, minutes: float) -> datetime:
    exposure = planned.exposure
    seconds = exposure.settings.exposure_time * exposure.settings.coadds
    return exposure.start + timedelta(seconds=seconds, minutes=minutes)


def _sources(
    simulation: Simulation,
    name: str,
    block: Sequence[Planned],
    knobs: Knobs,
    rng: np.random.Generator,
) -> tuple[Source, ...]:
    """Sources of the target field and, where there is one, of the sky field."""
    target, field_side = TARGETS[name], side(simulation)
    detector = simulation.detectors[0]
    pixels = simulation.fwhm / simulation.pixel_scale
    sky = block[0].conditions.sky
    on_target = [item.exposure for item in block if item.exposure.kind != "sky"]
    skies = [item.exposure for item in block if item.exposure.kind == "sky"]
    noise = math.sqrt((sky + detector.read_noise**2) * math.pi / len(on_target)) * pixels
    saturating = detector.saturation * detector.gain * pixels**2 * 1.3
    spec = FieldSpec(
        target.ra,
        target.dec,
        _extent(simulation, on_target, 0.0),
        noise,
        sky,
        field_side,
        simulation.pixel_scale,
        target.content,
        0,
        saturating,
        _middle(simulation),
    )
    density = simulation.density if knobs.density is None else knobs.density
    found = populate(spec, rng, density)
    if name == "standard":
        found.insert(0, Source("star", *point(target.ra, target.dec, *spec.centre), 0.2 * saturating))
    if skies:
        east = float(np.median([exposure.offset_east for exposure in skies]))
        ra, dec = point(target.ra, target.dec, east, 0.0)
        extent = _extent(simulation, skies, east)
        away = replace(spec, ra=ra, dec=dec, extent=extent, content="blank", field=1)
        found += populate(away, rng, density)
    return tuple(found)


def _middle(simulation: Simulation) -> tuple[float, float]:
    """Arcsec east and north from the pointing to the position of the target on the first plane.

    This is the plane's centre, or the pointing itself if the centre is not illuminated.
    """
    plane = simulation.detectors[0]
    lit = plane.illuminated is None or plane.illuminated(plane.shape)[plane.shape[0] // 2, plane.shape[1] // 2]
    return plane_place(simulation, 0, simulation.position_angle) if lit else (0.0, 0.0)


def _extent(simulation: Simulation, exposures: Sequence[SimulatedExposure], east: float) -> float:
    """Side, in arcsec, of the square covered by frames dithered around `east`, with all planes and star wings."""
    dither = max(max(abs(item.offset_east - east), abs(item.offset_north)) for item in exposures)
    reach = max(math.hypot(*plane.sky_position) for plane in simulation.detectors)
    return side(simulation) + 2 * (dither + reach) + 10 * simulation.fwhm


def _describe(
    simulation: Simulation,
    directory: Path,
    seed: int,
    planned: Sequence[Planned],
    sources: dict[str, tuple[Source, ...]],
) -> Night:
    """The night's truth, before any pixel."""
    names = [simulation.file_name(item.exposure) for item in planned]
    frames = {
        name: FrameTruth(
            name,
            item.exposure.kind,
            item.scenario,
            item.exposure.number,
            item.exposure.settings.exposure_time,
            item.exposure.settings.coadds,
            item.conditions,
            item.wcs,
        )
        for name, item in zip(names, planned)
    }
    groups = {name: _group(name, frames, found) for name, found in sources.items()}
    first = {frame.kind: Path(frame.file).stem for frame in reversed(list(frames.values()))}
    science_time = simulation.settings_for("dark").exposure_time
    darks = [f for f in frames.values() if f.kind == "dark" and f.exposure_time == science_time]
    products = {kind: f"{first['lamp_on']}_{kind}.fits" for kind in ("flat", "bpm") if "lamp_on" in first}
    if darks:
        products["dark"] = f"{Path(darks[0].file).stem}_dark.fits"
    return Night(
        directory=directory,
        instrument=simulation.instrument,
        seed=seed,
        pixel_scale=simulation.pixel_scale,
        third_axis=simulation.third_axis,
        in_primary=len(simulation.headers(planned[0].exposure)) == 1,
        bitpix=simulation.bitpix,
        averaged=simulation.averaged,
        detectors=tuple(replace(detector, illuminated=None) for detector in simulation.detectors),
        frames=frames,
        groups=groups,
        products=products,
    )


def _group(name: str, frames: dict[str, FrameTruth], sources: tuple[Source, ...]) -> GroupTruth:
    mine = [frame for frame in frames.values() if frame.group == name]
    objects = tuple(frame.file for frame in mine if frame.kind != "sky")
    skies = tuple(frame.file for frame in mine if frame.kind == "sky")
    product = f"{Path(objects[0]).stem}_image.fits"
    return GroupTruth(name, TARGETS[name].content, objects, skies, product, sources)


@dataclass
class _Camera:
    """Takes the exposures of a night, one after the other."""

    simulation: Simulation
    night: Night
    truths: tuple[DetectorTruth, ...]
    knobs: Knobs
    rng: np.random.Generator
    trapped: dict[int, tuple[datetime, np.ndarray]] = field(default_factory=dict)

    def take(self, planned: Sequence[Planned]) -> None:
        """Write every raw file, and all cosmic rays to truth/cosmics.npz."""
        rays: dict[str, np.ndarray] = {}
        for item in planned:
            file = self.simulation.file_name(item.exposure)
            planes = []
            for plane in range(len(self.truths)):
                image, cosmics = self._plane(item, file, plane)
                planes.append(image)
                rays[f"{file}:{plane}:index"] = cosmics.index
                rays[f"{file}:{plane}:electrons"] = cosmics.electrons.astype(np.float32)
            self._write(item, file, planes)
        np.savez_compressed(self.night.truth_dir / "cosmics.npz", **rays)  # type: ignore[arg-type]

    def _plane(self, item: Planned, file: str, plane: int) -> tuple[np.ndarray, Cosmics]:
        settings, detector = item.exposure.settings, self.simulation.detectors[plane]
        light = self._light(item, file, plane)
        seconds = settings.exposure_time * settings.coadds
        cosmics = cosmic_rays(detector.shape, seconds, self.rng, self.knobs.cosmic_rate)
        truth = self.night.own_truth(file, plane, self._with_afterglow(item, plane))
        timing = (settings.exposure_time, settings.coadds)
        image = expose(light, truth, detector, timing, cosmics, self.rng)
        self._trap(item, plane, image, detector)
        return image, cosmics

    def _light(self, item: Planned, file: str, plane: int) -> np.ndarray | float:
        kind, settings = item.exposure.kind, item.exposure.settings
        seconds = settings.exposure_time * settings.coadds
        if kind in ("dark", "short_dark"):
            return 0.0
        if kind in ("lamp_on", "lamp_off"):
            lamp = self.simulation.lamp_rate if kind == "lamp_on" else 0.0
            variation = 1 + 0.003 * float(self.rng.standard_normal())
            return (lamp + self.simulation.lamp_off_rate) * seconds * variation
        scene = self.night.scene(file, plane) * item.conditions.transparency
        return np.asarray(scene + self.night.sky(file, plane, self.truths[plane]))

    def _with_afterglow(self, item: Planned, plane: int) -> DetectorTruth:
        truth = self.truths[plane]
        if plane not in self.trapped:
            return truth
        since, charge = self.trapped[plane]
        age = (item.exposure.start - since).total_seconds()
        if age < 0:  # darks of an earlier day
            return truth
        return replace(truth, pattern=truth.pattern + charge * math.exp(-age / PERSISTENCE_TIME))

    def _trap(self, item: Planned, plane: int, image: np.ndarray, detector: SimulatedDetector) -> None:
        if not self.knobs.persistence:
            return
        settings = item.exposure.settings
        full = image >= detector.saturation * settings.coadds
        fresh = np.where(full, self.knobs.persistence * detector.saturation * detector.gain, 0.0)
        end = item.exposure.start + timedelta(seconds=settings.exposure_time * settings.coadds)
        if plane in self.trapped:
            since, old = self.trapped[plane]
            fresh += old * math.exp(-(end - since).total_seconds() / PERSISTENCE_TIME)
        self.trapped[plane] = (end, fresh)

    def _write(self, item: Planned, file: str, planes: Sequence[np.ndarray]) -> None:
        from astropy.io import fits

        described = self.simulation.headers(item.exposure)
        if not self.night.in_primary and len(described) <= len(planes):
            said = (
                f"{file} of the simulated {self.simulation.instrument}: {len(planes)} planes, {len(described)} headers"
            )
            raise PluginError(said, "one for the primary and one for each plane")
        pixels = [self._stored(plane / self.night.averaged_over(file)) for plane in planes]
        hdus = fits.HDUList()
        for index, cards in enumerate(described):
            header = self._header(file, cards)
            data = pixels[index if self.night.in_primary else index - 1] if self._holds(index) else None
            hdus.append(fits.PrimaryHDU(data, header) if index == 0 else fits.ImageHDU(data, header))
        hdus.writeto(self.night.raw_dir / file, overwrite=True)

    def _header(self, file: str, cards: Mapping[str, object]) -> fits.Header:
        from astropy.io import fits

        header = fits.Header()
        for keyword, value in cards.items():
            try:
                header[keyword] = value
            except (ValueError, TypeError, AttributeError) as error:
                said = f"{file} of the simulated {self.simulation.instrument}: {keyword} = {value!r}: {error}"
                raise PluginError(said, "mend `headers` of the plugin's simulation") from error
        return header

    def _holds(self, index: int) -> bool:
        return self.night.in_primary or 0 < index <= len(self.truths)

    def _stored(self, image: np.ndarray) -> np.ndarray:
        """Pixels as the raw file holds them: rounded for integer formats, 16 bits unsigned."""
        if self.simulation.bitpix == -32:
            stored = image.astype(np.float32)
        elif self.simulation.bitpix == 16:
            stored = np.clip(np.rint(image), 0, 65535).astype(np.uint16)
        else:
            stored = np.rint(image).astype(np.int32)
        return stored[None] if self.simulation.third_axis else stored
