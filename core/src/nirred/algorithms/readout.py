"""Periodic pattern of the readout electronics: measured in each quadrant, scaled by row, subtracted; offsets levelled.

An image is divided into boxes of one period of the pattern. The median of all boxes, each minus its own mean, is the
pattern; its strength in each band of boxes is the amplitude there. Stars and other sources are in few boxes and do not
affect the medians; masked pixels are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.amplifiers import amplifier_levels, take_levels_off
from nirred.algorithms.shared import no_warnings
from nirred.algorithms.surface import surface_order

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: A normal distribution's sigma over its median absolute deviation.
_MAD = 1.4826
#: Boxes' pixels this many sigma from the median of their position are left out of the pattern.
_CLIP = 3.0
#: Bands over which the amplitude is smoothed: fewer follow noise, more blur the onset of the pattern.
_SMOOTH = 9


@dataclass(frozen=True)
class Pattern:
    """The pattern of one quadrant.

    Attributes
    ----------
    box : float64 (py, px)
        One period, mean 0, in the data's unit.
    amplitude : float64 (n_bands,)
        Factor on `box` in each band of py rows; 0 where the pattern is off.
    strength : float
        Standard deviation of `box` over the error of a pixel of it: about 1 where there is no pattern.
    """

    box: Float64
    amplitude: Float64
    strength: float

    def image(self, shape: tuple[int, int]) -> Float32:
        """The pattern over a quadrant of that shape (ny, nx), in electrons, with an incomplete period at the end."""
        py, px = self.box.shape
        rows = np.repeat(self.amplitude, py)
        rows = np.pad(rows, (0, max(shape[0] - rows.size, 0)), mode="edge")[: shape[0]]
        tiled = np.tile(self.box, (-(-shape[0] // py), -(-shape[1] // px)))[: shape[0], : shape[1]]
        return np.asarray(tiled * rows[:, None], np.float32)


def find_pattern(data: Float32, bad: Bool, period: tuple[int, int] = (4, 16)) -> Pattern:
    """Find the periodic pattern of one quadrant.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted quadrant.
    bad : bool (ny, nx)
        True where a pixel is bad or covered by an object.
    period : (int, int)
        (rows, columns) of the pattern.

    Returns
    -------
    Pattern
        All 0 if fewer than 4 x 4 periods fit, or nearly everything is bad.
    """
    py, px = period
    ny, nx = data.shape[0] // py, data.shape[1] // px
    flat = Pattern(np.zeros(period), np.zeros(max(ny, 1)), 0.0)
    if ny < 4 or nx < 4:
        return flat
    values = np.where(bad | ~np.isfinite(data), np.nan, data.astype(np.float64))
    boxes = values[: ny * py, : nx * px].reshape(ny, py, nx, px).transpose(0, 2, 1, 3)
    with no_warnings():  # all-NaN boxes give NaN
        boxes = boxes - np.nanmedian(boxes, axis=(2, 3), keepdims=True)
        middle = np.nanmedian(boxes, axis=(0, 1))
        spread = _MAD * np.nanmedian(np.abs(boxes - middle), axis=(0, 1))
        kept = np.where(np.abs(boxes - middle) <= _CLIP * spread, boxes, np.nan)
        pattern = np.nanmean(kept, axis=(0, 1))
        count = np.isfinite(kept).sum(axis=(0, 1))
    if not np.all(np.isfinite(pattern)) or count.min() < 16:
        return flat
    pattern -= pattern.mean()
    error = float(np.median(spread / np.sqrt(count)))
    strength = float(pattern.std() / error) if error > 0 else (np.inf if pattern.any() else 0.0)
    # Once more with the bands weighted by their amplitude: those without the pattern only add noise.
    weights = _amplitudes(kept, pattern)[:, None, None, None]
    total = (np.isfinite(kept) * weights**2).sum(axis=(0, 1))
    if total.min() > 0:
        pattern = np.nansum(kept * weights, axis=(0, 1)) / total
        pattern -= pattern.mean()
    return Pattern(pattern, _amplitudes(kept, pattern), strength)


def _amplitudes(boxes: Float64, pattern: Float64) -> Float64:
    """Amplitude of the pattern in each band of boxes, relative to the mean: smoothed median over the band."""
    weight = np.isfinite(boxes) * pattern**2
    total = weight.sum(axis=(2, 3))
    share = np.nansum(boxes * pattern, axis=(2, 3)) / np.where(total > 0, total, np.nan)
    with no_warnings():
        bands = np.nanmedian(share, axis=1)
    bands = np.where(np.isfinite(bands), bands, np.nanmedian(bands) if np.isfinite(bands).any() else 0.0)
    padded = np.pad(bands, _SMOOTH // 2, mode="edge")
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(padded, _SMOOTH), axis=1)
    return np.asarray(np.maximum(smooth, 0.0), np.float64)


def quadrants(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """The four quarters of an array: lower left, lower right, upper left, upper right."""
    halves = [(slice(0, n // 2), slice(n // 2, n)) for n in shape]
    return [(rows, columns) for rows in halves[0] for columns in halves[1]]


def clean_readout(
    data: Float32,
    bad: Bool,
    *,
    period: tuple[int, int] = (4, 16),
    least: float = 5.0,
    force: bool = False,
    gain: Float32 | None = None,
) -> tuple[Float32, tuple[float, ...]]:
    """Subtract the pattern of each quadrant.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame.
    bad : bool (ny, nx)
        True where a pixel is bad or covered by an object; such pixels are corrected, but not measured.
    period : (int, int)
        (rows, columns) of the pattern.
    least : float
        Smallest `Pattern.strength` at which a quadrant is cleaned.
    force : bool
        Clean every quadrant.
    gain : float32 (ny, nx), optional
        Factor on the patterns, about 1 and smooth: the reciprocal of a flat that was divided out.

    Returns
    -------
    float32 (ny, nx)
        Unchanged where there is no pattern.
    tuple of float
        Standard deviation (data's unit) of the pattern subtracted from each quadrant, in the order of `quadrants`.
    """
    done, removed = data.copy(), []
    for part in quadrants((data.shape[0], data.shape[1])):
        # Towards the middle from the outer edge, as each quadrant is read: its periods are counted from there.
        flip = np.s_[::-1, :] if part[0].start else np.s_[:, :]
        factor = np.float32(1.0) if gain is None else gain[part][flip]
        quarter = data[part][flip] / factor
        found = find_pattern(quarter, bad[part][flip], period)
        clean = found.box.any() and (force or found.strength >= least)
        image = found.image((quarter.shape[0], quarter.shape[1]))
        if clean:
            done[part] -= (image * factor)[flip]
        removed.append(float(image.std()) if clean else 0.0)
    return done, tuple(removed)


def level_quadrants(
    data: Float32, bad: Bool, reach: int = 5, gain: Float32 | None = None, *, masked: bool = True
) -> None:
    """Bring the quadrants to one level, in place; their mean is kept.

    If enough of the frame is blank, levels are measured together with a parabola, or a plane, that runs through all
    quadrants; one that is covered by objects stays as it is. Otherwise, by the steps at the lines where halves meet.

    Parameters
    ----------
    data : float32 (ny, nx)
        Sky-subtracted frame.
    bad : bool (ny, nx)
        True where a pixel is bad or covered by an object; such pixels are corrected, but not measured.
    reach : int
        Rows and columns on either side of such a line from which the step is measured.
    gain : float32 (ny, nx), optional
        Factor on the levels, as in `clean_readout`.
    masked : bool
        Objects are masked; if not, only steps at the lines are measured, on which objects have little effect.
    """
    boxes = quadrants((data.shape[0], data.shape[1]))
    order = surface_order(1.0 - float(np.mean(bad))) if masked else 0
    if order:
        levels = np.nan_to_num(amplifier_levels(data, bad, boxes, order=order, gain=gain)[0])
    else:
        levels = _steps(np.where(bad, np.nan, data), reach)
    take_levels_off(data, boxes, levels, gain=gain)


def _steps(values: Float32, reach: int) -> Float64:
    """Levels of the quadrants, mean 0: by the steps between lower and upper ones, then between left and right."""
    y, x = values.shape[0] // 2, values.shape[1] // 2
    levels = np.zeros(4)
    for k, columns in enumerate((slice(0, x), slice(x, None))):
        levels[k] = _step(values[y : y + reach, columns], values[max(y - reach, 0) : y, columns])
    right, left = values[:, x : x + reach].copy(), values[:, max(x - reach, 0) : x].copy()
    left[:y] -= np.float32(levels[0])
    right[:y] -= np.float32(levels[1])
    levels += np.array([0.0, 1.0, 0.0, 1.0]) * _step(left.T, right.T)
    return np.asarray(levels - levels.mean())


def _step(first: Float32, second: Float32) -> float:
    """Step from `first` to `second`: median over columns of the difference of their medians; 0 if unknown."""
    with no_warnings():
        steps = np.nanmedian(second, axis=0) - np.nanmedian(first, axis=0)
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if steps.size else 0.0
