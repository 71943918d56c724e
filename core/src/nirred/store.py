"""Stacks of planes in limited memory: in RAM if they fit, else in a scratch file."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .files import PIECE
from .scratch import LARGE_PAGE, ScratchFile

#: Bytes of a scratch file that stay in this process's memory, in addition to the system's cache of it.
RESIDENT = 100_000_000
#: Of Linux, since 5.14; Python's `mmap` does not name it yet.
_POPULATE_WRITE = 23


class PlaneStack:
    """Planes of n frames: shape (n, ny, nx), one dtype.

    Planes in RAM are allocated on the heap, which reuses the space of earlier stacks. A scratch file is mapped into
    memory, so that its planes form an array as in RAM; about `RESIDENT` bytes of the accessed pages stay in this
    process. If the address space is limited (``ulimit -v``) each access makes its own mapping.

    Parameters
    ----------
    shape : (int, int, int)
        (n, ny, nx).
    dtype : dtype
        Of a pixel.
    scratch : Path, optional
        Directory of the scratch file; None keeps everything in RAM. The file is removed by `close` and uses at most
        three descriptors.
    zeros : bool
        Whether planes are initialised to zero; False if each is written completely before it is read.

    Raises
    ------
    DataError
        The scratch file cannot be made or its disk is full.
    MemoryError
        Not enough memory.
    """

    def __init__(
        self, shape: tuple[int, int, int], dtype: DTypeLike, scratch: Path | None = None, *, zeros: bool = True
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.scratch = scratch
        self._row = shape[2] * self.dtype.itemsize
        self._lent = 0
        self._spare: list[np.ndarray] = []
        self._file: ScratchFile | None = None
        self._array: np.ndarray | None = None
        if scratch is None:
            self._array = (np.zeros if zeros else np.empty)(shape, self.dtype)
            return
        frame = shape[1] * self._row
        self._file = ScratchFile(max(shape[0] * frame, 1), scratch, frame)
        if self._file.memory is not None:
            self._array = self._pixels(self._file.memory, 0, shape)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def is_array(self) -> bool:
        """True if all planes can be accessed as one array."""
        return self._array is not None

    @property
    def closed(self) -> bool:
        """True once the planes have been freed."""
        return self._array is None and self._file is None

    def frame_to_change(self, i: int) -> np.ndarray:
        """All rows of frame i, as a view for writing."""
        view = self.frame(i)  # may release pages accessed before
        self.about_to_change(i, 0, self.shape[1])
        return view

    def about_to_change(self, i: int, start: int, stop: int) -> None:
        """Announce that rows [start, stop) of frame i will be changed in place. This only saves time.

        Pages of a file mapped for reading become writable one by one, with a page fault each, which takes five times
        as long as changing them; pages mapped for writing from the start are large.
        """
        memory = self._mapping()
        if memory is None or stop <= start:
            return
        begin = (i * self.shape[1] + start) * self._row // mmap.PAGESIZE * mmap.PAGESIZE
        size = (i * self.shape[1] + stop) * self._row - begin
        memory.madvise(mmap.MADV_DONTNEED, begin, size)
        with contextlib.suppress(OSError):  # not supported by the system
            memory.madvise(_POPULATE_WRITE, begin, size)

    def _mapping(self) -> mmap.mmap | None:
        return None if self._file is None else self._file.memory

    def lend(self, frames: int, rows: int) -> np.ndarray | None:
        """All planes, (n, ny, nx), for access to `rows` rows of `frames` frames; None if not in one mapping."""
        memory = self._mapping()
        if memory is not None:
            self._lent += frames * (rows * self._row + LARGE_PAGE)
            if self._lent > RESIDENT:
                memory.madvise(mmap.MADV_DONTNEED)  # a shared file: pages leave this process but are not lost
                self._lent = 0
        return self._array

    def rows(self, i: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of frame i, a view.

        Raises
        ------
        ValueError
            The stack is closed.
        """
        array = self.lend(1, stop - start)
        if array is not None:
            return array[i, start:stop]
        if self._file is None:
            raise ValueError("these planes have been given up")
        looked_at = self._file.look((i * self.shape[1] + start) * self._row, (stop - start) * self._row)
        return self._pixels(*looked_at, (stop - start, self.shape[2]))

    def _pixels(self, memory: mmap.mmap, offset: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.frombuffer(memory, self.dtype, math.prod(shape), offset).reshape(shape)

    def frame(self, i: int) -> np.ndarray:
        """All rows of frame i, a view."""
        return self.rows(i, 0, self.shape[1])

    def planes(self, frames: list[int]) -> np.ndarray | list[np.ndarray]:
        """All rows of several frames: a view, as one array if they are contiguous in one mapping."""
        array = self.lend(len(frames), self.shape[1])
        if array is not None and frames == list(range(frames[0], frames[0] + len(frames))):
            return array[frames[0] : frames[0] + len(frames)]
        if array is None:  # copies, because each mapping uses a descriptor
            return [np.array(self.frame(i)) for i in frames]
        return [array[i] for i in frames]

    def put(self, i: int, values: np.ndarray, start: int = 0) -> None:
        """Write rows of frame i from row `start`.

        Raises
        ------
        DataError
            The scratch file's disk has failed.
        """
        if self._file is None:
            self.rows(i, start, start + values.shape[0])[...] = values
            return
        data = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        self._file.write(data, (i * self.shape[1] + start) * self._row)

    @contextlib.contextmanager
    def filling(self, i: int) -> Iterator[np.ndarray]:
        """Frame i, which the caller must write completely: a view, or a buffer that is then written to the file.

        Writing a file's pages for the first time through a mapping takes three times as long.
        """
        if self._file is None:
            yield self.frame(i)
            return
        buffer = self._spare.pop() if self._spare else np.empty(self.shape[1:], self.dtype)
        yield buffer
        rows = max(PIECE // self._row, 1)
        for top in range(0, self.shape[1], rows):
            self.put(i, buffer[top : top + rows], top)
        self._spare.append(buffer)

    def close(self) -> None:
        """Free memory and scratch space."""
        self._array = None
        self._spare.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def __del__(self) -> None:
        self.close()


def give_heap_back() -> None:
    """Return free heap memory to the system, if the C library supports it."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).malloc_trim(0)
