"""Separate the light of wide objects from the sky in frames that serve each other as sky; keep it out of the sky."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..algorithms.amplifiers import Box, take_levels_off
from ..algorithms.moving_light import Nodes, believed_light, fit_terms, part_light
from ..algorithms.mutual import Squares, add_shown, square_means
from ..algorithms.surface import Surface, degrees, terms_at
from ..coadd import Layout
from ..group import Group
from ..parallel import each_frame
from ..states import BAD, NOT_SKY, OBJECT, PlaneState

#: Pixels hidden by objects in this share of the frames or more are rarely seen; share of the detector from which such
#: pixels matter. Short EMIR nights with galaxies of 10 to 15 arcsec: 0.014 to 0.08, or hollows; NIRI nights, for which
#: masks suffice: up to 0.006.
RARELY, SEEN_LITTLE = 0.7, 0.01
#: Share of the detector's squares from which an object counts as wide.
WIDE = 0.004
#: The light of a wide object is sought up to this many squares beyond its mask.
BEYOND = 2
#: Number of frames from which the light is measured; degree of the surface fitted to each frame.
_ASKED, _ORDER = 32, 2
#: Bits of pixels that are used in no sky.
_USELESS = int(BAD | OBJECT | NOT_SKY)


@dataclass(frozen=True)
class _Sought:
    """Where light is sought on a plane of frames, and what is compact there.

    Attributes
    ----------
    layout, p, squares
        Layout of the frames on the sky; the plane's number and squares.
    lit : bool
        Nodes of the layout's grid, spaced as the squares, that may have light.
    compact : uint8
        Compact objects on this grid.
    """

    layout: Layout
    p: int
    squares: Squares
    lit: np.ndarray
    compact: np.ndarray

    def nodes(self, frames: list[int]) -> Nodes:
        """Positions of the frames' squares on the sky."""
        squares = self.squares
        x, y = self.layout.grid.places(squares.side)
        placements = (self.layout.placements[i, self.p] for i in frames)
        places = [placed.from_plane(squares.x.ravel(), squares.y.ravel()) for placed in placements]
        u, v = (np.array([place[k] for place in places]) for k in (0, 1))
        return Nodes.of((u - x[0]) / squares.side, (v - y[0]) / squares.side, self.lit)


@dataclass(frozen=True)
class _OwnTerms:
    """What differs between frames: parabolas and levels of amplifiers in squares, (terms, squares); see `_own_terms`.

    Attributes
    ----------
    values : float64 (terms, squares)
        The parabola's terms, then the amplifiers.
    boxes : list of (rows, columns)
        The amplifiers; empty if there is only one.
    gain : float32 (ny, nx) or None
        By which the flat changed their levels.
    """

    values: np.ndarray
    boxes: list[Box]
    gain: np.ndarray | None


@dataclass(frozen=True)
class MovingLight:
    """Light of wide objects on a detector.

    Attributes
    ----------
    squares : Squares
        Of the detector.
    light : dict
        By frame: in each square, electron, float32 (rows, columns). Other frames have none.
    """

    squares: Squares
    light: dict[int, np.ndarray]

    def lit(self) -> np.ndarray:
        """Squares with light in at least one frame."""
        return np.asarray(np.any([light != 0 for light in self.light.values()], axis=0))

    def give_back(self, state: PlaneState, epoch: list[int], skies: list[int], unit: np.ndarray) -> None:
        """Add to sky-subtracted frames the objects' light that their sky contained.

        Parameters
        ----------
        state
            The plane, its `sub` is changed.
        epoch, skies : list of int
            Frames, and the frames of which their sky was made.
        unit : float64 (n,)
            Of the sky model, see `SkyScale`.
        """
        rows, columns = (
            slice(self.squares.side * int(k.min()), self.squares.side * (int(k.max()) + 1))
            for k in np.nonzero(self.lit())
        )
        total, units = (np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.float32) for _ in range(2))
        none = np.zeros(self.squares.x.shape, np.float32)
        for j in skies:
            dq = state.dq.frame(j)[rows, columns]
            first = rows.start, columns.start
            add_shown(dq, _USELESS, self.light.get(j, none), self.squares.side, first, float(unit[j]), total, units)
        np.divide(total, units, out=total, where=units > 0)
        for i in epoch:
            state.sub.frame_to_change(i)[rows, columns] += np.float32(unit[i]) * total


def tell_light(
    group: Group,
    frames: list[int],
    layout: Layout,
    mask: np.ndarray,
    compact: Callable[[], np.ndarray],
    marked: dict[int, np.ndarray],
    *,
    hollowed: bool,
) -> None:
    """Find the light of wide objects on frames that serve each other as sky; bring the frames to one level and shape.

    A frame is modelled as the sky's pattern, fixed on the detector; light that moves with the sky, allowed only on and
    around the masks of wide objects; a parabola of its own; and levels of its amplifiers. All are solved for together,
    in squares, because they are degenerate: levels measured next to a halo contain some of its light. Where most
    frames show the sky behind objects, and no object lies in a hollow, masks are enough.

    Parameters
    ----------
    group, frames
        Frames of one pointing that serve each other as sky; if light is accepted, their `sci` is changed and it is
        added to `objects.moving` of the group.
    layout : Layout
        Their layout on the sky.
    mask : uint8
        Objects on the layout's grid.
    compact : callable
        Returns compact objects on this grid.
    marked : dict
        By plane, the number of frames in which each pixel is marked.
    hollowed : bool
        Objects lie in hollows that their own light caused in the sky.
    """
    for p in layout.target.planes:
        if p not in group.sky.scales:  # no sky was made of these frames
            continue
        squares = Squares.of(group.planes[p].shape)
        rarely = float(np.mean(squares.picked(marked[p]) >= RARELY * len(frames))) > SEEN_LITTLE
        lit = _wide(mask, layout, squares) if rarely or hollowed else None
        if lit is None:
            continue
        light = _tell(group, p, frames, _Sought(layout, p, squares, lit, compact()))
        if light is not None:
            known = group.objects.moving.setdefault(p, MovingLight(squares, {}))
            known.light.update(zip(frames, light, strict=True))


def _wide(mask: np.ndarray, layout: Layout, squares: Squares) -> np.ndarray | None:
    """Nodes of the layout's grid, spaced as the squares, that may have light of wide objects; None without any."""
    from scipy.ndimage import binary_dilation, label

    x, y = layout.grid.places(squares.side)
    share = square_means(
        mask.astype(np.float32), np.zeros_like(mask), x - layout.grid.x0, y - layout.grid.y0, squares.side
    )
    covered = np.nan_to_num(share).reshape(np.unique(y).size, -1) > 0.5
    regions, _ = label(covered, np.ones((3, 3)))
    areas = np.bincount(regions.ravel())
    areas[0] = 0
    wide = np.flatnonzero(areas >= WIDE * squares.x.size)
    lit = binary_dilation(np.isin(regions, wide), np.ones((3, 3)), iterations=BEYOND)
    return np.asarray(lit) if wide.size else None


def _tell(group: Group, p: int, frames: list[int], sought: _Sought) -> np.ndarray | None:
    """Light in squares of each frame, float32 (n, rows, columns), None without any; brings frames to one shape."""
    state, squares, zero, unit = group.planes[p], sought.squares, group.sky.scales[p].zero, group.sky.scales[p].unit

    def means(i: int) -> np.ndarray:
        bad = state.bad(i) | sought.layout.carry(sought.compact, i, p)
        return (squares.means(state.sci.frame(i), bad).ravel() - float(zero[i])) / float(unit[i])

    values = np.array(each_frame(group, frames, means))
    step = -(-len(frames) // _ASKED)
    terms = _own_terms(group, p, frames[0], squares)
    _, strengths, basis = np.linalg.svd(terms.values, full_matrices=False)
    shapes = basis[strengths > 1e-8 * strengths[0]]
    some = sought.nodes(frames[::step])
    parted = part_light(values[::step], some, shapes)
    light = believed_light(values[::step], parted, some, shapes)
    if light is None:
        return None
    nodes = sought.nodes(frames)
    rest = values - parted.pattern - nodes.at(parted.light)
    _even(group, p, frames, rest * unit[frames][:, None], terms)
    return np.asarray(nodes.at(light) * unit[frames][:, None], np.float32).reshape(len(frames), *squares.x.shape)


def _own_terms(group: Group, p: int, i: int, squares: Squares) -> _OwnTerms:
    """Terms that differ between frames; frame i gives the pixels in which the amplifiers' gain is measured."""
    state, (ny, nx) = group.planes[p], group.planes[p].shape
    terms = [*terms_at((squares.y.ravel() + 0.5) / ny, (squares.x.ravel() + 0.5) / nx, _ORDER).T]
    amplifiers = group.frames[0].info.detectors[p].amplifiers
    boxes = [a.section.pixels for a in amplifiers] if len(amplifiers) > 1 else []
    gain = state.electronic_gain(i) if boxes else None
    factor = np.ones(squares.x.size) if gain is None else squares.picked(gain).ravel().astype(float)
    for rows, columns in boxes:
        shares = [
            _overlap(axis, squares.side, part) for axis, part in ((squares.y[:, 0], rows), (squares.x[0], columns))
        ]
        terms.append(np.outer(*shares).ravel() * factor)
    return _OwnTerms(np.array(terms), boxes, gain)


def _overlap(middles: np.ndarray, side: int, part: slice) -> np.ndarray:
    """Share of each square along an axis that lies in a part of it."""
    first = middles - 0.5 * (side - 1)
    return np.asarray(np.clip(np.minimum(first + side, part.stop) - np.maximum(first, part.start), 0, None) / side)


def _even(group: Group, p: int, frames: list[int], rest: np.ndarray, terms: _OwnTerms) -> None:
    """Fit the terms to each frame and subtract them, except their mean over the frames."""
    state = group.planes[p]
    sizes = np.array(each_frame(group, range(len(frames)), lambda k: fit_terms(terms.values, rest[k])))
    sizes -= sizes.mean(axis=0)
    number = len(degrees(_ORDER))

    def take(k: int) -> None:
        surface, levels = Surface.of_terms(sizes[k, :number], _ORDER, state.shape), sizes[k, number:]
        take_levels_off(state.sci.frame_to_change(frames[k]), terms.boxes, levels, surface, terms.gain)

    each_frame(group, range(len(frames)), take)
