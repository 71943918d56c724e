"""Light that objects seem to hide in every frame, told from light that stays on the detector when the sky moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..algorithms.background import fill_boxes
from ..algorithms.mutual import Squares, spread
from ..algorithms.surface import fit_points
from ..coadd import Layout
from ..group import OBJECT, Group, PlaneState

#: Squares that objects cover in every frame make a region that is worth a look.
_LEAST = 4
#: Frames that are asked.
_ASKED = 32
#: Light stays on the detector where frames differ so many times more, in variance, at places of the sky than at its
#: own. Four galaxies wider than the dither: 0.01 to 0.3; a glow that changes by one per cent of the sky: 4 to 400.
_STAYING = 2.0
#: Share of the region that compact objects cover, from which it is an object's: a galaxy has 0.4, wings of stars 0.2 to
#: 0.8, a glow with stars on it 0.1.
_OBJECT = 0.2
#: Share of it on which there is light that is known to move with the sky, from which it is an object's, too.
_MOVING = 0.5
#: Of the frames, those that show a pixel behind such an object, the ones that see least of it there; and how many are
#: enough: two of nine frames with fringes scattered bright stars by 1.1 %, four by 0.5 %.
_SHOWING, _ENOUGH = 0.25, 4
#: Every so many pixels tell how deep in an object others lie.
_STEP = 4


@dataclass(frozen=True)
class Shown:
    """Pixels that show the sky behind objects: marked, for the objects' light is on them, but of use to the sky.

    Attributes
    ----------
    where : (rows, columns), int64 (m,) each
        Pixels of a plane.
    by : dict
        By frame: which of them, packed bits.
    """

    where: tuple[np.ndarray, np.ndarray]
    by: dict[int, np.ndarray]

    def count(self) -> np.ndarray:
        """Frames that show each pixel, uint16 (m,)."""
        count = np.zeros(self.where[0].size, np.uint16)
        for i in self.by:
            count += self._of(i)
        return count

    @contextmanager
    def uncovered(self, state: PlaneState) -> Iterator[None]:
        """Within, these pixels are not marked."""
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


def release_staying(
    group: Group,
    frames: list[int],
    layout: Layout,
    compact: Callable[[], np.ndarray],
    marked: dict[int, np.ndarray],
) -> float:
    """Unmark what passes for objects but does not move with the sky: glow, ghosts, vignetting that changes.

    Where objects cover the detector in every frame, its sky goes on as around them, and what it shows besides will be
    their light. If it is, it lies on other pixels in every frame, and the frames, their sky put back, agree at places
    of the sky; if not, they agree at places of the detector, and only compact objects stay marked there. Behind a real
    object light may stay, too, as a ring of stray light behind a galaxy: a few frames show it then, those in which the
    object is faintest there.

    Parameters
    ----------
    group, frames
        Frames that are each other's sky, objects marked.
    layout : Layout
        Where they lie.
    compact : callable
        Gives compact objects on the layout's grid, uint8, 1; called at most once.
    marked : dict
        By plane, in how many frames each pixel is marked, uint16; kept up to date.

    Returns
    -------
    float
        Share of the detectors' pixels that show such light.
    """
    from scipy.ndimage import binary_dilation, label

    asked, mask, total = _some(frames), None, 0.0
    shown = group.extras["shown"] = {}
    for p, count in marked.items():
        squares = Squares.of(count.shape)
        share = squares.picked(count)
        regions, _ = label(2 * share >= len(frames), np.ones((3, 3)))
        numbers, areas = np.unique(regions[share == len(frames)], return_counts=True)
        suspects = numbers[areas >= _LEAST]
        if not suspects.size:
            continue
        mask = compact() if mask is None else mask
        light, left = _seen(group, asked, squares, np.isin(regions, suspects), (layout, p, mask))
        asks = {n: _stays(regions == n, light, left, squares, (asked, layout, p, mask)) for n in suspects}
        moving = _moving_share(group, p, regions, suspects)
        dressed = [n for n, (stays, covered) in asks.items() if stays and (covered >= _OBJECT or moving[n] >= _MOVING)]
        bare = [n for n, (stays, _) in asks.items() if stays and n not in dressed]
        if bare:
            grown = binary_dilation(np.isin(regions, bare), np.ones((3, 3)))  # squares that they reach into
            there = squares.spread_out(grown, count.shape) & (2 * count >= len(frames))
            count[there] = _unmark(group, frames, there, (layout, p, mask))
            total += float(there.mean())
        if dressed:
            showing = _showing(len(frames))
            there = squares.spread_out(np.isin(regions, dressed), count.shape) & (count > len(frames) - showing)
            shown[p] = _shown(group, frames, there, (layout, p, mask), showing)
            count[there] -= shown[p].count()
    return total / len(marked)


def _moving_share(group: Group, p: int, regions: np.ndarray, numbers: np.ndarray) -> dict[int, float]:
    """Share of regions on which some frame has light that moves with the sky, by their numbers."""
    moving = group.extras.get("moving", {}).get(p)
    return {n: 0.0 if moving is None else float(moving.lit()[regions == n].mean()) for n in numbers}


def _some(frames: list[int]) -> list[int]:
    """At most `_ASKED` of the frames, evenly."""
    step = -(-len(frames) // _ASKED)
    return frames[::step]


def _seen(
    group: Group, frames: list[int], squares: Squares, inside: np.ndarray, where: tuple[Layout, int, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Light inside regions beside a sky that goes on as around them, 0 elsewhere, and what the sky left in frames."""
    layout, p, mask = where
    state = group.planes[p]
    seen, left = (np.empty((len(frames), *squares.x.shape)) for _ in range(2))
    for k, i in enumerate(frames):
        bad, data = state.bad(i), state.sub.frame(i)
        seen[k] = squares.means(state.sci.frame(i) - data, bad) - state.sky.get(i, 0.0)
        left[k] = squares.means(data, bad | layout.placements[i, p].carry(mask, layout.grid))
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
    region: np.ndarray,
    light: np.ndarray,
    left: np.ndarray,
    squares: Squares,
    where: tuple[list[int], Layout, int, np.ndarray],
) -> tuple[bool, float]:
    """Whether frames agree better on the light of a region at places of the detector than at those of the sky.

    And the share of it that compact objects, a mask on the layout's grid, cover.
    """
    frames, layout, p, mask = where
    x, y = layout.grid.places(squares.side)
    places = [layout.placements[i, p].to_plane(x, y) for i in frames]
    inside = np.array([squares.at(region.astype(float), *place) for place in places])
    mine = np.nan_to_num(inside).sum(axis=0) >= 0.5 * np.maximum(np.isfinite(inside).sum(axis=0), 1)
    on_sky = np.array([squares.at(light + rest, *place)[mine] for rest, place in zip(left, places, strict=True)])
    covered = mask[(y[mine] - layout.grid.y0).astype(int), (x[mine] - layout.grid.x0).astype(int)]
    return spread(on_sky) > _STAYING * spread(left[:, region]), float(covered.mean()) if covered.size else 0.0


def _unmark(group: Group, frames: list[int], there: np.ndarray, where: tuple[Layout, int, np.ndarray]) -> np.ndarray:
    """Leave only compact objects marked in some pixels of frames; in how many frames each of these still is."""
    layout, p, mask = where
    left = np.zeros(int(there.sum()), np.uint16)
    for i in frames:
        dq = group.planes[p].dq.frame_to_change(i)
        kept = dq[there] & np.where(layout.placements[i, p].carry(mask, layout.grid)[there] != 0, 0xFFFF, ~OBJECT)
        dq[there] = kept
        left += kept & OBJECT != 0
    return left


def _showing(number: int) -> int:
    """How many of so many frames show a pixel: of few frames up to a half, two at least."""
    return max(round(_SHOWING * number), min(_ENOUGH, number // 2), 2)


def _shown(
    group: Group, frames: list[int], there: np.ndarray, where: tuple[Layout, int, np.ndarray], showing: int
) -> Shown:
    """Which frames show the sky in some pixels: as many, those that see least of what is marked, but no core of it."""
    from scipy.ndimage import distance_transform_edt

    layout, p, mask = where
    state, (rows, columns) = group.planes[p], np.nonzero(there)
    depth = np.empty((len(frames), rows.size), np.float32)
    for k, i in enumerate(frames):
        marked = state.dq.frame(i)[::_STEP, ::_STEP] & OBJECT != 0
        inside = distance_transform_edt(np.pad(marked, 1, mode="edge"))
        depth[k] = inside[rows // _STEP + 1, columns // _STEP + 1]
    limit = np.partition(depth, showing - 1, axis=0)[showing - 1]
    by = {}
    for k, i in enumerate(frames):
        marked = state.dq.frame(i)[there] & OBJECT != 0
        bare = layout.placements[i, p].carry(mask, layout.grid)[there] == 0
        by[i] = np.packbits(marked & bare & (depth[k] <= limit))
    return Shown((rows, columns), by)
