from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.pixelmap import PixelMap
from nirred.algorithms.resample_gather import gather_rows
from nirred.algorithms.resample_shift import shift_rows

shifts = st.floats(-6, 6, allow_nan=False)
kernels = st.sampled_from(["lanczos3", "bilinear", "nearest"])


def noisy(seed: int, shape: tuple[int, int] = (37, 41)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(100, 5, shape).astype(np.float32), rng.random(shape) < 0.05


@settings(max_examples=25, deadline=None)
@given(dx=shifts, dy=shifts, kernel=kernels, seed=st.integers(0, 99), step=st.integers(1, 40))
def test_tiles_do_not_matter(dx: float, dy: float, kernel: str, seed: int, step: int) -> None:
    image, bad = noisy(seed)
    grid = {"kernel": kernel, "shape": (45, 50), "origin": (-3, -4)}
    whole = shift_rows(image, bad, dx, dy, **grid)
    tiles = [shift_rows(image, bad, dx, dy, rows=(r, min(45, r + step)), **grid) for r in range(0, 45, step)]
    for i in range(2):
        np.testing.assert_array_equal(np.vstack([t[i] for t in tiles]), whole[i])


@settings(max_examples=25, deadline=None)
@given(dx=shifts, dy=shifts, kernel=kernels)
def test_a_shift_keeps_the_sum(dx: float, dy: float, kernel: str) -> None:
    image = np.zeros((40, 40), np.float32)
    image[18:22, 17:23] = np.random.default_rng(7).random((4, 6)) * 1000
    moved, _ = shift_rows(image, None, dx, dy, kernel=kernel)
    assert abs(np.nansum(moved, dtype=np.float64) / image.sum(dtype=np.float64) - 1) < 1e-5


@settings(max_examples=15, deadline=None)
@given(dx=st.integers(-8, 8), dy=st.integers(-8, 8), kernel=kernels, seed=st.integers(0, 99))
def test_whole_pixels_are_copied(dx: int, dy: int, kernel: str, seed: int) -> None:
    image, bad = noisy(seed)
    moved, _ = shift_rows(image, bad, dx, dy, kernel=kernel)
    expected = np.full(image.shape, np.nan, np.float32)
    ny, nx = image.shape
    ys, xs = np.arange(max(0, -dy), min(ny, ny - dy)), np.arange(max(0, -dx), min(nx, nx - dx))
    expected[np.ix_(ys, xs)] = np.where(bad, np.nan, image)[np.ix_(ys + dy, xs + dx)]
    np.testing.assert_array_equal(moved, expected)


@settings(max_examples=20, deadline=None)
@given(
    angle=st.floats(-0.1, 0.1), dx=shifts, dy=shifts, kernel=kernels, seed=st.integers(0, 99), step=st.integers(1, 40)
)
def test_tiles_do_not_matter_to_gathering(
    angle: float, dx: float, dy: float, kernel: str, seed: int, step: int
) -> None:
    image, bad = noisy(seed)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    pixelmap = PixelMap.from_affine(matrix, np.array([dx, dy]), (45, 50))
    whole = gather_rows(image, bad, pixelmap, kernel=kernel)
    tiles = [gather_rows(image, bad, pixelmap, kernel=kernel, rows=(r, min(45, r + step))) for r in range(0, 45, step)]
    for i in range(2):
        np.testing.assert_array_equal(np.vstack([t[i] for t in tiles]), whole[i])
