"""What the kernel of the sky takes: sky frames, which of their pixels are sky, and the frames to subtract it from."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Index = NDArray[np.int64]


class Table(NamedTuple):
    """Frames and their models, one entry for each.

    Parameters
    ----------
    place : int64 (n,)
        Indices in the arrays.
    zero, unit : float32 (n,)
        Of the sky model, see `sky_rows`.
    level, scale : float32 (n,)
        Of the noise model: sky level (electron), and the square of measured over predicted noise.
    """

    place: Index
    zero: Float32
    unit: Float32
    level: Float32
    scale: Float32


class Rule(NamedTuple):
    """Which pixels of the sky frames are sky.

    Parameters
    ----------
    useless : uint16
        Flags of pixels that are not.
    stray : uint16
        Flag of outliers.
    check : bool
        Whether outliers are sought.
    limit : float32
        Square of the deviation from the median, in sigma, from which a pixel is one.
    level, unit : float32
        Means of the frames', for the noise of the median.
    default : float32
        The median where no frame of a tile shows sky.
    """

    useless: np.uint16
    stray: np.uint16
    check: bool
    limit: np.float32
    level: np.float32
    unit: np.float32
    default: np.float32


class Asked(NamedTuple):
    """Frames to subtract the sky from, in order of time; none if only the sky is requested.

    Parameters
    ----------
    table : Table
        Their models; `level` and `scale` are not used.
    begins, who, sign : int64 (k + 1,), int64, float32
        Changes of the sets of their sky frames, see `sky_rows.moves`.
    without : int64 (k,)
        Sky frame to be left out again, or one past the last.
    own : int64 (k,)
        The frame's own index among the sky frames; -1 if it is none of them, or has another model there.
    least : float32
        Smaller sums of units are what rounding leaves of none.
    offsets : float32 (k,)
        Additional constants to subtract, electron.
    power, noise : float32 (h, nx)
        Variance of the pattern, and of its noise times the sum of units; without rows it is subtracted whole.
    out : float32 (any, h', nx)
        Output.
    tops : int64 (k + 1,)
        Indices of the frames in the output, and its row for the first of the rows.
    """

    table: Table
    begins: Index
    who: Index
    sign: Float32
    without: Index
    own: Index
    least: np.float32
    offsets: Float32
    power: Float32
    noise: Float32
    out: Float32
    tops: Index
