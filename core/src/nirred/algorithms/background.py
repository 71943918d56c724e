"""Background level of images with faint sources in them; `mesh` measures it box by box.

Both use the fact that sources only add light: the core of the pixel distribution, below and just above its mode,
belongs to the background. A Gaussian truncated at -3 and +1.5 sigma is fitted to that core by matching its first two
moments, which for a fixed window in units of sigma are two constants.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

SAMPLES = 100_000  # pixels that a level is measured on: 0.004 sigma
LOWER_CLIP = 3.0  # sigma below the level: pixels farther off are left out of the fit
UPPER_CLIP = 0.5  # of the lower clip: the asymmetry that keeps sources out
ROUNDS = 40  # of the fit, at most
#: Scatter of the truncated fit on Gaussian noise, in sigma/sqrt(n); the median's is 1.25 (Monte-Carlo, window -3, 1.5).
FIT_SCATTER = 1.4
#: Bias left by faint sources, in units of the clipped median less the mode: Monte-Carlo, 5 % of pixels, 1-5 sigma.
RESIDUAL_BIAS = 2.0
MEDIAN_SCATTER = 1.2  # difference due to Gaussian noise alone, in sigma/sqrt(n)


@dataclass(frozen=True, slots=True)
class Level:
    """Background level of one image.

    Attributes
    ----------
    value : float
        Level, in units of the data; NaN where no pixel is good.
    error : float
        1-sigma error of `value`, statistical and from unmasked sources, for independent pixels.
    sigma : float
        Pixel scatter of the background.
    n : int
        Number of pixels measured.
    """

    value: float
    error: float
    sigma: float
    n: int


def truncation(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of a unit Gaussian truncated to [lower, upper] (textbook formula)."""

    def density(x: float) -> float:
        return math.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)

    area = 0.5 * (math.erf(upper / math.sqrt(2.0)) - math.erf(lower / math.sqrt(2.0)))
    mean = (density(lower) - density(upper)) / area
    variance = 1.0 + (lower * density(lower) - upper * density(upper)) / area - mean * mean
    return mean, math.sqrt(variance)


def as_mask(bad: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Mask as contiguous uint8, non-zero = bad; None means no bad pixel.

    Raises
    ------
    ValueError
        If the mask has another shape.
    """
    if bad is None:
        return np.zeros(shape, np.uint8)
    mask = np.asarray(bad)
    if mask.shape != shape:
        raise ValueError(f"mask has shape {mask.shape}, data {shape}")
    if mask.dtype in (np.uint8, np.bool_):
        return np.ascontiguousarray(mask).view(np.uint8)
    return np.ascontiguousarray(mask != 0).view(np.uint8)


def _good_sample(data: NDArray[Any], bad: NDArray[np.uint8], step: int) -> NDArray[np.float64]:
    # `reshape` would copy all of an image's part
    values, flags = ((a.reshape(-1) if a.flags.c_contiguous else a.flat)[::step] for a in (data, bad))
    good = (flags == 0) & np.isfinite(values)
    sample: NDArray[np.float64] = values[good].astype(np.float64)
    return sample


def _stride(size: int, width: int, samples: int) -> int:
    step = max(1, size // samples)
    while math.gcd(step, width) != 1:  # a common divisor would leave whole columns unseen
        step += 1
    return step


def _untie(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread repeated sorted values (digitised data) over their quantum, so that a window cuts them smoothly."""
    if 8 * np.count_nonzero(values[1:] != values[:-1]) >= values.size:
        return values
    first = np.flatnonzero(np.diff(values, prepend=-np.inf) > 0)
    if first.size < 3:
        return values
    distinct, counts = values[first], np.diff(first, append=values.size)
    edges = np.empty(distinct.size + 1)
    edges[1:-1] = 0.5 * (distinct[1:] + distinct[:-1])
    edges[0], edges[-1] = 2.0 * distinct[0] - edges[1], 2.0 * distinct[-1] - edges[-2]
    rank = np.arange(values.size) - np.repeat(first, counts)
    share = (rank + 0.5) / np.repeat(counts, counts)
    spread: NDArray[np.float64] = np.repeat(edges[:-1], counts) + share * np.repeat(np.diff(edges), counts)
    return spread


def _fit_core(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mode, sigma and clipped median of sorted values."""
    below, middle, above = (float(values[int(q * values.size)]) for q in (0.1587, 0.5, 0.8413))
    mode, sigma = middle, float(min(middle - below, above - middle) or 0.5 * (above - below))
    offset = values - middle
    squares = offset * offset
    clip = LOWER_CLIP
    mean_factor, sigma_factor = truncation(-clip, UPPER_CLIP * clip)
    for _ in range(ROUNDS):
        low, high = np.searchsorted(values, [mode - clip * sigma, mode + UPPER_CLIP * clip * sigma])
        if high - low < 10:
            break
        mean = float(np.sum(offset[low:high])) / (high - low)
        variance = float(np.sum(squares[low:high])) / (high - low) - mean * mean
        scatter = math.sqrt(max(variance, 0.0)) / sigma_factor
        fitted = middle + mean - mean_factor * scatter
        moved, mode, sigma = abs(fitted - mode), fitted, scatter
        if moved <= 1e-4 * sigma:
            break
    low, high = np.searchsorted(values, [mode - clip * sigma, mode + clip * sigma])
    clipped = float(values[(low + high) // 2]) if high > low else middle
    return float(mode), sigma, clipped


def level(data: ArrayLike, bad: ArrayLike | None, *, step: int | None = None, samples: int = SAMPLES) -> Level:
    """Measure the background level in the presence of sources.

    Parameters
    ----------
    data : array_like
        Image of any shape and unit; pixels that are not finite are left out.
    bad : array_like or None
        Same shape; non-zero pixels are left out.
    step, samples : int
        Use every `step`-th pixel; by default such that about `samples` are left.

    Returns
    -------
    Level
        Biased by less than 0.03 sigma if 5 % of the pixels have unmasked faint sources. NaN, infinite error and
        ``n = 0`` if no pixel is good.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    image = np.asarray(data)
    mask = as_mask(bad, image.shape)
    stride = step if step is not None else _stride(image.size, image.shape[-1] if image.ndim else 1, samples)
    values = _good_sample(image, mask, stride)
    if step is None and stride > 1 and values.size < samples // 5:  # mostly masked: the rest deserves more pixels
        values = _good_sample(image, mask, 1)
    if values.size == 0:
        return Level(math.nan, math.inf, math.nan, 0)
    values.sort()
    if values.size < 10:
        sigma = float(1.4826 * np.median(np.abs(values - np.median(values))))
        mode = clipped = float(np.median(values))
    else:
        mode, sigma, clipped = _fit_core(_untie(values))
    unit = sigma / math.sqrt(values.size)
    skew = math.sqrt(max((clipped - mode) ** 2 - (MEDIAN_SCATTER * unit) ** 2, 0.0))
    return Level(mode, math.hypot(FIT_SCATTER * unit, RESIDUAL_BIAS * skew), sigma, values.size)
