"""Zero level of a stack: the level of its blank pixels, and how far it may be off."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.background import FIT_SCATTER, SAMPLES, level
from nirred.algorithms.halos import light_between
from nirred.algorithms.noise import median_variance_ratio
from nirred.algorithms.objmask import block_means, block_sums
from nirred.algorithms.typical import median

#: Pixels with this many times fewer exposures than the deepest ones are shallow.
SHALLOW = 2.0
#: Relative error of the light of objects' outskirts, as extrapolated from their profiles.
LIGHT_ERROR = 0.3
#: Quantile of the sources' fluxes that is taken for that of the faintest; least number of sources for this estimate.
FAINTEST, FEWEST = 0.25, 20


def zero_level(
    data: np.ndarray,
    bad: np.ndarray,
    count: np.ndarray,
    mask: np.ndarray,
    objects: np.ndarray | None = None,
    noisecov: np.ndarray | None = None,
    *,
    sunk: bool = False,
) -> tuple[float, float]:
    """Median of the deep blank pixels of a stack, and its error.

    With objects masked so deeply, the median is more accurate than any estimate of the mode. Its error is the quadratic
    sum of the statistical error, for noise correlated as in `noisecov`; half the difference between median and mode,
    minus its noise; the light of sources too faint to be masked, extrapolated from the faintest that are; and errors of
    the light of objects' outskirts. The outskirts of extended `objects`, found in blocks of pixels, lie on blank
    pixels: their light is subtracted from the level, with a relative error of `LIGHT_ERROR`. If objects have `sunk`
    into the sky of their own frames, the hollows around them are used, too.

    Parameters
    ----------
    data : float32 (ny, nx)
        The stack.
    bad : uint16 (ny, nx)
        Not zero where it is not to be used.
    count : uint16 (ny, nx)
        Number of exposures of each pixel.
    mask : uint8 (ny, nx)
        Not zero where there are objects.
    objects : (rows, columns), optional
        Blocks in which objects were detected.
    noisecov : float64 (7, 7), optional
        Correlation of the noise; None: it is white.
    sunk : bool
        Whether frames served each other as sky.

    Returns
    -------
    level, error : float
        In the unit of the stack; 0 and infinity without a blank pixel.
    """
    blank = np.isfinite(data) & (bad == 0)
    blank = blank & (mask == 0) if (blank & (mask == 0)).any() else blank
    if not blank.any():
        return 0.0, float("inf")
    values = data[deep_pixels(count, blank)]
    middle, mode = median(values), level(values, None)
    apart, noise = middle - mode.value, FIT_SCATTER * mode.sigma / np.sqrt(mode.n)
    # correlation increases the errors of median and mode alike, but not that of their difference
    together = 1.0 if noisecov is None else np.sqrt(median_variance_ratio(noisecov))
    error = np.hypot(1.25 * together * mode.sigma / np.sqrt(values.size), 0.5 * np.sqrt(max(apart**2 - noise**2, 0.0)))
    if objects is None:
        return middle, float(error)
    surface, bare = block_means(data, bad), block_sums(blank)
    light, uncertain = light_between(surface, objects, bare, sunk=sunk)
    unseen = _too_faint(surface - np.float32(middle), objects)
    return middle - light, float(np.linalg.norm([error, uncertain, LIGHT_ERROR * light, unseen]))


def _too_faint(surface: np.ndarray, objects: np.ndarray) -> float:
    """Light per pixel of sources too faint to be detected: N F, with N the number detected and F the faintest flux.

    If the number N of sources brighter than F is proportional to F to the power of -0.5 to -0.8, sources between F / 3
    and F emit 0.4 to 1.0 times N F.
    """
    from scipy.ndimage import label

    labels, number = label(objects, np.ones((3, 3)))
    fluxes = np.bincount(labels.ravel(), np.nan_to_num(surface).ravel(), number + 1)[1:]
    fluxes = fluxes[fluxes > 0]
    return float(fluxes.size * np.quantile(fluxes, FAINTEST) / objects.size) if fluxes.size >= FEWEST else 0.0


def deep_pixels(count: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Blank pixels with many exposures; all of them if the deep ones alone determine the level much less precisely.

    With fewer exposures, brighter sources go undetected and raise the level. Pixels are chosen by their number of
    exposures and not by VAR, which depends on a pixel's own noise: a limit on VAR would prefer low pixels.
    """
    if not blank.any():
        return blank
    sample = count[blank]
    sample = sample[:: -(-sample.size // SAMPLES)]
    limit = float(np.percentile(sample, 90)) / SHALLOW
    told = np.sqrt(sample)  # contribution of a pixel to the precision of a median
    return np.asarray(blank & (count >= limit)) if 2 * told[sample >= limit].sum() >= told.sum() else blank
