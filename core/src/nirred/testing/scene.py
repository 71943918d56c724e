"""The simulated sky's contents: stars and galaxies as sums of Gaussians, integrated exactly over pixels.

Every profile (Moffat, Sersic) is expanded in concentric Gaussians; a Gaussian convolved with a Gaussian is a Gaussian,
and its integral over a pixel a product of error functions, so that any sub-pixel position and seeing are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

Mixture = tuple[tuple[float, float], ...]
"""(sigma, share of the flux) of each Gaussian; shares sum to 1."""

_REACH = 6.0  # a Gaussian is rendered to this many sigma: 2e-9 of its flux is outside
MOFFAT_BETA = 3.5


@dataclass(frozen=True)
class Source:
    """One object of the sky.

    Parameters
    ----------
    kind : {"star", "galaxy", "cloud"}
        "cloud" is a Gaussian patch of nebulosity.
    ra, dec : float
        Degrees.
    flux : float
        Electrons of one science exposure at transparency 1, on a detector with flat 1.
    radius : float
        Half-light radius along x (galaxy) or sigma (cloud), arcsec; 0 for stars.
    sersic : float
        Sersic index.
    axis_ratio : float
        Extent along y over that along x.
    field : int
        0 = target field, higher = sky fields and other targets.
    """

    kind: str
    ra: float
    dec: float
    flux: float
    radius: float = 0.0
    sersic: float = 1.0
    axis_ratio: float = 1.0
    field: int = 0


def _expand(profile: Callable[[np.ndarray], np.ndarray], sigmas: np.ndarray, reach: float) -> Mixture:
    """Least-squares expansion of a radial surface brightness in Gaussians with non-negative weights."""
    from scipy.optimize import nnls

    radii = np.geomspace(sigmas[0] * 0.2, reach, 400)
    weight = radii  # equal weight per log interval of enclosed flux
    design = np.exp(-0.5 * (radii[:, None] / sigmas) ** 2) / (2 * math.pi * sigmas**2)
    coefficients, _ = nnls(design * weight[:, None], profile(radii) * weight)
    coefficients /= coefficients.sum()
    return tuple((float(s), float(c)) for s, c in zip(sigmas, coefficients) if c > 1e-5)


@cache
def moffat(beta: float = MOFFAT_BETA) -> Mixture:
    """Point-spread function of FWHM 1: Moffat's profile, I(r) ~ (1 + (r/a)^2)^-beta, as Gaussians.

    Returns
    -------
    Mixture
        Sigmas in units of the FWHM.
    """
    scale = 0.5 / math.sqrt(2 ** (1 / beta) - 1)
    mixture = _expand(lambda r: (1 + (r / scale) ** 2) ** -beta, np.geomspace(0.25, 4.0, 9), 10.0)
    width = _fwhm(mixture)
    return tuple((sigma / width, share) for sigma, share in mixture)


def _fwhm(mixture: Mixture) -> float:
    radii = np.linspace(0.3, 0.8, 5001)
    value = sum(c * np.exp(-0.5 * (radii / s) ** 2) / s**2 for s, c in mixture)
    peak = sum(c / s**2 for s, c in mixture)
    return float(2 * np.interp(-0.5, -np.asarray(value) / peak, radii))


@cache
def sersic(index: float) -> Mixture:
    """Sersic's profile of half-light radius 1, cut at 8, as Gaussians (b_n of Ciotti & Bertin 1999)."""
    b_n = 2 * index - 1 / 3 + 4 / (405 * index) + 46 / (25515 * index**2)
    return _expand(lambda r: np.exp(-b_n * (r ** (1 / index) - 1)), np.geomspace(0.03, 4.0, 12), 8.0)


def components(source: Source, fwhm: float, pixel_scale: float) -> list[tuple[float, float, float]]:
    """(sigma_x, sigma_y, share) in pixels of a source seen at a seeing of `fwhm` arcsec."""
    point = [(sigma * fwhm / pixel_scale, share) for sigma, share in moffat()]
    if source.kind == "star":
        return [(sigma, sigma, share) for sigma, share in point]
    extent = source.radius / pixel_scale
    shape: Mixture = ((1.0, 1.0),) if source.kind == "cloud" else sersic(source.sersic)
    merged = []
    for sigma, share in shape:
        x, y = sigma * extent, sigma * extent * source.axis_ratio
        narrow = min(x, y) < 3 * point[-1][0]
        psf = point if narrow else [(math.sqrt(sum(c * s * s for s, c in point)), 1.0)]
        merged += [(math.hypot(x, s), math.hypot(y, s), share * c) for s, c in psf]
    return [item for item in merged if item[2] > 1e-6]


def render(
    sources: Sequence[Source],
    x: np.ndarray,
    y: np.ndarray,
    shape: tuple[int, int],
    fwhm: float,
    pixel_scale: float,
) -> np.ndarray:
    """Noise-free image of sources.

    Parameters
    ----------
    sources : sequence of Source
        The sources to render.
    x, y : ndarray
        Their positions, zero-based pixels (pixel centres are integers).
    shape : (int, int)
        (ny, nx).
    fwhm : float
        Seeing, arcsec.
    pixel_scale : float
        Arcsec per pixel.

    Returns
    -------
    ndarray
        float64 electrons per pixel at transparency 1.
    """
    image = np.zeros(shape)
    for source, x0, y0 in zip(sources, x, y):
        for sigma_x, sigma_y, share in components(source, fwhm, pixel_scale):
            _add_gaussian(image, (float(x0), float(y0)), (sigma_x, sigma_y), source.flux * share)
    return image


def sample(
    sources: Sequence[Source],
    places: tuple[np.ndarray, np.ndarray],
    pixels: tuple[np.ndarray, np.ndarray],
    seeing: Sequence[tuple[float, float]],
    pixel_scale: float,
) -> np.ndarray:
    """Noise-free image in pixels that are not evenly spaced, or not square.

    Parameters
    ----------
    sources, pixel_scale
        As in `render`.
    seeing : sequence of (fwhm, share)
        The image is the weighted sum of those with these FWHMs.
    places : (x, y)
        Positions of the sources on an even grid of pixels.
    pixels : (x, y), ndarray (ny, nx)
        Positions of the wanted pixels on that grid.

    Returns
    -------
    ndarray
        float64 (ny, nx), electrons per pixel of the even grid: its image, read by splines of fifth order.
    """
    from scipy.ndimage import map_coordinates

    margin = 8
    x0, y0 = (math.floor(float(p.min())) - margin for p in pixels)
    x1, y1 = (math.ceil(float(p.max())) + margin for p in pixels)
    shape, x, y = (y1 - y0 + 1, x1 - x0 + 1), places[0] - x0, places[1] - y0
    even = np.zeros(shape)
    for fwhm, share in seeing:
        even += share * render(sources, x, y, shape, fwhm, pixel_scale)
    return np.asarray(map_coordinates(even, [pixels[1] - y0, pixels[0] - x0], order=5))


def _add_gaussian(image: np.ndarray, centre: tuple[float, float], sigma: tuple[float, float], flux: float) -> None:
    ranges = []
    for position, width, length in zip(centre, sigma, image.shape[::-1]):
        first = max(0, math.floor(position - _REACH * width))
        last = min(length, math.ceil(position + _REACH * width) + 1)
        if last <= first:
            return
        ranges.append((first, last))
    (x1, x2), (y1, y2) = ranges
    profile_x = _pixel_profile(x1, x2, centre[0], sigma[0])
    profile_y = _pixel_profile(y1, y2, centre[1], sigma[1])
    image[y1:y2, x1:x2] += (flux * profile_y)[:, None] * profile_x


def _pixel_profile(first: int, last: int, centre: float, sigma: float) -> np.ndarray:
    from scipy.special import ndtr

    edges = ndtr((np.arange(first, last + 1) - 0.5 - centre) / sigma)
    return np.asarray(edges[1:] - edges[:-1])


@dataclass(frozen=True)
class FieldSpec:
    """Content of a field around (ra, dec), `extent` arcsec on a side.

    Parameters
    ----------
    noise : float
        1-sigma noise of an aperture of radius FWHM in the expected stack, electrons; star fluxes scale with it.
    sky : float
        Electrons per pixel of one exposure.
    side : float
        Arcsec, side of the detector.
    pixel_scale : float
        Arcsec per pixel.
    content : {"sparse", "galaxy", "filling", "blank", "standard"}
    centre : (float, float)
        Arcsec east and north of the main galaxy from (ra, dec).
    """

    ra: float
    dec: float
    extent: float
    noise: float
    sky: float
    side: float
    pixel_scale: float
    content: str
    field: int
    saturating: float
    centre: tuple[float, float] = (0.0, 0.0)


def populate(spec: FieldSpec, rng: np.random.Generator, density: float = 330.0) -> list[Source]:
    """Random sources of a field, brightest galaxy first.

    Stars per (1024 pixel)^2 number `density`: 70 % with a signal-to-noise of 2.5 to 9 in the expected stack, 18 % to
    100, 11 % to 2000, 1 % saturated. Order of draws: star positions, signal-to-noises, galaxies, clouds.
    """
    from nirred.testing.geometry import from_plane

    area = (spec.extent / spec.pixel_scale / 1024) ** 2
    number = max(12, round(density * area))
    xi, eta = rng.uniform(-0.5, 0.5, (2, number)) * spec.extent
    snr = _signal_to_noise(rng, number)
    flux = np.where(snr > 5000, spec.saturating * rng.uniform(2, 8, number), snr * spec.noise / 0.82)
    ra, dec = from_plane(xi, eta, spec.ra, spec.dec)
    sources = [Source("star", float(a), float(d), float(f), field=spec.field) for a, d, f in zip(ra, dec, flux)]
    extended = _galaxies(spec, rng)
    if spec.content == "filling":
        extended += _clouds(spec, rng)
    return extended + sources


def _signal_to_noise(rng: np.random.Generator, number: int) -> np.ndarray:
    """Luminosity function; the last star saturates when there are more than 100."""
    count = [round(number * share) for share in (0.70, 0.18)]
    bright = number - sum(count)
    parts = [(2.5, 9.0, count[0]), (9.0, 100.0, count[1]), (110.0, 2000.0, bright)]
    values = np.concatenate([np.exp(rng.uniform(math.log(a), math.log(b), n)) for a, b, n in parts])
    saturated = number // 100
    if saturated:
        values[-saturated:] = 1e4
    return values


def _galaxies(spec: FieldSpec, rng: np.random.Generator) -> list[Source]:
    """The measured galaxy at the centre and a handful of small ones."""
    from nirred.testing.geometry import from_plane, point

    # content -> (half-light radius as a share of the detector's side, mean surface brightness inside it over sky)
    main = {"sparse": (0.014, 0.05), "galaxy": (0.06, 0.08), "filling": (0.42, 0.20)}.get(spec.content)
    found = []
    if main is not None:
        radius = main[0] * spec.side
        area = math.pi * 0.75 * (radius / spec.pixel_scale) ** 2
        flux = 2 * main[1] * spec.sky * area
        middle = point(spec.ra, spec.dec, *spec.centre)
        found.append(Source("galaxy", *middle, flux, radius, 1.0, 0.75, spec.field))
    number = round(8 * (spec.side / spec.pixel_scale / 1024) ** 2) if spec.content != "standard" else 0
    for index in range(number):
        xi, eta = rng.uniform(-0.45, 0.45, 2) * spec.extent
        radius = spec.pixel_scale * rng.uniform(3.0, 8.0)
        ra, dec = from_plane(np.array([xi]), np.array([eta]), spec.ra, spec.dec)
        flux = spec.noise * rng.uniform(20.0, 80.0)
        shape = 4.0 if index % 2 else 1.0
        found.append(
            Source("galaxy", float(ra[0]), float(dec[0]), flux, radius, shape, rng.uniform(0.5, 1.0), spec.field)
        )
    return found


def _clouds(spec: FieldSpec, rng: np.random.Generator) -> list[Source]:
    """Nebulosity that leaves no pixel of the field without light."""
    from nirred.testing.geometry import from_plane

    found = []
    for _ in range(12):
        xi, eta = rng.uniform(-0.6, 0.6, 2) * spec.side
        sigma = spec.side * rng.uniform(0.1, 0.3)
        brightness = spec.sky * rng.uniform(0.02, 0.06)
        ra, dec = from_plane(np.array([xi]), np.array([eta]), spec.ra, spec.dec)
        flux = brightness * 2 * math.pi * (sigma / spec.pixel_scale) ** 2
        found.append(Source("cloud", float(ra[0]), float(dec[0]), flux, sigma, field=spec.field))
    return found
