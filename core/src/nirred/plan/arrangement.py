"""Whether the planes of a camera lie side by side as its headers say: a wrong WCS of one would spoil the mosaic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .pointing import area, clip, on_tangent_plane, plane_outlines

if TYPE_CHECKING:
    import numpy as np

    from .model import FrameInfo

#: Planes that share more than this fraction of the smaller one lie on each other.
SHARED = 0.1
#: A plane farther than this from the nearest other, in its diagonals between centres, does not belong there.
FAR = 2.0
#: Detectors that move against each other by more pixels between frames have no common WCS.
LOOSE = 2.0
_ADVICE = "correct the headers, or -p resample_to_common_frame:mosaic=False for a stack of each"


def doubts(frames: Sequence[FrameInfo]) -> list[str]:
    """Remarks on planes whose places in the mosaic cannot be right; [] for a camera with one detector.

    Parameters
    ----------
    frames : sequence of FrameInfo
        Of one configuration; those without coordinates do not count.
    """
    known = [f for f in frames if len(f.wcs) > 1]
    if not known:
        return []
    found = [f"{what} ({known[0].name})" for what in [*_overlaps(known[0]), *_strays(known[0])]]
    return [f"{what}: the mosaic is wrong there; {_ADVICE}" for what in [*found, *_loose(known)]]


def _overlaps(frame: FrameInfo) -> list[str]:
    outlines = plane_outlines(frame)
    planes = [on_tangent_plane(outline, outlines[0][0]) for outline in outlines]
    found = []
    for b in range(len(planes)):
        for a in range(b):
            least = min(area(planes[a]), area(planes[b]))
            share = area(clip(planes[a], planes[b])) / least if least > 0 else 0.0
            if share > SHARED:
                found.append(f"by their WCS, planes {a + 1} and {b + 1} share {100 * share:.0f}% of their field")
    return found


def _strays(frame: FrameInfo) -> list[str]:
    centers = [_centers(frame, p) for p in range(len(frame.wcs))]
    found = []
    for p, places in enumerate(centers):
        diagonal = math.hypot(*frame.detectors[p].shape)
        apart = min(math.dist(places[p], place) for k, place in enumerate(places) if k != p) / diagonal
        if apart > FAR or math.isnan(apart):
            found.append(f"by its WCS, plane {p + 1} lies {apart:.1f} of its diagonals from the nearest other")
    return found


def _loose(frames: Sequence[FrameInfo]) -> list[str]:
    """Planes whose places relative to most others change from frame to frame."""
    import numpy as np

    numbers = range(len(frames[0].wcs))
    places = np.array([[_centers(f, p) for p in numbers] for f in frames if len(f.wcs) == len(numbers)])
    moved = np.hypot(*np.moveaxis(places - np.median(places, axis=0), -1, 0)).max(axis=0)
    found = []
    for p in numbers:
        typical = float(np.median([moved[k, p] for k in numbers if k != p]))
        if typical > LOOSE:
            found.append(f"by its WCS, plane {p + 1} moves by up to {typical:.1f} pixels relative to the others")
    return found


def _centers(frame: FrameInfo, of: int) -> np.ndarray:
    """(planes, 2): the planes' centres, as pixel positions of plane `of`."""
    import numpy as np

    middles = [((d.shape[1] - 1) / 2, (d.shape[0] - 1) / 2) for d in frame.detectors]
    sky = [w.wcs.wcs_pix2world([middle], 0)[0] for w, middle in zip(frame.wcs, middles, strict=True)]
    return np.asarray(frame.wcs[of].wcs.wcs_world2pix(sky, 0), float)
