"""A simulated night on disk: raw frames, and the truth from which everything can be reconstructed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from nirred.plugin.simulation import FlatCharacter, SimulatedDetector, SimulatedWcs
from nirred.testing.detector_sim import Cosmics, DetectorTruth, amplifier_image, load_truth, stray_light
from nirred.testing.geometry import distort, flatten, from_flat, plane_axes, to_flat
from nirred.testing.scene import Source, render, sample

SCHEMA = 1


@dataclass(frozen=True)
class Conditions:
    """Truth of one science exposure.

    Parameters
    ----------
    sky : float
        Electrons per pixel of the exposure at flat 1, mean over a plane.
    gradient : (float, float)
        Relative change of the sky from the centre to the +x and +y edge.
    curvature : float
        Relative excess of the sky at the edges' distance from the centre.
    fwhm : float
        Seeing, arcsec.
    transparency : float
        Factor on the sources.
    pointing_error : (float, float)
        Arcsec east and north, true minus nominal.
    amplifiers : tuple of tuple of float
        Per plane, the levels of its sections beyond their fixed ones, e-, row by row; empty where they do not drift.
    """

    sky: float = 0.0
    gradient: tuple[float, float] = (0.0, 0.0)
    curvature: float = 0.0
    fwhm: float = 0.0
    transparency: float = 1.0
    pointing_error: tuple[float, float] = (0.0, 0.0)
    amplifiers: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True)
class FrameTruth:
    """Truth of one raw file; `wcs` holds one entry per plane and is the true one, not the header's."""

    file: str
    kind: str
    group: str
    number: int
    exposure_time: float
    coadds: int
    conditions: Conditions = Conditions()
    wcs: tuple[SimulatedWcs, ...] = ()

    @property
    def timing(self) -> tuple[float, int]:
        """(seconds of one coadd, coadds)."""
        return self.exposure_time, self.coadds


@dataclass(frozen=True)
class GroupTruth:
    """One observation: its sources, the files on target and on sky, and the product that should come of it."""

    name: str
    content: str
    objects: tuple[str, ...]
    skies: tuple[str, ...]
    product: str
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True)
class Night:
    """Paths and truth of a simulated night; `load_night` makes it from its directory.

    Parameters
    ----------
    directory : Path
        Holds raw/ and truth/.
    instrument : str
    seed : int
    pixel_scale : float
        Arcsec per pixel.
    third_axis, in_primary : bool
        How planes are stored in the raw files.
    bitpix : int
        Of the raw files.
    averaged : bool
        Raw pixels are the mean of the coadds, not their sum.
    detectors : tuple of SimulatedDetector
        Without their callables.
    frames : mapping of file name to FrameTruth
        In order of time.
    groups : mapping of scenario to GroupTruth
    products : mapping
        Names of the calibrations that should be made: "dark", "flat", "bpm".
    """

    directory: Path
    instrument: str
    seed: int
    pixel_scale: float
    third_axis: bool
    in_primary: bool
    bitpix: int
    averaged: bool
    detectors: tuple[SimulatedDetector, ...]
    frames: Mapping[str, FrameTruth]
    groups: Mapping[str, GroupTruth]
    products: Mapping[str, str]

    @property
    def raw_dir(self) -> Path:
        """Directory of the raw files."""
        return self.directory / "raw"

    @property
    def truth_dir(self) -> Path:
        """Directory of the truth."""
        return self.directory / "truth"

    @property
    def truth_file(self) -> Path:
        """Frames, conditions and sources of the night; the sign that it was simulated."""
        return self.truth_dir / "truth.json"

    def detector_truth(self, plane: int = 0) -> DetectorTruth:
        """Fixed arrays of a plane."""
        return load_truth(self.truth_dir / f"detector{plane}.npz")

    def cosmics(self, file: str, plane: int = 0) -> Cosmics:
        """Cosmic rays of a frame."""
        with np.load(self.truth_dir / "cosmics.npz") as arrays:
            return Cosmics(arrays[f"{file}:{plane}:index"], arrays[f"{file}:{plane}:electrons"])

    def averaged_over(self, file: str) -> int:
        """Number of coadds whose mean the raw pixels are; 1 if they are summed."""
        return self.frames[file].coadds if self.averaged else 1

    def raw(self, file: str, plane: int = 0) -> np.ndarray:
        """Raw pixels in ADU, float64, the sum of all coadds."""
        from astropy.io import fits

        with fits.open(self.raw_dir / file, memmap=False) as hdus:
            data = hdus[plane + (0 if self.in_primary else 1)].data
        return np.asarray(data, np.float64).reshape(self.detectors[plane].shape) * self.averaged_over(file)

    def positions(
        self, file: str, plane: int = 0, sources: tuple[Source, ...] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """True zero-based pixel positions of the group's sources on a frame's detector."""
        return distort(self.frames[file].wcs[plane], *self.flat_positions(file, plane, sources))

    def flat_positions(
        self, file: str, plane: int = 0, sources: tuple[Source, ...] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same without the camera's distortion: those on a stack, but for its origin."""
        frame = self.frames[file]
        chosen = self.groups[frame.group].sources if sources is None else sources
        ra = np.array([source.ra for source in chosen])
        dec = np.array([source.dec for source in chosen])
        return to_flat(frame.wcs[plane], ra, dec)

    def offset(self, file: str, reference: str, plane: int = 0) -> tuple[float, float]:
        """Pixel position of a source in `file` minus in `reference`, at the array's centre, distortion-free."""
        ny, nx = self.detectors[plane].shape
        centre = np.array([(nx - 1) / 2]), np.array([(ny - 1) / 2])
        x, y = to_flat(self.frames[file].wcs[plane], *from_flat(self.frames[reference].wcs[plane], *centre))
        return float(x[0] - centre[0][0]), float(y[0] - centre[1][0])

    def scale_of(self, plane: int) -> float:
        """Arcsec per pixel of a plane; the geometric mean where its pixels are not square."""
        return self.pixel_scale * math.sqrt(abs(np.linalg.det(plane_axes(self.detectors[plane]))))

    def scene(self, file: str, plane: int = 0) -> np.ndarray:
        """Noise-free electrons of the sources in a frame at transparency 1, flat 1.

        For a camera with distortion or pixels that are not square: the surface brightness of the sky at the pixels, per
        area of an undistorted pixel (the camera's pixel scale squared). Division by a flat of even surface brightness
        gives this, because the pixels' areas are part of the flat.
        """
        frame, wcs = self.frames[file], self.frames[file].wcs[plane]
        sources, seeing = self.groups[frame.group].sources, [(frame.conditions.fwhm, 1.0)]
        return self.drawn(sources, self.flat_positions(file, plane), (self.detectors[plane].shape, plane, wcs), seeing)

    def drawn(
        self,
        sources: Sequence[Source],
        places: tuple[np.ndarray, np.ndarray],
        target: tuple[tuple[int, int], int, SimulatedWcs | None],
        seeing: Sequence[tuple[float, float]],
    ) -> np.ndarray:
        """Noise-free image of sources at flat pixel positions.

        `target` = (shape, plane to which the pixels belong, its WCS if they are those of the detector); `seeing` =
        pairs of FWHM (arcsec) and fraction. float64 (ny, nx), electrons.
        """
        shape, plane, wcs = target
        axes = self.detectors[plane].axes
        if axes is None and (wcs is None or not wcs.pv):
            images = (share * render(sources, *places, shape, fwhm, self.scale_of(plane)) for fwhm, share in seeing)
            return reduce(np.add, images)
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
        pixels = (columns, rows) if wcs is None else flatten(wcs, columns, rows)
        if axes is None:
            return sample(sources, places, pixels, seeing, self.scale_of(plane))
        (a, b), (c, d) = plane_axes(self.detectors[plane])
        there, pixels = ((a * x + b * y, c * x + d * y) for x, y in (places, pixels))
        return sample(sources, there, pixels, seeing, self.pixel_scale)

    def sky(self, file: str, plane: int = 0, truth: DetectorTruth | None = None) -> np.ndarray:
        """Noise-free electrons of the sky in a frame at flat 1, stray light included; `truth` saves reading it."""
        conditions, detector = self.frames[file].conditions, self.detectors[plane]
        sky = sky_image(conditions, detector.shape)
        if detector.stray_light[0] == 0:
            return sky
        flat = (truth or self.detector_truth(plane)).flat
        light = conditions.sky * stray_light(detector)
        return np.asarray(sky + np.divide(light, flat, out=np.zeros_like(light), where=flat > 0))

    def own_truth(self, file: str, plane: int, truth: DetectorTruth) -> DetectorTruth:
        """A plane's fixed arrays with the levels that its amplifiers had in one frame."""
        levels = self.frames[file].conditions.amplifiers
        if not levels or not levels[plane]:
            return truth
        drift = amplifier_image(self.detectors[plane].shape, self.detectors[plane].amplifiers, levels[plane])
        return replace(truth, pattern=truth.pattern + drift)


def sky_image(conditions: Conditions, shape: tuple[int, int]) -> np.ndarray:
    """Sky of one plane: level, gradient and curvature of `Conditions`; float64 (ny, nx)."""
    v = np.linspace(-1, 1, shape[0])[:, None] if shape[0] > 1 else np.zeros((1, 1))
    u = np.linspace(-1, 1, shape[1])[None, :] if shape[1] > 1 else np.zeros((1, 1))
    shading = conditions.gradient[0] * u + conditions.gradient[1] * v
    shading = shading + conditions.curvature * (u**2 + v**2 - 2 / 3)
    return np.asarray(conditions.sky * (1 + shading))


def save_night(night: Night) -> None:
    """Write truth/truth.json."""
    document = {
        "schema": SCHEMA,
        "instrument": night.instrument,
        "seed": night.seed,
        "pixel_scale": night.pixel_scale,
        "third_axis": night.third_axis,
        "in_primary": night.in_primary,
        "bitpix": night.bitpix,
        "averaged": night.averaged,
        "detectors": [asdict(replace(detector, illuminated=None)) for detector in night.detectors],
        "frames": [_frame_record(night, frame) for frame in night.frames.values()],
        "groups": [asdict(group) for group in night.groups.values()],
        "products": dict(night.products),
    }
    text = json.dumps(document)
    night.truth_file.write_text(text + "\n", encoding="utf-8")


def _frame_record(night: Night, frame: FrameTruth) -> dict[str, Any]:
    """A frame with the positions of its sources, for readers without this module."""
    record = asdict(frame)
    if frame.group in night.groups:
        record["positions"] = [
            [[round(float(a), 4), round(float(b), 4)] for a, b in zip(*night.positions(frame.file, plane))]
            for plane in range(len(night.detectors))
        ]
    return record


def load_night(directory: Path | str) -> Night:
    """Read a night from its directory.

    Raises
    ------
    FileNotFoundError
        No truth/truth.json there.
    ValueError
        Written by another version.
    """
    directory = Path(directory)
    document = json.loads((directory / "truth" / "truth.json").read_text(encoding="utf-8"))
    if document["schema"] != SCHEMA:
        raise ValueError(f"{directory}: truth.json has schema {document['schema']}, not {SCHEMA}")
    frames = [_load_frame(record) for record in document["frames"]]
    groups = [_load_group(record) for record in document["groups"]]
    return Night(
        directory=directory,
        instrument=document["instrument"],
        seed=document["seed"],
        pixel_scale=document["pixel_scale"],
        third_axis=document["third_axis"],
        in_primary=document["in_primary"],
        bitpix=document["bitpix"],
        averaged=document["averaged"],
        detectors=tuple(_load_detector(record) for record in document["detectors"]),
        frames={frame.file: frame for frame in frames},
        groups={group.name: group for group in groups},
        products=document["products"],
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _load_detector(record: dict[str, Any]) -> SimulatedDetector:
    values = {key: _tuples(value) for key, value in record.items()}
    return SimulatedDetector(**{**values, "flat": FlatCharacter(**record["flat"])})


def _load_frame(record: dict[str, Any]) -> FrameTruth:
    values = {key: value for key, value in record.items() if key != "positions"}
    conditions = Conditions(**{key: _tuples(value) for key, value in record["conditions"].items()})
    wcs = tuple(SimulatedWcs(**{key: _tuples(value) for key, value in item.items()}) for item in record["wcs"])
    return FrameTruth(**{**values, "conditions": conditions, "wcs": wcs})


def _load_group(record: dict[str, Any]) -> GroupTruth:
    values = {key: _tuples(value) for key, value in record.items()}
    return GroupTruth(**{**values, "sources": tuple(Source(**item) for item in record["sources"])})
