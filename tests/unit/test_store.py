"""Planes in memory and in a scratch file behave alike."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from nirred.errors import DataError
from nirred.store import PlaneStack


@pytest.fixture(params=["memory", "file"])
def stack(request, tmp_path):
    made = PlaneStack((3, 7, 5), np.float32, None if request.param == "memory" else tmp_path)
    yield made
    made.close()


def test_starts_with_zeros(stack):
    assert len(stack) == 3
    assert all(not stack.frame(i).any() and stack.frame(i).shape == (7, 5) for i in range(3))


def test_rows_come_back_as_they_were_put(stack):
    planes = np.random.default_rng(1).standard_normal((3, 7, 5)).astype(np.float32)
    for i in (2, 0, 1):
        stack.put(i, planes[i, 3:], 3)
        stack.put(i, planes[i, :3])
    for i in range(3):
        np.testing.assert_array_equal(stack.frame(i), planes[i])
        np.testing.assert_array_equal(stack.rows(i, 2, 6), planes[i, 2:6])
        assert stack.rows(i, 4, 4).shape == (0, 5)
    np.testing.assert_array_equal(stack.block(1, 3, [2, 0]), planes[[2, 0], 1:3])
    np.testing.assert_array_equal(stack.block(0, 7), planes)


def test_values_take_the_stack_s_type_and_any_memory_order(stack):
    wide = np.arange(70, dtype=np.float64).reshape(14, 5)[::2]
    stack.put(1, wide)
    assert stack.frame(1).dtype == np.float32
    np.testing.assert_array_equal(stack.frame(1), wide)
    stack.put(1, np.arange(35, dtype=np.float32).reshape(5, 7).T)
    assert stack.frame(1)[0, 1] == 7.0


def test_nan_and_extremes_survive(stack):
    values = np.array([[np.nan, np.inf, -np.inf, np.finfo(np.float32).max, -0.0]], np.float32)
    stack.put(0, values, 6)
    assert stack.rows(0, 6, 7).tobytes() == values.tobytes()


def test_a_scratch_file_has_no_name_and_one_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    stack = PlaneStack((4, 8, 8), np.uint16, tmp_path)
    assert not stack.in_memory
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before + 1
    stack.close()
    stack.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_pixel(tmp_path):
    for scratch in (None, tmp_path):
        stack = PlaneStack((1, 1, 1), np.uint16, scratch)
        stack.put(0, np.array([[65535]], np.uint16))
        assert stack.frame(0).tolist() == [[65535]]
        stack.close()


def test_a_full_or_missing_scratch_disk_is_said(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="No such file"):
        PlaneStack((1, 4, 4), np.uint8, tmp_path / "none")
    stack = PlaneStack((1, 4, 4), np.uint8, tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DataError, match="No space left"):
        stack.put(0, np.ones((4, 4), np.uint8))
    stack.close()


def test_a_dropped_plane_leaves_the_others(tmp_path):
    """Planes need not begin or end with a page of memory."""
    for shape in ((3, 1, 1), (4, 63, 41), (3, 256, 256)):
        for scratch in (None, tmp_path):
            stack = PlaneStack(shape, np.float32, scratch)
            for i in range(shape[0]):
                stack.put(i, np.full(shape[1:], i + 1.0, np.float32))
            stack.drop(1)
            for i in (0, *range(2, shape[0])):
                assert (stack.frame(i) == i + 1).all()
            stack.put(1, np.full(shape[1:], 9.0, np.float32))
            assert (stack.frame(1) == 9).all()


def test_memory_that_there_is_not():
    with pytest.raises(MemoryError):
        PlaneStack((1 << 20, 1 << 20, 1 << 10), np.float32)
