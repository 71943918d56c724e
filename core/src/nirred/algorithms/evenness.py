"""How even blank sky is, beside what its noise lets expect."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Side of the areas that are compared, pixels; they count where this share of them is blank.
AREA, LEAST = 64, 0.25
#: Fewer areas tell nothing.
FEWEST = 16
#: Scatter of a median over that of the mean, of normal deviates.
MEDIAN_SCATTER = 1.2533


@dataclass(frozen=True)
class Evenness:
    """What areas of blank sky differ by.

    Attributes
    ----------
    ratio : float
        Scatter of their levels over what the pixels' noise makes of it; 0 where too few areas are blank.
    excess : float
        What they scatter by besides, rms, in units of the data.
    """

    ratio: float
    excess: float


def evenness(data: NDArray[np.float32], var: NDArray[np.float32], blank: NDArray[np.bool_]) -> Evenness:
    """Compare the levels of areas of blank sky.

    Parameters
    ----------
    data, var : float32 (ny, nx)
        An image and the variance of its pixels, uncorrelated as seen over an area.
    blank : bool (ny, nx)
        Pixels without objects.
    """
    levels, errors = [], []
    for y in range(0, data.shape[0] - AREA + 1, AREA):
        for x in range(0, data.shape[1] - AREA + 1, AREA):
            box = np.s_[y : y + AREA, x : x + AREA]
            some = blank[box]
            n = int(np.count_nonzero(some))
            if n >= LEAST * AREA**2:
                levels.append(float(np.median(data[box][some])))
                errors.append(MEDIAN_SCATTER * float(np.sqrt(np.mean(var[box][some]) / n)))
    if len(levels) < FEWEST:
        return Evenness(0.0, 0.0)
    apart, noise = np.abs(np.array(levels) - np.median(levels)), np.array(errors)
    seen, expected = 1.4826 * float(np.median(apart)), float(np.median(noise))
    ratio = 1.4826 * float(np.median(apart / np.maximum(noise, 1e-30)))
    return Evenness(ratio, float(np.sqrt(max(seen**2 - expected**2, 0.0))))
