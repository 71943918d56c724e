"""The simulated detector: its fixed truth, and the making of one raw frame from the light that falls on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nirred.plugin.simulation import FlatCharacter, SimulatedDetector

_NEWTON_STEPS = 4
_CACHED_ROWS = 16  # rows whose temporaries stay in the cache
WILD_NOISE = 400.0  # e-, read noise of pixels that are bad because of it


@dataclass(frozen=True)
class DetectorTruth:
    """Fixed arrays of one plane, all (ny, nx).

    Parameters
    ----------
    flat : ndarray
        float64 relative response, median 1 over usable lit pixels; 0 where no light falls.
    dark : ndarray
        float64 dark current, e-/s.
    pattern : ndarray
        float64 e- per exposure in every frame, whatever its length.
    noisy : ndarray
        float64 extra read noise, e-.
    bad : ndarray
        bool, unusable pixels: dead, very hot, noisy, unlit.
    """

    flat: np.ndarray
    dark: np.ndarray
    pattern: np.ndarray
    noisy: np.ndarray
    bad: np.ndarray


def make_truth(detector: SimulatedDetector, rng: np.random.Generator) -> DetectorTruth:
    """Draw a detector. Order of draws: flat (pixels, dust), dark, hot pixels, pattern, amplifiers, bad pixels."""
    shape = detector.shape
    flat = _flat(shape, detector.flat, rng)
    dark = detector.dark_current * rng.uniform(0.8, 1.2, shape)
    hot = rng.random(shape) < detector.hot_fraction
    dark[hot] += np.exp(rng.uniform(np.log(2.0), np.log(60.0), int(hot.sum())))
    pattern = detector.pattern_rms * rng.standard_normal(shape)
    pattern += _amplifiers(shape, detector.amplifiers, detector.amplifier_rms, rng)
    fate = rng.random(shape)
    share = detector.bad_fraction
    dead, very_hot, wild = fate < 0.5 * share, fate > 1 - 0.4 * share, np.zeros(shape, bool)
    wild[(fate > 0.5) & (fate < 0.5 + 0.1 * share)] = True
    flat[dead] *= rng.uniform(0.0, 0.6, int(dead.sum()))
    full = detector.saturation * detector.gain
    dark[very_hot] += full * np.exp(rng.uniform(np.log(0.012), np.log(0.3), int(very_hot.sum())))
    bad = dead | very_hot | wild
    if detector.illuminated is not None:
        lit = np.asarray(detector.illuminated(shape), bool)
        flat[~lit] = 0.0
        bad |= ~lit
    flat /= np.median(flat[~bad])
    flat, dark, pattern = (_rounded(array) for array in (flat, dark, pattern))  # as save_truth keeps them
    return DetectorTruth(flat, dark, pattern, np.where(wild, WILD_NOISE, 0.0), bad)


def _rounded(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, np.float32).astype(np.float64)


def save_truth(truth: DetectorTruth, path: Path) -> None:
    """Write the arrays to an .npz file (float32, not compressed: noise does not compress)."""
    np.savez(
        path,
        flat=truth.flat.astype(np.float32),
        dark=truth.dark.astype(np.float32),
        pattern=truth.pattern.astype(np.float32),
        noisy=truth.noisy > 0,
        bad=truth.bad,
    )


def load_truth(path: Path) -> DetectorTruth:
    """Inverse of `save_truth`."""
    with np.load(path) as arrays:
        flat, dark, pattern = (arrays[name].astype(np.float64) for name in ("flat", "dark", "pattern"))
        noisy = np.where(arrays["noisy"], WILD_NOISE, 0.0)
        return DetectorTruth(flat, dark, pattern, noisy, arrays["bad"])


def _flat(shape: tuple[int, int], character: FlatCharacter, rng: np.random.Generator) -> np.ndarray:
    ny, nx = shape
    y, x = np.mgrid[:ny, :nx]
    u, v = 2 * x / max(nx - 1, 1) - 1, 2 * y / max(ny - 1, 1) - 1
    smooth = 1 - 0.5 * character.vignetting * ((u - 0.1) ** 2 + (v + 0.05) ** 2)
    flat = smooth * (1 + character.pixel_scatter * rng.standard_normal(shape))
    for _ in range(max(1, round(character.dust_spots * nx * ny / 1024**2))):
        x0, y0 = rng.uniform(0, nx), rng.uniform(0, ny)
        radius, depth = rng.uniform(4, 14), character.dust_depth * rng.uniform(0.4, 1.0)
        x1, y1 = max(0, int(x0) - 40), max(0, int(y0) - 40)
        near = np.s_[y1 : int(y0) + 40, x1 : int(x0) + 40]
        distance = np.hypot(x[near] - x0, y[near] - y0)
        flat[near] *= 1 - depth / (1 + np.exp((distance - radius) / 1.5))
    return np.asarray(flat)


def _amplifiers(shape: tuple[int, int], layout: tuple[int, int], rms: float, rng: np.random.Generator) -> np.ndarray:
    return amplifier_image(shape, layout, (rms * rng.standard_normal(layout)).ravel())


def amplifier_image(
    shape: tuple[int, int], layout: tuple[int, int], values: Sequence[float] | np.ndarray
) -> np.ndarray:
    """Levels of a plane's sections, row by row, as an image."""
    levels = np.reshape(values, layout)
    rows = np.minimum(np.arange(shape[0]) * layout[0] // shape[0], layout[0] - 1)
    columns = np.minimum(np.arange(shape[1]) * layout[1] // shape[1], layout[1] - 1)
    return np.asarray(levels[np.ix_(rows, columns)])


def stray_light(detector: SimulatedDetector) -> np.ndarray:
    """The ring of stray light of a plane, as a share of the sky's level."""
    ny, nx = detector.shape
    height, radius, width = detector.stray_light
    y, x = np.mgrid[:ny, :nx]
    distance = np.hypot(x - (nx - 1) / 2, y - (ny - 1) / 2) * 2 / max(nx, ny)
    return np.asarray(height * np.exp(-0.5 * ((distance - radius) / max(width, 1e-6)) ** 2))


def linearise(measured: np.ndarray, detector: SimulatedDetector) -> np.ndarray:
    """The correction c1 x + c2 x^2 + ... of electrons per coadd, row set by row set."""
    out = np.empty(np.shape(measured))
    sets = len(detector.linearity)
    for index, terms in enumerate(detector.linearity):
        x = measured[index::sets]
        value = np.zeros(x.shape)
        for term in reversed(terms):
            value = (value + term) * x
        out[index::sets] = value
    return out


def respond(collected: np.ndarray, detector: SimulatedDetector) -> np.ndarray:
    """Inverse of `linearise` by Newton's method: the measured signal for `collected` electrons."""
    out = np.array(collected, np.float64)
    sets = len(detector.linearity)
    for index, terms in enumerate(detector.linearity):
        rows = out[index::sets]
        for first in range(0, len(rows), _CACHED_ROWS):
            block = rows[first : first + _CACHED_ROWS]
            block[...] = _invert(block, terms)
    return out


def _invert(wanted: np.ndarray, terms: tuple[float, ...]) -> np.ndarray:
    """Solve terms[0] x + terms[1] x^2 + ... = wanted."""
    x = wanted / terms[0]
    for _ in range(_NEWTON_STEPS if any(terms[1:]) else 0):
        value, slope = np.zeros(x.shape), np.zeros(x.shape)
        for power in range(len(terms), 0, -1):
            value = (value + terms[power - 1]) * x
            slope = slope * x + power * terms[power - 1]
        x -= (value - wanted) / slope
    return np.asarray(x)


@dataclass(frozen=True)
class Cosmics:
    """Cosmic rays of one plane: flat pixel indices and the electrons they leave there."""

    index: np.ndarray
    electrons: np.ndarray


def cosmic_rays(shape: tuple[int, int], exposure: float, rng: np.random.Generator, rate: float = 10.0) -> Cosmics:
    """Points and tracks, `rate` per megapixel and 20 s; energies lognormal about 4000 e- of one event."""
    number = rng.poisson(rate * shape[0] * shape[1] / 1e6 * exposure / 20.0)
    index, electrons = [], []
    for _ in range(number):
        energy = float(np.exp(rng.normal(np.log(4000.0), 1.0)))
        length = 0.0 if rng.random() < 0.5 else float(rng.exponential(5.0)) + 1.0
        x0, y0, angle = rng.uniform(0, shape[1]), rng.uniform(0, shape[0]), rng.uniform(0, 2 * np.pi)
        along = np.linspace(0, length, max(1, round(4 * length)))
        x, y = np.floor(x0 + along * np.cos(angle)), np.floor(y0 + along * np.sin(angle))
        inside = (x >= 0) & (x < shape[1]) & (y >= 0) & (y < shape[0])
        if not inside.any():
            continue
        pixels, counts = np.unique((y * shape[1] + x)[inside].astype(np.int64), return_counts=True)
        shares = counts * rng.uniform(0.5, 1.5, counts.size)
        index.append(pixels)
        electrons.append(energy * max(1.0, length / 2) * shares / shares.sum())
    if not index:
        return Cosmics(np.zeros(0, np.int64), np.zeros(0))
    return Cosmics(np.concatenate(index), np.concatenate(electrons))


def expose(
    light: np.ndarray | float,
    truth: DetectorTruth,
    detector: SimulatedDetector,
    timing: tuple[float, int],
    cosmics: Cosmics,
    rng: np.random.Generator,
) -> np.ndarray:
    """Raw frame in ADU, float64 and not yet rounded.

    Parameters
    ----------
    light : ndarray or float
        Electrons that the flat-fielded exposure (all coadds) should hold: sky and sources, before the flat.
    truth, detector : DetectorTruth, SimulatedDetector
        The plane.
    timing : (float, int)
        Seconds of one coadd, number of coadds.
    cosmics : Cosmics
        Added to the collected charge.
    rng : numpy.random.Generator
        Source of the noise.

    Notes
    -----
    The detector integrates for t + time_delta, so that the calibrated signal is the collected one times
    t / (t + time_delta). Charge is Poisson noise (exact), then cosmic rays and fixed pattern, then the response curve,
    then read noise, then the clip at saturation. Draws: Poisson, read noise, noisy pixels.
    """
    seconds, coadds = timing
    longer = (seconds + float(np.mean(detector.time_delta))) / seconds
    mean = np.maximum((light * truth.flat + truth.dark * seconds * coadds) * longer, 0.0)
    charge = rng.poisson(mean).astype(np.float64)
    charge += truth.pattern * longer
    np.add.at(charge.reshape(-1), cosmics.index, cosmics.electrons)
    measured = respond(charge / coadds, detector) * coadds
    noise = detector.read_noise * np.sqrt(coadds)
    measured += noise * rng.standard_normal(detector.shape, dtype=np.float32)
    wild = truth.noisy > 0
    measured[wild] += truth.noisy[wild] * rng.standard_normal(int(wild.sum()))
    return np.minimum(measured / detector.gain, detector.saturation * coadds)


def calibrate(
    raw: np.ndarray, truth: DetectorTruth, detector: SimulatedDetector, timing: tuple[float, int]
) -> np.ndarray:
    """Flat-fielded electrons from ADU with the true calibrations; infinite or NaN where no light falls."""
    seconds, coadds = timing
    shorter = seconds / (seconds + float(np.mean(detector.time_delta)))
    collected = linearise(np.asarray(raw, np.float64) * detector.gain / coadds, detector) * coadds * shorter
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((collected - truth.pattern - truth.dark * seconds * coadds) / truth.flat)
