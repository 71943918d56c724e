"""Stacks of planes in bounded memory: in RAM while they fit, else in one scratch file."""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

from .errors import DataError

#: Names that scratch files have for an instant.
PREFIX, SUFFIX = "nirred-", ".planes"


def remove_scratch(folder: Path) -> None:
    """Remove the empty files of processes that died between making a scratch file and taking away its name."""
    for path in folder.glob(f"{PREFIX}*{SUFFIX}"):
        with contextlib.suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()


class PlaneStack:
    """Planes of n frames: shape (n, ny, nx), one dtype, filled with zeros.

    Parameters
    ----------
    shape : (int, int, int)
        (n, ny, nx).
    dtype : dtype
        Of a pixel.
    scratch : Path, optional
        Directory of the scratch file; None keeps everything in RAM. One file, one descriptor, removed at `close`.

    Raises
    ------
    DataError
        The scratch file cannot be made or its disk is full.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: DTypeLike, scratch: Path | None = None) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self._row = shape[2] * self.dtype.itemsize
        self._array: np.ndarray | None = None
        self._memory: mmap.mmap | None = None  # unmapped when the last array in it is gone
        self._file = -1
        if scratch is None:
            self._memory = _pages(shape[0] * shape[1] * self._row)
            self._array = np.frombuffer(self._memory, self.dtype, shape[0] * shape[1] * shape[2]).reshape(shape)
        else:
            try:
                self._file, name = tempfile.mkstemp(prefix=PREFIX, suffix=SUFFIX, dir=scratch)
                Path(name).unlink(missing_ok=True)  # the descriptor keeps it alive; a crash leaves nothing behind
                os.truncate(self._file, shape[0] * shape[1] * self._row)
            except OSError as error:
                raise _no_scratch(error) from error

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def array(self) -> np.ndarray | None:
        """All planes, (n, ny, nx), while they are in memory."""
        return self._array

    @property
    def in_memory(self) -> bool:
        """True when `frame` and `rows` return views, False when they return copies."""
        return self._array is not None

    def rows(self, i: int, start: int, stop: int) -> np.ndarray:
        """Rows [start, stop) of frame i; a view in RAM, else a fresh copy."""
        if self._array is not None:
            return self._array[i, start:stop]
        out = np.empty((stop - start, self.shape[2]), self.dtype)
        self.read(i, start, out)
        return out

    def read(self, i: int, start: int, out: np.ndarray) -> None:
        """Copy rows of frame i from row `start` into `out`, C-contiguous, of the stack's type."""
        if self._array is not None:
            out[...] = self._array[i, start : start + out.shape[0]]
            return
        view, position = out.reshape(-1).view(np.uint8).data, (i * self.shape[1] + start) * self._row
        while view:
            got = os.preadv(self._file, [view], position)
            view, position = view[got:], position + got

    def frame(self, i: int) -> np.ndarray:
        """All rows of frame i."""
        return self.rows(i, 0, self.shape[1])

    def planes(self, frames: list[int]) -> np.ndarray | list[np.ndarray]:
        """All rows of several frames: one array, where they lie side by side in memory."""
        if self._array is not None and frames == list(range(frames[0], frames[0] + len(frames))):
            return self._array[frames[0] : frames[0] + len(frames)]
        return [self.frame(i) for i in frames]

    def block(self, start: int, stop: int, frames: list[int] | None = None) -> list[np.ndarray]:
        """Rows [start, stop) of several frames (default all), in that order."""
        chosen = range(self.shape[0]) if frames is None else frames
        return [self.rows(i, start, stop) for i in chosen]

    def put(self, i: int, values: np.ndarray, start: int = 0) -> None:
        """Write rows of frame i from row `start`."""
        if self._array is not None:
            self._array[i, start : start + values.shape[0]] = values
            return
        data = np.ascontiguousarray(values, self.dtype).reshape(-1).view(np.uint8).data
        position = (i * self.shape[1] + start) * self._row
        try:
            while data:
                done = os.pwrite(self._file, data, position)
                data, position = data[done:], position + done
        except OSError as error:
            raise _no_scratch(error) from error

    def drop(self, i: int) -> None:
        """Free the memory of frame i, whose pixels are lost; scratch files keep theirs."""
        if self._array is None:
            return
        size, page = self.shape[1] * self._row, mmap.PAGESIZE
        start, stop = -(-i * size // page) * page, (i + 1) * size // page * page
        if self._memory is not None and stop > start and hasattr(mmap, "MADV_DONTNEED"):
            self._memory.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def close(self) -> None:
        """Free memory and scratch space."""
        self._array = self._memory = None
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def __del__(self) -> None:
        self.close()


def _pages(size: int) -> mmap.mmap:
    """Zeros in pages of their own, large ones where the system has them: parts can be given back one by one.

    Raises
    ------
    MemoryError
        There are none.
    """
    try:
        memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError from error
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def _no_scratch(error: OSError) -> DataError:
    return DataError(f"scratch file: {error.strerror or error}", "free space, --scratch DIR, or a larger --memory")
