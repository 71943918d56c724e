"""Offset between two images by masked cross-correlation, for fields without enough stars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.register import Registration

Mask = NDArray[np.uint8] | NDArray[np.bool_]

#: Least significance of a peak, in sigma of the correlation of unrelated images.
SIGNIFICANT = 6.0
#: The median of the eight pixels around a cosmic ray is below this share of it; around a star of 1.8 pixels FWHM, 0.28.
SPIKE = 0.2


def cross_correlate(
    a: NDArray[np.float32],
    b: NDArray[np.float32],
    mask_a: Mask | None = None,
    mask_b: Mask | None = None,
    *,
    guess: tuple[float, float] = (0.0, 0.0),
    max_shift: float = 30.0,
) -> Registration | None:
    """Find the offset of image b with respect to image a.

    Masked and non-finite pixels count as background; cosmic rays are taken out by their sharpness, and values limited
    to 50 sigma so that no single star decides.  The peak is placed between pixels by a parabola through the logarithms
    of its neighbours, exact for Gaussian images.

    Parameters
    ----------
    a, b : float32 array, shape (ny, nx)
        Sky-subtracted images of one shape.
    mask_a, mask_b : uint8 or bool array, shape (ny, nx), optional
        Not zero where a pixel is unusable.
    guess : tuple of float
        Expected (dx, dy) (px).
    max_shift : float
        How far from the guess the offset may be (px).

    Returns
    -------
    Registration or None
        None if no peak is significant or it lies on the border of the search area.
    """
    from scipy import fft

    if a.shape != b.shape:
        raise ValueError(f"the images have shapes {a.shape} and {b.shape}")
    reach = int(np.ceil(max_shift)) + 2
    centre = [round(guess[1]), round(guess[0])]
    shape = [fft.next_fast_len(n + abs(c) + reach + 1, real=True) for n, c in zip(a.shape, centre)]
    (flat_a, lit_a), (flat_b, lit_b) = _flat(a, mask_a), _flat(b, mask_b)
    lit = max(lit_a, lit_b, 1)
    surface = fft.irfft2(fft.rfft2(flat_b, s=shape) * np.conj(fft.rfft2(flat_a, s=shape)), s=shape)
    lags = [np.arange(c - reach, c + reach + 1) for c in centre]
    window = surface[np.ix_(lags[0] % shape[0], lags[1] % shape[1])].astype(np.float64)
    # What unrelated images of this brightness would give: mean and scatter over the lags. Only usable pixels count:
    # noise in a small illuminated part correlates more than noise spread over the whole image.
    middle = float(flat_a.sum(dtype=np.float64) * flat_b.sum(dtype=np.float64) / lit)
    spread = float(np.sqrt((flat_a.astype(np.float64) ** 2).sum() * (flat_b.astype(np.float64) ** 2).sum() / lit))
    j, i = np.unravel_index(int(np.argmax(window)), window.shape)
    last = 2 * reach
    # Light on scales beyond the window, a sky's slope in both images, lifts all of it.
    height = window[j, i] - max(middle, float(np.median(window)))
    if not 0 < j < last or not 0 < i < last or not height > SIGNIFICANT * spread:
        return None
    floor = middle + 1e-6 * (window[j, i] - middle)
    near = np.log(np.maximum(window[j - 1 : j + 2, i - 1 : i + 2], floor) - middle)
    dy, dx = lags[0][j] + _vertex(near[:, 1]), lags[1][i] + _vertex(near[1, :])
    if np.hypot(dx - guess[0], dy - guess[1]) > max_shift:
        return None
    # The noise moves the peak by (noise / height) / curvature; a tenth of a pixel is what this method is good for.
    error = max(0.1, spread / (window[j, i] - middle) * 2.0)
    return Registration(float(dx), float(dy), error, error, method="correlation")


def _flat(image: NDArray[np.float32], mask: Mask | None) -> tuple[NDArray[np.float32], int]:
    """Return the image minus its median, limited, without cosmic rays, zero where unusable; and its usable pixels."""
    good = np.isfinite(image) if mask is None else np.isfinite(image) & (mask == 0)
    if not good.any():
        return np.zeros(image.shape, dtype=np.float32), 0
    values = image[good][:: max(1, int(good.sum()) // 200_000)]
    middle = np.median(values)
    sigma = 1.4826 * np.median(np.abs(values - middle))
    flat = np.where(good, np.clip(image - middle, -5 * sigma, 50 * sigma), 0.0).astype(np.float32)
    _without_spikes(flat, np.float32(5 * sigma))
    return flat, int(np.count_nonzero(good))


def _without_spikes(flat: NDArray[np.float32], least: np.float32) -> None:
    """Replace pixels above `least` without light around them by the median of their neighbours, in place.

    Any optical image has light next to its peak; a few hundred cosmic rays in each of two frames coincide by chance.
    """
    y, x = np.nonzero(flat > least)
    padded = np.pad(flat, 1, mode="edge")
    steps = [(j, i) for j in range(3) for i in range(3) if (j, i) != (1, 1)]
    around = np.median([padded[y + j, x + i] for j, i in steps], axis=0)
    spikes = around < SPIKE * flat[y, x]
    flat[y[spikes], x[spikes]] = around[spikes]


def _vertex(three: NDArray[np.float64]) -> float:
    """Vertex of the parabola through three values at -1, 0, 1."""
    curvature = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / curvature, -0.5, 0.5)) if curvature < 0 else 0.0
