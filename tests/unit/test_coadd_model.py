"""Which frames of a long sequence its models are made of."""

from __future__ import annotations

import numpy as np

from nirred.algorithms.coadd import enclosing_grid
from nirred.algorithms.placement import Placement
from nirred.coadd import Layout, _as_deep
from nirred.geometry import Target

NY, NX = 512, 640


def laid_out(offsets: list[tuple[float, float]]) -> Layout:
    placements = {(i, 0): Placement.shifted(dx, dy, (NY, NX)) for i, (dx, dy) in enumerate(offsets)}
    grid = enclosing_grid([placed.bounds for placed in placements.values()])
    return Layout(Target(0, 0, (0,), grid), placements)


def depth(layout: Layout, frames: list[int]) -> np.ndarray:
    """Frames on points of a coarse net."""
    grid = layout.grid
    y, x = np.mgrid[32 : grid.shape[0] - 32 : 16, 32 : grid.shape[1] - 32 : 16]
    inside = []
    for i in frames:
        u, v = layout.placements[i, 0].to_plane(x + grid.x0, y + grid.y0)
        inside.append((u >= 0) & (u < NX) & (v >= 0) & (v < NY))
    return np.sum(inside, axis=0)


def test_a_long_sequence_is_thinned_out_but_nowhere_to_nothing() -> None:
    cycle = [(a, b) for a in (-200.0, 0.0, 200.0) for b in (-150.0, 0.0, 150.0)]
    layout, frames = laid_out([cycle[k % 9] for k in range(270)]), list(range(270))
    chosen = _as_deep(layout, frames, 64)
    assert 60 <= len(chosen) <= 80 and chosen == sorted(set(chosen))
    assert np.bincount(np.array(chosen) % 9, minlength=9).min() >= 5
    whole, thin = depth(layout, frames), depth(layout, chosen)
    assert thin.max() >= 60 and (thin >= np.minimum(whole, 5)).all()
    assert _as_deep(layout, frames[:50], 64) == frames[:50]


def test_frames_side_by_side_all_count() -> None:
    layout = laid_out([(700.0 * (k % 50), 0.0) for k in range(150)])
    assert len(_as_deep(layout, list(range(150)), 64)) == 150
