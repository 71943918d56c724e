"""Rows of many frames in one array for the kernels: views of mapped planes, else reused buffers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

from .store import PlaneStack


@dataclass(frozen=True)
class Slab:
    """Rows of some frames.

    Parameters
    ----------
    array : (m, h, nx), C-contiguous
        Array that contains the rows.
    places : list of int
        Indices of the frames in it.
    top : int
        Index of the first row in it.
    """

    array: np.ndarray
    places: list[int]
    top: int


class Slabs:
    """Slabs of one stack of planes, for any number of threads.

    Parameters
    ----------
    stack : PlaneStack
        The planes.
    frames : sequence of int
        Indices of the frames, in this order.
    rows : int
        Largest number of rows in a slab.
    alike : PlaneStack, optional
        Slabs must have frames and rows at the same indices as slabs of this stack.
    """

    def __init__(self, stack: PlaneStack, frames: Sequence[int], rows: int, *, alike: PlaneStack | None = None) -> None:
        self._stack = stack
        self._lent = alike is None or alike.is_array
        self._frames = list(frames)
        self._shape = (len(self._frames), rows, stack.shape[2])
        self._free: list[np.ndarray] = []

    @contextmanager
    def open(self, start: int, stop: int, *, read: bool = True, write: bool = False) -> Iterator[Slab]:
        """Rows [start, stop); with `write` their final values are written back to the stack.

        Without `read` the initial values are arbitrary; a scratch file is then written from a buffer, see
        `PlaneStack.filling`.
        """
        array = self._stack.lend(len(self._frames), stop - start) if self._lent else None
        if array is not None and (read or self._stack.scratch is None):
            if write:
                for i in self._frames:
                    self._stack.about_to_change(i, start, stop)
            yield Slab(array, self._frames, start)
            return
        buffer = self._buffer()
        rows = stop - start
        if read:
            for k, i in enumerate(self._frames):
                buffer[k, :rows] = self._stack.rows(i, start, stop)
        yield Slab(buffer, list(range(len(self._frames))), 0)
        if write:
            for k, i in enumerate(self._frames):
                self._stack.put(i, buffer[k, :rows], start)
        self._free.append(buffer)

    def _buffer(self) -> np.ndarray:
        with suppress(IndexError):  # another thread may take the last buffer
            return self._free.pop()
        return np.empty(self._shape, self._stack.dtype)


def slabs_alike(stacks: tuple[PlaneStack, PlaneStack], frames: Sequence[int], rows: int) -> tuple[Slabs, Slabs]:
    """Slabs of two stacks with frames and rows at the same indices, wherever their planes are stored."""
    one, other = stacks
    return Slabs(one, frames, rows, alike=other), Slabs(other, frames, rows, alike=one)


def sample_rows(shape: tuple[int, int], most: int) -> np.ndarray:
    """Evenly spaced rows, an odd number apart, with about `most` pixels in total."""
    step = min(max(1, shape[0] * shape[1] // max(most, 1)) | 1, shape[0])
    return np.arange(step // 2, shape[0], step)


def sampled(stack: PlaneStack, frames: Sequence[int], rows: np.ndarray) -> np.ndarray:
    """Copies of single rows of some frames, (frames, rows, nx)."""
    return np.stack([stack.frame(i)[rows] for i in frames])
