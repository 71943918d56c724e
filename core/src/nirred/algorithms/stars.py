"""Star lists for registration: positions at the noise limit, sizes and fluxes."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms import stars_kernels as kernels
from nirred.algorithms.background import as_mask
from nirred.algorithms.neighbours import nearest
from nirred.algorithms.stars_mesh import BOX, BackgroundMesh, background_mesh

FloatArray = NDArray[np.float64]
Mask = NDArray[np.uint8] | NDArray[np.bool_]

#: FWHM of a Gaussian in units of its sigma, 2 sqrt(2 ln 2).
FWHM_PER_SIGMA = 2.3548200450309493

#: Smoothing (px) for the first search of an image whose FWHM is not known.
FIRST_FWHM = 2.5

#: Number of times that this is doubled for stars that it is too narrow for.
DOUBLED = 4

#: Least FWHM of the minor axis (px, pixel included) of an image made by optics.
SHARPEST_FWHM = 1.2

#: Part of the squared window that may be masked before a star is dropped.
MAX_LOST = 0.15

#: Least FWHM (px) of stars smooth enough to reveal cosmic rays on them: a pixel exceeds this many times the mean of its
#: neighbours, which a star of this FWHM exceeds by 1.36 times at most, by this many sigma of the sky.
SMOOTH, SHARP, HIT = 3.0, 2.0, 8.0
#: Number of the brightest peaks around which these are sought: among more stars, a displaced one is rejected.
PRECIOUS = 100

#: Stars of this FWHM (px) or more are sought in means of 2x2 pixels: a quarter of the work, 1 to 3 % lower S/N.
BROAD = 3.0

_PEAK_LIMIT = 20000


@dataclass(frozen=True)
class StarList:
    """Stars of one image, brightest first.

    Attributes
    ----------
    x, y : float64 array, shape (n,)
        Zero-based position (px); integers at pixel centres.
    position_error : float64 array, shape (n,)
        1-sigma error of x and of y (px), sky and photon noise.
    flux : float64 array, shape (n,)
        Total of the Gaussian of the image's FWHM that fits the star (data units).
    snr : float64 array, shape (n,)
        Flux over its error, sky and photon noise.
    fwhm : float64 array, shape (n,)
        Geometric mean of the axes (px), pixel included; larger for galaxies.
    ellipticity : float64 array, shape (n,)
        1 - minor / major axis.
    peak : float64 array, shape (n,)
        Value of the nearest pixel above the local background (data units).
    noise : float
        Noise of a background pixel, median over the image (data units).
    """

    x: FloatArray
    y: FloatArray
    position_error: FloatArray
    flux: FloatArray
    snr: FloatArray
    fwhm: FloatArray
    ellipticity: FloatArray
    peak: FloatArray
    noise: float

    def __len__(self) -> int:
        return int(self.x.size)

    def __getitem__(self, which: NDArray[np.intp] | NDArray[np.bool_] | slice) -> StarList:
        columns = {f.name: getattr(self, f.name)[which] for f in fields(self) if f.name != "noise"}
        return StarList(**columns, noise=self.noise)


def find_stars(
    data: NDArray[np.float32],
    bad: Mask | None = None,
    *,
    fwhm: float | None = None,
    threshold: float = 5.0,
    max_stars: int = 400,
    gain: float = 1.0,
) -> StarList:
    """Find stars and measure their positions at the noise limit.

    The image, minus a smooth background, is smoothed with a Gaussian of the stars' FWHM; peaks are measured with
    a Gaussian window of that size, the estimate of least variance for white noise.  Single bright pixels and
    tracks of cosmic rays are rejected by their size, galaxies are kept.

    Parameters
    ----------
    data : float32 array, shape (ny, nx)
        Sky-subtracted image (electron); a smooth remainder is allowed for.
    bad : uint8 or bool array, shape (ny, nx), optional
        Not zero where a pixel is unusable; non-finite pixels are left out too.
    fwhm : float, optional
        FWHM of the stars (px); measured if not given.
    threshold : float
        Least signal-to-noise (sky noise only).
    max_stars : int
        The brightest are returned.
    gain : float
        Electrons per data unit, for the photon noise of the stars.

    Returns
    -------
    StarList
        Brightest first; may be empty.
    """
    image = np.ascontiguousarray(data, np.float32)
    mask = as_mask(bad, image.shape)
    mesh = background_mesh(image, mask)
    if not np.any(mesh.noise > 0):
        return _star_list(np.empty((0, kernels.COLUMNS)), np.empty(0), 1.0, 0.0, gain)
    size = fwhm or FIRST_FWHM
    peaks = _peaks(image, mask, mesh, size, threshold, known=fwhm is not None)[: 4 * max_stars]
    if fwhm is None:
        size = _measured_size(image, mask, mesh, peaks[:200])
        if size > 1.3 * FIRST_FWHM:
            # Broad stars break into several peaks, and faint ones drown, at the first smoothing.
            peaks = _peaks(image, mask, mesh, size, threshold, known=True)[: 4 * max_stars]
    if size >= SMOOTH:
        mask = _without_hits(image, mask, mesh, peaks[:PRECIOUS], size)
    table, noise = _measure(image, mask, mesh, peaks[:, 0], peaks[:, 1], size)
    stars = _star_list(table, noise, size, float(np.median(mesh.noise)), gain)
    stars = stars[_starlike(stars, table, noise, size, threshold)]
    return _without_doubles(stars[np.argsort(-stars.flux, kind="stable")], 0.7 * size)[:max_stars]


def _starlike(
    stars: StarList, table: FloatArray, noise: FloatArray, size: float, threshold: float
) -> NDArray[np.bool_]:
    """Which measurements are significant, complete, and wide enough for a star."""
    sky_snr = table[:, kernels.AMPLITUDE] * np.sqrt(table[:, kernels.NORM]) / noise
    sharpness = np.minimum(0.7 - 2.0 / np.maximum(stars.snr, 1.0), SHARPEST_FWHM)
    minor = table[:, kernels.SIGMA_MINOR] * FWHM_PER_SIGMA
    with np.errstate(invalid="ignore"):
        keep = (sky_snr >= threshold) & (table[:, kernels.LOST] <= MAX_LOST)
        limit = np.minimum(SHARPEST_FWHM, 0.75 * size)
        keep &= (minor > sharpness * size) & ((minor > limit) | (stars.snr < 10))
    return np.asarray(keep)


def estimate_fwhm(stars: StarList, *, min_snr: float = 20.0) -> float:
    """Return the FWHM of the point sources (px), NaN for an empty list.

    Parameters
    ----------
    stars : StarList
        The list; elongated objects do not count.
    min_snr : float
        Fainter stars, whose sizes noise determines, are used only if there is no brighter one.

    Returns
    -------
    float
        Median, without objects 1.3 times larger than the lower quartile (galaxies, blends).
    """
    round_ones = stars[stars.ellipticity < 0.5] if np.any(stars.ellipticity < 0.5) else stars
    bright = round_ones[round_ones.snr >= min_snr]
    sizes = (bright if len(bright) else round_ones).fwhm
    sizes = sizes[np.isfinite(sizes)]
    if sizes.size == 0:
        return float("nan")
    return float(np.median(sizes[sizes <= 1.3 * np.percentile(sizes, 25) + 1e-9]))


def _peaks(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8],
    mesh: BackgroundMesh,
    fwhm: float,
    threshold: float,
    *,
    known: bool,
) -> FloatArray:
    """Return [x, y, smoothed, top] of the peaks at this smoothing, brightest first."""
    binning = 2 if known and fwhm >= BROAD else 1
    sigma = fwhm / FWHM_PER_SIGMA / binning
    half = max(2, int(np.ceil(2.5 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    weights /= weights.sum()
    # A star of FWHM 1.8 px keeps this part of its peak; a single pixel that of the kernel's centre.
    star = 0.5 if known else 0.34
    sharp = float(np.sqrt(weights[half] ** 2 / binning**2 * star))
    found = kernels.find_peaks(
        image,
        mask,
        mesh.level,
        mesh.noise,
        BOX,
        weights.astype(np.float32),
        np.float32(0.8 * threshold),
        np.float32(sharp),
        binning,
        _PEAK_LIMIT,
    ).astype(np.float64)
    return np.asarray(found[np.argsort(-found[:, 2], kind="stable")])


def _without_hits(
    image: NDArray[np.float32], mask: NDArray[np.uint8], mesh: BackgroundMesh, peaks: FloatArray, fwhm: float
) -> NDArray[np.uint8]:
    """The mask, with cosmic rays on and next to stars: one of them may move the only bright star of a field."""
    x, y = (np.ascontiguousarray(peaks[:, k]) for k in (0, 1))
    level, noise = mesh.at(x, y)
    out = np.empty_like(mask)
    kernels.mask_hits(image, mask, x, y, level, HIT * noise, int(np.ceil(1.5 * fwhm)), SHARP, out)
    return out


def _measure(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8],
    mesh: BackgroundMesh,
    x: FloatArray,
    y: FloatArray,
    fwhm: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the kernel's table and the noise at each star, on the mesh as background."""
    level, noise = mesh.at(x, y)
    table = np.empty((x.size, kernels.COLUMNS))
    xs, ys = np.ascontiguousarray(x), np.ascontiguousarray(y)
    sigma = fwhm / FWHM_PER_SIGMA
    kernels.measure(image, mask, xs, ys, level, sigma, max(fwhm, 1.5), table)
    return table, noise


def _measured_size(
    image: NDArray[np.float32], mask: NDArray[np.uint8], mesh: BackgroundMesh, peaks: FloatArray
) -> float:
    """FWHM (px) of the brighter round objects without cosmic rays, by iterating the window."""
    size = FIRST_FWHM
    for turn in range(6):
        table, noise = _measure(image, mask, mesh, peaks[:, 0], peaks[:, 1], size)
        if turn == 0:
            _measure_broad(image, mask, mesh, peaks, table)
        stars = _star_list(table, noise, size, 1.0, np.inf)
        minor = table[:, kernels.SIGMA_MINOR] * FWHM_PER_SIGMA
        round_ones = stars[(minor > SHARPEST_FWHM) & (stars.ellipticity < 0.5)]
        if turn == 0:
            round_ones = _separate(round_ones)
        # A single bright object is more reliable than many faint ones, which may be cosmic rays.
        for least in (20.0, 10.0, 0.0):
            chosen = round_ones[round_ones.snr >= least]
            if len(chosen):
                break
        measured = estimate_fwhm(chosen)
        if not np.isfinite(measured):
            return size
        if size == FIRST_FWHM and len(chosen) >= 3:
            # The sharpest at the first window stay the ones measured: in wider windows halos and galaxies take over.
            sharp = np.isin(table[:, kernels.X], chosen.x[chosen.fwhm <= 1.3 * np.percentile(chosen.fwhm, 25)])
            peaks = peaks[sharp]
        measured = max(measured, 1.5)
        if abs(measured - size) < 0.02 * size:
            return measured
        size = measured
    return size


def _separate(stars: StarList) -> StarList:
    """Stars without those closer than their FWHM to one with a higher peak: noise on a galaxy has many, all wide."""
    apart = np.hypot(stars.x[:, None] - stars.x, stars.y[:, None] - stars.y)
    hidden = (apart < stars.fwhm[:, None]) & (stars.peak[:, None] < stars.peak)
    return stars[np.flatnonzero(~hidden.any(axis=1))]


def _measure_broad(
    image: NDArray[np.float32], mask: NDArray[np.uint8], mesh: BackgroundMesh, peaks: FloatArray, table: FloatArray
) -> None:
    """Measure in wider windows, into `table`, what has no centre in a narrow one: the top of a broad star is flat."""
    for doubled in range(1, DOUBLED + 1):
        left = np.flatnonzero(np.isnan(table[:, kernels.X]))
        table[left] = _measure(image, mask, mesh, peaks[left, 0], peaks[left, 1], FIRST_FWHM * 2**doubled)[0]


def _star_list(table: FloatArray, local_noise: FloatArray, fwhm: float, noise: float, gain: float) -> StarList:
    """Turn amplitudes and windows into fluxes and errors.

    Errors of the Gaussian window on a Gaussian star, sky noise s per pixel and flux F electrons:
    (2 sigma^2 / snr_sky^2) + 16 sigma^2 / (9 F) for the position squared, and relative
    1 / snr_sky^2 + 4 / (3 F) for the flux squared.
    """
    sigma = fwhm / FWHM_PER_SIGMA
    amplitude = table[:, kernels.AMPLITUDE]
    flux = amplitude * 2.0 * np.pi * sigma**2
    with np.errstate(divide="ignore", invalid="ignore"):
        sky = (local_noise / (amplitude * np.sqrt(table[:, kernels.NORM]))) ** 2
        photon = np.where(flux > 0, 1.0 / (flux * gain), 0.0)
        snr = np.sign(flux) / np.sqrt(sky + 4.0 / 3.0 * photon)
        major, minor = table[:, kernels.SIGMA_MAJOR], table[:, kernels.SIGMA_MINOR]
        return StarList(
            x=table[:, kernels.X],
            y=table[:, kernels.Y],
            position_error=sigma * np.sqrt(2.0 * sky + 16.0 / 9.0 * photon),
            flux=flux,
            snr=snr,
            fwhm=np.sqrt(major * minor) * FWHM_PER_SIGMA,
            ellipticity=1.0 - np.where(major > 0, minor / major, 1.0),
            peak=table[:, kernels.PEAK],
            noise=noise,
        )


def _without_doubles(stars: StarList, radius: float) -> StarList:
    """Drop the fainter of two entries for one object."""
    places = np.column_stack([stars.x, stars.y])
    return stars[np.isinf(nearest(places, places, radius, earlier=True)[0])]
