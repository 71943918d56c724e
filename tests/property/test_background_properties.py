from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nirred.algorithms.background import level
from nirred.algorithms.dilation import dilate
from nirred.algorithms.mesh import mesh_background

NOISE = np.random.default_rng(0).normal(0.0, 1.0, (130, 97)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(shift=st.floats(-1e3, 1e3), scale=st.floats(0.1, 1e3))
def test_level_moves_with_the_data(shift: float, scale: float) -> None:
    reference, moved = level(NOISE, None), level(NOISE.astype(np.float64) * scale + shift, None)
    assert abs(moved.value - (reference.value * scale + shift)) < 0.01 * scale
    assert abs(moved.sigma - reference.sigma * scale) < 0.01 * scale


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 129), length=st.integers(1, 130), seed=st.integers(0, 99))
def test_rows_of_a_mesh_do_not_depend_on_the_tile(start: int, length: int, seed: int) -> None:
    bad = np.random.default_rng(seed).random(NOISE.shape) < 0.3
    mesh = mesh_background(NOISE, bad, 32)
    stop = min(start + length, NOISE.shape[0])
    assert np.array_equal(mesh.rows(start, stop), mesh.evaluate()[start:stop])


@settings(max_examples=25, deadline=None)
@given(radius=st.floats(0.0, 9.0), seed=st.integers(0, 99), density=st.floats(0.0, 0.3))
def test_dilation_is_the_union_of_discs(radius: float, seed: int, density: float) -> None:
    mask = np.random.default_rng(seed).random((23, 31)) < density
    y, x = np.mgrid[:23, :31]
    expected = mask.copy()
    if radius >= 1:
        for j, i in zip(*np.nonzero(mask), strict=True):
            expected |= (y - j) ** 2 + (x - i) ** 2 <= radius * radius
    assert np.array_equal(dilate(mask, radius) != 0, expected)
