"""Accuracy of a reduced product, measured against the truth and the oracle stack of its simulated night."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nirred.testing.comparison import Comparison, read_product
from nirred.testing.night import Night
from nirred.testing.oracle import OracleStack, oracle_stack
from nirred.testing.photometry import (
    Apertures,
    Figure,
    blank_apertures,
    clipped,
    median_figure,
    scatter,
    scatter_ratio,
)
from nirred.testing.scene import moffat

NOISE_RADII = (0.5, 1.0, 2.0, 4.0)  # of the FWHM
FAINT = (3.0, 8.0)  # signal-to-noise in the oracle stack
BRIGHT = 100.0
LEFTOVER_SIGMA = 8.0
MODEL_ERROR = 0.05  # of the scene: interpolation and pixel phase that the noise-free scene leaves out
NOTHING = Figure(math.nan, math.inf)


@dataclass(frozen=True)
class Accuracy:
    """Every row of the accuracy table, each with its floor.

    Parameters
    ----------
    group : str
        Scenario.
    seed : int
        Of the night.
    frames : int
        Frames in the product.
    pixels : int
        Of a frame.
    depth : Figure
        Signal-to-noise of faint sources relative to the oracle's.
    flux_bias, flux_scatter : Figure
        Stars of signal-to-noise above 100 against the oracle, percent.
    pull_median, pull_width : Figure
        Faint stars: (flux - truth) / predicted error; the median less the oracle's.
    galaxy : Figure
        Flux kept inside 3 (with sky frames) or 2 half-light radii, relative to the oracle.
    offset_rms : Figure
        Reported offsets minus truth, px per axis.
    fwhm_ratio : Figure
        Against the oracle.
    leftovers : Figure
        Objects above 8 sigma that are not in the truth; its floor is the oracle's count.
    noise : tuple of Figure
        Measured over predicted noise at radii of 0.5, 1, 2, 4 FWHM.
    background : Figure
        Median of blank pixels against the oracle's, percent of the sky.
    level : Figure
        The same in electrons; its error is the product's own LEVELERR.
    """

    group: str
    seed: int
    frames: int
    pixels: int
    depth: Figure
    flux_bias: Figure
    flux_scatter: Figure
    pull_median: Figure
    pull_width: Figure
    galaxy: Figure
    offset_rms: Figure
    fwhm_ratio: Figure
    leftovers: Figure
    noise: tuple[Figure, ...]
    background: Figure
    level: Figure


def measure(product_path: Path | str, night: Night, group: str, oracle: OracleStack | None = None) -> Accuracy:
    """All figures of a product.

    Parameters
    ----------
    product_path : Path or str
        A stack as `nirred run` writes it.
    night : Night
        The simulated night that it was made from.
    group : str
        Scenario of the night that it belongs to.
    oracle : OracleStack, optional
        On the product's grid, where it was made before.

    Returns
    -------
    Accuracy
    """
    product = read_product(product_path)
    if oracle is None or oracle.grid != product.grid:
        oracle = oracle_stack(night, group, product.grid)
    comparison = Comparison(night, group, product, oracle)
    pull_median, pull_width = _pulls(comparison)
    bias, spread = _bright_fluxes(comparison)
    background, level = _background(comparison)
    return Accuracy(
        group=group,
        seed=night.seed,
        frames=len(product.weights),
        pixels=sum(math.prod(detector.shape) for detector in night.detectors),
        depth=_depth(comparison),
        flux_bias=bias,
        flux_scatter=spread,
        pull_median=pull_median,
        pull_width=pull_width,
        galaxy=_galaxy(comparison),
        offset_rms=_offsets(comparison),
        fwhm_ratio=_fwhm_ratio(comparison),
        leftovers=_leftovers(comparison),
        noise=tuple(_noise(comparison, factor) for factor in NOISE_RADII),
        background=background,
        level=level,
    )


def _aperture_share(radius: float, fwhm: float) -> float:
    """Share of a star's flux inside `radius`, both in the same unit."""
    return sum(c * (1 - math.exp(-0.5 * (radius / (s * fwhm)) ** 2)) for s, c in moffat())


def _stars(comparison: Comparison) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y on the product's grid and flux of the true stars."""
    grid, members = comparison.product.grid, comparison.night.groups[comparison.group].sources
    stars = tuple(source for source in members if source.kind == "star")
    x, y = comparison.night.flat_positions(grid.reference, 0, stars)
    return x + grid.origin[0], y + grid.origin[1], np.array([star.flux for star in stars])


def _faint(comparison: Comparison) -> tuple[Apertures, np.ndarray]:
    """Apertures of radius FWHM on isolated stars of signal-to-noise 3 to 8, and their light in it (truth)."""
    radius = comparison.fwhm
    x, y, flux = _stars(comparison)
    own = flux * _aperture_share(radius, comparison.fwhm)
    everything = Apertures(x, y, radius)
    light = everything.sums(np.where(comparison.covered, comparison.compact, np.nan))
    sigma = everything.sigmas(comparison.oracle.var, comparison.oracle.noisecov)
    with np.errstate(invalid="ignore"):
        snr = own * comparison.oracle.scale / sigma
        keep = (snr >= FAINT[0]) & (snr <= FAINT[1]) & (light < 1.3 * own)
    return Apertures(x[keep], y[keep], radius), light[keep]


def _depth(comparison: Comparison) -> Figure:
    """Response to faint sources over the scatter of blank apertures, relative to the oracle's."""
    apertures, light = _faint(comparison)
    blanks = blank_apertures(comparison.blank, comparison.fwhm)
    first, second = comparison.flat_residuals
    noise = scatter_ratio(blanks.sums(first), blanks.sums(second))
    if light.size < 3:
        return NOTHING
    scales = (comparison.scale, comparison.oracle.scale)
    slopes = [image_sum / scale for image_sum, scale in zip((apertures.sums(first), apertures.sums(second)), scales)]
    difference = (slopes[0] - slopes[1]) / light
    good = clipped(difference)
    weight = np.where(good, light**2, 0.0)
    shift = float(np.average(np.where(good, difference, 0.0), weights=weight))
    error = float(np.std(difference[good])) * math.sqrt((weight**2).sum()) / weight.sum()
    value = (1 + shift) * comparison.scale / comparison.oracle.scale / noise.value
    return Figure(value, value * math.hypot(error, noise.error / noise.value))


def _pulls(comparison: Comparison) -> tuple[Figure, Figure]:
    """Median (less the oracle's: same stars, same noise) and width of faint stars' errors over those predicted."""
    apertures, _ = _faint(comparison)
    product, oracle = comparison.product, comparison.oracle
    sigmas = [
        apertures.sigmas(var, cov) for var, cov in ((product.var, product.noisecov), (oracle.var, oracle.noisecov))
    ]
    pulls = np.array([apertures.sums(image) / s for image, s in zip(comparison.flat_residuals, sigmas, strict=True)])
    pulls = pulls[:, np.isfinite(pulls).all(axis=0)]
    if pulls.shape[1] < 3:
        return NOTHING, NOTHING
    own = median_figure(pulls[0])
    median = Figure(own.value - median_figure(pulls[1]).value, own.error)
    return median, Figure(scatter(pulls[0]), 1 / math.sqrt(2 * pulls.shape[1]))


def _bright(comparison: Comparison, radius: float) -> tuple[Apertures, np.ndarray]:
    """Apertures on bright stars that stay in the linear range, and the flux expected in each."""
    x, y, flux = _stars(comparison)
    own = flux * _aperture_share(radius, comparison.fwhm)
    apertures = Apertures(x, y, radius)
    sigma = apertures.sigmas(comparison.oracle.var, comparison.oracle.noisecov)
    light = apertures.sums(np.where(comparison.covered, comparison.compact, np.nan))
    with np.errstate(invalid="ignore"):
        keep = (own > BRIGHT * sigma) & (flux / comparison.fwhm**2 < comparison.room) & (light < 1.2 * own)
    return Apertures(x[keep], y[keep], radius), own[keep]


def _bright_fluxes(comparison: Comparison) -> tuple[Figure, Figure]:
    """Median and scatter of (product - oracle) / flux, percent."""
    apertures, expected = _bright(comparison, 1.5 * comparison.fwhm)
    first, second = comparison.flat_residuals
    one, two = apertures.sums(first) / comparison.scale, apertures.sums(second) / comparison.oracle.scale
    relative = 100 * (one - two) / expected
    relative = relative[np.isfinite(relative)]
    if relative.size < 2:
        return (Figure(float(relative[0]), math.inf), NOTHING) if relative.size else (NOTHING, NOTHING)
    spread = scatter(relative)
    return median_figure(relative), Figure(spread, spread / math.sqrt(2 * relative.size))


def _galaxy(comparison: Comparison) -> Figure:
    members = comparison.night.groups[comparison.group]
    main = members.sources[0]
    if main.kind != "galaxy" or members.content == "filling":
        return NOTHING
    grid = comparison.product.grid
    x, y = comparison.night.flat_positions(grid.reference, 0, (main,))
    radius = (3 if members.skies else 2) * main.radius / comparison.night.pixel_scale
    rows, columns = np.mgrid[: grid.shape[0], : grid.shape[1]]
    inside = np.hypot(columns - x[0] - grid.origin[0], rows - y[0] - grid.origin[1]) <= radius
    inside &= np.isfinite(comparison.product.sci) & np.isfinite(comparison.oracle.sci)
    kept = comparison.product.sci[inside].sum() / comparison.scale
    expected = comparison.oracle.sci[inside].sum() / comparison.oracle.scale
    floor = math.sqrt(float(np.nansum(comparison.product.var[inside])))
    return Figure(float(kept / expected), float(floor / expected))


def _offsets(comparison: Comparison) -> Figure:
    """Rms per axis about the mean difference, which is the reference frame's own error."""
    product = comparison.product
    true = {name: comparison.night.offset(name, product.grid.reference) for name in product.offsets}
    difference = np.array([np.subtract(product.offsets[name], true[name]) for name in product.offsets])
    if len(difference) < 2:
        return NOTHING
    degrees = 2 * (len(difference) - 1)
    rms = math.sqrt(((difference - difference.mean(axis=0)) ** 2).sum() / degrees)
    return Figure(rms, rms / math.sqrt(2 * degrees))


def _fwhm_ratio(comparison: Comparison) -> Figure:
    """From the noise-equivalent area (sum f)^2 / sum f^2 of bright stars, which goes with the square of the width."""
    apertures, _ = _bright(comparison, 1.5 * comparison.fwhm)
    first, second = comparison.flat_residuals
    areas = []
    for residual, scale in ((first, comparison.scale), (second, comparison.oracle.scale)):
        image = residual + scale * comparison.scene
        areas.append(apertures.sums(image) ** 2 / apertures.sums(image**2))
    return median_figure(np.sqrt(areas[0] / areas[1]))


def _leftovers(comparison: Comparison) -> Figure:
    """Connected groups of pixels above 8 sigma where three or more exposures contribute, saturated stars left out."""
    from scipy.ndimage import label, maximum_filter

    light = np.maximum(comparison.scene, 0)
    near_saturated = maximum_filter(light, size=4 * math.ceil(comparison.fwhm) + 1) > comparison.room
    enough = (comparison.product.nexp >= 3) & comparison.covered & ~near_saturated
    noise = comparison.product.var + light / np.maximum(comparison.product.nexp, 1)
    sigma = np.sqrt(comparison.product.correlation * noise + (MODEL_ERROR * light) ** 2)
    counts = []
    for residual in comparison.flat_residuals:
        with np.errstate(invalid="ignore"):
            found = enough & (np.abs(residual) > LEFTOVER_SIGMA * sigma)
        counts.append(float(label(found, np.ones((3, 3)))[1]))
    return Figure(counts[0], counts[1])


def _noise(comparison: Comparison, factor: float) -> Figure:
    """Scatter of blank apertures, each over its own predicted noise."""
    apertures = blank_apertures(comparison.blank, factor * comparison.fwhm)
    if apertures.x.size < 10:
        return NOTHING
    if apertures.x.size > 3000:
        chosen = np.linspace(0, apertures.x.size - 1, 3000).astype(int)
        apertures = Apertures(apertures.x[chosen], apertures.y[chosen], apertures.radius)
    sigma = apertures.sigmas(comparison.product.var, comparison.product.noisecov)
    pulls = apertures.sums(comparison.flat_residuals[0]) / sigma
    return Figure(scatter(pulls), 1 / math.sqrt(2 * apertures.x.size))


def _background(comparison: Comparison) -> tuple[Figure, Figure]:
    """Median difference to the oracle of blank pixels: percent of the sky, and electrons."""
    one = comparison.residual(comparison.product.sci, comparison.scale)
    two = comparison.residual(comparison.oracle.sci, comparison.oracle.scale)
    difference = np.where(comparison.blank, one - two, np.nan)
    boxes = [box for rows in np.array_split(difference, 4) for box in np.array_split(rows, 4, axis=1)]
    medians = np.array([np.nanmedian(box) for box in boxes if np.isfinite(box).sum() > 50])
    if medians.size < 2:
        return NOTHING, NOTHING
    value = float(np.nanmedian(difference))
    error = float(medians.std(ddof=1) / math.sqrt(medians.size))
    sky = float(np.mean([comparison.night.frames[name].conditions.sky for name in comparison.product.weights]))
    return Figure(100 * value / sky, 100 * error / sky), Figure(value, comparison.product.level_error)
