"""The best possible stack of a simulated night: true calibrations, sky, masks and offsets, same noise draw.

Plain numpy, independent of nirred's kernels: it shares only the raw files with the reduction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nirred.testing.detector_sim import DetectorTruth, calibrate
from nirred.testing.geometry import distort, flatten, from_flat, to_flat
from nirred.testing.night import Night
from nirred.testing.sampling import Places, autocorrelation


@dataclass(frozen=True)
class Grid:
    """Pixel grid of a stack: flat pixels of one plane of the reference frame.

    Parameters
    ----------
    reference : str
        File of the reference frame.
    origin : (float, float)
        (x, y), zero-based pixel in the stack of the reference frame's flat pixel (0, 0).
    shape : (int, int)
        (ny, nx).
    plane : int
        Whose flat pixels these are.
    """

    reference: str
    origin: tuple[float, float]
    shape: tuple[int, int]
    plane: int = 0


@dataclass(frozen=True)
class OracleStack:
    """Stack of one plane of a group, or of all.

    Parameters
    ----------
    sci : ndarray
        float64 electrons of one exposure; NaN without data.
    var : ndarray
        Variance that predicts the noise of large apertures.
    n : ndarray
        uint16 number of frames per pixel.
    noisecov : ndarray
        (7, 7) autocorrelation of the noise, sums to 1.
    grid : Grid
    files : tuple of str
    weights, transparencies : ndarray
        Per frame, weights those of the first plane; transparencies have a weighted mean of 1.
    scale : float
        Weighted mean of the true transparencies: true flux x scale = flux in `sci`.
    """

    sci: np.ndarray
    var: np.ndarray
    n: np.ndarray
    noisecov: np.ndarray
    grid: Grid
    files: tuple[str, ...]
    weights: np.ndarray
    transparencies: np.ndarray
    scale: float


def common_grid(night: Night, group: str, plane: int | None = None, reference: str = "") -> Grid:
    """Union footprint of a group's frames on target, whole pixels from the reference (default: the first).

    Of one plane, or of all on the flat pixels of the first.
    """
    files = night.groups[group].objects
    reference = reference or files[0]
    target = night.frames[reference].wcs[plane or 0]
    corners = []
    for file in files:
        for p in _planes(night, plane):
            edge = _outline(night.detectors[p].shape)
            wcs = night.frames[file].wcs[p]
            corners.append(np.stack(to_flat(target, *from_flat(wcs, *flatten(wcs, *edge)))))
    every = np.concatenate(corners, axis=1).round(6)
    low, high = np.floor(every.min(axis=1)).astype(int), np.ceil(every.max(axis=1)).astype(int)
    shape = (int(high[1] - low[1] + 1), int(high[0] - low[0] + 1))
    return Grid(reference, (float(-low[0]), float(-low[1])), shape, plane or 0)


def _planes(night: Night, plane: int | None) -> Sequence[int]:
    return range(len(night.detectors)) if plane is None else (plane,)


def _outline(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels along the border, x and y."""
    along = np.linspace(0, 1, 33)
    x = np.concatenate([along, along, np.zeros(33), np.ones(33)]) * (shape[1] - 1)
    y = np.concatenate([np.zeros(33), np.ones(33), along, along]) * (shape[0] - 1)
    return x, y


def places(night: Night, file: str, plane: int, grid: Grid) -> Places:
    """True positions of a stack's pixels on a frame's detector."""
    target, wcs = night.frames[grid.reference].wcs[grid.plane], night.frames[file].wcs[plane]

    def transform(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sky = from_flat(target, x - grid.origin[0], y - grid.origin[1])
        return distort(wcs, *to_flat(wcs, *sky))

    return Places.of(transform, grid.shape, night.detectors[plane].shape)


def oracle_stack(night: Night, group: str, grid: Grid | None = None, plane: int | None = None) -> OracleStack:
    """Stack a group's frames on target as well as can be.

    Parameters
    ----------
    night, group, plane
        Which frames: night, scenario, detector; default all detectors, drawn onto one grid.
    grid : Grid, optional
        Of the product to compare with; default the union footprint.

    Notes
    -----
    A frame is calibrated with the truth, its true sky subtracted, its bad and cosmic-ray pixels replaced by the
    noise-free truth (which is then unbiased under any interpolation) and given no weight for the share that they
    take of an output pixel; then resampled once by Lanczos-3, to the true place, and averaged with weights
    transparency^2 / variance, one per frame and plane. Calibrated pixels are surface brightness: it is kept.
    Scale: relative transparencies have a weighted mean of 1.
    """
    grid = grid or common_grid(night, group, plane)
    files = night.groups[group].objects
    true = np.array([night.frames[file].conditions.transparency for file in files])
    sums = _Sums.empty(grid.shape)
    for p in _planes(night, plane):
        truth = night.detector_truth(p)
        variances = np.array([np.median(_variance(night, file, p, truth)) for file in files])
        weights = true**2 / variances
        if not sums.weights.size:
            sums.weights = weights / weights.sum()
            sums.scale, total = float((sums.weights * true).sum()), weights.sum()
        relative = true / sums.scale
        for index, file in enumerate(files):
            own = (weights[index] / total, variances[index], relative[index])
            _add_frame(night, (file, p, truth), grid, own, sums)
    sums.weight[sums.number == 0] = np.nan
    sci, var = sums.total / sums.weight, sums.noise / sums.weight**2
    noisecov = sums.correlation / sums.correlation.sum()
    return OracleStack(sci, var, sums.number, noisecov, grid, files, sums.weights, true / sums.scale, sums.scale)


@dataclass
class _Sums:
    """A stack in the making."""

    total: np.ndarray
    weight: np.ndarray
    noise: np.ndarray
    number: np.ndarray
    correlation: np.ndarray
    weights: np.ndarray
    scale: float = 1.0

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> _Sums:
        total, weight, noise = (np.zeros(shape) for _ in range(3))
        return cls(total, weight, noise, np.zeros(shape, np.uint16), np.zeros((7, 7)), np.zeros(0))


def _add_frame(
    night: Night,
    which: tuple[str, int, DetectorTruth],
    grid: Grid,
    own: tuple[float, float, float],
    sums: _Sums,
) -> None:
    """Add one plane of a frame; `own` = (weight, typical variance, relative transparency)."""
    (file, p, truth), (weight, typical, relative) = which, own
    data, missing = _frame(night, file, p, truth)
    place = places(night, file, p, grid)
    values, covered = place.sample(data)
    good = np.clip(covered - np.clip(place.sample(missing)[0], 0, 1), 0, 1)
    share = weight * good
    sums.total += share * np.where(share > 0, values, 0.0) / relative
    sums.weight += share
    uneven = np.maximum(place.sample(_variance(night, file, p, truth))[0], 0.1 * typical) / place.area
    sums.noise += (share / relative) ** 2 * uneven
    sums.number += good > 0.5
    sums.correlation += weight**2 * typical * autocorrelation(place)


def _variance(night: Night, file: str, plane: int, truth: DetectorTruth) -> np.ndarray:
    """Variance of the flat-fielded sky, electron^2 per pixel, rounding included; the median where it is bad."""
    frame, detector, truth = night.frames[file], night.detectors[plane], night.own_truth(file, plane, truth)
    seconds = frame.exposure_time * frame.coadds
    shorter = frame.exposure_time / (frame.exposure_time + float(np.mean(detector.time_delta)))
    flat = np.where(truth.bad, 1.0, truth.flat)
    charge = night.sky(file, plane, truth) * flat + truth.dark * seconds
    rounding = 0.0 if night.bitpix < 0 else (detector.gain * night.averaged_over(file)) ** 2 / 12
    electronic = detector.read_noise**2 * frame.coadds + rounding
    variance = (charge * shorter + electronic * shorter**2) / flat**2
    return np.asarray(np.where(truth.bad, np.median(variance[~truth.bad]), variance))


def _frame(night: Night, file: str, plane: int, truth: DetectorTruth) -> tuple[np.ndarray, np.ndarray]:
    """Sky-free electrons with bad pixels filled by the truth, and 1.0 where that happened."""
    frame = night.frames[file]
    own, sky = night.own_truth(file, plane, truth), night.sky(file, plane, truth)
    data = calibrate(night.raw(file, plane), own, night.detectors[plane], frame.timing) - sky
    missing = truth.bad.copy()
    missing.reshape(-1)[night.cosmics(file, plane).index] = True
    expected = night.scene(file, plane) * frame.conditions.transparency
    return np.where(missing, expected, data), missing.astype(np.float64)


def true_scene(
    night: Night,
    group: str,
    grid: Grid,
    shares: Mapping[str, float] | None = None,
    *,
    extended: bool = True,
) -> np.ndarray:
    """Noise-free stack at transparency 1: each frame's own seeing, weighted by `shares` of file (default equal).

    Without `extended`, only sources smaller than a twentieth of the field.

    The scene is rendered directly at the positions of the grid's reference frame; float64 electrons of one exposure.
    """
    members = night.groups[group]
    given = shares or dict.fromkeys(members.objects, 1.0)
    total = sum(given.values())
    large = 0.05 * night.detectors[grid.plane].shape[1] * night.scale_of(grid.plane)
    sources = tuple(source for source in members.sources if extended or source.radius < large)
    x, y = night.flat_positions(grid.reference, grid.plane, sources)
    x, y = x + grid.origin[0], y + grid.origin[1]
    seeing = [(night.frames[file].conditions.fwhm, share / total) for file, share in given.items()]
    return night.drawn(sources, (x, y), (grid.shape, grid.plane, None), seeing)


def write_oracle(night: Night, group: str, path: Path | None = None, plane: int | None = None) -> Path:
    """Write the oracle in the form of a product (default: truth/oracle_GROUP.fits), for `accuracy.measure`."""
    stack = oracle_stack(night, group, plane=plane)
    path = path or night.truth_dir / f"oracle_{group}.fits"
    write_product(night, stack, path)
    return path


def write_product(night: Night, stack: OracleStack, path: Path, extra: Sequence[tuple[str, float]] = ()) -> None:
    """Write SCI, VAR, DQ, NEXP, NOISECOV and FRAMES; `extra` = further keywords of SCI."""
    from astropy.io import fits

    wcs = night.frames[stack.grid.reference].wcs[stack.grid.plane]
    header = fits.Header()
    header["BUNIT"] = "electron"
    for axis in (0, 1):
        header[f"CTYPE{axis + 1}"] = ("RA---TAN", "DEC--TAN")[axis]
        header[f"CRPIX{axis + 1}"] = wcs.crpix[axis] + stack.grid.origin[axis]
        header[f"CRVAL{axis + 1}"] = wcs.crval[axis]
    for keyword, value in zip(("CD1_1", "CD1_2", "CD2_1", "CD2_2"), wcs.cd):
        header[keyword] = value
    header["REFX0"], header["REFY0"] = stack.grid.origin
    header["CORRFAC"] = float(np.sqrt(stack.noisecov[3, 3]))
    header["LEVELERR"] = 0.0
    header.update(extra)
    dq = np.where(stack.n == 0, 16, 0).astype(np.uint16)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(stack.sci.astype(np.float32), header, name="SCI"),
        fits.ImageHDU(stack.var.astype(np.float32), name="VAR"),
        fits.ImageHDU(dq, name="DQ"),
        fits.ImageHDU(stack.n, name="NEXP"),
        fits.ImageHDU(stack.noisecov, name="NOISECOV"),
        _frames_table(night, stack),
    ]
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _frames_table(night: Night, stack: OracleStack) -> object:
    from astropy.io import fits

    offsets = np.array([night.offset(file, stack.grid.reference, stack.grid.plane) for file in stack.files])
    conditions = [night.frames[file].conditions for file in stack.files]
    count = len(stack.files)
    columns = {
        "file": ("64A", list(stack.files)),
        "xoff": ("D", offsets[:, 0]),
        "yoff": ("D", offsets[:, 1]),
        "xoff_err": ("D", np.zeros(count)),
        "yoff_err": ("D", np.zeros(count)),
        "sky": ("D", [item.sky for item in conditions]),
        "fwhm": ("D", [item.fwhm / night.pixel_scale for item in conditions]),
        "transparency": ("D", stack.transparencies),
        "weight": ("D", stack.weights),
        "state": ("16A", ["used"] * count),
        "reason": ("64A", [""] * count),
    }
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name, form, array=values) for name, (form, values) in columns.items()], name="FRAMES"
    )
    table.header["REFFRAME"] = stack.grid.reference
    return table
