"""Relative sizes of star images in registered frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nirred.algorithms.neighbours import mutual
from nirred.algorithms.pairs import positions_of
from nirred.algorithms.photometry import relative_transparencies
from nirred.algorithms.register import Registration, rotation_matrix
from nirred.algorithms.stars import StarList

Float64 = NDArray[np.float64]

#: Pairs of images of one star lie within this many FWHM.
SAME = 0.5
#: Relative error of a size besides that by noise: blends, position on the pixels, flat errors.
SIZE_ERROR = 0.02
#: Fewest stars in common that determine a frame's size.
FEWEST = 3


def relative_sizes(
    lists: Sequence[StarList], offsets: Sequence[Registration | None], centre: tuple[float, float], fwhm: float
) -> Float64:
    """FWHM of each frame relative to the usual one, from stars that it has in common with the reference frame.

    The typical FWHM of all that a frame shows also depends on what it shows: persistence, galaxies.

    Parameters
    ----------
    lists : sequence of StarList
        One for each frame.
    offsets : sequence of Registration or None
        Of each frame, that of the reference with method "reference".
    centre : (float, float)
        Position (pixel) to which the offsets refer.
    fwhm : float
        Usual FWHM, pixels.

    Returns
    -------
    float64 (frames,)
        NaN for frames with fewer than `FEWEST` stars in common.
    """
    first = next((k for k, r in enumerate(offsets) if r is not None and r.method == "reference"), None)
    if first is None or not np.isfinite(fwhm):
        return np.full(len(lists), np.nan)
    known = lists[first]
    size, error = np.full((2, len(lists), len(known)), np.nan)
    for k, (stars, offset) in enumerate(zip(lists, offsets, strict=True)):
        if offset is None:
            continue
        i, j = mutual(_moved(known, offset, centre), positions_of(stars), SAME * fwhm)
        size[k, i] = stars.fwhm[j]
        error[k, i] = stars.fwhm[j] * np.hypot(1.0 / stars.snr[j], SIZE_ERROR)
    # a size is a product of the frame's and the star's, as a flux is
    ratio, sigma = relative_transparencies(size, error, FEWEST)
    return np.where(np.isfinite(sigma), ratio, np.nan)


def _moved(stars: StarList, offset: Registration, centre: tuple[float, float]) -> Float64:
    """Positions (n, 2) in a frame of stars of the reference."""
    return (positions_of(stars) - centre) @ rotation_matrix(offset.rotation).T + centre + (offset.dx, offset.dy)
