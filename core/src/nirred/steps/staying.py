"""Separate objects that seem to hide pixels in every frame from light that stays on the detector when the sky moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..algorithms.mesh import fill_boxes
from ..algorithms.mutual import Squares, spread
from ..algorithms.surface import fit_points
from ..coadd import Layout
from ..group import Group
from ..states import OBJECT, PlaneState

#: Least number of squares, covered by objects in every frame, that make a region worth testing.
_LEAST = 4
#: Number of frames used in the test.
_ASKED = 32
#: Light stays on the detector if the variance between frames at fixed sky positions is this many times that at fixed
#: detector positions. Four galaxies wider than the dither: 0.01 to 0.3; a glow that varies by 1 % of the sky: 4 to 400.
_STAYING = 2.0
#: Share of a region covered by compact objects from which it belongs to an object: a galaxy has 0.4, wings of stars 0.2
#: to 0.8, a glow with stars on it 0.1.
_OBJECT = 0.2
#: Share of a region with light known to move with the sky from which it belongs to an object, too.
_MOVING = 0.5
#: Share of the frames, those with least of an object's light at a pixel, used for the sky behind it; and a sufficient
#: number: with fringes, two of nine frames scattered bright stars by 1.1 %, four by 0.5 %.
_SHOWING, _ENOUGH = 0.25, 4
#: Sampling step for the depth of pixels inside an object, pixels.
_STEP = 4


@dataclass(frozen=True)
class Shown:
    """Pixels used for the sky behind objects: marked, because they contain objects' light, but useful for the sky.

    Attributes
    ----------
    where : (rows, columns), int64 (m,) each
        Pixels of a plane.
    by : dict
        By frame: which of these pixels, as packed bits.
    """

    where: tuple[np.ndarray, np.ndarray]
    by: dict[int, np.ndarray]

    def count(self) -> np.ndarray:
        """Number of frames used for each pixel, uint16 (m,)."""
        count = np.zeros(self.where[0].size, np.uint16)
        for i in self.by:
            count += self._of(i)
        return count

    @contextmanager
    def uncovered(self, state: PlaneState) -> Iterator[None]:
        """Context in which these pixels are not marked."""
        for i in self.by:
            state.dq.frame_to_change(i)[self._places(i)] &= ~OBJECT
        yield
        for i in self.by:
            state.dq.frame_to_change(i)[self._places(i)] |= OBJECT

    def _of(self, i: int) -> np.ndarray:
        return np.asarray(np.unpackbits(self.by[i], count=self.where[0].size) != 0)

    def _places(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = self._of(i)
        return self.where[0][chosen], self.where[1][chosen]


@dataclass(frozen=True)
class _Detector:
    """One plane of the frames, and what is compact on the sky that they show.

    Attributes
    ----------
    state, p
        The plane and its number.
    squares : Squares
        Of the plane.
    layout : Layout
        Of the frames on the sky.
    compact : uint8
        Compact objects on the layout's grid.
    """

    state: PlaneState
    p: int
    squares: Squares
    layout: Layout
    compact: np.ndarray

    def objects(self, i: int) -> np.ndarray:
        """Compact objects on frame i, uint8 (ny, nx)."""
        return self.layout.carry(self.compact, i, self.p)


def release_staying(
    group: Group,
    frames: list[int],
    layout: Layout,
    compact: Callable[[], np.ndarray],
    marked: dict[int, np.ndarray],
) -> float:
    """Unmark light that is taken for objects but does not move with the sky: glow, ghosts, variable vignetting.

    Where objects cover the detector in every frame, the sky is continued from around them, and the excess is assumed to
    be their light. If it is, it falls on other pixels in every frame, and the frames, with their sky added back, agree
    at fixed sky positions. If not, they agree at fixed detector positions, and only compact objects stay marked there.
    Light may also stay on the detector behind a real object, such as a ring of stray light behind a galaxy: then the
    sky is measured there in the few frames in which the object is faintest.

    Parameters
    ----------
    group, frames
        Frames that serve each other as sky, objects marked.
    layout : Layout
        Their layout on the sky.
    compact : callable
        Returns compact objects on the layout's grid, uint8, 1; called at most once.
    marked : dict
        By plane, the number of frames in which each pixel is marked, uint16; kept up to date.

    Returns
    -------
    float
        Share of the detectors' pixels with such light.
    """
    from scipy.ndimage import binary_dilation, label

    asked, mask, total = _some(frames), None, 0.0
    for p, count in marked.items():
        squares = Squares.of(count.shape)
        share = squares.picked(count)
        regions, _ = label(2 * share >= len(frames), np.ones((3, 3)))
        numbers, areas = np.unique(regions[share == len(frames)], return_counts=True)
        suspects = numbers[areas >= _LEAST]
        if not suspects.size:
            continue
        mask = compact() if mask is None else mask
        detector = _Detector(group.planes[p], p, squares, layout, mask)
        light, left = _seen(detector, asked, np.isin(regions, suspects))
        asks = {n: _stays(detector, asked, regions == n, light, left) for n in suspects}
        moving = _moving_share(group, p, regions, suspects)
        dressed = [n for n, (stays, covered) in asks.items() if stays and (covered >= _OBJECT or moving[n] >= _MOVING)]
        bare = [n for n, (stays, _) in asks.items() if stays and n not in dressed]
        if bare:
            grown = binary_dilation(np.isin(regions, bare), np.ones((3, 3)))  # squares that they reach into
            there = squares.spread_out(grown, count.shape) & (2 * count >= len(frames))
            count[there] = _unmark(detector, frames, there)
            total += float(there.mean())
        if dressed:
            showing = _showing(len(frames))
            there = squares.spread_out(np.isin(regions, dressed), count.shape) & (count > len(frames) - showing)
            shown = _shown(detector, frames, there, showing)
            group.objects.shown.setdefault(p, []).append(shown)
            count[there] -= shown.count()
    return total / len(marked)


def _moving_share(group: Group, p: int, regions: np.ndarray, numbers: np.ndarray) -> dict[int, float]:
    """Share of each region, by its number, on which some frame has light that moves with the sky."""
    moving = group.objects.moving.get(p)
    return {n: 0.0 if moving is None else float(moving.lit()[regions == n].mean()) for n in numbers}


def _some(frames: list[int]) -> list[int]:
    """At most `_ASKED` of the frames, evenly spaced."""
    step = -(-len(frames) // _ASKED)
    return frames[::step]


def _seen(detector: _Detector, frames: list[int], inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Light inside regions above a sky continued from around them, 0 elsewhere; and the residuals of each frame."""
    state, squares = detector.state, detector.squares
    seen, left = (np.empty((len(frames), *squares.x.shape)) for _ in range(2))
    for k, i in enumerate(frames):
        bad, data = state.bad(i), state.sub.frame(i)
        seen[k] = squares.means(state.sci.frame(i) - data, bad) - state.sky.get(i, 0.0)
        left[k] = squares.means(data, bad | detector.objects(i))
    count = np.isfinite(seen).sum(axis=0)
    mean = np.where(np.isfinite(seen), seen, 0.0).sum(axis=0) / np.maximum(count, 1)
    blank = (count > 0) & ~inside
    if np.count_nonzero(blank) < _LEAST:
        return np.zeros(inside.shape), left
    mean -= fit_points(squares.x[blank], squares.y[blank], mean[blank], state.shape, 2).at(squares.x, squares.y)
    around = mean.copy()
    fill_boxes(around, mean.copy(), blank, np.argwhere(blank))
    return np.where(inside & (count > 0), mean - around, 0.0), left


def _stays(
    detector: _Detector, frames: list[int], region: np.ndarray, light: np.ndarray, left: np.ndarray
) -> tuple[bool, float]:
    """Whether frames agree better on a region's light at fixed detector positions than at fixed sky positions.

    Second, the share of the region covered by compact objects.
    """
    squares, layout = detector.squares, detector.layout
    x, y = layout.grid.places(squares.side)
    places = [layout.placements[i, detector.p].to_plane(x, y) for i in frames]
    inside = np.array([squares.at(region.astype(float), *place) for place in places])
    mine = np.nan_to_num(inside).sum(axis=0) >= 0.5 * np.maximum(np.isfinite(inside).sum(axis=0), 1)
    on_sky = np.array([squares.at(light + rest, *place)[mine] for rest, place in zip(left, places, strict=True)])
    covered = detector.compact[(y[mine] - layout.grid.y0).astype(int), (x[mine] - layout.grid.x0).astype(int)]
    return spread(on_sky) > _STAYING * spread(left[:, region]), float(covered.mean()) if covered.size else 0.0


def _unmark(detector: _Detector, frames: list[int], there: np.ndarray) -> np.ndarray:
    """Leave only compact objects marked in some pixels of frames; return in how many frames each is still marked."""
    left = np.zeros(int(there.sum()), np.uint16)
    for i in frames:
        dq = detector.state.dq.frame_to_change(i)
        kept = dq[there] & np.where(detector.objects(i)[there] != 0, 0xFFFF, ~OBJECT)
        dq[there] = kept
        left += kept & OBJECT != 0
    return left


def _showing(number: int) -> int:
    """How many of this number of frames are used for a pixel: of few frames up to half, at least two."""
    return max(round(_SHOWING * number), min(_ENOUGH, number // 2), 2)


def _shown(detector: _Detector, frames: list[int], there: np.ndarray, showing: int) -> Shown:
    """Choose `showing` frames for the sky in each pixel: those where it is least deep in a mask, but in no core."""
    from scipy.ndimage import distance_transform_edt

    state, (rows, columns) = detector.state, np.nonzero(there)
    depth = np.empty((len(frames), rows.size), np.float32)
    for k, i in enumerate(frames):
        marked = state.dq.frame(i)[::_STEP, ::_STEP] & OBJECT != 0
        inside = distance_transform_edt(np.pad(marked, 1, mode="edge"))
        depth[k] = inside[rows // _STEP + 1, columns // _STEP + 1]
    limit = np.partition(depth, showing - 1, axis=0)[showing - 1]
    by = {}
    for k, i in enumerate(frames):
        marked = state.dq.frame(i)[there] & OBJECT != 0
        bare = detector.objects(i)[there] == 0
        by[i] = np.packbits(marked & bare & (depth[k] <= limit))
    return Shown((rows, columns), by)
