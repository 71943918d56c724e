"""Options and scratch arrays of the kernels in `combine_network`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NONE, MINMAX, SIGCLIP, VARCLIP, NOISE = range(5)  # rejection rules
MEAN, MEDIAN, LOWER_MEDIAN, INVERSE_VARIANCE = range(4)  # operations
NO_VARIANCE, PLANES, MODEL, CENTRE = range(4)  # where variances come from; CENTRE: the model at the pixel's median

#: Most lanes of a tile. A constant, so that the compiler sees that rows of one scratch array do not overlap: beyond
#: three or four arrays written in one loop it gives up proving that, and the loop runs lane by lane.
WIDTH = 256


class Options(NamedTuple):
    """What the kernel does; plain numbers only."""

    rule: int
    operation: int
    variance: int
    low_squared: np.float32  # squared clipping limits in sigma
    high_squared: np.float32
    n_low: int
    n_high: int
    max_iters: int
    median_clip: bool


class Tile(NamedTuple):
    """Scratch of one thread: (n_frames, width) float32 planes, and one row per lane quantity."""

    values: NDArray[np.float32]
    variances: NDArray[np.float32]
    sorted: NDArray[np.float32]
    few_values: NDArray[np.float32]  # the lanes that still change, packed
    few_variances: NDArray[np.float32]
    lanes: NDArray[np.float32]  # (8, WIDTH)
    seen: NDArray[np.int32]  # (width,): flags
    order: NDArray[np.int64]  # (2, width): lane of each packed lane; 1 if rejection took everything
