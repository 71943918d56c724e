"""The best stack that a simulated night allows: true calibrations, sky, masks and offsets, same noise draw.

Plain numpy, independent of nirred's kernels: what it shares with the reduction is the raw file alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nirred.testing.detector_sim import DetectorTruth, calibrate
from nirred.testing.night import Night

LANCZOS_RADIUS = 3


@dataclass(frozen=True)
class Grid:
    """Pixel grid of a stack.

    Parameters
    ----------
    reference : str
        File of the reference frame.
    origin : (float, float)
        (x, y), zero-based pixel in the stack of the reference frame's pixel (0, 0).
    shape : (int, int)
        (ny, nx).
    """

    reference: str
    origin: tuple[float, float]
    shape: tuple[int, int]


@dataclass(frozen=True)
class OracleStack:
    """Stack of one plane of a group.

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
        Per frame; transparencies have a weighted mean of 1.
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


def common_grid(night: Night, group: str, plane: int = 0, reference: str = "") -> Grid:
    """Union footprint of a group's frames on target, whole pixels from the reference (default: the first)."""
    files = night.groups[group].objects
    reference = reference or files[0]
    ny, nx = night.detectors[plane].shape
    shifts = np.array([night.offset(file, reference, plane) for file in files])
    low = np.floor((-shifts).min(axis=0)).astype(int)
    high = np.ceil((-shifts).max(axis=0)).astype(int)
    return Grid(reference, (float(-low[0]), float(-low[1])), (int(ny + high[1] - low[1]), int(nx + high[0] - low[0])))


def oracle_stack(night: Night, group: str, grid: Grid | None = None, plane: int = 0) -> OracleStack:
    """Stack a group's frames on target as well as can be.

    Parameters
    ----------
    night, group, plane
        Which frames: night, scenario, detector.
    grid : Grid, optional
        Of the product to compare with; default the union footprint.

    Raises
    ------
    ValueError
        The camera has a distortion.

    Notes
    -----
    A frame is calibrated with the truth, its true sky subtracted, its bad and cosmic-ray pixels replaced by the
    noise-free truth (which is then unbiased under any interpolation) and given no weight for the share that they
    take of an output pixel; then shifted by Lanczos-3 and averaged with weights transparency^2 / variance, one per
    frame. Scale: relative transparencies have a weighted mean of 1.
    """
    if night.distortion is not None:
        raise ValueError(f"{night.directory}: the oracle stacks by pure shifts, this camera is distorted")
    grid = grid or common_grid(night, group, plane)
    files = night.groups[group].objects
    truth = night.detector_truth(plane)
    conditions = [night.frames[file].conditions for file in files]
    true = np.array([item.transparency for item in conditions])
    variances = np.array([np.median(_variance(night, file, plane, truth)) for file in files])
    weights = true**2 / variances
    weights /= weights.sum()
    scale = float((weights * true).sum())
    relative = true / scale
    total, weight = np.zeros(grid.shape), np.zeros(grid.shape)
    noise, number = np.zeros(grid.shape), np.zeros(grid.shape, np.uint16)
    correlation = np.zeros((7, 7))
    for index, file in enumerate(files):
        data, missing = _frame(night, file, plane, truth)
        dx, dy = night.offset(file, grid.reference, plane)
        place = (dx - grid.origin[0], dy - grid.origin[1])
        shifted, covered = shift(data, place, grid.shape)
        good = np.clip(covered - np.clip(shift(missing, place, grid.shape)[0], 0, 1), 0, 1)
        share = weights[index] * good
        total += share * np.where(share > 0, shifted, 0.0) / relative[index]
        weight += share
        uneven = np.maximum(shift(_variance(night, file, plane, truth), place, grid.shape)[0], 0.1 * variances[index])
        noise += (share / relative[index]) ** 2 * uneven
        number += good > 0.5
        correlation += weights[index] ** 2 * variances[index] * _autocorrelation(place)
    weight[number == 0] = np.nan
    sci, var = total / weight, noise / weight**2
    noisecov = correlation / correlation.sum()
    return OracleStack(sci, var, number, noisecov, grid, files, weights, relative, scale)


def _variance(night: Night, file: str, plane: int, truth: DetectorTruth) -> np.ndarray:
    """Variance of the flat-fielded sky, electron^2 per pixel, rounding included; the median where it is bad."""
    frame, detector = night.frames[file], night.detectors[plane]
    seconds = frame.exposure_time * frame.coadds
    shorter = frame.exposure_time / (frame.exposure_time + float(np.mean(detector.time_delta)))
    flat = np.where(truth.bad, 1.0, truth.flat)
    charge = night.sky(file, plane) * flat + truth.dark * seconds
    rounding = 0.0 if night.bitpix < 0 else detector.gain**2 / 12
    electronic = detector.read_noise**2 * frame.coadds + rounding
    variance = (charge * shorter + electronic * shorter**2) / flat**2
    return np.asarray(np.where(truth.bad, np.median(variance[~truth.bad]), variance))


def _frame(night: Night, file: str, plane: int, truth: DetectorTruth) -> tuple[np.ndarray, np.ndarray]:
    """Sky-free electrons with bad pixels filled by the truth, and 1.0 where that happened."""
    frame = night.frames[file]
    data = calibrate(night.raw(file, plane), truth, night.detectors[plane], frame.timing) - night.sky(file, plane)
    missing = truth.bad.copy()
    missing.reshape(-1)[night.cosmics(file, plane).index] = True
    expected = night.scene(file, plane) * frame.conditions.transparency
    return np.where(missing, expected, data), missing.astype(np.float64)


def kernel(offset: float) -> tuple[int, np.ndarray]:
    """Weights for sampling at `offset`: first whole pixel and six Lanczos-3 weights, put right.

    Bare Lanczos-3 misplaces a star by up to 0.013 px and changes its width. Here the weights are changed as little as
    possible (least squares) to sum to 1 with vanishing first and second moments.
    """
    base = math.floor(offset)
    distance = offset - base - np.arange(1 - LANCZOS_RADIUS, LANCZOS_RADIUS + 1)
    weights = np.sinc(distance) * np.sinc(distance / LANCZOS_RADIUS)
    powers = distance ** np.arange(3)[:, None]
    missing = np.array([1.0, 0.0, 0.0]) - powers @ weights
    return base + 1 - LANCZOS_RADIUS, weights + powers.T @ np.linalg.solve(powers @ powers.T, missing)


def shift(data: np.ndarray, place: tuple[float, float], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Sample `data` at (x + place[0], y + place[1]) for every pixel (x, y) of `shape`.

    Returns
    -------
    (ndarray, ndarray)
        Values, and 1.0 where the sampled place lies on the array (beyond the border its edge is continued).
    """
    columns = _taps(data.shape[1], place[0], shape[1])
    rows = _taps(data.shape[0], place[1], shape[0])
    across = np.zeros((data.shape[0], shape[1]))
    for index, weight in columns:
        across += weight * data[:, index]
    out = np.zeros(shape)
    for index, weight in rows:
        out += weight * across[index]
    x, y = np.arange(shape[1]) + place[0], np.arange(shape[0]) + place[1]
    inside_x = (x > -0.5) & (x < data.shape[1] - 0.5)
    inside_y = (y > -0.5) & (y < data.shape[0] - 0.5)
    return out, (inside_y[:, None] & inside_x).astype(np.float64)


def _taps(length: int, offset: float, wanted: int) -> list[tuple[np.ndarray, float]]:
    first, weights = kernel(offset)
    positions = np.arange(wanted) + first
    return [(np.clip(positions + tap, 0, length - 1), float(weight)) for tap, weight in enumerate(weights)]


def _autocorrelation(place: tuple[float, float]) -> np.ndarray:
    """(7, 7) noise autocorrelation of a shifted white frame."""
    rows = []
    for offset in place:
        _, weights = kernel(offset)
        full = np.correlate(weights, weights, "full")
        rows.append(full[len(weights) - 4 : len(weights) + 3])
    return np.outer(rows[1], rows[0])


def true_scene(
    night: Night,
    group: str,
    grid: Grid,
    shares: Mapping[str, float] | None = None,
    *,
    extended: bool = True,
    plane: int = 0,
) -> np.ndarray:
    """Noise-free stack at transparency 1: each frame's own seeing, weighted by `shares` of file (default equal).

    Without `extended`, only what is smaller than a twentieth of the field.

    The scene is rendered directly at the positions of the grid's reference frame; float64 electrons of one exposure.
    """
    from nirred.testing.scene import render

    members = night.groups[group]
    given = shares or dict.fromkeys(members.objects, 1.0)
    total = sum(given.values())
    large = 0.05 * night.detectors[plane].shape[1] * night.pixel_scale
    sources = tuple(source for source in members.sources if extended or source.radius < large)
    x, y = night.positions(grid.reference, plane, sources)
    x, y = x + grid.origin[0], y + grid.origin[1]
    image = np.zeros(grid.shape)
    for file, share in given.items():
        fwhm = night.frames[file].conditions.fwhm
        image += share / total * render(sources, x, y, grid.shape, fwhm, night.pixel_scale)
    return image


def write_oracle(night: Night, group: str, path: Path | None = None, plane: int = 0) -> Path:
    """Write the oracle in the form of a product (default: truth/oracle_GROUP.fits), for `accuracy.measure`."""
    stack = oracle_stack(night, group, plane=plane)
    path = path or night.truth_dir / f"oracle_{group}.fits"
    write_product(night, stack, path, plane)
    return path


def write_product(
    night: Night, stack: OracleStack, path: Path, plane: int = 0, extra: Sequence[tuple[str, float]] = ()
) -> None:
    """Write SCI, VAR, DQ, NEXP, NOISECOV and FRAMES; `extra` = further keywords of SCI."""
    from astropy.io import fits

    wcs = night.frames[stack.grid.reference].wcs[plane]
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
        _frames_table(night, stack, plane),
    ]
    fits.HDUList(hdus).writeto(path, overwrite=True)


def _frames_table(night: Night, stack: OracleStack, plane: int) -> object:
    from astropy.io import fits

    offsets = np.array([night.offset(file, stack.grid.reference, plane) for file in stack.files])
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
