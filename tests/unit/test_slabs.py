"""Rows of many frames: identical from memory and from scratch files."""

from __future__ import annotations

import numpy as np
import pytest

from nirred.slabs import Slabs, sample_rows, sampled
from nirred.store import PlaneStack

SHAPE = (4, 7, 5)


@pytest.fixture(params=["memory", "scratch"])
def stack(request, tmp_path):
    stack = PlaneStack(SHAPE, np.float32, tmp_path if request.param == "scratch" else None)
    for i in range(SHAPE[0]):
        stack.put(i, np.arange(35, dtype=np.float32).reshape(7, 5) + 100 * i)
    return stack


def test_sampled_rows_are_copies_in_the_order_asked_for(stack):
    found = sampled(stack, [2, 0, 2], np.array([1, 4]))
    assert found.shape == (3, 2, 5) and found.flags.c_contiguous
    assert found[:, :, 0].tolist() == [[205, 220], [5, 20], [205, 220]]
    found[:] = -1
    assert stack.frame(2)[1, 0] == 205


def test_slabs_write_back(stack):
    slabs = Slabs(stack, [3, 1], 4)
    with slabs.open(2, 5, write=True) as slab:
        values = slab.array[slab.places[1], slab.top : slab.top + 3]
        assert values[:, 0].tolist() == [110, 115, 120]
        values += 1
    assert stack.frame(1)[:, 0].tolist() == [100, 105, 111, 116, 121, 125, 130]


def test_sample_rows_are_an_odd_number_apart():
    rows = sample_rows((1000, 100), 10_000)
    assert np.unique(np.diff(rows)) % 2 == 1
    assert sample_rows((1, 1), 10).tolist() == [0]
