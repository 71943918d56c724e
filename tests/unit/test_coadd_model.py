"""Choice of frames for the models of a long sequence."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.algorithms.grids import enclosing_grid
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


def depth_made(layout: Layout, bands: list[list[int]]) -> np.ndarray:
    """As `depth`, of the frames that are chosen for each band of 64 rows."""
    rows = np.arange(32, layout.grid.shape[0] - 32, 16) // 64
    return np.array([depth(layout, bands[band])[k] for k, band in enumerate(rows)])


def test_a_long_sequence_is_thinned_out_but_nowhere_to_nothing() -> None:
    cycle = [(a, b) for a in (-200.0, 0.0, 200.0) for b in (-150.0, 0.0, 150.0)]
    layout, frames = laid_out([cycle[k % 9] for k in range(270)]), list(range(270))
    bands = _as_deep(layout, frames, 64)
    assert all(chosen == sorted(set(chosen)) for chosen in bands)
    assert np.mean([len(chosen) for chosen in bands]) <= 64
    whole, thin = depth(layout, frames), depth_made(layout, bands)
    assert thin.max() >= 60 and (thin >= np.minimum(whole, 5)).all()
    assert _as_deep(layout, frames[:50], 64) == [frames[:50]] * len(bands)


def test_frames_side_by_side_all_count() -> None:
    layout = laid_out([(700.0 * (k % 50), 0.0) for k in range(150)])
    assert all(len(chosen) == 150 for chosen in _as_deep(layout, list(range(150)), 64))


@pytest.mark.parametrize("seed", range(3))
def test_no_pixel_that_a_frame_shows_is_left_without_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layout = laid_out([tuple(p) for p in rng.uniform(-300, 300, (150, 2))])
    bands, shape = _as_deep(layout, list(range(150)), 32), layout.grid.shape
    y, x = np.mgrid[: shape[0], : shape[1]]
    all_of, made = np.zeros(shape, int), np.zeros(shape, int)
    for i in range(150):
        u, v = layout.placements[i, 0].to_plane(x + layout.grid.x0, y + layout.grid.y0)
        shows = (u >= 0) & (u <= NX - 1) & (v >= 0) & (v <= NY - 1)
        all_of += shows
        made += shows & np.array([i in bands[row // 64] for row in range(shape[0])])[:, None]
    assert ((made > 0) == (all_of > 0)).all()
    assert max(map(len, bands)) < 120


def test_rows_that_no_frame_reaches_have_none() -> None:
    layout = laid_out([(0.0, 1500.0 * (k % 2)) for k in range(100)])
    bands = _as_deep(layout, list(range(100)), 32)
    first = NY // 64 + 1
    assert [len(chosen) for chosen in bands[first : 1500 // 64]] == [0] * (1500 // 64 - first)
    assert len(bands[0]) == len(bands[-1]) == 16  # of the 50 that cover these rows, the same fraction as of all frames
