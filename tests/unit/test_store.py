"""Planes in memory and in a scratch file behave alike."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from nirred import scratch, store
from nirred.errors import DataError
from nirred.store import PlaneStack


@pytest.fixture(params=["memory", "file", "limited"])
def stack(request, tmp_path, monkeypatch):
    if request.param == "limited":
        monkeypatch.setattr(scratch, "addresses_unlimited", lambda: False)
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
    np.testing.assert_array_equal(stack.planes([1, 2]), planes[1:])
    np.testing.assert_array_equal(stack.planes([2, 0]), planes[[2, 0]])
    stack.close()
    with pytest.raises(ValueError, match="given up"):
        stack.frame(0)


def test_a_frame_that_is_filled_is_written_whole(stack, monkeypatch):
    for i, piece in ((0, 1 << 18), (1, 40), (2, 1)):  # bytes; a row has 20
        monkeypatch.setattr(store, "PIECE", piece)
        with stack.filling(i) as frame:
            frame[...] = np.arange(35).reshape(7, 5) + 100 * i
    for i in range(3):
        np.testing.assert_array_equal(stack.frame(i), np.arange(35).reshape(7, 5) + 100 * i)


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


def test_a_scratch_file_has_no_name_and_two_descriptors(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    stack = PlaneStack((4, 8, 8), np.uint16, tmp_path)
    assert stack.scratch == tmp_path
    assert list(tmp_path.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == before + 2
    stack.close()
    stack.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_large_one_lies_in_two_files_that_one_mapping_shows(tmp_path, monkeypatch):
    """Odd rows, so that stripes and frames end at different places; written by several threads, and by one."""
    shape, rng = (7, 1031, 517), np.random.default_rng(3)
    planes = rng.standard_normal(shape).astype(np.float32)
    before = len(os.listdir("/proc/self/fd"))
    stack = PlaneStack(shape, np.float32, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 3 and list(tmp_path.iterdir()) == []
    assert not stack.lend(7, 1031).any()
    blocks = [slice(top, min(top + 100, shape[1])) for top in range(0, shape[1], 100)]

    def write(k):
        for rows in blocks[k::3]:
            for i in range(shape[0]):
                stack.put(i, planes[i, rows], rows.start)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    np.testing.assert_array_equal(stack.lend(7, 1031), planes)
    stack.about_to_change(3, 0, 1031)
    stack.frame_to_change(3)[...] *= 2
    held = stack.frame(3)
    monkeypatch.setattr(store, "RESIDENT", 0)
    np.testing.assert_array_equal(stack.planes([3, 5]), planes[[3, 5]] * np.float32([2, 1])[:, None, None])
    stack.close()
    assert len(os.listdir("/proc/self/fd")) == before + 1  # of the mapping, which the view keeps open
    np.testing.assert_array_equal(held, 2 * planes[3])
    del held
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr(scratch, "addresses_unlimited", lambda: False)
    one = PlaneStack(shape, np.float32, tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    one.put(2, planes[2])
    np.testing.assert_array_equal(one.planes([2, 1]), planes[[2, 1]] * np.float32([1, 0])[:, None, None])
    one.close()


def test_two_files_take_the_space_of_one(tmp_path):
    size = 30_000_000
    file = scratch.ScratchFile(size, tmp_path, 3_000_000)
    taken = [os.fstat(int(n)).st_blocks * 512 for n in os.listdir("/proc/self/fd") if _of(tmp_path, n)]
    assert len(taken) == 3 and taken.count(max(taken)) < 3  # the mapping's descriptor is the first one's
    assert size <= sum(set(taken)) < size + 1_000_000
    file.close()


def _of(folder, number):
    try:
        return os.readlink(f"/proc/self/fd/{number}").startswith(str(folder))
    except OSError:
        return False


def test_one_pixel(tmp_path):
    for folder in (None, tmp_path):
        stack = PlaneStack((1, 1, 1), np.uint16, folder)
        stack.put(0, np.array([[65535]], np.uint16))
        assert stack.frame(0).tolist() == [[65535]]
        stack.close()


def test_frames_without_pixels(tmp_path):
    for folder in (None, tmp_path):
        stack = PlaneStack((2, 0, 5), np.float32, folder)
        assert stack.frame(1).shape == (0, 5)
        stack.close()


def test_a_full_or_missing_scratch_disk_is_said(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="No such file"):
        PlaneStack((1, 4, 4), np.uint8, tmp_path / "none")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DataError, match="No space left"):
        PlaneStack((1, 4, 4), np.uint8, tmp_path)
    assert list(tmp_path.iterdir()) == [] and len(os.listdir("/proc/self/fd")) == before


def test_a_scratch_file_where_the_system_cannot_give_it_its_space(tmp_path, monkeypatch):
    monkeypatch.delattr(os, "posix_fallocate")
    stack = PlaneStack((3, 1000, 700), np.uint8, tmp_path)
    assert not any(stack.frame(i).any() for i in range(3))
    stack.put(2, np.ones((1000, 700), np.uint8))
    assert stack.frame(2).all() and not stack.frame(1).any()


def test_what_is_resident_of_a_scratch_file_is_bounded_and_nothing_is_lost(tmp_path, monkeypatch):
    def resident():
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssFile"))

    monkeypatch.setattr(store, "RESIDENT", 8_000_000)
    stack, before = PlaneStack((40, 1000, 500), np.uint16, tmp_path), resident()
    for i in range(40):
        view = stack.frame(i)
        view[...] = i  # all at once, then between accesses to a stack
        assert resident() - before < 12_000_000
    for i in range(40):
        assert (stack.frame(i) == i).all()
        assert resident() - before < 12_000_000


def test_memory_that_there_is_not():
    with pytest.raises(MemoryError):
        PlaneStack((1 << 20, 1 << 20, 1 << 10), np.float32)
